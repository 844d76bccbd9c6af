/* Soft distillation: T² KL(softmax(teacher / T) || softmax(student / T)), Hinton et al., 2015. With reduction
 * "batchmean" the textbook's and timm's mean over the batch; with "elements" also over the classes, as
 * facebookresearch/deit. */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

static vst_value build(vst_graph *graph, vst_value student, vst_value teacher, const vst_term_options *term) {
    return vst_kl_divergence(graph, student, teacher, term->temperature, (vst_kl_reduction)term->reduction);
}

extern const vst_distance vsti_distance_kl;
const vst_distance vsti_distance_kl = {.name = "kl",
                                       .help = "soft labels: T^2 KL(teacher || student) of softmax(logits / T)",
                                       .expects = VST_EXPECTS_LOGIT_ROWS,
                                       .build = build};
