/* Estimates the time of a training run. */
#ifndef VISTILL_RECIPES_TRAIN_ESTIMATE_H
#define VISTILL_RECIPES_TRAIN_ESTIMATE_H

#include "recipes/train/internal.h"

/* Trains for about two seconds and sets the result's step_seconds, teacher_seconds and predicted_seconds. */
VST_NODISCARD vst_status vsti_train_estimate(vsti_trainer *trainer, vst_train_result *result);

#endif
