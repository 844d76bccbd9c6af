/* Memory, channel conversion and image grids. */
#include "vision/image/image.h"

#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/text.h"

enum { WHITE = 255 };

void vst_image_clear(vst_image *image) {
    vst_free(image->pixels);
    *image = (vst_image){0};
}

vst_status vst_image_allocate(vst_image *image, int channels, int height, int width) {
    size_t bytes;
    if ((channels != 1 && channels != 3) || height < 1 || width < 1)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "an image of %d channels, %d x %d pixels (height x width): channels must be 1 or 3 "
                        "and both sides at least 1",
                        channels, height, width);
    if (!vst_multiply((size_t)height, (size_t)width, &bytes) || !vst_multiply(bytes, (size_t)channels, &bytes))
        return vst_fail_memory(SIZE_MAX);
    if (bytes > image->capacity) {
        uint8_t *grown = vst_realloc(image->pixels, bytes);
        if (!grown) return vst_fail_memory(bytes);
        image->pixels = grown;
        image->capacity = bytes;
    }
    image->channels = channels;
    image->height = height;
    image->width = width;
    return VST_OK;
}

vst_status vst_image_convert(vst_image *image, int channels) {
    if (channels == image->channels) return VST_OK;
    vst_status status = vst_image_allocate(image, channels, image->height, image->width); /* keeps the existing bytes */
    if (status != VST_OK) return status;
    const size_t count = (size_t)image->height * (size_t)image->width;
    uint8_t *p = image->pixels;
    if (channels == 3) { /* from the end, because the result is larger than its source and overlaps it */
        for (size_t i = count; i-- > 0;) p[3 * i] = p[3 * i + 1] = p[3 * i + 2] = p[i];
    } else {
        for (size_t i = 0; i < count; i++)
            p[i] = (uint8_t)((p[3 * i] * 19595u + p[3 * i + 1] * 38470u + p[3 * i + 2] * 7471u + 0x8000u) >> 16);
    }
    return VST_OK;
}

/* Draws one enlarged image with its top left corner at pixel (top, left) of the sheet. */
static void draw(vst_image *sheet, const vst_image *image, int top, int left, int scale) {
    const size_t stride = (size_t)sheet->width * (size_t)sheet->channels;
    const size_t line = (size_t)image->width * (size_t)scale * (size_t)sheet->channels;
    for (int y = 0; y < image->height; y++) {
        const uint8_t *from = image->pixels + (size_t)y * (size_t)image->width * (size_t)image->channels;
        uint8_t *first = sheet->pixels + (size_t)(top + y * scale) * stride + (size_t)left * (size_t)sheet->channels;
        uint8_t *to = first;
        for (int x = 0; x < image->width * scale; x++)
            for (int c = 0; c < sheet->channels; c++)
                *to++ = from[(size_t)(x / scale) * (size_t)image->channels + (size_t)(image->channels == 1 ? 0 : c)];
        for (int copy = 1; copy < scale; copy++) memcpy(first + (size_t)copy * stride, first, line);
    }
}

vst_status vst_image_grid(const vst_image *images, const char *const *captions, int count, int columns, int scale,
                          int padding, vst_image *out) {
    enum {
        SIDE_MAX = 32768,
        CAPTION = VSTI_GLYPH_HEIGHT + 4
    }; /* pixels; also keeps the products below within an int64_t */
    if (count < 1 || columns < 1 || scale < 1 || scale > SIDE_MAX || padding < 0 || padding > SIDE_MAX)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "a grid of %d images in %d columns, scale %d, padding %d: the first three must be "
                        "at least 1 and padding at least 0",
                        count, columns, scale, padding);
    int channels = 1, height = 0, width = 0;
    for (int i = 0; i < count; i++) {
        if (images[i].channels > channels) channels = images[i].channels;
        if (images[i].height > height) height = images[i].height;
        if (images[i].width > width) width = images[i].width;
    }
    if (columns > count) columns = count;
    const int rows = count / columns + (count % columns != 0);
    const int64_t cell_height = (int64_t)height * scale + padding + (captions ? CAPTION : 0),
                  cell_width = (int64_t)width * scale + padding;
    if (cell_height > SIDE_MAX || cell_width > SIDE_MAX || rows * cell_height + padding > SIDE_MAX ||
        columns * cell_width + padding > SIDE_MAX)
        return vst_fail(VST_ERROR_LIMIT,
                        "a grid of %d x %d cells of %lld x %lld pixels is larger than %d pixels a side: use "
                        "fewer images or a smaller scale",
                        rows, columns, (long long)cell_height, (long long)cell_width, SIDE_MAX);
    vst_status status =
        vst_image_allocate(out, channels, (int)(rows * cell_height) + padding, (int)(columns * cell_width) + padding);
    if (status != VST_OK) return status;
    memset(out->pixels, WHITE, (size_t)out->height * (size_t)out->width * (size_t)channels);
    for (int i = 0; i < count; i++) {
        const int top = padding + i / columns * (int)cell_height, left = padding + i % columns * (int)cell_width;
        draw(out, &images[i], top, left, scale);
        const size_t stride = (size_t)out->width * (size_t)channels, row = (size_t)(top + images[i].height * scale + 2);
        if (captions)
            vsti_draw_text(out->pixels + row * stride + (size_t)(left * channels), stride, channels, width * scale,
                           captions[i] ? captions[i] : "-");
    }
    return VST_OK;
}
