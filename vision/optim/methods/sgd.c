/* Stochastic gradient descent with momentum, as torch.optim.SGD. */
#include "vision/kernels/kernels.h"
#include "vision/optim/methods/method.h"

static void update(const vst_update *u) {
    const vst_optimizer_options *o = u->options;
    const vsti_sgd sgd = {.rate = (float)u->rate,
                          .momentum = (float)o->momentum,
                          .decay = u->decay,
                          .gradient_scale = (float)u->gradient_scale,
                          .nesterov = o->nesterov,
                          .first = u->step == 1};
    vsti_get_kernels()->sgd(&sgd, u->value, u->gradient, u->state[0], u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_sgd;
const vst_optimizer_method vsti_optimizer_method_sgd = {
    .name = "sgd",
    .help = "stochastic gradient descent with momentum or Nesterov momentum",
    .uses = VST_USES_MOMENTUM | VST_USES_NESTEROV,
    .states = {"optimizer.velocity"},
    .update = update};
