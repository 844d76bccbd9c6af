/* Values that are not finite. */
#ifndef VISTILL_RECIPES_TRAIN_NONFINITE_H
#define VISTILL_RECIPES_TRAIN_NONFINITE_H

#include "recipes/train/internal.h"

#define VSTI_NONFINITE_ADVICE "lower optim.lr, lengthen optim.warmup_epochs, set optim.clip_norm or run.recover"

/* Returns an error with step, loss and tensor if a loss of the last run of the student's program is not finite. */
VST_NODISCARD vst_status vsti_check_losses(vsti_trainer *trainer, const vst_batch *batch, vsti_position position);

/* Returns an error with the name of the tensor if a parameter, a running statistic, the moving average or the
 * optimiser's state is not finite. Call it before saving. */
VST_NODISCARD vst_status vsti_check_state(vsti_trainer *trainer);

#endif
