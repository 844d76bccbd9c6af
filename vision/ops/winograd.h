/* Winograd convolution in inference programs: fewer multiplications than direct convolution (kernels/winograd.c). */
#ifndef VISTILL_VISION_OPS_WINOGRAD_H
#define VISTILL_VISION_OPS_WINOGRAD_H

#include "vision/ops/operation.h"

/* Lowers the convolution `c` of `node` if the method applies and is faster. Returns false, without any effect,
 * otherwise. */
bool vsti_lower_winograd(vsti_lowering *lowering, const vsti_node *node, const vsti_convolution *c);

#endif
