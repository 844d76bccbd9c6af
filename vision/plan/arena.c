/* Assigns buffers to offsets of the arena by their lifetimes. */
#include <stdlib.h>

#include "vision/base/memory.h"
#include "vision/plan/internal.h"

typedef struct sized { /* a buffer in the arena that is not a view */
    size_t bytes;
    int index;
} sized;

static int larger_first(const void *a, const void *b) {
    const sized *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->index - y->index;
}

static size_t aligned(size_t bytes) { return (bytes + VST_ALIGNMENT - 1) & ~(size_t)(VST_ALIGNMENT - 1); }

/* The lowest offset at which `index` overlaps no placed buffer with an overlapping lifetime. */
static size_t lowest_gap(const buffer *buffers, const sized *placed, int placed_count, int index) {
    const buffer *b = &buffers[index];
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < placed_count; i++) {
            const buffer *other = &buffers[placed[i].index];
            if (other->last < b->first || b->last < other->first) continue;
            const size_t end = other->at.offset + aligned(other->bytes);
            if (offset < end && other->at.offset < offset + aligned(b->bytes)) {
                offset = end;
                moved = true;
            }
        }
    }
    return offset;
}

/* Largest buffers first. */
vst_status vsti_place_buffers(vsti_lowering *lowering) {
    vst_program *program = lowering->program;
    int count = 0;
    sized *order = vst_alloc((lowering->buffer_count + 1) * sizeof *order);
    if (!order) return vst_fail_memory(lowering->buffer_count * sizeof *order);
    for (size_t i = 0; i < lowering->buffer_count; i++) {
        buffer *b = &lowering->buffers[i];
        if (program->plain) {
            b->first = -1;
            b->last = (int)lowering->graph->node_count;
        }
        if (b->root == (int)i && b->at.space == SPACE_ARENA) order[count++] = (sized){b->bytes, (int)i};
    }
    qsort(order, (size_t)count, sizeof *order, larger_first);
    for (int i = 0; i < count; i++) {
        buffer *b = &lowering->buffers[order[i].index];
        b->at.offset = lowest_gap(lowering->buffers, order, i, order[i].index);
        if (b->at.offset + aligned(b->bytes) > program->arena_bytes)
            program->arena_bytes = b->at.offset + aligned(b->bytes);
    }
    vst_free(order);
    return VST_OK;
}
