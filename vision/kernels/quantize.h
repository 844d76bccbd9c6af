/* Quantisation of float32, shared by the kernels that write 8-bit integers: the same bits on every instruction set. */
#ifndef VISTILL_VISION_KERNELS_QUANTIZE_H
#define VISTILL_VISION_KERNELS_QUANTIZE_H

#include "vision/kernels/isa.h"

/* round(x / scale), ties to even, clamped to [low, high]; NaN becomes `low`. */
static inline float vsti_quantized(float x, float scale, float low, float high) {
    const float quotient = x / scale, above = quotient > low ? quotient : low, cut = above < high ? above : high;
    return cut + 12582912.0f - 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer */
}

/* n values as uint8. */
static inline void vsti_quantize_uint8(const float *x, const vsti_uint8 *to, uint8_t *q, int64_t n) {
    const float scale = to->scale, low = -(float)to->zero_point, high = 255.0f - (float)to->zero_point;
    const int32_t zero_point = to->zero_point;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) q[i] = (uint8_t)((int32_t)vsti_quantized(x[i], scale, low, high) + zero_point);
}

#endif
