/* Completes a recipe by its data. */
#ifndef VISTILL_RECIPES_TRAIN_FIT_H
#define VISTILL_RECIPES_TRAIN_FIT_H

#include "recipes/config/recipe.h"

/* Sets what the recipe leaves to its data: model.classes, and augment.train for images that do not have the model's
 * size yet; both are logged. Called between reading a recipe and using it. */
VST_NODISCARD vst_status vst_recipe_fit_data(vst_recipe *recipe);

#endif
