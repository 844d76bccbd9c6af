/* Optimisers: one file of this folder each, with its own options; CMake generates the table. Loops are in
 * vision/kernels/optim_NAME.c. */
#ifndef VISTILL_VISION_OPTIM_METHODS_METHOD_H
#define VISTILL_VISION_OPTIM_METHODS_METHOD_H

#include "vision/optim/optim.h"

/* The update of neighbouring parameters with the same decay, or of one parameter if by_tensor is set. */
typedef struct vst_update {
    const vst_optimizer_options *options;
    const void *own; /* the method's own options; NULL if it has none */
    double rate, gradient_scale;
    double *memory; /* two numbers kept between the updates of one process; 0 at its start */
    int64_t step;   /* from 1 */
    int64_t count;
    float decay, ema_decay;
    float *value, *ema; /* ema: NULL without EMA */
    const float *gradient;
    float *state[VST_OPTIMIZER_STATES]; /* zero before the first step */
} vst_update;

/* The shared options that a method reads. */
enum { VST_USES_MOMENTUM = 1, VST_USES_BETAS = 2, VST_USES_EPSILON = 4, VST_USES_NESTEROV = 8 };

typedef struct vst_optimizer_method {
    const char *name, *help; /* name: that of the file; help: one line for `vistill explain` */
    unsigned uses;
    double beta1, beta2;       /* defaults, if it uses them */
    const vst_option *options; /* table of its own options; NULL: none */
    size_t options_size;
    const char *states[VST_OPTIMIZER_STATES]; /* names of its buckets in checkpoints, such as "optimizer.m" */
    bool by_tensor;                           /* each update has one parameter, for methods that use its norm */
    bool exact_clip;                          /* clips by clip / norm instead of torch's clip / (norm + 1e-6) */
    /* Updates values, states and EMA. */
    void (*update)(const vst_update *update);
} vst_optimizer_method;

/* All methods in alphabetical order, index < vst_optimizer_method_count(); or by name, NULL if there is none. */
size_t vst_optimizer_method_count(void);
const vst_optimizer_method *vst_optimizer_method_at(size_t index);
const vst_optimizer_method *vst_optimizer_method_find(const char *name);

#endif
