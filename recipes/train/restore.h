/* Going on from a checkpoint. */
#ifndef VISTILL_RECIPES_TRAIN_RESTORE_H
#define VISTILL_RECIPES_TRAIN_RESTORE_H

#include "recipes/train/internal.h"

/* Puts a checkpoint's values back, whose position is trainer->progress, and removes what was logged after it. */
VST_NODISCARD vst_status vsti_train_restore(vsti_trainer *trainer, const vst_safetensors *file);
/* After a value that is not finite: returns to the last checkpoint, from where it goes on at half the learning rate. */
VST_NODISCARD vst_status vsti_train_recover(vsti_trainer *trainer);

#endif
