/* Adan's step. Weight decay is a proximal step, timm's default. */
#include "vision/kernels/optimizer.h"

/* state: mean gradient, mean square, mean change, last gradient. first: there is no last gradient. */
VSTI_OWN_KERNEL(adan, const vsti_adamw *options, float beta3, float correction3, bool first, float *value,
                const float *gradient, float *const state[4], float *ema, float ema_decay, int64_t n);

typedef struct factors {
    float beta3, root3;
    float known; /* 0 in the first step, where the change of the gradient is 0 */
} factors;

static void block(const vsti_adamw *o, factors f, float *value, const float *gradient, float *m, float *v,
                  float *change, float *last, int64_t n) {
    const float beta1 = o->beta1, beta2 = o->beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, rest3 = 1 - f.beta3;
    const float step = o->rate / o->correction1, step2 = o->rate * beta2 / o->correction2, epsilon = o->epsilon;
    const float keep = 1 / (1 + o->rate * o->decay), scale = o->gradient_scale;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale, d = (g - last[i]) * f.known, ahead = g + beta2 * d;
        m[i] = beta1 * m[i] + rest1 * g;
        change[i] = beta2 * change[i] + rest2 * d;
        v[i] = f.beta3 * v[i] + rest3 * (ahead * ahead);
        value[i] = (value[i] - (step * m[i] + step2 * change[i]) / (sqrtf(v[i]) * f.root3 + epsilon)) * keep;
        last[i] = g;
    }
}

void K(adan)(const vsti_adamw *options, float beta3, float correction3, bool first, float *value, const float *gradient,
             float *const state[4], float *ema, float ema_decay, int64_t n) {
    const factors f = {beta3, 1 / sqrtf(correction3), first ? 0 : 1};
    VSTI_EACH_BLOCK(
        n, value, ema, ema_decay,
        block(options, f, value + i, gradient + i, state[0] + i, state[1] + i, state[2] + i, state[3] + i, length));
}
