/* Fusion in inference programs: each pattern gives the expected steps and the results of the plain program, also after
 * the parameters change. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/suite.h"
#include "vision/base/random.h"
#include "vision/ops/ops.h"

enum { CHANNELS = 16, MAX_OUTPUTS = 3, MAX_STEPS = 8 };

typedef struct pattern {
    const char *name;
    /* Builds from the image (2, 16, 6, 6); returns the number of outputs. */
    int (*build)(vst_graph *g, vst_value x, vst_value outputs[MAX_OUTPUTS]);
    const char *steps[MAX_STEPS]; /* the profile's operations in order, without reorders and views */
} pattern;

/* ---- Patterns ---- */

static vst_value conv(vst_graph *g, vst_value x, const char *name, bool bias) {
    VST_SCOPE (g, "%s", name)
        x = vst_conv2d(g, x, (vst_conv2d_options){.out = CHANNELS, .kernel = 3, .padding = 1, .bias = bias});
    return x;
}

static vst_value norm(vst_graph *g, vst_value x, const char *name) {
    VST_SCOPE (g, "%s", name) x = vst_batch_norm(g, x, (vst_norm_options){.epsilon = 1e-3});
    return x;
}

static vst_value linear(vst_graph *g, vst_value x, const char *name) {
    VST_SCOPE (g, "%s", name) x = vst_linear(g, x, (vst_linear_options){.features = 6, .bias = true});
    return x;
}

static int conv_norm_act(vst_graph *g, vst_value x, vst_value *out) {
    static vst_value (*const activations[])(vst_graph *, vst_value) = {vst_relu, vst_relu6,   vst_gelu,
                                                                       vst_silu, vst_sigmoid, vst_hardswish};
    for (int i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "conv%d", i);
        x = conv(g, x, name, i % 2);
        snprintf(name, sizeof name, "norm%d", i);
        x = activations[i](g, norm(g, x, name));
    }
    out[0] = x;
    return 1;
}

/* The block of a ResNet: of two products that are added, the later one computes the sum. */
static int basic_block(vst_graph *g, vst_value x, vst_value *out) {
    vst_value y = norm(g, conv(g, vst_relu(g, norm(g, conv(g, x, "conv1", false), "bn1")), "conv2", false), "bn2");
    const vst_value shortcut = norm(g, conv(g, x, "down", true), "down_bn");
    out[0] = vst_relu(g, vst_add(g, y, shortcut));
    return 1;
}

/* The residual is an output too, so it must not be overwritten by the sum. */
static int kept_residual(vst_graph *g, vst_value x, vst_value *out) {
    out[0] = vst_relu(g, conv(g, x, "first", true));
    out[1] = vst_add(g, out[0], norm(g, conv(g, out[0], "second", false), "bn"));
    return 2;
}

/* The input of the product is its residual, so the sum must not overwrite it. */
static int own_input(vst_graph *g, vst_value x, vst_value *out) {
    x = vst_relu(g, conv(g, x, "first", true));
    out[0] = vst_relu(g, vst_add(g, conv(g, x, "second", true), x));
    return 1;
}

/* Values with two readers and outputs must exist, so nothing is fused after them. */
static int read_twice(vst_graph *g, vst_value x, vst_value *out) {
    const vst_value y = conv(g, x, "first", true), z = conv(g, y, "second", true);
    out[0] = vst_mul(g, vst_relu(g, y), y);
    out[1] = z;
    out[2] = vst_relu(g, z);
    return 3;
}

/* Batch norm after an activation or a residual is not folded. */
static int late_norm(vst_graph *g, vst_value x, vst_value *out) {
    const vst_value y = norm(g, vst_relu(g, conv(g, x, "first", false)), "bn1");
    out[0] = norm(g, vst_add(g, conv(g, y, "second", false), x), "bn2");
    return 1;
}

/* A value added to itself; sums of different shapes; a normalised value that is a factor of another. */
static int odd_sums(vst_graph *g, vst_value x, vst_value *out) {
    const vst_value y = conv(g, x, "first", true);
    out[0] = vst_add(g, y, y);
    const vst_value pooled = vst_reduce_mean(g, x, 1u << 2 | 1u << 3, true);
    out[1] = vst_add(g, conv(g, x, "second", true), pooled);
    return 2;
}

/* The transformer's MLP, with drop path between product and sum. */
static int mlp(vst_graph *g, vst_value x, vst_value *out) {
    const vst_value y = linear(g, vst_gelu(g, linear(g, x, "fc1")), "fc2");
    out[0] = vst_add(g, x, vst_drop_path(g, y, 0.5));
    return 1;
}

/* Enough channels and pixels for Winograd's method; with residual, bounds, and another convolution that reads its
 * layout. */
static int wide_block(vst_graph *g, vst_value x, vst_value *out) {
    VST_SCOPE (g, "wide") x = vst_conv2d(g, x, (vst_conv2d_options){.out = 32, .kernel = 1});
    vst_value y = x;
    VST_SCOPE (g, "first")
        y = vst_conv2d(g, y, (vst_conv2d_options){.out = 48, .kernel = 3, .padding = 1, .bias = true});
    y = vst_relu6(g, norm(g, y, "bn1"));
    VST_SCOPE (g, "second") y = vst_conv2d(g, y, (vst_conv2d_options){.out = 32, .kernel = 3, .padding = 1});
    out[0] = vst_relu(g, vst_add(g, norm(g, y, "bn2"), x));
    return 1;
}

static const pattern patterns[] = {
    {"convolution, norm, activation",
     conv_norm_act,
     {"conv2d+norm+relu", "conv2d+norm+relu6", "conv2d+norm+gelu", "conv2d+norm+silu", "conv2d+norm+sigmoid",
      "conv2d+norm+hardswish"}},
    {"basic block", basic_block, {"conv2d+norm+relu", "conv2d+norm", "conv2d+norm+add+relu"}},
    {"kept residual", kept_residual, {"conv2d+relu", "conv2d+norm+add"}},
    {"own input", own_input, {"conv2d+relu", "conv2d+add+relu"}},
    {"read twice", read_twice, {"conv2d", "conv2d", "relu", "mul", "relu"}},
    {"late norm", late_norm, {"conv2d+relu", "batch_norm", "conv2d+add", "batch_norm"}},
    {"odd sums", odd_sums, {"conv2d", "add", "reduce_mean", "conv2d", "add"}},
    {"mlp", mlp, {"linear", "gelu", "linear+add"}},
    {"wide block", wide_block, {"conv2d", "conv2d+norm+relu6", "conv2d+norm+add+relu"}},
};

/* ---- Two plans of one pattern ---- */

typedef struct session {
    vst_params *params;
    vst_graph *graph;
    vst_context *fused, *plain;
    vst_value outputs[MAX_OUTPUTS];
    int output_count;
} session;

/* Sets values that would not hide a mistake; variances are positive. */
static void awaken(vst_params *params, uint64_t seed) {
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        vst_random random = vst_random_stream(seed, vst_random_id(info->name), 0, 0);
        const double low = strstr(info->name, "running_var") ? 0.5 : -0.5;
        float *values = vst_params_values(params) + info->offset;
        for (size_t k = 0; k < info->count; k++) values[k] = (float)(low + vst_random_uniform(&random));
    }
    vst_params_changed(params);
}

static session start(const pattern *p) {
    session s = {0};
    ck_assert_int_eq(vst_params_create(&s.params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&s.graph, s.params), VST_OK);
    s.output_count = p->build(s.graph, vst_input(s.graph, "x", VST_SHAPE(2, CHANNELS, 6, 6)), s.outputs);
    ck_assert_msg(vst_graph_finish(s.graph) == VST_OK, "%s", vst_error_message());
    ck_assert_int_eq(vst_params_allocate(s.params, false, 1), VST_OK);
    awaken(s.params, 1);
    const vst_program_options fused = {.mode = VST_INFER}, plain = {.mode = VST_INFER, .plain = true};
    s.fused = create_context(s.graph, s.outputs, s.output_count, &fused);
    s.plain = create_context(s.graph, s.outputs, s.output_count, &plain);
    return s;
}

static void finish(session *s) {
    destroy_context(s->fused);
    destroy_context(s->plain);
    vst_graph_destroy(s->graph);
    vst_params_destroy(s->params);
}

static void run(vst_context *context) {
    vst_random random = vst_random_stream(5, 0, 0, 0);
    float *x = vst_context_input(context, "x");
    for (int i = 0; i < 2 * CHANNELS * 36; i++) x[i] = (float)(2 * vst_random_uniform(&random) - 1);
    ck_assert_msg(vst_context_run(context, 0) == VST_OK, "%s", vst_error_message());
}

static double compare(const session *s) {
    double worst = 0;
    run(s->fused);
    run(s->plain);
    for (int i = 0; i < s->output_count; i++) {
        const vst_shape shape = vst_shape_at(s->graph, s->outputs[i]);
        const float *got = vst_context_output(s->fused, i), *want = vst_context_output(s->plain, i);
        ck_assert_double_gt(rms(want, vst_shape_count(&shape)), 0);
        const double off = relative_difference(got, want, vst_shape_count(&shape), 0);
        if (off > worst) worst = off;
    }
    return worst;
}

START_TEST(equals_plain) {
    const pattern *p = &patterns[_i];
    session s = start(p);
    const double before = compare(&s);
    awaken(s.params, 2); /* folded and packed weights must be updated */
    const double after = compare(&s);
    printf("%s: fused and plain differ by %.1e, after a change of the parameters by %.1e\n", p->name, before, after);
    fflush(stdout);
    ck_assert_double_lt(before, 2e-5);
    ck_assert_double_lt(after, 2e-5);
    finish(&s);
}
END_TEST

static bool is_shown(const char *operation) {
    static const char *const hidden[] = {"reorder", "reshape", "slice", "dropout"};
    for (int i = 0; i < 4; i++)
        if (strcmp(operation, hidden[i]) == 0) return false;
    return true;
}

START_TEST(steps_are_fused) {
    const pattern *p = &patterns[_i];
    session s = start(p);
    int found = 0;
    for (size_t i = 0; i < vst_context_profile_count(s.fused); i++) {
        vst_profile_row row;
        vst_context_profile_at(s.fused, i, &row);
        const char *operation = strrchr(row.name, ' ') + 1;
        if (!is_shown(operation)) continue;
        ck_assert_msg(found < MAX_STEPS && p->steps[found], "%s: one step more than expected, %s", p->name, row.name);
        ck_assert_msg(strcmp(operation, p->steps[found]) == 0, "%s: step %d is %s, expected %s", p->name, found,
                      row.name, p->steps[found]);
        found++;
    }
    ck_assert_msg(found == MAX_STEPS || !p->steps[found], "%s: no step %s", p->name, p->steps[found]);
    finish(&s);
}
END_TEST

START_TEST(winograd_is_chosen) {
    static const pattern wide = {"wide block", wide_block, {NULL}};
    session s = start(&wide);
    int found = 0;
    for (size_t i = 0; i < vst_context_profile_count(s.fused); i++) {
        vst_profile_row row;
        vst_context_profile_at(s.fused, i, &row);
        found += strcmp(row.implementation, "vistill:winograd") == 0;
    }
    ck_assert_int_eq(found, 2);
    finish(&s);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("fuse");
    const int count = (int)(sizeof patterns / sizeof *patterns);
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, equals_plain, 0, count);
    tcase_add_loop_test(cases, steps_are_fused, 0, count);
    tcase_add_test(cases, winograd_is_chosen);
    return run_suite("fuse", cases);
}
