/* Export as safetensors with timm's names, which timm.create_model(name, checkpoint_path=FILE) loads strictly. */
#include <stdio.h>
#include <string.h>

#include "recipes/deploy/exporters/exporter.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"

enum { NOTE_BYTES = 512 };

/* The variant as timm would create it for the model's input and number of classes. */
static vst_status plain_variant(vst_model_config **out, const vst_model_config *model) {
    vst_status status = VST_OK;
    char image[16], channels[16], classes[16];
    const vst_model_common *common = vst_model_common_of(model);
    snprintf(image, sizeof image, "%d", common->image);
    snprintf(channels, sizeof channels, "%d", common->channels);
    snprintf(classes, sizeof classes, "%d", common->classes);
    VST_TRY(vst_model_config_create(out, model->variant));
    VST_TRY(vst_model_config_set(*out, "image", image));
    VST_TRY(vst_model_config_set(*out, "channels", channels));
    VST_TRY(vst_model_config_set(*out, "classes", classes));
out:
    return status;
}

/* *same: whether the model has the same tensors as its variant, whatever its options are. */
static vst_status has_plain_tensors(bool *same, const vst_model *model) {
    vst_status status = VST_OK;
    vst_model_config *plain = NULL;
    vst_graph *graph = NULL;
    vst_params *params = NULL;
    VST_TRY(plain_variant(&plain, model->config));
    VST_TRY(vst_model_declare(&graph, &params, plain));
    *same = vst_params_count(params) == vst_params_count(model->params);
    for (size_t i = 0; *same && i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const int index = vst_params_find(model->params, info->name);
        *same = index >= 0 && vst_shape_equal(&info->shape, &vst_params_at(model->params, (size_t)index)->shape);
    }
out:
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    vst_model_config_destroy(plain);
    return status;
}

/* Variants that timm does not have: for small images, and Compact Convolutional Transformers. */
static bool is_ours(const char *variant) {
    return strstr(variant, "_cifar") || strstr(variant, "_mini") || strncmp(variant, "cct_", 4) == 0;
}

/* Writes the arguments of timm.create_model for input and classes that differ from the variant's. */
static void write_arguments(char *out, size_t size, const vst_model_common *common, const vst_model_common *usual,
                            bool sized) {
    size_t used = 0;
    *out = 0;
    if (common->classes != usual->classes)
        used += (size_t)snprintf(out + used, size - used, ", num_classes=%d", common->classes);
    if (common->channels != usual->channels)
        used += (size_t)snprintf(out + used, size - used, ", in_chans=%d", common->channels);
    if (common->image != usual->image && sized) snprintf(out + used, size - used, ", img_size=%d", common->image);
}

static vst_status describe(char **note, const vst_model *model, const char *path) {
    vst_status status = VST_OK;
    vst_model_config *usual = NULL;
    char arguments[128];
    bool same = false;
    const char *variant = model->config->variant;
    VST_TRY(vst_model_config_create(&usual, variant));
    VST_TRY(has_plain_tensors(&same, model));
    /* timm needs the image size only if the position embedding depends on it. */
    write_arguments(arguments, sizeof arguments, vst_model_common_of(model->config), vst_model_common_of(usual),
                    vst_params_find(model->params, "pos_embed") >= 0);
    if (is_ours(variant))
        *note = vst_format("timm has no model %s: the names are timm's, its program cannot build it", variant);
    else if (!same)
        *note = vst_format("the options make it another model than timm's %s, which cannot load it: vistill info %s",
                           variant, "shows them");
    else *note = vst_format("timm.create_model(\"%s\", checkpoint_path=\"%s\"%s)", variant, path, arguments);
    if (!*note) VST_TRY(vst_fail_memory(NOTE_BYTES));
out:
    vst_model_config_destroy(usual);
    return status;
}

static vst_status write(const vst_model *model, const char *path, char **note) {
    vst_status status = VST_OK;
    const size_t room = vst_params_count(model->params);
    vst_tensor *tensors = vst_calloc(room + 1, sizeof *tensors);
    int64_t *counters = vst_calloc(room + 1, sizeof *counters);
    *note = NULL;
    if (!tensors || !counters) VST_TRY(vst_fail_memory(room * sizeof *tensors));
    VST_TRY(describe(note, model, path));
    const size_t count = vst_params_tensors(model->params, tensors, counters);
    const vst_metadata metadata[] = {
        {"format", "pt"}, {"model", model->config->variant}, {"exported_by", "vistill " VST_VERSION}};
    VST_TRY(vst_safetensors_write(path, tensors, count, metadata, sizeof metadata / sizeof *metadata));
    if (model->quantization.count)
        vst_log(VST_LOG_WARNING,
                "%s: the weights of the model's %zu int8 layers are written as float32, the values that the integers "
                "stand for; the scales of the layers' inputs are not written",
                path, model->quantization.count);
out:
    if (status != VST_OK) {
        vst_free(*note);
        *note = NULL;
    }
    vst_free(tensors);
    vst_free(counters);
    return status;
}

extern const vst_exporter vsti_exporter_safetensors;
const vst_exporter vsti_exporter_safetensors = {
    .name = "safetensors",
    .help = "tensors with timm's names, for timm and everything that reads safetensors",
    .write = write};
