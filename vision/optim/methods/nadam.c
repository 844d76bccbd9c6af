/* Adam with Nesterov's momentum (Dozat, 2016), as torch.optim.NAdam: weight decay is added to the gradient. */
#include "vision/optim/methods/adam.h"

VSTI_OWN_KERNEL(nadam, const vsti_adamw *options, float along, float ahead, float *value, const float *gradient,
                float *m, float *v, float *ema, float ema_decay, int64_t n);

typedef struct nadam {
    double momentum_decay;
} nadam;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(nadam, momentum_decay, 4e-3, 0, 1, "how fast the momentum rises to beta1"), VST_OPTION_END};

static double momentum_at(const vst_update *u, double t) {
    const nadam *o = u->own;
    return u->options->beta1 * (1 - 0.5 * pow(0.96, t * o->momentum_decay));
}

/* The product of all momenta up to this step. memory: the last step for which it was computed, and the product. */
static double product_of(const vst_update *u) {
    double *done = &u->memory[0], *product = &u->memory[1];
    if (*done == 0 || *done > (double)u->step) *done = 0, *product = 1;
    while (*done < (double)u->step) *product *= momentum_at(u, ++*done);
    return *product;
}

static void update(const vst_update *u) {
    const double t = (double)u->step, now = momentum_at(u, t), next = momentum_at(u, t + 1), product = product_of(u);
    const vsti_adamw adam = vsti_adam_of(u);
    const float along = (float)(u->rate * (1 - now) / (1 - product));
    const float ahead = (float)(u->rate * next / (1 - product * next));
    vsti_own_nadam()(&adam, along, ahead, u->value, u->gradient, u->state[0], u->state[1], u->ema, u->ema_decay,
                     u->count);
}

extern const vst_optimizer_method vsti_optimizer_method_nadam;
const vst_optimizer_method vsti_optimizer_method_nadam = {.name = "nadam",
                                                          .help = "Adam with Nesterov's momentum",
                                                          .uses = VST_USES_BETAS | VST_USES_EPSILON,
                                                          .beta1 = 0.9,
                                                          .beta2 = 0.999,
                                                          .options = options,
                                                          .options_size = sizeof(nadam),
                                                          .states = {"optimizer.m", "optimizer.v"},
                                                          .update = update};
