/* The order of samples in an epoch and its distribution to processes, computed for each position without lists.
 * Positions are distributed in turn: of three processes, the first gets positions 0, 3, 6 … of the common order, so
 * that the batches of all processes at one step form one larger batch, independent of their number. Thread-safe. */
#ifndef VISTILL_DATASETS_LOADER_ORDER_H
#define VISTILL_DATASETS_LOADER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vst_order {
    uint64_t samples; /* of the data set */
    uint64_t seed;
    bool shuffle; /* a new permutation every epoch */
    int repeats;  /* repeated augmentation, as DeiT's RASampler: an epoch has samples / repeats different samples, each
                     `repeats` times in succession, so that the copies are spread over the processes or share a batch; 0:
                     1 */
    int rank, world; /* index of this process, 0 … world - 1, and number of processes; world 0: 1 */
} vst_order;

typedef struct vst_place {
    uint64_t sample;
    uint32_t copy; /* index of the repetition in this epoch, from 0 */
} vst_place;

/* Number of positions of this process in an epoch, the same for every process: the remainder of the division is
 * dropped. */
uint64_t vst_order_count(const vst_order *order);
/* The sample at position `index`, below vst_order_count. */
vst_place vst_order_at(const vst_order *order, uint32_t epoch, uint64_t index);

#endif
