/* Training progress as a line on a terminal. */
#ifndef VISTILL_RECIPES_COMMANDS_TRAIN_PROGRESS_H
#define VISTILL_RECIPES_COMMANDS_TRAIN_PROGRESS_H

#include "recipes/train/train.h"
#include "vision/base/progress.h"

/* Starts as {0}. */
typedef struct vst_train_line {
    vst_progress progress;
    bool running;
} vst_train_line;

/* A vst_train_callback; `user` is a vst_train_line. */
void vst_train_line_update(const vst_train_progress *progress, void *user);
/* Removes the line. */
void vst_train_line_finish(vst_train_line *line);

#endif
