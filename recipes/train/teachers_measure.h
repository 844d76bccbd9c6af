/* The accuracy of the teachers before the training. */
#ifndef VISTILL_RECIPES_TRAIN_TEACHERS_MEASURE_H
#define VISTILL_RECIPES_TRAIN_TEACHERS_MEASURE_H

#include <signal.h>

#include "recipes/teacher/teacher.h"
#include "recipes/train/data.h"

/* Measures the accuracy of teachers with a model file on the validation samples, or without a validation split on some
 * training samples without augmentation. `stop` as in vst_train_options. */
VST_NODISCARD vst_status vsti_teachers_measure(vsti_teachers *teachers, const vst_recipe *recipe,
                                               const vsti_train_data *data, const volatile sig_atomic_t *stop);

#endif
