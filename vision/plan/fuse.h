/* Finds the nodes that are computed in one step: y = activation(norm(product) + residual), in training without the
 * norm. */
#ifndef VISTILL_VISION_PLAN_FUSE_H
#define VISTILL_VISION_PLAN_FUSE_H

#include "vision/plan/lowering.h"

typedef struct vsti_fusions { /* by node */
    int *host;                /* the product in whose step the node is computed (for a host, itself); -1: not fused */
    int *last;           /* of hosts: the node at whose position the step runs, where all its inputs are available */
    vsti_fusion *fusion; /* of hosts */
} vsti_fusions;

/* Finds the fusions among the needed nodes. A value with more than one reader, or with `kept` set (by value) because it
 * is read after the last node, is not fused. quantized (by node): products on 8-bit integers. */
VST_NODISCARD vst_status vsti_fusions_find(vsti_fusions *out, const vst_graph *graph, const bool *needed,
                                           const bool *kept, bool training, const bool *quantized);
void vsti_fusions_clear(vsti_fusions *fusions);

#endif
