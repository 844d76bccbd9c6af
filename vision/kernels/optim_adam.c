/* Adam's step. */
#include "vision/kernels/optimizer.h"

VSTI_OWN_KERNEL(adam, const vsti_adamw *options, float *value, const float *gradient, float *m, float *v, float *ema,
                float ema_decay, int64_t n);

static void block(const vsti_adamw *o, float *value, const float *gradient, float *m, float *v, int64_t n) {
    const float beta1 = o->beta1, beta2 = o->beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, scale = o->gradient_scale;
    const float decay = o->decay, step = o->rate / o->correction1, root = 1 / sqrtf(o->correction2);
    const float epsilon = o->epsilon;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale + decay * value[i];
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        value[i] -= step * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

void K(adam)(const vsti_adamw *options, float *value, const float *gradient, float *m, float *v, float *ema,
             float ema_decay, int64_t n) {
    VSTI_EACH_BLOCK(n, value, ema, ema_decay, block(options, value + i, gradient + i, m + i, v + i, length));
}
