/* The parts of a plan and of its lowering, as the files of this folder share them. Internal to vision/plan. */
#ifndef VISTILL_VISION_PLAN_INTERNAL_H
#define VISTILL_VISION_PLAN_INTERNAL_H

#include "vision/plan/fuse.h"
#include "vision/plan/lowering.h"
#include "vision/plan/plan.h"

/* Lifetimes count nodes: [first, last], both inclusive. Before the first node, at negative times, lies what is
 * prepared. */
typedef struct buffer {
    size_t bytes;
    int first, last;
    int root;       /* itself, or the buffer whose memory this one is a view of */
    size_t shift;   /* bytes from the root's start */
    int last_node;  /* of roots: the last node that reads any value in it */
    bool pinned;    /* of roots: never overwritten (parameters, outputs) */
    void *external; /* memory outside the arena */
    size_t offset;  /* of roots in the arena */
} buffer;

/* One layout in which a value exists. layout NULL: plain. */
typedef struct copy {
    const vsti_layout *layout;
    int buffer, next; /* next copy of the same value, or -1 */
} copy;

typedef struct step {
    vsti_kernel_function *function; /* NULL: a primitive */
    void *arguments;
    void **pointers;
    vsti_primitive *primitive;
    int row;
} step;

typedef struct binding { /* primitive arguments waiting for addresses */
    vsti_primitive *primitive;
    vsti_role role;
    int buffer;
} binding;

typedef struct row { /* of the profile */
    int node, value; /* value: what a reorder moves, or 0 */
    char fused[32];  /* what else the node's step computes: "+norm+add+relu" */
    char implementation[64];
    double flops, bytes, seconds;
} row;

typedef struct step_list {
    step *items;
    size_t count, capacity;
} step_list;

struct vst_plan {
    vst_graph *graph;
    vst_plan_options options;
    char *arena;
    size_t arena_bytes;
    step_list steps, prepare; /* prepare: derived from parameters, run again when they change */
    uint64_t prepared;        /* version of the params that `prepare` saw */
    row *rows;
    size_t row_count, row_capacity;
    uint64_t runs;
    const float **outputs;
    int output_count;
    float **inputs; /* by value id */
    size_t value_count;
};

struct vsti_lowering {
    vst_plan *plan;
    vst_graph *graph;
    vst_status status;
    int node; /* the time: the node in whose place a step is made, or a negative one while preparing */
    int host; /* the node being lowered: `node`, or an earlier one that is fused with it */
    int prepare_time;
    vsti_fusions fusions; /* of optimised plans */
    bool *needed;         /* by node */
    int *last_use;        /* by value: last needed node that reads it; node count for outputs; -1 unused */
    int *gradient_of;     /* by value: parameter whose gradient it is, plus one; the last of several that share it */
    int *first_copy;      /* by value: index in copies or -1 */
    copy *copies;
    size_t copy_count, copy_capacity;
    buffer *buffers;
    size_t buffer_count, buffer_capacity;
    binding *bindings;
    size_t binding_count, binding_capacity;
    vsti_layout **layouts; /* made for values whose steps are kernels of ours; primitives own theirs */
    size_t layout_count, layout_capacity;
};

/* ---- lowering.c ---- */
enum { VSTI_NO_ROW = -1 }; /* of steps that are not part of a run */
/* The buffer whose memory this one is, or is a view of. */
buffer *vsti_root_of(vsti_lowering *lowering, int index);
/* A buffer over memory outside the arena. */
vsti_buffer vsti_external(vsti_lowering *lowering, void *memory);
size_t vsti_value_bytes(const vsti_lowering *lowering, int value, const vsti_layout *layout);
/* Copies whole bytes from one buffer to another, as a step. */
void vsti_copy_step(vsti_lowering *lowering, size_t bytes, vsti_buffer from, vsti_buffer to);

/* ---- arena.c ---- */
/* Packs the lifetimes into one arena and gives primitives, steps, outputs and inputs their addresses. */
VST_NODISCARD vst_status vsti_bind_addresses(vsti_lowering *lowering, const vst_value *outputs);

#endif
