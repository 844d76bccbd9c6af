/* Permutation of dimensions: a copy with other strides. */
#include "vision/ops/operation.h"

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    const int *order = ((const vsti_ints *)node->attributes)->values;
    char text[VST_SHAPE_TEXT];
    unsigned seen = 0;
    out[0].rank = in->rank;
    for (int i = 0; i < in->rank; i++) {
        if (order[i] < 0 || order[i] >= in->rank || seen & 1u << order[i]) {
            vst_graph_fail(graph, VST_ERROR_ARGUMENT, "permute: the order is not a permutation of the dimensions of %s",
                           vst_shape_text(in, text));
            return;
        }
        seen |= 1u << order[i];
        out[0].dim[i] = in->dim[order[i]];
    }
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const vst_graph *graph = vsti_lowering_graph(lowering);
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    const int *order = ((const vsti_ints *)node->attributes)->values;
    int64_t strides[VST_MAX_RANK], stride = 1;
    vsti_strided s = vsti_loop_over(vsti_shape(graph, node->outputs[0]));
    for (int i = in->rank; i-- > 0; stride *= in->dim[i]) strides[i] = stride;
    for (int i = 0; i < in->rank; i++) s.a[i] = strides[order[i]];
    vsti_copy_strided(lowering, node, &s);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const int *order = ((const vsti_ints *)node->attributes)->values;
    int inverse[VST_MAX_RANK] = {0};
    for (int i = 0; i < vst_shape_at(graph, vsti_input_of(node, 0)).rank; i++) inverse[order[i]] = i;
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vst_permute(graph, vsti_incoming(gradients, node, 0), inverse));
}

vst_value vst_permute(vst_graph *g, vst_value x, const int *order) {
    static const vsti_attribute described[] = {{"order", VSTI_INTS, 0, NULL}, {0}};
    static const vsti_operation operation = {.name = "permute",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(vsti_ints),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower};
    vsti_ints o = {.count = vst_shape_at(g, x).rank};
    for (int i = 0; i < o.count; i++) o.values[i] = order[i];
    return vsti_emit(g, &operation, &x, 1, &o);
}
