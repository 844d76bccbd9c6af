/* AdamW (Loshchilov and Hutter, 2019), as torch.optim.AdamW. */
#include "vision/optim/methods/adam.h"

static void update(const vst_update *u) {
    const vsti_adamw adamw = vsti_adam_of(u);
    vsti_get_kernels()->adamw(&adamw, u->value, u->gradient, u->state[0], u->state[1], u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_adamw;
const vst_optimizer_method vsti_optimizer_method_adamw = {.name = "adamw",
                                                          .help = "Adam with decoupled weight decay",
                                                          .uses = VST_USES_BETAS | VST_USES_EPSILON,
                                                          .beta1 = 0.9,
                                                          .beta2 = 0.999,
                                                          .states = {"optimizer.m", "optimizer.v"},
                                                          .update = update};
