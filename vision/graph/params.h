/* The parameters of one model, shared by all its graphs and programs. Values, gradients and optimiser state are
 * contiguous arrays (buckets) in the same order, so that clipping, EMA, checkpoints and the optimiser are flat loops.
 * Names follow timm's state dict. Not thread-safe. A program that runs only reads the values (and writes the gradients
 * in training). */
#ifndef VISTILL_VISION_GRAPH_PARAMS_H
#define VISTILL_VISION_GRAPH_PARAMS_H

#include <stdbool.h>

#include "vision/tensor/safetensors.h"

VST_BEGIN_DECLS

typedef struct vst_params vst_params;

typedef enum vst_init_kind {
    VST_INIT_ZEROS,
    VST_INIT_ONES,
    VST_INIT_CONSTANT,       /* scale: LayerScale's gamma */
    VST_INIT_NORMAL,         /* N(0, scale²) cut at ±2 (timm's trunc_normal_) */
    VST_INIT_XAVIER_UNIFORM, /* Glorot & Bengio, 2010; scale is the gain (0: 1) */
    VST_INIT_KAIMING_NORMAL, /* He et al., 2015, fan out, ReLU */
    VST_INIT_LECUN_UNIFORM /* U(±1/sqrt(fan in)): PyTorch's default for linear and convolution, also for their biases,
                              whose fan in is given by `scale` */
} vst_init_kind;

typedef enum vst_param_kind {
    VST_PARAM_WEIGHT,  /* trained, with weight decay */
    VST_PARAM_NODECAY, /* trained without weight decay: 1-D parameters, position embedding, tokens */
    VST_PARAM_STATE,   /* not trained: running statistics */
    VST_PARAM_COUNTER  /* not trained, an int64 scalar in files: num_batches_tracked */
} vst_param_kind;

typedef struct vst_init {
    vst_init_kind kind;
    double scale;
    vst_param_kind role; /* VST_PARAM_WEIGHT is changed to VST_PARAM_NODECAY for 1-D parameters */
} vst_init;

typedef struct vst_param_info {
    const char *name;
    vst_shape shape;
    vst_param_kind kind;
    size_t offset; /* in floats, from the start of the bucket */
    size_t count;  /* floats */
    bool frozen;   /* has no gradient and is not updated */
} vst_param_info;

VST_NODISCARD vst_status vst_params_create(vst_params **out);
void vst_params_destroy(vst_params *params);

/* Adds a parameter, or checks the shape of an existing one, and stores its index. Used by vst_param. Adding a new name
 * after the first vst_params_allocate is an error. */
VST_NODISCARD vst_status vst_params_add(vst_params *params, const char *name, vst_shape shape, vst_init init,
                                        int *index);

/* Allocates values (and gradients, if training) and initialises all values as a pure function of (seed, name). Trained
 * parameters come first, so that the optimiser works on [0, trained). Offsets are valid only after this call. Each
 * parameter starts at a multiple of 16 floats; the padding is zero. May be called again, for instance to add gradients:
 * values are initialised once. */
VST_NODISCARD vst_status vst_params_allocate(vst_params *params, bool gradients, uint64_t seed);

/* Allocates values and sets them to zero, for callers that load every value: random initialisation takes longer than
 * reading a file. May be called again. A later vst_params_allocate does not initialise the values. */
VST_NODISCARD vst_status vst_params_reserve(vst_params *params);

size_t vst_params_count(const vst_params *params);
const vst_param_info *vst_params_at(const vst_params *params, size_t index); /* valid until the next vst_params_add */
/* Freezes a parameter, or thaws it: before vst_differentiate, which then leaves its gradient out. */
void vst_params_freeze(vst_params *params, size_t index, bool frozen);
int vst_params_find(const vst_params *params, const char *name); /* index or -1 */

size_t vst_params_total(const vst_params *params);   /* floats in a bucket, padding included */
size_t vst_params_trained(const vst_params *params); /* floats of the trained part */
size_t vst_params_numel(const vst_params *params);   /* trained parameters as timm counts them, without padding */
float *vst_params_values(vst_params *params);        /* NULL before allocation */
float *vst_params_gradients(vst_params *params);     /* NULL without gradients */

/* Must be called after the values were changed by other code, so that programs pack their weights again. */
void vst_params_changed(vst_params *params);
uint64_t vst_params_version(const vst_params *params);

/* Copies values from a file by name. Every parameter must be present with its shape and a floating-point dtype.
 * Counters are I64 and may be missing; they are stored as floats, exact up to 2^24. Unexpected tensors are an error
 * unless their name begins with "optimizer.", "ema." or "distill.". The message lists the tensors that do not match.
 * Nothing is changed on failure. */
VST_NODISCARD vst_status vst_params_load(vst_params *params, const vst_safetensors *file);

/* Fills `out` with tensors for vst_safetensors_write: views into params, except counters, which are written as I64 to
 * `counters`. Both arrays need room for vst_params_count elements. Returns the number of tensors, 0 before
 * vst_params_allocate. */
size_t vst_params_tensors(const vst_params *params, vst_tensor *out, int64_t *counters);

VST_END_DECLS
#endif
