/* Training, plain or distilling: one recipe, one run folder.
 *
 * The loss is label_weight * CE(class head, labels) + sum of weight * term, or the cross-entropy alone without a
 * teacher. Samples beyond data.labelled have no label: their target rows are zero and the other rows are scaled by
 * batch / labelled rows, so that the cross-entropy is a mean over labelled samples.
 *
 * A run folder holds recipe.yaml (resolved), log.txt (JSON lines: DeiT's keys and ours), summary.csv, samples.png (an
 * augmented batch), steps.csv (with run.log_steps), last.safetensors (checkpoint: model and optimiser, after every
 * epoch and every run.save_minutes), previous.safetensors (the one before), best.safetensors (the model alone, chosen
 * on the validation split; the last one if there is no such split) and lock. The test split is reported after every
 * run.eval_every-th epoch and the last one, and never chooses anything.
 *
 * With optim.ema_decay the moving average and the trained ("raw") weights are both evaluated on the test split after
 * every epoch. optim.weights says which of them the model files get; test_acc1, the validation and what is chosen by it
 * are theirs, and test_acc1_ema and test_acc1_raw (eval_top1_ema, eval_top1_raw in summary.csv) are the figures of
 * each. Batch norm's running statistics are the same for both.
 *
 * With optim.accumulate the gradients of so many batches are averaged for one step. Masks and mixing are drawn for each
 * batch; batches at an epoch's end that make no whole step are left out. Means over labelled samples are taken within
 * each batch. */
#ifndef VISTILL_RECIPES_TRAIN_TRAIN_H
#define VISTILL_RECIPES_TRAIN_TRAIN_H

#include <signal.h>

#include "recipes/config/recipe.h"

typedef struct vst_train_progress {
    int epoch, epochs;    /* the current one, from 0 (shown to users from 1); of the run */
    uint64_t step, steps; /* completed in this epoch */
    int batch;
    double loss, top1;   /* means of the epoch so far; top-1 in per cent */
    double rate;         /* learning rate of the last step */
    double seconds_left; /* of the run, from the speed of this session; NAN: not known yet */
    double study_left;   /* of all runs of a study, from the cost of their models; NAN: unknown, or no study */
    const char *phase;   /* "begin" (of an epoch), "train", "validation" or "test" */
} vst_train_progress;

/* Called before the first step of an epoch, after every step and before each evaluation, on the caller's thread. */
typedef void vst_train_callback(const vst_train_progress *progress, void *user);

typedef struct vst_train_options {
    bool resume;  /* continue from the checkpoint in the folder, bit for bit; start a new run if there is none */
    bool extend;  /* with resume: run.epochs may differ from that of the checkpoint */
    bool force;   /* overwrite the run in the folder; with resume: only if it has another recipe */
    bool dry_run; /* train for two seconds and write nothing */
    const volatile sig_atomic_t *stop; /* when it becomes non-zero, the current step is completed, a checkpoint is
                                          written and VST_ERROR_INTERRUPTED is returned; NULL: never */
    vst_train_callback *progress;      /* or NULL */
    void *user;
} vst_train_options;

typedef struct vst_train_result {
    int epochs;                    /* completed */
    double train_loss, train_top1; /* of the last epoch; accuracies in per cent, NAN where there is none */
    double test_loss, test_top1, test_top5;
    double validation_top1, best_validation; /* of the last and of the best epoch */
    int best_epoch;
    double teacher_top1; /* measured before training on validation samples or, without a validation split, on training
                            samples; never on the test split */
    double seconds;      /* of training and evaluation, over all sessions of the run */
    size_t parameters;   /* trained parameters of the model without projectors */
    size_t bytes;        /* memory of parameters, programs and prefetched batches */
    double step_seconds, predicted_seconds; /* dry run: median of a step with all its batches, and of all epochs */
    double teacher_seconds;                 /* part of step_seconds spent in teachers */
    bool reused;                            /* the run was already complete: nothing was trained */
} vst_train_result;

VST_NODISCARD vst_status vst_train(const vst_recipe *recipe, const vst_train_options *options,
                                   vst_train_result *result);

/* The run's folder: run.output or runs/<name>; to be vst_free'd, NULL when out of memory. */
char *vst_run_folder(const vst_recipe *recipe);

#endif
