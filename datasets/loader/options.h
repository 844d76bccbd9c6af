/* What a loader is asked for; see loader.h. */
#ifndef VISTILL_DATASETS_LOADER_OPTIONS_H
#define VISTILL_DATASETS_LOADER_OPTIONS_H

#include "datasets/augment/augment.h"
#include "datasets/loader/mix.h"
#include "datasets/loader/order.h"

/* What is done about a sample that cannot be read (vst_dataset_is_broken). */
#define VST_BROKEN_POLICIES(X)                                                                                        \
    X(VST_BROKEN_ERROR, "error") /* vst_loader_next fails, naming it */                                               \
    X(VST_BROKEN_WARN, "warn")   /* as skip, and each is told once to the log */                                      \
    X(VST_BROKEN_SKIP, "skip")   /* the next readable sample (up to 20 further, from the last to the first) takes its \
                                    place */
typedef enum vst_broken_policy { VST_CHOICE_ENUM(VST_BROKEN_POLICIES) } vst_broken_policy;
typedef struct vst_broken_rule {
    vst_broken_policy policy;
    double limit; /* warn and skip: the share of samples, 0 … 1, above which broken ones are an error after all */
} vst_broken_rule;

typedef struct vst_loader_options {
    int batch;      /* samples in a batch */
    int workers;    /* threads; 0: read in the consumer's thread */
    int prefetch;   /* batches ready ahead; 0: 4 */
    bool shuffle;   /* a new permutation each epoch */
    bool drop_last; /* leave out a partial last batch */
    uint64_t seed;
    int channels, size; /* of the images handed out; a sample that ends with another size is an error */
    int repeats; /* repeated augmentation (order.h): so many copies of a sample, each augmented by itself; 0: 1 */
    int views;   /* so many views of each sample, which epochs show in turn; 0: a new one each epoch. Not with mixing */
    int rank, world;            /* this process among those that share an epoch (order.h), with drop_last; world 0: 1 */
    const vst_augment *augment; /* NULL: none. Must outlive the loader */
    double mean[3], std[3];     /* normalisation of the model, for policies that work in its space; std 0: 0 and 1 */
    bool fast_decode;           /* let JPEGs be decoded smaller where a policy shrinks its crop anyway: other pixels */
    vst_mix_options mix;        /* mixup and CutMix: `batch` must be even and partial ones dropped */
    vst_target_options targets; /* classes above 0: batches come with targets */
    bool evaluation; /* without augmentation: images of any size are brought to the evaluation's view (transform.h) */
    double crop_pct; /* of that view; 0: 1 */
    vst_filter filter;
    vst_broken_rule broken;
    bool unlabel_replaced; /* for evaluation: what takes a broken one's place has its index and label -1, so that no
                              image counts twice; otherwise it has the index and label of its own */
} vst_loader_options;

#endif
