/* The learning rate of a recipe over its steps. */
#ifndef VISTILL_RECIPES_TRAIN_SCHEDULE_H
#define VISTILL_RECIPES_TRAIN_SCHEDULE_H

#include "recipes/config/recipe.h"
#include "vision/optim/optim.h"

/* The learning rate after optim.lr_rule. */
double vsti_learning_rate(const vst_optim_options *options);

/* optim.warmup_epochs, or a tenth of the run if the run is not longer than the warm-up. */
double vsti_warmup_epochs(const vst_recipe *recipe);

/* `steps` of the optimiser in an epoch. `state`: for schedules that depend on results; NULL: such schedules are not
 * allowed. Clear it with vst_schedule_clear. */
VST_NODISCARD vst_status vsti_recipe_schedule(vst_schedule *out, const vst_recipe *recipe, uint64_t steps,
                                              vst_schedule_state *state);

#endif
