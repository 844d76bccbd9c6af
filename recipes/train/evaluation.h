/* Evaluating the student after an epoch. */
#ifndef VISTILL_RECIPES_TRAIN_EVALUATION_H
#define VISTILL_RECIPES_TRAIN_EVALUATION_H

#include "recipes/train/internal.h"

/* Call it once after the student is built. */
VST_NODISCARD vst_status vsti_evaluation_create(vsti_trainer *trainer);
void vsti_evaluation_destroy(vsti_trainer *trainer);
size_t vsti_evaluation_bytes(const vsti_trainer *trainer);

/* Evaluates the saved weights on the validation and test splits and, with a moving average, the other weights on the
 * test split. */
VST_NODISCARD vst_status vsti_evaluate_splits(vsti_trainer *trainer);

#endif
