/* Common parts of Adam and related methods. */
#ifndef VISTILL_VISION_OPTIM_METHODS_ADAM_H
#define VISTILL_VISION_OPTIM_METHODS_ADAM_H

#include <math.h>

#include "vision/kernels/kernels.h"
#include "vision/optim/methods/method.h"

static inline vsti_adamw vsti_adam_of(const vst_update *u) {
    const vst_optimizer_options *o = u->options;
    const double t = (double)u->step;
    return (vsti_adamw){.rate = (float)u->rate,
                        .beta1 = (float)o->beta1,
                        .beta2 = (float)o->beta2,
                        .epsilon = (float)o->epsilon,
                        .decay = u->decay,
                        /* from the rounded betas, which the moments are computed with */
                        .correction1 = (float)(1 - pow((float)o->beta1, t)),
                        .correction2 = (float)(1 - pow((float)o->beta2, t)),
                        .gradient_scale = (float)u->gradient_scale};
}

#endif
