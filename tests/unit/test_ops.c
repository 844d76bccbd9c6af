/* Every operation against the naive kernels of reference.c: the forward pass of training and inference plans, and
 * gradients against central differences of those kernels, over awkward shapes, in plain and optimised plans, for every
 * instruction set. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/reference.h"
#include "tests/unit/suite.h"
#include "vision/kernels/kernels.h"
#include "vision/ops/ops.h"

enum { OPERANDS = 5, CASES = 128, SAMPLES = 40, ISAS = 3 };
static const double forward_limit = 1e-5, gradient_limit = 1e-4; /* relative to the root mean square */

/* ---- Cases ---- */

typedef enum values {
    UNIFORM,  /* -1 … 1 */
    AWAY,     /* -7 … 7, away from the kinks of the activations */
    DISTINCT, /* no two closer than 0.01 */
    TARGETS   /* rows that sum to 1 */
} values;

typedef struct operand {
    vst_shape shape;
    const char *name; /* of a parameter that the operation makes itself; NULL: a parameter p0, p1 … of the test */
    bool input;       /* an input without gradient */
    values fill;
} operand;

typedef struct op_case {
    const char *name;
    operand in[OPERANDS];
    int count;
    ref_window window;
    bool flag, other;
    int number, order[VST_MAX_RANK];
    double factor;
    vst_shape shape;
    bool training; /* inference plans compute something else */
    vst_value (*build)(vst_graph *g, const struct op_case *c, const vst_value *x);
    void (*reference)(const struct op_case *c, const ref *x, ref *out);
} op_case;

static uint64_t state;
static double uniform(double low, double high) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return low + (high - low) * (double)(state >> 11) * 0x1p-53;
}

static double away_from_kinks(double x) {
    static const double kinks[] = {-3, 0, 3, 6};
    for (int i = 0; i < 4; i++)
        if (fabs(x - kinks[i]) < 0.05) return kinks[i] + 0.1;
    return x;
}

/* Values that are exact in float, so that both sides see the same ones. */
static void fill(double *x, const operand *o) {
    const int64_t n = vst_shape_count(&o->shape), cols = o->shape.rank ? o->shape.dim[o->shape.rank - 1] : 1;
    for (int64_t i = 0; i < n; i++) {
        x[i] = o->fill == AWAY ? away_from_kinks(uniform(-7, 7)) : uniform(-1, 1);
        if (o->fill == DISTINCT) x[i] = 0.02 * (double)(i - n / 2);
        if (o->fill == TARGETS) x[i] = uniform(0, 2) / (double)cols;
    }
    for (int64_t i = n - 1; i > 0 && o->fill == DISTINCT; i--) {
        const int64_t k = (int64_t)uniform(0, (double)i + 0.999);
        const double kept = x[i];
        x[i] = x[k];
        x[k] = kept;
    }
    for (int64_t i = 0; i < n; i++) x[i] = (float)x[i];
}

/* ---- Comparison ---- */

static int failures;
static double worst_forward, worst_gradient;
static const char *variant;

static void complain(const op_case *c, const char *what) {
    char shapes[OPERANDS * VST_SHAPE_TEXT] = "", text[VST_SHAPE_TEXT];
    for (int i = 0; i < c->count; i++)
        snprintf(shapes + strlen(shapes), VST_SHAPE_TEXT, " %s", vst_shape_text(&c->in[i].shape, text));
    printf("%s%s [%s, kernel %d stride %d padding %d dilation %d groups %d, flags %d %d, number %d]: %s\n", c->name,
           shapes, variant, c->window.kernel, c->window.stride, c->window.padding, c->window.dilation, c->window.groups,
           c->flag, c->other, c->number, what);
    failures++;
}

/* Complains of the first element that is off by more than `share` of the root mean square, or of `least`. */
static void complain_of_difference(const op_case *c, const char *what, const float *got, const double *want,
                                   int64_t count, double share, double least) {
    const double scale = rms(want, count);
    const tolerance allowed = {.absolute = share * (scale > least ? scale : least)};
    const int64_t at = first_difference(got, want, count, allowed);
    char text[300], difference[192];
    if (at < 0) return;
    snprintf(text, sizeof text, "%s: %s", what,
             describe_difference(difference, NUMBERS(got), NUMBERS(want), count, at, allowed));
    complain(c, text);
}

static void compare_forward(const op_case *c, const char *what, const float *got, const ref *want) {
    const double least = 0.1; /* single numbers near 0 are not compared with themselves */
    const double off = relative_difference(got, want->data, ref_count(want), least);
    if (off > worst_forward) worst_forward = off;
    complain_of_difference(c, what, got, want->data, ref_count(want), forward_limit, least);
}

/* Central differences of sum(weight * reference) at a sample of one operand's elements. */
typedef struct slopes {
    int count;
    int64_t at[SAMPLES];
    double value[SAMPLES];
} slopes;

static double weighted_sum(const op_case *c, const ref *x, const double *weight, ref *out) {
    double sum = 0;
    c->reference(c, x, out);
    for (int64_t i = 0; i < ref_count(out); i++) sum += weight[i] * out->data[i];
    return sum;
}

static slopes differences(const op_case *c, ref *x, int which, const double *weight, ref *out) {
    const int64_t n = ref_count(&x[which]);
    const double h = 1e-5;
    slopes s = {.count = n < SAMPLES ? (int)n : SAMPLES};
    for (int i = 0; i < s.count; i++) {
        double *element = &x[which].data[s.at[i] = i * n / s.count];
        const double kept = *element;
        *element = kept + h;
        const double above = weighted_sum(c, x, weight, out);
        *element = kept - h;
        s.value[i] = (above - weighted_sum(c, x, weight, out)) / (2 * h);
        *element = kept;
    }
    return s;
}

static void compare_gradient(const op_case *c, const char *name, const float *got, const slopes *want) {
    float sampled[SAMPLES];
    char what[64];
    for (int i = 0; i < want->count; i++) sampled[i] = got[want->at[i]];
    snprintf(what, sizeof what, "gradient of %s, sampled", name);
    const double off = relative_difference(sampled, want->value, want->count, 1e-3);
    if (off > worst_gradient) worst_gradient = off;
    complain_of_difference(c, what, sampled, want->value, want->count, gradient_limit, 1e-3);
}

/* ---- One case ---- */

typedef struct data {
    ref x[OPERANDS], out;
    double *weight;
    slopes want[OPERANDS];
} data;

static const char *operand_name(const op_case *c, int i, char buffer[16]) {
    if (c->in[i].name) return c->in[i].name;
    snprintf(buffer, 16, "%c%d", c->in[i].input ? 'i' : 'p', i);
    return buffer;
}

static vst_value build(vst_graph *g, const op_case *c, vst_value *loss) {
    vst_value x[OPERANDS] = {{0}};
    char name[16];
    for (int i = 0; i < c->count; i++) {
        if (c->in[i].name) continue;
        operand_name(c, i, name);
        x[i] = c->in[i].input ? vst_input(g, name, c->in[i].shape) : vst_param(g, name, c->in[i].shape, (vst_init){0});
    }
    const vst_value out = c->build(g, c, x);
    if (!out.id) return out;
    const vst_shape shape = vst_shape_at(g, out);
    const vst_value product = vst_mul(g, out, vst_input(g, "w", shape));
    *loss = vst_reduce_sum(g, product, (1u << shape.rank) - 1, false);
    vst_differentiate(g, *loss);
    return out;
}

static void set_params(vst_params *params, const op_case *c, const data *d) {
    char name[16];
    for (int i = 0; i < c->count; i++) {
        const int index = vst_params_find(params, operand_name(c, i, name));
        if (index < 0) continue;
        const vst_param_info *info = vst_params_at(params, (size_t)index);
        for (size_t k = 0; k < info->count; k++) vst_params_values(params)[info->offset + k] = (float)d->x[i].data[k];
    }
    vst_params_changed(params);
}

static void set_inputs(vst_context *context, const op_case *c, const data *d) {
    char name[16];
    for (int i = 0; i < c->count; i++) {
        float *to = c->in[i].input ? vst_context_input(context, operand_name(c, i, name)) : NULL;
        for (int64_t k = 0; to && k < ref_count(&d->x[i]); k++) to[k] = (float)d->x[i].data[k];
    }
    float *to = vst_context_input(context, "w");
    for (int64_t k = 0; to && k < ref_count(&d->out); k++) to[k] = (float)d->weight[k];
}

/* Runs one program twice, since the second run meets what the first one left in the arena. */
static bool run_twice(const op_case *c, const data *d, vst_context *context) {
    for (uint32_t step = 0; step < 2; step++) {
        set_inputs(context, c, d);
        if (vst_context_run(context, step) == VST_OK) continue;
        complain(c, vst_error_message());
        return false;
    }
    return true;
}

static void check_gradients(const op_case *c, const data *d, vst_params *params) {
    char name[16];
    for (int i = 0; i < c->count; i++) {
        if (c->in[i].input) continue;
        const int index = vst_params_find(params, operand_name(c, i, name));
        if (index < 0) complain(c, "a parameter does not exist");
        else
            compare_gradient(c, operand_name(c, i, name),
                             vst_params_gradients(params) + vst_params_at(params, (size_t)index)->offset, &d->want[i]);
    }
}

static void check_program(const op_case *c, const data *d, vst_graph *g, vst_params *params, vst_value out,
                          vst_mode mode, bool plain) {
    char text[64];
    vst_program *program = NULL;
    vst_context *context = NULL;
    snprintf(text, sizeof text, "%s, %s, %s", vsti_get_kernels()->isa, mode == VST_TRAIN ? "train" : "infer",
             plain ? "plain" : "optimised");
    variant = text;
    if (vst_program_create(&program, g, &out, 1, &(vst_program_options){.mode = mode, .plain = plain}) != VST_OK ||
        vst_context_create(&context, program, NULL) != VST_OK) {
        complain(c, vst_error_message());
    } else if (run_twice(c, d, context)) {
        compare_forward(c, "output", vst_context_output(context, 0), &d->out);
        if (mode == VST_TRAIN) check_gradients(c, d, params);
    }
    vst_context_destroy(context);
    vst_program_destroy(program);
    variant = vsti_get_kernels()->isa;
}

static void prepare(const op_case *c, data *d, vst_shape shape) {
    for (int i = 0; i < c->count; i++) {
        d->x[i] = ref_make(c->in[i].shape);
        fill(d->x[i].data, &c->in[i]);
    }
    d->out = ref_make(shape);
    const int64_t n = ref_count(&d->out);
    d->weight = malloc((size_t)n * sizeof *d->weight);
    for (int64_t i = 0; i < n; i++) d->weight[i] = (float)uniform(-1, 1);
    for (int i = 0; i < c->count; i++)
        if (!c->in[i].input) d->want[i] = differences(c, d->x, i, d->weight, &d->out);
    c->reference(c, d->x, &d->out);
}

static void release(data *d) {
    for (int i = 0; i < OPERANDS; i++) ref_free(&d->x[i]);
    ref_free(&d->out);
    free(d->weight);
}

static void check_case(const op_case *c) {
    vst_params *params = NULL;
    vst_graph *g = NULL;
    vst_value loss = {0};
    data d = {0};
    state = 12345;
    ck_assert_int_eq(vst_params_create(&params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
    const vst_value out = build(g, c, &loss);
    if (vst_graph_finish(g) != VST_OK || vst_params_allocate(params, true, 1) != VST_OK) {
        complain(c, vst_error_message());
    } else {
        const vst_shape shape = vst_shape_at(g, out);
        prepare(c, &d, shape);
        if (!vst_shape_equal(&shape, &d.out.shape)) complain(c, "the output's shape is not the reference's");
        set_params(params, c, &d);
        for (int plain = 0; plain < 2; plain++) {
            check_program(c, &d, g, params, out, VST_TRAIN, plain);
            if (!c->training) check_program(c, &d, g, params, out, VST_INFER, plain);
        }
    }
    release(&d);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}

/* ---- A group of cases on one instruction set: each runs in its own process, where nothing is chosen yet ---- */

static bool select_isa(int index) {
    static const char *const ours[ISAS] = {"generic", "avx2", "avx512"}, *const theirs[ISAS] = {"SSE41", "AVX2",
                                                                                                "AVX512_CORE"};
    if (!vsti_find_kernels(ours[index])) {
        printf("skipped: this processor has no %s\n", ours[index]);
        return false;
    }
    setenv("VISTILL_ISA", ours[index], 1);
    setenv("ONEDNN_MAX_CPU_ISA", theirs[index], 1);
    variant = ours[index];
    return true;
}

static void run_group(const char *name, int isa, int (*cases)(op_case *)) {
    static op_case list[CASES];
    if (!select_isa(isa)) return;
    const int count = cases(list);
    ck_assert_int_le(count, CASES);
    for (int i = 0; i < count; i++) check_case(&list[i]);
    printf("%s on %s: %d cases, worst output %.1e, worst gradient %.1e of the root mean square\n", name, variant, count,
           worst_forward, worst_gradient);
    fflush(stdout); /* a failing check leaves without it */
    ck_assert_msg(failures == 0, "%s on %s: %d failures, listed above", name, variant, failures);
}
#define GROUP(name)                                          \
    START_TEST(name) { run_group(#name, _i, name##_cases); } \
    END_TEST

/* ---- Convolution ---- */

static vst_value conv_build(vst_graph *g, const op_case *c, const vst_value *x) {
    const ref_window *w = &c->window;
    return vst_conv2d(g, x[0],
                      (vst_conv2d_options){.out = c->number,
                                           .kernel = w->kernel,
                                           .stride = w->stride,
                                           .padding = w->padding,
                                           .dilation = w->dilation,
                                           .groups = w->groups,
                                           .same = w->same,
                                           .bias = c->flag});
}
static void conv_reference(const op_case *c, const ref *x, ref *out) {
    ref_conv2d(&x[0], &x[1], c->flag ? &x[2] : NULL, c->window, out);
}

static int conv2d_cases(op_case *list) {
    /* batch, in, height, width; out, kernel, stride, padding (-1: SAME), dilation, groups; bias */
    static const int rows[][11] = {{1, 3, 8, 7, 8, 3, 2, -1, 1, 1, 1},    {2, 16, 6, 6, 16, 5, 2, -1, 1, 16, 0},
                                   {1, 4, 5, 9, 6, 2, 1, -1, 1, 1, 1},    {1, 16, 7, 8, 16, 3, 3, -1, 1, 1, 0},
                                   {2, 17, 4, 4, 17, 5, 2, -1, 1, 17, 0}, {1, 8, 9, 8, 8, 3, 2, -1, 2, 1, 0},
                                   {1, 3, 9, 6, 4, 1, 2, -1, 1, 1, 0},    {1, 1, 7, 5, 3, 3, 1, 1, 1, 1, 1},
                                   {2, 3, 8, 8, 16, 3, 2, 1, 1, 1, 0},    {1, 16, 5, 5, 16, 3, 1, 1, 1, 1, 1},
                                   {2, 17, 6, 7, 5, 3, 1, 1, 1, 1, 1},    {1, 24, 4, 4, 17, 1, 1, 0, 1, 1, 1},
                                   {2, 16, 7, 7, 24, 1, 2, 0, 1, 1, 0},   {2, 16, 6, 6, 24, 1, 2, 0, 1, 1, 1},
                                   {1, 3, 9, 9, 5, 3, 1, 2, 2, 1, 1},     {1, 16, 9, 7, 16, 3, 2, 3, 3, 1, 0},
                                   {2, 16, 6, 6, 16, 3, 1, 1, 1, 16, 0},  {1, 24, 7, 7, 24, 3, 2, 1, 1, 24, 1},
                                   {1, 17, 6, 6, 17, 5, 1, 2, 1, 17, 1},  {2, 16, 5, 5, 32, 3, 1, 1, 1, 4, 1},
                                   {1, 5, 5, 5, 10, 3, 1, 1, 1, 5, 1},    {2, 8, 6, 6, 12, 3, 2, 1, 1, 4, 1},
                                   {1, 1, 14, 14, 4, 7, 7, 0, 1, 1, 1},   {2, 3, 12, 12, 24, 4, 4, 0, 1, 1, 1},
                                   {1, 5, 1, 1, 3, 1, 1, 0, 1, 1, 1},     {1, 1, 3, 3, 1, 3, 1, 0, 1, 1, 0},
                                   {1, 3, 7, 7, 8, 2, 2, 0, 1, 1, 1},     {2, 24, 1, 1, 24, 1, 1, 0, 1, 1, 1},
                                   {1, 32, 3, 3, 32, 1, 1, 0, 1, 2, 0}};
    int count = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int *r = rows[i];
        list[count++] = (op_case){.name = "conv2d",
                                  .in = {{.shape = VST_SHAPE(r[0], r[1], r[2], r[3])},
                                         {.shape = VST_SHAPE(r[4], r[1] / r[9], r[5], r[5]), .name = "weight"},
                                         {.shape = VST_SHAPE(r[4]), .name = "bias"}},
                                  .count = r[10] ? 3 : 2,
                                  .window = {r[5], r[6], r[7] < 0 ? 0 : r[7], r[8], r[9], .same = r[7] < 0},
                                  .number = r[4],
                                  .flag = r[10],
                                  .build = conv_build,
                                  .reference = conv_reference};
    }
    return count;
}
GROUP(conv2d)

/* ---- Products ---- */

static vst_value linear_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_linear(g, x[0], (vst_linear_options){.features = c->number, .bias = c->flag});
}
static void linear_reference(const op_case *c, const ref *x, ref *out) {
    ref_linear(&x[0], &x[1], c->flag ? &x[2] : NULL, out);
}
static vst_value matmul_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_matmul(g, x[0], x[1], c->flag, c->other);
}
static void matmul_reference(const op_case *c, const ref *x, ref *out) {
    ref_matmul(&x[0], &x[1], c->flag, c->other, out);
}

static int linear_cases(op_case *list) {
    static const struct {
        vst_shape x;
        int features;
    } rows[] = {{{2, {1, 5}}, 3},   {{3, {2, 3, 17}}, 16},   {{1, {24}}, 5},       {{2, {1, 1}}, 1},
                {{2, {7, 16}}, 24}, {{4, {2, 3, 2, 5}}, 17}, {{3, {1, 1, 16}}, 1}, {{2, {33, 3}}, 17}};
    int count = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int bias = 0; bias < 2; bias++) {
            const int64_t k = rows[i].x.dim[rows[i].x.rank - 1];
            list[count++] = (op_case){.name = "linear",
                                      .in = {{.shape = rows[i].x},
                                             {.shape = VST_SHAPE(rows[i].features, k), .name = "weight"},
                                             {.shape = VST_SHAPE(rows[i].features), .name = "bias"}},
                                      .count = bias ? 3 : 2,
                                      .number = rows[i].features,
                                      .flag = bias,
                                      .build = linear_build,
                                      .reference = linear_reference};
        }
    return count;
}
GROUP(linear)

/* (leading…, rows, cols), or its transpose */
static vst_shape matrices(const vst_shape *leading, int64_t rows, int64_t cols, bool transpose) {
    vst_shape shape = *leading;
    shape.dim[shape.rank++] = transpose ? cols : rows;
    shape.dim[shape.rank++] = transpose ? rows : cols;
    return shape;
}

static int matmul_cases(op_case *list) {
    static const vst_shape leading[] = {{0, {0}}, {1, {1}}, {1, {3}}, {2, {2, 3}}};
    static const int64_t sizes[][3] = {{3, 5, 4}, {1, 17, 1}, {16, 1, 24}, {5, 16, 1}, {17, 24, 16}}; /* m, k, n */
    const vst_shape none = VST_SCALAR;
    int count = 0;
    for (int l = 0; l < 4; l++)
        for (int s = 0; s < 5; s++)
            for (int t = 0; t < 5; t++) { /* the fifth: a stack times one matrix */
                const int64_t *n = sizes[s];
                const bool ta = t < 4 && t & 1, tb = t < 4 ? t >> 1 : s & 1;
                if (t == 4 && l == 0) continue;
                list[count++] = (op_case){.name = "matmul",
                                          .in = {{.shape = matrices(&leading[l], n[0], n[1], ta)},
                                                 {.shape = matrices(t == 4 ? &none : &leading[l], n[1], n[2], tb)}},
                                          .count = 2,
                                          .flag = ta,
                                          .other = tb,
                                          .build = matmul_build,
                                          .reference = matmul_reference};
            }
    return count;
}
GROUP(matmul)

/* ---- Norms ---- */

static vst_value batch_norm_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_batch_norm(g, x[0], (vst_norm_options){.epsilon = c->factor});
}
static void batch_norm_reference(const op_case *c, const ref *x, ref *out) {
    ref_batch_norm(&x[0], &x[1], &x[2], c->factor ? c->factor : 1e-5, out, NULL, NULL);
}
static vst_value layer_norm_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_layer_norm(g, x[0], (vst_norm_options){.epsilon = c->factor});
}
static void layer_norm_reference(const op_case *c, const ref *x, ref *out) {
    ref_layer_norm(&x[0], &x[1], &x[2], c->factor ? c->factor : 1e-6, out);
}

static int norm_cases(op_case *list) {
    static const vst_shape maps[] = {{4, {2, 3, 4, 4}},  {4, {1, 1, 5, 5}}, {4, {4, 16, 3, 3}}, {4, {2, 17, 5, 3}},
                                     {4, {3, 24, 1, 1}}, {4, {1, 5, 2, 7}}, {4, {1, 16, 1, 4}}};
    static const vst_shape rows[] = {{2, {1, 5}},    {3, {2, 3, 17}}, {2, {4, 16}}, {3, {2, 7, 24}},
                                     {3, {1, 1, 3}}, {2, {33, 16}},   {1, {24}},    {2, {3, 3}}};
    int count = 0;
    for (int i = 0; i < 7 + 8; i++)
        for (int epsilon = 0; epsilon < 2; epsilon++) {
            const bool batch = i < 7;
            const vst_shape shape = batch ? maps[i] : rows[i - 7];
            const int64_t channels = batch ? shape.dim[1] : shape.dim[shape.rank - 1];
            list[count++] = (op_case){.name = batch ? "batch_norm" : "layer_norm",
                                      .in = {{.shape = shape},
                                             {.shape = VST_SHAPE(channels), .name = "weight"},
                                             {.shape = VST_SHAPE(channels), .name = "bias"}},
                                      .count = 3,
                                      .factor = epsilon ? 0.01 : 0,
                                      .training = batch,
                                      .build = batch ? batch_norm_build : layer_norm_build,
                                      .reference = batch ? batch_norm_reference : layer_norm_reference};
        }
    return count;
}
GROUP(norm)

/* ---- Maps of one operand ---- */

typedef vst_value unary(vst_graph *g, vst_value x);
static unary *const unaries[] = {vst_relu,      vst_relu6,   vst_gelu,        vst_silu,        vst_sigmoid,
                                 vst_hardswish, vst_softmax, vst_log_softmax, vst_standardize, vst_l2_normalize};
static const char *const unary_names[] = {"relu",      "relu6",   "gelu",        "silu",        "sigmoid",
                                          "hardswish", "softmax", "log_softmax", "standardize", "unit"};
enum { ACTIVATIONS = 6, STANDARDIZE = 8, UNIT, UNARIES };

static vst_value unary_build(vst_graph *g, const op_case *c, const vst_value *x) { return unaries[c->number](g, x[0]); }
static void unary_reference(const op_case *c, const ref *x, ref *out) {
    static double (*const functions[])(double) = {ref_relu, ref_relu6, ref_gelu, ref_silu, ref_sigmoid, ref_hardswish};
    if (c->number < ACTIVATIONS) ref_map(&x[0], functions[c->number], out);
    else if (c->number < STANDARDIZE) ref_softmax(&x[0], c->number == ACTIVATIONS + 1, out);
    else if (c->number == STANDARDIZE) ref_standardize(&x[0], out);
    else ref_unit(&x[0], out);
}

static int map_cases(op_case *list) {
    static const vst_shape shapes[] = {{1, {5}},        {2, {3, 17}}, {4, {2, 3, 3, 5}}, {3, {1, 5, 16}}, {2, {1, 24}},
                                       {3, {2, 7, 33}}, {2, {5, 2}},  {2, {1, 1}},       {0, {0}}};
    int count = 0;
    for (int k = 0; k < UNARIES; k++)
        for (int i = 0; i < 9; i++) {
            if (k >= STANDARDIZE && i >= 6)
                continue; /* one column has no deviation and one direction, two no gradient */
            list[count++] = (op_case){.name = unary_names[k],
                                      .in = {{.shape = shapes[i], .fill = k < ACTIVATIONS ? AWAY : UNIFORM}},
                                      .count = 1,
                                      .number = k,
                                      .build = unary_build,
                                      .reference = unary_reference};
        }
    return count;
}
GROUP(map)

/* ---- Arithmetic ---- */

static vst_value binary_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return c->flag ? vst_mul(g, x[0], x[1]) : vst_add(g, x[0], x[1]);
}
static void binary_reference(const op_case *c, const ref *x, ref *out) {
    (c->flag ? ref_mul : ref_add)(&x[0], &x[1], out);
}
static vst_value scale_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_scale(g, x[0], c->factor);
}
static void scale_reference(const op_case *c, const ref *x, ref *out) { ref_scale(&x[0], c->factor, out); }

static const double means[] = {0.5, -0.25, 0.125, 1, 0.3, 0.7}, deviations[] = {0.25, 2, 0.5, 1, 0.3, 0.4};
static vst_value normalize_build(vst_graph *g, const op_case *c, const vst_value *x) {
    (void)c;
    return vst_channel_normalize(g, x[0], means, deviations);
}
static void normalize_reference(const op_case *c, const ref *x, ref *out) {
    (void)c;
    ref_normalize(&x[0], means, deviations, out);
}

static int arithmetic_cases(op_case *list) {
    static const vst_shape pairs[][2] = {{{1, {5}}, {1, {5}}},
                                         {{3, {2, 3, 17}}, {3, {2, 3, 17}}},
                                         {{3, {2, 3, 4}}, {1, {4}}},
                                         {{3, {2, 3, 4}}, {2, {3, 1}}},
                                         {{3, {1, 3, 1}}, {3, {2, 1, 4}}},
                                         {{1, {16}}, {3, {2, 3, 16}}},
                                         {{0, {0}}, {2, {2, 3}}},
                                         {{2, {2, 3}}, {2, {1, 1}}},
                                         {{1, {1}}, {1, {5}}},
                                         {{4, {2, 5, 3, 3}}, {4, {2, 5, 1, 1}}},
                                         {{4, {2, 17, 3, 3}}, {4, {1, 17, 3, 3}}},
                                         {{2, {1, 24}}, {2, {3, 1}}},
                                         {{0, {0}}, {0, {0}}},
                                         {{3, {4, 1, 3}}, {3, {1, 5, 3}}}};
    int count = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        for (int mul = 0; mul < 2; mul++)
            list[count++] = (op_case){.name = mul ? "mul" : "add",
                                      .in = {{.shape = pairs[i][0]}, {.shape = pairs[i][1]}},
                                      .count = 2,
                                      .flag = mul,
                                      .build = binary_build,
                                      .reference = binary_reference};
    for (int i = 0; i < 3; i++)
        list[count++] = (op_case){.name = "scale",
                                  .in = {{.shape = pairs[i][0]}},
                                  .count = 1,
                                  .factor = -1.5 * i,
                                  .build = scale_build,
                                  .reference = scale_reference};
    static const vst_shape images[] = {{4, {1, 1, 5, 3}}, {4, {2, 3, 4, 4}}, {4, {3, 6, 1, 1}}};
    for (int i = 0; i < 3; i++)
        list[count++] = (op_case){.name = "normalize",
                                  .in = {{.shape = images[i]}},
                                  .count = 1,
                                  .build = normalize_build,
                                  .reference = normalize_reference};
    return count;
}
GROUP(arithmetic)

/* ---- Reductions ---- */

static vst_value reduce_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return (c->other ? vst_reduce_mean : vst_reduce_sum)(g, x[0], (unsigned)c->number, c->flag);
}
static void reduce_reference(const op_case *c, const ref *x, ref *out) {
    ref_reduce(&x[0], (unsigned)c->number, c->flag, c->other, out);
}

static int reduce_cases(op_case *list) {
    static const vst_shape shapes[] = {{3, {3, 4, 5}}, {4, {2, 17, 3, 3}}, {3, {1, 5, 1}}, {2, {1, 24}}, {0, {0}}};
    int count = 0;
    for (int s = 0; s < 5; s++)
        for (int axes = 0; axes < 1 << shapes[s].rank; axes++)
            for (int kind = s ? axes % 4 : 0; kind < 4; kind += s ? 4 : 1) /* all four kinds for the first shape */
                list[count++] = (op_case){.name = "reduce",
                                          .in = {{.shape = shapes[s]}},
                                          .count = 1,
                                          .number = axes,
                                          .flag = kind & 1,
                                          .other = kind >> 1,
                                          .build = reduce_build,
                                          .reference = reduce_reference};
    return count;
}
GROUP(reduce)

static vst_value global_pool_build(vst_graph *g, const op_case *c, const vst_value *x) {
    (void)c;
    return vst_global_avg_pool(g, x[0]);
}
static void global_pool_reference(const op_case *c, const ref *x, ref *out) {
    (void)c;
    ref_reduce(&x[0], 1u << 2 | 1u << 3, false, true, out);
}

/* ---- Pooling ---- */

static vst_value pool_build(vst_graph *g, const op_case *c, const vst_value *x) {
    const vst_pool_options o = {c->window.kernel, c->window.stride, c->window.padding, c->other, c->window.ceil};
    return c->flag ? vst_max_pool(g, x[0], o) : vst_avg_pool(g, x[0], o);
}
static void pool_reference(const op_case *c, const ref *x, ref *out) {
    ref_window w = c->window;
    if (!w.stride) w.stride = w.kernel;
    if (c->flag) ref_max_pool(&x[0], w, out);
    else ref_avg_pool(&x[0], w, c->other, out);
}

static int pool_cases(op_case *list) {
    /* batch, channels, height, width; kernel, stride, padding; partial windows */
    static const int rows[][8] = {{2, 3, 7, 5, 2, 2, 0, 1},  {1, 16, 6, 9, 3, 2, 1, 1}, {1, 8, 5, 5, 2, 2, 1, 1},
                                  {1, 17, 6, 7, 3, 2, 0, 1}, {1, 1, 4, 4, 2, 0, 0},     {2, 3, 7, 5, 3, 2, 1},
                                  {1, 16, 5, 5, 3, 1, 1},    {2, 17, 6, 6, 2, 2, 0},    {1, 24, 7, 7, 2, 2, 0},
                                  {1, 5, 3, 3, 3, 1, 0},     {3, 1, 5, 5, 2, 2, 1},     {1, 17, 8, 8, 3, 3, 1},
                                  {2, 16, 1, 1, 1, 1, 0}};
    int count = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int kind = 0; kind < 3; kind++) {
            const int *r = rows[i];
            if (kind == 1 && r[7]) continue; /* partial windows with counted padding are refused */
            list[count++] = (op_case){.name = kind == 0 ? "max_pool" : "avg_pool",
                                      .in = {{.shape = VST_SHAPE(r[0], r[1], r[2], r[3]), .fill = DISTINCT}},
                                      .count = 1,
                                      .window = {.kernel = r[4], .stride = r[5], .padding = r[6], .ceil = r[7]},
                                      .flag = kind == 0,
                                      .other = kind == 1,
                                      .build = pool_build,
                                      .reference = pool_reference};
        }
    static const vst_shape maps[] = {{4, {1, 1, 3, 3}}, {4, {2, 17, 5, 7}}, {4, {3, 16, 1, 1}}};
    for (int i = 0; i < 3; i++)
        list[count++] = (op_case){.name = "global_pool",
                                  .in = {{.shape = maps[i]}},
                                  .count = 1,
                                  .build = global_pool_build,
                                  .reference = global_pool_reference};
    return count;
}
GROUP(pool)

/* ---- Shape ---- */

static vst_value reshape_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_reshape(g, x[0], c->shape);
}
static void reshape_reference(const op_case *c, const ref *x, ref *out) {
    vst_shape shape = c->shape;
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] < 0) shape.dim[i] = ref_count(x) / c->number;
    ref_set_shape(out, shape);
    memcpy(out->data, x->data, (size_t)ref_count(x) * sizeof *x->data);
}
static vst_value permute_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_permute(g, x[0], c->order);
}
static void permute_reference(const op_case *c, const ref *x, ref *out) { ref_permute(&x[0], c->order, out); }
static vst_value slice_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_slice(g, x[0], c->order[0], c->order[1], c->order[2]);
}
static void slice_reference(const op_case *c, const ref *x, ref *out) {
    ref_slice(&x[0], c->order[0], c->order[1], c->order[2], out);
}
static vst_value concat_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_concat(g, x, c->count, c->number);
}
static void concat_reference(const op_case *c, const ref *x, ref *out) {
    const ref *list[OPERANDS];
    for (int i = 0; i < c->count; i++) list[i] = &x[i];
    ref_concat(list, c->count, c->number, out);
}
static vst_value expand_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_expand(g, x[0], c->shape);
}
static void expand_reference(const op_case *c, const ref *x, ref *out) { ref_expand(&x[0], c->shape, out); }
static vst_value resize_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_resize(g, x[0], c->order[0], c->order[1], c->flag ? VST_BICUBIC : VST_BILINEAR);
}
static void resize_reference(const op_case *c, const ref *x, ref *out) {
    ref_resize(&x[0], c->order[0], c->order[1], c->flag, out);
}
static vst_value area_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_resize(g, x[0], c->order[0], c->order[1], VST_AREA);
}
static void area_reference(const op_case *c, const ref *x, ref *out) { ref_area(&x[0], c->order[0], c->order[1], out); }

static int reshape_and_permute_cases(op_case *list) {
    static const struct {
        vst_shape from, to;
        int known;
    } reshapes[] = {{{3, {2, 3, 4}}, {2, {4, -1}}, 4},
                    {{3, {2, 3, 4}}, {1, {24}}, 1},
                    {{1, {1}}, {0, {0}}, 1},
                    {{2, {3, 5}}, {4, {5, 1, 3, 1}}, 1},
                    {{0, {0}}, {2, {1, -1}}, 1}};
    static const struct {
        vst_shape shape;
        int order[VST_MAX_RANK];
    } permutations[] = {{{3, {2, 3, 4}}, {0, 2, 1}},
                        {{3, {1, 17, 5}}, {2, 0, 1}},
                        {{2, {16, 1}}, {1, 0}},
                        {{4, {2, 3, 4, 5}}, {0, 2, 3, 1}},
                        {{4, {2, 3, 4, 5}}, {3, 2, 1, 0}},
                        {{1, {5}}, {0}},
                        {{5, {2, 1, 3, 2, 2}}, {4, 0, 3, 1, 2}},
                        {{2, {3, 24}}, {0, 1}}};
    int count = 0;
    for (int i = 0; i < 5; i++)
        list[count++] = (op_case){.name = "reshape",
                                  .in = {{.shape = reshapes[i].from}},
                                  .count = 1,
                                  .shape = reshapes[i].to,
                                  .number = reshapes[i].known,
                                  .build = reshape_build,
                                  .reference = reshape_reference};
    for (int i = 0; i < 8; i++) {
        op_case *c = &list[count++];
        *c = (op_case){.name = "permute",
                       .in = {{.shape = permutations[i].shape}},
                       .count = 1,
                       .build = permute_build,
                       .reference = permute_reference};
        memcpy(c->order, permutations[i].order, sizeof c->order);
    }
    return count;
}
GROUP(reshape_and_permute)

static int slice_and_concat_cases(op_case *list) {
    static const struct {
        vst_shape shape;
        int axis, start, count;
    } slices[] = {{{3, {2, 3, 4}}, 1, 0, 1}, {{3, {2, 3, 4}}, 2, 1, 2},   {{3, {2, 3, 4}}, 0, 1, 1},
                  {{1, {17}}, 0, 3, 9},      {{2, {1, 16}}, 1, 15, 1},    {{2, {3, 5}}, 1, 0, 5},
                  {{3, {1, 5, 3}}, 1, 2, 3}, {{4, {1, 1, 6, 2}}, 2, 4, 2}};
    static const struct {
        int axis, count;
        vst_shape in[3];
    } concats[] = {{1, 3, {{3, {2, 1, 5}}, {3, {2, 1, 5}}, {3, {2, 16, 5}}}},
                   {0, 2, {{2, {1, 3}}, {2, {4, 3}}}},
                   {2, 2, {{3, {2, 3, 1}}, {3, {2, 3, 17}}}},
                   {0, 1, {{1, {5}}}},
                   {1, 2, {{4, {1, 16, 2, 2}}, {4, {1, 3, 2, 2}}}}};
    int count = 0;
    for (int i = 0; i < 8; i++)
        list[count++] = (op_case){.name = "slice",
                                  .in = {{.shape = slices[i].shape}},
                                  .count = 1,
                                  .order = {slices[i].axis, slices[i].start, slices[i].count},
                                  .build = slice_build,
                                  .reference = slice_reference};
    for (int i = 0; i < 5; i++) {
        op_case *c = &list[count++];
        *c = (op_case){.name = "concat",
                       .count = concats[i].count,
                       .number = concats[i].axis,
                       .build = concat_build,
                       .reference = concat_reference};
        for (int k = 0; k < c->count; k++) c->in[k].shape = concats[i].in[k];
    }
    return count;
}
GROUP(slice_and_concat)

static int expand_and_resize_cases(op_case *list) {
    static const vst_shape expands[][2] = {
        {{3, {1, 1, 16}}, {3, {3, 1, 16}}}, {{1, {5}}, {3, {2, 3, 5}}}, {{0, {0}}, {2, {3, 2}}},
        {{3, {2, 1, 3}}, {3, {2, 17, 3}}},  {{2, {3, 1}}, {2, {3, 5}}}, {{2, {2, 3}}, {2, {2, 3}}}};
    static const int sizes[][6] = {{1, 1, 4, 4, 8, 8}, {2, 3, 7, 5, 3, 4}, {1, 5, 3, 3, 7, 2},  {1, 1, 1, 1, 3, 3},
                                   {1, 2, 9, 9, 1, 1}, {2, 1, 4, 6, 4, 6}, {1, 1, 14, 14, 5, 5}};
    int count = 0;
    for (int i = 0; i < 6; i++)
        list[count++] = (op_case){.name = "expand",
                                  .in = {{.shape = expands[i][0]}},
                                  .count = 1,
                                  .shape = expands[i][1],
                                  .build = expand_build,
                                  .reference = expand_reference};
    for (int i = 0; i < 7; i++)
        for (int cubic = 0; cubic < 2; cubic++)
            list[count++] = (op_case){.name = cubic ? "bicubic" : "bilinear",
                                      .in = {{.shape = VST_SHAPE(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3])}},
                                      .count = 1,
                                      .order = {sizes[i][4], sizes[i][5]},
                                      .flag = cubic,
                                      .build = resize_build,
                                      .reference = resize_reference};
    for (int i = 0; i < 7; i++)
        list[count++] = (op_case){.name = "area",
                                  .in = {{.shape = VST_SHAPE(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3])}},
                                  .count = 1,
                                  .order = {sizes[i][4], sizes[i][5]},
                                  .build = area_build,
                                  .reference = area_reference};
    return count;
}
GROUP(expand_and_resize)

/* ---- Attention ---- */

static vst_value attention_build(vst_graph *g, const op_case *c, const vst_value *x) {
    return vst_attention(g, vst_scale(g, x[0], c->factor), c->number, c->order[0]);
}
static void attention_reference(const op_case *c, const ref *x, ref *out) {
    ref scaled = ref_make(x[0].shape);
    ref_scale(&x[0], c->factor, &scaled);
    ref_attention(&scaled, c->number, c->order[0], out);
    ref_free(&scaled);
}

static int attention_cases(op_case *list) {
    static const int rows[][5] = {{1, 1, 1, 1, 0},  {2, 5, 2, 3, 0},  {1, 17, 3, 16, 0},
                                  {2, 50, 4, 8, 0}, {1, 7, 1, 24, 0}, {1, 2, 3, 5, 0},
                                  {2, 9, 2, 16, 2}, {3, 11, 2, 5, 1}, {1, 6, 3, 8, 6}};
    int count = 0;
    for (int i = 0; i < 9; i++) { /* batch, tokens, heads, channels of a head, queries */
        const int *r = rows[i];
        list[count++] = (op_case){.name = "attention",
                                  .in = {{.shape = VST_SHAPE(r[0], r[1], 3 * r[2] * r[3])}},
                                  .count = 1,
                                  .number = r[2],
                                  .order = {r[4]},
                                  .factor = i % 2 ? 3 : 1,
                                  .build = attention_build,
                                  .reference = attention_reference};
    }
    return count;
}
GROUP(attention)

/* ---- Losses ---- */

enum { CROSS_ENTROPY, BINARY, KL_BATCHMEAN, KL_ELEMENTS, MSE, SMOOTH_L1, ONE_HOT };

static vst_value loss_build(vst_graph *g, const op_case *c, const vst_value *x) {
    switch (c->number) {
    case CROSS_ENTROPY: return vst_cross_entropy(g, x[0], x[1], c->factor);
    case BINARY: return vst_binary_cross_entropy(g, x[0], x[1]);
    case KL_BATCHMEAN: return vst_kl_divergence(g, x[0], x[1], c->factor, VST_KL_BATCHMEAN);
    case KL_ELEMENTS: return vst_kl_divergence(g, x[0], x[1], c->factor, VST_KL_ELEMENTS);
    case MSE: return vst_mse(g, x[0], x[1]);
    case SMOOTH_L1: return vst_smooth_l1(g, x[0], x[1]);
    default: return vst_mul(g, vst_one_hot_argmax(g, x[0]), x[1]);
    }
}
static void loss_reference(const op_case *c, const ref *x, ref *out) {
    ref hard = {0};
    switch (c->number) {
    case CROSS_ENTROPY: ref_cross_entropy(&x[0], &x[1], c->factor, out); break;
    case BINARY: ref_binary_cross_entropy(&x[0], &x[1], out); break;
    case KL_BATCHMEAN:
    case KL_ELEMENTS: ref_kl(&x[0], &x[1], c->factor, c->number == KL_ELEMENTS, out); break;
    case MSE: ref_mse(&x[0], &x[1], out); break;
    case SMOOTH_L1: ref_smooth_l1(&x[0], &x[1], out); break;
    default:
        hard = ref_make(x[0].shape);
        ref_one_hot_argmax(&x[0], &hard);
        ref_mul(&hard, &x[1], out);
        ref_free(&hard);
    }
}

static int loss_cases(op_case *list) {
    static const struct {
        const char *name;
        int kind;
        double factor;
    } kinds[] = {{"cross_entropy", CROSS_ENTROPY, 0},
                 {"cross_entropy, smoothing 0.1", CROSS_ENTROPY, 0.1},
                 {"kl, T 1", KL_BATCHMEAN, 1},
                 {"kl, T 4", KL_BATCHMEAN, 4},
                 {"kl of elements, T 3", KL_ELEMENTS, 3},
                 {"mse", MSE, 0},
                 {"smooth_l1", SMOOTH_L1, 0},
                 {"one_hot_argmax", ONE_HOT, 0},
                 {"binary_cross_entropy", BINARY, 0}};
    static const vst_shape shapes[] = {{2, {1, 5}}, {2, {3, 17}}, {2, {8, 16}}, {2, {1, 2}}, {2, {33, 3}}};
    int count = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int i = 0; i < 5; i++)
            list[count++] =
                (op_case){.name = kinds[k].name,
                          .in = {{.shape = shapes[i], .fill = kinds[k].kind == ONE_HOT ? DISTINCT : UNIFORM},
                                 {.shape = shapes[i],
                                  .input = kinds[k].kind < MSE,
                                  .fill = kinds[k].kind <= BINARY ? TARGETS : UNIFORM}},
                          .count = 2,
                          .number = kinds[k].kind,
                          .factor = kinds[k].factor,
                          .build = loss_build,
                          .reference = loss_reference};
    return count;
}
GROUP(loss)

/* ---- Distances between rows ---- */

static vst_value distances_build(vst_graph *g, const op_case *c, const vst_value *x) {
    (void)c;
    return vst_pairwise_distances(g, x[0]);
}
static void distances_reference(const op_case *c, const ref *x, ref *out) {
    (void)c;
    ref_pairwise_distances(&x[0], out);
}

static int distances_cases(op_case *list) {
    static const vst_shape shapes[] = {{2, {3, 2}}, {2, {2, 17}}, {2, {9, 5}}, {2, {33, 24}}};
    int count = 0;
    for (int i = 0; i < 4; i++)
        list[count++] = (op_case){.name = "pairwise_distances",
                                  .in = {{.shape = shapes[i]}},
                                  .count = 1,
                                  .build = distances_build,
                                  .reference = distances_reference};
    return count;
}
GROUP(distances)

/* What goes through detach has no gradient: x detach(x) has x, not 2 x. */
START_TEST(detached) {
    vst_params *params = NULL;
    vst_graph *g = NULL;
    vst_context *context = NULL;
    ck_assert_int_eq(vst_params_create(&params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
    const vst_value x = vst_param(g, "x", VST_SHAPE(3), (vst_init){.kind = VST_INIT_CONSTANT, .scale = 1.5});
    const vst_value sum = vst_reduce_sum(g, vst_mul(g, x, vst_detach(g, x)), 1, false);
    vst_differentiate(g, sum);
    ck_assert_int_eq(vst_graph_finish(g), VST_OK);
    ck_assert_int_eq(vst_params_allocate(params, true, 1), VST_OK);
    context = create_context(g, &sum, 1, &(vst_program_options){.mode = VST_TRAIN});
    ck_assert_int_eq(vst_context_run(context, 0), VST_OK);
    ck_assert_float_eq_tol(vst_context_output(context, 0)[0], 6.75f, 1e-6f);
    for (int i = 0; i < 3; i++) ck_assert_float_eq_tol(vst_params_gradients(params)[i], 1.5f, 1e-6f);
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

/* ---- Operations together: values read twice, views of one another, sums of gradients, blocked layouts ---- */

/* y = (x w) w: the weight's gradient is a sum. */
static vst_value shared_build(vst_graph *g, const op_case *c, const vst_value *x) {
    (void)c;
    return vst_matmul(g, vst_matmul(g, x[0], x[1], false, false), x[1], false, true);
}
static void shared_reference(const op_case *c, const ref *x, ref *out) {
    (void)c;
    ref middle = ref_make(x[0].shape);
    ref_matmul(&x[0], &x[1], false, false, &middle);
    ref_matmul(&middle, &x[1], false, true, out);
    ref_free(&middle);
}

static vst_value square_build(vst_graph *g, const op_case *c, const vst_value *x) {
    (void)c;
    const vst_value y = vst_scale(g, x[0], 2);
    return vst_mul(g, y, y);
}
static void square_reference(const op_case *c, const ref *x, ref *out) {
    (void)c;
    ref_mul(&x[0], &x[0], out);
    ref_scale(out, 4, out);
}

/* x + x[:, :1], one of them a view of the other; and x[:, :-1] * x[:, 1:], views that overlap. */
static vst_value views_build(vst_graph *g, const op_case *c, const vst_value *x) {
    const vst_value y = vst_scale(g, x[0], 2);
    const int64_t n = c->in[0].shape.dim[1];
    switch (c->number) {
    case 0: return vst_add(g, y, vst_slice(g, y, 1, 0, 1));
    case 1: return vst_mul(g, vst_slice(g, y, 1, 0, n - 1), vst_slice(g, y, 1, 1, n - 1));
    default: return vst_mul(g, vst_slice(g, y, 1, 1, n - 1), vst_slice(g, y, 1, 0, n - 1));
    }
}
static void views_reference(const op_case *c, const ref *x, ref *out) {
    const int64_t n = c->in[0].shape.dim[1];
    ref y = ref_make(x[0].shape), first = ref_make(x[0].shape), second = ref_make(x[0].shape);
    ref_scale(&x[0], 2, &y);
    ref_slice(&y, 1, 0, c->number ? n - 1 : 1, &first);
    ref_slice(&y, 1, 1, n - 1, &second);
    if (c->number) ref_mul(&first, &second, out);
    else ref_add(&y, &first, out);
    ref_free(&y);
    ref_free(&first);
    ref_free(&second);
}

/* a + b + s + s: parameters that share one gradient value. */
static vst_value sum_build(vst_graph *g, const op_case *c, const vst_value *x) {
    (void)c;
    return vst_add(g, vst_add(g, x[0], x[1]), vst_add(g, x[2], x[2]));
}
static void sum_reference(const op_case *c, const ref *x, ref *out) {
    (void)c;
    ref_set_shape(out, x[0].shape);
    for (int64_t i = 0; i < ref_count(out); i++) out->data[i] = x[0].data[i] + x[1].data[i] + 2 * x[2].data[i];
}

/* A transformer's MLP with residual: x + gelu(norm(x) W + b) V. */
static vst_value residual_build(vst_graph *g, const op_case *c, const vst_value *x) {
    vst_value y = vst_layer_norm(g, x[0], (vst_norm_options){.epsilon = 1e-3});
    y = vst_gelu(g, vst_matmul(g, y, x[3], false, false));
    (void)c;
    return vst_add(g, x[0], vst_matmul(g, y, x[4], false, false));
}
static void residual_reference(const op_case *c, const ref *x, ref *out) {
    ref normed = ref_make(x[0].shape), hidden, back = ref_make(x[0].shape);
    vst_shape shape = x[0].shape;
    shape.dim[2] = x[3].shape.dim[1];
    hidden = ref_make(shape);
    (void)c;
    ref_layer_norm(&x[0], &x[1], &x[2], 1e-3, &normed);
    ref_matmul(&normed, &x[3], false, false, &hidden);
    ref_map(&hidden, ref_gelu, &hidden);
    ref_matmul(&hidden, &x[4], false, false, &back);
    ref_add(&x[0], &back, out);
    ref_free(&normed);
    ref_free(&hidden);
    ref_free(&back);
}

/* x + fc2(activation(fc1(x))): the hidden layer is computed again in the backward pass. */
static vst_value mlp_build(vst_graph *g, const op_case *c, const vst_value *x) {
    vst_value y = {0};
    VST_SCOPE (g, "fc1") y = vst_linear(g, x[0], (vst_linear_options){.features = 24, .bias = true});
    y = unaries[c->number](g, y);
    const vst_value hidden = y;
    VST_SCOPE (g, "fc2") y = vst_linear(g, y, (vst_linear_options){.features = c->order[0], .bias = true});
    return c->flag ? vst_add(g, vst_add(g, x[0], y), vst_slice(g, hidden, 1, 0, c->order[0])) : vst_add(g, x[0], y);
}
static void mlp_reference(const op_case *c, const ref *x, ref *out) {
    static double (*const functions[])(double) = {ref_relu, ref_relu6, ref_gelu, ref_silu, ref_sigmoid, ref_hardswish};
    const int64_t rows = x[0].shape.dim[0], width = x[0].shape.dim[1];
    ref hidden = ref_make(VST_SHAPE(rows, 24)), back = ref_make(x[0].shape);
    ref_linear(&x[0], &x[1], &x[2], &hidden);
    ref_map(&hidden, functions[c->number], &hidden);
    ref_linear(&hidden, &x[3], &x[4], &back);
    ref_add(&x[0], &back, out);
    for (int64_t i = 0; c->flag && i < rows * width; i++) out->data[i] += hidden.data[i / width * 24 + i % width];
    ref_free(&hidden);
    ref_free(&back);
}

/* z = x + linear(x); z + norm(z): the norm's backward pass sums the gradient of the bias. */
static vst_value biased_build(vst_graph *g, const op_case *c, const vst_value *x) {
    vst_value z = {0}, y = {0};
    VST_SCOPE (g, "fc") z = vst_linear(g, x[0], (vst_linear_options){.features = c->order[0], .bias = true});
    z = vst_add(g, x[0], z);
    VST_SCOPE (g, "norm") y = vst_layer_norm(g, z, (vst_norm_options){.epsilon = 1e-3});
    return vst_add(g, z, y);
}
static void biased_reference(const op_case *c, const ref *x, ref *out) {
    ref z = ref_make(x[0].shape), y = ref_make(x[0].shape);
    (void)c;
    ref_linear(&x[0], &x[1], &x[2], &y);
    ref_add(&x[0], &y, &z);
    ref_layer_norm(&z, &x[3], &x[4], 1e-3, &y);
    ref_add(&z, &y, out);
    ref_free(&z);
    ref_free(&y);
}

/* Convolution, an activation in its layout, pooling, a gate per channel: padded layouts pass through everything. */
static vst_value gated_build(vst_graph *g, const op_case *c, const vst_value *x) {
    vst_value y = vst_conv2d(g, x[0], (vst_conv2d_options){.out = c->order[0], .kernel = 3, .padding = 1});
    y = unaries[c->number](g, y);
    y = vst_add(g, y, vst_scale(g, y, 0.5));
    y = vst_avg_pool(g, y, (vst_pool_options){.kernel = 2});
    y = vst_mul(g, y, vst_reduce_mean(g, y, 1u << 2 | 1u << 3, true));
    return vst_conv2d(g, y, (vst_conv2d_options){.out = c->order[0], .kernel = 3, .padding = 1}); /* the same weight */
}
static void gated_reference(const op_case *c, const ref *x, ref *out) {
    const op_case activation = {.number = c->number};
    const vst_shape shape = c->in[0].shape;
    const ref_window w = {.kernel = 3, .stride = 1, .padding = 1, .dilation = 1, .groups = 1};
    ref a = ref_make(shape), b = ref_make(shape), mean = ref_make(VST_SHAPE(shape.dim[0], shape.dim[1], 1, 1));
    ref_conv2d(&x[0], &x[1], NULL, w, &a);
    unary_reference(&activation, &a, &b);
    ref_scale(&b, 1.5, &b);
    ref_avg_pool(&b, (ref_window){.kernel = 2, .stride = 2}, true, &a);
    ref_reduce(&a, 1u << 2 | 1u << 3, true, true, &mean);
    ref_mul(&a, &mean, &b);
    ref_conv2d(&b, &x[1], NULL, w, out);
    ref_free(&a);
    ref_free(&b);
    ref_free(&mean);
}

/* A depthwise convolution that reads another one's layout. */
static vst_value depthwise_build(vst_graph *g, const op_case *c, const vst_value *x) {
    vst_value y = {0};
    VST_SCOPE (g, "a") y = vst_conv2d(g, x[0], (vst_conv2d_options){.out = c->order[0], .kernel = 3, .padding = 1});
    VST_SCOPE (g, "b")
        y = vst_conv2d(g, y,
                       (vst_conv2d_options){.out = c->order[0],
                                            .kernel = c->window.kernel,
                                            .stride = c->window.stride,
                                            .padding = c->window.padding,
                                            .groups = c->order[0],
                                            .bias = true});
    return y;
}
static void depthwise_reference(const op_case *c, const ref *x, ref *out) {
    const ref_window dense = {.kernel = 3, .stride = 1, .padding = 1, .dilation = 1, .groups = 1};
    ref y = ref_make(x[0].shape);
    ref_conv2d(&x[0], &x[1], NULL, dense, &y);
    ref_conv2d(&y, &x[2], &x[3], c->window, out);
    ref_free(&y);
}

/* Convolution, batch norm, smooth activation and residual in a convolution's layout. */
static vst_value normed_build(vst_graph *g, const op_case *c, const vst_value *x) {
    vst_value y = vst_conv2d(g, x[0], (vst_conv2d_options){.out = c->order[0], .kernel = 3, .padding = 1});
    VST_SCOPE (g, "norm") y = vst_batch_norm(g, y, (vst_norm_options){.epsilon = 1e-2});
    return vst_max_pool(g, vst_silu(g, vst_add(g, y, x[0])),
                        (vst_pool_options){.kernel = 3, .stride = 2, .padding = 1});
}
static void normed_reference(const op_case *c, const ref *x, ref *out) {
    ref a = ref_make(c->in[0].shape), b = ref_make(c->in[0].shape);
    ref_conv2d(&x[0], &x[1], NULL, (ref_window){.kernel = 3, .stride = 1, .padding = 1, .dilation = 1, .groups = 1},
               &a);
    ref_batch_norm(&a, &x[2], &x[3], 1e-2, &b, NULL, NULL);
    ref_add(&b, &x[0], &a);
    ref_map(&a, ref_silu, &b);
    ref_max_pool(&b, (ref_window){.kernel = 3, .stride = 2, .padding = 1, .dilation = 1, .groups = 1}, out);
    ref_free(&a);
    ref_free(&b);
}

static int composition_cases(op_case *list) {
    int count = 0;
    for (int rows = 1; rows < 8; rows += 3)
        list[count++] = (op_case){.name = "shared weight",
                                  .in = {{.shape = VST_SHAPE(rows, 5)}, {.shape = VST_SHAPE(5, 5)}},
                                  .count = 2,
                                  .build = shared_build,
                                  .reference = shared_reference};
    list[count++] = (op_case){.name = "square",
                              .in = {{.shape = VST_SHAPE(3, 17)}},
                              .count = 1,
                              .build = square_build,
                              .reference = square_reference};
    for (int i = 0; i < 6; i++)
        list[count++] = (op_case){.name = "views",
                                  .in = {{.shape = VST_SHAPE(1 + i / 3, 40, 7)}},
                                  .count = 1,
                                  .number = i % 3,
                                  .build = views_build,
                                  .reference = views_reference};
    for (int i = 0; i < 2; i++) {
        const vst_shape shape = i ? VST_SCALAR : VST_SHAPE(2, 16);
        list[count++] = (op_case){.name = "sum",
                                  .in = {{.shape = shape}, {.shape = shape}, {.shape = shape}},
                                  .count = 3,
                                  .build = sum_build,
                                  .reference = sum_reference};
    }
    for (int i = 0; i < 3; i++) {
        const int64_t width = (int64_t[]){5, 16, 17}[i];
        list[count++] = (op_case){.name = "residual",
                                  .in = {{.shape = VST_SHAPE(1 + i, 3, width)},
                                         {.shape = VST_SHAPE(width), .name = "weight"},
                                         {.shape = VST_SHAPE(width), .name = "bias"},
                                         {.shape = VST_SHAPE(width, 24)},
                                         {.shape = VST_SHAPE(24, width)}},
                                  .count = 5,
                                  .build = residual_build,
                                  .reference = residual_reference};
    }
    for (int i = 0; i < 12; i++) {
        const int width = (int[]){5, 16, 17}[i / 4];
        list[count++] = (op_case){.name = "MLP",
                                  .in = {{.shape = VST_SHAPE(1 + 2 * i, width)},
                                         {.shape = VST_SHAPE(24, width), .name = "fc1.weight"},
                                         {.shape = VST_SHAPE(24), .name = "fc1.bias"},
                                         {.shape = VST_SHAPE(width, 24), .name = "fc2.weight"},
                                         {.shape = VST_SHAPE(width), .name = "fc2.bias"}},
                                  .count = 5,
                                  .number = 2 + i % 4,
                                  .flag = i % 3 == 0,
                                  .order = {width},
                                  .build = mlp_build,
                                  .reference = mlp_reference};
    }
    for (int i = 0; i < 3; i++) {
        const int width = (int[]){5, 16, 17}[i];
        list[count++] = (op_case){.name = "bias before a norm",
                                  .in = {{.shape = VST_SHAPE(18 + i, width)},
                                         {.shape = VST_SHAPE(width, width), .name = "fc.weight"},
                                         {.shape = VST_SHAPE(width), .name = "fc.bias"},
                                         {.shape = VST_SHAPE(width), .name = "norm.weight"},
                                         {.shape = VST_SHAPE(width), .name = "norm.bias"}},
                                  .count = 5,
                                  .order = {width},
                                  .build = biased_build,
                                  .reference = biased_reference};
    }
    for (int i = 0; i < 12; i++) { /* the smooth activations, by channels */
        static const int smooth[] = {2, 3, 4};
        const int channels = (int[]){1, 3, 16, 17}[i / 3];
        list[count++] = (op_case){.name = "gated convolution",
                                  .in = {{.shape = VST_SHAPE(2, channels, 6, 6)},
                                         {.shape = VST_SHAPE(channels, channels, 3, 3), .name = "weight"}},
                                  .count = 2,
                                  .number = smooth[i % 3],
                                  .order = {channels},
                                  .build = gated_build,
                                  .reference = gated_reference};
    }
    for (int i = 0; i < 12; i++) {
        const int channels = (int[]){8, 16, 17}[i % 3], kernel = (int[]){3, 4, 5, 7}[i / 3];
        list[count++] = (op_case){
            .name = "depthwise after dense",
            .in = {{.shape = VST_SHAPE(2, channels, 8, 7)},
                   {.shape = VST_SHAPE(channels, channels, 3, 3), .name = "a.weight"},
                   {.shape = VST_SHAPE(channels, 1, kernel, kernel), .name = "b.weight"},
                   {.shape = VST_SHAPE(channels), .name = "b.bias"}},
            .count = 4,
            .window = {.kernel = kernel, .stride = 1 + i % 2, .padding = kernel / 2, .dilation = 1, .groups = channels},
            .order = {channels},
            .build = depthwise_build,
            .reference = depthwise_reference};
    }
    for (int i = 0; i < 4; i++) {
        const int channels = (int[]){1, 5, 16, 17}[i];
        list[count++] = (op_case){.name = "normed convolution",
                                  .in = {{.shape = VST_SHAPE(2, channels, 6, 5)},
                                         {.shape = VST_SHAPE(channels, channels, 3, 3), .name = "weight"},
                                         {.shape = VST_SHAPE(channels), .name = "norm.weight"},
                                         {.shape = VST_SHAPE(channels), .name = "norm.bias"}},
                                  .count = 4,
                                  .order = {channels},
                                  .training = true,
                                  .build = normed_build,
                                  .reference = normed_reference};
    }
    return count;
}
GROUP(composition)

/* ---- Batch norm's running statistics, and its inference ---- */

START_TEST(running_statistics) {
    enum { N = 3, C = 17, H = 4, W = 5, COUNT = N * C * H * W };
    if (!select_isa(_i)) return;
    vst_params *params = NULL;
    vst_graph *g = NULL;
    vst_context *train = NULL, *infer = NULL;
    ck_assert_int_eq(vst_params_create(&params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
    const vst_value y =
        vst_batch_norm(g, vst_input(g, "x", VST_SHAPE(N, C, H, W)), (vst_norm_options){.momentum = 0.25});
    ck_assert_int_eq(vst_graph_finish(g), VST_OK);
    ck_assert_int_eq(vst_params_allocate(params, true, 1), VST_OK);
    train = create_context(g, &y, 1, &(vst_program_options){.mode = VST_TRAIN});
    infer = create_context(g, &y, 1, &(vst_program_options){.mode = VST_INFER});

    ref x = ref_make(VST_SHAPE(N, C, H, W)), out = ref_make(x.shape), one = ref_make(VST_SHAPE(C)),
        zero = ref_make(VST_SHAPE(C));
    double running_mean[C] = {0}, running_variance[C], mean[C], variance[C];
    for (int c = 0; c < C; c++) one.data[c] = running_variance[c] = 1;
    state = 7;
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < COUNT; i++) vst_context_input(train, "x")[i] = (float)(x.data[i] = (float)uniform(-1, 3));
        ck_assert_int_eq(vst_context_run(train, 0), VST_OK);
        ref_batch_norm(&x, &one, &zero, 1e-5, &out, mean, variance);
        for (int c = 0; c < C; c++) {
            const double n = N * H * W;
            running_mean[c] += 0.25 * (mean[c] - running_mean[c]);
            running_variance[c] += 0.25 * (variance[c] * n / (n - 1) - running_variance[c]);
        }
    }
    const float *bucket = vst_params_values(params);
    const float *got_mean = bucket + vst_params_at(params, (size_t)vst_params_find(params, "running_mean"))->offset;
    const float *got_variance = bucket + vst_params_at(params, (size_t)vst_params_find(params, "running_var"))->offset;
    for (int c = 0; c < C; c++) {
        ck_assert_double_eq_tol(got_mean[c], running_mean[c], 1e-6);
        ck_assert_double_eq_tol(got_variance[c], running_variance[c], 1e-6);
    }
    ck_assert_float_eq(bucket[vst_params_at(params, (size_t)vst_params_find(params, "num_batches_tracked"))->offset],
                       3);
    for (int i = 0; i < COUNT; i++) vst_context_input(infer, "x")[i] = (float)x.data[i];
    ck_assert_int_eq(vst_context_run(infer, 0), VST_OK);
    for (int i = 0; i < COUNT; i++) {
        const int c = i / (H * W) % C;
        ck_assert_double_eq_tol(vst_context_output(infer, 0)[i],
                                (x.data[i] - running_mean[c]) / sqrt(running_variance[c] + 1e-5), 1e-5);
    }
    ref_free(&x);
    ref_free(&out);
    ref_free(&one);
    ref_free(&zero);
    destroy_context(train);
    destroy_context(infer);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

/* A training program of a graph in evaluation mode: y = (x - m) / s * w + b with constant m and s, whose gradients are
 * dy w / s, sum dy (x - m) / s and sum dy; the running statistics stay, and dropout drops nothing. */
START_TEST(evaluation_mode) {
    enum { N = 3, C = 5, H = 4, W = 5, COUNT = N * C * H * W };
    if (!select_isa(_i)) return;
    vst_params *params = NULL;
    vst_graph *g = NULL;
    ck_assert_int_eq(vst_params_create(&params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
    vst_graph_set_evaluation(g, true);
    const vst_value x = vst_param(g, "x", VST_SHAPE(N, C, H, W), (vst_init){VST_INIT_ONES, 0, VST_PARAM_WEIGHT});
    vst_value y = vst_batch_norm(g, x, (vst_norm_options){.momentum = 0.25});
    y = vst_drop_path(g, vst_dropout(g, y, 0.5), 0.5);
    const vst_value dy = vst_input(g, "dy", VST_SHAPE(N, C, H, W));
    vst_differentiate(g, vst_reduce_sum(g, vst_mul(g, y, dy), 15, false));
    ck_assert_int_eq(vst_graph_finish(g), VST_OK);
    ck_assert_int_eq(vst_params_allocate(params, true, 1), VST_OK);
    float *param[4], *gradients[4];
    static const char *const names[] = {"x", "weight", "bias", "running_mean"};
    for (int i = 0; i < 4; i++) {
        const size_t offset = vst_params_at(params, (size_t)vst_params_find(params, names[i]))->offset;
        param[i] = vst_params_values(params) + offset;
        gradients[i] = vst_params_gradients(params) + offset;
    }
    float *variance =
        vst_params_values(params) + vst_params_at(params, (size_t)vst_params_find(params, "running_var"))->offset;
    state = 3;
    for (int i = 0; i < COUNT; i++) param[0][i] = (float)uniform(-1, 3);
    for (int c = 0; c < C; c++) {
        param[1][c] = (float)uniform(0.5, 2);
        param[2][c] = (float)uniform(-1, 1);
        param[3][c] = (float)uniform(-1, 1);
        variance[c] = (float)uniform(0.5, 2);
    }
    vst_params_changed(params);
    vst_context *context = create_context(g, &y, 1, &(vst_program_options){.mode = VST_TRAIN});
    const float mean = param[3][1], spread = variance[1];
    for (uint32_t step = 0; step < 2; step++) {
        double scale[C] = {0}, shift[C] = {0};
        float *given = vst_context_input(context, "dy");
        for (int i = 0; i < COUNT; i++) given[i] = (float)(i % 7 - 3);
        ck_assert_int_eq(vst_context_run(context, step), VST_OK);
        for (int i = 0; i < COUNT; i++) {
            const int c = i / (H * W) % C;
            const double d = i % 7 - 3, unit = (param[0][i] - param[3][c]) / sqrt(variance[c] + 1e-5);
            scale[c] += d * unit;
            shift[c] += d;
            ck_assert_double_eq_tol(vst_context_output(context, 0)[i], unit * param[1][c] + param[2][c], 1e-5);
            ck_assert_double_eq_tol(gradients[0][i], d * param[1][c] / sqrt(variance[c] + 1e-5), 1e-5);
        }
        for (int c = 0; c < C; c++) {
            ck_assert_double_eq_tol(gradients[1][c], scale[c], 1e-3);
            ck_assert_double_eq_tol(gradients[2][c], shift[c], 1e-3);
        }
        ck_assert(param[3][1] == mean && variance[1] == spread);
    }
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

/* ---- Dropout and drop path ---- */

/* The mask is seen in the gradient of sum(dropout(p)): p is 1, so output and gradient must be the same numbers. */
START_TEST(random_masks) {
    enum { ROWS = 500, COLS = 40 };
    if (!select_isa(_i)) return;
    for (int path = 0; path < 2; path++)
        for (int plain = 0; plain < 2; plain++) {
            vst_params *params = NULL;
            vst_graph *g = NULL;
            vst_context *train = NULL, *infer = NULL;
            const double rate = 0.3;
            ck_assert_int_eq(vst_params_create(&params), VST_OK);
            ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
            const vst_value p =
                vst_param(g, "p", VST_SHAPE(ROWS, COLS), (vst_init){VST_INIT_ONES, 0, VST_PARAM_WEIGHT});
            const vst_value first = path ? vst_drop_path(g, p, rate) : vst_dropout(g, p, rate);
            vst_value second = path ? vst_drop_path(g, p, rate) : vst_dropout(g, p, rate);
            if (path) { /* in one scope the same mask, in another a mask of its own */
                second = vst_add(g, second, vst_scale(g, first, -1));
                VST_SCOPE (g, "other") second = vst_add(g, second, vst_drop_path(g, p, rate));
            }
            vst_differentiate(g, vst_reduce_sum(g, first, 3, false));
            ck_assert_int_eq(vst_graph_finish(g), VST_OK);
            ck_assert_int_eq(vst_params_allocate(params, true, 1), VST_OK);
            const vst_value outputs[] = {first, second};
            const vst_program_options options = {.mode = VST_TRAIN, .seed = 5, .plain = plain};
            train = create_context(g, outputs, 2, &options);
            infer = create_context(g, outputs, 1, &(vst_program_options){.plain = plain});
            static float before[ROWS * COLS];
            double changed = 0, differs = 0;
            for (uint32_t step = 0; step < 2; step++) {
                ck_assert_int_eq(vst_context_run(train, step), VST_OK);
                const float *out = vst_context_output(train, 0), *gradient = vst_params_gradients(params);
                double sum = 0;
                for (int i = 0; i < ROWS * COLS; i++) {
                    ck_assert(out[i] == 0 || fabsf(out[i] - 1 / 0.7f) < 1e-6f);
                    ck_assert_float_eq(out[i], gradient[i]);
                    if (path) ck_assert_float_eq(out[i], out[i / COLS * COLS]);
                    sum += out[i];
                    changed += step && out[i] != before[i];
                    differs += step && fabsf(out[i] - vst_context_output(train, 1)[i]) > 1e-3f;
                    before[i] = out[i];
                }
                const double deviation = sqrt(rate / (1 - rate) / (path ? ROWS : ROWS * COLS));
                ck_assert_double_eq_tol(sum / (ROWS * COLS), 1, 4 * deviation);
            }
            /* Another step or place draws other numbers: they differ with probability 2 rate (1 - rate) = 0.42. */
            ck_assert_double_eq_tol(changed / (ROWS * COLS), 0.42, 0.1);
            ck_assert_double_eq_tol(differs / (ROWS * COLS), 0.42, 0.1);
            ck_assert_int_eq(vst_context_run(infer, 0), VST_OK);
            for (int i = 0; i < ROWS * COLS; i++) ck_assert_float_eq(vst_context_output(infer, 0)[i], 1);
            destroy_context(train);
            destroy_context(infer);
            vst_graph_destroy(g);
            vst_params_destroy(params);
        }
}
END_TEST

/* ---- Misfits ---- */

typedef struct misfit {
    const char *name;
    vst_shape a, b;
    int kind;
    bool both; /* the message should name both shapes */
} misfit;

enum {
    ADD,
    MATMUL,
    MATMUL_STACK,
    CONV,
    CONV_GROUPS,
    CONV_LARGE,
    BATCH_NORM,
    POOL,
    RESHAPE,
    PERMUTE,
    SLICE,
    CONCAT,
    EXPAND,
    REDUCE,
    RESIZE,
    ATTENTION,
    QUERIES,
    ENTROPY,
    KL,
    SQUARED,
    NORMALIZE,
    TRANSPOSED_STACK
};

static vst_value misfit_build(vst_graph *g, const misfit *m, vst_value a, vst_value b) {
    static const double ones[32] = {1};
    switch (m->kind) {
    case ADD: return vst_add(g, a, b);
    case MATMUL: return vst_matmul(g, a, b, false, false);
    case MATMUL_STACK: return vst_matmul(g, a, b, false, true);
    case CONV: return vst_conv2d(g, a, (vst_conv2d_options){.out = 4, .kernel = 3});
    case CONV_GROUPS: return vst_conv2d(g, a, (vst_conv2d_options){.out = 4, .kernel = 3, .groups = 2});
    case CONV_LARGE: return vst_conv2d(g, a, (vst_conv2d_options){.out = 4, .kernel = 7});
    case BATCH_NORM: return vst_batch_norm(g, a, (vst_norm_options){0});
    case POOL: return vst_max_pool(g, a, (vst_pool_options){.kernel = 3});
    case RESHAPE: return vst_reshape(g, a, m->b);
    case PERMUTE: return vst_permute(g, a, (int[]){0, 0, 1, 2, 3, 4});
    case SLICE: return vst_slice(g, a, 1, 2, 2);
    case CONCAT: return vst_concat(g, (vst_value[]){a, b}, 2, 1);
    case EXPAND: return vst_expand(g, a, m->b);
    case REDUCE: return vst_reduce_sum(g, a, 8, false);
    case RESIZE: return vst_resize(g, a, 3, 3, VST_BILINEAR);
    case ATTENTION: return vst_attention(g, a, 2, 0);
    case QUERIES: return vst_attention(g, a, 2, 6);
    case ENTROPY: return vst_cross_entropy(g, a, b, 0);
    case KL: return vst_kl_divergence(g, a, b, 2, VST_KL_BATCHMEAN);
    case SQUARED: return vst_mse(g, a, b);
    case NORMALIZE: return vst_channel_normalize(g, a, ones, ones);
    default: return vst_matmul(g, a, b, true, false);
    }
}

START_TEST(misfits) {
    static const misfit list[] = {
        {"add", {2, {2, 3}}, {2, {2, 4}}, ADD, true},
        {"inner dimension", {2, {2, 3}}, {2, {2, 4}}, MATMUL, true},
        {"leading dimensions", {3, {2, 4, 3}}, {3, {3, 5, 3}}, MATMUL_STACK, true},
        {"leading dimensions of equal product", {4, {2, 3, 4, 5}}, {4, {3, 2, 4, 5}}, MATMUL_STACK, true},
        {"matrix times stack", {2, {4, 5}}, {3, {1, 4, 5}}, MATMUL_STACK, true},
        {"transposed stack", {3, {2, 4, 3}}, {2, {4, 5}}, TRANSPOSED_STACK, true},
        {"convolution of rank 3", {3, {2, 4, 3}}, {0, {0}}, CONV, false},
        {"groups", {4, {1, 3, 5, 5}}, {0, {0}}, CONV_GROUPS, false},
        {"kernel", {4, {1, 3, 5, 5}}, {0, {0}}, CONV_LARGE, false},
        {"batch norm of rank 2", {2, {2, 3}}, {0, {0}}, BATCH_NORM, false},
        {"pooling", {4, {1, 3, 2, 5}}, {0, {0}}, POOL, false},
        {"reshape", {2, {2, 3}}, {2, {4, -1}}, RESHAPE, true},
        {"reshape twice open", {2, {2, 3}}, {3, {-1, -1, 1}}, RESHAPE, true},
        {"permute", {3, {2, 3, 4}}, {0, {0}}, PERMUTE, false},
        {"slice", {2, {2, 3}}, {0, {0}}, SLICE, false},
        {"concat", {3, {2, 3, 4}}, {3, {2, 3, 5}}, CONCAT, true},
        {"concat of ranks", {3, {2, 3, 4}}, {1, {2}}, CONCAT, true},
        {"expand", {2, {2, 3}}, {2, {2, 4}}, EXPAND, true},
        {"expand to less", {2, {2, 3}}, {2, {1, 3}}, EXPAND, true},
        {"reduce", {2, {2, 3}}, {0, {0}}, REDUCE, false},
        {"resize", {3, {2, 3, 3}}, {0, {0}}, RESIZE, false},
        {"attention", {3, {2, 5, 9}}, {0, {0}}, ATTENTION, false},
        {"attention of rank 2", {2, {5, 12}}, {0, {0}}, ATTENTION, false},
        {"attention of more queries than tokens", {3, {2, 5, 12}}, {0, {0}}, QUERIES, false},
        {"cross-entropy", {2, {2, 3}}, {2, {2, 4}}, ENTROPY, true},
        {"cross-entropy of rank 1", {1, {3}}, {1, {3}}, ENTROPY, false},
        {"kl", {2, {2, 3}}, {2, {3, 3}}, KL, true},
        {"mse", {2, {2, 3}}, {2, {3, 2}}, SQUARED, true},
        {"normalize", {4, {1, 17, 2, 2}}, {0, {0}}, NORMALIZE, false}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const misfit *m = &list[i];
        char a[VST_SHAPE_TEXT], b[VST_SHAPE_TEXT];
        vst_params *params = NULL;
        vst_graph *g = NULL;
        vst_value out = {0};
        ck_assert_int_eq(vst_params_create(&params), VST_OK);
        ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
        const bool target = m->kind == RESHAPE || m->kind == EXPAND; /* b is wanted, not given */
        const vst_value x = vst_input(g, "a", m->a), y = target ? x : vst_input(g, "b", m->b);
        VST_SCOPE (g, "blocks.3.attn") out = misfit_build(g, m, x, y);
        const vst_value later = vst_relu(g, x);
        const vst_status status = vst_graph_finish(g);
        const char *message = vst_error_message();
        const vst_status expected = m->kind == PERMUTE            ? VST_ERROR_ARGUMENT
                                    : m->kind == TRANSPOSED_STACK ? VST_ERROR_UNSUPPORTED
                                                                  : VST_ERROR_SHAPE;
        ck_assert_msg(status == expected, "%s: status %s", m->name, vst_status_name(status));
        ck_assert_msg(out.id == 0 && later.id == 0, "%s: the error is not sticky", m->name);
        ck_assert_msg(strstr(message, "blocks.3.attn"), "%s: no scope in \"%s\"", m->name, message);
        ck_assert_msg(strstr(message, vst_shape_text(&m->a, a)), "%s: no %s in \"%s\"", m->name, a, message);
        ck_assert_msg(!m->both || strstr(message, vst_shape_text(&m->b, b)), "%s: no %s in \"%s\"", m->name,
                      m->both ? b : "", message);
        vst_graph_destroy(g);
        vst_params_destroy(params);
    }
}
END_TEST

/* A null value, a loss that is no scalar, a second differentiation, a loss without parameters. */
START_TEST(misuse) {
    static const char *const expected[] = {"null value",
                                           "scalar",
                                           "before",
                                           "no trained parameter",
                                           "shares a name|differ",
                                           "rate",
                                           "no dimension 11",
                                           "cannot be combined",
                                           "kernel 0"};
    static const vst_status statuses[] = {VST_ERROR_NOT_FOUND, VST_ERROR_SHAPE,       VST_ERROR_ARGUMENT,
                                          VST_ERROR_ARGUMENT,  VST_ERROR_SHAPE,       VST_ERROR_ARGUMENT,
                                          VST_ERROR_ARGUMENT,  VST_ERROR_UNSUPPORTED, VST_ERROR_ARGUMENT};
    for (int i = 0; i < 9; i++) {
        vst_params *params = NULL;
        vst_graph *g = NULL;
        ck_assert_int_eq(vst_params_create(&params), VST_OK);
        ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
        const vst_value p = vst_param(g, "p", VST_SHAPE(3), (vst_init){0}), sum = vst_reduce_sum(g, p, 1, false);
        if (i == 0) vst_add(g, p, vst_find(g, "nothing"));
        if (i == 1) vst_differentiate(g, p);
        if (i == 2) vst_differentiate(g, sum);
        if (i == 2) vst_differentiate(g, sum);
        if (i == 3) vst_differentiate(g, vst_reduce_sum(g, vst_input(g, "x", VST_SHAPE(3)), 1, false));
        if (i == 4) vst_param(g, "p", VST_SHAPE(4), (vst_init){0});
        if (i == 5) vst_dropout(g, p, 1);
        const vst_value image = vst_input(g, "image", VST_SHAPE(1, 3, 4, 4));
        if (i == 6) vst_concat(g, &image, 1, 11);
        if (i == 7) vst_avg_pool(g, image, (vst_pool_options){.kernel = 2, .ceil = true, .count_padding = true});
        if (i == 8) vst_conv2d(g, image, (vst_conv2d_options){.out = 4});
        ck_assert_int_eq(vst_graph_finish(g), statuses[i]);
        const char *first = expected[i], *bar = strchr(first, '|');
        ck_assert_msg(strstr(vst_error_message(), bar ? bar + 1 : first) != NULL, "%d: \"%s\"", i, vst_error_message());
        vst_graph_destroy(g);
        vst_params_destroy(params);
    }
}
END_TEST

/* What is added to a finished graph is refused: an operation, an input, a parameter; finishing twice is not. */
START_TEST(finished) {
    for (int i = 0; i < 3; i++) {
        vst_params *params = NULL;
        vst_graph *g = NULL;
        ck_assert_int_eq(vst_params_create(&params), VST_OK);
        ck_assert_int_eq(vst_graph_create(&g, params), VST_OK);
        const vst_value x = vst_relu(g, vst_input(g, "x", VST_SHAPE(3)));
        ck_assert_int_eq(vst_graph_finish(g), VST_OK);
        ck_assert_int_eq(vst_graph_finish(g), VST_OK);
        const vst_value late = i == 0   ? vst_sigmoid(g, x)
                               : i == 1 ? vst_input(g, "sigmoid", VST_SHAPE(3))
                                        : vst_param(g, "sigmoid", VST_SHAPE(3), (vst_init){0});
        ck_assert_int_eq(late.id, 0);
        ck_assert_uint_eq(vst_graph_node_count(g), 1);
        ck_assert_int_eq(vst_graph_finish(g), VST_ERROR_ARGUMENT);
        ck_assert_msg(strstr(vst_error_message(), "sigmoid was added after vst_graph_finish") != NULL, "%s",
                      vst_error_message());
        vst_graph_destroy(g);
        vst_params_destroy(params);
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("ops");
    tcase_set_timeout(cases, 240);
    tcase_add_loop_test(cases, conv2d, 0, ISAS);
    tcase_add_loop_test(cases, linear, 0, ISAS);
    tcase_add_loop_test(cases, matmul, 0, ISAS);
    tcase_add_loop_test(cases, norm, 0, ISAS);
    tcase_add_loop_test(cases, map, 0, ISAS);
    tcase_add_loop_test(cases, arithmetic, 0, ISAS);
    tcase_add_loop_test(cases, reduce, 0, ISAS);
    tcase_add_loop_test(cases, pool, 0, ISAS);
    tcase_add_loop_test(cases, reshape_and_permute, 0, ISAS);
    tcase_add_loop_test(cases, slice_and_concat, 0, ISAS);
    tcase_add_loop_test(cases, expand_and_resize, 0, ISAS);
    tcase_add_loop_test(cases, attention, 0, ISAS);
    tcase_add_loop_test(cases, loss, 0, ISAS);
    tcase_add_loop_test(cases, distances, 0, ISAS);
    tcase_add_test(cases, detached);
    tcase_add_loop_test(cases, composition, 0, ISAS);
    tcase_add_loop_test(cases, running_statistics, 0, ISAS);
    tcase_add_loop_test(cases, evaluation_mode, 0, ISAS);
    tcase_add_loop_test(cases, random_masks, 0, ISAS);
    tcase_add_test(cases, misfits);
    tcase_add_test(cases, misuse);
    tcase_add_test(cases, finished);
    return run_suite("ops", cases);
}
