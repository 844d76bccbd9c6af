/* Detects the file format, calls the decoder and applies the EXIF orientation. */
#include "vision/image/decode.h"

#include <string.h>

#include "vision/image/geometry.h"
#include "vision/image/internal.h"

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
                        "reading an image: crop and turn cannot be combined: decode first, then crop");
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
