/* The loop over epochs: steps, evaluation, logs, checkpoints. */
#include "recipes/train/epoch.h"

#include <math.h>
#include <stdio.h>

#include "recipes/train/evaluation.h"
#include "recipes/train/log.h"
#include "recipes/train/nonfinite.h"
#include "recipes/train/restore.h"
#include "recipes/train/save.h"
#include "recipes/train/step.h"
#include "vision/base/clock.h"

/* ---- Time and interruption ---- */

static void add_seconds(vsti_trainer *t) {
    const double now = vst_seconds();
    t->progress.seconds += now - t->counted_until;
    t->progress.sums.seconds += now - t->counted_until;
    t->counted_until = now;
}

/* A file, such as an image or a cache, could not be read: saves a checkpoint and returns the first error. */
static vst_status keep(vsti_trainer *t, vst_status cause) {
    enum { MESSAGE = 2048 };
    char why[MESSAGE];
    snprintf(why, sizeof why, "%s", vst_error_message());
    add_seconds(t);
    if (vsti_train_save(t, false) != VST_OK) return vst_fail(cause, "%s", why);
    return vst_fail(cause, "%s. Epoch %d up to step %llu is saved: --resume continues in %s", why,
                    t->progress.epoch + 1, (unsigned long long)t->progress.step, t->folder.path);
}

/* Saves everything and ends the run, after Ctrl-C. */
static vst_status interrupt(vsti_trainer *t) {
    add_seconds(t);
    vst_status status = vsti_train_save(t, false);
    if (status != VST_OK) return status;
    return vst_fail(VST_ERROR_INTERRUPTED, "stopped in epoch %d after step %llu of %llu; --resume continues in %s",
                    t->progress.epoch + 1, (unsigned long long)t->progress.step, (unsigned long long)t->data.steps,
                    t->folder.path);
}

static bool stopped(const vsti_trainer *t) { return t->options->stop && *t->options->stop; }

/* Writes a checkpoint within an epoch if the last one is run.save_minutes old. */
static vst_status save_in_time(vsti_trainer *t) {
    const double every = 60 * t->recipe->run.save_minutes;
    if (every <= 0 || vst_seconds() - t->saved < every) return VST_OK;
    add_seconds(t);
    const vst_status status = vsti_train_save(t, false);
    t->saved = vst_seconds();
    return status;
}

/* ---- Epochs ---- */

static vst_status train_epoch(vsti_trainer *t) {
    vst_status status = VST_OK;
    const uint64_t first = t->progress.step;
    const double begin = vst_seconds(), waited = vst_loader_waited(t->data.loader);
    double logged = begin;
    t->waiting = 0;
    if (t->progress.step < t->data.steps)
        VST_TRY(vst_loader_start(t->data.loader, (uint32_t)t->progress.epoch, t->progress.step));
    vsti_notify_progress(t, "begin");
    while (t->progress.step < t->data.steps) {
        vst_batch batch;
        if (stopped(t)) return interrupt(t);
        if (t->progress.step > 0) VST_TRY(save_in_time(t));
        const double started = vst_seconds();
        VST_TRY(vst_loader_next(t->data.loader, &batch));
        if (batch.count != t->recipe->optim.batch)
            VST_TRY(vst_fail(VST_ERROR_INTERNAL, "the loader gave %d samples instead of %d", batch.count,
                             t->recipe->optim.batch));
        VST_TRY(vsti_train_step(t, &batch));
        if (t->steps++ > 0) t->step_seconds += vst_seconds() - started;
        if (t->progress.epoch == 0 && t->progress.step == 1) vsti_log_loss_shares(t);
        vsti_notify_progress(t, "train");
        const double every = t->recipe->run.log_seconds;
        if (every > 0 && vst_seconds() - logged >= every) {
            vsti_log_step(t);
            logged = vst_seconds();
        }
    }
    t->waiting = (vst_loader_waited(t->data.loader) - waited) / (vst_seconds() - begin);
out:
    return vst_dataset_is_broken(status) && t->progress.step > first ? keep(t, status) : status;
}

static void take_figures(vsti_trainer *t, bool evaluated) {
    const vsti_epoch_sums *sums = &t->progress.sums;
    const double labelled = sums->labelled ? (double)sums->labelled : NAN;
    vsti_epoch_figures *f = &t->progress.figures;
    const bool validation = evaluated && t->data.validation, other = evaluated && vsti_has_average(t);
    f->train_loss = sums->loss / (double)sums->steps;
    f->train_top1 = 100 * (double)sums->correct / labelled;
    f->test_loss = evaluated ? t->test.loss : NAN;
    f->test_top1 = evaluated ? t->test.top1 : NAN;
    f->test_top5 = evaluated ? t->test.top5 : NAN;
    f->validation_loss = validation ? t->validation.loss : NAN;
    f->validation_top1 = validation ? t->validation.top1 : NAN;
    f->other_loss = other ? t->other.loss : NAN;
    f->other_top1 = other ? t->other.top1 : NAN;
}

/* Every run.eval_every-th epoch, and the last. */
static bool evaluates(const vsti_trainer *t) {
    const int done = t->progress.epoch + 1;
    return done % t->recipe->run.eval_every == 0 || done == t->recipe->run.epochs;
}

static vst_status finish_epoch(vsti_trainer *t) {
    const bool evaluated = evaluates(t);
    const double begin = vst_seconds();
    vst_status status = vsti_check_state(t); /* the losses of the last step were computed before its update */
    if (status == VST_OK && evaluated) {
        status = vsti_evaluate_splits(t);
        t->evaluation_seconds += vst_seconds() - begin;
        t->evaluations++;
    }
    if (status == VST_ERROR_INTERRUPTED) return interrupt(t); /* all steps are done: resuming evaluates again */
    if (vst_dataset_is_broken(status)) return keep(t, status);
    if (status == VST_ERROR_NUMERIC)
        return vst_fail(status, "epoch %d, after its last step: %s; " VSTI_NONFINITE_ADVICE, t->progress.epoch + 1,
                        vst_error_message());
    if (status != VST_OK) return status;
    take_figures(t, evaluated);
    add_seconds(t);
    vsti_log_epoch(t);
    const double top1 = t->progress.figures.validation_top1;
    if (evaluated || !t->data.validation)
        vst_schedule_measured(&t->schedule, (uint64_t)(t->progress.epoch + 1) * t->schedule.epoch,
                              t->data.validation ? top1 : -t->progress.figures.train_loss);
    /* NAN: the first one */
    const bool best = !t->data.validation || (evaluated && !(top1 <= t->progress.best_top1));
    if (best) {
        t->progress.best_top1 = top1;
        t->progress.best_epoch = t->progress.epoch;
    }
    t->progress.epoch++;
    t->progress.step = 0;
    t->progress.sums = (vsti_epoch_sums){0};
    t->saved = vst_seconds();
    return vsti_train_save(t, best);
}

vst_status vsti_train_epochs(vsti_trainer *t) {
    vst_status status = VST_OK;
    t->counted_until = t->saved = vst_seconds();
    if (t->recipe->run.recover && t->progress.epoch == 0 && t->progress.step == 0)
        status = vsti_train_save(t, false); /* what to return to */
    while (status == VST_OK && t->progress.epoch < t->recipe->run.epochs) {
        status = train_epoch(t);
        if (status == VST_OK) status = finish_epoch(t);
        if (status == VST_ERROR_NUMERIC && t->progress.recoveries < t->recipe->run.recover)
            status = vsti_train_recover(t);
    }
    return status;
}
