/* Optimisers over a model's parameter bucket, and learning-rate schedules. One step is one fused pass: clipping by
 * norm, weight decay, moments, update and the exponential moving average of the weights (EMA). Weight decay is applied
 * to VST_PARAM_WEIGHT only, and parameters that are frozen stay as they are. Optimisers and schedules are found by
 * name: a file each in methods/ and schedules/.
 *
 * Gradient accumulation: with `accumulate` = n, call vst_optimizer_accumulate after each of n batches, then
 * vst_optimizer_step, which uses the mean gradient. */
#ifndef VISTILL_VISION_OPTIM_OPTIM_H
#define VISTILL_VISION_OPTIM_OPTIM_H

#include "vision/base/option.h"
#include "vision/graph/params.h"

VST_BEGIN_DECLS

enum { VST_OPTIMIZER_STATES = 4 }; /* maximum number of buckets of an optimiser */

typedef struct vst_optimizer_options {
    const char *name; /* name of a file in methods/, such as "adamw" */
    const char *own;  /* the method's own options, "alpha=0.9, tensorflow=true"; NULL: defaults. Not read later */
    double momentum;  /* for methods that use it */
    bool nesterov;
    double beta1, beta2, epsilon; /* for methods that use them */
    double weight_decay;
    double clip_norm; /* 0: no clipping. torch.nn.utils.clip_grad_norm_: scale = min(1, clip / (norm + 1e-6)); LAMB's
                         own clipping (norm 1 in timm and apex) has no 1e-6 */
    double ema_decay; /* 0: no EMA */
    bool ema_ramp;    /* the decay of step n (from 1) is min(ema_decay, 1 - 1 / (n + 1)), as in mean teacher */
    int accumulate;   /* batches per step; 0 and 1: no accumulation */
} vst_optimizer_options;

/* Checks the options in the same way as vst_optimizer_create. */
VST_NODISCARD vst_status vst_optimizer_check(const vst_optimizer_options *options);
/* The default beta1 and beta2 of a method; 0.9 and 0.999 if it has none or does not exist. */
void vst_optimizer_betas(const char *name, double *beta1, double *beta2);

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

/* State for checkpoints: flat buckets of the optimiser's (optimizer.m, optimizer.v, …) and ema.values, F32 of
 * vst_params_trained() elements, and optimizer.step, I64 scalar; with `accumulate` also optimizer.gathered, the
 * accumulated sum. `out` needs room for VST_OPTIMIZER_TENSORS views, which are owned by the optimiser. Returns the
 * number of tensors. */
enum { VST_OPTIMIZER_TENSORS = VST_OPTIMIZER_STATES + 3 };
size_t vst_optimizer_tensors(vst_optimizer *optimizer, vst_tensor *out);
/* Loads the state from a checkpoint, in which the average may also be tensors ema.NAME, one for each parameter. A
 * missing tensor or another size is an error; the state is then unchanged. */
VST_NODISCARD vst_status vst_optimizer_load(vst_optimizer *optimizer, const vst_safetensors *file);
/* The EMA of the trained parameters, vst_params_trained() floats, owned by the optimiser. NULL without EMA. */
const float *vst_optimizer_ema(const vst_optimizer *optimizer);

/* A learning rate over time, stepped per iteration: linear warm-up, rate(t) = warmup_rate + t (rate - warmup_rate) /
 * warmup for t < warmup, then a method of schedules/. It begins after the warm-up, or with `whole` (timm's
 * warmup_prefix=False) at the first step, so that the warm-up replaces its first part. */
struct vst_schedule_method;

/* State of a schedule that follows a measure; part of checkpoints. */
typedef struct vst_schedule_state {
    int decays, bad, cooldown; /* decays so far; epochs without improvement; epochs to ignore */
    bool measured;
    double best;
} vst_schedule_state;

typedef struct vst_schedule {
    double rate, minimum, warmup_rate;
    uint64_t warmup, steps, epoch; /* in steps: warm-up, run, epoch */
    bool whole;
    vst_schedule_state *state; /* for methods that follow a measure */
    const struct vst_schedule_method *method;
    void *own;
} vst_schedule;

/* Sets the method by name ("cosine") with its own options ("cycle_epochs=10, cycle_mul=2"; NULL: defaults). */
VST_NODISCARD vst_status vst_schedule_choose(vst_schedule *schedule, const char *name, const char *own);
void vst_schedule_clear(vst_schedule *schedule);
double vst_schedule_rate(const vst_schedule *schedule, uint64_t step);
/* measures: whether the method follows a measure. The next function passes an epoch's measure (more is better) after
 * `step` steps. */
bool vst_schedule_measures(const vst_schedule *schedule);
void vst_schedule_measured(const vst_schedule *schedule, uint64_t step, double measure);

VST_END_DECLS
#endif
