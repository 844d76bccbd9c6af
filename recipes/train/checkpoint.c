/* Writes and reads checkpoints. */
#include "recipes/train/checkpoint.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/log.h"
#include "vision/base/memory.h"

#define VALUES_TENSOR "optimizer.values"

/* ---- The position as JSON: one table for both directions ---- */

typedef enum field_type { FIELD_INT, FIELD_COUNT, FIELD_REAL, FIELD_FLAG } field_type;
typedef struct field {
    const char *name;
    field_type type;
    size_t offset;
    bool late; /* absent in checkpoints of earlier versions, where it is 0 */
} field;

#define FIELD(type, name, member) {name, type, offsetof(vsti_checkpoint, member), false}
#define LATE_FIELD(type, name, member) {name, type, offsetof(vsti_checkpoint, member), true}
static const field fields[] = {
    FIELD(FIELD_INT, "epoch", epoch),
    FIELD(FIELD_COUNT, "step", step),
    FIELD(FIELD_FLAG, "finished", finished),
    FIELD(FIELD_INT, "threads", threads),
    FIELD(FIELD_INT, "recoveries", recoveries),
    FIELD(FIELD_REAL, "seconds", seconds),
    FIELD(FIELD_REAL, "best_top1", best_top1),
    FIELD(FIELD_INT, "best_epoch", best_epoch),
    FIELD(FIELD_REAL, "teacher_top1", teacher_top1),
    FIELD(FIELD_COUNT, "log_bytes", log_bytes),
    FIELD(FIELD_COUNT, "summary_bytes", summary_bytes),
    FIELD(FIELD_COUNT, "events_bytes", events_bytes),
    FIELD(FIELD_COUNT, "sum_steps", sums.steps),
    FIELD(FIELD_COUNT, "sum_labelled", sums.labelled),
    FIELD(FIELD_COUNT, "sum_correct", sums.correct),
    FIELD(FIELD_REAL, "sum_loss", sums.loss),
    FIELD(FIELD_REAL, "sum_labels", sums.labels),
    FIELD(FIELD_REAL, "sum_rate", sums.rate),
    FIELD(FIELD_REAL, "sum_seconds", sums.seconds),
    FIELD(FIELD_REAL, "train_loss", figures.train_loss),
    FIELD(FIELD_REAL, "train_top1", figures.train_top1),
    FIELD(FIELD_REAL, "test_loss", figures.test_loss),
    FIELD(FIELD_REAL, "test_top1", figures.test_top1),
    FIELD(FIELD_REAL, "test_top5", figures.test_top5),
    FIELD(FIELD_REAL, "validation_loss", figures.validation_loss),
    FIELD(FIELD_REAL, "validation_top1", figures.validation_top1),
    FIELD(FIELD_REAL, "other_loss", figures.other_loss),
    FIELD(FIELD_REAL, "other_top1", figures.other_top1),
    LATE_FIELD(FIELD_COUNT, "steps_bytes", steps_bytes),
    LATE_FIELD(FIELD_INT, "schedule_decays", schedule.decays),
    LATE_FIELD(FIELD_INT, "schedule_bad", schedule.bad),
    LATE_FIELD(FIELD_INT, "schedule_cooldown", schedule.cooldown),
    LATE_FIELD(FIELD_FLAG, "schedule_measured", schedule.measured),
    LATE_FIELD(FIELD_REAL, "schedule_best", schedule.best),
    LATE_FIELD(FIELD_COUNT, "step_batches", step_sums.batches),
    LATE_FIELD(FIELD_REAL, "step_loss", step_sums.loss),
    LATE_FIELD(FIELD_REAL, "step_labels", step_sums.labels),
    LATE_FIELD(FIELD_REAL, "step_seconds", step_sums.seconds),
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* Sums over each term. */
static const struct list {
    const char *name;
    size_t offset; /* of VST_MAX_TERMS doubles in vsti_checkpoint */
    bool late;
} lists[] = {{"sum_terms", offsetof(vsti_checkpoint, sums.terms), false},
             {"step_terms", offsetof(vsti_checkpoint, step_sums.terms), true}};
enum { LISTS = sizeof lists / sizeof *lists };

static double *list_at(const struct list *list, const vsti_checkpoint *checkpoint) {
    return (double *)((char *)checkpoint + list->offset);
}

static const struct hash_field {
    const char *name;
    size_t offset; /* in vsti_identity */
    bool old;      /* version 0.1.0 has it */
} hashes[] = {{"hash", offsetof(vsti_identity, all), true},
              {"data", offsetof(vsti_identity, data), false},
              {"teachers", offsetof(vsti_identity, teachers), false},
              {"start", offsetof(vsti_identity, start), false}};
enum { HASHES = sizeof hashes / sizeof *hashes };

/* JSON has no NaN: such a number is null. */
static json_t *real_json(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *list_json(const double *values) {
    json_t *array = json_array();
    bool good = array != NULL;
    for (int i = 0; good && i < VST_MAX_TERMS; i++) good = json_array_append_new(array, real_json(values[i])) == 0;
    if (good) return array;
    json_decref(array);
    return NULL;
}

static json_t *field_json(const field *f, const vsti_checkpoint *checkpoint) {
    const char *at = (const char *)checkpoint + f->offset;
    switch (f->type) {
    case FIELD_INT: return json_integer(*(const int *)at);
    case FIELD_COUNT: return json_integer((json_int_t) * (const uint64_t *)at);
    case FIELD_REAL: return real_json(*(const double *)at);
    case FIELD_FLAG: return json_boolean(*(const bool *)at);
    }
    return NULL;
}

/* free() the text, as jansson's; NULL: out of memory. */
static char *to_json(const vsti_checkpoint *checkpoint) {
    json_t *object = json_object();
    bool good = object != NULL;
    for (int i = 0; good && i < HASHES; i++)
        good = json_object_set_new(object, hashes[i].name,
                                   json_string((const char *)&checkpoint->identity + hashes[i].offset)) == 0;
    for (int i = 0; good && i < FIELDS; i++)
        good = json_object_set_new(object, fields[i].name, field_json(&fields[i], checkpoint)) == 0;
    for (int i = 0; good && i < LISTS; i++)
        good = json_object_set_new(object, lists[i].name, list_json(list_at(&lists[i], checkpoint))) == 0;
    char *text = good ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    return text;
}

static bool read_real(const json_t *value, double *out) {
    *out = json_is_null(value) ? NAN : json_number_value(value);
    return json_is_null(value) || json_is_number(value);
}

static bool read_field(const field *f, const json_t *value, vsti_checkpoint *checkpoint) {
    if (!value && f->late) return true;
    char *at = (char *)checkpoint + f->offset;
    const json_int_t number = json_integer_value(value);
    switch (f->type) {
    case FIELD_INT: *(int *)at = (int)number; return json_is_integer(value) && number >= 0 && number <= INT32_MAX;
    case FIELD_COUNT: *(uint64_t *)at = (uint64_t)number; return json_is_integer(value) && number >= 0;
    case FIELD_REAL: return read_real(value, (double *)at);
    case FIELD_FLAG: *(bool *)at = json_is_true(value); return json_is_boolean(value);
    }
    return false;
}

static bool read_list(const struct list *list, const json_t *array, double *values) {
    bool good = true;
    if (!array && list->late) return true;
    for (size_t i = 0; i < VST_MAX_TERMS; i++) good = good && read_real(json_array_get(array, i), &values[i]);
    return good;
}

static bool read_hash(const struct hash_field *f, const json_t *value, vsti_identity *identity) {
    const char *text = json_string_value(value);
    if (!value && !f->old) return true; /* left empty */
    if (!text || strlen(text) != VSTI_HASH - 1) return false;
    memcpy((char *)identity + f->offset, text, VSTI_HASH);
    return true;
}

static vst_status from_json(const char *path, const char *text, vsti_checkpoint *checkpoint) {
    vst_status status = VST_OK;
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    *checkpoint = (vsti_checkpoint){0};
    if (!json_is_object(object))
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: vistill.checkpoint is not a JSON object: %s", path,
                         object ? "wrong type" : error.text));
    for (int i = 0; i < HASHES; i++)
        if (!read_hash(&hashes[i], json_object_get(object, hashes[i].name), &checkpoint->identity))
            VST_TRY(
                vst_fail(VST_ERROR_FORMAT, "%s: vistill.checkpoint: '%s' is missing or wrong", path, hashes[i].name));
    for (int i = 0; i < FIELDS; i++)
        if (!read_field(&fields[i], json_object_get(object, fields[i].name), checkpoint))
            VST_TRY(
                vst_fail(VST_ERROR_FORMAT, "%s: vistill.checkpoint: '%s' is missing or wrong", path, fields[i].name));
    for (int i = 0; i < LISTS; i++)
        if (!read_list(&lists[i], json_object_get(object, lists[i].name), list_at(&lists[i], checkpoint)))
            VST_TRY(
                vst_fail(VST_ERROR_FORMAT, "%s: vistill.checkpoint: '%s' is missing or wrong", path, lists[i].name));
out:
    json_decref(object);
    return status;
}

/* ---- Writing ---- */

/* Until the rename below there is no last.safetensors; previous.safetensors is read then. */
static vst_status keep_previous(const vsti_run_folder *folder) {
    char last[VSTI_PATH], previous[VSTI_PATH];
    vst_status status = VST_OK;
    VST_TRY(vsti_run_folder_file(folder, "last.safetensors", last));
    VST_TRY(vsti_run_folder_file(folder, "previous.safetensors", previous));
    if (rename(last, previous) != 0 && errno != ENOENT)
        VST_TRY(vst_fail(VST_ERROR_IO, "%s: cannot become %s: %s", last, previous, strerror(errno)));
out:
    return status;
}

/* The contents of a checkpoint besides the model: the optimiser's state, and by name the moving average and the
 * projectors of terms, whose running statistics are stored nowhere else. The texts are owned. */
typedef struct extras {
    vst_tensor *list;
    size_t count;
    int64_t *counters;
    char **names;
    size_t name_count;
} extras;

static void clear_extras(extras *e) {
    for (size_t i = 0; i < e->name_count; i++) vst_free(e->names[i]);
    vst_free(e->names);
    vst_free(e->list);
    vst_free(e->counters);
}

static vst_status add_average(extras *e, const vst_params *params, const float *average) {
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (info->kind != VST_PARAM_WEIGHT && info->kind != VST_PARAM_NODECAY) continue;
        char *name = e->names[e->name_count] = vst_format("ema.%s", info->name);
        if (!name) return vst_fail_memory(strlen(info->name) + 5);
        e->name_count++;
        e->list[e->count++] = (vst_tensor){name, VST_F32, info->shape, (float *)average + info->offset}; /* only read */
    }
    return VST_OK;
}

static void add_projectors(extras *e, const vst_params *params) {
    const size_t first = e->count, all = vst_params_tensors(params, e->list + first, e->counters);
    for (size_t i = first; i < first + all; i++)
        if (strncmp(e->list[i].name, VST_DISTILL_PREFIX, strlen(VST_DISTILL_PREFIX)) == 0)
            e->list[e->count++] = e->list[i];
}

static vst_status collect_extras(extras *e, vst_params *params, vst_optimizer *optimizer) {
    vst_status status = VST_OK;
    const size_t room = vst_params_count(params) + 1;
    const float *average = vst_optimizer_ema(optimizer);
    e->list = vst_calloc(VST_OPTIMIZER_TENSORS + 1 + 2 * room, sizeof *e->list);
    e->counters = vst_calloc(room, sizeof *e->counters);
    e->names = vst_calloc(room, sizeof *e->names);
    if (!e->list || !e->counters || !e->names) VST_TRY(vst_fail_memory(room * sizeof *e->list));
    const size_t state = vst_optimizer_tensors(optimizer, e->list);
    for (size_t i = 0; i < state; i++)
        if (strcmp(e->list[i].name, "ema.values") != 0) e->list[e->count++] = e->list[i];
    e->list[e->count++] =
        (vst_tensor){VALUES_TENSOR, VST_F32, VST_SHAPE((int64_t)vst_params_trained(params)), vst_params_values(params)};
    if (average) VST_TRY(add_average(e, params, average));
    add_projectors(e, params);
out:
    return status;
}

vst_status vsti_checkpoint_write(const vsti_run_folder *folder, const vsti_checkpoint *checkpoint,
                                 const vst_model_content *content, vst_params *params, vst_optimizer *optimizer) {
    vst_status status = VST_OK;
    char path[VSTI_PATH], *json = to_json(checkpoint);
    extras extra = {0};
    const vst_metadata metadata = {"vistill.checkpoint", json};
    vst_model_content whole = *content;
    if (!json) VST_TRY(vst_fail_memory(4096));
    VST_TRY(vsti_run_folder_file(folder, "last.safetensors", path));
    VST_TRY(collect_extras(&extra, params, optimizer));
    whole.extra = extra.list;
    whole.extra_count = extra.count;
    whole.metadata = &metadata;
    whole.metadata_count = 1;
    VST_TRY(keep_previous(folder));
    VST_TRY(vst_model_write(path, &whole));
out:
    clear_extras(&extra);
    free(json);
    return status;
}

/* ---- Reading ---- */

static vst_status open_one(const vsti_run_folder *folder, const char *name, vsti_checkpoint *checkpoint,
                           vst_safetensors **file) {
    vst_status status = VST_OK;
    char path[VSTI_PATH];
    *file = NULL;
    VST_TRY(vsti_run_folder_file(folder, name, path));
    VST_TRY(vst_safetensors_open(file, path, NULL));
    const char *json = vst_safetensors_metadata(*file, "vistill.checkpoint");
    if (!json) VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s is a model file, not a checkpoint", path));
    VST_TRY(from_json(path, json, checkpoint));
out:
    if (status != VST_OK) {
        vst_safetensors_close(*file);
        *file = NULL;
    }
    return status;
}

vst_status vsti_checkpoint_open_previous(const vsti_run_folder *folder, vsti_checkpoint *checkpoint,
                                         vst_safetensors **file) {
    *file = NULL;
    if (!vsti_run_folder_has(folder, "previous.safetensors")) return VST_OK;
    vst_log(VST_LOG_WARNING, "the newest checkpoint cannot be used (%s); taking previous.safetensors",
            vst_error_message());
    return open_one(folder, "previous.safetensors", checkpoint, file);
}

vst_status vsti_checkpoint_open(const vsti_run_folder *folder, vsti_checkpoint *checkpoint, vst_safetensors **file) {
    *file = NULL;
    if (vsti_run_folder_has(folder, "last.safetensors")) {
        const vst_status status = open_one(folder, "last.safetensors", checkpoint, file);
        if (status == VST_OK || status == VST_ERROR_MEMORY) return status;
        const vst_status other = vsti_checkpoint_open_previous(folder, checkpoint, file);
        return other == VST_OK && !*file ? status : other;
    }
    if (!vsti_run_folder_has(folder, "previous.safetensors")) return VST_OK;
    vst_log(VST_LOG_WARNING, "%s: no last.safetensors; taking previous.safetensors", folder->path);
    return open_one(folder, "previous.safetensors", checkpoint, file);
}

bool vsti_checkpoint_is_previous(const vsti_run_folder *folder, const vst_safetensors *file) {
    char path[VSTI_PATH];
    return vsti_run_folder_file(folder, "previous.safetensors", path) == VST_OK &&
           strcmp(vst_safetensors_path(file), path) == 0;
}

vst_status vsti_checkpoint_promote(const vsti_run_folder *folder, const vst_safetensors *file) {
    char last[VSTI_PATH], previous[VSTI_PATH];
    vst_status status = VST_OK;
    VST_TRY(vsti_run_folder_file(folder, "last.safetensors", last));
    VST_TRY(vsti_run_folder_file(folder, "previous.safetensors", previous));
    if (vsti_checkpoint_is_previous(folder, file) && rename(previous, last) != 0)
        VST_TRY(vst_fail(VST_ERROR_IO, "%s: cannot become %s: %s", previous, last, strerror(errno)));
out:
    return status;
}

/* Finds a tensor of this type and number of elements. */
static vst_status find_tensor(const vst_safetensors *file, const char *name, vst_dtype dtype, size_t count,
                              const vst_tensor **tensor) {
    *tensor = vst_safetensors_find(file, name);
    if (!*tensor)
        return vst_fail(VST_ERROR_FORMAT, "%s: the checkpoint lacks the tensor %s", vst_safetensors_path(file), name);
    char shape[VST_SHAPE_TEXT];
    if ((*tensor)->dtype == dtype && vst_shape_count(&(*tensor)->shape) == (int64_t)count) return VST_OK;
    return vst_fail(VST_ERROR_FORMAT, "%s: %s is %s %s in the checkpoint, expected %zu elements of %s",
                    vst_safetensors_path(file), name, vst_dtype_name((*tensor)->dtype),
                    vst_shape_text(&(*tensor)->shape, shape), count, vst_dtype_name(dtype));
}

vst_status vsti_checkpoint_restore(const vst_safetensors *file, vst_params *params, vst_optimizer *optimizer) {
    vst_status status = VST_OK;
    const vst_tensor *tensor;
    float *values = vst_params_values(params);
    VST_TRY(vst_optimizer_load(optimizer, file));
    VST_TRY(find_tensor(file, VALUES_TENSOR, VST_F32, vst_params_trained(params), &tensor));
    memcpy(values, tensor->data, vst_params_trained(params) * sizeof *values);
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (info->kind != VST_PARAM_STATE && info->kind != VST_PARAM_COUNTER) continue;
        VST_TRY(
            find_tensor(file, info->name, info->kind == VST_PARAM_COUNTER ? VST_I64 : VST_F32, info->count, &tensor));
        vst_to_float(values + info->offset, tensor->data, tensor->dtype, info->count);
    }
    vst_params_changed(params);
out:
    return status;
}
