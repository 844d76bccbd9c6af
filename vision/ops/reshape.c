/* Reshape: a view with another shape. */
#include "vision/ops/operation.h"

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *in = vsti_shape(graph, node->inputs[0]);
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    int64_t known = 1;
    int open = -1;
    out[0] = *(const vst_shape *)node->attributes;
    for (int i = 0; i < out[0].rank; i++) {
        if (out[0].dim[i] == -1 && open < 0) open = i;
        else known *= out[0].dim[i];
    }
    const int64_t count = vst_shape_count(in);
    if (open >= 0 && known > 0 && count % known == 0) out[0].dim[open] = count / known;
    if (vst_shape_count(&out[0]) != count)
        vst_graph_fail(graph, VST_ERROR_SHAPE, "reshape: %s cannot be reshaped to %s", vst_shape_text(in, first),
                       vst_shape_text(node->attributes, second));
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    vsti_alias(lowering, node->outputs[0], node->inputs[0], 0);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vst_value x = vsti_input_of(node, 0);
    vsti_add_gradient(gradients, x, vst_reshape(graph, vsti_incoming(gradients, node, 0), vst_shape_at(graph, x)));
}

vst_value vst_reshape(vst_graph *g, vst_value x, vst_shape shape) {
    static const vsti_attribute described[] = {{"shape", VSTI_SHAPE, 0, NULL}, {0}};
    static const vsti_operation operation = {.name = "reshape",
                                             .bf16_in = 1,
                                             .bf16_alike = true,
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(vst_shape),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, &x, 1, &shape);
}
