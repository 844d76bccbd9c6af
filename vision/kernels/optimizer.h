/* The moving average of the weights, for the optimisers' kernels. */
#ifndef VISTILL_VISION_KERNELS_OPTIMIZER_H
#define VISTILL_VISION_KERNELS_OPTIMIZER_H

#include <stdint.h>

/* Updates the EMA. Called per block, while its values are in the cache. */
static inline void vsti_average(const float *value, float *ema, float decay, int64_t n) {
    const float rest = 1 - decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) ema[i] = decay * ema[i] + rest * value[i];
}

#endif
