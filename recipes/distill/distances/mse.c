/* Mean squared error over all elements: features (locality guidance, Li et al., 2022) or logits. */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

static vst_value build(const vst_distance_inputs *in) { return vst_mse(in->graph, in->student, in->teacher); }

extern const vst_distance vsti_distance_mse;
const vst_distance vsti_distance_mse = {.name = "mse",
                                        .help = "mean squared error of features or logits",
                                        .expects = VST_EXPECTS_SAME_SHAPE,
                                        .build = build};
