/* Slices and concatenation along one dimension: copies of blocks. Each is the gradient of the other. */
#include "vision/ops/operation.h"

typedef struct attributes {
    int axis;
    int64_t start, count, extent; /* extent: size of the whole dimension (gradient of a slice) */
} attributes;

static int64_t product(const vst_shape *shape, int from, int to) {
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= shape->dim[i];
    return n;
}

/* ---- slice ---- */

static void shapes_slice(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    char text[VST_SHAPE_TEXT];
    out[0] = *in;
    if (o->axis < 0 || o->axis >= in->rank || o->start < 0 || o->count < 1 || o->start + o->count > in->dim[o->axis]) {
        vst_graph_fail(graph, VST_ERROR_SHAPE, "slice: %lld … %lld of dimension %d is not within %s",
                       (long long)o->start, (long long)(o->start + o->count), o->axis, vst_shape_text(in, text));
        return;
    }
    out[0].dim[o->axis] = o->count;
}

static void run_slice(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->copy_blocks(raw, b[0], b[1]);
}

static void lower_slice(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const int64_t outer = product(in, 0, o->axis), inner = product(in, o->axis + 1, in->rank);
    if (outer == 1 && !vsti_is_plain(lowering)) { /* contiguous, so a view is enough */
        vsti_alias(lowering, node->outputs[0], node->inputs[0], o->start * inner);
        return;
    }
    const vsti_block_copy copy = {.outer = outer,
                                  .count = o->count * inner,
                                  .from_width = in->dim[o->axis] * inner,
                                  .from_start = o->start * inner,
                                  .to_width = o->count * inner};
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_slice, &copy, sizeof copy, buffers, 2);
}

/* The gradient of a slice: dy surrounded by zeros, or in the accumulating form dy added to "sum". */
static void shapes_backward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    out[0] = *vsti_shape(graph, node->inputs[0]);
    out[0].dim[o->axis] = o->extent;
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->pad_blocks(raw, b[0], b[1]);
}

static void run_backward_add(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->add_blocks(raw, b[0], b[2], b[1]);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const int64_t inner = product(in, o->axis + 1, in->rank);
    const vsti_block_copy copy = {.outer = product(in, 0, o->axis),
                                  .count = o->count * inner,
                                  .from_width = o->count * inner,
                                  .to_width = o->extent * inner,
                                  .to_start = o->start * inner};
    vsti_buffer buffers[3] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN)};
    if (node->operation->accumulates) {
        buffers[2] = vsti_read(lowering, node->inputs[1], VSTI_PLAIN);
        buffers[1] = vsti_write_over(lowering, node->outputs[0], node->inputs[1], VSTI_PLAIN);
    } else {
        buffers[1] = vsti_write(lowering, node->outputs[0], VSTI_PLAIN);
    }
    vsti_kernel_step(lowering, vsti_kernel_name(), node->operation->accumulates ? run_backward_add : run_backward,
                     &copy, sizeof copy, buffers, node->operation->accumulates ? 3 : 2);
}

static const vsti_attribute described_backward[] = {{"axis", VSTI_INT, offsetof(attributes, axis), NULL},
                                                    {"start", VSTI_INT64, offsetof(attributes, start), NULL},
                                                    {"length", VSTI_INT64, offsetof(attributes, count), NULL},
                                                    {"size", VSTI_INT64, offsetof(attributes, extent), NULL},
                                                    {0}};
static const vsti_operation backward_add = {.name = "slice_backward_add",
                                            .outputs = 1,
                                            .attribute_bytes = sizeof(attributes),
                                            .attributes = described_backward,
                                            .input_names = {"dy", "sum"},
                                            .output_names = {"dx"},
                                            .shapes = shapes_backward,
                                            .lower = lower_backward,
                                            .accumulates = true};
static const vsti_operation backward = {.name = "slice_backward",
                                        .outputs = 1,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described_backward,
                                        .input_names = {"dy"},
                                        .output_names = {"dx"},
                                        .shapes = shapes_backward,
                                        .lower = lower_backward,
                                        .accumulating = &backward_add};

static void gradient_slice(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    attributes o = *(const attributes *)node->attributes;
    const vst_value x = vsti_input_of(node, 0), dy = vsti_incoming(gradients, node, 0);
    o.extent = vst_shape_at(graph, x).dim[o.axis];
    if (vsti_wanted(gradients, x)) vsti_add_gradient(gradients, x, vsti_emit(graph, &backward, &dy, 1, &o));
}

vst_value vst_slice(vst_graph *g, vst_value x, int axis, int64_t start, int64_t count) {
    static const vsti_attribute described[] = {{"axis", VSTI_INT, offsetof(attributes, axis), NULL},
                                               {"start", VSTI_INT64, offsetof(attributes, start), NULL},
                                               {"length", VSTI_INT64, offsetof(attributes, count), NULL},
                                               {0}};
    static const vsti_operation operation = {.name = "slice",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = shapes_slice,
                                             .gradient = gradient_slice,
                                             .lower = lower_slice};
    return vsti_emit(g, &operation, &x, 1, &(attributes){.axis = axis, .start = start, .count = count});
}

/* ---- concat ---- */

static void shapes_concat(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const int axis = *(const int *)node->attributes;
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    out[0] = *vsti_shape(graph, node->inputs[0]);
    if (axis < 0 || axis >= out[0].rank) {
        vst_graph_fail(graph, VST_ERROR_ARGUMENT, "concat: %s has no dimension %d", vst_shape_text(&out[0], first),
                       axis);
        return;
    }
    for (int i = 1; i < node->input_count; i++) {
        vst_shape other = *vsti_shape(graph, node->inputs[i]);
        const int64_t count = axis < other.rank ? other.dim[axis] : 0;
        if (axis < other.rank) other.dim[axis] = out[0].dim[axis];
        if (!vst_shape_equal(&other, &out[0])) {
            vst_graph_fail(graph, VST_ERROR_SHAPE, "concat: %s and %s differ in more than dimension %d",
                           vst_shape_text(vsti_shape(graph, node->inputs[0]), first),
                           vst_shape_text(vsti_shape(graph, node->inputs[i]), second), axis);
            return;
        }
        out[0].dim[axis] += count;
    }
}

static void lower_concat(vsti_lowering *lowering, const vsti_node *node) {
    const vst_graph *graph = vsti_lowering_graph(lowering);
    const int axis = *(const int *)node->attributes;
    const vst_shape *whole = vsti_shape(graph, node->outputs[0]);
    const int64_t inner = product(whole, axis + 1, whole->rank);
    const vsti_buffer out = vsti_write(lowering, node->outputs[0], VSTI_PLAIN);
    int64_t start = 0;
    for (int i = 0; i < node->input_count; i++) {
        const int64_t count = vsti_shape(graph, node->inputs[i])->dim[axis] * inner;
        const vsti_block_copy copy = {.outer = product(whole, 0, axis),
                                      .count = count,
                                      .from_width = count,
                                      .to_width = whole->dim[axis] * inner,
                                      .to_start = start};
        vsti_kernel_step(lowering, vsti_kernel_name(), run_slice, &copy, sizeof copy,
                         (vsti_buffer[]){vsti_read(lowering, node->inputs[i], VSTI_PLAIN), out}, 2);
        start += count;
    }
}

static void gradient_concat(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const int axis = *(const int *)node->attributes;
    int64_t start = 0;
    for (int i = 0; i < node->input_count; i++) {
        const vst_value x = vsti_input_of(node, i);
        const int64_t count = vst_shape_at(graph, x).dim[axis];
        if (vsti_wanted(gradients, x))
            vsti_add_gradient(gradients, x, vst_slice(graph, vsti_incoming(gradients, node, 0), axis, start, count));
        start += count;
    }
}

vst_value vst_concat(vst_graph *g, const vst_value *values, int count, int axis) {
    static const vsti_attribute described[] = {{"axis", VSTI_INT, 0, NULL}, {0}};
    static const vsti_operation operation = {.name = "concat",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(int),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .variadic = true,
                                             .shapes = shapes_concat,
                                             .gradient = gradient_concat,
                                             .lower = lower_concat};
    if (count < 1) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "concat: nothing to concatenate");
        return (vst_value){0};
    }
    return vsti_emit(g, &operation, values, count, &axis);
}
