/* Detach: the same value without a gradient, for a target that a model computes for itself. */
#include "vision/ops/operation.h"

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    vsti_alias(lowering, node->outputs[0], node->inputs[0], 0);
}

vst_value vst_detach(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {
        .name = "detach", .outputs = 1, .input_names = {"x"}, .shapes = vsti_same_shape, .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
