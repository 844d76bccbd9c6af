/* What the files of this folder share; not installed. */
#ifndef VISTILL_VISION_IMAGE_INTERNAL_H
#define VISTILL_VISION_IMAGE_INTERNAL_H

#include "vision/image/decode.h"

/* The decoders behind decode.h, with its meaning of the options; `turn` is not theirs. The options are checked already,
 * but that the crop lies within the image, which they must do. facts->format is left alone. */
vst_status vsti_jpeg_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *facts);
vst_status vsti_jpeg_decode(const void *bytes, size_t size, const vst_decode_options *options, vst_image *out,
                            bool *damaged);
vst_status vsti_png_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *facts);

/* `limits` with the defaults for what is NULL or 0. */
vst_image_limits vsti_image_limits(const vst_image_limits *limits);
/* VST_ERROR_LIMIT if an image has more pixels than allowed; format: for the message. */
vst_status vsti_check_pixels(const char *format, uint64_t height, uint64_t width, const vst_image_limits *limits);
/* VST_ERROR_ARGUMENT unless the box is not empty and lies within height x width pixels. */
vst_status vsti_check_box(const vst_box *box, int height, int width);

/* The orientation in a TIFF structure, the contents of EXIF: 1 … 8; 1 if it has none or is broken. */
int vsti_exif_orientation(const uint8_t *tiff, size_t size);

/* Pixels somewhere in an image: `stride` bytes from one row to the next. */
typedef struct vsti_view {
    const uint8_t *pixels;
    size_t stride;
    int channels, height, width;
} vsti_view;

static inline vsti_view vsti_view_of(const vst_image *image) {
    return (vsti_view){image->pixels, (size_t)image->width * (size_t)image->channels, image->channels, image->height,
                       image->width};
}

/* The part of an image; the box lies within it. */
static inline vsti_view vsti_view_box(const vst_image *image, vst_box box) {
    vsti_view view = vsti_view_of(image);
    view.pixels += (size_t)box.top * view.stride + (size_t)box.left * (size_t)view.channels;
    view.height = box.height;
    view.width = box.width;
    return view;
}

/* Copies a view into dense rows. */
void vsti_copy_view(const vsti_view *in, uint8_t *out);

/* Nearest neighbour along both axes: output pixel (x, y) is the input's at (step_x (x + 0.5) + start_x, likewise y), if
 * there is one, else it stays. `out` has its shape. */
void vsti_scale_nearest(const vsti_view *in, double step_x, double start_x, double step_y, double start_y,
                        vst_image *out);

#endif
