/* The data of a training: splits, views, loaders. */
#include "recipes/train/data.h"

#include <string.h>
#include <xxhash.h>

#include "recipes/infer/preprocessing.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

/* The split of a data set without splits: data.validation samples become the test split, the others are trained on. The
 * choice does not depend on run.seed, so that all runs on this data, also of the teacher, have the same test images. */
static vst_status hold_out(vst_dataset **dataset, const vst_recipe *recipe, bool test) {
    vst_dataset *whole = *dataset;
    *dataset = NULL;
    const vst_status status = vst_dataset_hold_out(whole, (uint64_t)recipe->data.validation, 0, !test, dataset);
    return status == VST_OK || status == VST_ERROR_MEMORY ? status : vst_fail_in(status, "data.validation");
}

static vst_status check_test_data(const vst_dataset *test, bool whole) {
    if (vst_dataset_classes(test) == 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "%s has no labels to measure accuracy with: set data.test to a labelled data set",
                        vst_dataset_path(test));
    if (!whole) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT,
                    "%s has no test split, so the training images would be tested: set data.validation to the "
                    "number of images to hold out, or data.test, or make folders train and test",
                    vst_dataset_path(test));
}

vst_status vsti_recipe_data(vst_dataset **out, const vst_recipe *recipe, const char *split, int channels) {
    vst_status status = VST_OK;
    const vst_data_options *o = &recipe->data;
    const bool named = o->test && *o->test, test = strcmp(split, "test") == 0, elsewhere = test && named;
    const vst_image_limits limits = {.pixels = (uint64_t)o->max_megapixels * 1000000}; /* 0: the default */
    const vst_dataset_options options = {
        .limits = &limits,
        .format = o->format && *o->format && strcmp(o->format, "auto") != 0 && !elsewhere ? o->format : NULL,
        .channels = channels == 1 ? 1 : 3,
        .natural_order = o->class_order == VST_CLASS_ORDER_NATURAL};
    *out = NULL;
    if (!o->path || !*o->path) return vst_fail(VST_ERROR_ARGUMENT, "data.path is not set: the folder of the data set");
    VST_TRY(vst_dataset_open(out, elsewhere ? o->test : o->path, split, &options));
    const bool whole = !named && vst_dataset_has_no_splits(*out), labelled = vst_dataset_classes(*out) > 0;
    if (whole && labelled && o->validation) VST_TRY(hold_out(out, recipe, test));
    else if (test) VST_TRY(check_test_data(*out, whole));
out:
    if (status != VST_OK) {
        vst_dataset_close(*out);
        *out = NULL;
    }
    return status;
}

/* ---- Splits ---- */

/* Unlabelled images can only be learned from a teacher. */
static vst_status check_training_data(const vst_recipe *recipe, const vst_dataset *train) {
    if (vst_dataset_classes(train) > 0) return vst_model_check_data(recipe->model, train);
    if (recipe->data.validation)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has no labels, so none of it can be held out: set data.validation to 0",
                        vst_dataset_path(train));
    for (int i = 0; i < recipe->term_count; i++)
        if (vst_term_needs_labels(&recipe->terms[i]))
            return vst_fail(VST_ERROR_ARGUMENT,
                            "%s has no labels, which the distance %s of distill.terms.%d reads: take another distance, "
                            "or a data set with labels",
                            vst_dataset_path(train), recipe->terms[i].distance, i);
    if (recipe->term_count) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT,
                    "%s has no labels, so there is nothing to learn without a teacher: set distill.teacher "
                    "and distill.terms",
                    vst_dataset_path(train));
}

/* The classes are those of the training split, or of the test split if the training split has no labels. The test split
 * may be in another place, in another order or with fewer classes. */
static vst_status match_test_split(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vst_class_match match = {0};
    const bool labelled = vst_dataset_classes(data->source) > 0;
    const vst_classes test = vst_dataset_class_list(data->test_split);
    data->classes = labelled ? vst_dataset_class_list(data->source) : test;
    if (!labelled) VST_TRY(vst_model_check_data(recipe->model, data->test_split));
    VST_TRY(vst_classes_view(&data->test_view, data->test_split, &data->classes, &match));
    if (data->test_view) {
        data->test = data->test_view;
        vst_class_match_log(&match, &test, &data->classes);
    }
out:
    vst_class_match_clear(&match);
    return status;
}

static vst_status open_splits(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    const vst_data_options *o = &recipe->data;
    const int channels = vst_model_common_of(recipe->model)->channels;
    VST_TRY(vsti_recipe_data(&data->source, recipe, "train", channels));
    VST_TRY(vsti_recipe_data(&data->test_split, recipe, "test", channels));
    data->train = data->source;
    data->test = data->test_split;
    VST_TRY(check_training_data(recipe, data->train));
    VST_TRY(match_test_split(data, recipe));
    if (o->validation) {
        VST_TRY(vst_dataset_split(data->source, (uint64_t)o->validation, (uint64_t)recipe->run.seed, &data->split_train,
                                  &data->split_validation));
        data->train = data->split_train;
        data->validation = data->split_validation;
    }
    const uint64_t all = vst_dataset_count(data->train), limit = o->limit ? (uint64_t)o->limit : all;
    if (limit > all || (uint64_t)o->labelled > limit)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "data.limit %d and data.labelled %d: there are %llu training samples",
                         o->limit, o->labelled, (unsigned long long)all));
    /* The samples that keep their label are the first of the sampled view, the same ones that a `limit` of that size
     * selects. */
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
    data->train_hash = parts[0];
out:
    return status;
}

vst_loader_options vsti_training_options(const vsti_train_data *data, const vst_recipe *recipe) {
    const vst_model_common *common = vst_model_common_of(recipe->model);
    const vst_augment_options *augment = &recipe->augment;
    vst_loader_options options = {.batch = recipe->optim.batch,
                                  .workers = recipe->data.workers,
                                  .shuffle = true,
                                  .drop_last = true,
                                  .seed = (uint64_t)recipe->run.seed,
                                  .channels = common->channels,
                                  .size = common->image,
                                  .repeats = augment->repeats,
                                  .views = augment->views,
                                  .augment = data->augment,
                                  .fast_decode = augment->fast_decode,
                                  .mix = vst_recipe_mix(recipe),
                                  .targets = {common->classes, recipe->optim.smoothing, data->labelled},
                                  .broken = vsti_recipe_broken(recipe)};
    for (int c = 0; c < 3; c++)
        vst_model_normalization(recipe->model, c < common->channels ? c : 0, &options.mean[c], &options.std[c]);
    return options;
}

static vst_status create_loaders(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    const vst_loader_options options = vsti_training_options(data, recipe);
    const vst_broken_rule broken = vsti_recipe_broken(recipe);
    const int workers = recipe->data.workers, batch = recipe->run.eval_batch;
    const uint64_t accumulate = (uint64_t)recipe->optim.accumulate;
    data->view = vst_view_id(&options);
    VST_TRY(vst_loader_create(&data->loader, data->train, &options));
    data->steps = vst_loader_steps(data->loader) / accumulate * accumulate;
    if (!data->steps)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "optim.batch is %d and optim.accumulate %d, but an epoch shows only %llu images: it "
                         "would have no step",
                         recipe->optim.batch, recipe->optim.accumulate,
                         (unsigned long long)vst_dataset_count(data->train)));
    VST_TRY(vst_evaluation_loader(&data->test_loader, data->test, recipe->model, batch, workers, &broken));
    if (data->validation)
        VST_TRY(
            vst_evaluation_loader(&data->validation_loader, data->validation, recipe->model, batch, workers, &broken));
out:
    return status;
}

size_t vsti_train_data_bytes(const vsti_train_data *data) {
    return vst_loader_bytes(data->loader) + vst_loader_bytes(data->test_loader) +
           (data->validation_loader ? vst_loader_bytes(data->validation_loader) : 0);
}

vst_status vsti_train_data_open(vsti_train_data *data, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    VST_TRY(open_splits(data, recipe));
    VST_TRY(hash_data(data));
    VST_TRY(vst_augment_create(&data->augment, recipe->augment.train ? recipe->augment.train : ""));
    VST_TRY(create_loaders(data, recipe));
out:
    return status;
}

void vsti_train_data_log_broken(const vsti_train_data *data) {
    const struct {
        const vst_loader *loader;
        const vst_dataset *dataset;
        const char *name, *outcome;
    } parts[] = {{data->loader, data->train, "training", "others took their place"},
                 {data->validation_loader, data->validation, "validation", "they do not count"},
                 {data->test_loader, data->test, "test", "they do not count"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const uint64_t broken = parts[i].loader ? vst_loader_broken(parts[i].loader) : 0;
        if (broken)
            vst_log(VST_LOG_WARNING, "%llu of %llu %s images could not be read: %s; `vistill data check` lists them",
                    (unsigned long long)broken, (unsigned long long)vst_dataset_count(parts[i].dataset), parts[i].name,
                    parts[i].outcome);
    }
}

void vsti_train_data_close(vsti_train_data *data) {
    vst_loader_destroy(data->loader);
    vst_loader_destroy(data->validation_loader);
    vst_loader_destroy(data->test_loader);
    vst_augment_destroy(data->augment);
    vst_dataset_close(data->sampled);
    vst_dataset_close(data->split_train);
    vst_dataset_close(data->split_validation);
    vst_dataset_close(data->test_view);
    vst_dataset_close(data->test_split);
    vst_dataset_close(data->source);
    *data = (vsti_train_data){0};
}
