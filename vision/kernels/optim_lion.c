/* Lion's step. */
#include "vision/kernels/optimizer.h"

VSTI_OWN_KERNEL(lion, const vsti_adamw *options, float *value, const float *gradient, float *m, float *ema,
                float ema_decay, int64_t n);

static void block(const vsti_adamw *o, float *value, const float *gradient, float *m, int64_t n) {
    const float beta1 = o->beta1, beta2 = o->beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, scale = o->gradient_scale;
    const float keep = 1 - o->rate * o->decay, rate = o->rate;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale, mean = beta1 * m[i] + rest1 * g;
        const float sign = (float)(mean > 0) - (float)(mean < 0);
        value[i] = keep * value[i] - rate * sign;
        m[i] = beta2 * m[i] + rest2 * g;
    }
}

void K(lion)(const vsti_adamw *options, float *value, const float *gradient, float *m, float *ema, float ema_decay,
             int64_t n) {
    VSTI_EACH_BLOCK(n, value, ema, ema_decay, block(options, value + i, gradient + i, m + i, length));
}
