/* Augmentations: random changes to a training image. A policy is one file of this folder; a list of them is built from
 * text. What happens to a sample is a pure function of (seed, epoch, sample). */
#ifndef VISTILL_DATASETS_AUGMENT_AUGMENT_H
#define VISTILL_DATASETS_AUGMENT_AUGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/option.h"
#include "vision/base/random.h"
#include "vision/image/image.h"

VST_BEGIN_DECLS

/* Images that a policy may overwrite and leave changed; one set for each thread. They keep their memory from sample to
 * sample. A policy that makes its result in one of them swaps it with the image. */
enum { VST_AUGMENT_SCRATCH = 3 };
typedef struct vst_augment_scratch {
    vst_image images[VST_AUGMENT_SCRATCH];
} vst_augment_scratch;
void vst_augment_scratch_clear(vst_augment_scratch *scratch);

/* A sample after its conversion to floats: (channels, height, width), 0 … 1, not normalised. */
typedef struct vst_augment_floats {
    float *values;
    int channels, height, width;
    const double *mean, *std; /* of the normalisation that the model will apply, one a channel */
} vst_augment_floats;

/* A policy has `apply` or `apply_floats`, and may have `crop`. All randomness comes from `random`. Called by several
 * threads at the same time with their own samples. */
typedef struct vst_augmentation {
    const char *name, *help;
    const vst_option *options; /* table of the options structure */
    size_t options_size;       /* its sizeof */
    /* Refuses options that are wrong together or that their table cannot check, when a list is built; NULL: there are
     * none. So `crop`, `apply` and `apply_floats` only ever get options that it has let through. */
    vst_status (*check)(const void *options);
    /* For a policy that begins by cutting a part out of the picture: chooses the part. `apply` then gets that part
     * alone, and `random` as `crop` left it. The first policy of a list is asked before decoding, so that only the part
     * is decoded. */
    void (*crop)(const void *options, vst_random *random, int height, int width, vst_box *box);
    /* Changes the image, its size too if that is what it is for. */
    vst_status (*apply)(const void *options, vst_random *random, vst_image *image, vst_augment_scratch *scratch);
    /* Changes the sample after conversion; such policies come last in a list. */
    void (*apply_floats)(const void *options, vst_random *random, const vst_augment_floats *sample);
} vst_augmentation;

typedef struct vst_augment vst_augment;

/* Builds a list of policies, applied in their order, from "crop:padding=2, flip:probability=0.5"; further options of a
 * policy follow after another colon. "" and "none" give an empty list. Unknown policies and options are errors that say
 * what there is, and so are options that a policy's `check` refuses. Destroy with vst_augment_destroy. */
VST_NODISCARD vst_status vst_augment_create(vst_augment **out, const char *text);
void vst_augment_destroy(vst_augment *augment); /* NULL allowed */
/* Equal for lists that do the same, however they are written; NULL as an empty list. */
uint64_t vst_augment_hash(const vst_augment *augment);

/* Which random changes of which sample: everything that the random numbers of a list depend on. Policy "crop" draws
 * from the stream (seed, id of "augment.crop", epoch, sample); a second "crop" in the list, and every copy of a sample
 * that an epoch shows several times, has a stream of its own. */
typedef struct vst_augment_view {
    uint64_t seed, sample;
    uint32_t epoch, copy; /* copy: 0 for the first or only one */
} vst_augment_view;

/* A list is applied in these stages, in this order and each once; they are a pure function of the view and the pixels.
 * `augment` may be NULL: none. Thread-safe: a thread has its own state, scratch and sample. */
typedef struct vst_augment_state {
    vst_augment_view view;
    vst_random random; /* of the first policy, as its `crop` left it */
    bool cropped;
} vst_augment_state;
/* 1. Given the whole picture's size, says which part of it is needed: decode that part, or cut it out. */
void vst_augment_begin(const vst_augment *augment, vst_augment_view view, int height, int width,
                       vst_augment_state *state, vst_box *part);
/* 2. Applies the policies for images to that part. */
VST_NODISCARD vst_status vst_augment_image(const vst_augment *augment, vst_augment_state *state, vst_image *image,
                                           vst_augment_scratch *scratch);
/* 3. Applies those for floats to the converted sample. */
void vst_augment_finish(const vst_augment *augment, const vst_augment_state *state, const vst_augment_floats *sample);
bool vst_augment_has_crop(const vst_augment *augment); /* whether the part can be less than all of the picture */

/* Stages 1 and 2 for a whole image in memory, first copy, with scratch images of its own: for previews. */
VST_NODISCARD vst_status vst_augment_apply(const vst_augment *augment, uint64_t seed, uint32_t epoch, uint64_t sample,
                                           vst_image *image);

VST_END_DECLS
#endif
