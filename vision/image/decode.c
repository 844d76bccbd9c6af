/* Recognises image files, asks their decoder, turns what EXIF wants turned. */
#include "vision/image/decode.h"

#include <string.h>

#include "vision/image/geometry.h"
#include "vision/image/internal.h"

enum { DEFAULT_PIXELS = 64000000, DEFAULT_CHUNK_BYTES = 8 << 20, DEFAULT_SCANS = 500 };

vst_image_limits vsti_image_limits(const vst_image_limits *limits) {
    vst_image_limits full = {DEFAULT_PIXELS, DEFAULT_CHUNK_BYTES, DEFAULT_SCANS};
    if (limits && limits->pixels) full.pixels = limits->pixels;
    if (limits && limits->chunk_bytes) full.chunk_bytes = limits->chunk_bytes;
    if (limits && limits->scans) full.scans = limits->scans;
    return full;
}

vst_status vsti_check_pixels(const char *format, uint64_t height, uint64_t width, const vst_image_limits *limits) {
    if (width * height <= limits->pixels) return VST_OK; /* both are below 2^31 */
    return vst_fail(
        VST_ERROR_LIMIT,
        "reading %s: %llu x %llu pixels (height x width) are more than the limit of %llu: raise the limit or "
        "make the image smaller",
        format, (unsigned long long)height, (unsigned long long)width, (unsigned long long)limits->pixels);
}

vst_status vsti_check_box(const vst_box *box, int height, int width) {
    if (box->top >= 0 && box->left >= 0 && box->height >= 1 && box->width >= 1 && box->height <= height - box->top &&
        box->width <= width - box->left)
        return VST_OK;
    return vst_fail(
        VST_ERROR_ARGUMENT,
        "a box of %d x %d pixels (height x width) at row %d, column %d does not lie within an image of %d x %d",
        box->height, box->width, box->top, box->left, height, width);
}

vst_image_format vst_image_format_of(const void *bytes, size_t size) {
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff}, png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0) return VST_IMAGE_JPEG;
    if (size >= sizeof png && memcmp(bytes, png, sizeof png) == 0) return VST_IMAGE_PNG;
    return VST_IMAGE_UNKNOWN;
}

static vst_status unknown_format(const void *bytes, size_t size) {
    static const uint8_t none[4];
    const uint8_t *first = size >= 4 ? bytes : none;
    if (size < 8)
        return vst_fail(VST_ERROR_FORMAT, "an image file of %zu bytes is too short to be a JPEG or a PNG", size);
    return vst_fail(VST_ERROR_FORMAT,
                    "not a JPEG or PNG file: it begins with the bytes %02x %02x %02x %02x; convert it to one of these",
                    first[0], first[1], first[2], first[3]);
}

/* ---- EXIF ---- */

/* A number of `bytes` bytes at `at`, in the byte order of the structure. */
static uint32_t number_at(const uint8_t *tiff, size_t at, int bytes, bool big) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint32_t)tiff[at + (size_t)i] << 8 * (big ? bytes - 1 - i : i);
    return value;
}

int vsti_exif_orientation(const uint8_t *tiff, size_t size) {
    enum { HEADER = 8, ENTRY = 12, TAG = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4 };
    if (size < HEADER || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0)) return 1;
    const bool big = tiff[0] == 'M';
    const size_t directory = number_at(tiff, 4, 4, big);
    if (directory > size - 2) return 1;
    size_t count = number_at(tiff, directory, 2, big);
    const size_t room = (size - directory - 2) / ENTRY;
    if (count > room) count = room;
    for (size_t i = 0; i < count; i++) {
        const size_t entry = directory + 2 + i * ENTRY;
        const uint32_t type = number_at(tiff, entry + 2, 2, big);
        if (number_at(tiff, entry, 2, big) != TAG || (type != TYPE_SHORT && type != TYPE_LONG)) continue;
        const uint32_t value = number_at(tiff, entry + 8, type == TYPE_SHORT ? 2 : 4, big);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

/* ---- The public functions ---- */

vst_status vst_image_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *out) {
    *out = (vst_image_facts){.format = vst_image_format_of(bytes, size), .orientation = 1};
    switch (out->format) {
    case VST_IMAGE_JPEG: return vsti_jpeg_inspect(bytes, size, limits, out);
    case VST_IMAGE_PNG: return vsti_png_inspect(bytes, size, limits, out);
    default: return unknown_format(bytes, size);
    }
}

static vst_status check_options(const vst_decode_options *options) {
    if (options->channels != 0 && options->channels != 1 && options->channels != 3)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "reading an image: %d channels asked for, it must be 0 (as in the file), 1 or 3",
                        options->channels);
    if (options->turn && options->crop)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "reading an image: a crop together with EXIF's orientation: decode, then crop");
    return VST_OK;
}

static vst_status decode_png(const void *bytes, size_t size, const vst_decode_options *options, vst_image *out) {
    vst_status status = vst_png_decode(bytes, size, options->channels, options->limits, out);
    if (status == VST_OK && options->crop) status = vst_image_crop(out, *options->crop, out);
    return status;
}

static vst_status turn(const void *bytes, size_t size, const vst_image_limits *limits, vst_image *image) {
    vst_image upright = {0};
    vst_image_facts facts;
    vst_status status = vst_image_inspect(bytes, size, limits, &facts);
    if (status != VST_OK || facts.orientation == 1) return status;
    status = vst_image_turn(image, facts.orientation, &upright);
    vst_image_clear(image);
    *image = upright;
    return status;
}

vst_status vst_image_decode(const void *bytes, size_t size, const vst_decode_options *options, vst_image *out,
                            bool *damaged) {
    static const vst_decode_options plain;
    bool painted_over = false;
    vst_status status = VST_OK;
    if (!options) options = &plain;
    VST_TRY(check_options(options));
    switch (vst_image_format_of(bytes, size)) {
    case VST_IMAGE_JPEG: VST_TRY(vsti_jpeg_decode(bytes, size, options, out, &painted_over)); break;
    case VST_IMAGE_PNG: VST_TRY(decode_png(bytes, size, options, out)); break;
    default: VST_TRY(unknown_format(bytes, size));
    }
    if (options->turn) VST_TRY(turn(bytes, size, options->limits, out));
out:
    if (damaged) *damaged = painted_over;
    if (status != VST_OK) vst_image_clear(out);
    return status;
}
