/* Measures runs for a report: what their folders hold, and what their models predict on the test split. A part that is
 * missing or broken becomes a note of its run, and the others are reported. */
#ifndef VISTILL_RECIPES_REPORT_RUN_H
#define VISTILL_RECIPES_REPORT_RUN_H

#include <signal.h>

#include "recipes/config/recipe.h"
#include "recipes/infer/evaluate.h"
#include "recipes/infer/latency.h"
#include "recipes/model/model.h"
#include "recipes/report/curve.h"
#include "recipes/report/report.h"

/* The answers of a model file on a data set. A teacher's are taken once, however many learned from it. */
typedef struct vsti_answers {
    char *model, *data;
    vst_evaluation evaluation;
} vsti_answers;

typedef struct vsti_measured_run {
    char *folder;       /* of a model file alone: its path */
    char *name;         /* the folder's or file's last part */
    vst_recipe *recipe; /* NULL: recipe.yaml is missing or broken */
    char *yaml;         /* its text; NULL: missing */
    vsti_curve curve;
    bool alone;            /* a model file without a run's folder */
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
    const volatile sig_atomic_t *stop; /* as for vst_evaluate */
    const char *data;                  /* in place of the recipes' data; NULL */
    const vst_recipe *like;            /* whose data serve what has no recipe; NULL */
    vsti_measured_run *runs;
    size_t run_count, run_capacity;
    vsti_answers *answers;
    size_t answer_count, answer_capacity;
} vsti_measured_runs;

/* Adds the run in `folder`. `model`: the file to measure; NULL: best.safetensors, or else last.safetensors. `latency`:
 * that is measured too. A folder that holds nothing of a run is an error. The set starts as {0} but for stop and data.
 */
VST_NODISCARD vst_status vsti_report_add(vsti_measured_runs *set, const char *folder, const char *model, bool latency);
/* Adds a model file without a run, such as a teacher from elsewhere, which needs a name. Its accuracy is measured on
 * the data of the set's `like`, or else on what its metadata names; its latency as well. */
VST_NODISCARD vst_status vsti_report_add_file(vsti_measured_runs *set, const char *path, const char *name);
/* When all are there: finds every run's teacher, or for those without one, that of another run, and compares the
 * answers. */
VST_NODISCARD vst_status vsti_report_compare(vsti_measured_runs *set);
void vsti_report_set_clear(vsti_measured_runs *set);

/* What the run's model answered; NULL: it was not measured. */
static inline const vst_evaluation *vsti_report_answers(const vsti_measured_runs *set, const vsti_measured_run *run) {
    return run->answers >= 0 ? &set->answers[run->answers].evaluation : NULL;
}
/* The index of the set's run that is the run's first teacher; -1: it has none, or the set does not have it. */
int vsti_report_teacher(const vsti_measured_runs *set, const vsti_measured_run *run);
/* An error of this part of a run becomes a note; lack of memory and Ctrl-C stay errors. */
VST_NODISCARD vst_status vsti_report_note(vsti_measured_run *run, vst_status status, const char *without);

#endif
