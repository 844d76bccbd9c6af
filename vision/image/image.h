/* Images of 8-bit samples: memory, channel conversion, a contact sheet, PNG, writing JPEG. An image belongs to whoever
 * declared it; the functions are thread-safe on different images. */
#ifndef VISTILL_VISION_IMAGE_IMAGE_H
#define VISTILL_VISION_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"

VST_BEGIN_DECLS

/* Pixels in the order (H, W, C), rows from the top, 0 … 255. Starts as {0}; an image that is filled again reuses its
 * memory, so that reading sample after sample does not allocate. */
typedef struct vst_image {
    int channels; /* 1 grey, 3 RGB */
    int height, width;
    uint8_t *pixels; /* owned */
    size_t capacity; /* bytes at `pixels` */
} vst_image;

/* A rectangle of pixels, from the top left corner. */
typedef struct vst_box {
    int top, left, height, width;
} vst_box;

/* Pillow's resampling filters. Resizing takes all of them (bicubic: a = -0.5); the geometric transforms of geometry.h
 * take nearest, bilinear and bicubic (there a = -1), as Pillow's do. */
typedef enum vst_filter {
    VST_FILTER_NEAREST,
    VST_FILTER_BOX,
    VST_FILTER_BILINEAR,
    VST_FILTER_HAMMING,
    VST_FILTER_BICUBIC,
    VST_FILTER_LANCZOS
} vst_filter;

/* Frees the pixels and zeroes the structure. */
void vst_image_clear(vst_image *image);

/* Gives the image this shape and memory for it; the pixels are unspecified. On failure the image is as it was. */
VST_NODISCARD vst_status vst_image_allocate(vst_image *image, int channels, int height, int width);

/* Makes it an image of 1 or 3 channels: grey is repeated, RGB weighed as Pillow's convert("L") does (ITU-R 601). */
VST_NODISCARD vst_status vst_image_convert(vst_image *image, int channels);

/* A contact sheet of `count` images, `columns` a row, each pixel drawn as scale x scale pixels, `padding` white pixels
 * between the cells and around. Cells have the size of the largest image; the sheet is RGB if an image is. */
VST_NODISCARD vst_status vst_image_grid(const vst_image *images, int count, int columns, int scale, int padding,
                                        vst_image *out);

/* What a decoder accepts from a file that nobody vouches for. */
typedef struct vst_image_limits {
    uint64_t pixels;    /* height x width; 0: 64 million */
    size_t chunk_bytes; /* memory for one PNG chunk; 0: 8 MiB */
    int scans;          /* of a progressive JPEG, each of which costs a pass over the whole image; 0: 500 */
} vst_image_limits;

/* Decodes a PNG in memory: palette, grey of 1 … 16 bits, RGB, interlaced. Alpha and transparency are dropped, of 16
 * bits the high byte is kept (plain grey is rounded). `channels`: 1 or 3, or 0 for what the file has. limits NULL: the
 * defaults. `out` is {0} or an image to be overwritten; it is cleared on failure. decode.h reads JPEG too. */
VST_NODISCARD vst_status vst_png_decode(const void *bytes, size_t size, int channels, const vst_image_limits *limits,
                                        vst_image *out);

/* Encodes into memory: *bytes is to be vst_free'd. */
VST_NODISCARD vst_status vst_png_encode(const vst_image *image, uint8_t **bytes, size_t *size);

/* The same as baseline JPEG; quality: 1 … 100, by libjpeg's scale, colour at half the resolution, as Pillow's
 * save(quality=…). A side of more than 65500 pixels is VST_ERROR_ARGUMENT. */
VST_NODISCARD vst_status vst_jpeg_encode(const vst_image *image, int quality, uint8_t **bytes, size_t *size);

/* Writes a file through a temporary one beside it: `path` is the old file or the whole new one. */
VST_NODISCARD vst_status vst_png_write(const char *path, const vst_image *image);

VST_END_DECLS
#endif
