/* Weights of products on 8-bit integers, and the same as float32 for training. */
#include <float.h>

#include "vision/kernels/exact.h"

static inline float largest_of(const float *x, int64_t n) {
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        const float size = x[i] < 0 ? -x[i] : x[i];
        if (size > most) most = size;
    }
    return most;
}

static inline float step_of(const float *row, int64_t n) {
    const float most = largest_of(row, n);
    return most > VSTI_WEIGHT_LEVELS * FLT_MIN ? most / VSTI_WEIGHT_LEVELS : 1; /* denormal ones are 0 */
}

/* To nearest, ties to even. */
static inline float rounded(float x, float step) { return x / step + 12582912.0f - 12582912.0f; }

/* Integers of one row; returns their sum. */
static inline int64_t quantize_row(const float *x, float step, int8_t *q, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        q[i] = (int8_t)rounded(x[i], step);
        sum += q[i];
    }
    return sum;
}

void K(fake_quantize_weights)(const float *x, float *y, int64_t out, int64_t inner) {
#pragma omp parallel for schedule(static) if (out * inner > VSTI_PARALLEL)
    for (int64_t o = 0; o < out; o++) {
        const float step = step_of(x + o * inner, inner);
        for (int64_t i = o * inner; i < (o + 1) * inner; i++) y[i] = step * rounded(x[i], step);
    }
}

void K(quantize_weights)(const vsti_weight_quantization *s, const vsti_batch_norm *norm, const float *weight,
                         const float *bias, int8_t *q, float *scales, float *shifts) {
    for (int64_t o = 0; o < s->out; o++) {
        const float step = step_of(weight + o * s->inner, s->inner);
        const int64_t sum = quantize_row(weight + o * s->inner, step, q + o * s->inner, s->inner);
        double scale = (double)step * (double)s->input_scale;
        double shift = (bias ? (double)bias[o] : 0) - scale * (double)s->input_zero_point * (double)sum;
        if (norm) {
            const double factor = (double)norm->gamma[o] / sqrt((double)norm->variance[o] + norm->epsilon);
            shift = (shift - (double)norm->mean[o]) * factor + (double)norm->beta[o];
            scale *= factor;
        }
        scales[o] = (float)scale;
        shifts[o] = (float)shift;
    }
}
