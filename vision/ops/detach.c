/* A value as a constant: what a student learns from itself must not pull at both ends. */
#include "vision/ops/operation.h"

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    vsti_alias(lowering, node->outputs[0], node->inputs[0], 0);
}

vst_value vst_detach(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {
        .name = "detach", .outputs = 1, .input_names = {"x"}, .shapes = vsti_same_shape, .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
