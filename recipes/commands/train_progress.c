/* Translates a training's progress to the progress line: one line per epoch, in images. */
#include "recipes/commands/train_progress.h"

#include <stdio.h>
#include <string.h>

void vst_train_line_finish(vst_train_line *line) {
    if (line->running) vst_progress_finish(&line->progress);
    line->running = false;
}

void vst_train_line_update(const vst_train_progress *p, void *user) {
    vst_train_line *line = user;
    const uint64_t batch = (uint64_t)p->batch;
    if (strcmp(p->phase, "train") != 0) { /* evaluation is logged when it is done */
        vst_train_line_finish(line);
        return;
    }
    if (!line->running || line->epoch != p->epoch) {
        char label[64];
        vst_train_line_finish(line);
        snprintf(label, sizeof label, "epoch %d/%d", p->epoch + 1, p->epochs);
        vst_progress_start(&line->progress, label, "images", p->steps * batch);
        line->epoch = p->epoch;
        line->running = true;
    }
    vst_progress_update(&line->progress, p->step * batch, p->loss);
}
