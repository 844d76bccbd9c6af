/* Options of the loader, see loader.h. */
#ifndef VISTILL_DATASETS_LOADER_OPTIONS_H
#define VISTILL_DATASETS_LOADER_OPTIONS_H

#include "datasets/augment/augment.h"
#include "datasets/loader/mix.h"
#include "datasets/loader/order.h"

/* How to handle a sample that cannot be read (vst_dataset_is_broken). */
#define VST_BROKEN_POLICIES(X)                                                             \
    X(VST_BROKEN_ERROR, "error") /* vst_loader_next fails; the message names the sample */ \
    X(VST_BROKEN_WARN, "warn")   /* like skip; each one is logged once */                  \
    X(VST_BROKEN_SKIP, "skip")   /* use the next readable sample, at most 20 further on, wrapping around at the end */
typedef enum vst_broken_policy { VST_CHOICE_ENUM(VST_BROKEN_POLICIES) } vst_broken_policy;
typedef struct vst_broken_rule {
    vst_broken_policy policy;
    double limit; /* warn and skip: maximum fraction of broken samples, 0 … 1; more are an error */
} vst_broken_rule;

typedef struct vst_loader_options {
    int batch;      /* samples in a batch */
    int workers;    /* worker threads; 0: read in the consumer's thread */
    int prefetch;   /* batches to prefetch; 0: 4, or as many as fit in 256 MiB, at least 1 */
    bool shuffle;   /* a new permutation every epoch */
    bool drop_last; /* drop a partial last batch */
    uint64_t seed;
    int channels, size; /* of the images in a batch; a sample with another size after augmentation is an error */
    int repeats;        /* repeated augmentation (order.h): copies per sample, each with its own augmentation; 0: 1 */
    int views; /* number of different views (augmentations) per sample, used by the epochs in turn; 0: a new view every
                  epoch. Not with mixing */
    int rank,
        world; /* index and number of the processes that share an epoch (order.h), requires drop_last; world 0: 1 */
    const vst_augment *augment; /* NULL: none. Must outlive the loader */
    double mean[3], std[3]; /* normalisation of the model, for policies on normalised values; std 0: mean 0 and std 1 */
    bool fast_decode;       /* decode JPEGs at reduced size if a policy shrinks the crop anyway; changes the pixels */
    vst_mix_options mix;    /* mixup and CutMix: `batch` must be even and drop_last set */
    vst_target_options targets; /* classes above 0: batches have targets */
    bool evaluation; /* apply the evaluation transform (transform.h) to images of any size; not with augmentation */
    double crop_pct; /* of that view; 0: 1 */
    vst_filter filter;
    vst_broken_rule broken;
    bool unlabel_replaced; /* for evaluation: the replacement of a broken sample gets the broken one's index and label
                              -1, so that no image counts twice; otherwise it keeps its own index and label */
} vst_loader_options;

#endif
