/* Checks shared by decoders and geometry (limits, boxes), and EXIF orientation. */
#include <string.h>

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
    if (width * height <= limits->pixels) return VST_OK; /* no overflow: both are below 2^31 */
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

/* ---- EXIF ---- */

/* Reads an integer of `bytes` bytes in the structure's byte order. */
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
