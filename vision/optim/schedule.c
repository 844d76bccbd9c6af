/* Learning rates over time. */
#include <math.h>

#include "vision/optim/optim.h"

static const double pi = 3.14159265358979323846;

double vst_schedule_rate(const vst_schedule *schedule, uint64_t step) {
    const vst_schedule *s = schedule;
    if (step < s->warmup) return s->warmup_rate + (double)step * (s->rate - s->warmup_rate) / (double)s->warmup;
    if (step >= s->steps) return s->minimum;
    const uint64_t begin = s->whole ? 0 : s->warmup;
    const double done = (double)(step - begin) / (double)(s->steps - begin);
    return s->minimum + (s->rate - s->minimum) * (1 + cos(pi * done)) / 2;
}
