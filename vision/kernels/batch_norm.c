/* Batch norm outside oneDNN's primitive: updating the running statistics, and folding into the preceding convolution's
 * weights. */
#include <math.h>

#include "vision/kernels/exact.h"

void K(running_statistics)(const float *mean, const float *variance, float momentum, float unbiased,
                           float *running_mean, float *running_variance, float *batches, int64_t channels) {
    for (int64_t c = 0; c < channels; c++) {
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_variance[c] += momentum * (variance[c] * unbiased - running_variance[c]);
    }
    *batches += 1;
}

void K(fold_batch_norm)(const vsti_batch_norm *n, const float *weight, const float *bias, float *new_weight,
                        float *new_bias, int64_t out, int64_t inner) {
    for (int64_t o = 0; o < out; o++) {
        const double factor = n->gamma[o] / sqrt((double)n->variance[o] + n->epsilon);
        for (int64_t i = o * inner; i < (o + 1) * inner; i++) new_weight[i] = (float)(weight[i] * factor);
        const double shift = bias ? bias[o] : 0;
        new_bias[o] = (float)(n->beta[o] + (shift - n->mean[o]) * factor);
    }
}
