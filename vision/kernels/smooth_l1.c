/* torch.nn.functional.smooth_l1_loss with beta 1: the mean of d² / 2 where |d| < 1, of |d| - 1 / 2 elsewhere. */
#include <math.h>

#include "vision/kernels/exact.h"

void K(smooth_l1)(const float *a, const float *b, float *loss, int64_t n) {
    double sums[VSTI_PARTIAL_BLOCKS] = {0}, total = 0;
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        double sum = 0;
        for (int64_t i = vsti_part(n, part); i < vsti_part(n, part + 1); i++) {
            const float d = fabsf(a[i] - b[i]);
            sum += (double)(d < 1 ? 0.5f * d * d : d - 0.5f);
        }
        sums[part] = sum;
    }
    for (int part = 0; part < VSTI_PARTIAL_BLOCKS; part++) total += sums[part];
    *loss = (float)(total / (double)n);
}

void K(smooth_l1_backward)(const float *a, const float *b, const float *dloss, float *da, int64_t n) {
    const float factor = *dloss / (float)n;
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t i = 0; i < n; i++) {
        const float d = a[i] - b[i];
        da[i] = factor * (d < -1 ? -1 : d > 1 ? 1 : d);
    }
}
