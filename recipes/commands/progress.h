/* A progress line on standard error: bar, percentage, rate, loss, remaining time. Drawn only if standard error is a
 * terminal, at most five times per second. */
#ifndef VISTILL_RECIPES_COMMANDS_PROGRESS_H
#define VISTILL_RECIPES_COMMANDS_PROGRESS_H

#include <stddef.h>

#include "vision/base/progress.h"

/* Sets the sink of vision/base/progress.h if standard error is a terminal. */
void vst_progress_show(void);
/* Removes the line so that something else can be printed; the next update draws it again. Thread-safe.
 */
void vst_progress_hide(void);

/* The text of the line, cut to `columns`; `now`: time on the clock of `started`. For tests. */
void vsti_progress_text(const vst_progress *progress, double now, int columns, bool utf8, char *text, size_t size);
/* "0:42", "12:07", "3:05:00". */
void vst_duration_text(double seconds, char *text, size_t size);

#endif
