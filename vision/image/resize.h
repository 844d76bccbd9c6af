/* Resizing, bit for bit as Pillow 11's Image.resize: the same filters, antialiasing, fixed-point weights and rounding
 * to bytes between the horizontal and the vertical pass. Functions are single-threaded and may be called from several
 * threads on different images. */
#ifndef VISTILL_VISION_IMAGE_RESIZE_H
#define VISTILL_VISION_IMAGE_RESIZE_H

#include "vision/image/image.h"

/* Resizes the part `box` of `in` (NULL: all of it) to height x width pixels. As in torchvision's resized_crop, the part
 * is cropped first: the filter does not read pixels outside it. `out` and `scratch` are {0} or images to overwrite, and
 * must not be `in`. `scratch` holds working memory; repeated calls with the same two images do not allocate. Fails if
 * the box is not within the image (VST_ERROR_ARGUMENT) or for lack of memory; `out` is then unspecified and the caller
 * still has to clear it. */
VST_NODISCARD vst_status vst_image_resize(const vst_image *in, const vst_box *box, int height, int width,
                                          vst_filter filter, vst_image *scratch, vst_image *out);

/* A window of a resized image: only pixels that a later crop keeps are computed. */
typedef struct vst_resize_window {
    int in_height, in_width; /* of the whole input */
    int height, width;       /* size of the whole result */
    vst_box box;             /* the part of the result to compute */
    vst_filter filter;
} vst_resize_window;
/* Computes the part of the input that the window depends on; with the nearest filter all of it. The window's box must
 * lie within the result. */
vst_box vst_resize_source(const vst_resize_window *window);
/* Gives the same pixels as resizing and then cropping. `in` is the whole input or the part given by vst_resize_source.
 * `out`, `scratch` and errors are as for vst_image_resize. */
VST_NODISCARD vst_status vst_image_resize_window(const vst_image *in, const vst_resize_window *window,
                                                 vst_image *scratch, vst_image *out);

/* The size that torchvision's Resize(side) gives an image: the shorter side becomes `side`, the longer one int(side *
 * longer / shorter). */
void vst_resize_shorter(int height, int width, int side, int *out_height, int *out_width);

#endif
