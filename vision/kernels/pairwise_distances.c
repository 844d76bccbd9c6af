/* Distances between the rows of a batch, as multiples of their mean (Park et al., "Relational Knowledge Distillation",
 * 2019). */
#include <math.h>
#include <string.h>

#include "vision/kernels/exact.h"

/* Minimum of a squared distance, as in the authors' code, so that the distance of equal rows is not 0. */
static const double least = 1e-12;

static double distance(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum > least ? sum : least);
}

/* Computes all distances and returns their mean over pairs of different rows. */
static double measure_all(const float *x, float *y, int64_t rows, int64_t cols) {
    double sum = 0;
#pragma omp parallel for schedule(static) if (rows * rows * cols > VSTI_PARALLEL)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < rows; j++)
            y[i * rows + j] = i == j ? 0 : (float)distance(x + i * cols, x + j * cols, cols);
    for (int64_t i = 0; i < rows * rows; i++) sum += (double)y[i];
    return rows > 1 ? sum / (double)(rows * (rows - 1)) : 1;
}

void K(pairwise_distances)(const float *x, float *y, int64_t rows, int64_t cols) {
    const float factor = (float)(1 / measure_all(x, y, rows, cols));
    for (int64_t i = 0; i < rows * rows; i++) y[i] *= factor;
}

/* With d the distances and m their mean: g = (dy - mean(dy d / m)) / m for each pair, and dx_i = sum_j (g_ij + g_ji)
 * (x_i - x_j) / d_ij. */
void K(pairwise_distances_backward)(const float *x, const float *dy, float *dx, float *distances, int64_t rows,
                                    int64_t cols) {
    const int64_t n = rows;
    const double mean = measure_all(x, distances, rows, cols);
    double common = 0;
    for (int64_t i = 0; i < n * n; i++) common += (double)dy[i] * distances[i];
    if (n > 1) common /= mean * (double)(n * (n - 1));
#pragma omp parallel for schedule(static) if (n * n * cols > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) {
        float *to = dx + i * cols;
        memset(to, 0, (size_t)cols * sizeof *to);
        for (int64_t j = 0; j < n; j++) {
            const double d = (double)distances[i * n + j];
            if (i == j || d <= sqrt(least)) continue;
            const double pull = ((double)dy[i * n + j] + (double)dy[j * n + i] - 2 * common) / mean / d;
            for (int64_t k = 0; k < cols; k++) to[k] += (float)(pull * ((double)x[i * cols + k] - x[j * cols + k]));
        }
    }
}
