/* Optimisers over a model's parameter bucket, and learning-rate schedules. One step is one fused pass: clipping by
 * norm, weight decay, moments, update and the exponential moving average of the weights (EMA). Weight decay is applied
 * to VST_PARAM_WEIGHT only. SGD and AdamW follow torch.optim; LAMB follows timm's Lamb and apex's FusedLAMB: with u =
 * AdamW's step + decay w, a tensor with decay is updated by rate |w| / |u| u, a tensor without decay by rate u.
 *
 * Gradient accumulation: with `accumulate` = n, call vst_optimizer_accumulate after each of n batches, then
 * vst_optimizer_step, which uses the mean gradient. */
#ifndef VISTILL_VISION_OPTIM_OPTIM_H
#define VISTILL_VISION_OPTIM_OPTIM_H

#include "vision/base/option.h"
#include "vision/graph/params.h"

VST_BEGIN_DECLS

#define VST_OPTIMIZERS(X) X(VST_SGD, "sgd") X(VST_ADAMW, "adamw") X(VST_LAMB, "lamb")
typedef enum vst_optimizer_kind { VST_CHOICE_ENUM(VST_OPTIMIZERS) } vst_optimizer_kind;

typedef struct vst_optimizer_options {
    vst_optimizer_kind kind;
    double momentum; /* SGD; Nesterov if nesterov */
    bool nesterov;
    double beta1, beta2, epsilon; /* AdamW, LAMB */
    double weight_decay;
    double clip_norm; /* 0: no clipping. torch.nn.utils.clip_grad_norm_: scale = min(1, clip / (norm + 1e-6)); LAMB's
                         own clipping (norm 1 in timm and apex) has no 1e-6 */
    double ema_decay; /* 0: no EMA */
    int accumulate;   /* batches per step; 0 and 1: no accumulation */
} vst_optimizer_options;

typedef struct vst_optimizer vst_optimizer;

/* `params` must be allocated with gradients and outlive the optimiser. */
VST_NODISCARD vst_status vst_optimizer_create(vst_optimizer **out, vst_params *params,
                                              const vst_optimizer_options *options);
void vst_optimizer_destroy(vst_optimizer *optimizer);

/* Adds the gradients in the bucket to the accumulated sum. Only with `accumulate` above 1; call it `accumulate` times
 * before each step. */
void vst_optimizer_accumulate(vst_optimizer *optimizer);

/* Updates the parameters with learning rate `rate` from the gradients in the bucket, or from the mean of the
 * accumulated gradients, which is then written to the bucket. *norm (may be NULL) receives the L2 norm of the gradient
 * before clipping. If the norm is not finite, returns VST_ERROR_NUMERIC with a message that names the first parameter
 * with a non-finite gradient; values, moments and the accumulated sum are unchanged. */
VST_NODISCARD vst_status vst_optimizer_step(vst_optimizer *optimizer, double rate, double *norm);

/* State for checkpoints: flat buckets named optimizer.m, optimizer.v (or optimizer.velocity) and ema.values, F32 of
 * vst_params_trained() elements, and optimizer.step, I64 scalar; with `accumulate` also optimizer.gathered, the
 * accumulated sum. `out` needs room for VST_OPTIMIZER_TENSORS views, which are owned by the optimiser. Returns the
 * number of tensors. */
enum { VST_OPTIMIZER_TENSORS = 5 };
size_t vst_optimizer_tensors(vst_optimizer *optimizer, vst_tensor *out);
/* Loads the state from a checkpoint. A missing tensor or another size is an error; the state is then unchanged. */
VST_NODISCARD vst_status vst_optimizer_load(vst_optimizer *optimizer, const vst_safetensors *file);
/* The EMA of the trained parameters, vst_params_trained() floats, owned by the optimiser. NULL without EMA. */
const float *vst_optimizer_ema(const vst_optimizer *optimizer);

/* Cosine with linear warm-up, stepped per iteration: rate(t) = warmup_rate + t (rate - warmup_rate) / warmup for t <
 * warmup, then minimum + (rate - minimum) (1 + cos(pi (t - warmup) / (steps - warmup))) / 2; or with `whole` (timm's
 * warmup_prefix=False) minimum + (rate - minimum) (1 + cos(pi t / steps)) / 2: the warm-up replaces the first part of
 * the cosine. */
typedef struct vst_schedule {
    double rate, minimum, warmup_rate;
    uint64_t warmup, steps;
    bool whole;
} vst_schedule;
double vst_schedule_rate(const vst_schedule *schedule, uint64_t step);

VST_END_DECLS
#endif
