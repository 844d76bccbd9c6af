/* 1 - cosine of the angle between student and teacher channels at each position, averaged over positions (DistilBERT,
 * Sanh et al., 2019). */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

/* |u - v|² = 2 (1 - cos) for unit vectors. */
static vst_value build(const vst_distance_inputs *in) {
    const vst_shape shape = vst_shape_at(in->graph, in->student);
    const double channels = (double)shape.dim[shape.rank - 1];
    return vst_scale(
        in->graph,
        vst_mse(in->graph, vst_l2_normalize(in->graph, in->student), vst_l2_normalize(in->graph, in->teacher)),
        channels / 2);
}

extern const vst_distance vsti_distance_cosine;
const vst_distance vsti_distance_cosine = {.name = "cosine",
                                           .help = "1 - cosine similarity of the channels at each position",
                                           .expects = VST_EXPECTS_CHANNELS_LAST,
                                           .build = build};
