/* Distances between the images of a batch, each model's divided by their mean (Park et al., "Relational Knowledge
 * Distillation", 2019; the authors' weight is 25). */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

static vst_value build(const vst_distance_inputs *in) {
    return vst_smooth_l1(in->graph, vst_pairwise_distances(in->graph, in->student),
                         vst_pairwise_distances(in->graph, in->teacher));
}

extern const vst_distance vsti_distance_rkd_distance;
const vst_distance vsti_distance_rkd_distance = {
    .name = "rkd_distance",
    .help = "relational: distances between images of a batch, divided by their mean",
    .expects = VST_EXPECTS_VECTORS,
    .build = build};
