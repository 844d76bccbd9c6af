/* Lowering: copies of values in their formats, buffers, steps. */
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

/* Records that buffer `index` has the value in this format, and extends the buffer's lifetime. */
static void bind_scaled(vsti_lowering *lowering, int value, vsti_format format, const vst_quant_entry *scale,
                        vsti_buffer index) {
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
    lowering->copies[lowering->copy_count++] = (copy){format, scale, index, -1};
    buffer *root = vsti_root_of(lowering, index);
    const stored *as = &lowering->stored[value];
    const int until = as->pending && format.dtype != as->dtype ? lowering->node : lowering->last_use[value];
    if (until > root->last_node) root->last_node = until;
}

static void bind_value(vsti_lowering *lowering, int value, vsti_format format, vsti_buffer index) {
    bind_scaled(lowering, value, format, NULL, index);
}

size_t vsti_value_bytes(const vsti_lowering *lowering, int value, vsti_format format) {
    return vsti_format_bytes(format, vsti_shape(lowering->graph, value));
}

/* Creates the buffer of a parameter or input when it is first read. */
static void materialise(vsti_lowering *lowering, int value) {
    if (lowering->first_copy[value] >= 0 || lowering->status != VST_OK) return;
    const vsti_value *v = &lowering->graph->values[value];
    VST_ASSERT(v->kind != VST_VALUE_NODE);
    const size_t bytes = vsti_value_bytes(lowering, value, VSTI_PLAIN);
    const vsti_buffer index =
        v->kind == VST_VALUE_PARAMETER
            ? vsti_external(lowering, vsti_parameter_at(lowering, SPACE_VALUES, v->parameter), bytes)
            : new_buffer(lowering, bytes);
    if (index < 0) return;
    lowering->buffers[index].first = -1; /* needed from the start, because the caller writes inputs before the run */
    bind_value(lowering, value, VSTI_PLAIN, index);
}

static void touch(vsti_lowering *lowering, int index) {
    buffer *root = vsti_root_of(lowering, index);
    if (root->last < lowering->node) root->last = lowering->node;
}

vsti_format vsti_f32_format(const vsti_lowering *lowering, int value) {
    const int first = lowering->first_copy[value];
    if (first < 0) return VSTI_PLAIN;
    return (vsti_format){VST_F32, lowering->copies[first].format.layout};
}

vsti_format vsti_same_format(const vsti_lowering *lowering, int input, int output) {
    return (vsti_format){vsti_dtype_of(lowering, output), vsti_f32_format(lowering, input).layout};
}

vsti_format vsti_channel_format(vsti_lowering *lowering, int value, int64_t block) {
    vsti_descriptor *descriptor = NULL;
    if (lowering->status != VST_OK) return VSTI_PLAIN;
    vst_status status = vst_grow(&lowering->descriptors, &lowering->descriptor_capacity, lowering->descriptor_count + 1,
                                 sizeof *lowering->descriptors);
    if (status == VST_OK) status = vsti_descriptor_channels(&descriptor, vsti_shape(lowering->graph, value), block);
    vsti_lowering_fail(lowering, status);
    if (!descriptor) return VSTI_PLAIN;
    lowering->descriptors[lowering->descriptor_count++] = descriptor;
    return (vsti_format){VST_F32, {VSTI_LAYOUT_DESCRIBED, descriptor}};
}

static int new_row(vsti_lowering *lowering, int value) {
    vst_status status =
        vst_grow(&lowering->rows, &lowering->row_capacity, lowering->row_count + 1, sizeof *lowering->rows);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return 0;
    }
    lowering->rows[lowering->row_count] =
        (row){.node = lowering->host, .value = value, .movement = "reorder", .element_bytes = 2 * sizeof(float)};
    return (int)lowering->row_count++;
}

/* Appends a step. A profile row of several steps shows the implementation of its primitive, if there is one. */
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

/* Appends an operand to the last step. */
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

static void add_kernel(vsti_lowering *lowering, int row_index, const char *implementation,
                       vsti_kernel_function *function, const void *arguments, size_t argument_bytes,
                       const vsti_buffer *buffers, int buffer_count) {
    vsti_step *s = new_step(lowering, implementation, row_index, false);
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

/* ---- packed weights ---- */

/* The operand of a pack step's input, which is outside the arena. */
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

vsti_buffer vsti_pack_primitive(vsti_lowering *lowering, vsti_primitive *reorder, vsti_buffer source) {
    vsti_operand from = pack_input(lowering, source);
    const size_t bytes = vsti_primitive_bytes(reorder, VSTI_DST);
    const vsti_operand to = {.space = SPACE_PACKED, .entry = (int)lowering->packed.entry_count};
    const pack_step step = {.reorder = reorder, .inputs = &from, .input_count = 1, .output_count = 1};
    vsti_lowering_fail(lowering, vsti_pack_list_add(&lowering->packed, &step, &bytes));
    return vsti_external(lowering, to, bytes);
}

vsti_buffer vsti_pack_reorder(vsti_lowering *lowering, vsti_buffer source, const vst_shape *shape, vsti_format from,
                              vsti_format wanted) {
    vsti_primitive *primitive;
    VST_ASSERT(from.dtype == VST_F32);
    if (vsti_format_equal(from, wanted) || lowering->status != VST_OK) return source;
    vst_status status = vsti_reorder_create(&primitive, shape, from, wanted);
    if (status == VST_OK) return vsti_pack_primitive(lowering, primitive, source);
    vsti_lowering_fail(lowering, status);
    return VSTI_NO_BUFFER;
}

/* ---- values ---- */

/* In training parameters change at every step, but with several batches a step bf16 is worth keeping. */
static bool is_packed_parameter(const vsti_lowering *lowering, int value) {
    return lowering->graph->values[value].kind == VST_VALUE_PARAMETER &&
           (!vsti_is_training(lowering) || lowering->program->bf16);
}

/* Reorders the copy `source` of a value, of float32 or bf16, to a new buffer, which may be bf16. */
static vsti_buffer reorder(vsti_lowering *lowering, int value, const copy *source, vsti_format wanted) {
    vsti_primitive *primitive;
    const copy from = *source; /* a copy, because adding copies may move the array */
    vst_status status = vsti_reorder_create(&primitive, vsti_shape(lowering->graph, value), from.format, wanted);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return VSTI_NO_BUFFER;
    }
    const vsti_format format = vsti_primitive_format(primitive, VSTI_DST);
    vsti_buffer target;
    if (is_packed_parameter(lowering, value)) {
        target = vsti_pack_primitive(lowering, primitive, from.buffer);
    } else {
        target = new_buffer(lowering, vsti_value_bytes(lowering, value, wanted));
        const vsti_argument arguments[] = {{VSTI_SRC, from.buffer}, {VSTI_DST, target}};
        const int index = new_row(lowering, value);
        if (lowering->status == VST_OK)
            lowering->rows[index].element_bytes = vst_dtype_size(from.format.dtype) + vst_dtype_size(format.dtype);
        add_primitive(lowering, index, primitive, arguments, 2);
    }
    bind_value(lowering, value, format, target);
    return target;
}

/* Casts, quantises or dequantises `source` to a new buffer in the same layout; `to` is float32 or the dtype of `scale`.
 */
static vsti_buffer convert(vsti_lowering *lowering, int value, const copy *source, vst_dtype to,
                           const vst_quant_entry *scale) {
    const copy from = *source;
    const vsti_format format = {to, from.format.layout},
                      other = {to == VST_F32 ? from.format.dtype : to, format.layout};
    const size_t bytes = vsti_value_bytes(lowering, value, format);
    vsti_buffer target = VSTI_NO_BUFFER;
    conversion how = {0};
    if (lowering->status != VST_OK) return VSTI_NO_BUFFER;
    vsti_lowering_fail(lowering, vsti_conversion_create(&how, to == VST_F32, other, to == VST_F32 ? from.scale : scale,
                                                        vsti_shape(lowering->graph, value)));
    if (is_packed_parameter(lowering, value)) {
        vsti_pack_step(lowering, how.function, how.arguments, how.argument_bytes, &from.buffer, 1, &bytes, 1, &target);
    } else {
        target = new_buffer(lowering, bytes);
        const int index = lowering->status == VST_OK ? new_row(lowering, value) : 0;
        if (lowering->status == VST_OK) {
            lowering->rows[index].movement = how.name;
            lowering->rows[index].element_bytes = vst_dtype_size(from.format.dtype) + vst_dtype_size(to);
        }
        add_kernel(lowering, index, vsti_kernel_name(), how.function, how.arguments, how.argument_bytes,
                   (vsti_buffer[]){from.buffer, target}, 2);
    }
    vst_free(how.arguments);
    bind_scaled(lowering, value, format, to == VST_F32 ? NULL : scale, target);
    return target;
}

static const copy *find_copy(const vsti_lowering *lowering, int value, vsti_format wanted) {
    for (int i = lowering->first_copy[value]; i >= 0; i = lowering->copies[i].next)
        if (vsti_format_equal(lowering->copies[i].format, wanted)) return &lowering->copies[i];
    return NULL;
}

/* The first float32 copy in any layout; creates one if there is none. */
static const copy *find_f32(vsti_lowering *lowering, int value) {
    const copy *first = &lowering->copies[lowering->first_copy[value]];
    for (const copy *c = first;; c = &lowering->copies[c->next]) {
        if (c->format.dtype == VST_F32) return c;
        if (c->next < 0) break;
    }
    convert(lowering, value, first, VST_F32, NULL);
    return lowering->status == VST_OK ? &lowering->copies[lowering->copy_count - 1] : NULL;
}

/* The copy that is bf16, or the float32 one, is cast or reordered in one step. */
static vsti_buffer read_bf16(vsti_lowering *lowering, int value, vsti_format wanted) {
    const copy *from = NULL;
    for (int i = lowering->first_copy[value]; i >= 0 && !from; i = lowering->copies[i].next)
        if (lowering->copies[i].format.dtype == VST_BF16) from = &lowering->copies[i];
    if (!from) from = find_f32(lowering, value);
    if (!from) return VSTI_NO_BUFFER;
    const bool cast = from->format.dtype == VST_F32 && vsti_layout_equal(from->format.layout, wanted.layout);
    return cast ? convert(lowering, value, from, VST_BF16, NULL) : reorder(lowering, value, from, wanted);
}

vsti_buffer vsti_read(vsti_lowering *lowering, int value, vsti_format wanted) {
    materialise(lowering, value);
    if (lowering->status != VST_OK) return VSTI_NO_BUFFER;
    const copy *found = find_copy(lowering, value, wanted);
    if (found) {
        touch(lowering, found->buffer);
        return found->buffer;
    }
    if (wanted.dtype == VST_F32) {
        const copy *f32 = find_f32(lowering, value);
        if (!f32) return VSTI_NO_BUFFER;
        return vsti_layout_equal(f32->format.layout, wanted.layout) ? f32->buffer
                                                                    : reorder(lowering, value, f32, wanted);
    }
    if (wanted.dtype == VST_BF16) return read_bf16(lowering, value, wanted);
    /* Where layouts coincide (one pixel, one channel), the float32 copy may be known by another name than this. */
    const copy f32 = {
        {VST_F32, wanted.layout}, NULL, vsti_read(lowering, value, (vsti_format){VST_F32, wanted.layout}), -1};
    return convert(lowering, value, &f32, wanted.dtype, lowering->stored[value].scale);
}

void vsti_store_value(vsti_lowering *lowering, int value) {
    stored *as = &lowering->stored[value];
    if (lowering->status != VST_OK || !as->pending || lowering->first_copy[value] < 0) return;
    const copy *from = &lowering->copies[lowering->first_copy[value]];
    if (from->format.dtype == VST_F32) {
        if (as->scale && as->scale->scale_count > 1) { /* per-channel scales need the plain layout */
            vsti_read(lowering, value, VSTI_PLAIN);
            from = lowering->status == VST_OK ? find_copy(lowering, value, VSTI_PLAIN) : NULL;
        }
        as->pending = false;
        if (from) convert(lowering, value, from, as->dtype, as->scale);
        if (lowering->status == VST_OK) lowering->first_copy[value] = (int)lowering->copy_count - 1;
    }
    as->pending = false;
}

vsti_buffer vsti_write(vsti_lowering *lowering, int value, vsti_format format) {
    const size_t bytes = vsti_value_bytes(lowering, value, format);
    const int parameter = lowering->gradient_of[value];
    const vsti_buffer index =
        parameter && vsti_format_equal(format, VSTI_PLAIN)
            ? vsti_external(lowering, vsti_parameter_at(lowering, SPACE_GRADIENTS, parameter - 1), bytes)
            : new_buffer(lowering, bytes);
    bind_value(lowering, value, format, index);
    return index;
}

vsti_buffer vsti_write_quantized(vsti_lowering *lowering, int value, vsti_layout layout) {
    const vsti_format format = {VST_U8, layout};
    const vsti_buffer index = new_buffer(lowering, vsti_value_bytes(lowering, value, format));
    bind_scaled(lowering, value, format, lowering->stored[value].scale, index);
    return index;
}

vsti_buffer vsti_write_bytes(vsti_lowering *lowering, int value, size_t bytes) {
    vsti_buffer index = new_buffer(lowering, bytes);
    bind_value(lowering, value, VSTI_PLAIN, index);
    return index;
}

/* True if the current node also reads this memory through another value, such as a view. The residual of a product must
 * not share memory with any of its inputs. */
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

/* True if the memory of `input`, read by this node, can become that of its output. */
static bool can_overwrite(vsti_lowering *lowering, int input, vsti_buffer index) {
    const buffer *root = vsti_root_of(lowering, index);
    return !root->pinned && root->last_node <= lowering->node && !lowering->program->plain &&
           !read_elsewhere(lowering, input, index);
}

vsti_buffer vsti_write_over(vsti_lowering *lowering, int value, int input, vsti_format format) {
    vsti_buffer index = vsti_read(lowering, input, format);
    if (index < 0) return index;
    if (!can_overwrite(lowering, input, index) || lowering->gradient_of[value])
        return vsti_write(lowering, value, format);
    bind_value(lowering, value, format, index);
    return index;
}

static void run_copy(void *const *buffers, const void *arguments, const vsti_run *run) {
    (void)run;
    memcpy(buffers[1], buffers[0], *(const size_t *)arguments);
}

void vsti_copy_step(vsti_lowering *lowering, size_t bytes, vsti_buffer from, vsti_buffer to) {
    vsti_kernel_step(lowering, "copy", run_copy, &bytes, sizeof bytes, (vsti_buffer[]){from, to}, 2);
}

vsti_buffer vsti_write_sum(vsti_lowering *lowering, int value, int addend, vsti_format format) {
    const vsti_buffer in = vsti_read(lowering, addend, format), out = vsti_write_over(lowering, value, addend, format);
    if (in != out) vsti_copy_step(lowering, vsti_value_bytes(lowering, addend, format), in, out);
    return out;
}

vsti_buffer vsti_write_quantized_sum(vsti_lowering *lowering, int value, int addend, vsti_layout layout) {
    const vsti_format format = {VST_U8, layout};
    const vsti_buffer in = vsti_read(lowering, addend, format);
    if (in >= 0 && can_overwrite(lowering, addend, in)) {
        bind_scaled(lowering, value, format, lowering->stored[value].scale, in);
        return in;
    }
    const vsti_buffer out = vsti_write_quantized(lowering, value, layout);
    vsti_copy_step(lowering, vsti_value_bytes(lowering, addend, format), in, out);
    return out;
}

/* A view has the dtype of its input, except that 8-bit values with per-channel scales are read as float32. */
void vsti_alias(vsti_lowering *lowering, int value, int input, int64_t offset) {
    vsti_format format = VSTI_PLAIN;
    const vst_quant_entry *scale = NULL;
    const int first = lowering->first_copy[input];
    if (first >= 0 && !(lowering->copies[first].scale && lowering->copies[first].scale->scale_count > 1)) {
        format.dtype = lowering->copies[first].format.dtype;
        scale = lowering->copies[first].scale;
    }
    const vsti_buffer source = vsti_read(lowering, input, format);
    const vsti_buffer index = new_buffer(lowering, vsti_value_bytes(lowering, value, format));
    if (index < 0) return;
    buffer *b = &lowering->buffers[index];
    b->root = lowering->buffers[source].root;
    b->shift = lowering->buffers[source].shift + (size_t)offset * vst_dtype_size(format.dtype);
    if (format.dtype != VST_F32) lowering->stored[value] = (stored){format.dtype, scale, false};
    bind_scaled(lowering, value, format, scale, index);
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

/* The profile row of the current node, created with its first step. */
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
    add_kernel(lowering, node_row(lowering), implementation, function, arguments, argument_bytes, buffers,
               buffer_count);
}

void vsti_primitive_step(vsti_lowering *lowering, vsti_primitive *primitive, const vsti_argument *arguments,
                         int count) {
    if (lowering->status != VST_OK) {
        vsti_primitive_destroy(primitive);
        return;
    }
    add_primitive(lowering, node_row(lowering), primitive, arguments, count);
}
