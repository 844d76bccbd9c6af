/* Runs a study: trains its recipes in turn for each seed, then compares all models on the test split. */
#ifndef VISTILL_RECIPES_STUDY_STUDY_H
#define VISTILL_RECIPES_STUDY_STUDY_H

#include "recipes/config/study_file.h"
#include "recipes/train/train.h"

typedef struct vst_study_options {
    bool force; /* restart a run whose folder belongs to another recipe; finished and interrupted runs of the same
                   recipe are always kept and continued */
    const volatile sig_atomic_t *stop;
    vst_train_callback *progress;
    void *user;
} vst_study_options;

/* One run, over all seeds. NAN if a value is not available. */
typedef struct vst_study_row {
    char *name;
    double top1, deviation; /* test split: mean in per cent, standard deviation over seeds (NAN with one) */
    double parameters;
    double megabytes;  /* size of best.safetensors, 10^6 bytes */
    double latency_ms; /* one image on one core */
    double agreement;  /* per cent of test samples with the same prediction as the teacher, mean; for a run without a
                          teacher: as the teacher of other runs in the study */
    double float_agreement; /* of a model on integers: per cent of test samples with the prediction of the float32 run
                               it was made of, mean; else NAN */
    double minutes;         /* of training or quantising, mean */
} vst_study_row;

typedef struct vst_study_result {
    vst_study_row *rows;
    int row_count;
    char *report;  /* path of report.html */
    bool figures;  /* gnuplot drew them */
    char *verdict; /* the gain from distillation in sentences; NULL: nothing was distilled */
} vst_study_result;

/* Folders are <output>/<run>, or <output>/<run>-seed<k> if the study has several seeds. If distill.teacher or run.start
 * is the name of an earlier run, it becomes that run's last.safetensors of the same seed. A distill.cache without '/'
 * is a folder beside those of the runs (<cache>-seed<k>); it is built before the first run that names it and shared by
 * all. `result` must be {0}. */
VST_NODISCARD vst_status vst_study_execute(const vst_study *study, const vst_study_options *options,
                                           vst_study_result *result);
void vst_study_result_clear(vst_study_result *result);

#endif
