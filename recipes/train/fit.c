/* Completes a recipe from its data: number of classes, and a crop for images of different sizes. */
#include "recipes/train/fit.h"

#include <stdio.h>

#include "recipes/train/data.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

/* Whether a sample of the training images has the size of the model, so that no crop is needed. */
static vst_status fits(const vst_dataset *dataset, int side, bool *all) {
    enum { LOOKED_AT = 4 };
    const uint64_t count = vst_dataset_count(dataset);
    vst_image image = {0};
    *all = true;
    for (uint64_t i = 0; i < LOOKED_AT && i < count && *all; i++) {
        int label;
        const vst_status status = vst_dataset_read(dataset, i * count / LOOKED_AT % count, &image, &label);
        if (status == VST_ERROR_MEMORY) return status;
        if (status == VST_OK) *all = image.height == side && image.width == side;
    }
    vst_image_clear(&image);
    return VST_OK;
}

static vst_status take_classes(vst_recipe *recipe, const vst_dataset *data) {
    char number[16];
    const int usual = vst_model_common_of(recipe->model)->classes;
    snprintf(number, sizeof number, "%d", vst_dataset_classes(data));
    if (!vst_dataset_classes(data)) return VST_OK;
    vst_status status = vst_model_config_set(recipe->model, "classes", number);
    if (status != VST_OK) return vst_fail_in(status, "%s", vst_dataset_path(data));
    recipe->classes_given = true;
    if (vst_dataset_classes(data) != usual)
        vst_log(VST_LOG_INFO, "classes  %s, those of %s", number, vst_dataset_path(data));
    return VST_OK;
}

static vst_status take_augmentation(vst_recipe *recipe, const vst_dataset *train) {
    const int side = vst_model_common_of(recipe->model)->image;
    bool all;
    vst_status status = fits(train, side, &all);
    if (status != VST_OK || all) return status;
    recipe->augment.train = vst_format("random_resized_crop:size=%d, flip", side);
    if (!recipe->augment.train) return vst_fail_memory(64);
    vst_log(VST_LOG_INFO, "augment  %s (as augment.train is empty and the images are of other sizes than %d x %d)",
            recipe->augment.train, side, side);
    return VST_OK;
}

vst_status vst_recipe_fit_data(vst_recipe *recipe) {
    vst_status status = VST_OK;
    const int channels = vst_model_common_of(recipe->model)->channels;
    const bool augmented = recipe->augment.train && *recipe->augment.train;
    vst_dataset *train = NULL, *test = NULL;
    if (recipe->classes_given && augmented) return VST_OK;
    VST_TRY(vsti_recipe_data(&train, recipe, "train", channels));
    if (!recipe->classes_given && !vst_dataset_classes(train))
        VST_TRY(vsti_recipe_data(&test, recipe, "test", channels));
    if (!recipe->classes_given) VST_TRY(take_classes(recipe, test ? test : train));
    if (!augmented) VST_TRY(take_augmentation(recipe, train));
out:
    vst_dataset_close(train);
    vst_dataset_close(test);
    return status;
}
