/* How far the images of a batch are apart, in both models as multiples of the mean (Park et al., "Relational Knowledge
 * Distillation", 2019; their weight is 25). */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

static vst_value build(vst_graph *graph, vst_value student, vst_value teacher, const vst_term_options *term) {
    (void)term;
    return vst_smooth_l1(graph, vst_pairwise_distances(graph, student), vst_pairwise_distances(graph, teacher));
}

extern const vst_distance vsti_distance_rkd_distance;
const vst_distance vsti_distance_rkd_distance = {.name = "rkd_distance",
                                                 .help = "distances between the images of a batch, over their mean",
                                                 .expects = VST_EXPECTS_VECTORS,
                                                 .build = build};
