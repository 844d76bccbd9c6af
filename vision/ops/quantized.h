/* What products on 8-bit integers (plan/quant.h: vst_quant_product) share. Internal to vision/ops. */
#ifndef VISTILL_VISION_OPS_QUANTIZED_H
#define VISTILL_VISION_OPS_QUANTIZED_H

#include "vision/ops/operation.h"

/* What the node computes on. Its output is uint8 if nothing but products on integers reads it. */
vsti_arithmetic vsti_arithmetic_of(const vsti_lowering *lowering, const vsti_node *node, const vsti_fusion *fusion);

/* What is done to the output of the product, the zero point and scales of uint8 included. */
vsti_post vsti_after_integers(const vsti_lowering *lowering, const vsti_fusion *fusion, vsti_arithmetic arithmetic);

/* How a product on integers is placed in memory. */
typedef struct vsti_integer_product {
    vsti_arithmetic arithmetic;
    int bias;               /* a value; 0: none */
    const int64_t *strides; /* of the weight, as vsti_weights_reorder_create takes them */
    vsti_layout in, out;    /* of input 0 and of the output */
} vsti_integer_product;
/* Packs the weight (out, …), input 1 of `node`, with the scales and shifts of its outputs, and appends the step. The
 * program takes ownership of the primitive, also on failure. */
void vsti_integer_step(vsti_lowering *lowering, const vsti_node *node, vsti_primitive *primitive,
                       const vsti_integer_product *product);

#endif
