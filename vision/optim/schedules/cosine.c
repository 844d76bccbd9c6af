/* Half a cosine over the run, or over each cycle (warm restarts, Loshchilov and Hutter, 2017), as timm's
 * CosineLRScheduler. */
#include "vision/optim/schedules/cycles.h"

typedef struct cosine {
    vsti_cycles cycles;
} cosine;

static const vst_option options[] = {VSTI_CYCLE_OPTIONS(cosine), VST_OPTION_END};

static double rate(const vst_schedule *s, const void *own, uint64_t after) {
    static const double pi = 3.14159265358979323846;
    const vsti_cycles *cycles = &((const cosine *)own)->cycles;
    vsti_cycle cycle = vsti_one_cycle(s, after);
    if (cycles->cycle_epochs > 0) cycle = vsti_cycle_at(s, cycles, after);
    if (cycle.over) return s->minimum;
    return s->minimum + (cycle.rate - s->minimum) * (1 + cos(pi * cycle.done)) / 2;
}

extern const vst_schedule_method vsti_schedule_method_cosine;
const vst_schedule_method vsti_schedule_method_cosine = {.name = "cosine",
                                                         .help = "from lr to min_lr along half a cosine, or in cycles",
                                                         .options = options,
                                                         .options_size = sizeof(cosine),
                                                         .rate = rate};
