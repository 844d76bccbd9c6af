/* Elementwise arithmetic, normalisation by constants, sums of columns. */
#include <string.h>

#include "vision/kernels/isa.h"

/* out[i] = expression for all i. */
#define ELEMENTWISE(n, expression)                                                                              \
    _Pragma("omp parallel for schedule(static) if (n > VSTI_PARALLEL)") for (int64_t block = 0;                 \
                                                                             block < vsti_blocks(n); block++) { \
        const int64_t begin = block * VSTI_BLOCK, end = begin + vsti_block_length(n, block);                    \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) out[i] = expression;                          \
    }

void K(add)(const float *a, const float *b, float *out, int64_t n) { ELEMENTWISE(n, a[i] + b[i]) }

void K(mul)(const float *a, const float *b, float *out, int64_t n) { ELEMENTWISE(n, a[i] * b[i]) }

void K(scale)(const float *a, float factor, float *out, int64_t n) { ELEMENTWISE(n, a[i] * factor) }

void K(normalize)(const float *x, const float *mean, const float *inverse, float *y, int64_t outer, int64_t channels,
                  int64_t inner) {
#pragma omp parallel for schedule(static) if (outer * channels * inner > VSTI_PARALLEL)
    for (int64_t row = 0; row < outer * channels; row++) {
        const float shift = mean[row % channels], factor = inverse[row % channels];
        const float *from = x + row * inner;
        float *to = y + row * inner;
#pragma omp simd
        for (int64_t i = 0; i < inner; i++) to[i] = (from[i] - shift) * factor;
    }
}

void K(column_sum)(const float *x, float *sum, float *partial, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        const int64_t begin = vsti_part(rows, part), end = vsti_part(rows, part + 1);
        memset(partial + part * cols, 0, (size_t)cols * sizeof *partial);
        vsti_add_rows(x + begin * cols, cols, partial + part * cols, end - begin, cols);
    }
    vsti_add_parts(partial, sum, cols);
}
