/* Progress reports of long tasks, passed to a sink (a callback) that the program sets, as log.h does with messages. One
 * task at a time per process.
 *
 *     vst_progress progress;
 *     vst_progress_start(&progress, "epoch 3/10", "images", 60000);
 *     while (…) vst_progress_update(&progress, done, loss);
 *     vst_progress_finish(&progress); */
#ifndef VISTILL_VISION_BASE_PROGRESS_H
#define VISTILL_VISION_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vst_progress {
    char label[64];
    char unit[16];
    uint64_t done, total; /* total 0: unknown */
    uint64_t begun;       /* of them before it started, which say nothing about the speed */
    double loss;          /* NAN: there is none */
    double started;       /* seconds of the monotonic clock */
    char left[48];        /* time that larger work needs beyond this, "run 12:30, study 1:02:03"; "": says nothing */
} vst_progress;

/* Called for every update, and with `finished` at the end, on the thread that runs the task. */
typedef void vst_progress_sink(const vst_progress *progress, bool finished, void *user);

/* Sets the sink (NULL: nothing is reported, the default). Call before other threads use the library. */
void vst_progress_set(vst_progress_sink *sink, void *user);

void vst_progress_start(vst_progress *progress, const char *label, const char *unit, uint64_t total);
/* Reports `done` of `total` units and the loss (NAN: none). Cheap enough to call in every step. */
void vst_progress_update(vst_progress *progress, uint64_t done, double loss);
void vst_progress_finish(vst_progress *progress);

#endif
