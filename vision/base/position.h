/* The position of a batch in a training run. Teacher caches, schedules and random streams depend on it. */
#ifndef VISTILL_VISION_BASE_POSITION_H
#define VISTILL_VISION_BASE_POSITION_H

#include <stdint.h>

typedef struct vsti_position {
    uint32_t epoch;  /* from 0 */
    uint64_t step;   /* number of batches before this one in the whole run */
    uint64_t sample; /* index in the epoch of the batch's first sample */
} vsti_position;

#endif
