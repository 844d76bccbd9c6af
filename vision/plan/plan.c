/* Plans: lowering every node in order, then liveness, arena and binding; and the run loop. */
#include "vision/plan/plan.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vision/base/memory.h"
#include "vision/base/threads.h"
#include "vision/kernels/kernels.h"
#include "vision/plan/fuse.h"
#include "vision/plan/lowering.h"

/* Lifetimes count nodes: [first, last], both inclusive. Before the first node, at negative times, lies what is prepared. */
typedef struct buffer {
    size_t bytes;
    int first, last;
    int root;      /* itself, or the buffer whose memory this one is a view of */
    size_t shift;  /* bytes from the root's start */
    int last_node; /* of roots: the last node that reads any value in it */
    bool pinned;   /* of roots: never overwritten (parameters, outputs) */
    void *external; /* memory outside the arena */
    size_t offset; /* of roots in the arena */
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
    int node;        /* the time: the node in whose place a step is made, or a negative one while preparing */
    int host;        /* the node being lowered: `node`, or an earlier one that is fused with it */
    int prepare_time;
    vsti_fusions fusions; /* of optimised plans */
    bool *needed;    /* by node */
    int *last_use;   /* by value: last needed node that reads it; node count for outputs; -1 unused */
    int *gradient_of; /* by value: parameter whose gradient it is, plus one; the last of several that share it */
    int *first_copy; /* by value: index in copies or -1 */
    copy *copies;
    size_t copy_count, copy_capacity;
    buffer *buffers;
    size_t buffer_count, buffer_capacity;
    binding *bindings;
    size_t binding_count, binding_capacity;
    vsti_layout **layouts; /* made for values whose steps are kernels of ours; primitives own theirs */
    size_t layout_count, layout_capacity;
};

/* ---- the operations' view ---------------------------------------------------------------------------------------- */

const vst_graph *vsti_lowering_graph(const vsti_lowering *lowering) { return lowering->graph; }
bool vsti_is_training(const vsti_lowering *lowering) { return lowering->plan->options.mode == VST_TRAIN; }
bool vsti_is_plain(const vsti_lowering *lowering) { return lowering->plan->options.plain; }
bool vsti_is_used(const vsti_lowering *lowering, int value) { return lowering->last_use[value] >= 0; }

void vsti_lowering_fail(vsti_lowering *lowering, vst_status status) {
    if (lowering->status != VST_OK || status == VST_OK) return;
    const vsti_node *node = lowering->host < (int)lowering->graph->node_count
                                ? &lowering->graph->nodes[lowering->host] : NULL;
    lowering->status = node ? vst_fail_in(status, "planning %s %s", node->name, node->operation->name) : status;
}

const char *vsti_kernel_name(void) {
    static char name[32];
    if (!name[0]) snprintf(name, sizeof name, "vistill:%s", vsti_get_kernels()->isa);
    return name;
}

static vsti_buffer new_buffer(vsti_lowering *lowering, size_t bytes) {
    if (lowering->status != VST_OK) return VSTI_NO_BUFFER;
    vst_status status = vst_grow(&lowering->buffers, &lowering->buffer_capacity, lowering->buffer_count + 1,
                                 sizeof *lowering->buffers);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const int index = (int)lowering->buffer_count++;
    lowering->buffers[index] = (buffer){.bytes = bytes, .first = lowering->node, .last = lowering->node, .root = index,
                                        .last_node = lowering->node};
    return index;
}

static buffer *root_of(vsti_lowering *lowering, int index) {
    return &lowering->buffers[lowering->buffers[index].root];
}

/* Records that the value exists in `index` with this layout, and how long its memory is needed for that. */
static void bind_value(vsti_lowering *lowering, int value, const vsti_layout *layout, vsti_buffer index) {
    if (index < 0 || lowering->status != VST_OK) return;
    vst_status status = vst_grow(&lowering->copies, &lowering->copy_capacity, lowering->copy_count + 1,
                                 sizeof *lowering->copies);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    int *tail = &lowering->first_copy[value];
    while (*tail >= 0) tail = &lowering->copies[*tail].next;
    *tail = (int)lowering->copy_count;
    lowering->copies[lowering->copy_count++] = (copy){layout, index, -1};
    buffer *root = root_of(lowering, index);
    if (lowering->last_use[value] > root->last_node) root->last_node = lowering->last_use[value];
}

static bool same_layout(const vsti_layout *a, const vsti_layout *b) {
    return a == b || (a && b && vsti_layout_equal(a, b));
}

static size_t value_bytes(const vsti_lowering *lowering, int value, const vsti_layout *layout) {
    if (layout) return vsti_layout_bytes(layout);
    return (size_t)vst_shape_count(vsti_shape(lowering->graph, value)) * sizeof(float);
}

/* Parameters and inputs appear when they are first read. */
static void materialise(vsti_lowering *lowering, int value) {
    if (lowering->first_copy[value] >= 0 || lowering->status != VST_OK) return;
    const vsti_value *v = &lowering->graph->values[value];
    VST_ASSERT(v->kind != VSTI_VALUE_NODE);
    vsti_buffer index = new_buffer(lowering, value_bytes(lowering, value, NULL));
    if (index < 0) return;
    buffer *b = &lowering->buffers[index];
    b->first = INT_MIN; /* the caller fills an input before the run, and so before what a run prepares first */
    if (v->kind == VSTI_VALUE_PARAM) {
        b->external = vst_params_values(lowering->graph->params) +
                      vst_params_at(lowering->graph->params, (size_t)v->parameter)->offset;
        b->pinned = true;
    }
    bind_value(lowering, value, NULL, index);
}

static void touch(vsti_lowering *lowering, int index) {
    buffer *root = root_of(lowering, index);
    if (root->last < lowering->node) root->last = lowering->node;
}

const vsti_layout *vsti_layout_of(const vsti_lowering *lowering, int value) {
    const int first = lowering->first_copy[value];
    return first < 0 ? NULL : lowering->copies[first].layout;
}

const vsti_layout *vsti_channel_layout(vsti_lowering *lowering, int value, int64_t block) {
    vsti_layout *layout = NULL;
    if (lowering->status != VST_OK) return NULL;
    vst_status status = vst_grow(&lowering->layouts, &lowering->layout_capacity, lowering->layout_count + 1,
                                 sizeof(vsti_layout *));
    if (status == VST_OK) status = vsti_layout_channels(&layout, vsti_shape(lowering->graph, value), block);
    vsti_lowering_fail(lowering, status);
    if (layout) lowering->layouts[lowering->layout_count++] = layout;
    return layout;
}

static int new_row(vsti_lowering *lowering, int value) {
    vst_plan *plan = lowering->plan;
    vst_status status = vst_grow(&plan->rows, &plan->row_capacity, plan->row_count + 1, sizeof *plan->rows);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return 0;
    }
    plan->rows[plan->row_count] = (row){.node = lowering->host, .value = value};
    return (int)plan->row_count++;
}

enum { NO_ROW = -1 }; /* of steps that are not part of a run */

/* A node of several steps shows the implementation of its primitive, if it has one. */
static step *new_step(vsti_lowering *lowering, step_list *list, const char *implementation, int row_index,
                      bool primitive) {
    if (lowering->status != VST_OK) return NULL;
    vst_status status = vst_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return NULL;
    }
    row *r = row_index == NO_ROW ? NULL : &lowering->plan->rows[row_index];
    if (r && (!r->implementation[0] || primitive)) snprintf(r->implementation, sizeof r->implementation, "%s", implementation);
    list->items[list->count] = (step){.row = row_index};
    return &list->items[list->count++];
}

static void bind_argument(vsti_lowering *lowering, vsti_primitive *primitive, vsti_role role, vsti_buffer index) {
    if (lowering->status != VST_OK) return;
    VST_ASSERT(index >= 0);
    vst_status status = vst_grow(&lowering->bindings, &lowering->binding_capacity, lowering->binding_count + 1,
                                 sizeof *lowering->bindings);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    touch(lowering, index);
    lowering->bindings[lowering->binding_count++] = (binding){primitive, role, index};
}

static void add_primitive(vsti_lowering *lowering, step_list *list, int row_index, vsti_primitive *primitive,
                          const vsti_argument *arguments, int count) {
    step *s = primitive ? new_step(lowering, list, vsti_primitive_implementation(primitive), row_index, true) : NULL;
    if (!s) {
        vsti_primitive_destroy(primitive);
        return;
    }
    s->primitive = primitive;
    for (int i = 0; i < count; i++)
        if (arguments[i].buffer >= 0) bind_argument(lowering, primitive, arguments[i].role, arguments[i].buffer);
    const size_t scratch = vsti_primitive_bytes(primitive, VSTI_SCRATCHPAD);
    if (scratch) {
        vsti_buffer pad = vsti_scratch(lowering, scratch);
        if (pad >= 0) bind_argument(lowering, primitive, VSTI_SCRATCHPAD, pad);
    }
}

/* Moves to a time before the first node, each call to a later one; gives the time to come back to. */
static int begin_preparing(vsti_lowering *lowering) {
    const int now = lowering->node;
    lowering->node = lowering->prepare_time++;
    return now;
}

vsti_buffer vsti_prepared(vsti_lowering *lowering, size_t bytes) {
    const int now = begin_preparing(lowering);
    vsti_buffer index = new_buffer(lowering, bytes);
    lowering->node = now;
    if (index < 0) return index;
    lowering->buffers[index].last = (int)lowering->graph->node_count;
    lowering->buffers[index].pinned = true;
    return index;
}

void vsti_give_up_prepared(vsti_lowering *lowering, vsti_buffer index) {
    if (lowering->status == VST_OK) lowering->buffers[index].last = lowering->prepare_time - 1;
}

static void prepare_primitive(vsti_lowering *lowering, vsti_primitive *primitive, vsti_buffer from, vsti_buffer to) {
    const int now = begin_preparing(lowering);
    const vsti_argument arguments[] = {{VSTI_SRC, from}, {VSTI_DST, to}};
    add_primitive(lowering, &lowering->plan->prepare, NO_ROW, primitive, arguments, 2);
    lowering->node = now;
}

vsti_buffer vsti_prepare_reorder(vsti_lowering *lowering, vsti_buffer source, const vst_shape *shape,
                                 const vsti_layout *from, const vsti_layout *wanted) {
    vsti_primitive *primitive;
    if (same_layout(from, wanted) || lowering->status != VST_OK) return source;
    vst_status status = vsti_reorder_create(&primitive, shape, from, wanted);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const size_t plain_bytes = (size_t)vst_shape_count(shape) * sizeof(float);
    vsti_buffer target = vsti_prepared(lowering, wanted ? vsti_layout_bytes(wanted) : plain_bytes);
    prepare_primitive(lowering, primitive, source, target);
    vsti_give_up_prepared(lowering, source);
    return target;
}

/* A reorder of `value` from `source` into a new buffer. */
static vsti_buffer reorder(vsti_lowering *lowering, int value, const copy *source, const vsti_layout *wanted) {
    vsti_primitive *primitive;
    vst_plan *plan = lowering->plan;
    const copy from = *source; /* adding a copy may move the array */
    vst_status status = vsti_reorder_create(&primitive, vsti_shape(lowering->graph, value), from.layout, wanted);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    /* An inference plan packs its parameters once, into memory of their own. */
    const bool packed = lowering->graph->values[value].kind == VSTI_VALUE_PARAM && plan->options.mode == VST_INFER;
    const size_t bytes = value_bytes(lowering, value, wanted);
    vsti_buffer target = packed ? vsti_prepared(lowering, bytes) : new_buffer(lowering, bytes);
    const vsti_layout *layout = vsti_primitive_layout(primitive, VSTI_DST);
    const vsti_argument arguments[] = {{VSTI_SRC, from.buffer}, {VSTI_DST, target}};
    if (packed) prepare_primitive(lowering, primitive, from.buffer, target);
    else add_primitive(lowering, &plan->steps, new_row(lowering, value), primitive, arguments, 2);
    bind_value(lowering, value, layout, target);
    return target;
}

vsti_buffer vsti_read(vsti_lowering *lowering, int value, const vsti_layout *wanted) {
    materialise(lowering, value);
    if (lowering->status != VST_OK) return VSTI_NO_BUFFER;
    for (int i = lowering->first_copy[value]; i >= 0; i = lowering->copies[i].next)
        if (same_layout(lowering->copies[i].layout, wanted)) {
            touch(lowering, lowering->copies[i].buffer);
            return lowering->copies[i].buffer;
        }
    return reorder(lowering, value, &lowering->copies[lowering->first_copy[value]], wanted);
}

vsti_buffer vsti_write(vsti_lowering *lowering, int value, const vsti_layout *layout) {
    vsti_buffer index = new_buffer(lowering, value_bytes(lowering, value, layout));
    if (index < 0) return index;
    const int parameter = lowering->gradient_of[value];
    if (parameter && !layout) {
        buffer *b = &lowering->buffers[index];
        b->external = vst_params_gradients(lowering->graph->params) +
                      vst_params_at(lowering->graph->params, (size_t)parameter - 1)->offset;
        b->pinned = true;
    }
    bind_value(lowering, value, layout, index);
    return index;
}

vsti_buffer vsti_write_bytes(vsti_lowering *lowering, int value, size_t bytes) {
    vsti_buffer index = new_buffer(lowering, bytes);
    bind_value(lowering, value, NULL, index);
    return index;
}

/* Does the node being lowered read the memory of `index` through another value too: a view of it? A residual must not be any
 * input of the product that it is added to. */
static bool read_elsewhere(const vsti_lowering *lowering, int input, vsti_buffer index) {
    const vsti_node *node = &lowering->graph->nodes[lowering->host];
    const bool residual = vsti_fused(lowering, node).residual == input;
    const int root = lowering->buffers[index].root;
    for (int k = 0; k < node->input_count; k++) {
        if (node->inputs[k] == input && !residual) continue;
        for (int i = lowering->first_copy[node->inputs[k]]; i >= 0; i = lowering->copies[i].next)
            if (lowering->buffers[lowering->copies[i].buffer].root == root) return true;
    }
    return false;
}

vsti_buffer vsti_write_over(vsti_lowering *lowering, int value, int input, const vsti_layout *layout) {
    vsti_buffer index = vsti_read(lowering, input, layout);
    if (index < 0) return index;
    const buffer *root = root_of(lowering, index);
    const bool free_now = !root->pinned && root->last_node <= lowering->node && !lowering->plan->options.plain &&
                          !read_elsewhere(lowering, input, index);
    if (!free_now || lowering->gradient_of[value]) return vsti_write(lowering, value, layout);
    bind_value(lowering, value, layout, index);
    return index;
}

static void run_copy(void *const *buffers, const void *arguments, const vsti_run *run) {
    (void)run;
    memcpy(buffers[1], buffers[0], *(const size_t *)arguments);
}

vsti_buffer vsti_write_sum(vsti_lowering *lowering, int value, int addend, const vsti_layout *layout) {
    const vsti_buffer in = vsti_read(lowering, addend, layout), out = vsti_write_over(lowering, value, addend, layout);
    const size_t bytes = value_bytes(lowering, addend, layout);
    if (in != out) vsti_kernel_step(lowering, "copy", run_copy, &bytes, sizeof bytes, (vsti_buffer[]){in, out}, 2);
    return out;
}

void vsti_alias(vsti_lowering *lowering, int value, int input, int64_t offset) {
    vsti_buffer source = vsti_read(lowering, input, NULL);
    vsti_buffer index = new_buffer(lowering, value_bytes(lowering, value, NULL));
    if (index < 0) return;
    buffer *b = &lowering->buffers[index];
    b->root = lowering->buffers[source].root;
    b->shift = lowering->buffers[source].shift + (size_t)offset * sizeof(float);
    bind_value(lowering, value, NULL, index);
}

vsti_buffer vsti_scratch(vsti_lowering *lowering, size_t bytes) { return new_buffer(lowering, bytes); }

vsti_fusion vsti_fused(const vsti_lowering *lowering, const vsti_node *node) {
    const int index = (int)(node - lowering->graph->nodes);
    const vsti_fusions *fusions = &lowering->fusions;
    if (!fusions->host || fusions->host[index] != index) return (vsti_fusion){.output = node->outputs[0]};
    return fusions->fusion[index];
}

static void describe_fusion(const vsti_lowering *lowering, row *r) {
    const vsti_fusion f = vsti_fused(lowering, &lowering->graph->nodes[lowering->host]);
    const char *activation = f.activation ? f.activation->operation->name : "";
    snprintf(r->fused, sizeof r->fused, "%s%s%s%s", f.norm ? "+norm" : "", f.residual ? "+add" : "", *activation ? "+" : "",
             activation);
}

/* The profile row of the node being lowered: made with its first step. */
static int node_row(vsti_lowering *lowering) {
    vst_plan *plan = lowering->plan;
    for (size_t i = plan->row_count; i-- > 0 && plan->rows[i].node == lowering->host;)
        if (!plan->rows[i].value) return (int)i;
    const int index = new_row(lowering, 0);
    if (lowering->status == VST_OK && lowering->host < (int)lowering->graph->node_count)
        describe_fusion(lowering, &plan->rows[index]);
    return index;
}

static void add_kernel(vsti_lowering *lowering, step_list *list, int row_index, const char *implementation,
                       vsti_kernel_function *function, const void *arguments, size_t argument_bytes,
                       const vsti_buffer *buffers, int buffer_count) {
    step *s = new_step(lowering, list, implementation, row_index, false);
    if (!s) return;
    s->function = function;
    s->arguments = vst_alloc(argument_bytes);
    s->pointers = vst_calloc((size_t)buffer_count + 1, sizeof *s->pointers);
    if (!s->arguments || !s->pointers) {
        vsti_lowering_fail(lowering, vst_fail_memory(argument_bytes));
        return;
    }
    if (argument_bytes) memcpy(s->arguments, arguments, argument_bytes);
    for (int i = 0; i < buffer_count; i++) {
        s->pointers[i] = (void *)(intptr_t)(buffers[i] + 1); /* replaced by the address once that is known */
        if (buffers[i] >= 0) touch(lowering, buffers[i]);
    }
    s->pointers[buffer_count] = (void *)(intptr_t)-1;
}

void vsti_kernel_step(vsti_lowering *lowering, const char *implementation, vsti_kernel_function *function,
                      const void *arguments, size_t argument_bytes, const vsti_buffer *buffers, int buffer_count) {
    if (lowering->status != VST_OK) return;
    add_kernel(lowering, &lowering->plan->steps, node_row(lowering), implementation, function, arguments, argument_bytes,
               buffers, buffer_count);
}

void vsti_prepare_step(vsti_lowering *lowering, vsti_kernel_function *function, const void *arguments,
                       size_t argument_bytes, const vsti_buffer *buffers, int buffer_count) {
    if (lowering->status != VST_OK) return;
    const int now = begin_preparing(lowering);
    add_kernel(lowering, &lowering->plan->prepare, NO_ROW, "", function, arguments, argument_bytes, buffers, buffer_count);
    lowering->node = now;
}

void vsti_primitive_step(vsti_lowering *lowering, vsti_primitive *primitive, const vsti_argument *arguments, int count) {
    if (lowering->status != VST_OK) {
        vsti_primitive_destroy(primitive);
        return;
    }
    add_primitive(lowering, &lowering->plan->steps, node_row(lowering), primitive, arguments, count);
}

/* ---- from lowered steps to addresses ----------------------------------------------------------------------------- */

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

static vst_status bind_addresses(vsti_lowering *lowering, const vst_value *outputs) {
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

/* ---- which nodes, in which order --------------------------------------------------------------------------------- */

static void need(vsti_lowering *lowering, int value, int reader) {
    if (lowering->last_use[value] < reader) lowering->last_use[value] = reader;
    if (lowering->graph->values[value].kind == VSTI_VALUE_NODE)
        lowering->needed[lowering->graph->values[value].node] = true;
}

/* Nodes are in a valid order as they were built; only the needed ones are lowered. */
static void mark_needed(vsti_lowering *lowering, const vst_value *outputs, int output_count) {
    const vst_graph *graph = lowering->graph;
    const int end = (int)graph->node_count;
    for (int i = 0; i < output_count; i++) need(lowering, outputs[i].id, end);
    if (vsti_is_training(lowering))
        for (size_t i = 1; i < graph->value_count; i++) {
            const vsti_value *value = &graph->values[i];
            if (value->kind != VSTI_VALUE_PARAM || !value->gradient) continue;
            need(lowering, value->gradient, end);
            lowering->gradient_of[value->gradient] = value->parameter + 1;
        }
    for (int i = end; i-- > 0;) {
        if (!lowering->needed[i]) continue;
        for (int k = 0; k < graph->nodes[i].input_count; k++) need(lowering, graph->nodes[i].inputs[k], i);
    }
}

/* Outputs become plain and stay; gradients that were not written straight into the bucket are brought there. */
static void finish_values(vsti_lowering *lowering, const vst_value *outputs, int output_count) {
    const vst_graph *graph = lowering->graph;
    for (size_t i = 1; i < graph->value_count && vsti_is_training(lowering); i++) {
        const vsti_value *value = &graph->values[i];
        if (value->kind != VSTI_VALUE_PARAM || !value->gradient || lowering->status != VST_OK) continue;
        float *target =
            vst_params_gradients(graph->params) + vst_params_at(graph->params, (size_t)value->parameter)->offset;
        vsti_buffer source = vsti_read(lowering, value->gradient, NULL);
        if (source < 0 || root_of(lowering, source)->external == target) continue;
        vsti_buffer bucket = new_buffer(lowering, 0);
        if (bucket < 0) return;
        lowering->buffers[bucket].external = target;
        const size_t bytes = value_bytes(lowering, (int)i, NULL);
        vsti_kernel_step(lowering, "copy", run_copy, &bytes, sizeof bytes, (vsti_buffer[]){source, bucket}, 2);
    }
    for (int i = 0; i < output_count; i++) {
        vsti_buffer index = vsti_read(lowering, outputs[i].id, NULL);
        if (index >= 0) root_of(lowering, index)->pinned = true;
    }
}

/* Finds what an optimised plan fuses. What a fused step reads must last until the step's place. */
static void fuse_nodes(vsti_lowering *lowering) {
    const vst_graph *graph = lowering->graph;
    vsti_fusions *fusions = &lowering->fusions;
    if (vsti_is_plain(lowering)) return;
    bool *kept = vst_calloc(graph->value_count, sizeof *kept);
    for (size_t i = 0; kept && i < graph->value_count; i++) kept[i] = lowering->last_use[i] == (int)graph->node_count;
    vsti_lowering_fail(lowering, kept ? vsti_fusions_find(fusions, graph, lowering->needed, kept, vsti_is_training(lowering))
                                      : vst_fail_memory(graph->value_count));
    vst_free(kept);
    for (int i = 0; i < (int)graph->node_count && lowering->status == VST_OK; i++)
        for (int k = 0; fusions->host[i] == i && k < graph->nodes[i].input_count; k++)
            need(lowering, graph->nodes[i].inputs[k], fusions->last[i]);
}

/* The node to be lowered in the place of node `index`, or -1: another place makes its step. */
static int host_at(const vsti_lowering *lowering, int index) {
    const vsti_fusions *fusions = &lowering->fusions;
    if (!lowering->needed[index]) return -1;
    if (!fusions->host || fusions->host[index] < 0) return index;
    return fusions->last[fusions->host[index]] == index ? fusions->host[index] : -1;
}

static void lower_nodes(vsti_lowering *lowering) {
    const vst_graph *graph = lowering->graph;
    const int end = (int)graph->node_count;
    for (lowering->node = 0; lowering->node < end && lowering->status == VST_OK; lowering->node++) {
        lowering->host = host_at(lowering, lowering->node);
        if (lowering->host < 0) continue;
        const vsti_node *node = &graph->nodes[lowering->host];
        node->operation->lower(lowering, node);
        const int written = vsti_fused(lowering, node).output;
        if (lowering->status == VST_OK && lowering->last_use[written] >= 0) VST_ASSERT(lowering->first_copy[written] >= 0);
    }
    lowering->host = end;
}

/* Fills what the profile says about each row apart from its time. */
static void describe_rows(vst_plan *plan) {
    const vst_graph *graph = plan->graph;
    for (size_t i = 0; i < plan->row_count; i++) {
        row *r = &plan->rows[i];
        if (r->value || r->node >= (int)graph->node_count) {
            const int value = r->value ? r->value : 0;
            r->bytes = value ? 2.0 * sizeof(float) * (double)vst_shape_count(vsti_shape(graph, value)) : 0;
            continue;
        }
        const vsti_node *node = &graph->nodes[r->node];
        if (node->operation->flops) r->flops = node->operation->flops(graph, node);
        for (int k = 0; k < node->input_count; k++)
            r->bytes += sizeof(float) * (double)vst_shape_count(vsti_shape(graph, node->inputs[k]));
        r->bytes += sizeof(float) * (double)vst_shape_count(vsti_shape(graph, node->outputs[0]));
    }
}

static vst_status allocate_tables(vsti_lowering *lowering) {
    vst_plan *plan = lowering->plan;
    const size_t values = lowering->graph->value_count, nodes = lowering->graph->node_count;
    lowering->needed = vst_calloc(nodes + 1, sizeof *lowering->needed);
    lowering->last_use = vst_alloc(values * sizeof(int));
    lowering->first_copy = vst_alloc(values * sizeof(int));
    lowering->gradient_of = vst_calloc(values, sizeof(int));
    plan->outputs = vst_calloc((size_t)plan->output_count + 1, sizeof *plan->outputs);
    plan->inputs = vst_calloc(values, sizeof *plan->inputs);
    if (!lowering->needed || !lowering->last_use || !lowering->first_copy || !lowering->gradient_of || !plan->outputs ||
        !plan->inputs)
        return vst_fail_memory(values * sizeof(int));
    for (size_t i = 0; i < values; i++) lowering->last_use[i] = lowering->first_copy[i] = -1;
    return VST_OK;
}

static vst_status check_request(const vst_graph *graph, const vst_value *outputs, int output_count,
                                const vst_plan_options *options) {
    for (int i = 0; i < output_count; i++)
        if (!outputs[i].id) return vst_fail(VST_ERROR_ARGUMENT, "output %d of the plan is the null value", i);
    if (!vst_params_values(graph->params) && vst_params_count(graph->params))
        return vst_fail(VST_ERROR_ARGUMENT, "the parameters are not allocated: call vst_params_allocate first");
    if (options->mode == VST_TRAIN && graph->differentiated && !vst_params_gradients(graph->params))
        return vst_fail(VST_ERROR_ARGUMENT, "the parameters have no gradients: call vst_params_allocate with gradients");
    return VST_OK;
}

vst_status vst_plan_create(vst_plan **out, vst_graph *graph, const vst_value *outputs, int output_count,
                           const vst_plan_options *options) {
    *out = NULL;
    vst_status status = vst_graph_finish(graph);
    if (status == VST_OK) status = check_request(graph, outputs, output_count, options);
    if (status != VST_OK) return status;
    vst_plan *plan = vst_calloc(1, sizeof *plan);
    if (!plan) return vst_fail_memory(sizeof *plan);
    plan->graph = graph;
    plan->options = *options;
    plan->output_count = output_count;
    plan->value_count = graph->value_count;
    vsti_lowering lowering = {.plan = plan, .graph = graph, .prepare_time = INT_MIN / 2};
    VST_TRY(allocate_tables(&lowering));
    mark_needed(&lowering, outputs, output_count);
    fuse_nodes(&lowering);
    lower_nodes(&lowering);
    finish_values(&lowering, outputs, output_count);
    VST_TRY(lowering.status);
    VST_TRY(bind_addresses(&lowering, outputs));
    describe_rows(plan);
out:
    vsti_fusions_clear(&lowering.fusions);
    vst_free(lowering.needed);
    vst_free(lowering.last_use);
    vst_free(lowering.first_copy);
    vst_free(lowering.gradient_of);
    vst_free(lowering.copies);
    vst_free(lowering.buffers);
    vst_free(lowering.bindings);
    for (size_t i = 0; i < lowering.layout_count; i++) vsti_layout_destroy(lowering.layouts[i]);
    vst_free(lowering.layouts);
    if (status == VST_OK) *out = plan;
    else vst_plan_destroy(plan);
    return status;
}

static void free_steps(step_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        vsti_primitive_destroy(list->items[i].primitive);
        vst_free(list->items[i].arguments);
        vst_free(list->items[i].pointers);
    }
    vst_free(list->items);
}

void vst_plan_destroy(vst_plan *plan) {
    if (!plan) return;
    free_steps(&plan->steps);
    free_steps(&plan->prepare);
    vst_free(plan->arena);
    vst_free(plan->rows);
    vst_free(plan->outputs);
    vst_free(plan->inputs);
    vst_free(plan);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

float *vst_plan_input(vst_plan *plan, const char *name) {
    for (size_t i = 1; i < plan->value_count; i++) {
        const vsti_value *value = &plan->graph->values[i];
        if (value->kind == VSTI_VALUE_INPUT && strcmp(value->name, name) == 0) return plan->inputs[i];
    }
    return NULL;
}

const float *vst_plan_output(const vst_plan *plan, int index) {
    return index >= 0 && index < plan->output_count ? plan->outputs[index] : NULL;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static vst_status run_steps(vst_plan *plan, const step_list *list, const vsti_run *run) {
    for (size_t i = 0; i < list->count; i++) {
        const step *s = &list->items[i];
        const double start = plan->options.profile ? now() : 0;
        if (s->function) {
            s->function(s->pointers, s->arguments, run);
        } else {
            vst_status status = vsti_primitive_run(s->primitive);
            if (status != VST_OK) return status;
        }
        if (plan->options.profile && s->row != NO_ROW) plan->rows[s->row].seconds += now() - start;
    }
    return VST_OK;
}

vst_status vst_plan_run(vst_plan *plan, uint32_t step_number) {
    const vsti_run run = {plan->options.seed, step_number};
    const uint64_t version = vst_params_version(plan->graph->params) + 1; /* 0: never prepared */
    if (plan->prepared != version) {
        vst_status status = run_steps(plan, &plan->prepare, &run);
        if (status != VST_OK) return status;
        plan->prepared = version;
    }
    plan->runs++;
    vsti_threads_adapt();
    const vst_status status = run_steps(plan, &plan->steps, &run);
    vsti_threads_ran();
    return status;
}

/* ---- profile ----------------------------------------------------------------------------------------------------- */

size_t vst_plan_profile_count(const vst_plan *plan) { return plan->row_count; }
size_t vst_plan_bytes(const vst_plan *plan) { return plan->arena_bytes; }

void vst_plan_profile_reset(vst_plan *plan) {
    plan->runs = 0;
    for (size_t i = 0; i < plan->row_count; i++) plan->rows[i].seconds = 0;
}

double vst_plan_flops(const vst_plan *plan) {
    double flops = 0;
    for (size_t i = 0; i < plan->row_count; i++) flops += plan->rows[i].flops;
    return flops;
}

void vst_plan_profile_at(const vst_plan *plan, size_t index, vst_profile_row *out) {
    const row *r = &plan->rows[index];
    const vst_graph *graph = plan->graph;
    const vsti_node *node = r->node < (int)graph->node_count ? &graph->nodes[r->node] : NULL;
    const char *operation = r->value ? "reorder" : node ? node->operation->name : "gradient copy";
    *out = (vst_profile_row){.bytes = r->bytes, .flops = r->flops, .backward = !node || node->backward};
    snprintf(out->name, sizeof out->name, "%s %s%s", node ? node->name : "", operation, r->fused);
    snprintf(out->implementation, sizeof out->implementation, "%s", r->implementation);
    const int shown = r->value ? r->value : node ? node->outputs[0] : 0;
    vst_shape_text(vsti_shape(graph, shown), out->shape);
    if (plan->runs) out->seconds = r->seconds / (double)plan->runs;
}
