/* Image files to pixels: JPEG and PNG, recognised by their first bytes. The pixels are those that Pillow's
 * Image.open(f).convert("RGB") or convert("L") gives, except where a comment of jpeg.c or png.c says otherwise and why.
 * Runs on the calling thread alone; thread-safe on different images. */
#ifndef VISTILL_VISION_IMAGE_DECODE_H
#define VISTILL_VISION_IMAGE_DECODE_H

#include <stdbool.h>

#include "vision/image/image.h"

typedef enum vst_image_format { VST_IMAGE_UNKNOWN, VST_IMAGE_JPEG, VST_IMAGE_PNG } vst_image_format;

/* By magic bytes; the name of a file says nothing. */
vst_image_format vst_image_format_of(const void *bytes, size_t size);

/* What a file says of itself, before its pixels are decoded. */
typedef struct vst_image_facts {
    vst_image_format format;
    int channels;      /* 1 or 3, as it would be decoded with channels 0 */
    int height, width; /* as stored: before any turn that EXIF asks for */
    int orientation;   /* EXIF: 1 … 8; 1 if absent */
} vst_image_facts;

/* Reads the header only. limits NULL: the defaults; an image beyond them is VST_ERROR_LIMIT, as when decoding. */
VST_NODISCARD vst_status vst_image_inspect(const void *bytes, size_t size, const vst_image_limits *limits,
                                           vst_image_facts *out);

typedef struct vst_decode_options {
    int channels;                   /* 1 or 3; 0: what the file has */
    const vst_image_limits *limits; /* NULL: the defaults */
    const vst_box *crop;            /* only this part (as stored), exactly the pixels of a full decode; NULL: all */
    /* Both above 0: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (the crop's corners are divided alike) as long
     * as the result is not smaller than this. Quicker, but other pixels than a full decode and a resize. 0: exact. */
    int least_height, least_width;
    bool turn; /* apply EXIF's orientation; not together with crop */
    /* Damage that libjpeg could paint over (a truncated JPEG) is an error, for training, evaluation and classification
     * alike; with this it is painted over, and *damaged says so. */
    bool allow_damaged;
} vst_decode_options;

/* options NULL: all zero. `out` is {0} or an image to be overwritten; it is cleared on failure. *damaged (may be NULL):
 * the decoder painted over something that is missing or broken, in the part of the file that it had to read. */
VST_NODISCARD vst_status vst_image_decode(const void *bytes, size_t size, const vst_decode_options *options,
                                          vst_image *out, bool *damaged);

/* The same of a file; a larger one than this is refused before memory is taken for it. Messages name the file. */
#define VST_IMAGE_FILE_BYTES ((size_t)256 << 20)
VST_NODISCARD vst_status vst_image_read(const char *path, const vst_decode_options *options, vst_image *out);

#endif
