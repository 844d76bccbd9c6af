/* Dry run: trains some steps and estimates the time of the whole run. */
#include "recipes/train/estimate.h"

#include "recipes/infer/median.h"
#include "recipes/train/log.h"
#include "recipes/train/pace.h"
#include "recipes/train/step.h"
#include "vision/base/clock.h"

static const double ESTIMATE_SECONDS = 2;

/* The median time of some batches after one warm-up batch, and of the teachers' part of it. */
static vst_status time_batches(vsti_trainer *t, double *whole, double *teachers) {
    enum { MOST = 64 };
    vst_status status = VST_OK;
    double wholes[MOST], parts[MOST];
    int count = 0;
    const double begin = vst_seconds();
    VST_TRY(vst_loader_start(t->data.loader, 0, 0));
    for (int i = 0; count < MOST && (count == 0 || vst_seconds() - begin < ESTIMATE_SECONDS); i++) {
        vst_batch batch;
        VST_TRY(vst_loader_next(t->data.loader, &batch));
        if (!batch.count) break;
        const double start = vst_seconds(), taught = t->teacher_seconds;
        VST_TRY(vsti_train_step(t, &batch));
        wholes[count] = vst_seconds() - start;
        parts[count] = t->teacher_seconds - taught;
        if (i == 0) vsti_log_loss_shares(t);
        if (i > 0 || t->data.steps == 1) count++;
    }
    *whole = vst_median(wholes, count);
    *teachers = vst_median(parts, count);
out:
    return status;
}

vst_status vsti_train_estimate(vsti_trainer *t, vst_train_result *result) {
    const vst_run_options *run = &t->recipe->run;
    double whole, teachers;
    const vst_status status = time_batches(t, &whole, &teachers);
    if (status != VST_OK) return status;
    result->step_seconds = whole * t->recipe->optim.accumulate;
    result->teacher_seconds = teachers * t->recipe->optim.accumulate;
    result->predicted_seconds =
        run->epochs * (double)t->data.steps * whole + vsti_evaluations_left(t) * vsti_evaluation_estimate(t, whole);
    return VST_OK;
}
