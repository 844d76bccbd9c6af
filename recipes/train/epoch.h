/* The epochs of a training. */
#ifndef VISTILL_RECIPES_TRAIN_EPOCH_H
#define VISTILL_RECIPES_TRAIN_EPOCH_H

#include "recipes/train/internal.h"

/* Trains from trainer->progress to the end: steps, evaluation, logs and checkpoints. */
VST_NODISCARD vst_status vsti_train_epochs(vsti_trainer *trainer);

#endif
