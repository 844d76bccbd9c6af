/* Optimisers over a model's parameter bucket, and learning-rate schedules.
 * One step is one fused pass: clipping by norm, weight decay, moments, update and the exponential moving average of the
 * weights (EMA). Weight decay is applied to VST_PARAM_WEIGHT only. Formulas are PyTorch's (torch.optim.SGD, AdamW)
 * and, of LAMB, those of timm's Lamb and apex's FusedLAMB: u = AdamW's step + decay w; a tensor with decay moves by
 * rate |w| / |u| u, one without by rate u.
 *
 * Gradients of several batches are averaged for one step with `accumulate`: each is added by vst_optimizer_accumulate,
 * and after that many vst_optimizer_step takes their mean. */
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
                         own clipping, which is by 1 in timm and apex, has no 1e-6 */
    double ema_decay; /* 0: no EMA */
    int accumulate;   /* batches to a step; 0 and 1: one, and no gathering */
} vst_optimizer_options;

typedef struct vst_optimizer vst_optimizer;

/* `params` must be allocated with gradients and outlive the optimiser. */
VST_NODISCARD vst_status vst_optimizer_create(vst_optimizer **out, vst_params *params,
                                              const vst_optimizer_options *options);
void vst_optimizer_destroy(vst_optimizer *optimizer);

/* Adds the gradients in the bucket to those of the step's other batches; only with `accumulate` above 1, and so often
 * before each step. */
void vst_optimizer_accumulate(vst_optimizer *optimizer);

/* One update with learning rate `rate` from the gradients in the bucket, or from the mean of what was gathered, which
 * the bucket holds afterwards. *norm (may be NULL) gets the gradient's L2 norm before clipping. A norm that is not
 * finite returns VST_ERROR_NUMERIC naming the first parameter whose gradient is not finite; values, moments and the
 * accumulated sum are then unchanged. */
VST_NODISCARD vst_status vst_optimizer_step(vst_optimizer *optimizer, double rate, double *norm);

/* State for checkpoints: flat buckets named optimizer.m, optimizer.v (or optimizer.velocity) and ema.values, F32 of
 * vst_params_trained() elements, and optimizer.step, I64 scalar; with `accumulate` also optimizer.gathered, the sum so
 * far. Views into the optimiser; room for VST_OPTIMIZER_TENSORS. Returns how many. */
enum { VST_OPTIMIZER_TENSORS = 5 };
size_t vst_optimizer_tensors(vst_optimizer *optimizer, vst_tensor *out);
/* Reads them back; missing or of another size is an error and nothing is changed. */
VST_NODISCARD vst_status vst_optimizer_load(vst_optimizer *optimizer, const vst_safetensors *file);
/* The moving average of the trained bucket, NULL without EMA. */
const float *vst_optimizer_ema(const vst_optimizer *optimizer);

/* Cosine with linear warm-up, stepped per iteration: rate(t) = warmup_rate + t (rate - warmup_rate) / warmup for t <
 * warmup, then minimum + (rate - minimum) (1 + cos(pi (t - warmup) / (steps - warmup))) / 2; or with `whole`, as timm
 * has it with warmup_prefix=False, minimum + (rate - minimum) (1 + cos(pi t / steps)) / 2: the warm-up hides the
 * cosine's beginning. */
typedef struct vst_schedule {
    double rate, minimum, warmup_rate;
    uint64_t warmup, steps;
    bool whole;
} vst_schedule;
double vst_schedule_rate(const vst_schedule *schedule, uint64_t step);

VST_END_DECLS
#endif
