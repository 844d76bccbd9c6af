/* RMSprop's step. */
#include "vision/kernels/optimizer.h"

VSTI_OWN_KERNEL(rmsprop, const vsti_sgd *options, float alpha, float epsilon, bool tensorflow, float *value,
                const float *gradient, float *square, float *velocity, float *ema, float ema_decay, int64_t n);

typedef struct factors {
    float alpha, epsilon;
    bool tensorflow;
} factors;

static void block(const vsti_sgd *o, factors f, float *value, const float *gradient, float *square, float *velocity,
                  int64_t n) {
    const float alpha = f.alpha, rest = 1 - alpha, scale = o->gradient_scale, decay = o->decay;
    const float inside = f.tensorflow ? f.epsilon : 0, outside = f.tensorflow ? 0 : f.epsilon;
    const float before = f.tensorflow ? o->rate : 1, after = f.tensorflow ? 1 : o->rate, momentum = o->momentum;
    const float begin = o->first && f.tensorflow ? 1 : 0; /* the squares are 0 before the first step */
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale + decay * value[i];
        square[i] = alpha * (square[i] + begin) + rest * (g * g);
        velocity[i] = momentum * velocity[i] + before * g / (sqrtf(square[i] + inside) + outside);
        value[i] -= after * velocity[i];
    }
}

void K(rmsprop)(const vsti_sgd *options, float alpha, float epsilon, bool tensorflow, float *value,
                const float *gradient, float *square, float *velocity, float *ema, float ema_decay, int64_t n) {
    const factors f = {alpha, epsilon, tensorflow};
    VSTI_EACH_BLOCK(n, value, ema, ema_decay,
                    block(options, f, value + i, gradient + i, square + i, velocity + i, length));
}
