/* Lion (Chen et al., 2023), as timm's: the sign of the interpolated momentum; decoupled weight decay. */
#include "vision/optim/methods/adam.h"

VSTI_OWN_KERNEL(lion, const vsti_adamw *options, float *value, const float *gradient, float *m, float *ema,
                float ema_decay, int64_t n);

static void update(const vst_update *u) {
    const vsti_adamw lion = vsti_adam_of(u);
    vsti_own_lion()(&lion, u->value, u->gradient, u->state[0], u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_lion;
const vst_optimizer_method vsti_optimizer_method_lion = {
    .name = "lion",
    .help = "sign of the momentum; use a tenth of AdamW's lr and ten times its weight decay",
    .uses = VST_USES_BETAS,
    .beta1 = 0.9,
    .beta2 = 0.99,
    .states = {"optimizer.m"},
    .update = update};
