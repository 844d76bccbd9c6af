/* Checks a recipe's terms against its student and teachers. */
#ifndef VISTILL_RECIPES_TRAIN_TERMS_CHECK_H
#define VISTILL_RECIPES_TRAIN_TERMS_CHECK_H

#include "recipes/config/recipe.h"

/* Checks the terms with the graphs of student and teachers, as vst_train does first. models[i], if not NULL, is used
 * for teacher i (from 0) instead of its file, which need not exist yet. */
VST_NODISCARD vst_status vst_terms_check(const vst_recipe *recipe, const vst_model_config *const *models);

#endif
