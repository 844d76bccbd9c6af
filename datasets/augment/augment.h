/* Augmentations: random changes to a training image. Each policy is one file of this folder; a list of policies is
 * built from text. The result is a pure function of the sample and (seed, epoch, sample index, copy). */
#ifndef VISTILL_DATASETS_AUGMENT_AUGMENT_H
#define VISTILL_DATASETS_AUGMENT_AUGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/option.h"
#include "vision/base/random.h"
#include "vision/image/image.h"

VST_BEGIN_DECLS

/* Working images that a policy may overwrite, one set per thread. Their memory is reused from sample to sample. A
 * policy that writes its result to one of them swaps it with the image. */
enum { VST_AUGMENT_SCRATCH = 3 };
typedef struct vst_augment_scratch {
    vst_image images[VST_AUGMENT_SCRATCH];
} vst_augment_scratch;
void vst_augment_scratch_clear(vst_augment_scratch *scratch);

/* A sample after its conversion to floats: (channels, height, width), 0 … 1, not normalised. */
typedef struct vst_augment_floats {
    float *values;
    int channels, height, width;
    const double *mean, *std; /* normalisation of the model, one value per channel */
} vst_augment_floats;

/* A policy has `apply` or `apply_floats`, and may have `crop`. Use only `random` for random numbers. The functions are
 * called by several threads at the same time with different samples. */
typedef struct vst_augmentation {
    const char *name, *help;
    const vst_option *options; /* table of the options structure */
    size_t options_size;       /* its sizeof */
    /* Checks options that the table cannot check (combinations, policy strings) when a list is built, so that `crop`,
     * `apply` and `apply_floats` get valid options only. May be NULL. */
    vst_status (*check)(const void *options);
    /* For a policy that begins with a crop: chooses the box. `apply` then gets only that part of the image, and
     * `random` in the state that `crop` left. For the first policy of a list it is called before decoding, so that only
     * the box is decoded. */
    void (*crop)(const void *options, vst_random *random, int height, int width, vst_box *box);
    /* Changes the image; may change its size. */
    vst_status (*apply)(const void *options, vst_random *random, vst_image *image, vst_augment_scratch *scratch);
    /* Changes the sample after conversion; such policies come last in a list. */
    void (*apply_floats)(const void *options, vst_random *random, const vst_augment_floats *sample);
} vst_augmentation;

typedef struct vst_augment vst_augment;

/* Builds a list of policies, applied in their order, from "crop:padding=2, flip:probability=0.5"; options of a policy
 * are separated by colons. "" and "none" give an empty list. Unknown policies and options (the message lists the known
 * ones) and options that fail a policy's `check` are errors. The caller destroys *out with vst_augment_destroy. */
VST_NODISCARD vst_status vst_augment_create(vst_augment **out, const char *text);
void vst_augment_destroy(vst_augment *augment); /* NULL allowed */
/* A hash that is equal for equal policies and options, independent of the spelling. NULL counts as an empty list. */
uint64_t vst_augment_hash(const vst_augment *augment);

/* Selects the random numbers of a list for one sample. Policy "crop" uses the stream (seed, id of "augment.crop",
 * epoch, sample); a second "crop" in the list and every further copy of a sample in an epoch use streams of their
 * own. */
typedef struct vst_augment_view {
    uint64_t seed, sample;
    uint32_t epoch, copy; /* copy: 0 for the first one */
} vst_augment_view;

/* A list is applied in three stages, in this order and each once. The result is a pure function of the view and the
 * pixels. `augment` may be NULL (no policies). Thread-safe if every thread has its own state, scratch and sample. */
typedef struct vst_augment_state {
    vst_augment_view view;
    vst_random random; /* of the first policy, after its `crop` */
    bool cropped;
} vst_augment_state;
/* 1. Computes, from the size of the whole image, the box that is needed. The caller decodes or crops to it. */
void vst_augment_begin(const vst_augment *augment, vst_augment_view view, int height, int width,
                       vst_augment_state *state, vst_box *part);
/* 2. Applies the image policies to that part. */
VST_NODISCARD vst_status vst_augment_image(const vst_augment *augment, vst_augment_state *state, vst_image *image,
                                           vst_augment_scratch *scratch);
/* 3. Applies the float policies to the converted sample. */
void vst_augment_finish(const vst_augment *augment, const vst_augment_state *state, const vst_augment_floats *sample);
bool vst_augment_has_crop(const vst_augment *augment); /* true if the box may be smaller than the image */

/* All stages for an image in memory (copy 0), with its own scratch images; for previews. Noise that the third one draws
 * has the mean and deviation of ImageNet. */
VST_NODISCARD vst_status vst_augment_apply(const vst_augment *augment, uint64_t seed, uint32_t epoch, uint64_t sample,
                                           vst_image *image);

VST_END_DECLS
#endif
