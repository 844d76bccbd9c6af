/* Mean squared error of probabilities over all images and classes (Tarvainen and Valpola, "Mean teachers are better
 * role models", 2017: the consistency cost of the authors' code). */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

static vst_value build(const vst_distance_inputs *in) {
    return vst_mse(in->graph, vst_softmax(in->graph, in->student), vst_softmax(in->graph, in->teacher));
}

extern const vst_distance vsti_distance_softmax_mse;
const vst_distance vsti_distance_softmax_mse = {.name = "softmax_mse",
                                                .help = "mean squared error of softmax(logits)",
                                                .expects = VST_EXPECTS_CLASS_LOGITS,
                                                .build = build};
