/* Adan (Xie et al., 2022), as timm's: moments of the gradient, of its change, and of both together. */
#include "vision/optim/methods/adam.h"

VSTI_OWN_KERNEL(adan, const vsti_adamw *options, float beta3, float correction3, bool first, float *value,
                const float *gradient, float *const state[4], float *ema, float ema_decay, int64_t n);

typedef struct adan {
    double beta3;
} adan;

static const vst_option options[] = {VST_OPTION_DOUBLE(adan, beta3, 0.99, 0, 0.9999999, "decay of the mean square"),
                                     VST_OPTION_END};

static void update(const vst_update *u) {
    const float beta3 = (float)((const adan *)u->own)->beta3;
    const vsti_adamw adam = vsti_adam_of(u);
    vsti_own_adan()(&adam, beta3, (float)(1 - pow(beta3, (double)u->step)), u->step == 1, u->value, u->gradient,
                    u->state, u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_adan;
const vst_optimizer_method vsti_optimizer_method_adan = {
    .name = "adan",
    .help = "Adaptive Nesterov momentum; beta2 is the decay of the gradient differences",
    .uses = VST_USES_BETAS | VST_USES_EPSILON,
    .beta1 = 0.98,
    .beta2 = 0.92,
    .options = options,
    .options_size = sizeof(adan),
    .states = {"optimizer.m", "optimizer.v", "optimizer.change", "optimizer.gradient"},
    .update = update};
