/* Operations on pixel values. Maps of single values are lookup tables of 256 entries computed with the formulas of
 * Pillow's Python code; the other loops are in vision/kernels/pixels.c. */
#include "vision/image/color.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/internal.h"
#include "vision/kernels/kernels.h"

enum { VALUES = 256, PIECE = 512 }; /* PIECE: pixels processed at a time, so that they stay in the L1 cache */

static size_t pixels_of(const vst_image *image) { return (size_t)image->height * (size_t)image->width; }
static size_t size_of(const vst_image *image) { return pixels_of(image) * (size_t)image->channels; }

/* ---- Lookup tables ---- */

typedef struct table {
    uint8_t of[3][VALUES]; /* by channel and value */
} table;

static void apply_table(vst_image *image, const table *t) {
    const size_t size = size_of(image);
    uint8_t *p = image->pixels;
    if (image->channels == 1) {
        for (size_t i = 0; i < size; i++) p[i] = t->of[0][p[i]];
        return;
    }
    for (size_t i = 0; i < size; i += 3) {
        p[i] = t->of[0][p[i]];
        p[i + 1] = t->of[1][p[i + 1]];
        p[i + 2] = t->of[2][p[i + 2]];
    }
}

/* Histogram of each channel. Neighbouring pixels use different tables, because incrementing one counter twice in a row
 * has to wait for the first store. */
static void count_values(const vst_image *image, uint32_t counts[3][VALUES]) {
    enum { TABLES = 6 };
    uint32_t part[TABLES][VALUES] = {{0}};
    const size_t size = size_of(image), whole = size / TABLES * TABLES;
    const uint8_t *p = image->pixels;
    for (size_t i = 0; i < whole; i += TABLES) {
#pragma GCC unroll 6
        for (size_t k = 0; k < TABLES; k++) part[k][p[i + k]]++;
    }
    for (size_t i = whole; i < size; i++) part[i - whole][p[i]]++;
    memset(counts, 0, 3 * sizeof *counts);
    for (int k = 0; k < TABLES; k++)
        for (int value = 0; value < VALUES; value++) counts[k % image->channels][value] += part[k][value];
}

static void stretch_table(const uint32_t *counts, uint8_t *out) {
    int low = 0, high = VALUES - 1;
    while (low < VALUES - 1 && !counts[low]) low++;
    while (high > 0 && !counts[high]) high--;
    const double scale = high > low ? 255.0 / (high - low) : 1.0, offset = high > low ? -low * scale : 0.0;
    for (int i = 0; i < VALUES; i++) {
        const int value = (int)(i * scale + offset);
        out[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

static void equal_table(const uint32_t *counts, uint8_t *out) {
    uint64_t total = 0, step = 0, n;
    int kinds = 0, last = 0;
    for (int i = 0; i < VALUES; i++) {
        total += counts[i];
        kinds += counts[i] > 0;
        if (counts[i]) last = i;
    }
    if (kinds > 1) step = (total - counts[last]) / 255;
    n = step / 2;
    for (int i = 0; i < VALUES; i++) {
        const uint64_t value = step ? n / step : (uint64_t)i;
        out[i] = (uint8_t)(value > 255 ? 255 : value);
        n += counts[i];
    }
}

static void by_histogram(vst_image *image, void (*make)(const uint32_t *counts, uint8_t *out)) {
    uint32_t counts[3][VALUES];
    table t;
    count_values(image, counts);
    for (int c = 0; c < image->channels; c++) make(counts[c], t.of[c]);
    apply_table(image, &t);
}

void vst_image_autocontrast(vst_image *image) { by_histogram(image, stretch_table); }
void vst_image_equalize(vst_image *image) { by_histogram(image, equal_table); }

/* ---- Formulas that vectorise ---- */

void vst_image_posterize(vst_image *image, int bits) {
    if (bits >= 8) return;
    const uint8_t mask = (uint8_t)(bits <= 0 ? 0 : 0xff << (8 - bits));
    const size_t size = size_of(image);
    uint8_t *p = image->pixels;
#pragma omp simd
    for (size_t i = 0; i < size; i++) p[i] = (uint8_t)(p[i] & mask);
}

void vst_image_invert(vst_image *image) {
    const size_t size = size_of(image);
    uint8_t *p = image->pixels;
#pragma omp simd
    for (size_t i = 0; i < size; i++) p[i] = (uint8_t)(255 - p[i]);
}

void vst_image_solarize(vst_image *image, int threshold) {
    const size_t size = size_of(image);
    uint8_t *p = image->pixels;
    if (threshold > 255) return;
    const uint8_t least = (uint8_t)(threshold < 0 ? 0 : threshold);
#pragma omp simd
    for (size_t i = 0; i < size; i++) p[i] = (uint8_t)(p[i] < least ? p[i] : 255 - p[i]);
}

void vst_image_solarize_add(vst_image *image, int add, int threshold) {
    const size_t size = size_of(image);
    uint8_t *p = image->pixels;
    if (threshold <= 0 || add <= 0) return;
    const uint8_t last = (uint8_t)(threshold > 255 ? 255 : threshold - 1), more = (uint8_t)(add > 255 ? 255 : add);
    const uint8_t room = (uint8_t)(255 - more);
#pragma omp simd
    for (size_t i = 0; i < size; i++) {
        const uint8_t value = p[i], sum = value > room ? 255 : (uint8_t)(value + more);
        p[i] = value <= last ? sum : value;
    }
}

/* ---- Luminance and blending ---- */

void vst_image_grayscale(vst_image *image) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const size_t pixels = pixels_of(image);
    uint8_t grey[PIECE];
    if (image->channels == 1) return;
    for (size_t i = 0; i < pixels; i += PIECE) {
        const size_t n = pixels - i < PIECE ? pixels - i : PIECE;
        kernels->luminance(image->pixels + 3 * i, grey, (int64_t)n);
        kernels->spread(grey, image->pixels + 3 * i, (int64_t)n);
    }
}

void vst_image_color(vst_image *image, double factor) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const size_t pixels = pixels_of(image);
    uint8_t grey[PIECE], rgb[3 * PIECE];
    if (image->channels == 1) return; /* already grey */
    for (size_t i = 0; i < pixels; i += PIECE) {
        const size_t n = pixels - i < PIECE ? pixels - i : PIECE;
        uint8_t *p = image->pixels + 3 * i;
        kernels->luminance(p, grey, (int64_t)n);
        kernels->spread(grey, rgb, (int64_t)n);
        kernels->blend(rgb, p, (float)factor, p, (int64_t)(3 * n));
    }
}

/* Blends with an image in which all pixels have one value. */
static void blend_with(vst_image *image, uint8_t value, double factor) {
    const vsti_kernels *kernels = vsti_get_kernels();
    uint8_t same[VALUES], all[VALUES];
    table t;
    memset(same, value, sizeof same);
    for (int i = 0; i < VALUES; i++) all[i] = (uint8_t)i;
    kernels->blend(same, all, (float)factor, t.of[0], VALUES);
    memcpy(t.of[1], t.of[0], VALUES);
    memcpy(t.of[2], t.of[0], VALUES);
    apply_table(image, &t);
}

static uint64_t sum_of(const uint8_t *values, size_t n) {
    uint64_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum;
}

void vst_image_contrast(vst_image *image, double factor) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const size_t pixels = pixels_of(image);
    uint8_t grey[PIECE];
    uint64_t sum = 0;
    if (image->channels == 1) sum = sum_of(image->pixels, pixels);
    for (size_t i = 0; i < pixels && image->channels == 3; i += PIECE) {
        const size_t n = pixels - i < PIECE ? pixels - i : PIECE;
        kernels->luminance(image->pixels + 3 * i, grey, (int64_t)n);
        sum += sum_of(grey, n);
    }
    blend_with(image, (uint8_t)((double)sum / (double)pixels + 0.5), factor);
}

void vst_image_brightness(vst_image *image, double factor) { blend_with(image, 0, factor); }

/* ---- Sharpness and blur ---- */

vst_status vst_image_sharpness(vst_image *image, double factor, vst_image *scratch) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const size_t channels = (size_t)image->channels, row = (size_t)image->width * channels;
    if (image->height < 3 || image->width < 3) return VST_OK; /* no pixel has all neighbours, so nothing changes */
    const vst_status status = vst_image_allocate(scratch, image->channels, image->height, image->width);
    if (status != VST_OK) return status;
    memcpy(scratch->pixels, image->pixels, size_of(image));
    for (int y = 1; y < image->height - 1; y++) { /* border pixels are unchanged */
        const uint8_t *here = scratch->pixels + (size_t)y * row + channels;
        uint8_t *out = image->pixels + (size_t)y * row + channels;
        const int64_t n = (int64_t)(row - 2 * channels);
        kernels->smooth(here - row, here, here + row, image->channels, out, n);
        kernels->blend(out, here, (float)factor, out, n);
    }
    return VST_OK;
}

/* The box radius for which `passes` box blurs approximate a Gaussian (Gwosdek et al., "Theoretical foundations of
 * Gaussian convolution by extended box filtering"), with Pillow's float rounding. */
static float box_radius(float radius, int passes) {
    const float variance = radius * radius / (float)passes;
    const float length = (float)sqrt(12.0 * variance + 1.0);
    const float whole = (float)floor((length - 1.0) / 2.0);
    float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    part /= 6 * (variance - (whole + 1) * (whole + 1));
    return whole + part;
}

/* A box filter of fractional length: `radius` whole pixels on each side plus one partly weighted pixel at each end. */
typedef struct box {
    int radius;
    uint32_t whole, part; /* weights in units of 2^-24 */
} box;

static box box_of(float radius) {
    box self = {.radius = (int)radius};
    self.whole = (uint32_t)((float)(1u << 24) / (radius * 2 + 1));
    self.part = ((1u << 24) - (uint32_t)(self.radius * 2 + 1) * self.whole) / 2;
    return self;
}

static int clamp(int64_t i, int size) { return i < 0 ? 0 : i < size ? (int)i : size - 1; }

/* Blurs `rows` rows of n values vertically; edge rows are repeated beyond the ends. `sum` is scratch of n values. */
static void blur_down(const uint8_t *in, uint8_t *out, int rows, size_t n, const box *b, uint32_t *sum) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const int radius = b->radius, reach = radius < rows ? radius : rows; /* rows that differ from the last */
    const uint8_t *last = in + (size_t)(rows - 1) * n;
    for (size_t i = 0; i < n; i++) sum[i] = in[i] * (uint32_t)(radius + 1) + last[i] * (uint32_t)(radius - reach);
    for (int y = 0; y < reach; y++)
        for (size_t i = 0; i < n; i++) sum[i] += in[(size_t)y * n + i];
    for (int y = 0; y < rows; y++)
        kernels->box_blur(sum, in + (size_t)clamp((int64_t)y - radius - 1, rows) * n,
                          in + (size_t)clamp((int64_t)y + radius, rows) * n,
                          in + (size_t)clamp((int64_t)y + radius + 1, rows) * n, b->whole, b->part, out + (size_t)y * n,
                          n);
}

/* Transposes the image; the channels of a pixel stay together. */
static void transpose(const uint8_t *in, uint8_t *out, int height, int width, int channels) {
    enum { TILE = 16 };
    for (int top = 0; top < height; top += TILE)
        for (int left = 0; left < width; left += TILE)
            for (int x = left; x < width && x < left + TILE; x++)
                for (int y = top; y < height && y < top + TILE; y++)
                    for (int c = 0; c < channels; c++)
                        out[((size_t)x * (size_t)height + (size_t)y) * (size_t)channels + (size_t)c] =
                            in[((size_t)y * (size_t)width + (size_t)x) * (size_t)channels + (size_t)c];
}

/* Allocates scratch: a second image followed by the running sums of one row. */
static vst_status reserve(const vst_image *image, vst_image *scratch, uint32_t **sums) {
    const size_t row = (size_t)image->width * (size_t)image->channels, size = size_of(image);
    const size_t column = (size_t)image->height * (size_t)image->channels;
    const size_t start = (size + sizeof(uint32_t) - 1) / sizeof(uint32_t) * sizeof(uint32_t);
    const size_t bytes = start + (row > column ? row : column) * sizeof(uint32_t);
    if (bytes / row >= INT32_MAX) return vst_fail_memory(bytes);
    const vst_status status = vst_image_allocate(scratch, image->channels, (int)(bytes / row) + 1, image->width);
    if (status == VST_OK) *sums = (uint32_t *)(void *)(scratch->pixels + start);
    return status;
}

/* Three vertical box blurs from `a` to `b`; both arrays are overwritten. */
static void blur_passes(uint8_t *a, uint8_t *b, int rows, size_t n, const box *blur, uint32_t *sums) {
    blur_down(a, b, rows, n, blur, sums);
    blur_down(b, a, rows, n, blur, sums);
    blur_down(a, b, rows, n, blur, sums);
}

/* Each half of the blur runs vertically, because neighbouring columns fill a vector: the image is transposed for the
 * first half. Pillow blurs rows first, so this keeps its order. */
vst_status vst_image_gaussian_blur(vst_image *image, double radius, vst_image *scratch) {
    enum { PASSES = 3, RADIUS_MAX = 4096 };
    uint32_t *sums = NULL;
    if (!(radius >= 0 && radius <= RADIUS_MAX))
        return vst_fail(VST_ERROR_ARGUMENT, "a Gaussian blur of radius %g: it must be 0 … %d", radius, RADIUS_MAX);
    const float box_size = box_radius((float)radius, PASSES);
    if (box_size == 0) return VST_OK;
    const vst_status status = reserve(image, scratch, &sums);
    if (status != VST_OK) return status;
    const box blur = box_of(box_size);
    const int height = image->height, width = image->width, channels = image->channels;
    transpose(image->pixels, scratch->pixels, height, width, channels);
    blur_passes(scratch->pixels, image->pixels, width, (size_t)height * (size_t)channels, &blur, sums);
    transpose(image->pixels, scratch->pixels, width, height, channels);
    blur_passes(scratch->pixels, image->pixels, height, (size_t)width * (size_t)channels, &blur, sums);
    return VST_OK;
}
