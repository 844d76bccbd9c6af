/* The learning rate of a recipe over its steps. */
#include "recipes/train/schedule.h"

#include <math.h>

double vsti_learning_rate(const vst_optim_options *o) {
    const double ratio = o->lr_batch > 0 ? (double)vst_step_images(o) / o->lr_batch : 1;
    switch (o->lr_rule) {
    case VST_LR_RULE_LINEAR: return o->lr * ratio;
    case VST_LR_RULE_SQRT: return o->lr * sqrt(ratio);
    default: return o->lr;
    }
}

double vsti_warmup_epochs(const vst_recipe *recipe) {
    const double epochs = recipe->run.epochs;
    return recipe->optim.warmup_epochs < epochs ? recipe->optim.warmup_epochs : epochs / 10;
}

vst_status vsti_recipe_schedule(vst_schedule *out, const vst_recipe *recipe, uint64_t steps,
                                vst_schedule_state *state) {
    const vst_optim_options *o = &recipe->optim;
    *out = (vst_schedule){.whole = !o->warmup_prefix,
                          .rate = vsti_learning_rate(o),
                          .minimum = o->min_lr,
                          .warmup_rate = o->warmup_lr,
                          .warmup = (uint64_t)llround(vsti_warmup_epochs(recipe) * (double)steps),
                          .steps = (uint64_t)recipe->run.epochs * steps,
                          .epoch = steps,
                          .state = state};
    return vst_schedule_choose(out, vst_optim_schedule(o), o->schedule_options);
}
