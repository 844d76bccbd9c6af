/* LAMB (You et al., 2020), as timm's Lamb (always_adapt false) and apex's FusedLAMB: with u = AdamW's step + decay w, a
 * tensor with decay is updated by rate |w| / |u| u, a tensor without decay by rate u. No trust ratio either if the
 * tensor or its update is zero. */
#include "vision/optim/methods/adam.h"

static void update(const vst_update *u) {
    const vsti_kernels *kernels = vsti_get_kernels();
    vsti_adamw lamb = vsti_adam_of(u);
    double squares[2];
    kernels->lamb_moments(&lamb, u->value, u->gradient, u->state[0], u->state[1], squares, u->count);
    const double trust = lamb.decay > 0 && squares[0] > 0 && squares[1] > 0 ? sqrt(squares[0] / squares[1]) : 1;
    lamb.rate = (float)(u->rate * trust);
    kernels->lamb_apply(&lamb, u->value, u->state[0], u->state[1], u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_lamb;
const vst_optimizer_method vsti_optimizer_method_lamb = {.name = "lamb",
                                                         .help = "AdamW's step scaled by the norm of each tensor",
                                                         .uses = VST_USES_BETAS | VST_USES_EPSILON,
                                                         .beta1 = 0.9,
                                                         .beta2 = 0.999,
                                                         .states = {"optimizer.m", "optimizer.v"},
                                                         .by_tensor = true,
                                                         .exact_clip = true,
                                                         .update = update};
