/* Parity with PyTorch and timm: logits, losses, every gradient, running statistics and ten steps of training against
 * the fixtures that make_fixtures.py wrote. What is expected there was computed in double. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbones/backbone.h"
#include "vision/ops/ops.h"
#include "vision/optim/optim.h"
#include "vision/plan/plan.h"

enum { BATCH = 8, CLASSES = 10, STEPS = 10, OUTPUTS = 5 };
static const double output_limit = 1e-5, gradient_limit = 1e-4, curve_limit = 1e-5;

/* ---- Fixtures ---- */

static vst_safetensors *fixture(const char *name, const char *part) {
    char path[512];
    vst_safetensors *file = NULL;
    snprintf(path, sizeof path, "%s/tests/parity/%s.%s.safetensors", VISTILL_SOURCE_DIR, name, part);
    ck_assert_msg(vst_safetensors_open(&file, path, NULL) == VST_OK, "%s", vst_error_message());
    return file;
}

/* A tensor's values, to be freed. */
static float *values_of(const vst_safetensors *file, const char *name, size_t *count) {
    const vst_tensor *tensor = vst_safetensors_find(file, name);
    ck_assert_msg(tensor != NULL, "%s has no tensor %s", vst_safetensors_path(file), name);
    *count = (size_t)vst_shape_count(&tensor->shape);
    float *values = malloc(*count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    vst_to_float(values, tensor->data, tensor->dtype, *count);
    return values;
}

/* Largest difference from a tensor of the fixture, relative to its root mean square. */
static double deviation(const vst_safetensors *file, const char *name, const float *got) {
    size_t count;
    float *want = values_of(file, name, &count);
    double squares = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        const double off = fabs((double)got[i] - want[i]);
        squares += (double)want[i] * want[i];
        if (!(off <= most)) most = off;
    }
    free(want);
    return most / fmax(sqrt(squares / (double)count), 1e-6);
}

static double check(const vst_safetensors *file, const char *name, const float *got, double limit) {
    const double off = deviation(file, name, got);
    ck_assert_msg(off <= limit, "%s: %s is off by %.2g of its root mean square, allowed %.1g",
                  vst_safetensors_path(file), name,
                  off, limit);
    return off;
}

/* ---- A model and its losses ---- */

typedef struct session {
    vst_model *model;
    vst_params *params;
    vst_graph *graph;
    vst_plan *train, *infer;
    vst_safetensors *weights, *expected;
    const char *outputs[OUTPUTS]; /* names in the fixture; the first is the loss that is differentiated */
    vst_value values[OUTPUTS];
    int output_count;
} session;

static void add_output(session *s, const char *name, vst_value value) {
    s->outputs[s->output_count] = name;
    s->values[s->output_count++] = value;
}

/* (1 - alpha) of the class head's loss and alpha of the distillation term. */
static vst_value mixed(vst_graph *g, vst_value base, vst_value term, double alpha) {
    return vst_add(g, vst_scale(g, base, 1 - alpha), vst_scale(g, term, alpha));
}

static void add_losses(session *s) {
    vst_graph *g = s->graph;
    const vst_shape shape = VST_SHAPE(BATCH, CLASSES);
    const vst_value logits = vst_find(g, "logits"), distilled = vst_find(g, "logits_dist");
    const vst_value base = vst_cross_entropy(g, logits, vst_input(g, "target", shape), 0);
    if (!distilled.id) {
        add_output(s, "loss", base);
        add_output(s, "logits", logits);
        return;
    }
    const vst_value teacher = vst_input(g, "teacher", shape);
    const vst_value hard = vst_cross_entropy(g, distilled, vst_one_hot_argmax(g, teacher), 0);
    add_output(s, "loss", mixed(g, base, hard, 0.5));
    add_output(s, "logits", logits);
    add_output(s, "logits_dist", distilled);
    add_output(s, "loss_elements", mixed(g, base, vst_kl_divergence(g, distilled, teacher, 3, VST_KL_ELEMENTS), 0.1));
    add_output(s, "loss_batchmean", mixed(g, base, vst_kl_divergence(g, distilled, teacher, 3, VST_KL_BATCHMEAN), 0.1));
}

static void load_weights(const session *s) {
    ck_assert_msg(vst_params_load(s->params, s->weights) == VST_OK, "%s", vst_error_message());
}

static session start(const char *name, const char *variant, const char *const *overrides) {
    session s = {.weights = fixture(name, "weights"), .expected = fixture(name, "expected")};
    ck_assert_int_eq(vst_model_create(&s.model, variant), VST_OK);
    for (const char *const *o = overrides; *o; o += 2) ck_assert_int_eq(vst_model_set(s.model, o[0], o[1]), VST_OK);
    ck_assert_int_eq(vst_params_create(&s.params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&s.graph, s.params), VST_OK);
    vst_model_build(s.graph, s.model, BATCH);
    add_losses(&s);
    vst_differentiate(s.graph, s.values[0]);
    ck_assert_msg(vst_graph_finish(s.graph) == VST_OK, "%s", vst_error_message());
    ck_assert_int_eq(vst_params_allocate(s.params, true, 1), VST_OK);
    load_weights(&s);
    const vst_plan_options train = {.mode = VST_TRAIN}, infer = {.mode = VST_INFER};
    ck_assert_int_eq(vst_plan_create(&s.train, s.graph, s.values, s.output_count, &train), VST_OK);
    ck_assert_int_eq(vst_plan_create(&s.infer, s.graph, s.values, s.output_count, &infer), VST_OK);
    return s;
}

static void finish(session *s) {
    vst_plan_destroy(s->train);
    vst_plan_destroy(s->infer);
    vst_graph_destroy(s->graph);
    vst_params_destroy(s->params);
    vst_model_destroy(s->model);
    vst_safetensors_close(s->weights);
    vst_safetensors_close(s->expected);
}

static void run(const session *s, vst_plan *plan) {
    static const char *const inputs[] = {"image", "target", "teacher"};
    for (int i = 0; i < 3; i++) {
        float *to = vst_plan_input(plan, inputs[i]);
        size_t count;
        if (!to) continue;
        float *from = values_of(s->expected, inputs[i], &count);
        memcpy(to, from, count * sizeof *to);
        free(from);
    }
    ck_assert_msg(vst_plan_run(plan, 0) == VST_OK, "%s", vst_error_message());
}

/* ---- Checks ---- */

static void check_inference(const session *s) {
    float logits[BATCH * CLASSES];
    run(s, s->infer);
    const bool distilled = vst_find(s->graph, "logits_dist").id != 0;
    for (int i = 0; i < BATCH * CLASSES; i++) /* timm and DeiT average the two heads' logits */
        logits[i] = distilled ? (vst_plan_output(s->infer, 1)[i] + vst_plan_output(s->infer, 2)[i]) / 2
                              : vst_plan_output(s->infer, 1)[i];
    printf("  inference: logits off by %.1e\n", check(s->expected, "logits_eval", logits, output_limit));
}

static void check_step(const session *s) {
    double worst = 0;
    const char *worst_name = "";
    run(s, s->train);
    for (int i = 0; i < s->output_count; i++) {
        const double off = check(s->expected, s->outputs[i], vst_plan_output(s->train, i), output_limit);
        printf("  training: %s off by %.1e\n", s->outputs[i], off);
    }
    for (size_t i = 0; i < vst_params_count(s->params); i++) {
        const vst_param_info *info = vst_params_at(s->params, i);
        char name[200];
        if (info->kind == VST_PARAM_COUNTER) continue;
        const bool running = info->kind == VST_PARAM_STATE;
        const float *bucket = running ? vst_params_values(s->params) : vst_params_gradients(s->params);
        snprintf(name, sizeof name, "%s.%s", running ? "state" : "gradient", info->name);
        const double off = check(s->expected, name, bucket + info->offset, running ? output_limit : gradient_limit);
        if (running || off < worst) continue;
        worst = off;
        worst_name = info->name;
    }
    printf("  training: worst gradient, of %s, off by %.1e\n", worst_name, worst);
}

static void check_curve(const session *s, const vst_optimizer_options *options, double rate) {
    vst_optimizer *optimizer = NULL;
    size_t count;
    double worst = 0;
    float *want = values_of(s->expected, "curve", &count);
    ck_assert_uint_eq(count, STEPS);
    load_weights(s);
    ck_assert_int_eq(vst_optimizer_create(&optimizer, s->params, options), VST_OK);
    for (int step = 0; step < STEPS; step++) {
        run(s, s->train);
        const double loss = *vst_plan_output(s->train, 0), off = fabs(loss - want[step]) / want[step];
        worst = fmax(worst, off);
        ck_assert_msg(off <= curve_limit, "the loss of step %d is %.8g, PyTorch's %.8g", step, loss,
                      (double)want[step]);
        ck_assert_int_eq(vst_optimizer_step(optimizer, rate, NULL), VST_OK);
    }
    ck_assert_double_lt(want[STEPS - 1], 0.9 * want[0]);
    printf("  %d steps: loss %.4f to %.4f, off by %.1e\n", STEPS, (double)want[0], (double)want[STEPS - 1], worst);
    vst_optimizer_destroy(optimizer);
    free(want);
}

START_TEST(resnet8) {
    static const char *const overrides[] = {"image", "28", "channels", "1", "width", "8", NULL};
    session s = start("resnet8", "resnet8_cifar", overrides);
    printf("ResNet-8, relative to the root mean square:\n");
    check_inference(&s);
    check_step(&s);
    check_curve(&s, &(vst_optimizer_options){.kind = VST_SGD, .momentum = 0.9, .nesterov = true,
                                             .weight_decay = 5e-4}, 0.02);
    finish(&s);
}
END_TEST

START_TEST(deit) {
    static const char *const overrides[] = {"dim", "32", "depth", "2", "heads", "2", "mlp_ratio", "2", NULL};
    session s = start("deit", "deit_mini_distilled_patch4_28", overrides);
    printf("Distilled DeiT, relative to the root mean square:\n");
    check_inference(&s);
    check_step(&s);
    check_curve(&s, &(vst_optimizer_options){.kind = VST_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8,
                                             .weight_decay = 0.05}, 1e-3);
    finish(&s);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("parity");
    TCase *cases = tcase_create("parity");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, resnet8);
    tcase_add_test(cases, deit);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
