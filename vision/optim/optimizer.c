/* The optimiser: state buckets beside the parameter bucket, walked in runs of equal weight decay. */
#include "vision/optim/optim.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"
#include "vision/optim/methods/method.h"

/* Parameters that are updated together: neighbours with the same decay, or a single one. */
typedef struct run {
    size_t begin, count;
    float decay;
} run;

struct vst_optimizer {
    vst_optimizer_options options;
    const vst_optimizer_method *method;
    void *own; /* the method's own options; NULL if it has none */
    vst_params *params;
    run *runs;
    size_t run_count, run_capacity;
    float *states[VST_OPTIMIZER_STATES]; /* as many as the method needs */
    float *ema;                          /* NULL without */
    float *accumulated;                  /* sum of gradients, NULL without accumulation; zero after each step */
    double memory[2];                    /* see vst_update */
    int64_t step;                        /* updates made */
};

static vst_status find_method(const vst_optimizer_options *o, const vst_optimizer_method **method) {
    *method = vst_optimizer_method_find(o->name);
    if (*method) return VST_OK;
    return vst_fail(VST_ERROR_NOT_FOUND, "there is no optimiser \"%.100s\"", o->name ? o->name : "");
}

static vst_status check_options(const vst_optimizer_options *o, const vst_optimizer_method *method) {
    const bool momentum = method->uses & VST_USES_MOMENTUM;
    if (method->uses & VST_USES_BETAS && !(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: beta1 %g and beta2 %g must be at least 0 and below 1", o->beta1,
                        o->beta2);
    if (method->uses & VST_USES_EPSILON && !((float)o->epsilon > 0))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: epsilon %g must be positive, such as 1e-8", o->epsilon);
    if (momentum && !(o->momentum >= 0 && o->momentum < 1))
        return vst_fail(VST_ERROR_ARGUMENT, "optimiser: momentum %g must be at least 0 and below 1", o->momentum);
    if (method->uses & VST_USES_NESTEROV && o->nesterov && o->momentum == 0)
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

static void clear_own(const vst_optimizer_method *method, void *own) {
    if (own) vst_options_clear(method->options, own);
    vst_free(own);
}

static vst_status read_options(const vst_optimizer_options *o, const vst_optimizer_method **method, void **own) {
    vst_status status = VST_OK;
    *own = NULL;
    VST_TRY(find_method(o, method));
    VST_TRY(check_options(o, *method));
    status = vst_options_read((*method)->options, (*method)->options_size, o->own, own);
    if (status != VST_OK) status = vst_fail_in(status, "optimiser %s", o->name);
out:
    return status;
}

vst_status vst_optimizer_check(const vst_optimizer_options *options) {
    const vst_optimizer_method *method;
    void *own;
    const vst_status status = read_options(options, &method, &own);
    if (status == VST_OK) clear_own(method, own);
    return status;
}

void vst_optimizer_betas(const char *name, double *beta1, double *beta2) {
    const vst_optimizer_method *method = vst_optimizer_method_find(name);
    const bool uses = method && method->uses & VST_USES_BETAS;
    *beta1 = uses ? method->beta1 : 0.9;
    *beta2 = uses ? method->beta2 : 0.999;
}

static bool is_bucket(const vst_param_info *info) {
    return info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY;
}
static bool is_trained(const vst_param_info *info) { return is_bucket(info) && !info->frozen; }

static float decay_of(const vst_optimizer *optimizer, const vst_param_info *info) {
    return info->kind == VST_PARAM_WEIGHT ? (float)optimizer->options.weight_decay : 0;
}

/* The end of a parameter including its padding, whose values are zero and stay zero. */
static size_t end_of(const vst_params *params, const vst_param_info *info) {
    const size_t end = (info->offset + info->count + 15) / 16 * 16, trained = vst_params_trained(params);
    return end < trained ? end : trained;
}

/* Neighbours with equal decay form a run, unless the method needs single tensors. */
static vst_status find_runs(vst_optimizer *optimizer) {
    vst_status status = VST_OK;
    const vst_params *params = optimizer->params;
    const bool by_tensor = optimizer->method->by_tensor;
    run *last = NULL;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const float decay = decay_of(optimizer, info);
        if (info->offset >= vst_params_trained(params)) continue; /* running statistics */
        if (last && is_trained(info) && last->decay == decay && !by_tensor) {
            last->count = end_of(params, info) - last->begin;
            continue;
        }
        last = NULL;
        if (!is_trained(info)) continue;
        VST_TRY(
            vst_grow(&optimizer->runs, &optimizer->run_capacity, optimizer->run_count + 1, sizeof *optimizer->runs));
        last = &optimizer->runs[optimizer->run_count++];
        *last = (run){.begin = info->offset, .decay = decay};
        last->count = by_tensor ? info->count : end_of(params, info) - info->offset;
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
    if (!vst_params_values(params) || !vst_params_gradients(params))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optimiser: the parameters have no gradients; call vst_params_allocate "
                        "with gradients first");
    optimizer = vst_calloc(1, sizeof *optimizer);
    if (!optimizer) return vst_fail_memory(sizeof *optimizer);
    VST_TRY(read_options(options, &optimizer->method, &optimizer->own));
    optimizer->options = *options;
    optimizer->params = params;
    VST_TRY(find_runs(optimizer));
    for (int i = 0; i < VST_OPTIMIZER_STATES && optimizer->method->states[i]; i++)
        VST_TRY(allocate(&optimizer->states[i], count));
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
    clear_own(optimizer->method, optimizer->own);
    vst_free(optimizer->runs);
    for (int i = 0; i < VST_OPTIMIZER_STATES; i++) vst_free(optimizer->states[i]);
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

/* The EMA's decay in this step. */
static double ema_decay_of(const vst_optimizer *optimizer) {
    const double ramp = 1 - 1 / ((double)optimizer->step + 2), decay = optimizer->options.ema_decay;
    return optimizer->options.ema_ramp && ramp < decay ? ramp : decay;
}

static void update(vst_optimizer *optimizer, double rate, double scale) {
    vst_update u = {.options = &optimizer->options,
                    .own = optimizer->own,
                    .rate = rate,
                    .gradient_scale = scale,
                    .memory = optimizer->memory,
                    .step = optimizer->step + 1,
                    .ema_decay = (float)ema_decay_of(optimizer)};
    for (size_t i = 0; i < optimizer->run_count; i++) {
        const run *r = &optimizer->runs[i];
        u.value = vst_params_values(optimizer->params) + r->begin;
        u.gradient = vst_params_gradients(optimizer->params) + r->begin;
        u.ema = optimizer->ema ? optimizer->ema + r->begin : NULL;
        for (int k = 0; k < VST_OPTIMIZER_STATES; k++)
            u.state[k] = optimizer->states[k] ? optimizer->states[k] + r->begin : NULL;
        u.decay = r->decay;
        u.count = (int64_t)r->count;
        optimizer->method->update(&u);
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

static double clipping_scale(const vst_optimizer *optimizer, double norm) {
    const double clip = optimizer->options.clip_norm;
    return clip > 0 ? fmin(1, clip / (norm + (optimizer->method->exact_clip ? 0 : 1e-6))) : 1;
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
    const double scale = clipping_scale(optimizer, length);
    update(optimizer, rate, scale);
    optimizer->step++;
    vst_params_changed(optimizer->params);
    return VST_OK;
}

/* ---- Checkpoints ---- */

size_t vst_optimizer_tensors(vst_optimizer *optimizer, vst_tensor *out) {
    const vst_shape shape = VST_SHAPE((int64_t)vst_params_trained(optimizer->params));
    size_t count = 0;
    for (int i = 0; i < VST_OPTIMIZER_STATES && optimizer->states[i]; i++)
        out[count++] = (vst_tensor){optimizer->method->states[i], VST_F32, shape, optimizer->states[i]};
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

/* The EMA is one bucket, or in newer checkpoints one tensor per parameter. */
static bool has_named_average(const vst_safetensors *file) { return !vst_safetensors_find(file, "ema.values"); }

/* Checks the tensors, or copies their values. */
static vst_status read_average(vst_optimizer *optimizer, const vst_safetensors *file, bool take) {
    vst_status status = VST_OK;
    char *name = NULL;
    for (size_t i = 0; i < vst_params_count(optimizer->params); i++) {
        const vst_param_info *info = vst_params_at(optimizer->params, i);
        if (!is_bucket(info)) continue;
        vst_free(name);
        if (!(name = vst_format("ema.%s", info->name))) VST_TRY(vst_fail_memory(strlen(info->name) + 5));
        const vst_tensor wanted = {name, VST_F32, info->shape, optimizer->ema + info->offset};
        VST_TRY(check_tensor(file, &wanted));
        if (take) memcpy(wanted.data, vst_safetensors_find(file, name)->data, info->count * sizeof(float));
    }
out:
    vst_free(name);
    return status;
}

vst_status vst_optimizer_load(vst_optimizer *optimizer, const vst_safetensors *file) {
    vst_status status = VST_OK;
    vst_tensor tensors[VST_OPTIMIZER_TENSORS];
    int64_t step;
    const size_t count = vst_optimizer_tensors(optimizer, tensors);
    const bool named = optimizer->ema && has_named_average(file);
    for (size_t i = 0; i < count; i++)
        if (!named || tensors[i].data != optimizer->ema) VST_TRY(check_tensor(file, &tensors[i]));
    if (named) VST_TRY(read_average(optimizer, file, false));
    memcpy(&step, vst_safetensors_find(file, "optimizer.step")->data, sizeof step);
    if (step < 0)
        return vst_fail(VST_ERROR_FORMAT, "%s: optimizer.step is %lld, which no run can have written",
                        vst_safetensors_path(file), (long long)step);
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = (size_t)vst_shape_count(&tensors[i].shape) * vst_dtype_size(tensors[i].dtype);
        if (!named || tensors[i].data != optimizer->ema)
            memcpy(tensors[i].data, vst_safetensors_find(file, tensors[i].name)->data, bytes);
    }
    if (named) VST_TRY(read_average(optimizer, file, true));
    memset(optimizer->memory, 0, sizeof optimizer->memory);
out:
    return status;
}

const float *vst_optimizer_ema(const vst_optimizer *optimizer) { return optimizer->ema; }
