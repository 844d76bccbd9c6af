/* The data of a training: splits, augmentation, loaders. Internal to recipes. */
#ifndef VISTILL_RECIPES_TRAIN_DATA_H
#define VISTILL_RECIPES_TRAIN_DATA_H

#include "datasets/loader/loader.h"
#include "recipes/config/recipe.h"
#include "recipes/model/classes.h"

typedef struct vsti_train_data {
    vst_dataset *source, *sampled, *split_train, *split_validation, *test_split, *test_view; /* owned */
    const vst_dataset *train, *validation, *test; /* views of the above; validation may be NULL */
    uint64_t labelled;                            /* samples [0, labelled) of `train` keep their labelss */
    vst_augment *augment;
    vst_loader *loader, *validation_loader, *test_loader;
    uint64_t steps;            /* batches of an epoch: whole steps of optim.accumulate */
    vst_classes classes;       /* of the training split, and so the student's; names of the data set */
    uint64_t hash, train_hash; /* of the samples of all splits, and of those trained on */
    uint64_t view;             /* vst_view_id of the training augmentation */
} vsti_train_data;

#define VSTI_MEMORY_ADVICE "a smaller optim.batch, run.eval_batch or data.workers"

/* Opens the split "train" or "test" of the recipe's data, as images of `channels`. */
VST_NODISCARD vst_status vsti_recipe_data(vst_dataset **out, const vst_recipe *recipe, const char *split, int channels);

static inline vst_broken_rule vsti_recipe_broken(const vst_recipe *recipe) {
    return (vst_broken_rule){(vst_broken_policy)recipe->data.broken, recipe->data.broken_limit};
}

static inline bool vsti_recipe_mixes(const vst_recipe *recipe) {
    const vst_mix_options mix = vst_recipe_mix(recipe);
    return vst_mix_enabled(&mix);
}

/* The loader options of training. */
vst_loader_options vsti_training_options(const vsti_train_data *data, const vst_recipe *recipe);

/* Opens the splits of the recipe and checks them against the model. Initialise it with {0}. */
VST_NODISCARD vst_status vsti_train_data_open(vsti_train_data *data, const vst_recipe *recipe);
void vsti_train_data_close(vsti_train_data *data);
/* Logs how many images could not be read, if there were any. */
void vsti_train_data_log_broken(const vsti_train_data *data);

size_t vsti_train_data_bytes(const vsti_train_data *data); /* of all prefetched batches */

#endif
