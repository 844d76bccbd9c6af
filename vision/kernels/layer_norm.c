/* Layer norm over rows; the backward pass also adds the residual's gradient. */
#include <string.h>

#include "vision/kernels/quantize.h"

void K(layer_norm)(const float *x, const float *gamma, const float *beta, float *y, float *mean, float *rstd,
                   int64_t rows, int64_t cols, float epsilon) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        float *to = y + row * cols;
        const float m = vsti_row_sum(from, cols) / (float)cols;
        const float r = 1 / sqrtf(vsti_row_deviation(from, m, cols) / (float)cols + epsilon);
        mean[row] = m;
        rstd[row] = r;
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = (from[i] - m) * r * gamma[i] + beta[i];
    }
}

enum { PIECE = 256 }; /* of a row, which stays in the L1 cache */

/* The same numbers as layer_norm's, quantised. */
void K(layer_norm_uint8)(const float *x, const float *gamma, const float *beta, const vsti_uint8 *to, uint8_t *y,
                         int64_t rows, int64_t cols, float epsilon) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        const float m = vsti_row_sum(from, cols) / (float)cols;
        const float r = 1 / sqrtf(vsti_row_deviation(from, m, cols) / (float)cols + epsilon);
        for (int64_t first = 0; first < cols; first += PIECE) {
            float piece[PIECE];
            const int64_t n = cols - first < PIECE ? cols - first : PIECE;
            const float *in = from + first, *weight = gamma + first, *bias = beta + first;
#pragma omp simd
            for (int64_t i = 0; i < n; i++) piece[i] = (in[i] - m) * r * weight[i] + bias[i];
            vsti_quantize_uint8(piece, to, y + row * cols + first, n);
        }
    }
}

/* Sum of gamma dy (x - mean) */
static inline float weighted_sum(const float *gamma, const float *dy, const float *x, float mean, int64_t n) {
    VSTI_ROW_SUM(n, gamma[i] * dy[i] * (x[i] - mean),
                 vsti_load(gamma + i) * vsti_load(dy + i) * (vsti_load(x + i) - mean));
}

/* dx = rstd (g - mean g - x̂ mean(g x̂)) with g = gamma dy and x̂ = (x - mean) rstd. */
static void row_backward(const float *x, const float *gamma, float mean, float rstd, const float *dy,
                         const float *accumulate, float *dx, int64_t cols) {
    const float g = vsti_row_dot(gamma, dy, cols) / (float)cols;
    const float gx = weighted_sum(gamma, dy, x, mean, cols) / (float)cols * rstd * rstd;
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) dx[i] = rstd * (gamma[i] * dy[i] - g - (x[i] - mean) * gx) + accumulate[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) dx[i] = rstd * (gamma[i] * dy[i] - g - (x[i] - mean) * gx);
    }
}

/* The arrays of a backward pass; sum_gamma, sum_beta and sum are those of one part. */
typedef struct backward {
    const float *x, *gamma, *mean, *rstd, *dy, *accumulate;
    float *dx;
    int64_t cols;
} backward;

static void rows_backward(const backward *b, int64_t row, int64_t end, float *sum_gamma, float *sum_beta) {
    const int64_t cols = b->cols;
    for (; row < end; row++) {
        const float *from = b->x + row * cols, *gradient = b->dy + row * cols;
        const float m = b->mean[row], r = b->rstd[row];
        if (sum_gamma) { /* before dx is written, because dx may be dy */
#pragma omp simd
            for (int64_t i = 0; i < cols; i++) {
                sum_gamma[i] += gradient[i] * ((from[i] - m) * r);
                sum_beta[i] += gradient[i];
            }
        }
        row_backward(from, b->gamma, m, r, gradient, b->accumulate ? b->accumulate + row * cols : NULL,
                     b->dx + row * cols, cols);
    }
}

static void add_parts(const float *partial, float *sum, int64_t cols) {
    memset(sum, 0, (size_t)cols * sizeof *sum);
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) sum[i] += partial[part * cols + i];
    }
}

void K(layer_norm_backward)(const float *x, const float *gamma, const float *mean, const float *rstd, const float *dy,
                            const float *accumulate, float *dx, float *dgamma, float *dbeta, float *sum, float *partial,
                            int64_t rows, int64_t cols) {
    const size_t floats = vsti_partial_floats(cols);
    float *const partial_gamma = partial, *const partial_beta = partial + floats,
                 *const partial_sum = partial + 2 * floats;
    const backward b = {x, gamma, mean, rstd, dy, accumulate, dx, cols};
    memset(partial, 0, 3 * floats * sizeof *partial);
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        const int64_t end = vsti_part(rows, part + 1);
        float *sum_gamma = dgamma ? partial_gamma + part * cols : NULL, *sum_beta = partial_beta + part * cols;
        for (int64_t row = vsti_part(rows, part); row < end; row += VSTI_ROWS_ADDED) {
            const int64_t count = end - row < VSTI_ROWS_ADDED ? end - row : VSTI_ROWS_ADDED;
            rows_backward(&b, row, row + count, sum_gamma, sum_beta);
            if (sum) vsti_add_rows(dx + row * cols, cols, partial_sum + part * cols, count, cols);
        }
    }
    if (sum) vsti_add_parts(partial_sum, sum, cols);
    if (!dgamma) return;
    add_parts(partial_gamma, dgamma, cols);
    add_parts(partial_beta, dbeta, cols);
}
