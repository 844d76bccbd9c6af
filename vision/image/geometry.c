/* Crop, pad, flip, EXIF orientation and affine transforms. Interpolating loops are in vision/kernels/affine.c. */
#include "vision/image/geometry.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/internal.h"
#include "vision/kernels/kernels.h"

/* ---- Crop and pad ---- */

void vsti_copy_view(const vsti_view *in, uint8_t *out) {
    const size_t row = (size_t)in->width * (size_t)in->channels;
    for (int y = 0; y < in->height; y++) memmove(out + (size_t)y * row, in->pixels + (size_t)y * in->stride, row);
}

vst_status vst_image_crop(const vst_image *in, vst_box box, vst_image *out) {
    vst_status status = vsti_check_box(&box, in->height, in->width);
    if (status != VST_OK) return status;
    const vsti_view view = vsti_view_box(in, box);
    if (out != in) status = vst_image_allocate(out, in->channels, box.height, box.width);
    if (status != VST_OK) return status;
    vsti_copy_view(&view, out->pixels); /* in place this is safe: rows only move towards the beginning */
    out->height = box.height;
    out->width = box.width;
    return VST_OK;
}

/* The index 0 … size - 1 of the pixel shown at position `at`, which may lie outside; -1 for the fill colour. */
static int border_source(int at, int size, vst_border border) {
    if (at >= 0 && at < size) return at;
    if (border == VST_BORDER_CONSTANT) return -1;
    if (border == VST_BORDER_EDGE || size == 1) return at < 0 ? 0 : size - 1;
    const int period = 2 * (size - 1);
    int folded = at % period;
    if (folded < 0) folded += period;
    return folded < size ? folded : period - folded;
}

static inline void copy_pixel(uint8_t *to, const uint8_t *from, size_t channels) {
    to[0] = from[0];
    if (channels == 1) return;
    to[1] = from[1];
    to[2] = from[2];
}

/* Writes one pixel `count` times. */
static void fill_pixels(uint8_t *out, const uint8_t *pixel, size_t channels, size_t count) {
    for (size_t i = 0; i < count; i++) copy_pixel(out + i * channels, pixel, channels);
}

vst_status vst_image_pad(const vst_image *in, int top, int left, int bottom, int right, vst_border border,
                         const uint8_t *fill, vst_image *out) {
    static const uint8_t black[3];
    const size_t channels = (size_t)in->channels, row = (size_t)in->width * channels;
    int height, width;
    if (top < 0 || left < 0 || bottom < 0 || right < 0 || __builtin_add_overflow(top, bottom, &height) ||
        __builtin_add_overflow(height, in->height, &height) || __builtin_add_overflow(left, right, &width) ||
        __builtin_add_overflow(width, in->width, &width) || height > INT32_MAX / 2 || width > INT32_MAX / 2)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "a border of %d, %d, %d, %d pixels (top, left, bottom, right): each must be at least 0 and the "
                        "sum small",
                        top, left, bottom, right);
    const vst_status status = vst_image_allocate(out, in->channels, height, width);
    if (status != VST_OK) return status;
    if (!fill) fill = black;
    for (int y = 0; y < height; y++) {
        const int source = border_source(y - top, in->height, border);
        uint8_t *to = out->pixels + (size_t)y * (size_t)width * channels;
        if (source < 0) {
            fill_pixels(to, fill, channels, (size_t)width);
            continue;
        }
        const uint8_t *from = in->pixels + (size_t)source * row;
        memcpy(to + (size_t)left * channels, from, row);
        for (int x = 0; x < width; x++) {
            if (x == left) x += in->width;
            if (x == width) break;
            const int column = border_source(x - left, in->width, border);
            memcpy(to + (size_t)x * channels, column < 0 ? fill : from + (size_t)column * channels, channels);
        }
    }
    return VST_OK;
}

/* ---- Flip and EXIF orientation ---- */

void vst_image_flip(vst_image *image) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const size_t row = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++)
        kernels->mirror(image->pixels + (size_t)y * row, image->channels, image->width);
}

/* The input index of the first output pixel, and the steps to the next pixel in its row and in its column, in pixels.
 */
typedef struct pixel_steps {
    ptrdiff_t start, across, down;
} pixel_steps;

static pixel_steps steps_of(int orientation, ptrdiff_t height, ptrdiff_t width) {
    const ptrdiff_t right = width - 1, bottom = (height - 1) * width;
    switch (orientation) {
    case 2: return (pixel_steps){right, -1, width};
    case 3: return (pixel_steps){bottom + right, -1, -width};
    case 4: return (pixel_steps){bottom, 1, -width};
    case 5: return (pixel_steps){0, width, 1};
    case 6: return (pixel_steps){bottom, -width, 1};
    case 7: return (pixel_steps){bottom + right, -width, -1};
    case 8: return (pixel_steps){right, width, -1};
    default: return (pixel_steps){0, 1, width};
    }
}

vst_status vst_image_turn(const vst_image *in, int orientation, vst_image *out) {
    enum { TILE = 16 }; /* rows written together, so that a column of the input is read from memory once */
    const bool transposed = orientation >= 5 && orientation <= 8;
    const int height = transposed ? in->width : in->height, width = transposed ? in->height : in->width;
    const vst_status status = vst_image_allocate(out, in->channels, height, width);
    if (status != VST_OK) return status;
    const pixel_steps walk = steps_of(orientation, in->height, in->width);
    const ptrdiff_t channels = in->channels;
    for (int top = 0; top < height; top += TILE)
        for (int left = 0; left < width; left += TILE)
            for (int y = top; y < height && y < top + TILE; y++) {
                const uint8_t *from = in->pixels + (walk.start + y * walk.down + left * walk.across) * channels;
                uint8_t *to = out->pixels + ((ptrdiff_t)y * width + left) * channels;
                for (int x = left; x < width && x < left + TILE; x++, from += walk.across * channels, to += channels)
                    copy_pixel(to, from, (size_t)channels);
            }
    return VST_OK;
}

/* ---- Nearest neighbour ---- */

/* The pixel index of a coordinate; -1 if it is outside or NaN. */
static int index_of(double at, int size) { return at >= 0.0 && at < size ? (int)at : -1; }

/* Positions are sums of steps, as in Pillow, because their rounding decides which pixel is taken. */
void vsti_scale_nearest(const vsti_view *in, double step_x, double start_x, double step_y, double start_y,
                        vst_image *out) {
    const size_t channels = (size_t)in->channels;
    double at_y = start_y + step_y * 0.5;
    for (int y = 0; y < out->height; y++, at_y += step_y) {
        const int row = index_of(at_y, in->height);
        if (row < 0) continue;
        const uint8_t *from = in->pixels + (size_t)row * in->stride;
        uint8_t *to = out->pixels + (size_t)y * (size_t)out->width * channels;
        double at_x = start_x + step_x * 0.5;
        for (int x = 0; x < out->width; x++, at_x += step_x, to += channels) {
            const int column = index_of(at_x, in->width);
            if (column < 0) continue;
            copy_pixel(to, from + (size_t)column * channels, channels);
        }
    }
}

/* Converts to 16.16 fixed point; values out of range wrap around. */
static uint32_t fixed(double value) { return (uint32_t)(int64_t)floor(value * 65536.0 + 0.5); }

static bool fits_fixed(const double m[6], int x, int y) {
    return fabs(x * m[0] + y * m[1] + m[2]) < 32768.0 && fabs(x * m[3] + y * m[4] + m[5]) < 32768.0;
}

static void affine_fixed(const vst_image *in, const double m[6], vst_image *out) {
    const uint32_t step_x = fixed(m[0]), step_y = fixed(m[3]), down_x = fixed(m[1]), down_y = fixed(m[4]);
    const size_t channels = (size_t)in->channels;
    uint32_t start_x = fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), start_y = fixed(m[5] + m[3] * 0.5 + m[4] * 0.5);
    uint8_t *to = out->pixels;
    for (int y = 0; y < out->height; y++, start_x += down_x, start_y += down_y) {
        uint32_t at_x = start_x, at_y = start_y;
        for (int x = 0; x < out->width; x++, at_x += step_x, at_y += step_y, to += channels) {
            const int32_t column = (int32_t)at_x >> 16, row = (int32_t)at_y >> 16;
            if (column < 0 || column >= in->width || row < 0 || row >= in->height) continue;
            copy_pixel(to, in->pixels + ((size_t)row * (size_t)in->width + (size_t)column) * channels, channels);
        }
    }
}

/* Like affine_fixed, for coordinates out of the range of 16.16 fixed point. */
static void affine_nearest(const vst_image *in, const double m[6], vst_image *out) {
    const size_t channels = (size_t)in->channels;
    double start_x = m[2] + m[1] * 0.5 + m[0] * 0.5, start_y = m[5] + m[4] * 0.5 + m[3] * 0.5;
    uint8_t *to = out->pixels;
    for (int y = 0; y < out->height; y++, start_x += m[1], start_y += m[4]) {
        double at_x = start_x, at_y = start_y;
        for (int x = 0; x < out->width; x++, at_x += m[0], at_y += m[3], to += channels) {
            const int column = index_of(at_x, in->width), row = index_of(at_y, in->height);
            if (column < 0 || row < 0) continue;
            copy_pixel(to, in->pixels + ((size_t)row * (size_t)in->width + (size_t)column) * channels, channels);
        }
    }
}

static void transform_nearest(const vst_image *in, const double m[6], vst_image *out) {
    const vsti_view view = vsti_view_of(in);
    const int height = out->height, width = out->width;
    if (m[1] == 0 && m[3] == 0) vsti_scale_nearest(&view, m[0], m[2], m[4], m[5], out);
    else if (fits_fixed(m, 0, 0) && fits_fixed(m, width, height) && fits_fixed(m, 0, height) && fits_fixed(m, width, 0))
        affine_fixed(in, m, out);
    else affine_nearest(in, m, out);
}

/* ---- Affine transforms ---- */

vst_status vst_image_affine(const vst_image *in, const double matrix[6], int height, int width, vst_sampling sampling,
                            vst_image *out) {
    static const uint8_t black[3];
    const uint8_t *fill = sampling.fill ? sampling.fill : black;
    for (int i = 0; i < 6; i++)
        if (!isfinite(matrix[i]))
            return vst_fail(VST_ERROR_ARGUMENT, "an affine map with the coefficient %g: all six must be finite",
                            matrix[i]);
    if (sampling.filter != VST_FILTER_NEAREST && sampling.filter != VST_FILTER_BILINEAR &&
        sampling.filter != VST_FILTER_BICUBIC)
        return vst_fail(VST_ERROR_ARGUMENT, "an affine map with filter %d: nearest, bilinear and bicubic are supported",
                        (int)sampling.filter);
    const vst_status status = vst_image_allocate(out, in->channels, height, width);
    if (status != VST_OK) return status;
    const size_t channels = (size_t)in->channels, row = (size_t)width * channels;
    if (sampling.filter == VST_FILTER_NEAREST) {
        fill_pixels(out->pixels, fill, channels, (size_t)width);
        for (int y = 1; y < height; y++) memcpy(out->pixels + (size_t)y * row, out->pixels, row);
        transform_nearest(in, matrix, out);
        return VST_OK;
    }
    const vsti_kernels *kernels = vsti_get_kernels();
    const vsti_affine map = {.pixels = in->pixels,
                             .channels = in->channels,
                             .height = in->height,
                             .width = in->width,
                             .fill = {fill[0], channels == 3 ? fill[1] : 0, channels == 3 ? fill[2] : 0},
                             .matrix = {matrix[0], matrix[1], matrix[2], matrix[3], matrix[4], matrix[5]}};
    for (int y = 0; y < height; y++) {
        uint8_t *to = out->pixels + (size_t)y * row;
        if (sampling.filter == VST_FILTER_BICUBIC) kernels->affine_bicubic(&map, y, to, width);
        else kernels->affine_bilinear(&map, y, to, width);
    }
    return VST_OK;
}

/* Python's round(x, 15) for |x| <= 1: rounds x * 10^15 to an integer; dividing it by 10^15 gives the nearest double. */
static double round15(double x) {
    const double scaled = x * 1e15, lost = fma(x, 1e15, -scaled); /* scaled + lost is the exact product */
    double whole = rint(scaled);
    const double rest = (scaled - whole) + lost;
    if (rest > 0.5) whole += 1;
    if (rest < -0.5) whole -= 1;
    return whole / 1e15;
}

vst_status vst_image_rotate(const vst_image *in, double degrees, vst_sampling sampling, vst_image *out) {
    double angle = fmod(degrees, 360.0);
    if (!isfinite(degrees)) return vst_fail(VST_ERROR_ARGUMENT, "a rotation by %g degrees: it must be finite", degrees);
    if (angle < 0) angle += 360.0;
    if (angle == 0) return vst_image_turn(in, 1, out);
    if (angle == 180) return vst_image_turn(in, 3, out);
    if (angle == 90 && in->height == in->width) return vst_image_turn(in, 8, out);
    if (angle == 270 && in->height == in->width) return vst_image_turn(in, 6, out);
    const double radians = -(angle * (M_PI / 180.0)), centre_x = in->width / 2.0, centre_y = in->height / 2.0;
    const double c = round15(cos(radians)), s = round15(sin(radians)), minus_s = round15(-sin(radians));
    const double matrix[6] = {c,       s, c * -centre_x + s * -centre_y + 0.0 + centre_x,
                              minus_s, c, minus_s * -centre_x + c * -centre_y + 0.0 + centre_y};
    return vst_image_affine(in, matrix, in->height, in->width, sampling, out);
}

vst_status vst_image_shear_x(const vst_image *in, double factor, vst_sampling sampling, vst_image *out) {
    return vst_image_affine(in, (const double[6]){1, factor, 0, 0, 1, 0}, in->height, in->width, sampling, out);
}

vst_status vst_image_shear_y(const vst_image *in, double factor, vst_sampling sampling, vst_image *out) {
    return vst_image_affine(in, (const double[6]){1, 0, 0, factor, 1, 0}, in->height, in->width, sampling, out);
}

vst_status vst_image_translate_x(const vst_image *in, double pixels, vst_sampling sampling, vst_image *out) {
    return vst_image_affine(in, (const double[6]){1, 0, pixels, 0, 1, 0}, in->height, in->width, sampling, out);
}

vst_status vst_image_translate_y(const vst_image *in, double pixels, vst_sampling sampling, vst_image *out) {
    return vst_image_affine(in, (const double[6]){1, 0, 0, 0, 1, pixels}, in->height, in->width, sampling, out);
}
