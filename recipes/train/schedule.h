/* The learning rate of a recipe over its steps. */
#ifndef VISTILL_RECIPES_TRAIN_SCHEDULE_H
#define VISTILL_RECIPES_TRAIN_SCHEDULE_H

#include "recipes/config/recipe.h"
#include "vision/optim/optim.h"

/* The learning rate that optim.lr, lr_rule and the images of a step give. */
double vsti_learning_rate(const vst_optim_options *options);

/* optim.warmup_epochs, or a tenth of the run if that is not longer than the warm-up. */
double vsti_warmup_epochs(const vst_recipe *recipe);

/* `steps` of the optimiser in an epoch. */
vst_schedule vsti_recipe_schedule(const vst_recipe *recipe, uint64_t steps);

#endif
