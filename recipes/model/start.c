/* What a training begins with instead of random weights. */
#include "recipes/model/start.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/distill/term_options.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

/* The names of all rows of one finding, as far as there is room. */
static void list_rows(const vst_import_report *report, vst_import_finding finding, char *out, size_t size) {
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < report->count; i++) {
        const char *name = report->rows[i].name;
        if (report->rows[i].finding != finding || used + strlen(name) + 3 > size) continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", name);
    }
}

/* ---- Classes ---- */

static bool is_head(const vst_param_info *info, int classes) {
    return info->shape.rank > 0 && info->shape.dim[0] == classes;
}

/* Row i of every classifier becomes what was row map[i]. */
static vst_status reorder_heads(vst_params *params, const vst_model_config *config, const int *map) {
    vst_status status = VST_OK;
    const size_t classes = (size_t)vst_model_common_of(config)->classes;
    bool *heads = vst_calloc(vst_params_count(params) + 1, sizeof *heads);
    float *before = NULL;
    if (!heads) VST_TRY(vst_fail_memory(vst_params_count(params)));
    VST_TRY(vst_import_heads(heads, config, params));
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (!heads[i] || !is_head(info, (int)classes)) continue;
        const size_t row = info->count / classes;
        float *values = vst_params_values(params) + info->offset;
        vst_free(before);
        before = vst_alloc(info->count * sizeof *before);
        if (!before) VST_TRY(vst_fail_memory(info->count * sizeof *before));
        memcpy(before, values, info->count * sizeof *before);
        for (size_t c = 0; c < classes; c++)
            memcpy(values + c * row, before + (size_t)map[c] * row, row * sizeof *before);
    }
    vst_params_changed(params);
out:
    vst_free(heads);
    vst_free(before);
    return status;
}

/* A model file says which class is which; of other files the position must do. */
static vst_status match_classes(vst_params *params, const vst_model_config *config, const vst_weights *weights,
                                const char *path, const vst_classes *classes) {
    vst_status status = VST_OK;
    vst_class_match match = {0};
    char **names = NULL;
    const int count = vst_model_common_of(config)->classes;
    const char *text = vst_weights_metadata(weights, "vistill.classes");
    if (!text || !classes) return VST_OK;
    VST_TRY(vst_class_names_read(&names, text, count, path));
    const vst_classes own = {(const char *const *)names, count, path};
    status = vst_classes_match(&match, classes, &own);
    if (status == VST_ERROR_ARGUMENT)
        VST_TRY(vst_fail_in(status, "run.new_head: true begins with a fresh classifier for other classes"));
    VST_TRY(status);
    vst_class_match_log(&match, classes, &own);
    if (!match.same) VST_TRY(reorder_heads(params, config, match.map));
out:
    for (int i = 0; names && i < count; i++) vst_free(names[i]);
    vst_free(names);
    vst_class_match_clear(&match);
    return status;
}

static void log_start(const vst_weights *weights, const vst_import_report *report) {
    char names[400];
    const char *path = vst_weights_path(weights), *entry = vst_weights_entry(weights);
    vst_log(VST_LOG_INFO, "start    %s%s%s%s: %zu tensors", path, entry ? ", entry \"" : "", entry ? entry : "",
            entry ? "\"" : "", report->taken);
    list_rows(report, VST_IMPORT_RESIZED, names, sizeof names);
    if (*names) vst_log(VST_LOG_INFO, "         resized to the model's grid: %s", names);
    list_rows(report, VST_IMPORT_FRESH, names, sizeof names);
    if (*names) vst_log(VST_LOG_INFO, "         begin afresh: %s", names);
    list_rows(report, VST_IMPORT_NOT_FINITE, names, sizeof names);
    if (*names) vst_log(VST_LOG_WARNING, "%s: not all values are finite: %s", path, names);
}

/* ---- Quantised models ---- */

/* The weights of a model on integers, which reading makes float32, and its quantisation. */
static vst_status copy_integers(vst_params *params, const vst_model_config *config, const char *path, bool new_head,
                                vst_quantization *quantization) {
    vst_status status = VST_OK;
    vst_model *model = NULL;
    bool *heads = vst_calloc(vst_params_count(params) + 1, sizeof *heads);
    if (!heads) VST_TRY(vst_fail_memory(vst_params_count(params)));
    VST_TRY(vst_model_read(&model, path));
    VST_TRY(vst_import_heads(heads, config, params));
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const int index = vst_params_find(model->params, info->name);
        const vst_param_info *found = index < 0 ? NULL : vst_params_at(model->params, (size_t)index);
        if (new_head && heads[i]) continue;
        if (!found || !vst_shape_equal(&found->shape, &info->shape))
            VST_TRY(
                vst_fail(VST_ERROR_SHAPE,
                         "%s is quantised, and its %s does not have the shape of the recipe's model: start with the "
                         "float32 model it was made from",
                         path, info->name));
        memcpy(vst_params_values(params) + info->offset, vst_params_values(model->params) + found->offset,
               info->count * sizeof(float));
    }
    vst_params_changed(params);
    *quantization = model->quantization;
    model->quantization = (vst_quantization){0};
    vst_log(VST_LOG_INFO, "start    %s: %zu layers on 8-bit integers", path, quantization->count);
out:
    vst_model_destroy(model);
    vst_free(heads);
    return status;
}

static vst_status import(vst_params *params, const vst_model_config *config, const vst_weights *weights,
                         bool new_head) {
    vst_import_report report = {0};
    /* Positions are resized as facebookresearch/deit does it, without antialiasing; between sizes that grow it is the
     * cubic curve that differs from timm's. */
    const vst_import_options options = {.reset_head = new_head, .no_antialias = true};
    const vst_status status = vst_import_params(&report, config, params, weights, &options);
    if (status == VST_OK) log_start(weights, &report);
    vst_import_report_clear(&report);
    return status;
}

/* Parameters of their own: the student's have the terms' projectors besides. Initial values are a function of seed and
 * name, so that a fresh classifier is the student's own. */
vst_status vsti_start_load(vst_params **out, vst_quantization *quantization, const char *path, const char *entry,
                           const vst_model_config *config, bool new_head, uint64_t seed, const vst_classes *classes) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_weights *weights = NULL;
    VST_TRY(vst_weights_open(&weights, path, entry && *entry ? entry : NULL));
    VST_TRY(vst_model_declare(&graph, out, config));
    VST_TRY(vst_params_allocate(*out, false, seed));
    if (vst_weights_metadata(weights, VST_QUANTIZATION_KEY))
        VST_TRY(copy_integers(*out, config, path, new_head, quantization));
    else VST_TRY(import(*out, config, weights, new_head));
    if (!new_head) VST_TRY(match_classes(*out, config, weights, path, classes));
out:
    vst_weights_close(weights);
    vst_graph_destroy(graph);
    if (status == VST_OK) return status;
    vst_params_destroy(*out);
    *out = NULL;
    return status;
}

uint64_t vsti_start_hash(vst_params *start) {
    return XXH3_64bits(vst_params_values(start), vst_params_total(start) * sizeof(float));
}

void vsti_start_copy(vst_params *params, vst_params *start) {
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const int index = vst_params_find(start, info->name);
        VST_ASSERT(index >= 0 || strncmp(info->name, VST_DISTILL_PREFIX, strlen(VST_DISTILL_PREFIX)) == 0);
        if (index < 0) continue;
        memcpy(vst_params_values(params) + info->offset,
               vst_params_values(start) + vst_params_at(start, (size_t)index)->offset, info->count * sizeof(float));
    }
    vst_params_changed(params);
}
