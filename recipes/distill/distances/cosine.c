/* 1 - cosine of the angle between the channels of each place, the mean over all places (DistilBERT, Sanh et al., 2019).
 */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

/* |u - v|² = 2 (1 - cos) for unit vectors. */
static vst_value build(vst_graph *graph, vst_value student, vst_value teacher, const vst_term_options *term) {
    (void)term;
    const vst_shape shape = vst_shape_at(graph, student);
    const double channels = (double)shape.dim[shape.rank - 1];
    return vst_scale(graph, vst_mse(graph, vst_l2_normalize(graph, student), vst_l2_normalize(graph, teacher)),
                     channels / 2);
}

extern const vst_distance vsti_distance_cosine;
const vst_distance vsti_distance_cosine = {.name = "cosine",
                                           .help = "1 - cosine of the channels of each place",
                                           .expects = VST_EXPECTS_CHANNELS_LAST,
                                           .build = build};
