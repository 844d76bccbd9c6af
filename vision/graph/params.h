/* The parameters of one model, shared by all its graphs and programs. Values, gradients and optimiser state lie
 * contiguous in the same order, so that clipping, EMA, checkpoints and the optimiser are flat loops. Names are those of
 * timm's state dict. Not thread-safe; programs only read it while they run (and write gradients). */
#ifndef VISTILL_VISION_GRAPH_PARAMS_H
#define VISTILL_VISION_GRAPH_PARAMS_H

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
    vst_param_kind role; /* VST_PARAM_WEIGHT becomes VST_PARAM_NODECAY for 1-D parameters by itself */
} vst_init;

typedef struct vst_param_info {
    const char *name;
    vst_shape shape;
    vst_param_kind kind;
    size_t offset; /* in floats, from the start of the bucket */
    size_t count;  /* floats */
} vst_param_info;

VST_NODISCARD vst_status vst_params_create(vst_params **out);
void vst_params_destroy(vst_params *params);

/* Registers a parameter (or checks an existing one's shape) and gives its index. Used by vst_param. After the first
 * vst_params_allocate a new name is an error. */
VST_NODISCARD vst_status vst_params_add(vst_params *params, const char *name, vst_shape shape, vst_init init,
                                        int *index);

/* Allocates values (and gradients, if training) and initialises all values as a pure function of (seed, name). Trained
 * parameters come first, so that [0, trained) is the optimiser's range; offsets are known only now. Each begins on a
 * multiple of 16 floats, the padding is zero. Idempotent: gradients may be added later, values are initialised once. */
VST_NODISCARD vst_status vst_params_allocate(vst_params *params, bool gradients, uint64_t seed);

/* Allocates values that are all zero, for those who fill every one of them: drawing initial values takes longer than
 * reading a file. Idempotent; vst_params_allocate does not draw any afterwards. */
VST_NODISCARD vst_status vst_params_reserve(vst_params *params);

size_t vst_params_count(const vst_params *params);
const vst_param_info *vst_params_at(const vst_params *params, size_t index); /* valid until the next vst_params_add */
int vst_params_find(const vst_params *params, const char *name);             /* index or -1 */

size_t vst_params_total(const vst_params *params);   /* floats in a bucket, padding included */
size_t vst_params_trained(const vst_params *params); /* floats of the trained part */
size_t vst_params_numel(const vst_params *params);   /* trained parameters as timm counts them, without padding */
float *vst_params_values(vst_params *params);        /* NULL before allocation */
float *vst_params_gradients(vst_params *params);     /* NULL without gradients */

/* Must be called after the values were changed from outside, so that programs renew what they derived from them. */
void vst_params_changed(vst_params *params);
uint64_t vst_params_version(const vst_params *params);

/* Copies values from a file by name. Every parameter must be there with its shape and a floating type. Counters are I64
 * and may be missing; they are kept as floats, exact up to 2^24. Tensors that no parameter wants are errors too, unless
 * their name begins with "optimizer." or "ema.". The message says what does not fit. Nothing is changed on failure. */
VST_NODISCARD vst_status vst_params_load(vst_params *params, const vst_safetensors *file);

/* Fills `out` (room for vst_params_count) with tensors for vst_safetensors_write; views into params, counters as I64 in
 * `counters` (room for vst_params_count). Returns how many; 0 before vst_params_allocate. */
size_t vst_params_tensors(const vst_params *params, vst_tensor *out, int64_t *counters);

VST_END_DECLS
#endif
