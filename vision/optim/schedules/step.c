/* Multiplies the rate by a factor every few epochs, as timm's StepLRScheduler. min_lr is not used. */
#include <math.h>

#include "vision/optim/schedules/schedule_method.h"

typedef struct step {
    double decay_epochs, decay_rate;
} step;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(step, decay_epochs, 30, 0.001, 100000, "epochs between two decays"),
    VST_OPTION_DOUBLE(step, decay_rate, 0.1, 0, 1, "factor of each decay"), VST_OPTION_END};

static double rate(const vst_schedule *s, const void *own, uint64_t after) {
    const step *o = own;
    return s->rate * pow(o->decay_rate, floor((double)(after / s->epoch) / o->decay_epochs));
}

extern const vst_schedule_method vsti_schedule_method_step;
const vst_schedule_method vsti_schedule_method_step = {.name = "step",
                                                       .help = "lr multiplied by decay_rate every decay_epochs",
                                                       .options = options,
                                                       .options_size = sizeof(step),
                                                       .rate = rate};
