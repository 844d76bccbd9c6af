/* Estimates the remaining time of a training run from the time of its steps. */
#ifndef VISTILL_RECIPES_TRAIN_PACE_H
#define VISTILL_RECIPES_TRAIN_PACE_H

#include "recipes/train/internal.h"

/* The number of remaining evaluations (run.eval_every). */
int vsti_evaluations_left(const vsti_trainer *trainer);
/* The seconds of an evaluation if training on a batch takes `step_seconds`. */
double vsti_evaluation_estimate(const vsti_trainer *trainer, double step_seconds);
/* The remaining seconds of the run, from the steps and evaluations of this session; NAN if there are too few. */
double vsti_seconds_left(const vsti_trainer *trainer);

#endif
