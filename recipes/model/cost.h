/* What each part of a model costs: parameters, multiply-accumulates, and the shape of what it gives. */
#ifndef VISTILL_RECIPES_MODEL_COST_H
#define VISTILL_RECIPES_MODEL_COST_H

#include "vision/graph/graph.h"

/* A part is what shares the beginning of its names up to the first number ("blocks.0", "layer1.0", "s1.b1",
 * "blocks.0.1"), or the first word where there is none ("patch_embed", "head", "pos_embed"). */
typedef struct vst_model_part {
    char name[64];     /* "" for work outside of all names */
    size_t parameters; /* trained ones */
    double macs;
    vst_shape output; /* of its last node; rank -1 if it has none */
} vst_model_part;

/* The parts in order of appearance, *parts is to be vst_free'd. The graph is of one image and its parameters, which
 * need not be allocated, are `params`. */
VST_NODISCARD vst_status vst_model_parts(vst_model_part **parts, size_t *count, const vst_graph *graph,
                                         const vst_params *params);

#endif
