/* A plan under construction as operations see it: values in their layouts, memory, steps. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"
#include "vision/plan/internal.h"

const vst_graph *vsti_lowering_graph(const vsti_lowering *lowering) { return lowering->graph; }
bool vsti_is_training(const vsti_lowering *lowering) { return lowering->plan->options.mode == VST_TRAIN; }
bool vsti_is_plain(const vsti_lowering *lowering) { return lowering->plan->options.plain; }
bool vsti_is_used(const vsti_lowering *lowering, int value) { return lowering->last_use[value] >= 0; }

void vsti_lowering_fail(vsti_lowering *lowering, vst_status status) {
    if (lowering->status != VST_OK || status == VST_OK) return;
    const vsti_node *node =
        lowering->host < (int)lowering->graph->node_count ? &lowering->graph->nodes[lowering->host] : NULL;
    lowering->status = node ? vst_fail_in(status, "planning %s %s", node->name, node->operation->name) : status;
}

const char *vsti_kernel_name(void) {
    static char name[32];
    if (!name[0]) snprintf(name, sizeof name, "vistill:%s", vsti_get_kernels()->isa);
    return name;
}

static vsti_buffer new_buffer(vsti_lowering *lowering, size_t bytes) {
    if (lowering->status != VST_OK) return VSTI_NO_BUFFER;
    vst_status status =
        vst_grow(&lowering->buffers, &lowering->buffer_capacity, lowering->buffer_count + 1, sizeof *lowering->buffers);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const int index = (int)lowering->buffer_count++;
    lowering->buffers[index] = (buffer){
        .bytes = bytes, .first = lowering->node, .last = lowering->node, .root = index, .last_node = lowering->node};
    return index;
}

vsti_buffer vsti_external(vsti_lowering *lowering, void *memory) {
    const vsti_buffer index = new_buffer(lowering, 0);
    if (index >= 0) lowering->buffers[index].external = memory;
    return index;
}

buffer *vsti_root_of(vsti_lowering *lowering, int index) { return &lowering->buffers[lowering->buffers[index].root]; }

/* Records that the value exists in `index` with this layout, and how long its memory is needed for that. */
static void bind_value(vsti_lowering *lowering, int value, const vsti_layout *layout, vsti_buffer index) {
    if (index < 0 || lowering->status != VST_OK) return;
    vst_status status =
        vst_grow(&lowering->copies, &lowering->copy_capacity, lowering->copy_count + 1, sizeof *lowering->copies);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    int *tail = &lowering->first_copy[value];
    while (*tail >= 0) tail = &lowering->copies[*tail].next;
    *tail = (int)lowering->copy_count;
    lowering->copies[lowering->copy_count++] = (copy){layout, index, -1};
    buffer *root = vsti_root_of(lowering, index);
    if (lowering->last_use[value] > root->last_node) root->last_node = lowering->last_use[value];
}

static bool same_layout(const vsti_layout *a, const vsti_layout *b) {
    return a == b || (a && b && vsti_layout_equal(a, b));
}

size_t vsti_value_bytes(const vsti_lowering *lowering, int value, const vsti_layout *layout) {
    if (layout) return vsti_layout_bytes(layout);
    return (size_t)vst_shape_count(vsti_shape(lowering->graph, value)) * sizeof(float);
}

/* Parameters and inputs appear when they are first read. */
static void materialise(vsti_lowering *lowering, int value) {
    if (lowering->first_copy[value] >= 0 || lowering->status != VST_OK) return;
    const vsti_value *v = &lowering->graph->values[value];
    VST_ASSERT(v->kind != VSTI_VALUE_NODE);
    vsti_buffer index = new_buffer(lowering, vsti_value_bytes(lowering, value, NULL));
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
    buffer *root = vsti_root_of(lowering, index);
    if (root->last < lowering->node) root->last = lowering->node;
}

const vsti_layout *vsti_layout_of(const vsti_lowering *lowering, int value) {
    const int first = lowering->first_copy[value];
    return first < 0 ? NULL : lowering->copies[first].layout;
}

const vsti_layout *vsti_channel_layout(vsti_lowering *lowering, int value, int64_t block) {
    vsti_layout *layout = NULL;
    if (lowering->status != VST_OK) return NULL;
    vst_status status =
        vst_grow(&lowering->layouts, &lowering->layout_capacity, lowering->layout_count + 1, sizeof(vsti_layout *));
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

/* A node of several steps shows the implementation of its primitive, if it has one. */
static step *new_step(vsti_lowering *lowering, step_list *list, const char *implementation, int row_index,
                      bool primitive) {
    if (lowering->status != VST_OK) return NULL;
    vst_status status = vst_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return NULL;
    }
    row *r = row_index == VSTI_NO_ROW ? NULL : &lowering->plan->rows[row_index];
    if (r && (!r->implementation[0] || primitive))
        snprintf(r->implementation, sizeof r->implementation, "%s", implementation);
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

vsti_buffer vsti_packed(vsti_lowering *lowering, size_t bytes) {
    const int now = begin_preparing(lowering);
    vsti_buffer index = new_buffer(lowering, bytes);
    lowering->node = now;
    if (index < 0) return index;
    lowering->buffers[index].last = (int)lowering->graph->node_count;
    lowering->buffers[index].pinned = true;
    return index;
}

void vsti_release_packed(vsti_lowering *lowering, vsti_buffer index) {
    if (lowering->status == VST_OK) lowering->buffers[index].last = lowering->prepare_time - 1;
}

static void prepare_primitive(vsti_lowering *lowering, vsti_primitive *primitive, vsti_buffer from, vsti_buffer to) {
    const int now = begin_preparing(lowering);
    const vsti_argument arguments[] = {{VSTI_SRC, from}, {VSTI_DST, to}};
    add_primitive(lowering, &lowering->plan->prepare, VSTI_NO_ROW, primitive, arguments, 2);
    lowering->node = now;
}

vsti_buffer vsti_pack_reorder(vsti_lowering *lowering, vsti_buffer source, const vst_shape *shape,
                              const vsti_layout *from, const vsti_layout *wanted) {
    vsti_primitive *primitive;
    if (same_layout(from, wanted) || lowering->status != VST_OK) return source;
    vst_status status = vsti_reorder_create(&primitive, shape, from, wanted);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const size_t plain_bytes = (size_t)vst_shape_count(shape) * sizeof(float);
    vsti_buffer target = vsti_packed(lowering, wanted ? vsti_layout_bytes(wanted) : plain_bytes);
    prepare_primitive(lowering, primitive, source, target);
    vsti_release_packed(lowering, source);
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
    const size_t bytes = vsti_value_bytes(lowering, value, wanted);
    vsti_buffer target = packed ? vsti_packed(lowering, bytes) : new_buffer(lowering, bytes);
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
    vsti_buffer index = new_buffer(lowering, vsti_value_bytes(lowering, value, layout));
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

/* Does the node being lowered read the memory of `index` through another value too: a view of it? A residual must not
 * be any input of the product that it is added to. */
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
    const buffer *root = vsti_root_of(lowering, index);
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

void vsti_copy_step(vsti_lowering *lowering, size_t bytes, vsti_buffer from, vsti_buffer to) {
    vsti_kernel_step(lowering, "copy", run_copy, &bytes, sizeof bytes, (vsti_buffer[]){from, to}, 2);
}

vsti_buffer vsti_write_sum(vsti_lowering *lowering, int value, int addend, const vsti_layout *layout) {
    const vsti_buffer in = vsti_read(lowering, addend, layout), out = vsti_write_over(lowering, value, addend, layout);
    if (in != out) vsti_copy_step(lowering, vsti_value_bytes(lowering, addend, layout), in, out);
    return out;
}

void vsti_alias(vsti_lowering *lowering, int value, int input, int64_t offset) {
    vsti_buffer source = vsti_read(lowering, input, NULL);
    vsti_buffer index = new_buffer(lowering, vsti_value_bytes(lowering, value, NULL));
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
    snprintf(r->fused, sizeof r->fused, "%s%s%s%s", f.norm ? "+norm" : "", f.residual ? "+add" : "",
             *activation ? "+" : "", activation);
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
    add_kernel(lowering, &lowering->plan->steps, node_row(lowering), implementation, function, arguments,
               argument_bytes, buffers, buffer_count);
}

void vsti_pack_step(vsti_lowering *lowering, vsti_kernel_function *function, const void *arguments,
                    size_t argument_bytes, const vsti_buffer *buffers, int buffer_count) {
    if (lowering->status != VST_OK) return;
    const int now = begin_preparing(lowering);
    add_kernel(lowering, &lowering->plan->prepare, VSTI_NO_ROW, "", function, arguments, argument_bytes, buffers,
               buffer_count);
    lowering->node = now;
}

void vsti_primitive_step(vsti_lowering *lowering, vsti_primitive *primitive, const vsti_argument *arguments,
                         int count) {
    if (lowering->status != VST_OK) {
        vsti_primitive_destroy(primitive);
        return;
    }
    add_primitive(lowering, &lowering->plan->steps, node_row(lowering), primitive, arguments, count);
}
