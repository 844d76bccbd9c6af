/* Which nodes of a plan become one step: y = activation(norm(product) + residual), in training without the norm. */
#ifndef VISTILL_VISION_PLAN_FUSE_H
#define VISTILL_VISION_PLAN_FUSE_H

#include "vision/plan/lowering.h"

typedef struct vsti_fusions { /* by node */
    int *host; /* the product whose step computes this node too (itself included), -1: the node is on its own */
    int *last; /* of hosts: the node in whose place the step is made; by then all that it reads is there */
    vsti_fusion *fusion; /* of hosts */
} vsti_fusions;

/* Finds them among the needed nodes. A value that is read more than once, or that `kept` (by value) tells to keep
 * because it is read after the last node, is not fused away. */
VST_NODISCARD vst_status vsti_fusions_find(vsti_fusions *out, const vst_graph *graph, const bool *needed,
                                           const bool *kept, bool training);
void vsti_fusions_clear(vsti_fusions *fusions);

#endif
