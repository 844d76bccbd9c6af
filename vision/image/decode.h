/* Decodes JPEG and PNG files, which are detected by their first bytes. The pixels are equal to Pillow's
 * Image.open(f).convert("RGB") or convert("L"), with the exceptions documented in jpeg.c and png.c. Functions are
 * single-threaded and may be called from several threads on different images. */
#ifndef VISTILL_VISION_IMAGE_DECODE_H
#define VISTILL_VISION_IMAGE_DECODE_H

#include <stdbool.h>

#include "vision/image/image.h"

typedef enum vst_image_format { VST_IMAGE_UNKNOWN, VST_IMAGE_JPEG, VST_IMAGE_PNG } vst_image_format;

/* Detects the format from the magic bytes. */
vst_image_format vst_image_format_of(const void *bytes, size_t size);

/* Properties of an image file, read from its header. */
typedef struct vst_image_facts {
    vst_image_format format;
    int channels;      /* 1 or 3, as decoded with channels 0 */
    int height, width; /* as stored, before EXIF's orientation is applied */
    int orientation;   /* EXIF: 1 … 8; 1 if absent */
} vst_image_facts;

/* Reads the header only. `limits` may be NULL (the defaults). An image beyond the limits is VST_ERROR_LIMIT, as when
 * decoding. */
VST_NODISCARD vst_status vst_image_inspect(const void *bytes, size_t size, const vst_image_limits *limits,
                                           vst_image_facts *out);

typedef struct vst_decode_options {
    int channels;                   /* 1 or 3; 0: those of the file */
    const vst_image_limits *limits; /* NULL: the defaults */
    const vst_box
        *crop; /* decode only this part (in stored orientation), with the same pixels as a full decode; NULL: all */
    /* If both are above 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (the crop is scaled with it), but not
     * smaller than this. Faster, but the pixels differ from a full decode and resize. 0: full size. */
    int least_height, least_width;
    bool turn; /* apply EXIF's orientation; not together with crop */
    /* By default a damaged JPEG (such as a truncated one) is an error. If true, libjpeg fills in the missing pixels and
     * *damaged is set. */
    bool allow_damaged;
} vst_decode_options;

/* `options` may be NULL (all zero). `out` is {0} or an image to overwrite; it is cleared on failure. *damaged (may be
 * NULL) is set to true if the decoder filled in missing or broken data in the part of the file that it read. */
VST_NODISCARD vst_status vst_image_decode(const void *bytes, size_t size, const vst_decode_options *options,
                                          vst_image *out, bool *damaged);

/* Largest size of an image file. */
#define VST_IMAGE_FILE_BYTES ((size_t)256 << 20)

#endif
