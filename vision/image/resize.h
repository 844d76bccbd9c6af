/* Resizing as Pillow 11's Image.resize does it, bit for bit: its filters, its widening when an image shrinks, its fixed
 * point, its rounding to bytes between the horizontal and the vertical pass. Runs on the calling thread alone;
 * thread-safe on different images. */
#ifndef VISTILL_VISION_IMAGE_RESIZE_H
#define VISTILL_VISION_IMAGE_RESIZE_H

#include "vision/image/image.h"

/* Resizes the part `box` of `in` (NULL: all of it) to height x width pixels. As torchvision's resized_crop, the part is
 * cut out first: the filter does not see pixels outside it. `out` and `scratch` are {0} or images to be overwritten,
 * neither is `in`; `scratch` (what lies in it afterwards means nothing) keeps the memory between calls, so that one
 * thread's calls with the same two images stop allocating. Fails if the box does not lie within the image
 * (VST_ERROR_ARGUMENT), or for lack of memory; `out` is then unspecified, but still to be cleared by its owner. */
VST_NODISCARD vst_status vst_image_resize(const vst_image *in, const vst_box *box, int height, int width,
                                          vst_filter filter, vst_image *scratch, vst_image *out);

/* A part of a resized image, for what is cut out afterwards need not be computed. */
typedef struct vst_resize_window {
    int in_height, in_width; /* of the whole input */
    int height, width;       /* to which that is resized */
    vst_box box;             /* the part of the result that is wanted */
    vst_filter filter;
} vst_resize_window;
/* The part of the input that the window is made of; with the nearest filter all of it. The window's box must lie within
 * the result. */
vst_box vst_resize_source(const vst_resize_window *window);
/* Exactly the pixels of resizing and then cutting out. `in` is the whole input or the part that vst_resize_source says;
 * the rest as for vst_image_resize. */
VST_NODISCARD vst_status vst_image_resize_window(const vst_image *in, const vst_resize_window *window,
                                                 vst_image *scratch, vst_image *out);

/* The size to which torchvision's Resize(side) brings an image: the shorter side becomes `side`, the longer one
 * int(side * longer / shorter). */
void vst_resize_shorter(int height, int width, int side, int *out_height, int *out_width);

#endif
