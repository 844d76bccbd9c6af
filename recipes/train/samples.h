/* samples.png of a run. */
#ifndef VISTILL_RECIPES_TRAIN_SAMPLES_H
#define VISTILL_RECIPES_TRAIN_SAMPLES_H

#include "recipes/train/internal.h"

/* Writes the first augmented training images. */
VST_NODISCARD vst_status vsti_write_samples(vsti_trainer *trainer);

#endif
