/* Reads and measures runs for a report: files of the run folders, and predictions of their models on the test split. A
 * missing or broken part becomes a note of its run; the other parts are reported. */
#ifndef VISTILL_RECIPES_REPORT_RUN_H
#define VISTILL_RECIPES_REPORT_RUN_H

#include <signal.h>

#include "recipes/config/recipe.h"
#include "recipes/infer/evaluate.h"
#include "recipes/infer/latency.h"
#include "recipes/model/model.h"
#include "recipes/report/curve.h"
#include "recipes/report/report.h"

/* The predictions of a model file on a data set, computed once even if several runs have this teacher. */
typedef struct vsti_answers {
    char *model, *data;
    vst_evaluation evaluation;
} vsti_answers;

typedef struct vsti_measured_run {
    char *folder;       /* the path, for a model file without a run folder */
    char *name;         /* the last component of the path */
    vst_recipe *recipe; /* NULL: recipe.yaml is missing or broken */
    char *yaml;         /* its text; NULL: missing */
    vsti_curve curve;
    bool alone;            /* a model file without a run folder */
    const char *file_name; /* of the model: "best.safetensors" …; NULL: none, or alone */
    vst_model *model;      /* NULL: none could be read */
    char *data;            /* path of the data set, as the recipe gives it; NULL: not known */
    vst_dataset *test;     /* NULL: could not be opened */
    double megabytes;
    vst_latency latency;
    int answers, teacher; /* indices in the set's, -1: none */
    vst_report_agreement agreement;
    char *seed;  /* NULL: not known */
    char *notes; /* lines; NULL: none */
} vsti_measured_run;

typedef struct vsti_measured_runs {
    const volatile sig_atomic_t *stop; /* see vst_evaluate */
    const char *data;                  /* used instead of the recipes' data; NULL: not set */
    const vst_recipe *like;            /* the run whose data are used for models without a recipe; NULL: none */
    vsti_measured_run *runs;
    size_t run_count, run_capacity;
    vsti_answers *answers;
    size_t answer_count, answer_capacity;
} vsti_measured_runs;

/* Adds the run in `folder`. `model`: the file to measure; NULL: best.safetensors, or else last.safetensors. `latency`:
 * also measure the latency. A folder without any file of a run is an error. Initialise the set with {0} except stop and
 * data.
 */
VST_NODISCARD vst_status vsti_report_add(vsti_measured_runs *set, const char *folder, const char *model, bool latency);
/* Adds a named model file without a run, such as a teacher. Its accuracy is measured on the data of the set's `like`,
 * or else on the data named in its metadata; its latency is measured too. */
VST_NODISCARD vst_status vsti_report_add_file(vsti_measured_runs *set, const char *path, const char *name);
/* Call it after all runs are added: compares the predictions of each run with those of its teacher, or without one with
 * those of another run's teacher. */
VST_NODISCARD vst_status vsti_report_compare(vsti_measured_runs *set);
void vsti_report_set_clear(vsti_measured_runs *set);

/* The predictions of the run's model; NULL: it was not measured. */
static inline const vst_evaluation *vsti_report_answers(const vsti_measured_runs *set, const vsti_measured_run *run) {
    return run->answers >= 0 ? &set->answers[run->answers].evaluation : NULL;
}
/* The index of the run that is the first teacher of `run`; -1: none in the set. */
int vsti_report_teacher(const vsti_measured_runs *set, const vsti_measured_run *run);
/* Turns an error of a part of a run into a note; lack of memory and Ctrl-C remain errors. */
VST_NODISCARD vst_status vsti_report_note(vsti_measured_run *run, vst_status status, const char *without);

#endif
