/* Weights of products on 8-bit integers. */
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

/* Integers of one row; returns their sum. */
static inline int64_t quantize_row(const float *x, float step, int8_t *q, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const float rounded = x[i] / step + 12582912.0f - 12582912.0f; /* to nearest, ties to even */
        q[i] = (int8_t)rounded;
        sum += q[i];
    }
    return sum;
}

void K(quantize_weights)(const vsti_weight_quantization *s, const vsti_batch_norm *norm, const float *weight,
                         const float *bias, int8_t *q, float *scales, float *shifts) {
    for (int64_t o = 0; o < s->out; o++) {
        const float most = largest_of(weight + o * s->inner, s->inner);
        const float step =
            most > VSTI_WEIGHT_LEVELS * FLT_MIN ? most / VSTI_WEIGHT_LEVELS : 1; /* denormal ones are 0 */
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
