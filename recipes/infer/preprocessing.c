/* A model's preprocessing, and the loader for evaluation. */
#include "recipes/infer/preprocessing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"

vst_evaluation_view vst_model_view(const vst_model_config *config) {
    static const vst_filter filters[] = {[VST_INTERPOLATION_BICUBIC] = VST_FILTER_BICUBIC,
                                         [VST_INTERPOLATION_BILINEAR] = VST_FILTER_BILINEAR,
                                         [VST_INTERPOLATION_LANCZOS] = VST_FILTER_LANCZOS,
                                         [VST_INTERPOLATION_BOX] = VST_FILTER_BOX,
                                         [VST_INTERPOLATION_NEAREST] = VST_FILTER_NEAREST};
    const vst_model_common *common = vst_model_common_of(config);
    return (vst_evaluation_view){common->image, common->crop_pct, filters[common->interpolation]};
}

/* Appends the value of an option; nothing if out of memory. */
static size_t append_option(char *text, size_t used, const vst_model_config *config, const char *before,
                            const char *key) {
    const vst_option *option = vst_options_find(config->backbone->options, key);
    char *value = option ? vst_options_get(option, config->options) : NULL;
    if (used < VST_PREPROCESSING_TEXT)
        used += (size_t)snprintf(text + used, VST_PREPROCESSING_TEXT - used, "%s%s", before, value ? value : "");
    vst_free(value);
    return used;
}

const char *vst_preprocessing_text(const vst_model_config *config, char text[VST_PREPROCESSING_TEXT]) {
    const vst_model_common *common = vst_model_common_of(config);
    const int side = (int)floor(common->image / common->crop_pct);
    size_t used = (size_t)snprintf(text, VST_PREPROCESSING_TEXT, "shorter side to %d", side);
    used = append_option(text, used, config, ", ", "interpolation");
    if (side != common->image && used < VST_PREPROCESSING_TEXT)
        used += (size_t)snprintf(text + used, VST_PREPROCESSING_TEXT - used, "; the middle %d × %d%s", common->image,
                                 common->image, common->image <= 32 ? ", or images of that size as they are" : "");
    if (common->mean.count) used = append_option(text, used, config, "; mean ", "mean");
    if (common->std.count) append_option(text, used, config, "; std ", "std");
    return text;
}

vst_status vst_model_check_data(const vst_model_config *config, const vst_dataset *dataset) {
    const vst_model_common *common = vst_model_common_of(config);
    if (vst_dataset_classes(dataset) == 0)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has no labels; images that belong to classes are wanted",
                        vst_dataset_path(dataset));
    if (vst_dataset_classes(dataset) != common->classes)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has %d classes, the model %d: set model.classes to %d",
                        vst_dataset_path(dataset), vst_dataset_classes(dataset), common->classes,
                        vst_dataset_classes(dataset));
    return VST_OK;
}

vst_status vst_evaluation_loader(vst_loader **out, const vst_dataset *dataset, const vst_model_config *config,
                                 int batch, int workers, const vst_broken_rule *broken) {
    const vst_evaluation_view view = vst_model_view(config);
    const vst_loader_options options = {.batch = batch,
                                        .workers = workers,
                                        .channels = vst_model_common_of(config)->channels,
                                        .size = view.size,
                                        .evaluation = true,
                                        .crop_pct = view.crop_pct,
                                        .filter = view.filter,
                                        .broken = broken ? *broken : (vst_broken_rule){0},
                                        .unlabel_replaced = true};
    return vst_loader_create(out, dataset, &options);
}
