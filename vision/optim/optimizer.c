/* The optimiser: state buckets beside the parameter bucket, walked in runs of equal weight decay. */
#include "vision/optim/optim.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"

/* Neighbouring parameters with the same decay, padding included: its gradients and state are zero and stay so. */
typedef struct run {
    size_t begin, count;
    float decay;
} run;

struct vst_optimizer {
    vst_optimizer_options options;
    vst_params *params;
    run *runs;
    size_t run_count, run_capacity;
    float *first, *second; /* m and v of AdamW and LAMB; SGD's velocity and NULL */
    float *ema;            /* NULL without */
    float *accumulated;    /* sum of gradients, NULL without accumulation; zero after each step */
    int64_t step;          /* updates made */
};

static vst_status check_options(const vst_optimizer_options *o) {
    const bool adamw = o->kind != VST_SGD; /* or LAMB, which has the same moments */
    if (adamw && !(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: beta1 %g and beta2 %g must be at least 0 and below 1", o->beta1,
                        o->beta2);
    if (adamw && !((float)o->epsilon > 0))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: epsilon %g must be positive, such as 1e-8", o->epsilon);
    if (!adamw && !(o->momentum >= 0 && o->momentum < 1))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: momentum %g must be at least 0 and below 1", o->momentum);
    if (!adamw && o->nesterov && o->momentum == 0)
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: Nesterov's method needs a momentum above 0, such as 0.9");
    if (!(o->weight_decay >= 0 && o->clip_norm >= 0))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: weight decay %g and clipping norm %g must not be negative",
                        o->weight_decay, o->clip_norm);
    if (!(o->ema_decay >= 0 && o->ema_decay < 1))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: EMA decay %g must be at least 0 and below 1", o->ema_decay);
    if (o->accumulate < 0)
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: %d batches cannot make a step", o->accumulate);
    return VST_OK;
}

static bool is_trained(const vst_param_info *info) {
    return info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY;
}

static float decay_of(const vst_optimizer *optimizer, const vst_param_info *info) {
    return info->kind == VST_PARAM_WEIGHT ? (float)optimizer->options.weight_decay : 0;
}

static vst_status find_runs(vst_optimizer *optimizer) {
    vst_status status = VST_OK;
    const vst_params *params = optimizer->params;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (!is_trained(info)) continue;
        const float decay = decay_of(optimizer, info);
        run *last = optimizer->run_count ? &optimizer->runs[optimizer->run_count - 1] : NULL;
        if (last && last->decay == decay) continue;
        if (last) last->count = info->offset - last->begin;
        VST_TRY(
            vst_grow(&optimizer->runs, &optimizer->run_capacity, optimizer->run_count + 1, sizeof *optimizer->runs));
        optimizer->runs[optimizer->run_count++] = (run){.begin = info->offset, .decay = decay};
    }
    if (optimizer->run_count) {
        run *last = &optimizer->runs[optimizer->run_count - 1];
        last->count = vst_params_trained(params) - last->begin;
    }
out:
    return status;
}

static vst_status allocate(float **bucket, size_t count) {
    *bucket = vst_alloc_aligned(count * sizeof **bucket);
    if (!*bucket) return vst_fail_memory(count * sizeof **bucket);
    memset(*bucket, 0, count * sizeof **bucket);
    return VST_OK;
}

vst_status vst_optimizer_create(vst_optimizer **out, vst_params *params, const vst_optimizer_options *options) {
    vst_status status = VST_OK;
    const size_t count = vst_params_trained(params);
    vst_optimizer *optimizer = NULL;
    *out = NULL;
    VST_TRY(check_options(options));
    if (!vst_params_values(params) || !vst_params_gradients(params))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optimiser: the parameters have no gradients; call vst_params_allocate "
                        "with gradients first");
    optimizer = vst_calloc(1, sizeof *optimizer);
    if (!optimizer) return vst_fail_memory(sizeof *optimizer);
    optimizer->options = *options;
    optimizer->params = params;
    VST_TRY(find_runs(optimizer));
    VST_TRY(allocate(&optimizer->first, count));
    if (options->kind != VST_SGD) VST_TRY(allocate(&optimizer->second, count));
    if (options->accumulate > 1) VST_TRY(allocate(&optimizer->accumulated, count));
    if (options->ema_decay > 0) {
        VST_TRY(allocate(&optimizer->ema, count));
        memcpy(optimizer->ema, vst_params_values(params), count * sizeof *optimizer->ema);
    }
    *out = optimizer;
out:
    if (status != VST_OK) vst_optimizer_destroy(optimizer);
    return status;
}

void vst_optimizer_destroy(vst_optimizer *optimizer) {
    if (!optimizer) return;
    vst_free(optimizer->runs);
    vst_free(optimizer->first);
    vst_free(optimizer->second);
    vst_free(optimizer->ema);
    vst_free(optimizer->accumulated);
    vst_free(optimizer);
}

/* ---- One step ---- */

static vst_status fail_gradient(vst_params *params) {
    const float *gradients = vst_params_gradients(params);
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (!is_trained(info)) continue;
        for (size_t k = 0; k < info->count; k++) {
            const float value = gradients[info->offset + k];
            if (!isfinite(value))
                return vst_fail(VST_ERROR_NUMERIC,
                                "the gradient of %s is %g at element %zu of %zu; nothing was "
                                "updated. A lower learning rate, a longer warm-up or clipping may help",
                                info->name, (double)value, k, info->count);
        }
    }
    return vst_fail(VST_ERROR_INTERNAL, "a gradient outside all parameters is not finite");
}

static vsti_adamw adam_of(const vst_optimizer *optimizer, double rate, double scale) {
    const vst_optimizer_options *o = &optimizer->options;
    const double t = (double)optimizer->step + 1;
    return (vsti_adamw){.rate = (float)rate,
                        .beta1 = (float)o->beta1,
                        .beta2 = (float)o->beta2,
                        .epsilon = (float)o->epsilon,
                        /* of the rounded betas: those are what the moments are made with */
                        .correction1 = (float)(1 - pow((float)o->beta1, t)),
                        .correction2 = (float)(1 - pow((float)o->beta2, t)),
                        .gradient_scale = (float)scale};
}

/* Tensor by tensor. As in timm (always_adapt false) and apex, only what is decayed has a trust ratio, and not if it or
 * its update is zero. */
static void update_lamb(const vst_optimizer *optimizer, double rate, double scale) {
    const vsti_kernels *kernels = vsti_get_kernels();
    float *values = vst_params_values(optimizer->params);
    const float *gradients = vst_params_gradients(optimizer->params);
    vsti_adamw lamb = adam_of(optimizer, rate, scale);
    for (size_t i = 0; i < vst_params_count(optimizer->params); i++) {
        const vst_param_info *info = vst_params_at(optimizer->params, i);
        if (!is_trained(info)) continue;
        const size_t at = info->offset;
        const int64_t count = (int64_t)info->count;
        float *ema = optimizer->ema ? optimizer->ema + at : NULL;
        double squares[2];
        lamb.decay = decay_of(optimizer, info);
        kernels->lamb_moments(&lamb, values + at, gradients + at, optimizer->first + at, optimizer->second + at,
                              squares, count);
        const double trust = lamb.decay > 0 && squares[0] > 0 && squares[1] > 0 ? sqrt(squares[0] / squares[1]) : 1;
        lamb.rate = (float)(rate * trust);
        kernels->lamb_apply(&lamb, values + at, optimizer->first + at, optimizer->second + at, ema,
                            (float)optimizer->options.ema_decay, count);
    }
}

static void update(const vst_optimizer *optimizer, double rate, double scale) {
    const vst_optimizer_options *o = &optimizer->options;
    const vsti_kernels *kernels = vsti_get_kernels();
    float *values = vst_params_values(optimizer->params);
    const float *gradients = vst_params_gradients(optimizer->params);
    vsti_adamw adamw = adam_of(optimizer, rate, scale);
    vsti_sgd sgd = {.rate = (float)rate,
                    .momentum = (float)o->momentum,
                    .gradient_scale = (float)scale,
                    .nesterov = o->nesterov,
                    .first = optimizer->step == 0};
    for (size_t i = 0; i < optimizer->run_count; i++) {
        const run *r = &optimizer->runs[i];
        const size_t at = r->begin;
        float *ema = optimizer->ema ? optimizer->ema + at : NULL;
        adamw.decay = sgd.decay = r->decay;
        if (o->kind == VST_ADAMW)
            kernels->adamw(&adamw, values + at, gradients + at, optimizer->first + at, optimizer->second + at, ema,
                           (float)o->ema_decay, (int64_t)r->count);
        else
            kernels->sgd(&sgd, values + at, gradients + at, optimizer->first + at, ema, (float)o->ema_decay,
                         (int64_t)r->count);
    }
}

void vst_optimizer_accumulate(vst_optimizer *optimizer) {
    VST_ASSERT(optimizer->accumulated);
    vsti_get_kernels()->add(optimizer->accumulated, vst_params_gradients(optimizer->params), optimizer->accumulated,
                            (int64_t)vst_params_trained(optimizer->params));
}

/* Their mean comes to the bucket; the sum stays until the step is known to be good. */
static void average_accumulated(vst_optimizer *optimizer) {
    vsti_get_kernels()->scale(optimizer->accumulated, 1.0f / (float)optimizer->options.accumulate,
                              vst_params_gradients(optimizer->params), (int64_t)vst_params_trained(optimizer->params));
}

static double clipping_scale(const vst_optimizer_options *o, double norm) {
    if (!(o->clip_norm > 0)) return 1;
    return fmin(1, o->clip_norm / (norm + (o->kind == VST_LAMB ? 0 : 1e-6)));
}

vst_status vst_optimizer_step(vst_optimizer *optimizer, double rate, double *norm) {
    const size_t count = vst_params_trained(optimizer->params);
    const float *gradients = vst_params_gradients(optimizer->params);
    if (optimizer->accumulated) average_accumulated(optimizer);
    const double length = sqrt(vsti_get_kernels()->sum_squares(gradients, (int64_t)count));
    if (norm) *norm = length;
    if (!isfinite(length)) return fail_gradient(optimizer->params);
    if (optimizer->accumulated) memset(optimizer->accumulated, 0, count * sizeof *optimizer->accumulated);
    if (optimizer->ema && optimizer->step == 0) /* the values may have been loaded since */
        memcpy(optimizer->ema, vst_params_values(optimizer->params), count * sizeof *optimizer->ema);
    const double scale = clipping_scale(&optimizer->options, length);
    if (optimizer->options.kind == VST_LAMB) update_lamb(optimizer, rate, scale);
    else update(optimizer, rate, scale);
    optimizer->step++;
    vst_params_changed(optimizer->params);
    return VST_OK;
}

/* ---- Checkpoints ---- */

size_t vst_optimizer_tensors(vst_optimizer *optimizer, vst_tensor *out) {
    const bool adamw = optimizer->options.kind != VST_SGD;
    const vst_shape shape = VST_SHAPE((int64_t)vst_params_trained(optimizer->params));
    size_t count = 0;
    out[count++] = (vst_tensor){adamw ? "optimizer.m" : "optimizer.velocity", VST_F32, shape, optimizer->first};
    if (adamw) out[count++] = (vst_tensor){"optimizer.v", VST_F32, shape, optimizer->second};
    if (optimizer->ema) out[count++] = (vst_tensor){"ema.values", VST_F32, shape, optimizer->ema};
    if (optimizer->accumulated)
        out[count++] = (vst_tensor){"optimizer.gathered", VST_F32, shape, optimizer->accumulated};
    out[count++] = (vst_tensor){"optimizer.step", VST_I64, VST_SCALAR, &optimizer->step};
    return count;
}

static vst_status check_tensor(const vst_safetensors *file, const vst_tensor *wanted) {
    char ours[VST_SHAPE_TEXT], theirs[VST_SHAPE_TEXT];
    const vst_tensor *found = vst_safetensors_find(file, wanted->name);
    if (!found)
        return vst_fail(VST_ERROR_NOT_FOUND,
                        "%s: no tensor %s; was it written with the same optimiser and EMA "
                        "setting?",
                        vst_safetensors_path(file), wanted->name);
    if (found->dtype != wanted->dtype || !vst_shape_equal(&found->shape, &wanted->shape))
        return vst_fail(VST_ERROR_SHAPE,
                        "%s: tensor %s is %s %s in the file, but the model needs %s %s; was it "
                        "written for the same model?",
                        vst_safetensors_path(file), wanted->name, vst_dtype_name(found->dtype),
                        vst_shape_text(&found->shape, theirs), vst_dtype_name(wanted->dtype),
                        vst_shape_text(&wanted->shape, ours));
    return VST_OK;
}

vst_status vst_optimizer_load(vst_optimizer *optimizer, const vst_safetensors *file) {
    vst_status status = VST_OK;
    vst_tensor tensors[VST_OPTIMIZER_TENSORS];
    int64_t step;
    const size_t count = vst_optimizer_tensors(optimizer, tensors);
    for (size_t i = 0; i < count; i++) VST_TRY(check_tensor(file, &tensors[i]));
    memcpy(&step, vst_safetensors_find(file, "optimizer.step")->data, sizeof step);
    if (step < 0)
        return vst_fail(VST_ERROR_FORMAT, "%s: optimizer.step is %lld, which no run can have written",
                        vst_safetensors_path(file), (long long)step);
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = (size_t)vst_shape_count(&tensors[i].shape) * vst_dtype_size(tensors[i].dtype);
        memcpy(tensors[i].data, vst_safetensors_find(file, tensors[i].name)->data, bytes);
    }
out:
    return status;
}

const float *vst_optimizer_ema(const vst_optimizer *optimizer) { return optimizer->ema; }
