/* Images of 8-bit samples: memory, channel conversion, image grids, PNG, writing JPEG. The caller owns every vst_image
 * and frees it with vst_image_clear. Functions may be called from several threads on different images. */
#ifndef VISTILL_VISION_IMAGE_IMAGE_H
#define VISTILL_VISION_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"

VST_BEGIN_DECLS

/* Pixels (H, W, C), rows from the top, 0 … 255. Initialise it with {0}. A function that fills an image reuses its
 * memory, so that reading many samples does not allocate. */
typedef struct vst_image {
    int channels; /* 1 grey, 3 RGB */
    int height, width;
    uint8_t *pixels; /* owned */
    size_t capacity; /* bytes at `pixels` */
} vst_image;

/* A rectangle of pixels; (0, 0) is the top left corner. */
typedef struct vst_box {
    int top, left, height, width;
} vst_box;

/* Pillow's resampling filters. Resizing takes all of them (bicubic: a = -0.5); the geometric transforms of geometry.h
 * support nearest, bilinear and bicubic (a = -1), as Pillow's. */
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

/* Sets the shape of the image and allocates its pixels, which are unspecified. On failure the image is unchanged. */
VST_NODISCARD vst_status vst_image_allocate(vst_image *image, int channels, int height, int width);

/* Converts the image to 1 or 3 channels: grey is repeated, RGB is converted as Pillow's convert("L") (ITU-R 601). */
VST_NODISCARD vst_status vst_image_convert(vst_image *image, int channels);

/* Draws `count` images in a grid of `columns` columns, each pixel as scale x scale pixels, with `padding` white pixels
 * between and around the cells. Cells have the size of the largest image; the grid is RGB if any image is. captions[i],
 * "-" for NULL, stands below image i, as far as the cell is wide; without `captions` there is no room for any. */
VST_NODISCARD vst_status vst_image_grid(const vst_image *images, const char *const *captions, int count, int columns,
                                        int scale, int padding, vst_image *out);

/* Limits of the decoders for untrusted files. */
typedef struct vst_image_limits {
    uint64_t pixels;    /* height x width; 0: 64 million */
    size_t chunk_bytes; /* memory for one PNG chunk; 0: 8 MiB */
    int scans; /* of a progressive JPEG; each costs a pass over the whole image; 0: 500. Times the pixels they are
                  bounded, too: an image of the most pixels may have 32 */
} vst_image_limits;

/* Decodes a PNG in memory: palette, grey of 1 … 16 bits, RGB, interlaced. Alpha and transparency are dropped; of 16-bit
 * samples the high byte is kept (plain grey is rounded). `channels`: 1, 3, or 0 to keep those of the file. `limits` may
 * be NULL (the defaults). `out` is {0} or an image to overwrite; it is cleared on failure. See decode.h for JPEG. */
VST_NODISCARD vst_status vst_png_decode(const void *bytes, size_t size, int channels, const vst_image_limits *limits,
                                        vst_image *out);

/* Encodes an image to memory. The caller frees *bytes with vst_free. */
VST_NODISCARD vst_status vst_png_encode(const vst_image *image, uint8_t **bytes, size_t *size);

/* Encodes an image as baseline JPEG with quality 1 … 100 (libjpeg's scale) and 4:2:0 chroma subsampling, as Pillow's
 * save(quality=…). A side of more than 65500 pixels is VST_ERROR_ARGUMENT. */
VST_NODISCARD vst_status vst_jpeg_encode(const vst_image *image, int quality, uint8_t **bytes, size_t *size);

/* Writes a PNG file atomically: on failure an existing file is unchanged. */
VST_NODISCARD vst_status vst_png_write(const char *path, const vst_image *image);

VST_END_DECLS
#endif
