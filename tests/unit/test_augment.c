/* The augmentation policies: arguments and tables against timm's and torchvision's (augment_levels.h), distributions of
 * random decisions, images against the operations of vision/image. All seeds are fixed, so that a test always gives the
 * same result.
 *
 * With arguments this is a tool for tests/parity/test_augment_timm.sh, see serve(). */
#include <check.h>
#include <inttypes.h>
#include <math.h>

#include "datasets/augment/operations.h"
#include "tests/unit/augment_levels.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/image/color.h"
#include "vision/image/resize.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

extern const vst_augmentation vsti_augmentation_random_resized_crop;

static void expect_error(const char *text, vst_status got) {
    ck_assert_msg(got == VST_ERROR_ARGUMENT, "status %s: %s", vst_status_name(got), vst_error_message());
    ck_assert_msg(strstr(vst_error_message(), text) != NULL, "'%s' is not in: %s", text, vst_error_message());
}

/* Stream number `sample` of this file's plans. */
static vst_random stream(uint64_t sample) { return vst_random_stream(11, 5, 3, sample); }

/* ---- Statistics ---- */

/* Pearson's statistic must stay below its 0.999 quantile (by Wilson and Hilferty). A share of 0 must have a count of 0.
 */
static void check_shares(const char *what, const int *counts, const double *shares, int classes) {
    double total = 0, statistic = 0;
    int freedom = -1;
    for (int i = 0; i < classes; i++) total += counts[i];
    for (int i = 0; i < classes; i++) {
        const double expected = total * shares[i];
        if (shares[i] == 0) ck_assert_msg(counts[i] == 0, "%s: class %d is impossible, yet drawn", what, i);
        if (shares[i] == 0) continue;
        statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
        freedom++;
    }
    const double part = 2 / (9.0 * freedom), root = 1 - part + 3.0902 * sqrt(part);
    ck_assert_msg(freedom > 0 && statistic < freedom * root * root * root, "%s: chi-square %g, %d degrees of freedom",
                  what, statistic, freedom);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double uniform_cdf(double x) { return fmin(1, fmax(0, x)); }
static double normal_cdf(double x) { return 0.5 * erfc(-x / sqrt(2)); }

/* Kolmogorov's statistic must stay below its 0.999 quantile; sorts the values. slack: for rounded values. */
static void check_distribution(const char *what, double *values, int count, double (*cdf)(double), double slack) {
    double distance = 0;
    ck_assert_int_gt(count, 100);
    qsort(values, (size_t)count, sizeof *values, ascending);
    for (int i = 0; i < count; i++) {
        const double expected = cdf(values[i]);
        distance = fmax(distance, fmax(expected - (double)i / count, (double)(i + 1) / count - expected));
    }
    ck_assert_msg(distance < 1.95 / sqrt(count) + slack, "%s: Kolmogorov distance %g of %d values", what, distance,
                  count);
}

/* ---- timm's tables ---- */

START_TEST(arguments_are_timms) {
    size_t names = 0;
    for (size_t i = 0; i < COUNT(level_rows); i++) {
        const level_row *row = &level_rows[i];
        const vsti_operation *operation = vsti_operation_find(row->operation);
        ck_assert_msg(operation != NULL, "no %s", row->operation);
        names += i == 0 || strcmp(level_rows[i - 1].operation, row->operation) != 0;
        ck_assert_msg((operation->argument != NULL) == row->has_argument, "%s", row->operation);
        if (!operation->argument) continue;
        const double got = operation->argument(row->level, row->negative);
        ck_assert_msg(got == row->argument, "%s at %g%s: %.17g, timm %.17g", row->operation, row->level,
                      row->negative ? ", negative" : "", got, row->argument);
    }
    ck_assert_uint_eq(names, vsti_operation_count);
    ck_assert_ptr_null(vsti_operation_find("rotate"));
}
END_TEST

START_TEST(sub_policies_are_timms) {
    static const struct {
        const char *name;
        int count;
    } tables[] = {{"original", 25}, {"originalr", 25}, {"v0", 25}, {"v0r", 25}, {"3a", 3}};
    size_t steps = 0;
    int count;
    for (size_t i = 0; i < COUNT(policy_rows); i++) {
        const policy_row *row = &policy_rows[i];
        const vsti_sub_policy *table = vsti_auto_augment_table(row->policy, &count);
        ck_assert_int_lt(row->index, count);
        ck_assert_str_eq(table[row->index].steps[row->step].name, row->operation);
        ck_assert_double_eq(table[row->index].steps[row->step].probability, row->probability);
        ck_assert_double_eq(table[row->index].steps[row->step].level, row->level);
        ck_assert_ptr_nonnull(vsti_operation_find(row->operation));
    }
    for (size_t i = 0; i < COUNT(tables); i++) {
        const vsti_sub_policy *table = vsti_auto_augment_table(tables[i].name, &count);
        ck_assert_int_eq(count, tables[i].count);
        for (int k = 0; k < count; k++) steps += 1 + (table[k].steps[1].name != NULL);
    }
    ck_assert_uint_eq(steps, COUNT(policy_rows));
    ck_assert_ptr_null(vsti_auto_augment_table("v1", &count));
}
END_TEST

START_TEST(trivial_space_is_torchvisions) {
    double argument;
    for (size_t i = 0; i < COUNT(trivial_rows); i++) {
        const trivial_row *row = &trivial_rows[i];
        const char *name = vsti_trivial_argument(row->index, row->bin, row->bins, row->negative, &argument);
        ck_assert_str_eq(name, row->operation);
        ck_assert_msg(argument == row->argument, "%s, strength %d of %d: %.17g, torchvision %.17g", name, row->bin,
                      row->bins, argument, row->argument);
        ck_assert(!*name || vsti_operation_find(name));
    }
    ck_assert_ptr_null(vsti_trivial_argument(14, 0, 31, false, &argument));
}
END_TEST

START_TEST(hue_is_torchvisions) {
    uint8_t pixels[3];
    vst_image image = {.channels = 3, .height = 1, .width = 1, .pixels = pixels};
    for (size_t i = 0; i < COUNT(hue_rows); i++) {
        memcpy(pixels, hue_rows[i].before, 3);
        vsti_shift_hue(&image, hue_rows[i].turn);
        ck_assert_msg(memcmp(pixels, hue_rows[i].after, 3) == 0, "colour %zu: %d %d %d", i, pixels[0], pixels[1],
                      pixels[2]);
    }
}
END_TEST

/* ---- RandAugment ---- */

enum { PLANS = 40000 };

/* Operations of a set occur with timm's probabilities, first and second; weighted sets use none twice. */
START_TEST(rand_sets) {
    static const char *const sets[][2] = {{"plain", "rand-n2-p1"},
                                          {"inc", "rand-n2-p1-inc1"},
                                          {"tweights", "rand-n2-p1-tweights"},
                                          {"t3a", "rand-n2-p1-t3a-inc1"},
                                          {"t3aw", "rand-inc0-n2-p1-t3aw"}};
    const char *set = sets[_i][0], *names[32];
    const bool once = _i == 2 || _i == 4;
    double first[32], second[32] = {0};
    int members = 0, firsts[32] = {0}, seconds[32] = {0}, count;
    for (size_t i = 0; i < COUNT(set_rows); i++) {
        if (strcmp(set_rows[i].set, set) != 0) continue;
        names[members] = set_rows[i].operation;
        first[members++] = set_rows[i].share;
    }
    for (int i = 0; i < members; i++) /* given that i was first */
        for (int k = 0; k < members; k++)
            if (!once) second[k] += first[i] * first[k];
            else if (i != k) second[k] += first[i] * first[k] / (1 - first[i]);
    for (uint64_t sample = 0; sample < PLANS; sample++) {
        vsti_decision decisions[VSTI_DECISIONS];
        vst_random random = stream(sample);
        ck_ok(vsti_rand_augment_plan(sets[_i][1], &random, decisions, &count));
        ck_assert_int_eq(count, 2);
        for (int i = 0; i < members; i++) {
            firsts[i] += strcmp(decisions[0].operation->name, names[i]) == 0;
            seconds[i] += strcmp(decisions[1].operation->name, names[i]) == 0;
        }
        if (once) ck_assert_ptr_ne(decisions[0].operation, decisions[1].operation);
    }
    check_shares(set, firsts, first, members);
    check_shares(set, seconds, second, members);
    int total = 0;
    for (int i = 0; i < members; i++) total += firsts[i];
    ck_assert_int_eq(total, PLANS); /* only operations of the set */
}
END_TEST

/* DeiT's string: number of operations, level, sign, filter. */
START_TEST(rand_of_deit) {
    static double levels[2 * PLANS], filters[2 * PLANS];
    const double shares[3] = {0.25, 0.5, 0.25}, signs[2] = {0.5, 0.5};
    int numbers[3] = {0}, at_most = 0, used = 0, below = 0, sides[2] = {0}, count;
    for (uint64_t sample = 0; sample < PLANS; sample++) {
        vsti_decision decisions[VSTI_DECISIONS];
        vst_random random = stream(sample);
        int applied = 0;
        ck_ok(vsti_rand_augment_plan("rand-m9-mstd0.5-inc1", &random, decisions, &count));
        ck_assert_int_eq(count, 2);
        for (int i = 0; i < 2; i++) {
            const vsti_decision *one = &decisions[i];
            if (!one->operation) continue;
            applied++;
            ck_assert(one->level <= 10);
            at_most += one->level == 10;
            if (one->level < 10) levels[below++] = (one->level - 9) / 0.5;
            filters[used++] = one->filter;
            if (!one->operation->argument) continue;
            const double plus = one->operation->argument(one->level, false),
                         minus = one->operation->argument(one->level, true);
            ck_assert(one->argument == plus || one->argument == minus);
            if (plus != minus) sides[one->argument == minus]++;
        }
        numbers[applied]++;
    }
    check_shares("operations per image", numbers, shares, 3);
    check_shares("signs", sides, signs, 2);
    const double cut[2] = {1 - normal_cdf(2), normal_cdf(2)};
    check_shares("levels cut off at 10", (int[2]){at_most, below}, cut, 2);
    for (int i = 0; i < below; i++) levels[i] = normal_cdf(levels[i]) / cut[1];
    check_distribution("levels", levels, below, uniform_cdf, 0);
    check_distribution("filters", filters, used, uniform_cdf, 0);
}
END_TEST

/* The other keys: exact levels, uniform levels, the highest level, probability, and timm's default string. */
START_TEST(rand_keys) {
    static double levels[PLANS];
    static const struct {
        const char *policy;
        double low, high; /* levels are uniform between them */
        int count;
    } cases[] = {{"rand", 10, 10, 2},
                 {"rand-m4", 4, 4, 2},
                 {"rand-m20", 10, 10, 2},
                 {"rand-m20-mmax15", 15, 15, 2},
                 {"rand-m20-mmax30", 20, 20, 2},
                 {"rand-m20-mmax0", 10, 10, 2},
                 {"rand-m6-mstd101-n3", 0, 6, 3},
                 {"rand-mstd200-m9-mmax30-n16-p0.75", 0, 9, 16},
                 {"rand-m0", 0, 0, 2}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        int count, applied = 0, planned = 0;
        for (uint64_t sample = 0; sample < PLANS / 8; sample++) {
            vsti_decision decisions[VSTI_DECISIONS];
            vst_random random = stream(sample);
            ck_ok(vsti_rand_augment_plan(cases[i].policy, &random, decisions, &count));
            ck_assert_int_eq(count, cases[i].count);
            for (int k = 0; k < count && planned < PLANS; k++, planned++) {
                if (!decisions[k].operation) continue;
                levels[applied++] = decisions[k].level;
                ck_assert_msg(levels[applied - 1] >= cases[i].low && levels[applied - 1] <= cases[i].high,
                              "%s: level %g", cases[i].policy, levels[applied - 1]);
            }
        }
        const double p = strstr(cases[i].policy, "p0.75") ? 0.75 : 0.5;
        check_shares(cases[i].policy, (int[2]){applied, planned - applied}, (double[2]){p, 1 - p}, 2);
        if (cases[i].low == cases[i].high) continue;
        for (int k = 0; k < applied; k++) levels[k] /= cases[i].high;
        check_distribution(cases[i].policy, levels, applied, uniform_cdf, 0);
    }
}
END_TEST

/* ---- AutoAugment ---- */

/* Operations are applied with the table's probabilities and levels; mstd adds noise to the levels. */
START_TEST(auto_plans) {
    static const char *const policies[] = {"original", "originalr", "v0", "v0r", "3a"};
    const char *name = policies[_i];
    int sub_policies, count, applied[25][2] = {{0}}, wrong = 0;
    const vsti_sub_policy *table = vsti_auto_augment_table(name, &sub_policies);
    double expected[2] = {0}, seen[2] = {0};
    for (uint64_t sample = 0; sample < PLANS; sample++) {
        vsti_decision decisions[VSTI_DECISIONS];
        vst_random random = stream(sample), again = stream(sample);
        ck_ok(vsti_auto_augment_plan(name, &random, decisions, &count));
        const int chosen = vsti_pick(vst_random_uniform(&again), sub_policies); /* the first random number */
        ck_assert_int_eq(count, 1 + (table[chosen].steps[1].name != NULL));
        for (int i = 0; i < count; i++) {
            if (!decisions[i].operation) continue;
            applied[chosen][i]++;
            wrong += strcmp(decisions[i].operation->name, table[chosen].steps[i].name) != 0;
            wrong += decisions[i].level != table[chosen].steps[i].level;
        }
    }
    ck_assert_int_eq(wrong, 0);
    for (int i = 0; i < sub_policies; i++)
        for (int k = 0; k < 2 && table[i].steps[k].name; k++) {
            const double share = table[i].steps[k].probability / sub_policies;
            const double deviation = sqrt(PLANS * share * (1 - share));
            ck_assert_double_le(fabs(applied[i][k] - PLANS * share), 4 * deviation); /* 0 must give 0 */
            expected[k] += share;
            seen[k] += applied[i][k];
        }
    for (int k = 0; k < 2; k++)
        ck_assert_double_le(fabs(seen[k] - PLANS * expected[k]), 3.5 * sqrt(PLANS * expected[k] * (1 - expected[k])));
}
END_TEST

START_TEST(auto_noise) {
    static double levels[2 * PLANS];
    int used = 0, count;
    for (uint64_t sample = 0; sample < PLANS; sample++) {
        vsti_decision decisions[VSTI_DECISIONS];
        vst_random random = stream(sample), again = stream(sample);
        const vsti_sub_policy *table = vsti_auto_augment_table("original", &count);
        const vsti_sub_policy *chosen = &table[vsti_pick(vst_random_uniform(&again), count)];
        ck_ok(vsti_auto_augment_plan("original-mstd0.25", &random, decisions, &count));
        for (int i = 0; i < count; i++) /* levels so far from the limits that noise does not reach them */
            if (decisions[i].operation && chosen->steps[i].level >= 2 && chosen->steps[i].level <= 8)
                levels[used++] = (decisions[i].level - chosen->steps[i].level) / 0.25;
    }
    check_distribution("noise of the levels", levels, used, normal_cdf, 0);
}
END_TEST

/* ---- Strings ---- */

START_TEST(wrong_strings) {
    static const char *const wrong[][2] = {
        {"rand_augment:policy=", "\"\" must begin with \"rand\""},
        {"rand_augment:policy=original", "\"original\" must begin with \"rand\""},
        {"rand_augment:policy=random-m9", "must begin with \"rand\""},
        {"rand_augment:policy=rand-x3", "\"x3\" is not a part of a policy; \"rand\" may be followed by"},
        {"rand_augment:policy=rand-w0", "\"w0\" is not a part of a policy"},
        {"rand_augment:policy=rand-tnone", "\"tnone\" is not a part of a policy"},
        {"rand_augment:policy=rand-m", "\"m\" is not a part of a policy"},
        {"rand_augment:policy=rand-m9.5", "\"m9.5\" is not a part of a policy"},
        {"rand_augment:policy=rand-m0x9", "\"m0x9\" is not a part of a policy"},
        {"rand_augment:policy=rand-m9x", "\"m9x\" is not a part of a policy"},
        {"rand_augment:policy=rand-n0", "\"n0\" is not a part of a policy"},
        {"rand_augment:policy=rand-n17", "n1 … n16"},
        {"rand_augment:policy=rand-p1.5", "\"p1.5\" is not a part of a policy"},
        {"rand_augment:policy=rand-m9--n2", "\"\" is not a part of a policy"},
        {"rand_augment:policy=rand-inc", "\"inc\" is not a part of a policy"},
        {"rand_augment:policy=rand-mstd1e999", "\"mstd1e999\" is not a part of a policy"},
        {"rand_augment:policy=rand-m000000000000000000000000000000000000000009", "is not a part of a policy"},
        {"rand_augment:policy=rand-t3aw-n15", "n15 is more than the 14 operations of t3aw"},
        {"rand_augment:fill_red=256", "fill_red"},
        {"rand_augment:interpolation=lanczos", "bicubic|bilinear|random|nearest"},
        {"auto_augment:policy=", "there is no policy \"\"; there are original, originalr, v0, v0r and 3a"},
        {"auto_augment:policy=v1", "there is no policy \"v1\""},
        {"auto_augment:policy=rand-m9", "belongs to rand_augment"},
        {"auto_augment:policy=v0-m9", "\"m9\" is not a part of a policy"},
        {"auto_augment:policy=v0-mstd", "\"mstd\" is not a part of a policy"},
        {"trivial_augment:bins=1", "bins"},
        {"random_resized_crop:scale_min=0.9:scale_max=0.5",
         "augmentation random_resized_crop: scale_min 0.9 is above scale_max 0.5: lower"},
        {"random_resized_crop:ratio_min=2:ratio_max=1", "ratio_min 2 is above ratio_max 1"},
        {"random_resized_crop:size=0", "size"},
        {"gaussian_blur:radius_min=3", "radius_min 3 is above radius_max 2"},
        {"three_augment:radius_max=0", "radius_min 0.1 is above radius_max 0"},
        {"flip, random_erasing:area_min=0.5", "augmentation random_erasing: area_min 0.5 is above area_max 0.333333"},
        {"crop:mode=edge", "constant|reflect"},
        {"color_jitter:hue=0.6", "hue"},
        {"random_erasing:mode=noise", "pixel|const|rand"},
        {"random_erasing, flip", "put flip before it"}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        vst_augment *augment;
        expect_error(wrong[i][1], vst_augment_create(&augment, wrong[i][0]));
        ck_assert_ptr_null(augment);
    }
}
END_TEST

/* An error that depends on the size of the image. */
START_TEST(too_small_for_a_crop) {
    vst_augment *augment;
    vst_image image = {0};
    ck_ok(vst_image_allocate(&image, 3, 8, 8));
    memset(image.pixels, 7, 192);
    ck_ok(vst_augment_create(&augment, "crop:size=99"));
    expect_error("a picture of 8 x 8 pixels with a padding of 4 is smaller than a crop of size 99",
                 vst_augment_apply(augment, 1, 0, 0, &image));
    vst_augment_destroy(augment);
    vst_image_clear(&image);
}
END_TEST

/* ---- Images ---- */

/* A synthetic photograph: waves of several lengths, edges, noise. */
static void make_photo(vst_image *image, int channels, int height, int width, uint64_t seed) {
    vst_random random = vst_random_stream(seed, 1, 0, 0);
    const double row_wave = 3 + 10 * vst_random_uniform(&random), column_wave = 3 + 10 * vst_random_uniform(&random);
    ck_ok(vst_image_allocate(image, channels, height, width));
    for (int y = 0, i = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++, i++) {
                const double wave =
                    60 * sin(y / row_wave + c) + 50 * cos(x / column_wave - c) + (x > width / 2 + y / 3 ? 40 : 0);
                image->pixels[i] = (uint8_t)fmin(255, fmax(0, 110 + wave + 10 * vst_random_normal(&random)));
            }
}

static bool same(const vst_image *a, const vst_image *b) {
    return a->channels == b->channels && a->height == b->height && a->width == b->width &&
           memcmp(a->pixels, b->pixels, (size_t)(a->channels * a->height * a->width)) == 0;
}

static void copy(const vst_image *from, vst_image *to) {
    ck_ok(vst_image_allocate(to, from->channels, from->height, from->width));
    memcpy(to->pixels, from->pixels, (size_t)(from->channels * from->height * from->width));
}

/* Applies a list of policies, given as text, to a copy of the photo. */
static void apply(const char *text, uint64_t sample, const vst_image *photo, vst_image *out) {
    vst_augment *augment;
    ck_ok(vst_augment_create(&augment, text));
    copy(photo, out);
    ck_ok(vst_augment_apply(augment, 1, 2, sample, out));
    vst_augment_destroy(augment);
}

/* The stream that `policy`, the only one of the list, uses in apply(). */
static vst_random stream_of(const char *policy, uint64_t sample) {
    char id[64];
    snprintf(id, sizeof id, "augment.%s", policy);
    return vst_random_stream(1, vst_random_id(id), 2, sample);
}

static void perform(const char *name, double argument, const vst_sampling sampling, double uniform, vst_image *image,
                    vst_image *scratch) {
    const vsti_context context = {.sampling = sampling, .uniform = uniform, .scratch = scratch};
    ck_ok(vsti_operation_find(name)->apply(image, argument, &context));
}

/* With a grey fill, the result for a grey image is that for the same image as RGB. */
START_TEST(grey_images) {
    static const vst_filter filters[] = {VST_FILTER_NEAREST, VST_FILTER_BILINEAR, VST_FILTER_BICUBIC};
    const uint8_t fill[3] = {77, 77, 77};
    vst_image photo = {0}, grey = {0}, rgb = {0}, scratch = {0};
    make_photo(&photo, 1, 37, 52, 3);
    for (size_t i = 0; i < vsti_operation_count; i++)
        for (int k = 0; k < 6; k++) {
            const vsti_operation *operation = &vsti_operations[i];
            const double argument = operation->argument ? operation->argument(k < 3 ? 9.3 : 4.1, k % 2) : 0;
            const vst_sampling sampling = {filters[k % 3], fill};
            copy(&photo, &grey);
            copy(&photo, &rgb);
            ck_ok(vst_image_convert(&rgb, 3));
            perform(operation->name, argument, sampling, 0.4, &grey, &scratch);
            perform(operation->name, argument, sampling, 0.4, &rgb, &scratch);
            ck_assert_int_eq(grey.channels, 1);
            ck_ok(vst_image_convert(&grey, 3));
            ck_assert_msg(same(&grey, &rgb), "%s %g", operation->name, argument);
        }
    static const char *const lists[] = {"rand_augment:fill_red=124:fill_green=124:fill_blue=124",
                                        "color_jitter:hue=0.5",
                                        "grayscale:probability=1",
                                        "solarize:probability=1",
                                        "gaussian_blur:probability=1",
                                        "three_augment",
                                        "trivial_augment",
                                        "random_resized_crop:size=20",
                                        "vertical_flip",
                                        "center_crop:size=41",
                                        "auto_augment:fill_red=9:fill_green=9:fill_blue=9",
                                        "resize:size=30, crop:size=30:mode=reflect"};
    for (size_t i = 0; i < COUNT(lists); i++)
        for (uint64_t sample = 0; sample < 20; sample++) {
            copy(&photo, &rgb);
            ck_ok(vst_image_convert(&rgb, 3));
            apply(lists[i], sample, &photo, &grey);
            apply(lists[i], sample, &rgb, &scratch);
            ck_assert_int_eq(grey.channels, 1);
            ck_ok(vst_image_convert(&grey, 3));
            ck_assert_msg(same(&grey, &scratch), "%s, sample %d", lists[i], (int)sample);
        }
    vst_image_clear(&photo), vst_image_clear(&grey), vst_image_clear(&rgb), vst_image_clear(&scratch);
}
END_TEST

/* Every value of `interpolation` selects the filter with its name. */
START_TEST(filters_by_name) {
    typedef struct options {
        int interpolation;
    } options;
    static const vst_option table[] = {
        VST_OPTION_CHOICE(options, interpolation, "bicubic", VST_CHOICE_TEXT(VSTI_RESIZE_FILTERS), "filter"),
        VST_OPTION_END};
    static const struct {
        const char *name;
        double uniform;
        vst_filter filter;
    } list[] = {{"bicubic", 0.1, VST_FILTER_BICUBIC}, {"bilinear", 0.9, VST_FILTER_BILINEAR},
                {"random", 0.4, VST_FILTER_BILINEAR}, {"random", 0.5, VST_FILTER_BICUBIC},
                {"nearest", 0.9, VST_FILTER_NEAREST}, {"box", 0.9, VST_FILTER_BOX},
                {"hamming", 0.9, VST_FILTER_HAMMING}, {"lanczos", 0.9, VST_FILTER_LANCZOS}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        options o;
        ck_assert_int_eq(vst_options_set(table, &o, "interpolation", list[i].name), VST_OK);
        ck_assert_msg(vsti_filter(o.interpolation, list[i].uniform) == list[i].filter, "%s", list[i].name);
    }
}
END_TEST

/* Grey images are filled with the luminance of the fill colour, as in Pillow. */
START_TEST(grey_fill) {
    const vsti_decision moved = {.operation = vsti_operation_find("TranslateXRel"), .argument = 0.5};
    const vsti_resampling resampling = {
        .interpolation = VSTI_FILTER_NEAREST, .fill_red = 124, .fill_green = 116, .fill_blue = 104};
    vst_augment_scratch scratch = {0};
    vst_image image = {0};
    ck_ok(vst_image_allocate(&image, 1, 1, 4));
    memcpy(image.pixels, "\1\2\3\4", 4);
    ck_ok(vsti_apply_decisions(&moved, 1, &resampling, &image, &scratch));
    ck_assert_mem_eq(image.pixels, ((uint8_t[]){3, 4, 117, 117}), 4);
    vst_image_clear(&image);
    vst_augment_scratch_clear(&scratch);
}
END_TEST

/* RandAugment applies the operations of its plan in order, with the given fill. */
START_TEST(rand_images) {
    vst_image photo = {0}, got = {0}, expected = {0}, scratch = {0};
    int changed = 0, count;
    make_photo(&photo, 3, 40, 48, 4);
    for (uint64_t sample = 0; sample < 200; sample++) {
        const uint8_t fill[3] = {124, 5, 104};
        vsti_decision decisions[VSTI_DECISIONS];
        vst_random random = stream_of("rand_augment", sample);
        apply("rand_augment:fill_green=5:interpolation=random", sample, &photo, &got);
        ck_ok(vsti_rand_augment_plan("rand-m9-mstd0.5-inc1", &random, decisions, &count));
        copy(&photo, &expected);
        for (int i = 0; i < count; i++)
            if (decisions[i].operation)
                perform(decisions[i].operation->name, decisions[i].argument,
                        (vst_sampling){decisions[i].filter < 0.5 ? VST_FILTER_BILINEAR : VST_FILTER_BICUBIC, fill}, 0,
                        &expected, &scratch);
        ck_assert_msg(same(&got, &expected), "sample %d", (int)sample);
        changed += !same(&got, &photo);
    }
    ck_assert(changed > 130 && changed < 175); /* three quarters get an operation; a few of these change nothing */
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&expected), vst_image_clear(&scratch);
}
END_TEST

/* TrivialAugment draws operation, strength and sign in this order. */
START_TEST(trivial_images) {
    vst_image photo = {0}, got = {0}, expected = {0}, scratch = {0};
    make_photo(&photo, 3, 40, 48, 4);
    for (uint64_t sample = 0; sample < 300; sample++) {
        const uint8_t fill[3] = {1, 0, 0};
        vst_random random = stream_of("trivial_augment", sample);
        const int index = (int)(14 * vst_random_uniform(&random)), bin = (int)(7 * vst_random_uniform(&random));
        double argument;
        const char *name = vsti_trivial_argument(index, bin, 7, vst_random_uniform(&random) >= 0.5, &argument);
        apply("trivial_augment:bins=7:fill_red=1", sample, &photo, &got);
        copy(&photo, &expected);
        if (*name) perform(name, argument, (vst_sampling){VST_FILTER_NEAREST, fill}, 0, &expected, &scratch);
        ck_assert_msg(same(&got, &expected), "sample %d: %s %g", (int)sample, name, argument);
    }
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&expected), vst_image_clear(&scratch);
}
END_TEST

/* ---- Simple policies ---- */

/* How many samples a policy with a probability changes, and the results. */
START_TEST(simple_policies) {
    static const struct {
        const char *text;
        double probability;
    } cases[] = {{"vertical_flip", 0.5},          {"vertical_flip:probability=0.9", 0.9}, {"grayscale", 0.2},
                 {"solarize:threshold=100", 0.2}, {"color_jitter:probability=0.3", 0.3},  {"gaussian_blur", 0.1}};
    vst_image photo = {0}, got = {0}, expected = {0};
    int changed = 0;
    make_photo(&photo, 3, 9, 7, 5);
    copy(&photo, &expected);
    if (_i < 2)
        for (int y = 0; y < 9; y++) memcpy(expected.pixels + y * 21, photo.pixels + (8 - y) * 21, 21);
    if (_i == 2) vst_image_grayscale(&expected);
    if (_i == 3) vst_image_solarize(&expected, 100);
    for (uint64_t sample = 0; sample < 5000; sample++) {
        apply(cases[_i].text, sample, &photo, &got);
        if (same(&got, &photo)) continue;
        changed++;
        if (_i < 4) ck_assert(same(&got, &expected));
    }
    check_shares(cases[_i].text, (int[2]){changed, 5000 - changed},
                 (double[2]){cases[_i].probability, 1 - cases[_i].probability}, 2);
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&expected);
}
END_TEST

/* Exactly one of three operations, with equal probability; the blur's radius is uniform. */
START_TEST(three_augment) {
    vst_image photo = {0}, got = {0}, expected[3] = {{0}}, scratch = {0};
    int counts[3] = {0};
    make_photo(&photo, 3, 12, 14, 5);
    for (int i = 0; i < 3; i++) copy(&photo, &expected[i]);
    vst_image_grayscale(&expected[0]);
    vst_image_solarize(&expected[1], 128);
    for (uint64_t sample = 0; sample < 3000; sample++) {
        vst_random random = stream_of("three_augment", sample);
        (void)vst_random_uniform(&random);
        copy(&photo, &expected[2]);
        ck_ok(vst_image_gaussian_blur(&expected[2], 0.1 + (2 - 0.1) * vst_random_uniform(&random), &scratch));
        apply("three_augment", sample, &photo, &got);
        int found = 0;
        while (found < 3 && !same(&got, &expected[found])) found++;
        ck_assert_int_lt(found, 3);
        counts[found]++;
    }
    check_shares("three_augment", counts, (double[3]){1 / 3.0, 1 / 3.0, 1 / 3.0}, 3);
    for (int i = 0; i < 3; i++) vst_image_clear(&expected[i]);
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&scratch);
}
END_TEST

/* Brightness factors, derived from the result for a grey pixel, are uniform from max(0, 1 - x) to 1 + x. */
START_TEST(jitter_range) {
    static double values[4000];
    vst_image photo = {0}, got = {0};
    ck_ok(vst_image_allocate(&photo, 1, 1, 1));
    for (int wide = 0; wide < 2; wide++) {
        photo.pixels[0] = wide ? 100 : 150;
        const double low = wide ? 0 : 0.6, high = wide ? 2.5 : 1.4;
        for (int i = 0; i < 4000; i++) {
            apply(wide ? "color_jitter:brightness=1.5:contrast=0:saturation=0" : "color_jitter:contrast=0:saturation=0",
                  (uint64_t)i, &photo, &got);
            values[i] = ((got.pixels[0] + 0.5) / photo.pixels[0] - low) / (high - low);
        }
        check_distribution("brightness", values, 4000, uniform_cdf, 0.005); /* one step of the pixel is 1/250 or more */
    }
    vst_image_clear(&photo), vst_image_clear(&got);
}
END_TEST

/* All orders of brightness, contrast, saturation and hue are equally likely; the order is found by comparing with each.
 */
START_TEST(jitter_order) {
    vst_image photo = {0}, got = {0}, expected = {0};
    int counts[24] = {0}, several = 0;
    double shares[24];
    make_photo(&photo, 3, 6, 6, 8);
    for (uint64_t sample = 0; sample < 4000; sample++) {
        vst_random random = stream_of("color_jitter", sample);
        double factors[4];
        for (int i = 0; i < 4; i++) (void)vst_random_uniform(&random);
        for (int i = 0; i < 4; i++)
            factors[i] = i < 3 ? 0.1 + 1.8 * vst_random_uniform(&random) : -0.5 + vst_random_uniform(&random);
        apply("color_jitter:brightness=0.9:contrast=0.9:saturation=0.9:hue=0.5", sample, &photo, &got);
        int matches = 0, match = 0;
        for (int order = 0; order < 24; order++) {
            int left[4] = {0, 1, 2, 3}, code = order;
            copy(&photo, &expected);
            for (int i = 4; i > 0; i--) { /* digits in the factorial number system */
                const int at = code % i, what = left[at];
                code /= i;
                memmove(left + at, left + at + 1, (size_t)(3 - at) * sizeof *left);
                if (what == 0) vst_image_brightness(&expected, factors[0]);
                if (what == 1) vst_image_contrast(&expected, factors[1]);
                if (what == 2) vst_image_color(&expected, factors[2]);
                if (what == 3) vsti_shift_hue(&expected, factors[3]);
            }
            if (!same(&got, &expected)) continue;
            matches++;
            match = order;
        }
        ck_assert_msg(matches > 0, "sample %d: no order gives this", (int)sample);
        if (matches == 1) counts[match]++;
        else several++;
    }
    ck_assert_int_lt(several, 200);
    for (int i = 0; i < 24; i++) shares[i] = 1 / 24.0;
    check_shares("orders", counts, shares, 24);
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&expected);
}
END_TEST

/* ---- Crops and sizes ---- */

typedef struct rrc_options {
    int size;
    double scale_min, scale_max, ratio_min, ratio_max;
    int interpolation;
} rrc_options; /* as in random_resized_crop.c */

/* Area and logarithm of the aspect ratio of boxes that always fit are uniform; so are their positions. */
START_TEST(rrc_distribution) {
    enum { DRAWS = 20000, SIDE = 4000 };
    static double areas[DRAWS], shapes[DRAWS], tops[DRAWS], lefts[DRAWS];
    const vst_augmentation *policy = &vsti_augmentation_random_resized_crop;
    rrc_options options = {0};
    ck_assert_uint_eq(policy->options_size, sizeof options);
    ck_ok(vst_options_default(policy->options, &options));
    ck_assert_double_eq(options.ratio_max, 4.0 / 3.0);
    options.scale_max = 0.5;
    for (int i = 0; i < DRAWS; i++) {
        vst_random random = stream((uint64_t)i), shift = stream((uint64_t)i + DRAWS);
        vst_box box;
        policy->crop(&options, &random, SIDE, SIDE, &box);
        areas[i] = ((double)box.height * box.width / SIDE / SIDE - 0.08) / (0.5 - 0.08);
        shapes[i] = (log((double)box.width / box.height) - log(0.75)) / (2 * log(4 / 3.0));
        /* positions are integers: a uniform shift makes them continuous */
        tops[i] = (box.top + vst_random_uniform(&shift)) / (SIDE - box.height + 1);
        lefts[i] = (box.left + vst_random_uniform(&shift)) / (SIDE - box.width + 1);
    }
    check_distribution("areas", areas, DRAWS, uniform_cdf, 0.001);
    check_distribution("shapes", shapes, DRAWS, uniform_cdf, 0.001);
    check_distribution("rows", tops, DRAWS, uniform_cdf, 0);
    check_distribution("columns", lefts, DRAWS, uniform_cdf, 0);
}
END_TEST

/* Boxes lie within images of any shape; if none fits, the centred box is used; positions at the edges occur. */
START_TEST(rrc_places) {
    static const int sizes[][2] = {{1, 1}, {1, 50}, {2, 2}, {3, 5}, {300, 400}, {60, 1}, {1000, 10}};
    const vst_augmentation *policy = &vsti_augmentation_random_resized_crop;
    rrc_options options = {0};
    vst_box box;
    ck_ok(vst_options_default(policy->options, &options));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        int at_start = 0, at_end = 0;
        for (uint64_t sample = 0; sample < 2000; sample++) {
            vst_random random = stream(sample);
            policy->crop(&options, &random, sizes[i][0], sizes[i][1], &box);
            ck_assert(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1);
            ck_assert(box.top + box.height <= sizes[i][0] && box.left + box.width <= sizes[i][1]);
            at_start += box.height < sizes[i][0] && box.top == 0;
            at_end += box.height < sizes[i][0] && box.top + box.height == sizes[i][0];
        }
        ck_assert_int_eq(at_start > 0 && at_end > 0, i >= 2 && i < 5); /* the others have only one possible row */
    }
    options.scale_min = 1; /* the whole area in an almost square shape */
    static const struct {
        int height, width;
        vst_box box;
    } middles[] = {{10, 1000, {0, 493, 10, 13}}, {1000, 10, {493, 0, 13, 10}}, {3, 10, {0, 3, 3, 4}}};
    for (size_t i = 0; i < COUNT(middles); i++) {
        vst_random random = stream(i), untouched = random;
        policy->crop(&options, &random, middles[i].height, middles[i].width, &box);
        ck_assert_mem_eq(&box, &middles[i].box, sizeof box);
        for (int k = 0; k < 20; k++) (void)vst_random_uniform(&untouched); /* ten tries with two random numbers each */
        ck_assert_uint_eq(vst_random_u32(&random), vst_random_u32(&untouched));
    }
}
END_TEST

/* The crop is the resized box, and the list computes the box before decoding. */
START_TEST(rrc_images) {
    const vst_augmentation *policy = &vsti_augmentation_random_resized_crop;
    rrc_options options = {0};
    vst_image photo = {0}, got = {0}, expected = {0}, scratch = {0};
    int bilinear = 0;
    make_photo(&photo, 3, 50, 60, 6);
    ck_ok(vst_options_default(policy->options, &options));
    for (uint64_t sample = 0; sample < 200; sample++) {
        vst_random random = stream_of("random_resized_crop", sample);
        vst_box box;
        policy->crop(&options, &random, 50, 60, &box);
        const bool first = vst_random_uniform(&random) < 0.5;
        bilinear += first;
        ck_ok(vst_image_resize(&photo, &box, 24, 24, first ? VST_FILTER_BILINEAR : VST_FILTER_BICUBIC, &scratch,
                               &expected));
        apply("random_resized_crop:size=24:interpolation=random", sample, &photo, &got);
        ck_assert_msg(same(&got, &expected), "sample %d", (int)sample);
    }
    ck_assert(bilinear > 70 && bilinear < 130);
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&expected), vst_image_clear(&scratch);
}
END_TEST

START_TEST(sizes) {
    static const struct {
        const char *text;
        int height, width, top, left; /* the result, and the position of the photo's pixel (0, 0) in it */
    } cases[] = {{"center_crop:size=4", 4, 4, -2, -4},  /* 7 - 4 = 3, half of it rounded to even is 2 */
                 {"center_crop:size=6", 6, 6, 0, -2},   /* 0.5 rounds to 0, 2.5 to 2 */
                 {"center_crop:size=9", 9, 9, 1, -1},   /* two rows are missing, two columns too many */
                 {"center_crop:size=12", 12, 12, 2, 0}, /* 5 and 1 are missing, the smaller half comes first */
                 {"center_crop:size=7", 7, 7, 0, -2}};
    vst_image photo = {0}, got = {0}, scratch = {0}, expected = {0};
    make_photo(&photo, 3, 7, 11, 6);
    for (size_t i = 0; i < COUNT(cases); i++) {
        apply(cases[i].text, 0, &photo, &got);
        ck_assert_int_eq(got.height, cases[i].height);
        ck_assert_int_eq(got.width, cases[i].width);
        for (int y = 0; y < got.height; y++)
            for (int x = 0; x < got.width; x++) {
                const int from_y = y - cases[i].top, from_x = x - cases[i].left;
                const bool inside = from_y >= 0 && from_y < 7 && from_x >= 0 && from_x < 11;
                for (int c = 0; c < 3; c++)
                    ck_assert_int_eq(got.pixels[(y * got.width + x) * 3 + c],
                                     inside ? photo.pixels[(from_y * 11 + from_x) * 3 + c] : 0);
            }
    }
    apply("resize:size=5:interpolation=lanczos", 0, &photo, &got);
    ck_ok(vst_image_resize(&photo, NULL, 5, 7, VST_FILTER_LANCZOS, &scratch, &expected)); /* int(5 x 11 / 7) = 7 */
    ck_assert(same(&got, &expected));
    vst_image_clear(&photo), vst_image_clear(&got), vst_image_clear(&scratch), vst_image_clear(&expected);
}
END_TEST

/* DeiT III's simple crop by its definition: all positions are equally likely, the border is reflected. */
START_TEST(crop_reflected) {
    enum { HEIGHT = 9, WIDTH = 14, SIZE = 9, PADDING = 4 };
    vst_image photo = {0}, got = {0};
    int rows[2 * PADDING + 1] = {0}, columns[WIDTH - SIZE + 2 * PADDING + 1] = {0};
    int wrong = 0;
    double row_shares[COUNT(rows)], column_shares[COUNT(columns)];
    make_photo(&photo, 3, HEIGHT, WIDTH, 6);
    for (uint64_t sample = 0; sample < 5000; sample++) {
        vst_random random = stream_of("crop", sample);
        const int top = (int)vst_random_below(&random, COUNT(rows)) - PADDING;
        const int left = (int)vst_random_below(&random, COUNT(columns)) - PADDING;
        apply("crop:size=9:mode=reflect", sample, &photo, &got);
        ck_assert(got.height == SIZE && got.width == SIZE);
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) {
                int from_y = abs(top + y), from_x = abs(left + x);
                if (from_y >= HEIGHT) from_y = 2 * (HEIGHT - 1) - from_y;
                if (from_x >= WIDTH) from_x = 2 * (WIDTH - 1) - from_x;
                wrong += memcmp(got.pixels + (y * SIZE + x) * 3, photo.pixels + (from_y * WIDTH + from_x) * 3, 3) != 0;
            }
        rows[top + PADDING]++;
        columns[left + PADDING]++;
    }
    ck_assert_int_eq(wrong, 0);
    for (size_t i = 0; i < COUNT(rows); i++) row_shares[i] = 1.0 / COUNT(rows);
    for (size_t i = 0; i < COUNT(columns); i++) column_shares[i] = 1.0 / COUNT(columns);
    check_shares("rows", rows, row_shares, COUNT(rows));
    check_shares("columns", columns, column_shares, COUNT(columns));
    vst_image_clear(&photo), vst_image_clear(&got);
}
END_TEST

/* ---- Random erasing ---- */

enum { SIDE = 200 };
static const double means[3] = {0.485, 0.456, 0.406}, stds[3] = {0.229, 0.224, 0.225};

/* Erases in a sample filled with -9. Counts the erased pixels; *box is their bounding box. */
static int erase(const char *text, uint64_t sample, float *values, vst_box *box) {
    vst_augment *augment;
    vst_augment_state state;
    ck_ok(vst_augment_create(&augment, text));
    for (int i = 0; i < 3 * SIDE * SIDE; i++) values[i] = -9;
    vst_augment_begin(augment, (vst_augment_view){.seed = 1, .sample = sample}, SIDE, SIDE, &state, box);
    vst_augment_finish(augment, &state, &(vst_augment_floats){values, 3, SIDE, SIDE, means, stds});
    vst_augment_destroy(augment);
    int top = SIDE, bottom = -1, left = SIDE, right = -1, erased = 0, different = 0;
    for (int i = 0; i < SIDE * SIDE; i++) {
        different += (values[i] == -9) != (values[i + SIDE * SIDE] == -9);
        different += (values[i] == -9) != (values[i + 2 * SIDE * SIDE] == -9);
        if (values[i] == -9) continue;
        erased++;
        const int y = i / SIDE, x = i % SIDE;
        if (y < top) top = y;
        if (y > bottom) bottom = y;
        if (x < left) left = x;
        if (x > right) right = x;
    }
    ck_assert_int_eq(different, 0); /* all channels have the same rectangle */
    *box = (vst_box){top, left, bottom - top + 1, right - left + 1};
    return erased;
}

START_TEST(erasing_rectangles) {
    enum { DRAWS = 4000 };
    static float values[3 * SIDE * SIDE];
    static double areas[DRAWS], shapes[DRAWS], tops[DRAWS];
    int count = 0;
    vst_box box;
    for (uint64_t sample = 0; sample < DRAWS; sample++) { /* these always fit */
        const int erased = erase("random_erasing:mode=const:area_max=0.2:aspect=0.5", sample, values, &box);
        vst_random shift = stream(sample);
        if (!erased) continue;
        ck_assert_int_eq(erased, box.height * box.width); /* one whole rectangle */
        for (int c = 0; c < 3; c++) ck_assert_float_eq(values[(c * SIDE + box.top) * SIDE + box.left], (float)means[c]);
        areas[count] = ((double)erased / SIDE / SIDE - 0.02) / 0.18;
        shapes[count] = (log((double)box.height / box.width) - log(0.5)) / (2 * log(2));
        tops[count++] = (box.top + vst_random_uniform(&shift)) / (SIDE - box.height + 1);
    }
    check_shares("erased samples", (int[2]){count, DRAWS - count}, (double[2]){0.25, 0.75}, 2);
    check_distribution("areas", areas, count, uniform_cdf, 0.02); /* rounded to whole pixels */
    check_distribution("shapes", shapes, count, uniform_cdf, 0.02);
    check_distribution("rows", tops, count, uniform_cdf, 0);
}
END_TEST

/* After normalisation the pixels are independent and N(0, 1); a colour is drawn per channel. */
START_TEST(erasing_contents) {
    static float values[3 * SIDE * SIDE];
    static double noise[3 * SIDE * SIDE], colours[900];
    vst_box box;
    int count = 0, drawn = 0, several = 0, others = 0;
    double neighbours = 0;
    ck_assert_int_gt(erase("random_erasing:probability=1", 4, values, &box), 500);
    for (int c = 0; c < 3; c++)
        for (int y = box.top; y < box.top + box.height; y++)
            for (int x = box.left; x < box.left + box.width; x++)
                noise[count++] = (values[(c * SIDE + y) * SIDE + x] - means[c]) / stds[c];
    for (int i = 1; i < count; i++) neighbours += noise[i] * noise[i - 1];
    ck_assert_double_lt(fabs(neighbours) / sqrt(count), 3.3);
    check_distribution("pixels", noise, count, normal_cdf, 0);
    for (uint64_t sample = 0; sample < 300; sample++) {
        const int erased = erase("random_erasing:probability=1:mode=rand", sample, values, &box);
        if (!erased) continue;
        for (int c = 0; c < 3; c++) {
            const float *plane = values + c * SIDE * SIDE, colour = plane[box.top * SIDE + box.left];
            for (int i = 0; i < SIDE * SIDE; i++) others += plane[i] != -9 && plane[i] != colour;
            colours[drawn++] = (colour - means[c]) / stds[c];
        }
    }
    ck_assert_int_eq(others, 0);
    check_distribution("colours", colours, drawn, normal_cdf, 0);
    for (uint64_t sample = 0; sample < 100; sample++) {
        const int erased = erase("random_erasing:probability=1:count=4:mode=const", sample, values, &box);
        several += erased > 0 && erased < box.height * box.width; /* more than one rectangle */
        ck_assert_int_lt(erased, SIDE * SIDE / 3 + 4 * SIDE);
    }
    for (uint64_t sample = 0; sample < 300; sample++) /* never as wide or high as the image */
        if (erase("random_erasing:probability=1:area_min=0.2:area_max=0.9:mode=const", sample, values, &box))
            ck_assert(box.width < SIDE && box.height < SIDE);
    ck_assert(several > 40 && several < 95); /* of three quarters; some rectangles overlap */
}
END_TEST

/* ---- Lists ---- */

static const char everything[] =
    "random_resized_crop:size=32, flip, vertical_flip, rand_augment, auto_augment, trivial_augment, three_augment, "
    "color_jitter:hue=0.1, grayscale, solarize, gaussian_blur:probability=1, crop:mode=reflect, resize:size=40, "
    "center_crop:size=30, random_erasing";

/* Equal arguments give equal pixels; another seed, epoch or sample changes them. */
START_TEST(lists_are_pure) {
    vst_augment *list;
    vst_image photo = {0}, image = {0}, other = {0};
    int different[3] = {0};
    make_photo(&photo, 3, 45, 64, 9);
    ck_ok(vst_augment_create(&list, everything));
    for (uint64_t sample = 0; sample < 100; sample++) {
        copy(&photo, &image);
        ck_ok(vst_augment_apply(list, 1, 7, sample, &image));
        ck_assert(image.height == 30 && image.width == 30 && image.channels == 3);
        for (int i = 0; i < 4; i++) {
            copy(&photo, &other);
            ck_ok(vst_augment_apply(list, 1 + (i == 0), 7 + (i == 1), sample + (i == 2), &other));
            if (i < 3) different[i] += !same(&image, &other);
            else ck_assert(same(&image, &other));
        }
    }
    for (int i = 0; i < 3; i++) ck_assert_int_gt(different[i], 97);
    vst_augment_destroy(list);
    vst_image_clear(&photo), vst_image_clear(&image), vst_image_clear(&other);
}
END_TEST

/* A thread that keeps its images stops allocating. */
START_TEST(memory_is_kept) {
    vst_augment *list;
    vst_image photo = {0}, image = {0};
    vst_augment_scratch scratch = {0};
    uint64_t before = 0;
    make_photo(&photo, 3, 45, 64, 9);
    ck_ok(vst_augment_create(&list, everything));
    for (uint64_t sample = 0; sample < 1200; sample++) {
        vst_augment_state state;
        vst_box part;
        if (sample == 900) before = vst_memory_count(); /* images are swapped, so each must have had the largest size */
        vst_augment_begin(list, (vst_augment_view){.seed = 2, .sample = sample % 300}, 45, 64, &state, &part);
        ck_ok(vst_image_crop(&photo, part, &image));
        ck_ok(vst_augment_image(list, &state, &image, &scratch));
    }
    ck_assert_uint_eq(vst_memory_count(), before);
    vst_augment_destroy(list);
    vst_augment_scratch_clear(&scratch);
    vst_image_clear(&photo), vst_image_clear(&image);
}
END_TEST

/* Each allocation fails once: an error is returned, and nothing is leaked or freed twice (checked by the sanitizers).
 */
START_TEST(memory_fails) {
    vst_image photo = {0}, image = {0};
    int failures = 0;
    make_photo(&photo, 3, 45, 64, 9);
    for (uint64_t n = 1;; n++) {
        vst_augment *list = NULL;
        copy(&photo, &image);
        vst_memory_fail_at(n);
        vst_status status = vst_augment_create(&list, everything);
        if (status == VST_OK) status = vst_augment_apply(list, 1, 0, 5, &image);
        vst_memory_fail_at(0);
        vst_augment_destroy(list);
        if (status == VST_OK) break;
        ck_assert_msg(status == VST_ERROR_MEMORY, "%s: %s", vst_status_name(status), vst_error_message());
        failures++;
    }
    ck_assert_int_gt(failures, 30);
    vst_image_clear(&photo), vst_image_clear(&image);
}
END_TEST

/* ---- The tool of the parity test ---- */

static void read_pixels(vst_image *image, int channels, int height, int width) {
    if (vst_image_allocate(image, channels, height, width) != VST_OK) exit(1);
    const size_t size = (size_t)channels * (size_t)height * (size_t)width;
    if (fread(image->pixels, 1, size, stdin) != size) exit(1);
}

static void answer(vst_status status, const vst_image *image) {
    if (status != VST_OK) {
        fprintf(stderr, "%s\n", vst_error_message());
        exit(1);
    }
    printf("%d %d %d\n", image->channels, image->height, image->width);
    fwrite(image->pixels, 1, (size_t)image->channels * (size_t)image->height * (size_t)image->width, stdout);
    fflush(stdout);
}

/* Prints the random numbers of a stream, which Python's generator repeats. */
static void print_draws(vst_random random) {
    for (int i = 0; i < 64; i++) printf(" %.17g", vst_random_uniform(&random));
    printf("\n");
    fflush(stdout);
}

static void serve_crop(uint64_t sample, int height, int width, double scale_min, double scale_max) {
    const vst_augmentation *policy = &vsti_augmentation_random_resized_crop;
    vst_random random = stream(sample), again = random;
    rrc_options options = {0};
    vst_box box;
    if (vst_options_default(policy->options, &options) != VST_OK) exit(1);
    options.scale_min = scale_min;
    options.scale_max = scale_max;
    policy->crop(&options, &random, height, width, &box);
    printf("%d %d %d %d", box.top, box.left, box.height, box.width);
    print_draws(again);
}

/* Answers with an image: 0 where nothing is erased, 1 elsewhere. */
static void serve_erasing(uint64_t sample, int height, int width, const char *list) {
    const double zero = 1, one = 1;
    vst_augment *augment;
    vst_augment_state state;
    vst_image mask = {0};
    vst_box part;
    const size_t size = (size_t)height * (size_t)width;
    float *values = calloc(size, sizeof *values);
    vst_status status = vst_augment_create(&augment, list);
    if (status == VST_OK) status = vst_image_allocate(&mask, 1, height, width);
    if (status != VST_OK) answer(status, NULL);
    vst_augment_begin(augment, (vst_augment_view){.seed = 1, .epoch = 2, .sample = sample}, height, width, &state,
                      &part);
    vst_augment_finish(augment, &state, &(vst_augment_floats){values, 1, height, width, &zero, &one});
    for (size_t i = 0; i < size; i++) mask.pixels[i] = (uint8_t)values[i];
    print_draws(stream_of("random_erasing", sample));
    answer(VST_OK, &mask);
    free(values);
    vst_image_clear(&mask);
    vst_augment_destroy(augment);
}

/* Requests are a line, in most cases followed by the pixels it describes:
 *     op NAME ARGUMENT FILTER UNIFORM RED GREEN BLUE CHANNELS HEIGHT WIDTH    an operation; FILTER: a vst_filter's
 * number hue TURN CHANNELS HEIGHT WIDTH list SAMPLE CHANNELS HEIGHT WIDTH POLICIES                              a whole
 * list crop SAMPLE HEIGHT WIDTH SCALE_MIN SCALE_MAX                            box of random_resized_crop, its draws
 *     erase SAMPLE HEIGHT WIDTH POLICY                                        draws and mask of random_erasing */
static int serve(void) {
    char line[1024], name[32], text[512];
    int channels, height, width, filter, red, green, blue;
    double argument, uniform;
    uint64_t sample;
    vst_image image = {0}, scratch = {0};
    while (fgets(line, sizeof line, stdin)) {
        vst_status status = VST_OK;
        if (sscanf(line, "op %31s %lf %d %lf %d %d %d %d %d %d", name, &argument, &filter, &uniform, &red, &green,
                   &blue, &channels, &height, &width) == 10) {
            const uint8_t fill[3] = {(uint8_t)red, (uint8_t)green, (uint8_t)blue};
            const vsti_context context = {{(vst_filter)filter, fill}, uniform, &scratch};
            read_pixels(&image, channels, height, width);
            status = vsti_operation_find(name)->apply(&image, argument, &context);
        } else if (sscanf(line, "hue %lf %d %d %d", &argument, &channels, &height, &width) == 4) {
            read_pixels(&image, channels, height, width);
            vsti_shift_hue(&image, argument);
        } else if (sscanf(line, "list %" SCNu64 " %d %d %d %511[^\n]", &sample, &channels, &height, &width, text) ==
                   5) {
            vst_augment *augment;
            read_pixels(&image, channels, height, width);
            status = vst_augment_create(&augment, text);
            if (status == VST_OK) status = vst_augment_apply(augment, 1, 2, sample, &image);
            vst_augment_destroy(augment);
        } else if (sscanf(line, "crop %" SCNu64 " %d %d %lf %lf", &sample, &height, &width, &argument, &uniform) == 5) {
            serve_crop(sample, height, width, argument, uniform);
            continue;
        } else if (sscanf(line, "erase %" SCNu64 " %d %d %511[^\n]", &sample, &height, &width, text) == 4) {
            serve_erasing(sample, height, width, text);
            continue;
        } else return 1;
        answer(status, &image);
    }
    vst_image_clear(&image), vst_image_clear(&scratch);
    return 0;
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return serve();
    TCase *tests = tcase_create("augment");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, arguments_are_timms);
    tcase_add_test(tests, sub_policies_are_timms);
    tcase_add_test(tests, trivial_space_is_torchvisions);
    tcase_add_test(tests, hue_is_torchvisions);
    tcase_add_loop_test(tests, rand_sets, 0, 5);
    tcase_add_test(tests, rand_of_deit);
    tcase_add_test(tests, rand_keys);
    tcase_add_loop_test(tests, auto_plans, 0, 5);
    tcase_add_test(tests, auto_noise);
    tcase_add_test(tests, wrong_strings);
    tcase_add_test(tests, too_small_for_a_crop);
    tcase_add_test(tests, grey_images);
    tcase_add_test(tests, filters_by_name);
    tcase_add_test(tests, grey_fill);
    tcase_add_test(tests, rand_images);
    tcase_add_test(tests, trivial_images);
    tcase_add_loop_test(tests, simple_policies, 0, 6);
    tcase_add_test(tests, three_augment);
    tcase_add_test(tests, jitter_range);
    tcase_add_test(tests, jitter_order);
    tcase_add_test(tests, rrc_distribution);
    tcase_add_test(tests, rrc_places);
    tcase_add_test(tests, rrc_images);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, crop_reflected);
    tcase_add_test(tests, erasing_rectangles);
    tcase_add_test(tests, erasing_contents);
    tcase_add_test(tests, lists_are_pure);
    tcase_add_test(tests, memory_is_kept);
    tcase_add_test(tests, memory_fails);
    return run_suite("augment", tests);
}
