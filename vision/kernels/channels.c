/* Sums over the pixels of each channel and products with a factor per channel, for squeeze-and-excitation. */
#include "vision/kernels/isa.h"

enum { PIECE = 16 }; /* channels summed at a time, so that the sums stay in registers */

/* Channels first: each row holds the pixels of one channel. */
static void mul_rows(const float *x, const float *factor, float *out, int64_t rows, int64_t pixels) {
#pragma omp parallel for schedule(static) if (rows * pixels > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) {
        const float f = factor[row];
#pragma omp simd
        for (int64_t i = row * pixels; i < (row + 1) * pixels; i++) out[i] = x[i] * f;
    }
}

/* The factors of a block of channels, 0 for its padding. */
static void take_factors(const float *factor, int64_t channels, int64_t first, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = first + i < channels ? factor[first + i] : 0;
}

static void mul_blocks(const float *x, const float *factor, float *out, vsti_channels s) {
    const int64_t blocks = (s.channels + s.block - 1) / s.block, stride = s.pixels * s.block;
    const int64_t pieces = (s.block + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static) if (s.images * blocks * stride > VSTI_PARALLEL)
    for (int64_t task = 0; task < s.images * blocks * pieces; task++) {
        const int64_t image = task / (blocks * pieces), block = task / pieces % blocks, first = task % pieces * PIECE;
        const int64_t width = s.block - first < PIECE ? s.block - first : PIECE;
        const int64_t start = (image * blocks + block) * stride + first;
        float f[PIECE];
        take_factors(factor + image * s.channels, s.channels, block * s.block + first, width, f);
        if (width == 8)
            for (int64_t p = 0; p < s.pixels; p++)
                for (int i = 0; i < 8; i++) out[start + p * s.block + i] = x[start + p * s.block + i] * f[i];
        else
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < width; i++) out[start + p * s.block + i] = x[start + p * s.block + i] * f[i];
    }
}

void K(channel_mul)(const float *x, const float *factor, float *out, vsti_channels s) {
    if (s.block == 1) mul_rows(x, factor, out, s.images * s.channels, s.pixels);
    else mul_blocks(x, factor, out, s);
}

/* Uses PIECE partial sums, whatever the vector width is, and adds them in order. */
static float sum_row(const float *x, int64_t n) {
    float lanes[PIECE] = {0}, total = 0;
    int64_t i = 0;
    for (; i + PIECE <= n; i += PIECE)
        for (int k = 0; k < PIECE; k++) lanes[k] += x[i + k];
    for (int k = 0; i < n; i++, k++) lanes[k] += x[i];
    for (int k = 0; k < PIECE; k++) total += lanes[k];
    return total;
}

static void sum_blocks(const float *x, float *out, float factor, vsti_channels s) {
    const int64_t blocks = (s.channels + s.block - 1) / s.block, stride = s.pixels * s.block;
    const int64_t pieces = (s.block + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static) if (s.images * blocks * stride > VSTI_PARALLEL)
    for (int64_t task = 0; task < s.images * blocks * pieces; task++) {
        const int64_t image = task / (blocks * pieces), block = task / pieces % blocks, first = task % pieces * PIECE;
        const int64_t width = s.block - first < PIECE ? s.block - first : PIECE, channel = block * s.block + first;
        const float *from = x + (image * blocks + block) * stride + first;
        float sum[PIECE] = {0};
        if (width == 8)
            for (int64_t p = 0; p < s.pixels; p++)
                for (int i = 0; i < 8; i++) sum[i] += from[p * s.block + i];
        else
            for (int64_t p = 0; p < s.pixels; p++)
                for (int64_t i = 0; i < width; i++) sum[i] += from[p * s.block + i];
        for (int64_t i = 0; i < width && channel + i < s.channels; i++)
            out[image * s.channels + channel + i] = sum[i] * factor;
    }
}

void K(channel_sum)(const float *x, float *out, float factor, vsti_channels s) {
    if (s.block > 1) {
        sum_blocks(x, out, factor, s);
        return;
    }
    const int64_t rows = s.images * s.channels;
#pragma omp parallel for schedule(static) if (rows * s.pixels > VSTI_PARALLEL)
    for (int64_t row = 0; row < rows; row++) out[row] = sum_row(x + row * s.pixels, s.pixels) * factor;
}
