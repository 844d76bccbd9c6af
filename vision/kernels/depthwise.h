/* The gradient of a depthwise convolution's weights: kernel and operation share it. */
#ifndef VISTILL_VISION_KERNELS_DEPTHWISE_H
#define VISTILL_VISION_KERNELS_DEPTHWISE_H

#include "vision/kernels/kernels.h"

/* x (images, channels, height, width) and dy (…, out_height, out_width) have channels in blocks of `block` > 1
 * (vsti_channels); weights (channels, kernel, kernel). */
typedef struct vsti_depthwise {
    int64_t images, channels, block;
    int64_t height, width, out_height, out_width;
    int64_t kernel, stride, dilation, top, left; /* top, left: padding */
    bool bias;                                   /* its gradient is wanted, too */
} vsti_depthwise;

/* Images are summed in so many parts, whatever the number of threads is. */
static inline int64_t vsti_depthwise_parts(const vsti_depthwise *s) {
    const int64_t wanted = (VSTI_DEPTHWISE_UNITS * 16 + s->channels - 1) / s->channels;
    return wanted < s->images ? wanted : s->images;
}

/* Sums of one part. */
static inline int64_t vsti_depthwise_sums(const vsti_depthwise *s) { return s->channels * (s->kernel * s->kernel + 1); }

/* Vectors of a row of x with its padding, of the rows of x that a row of dy meets, and of a row of dy. */
static inline int64_t vsti_depthwise_row(const vsti_depthwise *s) {
    return (s->out_width - 1) * s->stride + (s->kernel - 1) * s->dilation + 1;
}
static inline int64_t vsti_depthwise_vectors(const vsti_depthwise *s) {
    return ((s->kernel - 1) * s->dilation + 1) * vsti_depthwise_row(s) + s->out_width;
}

/* Floats of scratch for all instruction sets, of which a vector has at most 16. */
static inline size_t vsti_depthwise_scratch(const vsti_depthwise *s, int threads) {
    return (size_t)(vsti_depthwise_parts(s) * vsti_depthwise_sums(s) + threads * vsti_depthwise_vectors(s) * 16);
}

/* dbias: (channels), read if shape->bias. */
VSTI_OWN_KERNEL(depthwise_weights, const vsti_depthwise *shape, const float *x, const float *dy, float *dweight,
                float *dbias, float *scratch);

#endif
