/* Every kernel of every instruction set against naive code in double, over sizes around the vector widths; gradients
 * against central differences of the naive forward functions; the same bits with one and with several threads. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/suite.h"
#include "vision/kernels/depthwise.h"
#include "vision/kernels/kernels.h"

static const char *const isas[] = {"generic", "avx2", "avx512"};
static const int64_t sizes[] = {1, 7, 16, 17, 33, 65, 197};
enum { ISAS = 3, SIZES = sizeof sizes / sizeof sizes[0], LARGE = 40003 };

/* ---- Helpers ---- */

static const vsti_kernels *kernels_at(int index) {
    const vsti_kernels *k = vsti_find_kernels(isas[index]);
    if (!k) printf("skipped: this processor has no %s\n", isas[index]);
    return k;
}

static uint64_t state = 1;
static double uniform(double low, double high) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return low + (high - low) * (double)(state >> 11) * 0x1p-53;
}

/* Exactly n floats from the heap, so that the address sanitizer sees one too many. */
static float *floats(int64_t n, double low, double high) {
    ck_assert_int_gt(n, 0);
    float *x = malloc((size_t)n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)uniform(low, high);
    return x;
}
static float *room(int64_t n) { return floats(n, 9, 10); }
static float *copy(const float *x, int64_t n) { return memcpy(room(n), x, (size_t)n * sizeof *x); }
static double *doubles(int64_t n) {
    ck_assert_int_gt(n, 0);
    double *x = calloc((size_t)n, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}
static double *widened(const float *x, int64_t n) {
    double *y = doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

/* Every difference is at most `share` times the root mean square of what is wanted (but at least `least`). */
static void near(const char *what, const float *got, const double *want, int64_t n, double share, double least) {
    const double scale = rms(want, n);
    ck_assert_all_close(what, got, want, n, (tolerance){.absolute = share * (scale > least ? scale : least)});
}

static void same(const char *what, const void *a, const void *b, size_t bytes) {
    ck_assert_msg(memcmp(a, b, bytes) == 0, "%s: results differ", what);
}

/* A naive function of a row, with what else it needs. */
typedef void row_function(const double *x, double *y, int64_t n, const void *context);

/* gradient[i] = d sum(dy f(x)) / d x[i] by central differences, row by row. */
static double *numeric(row_function *f, const void *context, const float *x, const float *dy, int64_t rows,
                       int64_t cols) {
    double *gradient = doubles(rows * cols), *y = doubles(cols);
    const double h = 1e-5;
    for (int64_t row = 0; row < rows; row++) {
        double *at = widened(x + row * cols, cols);
        for (int64_t i = 0; i < cols; i++) {
            const double center = at[i];
            double sum = 0;
            for (int sign = 1; sign >= -1; sign -= 2) {
                at[i] = center + sign * h;
                f(at, y, cols, context);
                for (int64_t k = 0; k < cols; k++) sum += sign * y[k] * dy[row * cols + k];
            }
            at[i] = center;
            gradient[row * cols + i] = sum / (2 * h);
        }
        free(at);
    }
    free(y);
    return gradient;
}

static double *applied(row_function *f, const void *context, const float *x, int64_t rows, int64_t cols) {
    double *in = widened(x, rows * cols), *out = doubles(rows * cols);
    for (int64_t row = 0; row < rows; row++) f(in + row * cols, out + row * cols, cols, context);
    free(in);
    return out;
}

/* ---- Activations ---- */

static double activation(vsti_activation kind, double x) {
    switch (kind) {
    case VSTI_RELU: return fmax(x, 0);
    case VSTI_RELU6: return fmin(fmax(x, 0), 6);
    case VSTI_GELU: return 0.5 * x * erfc(-x * sqrt(0.5));
    case VSTI_SILU: return x / (1 + exp(-x));
    case VSTI_SIGMOID: return 1 / (1 + exp(-x));
    case VSTI_HARDSWISH: return x * fmin(fmax(x + 3, 0), 6) / 6;
    }
    return NAN;
}

static void activate(const double *x, double *y, int64_t n, const void *context) {
    for (int64_t i = 0; i < n; i++) y[i] = activation(*(const vsti_activation *)context, x[i]);
}

/* Random numbers at a distance from the kinks at -3, 0, 3 and 6. */
static float *smooth_points(int64_t n) {
    float *x = floats(n, -8, 8);
    for (int64_t i = 0; i < n; i++)
        if (fabsf(x[i] - 3 * roundf(x[i] / 3)) < 1e-3f) x[i] += 0.01f;
    return x;
}

START_TEST(activations) {
    const vsti_kernels *k = kernels_at(_i);
    for (vsti_activation kind = VSTI_RELU; k && kind <= VSTI_HARDSWISH; kind++) {
        for (int s = 0; s < SIZES; s++) {
            const int64_t n = sizes[s];
            float *x = smooth_points(n), *y = room(n), *dy = floats(n, -1, 1), *dx = room(n), *twin = copy(x, n);
            double *want = applied(activate, &kind, x, n, 1), *slope = numeric(activate, &kind, x, dy, n, 1);
            k->activation(kind, x, y, n);
            near("activation", y, want, n, 1e-6, 0.1);
            k->activation_backward(kind, x, dy, dx, n);
            near("activation gradient", dx, slope, n, 2e-6, 1);
            if (kind == VSTI_RELU || kind == VSTI_RELU6) {
                k->activation_backward(kind, y, dy, dx, n);
                near("activation gradient from y", dx, slope, n, 2e-6, 1);
            }
            k->activation(kind, twin, twin, n);
            same("activation in place", twin, y, (size_t)n * sizeof *y);
            k->activation_backward(kind, x, dy, dy, n);
            near("activation gradient in place", dy, slope, n, 2e-6, 1);
            free(x), free(y), free(dy), free(dx), free(twin), free(want), free(slope);
        }
    }
}
END_TEST

/* Derivative, value and the sum of each column in one pass: equal to a pass for each. */
START_TEST(activation_rows) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES * SIZES; s++) {
        const vsti_activation kind = (vsti_activation)(VSTI_GELU + s % 4);
        const int64_t rows = sizes[s / SIZES], cols = s == 30 ? 1100 : sizes[s % SIZES], n = rows * cols;
        float *x = smooth_points(n), *y = room(n), *dy = floats(n, -1, 1), *dx = room(n), *sum = room(cols);
        float *partial = room((int64_t)vsti_partial_floats(cols)), *want_sum = room(cols);
        float *x_in_place = copy(x, n), *dy_in_place = copy(dy, n);
        double *want = applied(activate, &kind, x, n, 1), *slope = numeric(activate, &kind, x, dy, n, 1);
        k->activation_backward_rows(kind, x, dy, dx, y, sum, partial, rows, cols);
        near("value beside the gradient", y, want, n, 1e-6, 0.1);
        near("gradient beside the value", dx, slope, n, 2e-6, 1);
        k->column_sum(dx, want_sum, partial, rows, cols);
        same("column sums beside the gradient", sum, want_sum, (size_t)cols * sizeof *sum);
        k->activation_backward_rows(kind, x_in_place, dy_in_place, dy_in_place, x_in_place, NULL, NULL, rows, cols);
        same("value in place", x_in_place, y, (size_t)n * sizeof *y);
        same("gradient in place", dy_in_place, dx, (size_t)n * sizeof *dx);
        k->activation_backward_rows(kind, x, dy, dy, NULL, sum, partial, rows, cols);
        near("gradient without the value", dy, slope, n, 2e-6, 1);
        k->column_sum(dy, want_sum, partial, rows, cols);
        same("column sums without the value", sum, want_sum, (size_t)cols * sizeof *sum);
        free(x), free(y), free(dy), free(dx), free(sum), free(partial), free(want_sum), free(x_in_place);
        free(dy_in_place), free(want), free(slope);
    }
}
END_TEST

/* Far out, around zero and at NaN, in a vector's lane and in the tail. */
START_TEST(activation_extremes) {
    const vsti_kernels *k = kernels_at(_i);
    const float x[] = {0, 1e-30f, -1e-30f, 20, -20, 89, -89, 200, -200, 1e30f, -1e30f};
    enum { POINTS = sizeof x / sizeof x[0] };
    float in[33], out[33], one[33];
    if (!k) return;
    for (int i = 0; i < 33; i++) one[i] = 1;
    for (vsti_activation kind = VSTI_RELU; kind <= VSTI_HARDSWISH; kind++) {
        for (int point = 0; point < POINTS; point++) {
            const double want = activation(kind, x[point]);
            for (int i = 0; i < 33; i++) in[i] = x[point];
            k->activation(kind, in, out, 33);
            for (int i = 0; i < 33; i++)
                ck_assert_msg(is_close(out[i], want, (tolerance){1e-12, 1e-6, false}), "kind %d of %g is %g, wanted %g",
                              (int)kind, (double)in[i], (double)out[i], want);
            k->activation_backward(kind, in, one, out, 33);
            for (int i = 0; i < 33; i++)
                ck_assert_msg(fabsf(out[i]) < 1.2f, "slope %g at %g", (double)out[i], (double)in[i]);
        }
        for (int i = 0; i < 33; i++) in[i] = NAN;
        k->activation(kind, in, out, 33);
        for (int i = 0; i < 33; i++) ck_assert_msg(isnan(out[i]), "kind %d swallows NaN", (int)kind);
    }
}
END_TEST

/* ---- Arithmetic ---- */

START_TEST(arithmetic) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t n = sizes[s];
        float *a = floats(n, -2, 2), *b = floats(n, -2, 2), *out = room(n);
        k->add(a, b, out, n);
        for (int64_t i = 0; i < n; i++) ck_assert(out[i] == a[i] + b[i]);
        k->mul(a, b, out, n);
        for (int64_t i = 0; i < n; i++) ck_assert(out[i] == a[i] * b[i]);
        k->scale(a, 0.3f, out, n);
        for (int64_t i = 0; i < n; i++) ck_assert(out[i] == a[i] * 0.3f);
        memcpy(out, a, (size_t)n * sizeof *a);
        k->add(out, b, out, n);
        for (int64_t i = 0; i < n; i++) ck_assert(out[i] == a[i] + b[i]);
        free(a), free(b), free(out);
    }
}
END_TEST

START_TEST(normalize) {
    const vsti_kernels *k = kernels_at(_i);
    const float mean[] = {0.5f, -1, 2}, inverse[] = {2, 0.25f, 4};
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t inner = sizes[s], n = 2 * 3 * inner;
        float *x = floats(n, -2, 2), *y = room(n);
        double *want = doubles(n);
        for (int64_t i = 0; i < n; i++) want[i] = ((double)x[i] - mean[i / inner % 3]) * inverse[i / inner % 3];
        k->normalize(x, mean, inverse, y, 2, 3, inner);
        near("normalize", y, want, n, 1e-6, 1);
        k->normalize(x, mean, inverse, x, 2, 3, inner);
        same("normalize in place", x, y, (size_t)n * sizeof *x);
        free(x), free(y), free(want);
    }
}
END_TEST

START_TEST(column_sum) {
    const vsti_kernels *k = kernels_at(_i);
    for (int r = 0; k && r < SIZES; r++) {
        for (int c = 0; c < SIZES; c++) {
            const int64_t rows = sizes[r], cols = sizes[c];
            float *x = floats(rows * cols, -1, 2), *sum = room(cols);
            float *partial = room((int64_t)vsti_partial_floats(cols));
            double *want = doubles(cols);
            for (int64_t i = 0; i < rows * cols; i++) want[i % cols] += x[i];
            k->column_sum(x, sum, partial, rows, cols);
            near("column_sum", sum, want, cols, 1e-6, 1);
            free(x), free(sum), free(partial), free(want);
        }
    }
}
END_TEST

/* ---- Rows: layer norm, softmax, standardisation ---- */

typedef struct affine {
    const float *gamma, *beta;
    double epsilon;
} affine;

static void layer_norm(const double *x, double *y, int64_t n, const void *context) {
    const affine *a = context;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) / sqrt(variance + a->epsilon) * a->gamma[i] + a->beta[i];
}

/* Where kernels write uint8 in place of these floats; the values beyond both ends are cut. */
static const vsti_uint8 narrow = {0.011f, 100};

static void same_uint8(const vsti_kernels *k, const char *what, const float *floats_of, const uint8_t *got, int64_t n) {
    uint8_t *want = malloc((size_t)n);
    ck_assert_ptr_nonnull(want);
    k->quantize(&(vsti_quantization){1, 1, n, narrow.zero_point, false}, &narrow.scale, floats_of, want);
    same(what, got, want, (size_t)n);
    free(want);
}

static void test_layer_norm(const vsti_kernels *k, int64_t rows, int64_t cols) {
    const int64_t n = rows * cols;
    float *x = floats(n, 1, 3), *gamma = floats(cols, 0.5, 1.5), *beta = floats(cols, -1, 1), *dy = floats(n, -1, 1);
    float *y = room(n), *mean = room(rows), *rstd = room(rows), *dx = room(n);
    float *dgamma = room(cols), *dbeta = room(cols), *sum = room(cols), *want_sum = room(cols);
    float *more = floats(n, -1, 1), *partial = room(3 * (int64_t)vsti_partial_floats(cols));
    const affine context = {gamma, beta, 1e-2};
    double *want = applied(layer_norm, &context, x, rows, cols);
    double *slope = numeric(layer_norm, &context, x, dy, rows, cols);
    double *want_gamma = doubles(cols), *want_beta = doubles(cols);
    for (int64_t i = 0; i < n; i++) {
        want_gamma[i % cols] += dy[i] * (want[i] - beta[i % cols]) / gamma[i % cols];
        want_beta[i % cols] += dy[i];
    }
    k->layer_norm(x, gamma, beta, y, mean, rstd, rows, cols, 1e-2f);
    near("layer_norm", y, want, n, 3e-6, 1);
    uint8_t *integers = malloc((size_t)n);
    ck_assert_ptr_nonnull(integers);
    k->layer_norm_uint8(x, gamma, beta, &narrow, integers, rows, cols, 1e-2f);
    same_uint8(k, "layer_norm_uint8", y, integers, n);
    free(integers);

    k->layer_norm_backward(x, gamma, mean, rstd, dy, NULL, dx, dgamma, dbeta, NULL, partial, rows, cols);
    near("layer_norm dx", dx, slope, n, 1e-5, 1);
    near("layer_norm dgamma", dgamma, want_gamma, cols, 1e-5, 1);
    near("layer_norm dbeta", dbeta, want_beta, cols, 1e-5, 1);

    for (int64_t i = 0; i < n; i++) slope[i] += more[i];
    float *target = copy(more, n);
    k->layer_norm_backward(x, gamma, mean, rstd, dy, target, target, dgamma, dbeta, sum, partial, rows, cols);
    near("layer_norm dx onto accumulate", target, slope, n, 1e-5, 1);
    k->column_sum(target, want_sum, partial, rows, cols);
    same("layer_norm sum of dx", sum, want_sum, (size_t)cols * sizeof *sum);
    memcpy(target, dy, (size_t)n * sizeof *dy);
    k->layer_norm_backward(x, gamma, mean, rstd, target, more, target, NULL, NULL, sum, partial, rows, cols);
    near("layer_norm dx onto dy", target, slope, n, 1e-5, 1);
    k->column_sum(target, want_sum, partial, rows, cols);
    same("layer_norm sum of dx alone", sum, want_sum, (size_t)cols * sizeof *sum);
    memcpy(target, dy, (size_t)n * sizeof *dy);
    k->layer_norm_backward(x, gamma, mean, rstd, target, more, target, dgamma, dbeta, NULL, partial, rows, cols);
    near("layer_norm dgamma with dx onto dy", dgamma, want_gamma, cols, 1e-5, 1);
    free(x), free(gamma), free(beta), free(dy), free(y), free(mean), free(rstd), free(dx), free(dgamma), free(dbeta);
    free(more), free(partial), free(want), free(slope), free(want_gamma), free(want_beta), free(target), free(sum);
    free(want_sum);
}

START_TEST(layer_norms) {
    const vsti_kernels *k = kernels_at(_i);
    for (int c = 0; k && c < SIZES; c++)
        for (int r = 0; r < 4; r++) test_layer_norm(k, sizes[r], sizes[c]);
    if (k) test_layer_norm(k, 2, 600); /* quantised in three pieces */
}
END_TEST

static void log_softmax(const double *x, double *y, int64_t n, const void *context) {
    double max = x[0], sum = 0;
    (void)context;
    for (int64_t i = 0; i < n; i++) max = fmax(max, x[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(x[i] - max);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] - max - log(sum);
}

static void softmax(const double *x, double *y, int64_t n, const void *context) {
    log_softmax(x, y, n, context);
    for (int64_t i = 0; i < n; i++) y[i] = exp(y[i]);
}

static void standardize(const double *x, double *y, int64_t n, const void *context) {
    double mean = 0, squares = 0;
    (void)context;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    const double deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) / (deviation + 1e-7);
}

typedef struct row_case {
    const char *name;
    row_function *function;
    void (*forward)(const float *x, float *y, int64_t rows, int64_t cols);
    void (*backward)(const float *given, const float *dy, float *dx, int64_t rows, int64_t cols);
    int from_result; /* backward is given y, not x */
} row_case;

static void test_rows(const row_case *c, int64_t rows, int64_t cols) {
    const int64_t n = rows * cols;
    const size_t bytes = (size_t)n * sizeof(float);
    float *x = floats(n, -4, 4), *dy = floats(n, -1, 1), *y = room(n), *dx = room(n), *twin = copy(x, n);
    double *want = applied(c->function, NULL, x, rows, cols);
    double *slope = numeric(c->function, NULL, x, dy, rows, cols);
    c->forward(x, y, rows, cols);
    near(c->name, y, want, n, 1e-6, 1e-3);
    c->forward(twin, twin, rows, cols);
    same(c->name, twin, y, bytes);
    c->backward(c->from_result ? y : x, dy, dx, rows, cols);
    near(c->name, dx, slope, n, 2e-6, 0.1);
    c->backward(c->from_result ? y : x, dy, dy, rows, cols);
    same(c->name, dx, dy, bytes);
    free(x), free(dy), free(y), free(dx), free(twin), free(want), free(slope);
}

START_TEST(row_functions) {
    const vsti_kernels *k = kernels_at(_i);
    if (!k) return;
    const row_case cases[] = {{"softmax", softmax, k->softmax, k->softmax_backward, 1},
                              {"log_softmax", log_softmax, k->log_softmax, k->log_softmax_backward, 1},
                              {"standardize", standardize, k->standardize, k->standardize_backward, 0}};
    for (int c = 0; c < 3; c++)
        for (int s = c == 2 ? 1 : 0; s < SIZES; s++) test_rows(&cases[c], 5, sizes[s]);
}
END_TEST

START_TEST(row_extremes) {
    const vsti_kernels *k = kernels_at(_i);
    float x[20], y[20], dy[20];
    if (!k) return;
    for (int i = 0; i < 20; i++) x[i] = i == 18 ? 1000 : i == 3 ? -INFINITY : -1000;
    k->softmax(x, y, 1, 20);
    for (int i = 0; i < 20; i++) ck_assert(y[i] == (i == 18 ? 1.0f : 0.0f));
    k->log_softmax(x, y, 1, 20);
    ck_assert(y[18] == 0 && y[0] == -2000 && y[3] == -INFINITY);
    x[7] = NAN;
    k->softmax(x, y, 1, 20);
    ck_assert(isnan(y[0]) && isnan(y[19]));
    for (int i = 0; i < 20; i++) x[i] = 3, dy[i] = (float)i; /* constant rows have no direction */
    k->standardize(x, y, 1, 20);
    for (int i = 0; i < 20; i++) ck_assert(y[i] == 0);
    k->standardize_backward(x, dy, y, 1, 20);
    for (int i = 0; i < 20; i++) ck_assert(isfinite(y[i]));
    k->standardize(x, y, 3, 1);
    ck_assert(y[0] == 0 && y[2] == 0);
    k->standardize_backward(x, dy, y, 3, 1);
    ck_assert(y[0] == 0 && y[2] == 0);
}
END_TEST

/* ---- Attention ---- */

/* One head's row of probabilities and its log-sum-exp. */
static double probabilities(const vsti_attention_shape *s, const double *qkv, int64_t image, int64_t h, int64_t i,
                            double *p) {
    const int64_t n = s->tokens, d = s->channels, row = 3 * s->heads * d;
    const double *q = qkv + (image * n + i) * row + h * d;
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        const double *key = qkv + (image * n + j) * row + (s->heads + h) * d;
        p[j] = 0;
        for (int64_t c = 0; c < d; c++) p[j] += q[c] * key[c];
        p[j] = exp(p[j] / sqrt((double)d));
        sum += p[j];
    }
    for (int64_t j = 0; j < n; j++) p[j] /= sum;
    return log(sum);
}

static void attention_forward(const vsti_attention_shape *s, const double *qkv, double *out, double *lse) {
    const int64_t n = s->tokens, m = s->queries, d = s->channels, heads = s->heads, row = 3 * heads * d;
    double *p = doubles(n);
    for (int64_t unit = 0; unit < s->batch * heads * m; unit++) {
        const int64_t image = unit / m / heads, h = unit / m % heads, i = unit % m;
        double *o = out + (image * m + i) * heads * d + h * d;
        lse[unit] = probabilities(s, qkv, image, h, i, p);
        for (int64_t c = 0; c < d; c++) o[c] = 0;
        for (int64_t j = 0; j < n; j++)
            for (int64_t c = 0; c < d; c++) o[c] += p[j] * qkv[(image * n + j) * row + (2 * heads + h) * d + c];
    }
    free(p);
}

static void attention_gradient(const vsti_attention_shape *s, const double *qkv, const double *dout, double *dqkv) {
    const int64_t n = s->tokens, m = s->queries, d = s->channels, heads = s->heads, row = 3 * heads * d;
    double *p = doubles(n), *dp = doubles(n);
    for (int64_t unit = 0; unit < s->batch * heads * m; unit++) {
        const int64_t image = unit / m / heads, h = unit / m % heads, i = unit % m;
        const double *g = dout + (image * m + i) * heads * d + h * d;
        double dot = 0;
        probabilities(s, qkv, image, h, i, p);
        for (int64_t j = 0; j < n; j++) {
            const int64_t v = (image * n + j) * row + (2 * heads + h) * d;
            dp[j] = 0;
            for (int64_t c = 0; c < d; c++) dp[j] += g[c] * qkv[v + c], dqkv[v + c] += p[j] * g[c];
            dot += p[j] * dp[j];
        }
        for (int64_t j = 0; j < n; j++) {
            const int64_t q = (image * n + i) * row + h * d, key = (image * n + j) * row + (heads + h) * d;
            const double ds = p[j] * (dp[j] - dot) / sqrt((double)d);
            for (int64_t c = 0; c < d; c++) dqkv[q + c] += ds * qkv[key + c], dqkv[key + c] += ds * qkv[q + c];
        }
    }
    free(p), free(dp);
}

static void test_attention(const vsti_kernels *k, const vsti_attention_shape *s) {
    const int64_t rows = s->batch * s->heads * s->queries, n = rows * s->channels;
    const int64_t inputs = 3 * s->batch * s->tokens * s->heads * s->channels;
    const float scale = 1 / sqrtf((float)s->channels);
    float *qkv = floats(inputs, -2, 2), *dout = floats(n, -1, 1), *out = room(n), *lse = room(rows),
          *dqkv = room(inputs);
    float *scratch = room((int64_t)k->attention_scratch(s, omp_get_max_threads()));
    double *wide = widened(qkv, inputs), *wide_dout = widened(dout, n);
    double *want = doubles(n), *want_lse = doubles(rows), *slope = doubles(inputs);
    attention_forward(s, wide, want, want_lse);
    attention_gradient(s, wide, wide_dout, slope);
    k->attention(s, scale, qkv, out, lse, scratch);
    near("attention", out, want, n, 1e-5, 0.1);
    near("attention lse", lse, want_lse, rows, 2e-6, 1);
    uint8_t *integers = malloc((size_t)n);
    ck_assert_ptr_nonnull(integers);
    k->attention_uint8(s, scale, qkv, &narrow, integers, scratch);
    same_uint8(k, "attention_uint8", out, integers, n);
    free(integers);
    k->attention_backward(s, scale, qkv, out, lse, dout, dqkv, scratch);
    near("attention gradient", dqkv, slope, inputs, 1e-5, 0.1);
    free(qkv), free(dout), free(out), free(lse), free(dqkv), free(scratch);
    free(wide), free(wide_dout), free(want), free(want_lse), free(slope);
}

static uint16_t *narrowed(const vsti_kernels *k, const float *x, int64_t n) {
    uint16_t *y = malloc((size_t)n * sizeof *y);
    ck_assert_ptr_nonnull(y);
    k->to_bf16(x, y, n);
    return y;
}

static void near_bf16(const vsti_kernels *k, const char *what, const uint16_t *got, const double *want, int64_t n,
                      double share, double least) {
    float *wide = room(n);
    k->from_bf16(got, wide, n);
    near(what, wide, want, n, share, least);
    free(wide);
}

/* Results are rounded to bf16, and so may be probabilities and their gradients, the factors of products. */
static void test_attention_bf16(const vsti_kernels *k, const vsti_attention_shape *s) {
    const int64_t rows = s->batch * s->heads * s->queries, n = rows * s->channels;
    const int64_t inputs = 3 * s->batch * s->tokens * s->heads * s->channels;
    const float scale = 1 / sqrtf((float)s->channels);
    float *qkv = floats(inputs, -2, 2), *dout = floats(n, -1, 1), *lse = room(rows);
    float *scratch = room((int64_t)k->attention_scratch_bf16(s, omp_get_max_threads()));
    uint16_t *qkv16 = narrowed(k, qkv, inputs), *dout16 = narrowed(k, dout, n), *out16 = narrowed(k, dout, n),
             *dqkv16 = narrowed(k, qkv, inputs);
    k->from_bf16(qkv16, qkv, inputs);
    k->from_bf16(dout16, dout, n);
    double *wide = widened(qkv, inputs), *wide_dout = widened(dout, n);
    double *want = doubles(n), *want_lse = doubles(rows), *slope = doubles(inputs);
    attention_forward(s, wide, want, want_lse);
    attention_gradient(s, wide, wide_dout, slope);
    k->attention_bf16(s, scale, qkv16, out16, lse, scratch);
    near_bf16(k, "attention in bf16", out16, want, n, 2e-2, 0.5);
    near("attention lse in bf16", lse, want_lse, rows, 2e-3, 1);
    k->attention_backward_bf16(s, scale, qkv16, out16, lse, dout16, dqkv16, scratch);
    near_bf16(k, "attention gradient in bf16", dqkv16, slope, inputs, 3e-2, 0.2);
    free(qkv), free(dout), free(lse), free(scratch), free(qkv16), free(dout16), free(out16), free(dqkv16);
    free(wide), free(wide_dout), free(want), free(want_lse), free(slope);
}

START_TEST(attention) {
    const vsti_kernels *k = kernels_at(_i);
    const int64_t tokens[] = {1, 5, 50, 66, 198}, channels[] = {8, 16, 20, 32, 64};
    for (int t = 0; k && t < 5; t++)
        for (int c = 0; c < 5; c++)
            for (int64_t queries = tokens[t]; queries > 0; queries = queries > 2 ? 2 : 0)
                test_attention(k, &(vsti_attention_shape){1 + t % 2, tokens[t], 1 + (t + c) % 3, channels[c], queries});
    if (k) test_attention(k, &(vsti_attention_shape){2, 17, 3, 3, 17});
}
END_TEST

/* ---- Depthwise convolution: the gradient of its weights ---- */

/* The position of an element in a tensor whose channels are in blocks. */
static int64_t blocked(const vsti_depthwise *s, int64_t n, int64_t c, int64_t pixel, int64_t pixels) {
    const int64_t blocks = (s->channels + s->block - 1) / s->block;
    return ((n * blocks + c / s->block) * pixels + pixel) * s->block + c % s->block;
}

/* Random numbers, with zeros for the channels that pad the last block. */
static float *blocked_floats(const vsti_depthwise *s, int64_t pixels) {
    const int64_t blocks = (s->channels + s->block - 1) / s->block, n = s->images * blocks * s->block * pixels;
    float *x = floats(n, -1, 1);
    for (int64_t i = 0; i < n; i++)
        if (i / (pixels * s->block) % blocks * s->block + i % s->block >= s->channels) x[i] = 0;
    return x;
}

static void depthwise_gradient(const vsti_depthwise *s, const float *x, const float *dy, double *dweight,
                               double *dbias) {
    const int64_t k = s->kernel, in = s->height * s->width, out = s->out_height * s->out_width;
    for (int64_t i = 0; i < s->images * s->channels * out; i++) {
        const int64_t n = i / (s->channels * out), c = i / out % s->channels, y = i % out / s->out_width;
        const double d = dy[blocked(s, n, c, i % out, out)];
        dbias[c] += d;
        for (int64_t tap = 0; tap < k * k; tap++) {
            const int64_t row = y * s->stride - s->top + tap / k * s->dilation,
                          column = i % out % s->out_width * s->stride - s->left + tap % k * s->dilation;
            if (row >= 0 && row < s->height && column >= 0 && column < s->width)
                dweight[c * k * k + tap] += d * x[blocked(s, n, c, row * s->width + column, in)];
        }
    }
}

static void test_depthwise(const vsti_kernels *k, const vsti_depthwise *s) {
    vsti_own_depthwise_weights_function *const each[] = {vsti_depthwise_weights_generic, vsti_depthwise_weights_avx2,
                                                         vsti_depthwise_weights_avx512};
    const int64_t weights = s->channels * s->kernel * s->kernel;
    float *x = blocked_floats(s, s->height * s->width), *dy = blocked_floats(s, s->out_height * s->out_width);
    float *dweight = room(weights), *dbias = room(s->channels), *one = room(weights), *one_bias = room(s->channels);
    float *scratch = room((int64_t)vsti_depthwise_scratch(s, 3));
    double *want = doubles(weights), *want_bias = doubles(s->channels);
    depthwise_gradient(s, x, dy, want, want_bias);
    omp_set_num_threads(3);
    each[k->level](s, x, dy, dweight, dbias, scratch);
    near("depthwise dweight", dweight, want, weights, 1e-5, 1);
    if (s->bias) near("depthwise dbias", dbias, want_bias, s->channels, 1e-5, 1);
    omp_set_num_threads(1);
    each[k->level](s, x, dy, one, one_bias, scratch);
    same("depthwise dweight with one thread", one, dweight, (size_t)weights * sizeof *one);
    free(x), free(dy), free(dweight), free(dbias), free(one), free(one_bias), free(scratch), free(want);
    free(want_bias);
}

START_TEST(depthwise) {
    const vsti_kernels *k = kernels_at(_i);
    const int threads = omp_get_max_threads();
    const int64_t channels[] = {3, 8, 12, 20, 40};
    for (int i = 0; k && i < 5 * 3 * 6 * 8; i++) {
        vsti_depthwise s = {
            .images = 1 + i % 5, .channels = channels[i % 5], .kernel = (int[]){1, 2, 3, 4, 5, 7}[i % 6]};
        s.block = (int64_t[]){8, 16, s.channels}[i / 30 % 3];
        s.stride = 1 + i / 90 % 2, s.dilation = 1 + i / 180 % 2, s.top = i % 4, s.left = (i + i / 4) % 4;
        s.height = 13 + i % 4, s.width = 13 + i % 3, s.bias = i % 2;
        s.out_height = (s.height + 2 * s.top - (s.kernel - 1) * s.dilation - 1) / s.stride + 1;
        s.out_width = (s.width + s.left + i % 2 - (s.kernel - 1) * s.dilation - 1) / s.stride + 1;
        test_depthwise(k, &s);
    }
    if (k) test_depthwise(k, &(vsti_depthwise){33, 16, 16, 28, 28, 28, 28, 5, 1, 1, 2, 2, false}); /* threads at work */
    omp_set_num_threads(threads);
}
END_TEST

START_TEST(attention_bf16) {
    const vsti_kernels *k = kernels_at(_i);
    const int64_t tokens[] = {1, 5, 50, 66, 198}, channels[] = {8, 16, 20, 32, 64};
    for (int t = 0; k && t < 5; t++)
        for (int c = 0; c < 5; c++)
            for (int64_t queries = tokens[t]; queries > 0; queries = queries > 2 ? 2 : 0)
                test_attention_bf16(
                    k, &(vsti_attention_shape){1 + t % 2, tokens[t], 1 + (t + c) % 3, channels[c], queries});
    if (k) test_attention_bf16(k, &(vsti_attention_shape){2, 17, 3, 3, 17});
}
END_TEST

/* A thread that widens a head computes it alone, also where OpenMP would nest a team within it: scratch is for as many
 * threads as there are in one. */
START_TEST(attention_bf16_nested) {
    const vsti_kernels *k = kernels_at(_i);
    const int threads = omp_get_max_threads(), levels = omp_get_max_active_levels();
    const vsti_attention_shape s = {1, 198, 2, 33, 198}; /* odd: pairs of bf16 cannot be multiplied */
    const int64_t n = s.tokens * s.heads * s.channels, rows = s.heads * s.queries;
    omp_set_num_threads(2);
    omp_set_max_active_levels(2);
    if (k) {
        const int64_t floats_used = (int64_t)k->attention_scratch_bf16(&s, 2), guard = floats_used;
        float *scratch = room(floats_used + guard), *lse = room(rows), *x = floats(3 * n, -2, 2);
        uint16_t *qkv = narrowed(k, x, 3 * n), *out = narrowed(k, x, n), *dqkv = narrowed(k, x, 3 * n);
        for (int64_t i = 0; i < guard; i++) scratch[floats_used + i] = 7;
        k->attention_bf16(&s, 0.2f, qkv, out, lse, scratch);
        k->attention_backward_bf16(&s, 0.2f, qkv, out, lse, out, dqkv, scratch);
        for (int64_t i = 0; i < guard; i++) ck_assert_float_eq(scratch[floats_used + i], 7);
        free(scratch), free(lse), free(x), free(qkv), free(out), free(dqkv);
    }
    omp_set_max_active_levels(levels);
    omp_set_num_threads(threads);
}
END_TEST

/* The naive gradient above is itself right. */
START_TEST(attention_reference) {
    const vsti_attention_shape s = {2, 4, 2, 3, 4};
    enum { N = 2 * 4 * 2 * 3, ROWS = 2 * 2 * 4 };
    double qkv[3 * N], dout[N], out[N], lse[ROWS], slope[3 * N] = {0};
    for (int i = 0; i < 3 * N; i++) qkv[i] = uniform(-1, 1);
    for (int i = 0; i < N; i++) dout[i] = uniform(-1, 1);
    attention_gradient(&s, qkv, dout, slope);
    for (int i = 0; i < 3 * N; i++) {
        const double center = qkv[i], h = 1e-5;
        double sum = 0;
        for (int sign = 1; sign >= -1; sign -= 2) {
            qkv[i] = center + sign * h;
            attention_forward(&s, qkv, out, lse);
            for (int j = 0; j < N; j++) sum += sign * out[j] * dout[j];
        }
        qkv[i] = center;
        ck_assert_close("slope", slope[i], sum / (2 * h), (tolerance){.absolute = 1e-8});
    }
}
END_TEST

/* Scores of a thousand overflow exp unless the largest is taken off first. */
START_TEST(attention_extremes) {
    const vsti_kernels *k = kernels_at(_i);
    const vsti_attention_shape s = {1, 3, 1, 4, 3};
    float qkv[36], out[12], lse[3], dqkv[36], dout[12];
    if (!k) return;
    float *scratch = room((int64_t)k->attention_scratch(&s, omp_get_max_threads()));
    for (int i = 0; i < 36; i++) qkv[i] = i % 12 < 4 ? 30.0f : i % 12 < 8 ? 30.0f * (float)(i / 12) : (float)(i / 12);
    for (int i = 0; i < 12; i++) dout[i] = 1;
    k->attention(&s, 0.5f, qkv, out, lse, scratch);
    k->attention_backward(&s, 0.5f, qkv, out, lse, dout, dqkv, scratch);
    for (int i = 0; i < 12; i++) ck_assert_float_eq(out[i], 2);
    for (int i = 0; i < 3; i++) ck_assert_float_eq(lse[i], 3600);
    for (int i = 0; i < 36; i++) ck_assert(isfinite(dqkv[i]));
    free(scratch);
}
END_TEST

/* ---- Losses ---- */

typedef struct loss_context {
    const float *target; /* one row: the target, or the teacher's logits */
    double smoothing, temperature, factor;
} loss_context;

/* y[0] is the row's loss, so that numeric() can differentiate it. */
static void cross_entropy(const double *x, double *y, int64_t n, const void *context) {
    const loss_context *c = context;
    double loss = 0;
    log_softmax(x, y, n, NULL);
    for (int64_t i = 0; i < n; i++) loss -= ((1 - c->smoothing) * c->target[i] + c->smoothing / (double)n) * y[i];
    memset(y, 0, (size_t)n * sizeof *y);
    y[0] = loss * c->factor;
}

static void kl(const double *x, double *y, int64_t n, const void *context) {
    const loss_context *c = context;
    double *s = doubles(n), *t = doubles(n), *log_s = doubles(n), *log_t = doubles(n), loss = 0;
    for (int64_t i = 0; i < n; i++) s[i] = x[i] / c->temperature, t[i] = c->target[i] / c->temperature;
    log_softmax(s, log_s, n, NULL);
    log_softmax(t, log_t, n, NULL);
    for (int64_t i = 0; i < n; i++) loss += exp(log_t[i]) * (log_t[i] - log_s[i]);
    memset(y, 0, (size_t)n * sizeof *y);
    y[0] = loss * c->factor;
    free(s), free(t), free(log_s), free(log_t);
}

/* Runs a loss of rows both ways: the naive one row by row, its gradient by differences. */
static void reference_loss(row_function *f, loss_context c, const float *x, const float *target, int64_t rows,
                           int64_t cols, double *loss, double *slope) {
    float *one = room(cols);
    *loss = 0;
    for (int64_t i = 0; i < cols; i++) one[i] = 1;
    for (int64_t row = 0; row < rows; row++) {
        c.target = target + row * cols;
        double *y = applied(f, &c, x + row * cols, 1, cols), *g = numeric(f, &c, x + row * cols, one, 1, cols);
        *loss += y[0];
        memcpy(slope + row * cols, g, (size_t)cols * sizeof *g);
        free(y), free(g);
    }
    free(one);
}

static void test_losses(const vsti_kernels *k, int64_t rows, int64_t cols) {
    const int64_t n = rows * cols;
    float *z = floats(n, -5, 5), *teacher = floats(n, -5, 5), *target = room(n);
    float *row_loss = room(rows), *dz = room(n), loss;
    const float dloss = 1.5f;
    double want, *slope = doubles(n);
    k->softmax(teacher, target, rows, cols);
    for (int smooth = 0; smooth < 2; smooth++) {
        const float smoothing = smooth ? 0.1f : 0;
        const loss_context c = {NULL, smoothing, 1, 1 / (double)rows};
        reference_loss(cross_entropy, c, z, target, rows, cols, &want, slope);
        k->cross_entropy(z, target, smoothing, &loss, row_loss, rows, cols);
        near("cross_entropy", &loss, &want, 1, 1e-6, 0.1);
        k->cross_entropy_backward(z, target, smoothing, &dloss, dz, rows, cols);
        for (int64_t i = 0; i < n; i++) slope[i] *= dloss;
        near("cross_entropy gradient", dz, slope, n, 1e-5, 1e-3);
    }
    const loss_context c = {NULL, 0, 3, 9.0 / (double)rows};
    reference_loss(kl, c, z, teacher, rows, cols, &want, slope);
    k->kl(z, teacher, 3, 9.0f / (float)rows, &loss, row_loss, rows, cols);
    near("kl", &loss, &want, 1, 3e-6, 0.1);
    k->kl_backward(z, teacher, 3, 9.0f / (float)rows, &dloss, dz, rows, cols);
    for (int64_t i = 0; i < n; i++) slope[i] *= dloss;
    near("kl gradient", dz, slope, n, 1e-5, 1e-2);
    free(z), free(teacher), free(target), free(row_loss), free(dz), free(slope);
}

START_TEST(losses) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES; s++) test_losses(k, sizes[s], sizes[SIZES - 1 - s]), test_losses(k, 3, sizes[s]);
}
END_TEST

/* Rows without a positive target take no part, in the loss nor in the gradient. */
START_TEST(binary_cross_entropy) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t rows = 5, cols = sizes[s], n = rows * cols;
        float *z = floats(n, -20, 20), *target = calloc((size_t)n, sizeof *target), *dz = room(n), row_loss[5], loss;
        double want = 0, *slope = doubles(n);
        const float dloss = 1.5f;
        for (int64_t row = 0; row < rows; row++) {
            if (row == 2) continue;
            target[row * cols + row % cols] = 0.01f;
            for (int64_t i = row * cols; i < (row + 1) * cols; i++) {
                const double t = target[i] > 0;
                want += (log1p(exp(-fabs((double)z[i]))) + fmax(z[i], 0) - t * z[i]) / (4 * (double)cols);
                slope[i] = 1.5 * (1 / (1 + exp(-(double)z[i])) - t) / (4 * (double)cols);
            }
        }
        k->binary_cross_entropy(z, target, &loss, row_loss, rows, cols);
        near("binary_cross_entropy", &loss, &want, 1, 1e-6, 0.1);
        k->binary_cross_entropy_backward(z, target, &dloss, dz, rows, cols);
        near("binary_cross_entropy gradient", dz, slope, n, 1e-6, 1e-3);
        memset(target, 0, (size_t)n * sizeof *target);
        k->binary_cross_entropy(z, target, &loss, row_loss, rows, cols);
        k->binary_cross_entropy_backward(z, target, &dloss, dz, rows, cols);
        ck_assert(loss == 0);
        for (int64_t i = 0; i < n; i++) ck_assert(dz[i] == 0);
        free(z), free(target), free(dz), free(slope);
    }
}
END_TEST

/* Hard labels on impossible classes cost nothing where the target is zero; NaN comes through. */
START_TEST(loss_extremes) {
    const vsti_kernels *k = kernels_at(_i);
    float z[20], target[20] = {0}, loss, row_loss, dz[20];
    const float one = 1;
    if (!k) return;
    for (int i = 0; i < 20; i++) z[i] = i % 2 ? -INFINITY : 1;
    target[4] = 1;
    k->cross_entropy(z, target, 0, &loss, &row_loss, 1, 20);
    ck_assert_float_eq_tol(loss, logf(10), 1e-5f);
    k->kl(target, z, 1, 1, &loss, &row_loss, 1, 20);
    ck_assert(isfinite(loss) && loss > 0);
    k->kl_backward(target, z, 1, 1, &one, dz, 1, 20);
    for (int i = 0; i < 20; i++) ck_assert(isfinite(dz[i]));
    target[19] = NAN;
    k->kl(target, z, 1, 1, &loss, &row_loss, 1, 20);
    ck_assert(isnan(loss));
    k->cross_entropy(target, z, 0, &loss, &row_loss, 1, 20);
    ck_assert(isnan(loss));
}
END_TEST

START_TEST(mse) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t n = sizes[s];
        float *a = floats(n, -1, 1), *b = floats(n, -1, 1), *da = room(n), loss;
        const float dloss = 0.5f;
        double partial[VSTI_PARTIAL_BLOCKS], want = 0, squares = 0, *slope = doubles(n);
        for (int64_t i = 0; i < n; i++) {
            const double difference = (double)a[i] - b[i];
            want += difference * difference / (double)n;
            squares += (double)a[i] * a[i];
            slope[i] = 0.5 * 2 * difference / (double)n;
        }
        k->mse(a, b, &loss, partial, n);
        near("mse", &loss, &want, 1, 1e-6, 0);
        k->mse_backward(a, b, &dloss, da, n);
        near("mse gradient", da, slope, n, 1e-6, 0);
        ck_assert_double_eq_tol(k->sum_squares(a, n), squares, 1e-12 * squares);
        free(a), free(b), free(da), free(slope);
    }
    const float large[] = {1e30f, -1e30f, 1e30f};
    if (k) ck_assert_double_eq_tol(k->sum_squares(large, 3), 3e60, 1e54);
}
END_TEST

/* ---- Random masks ---- */

START_TEST(dropout) {
    const vsti_kernels *k = kernels_at(_i), *generic = vsti_find_kernels("generic");
    if (!k) return;
    float *x = floats(LARGE, 1, 2), *y = room(LARGE), *z = room(LARGE);
    int64_t zeros = 0;
    k->dropout(x, y, 0.3f, 5, 6, 7, LARGE, 1);
    for (int64_t i = 0; i < LARGE; i++) {
        ck_assert(y[i] == 0 || y[i] == x[i] * (1 / (1 - 0.3f)));
        zeros += y[i] == 0;
    }
    ck_assert_double_eq_tol((double)zeros / LARGE, 0.3, 0.01);
    generic->dropout(x, z, 0.3f, 5, 6, 7, LARGE, 1);
    same("dropout of two instruction sets", y, z, LARGE * sizeof *y);
    k->dropout(x, z, 0.3f, 5, 6, 7, 1001, 1);
    same("dropout of a shorter array", y, z, 1001 * sizeof *y);
    const uint64_t others[][3] = {{4, 6, 7}, {5, 7, 7}, {5, 6, 8}, {5 + (UINT64_C(1) << 32), 6, 7}};
    for (int o = 0; o < 4; o++) { /* independent masks agree at 0.3² + 0.7² of the elements */
        int64_t equal = 0;
        k->dropout(x, z, 0.3f, others[o][0], others[o][1], (uint32_t)others[o][2], LARGE, 1);
        for (int64_t i = 0; i < LARGE; i++) equal += y[i] == z[i];
        ck_assert_double_eq_tol((double)equal / LARGE, 0.58, 0.015);
    }
    k->dropout(x, z, 0, 5, 6, 7, LARGE, 1);
    same("dropout at rate 0", x, z, LARGE * sizeof *x);
    memcpy(z, x, LARGE * sizeof *x);
    k->dropout(z, z, 0.3f, 5, 6, 7, LARGE, 1);
    same("dropout in place", y, z, LARGE * sizeof *y);
    free(x), free(y), free(z);
}
END_TEST

/* Row i of drop path meets the fate of element i of dropout. */
START_TEST(drop_path) {
    const vsti_kernels *k = kernels_at(_i);
    float ones[65], mask[65];
    if (!k) return;
    for (int i = 0; i < 65; i++) ones[i] = 1;
    k->dropout(ones, mask, 0.5f, 1, 2, 3, 65, 1);
    for (int s = 1; s < SIZES; s++) {
        const int64_t inner = sizes[s];
        float *x = floats(65 * inner, 1, 2), *y = room(65 * inner);
        k->dropout(x, y, 0.5f, 1, 2, 3, 65, inner);
        for (int64_t i = 0; i < 65 * inner; i++) ck_assert(y[i] == x[i] * mask[i / inner]);
        free(x), free(y);
    }
}
END_TEST

/* ---- The optimiser step ---- */

START_TEST(optimizers) {
    const vsti_kernels *k = kernels_at(_i);
    const vsti_adamw adamw = {0.01f, 0.9f, 0.99f, 1e-6f, 0.1f, 0.19f, 0.0199f, 0.5f};
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t n = sizes[s];
        float *w = floats(n, -1, 1), *g = floats(n, -1, 1), *m = floats(n, -1, 1), *v = floats(n, 0, 1);
        float *ema = floats(n, -1, 1), *w2 = copy(w, n), *m2 = copy(m, n), *v2 = copy(v, n);
        double *want = widened(w, n), *want_m = doubles(n), *want_v = doubles(n), *want_ema = doubles(n);
        for (int64_t i = 0; i < n; i++) {
            const double grad = 0.5 * g[i];
            want_m[i] = 0.9 * m[i] + 0.1 * grad;
            want_v[i] = 0.99 * v[i] + 0.01 * grad * grad;
            want[i] = want[i] * (1 - 0.01 * 0.1) - 0.01 / 0.19 * want_m[i] / (sqrt(want_v[i] / 0.0199) + 1e-6);
            want_ema[i] = 0.75 * ema[i] + 0.25 * want[i];
        }
        k->adamw(&adamw, w, g, m, v, ema, 0.75f, n);
        near("adamw m", m, want_m, n, 1e-6, 0.1);
        near("adamw v", v, want_v, n, 1e-6, 0.1);
        near("adamw value", w, want, n, 1e-6, 0.1);
        near("adamw ema", ema, want_ema, n, 1e-6, 0.1);
        k->adamw(&adamw, w2, g, m2, v2, NULL, 0, n);
        same("adamw without ema", w, w2, (size_t)n * sizeof *w);
        free(w), free(g), free(m), free(v), free(ema), free(w2), free(m2), free(v2);
        free(want), free(want_m), free(want_v), free(want_ema);
    }
}
END_TEST

/* The moments are AdamW's; the update is made of them twice, the same. */
START_TEST(lamb) {
    const vsti_kernels *k = kernels_at(_i);
    const vsti_adamw options = {0.01f, 0.9f, 0.99f, 1e-6f, 0.1f, 0.19f, 0.0199f, 0.5f};
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t n = sizes[s];
        float *w = floats(n, -1, 1), *g = floats(n, -1, 1), *m = floats(n, -1, 1), *v = floats(n, 0.1f, 1);
        float *ema = floats(n, -1, 1), *w2 = copy(w, n), *m2 = copy(m, n), *v2 = copy(v, n);
        double *want = widened(w, n), *want_ema = doubles(n), squares[2], want_squares[2] = {0, 0};
        k->adamw(&options, w2, g, m2, v2, NULL, 0, n);
        k->lamb_moments(&options, w, g, m, v, squares, n);
        double *want_m = widened(m2, n), *want_v = widened(v2, n);
        near("lamb m", m, want_m, n, 1e-6, 0.1);
        near("lamb v", v, want_v, n, 1e-6, 0.1);
        for (int64_t i = 0; i < n; i++) {
            const double update = m[i] / 0.19 / (sqrt(v[i] / 0.0199) + 1e-6) + 0.1 * w[i];
            want_squares[0] += want[i] * want[i];
            want_squares[1] += update * update;
            want[i] -= 0.01 * update;
            want_ema[i] = 0.75 * ema[i] + 0.25 * want[i];
        }
        for (int i = 0; i < 2; i++) ck_assert_double_eq_tol(squares[i], want_squares[i], 1e-5 * want_squares[i]);
        k->lamb_apply(&options, w, m, v, ema, 0.75f, n);
        near("lamb value", w, want, n, 1e-6, 0.1);
        near("lamb ema", ema, want_ema, n, 1e-6, 0.1);
        free(w), free(g), free(m), free(v), free(ema), free(w2), free(m2), free(v2), free(want), free(want_ema);
        free(want_m), free(want_v);
    }
}
END_TEST

START_TEST(sgd) {
    const vsti_kernels *k = kernels_at(_i);
    for (int kind = 0; k && kind < 8; kind++) {
        const int nesterov = kind & 1, first = kind >> 1 & 1, n = 33;
        const vsti_sgd options = {0.1f, 0.9f, 0.01f, 0.5f, nesterov, first};
        float *w = floats(n, -1, 1), *g = floats(n, -1, 1), *b = floats(n, -1, 1), *ema = floats(n, -1, 1);
        double *want = widened(w, n), *want_b = doubles(n), *want_ema = widened(ema, n);
        for (int i = 0; i < n; i++) {
            const double grad = 0.5 * g[i] + 0.01 * want[i];
            want_b[i] = first ? grad : 0.9 * b[i] + grad;
            want[i] -= 0.1 * (nesterov ? grad + 0.9 * want_b[i] : want_b[i]);
            want_ema[i] = 0.75 * want_ema[i] + 0.25 * want[i];
        }
        k->sgd(&options, w, g, b, kind & 4 ? ema : NULL, 0.75f, n);
        near("sgd velocity", b, want_b, n, 1e-6, 0.1);
        near("sgd value", w, want, n, 1e-6, 0.1);
        if (kind & 4) near("sgd ema", ema, want_ema, n, 1e-6, 0.1);
        free(w), free(g), free(b), free(ema), free(want), free(want_b), free(want_ema);
    }
}
END_TEST

/* ---- Threads ---- */

enum { ROWS = 301, COLS = 133, CELLS = ROWS * COLS, RESULTS = 30 };

/* Everything that is large enough to be shared among threads, into rows of `out`. */
static void run_all(const vsti_kernels *k, const float *x, const float *w, float *out[RESULTS]) {
    const vsti_attention_shape shape = {5, 37, 2, 24, 37};
    const int64_t heads = 5 * 37 * 2 * 24;
    float *partial = room(3 * (int64_t)vsti_partial_floats(COLS)), *mean = room(ROWS), *rstd = room(ROWS);
    float *row = room(ROWS);
    float *scratch = room((int64_t)k->attention_scratch(&shape, 3));
    const float one = 1;
    double parts[VSTI_PARTIAL_BLOCKS];
    int r = 0;
    k->activation(VSTI_GELU, x, out[r++], CELLS);
    k->activation_backward(VSTI_SILU, x, w, out[r++], CELLS);
    k->add(x, w, out[r++], CELLS);
    k->normalize(x, w, w + COLS, out[r++], ROWS, 7, 19);
    k->layer_norm(x, w, w, out[r++], mean, rstd, ROWS, COLS, 1e-6f);
    k->layer_norm_backward(x, w, mean, rstd, w, x, out[r], out[r + 1], out[r + 2], out[29], partial, ROWS, COLS);
    r += 3;
    k->column_sum(x, out[r++], partial, ROWS, COLS);
    k->softmax(x, out[r++], ROWS, COLS);
    k->log_softmax(x, out[r++], ROWS, COLS);
    k->softmax_backward(x, w, out[r++], ROWS, COLS);
    k->standardize_backward(x, w, out[r++], ROWS, COLS);
    k->attention(&shape, 0.2f, x, out[r], out[r + 1], scratch);
    k->attention_backward(&shape, 0.2f, x, out[r], out[r + 1], w, out[r + 2], scratch), r += 3;
    ck_assert_int_le(3 * heads, CELLS);
    k->cross_entropy(x, w, 0.1f, out[r++], row, ROWS, COLS);
    k->kl(x, w, 2, 4, out[r++], row, ROWS, COLS);
    k->kl_backward(x, w, 2, 4, &one, out[r++], ROWS, COLS);
    k->mse(x, w, out[r++], parts, CELLS);
    k->dropout(x, out[r++], 0.5f, 1, 2, 3, CELLS, 1);
    out[r++][0] = (float)k->sum_squares(x, CELLS);
    k->sgd(&(vsti_sgd){0.1f, 0.9f, 0.01f, 1, 1, 0}, out[0], x, out[1], out[2], 0.9f, CELLS);
    k->adamw(&(vsti_adamw){0.1f, 0.9f, 0.99f, 1e-6f, 0.1f, 0.1f, 0.01f, 1}, out[3], x, out[4], out[9], NULL, 0, CELLS);
    k->lamb_moments(&(vsti_adamw){0.1f, 0.9f, 0.99f, 1e-6f, 0.1f, 0.1f, 0.01f, 1}, out[3], x, out[4], out[9], parts,
                    CELLS);
    out[r++][0] = (float)(parts[0] + parts[1]);
    k->binary_cross_entropy(x, w, out[r++], row, ROWS, COLS);
    k->activation_backward_rows(VSTI_GELU, x, w, out[r], out[r + 1], out[r + 2], partial, ROWS, COLS), r += 3;
    ck_assert_int_lt(r, RESULTS);
    free(partial), free(mean), free(rstd), free(row), free(scratch);
}

START_TEST(threads) {
    const vsti_kernels *k = kernels_at(_i);
    if (!k) return;
    float *x = floats(CELLS, -1, 1), *w = floats(CELLS, 0, 1), *first[RESULTS], *again[RESULTS];
    for (int r = 0; r < RESULTS; r++) first[r] = calloc(CELLS, sizeof(float)), again[r] = calloc(CELLS, sizeof(float));
    omp_set_dynamic(0);
    omp_set_num_threads(1);
    run_all(k, x, w, first);
    for (int count = 2; count <= 3; count++) {
        omp_set_num_threads(count);
        for (int r = 0; r < RESULTS; r++) memset(again[r], 0, CELLS * sizeof(float));
        run_all(k, x, w, again);
        for (int r = 0; r < RESULTS; r++)
            ck_assert_msg(memcmp(first[r], again[r], CELLS * sizeof(float)) == 0, "result %d differs with %d threads",
                          r, count);
    }
    for (int r = 0; r < RESULTS; r++) free(first[r]), free(again[r]);
    free(x), free(w);
}
END_TEST

/* ---- Loops that give the same bits on every instruction set: naive code in float and double, in the same order ----
 */

static void exact(const char *what, const float *got, const float *want, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&got[i], &want[i], sizeof *got) == 0, "%s: element %lld of %lld is %.9g, wanted %.9g",
                      what, (long long)i, (long long)n, (double)got[i], (double)want[i]);
}

static const vsti_strided loops[] = {
    {1, {33}, {1}, {0}},
    {2, {5, 65}, {65, 1}, {0, 1}},
    {3, {4, 7, 17}, {17, 68, 1}, {7, 1, 0}},
    {4, {3, 4, 5, 1}, {20, 5, 1, 1}, {0, 1, 4, 0}},
    {3, {9, 50, 41}, {2050, 41, 1}, {50, 1, 0}}, /* large enough for several threads */
};

static void naive_loop(const vsti_strided *s, const float *a, const float *b, int kind, float *out) {
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++) count *= s->dim[i];
    for (int64_t n = 0; n < count; n++) {
        int64_t rest = n, at_a = 0, at_b = 0;
        for (int i = s->rank; i-- > 0; rest /= s->dim[i]) {
            at_a += rest % s->dim[i] * s->a[i];
            at_b += rest % s->dim[i] * s->b[i];
        }
        out[n] = kind == 0 ? a[at_a] + b[at_b] : kind == 1 ? a[at_a] * b[at_b] : a[at_a];
    }
}

START_TEST(exact_strided) {
    const vsti_kernels *k = kernels_at(_i);
    for (size_t l = 0; k && l < sizeof loops / sizeof loops[0]; l++) {
        const vsti_strided *s = &loops[l];
        int64_t count = 1, last_a = 0, last_b = 0;
        for (int i = 0; i < s->rank; i++) {
            count *= s->dim[i];
            last_a += (s->dim[i] - 1) * s->a[i];
            last_b += (s->dim[i] - 1) * s->b[i];
        }
        float *a = floats(last_a + 1, -2, 2), *b = floats(last_b + 1, -2, 2), *got = room(count), *want = room(count);
        naive_loop(s, a, b, 0, want);
        k->broadcast_add(s, a, b, got);
        exact("broadcast_add", got, want, count);
        naive_loop(s, a, b, 1, want);
        k->broadcast_mul(s, a, b, got);
        exact("broadcast_mul", got, want, count);
        naive_loop(s, a, b, 2, want);
        k->copy_strided(s, a, got);
        exact("copy_strided", got, want, count);
        free(a), free(b), free(got), free(want);
    }
    const float one = 3;
    float scalar = 0;
    if (k) k->copy_strided(&(vsti_strided){0}, &one, &scalar), exact("a scalar", &scalar, &one, 1);
}
END_TEST

/* (6, 37, 31): the kept dimensions are those of `kept`, the innermost reduced one is summed in float. */
START_TEST(exact_reduce) {
    enum { A = 6, B = 97, C = 31, N = A * B * C };
    const vsti_kernels *k = kernels_at(_i);
    if (!k) return;
    float *x = floats(N, -1, 1), *got = room(N), *want = room(N);
    const vsti_reduction inner = {A * B, C, 2, 1, {A, B}, {B * C, C}, {C}, {1}, 1.0f / C};
    for (int64_t i = 0; i < A * B; i++) {
        float part = 0;
        for (int64_t c = 0; c < C; c++) part += x[i * C + c];
        want[i] = part * (1.0f / C);
    }
    k->reduce(&inner, x, got);
    exact("the innermost dimension", got, want, A * B);
    const vsti_reduction middle = {A, B * C, 1, 2, {A}, {B * C}, {B, C}, {C, 1}, 1};
    for (int64_t i = 0; i < A; i++) {
        double sum = 0;
        for (int64_t b = 0; b < B; b++) {
            float part = 0;
            for (int64_t c = 0; c < C; c++) part += x[(i * B + b) * C + c];
            sum += (double)part;
        }
        want[i] = (float)sum;
    }
    k->reduce(&middle, x, got);
    exact("two dimensions", got, want, A);
    const vsti_reduction apart = {B, A * C, 1, 2, {B}, {C}, {A, C}, {B * C, 1}, 0.5f};
    for (int64_t b = 0; b < B; b++) {
        double sum = 0;
        for (int64_t a = 0; a < A; a++) {
            float part = 0;
            for (int64_t c = 0; c < C; c++) part += x[(a * B + b) * C + c];
            sum += (double)part;
        }
        want[b] = (float)sum * 0.5f;
    }
    k->reduce(&apart, x, got);
    exact("dimensions around a kept one", got, want, B);
    const vsti_reduction all = {1, N, 0, 3, {0}, {0}, {A, B, C}, {B * C, C, 1}, 1};
    double sum = 0;
    for (int64_t i = 0; i < A * B; i++) {
        float part = 0;
        for (int64_t c = 0; c < C; c++) part += x[i * C + c];
        sum += (double)part;
    }
    want[0] = (float)sum;
    k->reduce(&all, x, got);
    exact("everything", got, want, 1);
    free(x), free(got), free(want);
}
END_TEST

START_TEST(exact_blocks) {
    const vsti_kernels *k = kernels_at(_i);
    const vsti_block_copy s = {
        .outer = 5, .count = 17, .from_width = 23, .from_start = 4, .to_width = 29, .to_start = 9};
    if (!k) return;
    float *from = floats(5 * 23, -1, 1), *to = floats(5 * 29, -1, 1), *sum = floats(5 * 29, -1, 1);
    float *kept = copy(to, 5 * 29), *padded = room(5 * 29), *added = room(5 * 29), *in_place = copy(sum, 5 * 29);
    k->copy_blocks(&s, from, to);
    k->pad_blocks(&s, from, padded);
    k->add_blocks(&s, from, sum, added);
    k->add_blocks(&s, from, in_place, in_place);
    for (int i = 0; i < 5 * 29; i++) {
        const int row = i / 29, column = i % 29 - 9, inside = column >= 0 && column < 17;
        const float x = inside ? from[row * 23 + 4 + column] : 0, y = inside ? sum[i] + x : sum[i];
        exact("copy_blocks", &to[i], inside ? &x : &kept[i], 1);
        exact("pad_blocks", &padded[i], &x, 1);
        exact("add_blocks", &added[i], &y, 1);
        exact("add_blocks in place", &in_place[i], &y, 1);
    }
    free(from), free(to), free(sum), free(kept), free(padded), free(added), free(in_place);
}
END_TEST

static double cubic_weight(double x) {
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

/* Source positions and weights of output `i` along one axis; gives how many. */
static int resize_taps(int64_t i, int64_t in, int64_t out, bool bicubic, int64_t at[4], float weight[4]) {
    double x = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    if (!bicubic && x < 0) x = 0;
    for (int k = 0; k < (bicubic ? 4 : 2); k++) {
        const int64_t position = (int64_t)floor(x) + k - bicubic;
        at[k] = position < 0 ? 0 : position >= in ? in - 1 : position;
        weight[k] = (float)(bicubic ? cubic_weight(x - (double)position) : 1 - fabs(x - (double)position));
    }
    return bicubic ? 4 : 2;
}

/* One plane, forwards (to = the output) or backwards (to = the input's gradient). */
static void naive_resize(const vsti_resize *s, const float *from, float *to, bool backward) {
    for (int64_t y = 0; y < s->out_height; y++)
        for (int64_t x = 0; x < s->out_width; x++) {
            int64_t rows[4], cols[4];
            float down[4], across[4], sum = 0;
            const int64_t out = y * s->out_width + x;
            const int r = resize_taps(y, s->in_height, s->out_height, s->kind == VSTI_RESIZE_BICUBIC, rows, down);
            const int c = resize_taps(x, s->in_width, s->out_width, s->kind == VSTI_RESIZE_BICUBIC, cols, across);
            for (int i = 0; i < r; i++)
                for (int j = 0; j < c; j++) {
                    const int64_t in = rows[i] * s->in_width + cols[j];
                    if (backward) to[in] += down[i] * across[j] * from[out];
                    else sum += down[i] * across[j] * from[in];
                }
            if (!backward) to[out] = sum;
        }
}

START_TEST(exact_resize) {
    const vsti_kernels *k = kernels_at(_i);
    const vsti_resize_kind LINEAR = VSTI_RESIZE_BILINEAR, CUBIC = VSTI_RESIZE_BICUBIC;
    const vsti_resize sizes_of[] = {{3, 7, 5, 11, 13, LINEAR}, {2, 11, 13, 4, 5, LINEAR}, {3, 7, 5, 11, 13, CUBIC},
                                    {2, 11, 13, 4, 5, CUBIC},  {1, 1, 1, 3, 3, CUBIC},    {7, 20, 20, 50, 50, CUBIC}};
    for (size_t i = 0; k && i < sizeof sizes_of / sizeof sizes_of[0]; i++) {
        const vsti_resize *s = &sizes_of[i];
        const int64_t in = s->in_height * s->in_width, out = s->out_height * s->out_width;
        float *x = floats(s->planes * in, -1, 1), *dy = floats(s->planes * out, -1, 1);
        float *y = room(s->planes * out), *want = room(s->planes * out), *dx = room(s->planes * in);
        float *slope = floats(s->planes * in, 0, 0);
        for (int64_t p = 0; p < s->planes; p++) {
            naive_resize(s, x + p * in, want + p * out, false);
            naive_resize(s, dy + p * out, slope + p * in, true);
        }
        k->resize(s, x, y);
        exact("resize", y, want, s->planes * out);
        k->resize_backward(s, dy, dx);
        exact("resize gradient", dx, slope, s->planes * in);
        free(x), free(dy), free(y), free(want), free(dx), free(slope);
    }
}
END_TEST

START_TEST(exact_batch_norm) {
    enum { OUT = 19, INNER = 45 };
    const vsti_kernels *k = kernels_at(_i);
    if (!k) return;
    float *gamma = floats(OUT, -1, 2), *beta = floats(OUT, -1, 1), *mean = floats(OUT, -1, 1);
    float *variance = floats(OUT, 0.1, 2), *weight = floats(OUT * INNER, -1, 1), *bias = floats(OUT, -1, 1);
    float *new_weight = room(OUT * INNER), *new_bias = room(OUT), *running = floats(OUT, -1, 1);
    float *spread = floats(OUT, 0.5, 1), *old = copy(running, OUT), *old_spread = copy(spread, OUT);
    for (int biased = 0; biased < 2; biased++) {
        k->fold_batch_norm(&(vsti_batch_norm){gamma, beta, mean, variance, 1e-5}, weight, biased ? bias : NULL,
                           new_weight, new_bias, OUT, INNER);
        for (int o = 0; o < OUT; o++) {
            const double factor = gamma[o] / sqrt((double)variance[o] + 1e-5), shift = biased ? bias[o] : 0;
            const float folded = (float)(beta[o] + (shift - mean[o]) * factor);
            exact("folded bias", &new_bias[o], &folded, 1);
            for (int i = o * INNER; i < (o + 1) * INNER; i++)
                exact("folded weight", &new_weight[i], &(float){(float)(weight[i] * factor)}, 1);
        }
    }
    float batches = 41;
    k->running_statistics(mean, variance, 0.1f, 1.25f, running, spread, &batches, OUT);
    ck_assert(batches == 42);
    for (int c = 0; c < OUT; c++) {
        const float unbiased = variance[c] * 1.25f, step = 0.1f * (mean[c] - old[c]);
        const float wider = 0.1f * (unbiased - old_spread[c]);
        exact("running mean", &running[c], &(float){old[c] + step}, 1);
        exact("running variance", &spread[c], &(float){old_spread[c] + wider}, 1);
    }
    free(gamma), free(beta), free(mean), free(variance), free(weight), free(bias), free(new_weight), free(new_bias);
    free(running), free(spread), free(old), free(old_spread);
}
END_TEST

static float length_of(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return (float)sqrt(sum) > 1e-12f ? (float)sqrt(sum) : 1e-12f;
}

START_TEST(exact_l2_normalize) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t rows = s == SIZES - 1 ? 101 : 3, cols = sizes[s], n = rows * cols;
        float *x = floats(n, -1, 1), *dy = floats(n, -1, 1), *y = room(n), *dx = room(n);
        float *want = room(n), *slope = room(n);
        for (int64_t i = 0; i < cols; i++) x[i] = 0; /* a row without a direction */
        for (int64_t row = 0; row < rows; row++) {
            const float *from = x + row * cols, factor = 1 / length_of(from, cols);
            double along = 0;
            for (int64_t i = 0; i < cols; i++) along += (double)from[i] * dy[row * cols + i];
            const float part = (float)along * factor * factor;
            for (int64_t i = 0; i < cols; i++) {
                const float inward = from[i] * part;
                want[row * cols + i] = from[i] * factor;
                slope[row * cols + i] = factor * (dy[row * cols + i] - inward);
            }
        }
        k->l2_normalize(x, y, rows, cols);
        exact("l2_normalize", y, want, n);
        k->l2_normalize_backward(x, dy, dx, rows, cols);
        exact("l2_normalize gradient", dx, slope, n);
        free(x), free(dy), free(y), free(dx), free(want), free(slope);
    }
}
END_TEST

START_TEST(exact_pairwise_distances) {
    enum { ROWS_MOST = 29 };
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s < SIZES; s++) {
        const int64_t rows = s == 0 ? 1 : ROWS_MOST, cols = sizes[s];
        float *x = floats(rows * cols, -1, 1), *dy = floats(rows * rows, -1, 1), *y = room(rows * rows);
        float *want = room(rows * rows), *dx = room(rows * cols), *scratch = room(rows * rows);
        float *slope = floats(rows * cols, 0, 0);
        double total = 0, common = 0;
        if (rows > 1) memcpy(x, x + cols, (size_t)cols * sizeof *x); /* two equal rows */
        for (int64_t i = 0; i < rows * rows; i++) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c++) {
                const double d = (double)x[i / rows * cols + c] - x[i % rows * cols + c];
                sum += d * d;
            }
            want[i] = i / rows == i % rows ? 0 : (float)sqrt(sum > 1e-12 ? sum : 1e-12);
            total += (double)want[i];
        }
        const double mean = rows > 1 ? total / (double)(rows * (rows - 1)) : 1;
        for (int64_t i = 0; i < rows * rows; i++) common += (double)dy[i] * want[i];
        if (rows > 1) common /= mean * (double)(rows * (rows - 1));
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < rows; j++) {
                const double d = (double)want[i * rows + j];
                if (i == j || d <= sqrt(1e-12)) continue;
                const double pull = ((double)dy[i * rows + j] + (double)dy[j * rows + i] - 2 * common) / mean / d;
                for (int64_t c = 0; c < cols; c++)
                    slope[i * cols + c] += (float)(pull * ((double)x[i * cols + c] - x[j * cols + c]));
            }
        for (int64_t i = 0; i < rows * rows; i++) want[i] *= (float)(1 / mean);
        k->pairwise_distances(x, y, rows, cols);
        exact("pairwise_distances", y, want, rows * rows);
        k->pairwise_distances_backward(x, dy, dx, scratch, rows, cols);
        exact("pairwise_distances gradient", dx, slope, rows * cols);
        free(x), free(dy), free(y), free(want), free(dx), free(scratch), free(slope);
    }
}
END_TEST

START_TEST(exact_smooth_l1) {
    const vsti_kernels *k = kernels_at(_i);
    for (int s = 0; k && s <= SIZES; s++) {
        const int64_t n = s < SIZES ? sizes[s] : LARGE;
        float *a = floats(n, -2, 2), *b = floats(n, -2, 2), *da = room(n), loss, want;
        const float dloss = 0.3f, factor = dloss / (float)n;
        double total = 0;
        for (int64_t part = 0; part < 16; part++) { /* sixteen sums, added in order */
            double sum = 0;
            for (int64_t i = n / 16 * part + n % 16 * part / 16; i < n / 16 * (part + 1) + n % 16 * (part + 1) / 16;
                 i++) {
                const float d = fabsf(a[i] - b[i]);
                sum += (double)(d < 1 ? 0.5f * d * d : d - 0.5f);
            }
            total += sum;
        }
        want = (float)(total / (double)n);
        k->smooth_l1(a, b, &loss, n);
        exact("smooth_l1", &loss, &want, 1);
        k->smooth_l1_backward(a, b, &dloss, da, n);
        for (int64_t i = 0; i < n; i++) {
            const float d = a[i] - b[i], slope = factor * (d < -1 ? -1 : d > 1 ? 1 : d);
            exact("smooth_l1 gradient", &da[i], &slope, 1);
        }
        free(a), free(b), free(da);
    }
}
END_TEST

START_TEST(one_hot_argmax) {
    const vsti_kernels *k = kernels_at(_i);
    const float x[3][4] = {{1, 3, 2, 3}, {-1, -2, -3, -4}, {0, 0, 0, 1}};
    const float want[3][4] = {{0, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, 0, 1}};
    float y[3][4];
    if (!k) return;
    k->one_hot_argmax(x[0], y[0], 3, 4);
    exact("one_hot_argmax", y[0], want[0], 12);
}
END_TEST

/* ---- Choice ---- */

START_TEST(dispatch) {
    ck_assert_ptr_null(vsti_find_kernels("sse9"));
    ck_assert_str_eq(vsti_find_kernels("generic")->isa, "generic");
    setenv("VISTILL_ISA", "generic", 1);
    ck_assert_str_eq(vsti_get_kernels()->isa, "generic");
    ck_assert_ptr_eq(vsti_get_kernels(), vsti_find_kernels("generic"));
}
END_TEST

START_TEST(dispatch_widest) {
    const vsti_kernels *widest = NULL;
    for (int i = 0; i < ISAS; i++)
        if (vsti_find_kernels(isas[i])) widest = vsti_find_kernels(isas[i]);
    setenv("VISTILL_ISA", "no such", 1);
    ck_assert_ptr_eq(vsti_get_kernels(), widest);
}
END_TEST

/* By the formula, in double, from the stream's own numbers: n = 2 pairs - 1 of them, for odd n without the last. */
static void naive_normals(vst_random *random, double mean, double std, double *out, int64_t n) {
    enum { PIECE = 512 };
    for (int64_t i = 0; i < n; i += PIECE) {
        const int64_t count = n - i < PIECE ? n - i : PIECE, pairs = (count + 1) / 2;
        uint32_t numbers[PIECE + 3];
        for (int64_t k = 0; k < (2 * pairs + 3) / 4 * 4; k++) numbers[k] = vst_random_u32(random);
        for (int64_t k = 0; k < pairs; k++) {
            const double radius = sqrt(-2 * log((double)(float)((float)(numbers[k] >> 1) + 0.5f) * 0x1p-31));
            const double angle = numbers[pairs + k] * 0x1p-32 * 6.283185307179586476925;
            out[i + k] = mean + std * radius * cos(angle);
            if (pairs + k < count) out[i + pairs + k] = mean + std * radius * sin(angle);
        }
    }
}

START_TEST(normals) {
    const vsti_kernels *k = kernels_at(_i), *generic = vsti_find_kernels("generic");
    for (int s = 0; k && s <= SIZES; s++) {
        const int64_t n = s < SIZES ? sizes[s] : LARGE;
        vst_random a = vst_random_stream(3, 4, 5, (uint64_t)s), b = a, c = a;
        float *got = room(n), *plain = room(n);
        double *want = doubles(n);
        k->normals(&a, 0.5f, 0.25f, got, n);
        generic->normals(&b, 0.5f, 0.25f, plain, n);
        naive_normals(&c, 0.5, 0.25, want, n);
        near("normals", got, want, n, 2e-6, 1);
        same("normals", got, plain, (size_t)n * sizeof *got);
        ck_assert_uint_eq(vst_random_u32(&a), vst_random_u32(&c)); /* the stream goes on behind them */
        free(got), free(plain), free(want);
    }
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("kernels");
    tcase_set_timeout(tcase, 300);
    const TTest *const per_isa[] = {activations,
                                    activation_rows,
                                    activation_extremes,
                                    arithmetic,
                                    normalize,
                                    column_sum,
                                    layer_norms,
                                    row_functions,
                                    row_extremes,
                                    attention,
                                    attention_bf16,
                                    attention_bf16_nested,
                                    attention_extremes,
                                    depthwise,
                                    losses,
                                    binary_cross_entropy,
                                    loss_extremes,
                                    mse,
                                    dropout,
                                    drop_path,
                                    normals,
                                    optimizers,
                                    lamb,
                                    sgd,
                                    threads,
                                    exact_strided,
                                    exact_reduce,
                                    exact_blocks,
                                    exact_resize,
                                    exact_batch_norm,
                                    exact_l2_normalize,
                                    exact_pairwise_distances,
                                    exact_smooth_l1,
                                    one_hot_argmax};
    for (size_t i = 0; i < sizeof per_isa / sizeof per_isa[0]; i++) tcase_add_loop_test(tcase, per_isa[i], 0, ISAS);
    tcase_add_test(tcase, attention_reference);
    tcase_add_test(tcase, dispatch);
    tcase_add_test(tcase, dispatch_widest);
    return run_suite("kernels", tcase);
}
