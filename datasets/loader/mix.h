/* Mixup and CutMix as timm's Mixup(mode="batch") does them: one decision for a batch, whose image i is mixed with image
 * count - 1 - i; and the targets of a batch. On the calling thread alone; thread-safe on different batches. */
#ifndef VISTILL_DATASETS_LOADER_MIX_H
#define VISTILL_DATASETS_LOADER_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "vision/image/image.h"

typedef struct vst_mix_options {
    double mixup, cutmix;      /* alpha of the beta distribution that lambda is drawn from; 0: never this one */
    double probability;        /* of mixing a batch at all */
    double switch_probability; /* of CutMix where both are on */
} vst_mix_options;

static inline bool vst_mix_enabled(const vst_mix_options *options) {
    return (options->mixup > 0 || options->cutmix > 0) && options->probability > 0;
}

/* What is done to a batch: image i keeps the share `lambda`, its partner gives the rest. */
typedef struct vst_mix {
    double lambda; /* 1: nothing is done. CutMix: the share of pixels that stay */
    bool cut;      /* CutMix: `box` comes from the partner */
    vst_box box;
} vst_mix;

/* Decides for batch `step` of `epoch`, a pure function of the arguments. */
vst_mix vst_mix_draw(const vst_mix_options *options, uint64_t seed, uint32_t epoch, uint64_t step, int height,
                     int width);
/* timm's rand_bbox with a given centre: a box of the share 1 - lambda, cut at the image's edges; lambda is corrected to
 * what is left. */
vst_mix vst_mix_cut(double lambda, int centre_y, int centre_x, int height, int width);

/* images (count, channels, height, width), in place; count is even, or the middle one is its own partner. */
void vst_mix_images(const vst_mix *mix, float *images, int count, int channels, int height, int width);
/* targets (count, classes), in place. */
void vst_mix_targets(const vst_mix *mix, float *targets, int count, int classes);

typedef struct vst_target_options {
    int classes;       /* 0: no targets */
    double smoothing;  /* of the labels: off = smoothing / classes, on = 1 - smoothing + off */
    uint64_t labelled; /* samples from this one on count as unlabelled */
} vst_target_options;

/* Fills targets (count, classes) with smoothed labels: zero rows for samples without one, the others scaled so that the
 * mean of a loss over the batch is the mean over labelled rows. Returns how many are labelled. */
int vst_targets_fill(const vst_target_options *options, const int *labels, const uint64_t *samples, int count,
                     float *targets);

#endif
