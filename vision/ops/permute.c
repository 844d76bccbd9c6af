/* Permutation of dimensions, and broadcasting to a larger shape: copies that read with other strides. */
#include "vision/ops/operation.h"

typedef struct arguments {
    vst_shape shape;               /* of the output */
    int64_t strides[VST_MAX_RANK]; /* of the input, in the output's order of dimensions */
} arguments;

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    const int64_t rows = vsti_rows(&a->shape), cols = vsti_last(&a->shape);
    const int last = a->shape.rank - 1;
    const int64_t step = last >= 0 ? a->strides[last] : 0;
#pragma omp parallel for schedule(static) if (rows * cols > 16384)
    for (int64_t r = 0; r < rows; r++) {
        const float *in = b[0];
        float *out = (float *)b[1] + r * cols;
        int64_t rest = r;
        for (int i = last; i-- > 0;) {
            in += rest % a->shape.dim[i] * a->strides[i];
            rest /= a->shape.dim[i];
        }
        if (step == 1) memcpy(out, in, (size_t)cols * sizeof *out);
        else
            for (int64_t c = 0; c < cols; c++) out[c] = in[c * step];
    }
}

static void copy_step(vsti_lowering *lowering, const vsti_node *node, const arguments *a) {
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], NULL),
                                   vsti_write(lowering, node->outputs[0], NULL)};
    vsti_kernel_step(lowering, "vistill", run, a, sizeof *a, buffers, 2);
}

/* ---- permute ---- */

static void shapes_permute(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    const int *order = node->attributes;
    char text[VST_SHAPE_TEXT];
    unsigned seen = 0;
    out[0].rank = in->rank;
    for (int i = 0; i < in->rank; i++) {
        if (order[i] < 0 || order[i] >= in->rank || seen & 1u << order[i]) {
            vst_graph_fail(graph, "permute: the order is no permutation of the dimensions of %s",
                           vst_shape_text(in, text));
            return;
        }
        seen |= 1u << order[i];
        out[0].dim[i] = in->dim[order[i]];
    }
}

static void lower_permute(vsti_lowering *lowering, const vsti_node *node) {
    const vst_graph *graph = vsti_lowering_graph(lowering);
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    const int *order = node->attributes;
    int64_t strides[VST_MAX_RANK], stride = 1;
    arguments a = {.shape = *vsti_shape(graph, node->outputs[0])};
    for (int i = in->rank; i-- > 0; stride *= in->dim[i]) strides[i] = stride;
    for (int i = 0; i < in->rank; i++) a.strides[i] = strides[order[i]];
    copy_step(lowering, node, &a);
}

static void gradient_permute(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const int *order = node->attributes;
    int inverse[VST_MAX_RANK] = {0};
    for (int i = 0; i < vst_shape_at(graph, vsti_input_of(node, 0)).rank; i++) inverse[order[i]] = i;
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vst_permute(graph, vsti_incoming(gradients, node, 0), inverse));
}

vst_value vst_permute(vst_graph *g, vst_value x, const int *order) {
    static const vsti_operation operation = {.name = "permute",
                                             .outputs = 1,
                                             .attribute_bytes = VST_MAX_RANK * sizeof(int),
                                             .shapes = shapes_permute,
                                             .gradient = gradient_permute,
                                             .lower = lower_permute};
    int copy[VST_MAX_RANK] = {0};
    if (g->status == VST_OK) memcpy(copy, order, (size_t)vst_shape_at(g, x).rank * sizeof *order);
    return vsti_emit(g, &operation, &x, 1, copy);
}

/* ---- expand ---- */

static void shapes_expand(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *in = vsti_shape(graph, node->inputs[0]), *wanted = node->attributes;
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    if (!vsti_broadcast(in, wanted, &out[0]) || !vst_shape_equal(&out[0], wanted))
        vst_graph_fail(graph, "expand: %s cannot be broadcast to %s", vst_shape_text(in, first),
                       vst_shape_text(wanted, second));
}

static void lower_expand(vsti_lowering *lowering, const vsti_node *node) {
    arguments a = {.shape = *(const vst_shape *)node->attributes};
    vsti_broadcast_strides(vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]), &a.shape, a.strides);
    copy_step(lowering, node, &a);
}

static void gradient_expand(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vst_value x = vsti_input_of(node, 0);
    vsti_add_gradient(gradients, x, vsti_reduce_to(graph, vsti_incoming(gradients, node, 0), vst_shape_at(graph, x)));
}

vst_value vst_expand(vst_graph *g, vst_value x, vst_shape shape) {
    static const vsti_operation operation = {.name = "expand",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(vst_shape),
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
