/* The data of a training: splits, views, loaders, targets. */
#include <string.h>
#include <xxhash.h>

#include "recipes/engine/train_parts.h"
#include "vision/base/memory.h"

static vst_status open_splits(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    const vst_data_options *o = &recipe->data;
    const char *format = o->format && *o->format && strcmp(o->format, "auto") != 0 ? o->format : NULL;
    if (!o->path || !*o->path) return vst_fail(VST_ERROR_ARGUMENT, "data.path is not set: the folder of the data set");
    VST_TRY(vst_dataset_open(&data->source, o->path, "train", format));
    VST_TRY(vst_dataset_open(&data->test_split, o->path, "test", format));
    data->train = data->source;
    data->test = data->test_split;
    VST_TRY(vst_model_check_data(recipe->model, data->train));
    VST_TRY(vst_model_check_data(recipe->model, data->test));
    if (o->validation) {
        VST_TRY(vst_dataset_split(data->source, (uint64_t)o->validation, (uint64_t)recipe->run.seed, &data->split_train,
                                  &data->split_validation));
        data->train = data->split_train;
        data->validation = data->split_validation;
    }
    const uint64_t all = vst_dataset_count(data->train), limit = o->limit ? (uint64_t)o->limit : all;
    if (limit > all || (uint64_t)o->labelled > limit)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "data.limit %d and data.labelled %d: there are %llu training samples", o->limit,
                         o->labelled, (unsigned long long)all));
    /* The sampled view also decides who keeps a label: its beginning, the same samples that a `limit` of that size takes. */
    if (o->limit || o->labelled) {
        VST_TRY(vst_dataset_sample(data->train, limit, (uint64_t)recipe->run.seed, &data->sampled));
        data->train = data->sampled;
    }
    data->labelled = o->labelled ? (uint64_t)o->labelled : limit;
out:
    return status;
}

static vst_status hash_data(vsti_train_data *data) {
    vst_status status = VST_OK;
    uint64_t parts[3] = {0};
    VST_TRY(vst_dataset_hash(data->train, &parts[0]));
    VST_TRY(vst_dataset_hash(data->test, &parts[1]));
    if (data->validation) VST_TRY(vst_dataset_hash(data->validation, &parts[2]));
    data->hash = XXH3_64bits(parts, sizeof parts);
out:
    return status;
}

static vst_status create_loaders(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    const vst_model_common *common = vst_model_common_of(recipe->model);
    const vst_loader_options options = {.batch = recipe->optim.batch,
                                        .workers = recipe->data.workers,
                                        .shuffle = true,
                                        .drop_last = true,
                                        .seed = (uint64_t)recipe->run.seed,
                                        .channels = common->channels,
                                        .size = common->image,
                                        .augment = data->augment};
    const int workers = recipe->data.workers, batch = recipe->run.eval_batch;
    if ((uint64_t)recipe->optim.batch > vst_dataset_count(data->train))
        return vst_fail(VST_ERROR_ARGUMENT, "optim.batch is %d, but there are only %llu training samples: no epoch would have a "
                        "step", recipe->optim.batch, (unsigned long long)vst_dataset_count(data->train));
    VST_TRY(vst_loader_create(&data->loader, data->train, &options));
    data->steps = vst_loader_steps(data->loader);
    VST_TRY(vst_evaluation_loader(&data->test_loader, data->test, recipe->model, batch, workers));
    if (data->validation) VST_TRY(vst_evaluation_loader(&data->validation_loader, data->validation, recipe->model, batch, workers));
out:
    return status;
}

vst_status vsti_train_data_open(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    const int classes = vst_model_common_of(recipe->model)->classes;
    VST_TRY(open_splits(data, recipe));
    VST_TRY(hash_data(data));
    data->class_names = vst_calloc((size_t)classes, sizeof *data->class_names);
    if (!data->class_names) VST_TRY(vst_fail_memory((size_t)classes * sizeof *data->class_names));
    for (int i = 0; i < classes; i++) data->class_names[i] = vst_dataset_class_name(data->source, i);
    VST_TRY(vst_augment_create(&data->augment, recipe->augment.train ? recipe->augment.train : ""));
    VST_TRY(create_loaders(data, recipe));
out:
    return status;
}

void vsti_train_data_close(vsti_train_data *data) {
    vst_loader_destroy(data->loader);
    vst_loader_destroy(data->validation_loader);
    vst_loader_destroy(data->test_loader);
    vst_augment_destroy(data->augment);
    vst_dataset_close(data->sampled);
    vst_dataset_close(data->split_train);
    vst_dataset_close(data->split_validation);
    vst_dataset_close(data->test_split);
    vst_dataset_close(data->source);
    vst_free(data->class_names);
    *data = (vsti_train_data){0};
}

static bool keeps_label(const vst_batch *batch, int i, uint64_t labelled_samples) {
    return batch->labels[i] >= 0 && batch->samples[i] < labelled_samples;
}

int vsti_fill_target(float *target, int classes, double smoothing, const vst_batch *batch, uint64_t labelled_samples) {
    int labelled = 0;
    for (int i = 0; i < batch->count; i++) labelled += keeps_label(batch, i, labelled_samples);
    const double scale = labelled ? (double)batch->count / labelled : 0;
    const float off = (float)(scale * smoothing / classes), on = (float)(scale * (1 - smoothing + smoothing / classes));
    for (int i = 0; i < batch->count; i++) {
        float *row = target + (size_t)i * (size_t)classes;
        const bool keep = keeps_label(batch, i, labelled_samples);
        for (int c = 0; c < classes; c++) row[c] = keep ? off : 0;
        if (keep) row[batch->labels[i]] = on;
    }
    return labelled;
}
