/* One line of progress on standard error: bar, share, rate, loss, time left. Drawn only when standard error is a
 * terminal and at most five times a second; otherwise silent. One progress at a time in a process.
 *
 *     vst_progress progress;
 *     vst_progress_start(&progress, "epoch 3/10", "images", 60000);
 *     while (…) vst_progress_update(&progress, done, loss);
 *     vst_progress_finish(&progress);
 */
#ifndef VISTILL_RECIPES_COMMANDS_PROGRESS_H
#define VISTILL_RECIPES_COMMANDS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vst_progress {
    char label[64];
    char unit[16];
    uint64_t total;        /* 0: unknown, no bar and no time left */
    double started, drawn; /* seconds of the monotonic clock */
    bool enabled;
} vst_progress;

void vst_progress_start(vst_progress *progress, const char *label, const char *unit, uint64_t total);
/* `done` of `total`; `loss` NAN: not shown. Cheap enough for every step. */
void vst_progress_update(vst_progress *progress, uint64_t done, double loss);
/* Removes the line. */
void vst_progress_finish(vst_progress *progress);
/* Removes the line, if there is one, so that something else can be written; the next update draws it again. Any thread.
 */
void vst_progress_hide(void);

/* The line itself, cut to `columns`; `now` on the clock of `started`. For tests. */
void vsti_progress_text(const vst_progress *progress, uint64_t done, double loss, double now, int columns, bool utf8,
                        char *text, size_t size);
/* "0:42", "12:07", "3:05:00". */
void vst_duration_text(double seconds, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
