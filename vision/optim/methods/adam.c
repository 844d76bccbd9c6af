/* Adam (Kingma and Ba, 2015), as torch.optim.Adam: weight decay is added to the gradient. */
#include "vision/optim/methods/adam.h"

VSTI_OWN_KERNEL(adam, const vsti_adamw *options, float *value, const float *gradient, float *m, float *v, float *ema,
                float ema_decay, int64_t n);

static void update(const vst_update *u) {
    const vsti_adamw adam = vsti_adam_of(u);
    vsti_own_adam()(&adam, u->value, u->gradient, u->state[0], u->state[1], u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_adam;
const vst_optimizer_method vsti_optimizer_method_adam = {.name = "adam",
                                                         .help = "Adam; weight decay is added to the gradient",
                                                         .uses = VST_USES_BETAS | VST_USES_EPSILON,
                                                         .beta1 = 0.9,
                                                         .beta2 = 0.999,
                                                         .states = {"optimizer.m", "optimizer.v"},
                                                         .update = update};
