/* Resizing as Pillow 11's Image.resize does it, bit for bit: its filters, its widening when an image shrinks, its fixed
 * point, its rounding to bytes between the horizontal and the vertical pass. Runs on the calling thread alone;
 * thread-safe on different images. */
#ifndef VISTILL_VISION_IMAGE_RESIZE_H
#define VISTILL_VISION_IMAGE_RESIZE_H

#include "vision/image/image.h"

#ifdef __cplusplus
extern "C" {
#endif

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

/* Resizes the part `box` of `in` (NULL: all of it) to height x width pixels. As torchvision's resized_crop, the part is
 * cut out first: the filter does not see pixels outside it. `out` and `scratch` are {0} or images to be overwritten,
 * neither is `in`; `scratch` (what lies in it afterwards means nothing) keeps the memory between calls, so that one
 * thread's calls with the same two images stop allocating. Fails if the box does not lie within the image
 * (VST_ERROR_ARGUMENT), or for lack of memory; `out` is then unspecified, but still to be cleared by its owner. */
VST_NODISCARD vst_status vst_image_resize(const vst_image *in, const vst_box *box, int height, int width,
                                          vst_filter filter, vst_image *scratch, vst_image *out);

/* The size to which torchvision's Resize(side) brings an image: the shorter side becomes `side`, the longer one
 * int(side * longer / shorter). */
void vst_resize_shorter(int height, int width, int side, int *out_height, int *out_width);

#ifdef __cplusplus
}
#endif
#endif
