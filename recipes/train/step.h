/* One step of a training. */
#ifndef VISTILL_RECIPES_TRAIN_STEP_H
#define VISTILL_RECIPES_TRAIN_STEP_H

#include "recipes/train/internal.h"

/* Trains on a batch of optim.batch samples; every optim.accumulate-th batch ends with a step of the optimiser. Advances
 * the position and the sums. Does not allocate. */
VST_NODISCARD vst_status vsti_train_step(vsti_trainer *trainer, const vst_batch *batch);

#endif
