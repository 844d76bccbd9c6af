/* Optimisers: one file of this folder each, with the options that it has; CMake makes the table. The loops are kernels:
 * vision/kernels/optim_NAME.c. */
#ifndef VISTILL_VISION_OPTIM_METHODS_METHOD_H
#define VISTILL_VISION_OPTIM_METHODS_METHOD_H

#include "vision/optim/optim.h"

/* Neighbouring parameters of one decay, or with by_tensor one parameter. */
typedef struct vst_update {
    const vst_optimizer_options *options;
    const void *own; /* the method's own options, NULL if it has none */
    double rate, gradient_scale;
    double *memory; /* two numbers that may be kept between the updates of a run of the program; 0 at its beginning */
    int64_t step;   /* from 1 */
    int64_t count;
    float decay, ema_decay;
    float *value, *ema; /* ema: NULL without */
    const float *gradient;
    float *state[VST_OPTIMIZER_STATES]; /* zero before the first step */
} vst_update;

/* Which of the options that several optimisers share it reads. */
enum { VST_USES_MOMENTUM = 1, VST_USES_BETAS = 2, VST_USES_EPSILON = 4, VST_USES_NESTEROV = 8 };

typedef struct vst_optimizer_method {
    const char *name, *help; /* the file's name; one line for `vistill explain` */
    unsigned uses;
    double beta1, beta2;       /* the usual ones, if it uses them */
    const vst_option *options; /* table of its own options; NULL: none */
    size_t options_size;
    const char *states[VST_OPTIMIZER_STATES]; /* names of its buckets in checkpoints, "optimizer.m" */
    bool by_tensor;                           /* an update is of one parameter, for methods that look at its norm */
    bool exact_clip;                          /* its own clipping, by clip / norm, not torch's clip / (norm + 1e-6) */
    /* Updates values, states and average. */
    void (*update)(const vst_update *update);
} vst_optimizer_method;

/* In alphabetical order; index < vst_optimizer_method_count(). NULL if there is none of that name. */
size_t vst_optimizer_method_count(void);
const vst_optimizer_method *vst_optimizer_method_at(size_t index);
const vst_optimizer_method *vst_optimizer_method_find(const char *name);

#endif
