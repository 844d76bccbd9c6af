/* Bicubic resizing of arrays, for weights that were trained at another image size. */
#ifndef VISTILL_VISION_TENSOR_RESAMPLE_H
#define VISTILL_VISION_TENSOR_RESAMPLE_H

#include <stdbool.h>

#include "vision/base/status.h"

/* in (in_h, in_w, channels) -> out (out_h, out_w, channels), as torch.nn.functional.interpolate(mode="bicubic",
 * align_corners=False, antialias=antialias), but with the channels last. Without antialiasing: cubic convolution with a
 * = -0.75 and clamped edges. With antialiasing: a = -0.5, the filter is widened by the scale factor when shrinking and
 * its weights are renormalised at the edges, as in Pillow; a single column is treated like a single row (PyTorch 2.13
 * repeats the column's first value). Sizes must be 1 to 2^24. `out` must not overlap `in`. Fails for an invalid size or
 * lack of memory; `out` is then undefined. */
VST_NODISCARD vst_status vst_resample_bicubic(float *out, int out_h, int out_w, const float *in, int in_h, int in_w,
                                              int channels, bool antialias);

/* Resizes a position embedding (prefix_tokens + in_h * in_w, dim) to another grid, (prefix_tokens + out_h * out_w,
 * dim). The prefix (class and distillation token) is copied. timm's resample_abs_pos_embed uses antialias = true,
 * facebookresearch/deit false. Sizes, overlap and errors as for vst_resample_bicubic. */
VST_NODISCARD vst_status vst_resize_position(float *out, int out_h, int out_w, const float *in, int in_h, int in_w,
                                             int prefix_tokens, int dim, bool antialias);

#endif
