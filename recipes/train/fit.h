/* Completes a recipe from its data. */
#ifndef VISTILL_RECIPES_TRAIN_FIT_H
#define VISTILL_RECIPES_TRAIN_FIT_H

#include "recipes/config/recipe.h"

/* Sets model.classes, and augment.train for images that do not have the size of the model, if the recipe does not set
 * them; both are logged. Call it between reading and using a recipe. */
VST_NODISCARD vst_status vst_recipe_fit_data(vst_recipe *recipe);

#endif
