/* A constant rate after the warm-up, as timm's constant. */
#include "vision/optim/schedules/schedule_method.h"

static double rate(const vst_schedule *s, const void *own, uint64_t after) {
    (void)own;
    (void)after;
    return s->rate;
}

extern const vst_schedule_method vsti_schedule_method_constant;
const vst_schedule_method vsti_schedule_method_constant = {
    .name = "constant", .help = "constant lr after the warm-up", .rate = rate};
