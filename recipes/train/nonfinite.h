/* Values that are not finite. */
#ifndef VISTILL_RECIPES_TRAIN_NONFINITE_H
#define VISTILL_RECIPES_TRAIN_NONFINITE_H

#include "recipes/train/internal.h"

/* An error that names step, loss and tensor, if a loss of the last run of the student's program is not finite. */
VST_NODISCARD vst_status vsti_check_losses(vsti_trainer *trainer, const vst_batch *batch, vsti_position position);

#endif
