/* Where a Vision Transformer's class token, and its distillation token if it has one, take their answer from: attention
 * rollout (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv 2005.00928, section 3): with
 * A_l the mean of block l's attention over its heads, the row of the token in (A_L + I)/2 … (A_2 + I)/2 (A_1 + I)/2. */
#ifndef VISTILL_RECIPES_REPORT_ATTENTION_H
#define VISTILL_RECIPES_REPORT_ATTENTION_H

#include "backbones/backbone.h"
#include "vision/graph/params.h"
#include "vision/image/image.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vsti_attention vsti_attention;

/* Plans one image's attention. *out is NULL, without an error, for a model without blocks of attention and a class
 * token. */
VST_NODISCARD vst_status vsti_attention_create(vsti_attention **out, const vst_model_config *model, vst_params *params);
void vsti_attention_destroy(vsti_attention *attention);
int vsti_attention_tokens(const vsti_attention *attention); /* 1: the class token, 2: and the distillation token */
int vsti_attention_side(const vsti_attention *attention);   /* of the grid of patches */

/* Runs the model on an image (C, H, W) in 0 … 1. Afterwards `maps` (tokens, side, side) holds each token's attention to
 * the patches; all tokens together would sum to 1. */
VST_NODISCARD vst_status vsti_attention_run(vsti_attention *attention, const float *image, float *maps);

/* The picture with the map over it: dark where the token does not look, warm where it looks most. The map is stretched
 * to its own range. `out` starts as {0} and has the picture's size. */
VST_NODISCARD vst_status vsti_attention_overlay(const vst_image *picture, const float *map, int side, vst_image *out);

#ifdef __cplusplus
}
#endif
#endif
