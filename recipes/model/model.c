/* Model files: the metadata as JSON, the parameters by name. */
#include "recipes/model/model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/distill/term_options.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { METADATA = 4 };
/* Programs that know the first alone must not take integers for weights. */
static const char format[] = "1", quantised_format[] = "2";

/* ---- Reading ---- */

static vst_status required(const vst_safetensors *file, const char *key, const char **value) {
    *value = vst_safetensors_metadata(file, key);
    if (*value) return VST_OK;
    return vst_fail(VST_ERROR_FORMAT,
                    "%s: no '%s' in its metadata, so it is not a Vistill model file; weights of other "
                    "programs become one with `vistill import`",
                    vst_safetensors_path(file), key);
}

static vst_status check_version(const vst_safetensors *file) {
    const char *text;
    vst_status status = required(file, "vistill.format", &text);
    if (status != VST_OK || strcmp(text, format) == 0 || strcmp(text, quantised_format) == 0) return status;
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "%s: its vistill.format is '%.40s', this program reads %s and %s: use a newer vistill",
                    vst_safetensors_path(file), text, format, quantised_format);
}

static vst_status check_product(const vst_safetensors *file, const vst_params *params, const char *product) {
    char *name = vst_format("%s.weight", product);
    if (!name) return vst_fail_memory(strlen(product));
    const vst_tensor *weight = vst_safetensors_find(file, name);
    const bool known = vst_params_find(params, name) >= 0;
    vst_free(name);
    if (weight && known && weight->dtype == VST_I8) return VST_OK;
    return vst_fail(VST_ERROR_FORMAT,
                    "%s: vistill.quantization names the layer '%.200s', %s: quantise the float32 model again",
                    vst_safetensors_path(file), product,
                    known ? "whose weight is not stored as 8-bit integers" : "which the model does not have");
}

/* Integers are weights only with the scales of their layers, and only format 2 has those. */
static vst_status check_integers(const vst_safetensors *file, const vst_params *params,
                                 const vst_quantization *quantization) {
    const char *version = vst_safetensors_metadata(file, "vistill.format");
    for (size_t i = 0; strcmp(version, format) == 0 && i < vst_safetensors_count(file); i++) {
        const vst_tensor *tensor = vst_safetensors_at(file, i);
        if (tensor->dtype == VST_I8 && vst_params_find(params, tensor->name) >= 0)
            return vst_fail(VST_ERROR_FORMAT,
                            "%s: its vistill.format is '%s', which has no 8-bit weights, but %.200s is of 8-bit "
                            "integers: write the model again with `vistill quantize`",
                            vst_safetensors_path(file), version, tensor->name);
    }
    for (size_t i = 0; i < quantization->count; i++) {
        const vst_status status = check_product(file, params, quantization->products[i].name);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

vst_status vst_class_names_read(char ***names, const char *text, int count, const char *path) {
    vst_status status = VST_OK;
    json_error_t error;
    json_t *list = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    char **out = *names = NULL;
    if (!json_is_array(list))
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: vistill.classes is no JSON list of names: %s", path,
                         list ? "it is something else" : error.text));
    if (json_array_size(list) != (size_t)count)
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: vistill.classes has %zu names, the model has %d classes", path,
                         json_array_size(list), count));
    out = vst_calloc((size_t)count, sizeof *out);
    if (!out) VST_TRY(vst_fail_memory((size_t)count * sizeof *out));
    for (int i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, (size_t)i));
        if (!name) VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: vistill.classes[%d] is no string", path, i));
        out[i] = vst_strdup(name);
        if (!out[i]) VST_TRY(vst_fail_memory(strlen(name) + 1));
    }
    *names = out;
    out = NULL;
out:
    for (int i = 0; out && i < count; i++) vst_free(out[i]);
    vst_free(out);
    json_decref(list);
    return status;
}

static vst_status read_class_names(vst_model *self, const vst_safetensors *file, int classes) {
    const char *text;
    vst_status status = required(file, "vistill.classes", &text);
    if (status == VST_OK) status = vst_class_names_read(&self->class_names, text, classes, vst_safetensors_path(file));
    if (status == VST_OK) self->class_count = classes;
    return status;
}

vst_status vst_model_declare(vst_graph **graph, vst_params **params, const vst_model_config *config) {
    vst_status status = VST_OK;
    *graph = NULL;
    *params = NULL;
    VST_TRY(vst_params_create(params));
    VST_TRY(vst_graph_create(graph, *params));
    vst_model_build(*graph, config, 1);
    VST_TRY(vst_graph_finish(*graph));
out:
    return status;
}

/* The graph is built only to declare the parameters. */
static vst_status make_params(vst_params **out, const vst_model_config *config) {
    vst_graph *graph = NULL;
    vst_status status = vst_model_declare(&graph, out, config);
    vst_graph_destroy(graph);
    return status == VST_OK ? vst_params_reserve(*out) : status;
}

static vst_status fill(vst_model *self, const vst_safetensors *file) {
    vst_status status = VST_OK;
    const char *json, *training;
    VST_TRY(check_version(file));
    VST_TRY(required(file, "vistill.model", &json));
    status = vst_model_config_from_json(&self->config, json);
    if (status != VST_OK) return vst_fail_in(status, "%s: vistill.model", vst_safetensors_path(file));
    VST_TRY(read_class_names(self, file, vst_model_common_of(self->config)->classes));
    status = make_params(&self->params, self->config);
    if (status != VST_OK) return vst_fail_in(status, "%s: building its model", vst_safetensors_path(file));
    VST_TRY(vst_params_load(self->params, file));
    VST_TRY(vst_quantization_read(&self->quantization, file));
    VST_TRY(check_integers(file, self->params, &self->quantization));
    training = vst_safetensors_metadata(file, "vistill.training");
    if (training && !(self->training = vst_strdup(training))) VST_TRY(vst_fail_memory(strlen(training) + 1));
out:
    return status;
}

vst_status vst_model_read(vst_model **out, const char *path) {
    vst_status status = VST_OK;
    vst_safetensors *file = NULL;
    vst_model *self = NULL;
    *out = NULL;
    VST_TRY(vst_safetensors_open(&file, path, NULL));
    self = vst_calloc(1, sizeof *self);
    if (!self) VST_TRY(vst_fail_memory(sizeof *self));
    VST_TRY(fill(self, file));
    if (vst_model_is_unnamed(self)) vst_warn_unnamed(path);
    *out = self;
    self = NULL;
out:
    vst_model_destroy(self);
    vst_safetensors_close(file);
    return status;
}

void vst_model_destroy(vst_model *model) {
    if (!model) return;
    for (int i = 0; i < model->class_count; i++) vst_free(model->class_names[i]);
    vst_free(model->class_names);
    vst_free(model->training);
    vst_quantization_clear(&model->quantization);
    vst_params_destroy(model->params);
    vst_model_config_destroy(model->config);
    vst_free(model);
}

bool vst_model_is_unnamed(const vst_model *model) {
    json_t *facts = model->training ? json_loads(model->training, 0, NULL) : NULL;
    const char *from = json_string_value(json_object_get(facts, "preprocessing"));
    const bool unnamed = from && strcmp(from, VST_NORMALISATION_UNNAMED) == 0;
    json_decref(facts);
    return unnamed;
}

void vst_warn_unnamed(const char *path) {
    vst_log(VST_LOG_WARNING,
            "%s: nobody said how its images were normalised, so pixels go in as 0 to 1: most models are far less "
            "accurate so. Import the weights again with --set mean=… --set std=… of their training, or with mean=0 "
            "and std=1 if there was none",
            path);
}

/* ---- Writing ---- */

/* The class names as JSON text, to be free()d as jansson's. NULL: out of memory, or a name is not UTF-8. */
static char *class_names_json(const vst_model_content *content) {
    json_t *list = json_array();
    bool good = list;
    for (int i = 0; good && i < content->class_count; i++)
        good = json_array_append_new(list, json_string(content->class_names[i])) == 0;
    char *text = good ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

static bool is_weight_of(const char *tensor, const char *scope) {
    const size_t length = strlen(scope);
    return strncmp(tensor, scope, length) == 0 && strcmp(tensor + length, ".weight") == 0;
}

/* Whether a tensor of the params belongs to the model: projectors of distillation terms do not. */
static bool is_shipped(const char *name) { return strncmp(name, VST_DISTILL_PREFIX, strlen(VST_DISTILL_PREFIX)) != 0; }

/* Keeps the tensors that are shipped and lets trained ones point into `values`. Returns how many remain. */
static size_t choose_tensors(const vst_model_content *content, vst_tensor *tensors, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_shipped(tensors[i].name)) continue;
        const vst_param_info *info =
            vst_params_at(content->params, (size_t)vst_params_find(content->params, tensors[i].name));
        const bool trained = info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY;
        tensors[kept] = tensors[i];
        if (trained && content->values) tensors[kept].data = (float *)content->values + info->offset; /* only read */
        kept++;
    }
    return kept;
}

/* Replaces the weights of quantised products by integers and appends their steps. `made`: one for each product, to be
 * freed after writing. */
static vst_status quantize_tensors(const vst_quantization *quantization, vst_tensor *tensors, size_t *count,
                                   vst_integer_weight *made) {
    vst_status status = VST_OK;
    const size_t floats = *count;
    for (size_t p = 0; p < quantization->count; p++) {
        const char *scope = quantization->products[p].name;
        size_t at = 0;
        while (at < floats && !is_weight_of(tensors[at].name, scope)) at++;
        if (at == floats)
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "the quantised product %s has no tensor %s.weight", scope, scope));
        VST_TRY(vst_integer_weight_create(&made[p], &tensors[at]));
        tensors[at].dtype = VST_I8;
        tensors[at].data = made[p].integers;
        tensors[(*count)++] = (vst_tensor){made[p].steps_name, VST_F32, made[p].steps_shape, made[p].steps};
    }
out:
    return status;
}

vst_status vst_model_write(const char *path, const vst_model_content *content) {
    vst_status status = VST_OK;
    static const vst_quantization none = {0};
    const vst_quantization *quantization = content->quantization ? content->quantization : &none;
    const size_t room = vst_params_count(content->params) + quantization->count;
    char *products = NULL, *model = vst_model_config_to_json(content->config), *classes = class_names_json(content);
    vst_tensor *tensors = vst_calloc(room + content->extra_count + 1, sizeof *tensors);
    int64_t *counters = vst_calloc(room + 1, sizeof *counters);
    vst_integer_weight *integers = vst_calloc(quantization->count + 1, sizeof *integers);
    vst_metadata *metadata = vst_calloc(METADATA + 1 + content->metadata_count, sizeof *metadata);
    if (!classes) VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s: a class name is not UTF-8, or memory ran out", path));
    if (!model || !tensors || !counters || !metadata || !integers) VST_TRY(vst_fail_memory(room * sizeof *tensors));

    size_t count = choose_tensors(content, tensors, vst_params_tensors(content->params, tensors, counters));
    if (!count) VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s: a model file needs allocated parameters", path));
    VST_TRY(quantize_tensors(quantization, tensors, &count, integers));
    if (content->extra_count) memcpy(tensors + count, content->extra, content->extra_count * sizeof *tensors);
    count += content->extra_count;

    size_t used = 0;
    metadata[used++] = (vst_metadata){"vistill.format", quantization->count ? quantised_format : format};
    metadata[used++] = (vst_metadata){"vistill.model", model};
    metadata[used++] = (vst_metadata){"vistill.classes", classes};
    if (content->training) metadata[used++] = (vst_metadata){"vistill.training", content->training};
    if (quantization->count) {
        VST_TRY(vst_quantization_json(&products, quantization));
        metadata[used++] = (vst_metadata){VST_QUANTIZATION_KEY, products};
    }
    if (content->metadata_count) memcpy(metadata + used, content->metadata, content->metadata_count * sizeof *metadata);
    used += content->metadata_count;
    VST_TRY(vst_safetensors_write(path, tensors, count, metadata, used));
out:
    free(classes);
    vst_free(model);
    vst_free(tensors);
    vst_free(counters);
    vst_free(metadata);
    for (size_t i = 0; integers && i < quantization->count; i++) vst_free(integers[i].memory);
    vst_free(integers);
    vst_free(products);
    return status;
}
