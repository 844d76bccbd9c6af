/* Going on from a checkpoint. */
#ifndef VISTILL_RECIPES_TRAIN_RESTORE_H
#define VISTILL_RECIPES_TRAIN_RESTORE_H

#include "recipes/train/internal.h"

/* Makes a checkpoint's position that of the run, if it is one of this run. */
VST_NODISCARD vst_status vsti_train_adopt(vsti_trainer *trainer, const vsti_checkpoint *found);
/* Puts a checkpoint's values back, whose position is trainer->progress, and removes what was logged after it. If they
 * cannot be, those of previous.safetensors and its position take their place, which *file is then. */
VST_NODISCARD vst_status vsti_train_restore(vsti_trainer *trainer, vst_safetensors **file);
/* After a value that is not finite: returns to the last checkpoint, from where it goes on at half the learning rate. */
VST_NODISCARD vst_status vsti_train_recover(vsti_trainer *trainer);

#endif
