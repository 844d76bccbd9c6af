/* The loop over the blocks of a range and the moving average of the weights, for the kernels of optimisers. */
#ifndef VISTILL_VISION_KERNELS_OPTIMIZER_H
#define VISTILL_VISION_KERNELS_OPTIMIZER_H

#include <stdint.h>

#include "vision/kernels/isa.h"

static inline void vsti_average(const float *value, float *ema, float decay, int64_t n) {
    const float rest = 1 - decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) ema[i] = decay * ema[i] + rest * value[i];
}

/* Runs the statement `step` for the elements [i, i + length) of every block of n values, in parallel, and updates the
 * EMA (NULL: none) of the block while its values are in the cache. */
#define VSTI_PRAGMA(text) _Pragma(#text)
#define VSTI_EACH_BLOCK(n, value, ema, ema_decay, step)                           \
    VSTI_PRAGMA(omp parallel for schedule(static) if ((n) > VSTI_PARALLEL))       \
    for (int64_t part = 0; part < vsti_blocks(n); part++) {                       \
        const int64_t i = part * VSTI_BLOCK, length = vsti_block_length(n, part); \
        step;                                                                     \
        if (ema) vsti_average((value) + i, (ema) + i, ema_decay, length);         \
    }

#endif
