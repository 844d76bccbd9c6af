/* Activations and their derivatives. Comparisons are written so that NaN is propagated. */
#include "vision/kernels/isa.h"

typedef void forward_block(const float *x, float *y, int64_t n);
typedef void backward_block(const float *x, const float *dy, float *dx, int64_t n);
typedef void both_block(const float *x, const float *dy, float *y, float *dx, int64_t n);

static inline float relu(float x) { return x < 0 ? 0 : x; }
static inline float relu_slope(float x) { return x > 0 ? 1 : 0; }

static inline float relu6(float x) {
    const float positive = x < 0 ? 0 : x;
    return positive > 6 ? 6 : positive;
}
static inline float relu6_slope(float x) { return ((x > 0) & (x < 6)) ? 1 : 0; }

/* x Φ(x) */
static inline float gelu(float x) { return 0.5f * x * (1 + vsti_erf(x * 0.707106781f)); }
/* Φ(x) + x φ(x) */
static inline float gelu_slope(float x) {
    return 0.5f * (1 + vsti_erf(x * 0.707106781f)) + x * 0.39894228f * vsti_exp(-0.5f * x * x);
}

static inline float sigmoid(float x) { return 1 / (1 + vsti_exp(-x)); }
static inline float sigmoid_slope(float x) {
    const float s = sigmoid(x);
    return s * (1 - s);
}

static inline float silu(float x) { return x * sigmoid(x); }
static inline float silu_slope(float x) {
    const float s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

static inline float hardswish(float x) { return x * relu6(x + 3) * (1.0f / 6); }
static inline float hardswish_slope(float x) {
    const float inner = x * (1.0f / 3) + 0.5f, above = x > 3 ? 1 : inner;
    return x < -3 ? 0 : above;
}

/* One loop per function, so that each is vectorised. */
#define FORWARD(function)                                                          \
    static void function##_block(const float *x, float *y, int64_t n) {            \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) y[i] = function(x[i]); \
    }
#define BACKWARD(function)                                                                          \
    static void function##_slope_block(const float *x, const float *dy, float *dx, int64_t n) {     \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * function##_slope(x[i]); \
    }
/* Value and derivative in one pass; y may be x, dx may be dy. */
#define BOTH(function)                                                                                   \
    static void function##_both_block(const float *x, const float *dy, float *y, float *dx, int64_t n) { \
        _Pragma("omp simd") for (int64_t i = 0; i < n; i++) {                                            \
            const float at = x[i], slope = function##_slope(at);                                         \
            y[i] = function(at);                                                                         \
            dx[i] = dy[i] * slope;                                                                       \
        }                                                                                                \
    }
FORWARD(relu);
FORWARD(relu6);
FORWARD(gelu);
FORWARD(silu);
FORWARD(sigmoid);
FORWARD(hardswish);
BACKWARD(relu);
BACKWARD(relu6);
BACKWARD(gelu);
BACKWARD(silu);
BACKWARD(sigmoid);
BACKWARD(hardswish);
BOTH(gelu);
BOTH(silu);
BOTH(sigmoid);
BOTH(hardswish);

static forward_block *const forward[] = {
    [VSTI_RELU] = relu_block, [VSTI_RELU6] = relu6_block,     [VSTI_GELU] = gelu_block,
    [VSTI_SILU] = silu_block, [VSTI_SIGMOID] = sigmoid_block, [VSTI_HARDSWISH] = hardswish_block};
static backward_block *const backward[] = {
    [VSTI_RELU] = relu_slope_block, [VSTI_RELU6] = relu6_slope_block,     [VSTI_GELU] = gelu_slope_block,
    [VSTI_SILU] = silu_slope_block, [VSTI_SIGMOID] = sigmoid_slope_block, [VSTI_HARDSWISH] = hardswish_slope_block};
static both_block *const both[] = {[VSTI_GELU] = gelu_both_block,
                                   [VSTI_SILU] = silu_both_block,
                                   [VSTI_SIGMOID] = sigmoid_both_block,
                                   [VSTI_HARDSWISH] = hardswish_both_block};

void K(activation)(vsti_activation kind, const float *x, float *y, int64_t n) {
    forward_block *const function = forward[kind];
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t block = 0; block < vsti_blocks(n); block++) {
        const int64_t i = block * VSTI_BLOCK;
        function(x + i, y + i, vsti_block_length(n, block));
    }
}

void K(activation_backward)(vsti_activation kind, const float *x, const float *dy, float *dx, int64_t n) {
    backward_block *const function = backward[kind];
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t block = 0; block < vsti_blocks(n); block++) {
        const int64_t i = block * VSTI_BLOCK;
        function(x + i, dy + i, dx + i, vsti_block_length(n, block));
    }
}

/* Columns of a row that are computed at a time, so that VSTI_ROWS_ADDED rows of dx are summed from the L1 cache. */
enum { COLUMNS = 1024 };

void K(activation_backward_rows)(vsti_activation kind, const float *x, const float *dy, float *dx, float *y, float *sum,
                                 float *partial, int64_t rows, int64_t cols) {
    const int64_t chunks = (cols + COLUMNS - 1) / COLUMNS;
    if (sum) memset(partial, 0, vsti_partial_floats(cols) * sizeof *partial);
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t unit = 0; unit < VSTI_PARTIAL_BLOCKS * chunks; unit++) {
        const int64_t part = unit / chunks, end = vsti_part(rows, part + 1);
        const int64_t column = unit % chunks * COLUMNS, width = cols - column < COLUMNS ? cols - column : COLUMNS;
        for (int64_t row = vsti_part(rows, part); row < end; row += VSTI_ROWS_ADDED) {
            const int64_t count = end - row < VSTI_ROWS_ADDED ? end - row : VSTI_ROWS_ADDED;
            for (int64_t r = row; r < row + count; r++) {
                const int64_t i = r * cols + column;
                if (y) both[kind](x + i, dy + i, y + i, dx + i, width);
                else backward[kind](x + i, dy + i, dx + i, width);
            }
            if (sum) vsti_add_rows(dx + row * cols + column, cols, partial + part * cols + column, count, width);
        }
    }
    if (sum) vsti_add_parts(partial, sum, cols);
}
