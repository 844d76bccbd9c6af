/* Cost of each part of a model: parameters, multiply-accumulates, output shape. */
#ifndef VISTILL_RECIPES_MODEL_COST_H
#define VISTILL_RECIPES_MODEL_COST_H

#include "vision/graph/graph.h"

/* A part has all names with the same beginning up to the first number ("blocks.0", "layer1.0", "s1.b1", "blocks.0.1"),
 * or with the same first word if there is no number ("patch_embed", "head", "pos_embed"). */
typedef struct vst_model_part {
    char name[64];     /* "" for nodes outside all scopes */
    size_t parameters; /* trained parameters */
    double macs;
    vst_shape output; /* of its last node; rank -1 if it has none */
} vst_model_part;

/* Lists the parts in order of appearance; the caller frees *parts with vst_free. The graph is for one image; `params`
 * are its parameters, which need not be allocated. */
VST_NODISCARD vst_status vst_model_parts(vst_model_part **parts, size_t *count, const vst_graph *graph,
                                         const vst_params *params);

#endif
