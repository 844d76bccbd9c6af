/* Going on from a checkpoint. */
#include "recipes/train/restore.h"

#include <math.h>

#include "recipes/train/events.h"
#include "vision/base/clock.h"
#include "vision/base/log.h"

vst_status vsti_train_restore(vsti_trainer *t, const vst_safetensors *file) {
    vst_status status = VST_OK;
    VST_TRY(vsti_checkpoint_restore(file, t->student.params, t->student.optimizer));
    VST_TRY(vsti_checkpoint_promote(&t->folder, file));
    VST_TRY(vsti_run_folder_truncate(&t->folder, "log.txt", t->progress.log_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, "summary.csv", t->progress.summary_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, VSTI_EVENTS_FILE, t->progress.events_bytes));
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
    VST_TRY(vsti_train_restore(t, file));
    t->progress.recoveries = recoveries;
    t->progress.identity = identity;
    t->counted_until = vst_seconds();
    vst_log(VST_LOG_WARNING, "the learning rate is %g of the recipe's from here on (return %d of at most %d)",
            ldexp(1, -recoveries), recoveries, t->recipe->run.recover);
out:
    vst_safetensors_close(file);
    return status;
}
