/* A power of the remaining time, over the run or over each cycle, as timm's PolyLRScheduler. */
#include "vision/optim/schedules/cycles.h"

typedef struct poly {
    vsti_cycles cycles;
    double power;
} poly;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(poly, power, 0.5, 0, 100, "power of the remaining fraction of the schedule"),
    VSTI_CYCLE_OPTIONS(poly), VST_OPTION_END};

static double rate(const vst_schedule *s, const void *own, uint64_t after) {
    const poly *o = own;
    vsti_cycle cycle = vsti_one_cycle(s, after);
    if (o->cycles.cycle_epochs > 0) cycle = vsti_cycle_at(s, &o->cycles, after);
    if (cycle.over) return s->minimum;
    return s->minimum + (cycle.rate - s->minimum) * pow(1 - cycle.done, o->power);
}

extern const vst_schedule_method vsti_schedule_method_poly;
const vst_schedule_method vsti_schedule_method_poly = {
    .name = "poly",
    .help = "from lr to min_lr by a power of the remaining fraction, or in cycles",
    .options = options,
    .options_size = sizeof(poly),
    .rate = rate};
