/* vst_differentiate: calls graph/autodiff.c, which depends on no operation, with the two operations that it emits
 * itself. */
#include "vision/ops/operation.h"

void vst_differentiate(vst_graph *graph, vst_value loss) {
    static const vsti_gradient_rules rules = {.constant = vsti_constant, .add = vst_add};
    vsti_differentiate(graph, loss, &rules);
}
