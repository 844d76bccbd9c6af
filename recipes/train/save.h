/* The model files of a training run. */
#ifndef VISTILL_RECIPES_TRAIN_SAVE_H
#define VISTILL_RECIPES_TRAIN_SAVE_H

#include "recipes/train/internal.h"

/* Writes the checkpoint last.safetensors, and best.safetensors as well if `best`. */
VST_NODISCARD vst_status vsti_train_save(vsti_trainer *trainer, bool best);

#endif
