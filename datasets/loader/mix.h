/* Mixup and CutMix as timm's Mixup does them, and the targets of a batch: image i is mixed with image count - 1 - i.
 * One decision per batch (mode batch), per pair, or per image (elem). Functions are single-threaded and may be called
 * from several threads on different batches. */
#ifndef VISTILL_DATASETS_LOADER_MIX_H
#define VISTILL_DATASETS_LOADER_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "vision/base/option.h"
#include "vision/image/image.h"

#define VST_MIX_MODES(X) X(VST_MIX_BATCH, "batch") X(VST_MIX_PAIR, "pair") X(VST_MIX_ELEM, "elem")
typedef enum vst_mix_mode { VST_CHOICE_ENUM(VST_MIX_MODES) } vst_mix_mode;

typedef struct vst_mix_options {
    double mixup, cutmix;      /* alpha of the beta distribution of lambda; 0: off */
    double probability;        /* that a batch, pair or image is mixed */
    double switch_probability; /* of CutMix if both are enabled */
    vst_mix_mode mode;
    double minimum, maximum; /* maximum above 0: CutMix is on, and the sides of its box are between these fractions of
                                the image's */
} vst_mix_options;

static inline bool vst_mix_enabled(const vst_mix_options *options) {
    return (options->mixup > 0 || options->cutmix > 0 || options->maximum > 0) && options->probability > 0;
}

/* The mixing of an image: it keeps the fraction `lambda`, its partner contributes 1 - lambda. */
typedef struct vst_mix {
    double lambda; /* 1: not mixed. CutMix: fraction of pixels that are kept */
    bool cut;      /* CutMix: `box` is copied from the partner */
    vst_box box;
} vst_mix;

/* Draws the mixing of each of the `count` images of batch `step` of `epoch`, a pure function of the arguments. */
void vst_mix_draw(const vst_mix_options *options, uint64_t seed, uint32_t epoch, uint64_t step, int height, int width,
                  vst_mix *mixes, int count);
/* timm's rand_bbox with a given centre: a box with the fraction 1 - lambda of the area, clipped at the image's edges;
 * lambda is corrected to the clipped area. */
vst_mix vst_mix_cut(double lambda, int centre_y, int centre_x, int height, int width);

/* Mixes images (count, channels, height, width) in place, image i by mixes[i]. If count is odd, the middle image is its
 * own partner. */
void vst_mix_images(const vst_mix *mixes, float *images, int count, int channels, int height, int width);
/* Mixes targets (count, classes) in place. */
void vst_mix_targets(const vst_mix *mixes, float *targets, int count, int classes);

typedef struct vst_target_options {
    int classes;       /* 0: no targets */
    double smoothing;  /* label smoothing: off = smoothing / classes, on = 1 - smoothing + off */
    uint64_t labelled; /* samples from this index on are treated as unlabelled */
} vst_target_options;

/* Fills targets (count, classes) with smoothed labels. Rows of unlabelled samples are zero; the others are scaled so
 * that the mean loss of the batch is the mean over labelled rows. Returns the number of labelled samples. */
int vst_targets_fill(const vst_target_options *options, const int *labels, const uint64_t *samples, int count,
                     float *targets);

#endif
