/* Soft distillation: T² KL(softmax(teacher / T) || softmax(student / T)), Hinton et al., 2015. Reduction "batchmean"
 * averages over the batch, as PyTorch and timm; "elements" also over the classes, as facebookresearch/deit. */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

typedef struct kl_options {
    double temperature;
    int reduction; /* vst_kl_reduction */
} kl_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(kl_options, temperature, 1, 1e-3, 1000, "temperature of both distributions"),
    VST_OPTION_CHOICE(kl_options, reduction, "batchmean", VST_CHOICE_TEXT(VST_KL_REDUCTIONS),
                      "mean over the batch, or over batch and classes as DeiT's code does"),
    VST_OPTION_END};

static vst_value build(const vst_distance_inputs *in) {
    const kl_options *o = in->options;
    return vst_kl_divergence(in->graph, in->student, in->teacher, o->temperature, (vst_kl_reduction)o->reduction);
}

extern const vst_distance vsti_distance_kl;
const vst_distance vsti_distance_kl = {.name = "kl",
                                       .help = "soft labels: T^2 KL(teacher || student) of softmax(logits / T)",
                                       .expects = VST_EXPECTS_LOGIT_ROWS,
                                       .options = options,
                                       .options_size = sizeof(kl_options),
                                       .build = build};
