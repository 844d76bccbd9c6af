/* Continues from a checkpoint. */
#ifndef VISTILL_RECIPES_TRAIN_RESTORE_H
#define VISTILL_RECIPES_TRAIN_RESTORE_H

#include "recipes/train/internal.h"

/* Continues at the position of a checkpoint, if it belongs to this run. */
VST_NODISCARD vst_status vsti_train_adopt(vsti_trainer *trainer, const vsti_checkpoint *found);
/* Restores the values of a checkpoint, whose position is trainer->progress, and removes what was logged after it. If
 * that fails, continues from previous.safetensors, which *file is set to. */
VST_NODISCARD vst_status vsti_train_restore(vsti_trainer *trainer, vst_safetensors **file);
/* Call it when a value is not finite: returns to the last checkpoint and halves the learning rate. */
VST_NODISCARD vst_status vsti_train_recover(vsti_trainer *trainer);

#endif
