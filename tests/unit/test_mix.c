/* Mixup, CutMix and targets: timm's numbers for given lambda and box, distributions of random decisions, and the
 * loader's batches. */
#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "datasets/loader/mix.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "tests/unit/timm_mix.h"
#include "vision/base/random.h"

enum { FLOATS = MIX_COUNT * MIX_CHANNELS * MIX_HEIGHT * MIX_WIDTH };

START_TEST(equals_timm) {
    float images[FLOATS], targets[MIX_COUNT * MIX_CLASSES];
    const int labels[MIX_COUNT] = {2, 0, 1, 1};
    const uint64_t samples[MIX_COUNT] = {0, 1, 2, 3};
    const vst_target_options options = {MIX_CLASSES, 0.1, UINT64_MAX};
    const vst_mix mix = mix_fixtures[_i].cut ? vst_mix_cut(mix_fixtures[_i].lambda, mix_fixtures[_i].y,
                                                           mix_fixtures[_i].x, MIX_HEIGHT, MIX_WIDTH)
                                             : (vst_mix){.lambda = mix_fixtures[_i].lambda};
    for (int i = 0; i < FLOATS; i++) images[i] = (float)((i * 37 + 11) % 256) / 255.0f;
    vst_mix mixes[MIX_COUNT];
    for (int i = 0; i < MIX_COUNT; i++) mixes[i] = mix;
    vst_mix_images(mixes, images, MIX_COUNT, MIX_CHANNELS, MIX_HEIGHT, MIX_WIDTH);
    for (int i = 0; i < FLOATS; i++) ck_assert_float_eq(images[i], mix_fixtures[_i].images[i]);
    ck_assert_int_eq(vst_targets_fill(&options, labels, samples, MIX_COUNT, targets), MIX_COUNT);
    vst_mix_targets(mixes, targets, MIX_COUNT, MIX_CLASSES);
    for (int i = 0; i < MIX_COUNT * MIX_CLASSES; i++)
        ck_assert_float_eq_tol(targets[i], mix_fixtures[_i].targets[i],
                               1e-7f); /* timm rounds off and on to float separately */
}
END_TEST

START_TEST(targets_hold_smoothed_labels_of_labelled_rows) {
    const int labels[4] = {1, 0, 2, -1};
    const uint64_t samples[4] = {3, 9, 0, 1};
    const vst_target_options options = {3, 0.3, 9}, none = {3, 0.3, 0};
    float target[12];
    ck_assert_int_eq(vst_targets_fill(&options, labels, samples, 4, target),
                     2);                       /* sample 9 is treated as unlabelled, the last one is unlabelled */
    const float off = 2 * 0.1f, on = 2 * 0.8f; /* 4 rows, 2 of them labelled */
    const float expected[12] = {off, on, off, 0, 0, 0, off, off, on, 0, 0, 0};
    for (int i = 0; i < 12; i++) ck_assert_float_eq_tol(target[i], expected[i], 1e-6f);
    /* Mixed with a row without a label, a row keeps its share; all rows together weigh as before. */
    const vst_mix mixes[4] = {{.lambda = 0.75}, {.lambda = 0.75}, {.lambda = 0.75}, {.lambda = 0.75}};
    float sum = 0;
    vst_mix_targets(mixes, target, 4, 3);
    ck_assert_float_eq_tol(target[1], 0.75f * on, 1e-6f);
    ck_assert_float_eq_tol(target[10], 0.25f * on, 1e-6f);
    for (int i = 0; i < 12; i++) sum += target[i];
    ck_assert_float_eq_tol(sum, 4, 1e-5f);
    ck_assert_int_eq(vst_targets_fill(&none, labels, samples, 4, target), 0);
    for (int i = 0; i < 12; i++) ck_assert(target[i] == 0);
}
END_TEST

/* Mean and variance of Beta(a, a), and the share below 0.1 for the alphas where it has a closed form. */
START_TEST(beta_distribution) {
    static const struct {
        double alpha, below; /* P(x < 0.1) */
    } cases[] = {{0.5, 0.2048327647}, {0.8, 0}, {1, 0.1}, {2, 0.028}, {0.01, 0}, {30, 0}};
    enum { DRAWS = 200000 };
    vst_random random = vst_random_stream(3, vst_random_id("test"), 0, (uint64_t)_i);
    const double alpha = cases[_i].alpha, variance = 1 / (4 * (2 * alpha + 1));
    double sum = 0, squares = 0, below = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = vst_random_beta(&random, alpha);
        ck_assert(x >= 0 && x <= 1);
        sum += x;
        squares += (x - 0.5) * (x - 0.5);
        below += x < 0.1;
    }
    ck_assert_double_eq_tol(sum / DRAWS, 0.5, 5 * sqrt(variance / DRAWS));
    ck_assert_double_eq_tol(squares / DRAWS / variance, 1, 0.015);
    if (cases[_i].below > 0) ck_assert_double_eq_tol(below / DRAWS, cases[_i].below, 5 * sqrt(cases[_i].below / DRAWS));
}
END_TEST

static vst_mix draw(const vst_mix_options *options, uint64_t seed, uint32_t epoch, uint64_t step, int height,
                    int width) {
    vst_mix mixes[4];
    vst_mix_draw(options, seed, epoch, step, height, width, mixes, 4);
    for (int i = 1; i < 4; i++) ck_assert(mixes[i].lambda == mixes[0].lambda && mixes[i].cut == mixes[0].cut);
    return mixes[0];
}

/* Frequencies of the decisions; CutMix's lambda is the box's share; a step always gives the same decision. */
START_TEST(draws) {
    const vst_mix_options both = {.mixup = 0.8, .cutmix = 1, .probability = 0.75, .switch_probability = 0.4};
    const vst_mix_options cut_only = {.cutmix = 1, .probability = 1}, off = {.probability = 1};
    enum { STEPS = 20000, SIDE = 32 };
    int mixed = 0, cut = 0;
    double area = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        const vst_mix mix = draw(&both, 7, 2, step, SIDE, SIDE), again = draw(&both, 7, 2, step, SIDE, SIDE);
        ck_assert(mix.lambda == again.lambda && mix.cut == again.cut && mix.box.top == again.box.top);
        mixed += mix.cut || mix.lambda < 1;
        cut += mix.cut;
        ck_assert(mix.lambda >= 0 && mix.lambda <= 1);
        if (!mix.cut) continue;
        ck_assert(mix.box.top >= 0 && mix.box.left >= 0 && mix.box.height >= 0 && mix.box.width >= 0);
        ck_assert(mix.box.top + mix.box.height <= SIDE && mix.box.left + mix.box.width <= SIDE);
        ck_assert_double_eq(mix.lambda, 1 - mix.box.height * mix.box.width / (double)(SIDE * SIDE));
        area += 1 - mix.lambda;
        ck_assert(draw(&cut_only, 7, 2, step, SIDE, SIDE).cut);
        ck_assert(draw(&off, 7, 2, step, SIDE, SIDE).lambda == 1);
    }
    ck_assert_double_eq_tol((double)mixed / STEPS, 0.75, 0.016);
    ck_assert_double_eq_tol((double)cut / mixed, 0.4, 0.02);
    /* Half of the image on average, less what is clipped at its edges: 0.3107 with timm's function, 400000 times. */
    ck_assert_double_eq_tol(area / cut, 0.3107, 0.015);
    const double a = draw(&both, 7, 2, 5, SIDE, SIDE).lambda;
    ck_assert(a != draw(&both, 7, 3, 5, SIDE, SIDE).lambda || a != draw(&both, 8, 2, 5, SIDE, SIDE).lambda);
}
END_TEST

/* timm's _mix_elem and _mix_pair: each image or pair has its own decision and mixes the original images. */
START_TEST(modes) {
    enum { COUNT = 6, SIDE = 5, CLASSES = 3 };
    static const vst_mix_mode list[] = {VST_MIX_PAIR, VST_MIX_ELEM};
    const vst_mix_options options = {
        .mixup = 0.8, .cutmix = 1, .probability = 0.8, .switch_probability = 0.5, .mode = list[_i]};
    int different = 0, alone = 0;
    for (uint64_t step = 0; step < 200; step++) {
        vst_mix mixes[COUNT];
        float images[COUNT * SIDE * SIDE], before[COUNT * SIDE * SIDE], targets[COUNT * CLASSES] = {0};
        vst_mix_draw(&options, 3, 1, step, SIDE, SIDE, mixes, COUNT);
        for (int i = 0; i < COUNT * SIDE * SIDE; i++) images[i] = before[i] = (float)(i % 97) / 97;
        for (int i = 0; i < COUNT; i++) targets[i * CLASSES + i % CLASSES] = 1;
        vst_mix_images(mixes, images, COUNT, 1, SIDE, SIDE);
        vst_mix_targets(mixes, targets, COUNT, CLASSES);
        for (int i = 0; i < COUNT; i++) {
            const int j = COUNT - 1 - i;
            const vst_mix *m = &mixes[i];
            if (list[_i] == VST_MIX_PAIR) ck_assert(m->lambda == mixes[j].lambda && m->cut == mixes[j].cut);
            different += m->lambda != mixes[0].lambda;
            alone += m->lambda < 1 && mixes[j].lambda == 1;
            for (int k = 0; k < SIDE * SIDE; k++) {
                const float own = before[i * SIDE * SIDE + k], other = before[j * SIDE * SIDE + k];
                const int y = k / SIDE - m->box.top, x = k % SIDE - m->box.left;
                const bool inside = m->cut && y >= 0 && y < m->box.height && x >= 0 && x < m->box.width;
                const float want = m->cut          ? (inside ? other : own)
                                   : m->lambda < 1 ? own * (float)m->lambda + other * (float)(1 - m->lambda)
                                                   : own;
                ck_assert_float_eq(images[i * SIDE * SIDE + k], want);
            }
            const int own = i % CLASSES, other = j % CLASSES;
            const double share = own == other ? 1 : m->lambda;
            ck_assert_double_eq_tol(targets[i * CLASSES + own], share, 1e-6);
            ck_assert_double_eq_tol(targets[i * CLASSES + other], own == other ? 1 : 1 - share, 1e-6);
        }
    }
    ck_assert_int_gt(different, 500);
    ck_assert((alone > 50) == (list[_i] == VST_MIX_ELEM));
}
END_TEST

/* timm's rand_bbox_minmax: sides from int(side * minimum) to int(side * maximum) - 1, anywhere within the image. */
START_TEST(boxes_between_two_shares) {
    const vst_mix_options options = {.probability = 1, .minimum = 0.2, .maximum = 0.8};
    int smallest = 1000, largest = 0, top = 1000, bottom = 0;
    double sum = 0;
    for (uint64_t step = 0; step < 5000; step++) {
        const vst_mix mix = draw(&options, 1, 0, step, 20, 10);
        ck_assert(mix.cut && mix.box.width >= 2 && mix.box.width <= 7);
        ck_assert(mix.box.left >= 0 && mix.box.left + mix.box.width <= 10);
        ck_assert_double_eq(mix.lambda, 1 - mix.box.height * mix.box.width / 200.0);
        if (mix.box.height < smallest) smallest = mix.box.height;
        if (mix.box.height > largest) largest = mix.box.height;
        if (mix.box.top < top) top = mix.box.top;
        if (mix.box.top + mix.box.height > bottom) bottom = mix.box.top + mix.box.height;
        sum += mix.box.height;
    }
    ck_assert(smallest == 4 && largest == 15 && top == 0 && bottom == 20);
    ck_assert_double_eq_tol(sum / 5000, 9.5, 0.25); /* the mean of 4 … 15 */
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("mix");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, equals_timm, 0, (int)(sizeof mix_fixtures / sizeof *mix_fixtures));
    tcase_add_test(tests, targets_hold_smoothed_labels_of_labelled_rows);
    tcase_add_loop_test(tests, beta_distribution, 0, 6);
    tcase_add_test(tests, draws);
    tcase_add_loop_test(tests, modes, 0, 2);
    tcase_add_test(tests, boxes_between_two_shares);
    return run_suite("mix", tests);
}
