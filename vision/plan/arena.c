/* From lowered steps to addresses: lifetimes packed into one arena. */
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/plan/internal.h"

static _Thread_local const buffer *sorting; /* what larger_first compares: qsort passes no context */
static int larger_first(const void *a, const void *b) {
    const buffer *x = &sorting[*(const int *)a], *y = &sorting[*(const int *)b];
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return *(const int *)a - *(const int *)b;
}

static size_t aligned(size_t bytes) { return (bytes + VST_ALIGNMENT - 1) & ~(size_t)(VST_ALIGNMENT - 1); }

/* The lowest offset where `index` overlaps no placed buffer that lives at the same time. */
static size_t lowest_gap(const buffer *buffers, const int *placed, int placed_count, int index) {
    const buffer *b = &buffers[index];
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < placed_count; i++) {
            const buffer *other = &buffers[placed[i]];
            if (other->last < b->first || b->last < other->first) continue;
            if (offset < other->offset + aligned(other->bytes) && other->offset < offset + aligned(b->bytes)) {
                offset = other->offset + aligned(other->bytes);
                moved = true;
            }
        }
    }
    return offset;
}

/* Packs the lifetimes into one arena, the largest buffers first. */
static vst_status place_buffers(vsti_lowering *lowering) {
    vst_plan *plan = lowering->plan;
    int *order = vst_alloc((lowering->buffer_count + 1) * sizeof *order), count = 0;
    if (!order) return vst_fail_memory(lowering->buffer_count * sizeof *order);
    for (size_t i = 0; i < lowering->buffer_count; i++) {
        buffer *b = &lowering->buffers[i];
        if (plan->options.plain) {
            b->first = 0;
            b->last = (int)lowering->graph->node_count;
        }
        if (b->root == (int)i && !b->external) order[count++] = (int)i;
    }
    sorting = lowering->buffers;
    qsort(order, (size_t)count, sizeof *order, larger_first);
    for (int i = 0; i < count; i++) {
        buffer *b = &lowering->buffers[order[i]];
        b->offset = lowest_gap(lowering->buffers, order, i, order[i]);
        if (b->offset + aligned(b->bytes) > plan->arena_bytes) plan->arena_bytes = b->offset + aligned(b->bytes);
    }
    vst_free(order);
    plan->arena = vst_alloc_aligned(plan->arena_bytes);
    if (!plan->arena) return vst_fail_memory(plan->arena_bytes);
    memset(plan->arena, 0, plan->arena_bytes);
    return VST_OK;
}

static void *address(const vsti_lowering *lowering, int index) {
    if (index < 0) return NULL;
    const buffer *b = &lowering->buffers[index], *root = &lowering->buffers[b->root];
    char *base = root->external ? root->external : lowering->plan->arena + root->offset;
    return base + b->shift;
}

static void resolve_pointers(const vsti_lowering *lowering, const step_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        void **pointer = list->items[i].pointers;
        for (; pointer && (intptr_t)*pointer >= 0; pointer++) *pointer = address(lowering, (int)(intptr_t)*pointer - 1);
    }
}

vst_status vsti_bind_addresses(vsti_lowering *lowering, const vst_value *outputs) {
    vst_plan *plan = lowering->plan;
    vst_status status = place_buffers(lowering);
    if (status != VST_OK) return status;
    for (size_t i = 0; i < lowering->binding_count; i++) {
        const binding *b = &lowering->bindings[i];
        status = vsti_primitive_bind(b->primitive, b->role, address(lowering, b->buffer));
        if (status != VST_OK) return status;
    }
    resolve_pointers(lowering, &plan->steps);
    resolve_pointers(lowering, &plan->prepare);
    for (int i = 0; i < plan->output_count; i++)
        plan->outputs[i] = address(lowering, vsti_read(lowering, outputs[i].id, NULL));
    for (size_t i = 1; i < plan->value_count; i++)
        if (lowering->graph->values[i].kind == VSTI_VALUE_INPUT && lowering->first_copy[i] >= 0)
            plan->inputs[i] = address(lowering, lowering->copies[lowering->first_copy[i]].buffer);
    return VST_OK;
}
