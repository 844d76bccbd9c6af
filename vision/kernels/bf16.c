/* Kernels that read and write bfloat16: what they compute is that of the float32 kernels, whose results are rounded
 * once. A few rows or elements at a time are widened into memory that stays in the cache, so that only half as many
 * bytes come from and go to the main memory. */
#include "vision/kernels/bf16.h"

#include <omp.h>
#include <string.h>

enum { CHUNK = 2048, NORM_ROWS = VSTI_BF16_NORM_ROWS };

static inline int64_t chunks(int64_t n) { return (n + CHUNK - 1) / CHUNK; }
static inline int64_t chunk_length(int64_t n, int64_t chunk) {
    const int64_t left = n - chunk * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

void K(activation_bf16)(vsti_activation kind, const uint16_t *x, uint16_t *y, int64_t n) {
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t chunk = 0; chunk < chunks(n); chunk++) {
        const int64_t i = chunk * CHUNK, length = chunk_length(n, chunk);
        float wide[CHUNK];
        vsti_widen_row(x + i, wide, length);
        K(activation)(kind, wide, wide, length);
        vsti_narrow_row(wide, y + i, length);
    }
}

void K(activation_backward_bf16)(vsti_activation kind, const uint16_t *x, const uint16_t *dy, uint16_t *dx, int64_t n) {
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t chunk = 0; chunk < chunks(n); chunk++) {
        const int64_t i = chunk * CHUNK, length = chunk_length(n, chunk);
        float input[CHUNK], gradient[CHUNK];
        vsti_widen_row(x + i, input, length);
        vsti_widen_row(dy + i, gradient, length);
        K(activation_backward)(kind, input, gradient, gradient, length);
        vsti_narrow_row(gradient, dx + i, length);
    }
}

void K(add_bf16)(const uint16_t *a, const uint16_t *b, uint16_t *out, int64_t n) {
#pragma omp parallel for simd schedule(static) if (parallel : n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) out[i] = vsti_narrow(vsti_widen(a[i]) + vsti_widen(b[i]));
}

void K(layer_norm_bf16)(const float *x, const float *gamma, const float *beta, uint16_t *y, float *mean, float *rstd,
                        int64_t rows, int64_t cols, float epsilon, float *scratch) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row += NORM_ROWS) {
        const int64_t count = rows - row < NORM_ROWS ? rows - row : NORM_ROWS;
        float *wide = scratch + omp_get_thread_num() * NORM_ROWS * cols;
        K(layer_norm)(x + row * cols, gamma, beta, wide, mean + row, rstd + row, count, cols, epsilon);
        vsti_narrow_row(wide, y + row * cols, count * cols);
    }
}

void K(column_sum_bf16)(const uint16_t *x, float *sum, float *partial, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        float *total = partial + part * cols;
        memset(total, 0, (size_t)cols * sizeof *total);
        for (int64_t row = vsti_part(rows, part); row < vsti_part(rows, part + 1); row++) {
            const uint16_t *from = x + row * cols;
#pragma omp simd
            for (int64_t i = 0; i < cols; i++) total[i] += vsti_widen(from[i]);
        }
    }
    memset(sum, 0, (size_t)cols * sizeof *sum);
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        const float *total = partial + part * cols;
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) sum[i] += total[i];
    }
}
