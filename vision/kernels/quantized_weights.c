/* Weights of products on 8-bit integers, and the same as float32 for training. */
#include <float.h>

#include "vision/kernels/exact.h"

static inline float size_of(float x) { return x < 0 ? -x : x; }
static inline float larger(float a, float b) { return a > b ? a : b; }

/* The least step with which a row is within the levels and its neighbours' sums within theirs. */
static float step_of(const vsti_weight_quantization *s, const float *row) {
    float most = 0, sum = 0;
    for (int64_t i = 0; i < s->inner; i++) {
        const int64_t other = vsti_weight_neighbour(s->inner, s->window, i);
        most = larger(most, size_of(row[i]));
        if (other > i) sum = larger(sum, size_of(row[i] + row[other]));
    }
    const float step = larger(most / VSTI_WEIGHT_LEVELS, sum / VSTI_PAIR_LEVELS);
    return step > FLT_MIN ? step : 1; /* denormal ones are 0 */
}

/* To nearest, ties to even. Where both neighbours are rounded up their sum may be one too large; beside: the integer of
 * the one before, or 0. */
static inline float rounded(float x, float step, float beside) {
    const float q = x / step + 12582912.0f - 12582912.0f;
    if (q + beside > VSTI_PAIR_LEVELS) return q - 1;
    return q + beside < -VSTI_PAIR_LEVELS ? q + 1 : q;
}

/* Integers of one row; returns their sum. */
static int64_t quantize_row(const vsti_weight_quantization *s, const float *row, float step, int8_t *q) {
    int64_t sum = 0;
    for (int64_t i = 0; i < s->inner; i++) {
        const int64_t other = vsti_weight_neighbour(s->inner, s->window, i);
        q[i] = (int8_t)rounded(row[i], step, other >= 0 && other < i ? q[other] : 0);
        sum += q[i];
    }
    return sum;
}

void K(fake_quantize_weights)(const vsti_weight_quantization *s, const float *x, float *y) {
#pragma omp parallel for schedule(static) if (s->out * s->inner > VSTI_PARALLEL)
    for (int64_t o = 0; o < s->out; o++) {
        const float *row = x + o * s->inner;
        float *to = y + o * s->inner;
        const float step = step_of(s, row);
        for (int64_t i = 0; i < s->inner; i++) {
            const int64_t other = vsti_weight_neighbour(s->inner, s->window, i);
            to[i] = rounded(row[i], step, other >= 0 && other < i ? to[other] : 0);
        }
        for (int64_t i = 0; i < s->inner; i++) to[i] *= step;
    }
}

void K(quantize_weights)(const vsti_weight_quantization *s, const vsti_batch_norm *norm, const float *weight,
                         const float *bias, int8_t *q, float *scales, float *shifts) {
    for (int64_t o = 0; o < s->out; o++) {
        const float *row = weight + o * s->inner;
        const float step = step_of(s, row);
        const int64_t sum = quantize_row(s, row, step, q + o * s->inner);
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
