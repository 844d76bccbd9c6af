/* Losses over rows of logits, and the mean squared error. The losses of rows are added in double and in order. */
#include <stdbool.h>

#include "vision/kernels/isa.h"

/* For a softmax of x / temperature: p = exp((x - max) inverse) / sum. */
typedef struct row_softmax {
    float max, sum, log_sum, inverse;
} row_softmax;

static row_softmax softmax_of(const float *x, float inverse, int64_t cols) {
    const float max = vsti_row_max(x, cols), sum = vsti_row_exp_sum(x, inverse, max, cols);
    return (row_softmax){max, sum, logf(sum), inverse};
}

static double total(const float *row_loss, int64_t rows) {
    double sum = 0;
    for (int64_t row = 0; row < rows; row++) sum += row_loss[row];
    return sum;
}

/* - sum of t log p, where t is the smoothed target. A target of 0 is skipped, so that p = 0 does not give NaN. */
static float cross_entropy_row(const float *z, const float *target, float keep, float floor, int64_t cols) {
    const row_softmax s = softmax_of(z, 1, cols);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < cols; i++) {
        const float t = keep * target[i] + floor, loss = t * (s.log_sum - (z[i] - s.max));
        sum += t == 0 ? 0 : loss;
    }
    return sum;
}

void K(cross_entropy)(const float *logits, const float *target, float smoothing, float *loss, float *row_loss,
                      int64_t rows, int64_t cols) {
    const float keep = 1 - smoothing, floor = smoothing / (float)cols;
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++)
        row_loss[row] = cross_entropy_row(logits + row * cols, target + row * cols, keep, floor, cols);
    *loss = (float)(total(row_loss, rows) / (double)rows);
}

void K(cross_entropy_backward)(const float *logits, const float *target, float smoothing, const float *dloss,
                               float *dlogits, int64_t rows, int64_t cols) {
    const float keep = 1 - smoothing, floor = smoothing / (float)cols, factor = *dloss / (float)rows;
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *z = logits + row * cols, *t = target + row * cols;
        float *to = dlogits + row * cols;
        const row_softmax s = softmax_of(z, 1, cols);
        const float mass = keep * vsti_row_sum(t, cols) + smoothing, p_factor = mass / s.sum;
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = factor * (vsti_exp(z[i] - s.max) * p_factor - (keep * t[i] + floor));
    }
}

static bool has_label(const float *target, int64_t cols) {
    for (int64_t i = 0; i < cols; i++)
        if (target[i] > 0) return true;
    return false;
}

/* Number of rows with a label, at least 1, because it is a divisor. */
static int64_t labelled_rows(const float *target, int64_t rows, int64_t cols) {
    int64_t count = 0;
    for (int64_t row = 0; row < rows; row++) count += has_label(target + row * cols, cols);
    return count ? count : 1;
}

static float binary_row(const float *z, const float *target, int64_t cols) {
    double sum = 0;
    for (int64_t i = 0; i < cols; i++)
        sum += (z[i] > 0 ? z[i] : 0) - (target[i] > 0 ? z[i] : 0) + log1pf(expf(-fabsf(z[i])));
    return (float)sum;
}

void K(binary_cross_entropy)(const float *logits, const float *target, float *loss, float *row_loss, int64_t rows,
                             int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *t = target + row * cols;
        row_loss[row] = has_label(t, cols) ? binary_row(logits + row * cols, t, cols) : 0;
    }
    *loss = (float)(total(row_loss, rows) / (double)(labelled_rows(target, rows, cols) * cols));
}

void K(binary_cross_entropy_backward)(const float *logits, const float *target, const float *dloss, float *dlogits,
                                      int64_t rows, int64_t cols) {
    const float factor = (float)(*dloss / (double)(labelled_rows(target, rows, cols) * cols));
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *z = logits + row * cols, *t = target + row * cols;
        const float own = has_label(t, cols) ? factor : 0;
        float *to = dlogits + row * cols;
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) to[i] = own * (1 / (1 + vsti_exp(-z[i])) - (t[i] > 0 ? 1.0f : 0.0f));
    }
}

static float kl_row(const float *student, const float *teacher, float inverse, int64_t cols) {
    const row_softmax s = softmax_of(student, inverse, cols), t = softmax_of(teacher, inverse, cols);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < cols; i++) {
        const float log_t = (teacher[i] - t.max) * inverse - t.log_sum;
        const float log_s = (student[i] - s.max) * inverse - s.log_sum;
        const float p = vsti_exp(log_t), loss = p * (log_t - log_s);
        sum += p == 0 ? 0 : loss;
    }
    return sum;
}

void K(kl)(const float *student, const float *teacher, float temperature, float factor, float *loss, float *row_loss,
           int64_t rows, int64_t cols) {
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++)
        row_loss[row] = kl_row(student + row * cols, teacher + row * cols, 1 / temperature, cols);
    *loss = (float)(factor * total(row_loss, rows));
}

void K(kl_backward)(const float *student, const float *teacher, float temperature, float factor, const float *dloss,
                    float *dstudent, int64_t rows, int64_t cols) {
    const float inverse = 1 / temperature, scale = *dloss * factor / temperature;
#pragma omp parallel for schedule(static) if (rows * cols > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float *zs = student + row * cols, *zt = teacher + row * cols;
        float *to = dstudent + row * cols;
        const row_softmax s = softmax_of(zs, inverse, cols), t = softmax_of(zt, inverse, cols);
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) {
            const float ps = vsti_exp((zs[i] - s.max) * inverse) / s.sum;
            const float pt = vsti_exp((zt[i] - t.max) * inverse) / t.sum;
            to[i] = scale * (ps - pt);
        }
    }
}

void K(mse)(const float *a, const float *b, float *loss, double *partial, int64_t n) {
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = vsti_part(n, part); i < vsti_part(n, part + 1); i++) {
            const double difference = (double)a[i] - b[i];
            sum += difference * difference;
        }
        partial[part] = sum;
    }
    double sum = 0;
    for (int part = 0; part < VSTI_PARTIAL_BLOCKS; part++) sum += partial[part];
    *loss = (float)(sum / (double)n);
}

void K(mse_backward)(const float *a, const float *b, const float *dloss, float *da, int64_t n) {
    const float factor = (float)(2 * (double)*dloss / (double)n);
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t block = 0; block < vsti_blocks(n); block++) {
        const int64_t begin = block * VSTI_BLOCK, end = begin + vsti_block_length(n, block);
#pragma omp simd
        for (int64_t i = begin; i < end; i++) da[i] = factor * (a[i] - b[i]);
    }
}

void K(one_hot_argmax)(const float *x, float *y, int64_t rows, int64_t cols) {
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * cols;
        float *to = y + row * cols;
        int64_t best = 0;
        for (int64_t c = 1; c < cols; c++)
            if (from[c] > from[best]) best = c;
        for (int64_t c = 0; c < cols; c++) to[c] = c == best;
    }
}
