/* Declarations shared by the files of this folder. Not installed. */
#ifndef VISTILL_VISION_IMAGE_INTERNAL_H
#define VISTILL_VISION_IMAGE_INTERNAL_H

#include "vision/image/decode.h"

/* The decoders called by decode.c. Options are as in decode.h, except `turn`, which they ignore. The caller has checked
 * the options; the decoders check that the crop lies within the image. They do not set facts->format. */
vst_status vsti_jpeg_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *facts);
vst_status vsti_jpeg_decode(const void *bytes, size_t size, const vst_decode_options *options, vst_image *out,
                            bool *damaged);
vst_status vsti_png_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *facts);

/* `limits` with NULL or 0 replaced by the defaults. */
vst_image_limits vsti_image_limits(const vst_image_limits *limits);
/* VST_ERROR_LIMIT if an image has more pixels than allowed; format: for the message. */
vst_status vsti_check_pixels(const char *format, uint64_t height, uint64_t width, const vst_image_limits *limits);
/* VST_ERROR_ARGUMENT unless the box is not empty and lies within height x width pixels. */
vst_status vsti_check_box(const vst_box *box, int height, int width);

/* Reads the orientation 1 … 8 from EXIF data, a TIFF structure. 1 if it is missing or invalid. */
int vsti_exif_orientation(const uint8_t *tiff, size_t size);

/* A rectangle of pixels in an image; rows are `stride` bytes apart. */
typedef struct vsti_view {
    const uint8_t *pixels;
    size_t stride;
    int channels, height, width;
} vsti_view;

static inline vsti_view vsti_view_of(const vst_image *image) {
    return (vsti_view){image->pixels, (size_t)image->width * (size_t)image->channels, image->channels, image->height,
                       image->width};
}

/* A view of a part of an image; the box must lie within it. */
static inline vsti_view vsti_view_box(const vst_image *image, vst_box box) {
    vsti_view view = vsti_view_of(image);
    view.pixels += (size_t)box.top * view.stride + (size_t)box.left * (size_t)view.channels;
    view.height = box.height;
    view.width = box.width;
    return view;
}

/* Copies a view into dense rows. */
void vsti_copy_view(const vsti_view *in, uint8_t *out);

/* Nearest neighbour along both axes: output pixel (x, y) is the input pixel at (step_x (x + 0.5) + start_x, likewise
 * for y); it is unchanged if that is outside the input. The shape of `out` must be set. */
void vsti_scale_nearest(const vsti_view *in, double step_x, double start_x, double step_y, double start_y,
                        vst_image *out);

#endif
