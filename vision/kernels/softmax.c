/* Softmax, log-softmax and standardisation of rows, and their gradients. */
#include "vision/kernels/isa.h"

void K(softmax)(const float *x, float *y, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        float *to = y + row * cols;
        const float max = vsti_row_max(from, cols);
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = vsti_exp(from[i] - max);
        const float factor = 1 / vsti_row_sum(to, cols);
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] *= factor;
    }
}

void K(log_softmax)(const float *x, float *y, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        float *to = y + row * cols;
        const float max = vsti_row_max(from, cols), log_sum = logf(vsti_row_exp_sum(from, 1, max, cols));
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = (from[i] - max) - log_sum;
    }
}

void K(softmax_backward)(const float *y, const float *dy, float *dx, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *p = y + row * cols, *from = dy + row * cols;
        float *to = dx + row * cols;
        const float dot = vsti_row_dot(p, from, cols);
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = p[i] * (from[i] - dot);
    }
}

void K(log_softmax_backward)(const float *y, const float *dy, float *dx, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *log_p = y + row * cols, *from = dy + row * cols;
        float *to = dx + row * cols;
        const float sum = vsti_row_sum(from, cols);
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = from[i] - vsti_exp(log_p[i]) * sum;
    }
}

static const float standardize_epsilon = 1e-7f;

/* Mean and unbiased standard deviation, 0 for a single column. */
static float mean_of(const float *x, int64_t cols) { return vsti_row_sum(x, cols) / (float)cols; }
static float deviation_of(const float *x, float mean, int64_t cols) {
    return sqrtf(vsti_row_deviation(x, mean, cols) / (float)(cols > 1 ? cols - 1 : 1));
}

void K(standardize)(const float *x, float *y, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        float *to = y + row * cols;
        const float mean = mean_of(from, cols), factor = 1 / (deviation_of(from, mean, cols) + standardize_epsilon);
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = (from[i] - mean) * factor;
    }
}

/* Sum of dy (x - mean) */
static inline float covariance(const float *dy, const float *x, float mean, int64_t n) {
    VSTI_ROW_SUM(n, dy[i] * (x[i] - mean), vsti_load(dy + i) * (vsti_load(x + i) - mean));
}

/* With s the deviation and e = s + epsilon: dx = (dy - mean dy) / e - (x - mean) sum(dy (x - mean)) / (e² s (cols -
 * 1)). As in PyTorch, a constant row has no gradient through its deviation. */
void K(standardize_backward)(const float *x, const float *dy, float *dx, int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols, *gradient = dy + row * cols;
        float *to = dx + row * cols;
        const float mean = mean_of(from, cols), deviation = deviation_of(from, mean, cols);
        const float gradient_mean = mean_of(gradient, cols), factor = 1 / (deviation + standardize_epsilon);
        const float both = covariance(gradient, from, mean, cols) * factor * factor;
        const float slope = deviation == 0 ? 0 : both / (deviation * (float)(cols - 1));
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = (gradient[i] - gradient_mean) * factor - (from[i] - mean) * slope;
    }
}
