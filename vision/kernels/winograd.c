/* Convolution with a 3x3 kernel and stride 1 by F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
 * Networks", 2016): 16 outputs of a channel take 36 multiplications instead of 144. Kernel and input are evaluated as
 * polynomials at the points 0, ±A, ±B and infinity, multiplied (one matrix product for each of the 36 positions) and
 * transformed back.
 *
 * With these A and B the error is about twice that of direct convolution, half of that with the usual points 1 and 2.
 * All constants are exact. */
#include "vision/kernels/gemm.h"

#define A 0.75f
#define B 1.5f

enum { KERNEL = 3, TILE = 4, REACH = 6, POSITIONS = 36, GROUP = 8, PANEL = 2 * VSTI_LANES, LINE = 16 };

/* Eight channels of a pixel, which are contiguous in every layout used here. */
typedef float pixel __attribute__((vector_size(4 * GROUP), aligned(4), may_alias));
typedef int32_t lanes __attribute__((vector_size(4 * GROUP)));

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* ---- Sizes ---- */

typedef struct sizes {
    int64_t rows, columns, tiles; /* number of tiles, in an image and in all */
    int64_t inner, outer, padded; /* channels of a group; `padded`: outer rounded up to whole vectors */
    int64_t chunk;                /* tiles transformed at a time */
    /* Floats between positions: not a power of two, which would map all positions to one cache set. */
    int64_t from_step, to_step;
    int64_t weights_step;
} sizes;

static sizes measure(const vsti_winograd *s) {
    sizes z = {.rows = (s->out_height + TILE - 1) / TILE,
               .columns = (s->out_width + TILE - 1) / TILE,
               .inner = s->in / s->groups,
               .outer = s->out / s->groups};
    z.tiles = s->images * z.rows * z.columns;
    z.padded = round_up(z.outer, VSTI_LANES);
    z.chunk = VSTI_WINOGRAD_CHUNK_FLOATS / (POSITIONS * (s->in + s->groups * z.padded));
    if (z.chunk < VSTI_WINOGRAD_CHUNK_TILES) z.chunk = VSTI_WINOGRAD_CHUNK_TILES;
    if (z.chunk > z.tiles) z.chunk = z.tiles;
    z.from_step = round_up(z.chunk * s->in, LINE) + LINE;
    z.to_step = round_up(z.chunk * s->groups * z.padded, LINE) + LINE;
    z.weights_step = s->groups * z.inner * z.padded;
    return z;
}

size_t K(winograd_weights_floats)(const vsti_winograd *s) { return (size_t)(POSITIONS * measure(s).weights_step); }

size_t K(winograd_scratch_floats)(const vsti_winograd *s) {
    const sizes z = measure(s);
    return (size_t)(POSITIONS * (z.from_step + z.to_step));
}

/* ---- Weights ---- */

/* Evaluates three coefficients at the six points, including the divisions of the output transform. */
static void weight_points(const float g[KERNEL], float out[REACH]) {
    const float a = 0.5f / (A * A * (A * A - B * B)), b = 0.5f / (B * B * (B * B - A * A));
    out[0] = g[0] / (A * A * B * B);
    out[1] = a * (g[0] + A * A * g[2] + A * g[1]);
    out[2] = a * (g[0] + A * A * g[2] - A * g[1]);
    out[3] = b * (g[0] + B * B * g[2] + B * g[1]);
    out[4] = b * (g[0] + B * B * g[2] - B * g[1]);
    out[5] = g[2];
}

static void transform_weight(const float *g, float out[POSITIONS]) {
    float columns[KERNEL][REACH], row[KERNEL], points[REACH];
    for (int x = 0; x < KERNEL; x++) {
        for (int y = 0; y < KERNEL; y++) row[y] = g[y * KERNEL + x];
        weight_points(row, columns[x]);
    }
    for (int y = 0; y < REACH; y++) {
        for (int x = 0; x < KERNEL; x++) row[x] = columns[x][y];
        weight_points(row, points);
        for (int x = 0; x < REACH; x++) out[y * REACH + x] = points[x];
    }
}

/* Offset of the weight of output `k` for the first input of a group. Weights are stored in panels as wide as the
 * product's tiles, with one row per input. *row: floats between inputs. */
static int64_t panel_offset(const sizes *z, int64_t k, int64_t *row) {
    const int64_t first = k / PANEL * PANEL, left = z->padded - first;
    *row = left < PANEL ? left : PANEL;
    return z->inner * first + k - first;
}

void K(winograd_weights)(const vsti_winograd *s, const float *weight, float *packed) {
    const sizes z = measure(s);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < s->groups * z.padded; k++) {
        const int64_t group = k / z.padded, output = k % z.padded;
        int64_t row;
        float *to = packed + group * z.inner * z.padded + panel_offset(&z, output, &row);
        for (int64_t c = 0; c < z.inner; c++) {
            float points[POSITIONS] = {0};
            if (output < z.outer)
                transform_weight(weight + ((group * z.outer + output) * z.inner + c) * KERNEL * KERNEL, points);
            for (int p = 0; p < POSITIONS; p++) to[p * z.weights_step + c * row] = points[p];
        }
    }
}

/* ---- Input ---- */

static inline __attribute__((always_inline)) void input_points(pixel *d, int step) {
    const pixel d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step];
    const pixel even = d4 - B * B * d2, odd = A * (d3 - B * B * d1);
    const pixel far_even = d4 - A * A * d2, far_odd = B * (d3 - A * A * d1);
    d[0] = A * A * B * B * d[0] - (A * A + B * B) * d2 + d4;
    d[step] = even + odd;
    d[2 * step] = even - odd;
    d[3 * step] = far_even + far_odd;
    d[4 * step] = far_even - far_odd;
    d[5 * step] = A * A * B * B * d1 - (A * A + B * B) * d3 + d[5 * step];
}

/* Offset of channels channel … channel + 7 of pixel 0 in an image with blocked channels. */
static int64_t group_offset(int64_t channel, int64_t block, int64_t pixels) {
    return channel / block * pixels * block + channel % block;
}

/* Reads the window of 6x6 pixels at (y, x); pixels outside the image are 0. */
static inline void read_window(const float *image, int64_t height, int64_t width, int64_t block, int64_t y, int64_t x,
                               pixel d[POSITIONS]) {
    if (y >= 0 && x >= 0 && y + REACH <= height && x + REACH <= width) {
        const float *from = image + (y * width + x) * block;
#pragma GCC unroll 6
        for (int i = 0; i < REACH; i++)
#pragma GCC unroll 6
            for (int j = 0; j < REACH; j++) d[i * REACH + j] = *(const pixel *)(from + (i * width + j) * block);
        return;
    }
    for (int i = 0; i < REACH; i++)
        for (int j = 0; j < REACH; j++) {
            const bool inside = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width;
            d[i * REACH + j] = inside ? *(const pixel *)(image + ((y + i) * width + x + j) * block) : (pixel){0};
        }
}

static void transform_input(const vsti_winograd *s, const sizes *z, const float *x, int64_t tile, float *out) {
    const int64_t image = tile / (z->rows * z->columns), row = tile / z->columns % z->rows, column = tile % z->columns;
    const int64_t pixels = s->height * s->width, blocks = (s->in + s->in_block - 1) / s->in_block;
    const float *from = x + image * blocks * pixels * s->in_block;
    for (int64_t c = 0; c < s->in; c += GROUP) {
        pixel d[POSITIONS];
        read_window(from + group_offset(c, s->in_block, pixels), s->height, s->width, s->in_block, row * TILE - s->top,
                    column * TILE - s->left, d);
#pragma GCC unroll 6
        for (int i = 0; i < REACH; i++) input_points(d + i, REACH);
#pragma GCC unroll 6
        for (int i = 0; i < REACH; i++) input_points(d + i * REACH, 1);
#pragma GCC unroll 36
        for (int p = 0; p < POSITIONS; p++) *(pixel *)(out + p * z->from_step + c) = d[p];
    }
}

/* ---- Products ---- */

/* Computes product `task` of a chunk: one position, group and panel of outputs. */
static void multiply(const vsti_winograd *s, const sizes *z, const float *from, const float *weights, float *to,
                     int64_t tiles, int64_t task) {
    const int64_t panels = (z->padded + PANEL - 1) / PANEL;
    const int64_t position = task / (s->groups * panels), group = task / panels % s->groups,
                  first = task % panels * PANEL;
    const vsti_product product = {
        .inner = z->inner,
        .a = from + position * z->from_step + group * z->inner,
        .a_row = s->in,
        .a_column = 1,
        .b = weights + position * z->weights_step + group * z->inner * z->padded + z->inner * first,
        .b_row = z->padded - first < PANEL ? z->padded - first : PANEL,
        .c = to + position * z->to_step + group * z->padded + first,
        .c_row = s->groups * z->padded};
    vsti_gemm(&product, tiles, product.b_row / VSTI_LANES);
}

/* ---- Output ---- */

static inline __attribute__((always_inline)) void output_points(pixel *m, int step) {
    const pixel near_sum = m[step] + m[2 * step], near_difference = m[step] - m[2 * step];
    const pixel far_sum = m[3 * step] + m[4 * step], far_difference = m[3 * step] - m[4 * step];
    m[0] = m[0] + near_sum + far_sum;
    m[step] = A * near_difference + B * far_difference;
    m[2 * step] = A * A * near_sum + B * B * far_sum;
    m[3 * step] = A * A * A * near_difference + B * B * B * far_difference + m[5 * step];
}

/* NaN stays NaN. */
static inline __attribute__((always_inline)) void clamp(pixel *x, float low, float high) {
    const pixel lowest = (pixel){0} + low, highest = (pixel){0} + high;
    lanes outside = *x < lowest;
    *x = (pixel)(((lanes)lowest & outside) | ((lanes)*x & ~outside));
    outside = *x > highest;
    *x = (pixel)(((lanes)highest & outside) | ((lanes)*x & ~outside));
}

static void write_window(const vsti_winograd *s, const pixel m[POSITIONS], const pixel *bias, float *image, int64_t y,
                         int64_t x) {
    const int64_t rows = s->out_height - y < TILE ? s->out_height - y : TILE;
    const int64_t columns = s->out_width - x < TILE ? s->out_width - x : TILE;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            pixel *to = (pixel *)(image + ((y + i) * s->out_width + x + j) * s->out_block);
            pixel value = m[i * REACH + j] + *bias;
            if (s->sum) value += *to;
            clamp(&value, s->low, s->high);
            *to = value;
        }
}

static void transform_output(const vsti_winograd *s, const sizes *z, const float *from, const float *bias, int64_t tile,
                             float *y) {
    const int64_t image = tile / (z->rows * z->columns), row = tile / z->columns % z->rows, column = tile % z->columns;
    const int64_t pixels = s->out_height * s->out_width, blocks = (s->out + s->out_block - 1) / s->out_block;
    float *to = y + image * blocks * pixels * s->out_block;
    for (int64_t k = 0; k < s->out; k += GROUP) {
        const float *sums = from + k / z->outer * z->padded + k % z->outer;
        const pixel shift = bias ? *(const pixel *)(bias + k) : (pixel){0};
        pixel m[POSITIONS];
#pragma GCC unroll 36
        for (int p = 0; p < POSITIONS; p++) m[p] = *(const pixel *)(sums + p * z->to_step);
#pragma GCC unroll 6
        for (int i = 0; i < REACH; i++) output_points(m + i, REACH);
#pragma GCC unroll 4
        for (int i = 0; i < TILE; i++) output_points(m + i * REACH, 1);
        write_window(s, m, &shift, to + group_offset(k, s->out_block, pixels), row * TILE, column * TILE);
    }
}

/* ---- The whole convolution ---- */

void K(winograd)(const vsti_winograd *s, const float *x, const float *weights, const float *bias, float *y,
                 float *scratch) {
    const sizes z = measure(s);
    float *from = scratch, *to = scratch + POSITIONS * z.from_step;
    const int64_t products = POSITIONS * s->groups * ((z.padded + PANEL - 1) / PANEL), to_row = s->groups * z.padded;
#pragma omp parallel
    for (int64_t begin = 0; begin < z.tiles; begin += z.chunk) {
        const int64_t tiles = z.tiles - begin < z.chunk ? z.tiles - begin : z.chunk;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tiles; i++) transform_input(s, &z, x, begin + i, from + i * s->in);
#pragma omp for schedule(static)
        for (int64_t task = 0; task < products; task++) multiply(s, &z, from, weights, to, tiles, task);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < tiles; i++) transform_output(s, &z, to + i * to_row, bias, begin + i, y);
    }
}
