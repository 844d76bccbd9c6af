/* Casts between float32 and bfloat16; quantisation to 8-bit integers, and the same as float32 for training. */
#include "vision/kernels/bf16.h"
#include "vision/kernels/exact.h"
#include "vision/kernels/quantize.h"

void K(to_bf16)(const float *x, uint16_t *y, int64_t n) {
#pragma omp parallel for simd schedule(static) if (parallel : n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) y[i] = vsti_narrow(x[i]);
}

void K(from_bf16)(const uint16_t *x, float *y, int64_t n) {
#pragma omp parallel for simd schedule(static) if (parallel : n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) y[i] = vsti_widen(x[i]);
}

/* Elements per iteration of the loops below: a row of one channel, or a block if there is only one scale. */
static inline int64_t piece_length(const vsti_quantization *s) { return s->channels == 1 ? VSTI_BLOCK : s->inner; }

void K(quantize)(const vsti_quantization *s, const float *scales, const float *x, void *q) {
    const float zero = (float)s->zero_point, low = (s->is_signed ? -128.0f : 0.0f) - zero,
                high = (s->is_signed ? 127.0f : 255.0f) - zero;
    const int64_t n = s->outer * s->channels * s->inner, length = piece_length(s);
    uint8_t *to = q; /* int8 has the same bits */
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t first = 0; first < n; first += length) {
        const float scale = scales[first / length % s->channels];
        const int64_t end = first + length < n ? first + length : n;
#pragma omp simd
        for (int64_t i = first; i < end; i++)
            to[i] = (uint8_t)((int32_t)vsti_quantized(x[i], scale, low, high) + s->zero_point);
    }
}

void K(dequantize)(const vsti_quantization *s, const float *scales, const void *q, float *y) {
    const int64_t n = s->outer * s->channels * s->inner, length = piece_length(s);
    const uint8_t *from = q;
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t first = 0; first < n; first += length) {
        const float scale = scales[first / length % s->channels];
        const int64_t end = first + length < n ? first + length : n;
#pragma omp simd
        for (int64_t i = first; i < end; i++) {
            const int32_t value = s->is_signed ? (int8_t)from[i] : from[i];
            y[i] = scale * (float)(value - s->zero_point);
        }
    }
}

/* ---- simulated 8-bit integers ---- */

void K(fake_quantize)(float scale, int zero_point, const float *x, float *y, int64_t n) {
    const float low = (float)-zero_point, high = (float)(255 - zero_point);
#pragma omp parallel for simd schedule(static) if (parallel : n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) y[i] = scale * vsti_quantized(x[i], scale, low, high);
}

void K(fake_quantize_backward)(float scale, int zero_point, const float *x, const float *dy, float *dx, int64_t n) {
    const float low = (float)-zero_point, high = (float)(255 - zero_point);
#pragma omp parallel for simd schedule(static) if (parallel : n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) {
        const float q = vsti_quantized(x[i], scale, low - 1, high + 1);
        dx[i] = q >= low && q <= high ? dy[i] : 0;
    }
}
