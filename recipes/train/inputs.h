/* The inputs of the student's program. */
#ifndef VISTILL_RECIPES_TRAIN_INPUTS_H
#define VISTILL_RECIPES_TRAIN_INPUTS_H

#include "recipes/train/internal.h"

/* Copies the inputs of a run of the student's program: images, targets, weights of the losses, taps of the teachers.
 * They must be copied before every run, because the program reuses their memory. */
VST_NODISCARD vst_status vsti_fill_inputs(vsti_trainer *trainer, const vst_batch *batch, vsti_position position);

#endif
