/* The state of a training run, shared by the files of this folder. */
#ifndef VISTILL_RECIPES_TRAIN_INTERNAL_H
#define VISTILL_RECIPES_TRAIN_INTERNAL_H

#include "recipes/infer/evaluate.h"
#include "recipes/infer/model_session.h"
#include "recipes/train/checkpoint.h"
#include "recipes/train/data.h"
#include "recipes/train/run_folder.h"
#include "recipes/train/student.h"
#include "recipes/train/train.h"

typedef struct vsti_trainer {
    const vst_recipe *recipe;
    const vst_train_options *options;
    vsti_run_folder folder; /* path NULL: dry run */
    vsti_train_data data;
    vsti_teachers teachers;
    bool distilling;               /* there are terms */
    vst_params *start;             /* until they are copied to the student; NULL without run.start */
    vst_quantization quantization; /* products that train with simulated integers; none without quantization_aware */
    vsti_student student;
    vst_session *session;                   /* over the student's parameters */
    vst_evaluation validation, test, other; /* other: of the weights that are not saved, on the test split */
    vst_schedule schedule;
    float *raw; /* the trained values while they are replaced by the moving average; NULL without one */
    vsti_checkpoint progress;
    double counted_until;                     /* clock up to which progress.seconds counts */
    double step_seconds, evaluation_seconds;  /* of this session, without its first step */
    uint64_t steps, evaluations;              /* of this session */
    double saved;                             /* clock of the last checkpoint, or of the beginning */
    double gradient_norms[VST_MAX_TERMS + 1]; /* of labels and terms in the first step */
    double teacher_seconds;                   /* of this session */
    double waiting; /* fraction of the time of the last epoch's steps spent waiting for images; 0 if unknown */
} vsti_trainer;

/* Whether there is a moving average, and whether model files contain it. */
static inline bool vsti_has_average(const vsti_trainer *trainer) { return trainer->recipe->optim.ema_decay > 0; }
static inline bool vsti_saves_average(const vsti_trainer *trainer) {
    return vsti_has_average(trainer) && trainer->recipe->optim.weights == VST_WEIGHTS_AVERAGE;
}

#endif
