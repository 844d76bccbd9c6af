/* The evaluation transform, as timm's create_transform and torchvision, and the conversion to floats. Functions are
 * single-threaded and may be called from several threads on different images. */
#ifndef VISTILL_DATASETS_LOADER_TRANSFORM_H
#define VISTILL_DATASETS_LOADER_TRANSFORM_H

#include "vision/image/resize.h"

typedef struct vst_evaluation_view {
    int size;          /* height and width of the model's input */
    double crop_pct;   /* the shorter side is resized to floor(size / crop_pct), then the centre is cropped; 0: 1 */
    vst_filter filter; /* of that resizing */
} vst_evaluation_view;

/* Resize(floor(size / crop_pct)) and CenterCrop(size), in place. Images of size x size are unchanged if crop_pct is 1
 * or size is at most 32, as in DeiT's code, which does not resize then. `scratch`: two images to overwrite.
 * VST_ERROR_LIMIT for an image so narrow that the resized one would have more than 64 million pixels. */
VST_NODISCARD vst_status vst_image_evaluation_view(const vst_evaluation_view *view, vst_image *image,
                                                   vst_image scratch[2]);

/* The same in two stages, before and after decoding: the first computes which part of an image of height x width pixels
 * is needed, the second transforms that part or the whole image. */
VST_NODISCARD vst_status vst_evaluation_begin(const vst_evaluation_view *view, int height, int width,
                                              vst_resize_window *window, vst_box *part);
VST_NODISCARD vst_status vst_evaluation_finish(const vst_evaluation_view *view, const vst_resize_window *window,
                                               vst_image *image, vst_image scratch[2]);

/* torchvision's CenterCrop, in place: smaller images are padded with black; half of an odd difference is rounded to
 * even. */
VST_NODISCARD vst_status vst_image_centre_crop(vst_image *image, int height, int width, vst_image *scratch);

/* (H, W, C) bytes to (C, H, W) floats x / 255, as torchvision's ToTensor. */
void vst_image_to_floats(const vst_image *image, float *out);

#endif
