/* bfloat16 in the loops of this folder: the upper half of a float32. */
#ifndef VISTILL_VISION_KERNELS_BF16_H
#define VISTILL_VISION_KERNELS_BF16_H

#include "vision/kernels/isa.h"

static inline float vsti_widen(uint16_t x) {
    const union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)x << 16};
    return v.f;
}

/* Rounds to nearest, ties to even; NaN stays NaN. */
static inline uint16_t vsti_narrow(float x) {
    const union {
        float f;
        uint32_t u;
    } v = {.f = x};
    const uint32_t rounded = v.u + 0x7fffu + (v.u >> 16 & 1);
    const uint32_t nan = (v.u & 0x7fffffffu) > 0x7f800000u;
    return (uint16_t)((nan ? v.u | 0x400000u : rounded) >> 16);
}

static inline void vsti_widen_row(const uint16_t *x, float *y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = vsti_widen(x[i]);
}

static inline void vsti_narrow_row(const float *x, uint16_t *y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = vsti_narrow(x[i]);
}

#endif
