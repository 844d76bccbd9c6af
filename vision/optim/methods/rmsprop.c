/* RMSprop as torch.optim.RMSprop, or with `tensorflow` as timm's RMSpropTF: epsilon inside the root, squares start at
 * 1, the rate is part of the momentum. Weight decay is added to the gradient. */
#include "vision/kernels/kernels.h"
#include "vision/optim/methods/method.h"

VSTI_OWN_KERNEL(rmsprop, const vsti_sgd *options, float alpha, float epsilon, bool tensorflow, float *value,
                const float *gradient, float *square, float *velocity, float *ema, float ema_decay, int64_t n);

typedef struct rmsprop {
    double alpha;
    bool tensorflow;
} rmsprop;

static const vst_option options[] = {VST_OPTION_DOUBLE(rmsprop, alpha, 0.9, 0, 0.9999999, "decay of the mean square"),
                                     VST_OPTION_BOOL(rmsprop, tensorflow, false, "as in TensorFlow (timm's rmsproptf)"),
                                     VST_OPTION_END};

static void update(const vst_update *u) {
    const rmsprop *own = u->own;
    const vsti_sgd sgd = {.rate = (float)u->rate,
                          .momentum = (float)u->options->momentum,
                          .decay = u->decay,
                          .gradient_scale = (float)u->gradient_scale,
                          .first = u->step == 1};
    vsti_own_rmsprop()(&sgd, (float)own->alpha, (float)u->options->epsilon, own->tensorflow, u->value, u->gradient,
                       u->state[0], u->state[1], u->ema, u->ema_decay, u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_rmsprop;
const vst_optimizer_method vsti_optimizer_method_rmsprop = {.name = "rmsprop",
                                                            .help = "gradient divided by its root mean square",
                                                            .uses = VST_USES_MOMENTUM | VST_USES_EPSILON,
                                                            .options = options,
                                                            .options_size = sizeof(rmsprop),
                                                            .states = {"optimizer.v", "optimizer.velocity"},
                                                            .update = update};
