/* Sums and products with broadcasting, and copies that permute or repeat dimensions: loops over rows with separate
 * strides for each operand. */
#include <string.h>

#include "vision/kernels/exact.h"

static int64_t rows_of(const vsti_strided *s) {
    int64_t rows = 1;
    for (int i = 0; i + 1 < s->rank; i++) rows *= s->dim[i];
    return rows;
}

static int64_t cols_of(const vsti_strided *s) { return s->rank ? s->dim[s->rank - 1] : 1; }

/* Moves a and b to the start of row `row`. */
static void seek_row(const vsti_strided *s, int64_t row, const float **a, const float **b) {
    for (int i = s->rank - 1; i-- > 0; row /= s->dim[i]) {
        const int64_t index = row % s->dim[i];
        *a += index * s->a[i];
        *b += index * s->b[i];
    }
}

void K(broadcast_add)(const vsti_strided *s, const float *a, const float *b, float *out) {
    const int64_t rows = rows_of(s), cols = cols_of(s), step_a = s->a[s->rank - 1], step_b = s->b[s->rank - 1];
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *x = a, *y = b;
        seek_row(s, row, &x, &y);
        float *to = out + row * cols;
        for (int64_t i = 0; i < cols; i++) to[i] = x[i * step_a] + y[i * step_b];
    }
}

void K(broadcast_mul)(const vsti_strided *s, const float *a, const float *b, float *out) {
    const int64_t rows = rows_of(s), cols = cols_of(s), step_a = s->a[s->rank - 1], step_b = s->b[s->rank - 1];
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *x = a, *y = b;
        seek_row(s, row, &x, &y);
        float *to = out + row * cols;
        for (int64_t i = 0; i < cols; i++) to[i] = x[i * step_a] * y[i * step_b];
    }
}

void K(copy_strided)(const vsti_strided *s, const float *x, float *out) {
    const int64_t rows = rows_of(s), cols = cols_of(s), step = s->rank ? s->a[s->rank - 1] : 0;
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x, *unused = x;
        seek_row(s, row, &from, &unused);
        float *to = out + row * cols;
        if (step == 1) memcpy(to, from, (size_t)cols * sizeof *to);
        else
            for (int64_t i = 0; i < cols; i++) to[i] = from[i * step];
    }
}
