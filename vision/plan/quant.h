/* Which values of a program are stored with fewer bits, and which of its products compute on 8-bit integers. */
#ifndef VISTILL_VISION_PLAN_QUANT_H
#define VISTILL_VISION_PLAN_QUANT_H

#include "vision/tensor/tensor.h"

VST_BEGIN_DECLS

/* A value that is stored with a dtype other than float32 between the step that computes it and the steps that read
 * it. */
typedef struct vst_quant_entry {
    const char
        *name; /* a tap ("blocks.0"), or scope and operation as a profile shows them ("blocks.0.mlp.fc1 linear") */
    vst_dtype
        dtype; /* VST_F32, VST_BF16; VST_I8, VST_U8: round(x / scale) + zero_point, clamped to the range of the dtype */
    const float *scales; /* positive; 8-bit dtypes only */
    int scale_count;     /* 1 (per tensor), or the number of channels, dimension 1 of the value (per channel) */
    int zero_point;      /* VST_U8 only */
} vst_quant_entry;

/* A product, "linear" or "conv2d", computed on 8-bit integers in an inference program. Its input is read as uint8,
 * x = scale (u - zero_point); its weights as integers in [-127, 127] times a step for each output channel, the least
 * one with which also the sums of neighbouring channels 2 i and 2 i + 1 are in [-128, 128]; sums are 32-bit. Products
 * that read the same value have the same scale. A convolution with padding has the zero point 0. */
typedef struct vst_quant_product {
    const char *name; /* scope: "blocks.0.attn.qkv" */
    float scale;      /* positive */
    int zero_point;   /* 0 … 255 */
} vst_quant_product;

typedef struct vst_quant {
    const vst_quant_entry *entries;
    size_t count;
    const vst_quant_product *products;
    size_t product_count;
} vst_quant;

VST_END_DECLS
#endif
