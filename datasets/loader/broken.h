/* Samples that cannot be read: the list of one batch, and the tally of all. Internal to the loader. */
#ifndef VISTILL_DATASETS_LOADER_BROKEN_H
#define VISTILL_DATASETS_LOADER_BROKEN_H

#include "datasets/dataset.h"

/* How far to go on for a readable sample, as timm's readers do. */
enum { VSTI_BROKEN_RETRIES = 20, VSTI_BROKEN_TEXT = 512 };

typedef struct vsti_broken {
    uint64_t sample;
    char text[VSTI_BROKEN_TEXT]; /* why */
} vsti_broken;

/* Those that a worker met while it filled a batch. Starts as {0}. */
typedef struct vsti_broken_list {
    vsti_broken *items; /* owned */
    size_t count, capacity;
} vsti_broken_list;

/* Adds a sample with the thread's error message. */
VST_NODISCARD vst_status vsti_broken_add(vsti_broken_list *list, uint64_t sample);
void vsti_broken_clear(vsti_broken_list *list);

/* All that the consumer has met, each sample once. Starts as {0}. */
typedef struct vsti_broken_tally {
    uint64_t *seen; /* a bit for each sample of the data set; NULL before the first; owned */
    uint64_t count; /* of the bits */
} vsti_broken_tally;

/* Adds a batch's list. `warn`: new ones are told to the log. More of them than `limit` (a share of all samples) is an
 * error with the last one's reason. */
VST_NODISCARD vst_status vsti_broken_take(vsti_broken_tally *tally, const vsti_broken_list *list,
                                          const vst_dataset *dataset, bool warn, double limit);
void vsti_broken_tally_clear(vsti_broken_tally *tally);

#endif
