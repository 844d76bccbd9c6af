/* A study's run that makes an earlier run's model compute on integers, as `vistill quantize` does. */
#include "recipes/study/quantized.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/model/classes.h"
#include "recipes/train/data.h"
#include "recipes/train/run_folder.h"
#include "vision/base/clock.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

#define MADE_OF "vistill.quantized"
enum { HASH = 17 };

/* What decides the result. */
static void identify(char text[HASH], const vst_model *source, const vst_quantize_options *o) {
    const double parts[] = {o->images, o->held_out, o->max_drop, o->max_changed, o->batch, (double)o->seed};
    const uint64_t hash =
        XXH3_64bits_withSeed(vst_params_values(source->params), vst_params_total(source->params) * sizeof(float),
                             XXH3_64bits(parts, sizeof parts));
    snprintf(text, HASH, "%016llx", (unsigned long long)hash);
}

static bool is_made(const vsti_run_folder *folder, const char *path, const char *identity) {
    vst_safetensors *file = NULL;
    if (!vsti_run_folder_has(folder, "last.safetensors")) return false;
    const vst_status status = vst_safetensors_open(&file, path, NULL);
    const char *made_of = status == VST_OK ? vst_safetensors_metadata(file, MADE_OF) : NULL;
    const bool same = made_of && strcmp(made_of, identity) == 0;
    if (status != VST_OK) vst_log(VST_LOG_WARNING, "%s; it is made anew", vst_error_message());
    vst_safetensors_close(file);
    return same;
}

static vst_status write_model(const char *path, const vst_model *model, const char *identity) {
    const vst_metadata metadata = {MADE_OF, identity};
    return vst_model_write(path, &(vst_model_content){.config = model->config,
                                                      .params = model->params,
                                                      .class_names = (const char *const *)model->class_names,
                                                      .class_count = model->class_count,
                                                      .training = model->training,
                                                      .quantization = &model->quantization,
                                                      .metadata = &metadata,
                                                      .metadata_count = 1});
}

static void log_result(const vst_quantize_report *report) {
    size_t integers = 0;
    for (size_t i = 0; i < report->count; i++) integers += report->layers[i].integers;
    vst_log(VST_LOG_INFO, "%zu of %zu layers on 8-bit integers, %.2f %% of %d held-out answers as in float32", integers,
            report->count, report->agreement, report->held_out);
}

/* *view: NULL if there is nothing to match. */
static vst_status match_classes(vst_dataset **view, const vst_dataset *data, const vst_model *model, const char *path) {
    const vst_classes classes = vst_model_classes(model, path);
    return vst_dataset_classes(data) ? vst_classes_view(view, data, &classes, NULL) : VST_OK;
}

static vst_status quantize(const vsti_quantized_run *run, vst_model *model) {
    vst_status status = VST_OK;
    vst_dataset *data = NULL, *view = NULL;
    vst_quantize_report report = {0};
    VST_TRY(vsti_recipe_data(&data, run->data, "train", vst_model_common_of(model->config)->channels));
    VST_TRY(match_classes(&view, data, model, run->source));
    VST_TRY(vst_quantize(model, view ? view : data, &run->options, run->stop, &report));
    log_result(&report);
out:
    vst_quantize_report_clear(&report);
    vst_dataset_close(view);
    vst_dataset_close(data);
    return status;
}

vst_status vsti_study_quantize(const vsti_quantized_run *run, double *seconds) {
    vst_status status = VST_OK;
    vst_model *model = NULL;
    vsti_run_folder folder = {.lock = -1};
    char path[VSTI_PATH], identity[HASH];
    const double begin = vst_seconds();
    *seconds = NAN;
    VST_TRY(vsti_run_folder_open(&folder, run->folder));
    VST_TRY(vsti_run_folder_file(&folder, "last.safetensors", path));
    VST_TRY(vst_model_read(&model, run->source));
    identify(identity, model, &run->options);
    if (is_made(&folder, path, identity)) {
        vst_log(VST_LOG_INFO, "%s is finished already", run->folder);
        goto out;
    }
    VST_TRY(quantize(run, model));
    VST_TRY(write_model(path, model, identity));
    *seconds = vst_seconds() - begin;
out:
    vst_model_destroy(model);
    vsti_run_folder_close(&folder);
    return status;
}
