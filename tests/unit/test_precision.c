/* Values stored as bf16, s8 or u8 are within half a step of their dtype; they are converted once for any number of
 * readers, which the profile shows; without a policy nothing changes. Kernels on bf16 are those on float32, rounded
 * once. tests/parity/test_parity.c trains and classifies in bf16. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/kernels/kernels.h"
#include "vision/ops/ops.h"

enum { IMAGES = 2, CHANNELS = 16, SIDE = 9, VALUES = IMAGES * CHANNELS * SIDE * SIDE };

typedef struct subject {
    vst_params *params;
    vst_graph *graph;
    vst_value out[3];
} subject;

/* x -> sigmoid "mid" -> the same values through a view, a sum with zero and the layout of a convolution. Three readers
 * of one value; the last one needs a layout of oneDNN's. */
static subject build(void) {
    subject s = {0};
    ck_ok(vst_params_create(&s.params));
    ck_ok(vst_graph_create(&s.graph, s.params));
    const vst_value x = vst_input(s.graph, "x", VST_SHAPE(IMAGES, CHANNELS, SIDE, SIDE));
    vst_value mid;
    VST_SCOPE (s.graph, "mid") mid = vst_scale(s.graph, x, 1);
    vst_tap(s.graph, "mid", mid);
    s.out[0] = vst_scale(s.graph, mid, 1);
    s.out[1] = vst_reshape(s.graph, mid, VST_SHAPE(IMAGES, CHANNELS * SIDE * SIDE));
    VST_SCOPE (s.graph, "conv") s.out[2] = vst_conv2d(s.graph, mid, (vst_conv2d_options){.out = 16, .kernel = 1});
    ck_ok(vst_graph_finish(s.graph));
    ck_ok(vst_params_allocate(s.params, false, 1));
    return s;
}

static void finish(subject *s) {
    vst_graph_destroy(s->graph);
    vst_params_destroy(s->params);
}

/* Values of channel c are within ±(c + 1). */
static void fill(float *x) {
    vst_random random = vst_random_stream(1, 0, 0, 0);
    for (int i = 0; i < VALUES; i++)
        x[i] = (float)((2 * vst_random_uniform(&random) - 1) * (1 + i / (SIDE * SIDE) % CHANNELS));
}

static vst_context *run(const subject *s, const vst_quant_entry *entry, vst_precision precision) {
    const vst_quant quant = {.entries = entry, .count = entry != NULL};
    vst_context *context = create_context(
        s->graph, s->out, 3, &(vst_program_options){.mode = VST_INFER, .precision = precision, .quant = &quant});
    fill(vst_context_input(context, "x"));
    ck_ok(vst_context_run(context, 0));
    return context;
}

static int count_rows(const vst_context *context, const char *operation) {
    int count = 0;
    for (size_t i = 0; i < vst_context_profile_count(context); i++) {
        vst_profile_row row;
        vst_context_profile_at(context, i, &row);
        count += strcmp(strrchr(row.name, ' ') + 1, operation) == 0;
    }
    return count;
}

/* Largest deviation of the two outputs that return the value, by channel in units of `steps`. */
static double worst(const vst_context *context, const float *steps, bool relative) {
    float x[VALUES];
    double most = 0;
    fill(x);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < VALUES; i++) {
            const double got = vst_context_output(context, k)[i], step = steps[i / (SIDE * SIDE) % CHANNELS];
            const double off = difference_of(got, x[i], false) / (relative ? fabs((double)x[i]) : step);
            if (off > most) most = off;
        }
    return most;
}

static double convolution_off(const vst_context *a, const vst_context *b) {
    return largest_difference(vst_context_output(a, 2), vst_context_output(b, 2), VALUES);
}

START_TEST(values_come_back) {
    subject s = build();
    float each[CHANNELS], one[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) {
        each[c] = (float)(c + 1) / 127;
        one[c] = 16.0f / 127;
    }
    const struct {
        vst_quant_entry entry;
        const char *to, *from;
        const float *steps;
        double bound;
    } cases[] = {{{"mid", VST_BF16, NULL, 0, 0}, "cast", "cast", one, 1.0 / 256},
                 {{"mid scale", VST_I8, one, 1, 0}, "quantize", "dequantize", one, 0.5},
                 {{"mid", VST_I8, each, CHANNELS, 0}, "quantize", "dequantize", each, 0.5},
                 {{"mid", VST_U8, one, 1, 128}, "quantize", "dequantize", one, 0.5},
                 {{"mid", VST_U8, each, CHANNELS, 128}, "quantize", "dequantize", each, 0.5}};
    vst_context *exact = run(&s, NULL, VST_PRECISION_F32);
    ck_assert_double_eq(worst(exact, one, true), 0);
    ck_assert_int_eq(count_rows(exact, "cast") + count_rows(exact, "quantize") + count_rows(exact, "dequantize"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bool cast = cases[i].entry.dtype == VST_BF16;
        vst_context *context = run(&s, &cases[i].entry, VST_PRECISION_F32);
        const double off = worst(context, cases[i].steps, cast);
        printf("%s %d: off by at most %.4f\n", vst_dtype_name(cases[i].entry.dtype), cases[i].entry.scale_count, off);
        fflush(stdout);
        ck_assert_double_gt(off, cases[i].bound / 4); /* it was stored with fewer bits */
        ck_assert_double_lt(off, cases[i].bound * 1.0001);
        ck_assert_double_gt(convolution_off(context, exact), 0); /* the convolution reads the stored value too */
        ck_assert_double_lt(convolution_off(context, exact), 16);
        /* Converted once, and back once for the two that read float32. A view has the same dtype and is converted back
         * for the output; if its shape does not contain the channels, it is float32. */
        const int there = 1, back = cases[i].entry.scale_count > 1 ? 1 : 2;
        ck_assert_int_eq(count_rows(context, cases[i].to), cast ? there + back : there);
        ck_assert_int_eq(count_rows(context, cases[i].from), cast ? there + back : back);
        destroy_context(context);
    }
    destroy_context(exact);
    finish(&s);
}
END_TEST

/* Only the convolution reads bf16: what others read too stays float32. */
START_TEST(whole_programs_in_bf16) {
    subject s = build();
    bool slow;
    const float one[CHANNELS] = {0};
    if (vst_precision_check(VST_PRECISION_BF16, &slow) != VST_OK) {
        printf("skipped: %s\n", vst_error_message());
        return;
    }
    vst_context *exact = run(&s, NULL, VST_PRECISION_F32), *context = run(&s, NULL, VST_PRECISION_BF16);
    ck_assert_double_eq(worst(context, one, true), 0);
    ck_assert_double_gt(convolution_off(context, exact), 1e-3);
    ck_assert_double_lt(convolution_off(context, exact), 0.5);
    destroy_context(context);
    destroy_context(exact);
    finish(&s);
}
END_TEST

/* ONEDNN_MAX_CPU_ISA is read when oneDNN is first asked; every test is a process of its own. */
START_TEST(processors_without_bf16) {
    subject s = build();
    vst_program *program;
    bool slow;
    setenv("ONEDNN_MAX_CPU_ISA", _i ? "SSE41" : "AVX2", 1);
    ck_fails(vst_precision_check(VST_PRECISION_BF16, &slow), VST_ERROR_UNSUPPORTED, "AVX512_BF16");
    ck_ok(vst_precision_check(VST_PRECISION_F32, &slow));
    ck_fails(vst_program_create(&program, s.graph, s.out, 3, &(vst_program_options){.precision = VST_PRECISION_BF16}),
             VST_ERROR_UNSUPPORTED, "use f32");
    finish(&s);
}
END_TEST

START_TEST(impossible_entries) {
    subject s = build();
    vst_program *program;
    static const float scales[] = {1, -1};
    static const struct {
        vst_quant_entry entry;
        vst_status status;
        const char *text;
    } cases[] = {{{"middle", VST_BF16, NULL, 0, 0}, VST_ERROR_NOT_FOUND, "middle"},
                 {{"mid", VST_F16, NULL, 0, 0}, VST_ERROR_UNSUPPORTED, "F16"},
                 {{"mid", VST_I8, scales, 2, 0}, VST_ERROR_ARGUMENT, "2 scales"},
                 {{"mid", VST_I8, scales + 1, 1, 0}, VST_ERROR_ARGUMENT, "positive"},
                 {{"mid", VST_I8, scales, 1, 3}, VST_ERROR_ARGUMENT, "zero point"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vst_quant quant = {.entries = &cases[i].entry, .count = 1};
        ck_fails(vst_program_create(&program, s.graph, s.out, 3, &(vst_program_options){.quant = &quant}),
                 cases[i].status, cases[i].text);
    }
    const vst_quant products = {.products = &(vst_quant_product){"conv", 1, 0}, .product_count = 1};
    ck_fails(vst_program_create(&program, s.graph, s.out, 3,
                                &(vst_program_options){.quant = &products, .precision = VST_PRECISION_BF16}),
             VST_ERROR_UNSUPPORTED, "8-bit integers");
    finish(&s);
}
END_TEST

START_TEST(allocation_failures) {
    subject s = build();
    const float scale = 1;
    const vst_quant_entry entries[] = {{"mid", VST_U8, &scale, 1, 7}, {"conv conv2d", VST_BF16, NULL, 0, 0}};
    const vst_quant quant = {.entries = entries, .count = 2};
    uint64_t n = 1;
    for (bool reached = true; reached; n++) {
        vst_program *program = NULL;
        const uint64_t before = vst_memory_count();
        vst_memory_fail_at(n);
        const vst_status status =
            vst_program_create(&program, s.graph, s.out, 3, &(vst_program_options){.quant = &quant});
        vst_memory_fail_at(0);
        reached = vst_memory_count() - before >= n;
        ck_assert_int_eq(status, reached ? VST_ERROR_MEMORY : VST_OK);
        vst_program_destroy(program);
    }
    ck_assert_uint_gt(n, 40);
    finish(&s);
}
END_TEST

/* ---- The kernels at the edges of their types ---- */

static const char *const isas[] = {"generic", "avx2", "avx512"};

START_TEST(edges) {
    const vsti_kernels *k = vsti_find_kernels(isas[_i]);
    const float x[] = {0, 0.5f, 1.5f, -0.5f, 2.49f, 126.6f, 1e30f, -1e30f, INFINITY, -INFINITY, NAN, -128.4f};
    enum { COUNT = sizeof x / sizeof *x };
    const int8_t s8[COUNT] = {0, 0, 2, 0, 2, 127, 127, -128, 127, -128, -128, -128};
    const uint8_t u8[COUNT] = {3, 3, 5, 3, 5, 130, 255, 0, 255, 0, 0, 0};
    const float scale = 1;
    uint8_t q[COUNT];
    uint16_t half[COUNT];
    float back[COUNT];
    if (!k) {
        printf("skipped: this processor has no %s\n", isas[_i]);
        return;
    }
    k->quantize(&(vsti_quantization){1, 1, COUNT, 0, true}, &scale, x, q);
    ck_assert_mem_eq(q, s8, COUNT);
    k->dequantize(&(vsti_quantization){1, 1, COUNT, 0, true}, &scale, q, back);
    for (int i = 0; i < COUNT; i++) ck_assert_float_eq(back[i], (float)s8[i]);
    k->quantize(&(vsti_quantization){1, 1, COUNT, 3, false}, &scale, x, q);
    ck_assert_mem_eq(q, u8, COUNT);
    const float wide[] = {1, 1 + 1.0f / 256, 1 + 3.0f / 256, INFINITY, NAN, -3.3895314e38f};
    const uint16_t want[] = {0x3f80, 0x3f80, 0x3f82, 0x7f80, 0x7fc0, 0xff7f};
    k->to_bf16(wide, half, 6);
    ck_assert_mem_eq(half, want, sizeof want);
    k->from_bf16(half, back, 6);
    ck_assert(isnan(back[4]) && back[3] == INFINITY && back[2] == 1 + 4.0f / 256);
}
END_TEST

/* ---- Kernels on bf16: bit for bit the float32 kernels between casts ---- */

enum { MOST = 40000 };

typedef struct twin { /* the same numbers in both types */
    float wide[MOST];
    uint16_t narrow[MOST];
} twin;

static void fill_twin(const vsti_kernels *k, twin *t, int n, uint64_t stream) {
    vst_random random = vst_random_stream(stream, 0, 0, 0);
    for (int i = 0; i < n; i++) t->wide[i] = (float)(8 * vst_random_uniform(&random) - 4);
    k->to_bf16(t->wide, t->narrow, n);
    k->from_bf16(t->narrow, t->wide, n);
}

/* `got` is `want` rounded. */
static void ck_rounded(const vsti_kernels *k, const uint16_t *got, const float *want, int n) {
    static uint16_t rounded[MOST];
    k->to_bf16(want, rounded, n);
    ck_assert_mem_eq(got, rounded, (size_t)n * sizeof *got);
}

START_TEST(elementwise_on_bf16) {
    static twin x, y, out;
    static float partial[16 * MOST / 100], sums[2][100];
    const vsti_kernels *k = vsti_find_kernels(isas[_i]);
    if (!k) return;
    for (int n = 1; n <= MOST; n = n * 7 + 3) {
        fill_twin(k, &x, n, 1);
        fill_twin(k, &y, n, 2);
        for (vsti_activation a = VSTI_RELU; a <= VSTI_HARDSWISH; a++) {
            k->activation(a, x.wide, out.wide, n);
            k->activation_bf16(a, x.narrow, out.narrow, n);
            ck_rounded(k, out.narrow, out.wide, n);
            k->activation_backward(a, x.wide, y.wide, out.wide, n);
            k->activation_backward_bf16(a, x.narrow, y.narrow, out.narrow, n);
            ck_rounded(k, out.narrow, out.wide, n);
        }
        k->add(x.wide, y.wide, out.wide, n);
        k->add_bf16(x.narrow, y.narrow, out.narrow, n);
        ck_rounded(k, out.narrow, out.wide, n);
    }
    fill_twin(k, &x, MOST, 1);
    k->column_sum(x.wide, sums[0], partial, MOST / 100, 100);
    k->column_sum_bf16(x.narrow, sums[1], partial, MOST / 100, 100);
    for (int i = 0; i < 100; i++) ck_assert_float_eq_tol(sums[0][i], sums[1][i], 1e-4f);
    x.narrow[3] = 0x7fc0;
    k->activation_bf16(VSTI_GELU, x.narrow, out.narrow, 8);
    ck_assert_uint_eq(out.narrow[3] & 0x7fc0, 0x7fc0); /* NaN stays NaN */
    k->add_bf16(x.narrow, y.narrow, out.narrow, 8);
    ck_assert_uint_eq(out.narrow[3] & 0x7fc0, 0x7fc0);
}
END_TEST

START_TEST(layer_norm_on_bf16) {
    enum { COLS = 100, ROWS = MOST / COLS };
    static twin x, gamma, beta, out;
    static float scratch[8 * VSTI_BF16_NORM_ROWS * COLS], stats[4][ROWS];
    const vsti_kernels *k = vsti_find_kernels(isas[_i]);
    if (!k) return;
    omp_set_num_threads(8);
    fill_twin(k, &x, MOST, 1);
    fill_twin(k, &gamma, COLS, 2);
    fill_twin(k, &beta, COLS, 3);
    for (int rows = 1; rows <= ROWS; rows = rows * 5 + 1) {
        k->layer_norm(x.wide, gamma.wide, beta.wide, out.wide, stats[0], stats[1], rows, COLS, 1e-6f);
        k->layer_norm_bf16(x.wide, gamma.wide, beta.wide, out.narrow, stats[2], stats[3], rows, COLS, 1e-6f, scratch);
        ck_rounded(k, out.narrow, out.wide, rows * COLS);
        ck_assert_mem_eq(stats[0], stats[2], (size_t)rows * sizeof(float));
        ck_assert_mem_eq(stats[1], stats[3], (size_t)rows * sizeof(float));
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("precision");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, values_come_back);
    tcase_add_test(cases, whole_programs_in_bf16);
    tcase_add_loop_test(cases, processors_without_bf16, 0, 2);
    tcase_add_test(cases, impossible_entries);
    tcase_add_test(cases, allocation_failures);
    tcase_add_loop_test(cases, edges, 0, 3);
    tcase_add_loop_test(cases, elementwise_on_bf16, 0, 3);
    tcase_add_loop_test(cases, layer_norm_on_bf16, 0, 3);
    return run_suite("precision", cases);
}
