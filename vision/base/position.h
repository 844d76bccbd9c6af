/* Where in a training a batch is: what a teacher's cache, schedules and random decisions depend on. */
#ifndef VISTILL_VISION_BASE_POSITION_H
#define VISTILL_VISION_BASE_POSITION_H

#include <stdint.h>

typedef struct vsti_position {
    uint32_t epoch;  /* from 0 */
    uint64_t step;   /* batches of the whole run before this one */
    uint64_t sample; /* place in the epoch of the batch's first image */
} vsti_position;

#endif
