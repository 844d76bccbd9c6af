/* Divides rows by their L2 norm, as torch.nn.functional.normalize(x, dim=-1). */
#include <math.h>

#include "vision/kernels/exact.h"

static const float least = 1e-12f; /* minimum of the divisor */

static float length_of(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    const float length = (float)sqrt(sum);
    return length > least ? length : least;
}

void K(l2_normalize)(const float *x, float *y, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        float *to = y + row * cols;
        const float factor = 1 / length_of(from, cols);
        for (int64_t i = 0; i < cols; i++) to[i] = from[i] * factor;
    }
}

/* dx = (dy - y (y · dy)) / |x| */
void K(l2_normalize_backward)(const float *x, const float *dy, float *dx, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols, *slope = dy + row * cols;
        float *to = dx + row * cols;
        const float factor = 1 / length_of(from, cols);
        double along = 0;
        for (int64_t i = 0; i < cols; i++) along += (double)from[i] * slope[i];
        const float part = (float)along * factor * factor;
        for (int64_t i = 0; i < cols; i++) to[i] = factor * (slope[i] - from[i] * part);
    }
}
