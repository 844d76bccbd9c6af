/* For the files of this folder only: the name suffix of the instruction set being compiled, its vector width, how work
 * is shared among threads, and branch-free scalar functions that compilers vectorise in `#pragma omp simd` loops. */
#ifndef VISTILL_VISION_KERNELS_ISA_H
#define VISTILL_VISION_KERNELS_ISA_H

#include <math.h>
#include <string.h>
#if defined __SSE__
#include <immintrin.h>
#endif

#include "vision/kernels/kernels.h"

#define VSTI_JOIN2(a, b) a##_##b
#define VSTI_JOIN(a, b) VSTI_JOIN2(a, b)
/* K(add) is vsti_add_avx2 when this file is compiled for AVX2. */
#define K(name) VSTI_JOIN(vsti_##name, VSTI_ISA)

/* VSTI_FUNCTIONS(X): X(name) for every function of the table, made from kernels.h by cmake/Kernels.cmake. */
#include "kernel_functions.h"
/* Declares each function with its type in the table. */
#define VSTI_DECLARE(name) __typeof__(*((vsti_kernels *)0)->name) K(name);
VSTI_FUNCTIONS(VSTI_DECLARE)

#if defined VSTI_ISA_avx512
enum { VSTI_LANES = 16, VSTI_LEVEL = 2 };
#elif defined VSTI_ISA_avx2
enum { VSTI_LANES = 8, VSTI_LEVEL = 1 };
#else
enum { VSTI_LANES = 4, VSTI_LEVEL = 0 };
#endif

/* Whether attention of this shape is shared among threads. */
static inline bool vsti_attention_worth_threads(const vsti_attention_shape *s) {
    return s->batch * s->heads * s->tokens * (s->queries + s->channels) > VSTI_PARALLEL;
}

/* Blocks of a flat array and the length of one of them. */
static inline int64_t vsti_blocks(int64_t n) { return (n + VSTI_BLOCK - 1) / VSTI_BLOCK; }
static inline int64_t vsti_block_length(int64_t n, int64_t block) {
    const int64_t left = n - block * VSTI_BLOCK;
    return left < VSTI_BLOCK ? left : VSTI_BLOCK;
}

/* The first row of part `part` when n rows are split into VSTI_PARTIAL_BLOCKS parts; part VSTI_PARTIAL_BLOCKS is the
 * end. */
static inline int64_t vsti_part(int64_t n, int64_t part) {
    return n / VSTI_PARTIAL_BLOCKS * part + n % VSTI_PARTIAL_BLOCKS * part / VSTI_PARTIAL_BLOCKS;
}

/* Adds `rows` rows of x to sum, VSTI_ROWS_ADDED at a time, to read and write sum less often. */
enum { VSTI_ROWS_ADDED = 4 };
static inline void vsti_add_rows(const float *x, int64_t x_row, float *sum, int64_t rows, int64_t cols) {
    int64_t row = 0;
    for (; row + VSTI_ROWS_ADDED <= rows; row += VSTI_ROWS_ADDED) {
        const float *a = x + row * x_row, *b = a + x_row, *c = b + x_row, *d = c + x_row;
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) sum[i] += (a[i] + b[i]) + (c[i] + d[i]);
    }
    for (; row < rows; row++) {
        const float *a = x + row * x_row;
#pragma omp simd
        for (int64_t i = 0; i < cols; i++) sum[i] += a[i];
    }
}

/* The sum over the parts of a column reduction. */
static inline void vsti_add_parts(const float *partial, float *sum, int64_t cols) {
    memset(sum, 0, (size_t)cols * sizeof *sum);
    vsti_add_rows(partial, cols, sum, VSTI_PARTIAL_BLOCKS, cols);
}

/* e^x within 2 ulp. Infinite above x = 88.37; 0 below -87.3, to avoid slow denormals in later sums. NaN stays NaN. */
static inline float vsti_exp(float x) {
    union {
        float f;
        uint32_t u;
    } shifted, power;
    float t = x < -87.3f ? -87.3f : x;
    t = t > 88.37f ? 88.37f : t;
    shifted.f = t * 1.44269504f + 12582912.0f; /* + 1.5 * 2^23: the nearest integer is in the low bits */
    power.u = (shifted.u << 23) + 0x3f800000u; /* 2^n */
    const float n = shifted.f - 12582912.0f;
    const float r = (t - n * 0.693359375f) - n * -2.12194440e-4f; /* ln 2 in two parts: the first product is exact */
    /* Minimax for (e^r - 1 - r) / r² on ±ln(2)/2, error of e^r 3e-9. */
    float q = 0.001381463761f;
    q = q * r + 0.008368778156f;
    q = q * r + 0.04166839165f;
    q = q * r + 0.1666652013f;
    q = q * r + 0.4999999342f;
    const float result = (q * (r * r) + r + 1.0f) * power.f;
    const float low = x < -87.3f ? 0.0f : result;
    return x > 88.37f ? INFINITY : low;
}

/* erf x, absolute error 5e-7: a rational minimax approximation of erf(x) / x in x², relative error 5e-8 up to 3.925,
 * where erf reaches 1 in float32. */
static inline float vsti_erf(float x) {
    float t = x < -3.925f ? -3.925f : x;
    t = t > 3.925f ? 3.925f : t;
    const float u = t * t;
    float p = 1.98545357e-8f;
    p = p * u - 1.95558483e-6f;
    p = p * u + 1.42135388e-4f;
    p = p * u + 3.71945661e-3f;
    p = p * u + 5.06337587e-2f;
    p = p * u + 2.00384355e-1f;
    p = p * u + 1.12837911f;
    float q = 9.59885041e-4f;
    q = q * u + 1.4391318e-2f;
    q = q * u + 1.15187828e-1f;
    q = q * u + 5.10917668e-1f;
    q = q * u + 1.0f;
    return t * p / q;
}

/* Row loops shared by several files. */

/* Compares the bits as integers that are mapped to the order of floats, which compilers can vectorise without
 * assumptions about NaN. A NaN is either the result or ignored. */
static inline float vsti_row_max(const float *x, int64_t n) {
    union {
        float f;
        int32_t i;
    } value, best = {.f = -INFINITY};
    int32_t max = best.i ^ INT32_MAX;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++) {
        value.f = x[i];
        const int32_t key = value.i ^ (value.i >> 31 & INT32_MAX);
        max = key > max ? key : max;
    }
    best.i = max ^ (max >> 31 & INT32_MAX);
    return best.f;
}

/* Sums use the vector extension of GCC (12 or later) and Clang: for a simd reduction GCC 12 adds the lanes one by one,
 * which for short rows takes longer than the loop. The type is unaligned and may alias floats. */
typedef float vsti_vector __attribute__((vector_size(4 * VSTI_LANES), aligned(4), may_alias));

static inline vsti_vector vsti_load(const float *x) { return *(const vsti_vector *)x; }

typedef int32_t vsti_order __attribute__((vector_size(4 * VSTI_LANES)));
typedef uint32_t vsti_bits __attribute__((vector_size(4 * VSTI_LANES))); /* wraps around if a loss has diverged */

/* The sum of the lanes, by adding halves. */
static inline float vsti_total(vsti_vector v) {
#if defined VSTI_ISA_avx512
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif defined VSTI_ISA_avx2
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/* The maximum of each lane; b if one of them is NaN. */
static inline vsti_vector vsti_max(vsti_vector a, vsti_vector b) {
#if defined VSTI_ISA_avx512
    return (vsti_vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined VSTI_ISA_avx2
    return (vsti_vector)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined __SSE__
    return (vsti_vector)_mm_max_ps((__m128)a, (__m128)b);
#else
    vsti_vector c;
    for (int i = 0; i < VSTI_LANES; i++) c[i] = a[i] > b[i] ? a[i] : b[i];
    return c;
#endif
}

/* The largest lane. */
static inline float vsti_top(vsti_vector v) {
#if defined VSTI_ISA_avx512
    v = vsti_max(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    v = vsti_max(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
#elif defined VSTI_ISA_avx2
    v = vsti_max(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
#endif
    const float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
    return a > b ? a : b;
}

/* vsti_exp of each lane, for x up to 88. */
static inline vsti_vector vsti_exp_vector(vsti_vector x) {
    const vsti_vector low = (vsti_vector){0} - 87.3f, t = vsti_max(low, x);
    const vsti_vector shifted = t * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const vsti_vector power = (vsti_vector)(((vsti_bits)shifted << 23) + 0x3f800000u);
    const vsti_vector r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
    vsti_vector q = r * 0.001381463761f + 0.008368778156f;
    q = q * r + 0.04166839165f;
    q = q * r + 0.1666652013f;
    q = q * r + 0.4999999342f;
    const vsti_vector result = (q * (r * r) + r + 1.0f) * power;
    return (vsti_vector)((vsti_order)result & ~(vsti_order)(x < low));
}

/* Defines a sum over i of `term`; `vector` is the same for lanes i … i + VSTI_LANES - 1. */
#define VSTI_ROW_SUM(n, term, vector)                                  \
    do {                                                               \
        vsti_vector even = {0}, odd = {0};                             \
        int64_t i = 0;                                                 \
        for (; i + 2 * VSTI_LANES <= (n); i += VSTI_LANES) {           \
            even += vector;                                            \
            i += VSTI_LANES;                                           \
            odd += vector;                                             \
        }                                                              \
        for (; i + VSTI_LANES <= (n); i += VSTI_LANES) even += vector; \
        float sum = vsti_total(even + odd);                            \
        for (; i < (n); i++) sum += term;                              \
        return sum;                                                    \
    } while (0)

static inline float vsti_row_sum(const float *x, int64_t n) { VSTI_ROW_SUM(n, x[i], vsti_load(x + i)); }

static inline float vsti_row_dot(const float *a, const float *b, int64_t n) {
    VSTI_ROW_SUM(n, a[i] * b[i], vsti_load(a + i) * vsti_load(b + i));
}

/* Sum of (x - mean)² */
static inline float vsti_row_deviation(const float *x, float mean, int64_t n) {
    VSTI_ROW_SUM(n, (x[i] - mean) * (x[i] - mean), (vsti_load(x + i) - mean) * (vsti_load(x + i) - mean));
}

/* Sum of exp((x - max) factor) */
static inline float vsti_row_exp_sum(const float *x, float factor, float max, int64_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += vsti_exp((x[i] - max) * factor);
    return sum;
}

#endif
