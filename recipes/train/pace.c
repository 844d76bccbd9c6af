/* Estimates the remaining time of a training run. */
#include "recipes/train/pace.h"

#include <math.h>

int vsti_evaluations_left(const vsti_trainer *t) {
    const vst_run_options *run = &t->recipe->run;
    return (run->epochs + run->eval_every - 1) / run->eval_every - t->progress.epoch / run->eval_every;
}

/* Evaluating an image takes about a third of the time of training on it. */
double vsti_evaluation_estimate(const vsti_trainer *t, double step_seconds) {
    uint64_t evaluated = vst_dataset_count(t->data.test);
    if (vsti_has_average(t)) evaluated *= 2;
    if (t->data.validation) evaluated += vst_dataset_count(t->data.validation);
    return step_seconds / t->recipe->optim.batch * (double)evaluated / 3;
}

double vsti_seconds_left(const vsti_trainer *t) {
    const vst_run_options *run = &t->recipe->run;
    const vsti_checkpoint *p = &t->progress;
    if (t->steps < 2) return NAN;
    const double step = t->step_seconds / (double)(t->steps - 1);
    const double evaluation =
        t->evaluations ? t->evaluation_seconds / (double)t->evaluations : vsti_evaluation_estimate(t, step);
    const double steps = (double)(run->epochs - p->epoch) * (double)t->data.steps - (double)p->step;
    return steps * step + vsti_evaluations_left(t) * evaluation;
}
