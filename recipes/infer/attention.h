/* Attention rollout (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", 2020, arXiv 2005.00928, section
 * 3): how much each patch contributes to the class token and the distillation token of a Vision Transformer. With A_l
 * the attention of block l, averaged over heads, it is the token's row of (A_L + I)/2 … (A_2 + I)/2 (A_1 + I)/2. */
#ifndef VISTILL_RECIPES_INFER_ATTENTION_H
#define VISTILL_RECIPES_INFER_ATTENTION_H

#include "vision/graph/graph.h"
#include "vision/image/image.h"

enum { VST_ROLLOUT_BLOCKS = 100 };

typedef struct vst_rollout {
    int blocks, heads;
    int tokens; /* number of maps: 1 (class token), 2 (and distillation token), 0: the model is not supported */
    int side;   /* height and width of the grid of patches */
    int prefix; /* tokens before the patches */
    int all;    /* tokens and patches */
} vst_rollout;

/* Finds the attention of all blocks and emits its softmax: values[i] (B, heads, all, all). Returns {0} for a model
 * without attention blocks or without a class token before a square grid. */
vst_rollout vst_rollout_find(vst_graph *graph, vst_value values[VST_ROLLOUT_BLOCKS]);

/* Computes the maps (tokens, side, side) of one image from the attention of its blocks (heads, all, all). The shares of
 * all tokens and patches sum to 1. */
VST_NODISCARD vst_status vst_rollout_maps(const vst_rollout *attention, const float *const *blocks, float *maps);

/* Draws a map over the image: dark for low, warm colours for high attention, scaled to the map's own range. `out` must
 * be {0}; it gets the size of the image. */
VST_NODISCARD vst_status vst_attention_overlay(const vst_image *picture, const float *map, int side, vst_image *out);

#endif
