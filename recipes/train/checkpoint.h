/* Checkpoints: a model file with the optimiser's tensors, the trained values (optimizer.values: the model may hold the
 * moving average, and projectors are not part of the model), the moving average as ema.NAME, the projectors of terms as
 * distill.TERM.NAME, and the position. Internal to this folder. */
#ifndef VISTILL_RECIPES_TRAIN_CHECKPOINT_H
#define VISTILL_RECIPES_TRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "recipes/config/recipe.h"
#include "recipes/model/model.h"
#include "recipes/train/identity.h"
#include "recipes/train/run_folder.h"
#include "vision/optim/optim.h"

/* Sums over the steps of the current epoch; stored exactly, so that a resumed epoch logs the same means. */
typedef struct vsti_epoch_sums {
    uint64_t steps, labelled, correct;
    double loss, labels, rate, seconds;
    double terms[VST_MAX_TERMS];
} vsti_epoch_sums;

/* Sums over the batches of one step of the optimiser so far, for steps.csv. */
typedef struct vsti_step_sums {
    uint64_t batches;
    double loss, labels, seconds;
    double terms[VST_MAX_TERMS];
} vsti_step_sums;

/* Results of the last complete epoch. */
typedef struct vsti_epoch_figures {
    double train_loss, train_top1, test_loss, test_top1, test_top5, validation_loss, validation_top1;
    double other_loss,
        other_top1; /* on the test split, of the weights that are not saved: average or raw; NAN without */
} vsti_epoch_figures;

typedef struct vsti_checkpoint {
    vsti_identity identity; /* of the run */
    int epoch;              /* epochs completed */
    uint64_t step;          /* steps done of the next one */
    bool finished;
    int threads;
    int recoveries; /* number of recoveries from values that were not finite; each halved the learning rate */
    double seconds; /* of all sessions so far */
    double best_top1, teacher_top1; /* NAN: none yet */
    int best_epoch;
    uint64_t log_bytes, summary_bytes, events_bytes, steps_bytes;
    vst_schedule_state schedule; /* of the learning rate, if it follows a measure */
    vsti_epoch_sums sums;
    vsti_step_sums step_sums;
    vsti_epoch_figures figures;
} vsti_checkpoint;

#define VSTI_NO_CHECKPOINT "no checkpoint can be continued (start over with --force and without --resume)"

/* Writes last.safetensors and renames the one before to previous.safetensors. `content` is the model; its extra tensors
 * and metadata are set here. */
VST_NODISCARD vst_status vsti_checkpoint_write(const vsti_run_folder *folder, const vsti_checkpoint *checkpoint,
                                               const vst_model_content *content, vst_params *params,
                                               vst_optimizer *optimizer);

/* Opens last.safetensors, or with a warning previous.safetensors if that is unreadable or missing. *file is NULL if
 * there is no checkpoint; close it with vst_safetensors_close. */
VST_NODISCARD vst_status vsti_checkpoint_open(const vsti_run_folder *folder, vsti_checkpoint *checkpoint,
                                              vst_safetensors **file);

/* Opens previous.safetensors with a warning that last.safetensors cannot be used, which includes the error message;
 * *file is NULL if it does not exist. */
VST_NODISCARD vst_status vsti_checkpoint_open_previous(const vsti_run_folder *folder, vsti_checkpoint *checkpoint,
                                                       vst_safetensors **file);

/* Call it when training continues from `file` of vsti_checkpoint_open: if it is previous.safetensors, it is renamed to
 * last.safetensors, so that the next checkpoint does not replace it by an unreadable one. */
VST_NODISCARD vst_status vsti_checkpoint_promote(const vsti_run_folder *folder, const vst_safetensors *file);

bool vsti_checkpoint_is_previous(const vsti_run_folder *folder, const vst_safetensors *file);

/* Restores parameters, running statistics and optimiser. After a failure they are undefined. */
VST_NODISCARD vst_status vsti_checkpoint_restore(const vst_safetensors *file, vst_params *params,
                                                 vst_optimizer *optimizer);

#endif
