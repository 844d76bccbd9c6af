/* Passes progress reports to the sink. */
#include "vision/base/progress.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "vision/base/clock.h"

static vst_progress_sink *current_sink;
static void *current_user;

void vst_progress_set(vst_progress_sink *sink, void *user) {
    current_sink = sink;
    current_user = user;
}

void vst_progress_start(vst_progress *progress, const char *label, const char *unit, uint64_t total) {
    *progress = (vst_progress){.total = total, .loss = NAN, .started = vst_seconds()};
    snprintf(progress->label, sizeof progress->label, "%s", label);
    snprintf(progress->unit, sizeof progress->unit, "%s", unit);
}

void vst_progress_update(vst_progress *progress, uint64_t done, double loss) {
    progress->done = done;
    progress->loss = loss;
    if (current_sink) current_sink(progress, false, current_user);
}

void vst_progress_finish(vst_progress *progress) {
    if (current_sink) current_sink(progress, true, current_user);
}
