/* The gradient of a depthwise convolution's weights, a vector of channels at a time. The rows of x that meet a row of
 * dy are copied with their padding, so that the inner loop has no borders. */
#include "vision/kernels/depthwise.h"

#include <omp.h>

#include "vision/kernels/isa.h"

/* Rows of the kernel that are summed together, so that the sums stay in registers. */
#if defined VSTI_ISA_avx512
enum { SUMS = 28 };
#else
enum { SUMS = 12 };
#endif

/* The rows of x that the present row of dy meets: row y lies at y % count. */
typedef struct ring {
    float *rows, *dy;
    int64_t count, length; /* length: floats of a row */
    int64_t next;          /* the first row that was not copied yet */
} ring;

/* Copies `count` pixels of `channels` <= VSTI_LANES channels; the remaining lanes become 0. */
static void copy_pixels(const float *from, int64_t stride, int64_t channels, int64_t count, float *to) {
    if (channels == VSTI_LANES) {
        for (int64_t i = 0; i < count; i++) *(vsti_vector *)(to + i * VSTI_LANES) = vsti_load(from + i * stride);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < VSTI_LANES; c++) to[i * VSTI_LANES + c] = c < channels ? from[i * stride + c] : 0;
}

/* Copies the rows of x up to row `end` that are not in the ring. */
static void advance(const vsti_depthwise *s, ring *r, const float *x, int64_t channels, int64_t end) {
    const int64_t columns = r->length / VSTI_LANES, left = s->left < columns ? s->left : columns;
    const int64_t room = columns - left, width = s->width < room ? s->width : room;
    if (r->next < end - r->count) r->next = end - r->count;
    for (; r->next < end; r->next++) {
        float *row = r->rows + (r->next + s->top) % r->count * r->length; /* next >= -top */
        const bool inside = r->next >= 0 && r->next < s->height;
        const int64_t before = inside ? left : columns, after = inside ? room - width : 0;
        memset(row, 0, (size_t)(before * VSTI_LANES) * sizeof *row);
        if (inside) copy_pixels(x + r->next * s->width * s->block, s->block, channels, width, row + left * VSTI_LANES);
        memset(row + (columns - after) * VSTI_LANES, 0, (size_t)(after * VSTI_LANES) * sizeof *row);
    }
}

/* sum[r][k] += sum over the row of dy of its products with tap k of row r; rows and taps are constants at every call.
 */
static inline __attribute__((always_inline)) void add_taps(int rows, int taps, const vsti_depthwise *s,
                                                           const float *const *in, const float *dy, float *sum) {
    const int64_t step = s->stride * VSTI_LANES, apart = s->dilation * VSTI_LANES;
    vsti_vector total[SUMS];
#pragma GCC unroll 28
    for (int i = 0; i < rows * taps; i++) total[i] = vsti_load(sum + i * VSTI_LANES);
    for (int64_t x = 0; x < s->out_width; x++) {
        const vsti_vector d = vsti_load(dy + x * VSTI_LANES);
#pragma GCC unroll 28
        for (int i = 0; i < rows * taps; i++) total[i] += d * vsti_load(in[i / taps] + x * step + i % taps * apart);
    }
#pragma GCC unroll 28
    for (int i = 0; i < rows * taps; i++) *(vsti_vector *)(sum + i * VSTI_LANES) = total[i];
}

/* All rows of the kernel, as many at a time as there are registers. */
static inline __attribute__((always_inline)) void add_kernel(int taps, const vsti_depthwise *s, const float *const *in,
                                                             const float *dy, float *sum) {
    const int most = SUMS / taps < taps ? SUMS / taps : taps;
    int row = 0;
    for (; row + most <= taps; row += most) add_taps(most, taps, s, in + row, dy, sum + row * taps * VSTI_LANES);
    if (taps % most) add_taps(taps % most, taps, s, in + row, dy, sum + row * taps * VSTI_LANES);
}

static void add_any_kernel(const vsti_depthwise *s, const float *const *in, const float *dy, float *sum) {
    for (int64_t i = 0; i < s->kernel * s->kernel; i++) {
        const float *from = in[i / s->kernel] + i % s->kernel * s->dilation * VSTI_LANES;
        add_taps(1, 1, s, &from, dy, sum + i * VSTI_LANES);
    }
}

/* Adds one image to the sums of a vector of channels: (kernel, kernel) and, at the end, the bias. */
static void add_image(const vsti_depthwise *s, ring *r, const float *x, const float *dy, int64_t channels, float *sum) {
    const float *in[VSTI_DEPTHWISE_LARGEST_KERNEL];
    float *const sum_bias = sum + s->kernel * s->kernel * VSTI_LANES;
    r->next = -s->top;
    for (int64_t y = 0; y < s->out_height; y++) {
        const int64_t first = y * s->stride - s->top;
        const float *row = dy + y * s->out_width * s->block;
        advance(s, r, x, channels, first + r->count);
        for (int64_t k = 0; k < s->kernel; k++)
            in[k] = r->rows + (first + s->top + k * s->dilation) % r->count * r->length;
        if (s->block != VSTI_LANES) {
            copy_pixels(row, s->block, channels, s->out_width, r->dy);
            row = r->dy;
        }
        switch (s->kernel) {
        case 3: add_kernel(3, s, in, row, sum); break;
        case 5: add_kernel(5, s, in, row, sum); break;
        case 7: add_kernel(7, s, in, row, sum); break;
        default: add_any_kernel(s, in, row, sum);
        }
        if (!s->bias) continue;
        vsti_vector bias = vsti_load(sum_bias);
        for (int64_t i = 0; i < s->out_width; i++) bias += vsti_load(row + i * VSTI_LANES);
        *(vsti_vector *)sum_bias = bias;
    }
}

/* Writes the sums of a vector of channels to those of a part: (channels, kernel * kernel + 1). */
static void write_sums(const float *sum, int64_t count, int64_t channels, float *out) {
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++) out[c * count + i] = sum[i * VSTI_LANES + c];
}

static void add_parts(const vsti_depthwise *s, const float *partial, float *dweight, float *dbias) {
    const int64_t taps = s->kernel * s->kernel, sums = vsti_depthwise_sums(s), parts = vsti_depthwise_parts(s);
    for (int64_t i = 0; i < sums; i++) {
        float total = 0;
        for (int64_t part = 0; part < parts; part++) total += partial[part * sums + i];
        if (i % (taps + 1) < taps) dweight[i / (taps + 1) * taps + i % (taps + 1)] = total;
        else if (s->bias) dbias[i / (taps + 1)] = total;
    }
}

void K(depthwise_weights)(const vsti_depthwise *s, const float *x, const float *dy, float *dweight, float *dbias,
                          float *scratch) {
    const int64_t parts = vsti_depthwise_parts(s), count = s->kernel * s->kernel + 1;
    const int64_t in_block = s->block * s->height * s->width, out_block = s->block * s->out_height * s->out_width;
    const int64_t blocks = (s->channels + s->block - 1) / s->block, vectors = (s->block + VSTI_LANES - 1) / VSTI_LANES;
    float *const rings = scratch + parts * vsti_depthwise_sums(s);
#pragma omp parallel for schedule(static) if (s->images * blocks * (in_block + out_block) > VSTI_PARALLEL)
    for (int64_t unit = 0; unit < blocks * vectors * parts; unit++) {
        const int64_t block = unit / (vectors * parts), first = unit / parts % vectors * VSTI_LANES,
                      part = unit % parts;
        const int64_t channel = block * s->block + first, left = s->channels - channel, inside = s->block - first;
        const int64_t there = left < inside ? left : inside, channels = there < VSTI_LANES ? there : VSTI_LANES;
        float sum[(VSTI_DEPTHWISE_LARGEST_KERNEL * VSTI_DEPTHWISE_LARGEST_KERNEL + 1) * VSTI_LANES] = {0};
        ring r = {.count = (s->kernel - 1) * s->dilation + 1, .length = vsti_depthwise_row(s) * VSTI_LANES};
        r.rows = rings + omp_get_thread_num() * vsti_depthwise_vectors(s) * 16;
        r.dy = r.rows + r.count * r.length;
        if (channels <= 0) continue;
        for (int64_t n = s->images * part / parts; n < s->images * (part + 1) / parts; n++)
            add_image(s, &r, x + (n * blocks + block) * in_block + first, dy + (n * blocks + block) * out_block + first,
                      channels, sum);
        write_sums(sum, count, channels, scratch + part * vsti_depthwise_sums(s) + channel * count);
    }
    add_parts(s, scratch, dweight, dbias);
}
