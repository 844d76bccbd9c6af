/* Automatic differentiation with our operations: the walk is in graph/autodiff.c, which knows none of them. */
#include "vision/ops/operation.h"

void vst_differentiate(vst_graph *graph, vst_value loss) {
    static const vsti_gradient_rules rules = {.constant = vsti_constant, .add = vst_add};
    vsti_differentiate(graph, loss, &rules);
}
