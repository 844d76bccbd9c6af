/* The order of an epoch: a permutation of the samples, each repeated, distributed to the processes in turn. */
#include "datasets/loader/order.h"

#include "vision/base/random.h"

static uint64_t at_least_one(int value) { return value > 1 ? (uint64_t)value : 1; }

uint64_t vst_order_count(const vst_order *order) {
    const uint64_t repeats = at_least_one(order->repeats);
    return order->samples / repeats * repeats / at_least_one(order->world);
}

vst_place vst_order_at(const vst_order *order, uint32_t epoch, uint64_t index) {
    const uint64_t repeats = at_least_one(order->repeats);
    const uint64_t place = index * at_least_one(order->world) + (uint64_t)order->rank, element = place / repeats;
    return (vst_place){
        .sample = order->shuffle ? vst_random_permute(order->seed, epoch, order->samples, element) : element,
        .copy = (uint32_t)(place % repeats)};
}
