/* What products on 8-bit integers (plan/quant.h: vst_quant_product) share. Internal to vision/ops. */
#ifndef VISTILL_VISION_OPS_QUANTIZED_H
#define VISTILL_VISION_OPS_QUANTIZED_H

#include "vision/ops/operation.h"

/* What the node computes on. Its output is uint8 if nothing but products on integers reads it. */
vsti_arithmetic vsti_arithmetic_of(const vsti_lowering *lowering, const vsti_node *node, const vsti_fusion *fusion);

typedef struct vsti_integer_weights {
    vsti_buffer weights; /* int8, in the layout that the primitive requires */
    vsti_buffer scales;  /* (out): of the product in float32; the input's scale is included */
    vsti_buffer shifts;  /* (out): bias, with the input's zero point and the batch norm */
} vsti_integer_weights;
/* Packs the weight (out, …), input 1 of `node`. bias: a value or 0; norm: NULL if none is fused; strides of the weight
 * as vsti_weights_reorder_create takes them. */
vsti_integer_weights vsti_pack_integers(vsti_lowering *lowering, const vsti_node *node, int bias, const vsti_node *norm,
                                        const vsti_primitive *product, const int64_t *strides);
vsti_buffer vsti_pack_constant(vsti_lowering *lowering, float value);

#endif
