/* Where a Vision Transformer's class token, and its distillation token if it has one, take their answer from: attention
 * rollout (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv 2005.00928, section 3): with
 * A_l the mean of block l's attention over its heads, the row of the token in (A_L + I)/2 … (A_2 + I)/2 (A_1 + I)/2. */
#ifndef VISTILL_RECIPES_INFER_ATTENTION_H
#define VISTILL_RECIPES_INFER_ATTENTION_H

#include "vision/graph/graph.h"
#include "vision/image/image.h"

enum { VST_ROLLOUT_BLOCKS = 100 };

typedef struct vst_rollout {
    int blocks, heads;
    int tokens; /* whose maps there are: 1 (class) or 2 (and distillation); 0: the model has none */
    int side;   /* of the grid of patches */
    int prefix; /* tokens before the patches */
    int all;    /* tokens and patches */
} vst_rollout;

/* Finds the blocks' attention and emits its softmax: values[i] (B, heads, all, all). A model without blocks of
 * attention or without a class token before a square grid gives {0}. */
vst_rollout vst_rollout_find(vst_graph *graph, vst_value values[VST_ROLLOUT_BLOCKS]);

/* The maps (tokens, side, side) of one image from its blocks' attention (heads, all, all); the shares of all tokens and
 * patches sum to 1. */
VST_NODISCARD vst_status vst_rollout_maps(const vst_rollout *attention, const float *const *blocks, float *maps);

/* The picture with a map over it: dark where the token does not look, warm where it looks most. The map is stretched to
 * its own range. `out` starts as {0} and gets the picture's size. */
VST_NODISCARD vst_status vst_attention_overlay(const vst_image *picture, const float *map, int side, vst_image *out);

#endif
