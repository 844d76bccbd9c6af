/* The learning rate of a recipe over its steps. */
#ifndef VISTILL_RECIPES_TRAIN_SCHEDULE_H
#define VISTILL_RECIPES_TRAIN_SCHEDULE_H

#include "recipes/config/recipe.h"
#include "vision/optim/optim.h"

/* The learning rate that optim.lr, lr_rule and the images of a step give. */
double vsti_learning_rate(const vst_optim_options *options);

/* optim.warmup_epochs, or a tenth of the run if that is not longer than the warm-up. */
double vsti_warmup_epochs(const vst_recipe *recipe);

/* `steps` of the optimiser in an epoch. `state`: for schedules that follow a measure; NULL: none may. Clear it with
 * vst_schedule_clear. */
VST_NODISCARD vst_status vsti_recipe_schedule(vst_schedule *out, const vst_recipe *recipe, uint64_t steps,
                                              vst_schedule_state *state);

#endif
