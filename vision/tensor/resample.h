/* Bicubic resizing of arrays, for weights that were trained at another image size. */
#ifndef VISTILL_VISION_TENSOR_RESAMPLE_H
#define VISTILL_VISION_TENSOR_RESAMPLE_H

#include <stdbool.h>

#include "vision/base/status.h"

/* in (in_h, in_w, channels) -> out (out_h, out_w, channels), as torch.nn.functional.interpolate(mode="bicubic",
 * align_corners=False, antialias=antialias), whose arrays have the channels first. Without antialiasing: cubic
 * convolution with a = -0.75, edges repeated. With it: a = -0.5, widened by the factor of a reduction, weights
 * renormalised at the edges, as in Pillow; one column is treated like one row (PyTorch 2.13 repeats the column's first
 * value). Sizes are 1 to 2^24. `out` must not overlap `in` and is undefined after an error (a size, memory). */
VST_NODISCARD vst_status vst_resample_bicubic(float *out, int out_h, int out_w, const float *in, int in_h, int in_w,
                                              int channels, bool antialias);

/* A position embedding (prefix_tokens + in_h * in_w, dim) for another grid, (prefix_tokens + out_h * out_w, dim): the
 * prefix (class and distillation token) is copied, the grid resized. timm's resample_abs_pos_embed has antialias true,
 * facebookresearch/deit has none. The rest is as above. */
VST_NODISCARD vst_status vst_resize_position(float *out, int out_h, int out_w, const float *in, int in_h, int in_w,
                                             int prefix_tokens, int dim, bool antialias);

#endif
