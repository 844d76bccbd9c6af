/* Hard distillation: cross-entropy with the teacher's argmax as label, without smoothing (Touvron et al., DeiT, 2021).
 */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

static vst_value build(const vst_distance_inputs *in) {
    return vst_cross_entropy(in->graph, in->student, vst_one_hot_argmax(in->graph, in->teacher), 0);
}

extern const vst_distance vsti_distance_hard;
const vst_distance vsti_distance_hard = {.name = "hard",
                                         .help = "hard labels: cross-entropy with the teacher's top class",
                                         .expects = VST_EXPECTS_CLASS_LOGITS,
                                         .build = build};
