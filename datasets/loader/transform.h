/* From a decoded image to what a model gets: the transform of evaluation, as timm's create_transform and torchvision
 * make it, and the conversion to floats. On the calling thread alone; thread-safe on different images. */
#ifndef VISTILL_DATASETS_LOADER_TRANSFORM_H
#define VISTILL_DATASETS_LOADER_TRANSFORM_H

#include "vision/image/resize.h"

typedef struct vst_evaluation_view {
    int size;          /* of the model's input, height and width */
    double crop_pct;   /* the shorter side becomes floor(size / crop_pct), then the centre is cut out; 0: 1 */
    vst_filter filter; /* of that resizing */
} vst_evaluation_view;

/* Resize(floor(size / crop_pct)) and CenterCrop(size), in place; an image that has the size already stays as it is.
 * `scratch`: two images that are overwritten. An image so narrow that its resized length goes beyond 64 million pixels
 * is VST_ERROR_LIMIT. */
VST_NODISCARD vst_status vst_image_evaluation_view(const vst_evaluation_view *view, vst_image *image,
                                                   vst_image scratch[2]);

/* The same in two stages, around a decoder: first what part of a picture of height x width pixels is needed, then the
 * view from that part or from the whole. */
VST_NODISCARD vst_status vst_evaluation_begin(const vst_evaluation_view *view, int height, int width,
                                              vst_resize_window *window, vst_box *part);
VST_NODISCARD vst_status vst_evaluation_finish(const vst_evaluation_view *view, const vst_resize_window *window,
                                               vst_image *image, vst_image scratch[2]);

/* torchvision's CenterCrop, in place: black around what is smaller; of an odd rest the half is rounded to even. */
VST_NODISCARD vst_status vst_image_centre_crop(vst_image *image, int height, int width, vst_image *scratch);

/* (H, W, C) bytes to (C, H, W) floats x / 255, as torchvision's ToTensor. */
void vst_image_to_floats(const vst_image *image, float *out);

#endif
