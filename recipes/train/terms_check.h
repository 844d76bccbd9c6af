/* Whether a recipe's terms fit its student and teachers. */
#ifndef VISTILL_RECIPES_TRAIN_TERMS_CHECK_H
#define VISTILL_RECIPES_TRAIN_TERMS_CHECK_H

#include "recipes/config/recipe.h"

/* Refuses terms that do not fit student and teachers, by their graphs alone, as vst_train does before all else.
 * models[i], if it is not NULL, stands for the file of teacher i from 0, which need not be there yet. */
VST_NODISCARD vst_status vst_terms_check(const vst_recipe *recipe, const vst_model_config *const *models);

#endif
