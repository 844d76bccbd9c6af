/* Results of an epoch as TensorBoard scalars. */
#ifndef VISTILL_RECIPES_TRAIN_TENSORBOARD_H
#define VISTILL_RECIPES_TRAIN_TENSORBOARD_H

#include "recipes/train/internal.h"

/* Appends the epoch to the run's event file. */
void vsti_log_tensorboard(vsti_trainer *trainer);

#endif
