/* Which sample stands where in an epoch, and in whose part of it: computed for each place alone, without lists. Several
 * processes take turns: of three, the first has places 0, 3, 6 … of the common order, so that the batches of all of
 * them at one step are one larger batch, whatever their number. Thread-safe. */
#ifndef VISTILL_DATASETS_LOADER_ORDER_H
#define VISTILL_DATASETS_LOADER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vst_order {
    uint64_t samples; /* of the data set */
    uint64_t seed;
    bool shuffle; /* a new permutation each epoch */
    int repeats;  /* repeated augmentation, as DeiT's RASampler: an epoch has samples / repeats different samples, each
                     so often  one after the other, so that processes, or one batch, show it side by side; 0: 1 */
    int rank, world; /* this process, 0 … world - 1, among so many; 0: 1 */
} vst_order;

typedef struct vst_place {
    uint64_t sample;
    uint32_t copy; /* which one of its repetitions in this epoch, from 0 */
} vst_place;

/* Places that this process has in an epoch, the same number in each: what is left over when they are dealt out stays
 * out. */
uint64_t vst_order_count(const vst_order *order);
/* Place `index`, below vst_order_count. */
vst_place vst_order_at(const vst_order *order, uint32_t epoch, uint64_t index);

#endif
