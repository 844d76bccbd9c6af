/* Samples that cannot be read: a list per part of a batch and a count for the whole data set. Internal to the loader.
 */
#ifndef VISTILL_DATASETS_LOADER_BROKEN_H
#define VISTILL_DATASETS_LOADER_BROKEN_H

#include "datasets/dataset.h"

/* Number of following samples to try, as in timm's readers. */
enum { VSTI_BROKEN_RETRIES = 20, VSTI_BROKEN_TEXT = 512 };

typedef struct vsti_broken {
    uint64_t sample;
    char text[VSTI_BROKEN_TEXT]; /* why */
} vsti_broken;

/* The broken samples of a part of a batch, filled by a worker. Initialise it with {0}. */
typedef struct vsti_broken_list {
    vsti_broken *items; /* owned */
    size_t count, capacity;
} vsti_broken_list;

/* Adds a sample with the thread's error message. */
VST_NODISCARD vst_status vsti_broken_add(vsti_broken_list *list, uint64_t sample);
void vsti_broken_clear(vsti_broken_list *list);

/* All broken samples of the batches returned so far, each counted once. Initialise it with {0}. */
typedef struct vsti_broken_tally {
    uint64_t *seen; /* one bit per sample of the data set; NULL before the first broken sample; owned */
    uint64_t count; /* of the bits */
} vsti_broken_tally;

/* Adds the list of a batch. `warn`: log new ones. If their fraction of all samples exceeds `limit`, returns an error
 * with the reason of the last one. */
VST_NODISCARD vst_status vsti_broken_take(vsti_broken_tally *tally, const vsti_broken_list *list,
                                          const vst_dataset *dataset, bool warn, double limit);
void vsti_broken_tally_clear(vsti_broken_tally *tally);

#endif
