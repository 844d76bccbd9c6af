/* A program under construction as operations see it: values in their layouts, memory, steps. */
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"
#include "vision/plan/internal.h"

const vst_graph *vsti_lowering_graph(const vsti_lowering *lowering) { return lowering->graph; }
bool vsti_is_training(const vsti_lowering *lowering) { return lowering->program->mode == VST_TRAIN; }
bool vsti_is_plain(const vsti_lowering *lowering) { return lowering->program->plain; }
bool vsti_is_used(const vsti_lowering *lowering, int value) { return lowering->last_use[value] >= 0; }

void vsti_lowering_fail(vsti_lowering *lowering, vst_status status) {
    if (lowering->status != VST_OK || status == VST_OK) return;
    const vsti_node *node =
        lowering->host < (int)lowering->graph->node_count ? &lowering->graph->nodes[lowering->host] : NULL;
    lowering->status = node ? vst_fail_in(status, "planning %s %s", node->name, node->operation->name) : status;
}

const char *vsti_kernel_name(void) { return vsti_get_kernels()->name; }

static vsti_buffer new_buffer(vsti_lowering *lowering, size_t bytes) {
    if (lowering->status != VST_OK) return VSTI_NO_BUFFER;
    vst_status status =
        vst_grow(&lowering->buffers, &lowering->buffer_capacity, lowering->buffer_count + 1, sizeof *lowering->buffers);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const int index = (int)lowering->buffer_count++;
    lowering->buffers[index] = (buffer){.bytes = bytes,
                                        .first = lowering->node,
                                        .last = lowering->node,
                                        .root = index,
                                        .last_node = lowering->node,
                                        .at = {.space = SPACE_ARENA}};
    return index;
}

vsti_buffer vsti_external(vsti_lowering *lowering, vsti_operand at, size_t bytes) {
    const vsti_buffer index = new_buffer(lowering, bytes);
    if (index < 0) return index;
    lowering->buffers[index].at = at;
    lowering->buffers[index].pinned = true;
    return index;
}

vsti_operand vsti_parameter_at(const vsti_lowering *lowering, vsti_space space, int parameter) {
    const vst_param_info *info = vst_params_at(lowering->program->params, (size_t)parameter);
    return (vsti_operand){.space = space, .offset = info->offset * sizeof(float)};
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
    const size_t bytes = vsti_value_bytes(lowering, value, NULL);
    const vsti_buffer index =
        v->kind == VSTI_VALUE_PARAM
            ? vsti_external(lowering, vsti_parameter_at(lowering, SPACE_VALUES, v->parameter), bytes)
            : new_buffer(lowering, bytes);
    if (index < 0) return;
    lowering->buffers[index].first = -1; /* the caller fills an input before the run */
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
    vst_status status =
        vst_grow(&lowering->rows, &lowering->row_capacity, lowering->row_count + 1, sizeof *lowering->rows);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return 0;
    }
    lowering->rows[lowering->row_count] = (row){.node = lowering->host, .value = value};
    return (int)lowering->row_count++;
}

/* A node of several steps shows the implementation of its primitive, if it has one. */
static vsti_step *new_step(vsti_lowering *lowering, const char *implementation, int row_index, bool primitive) {
    vst_program *program = lowering->program;
    if (lowering->status != VST_OK) return NULL;
    vst_status status =
        vst_grow(&program->steps, &program->step_capacity, program->step_count + 1, sizeof *program->steps);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return NULL;
    }
    row *r = &lowering->rows[row_index];
    if (!r->implementation[0] || primitive) snprintf(r->implementation, sizeof r->implementation, "%s", implementation);
    program->steps[program->step_count] = (vsti_step){.first = program->operand_count, .row = row_index};
    return &program->steps[program->step_count++];
}

/* One more operand of the last step. */
static void add_operand(vsti_lowering *lowering, vsti_role role, vsti_buffer index) {
    vst_program *program = lowering->program;
    if (lowering->status != VST_OK) return;
    vst_status status =
        vst_grow(&program->operands, &program->operand_capacity, program->operand_count + 1, sizeof *program->operands);
    if (status == VST_OK)
        status =
            vst_grow(&lowering->bound, &lowering->bound_capacity, program->operand_count + 1, sizeof *lowering->bound);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    if (index >= 0) touch(lowering, index);
    lowering->bound[program->operand_count] = index;
    program->operands[program->operand_count++] = (vsti_operand){.role = role};
    program->steps[program->step_count - 1].operand_count++;
}

static void add_primitive(vsti_lowering *lowering, int row_index, vsti_primitive *primitive,
                          const vsti_argument *arguments, int count) {
    vsti_step *s = primitive ? new_step(lowering, vsti_primitive_implementation(primitive), row_index, true) : NULL;
    if (!s) {
        vsti_primitive_destroy(primitive);
        return;
    }
    s->primitive = primitive;
    for (int i = 0; i < count; i++)
        if (arguments[i].buffer >= 0) add_operand(lowering, arguments[i].role, arguments[i].buffer);
    const size_t scratch = vsti_primitive_bytes(primitive, VSTI_SCRATCHPAD);
    if (scratch) add_operand(lowering, VSTI_SCRATCHPAD, vsti_scratch(lowering, scratch));
}

/* ---- packed weights ---- */

/* The place of a pack step's input, which lies outside the arena. */
static vsti_operand pack_input(vsti_lowering *lowering, vsti_buffer index) {
    if (index < 0) return (vsti_operand){.space = SPACE_NONE};
    vsti_operand at = vsti_root_of(lowering, index)->at;
    VST_ASSERT(at.space == SPACE_VALUES || at.space == SPACE_PACKED);
    at.offset += lowering->buffers[index].shift;
    return at;
}

void vsti_pack_step(vsti_lowering *lowering, vsti_kernel_function *function, const void *arguments,
                    size_t argument_bytes, const vsti_buffer *inputs, int input_count, const size_t *output_bytes,
                    int output_count, vsti_buffer *outputs) {
    vsti_operand operands[VSTI_MAX_PACK_INPUTS];
    for (int i = 0; i < output_count; i++) outputs[i] = VSTI_NO_BUFFER;
    if (lowering->status != VST_OK) return;
    VST_ASSERT(input_count <= VSTI_MAX_PACK_INPUTS);
    for (int i = 0; i < input_count; i++) operands[i] = pack_input(lowering, inputs[i]);
    const int first = (int)lowering->packed.entry_count;
    const pack_step step = {.function = function,
                            .arguments = (void *)arguments,
                            .argument_bytes = argument_bytes,
                            .inputs = operands,
                            .input_count = input_count,
                            .output_count = output_count};
    vsti_lowering_fail(lowering, vsti_pack_list_add(&lowering->packed, &step, output_bytes));
    for (int i = 0; i < output_count; i++)
        outputs[i] =
            vsti_external(lowering, (vsti_operand){.space = SPACE_PACKED, .entry = first + i}, output_bytes[i]);
}

/* Takes the reorder over, also on failure. */
static vsti_buffer pack_reorder(vsti_lowering *lowering, vsti_primitive *reorder, vsti_buffer source) {
    vsti_operand from = pack_input(lowering, source);
    const size_t bytes = vsti_primitive_bytes(reorder, VSTI_DST);
    const vsti_operand to = {.space = SPACE_PACKED, .entry = (int)lowering->packed.entry_count};
    const pack_step step = {.reorder = reorder, .inputs = &from, .input_count = 1, .output_count = 1};
    vsti_lowering_fail(lowering, vsti_pack_list_add(&lowering->packed, &step, &bytes));
    return vsti_external(lowering, to, bytes);
}

vsti_buffer vsti_pack_reorder(vsti_lowering *lowering, vsti_buffer source, const vst_shape *shape,
                              const vsti_layout *from, const vsti_layout *wanted) {
    vsti_primitive *primitive;
    if (same_layout(from, wanted) || lowering->status != VST_OK) return source;
    vst_status status = vsti_reorder_create(&primitive, shape, from, wanted);
    if (status == VST_OK) return pack_reorder(lowering, primitive, source);
    vsti_lowering_fail(lowering, status);
    return VSTI_NO_BUFFER;
}

/* ---- values ---- */

/* A reorder of `value` from `source` into a new buffer. */
static vsti_buffer reorder(vsti_lowering *lowering, int value, const copy *source, const vsti_layout *wanted) {
    vsti_primitive *primitive;
    const copy from = *source; /* adding a copy may move the array */
    vst_status status = vsti_reorder_create(&primitive, vsti_shape(lowering->graph, value), from.layout, wanted);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const vsti_layout *layout = vsti_primitive_layout(primitive, VSTI_DST);
    vsti_buffer target;
    if (lowering->graph->values[value].kind == VSTI_VALUE_PARAM && !vsti_is_training(lowering)) {
        target = pack_reorder(lowering, primitive, from.buffer);
    } else {
        target = new_buffer(lowering, vsti_value_bytes(lowering, value, wanted));
        const vsti_argument arguments[] = {{VSTI_SRC, from.buffer}, {VSTI_DST, target}};
        add_primitive(lowering, new_row(lowering, value), primitive, arguments, 2);
    }
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
    const size_t bytes = vsti_value_bytes(lowering, value, layout);
    const int parameter = lowering->gradient_of[value];
    const vsti_buffer index =
        parameter && !layout
            ? vsti_external(lowering, vsti_parameter_at(lowering, SPACE_GRADIENTS, parameter - 1), bytes)
            : new_buffer(lowering, bytes);
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
    const bool free_now = !root->pinned && root->last_node <= lowering->node && !lowering->program->plain &&
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
    for (size_t i = lowering->row_count; i-- > 0 && lowering->rows[i].node == lowering->host;)
        if (!lowering->rows[i].value) return (int)i;
    const int index = new_row(lowering, 0);
    if (lowering->status == VST_OK && lowering->host < (int)lowering->graph->node_count)
        describe_fusion(lowering, &lowering->rows[index]);
    return index;
}

void vsti_kernel_step(vsti_lowering *lowering, const char *implementation, vsti_kernel_function *function,
                      const void *arguments, size_t argument_bytes, const vsti_buffer *buffers, int buffer_count) {
    if (lowering->status != VST_OK) return;
    vsti_step *s = new_step(lowering, implementation, node_row(lowering), false);
    if (!s) return;
    s->function = function;
    s->arguments = vst_alloc(argument_bytes);
    if (!s->arguments) {
        vsti_lowering_fail(lowering, vst_fail_memory(argument_bytes));
        return;
    }
    if (argument_bytes) memcpy(s->arguments, arguments, argument_bytes);
    for (int i = 0; i < buffer_count; i++) add_operand(lowering, VSTI_ROLES, buffers[i]);
}

void vsti_primitive_step(vsti_lowering *lowering, vsti_primitive *primitive, const vsti_argument *arguments,
                         int count) {
    if (lowering->status != VST_OK) {
        vsti_primitive_destroy(primitive);
        return;
    }
    add_primitive(lowering, node_row(lowering), primitive, arguments, count);
}
