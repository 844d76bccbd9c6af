/* The parameters of a model: a bucket of values, a bucket of gradients, and the position of each parameter in them. */
#include "vision/graph/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/base/random.h"

enum {
    PADDING = 16,   /* floats; every parameter starts on a cache line, so that no vector spans two parameters */
    CHUNK = 4096,   /* elements initialised from one random stream */
    LISTED_MAX = 8, /* tensors of each kind that an error message of vst_params_load names */
    NAME_SHOWN = 100
};

typedef struct param {
    vst_param_info info; /* info.name is owned */
    uint64_t hash;
    vst_init init;
} param;

struct vst_params {
    param *list; /* in order of registration */
    size_t count, capacity;
    size_t total, trained, numel;
    float *values, *gradients;
    uint64_t version;
};

vst_status vst_params_create(vst_params **out) {
    *out = vst_calloc(1, sizeof **out);
    return *out ? VST_OK : vst_fail_memory(sizeof **out);
}

void vst_params_destroy(vst_params *params) {
    if (!params) return;
    for (size_t i = 0; i < params->count; i++) vst_free((char *)params->list[i].info.name);
    vst_free(params->list);
    vst_free(params->values);
    vst_free(params->gradients);
    vst_free(params);
}

size_t vst_params_count(const vst_params *params) { return params->count; }
size_t vst_params_total(const vst_params *params) { return params->total; }
size_t vst_params_trained(const vst_params *params) { return params->trained; }
size_t vst_params_numel(const vst_params *params) { return params->numel; }
float *vst_params_values(vst_params *params) { return params->values; }
float *vst_params_gradients(vst_params *params) { return params->gradients; }
void vst_params_changed(vst_params *params) { params->version++; }
uint64_t vst_params_version(const vst_params *params) { return params->version; }

const vst_param_info *vst_params_at(const vst_params *params, size_t index) {
    VST_ASSERT(index < params->count);
    return &params->list[index].info;
}

void vst_params_freeze(vst_params *params, size_t index, bool frozen) {
    VST_ASSERT(index < params->count);
    params->list[index].info.frozen = frozen;
}

int vst_params_find(const vst_params *params, const char *name) {
    const uint64_t hash = vst_random_id(name);
    for (size_t i = 0; i < params->count; i++)
        if (params->list[i].hash == hash && strcmp(params->list[i].info.name, name) == 0) return (int)i;
    return -1;
}

static bool is_trained(const vst_param_info *info) {
    return info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY;
}

/* ---- Registration ---- */

/* Checks that the initialisation suits the shape: it must not divide by a fan of 0. */
static vst_status check_init(const char *name, const vst_shape *shape, vst_init init) {
    char text[VST_SHAPE_TEXT];
    const bool bias = shape->rank < 2;
    if (init.kind == VST_INIT_NORMAL && !(init.scale >= 0 && init.scale <= 10))
        return vst_fail(VST_ERROR_ARGUMENT, "parameter %s: a normal initialisation of scale %g; allowed is 0 to 10",
                        name, init.scale);
    if (bias && (init.kind == VST_INIT_XAVIER_UNIFORM || init.kind == VST_INIT_KAIMING_NORMAL))
        return vst_fail(VST_ERROR_ARGUMENT, "parameter %s %s: this initialisation needs two dimensions or more", name,
                        vst_shape_text(shape, text));
    if (bias && init.kind == VST_INIT_LECUN_UNIFORM && !(init.scale > 0 && isfinite(init.scale)))
        return vst_fail(VST_ERROR_ARGUMENT, "parameter %s %s: a bias needs its layer's fan in as scale, got %g", name,
                        vst_shape_text(shape, text), init.scale);
    return VST_OK;
}

static vst_status check_new(const vst_params *params, const char *name, const vst_shape *shape, vst_init init) {
    char text[VST_SHAPE_TEXT];
    const int64_t count = vst_shape_count(shape);
    if (!*name) return vst_fail(VST_ERROR_ARGUMENT, "a parameter without a name");
    if (params->values)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "parameter %s is new, but the parameters were already allocated: build all "
                        "graphs of a model before vst_params_allocate",
                        name);
    if (count <= 0 || (uint64_t)count > SIZE_MAX / sizeof(float) / 2)
        return vst_fail(VST_ERROR_SHAPE, "parameter %s: the shape %s is empty or too large", name,
                        vst_shape_text(shape, text));
    if (init.role == VST_PARAM_COUNTER && count != 1)
        return vst_fail(VST_ERROR_SHAPE, "parameter %s: a counter must be a scalar, got %s", name,
                        vst_shape_text(shape, text));
    return check_init(name, shape, init);
}

vst_status vst_params_add(vst_params *params, const char *name, vst_shape shape, vst_init init, int *index) {
    vst_status status = VST_OK;
    char *copy = NULL;
    const int found = vst_params_find(params, name);
    if (found >= 0) {
        char old[VST_SHAPE_TEXT], wanted[VST_SHAPE_TEXT];
        const vst_shape *known = &params->list[found].info.shape;
        if (!vst_shape_equal(known, &shape))
            return vst_fail(
                VST_ERROR_SHAPE,
                "parameter %s has the shape %s, but %s was requested: two layers share a name, or the graphs of one "
                "model differ",
                name, vst_shape_text(known, old), vst_shape_text(&shape, wanted));
        *index = found;
        return VST_OK;
    }
    VST_TRY(check_new(params, name, &shape, init));
    VST_TRY(vst_grow(&params->list, &params->capacity, params->count + 1, sizeof *params->list));
    copy = vst_strdup(name);
    if (!copy) VST_TRY(vst_fail_memory(strlen(name) + 1));

    const bool flat = shape.rank <= 1 && init.role == VST_PARAM_WEIGHT;
    *index = (int)params->count;
    params->list[params->count++] = (param){.info = {.name = copy,
                                                     .shape = shape,
                                                     .kind = flat ? VST_PARAM_NODECAY : init.role,
                                                     .count = (size_t)vst_shape_count(&shape)},
                                            .hash = vst_random_id(name),
                                            .init = init};
out:
    return status;
}

/* ---- Allocation and initialisation ---- */

/* Fan in and fan out as in PyTorch: dimension 0 is out, dimension 1 is in (per group), the others are the kernel. */
typedef struct fans {
    double in, out;
} fans;

static fans fans_of(const vst_param_info *info, vst_init init) {
    if (info->shape.rank < 2) return (fans){init.scale, init.scale};
    const double count = (double)info->count;
    return (fans){count / (double)info->shape.dim[0], count / (double)info->shape.dim[1]};
}

static void fill_uniform(float *out, size_t count, vst_random *random, double bound) {
    for (size_t i = 0; i < count; i++) out[i] = (float)((2 * vst_random_uniform(random) - 1) * bound);
}

static void fill_normal(float *out, size_t count, vst_random *random, double deviation, double cut) {
    for (size_t i = 0; i < count; i++) {
        double value;
        do value = vst_random_normal(random) * deviation;
        while (fabs(value) > cut);
        out[i] = (float)value;
    }
}

static void initialise_chunk(const param *p, float *values, size_t chunk, uint64_t seed) {
    const size_t begin = chunk * CHUNK, left = p->info.count - begin, count = left < CHUNK ? left : CHUNK;
    const fans fan = fans_of(&p->info, p->init);
    const double scale = p->init.scale;
    vst_random random = vst_random_stream(seed, p->hash, 0, chunk);
    float *out = values + p->info.offset + begin;
    switch (p->init.kind) {
    case VST_INIT_ZEROS: break; /* the bucket is zero already */
    case VST_INIT_ONES:
    case VST_INIT_CONSTANT:
        for (size_t i = 0; i < count; i++) out[i] = p->init.kind == VST_INIT_ONES ? 1 : (float)scale;
        break;
    case VST_INIT_NORMAL: fill_normal(out, count, &random, scale > 0 ? scale : 0.02, 2); break;
    case VST_INIT_XAVIER_UNIFORM:
        fill_uniform(out, count, &random, (scale > 0 ? scale : 1) * sqrt(6 / (fan.in + fan.out)));
        break;
    case VST_INIT_KAIMING_NORMAL: fill_normal(out, count, &random, sqrt(2 / fan.out), INFINITY); break;
    case VST_INIT_LECUN_UNIFORM: fill_uniform(out, count, &random, 1 / sqrt(fan.in)); break;
    }
}

static void initialise(const vst_params *params, uint64_t seed) {
    for (size_t i = 0; i < params->count; i++) {
        const param *p = &params->list[i];
        const size_t chunks = (p->info.count + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) if (chunks > 16)
        for (size_t chunk = 0; chunk < chunks; chunk++) initialise_chunk(p, params->values, chunk, seed);
    }
}

/* Assigns offsets: trained parameters first, then the others, each in order of registration. */
static vst_status lay_out(vst_params *params) {
    size_t next = 0, numel = 0;
    for (int trained = 1; trained >= 0; trained--) {
        for (size_t i = 0; i < params->count; i++) {
            vst_param_info *info = &params->list[i].info;
            if (is_trained(info) != (bool)trained) continue;
            info->offset = next;
            next += (info->count + PADDING - 1) / PADDING * PADDING;
            if (next > SIZE_MAX / sizeof(float) / 2) return vst_fail_memory(SIZE_MAX);
            if (trained) numel += info->count;
        }
        if (trained) params->trained = next;
    }
    params->total = next;
    params->numel = numel;
    return VST_OK;
}

static vst_status allocate_bucket(float **bucket, size_t total) {
    *bucket = vst_alloc_aligned(total * sizeof **bucket);
    if (!*bucket) return vst_fail_memory(total * sizeof **bucket);
    memset(*bucket, 0, total * sizeof **bucket);
    return VST_OK;
}

vst_status vst_params_reserve(vst_params *params) {
    vst_status status = VST_OK;
    if (params->values) return VST_OK;
    VST_TRY(lay_out(params));
    VST_TRY(allocate_bucket(&params->values, params->total));
out:
    return status;
}

vst_status vst_params_allocate(vst_params *params, bool gradients, uint64_t seed) {
    vst_status status = VST_OK;
    if (!params->values) {
        VST_TRY(vst_params_reserve(params));
        initialise(params, seed);
        vst_params_changed(params);
    }
    if (gradients && !params->gradients) VST_TRY(allocate_bucket(&params->gradients, params->total));
out:
    return status;
}

/* ---- Files ---- */

/* One kind of mismatch: how many tensors, and the text of the first ones. */
typedef struct complaint {
    size_t count, shown, used;
    char text[600];
} complaint;

static void complain(complaint *list, const char *format, ...) VST_PRINTF(2, 3);
static void complain(complaint *list, const char *format, ...) {
    char piece[NAME_SHOWN + 2 * VST_SHAPE_TEXT + 64];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    list->count++;
    if (list->count > LISTED_MAX || list->used + (size_t)length + 3 > sizeof list->text) return;
    list->used += (size_t)sprintf(list->text + list->used, "%s%s", list->shown ? ", " : "", piece);
    list->shown++;
}

/* Appends one list to the message. Lists come after the counts, because the message may be truncated. */
static void append(char *message, size_t size, const char *title, const complaint *list) {
    const size_t used = strlen(message);
    if (!list->count) return;
    snprintf(message + used, size - used, ". %s: %s", title, list->text);
    if (list->count > list->shown) {
        const size_t end = strlen(message);
        snprintf(message + end, size - end, " and %zu more", list->count - list->shown);
    }
}

static vst_status report(const vst_safetensors *file, const complaint *missing, const complaint *unexpected,
                         const complaint *wrong) {
    char text[2000] = "";
    append(text, sizeof text, "Missing", missing);
    append(text, sizeof text, "Unexpected", unexpected);
    append(text, sizeof text, "Wrong", wrong);
    return vst_fail(wrong->count ? VST_ERROR_SHAPE : VST_ERROR_FORMAT,
                    "%.200s does not fit the model (tensors: %zu missing, %zu unexpected, %zu wrong); is the model's "
                    "name and number of classes that of the file?%s",
                    vst_safetensors_path(file), missing->count, unexpected->count, wrong->count, text);
}

/* The steps (out) of a tensor of integers, which is named as the tensor with "_scale" after it; NULL if there are none.
 */
static const vst_tensor *steps_of(const vst_safetensors *file, const vst_tensor *integers) {
    if (integers->dtype != VST_I8 || integers->shape.rank < 1) return NULL;
    char *name = vst_format("%s_scale", integers->name);
    const vst_tensor *steps = name ? vst_safetensors_find(file, name) : NULL;
    vst_free(name);
    const bool fits = steps && steps->dtype == VST_F32 && vst_shape_count(&steps->shape) == integers->shape.dim[0];
    return fits ? steps : NULL;
}

static bool are_positive(const vst_tensor *steps) {
    float step;
    for (size_t i = 0; i < (size_t)vst_shape_count(&steps->shape); i++) {
        vst_to_float(&step, (const char *)steps->data + i * sizeof step, VST_F32, 1);
        if (!(step > 0 && step < 1e30f)) return false;
    }
    return true;
}

static void check_shape(complaint *list, const vst_safetensors *file, const vst_param_info *info,
                        const vst_tensor *tensor) {
    char ours[VST_SHAPE_TEXT], theirs[VST_SHAPE_TEXT];
    const bool counter = info->kind == VST_PARAM_COUNTER;
    const bool right_type =
        counter ? tensor->dtype == VST_I64 : tensor->dtype <= VST_BF16 || steps_of(file, tensor) != NULL;
    if (!vst_shape_equal(&info->shape, &tensor->shape))
        complain(list, "%.*s is %s in the file, %s in the model", NAME_SHOWN, info->name,
                 vst_shape_text(&tensor->shape, theirs), vst_shape_text(&info->shape, ours));
    else if (!right_type)
        complain(list, "%.*s has the type %s, expected %s", NAME_SHOWN, info->name, vst_dtype_name(tensor->dtype),
                 counter ? "I64" : "F32, F64, F16, BF16, or I8 with a tensor of steps");
    else if (!counter && tensor->dtype == VST_I8 && !are_positive(steps_of(file, tensor)))
        complain(list, "%.*s has steps that are not positive and finite", NAME_SHOWN, info->name);
}

/* Is it the steps of a parameter of integers? */
static bool is_steps(const vst_safetensors *file, const vst_tensor *tensor) {
    static const char suffix[] = "_scale";
    const size_t length = strlen(tensor->name), end = sizeof suffix - 1;
    if (length <= end || strcmp(tensor->name + length - end, suffix) != 0) return false;
    char *name = vst_format("%.*s", (int)(length - end), tensor->name);
    const vst_tensor *integers = name ? vst_safetensors_find(file, name) : NULL;
    vst_free(name);
    return integers && steps_of(file, integers) == tensor;
}

static bool is_ignored(const char *name) {
    return strncmp(name, "optimizer.", 10) == 0 || strncmp(name, "ema.", 4) == 0 || strncmp(name, "distill.", 8) == 0;
}

static void read_values(float *values, const vst_safetensors *file, const vst_tensor *tensor) {
    const vst_tensor *steps = steps_of(file, tensor);
    const size_t count = (size_t)vst_shape_count(&tensor->shape);
    vst_to_float(values, tensor->data, tensor->dtype, count);
    const size_t rows = steps ? (size_t)tensor->shape.dim[0] : 0;
    for (size_t row = 0; row < rows; row++) {
        float step;
        vst_to_float(&step, (const char *)steps->data + row * sizeof step, VST_F32, 1);
        for (size_t i = 0; i < count / rows; i++) values[row * (count / rows) + i] *= step;
    }
}

vst_status vst_params_load(vst_params *params, const vst_safetensors *file) {
    complaint missing = {0}, unexpected = {0}, wrong = {0};
    if (!params->values) return vst_fail(VST_ERROR_ARGUMENT, "vst_params_load before vst_params_allocate");

    for (size_t i = 0; i < params->count; i++) {
        const vst_param_info *info = &params->list[i].info;
        const vst_tensor *tensor = vst_safetensors_find(file, info->name);
        if (tensor) check_shape(&wrong, file, info, tensor);
        else if (info->kind != VST_PARAM_COUNTER) complain(&missing, "%.*s", NAME_SHOWN, info->name);
    }
    for (size_t i = 0; i < vst_safetensors_count(file); i++) {
        const vst_tensor *tensor = vst_safetensors_at(file, i);
        if (!is_ignored(tensor->name) && vst_params_find(params, tensor->name) < 0 && !is_steps(file, tensor))
            complain(&unexpected, "%.*s", NAME_SHOWN, tensor->name);
    }
    if (missing.count + unexpected.count + wrong.count) return report(file, &missing, &unexpected, &wrong);

    for (size_t i = 0; i < params->count; i++) {
        const vst_param_info *info = &params->list[i].info;
        const vst_tensor *tensor = vst_safetensors_find(file, info->name);
        if (tensor) read_values(params->values + info->offset, file, tensor);
    }
    vst_params_changed(params);
    return VST_OK;
}

size_t vst_params_tensors(const vst_params *params, vst_tensor *out, int64_t *counters) {
    size_t used = 0;
    if (!params->values) return 0;
    for (int trained = 1; trained >= 0; trained--) {
        for (size_t i = 0; i < params->count; i++) {
            const vst_param_info *info = &params->list[i].info;
            if (is_trained(info) != (bool)trained) continue;
            out[used] = (vst_tensor){info->name, VST_F32, info->shape, params->values + info->offset};
            if (info->kind == VST_PARAM_COUNTER) {
                counters[used] = (int64_t)params->values[info->offset];
                out[used].dtype = VST_I64;
                out[used].data = &counters[used];
            }
            used++;
        }
    }
    return used;
}
