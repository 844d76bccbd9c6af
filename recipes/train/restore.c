/* Continues from a checkpoint. */
#include "recipes/train/restore.h"

#include <math.h>

#include "recipes/train/events.h"
#include "vision/base/clock.h"
#include "vision/base/log.h"

/* With a smaller run.epochs the checkpoint may be beyond the end of the run. */
static vst_status check_epochs(const vsti_trainer *t, const vsti_checkpoint *found) {
    const int epochs = t->recipe->run.epochs, begun = found->epoch + (found->step > 0);
    if (begun > epochs)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has %s epoch %d, run.epochs is %d: give at least %d", t->folder.path,
                        found->step ? "begun" : "finished", begun, epochs, begun);
    return VST_OK;
}

vst_status vsti_train_adopt(vsti_trainer *t, const vsti_checkpoint *found) {
    const vsti_identity identity = t->progress.identity;
    const int threads = t->progress.threads;
    vst_status status = vsti_identity_check(&found->identity, &identity, t->recipe, t->folder.path, t->options->extend);
    if (status == VST_OK) status = check_epochs(t, found);
    if (status != VST_OK) return status;
    t->progress = *found;
    t->progress.finished = found->epoch >= t->recipe->run.epochs;
    t->progress.identity = identity;
    t->progress.threads = threads;
    if (found->threads != threads && !t->progress.finished)
        vst_log(VST_LOG_WARNING, "the run used %d thread%s, now there are %d: it will not be the same bit for bit",
                found->threads, found->threads == 1 ? "" : "s", threads);
    return VST_OK;
}

/* Restores the values, or those of the previous checkpoint. */
static vst_status put_back(vsti_trainer *t, vst_safetensors **file) {
    vsti_checkpoint found;
    vst_safetensors *previous = NULL;
    const vst_status first = vsti_checkpoint_restore(*file, t->student.params, t->student.optimizer);
    if (first == VST_OK || first == VST_ERROR_MEMORY || vsti_checkpoint_is_previous(&t->folder, *file)) return first;
    vst_status status = vsti_checkpoint_open_previous(&t->folder, &found, &previous);
    if (status == VST_OK && !previous) status = first;
    if (status == VST_OK) {
        vst_safetensors_close(*file);
        *file = previous;
        status = vsti_train_adopt(t, &found);
    }
    if (status == VST_OK) status = vsti_checkpoint_restore(previous, t->student.params, t->student.optimizer);
    if (status == VST_OK || status == VST_ERROR_MEMORY) return status;
    return vst_fail_in(status, VSTI_NO_CHECKPOINT);
}

vst_status vsti_train_restore(vsti_trainer *t, vst_safetensors **file) {
    vst_status status = VST_OK;
    VST_TRY(put_back(t, file));
    VST_TRY(vsti_checkpoint_promote(&t->folder, *file));
    VST_TRY(vsti_run_folder_truncate(&t->folder, "log.txt", t->progress.log_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, "summary.csv", t->progress.summary_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, VSTI_EVENTS_FILE, t->progress.events_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, VSTI_STEPS_FILE, t->progress.steps_bytes));
    vst_log(VST_LOG_INFO, "continuing %s in epoch %d at step %llu", t->folder.path, t->progress.epoch + 1,
            (unsigned long long)t->progress.step);
out:
    return status;
}

vst_status vsti_train_recover(vsti_trainer *t) {
    vst_status status = VST_OK;
    vst_safetensors *file = NULL;
    const int recoveries = t->progress.recoveries + 1;
    const vsti_identity identity = t->progress.identity;
    vst_log(VST_LOG_WARNING, "%s", vst_error_message());
    VST_TRY(vsti_checkpoint_open(&t->folder, &t->progress, &file));
    if (!file) VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s holds no checkpoint to return to", t->folder.path));
    VST_TRY(vsti_train_restore(t, &file));
    t->progress.recoveries = recoveries;
    t->progress.identity = identity;
    t->counted_until = vst_seconds();
    vst_log(VST_LOG_WARNING, "the learning rate is %g of the recipe's from here on (return %d of at most %d)",
            ldexp(1, -recoveries), recoveries, t->recipe->run.recover);
out:
    vst_safetensors_close(file);
    return status;
}
