/* The optimisation of DeiT and DeiT-III against the numbers of facebookresearch/deit and timm: losses and their
 * gradients, LAMB, learning rates, groups of parameters, mixed targets (tests/parity/make_deit_fixtures.py). */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backbones/backbone.h"
#include "datasets/loader/mix.h"
#include "recipes/distill/term.h"
#include "recipes/model/model.h"
#include "recipes/train/schedule.h"
#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/deit_numbers.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "tests/unit/term_text.h"
#include "vision/ops/ops.h"
#include "vision/optim/optim.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static void fill_sines(float *x, size_t count, double seed, double scale) {
    for (size_t i = 0; i < count; i++) x[i] = (float)(scale * sin(seed + 0.7 * (double)i));
}

static void near(const char *what, double got, double want, double share) {
    ck_assert_close(what, got, want, (tolerance){.absolute = share * 1e-3, .relative = share});
}

/* ---- LAMB ---- */

enum { TENSORS = 4 };

static void add(vst_params *params, const char *name, vst_shape shape) {
    int index;
    ck_ok(vst_params_add(params, name, shape, (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT}, &index));
}

START_TEST(lamb_is_timms) {
    vst_params *params;
    vst_optimizer *optimizer;
    const vst_optimizer_options options = {.name = "lamb",
                                           .beta1 = 0.9,
                                           .beta2 = 0.999,
                                           .epsilon = 1e-8,
                                           .weight_decay = lamb_numbers[_i].decay,
                                           .clip_norm = lamb_numbers[_i].clip};
    ck_ok(vst_params_create(&params));
    add(params, "a", VST_SHAPE(5, 7));
    add(params, "b", VST_SHAPE(5));
    add(params, "c", VST_SHAPE(4, 6));
    add(params, "zero", VST_SHAPE(3, 3));
    ck_ok(vst_params_allocate(params, true, 1));
    ck_ok(vst_optimizer_create(&optimizer, params, &options));
    for (size_t p = 0; p < TENSORS; p++) {
        const vst_param_info *info = vst_params_at(params, p);
        fill_sines(vst_params_values(params) + info->offset, info->count, (double)p, p == 3 ? 0 : 1);
    }
    for (int step = 0; step < LAMB_STEPS; step++) {
        for (size_t p = 0; p < TENSORS; p++) {
            const vst_param_info *info = vst_params_at(params, p);
            fill_sines(vst_params_gradients(params) + info->offset, info->count, 10 + (double)p + 1.3 * step, 1);
        }
        ck_ok(vst_optimizer_step(optimizer, 0.1 / (step + 1), NULL));
    }
    const float *want = lamb_numbers[_i].values;
    for (size_t p = 0; p < TENSORS; p++) {
        const vst_param_info *info = vst_params_at(params, p);
        for (size_t i = 0; i < info->count; i++)
            near(info->name, vst_params_values(params)[info->offset + i], *want++, 2e-6);
    }
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}
END_TEST

/* ---- Learning rates ---- */

/* At the beginning of every epoch of 7 steps the rate is timm's; in between it goes on evenly, where DeiT's stays. */
START_TEST(schedule_is_timms) {
    const bool whole = _i == 0;
    vst_schedule s = {
        .rate = 1e-3, .minimum = 1e-5, .warmup_rate = 1e-6, .warmup = 5 * 7, .steps = 30 * 7, .whole = whole};
    ck_ok(vst_schedule_choose(&s, "cosine", NULL));
    for (uint64_t epoch = 0; epoch < DEIT_EPOCHS; epoch++) {
        near("rate", vst_schedule_rate(&s, epoch * 7), schedule_numbers[_i][epoch], 1e-7);
        const double next = epoch + 1 < DEIT_EPOCHS ? schedule_numbers[_i][epoch + 1] : 1e-5;
        const double middle = vst_schedule_rate(&s, epoch * 7 + 3);
        const bool jump =
            whole && epoch == 4; /* the warm-up aims at the rate, the hidden cosine has gone on meanwhile */
        ck_assert(jump || (middle - schedule_numbers[_i][epoch]) * (middle - next) <= 0);
    }
    vst_schedule_clear(&s);
}
END_TEST

START_TEST(rates_scale_with_the_images_of_a_step) {
    const vst_optim_options deit = {
        .batch = 64, .accumulate = 16, .lr = 5e-4, .lr_rule = VST_LR_RULE_LINEAR, .lr_batch = 512};
    vst_optim_options root = deit;
    root.lr_rule = VST_LR_RULE_SQRT;
    near("linear", vsti_learning_rate(&deit), 1e-3, 1e-12); /* 5e-4 * 1024 / 512 */
    near("square root", vsti_learning_rate(&root), 5e-4 * sqrt(2), 1e-12);
    root.lr_rule = VST_LR_RULE_NONE;
    near("none", vsti_learning_rate(&root), 5e-4, 1e-12);
}
END_TEST

/* ---- Groups of parameters ---- */

/* Whether `names`, separated by spaces, has the name. */
static bool lists(const char *names, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = names; (at = strstr(at, name)); at++)
        if ((at == names || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0)) return true;
    return false;
}

START_TEST(decay_groups_are_timms) {
    vst_model_config *model;
    vst_graph *graph;
    vst_params *params;
    ck_ok(vst_model_config_create(&model, decay_numbers[_i].variant));
    ck_ok(vst_model_config_set(model, "depth", "1"));
    ck_ok(vst_model_declare(&graph, &params, model));
    ck_assert_int_eq((int)vst_params_count(params), decay_numbers[_i].count);
    for (size_t p = 0; p < vst_params_count(params); p++) {
        const vst_param_info *info = vst_params_at(params, p);
        const bool plain = lists(decay_numbers[_i].names, info->name);
        ck_assert_msg(info->kind == (plain ? VST_PARAM_NODECAY : VST_PARAM_WEIGHT), "%s: %s is %sdecayed there",
                      decay_numbers[_i].variant, info->name, plain ? "not " : "");
    }
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    vst_model_config_destroy(model);
}
END_TEST

/* ---- Targets and losses ---- */

static void mixed_target(float target[DEIT_CELLS], double smoothing) {
    const int labels[DEIT_ROWS] = {2, 0, 1, 4};
    const uint64_t samples[DEIT_ROWS] = {0, 1, 2, 3};
    vst_targets_fill(&(vst_target_options){DEIT_CLASSES, smoothing, UINT64_MAX}, labels, samples, DEIT_ROWS, target);
    vst_mix mixes[DEIT_ROWS];
    for (int i = 0; i < DEIT_ROWS; i++) mixes[i] = (vst_mix){.lambda = 0.3};
    vst_mix_targets(mixes, target, DEIT_ROWS, DEIT_CLASSES);
}

START_TEST(targets_are_timms) {
    float target[DEIT_CELLS];
    mixed_target(target, _i ? 0 : 0.1);
    for (int i = 0; i < DEIT_CELLS; i++) ck_assert_float_eq_tol(target[i], mixed_numbers[_i][i], 1e-6f);
}
END_TEST

/* Logits are parameters, so that their gradients can be read. */
typedef struct heads {
    vst_params *params;
    vst_graph *graph;
    vst_context *context;
} heads;

static heads heads_begin(void) {
    const vst_init zeros = {VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT};
    heads h;
    ck_ok(vst_params_create(&h.params));
    ck_ok(vst_graph_create(&h.graph, h.params));
    vst_tap(h.graph, "logits", vst_param(h.graph, "cls", VST_SHAPE(DEIT_ROWS, DEIT_CLASSES), zeros));
    vst_tap(h.graph, "logits_dist", vst_param(h.graph, "dist", VST_SHAPE(DEIT_ROWS, DEIT_CLASSES), zeros));
    return h;
}

static const vst_param_info *info_of(const heads *h, const char *name) {
    return vst_params_at(h->params, (size_t)vst_params_find(h->params, name));
}

/* Values of the heads: 2 sin(1 + …) and 2 sin(2 + …) as the script has them, but for the binary loss. */
static void heads_plan(heads *h, vst_value loss, double scale) {
    vst_differentiate(h->graph, loss);
    ck_ok(vst_graph_finish(h->graph));
    ck_ok(vst_params_allocate(h->params, true, 0));
    fill_sines(vst_params_values(h->params) + info_of(h, "cls")->offset, DEIT_CELLS, 1, scale);
    fill_sines(vst_params_values(h->params) + info_of(h, "dist")->offset, DEIT_CELLS, 2, scale);
    h->context = create_context(h->graph, &loss, 1, &(vst_program_options){.mode = VST_TRAIN});
}

static void heads_end(heads *h) {
    destroy_context(h->context);
    vst_graph_destroy(h->graph);
    vst_params_destroy(h->params);
}

static void compare_gradient(const heads *h, const char *name, const float *want) {
    const float *got = vst_params_gradients(h->params) + info_of(h, name)->offset;
    for (int i = 0; i < DEIT_CELLS; i++) ck_assert_float_eq_tol(got[i], want[i], 1e-6f);
}

static vst_value labels_loss(heads *h) {
    return vst_cross_entropy(h->graph, vst_find(h->graph, "logits"),
                             vst_input(h->graph, "target", VST_SHAPE(DEIT_ROWS, DEIT_CLASSES)), 0);
}

/* (1 - alpha) label loss + alpha term, as a recipe says it with label_weight and weight. */
START_TEST(distillation_losses_are_deits) {
    char name[VST_TEACHER_INPUT_NAME];
    heads h = heads_begin();
    const double alpha = loss_numbers[_i].alpha;
    vst_term_options term = term_of(loss_numbers[_i].hard ? "distance=hard" : "distance=kl reduction=elements");
    char tau[32];
    snprintf(tau, sizeof tau, "%g", (double)loss_numbers[_i].tau);
    ck_ok(vst_term_set(&term, "student", loss_numbers[_i].token ? "logits_dist" : "logits"));
    if (!loss_numbers[_i].hard) ck_ok(vst_term_set(&term, "temperature", tau));
    const vst_value none = {0},
                    taught = vst_term_build(h.graph, &term, 0, "logits", VST_SHAPE(DEIT_ROWS, DEIT_CLASSES), none);
    const vst_value labels = labels_loss(&h);
    heads_plan(&h, vst_add(h.graph, vst_scale(h.graph, labels, 1 - alpha), vst_scale(h.graph, taught, alpha)), 2);
    mixed_target(vst_context_input(h.context, "target"), 0.1);
    fill_sines(vst_context_input(h.context, vst_term_input(0, "logits", name)), DEIT_CELLS, 3, 3);
    if (!loss_numbers[_i].token)
        memset(vst_params_gradients(h.params), 0, vst_params_trained(h.params) * sizeof(float));
    ck_ok(vst_context_run(h.context, 0));
    near("loss", vst_context_output(h.context, 0)[0], loss_numbers[_i].loss, 1e-6);
    compare_gradient(&h, "cls", loss_numbers[_i].gradients);
    if (loss_numbers[_i].token) compare_gradient(&h, "dist", loss_numbers[_i].gradients + DEIT_CELLS);
    heads_end(&h);
    vst_term_clear(&term);
}
END_TEST

START_TEST(binary_loss_is_deit3s) {
    heads h = heads_begin();
    heads_plan(&h,
               vst_binary_cross_entropy(h.graph, vst_find(h.graph, "logits"),
                                        vst_input(h.graph, "target", VST_SHAPE(DEIT_ROWS, DEIT_CLASSES))),
               6);
    mixed_target(vst_context_input(h.context, "target"), 0);
    ck_ok(vst_context_run(h.context, 0));
    near("loss", vst_context_output(h.context, 0)[0], binary_numbers[0].loss, 1e-6);
    compare_gradient(&h, "cls", binary_numbers[0].gradient);
    heads_end(&h);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("deit");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, lamb_is_timms, 0, COUNT(lamb_numbers));
    tcase_add_loop_test(tests, schedule_is_timms, 0, COUNT(schedule_numbers));
    tcase_add_test(tests, rates_scale_with_the_images_of_a_step);
    tcase_add_loop_test(tests, decay_groups_are_timms, 0, COUNT(decay_numbers));
    tcase_add_loop_test(tests, targets_are_timms, 0, COUNT(mixed_numbers));
    tcase_add_loop_test(tests, distillation_losses_are_deits, 0, COUNT(loss_numbers));
    tcase_add_test(tests, binary_loss_is_deit3s);
    return run_suite("deit", tests);
}
