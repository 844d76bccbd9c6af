/* Shows training progress in the progress line: one line per epoch, in images. */
#include "recipes/commands/train_progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/commands/progress.h"

void vst_train_line_finish(vst_train_line *line) {
    if (line->running) vst_progress_finish(&line->progress);
    line->running = false;
}

static void begin(vst_train_line *line, const vst_train_progress *p) {
    char label[64];
    vst_train_line_finish(line);
    snprintf(label, sizeof label, "epoch %d/%d", p->epoch + 1, p->epochs);
    vst_progress_start(&line->progress, label, "images", p->steps * (uint64_t)p->batch);
    line->progress.begun = p->step * (uint64_t)p->batch;
    line->running = true;
}

/* "run 12:30, study 1:02:03" */
static void show_left(vst_progress *progress, const vst_train_progress *p) {
    char run[24], study[24];
    *progress->left = 0;
    if (isnan(p->seconds_left)) return;
    vst_duration_text(p->seconds_left, run, sizeof run);
    vst_duration_text(p->study_left, study, sizeof study);
    if (isnan(p->study_left)) snprintf(progress->left, sizeof progress->left, "run %s", run);
    else snprintf(progress->left, sizeof progress->left, "run %s, study %s", run, study);
}

void vst_train_line_update(const vst_train_progress *p, void *user) {
    vst_train_line *line = user;
    if (strcmp(p->phase, "begin") == 0) {
        begin(line, p);
    } else if (strcmp(p->phase, "train") != 0) { /* evaluation is logged when it is done */
        vst_train_line_finish(line);
    } else if (line->running) {
        show_left(&line->progress, p);
        vst_progress_update(&line->progress, p->step * (uint64_t)p->batch, p->loss);
    }
}
