/* Expand, and sum and mean over any set of dimensions. Each is the gradient of the other. Leading dimensions are summed
 * by the column-sum kernel, others by a loop over the kept elements. */
#include "vision/ops/operation.h"

bool vsti_broadcast(const vst_shape *a, const vst_shape *b, vst_shape *out) {
    out->rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 1; i <= out->rank; i++) {
        const int64_t x = i <= a->rank ? a->dim[a->rank - i] : 1, y = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (x != y && x != 1 && y != 1) return false;
        out->dim[out->rank - i] = x == 1 ? y : x;
    }
    return true;
}

void vsti_broadcast_strides(const vst_shape *shape, const vst_shape *as, int64_t strides[VST_MAX_RANK]) {
    int64_t stride = 1;
    for (int i = 1; i <= as->rank; i++) {
        const int64_t dim = i <= shape->rank ? shape->dim[shape->rank - i] : 1;
        strides[as->rank - i] = dim == 1 ? 0 : stride;
        stride *= dim;
    }
}

vsti_strided vsti_loop_over(const vst_shape *shape) {
    vsti_strided s = {.rank = shape->rank};
    for (int i = 0; i < shape->rank; i++) s.dim[i] = shape->dim[i];
    return s;
}

static void run_copy(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    vsti_get_kernels()->copy_strided(raw, b[0], b[1]);
}

void vsti_copy_strided(vsti_lowering *lowering, const vsti_node *node, const vsti_strided *shape) {
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_copy, shape, sizeof *shape, buffers, 2);
}

/* ---- sum and mean ---- */

typedef struct attributes {
    unsigned axes;
    bool keep, mean;
} attributes;

static void shapes_reduce(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    char text[VST_SHAPE_TEXT];
    if (o->axes >> in->rank) {
        vst_graph_fail(graph, VST_ERROR_SHAPE, "reduce: the axes 0x%x are not all dimensions of %s", o->axes,
                       vst_shape_text(in, text));
        return;
    }
    out[0] = VST_SCALAR;
    for (int i = 0; i < in->rank; i++) {
        if (!(o->axes & 1u << i)) out[0].dim[out[0].rank++] = in->dim[i];
        else if (o->keep) out[0].dim[out[0].rank++] = 1;
    }
}

static vsti_reduction measure(const vst_shape *in, const attributes *o) {
    vsti_reduction a = {.kept_count = 1, .reduced_count = 1};
    int64_t strides[VST_MAX_RANK], stride = 1;
    for (int i = in->rank; i-- > 0; stride *= in->dim[i]) strides[i] = stride;
    for (int i = 0; i < in->rank; i++) {
        if (o->axes & 1u << i) {
            a.reduced_dim[a.reduced] = in->dim[i];
            a.reduced_stride[a.reduced++] = strides[i];
            a.reduced_count *= in->dim[i];
        } else {
            a.kept_dim[a.kept] = in->dim[i];
            a.kept_stride[a.kept++] = strides[i];
            a.kept_count *= in->dim[i];
        }
    }
    a.factor = o->mean ? 1.0f / (float)a.reduced_count : 1.0f;
    return a;
}

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    vsti_get_kernels()->reduce(raw, b[0], b[1]);
}

static void run_leading(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const vsti_reduction *a = raw;
    const vsti_kernels *kernels = vsti_get_kernels();
    kernels->column_sum(b[0], b[1], b[2], a->reduced_count, a->kept_count);
    if (a->factor != 1.0f) kernels->scale(b[1], a->factor, b[1], a->kept_count);
}

typedef struct channel_arguments {
    vsti_channels shape;
    float factor;
} channel_arguments;

static void run_channels(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const channel_arguments *a = raw;
    vsti_get_kernels()->channel_sum(b[0], b[1], a->factor, a->shape);
}

/* Sums or averages the pixels of (N, C, H, W) in the layout of the input. Returns false if it does not apply. */
static bool lower_channels(vsti_lowering *lowering, const vsti_node *node, float factor) {
    const vst_shape *in = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const vsti_format format = vsti_f32_format(lowering, node->inputs[0]);
    channel_arguments a = {{in->dim[0], in->dim[1], in->dim[2] * in->dim[3], 1}, factor};
    if (in->rank != 4 || ((const attributes *)node->attributes)->axes != (1u << 2 | 1u << 3)) return false;
    if (!vsti_layout_channel_block(format.layout, &a.shape.block)) return false;
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], format),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_channels, &a, sizeof a, buffers, 2);
    return true;
}

static void lower_reduce(vsti_lowering *lowering, const vsti_node *node) {
    const attributes *o = node->attributes;
    const vst_shape *in = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const vsti_reduction a = measure(in, o);
    if (lower_channels(lowering, node, a.factor)) return;
    const bool leading = a.reduced && o->axes == (1u << a.reduced) - 1 && a.kept;
    vsti_buffer buffers[3] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                              vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    if (leading) buffers[2] = vsti_scratch(lowering, vsti_partial_floats(a.kept_count) * sizeof(float));
    vsti_kernel_step(lowering, vsti_kernel_name(), leading ? run_leading : run, &a, sizeof a, buffers, leading ? 3 : 2);
}

static void gradient_reduce(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const attributes *o = node->attributes;
    const vst_shape in = vst_shape_at(graph, vsti_input_of(node, 0));
    vst_shape kept = in;
    for (int i = 0; i < in.rank; i++)
        if (o->axes & 1u << i) kept.dim[i] = 1;
    vst_value dy = vst_reshape(graph, vsti_incoming(gradients, node, 0), kept);
    if (o->mean) dy = vst_scale(graph, dy, (double)vst_shape_count(&kept) / (double)vst_shape_count(&in));
    vsti_add_gradient(gradients, vsti_input_of(node, 0), vst_expand(graph, dy, in));
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    return (double)vsti_count(graph, node->inputs[0]);
}

static const vsti_attribute described[] = {{"axes", VSTI_AXES, offsetof(attributes, axes), NULL},
                                           {"keepdims", VSTI_BOOL, offsetof(attributes, keep), NULL},
                                           {0}};

vst_value vst_reduce_sum(vst_graph *g, vst_value x, unsigned axes, bool keep) {
    static const vsti_operation operation = {.name = "reduce_sum",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = shapes_reduce,
                                             .gradient = gradient_reduce,
                                             .lower = lower_reduce,
                                             .flops = flops};
    return vsti_emit(g, &operation, &x, 1, &(attributes){axes, keep, false});
}

vst_value vst_reduce_mean(vst_graph *g, vst_value x, unsigned axes, bool keep) {
    static const vsti_operation operation = {.name = "reduce_mean",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = shapes_reduce,
                                             .gradient = gradient_reduce,
                                             .lower = lower_reduce,
                                             .flops = flops};
    return vsti_emit(g, &operation, &x, 1, &(attributes){axes, keep, true});
}

/* ---- expand ---- */

static void shapes_expand(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *in = vsti_shape(graph, node->inputs[0]), *wanted = node->attributes;
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    if (!vsti_broadcast(in, wanted, &out[0]) || !vst_shape_equal(&out[0], wanted))
        vst_graph_fail(graph, VST_ERROR_SHAPE, "expand: %s cannot be broadcast to %s", vst_shape_text(in, first),
                       vst_shape_text(wanted, second));
}

static void lower_expand(vsti_lowering *lowering, const vsti_node *node) {
    vsti_strided s = vsti_loop_over(node->attributes);
    vsti_broadcast_strides(vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]), node->attributes, s.a);
    vsti_copy_strided(lowering, node, &s);
}

static void gradient_expand(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vst_value x = vsti_input_of(node, 0);
    vsti_add_gradient(gradients, x, vsti_reduce_to(graph, vsti_incoming(gradients, node, 0), vst_shape_at(graph, x)));
}

vst_value vst_expand(vst_graph *g, vst_value x, vst_shape shape) {
    static const vsti_attribute to[] = {{"shape", VSTI_SHAPE, 0, NULL}, {0}};
    static const vsti_operation operation = {.name = "expand",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(vst_shape),
                                             .attributes = to,
                                             .input_names = {"x"},
                                             .shapes = shapes_expand,
                                             .gradient = gradient_expand,
                                             .lower = lower_expand};
    return vsti_emit(g, &operation, &x, 1, &shape);
}

vst_value vsti_reduce_to(vst_graph *graph, vst_value value, vst_shape shape) {
    if (graph->status != VST_OK) return (vst_value){0};
    const vst_shape from = vst_shape_at(graph, value);
    unsigned axes = 0;
    for (int i = 1; i <= from.rank; i++)
        if (from.dim[from.rank - i] != (i <= shape.rank ? shape.dim[shape.rank - i] : 1)) axes |= 1u << (from.rank - i);
    if (axes) value = vst_reduce_sum(graph, value, axes, true);
    return from.rank == shape.rank ? value : vst_reshape(graph, value, shape);
}
