/* Optimiser steps over a range of parameters, in one pass over memory. */
#include "vision/kernels/optimizer.h"

double K(sum_squares)(const float *x, int64_t n) {
    double partial[VSTI_PARTIAL_BLOCKS];
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = vsti_part(n, part); i < vsti_part(n, part + 1); i++) sum += (double)x[i] * (double)x[i];
        partial[part] = sum;
    }
    double sum = 0;
    for (int part = 0; part < VSTI_PARTIAL_BLOCKS; part++) sum += partial[part];
    return sum;
}

static void adamw_block(const vsti_adamw *o, float *value, const float *gradient, float *m, float *v, int64_t n) {
    const float beta1 = o->beta1, beta2 = o->beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, scale = o->gradient_scale;
    const float keep = 1 - o->rate * o->decay, step = o->rate / o->correction1, epsilon = o->epsilon;
    const float root = 1 / sqrtf(o->correction2);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        value[i] = keep * value[i] - step * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

void K(adamw)(const vsti_adamw *options, float *value, const float *gradient, float *m, float *v, float *ema,
              float ema_decay, int64_t n) {
    VSTI_EACH_BLOCK(n, value, ema, ema_decay, adamw_block(options, value + i, gradient + i, m + i, v + i, length));
}

/* Factors of LAMB's update that are constant within a range. */
typedef struct lamb_factors {
    float first, root; /* 1 / correction1, 1 / sqrt(correction2) */
} lamb_factors;

static lamb_factors lamb_factors_of(const vsti_adamw *o) {
    return (lamb_factors){1 / o->correction1, 1 / sqrtf(o->correction2)};
}

static inline float lamb_update(const vsti_adamw *o, lamb_factors f, float value, float m, float v) {
    return m * f.first / (sqrtf(v) * f.root + o->epsilon) + o->decay * value;
}

/* Adds the squares of value and update of elements begin … end - 1. */
static void lamb_part(const vsti_adamw *options, const float *value, const float *gradient, float *m, float *v,
                      double squares[2], int64_t begin, int64_t end) {
    const vsti_adamw o = *options;
    const lamb_factors f = lamb_factors_of(options);
    const float rest1 = 1 - o.beta1, rest2 = 1 - o.beta2;
    double weights = 0, updates = 0;
#pragma omp simd reduction(+ : weights, updates)
    for (int64_t i = begin; i < end; i++) {
        const float g = gradient[i] * o.gradient_scale;
        m[i] = o.beta1 * m[i] + rest1 * g;
        v[i] = o.beta2 * v[i] + rest2 * (g * g);
        const float u = lamb_update(&o, f, value[i], m[i], v[i]);
        weights += (double)value[i] * (double)value[i];
        updates += (double)u * (double)u;
    }
    squares[0] = weights;
    squares[1] = updates;
}

void K(lamb_moments)(const vsti_adamw *options, const float *value, const float *gradient, float *m, float *v,
                     double squares[2], int64_t n) {
    double partial[VSTI_PARTIAL_BLOCKS][2];
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t part = 0; part < VSTI_PARTIAL_BLOCKS; part++)
        lamb_part(options, value, gradient, m, v, partial[part], vsti_part(n, part), vsti_part(n, part + 1));
    squares[0] = squares[1] = 0;
    for (int part = 0; part < VSTI_PARTIAL_BLOCKS; part++) {
        squares[0] += partial[part][0];
        squares[1] += partial[part][1];
    }
}

void K(lamb_apply)(const vsti_adamw *options, float *value, const float *m, const float *v, float *ema, float ema_decay,
                   int64_t n) {
    const vsti_adamw o = *options;
    const lamb_factors f = lamb_factors_of(options);
#pragma omp parallel for schedule(static) if (n > VSTI_PARALLEL)
    for (int64_t block = 0; block < vsti_blocks(n); block++) {
        const int64_t begin = block * VSTI_BLOCK, length = vsti_block_length(n, block);
#pragma omp simd
        for (int64_t i = begin; i < begin + length; i++) value[i] -= o.rate * lamb_update(&o, f, value[i], m[i], v[i]);
        if (ema) vsti_average(value + begin, ema + begin, ema_decay, length);
    }
}

static void sgd_block(const vsti_sgd *o, float *value, const float *gradient, float *velocity, int64_t n) {
    const float scale = o->gradient_scale, decay = o->decay, rate = o->rate;
    /* The first velocity is the gradient; the old one is zero. Factors instead of branches let the loop be vectorised.
     */
    const float momentum = o->first ? 0 : o->momentum;
    const float own = o->nesterov ? 1 : 0, past = o->nesterov ? o->momentum : 1;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * scale + decay * value[i];
        velocity[i] = momentum * velocity[i] + g;
        value[i] -= rate * (own * g + past * velocity[i]);
    }
}

void K(sgd)(const vsti_sgd *options, float *value, const float *gradient, float *velocity, float *ema, float ema_decay,
            int64_t n) {
    VSTI_EACH_BLOCK(n, value, ema, ema_decay, sgd_block(options, value + i, gradient + i, velocity + i, length));
}
