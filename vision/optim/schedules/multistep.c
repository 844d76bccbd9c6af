/* Multiplies the rate by a factor at given epochs, as timm's MultiStepLRScheduler: unlike in torch.optim, milestone m
 * applies from epoch m - 1 on (counted from 0). min_lr is not used. */
#include <math.h>

#include "vision/optim/schedules/schedule_method.h"

typedef struct multistep {
    vst_option_list milestones;
    double decay_rate;
} multistep;

static const vst_option options[] = {
    VST_OPTION_LIST(multistep, milestones, "30, 60, 90", 0, 100000, "epochs of decays"),
    VST_OPTION_DOUBLE(multistep, decay_rate, 0.1, 0, 1, "factor of each decay"), VST_OPTION_END};

static double rate(const vst_schedule *s, const void *own, uint64_t after) {
    const multistep *o = own;
    int passed = 0;
    for (int i = 0; i < o->milestones.count; i++) passed += o->milestones.value[i] <= (double)(after / s->epoch) + 1;
    return s->rate * pow(o->decay_rate, passed);
}

extern const vst_schedule_method vsti_schedule_method_multistep;
const vst_schedule_method vsti_schedule_method_multistep = {.name = "multistep",
                                                            .help = "lr multiplied by decay_rate at each milestone",
                                                            .options = options,
                                                            .options_size = sizeof(multistep),
                                                            .rate = rate};
