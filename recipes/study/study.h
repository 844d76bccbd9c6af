/* Running a study: its recipes in turn for each seed, then every model beside the others on the test split. */
#ifndef VISTILL_RECIPES_STUDY_STUDY_H
#define VISTILL_RECIPES_STUDY_STUDY_H

#include "recipes/config/study_file.h"
#include "recipes/train/train.h"

typedef struct vst_study_options {
    bool force; /* begin a run anew whose folder holds another recipe's; finished and interrupted runs of the same
                   recipe are always kept and continued */
    const volatile sig_atomic_t *stop;
    vst_train_callback *progress;
    void *user;
} vst_study_options;

/* One run, over all seeds. NAN where there is nothing. */
typedef struct vst_study_row {
    char *name;
    double top1, deviation; /* mean on the test split, per cent; deviation between seeds, points, NAN with one seed */
    double parameters;
    double megabytes;  /* of best.safetensors, 10^6 bytes */
    double latency_ms; /* one image on one core */
    double agreement;  /* per cent of test samples with the teacher's answer, mean; of a run without a teacher: with the
                          teacher that other runs of the study have */
    double minutes;    /* of training, mean */
} vst_study_row;

typedef struct vst_study_result {
    vst_study_row *rows;
    int row_count;
    char *report;  /* path of report.html */
    bool figures;  /* gnuplot drew them */
    char *verdict; /* what distillation gained, in sentences; NULL: nothing was distilled */
} vst_study_result;

/* Folders are <output>/<run>, or <output>/<run>-seed<k> if the study has several seeds. A distill.teacher or run.start
 * that is an earlier run's name becomes that run's last.safetensors of the same seed. A distill.cache without '/' is a
 * folder beside the runs' (<cache>-seed<k>), which is made before the first run that names it and serves all that do.
 * `result` starts as {0}. */
VST_NODISCARD vst_status vst_study_execute(const vst_study *study, const vst_study_options *options,
                                           vst_study_result *result);
void vst_study_result_clear(vst_study_result *result);

#endif
