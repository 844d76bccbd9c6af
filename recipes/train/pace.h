/* How long what is left of a training will take, by the pace of its steps. */
#ifndef VISTILL_RECIPES_TRAIN_PACE_H
#define VISTILL_RECIPES_TRAIN_PACE_H

#include "recipes/train/internal.h"

/* Evaluations that are still to come, by run.eval_every. */
int vsti_evaluations_left(const vsti_trainer *trainer);
/* The seconds of one of them, where a batch is trained on in `step_seconds`. */
double vsti_evaluation_estimate(const vsti_trainer *trainer, double step_seconds);
/* The seconds until the run's end, by the steps and evaluations of this session; NAN: there are too few. */
double vsti_seconds_left(const vsti_trainer *trainer);

#endif
