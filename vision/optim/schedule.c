/* Learning-rate schedules: warm-up, then a method of schedules/. */
#include "vision/base/memory.h"
#include "vision/optim/schedules/schedule_method.h"

vst_status vst_schedule_choose(vst_schedule *schedule, const char *name, const char *own) {
    const vst_schedule_method *method = vst_schedule_method_find(name);
    if (!method) return vst_fail(VST_ERROR_NOT_FOUND, "there is no schedule \"%.100s\"", name ? name : "");
    const vst_status status = vst_options_read(method->options, method->options_size, own, &schedule->own);
    if (status != VST_OK) return vst_fail_in(status, "schedule %s", name);
    schedule->method = method;
    return VST_OK;
}

void vst_schedule_clear(vst_schedule *schedule) {
    if (schedule->own) vst_options_clear(schedule->method->options, schedule->own);
    vst_free(schedule->own);
    schedule->own = NULL;
}

bool vst_schedule_measures(const vst_schedule *schedule) { return schedule->method->measured != NULL; }

double vst_schedule_rate(const vst_schedule *s, uint64_t step) {
    if (step < s->warmup) return s->warmup_rate + (double)step * (s->rate - s->warmup_rate) / (double)s->warmup;
    return s->method->rate(s, s->own, step - (s->whole ? 0 : s->warmup));
}

void vst_schedule_measured(const vst_schedule *s, uint64_t step, double measure) {
    if (s->method->measured && step > s->warmup) s->method->measured(s, s->own, measure);
}
