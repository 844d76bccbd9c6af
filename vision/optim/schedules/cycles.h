/* Cycles of a schedule, as in timm's cosine and poly. */
#ifndef VISTILL_VISION_OPTIM_SCHEDULES_CYCLES_H
#define VISTILL_VISION_OPTIM_SCHEDULES_CYCLES_H

#include <math.h>

#include "vision/optim/schedules/schedule_method.h"

typedef struct vsti_cycles {
    double cycle_epochs, cycle_mul, cycle_decay;
    int cycle_limit;
} vsti_cycles;

#define VSTI_CYCLE_OPTIONS(S)                                                                                       \
    VST_OPTION_DOUBLE(S, cycles.cycle_epochs, 0, 0, 100000, "length of the first cycle; 0: one cycle, the run"),    \
        VST_OPTION_DOUBLE(S, cycles.cycle_mul, 1, 1, 100, "each cycle is so many times as long as the one before"), \
        VST_OPTION_DOUBLE(S, cycles.cycle_decay, 1, 0, 1, "its highest rate is so much of the one before"),         \
        VST_OPTION_INT(S, cycles.cycle_limit, 1000000, 1, 1000000, "cycles; min_lr after them")

typedef struct vsti_cycle {
    double done, rate; /* done: completed fraction of the cycle; rate: its highest rate */
    bool over;         /* after the last cycle */
} vsti_cycle;

/* The whole run as one cycle. */
static inline vsti_cycle vsti_one_cycle(const vst_schedule *s, uint64_t after) {
    const uint64_t steps = s->steps > s->warmup || s->whole ? s->steps - (s->whole ? 0 : s->warmup) : 0;
    if (after >= steps) return (vsti_cycle){1, s->rate, true};
    return (vsti_cycle){(double)after / (double)steps, s->rate, false};
}

/* timm counts in epochs, this function in steps: cycle i is cycle_mul^i times as long as the first. */
static inline vsti_cycle vsti_cycle_at(const vst_schedule *s, const vsti_cycles *o, uint64_t after) {
    const double first = o->cycle_epochs * (double)s->epoch, t = (double)after, mul = o->cycle_mul;
    double index = floor(t / first), length = first, begin = index * first;
    if (mul != 1) {
        index = floor(log(1 - t / first * (1 - mul)) / log(mul) + 1e-9); /* the first step of a cycle belongs to it */
        length = first * pow(mul, index);
        begin = first * (1 - pow(mul, index)) / (1 - mul);
    }
    return (vsti_cycle){(t - begin) / length, s->rate * pow(o->cycle_decay, index), index >= o->cycle_limit};
}

#endif
