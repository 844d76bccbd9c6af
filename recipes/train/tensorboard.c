/* Results of an epoch as TensorBoard scalars, by global step. */
#include "recipes/train/tensorboard.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "recipes/train/events.h"

enum { OTHERS = VSTI_EVENT_SCALARS - VST_MAX_TERMS };

static double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void begin(vsti_trainer *t) {
    uint8_t record[VSTI_EVENT_BYTES];
    if (vsti_run_folder_size(&t->folder, VSTI_EVENTS_FILE) > 0) return;
    vsti_run_folder_append(&t->folder, VSTI_EVENTS_FILE, record, vsti_event_head(record, seconds_now()));
}

void vsti_log_tensorboard(vsti_trainer *t) {
    const vsti_epoch_figures *f = &t->progress.figures;
    const vsti_epoch_sums *sums = &t->progress.sums;
    const double steps = (double)sums->steps;
    const vsti_scalar figures[OTHERS] = {{"train/loss", f->train_loss},
                                         {"train/acc1", f->train_top1},
                                         {"train/lr", sums->rate / steps},
                                         {"train/labels", t->distilling ? sums->labels / steps : NAN},
                                         {"test/loss", f->test_loss},
                                         {"test/acc1", f->test_top1},
                                         {"validation/loss", f->validation_loss},
                                         {"validation/acc1", f->validation_top1}};
    vsti_scalar scalars[VSTI_EVENT_SCALARS];
    char tags[VST_MAX_TERMS][64];
    uint8_t record[VSTI_EVENT_BYTES];
    int count = 0;
    for (; count < OTHERS; count++) scalars[count] = figures[count];
    for (int i = 0; t->distilling && i < t->recipe->term_count; i++, count++) {
        snprintf(tags[i], sizeof tags[i], "train/term%d_%s", i, t->recipe->terms[i].distance);
        scalars[count] = (vsti_scalar){tags[i], sums->terms[i] / steps};
    }
    begin(t);
    const uint64_t step = ((uint64_t)t->progress.epoch + 1) * t->data.steps / (uint64_t)t->recipe->optim.accumulate;
    vsti_run_folder_append(&t->folder, VSTI_EVENTS_FILE, record,
                           vsti_event_scalars(record, seconds_now(), step, scalars, count));
}
