/* Programs of whole models: fusing, sharing and reordering memory changes no result; parameters are shared between
 * programs; runs allocate nothing; no slow reference implementation is chosen; a failing allocation anywhere is an
 * error without leak. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbones/backbone.h"
#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/kernels/kernels.h"
#include "vision/ops/ops.h"

/* ---- A model with its loss, ready to be made a program of ---- */

typedef struct setting {
    const char *variant;
    const char *const *overrides; /* pairs of key and value, NULL at the end */
    double limit; /* of a gradient's deviation; those before a batch norm are small sums of large terms */
    double flip;  /* of steps in which rounding decides whether a ReLU passes a gradient; the best of STEPS has none */
} setting;

static const char *const small_resnet[] = {"image", "28", "channels", "1", "width", "8", NULL};
static const char *const small_deit[] = {"dim", "36", "depth", "3", "heads", "3", "drop_path", "0.4", NULL};
static const char *const small_convit[] = {"dim", "32", "depth", "2", "heads", "2", "stem", "conv", NULL};
static const setting settings[] = {{"resnet8_cifar", small_resnet, 2e-4, 0.1},
                                   {"deit_mini_distilled_patch4_28", small_deit, 1e-5, 1e-5},
                                   {"vit_mini_patch4_28", small_convit, 2e-4, 0.1}};
enum { SETTINGS = 3, STEPS = 3 };

typedef struct graph {
    vst_graph *graph;
    vst_value outputs[3]; /* loss, logits, the distillation head's logits */
    int output_count, batch;
} graph;

static vst_model_config *create_model(const setting *s) {
    vst_model_config *model = NULL;
    ck_assert_int_eq(vst_model_config_create(&model, s->variant), VST_OK);
    for (const char *const *o = s->overrides; o && *o; o += 2)
        ck_assert_int_eq(vst_model_config_set(model, o[0], o[1]), VST_OK);
    return model;
}

/* Cross-entropy of the class head, and for a distilled model a divergence from a teacher for the other one. */
static graph build(vst_params *params, const vst_model_config *model, int batch) {
    graph g = {.batch = batch, .output_count = 2};
    ck_assert_int_eq(vst_graph_create(&g.graph, params), VST_OK);
    vst_model_build(g.graph, model, batch);
    g.outputs[1] = vst_find(g.graph, "logits");
    const vst_shape shape = vst_shape_at(g.graph, g.outputs[1]);
    g.outputs[0] = vst_cross_entropy(g.graph, g.outputs[1], vst_input(g.graph, "target", shape), 0.1);
    const vst_value second = vst_find(g.graph, "logits_dist");
    if (second.id) {
        const vst_value kl =
            vst_kl_divergence(g.graph, second, vst_input(g.graph, "teacher", shape), 3, VST_KL_BATCHMEAN);
        g.outputs[0] = vst_add(g.graph, g.outputs[0], kl);
        g.outputs[g.output_count++] = second;
    }
    vst_differentiate(g.graph, g.outputs[0]);
    ck_assert_msg(vst_graph_finish(g.graph) == VST_OK, "%s", vst_error_message());
    return g;
}

static vst_context *create_for(const graph *g, vst_mode mode, bool plain) {
    const vst_program_options options = {.mode = mode, .seed = 11, .plain = plain};
    return create_context(g->graph, g->outputs, g->output_count, &options);
}

/* The same numbers for the same image, whatever the batch; others for each step. */
static void fill(vst_context *context, const char *name, uint32_t step, int64_t count, double low, double high) {
    vst_random random = vst_random_stream(3, vst_random_id(name), step, 0);
    float *to = vst_context_input(context, name);
    for (int64_t i = 0; to && i < count; i++) to[i] = (float)(low + (high - low) * vst_random_uniform(&random));
}

static void run(const graph *g, vst_context *context, uint32_t step) {
    const vst_shape image = vst_shape_at(g->graph, vst_find(g->graph, "image"));
    const vst_shape logits = vst_shape_at(g->graph, g->outputs[1]);
    fill(context, "image", step, vst_shape_count(&image), 0, 1);
    fill(context, "target", step, vst_shape_count(&logits), 0, 0.2);
    fill(context, "teacher", step, vst_shape_count(&logits), -3, 3);
    const vst_status status = vst_context_run(context, step);
    ck_assert_msg(status == VST_OK, "%s", vst_error_message());
}

static int64_t output_count(const graph *g, int index) {
    const vst_shape shape = vst_shape_at(g->graph, g->outputs[index]);
    return vst_shape_count(&shape);
}

/* Largest difference, relative to the root mean square of `want`. */
static double deviation(const float *got, const float *want, size_t count) {
    return relative_difference(got, want, count, 1e-6);
}

static float *copy_of(const float *values, size_t count) {
    float *copy = malloc(count * sizeof *copy);
    ck_assert_ptr_nonnull(copy);
    return memcpy(copy, values, count * sizeof *copy);
}

typedef struct session {
    vst_model_config *model;
    vst_params *params;
    graph g;
} session;

static session start(const setting *s, int batch) {
    session t = {.model = create_model(s)};
    ck_assert_int_eq(vst_params_create(&t.params), VST_OK);
    t.g = build(t.params, t.model, batch);
    ck_assert_int_eq(vst_params_allocate(t.params, true, 1), VST_OK);
    return t;
}

static void finish(session *t) {
    vst_graph_destroy(t->g.graph);
    vst_params_destroy(t->params);
    vst_model_config_destroy(t->model);
}

/* ---- Plain and optimised ---- */

static size_t bytes_of(const vst_context *context) { return vst_program_context_bytes(vst_context_program(context)); }

/* The worst deviation of any gradient in the bucket from the same in `want`. */
static double gradients_off(const session *t, const float *got, const float *want, const char **name) {
    double worst = 0;
    for (size_t i = 0; i < vst_params_count(t->params); i++) {
        const vst_param_info *info = vst_params_at(t->params, i);
        const double off = deviation(got + info->offset, want + info->offset, info->count);
        if (off < worst) continue;
        worst = off;
        *name = info->name;
    }
    return worst;
}

START_TEST(plain_equals_optimised) {
    session t = start(&settings[_i], 6);
    vst_context *plain = create_for(&t.g, VST_TRAIN, true), *optimised = create_for(&t.g, VST_TRAIN, false);
    double best = INFINITY, worst_output = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        const char *name = "";
        run(&t.g, plain, step);
        float *gradients = copy_of(vst_params_gradients(t.params), vst_params_total(t.params));
        memset(vst_params_gradients(t.params), 0, vst_params_total(t.params) * sizeof(float));
        run(&t.g, optimised, step);
        for (int i = 0; i < t.g.output_count; i++) {
            const double off = deviation(vst_context_output(optimised, i), vst_context_output(plain, i),
                                         (size_t)output_count(&t.g, i));
            if (off > worst_output) worst_output = off;
            ck_assert_msg(off < 3e-5, "%s: output %d differs by %.2g", settings[_i].variant, i, off);
        }
        const double off = gradients_off(&t, vst_params_gradients(t.params), gradients, &name);
        best = fmin(best, off);
        ck_assert_msg(off < settings[_i].flip, "%s: the gradient of %s differs by %.2g", settings[_i].variant, name,
                      off);
        free(gradients);
    }
    printf("%s: plain and optimised differ by at most %.1e in outputs, %.1e in gradients; arena %zu and %zu bytes\n",
           settings[_i].variant, worst_output, best, bytes_of(plain), bytes_of(optimised));
    ck_assert_double_lt(best, settings[_i].limit);
    ck_assert_uint_lt(bytes_of(optimised), bytes_of(plain) * 2 / 3);
    destroy_context(plain);
    destroy_context(optimised);
    finish(&t);
}
END_TEST

START_TEST(inference_plain_equals_optimised) {
    session t = start(&settings[_i], 6);
    vst_context *plain = create_for(&t.g, VST_INFER, true), *optimised = create_for(&t.g, VST_INFER, false);
    for (uint32_t step = 0; step < 2; step++) {
        run(&t.g, plain, step);
        run(&t.g, optimised, step);
        for (int i = 0; i < t.g.output_count; i++)
            ck_assert_double_lt(deviation(vst_context_output(optimised, i), vst_context_output(plain, i),
                                          (size_t)output_count(&t.g, i)),
                                1e-5);
    }
    ck_assert_uint_lt(bytes_of(optimised), bytes_of(plain) * 2 / 3);
    destroy_context(plain);
    destroy_context(optimised);
    finish(&t);
}
END_TEST

/* ---- Programs over the same parameters ---- */

/* After training changed the values, an inference program made before gives what one made afterwards gives. */
START_TEST(shared_parameters) {
    session t = start(&settings[_i], 4);
    vst_context *train = create_for(&t.g, VST_TRAIN, false), *early = create_for(&t.g, VST_INFER, false);
    const size_t count = (size_t)output_count(&t.g, 1);
    run(&t.g, early, 0);
    float *before = copy_of(vst_context_output(early, 1), count);
    run(&t.g, train, 0);
    for (size_t i = 0; i < vst_params_trained(t.params); i++)
        vst_params_values(t.params)[i] -= 0.1f * vst_params_gradients(t.params)[i];
    vst_params_changed(t.params);
    run(&t.g, early, 0);
    const double change = deviation(vst_context_output(early, 1), before, count);
    ck_assert_double_gt(change, 1e-3);
    ck_assert(isfinite(change));
    vst_context *late = create_for(&t.g, VST_INFER, false);
    run(&t.g, late, 0);
    ck_assert_mem_eq(vst_context_output(early, 1), vst_context_output(late, 1), count * sizeof(float));
    free(before);
    destroy_context(train);
    destroy_context(early);
    destroy_context(late);
    finish(&t);
}
END_TEST

START_TEST(two_batch_sizes) {
    session t = start(&settings[_i], 5);
    const size_t registered = vst_params_count(t.params);
    graph small = build(t.params, t.model, 3);
    ck_assert_uint_eq(vst_params_count(t.params), registered);
    vst_context *five = create_for(&t.g, VST_INFER, false), *three = create_for(&small, VST_INFER, false);
    run(&t.g, five, 0);
    run(&small, three, 0);
    for (int i = 1; i < small.output_count; i++)
        ck_assert_double_lt(
            deviation(vst_context_output(three, i), vst_context_output(five, i), (size_t)output_count(&small, i)),
            1e-5);
    destroy_context(five);
    destroy_context(three);
    vst_graph_destroy(small.graph);
    finish(&t);
}
END_TEST

/* ---- What a run may do ---- */

START_TEST(runs_allocate_nothing) {
    session t = start(&settings[_i], 4);
    for (int mode = 0; mode < 2; mode++) {
        vst_context *context = create_for(&t.g, mode ? VST_TRAIN : VST_INFER, false);
        run(&t.g, context, 0); /* packs the weights */
        const uint64_t before = vst_memory_count();
        for (uint32_t step = 1; step < 4; step++) run(&t.g, context, step);
        if (mode) vst_params_changed(t.params); /* in training nothing is packed */
        run(&t.g, context, 4);
        ck_assert_uint_eq(vst_memory_count(), before);
        destroy_context(context);
    }
    finish(&t);
}
END_TEST

/* The gradients of one training run with so many threads. */
static float *trained(const session *t, int threads, uint32_t step) {
    const vst_program_options options = {.mode = VST_TRAIN, .seed = 11, .threads = threads};
    vst_context *context = create_context(t->g.graph, t->g.outputs, t->g.output_count, &options);
    run(&t->g, context, step);
    destroy_context(context);
    return copy_of(vst_params_gradients(t->params), vst_params_total(t->params));
}

/* Our kernels add in an order that does not depend on the threads; oneDNN's primitives do not promise it. */
START_TEST(threads_do_not_matter) {
    session t = start(&settings[_i], 6);
    const size_t total = vst_params_total(t.params);
    double best = INFINITY;
    size_t different = 0;
    for (uint32_t step = 0; step < STEPS; step++) {
        const char *name = "";
        float *one = trained(&t, 1, step), *two = trained(&t, 2, step);
        const double off = gradients_off(&t, two, one, &name);
        for (size_t i = 0; i < total; i++) different += one[i] != two[i];
        best = fmin(best, off);
        ck_assert_msg(off < settings[_i].flip, "%s: the gradient of %s differs by %.2g", settings[_i].variant, name,
                      off);
        free(one);
        free(two);
    }
    printf("%s: one and two threads differ in %zu of %zu gradients, by at most %.1e\n", settings[_i].variant, different,
           STEPS * total, best);
    ck_assert_double_lt(best, settings[_i].limit);
    finish(&t);
}
END_TEST

/* ---- Implementations ---- */

static int count_references(const char *name, const vst_context *context) {
    int found = 0;
    for (size_t i = 0; i < vst_context_profile_count(context); i++) {
        vst_profile_row row;
        vst_context_profile_at(context, i, &row);
        ck_assert_msg(row.implementation[0] || strstr(row.name, "reshape") || strstr(row.name, "slice"),
                      "%s: %s has no implementation", name, row.name);
        if (strncmp(row.implementation, "ref", 3) != 0) continue;
        printf("%s: %s %s is %s\n", name, row.name, row.shape, row.implementation);
        found++;
    }
    return found;
}

static int check_implementations(const char *variant, const char *const *overrides) {
    session t = start(&(setting){.variant = variant, .overrides = overrides}, 2);
    int found = 0;
    for (int mode = 0; mode < 2; mode++) {
        vst_context *context = create_for(&t.g, mode ? VST_TRAIN : VST_INFER, false);
        found += count_references(variant, context);
        destroy_context(context);
    }
    finish(&t);
    return found;
}

/* One of each kind of every family, on small images where the implementation does not depend on their size. */
START_TEST(no_reference_implementation) {
    static const char *const whole[] = {NULL};
    static const char *const grey[] = {"image", "28", "channels", "1", NULL};
    static const char *const small[] = {"image", "64", NULL};
    /* Groups of 4 channels: oneDNN's convolution prefers a layout for which it has no fast batch norm. */
    static const char *const groups[] = {"image", "36", "group", "4", "w0", "8", "stem_width", "8", "depth", "4", NULL};
    static const struct {
        const char *variant;
        const char *const *overrides;
    } models[] = {{"resnet20_cifar", whole},
                  {"resnet8_cifar", grey},
                  {"vit_mini_patch4_28", whole},
                  {"deit_mini_distilled_patch4_28", whole},
                  {"vit_tiny_patch16_224", whole},
                  {"deit_tiny_distilled_patch16_224", whole},
                  {"deit3_small_patch16_224", small},
                  {"resnet18", small},
                  {"resnet50", small},
                  {"resnet26d", small},
                  {"regnety_004", small},
                  {"regnety_002", groups},
                  {"efficientnet_b0", small},
                  {"efficientnet_lite0", small},
                  {"tf_efficientnet_b0", small},
                  {"mobilenetv2_100", small},
                  {"convnext_tiny", whole},
                  {"cct_7_3x1_32", whole}};
    int found = 0;
    if (!vsti_find_kernels("avx2")) {
        printf("skipped: this processor has no AVX2, the least that oneDNN is fast on\n");
        return;
    }
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        found += check_implementations(models[i].variant, models[i].overrides);
    fflush(stdout);
    ck_assert_msg(found == 0, "%d nodes run on reference implementations, listed above", found);
}
END_TEST

/* ---- Requests that cannot be met ---- */

START_TEST(impossible_requests) {
    vst_params *params = NULL;
    vst_graph *g = NULL;
    vst_program *program = NULL;
    ck_assert_int_eq(vst_params_create(&params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
    const vst_value p = vst_param(g, "p", VST_SHAPE(3), (vst_init){VST_INIT_ONES, 0, VST_PARAM_WEIGHT});
    const vst_value sum = vst_reduce_sum(g, p, 1, false), null = {0};
    vst_differentiate(g, sum);
    const vst_program_options train = {.mode = VST_TRAIN};
    ck_assert_int_eq(vst_program_create(&program, g, &null, 1, &train), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_program_create(&program, g, &sum, 1, &train), VST_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "allocate"));
    ck_assert_int_eq(vst_params_allocate(params, false, 1), VST_OK);
    ck_assert_int_eq(vst_program_create(&program, g, &sum, 1, &train), VST_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "gradients"));
    ck_assert_ptr_null(program);
    vst_context *context = create_context(g, &sum, 1, &(vst_program_options){.mode = VST_INFER});
    ck_assert_int_eq(vst_context_run(context, 0), VST_OK);
    ck_assert_float_eq(*vst_context_output(context, 0), 3);
    ck_assert_ptr_null(vst_context_output(context, 1));
    ck_assert_ptr_null(vst_context_input(context, "nothing"));
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

/* ---- The n-th allocation fails ---- */

/* Something of every kind: layers, views, reorders, several outputs, sums of gradients. */
static vst_value small_loss(vst_graph *g) {
    vst_value x = vst_input(g, "x", VST_SHAPE(2, 3, 6, 6)), y;
    VST_SCOPE (g, "conv")
        x = vst_conv2d(g, x, (vst_conv2d_options){.out = 16, .kernel = 3, .padding = 1, .bias = true});
    VST_SCOPE (g, "bn") x = vst_relu(g, vst_batch_norm(g, x, (vst_norm_options){0}));
    x = vst_max_pool(g, x, (vst_pool_options){.kernel = 2});
    vst_tap(g, "map", x);
    y = vst_permute(g, vst_reshape(g, x, VST_SHAPE(2, 16, 9)), (int[]){0, 2, 1});
    VST_SCOPE (g, "norm") x = vst_layer_norm(g, y, (vst_norm_options){0});
    VST_SCOPE (g, "qkv") x = vst_linear(g, x, (vst_linear_options){.features = 48, .bias = true});
    x = vst_add(g, y, vst_drop_path(g, vst_attention(g, vst_gelu(g, x), 2, 0), 0.5));
    x = vst_concat(g, (vst_value[]){vst_slice(g, x, 1, 0, 2), vst_slice(g, x, 1, 1, 3)}, 2, 1);
    x = vst_reduce_mean(g, x, 2, false);
    return vst_cross_entropy(g, x, vst_input(g, "target", VST_SHAPE(2, 16)), 0);
}

static vst_status attempt(vst_mode mode) {
    vst_status status = VST_OK;
    vst_params *params = NULL;
    vst_graph *g = NULL;
    vst_program *program = NULL;
    vst_context *context = NULL;
    VST_TRY(vst_params_create(&params));
    VST_TRY(vst_graph_create(&g, params));
    const vst_value loss = small_loss(g);
    vst_differentiate(g, loss);
    VST_TRY(vst_graph_finish(g));
    VST_TRY(vst_params_allocate(params, true, 1));
    VST_TRY(vst_program_create(&program, g, &loss, 1, &(vst_program_options){.mode = mode}));
    VST_TRY(vst_context_create(&context, program, NULL));
    VST_TRY(vst_context_run(context, 0));
out:
    vst_context_destroy(context);
    vst_program_destroy(program);
    vst_graph_destroy(g);
    vst_params_destroy(params);
    return status;
}

START_TEST(allocation_failures) {
    const vst_mode mode = _i ? VST_TRAIN : VST_INFER;
    omp_set_num_threads(1);
    ck_assert_int_eq(attempt(mode), VST_OK);
    uint64_t n = 1;
    for (bool reached = true; reached; n++) {
        const uint64_t before = vst_memory_count();
        vst_memory_fail_at(n);
        const vst_status status = attempt(mode);
        vst_memory_fail_at(0);
        reached = vst_memory_count() - before >= n;
        if (!reached) continue;
        ck_assert_msg(status == VST_ERROR_MEMORY && strstr(vst_error_message(), "memory"),
                      "allocation %llu: %s, \"%s\"", (unsigned long long)n, vst_status_name(status),
                      vst_error_message());
    }
    ck_assert_uint_gt(n, 100);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("plan");
    tcase_set_timeout(cases, 240);
    tcase_add_loop_test(cases, plain_equals_optimised, 0, SETTINGS);
    tcase_add_loop_test(cases, inference_plain_equals_optimised, 0, SETTINGS);
    tcase_add_loop_test(cases, shared_parameters, 0, SETTINGS);
    tcase_add_loop_test(cases, two_batch_sizes, 0, SETTINGS);
    tcase_add_loop_test(cases, runs_allocate_nothing, 0, SETTINGS);
    tcase_add_loop_test(cases, threads_do_not_matter, 0, SETTINGS);
    tcase_add_test(cases, no_reference_implementation);
    tcase_add_test(cases, impossible_requests);
    tcase_add_loop_test(cases, allocation_failures, 0, 2);
    return run_suite("plan", cases);
}
