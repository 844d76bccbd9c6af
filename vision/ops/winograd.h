/* Convolutions that an inference program makes by Winograd's method: fewer products than direct ones
 * (kernels/winograd.c).
 */
#ifndef VISTILL_VISION_OPS_WINOGRAD_H
#define VISTILL_VISION_OPS_WINOGRAD_H

#include "vision/ops/operation.h"

/* Lowers the convolution `c` of `node`, if it suits the method and is worth it; false: nothing was done. */
bool vsti_lower_winograd(vsti_lowering *lowering, const vsti_node *node, const vsti_convolution *c);

#endif
