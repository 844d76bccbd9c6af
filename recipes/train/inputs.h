/* The inputs of the student's program. */
#ifndef VISTILL_RECIPES_TRAIN_INPUTS_H
#define VISTILL_RECIPES_TRAIN_INPUTS_H

#include "recipes/train/internal.h"

/* Copies what a run of the student's program reads, and uses up, because the inputs' memory serves other values later:
 * images, targets, weights of the losses, the teachers' taps. */
VST_NODISCARD vst_status vsti_fill_inputs(vsti_trainer *trainer, const vst_batch *batch, vsti_position position);

#endif
