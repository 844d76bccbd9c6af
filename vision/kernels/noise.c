/* Normally distributed noise by the Box-Muller transform in float32; both numbers of a pair are used. No fused
 * multiply-add (cmake/Kernels.cmake): augmented images must have the same bits on every instruction set. */
#include <Random123/philox.h>
#include <string.h>

#include "vision/kernels/exact.h"

enum { PAIRS = 256 }; /* computed at a time, in the L1 cache; even, because a block of the generator is two pairs */

/* ln x for 0 < x <= 1 within 2e-7, with the polynomial of the Cephes library. */
static inline float ln(float x) {
    union {
        float f;
        int32_t i;
    } bits = {.f = x}, fraction;
    const int32_t exponent = (bits.i - 0x3f3504f3) >> 23; /* of x / sqrt(1/2) */
    fraction.i = bits.i - exponent * (1 << 23);
    const float t = fraction.f - 1.0f, square = t * t, e = (float)exponent;
    float p = 7.0376836292e-2f;
    p = p * t - 1.1514610310e-1f;
    p = p * t + 1.1676998740e-1f;
    p = p * t - 1.2420140846e-1f;
    p = p * t + 1.4249322787e-1f;
    p = p * t - 1.6668057665e-1f;
    p = p * t + 2.0000714765e-1f;
    p = p * t - 2.4999993993e-1f;
    p = p * t + 3.3333331174e-1f;
    const float low = p * t * square - 2.12194440e-4f * e - 0.5f * square;
    return t + low + 0.693359375f * e;
}

/* Sine and cosine of the angle 2 pi x / 2^32: Taylor series around the nearest multiple of a quarter turn. */
static inline void sine_cosine(uint32_t x, float *sine, float *cosine) {
    const uint32_t quarter = (x + 0x20000000u) >> 30;
    const float t = (float)(int32_t)(x - (quarter << 30)) * 1.46291808e-9f, square = t * t; /* pi / 2^31 */
    float s = -1.9515296e-4f, c = 2.4433157e-5f;
    s = s * square + 8.3321609e-3f;
    s = s * square - 1.6666655e-1f;
    s = s * square * t + t;
    c = c * square - 1.3887316e-3f;
    c = c * square + 4.1666646e-2f;
    c = c * square * square - 0.5f * square + 1.0f;
    const float up = quarter & 1 ? c : s, right = quarter & 1 ? s : c;
    *sine = quarter & 2 ? -up : up;
    *cosine = (quarter + 1) & 2 ? -right : right;
}

static void draw(vst_random *random, uint32_t *out, int64_t count) {
    const philox4x32_key_t key = {{random->key[0], random->key[1]}};
    for (int64_t i = 0; i < count; i += 4) {
        const philox4x32_ctr_t counter = {
            {random->counter[0]++, random->counter[1], random->counter[2], random->counter[3]}};
        const philox4x32_ctr_t numbers = philox4x32(counter, key);
        memcpy(out + i, numbers.v, sizeof numbers.v);
    }
}

/* Writes up to PAIRS pairs: the first numbers to `a`, the second to `b`. */
static void make_pairs(vst_random *random, float mean, float std, float *a, float *b, int64_t pairs) {
    uint32_t numbers[2 * PAIRS];
    draw(random, numbers, 2 * pairs);
#pragma omp simd
    for (int64_t i = 0; i < pairs; i++) {
        /* 31 bits, because signed integers are converted faster. Never 0. */
        const float u = ((float)(int32_t)(numbers[i] >> 1) + 0.5f) * 0x1p-31f;
        float sine, cosine;
        sine_cosine(numbers[pairs + i], &sine, &cosine);
        const float radius = sqrtf(-2.0f * ln(u)) * std;
        a[i] = mean + radius * cosine;
        b[i] = mean + radius * sine;
    }
}

void K(normals)(vst_random *random, float mean, float std, float *out, int64_t n) {
    float a[PAIRS], b[PAIRS];
    random->used = 4; /* the rest of the current block is dropped */
    for (int64_t i = 0; i < n; i += 2 * PAIRS) {
        const int64_t left = n - i, pairs = left < 2 * PAIRS ? (left + 1) / 2 : PAIRS;
        make_pairs(random, mean, std, a, b, pairs);
        memcpy(out + i, a, (size_t)pairs * sizeof *a);
        memcpy(out + i + pairs, b, (size_t)(left < 2 * pairs ? left - pairs : pairs) * sizeof *b);
    }
}
