/* One step: teachers, student, losses, optimiser. */
#include "recipes/train/step.h"

#include <math.h>

#include "recipes/train/inputs.h"
#include "recipes/train/log.h"
#include "recipes/train/nonfinite.h"
#include "vision/base/clock.h"

static vsti_position position_of(const vsti_trainer *t) {
    return (vsti_position){.epoch = (uint32_t)t->progress.epoch,
                           .step = (uint64_t)t->progress.epoch * t->data.steps + t->progress.step,
                           .sample = t->progress.step * (uint64_t)t->recipe->optim.batch};
}

/* The gradient norm of each loss in the first step of the run. */
static vst_status measure_gradients(vsti_trainer *t, const vst_batch *batch, vsti_position position) {
    for (int i = -1; t->distilling && i < t->recipe->term_count; i++) {
        vst_status status = vsti_fill_inputs(t, batch, position);
        if (status == VST_OK)
            status = vsti_student_gradient_of(&t->student, t->recipe, i, 0, &t->gradient_norms[i + 1]);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

static void add_sums(vsti_trainer *t, const vst_batch *batch, double rate) {
    const vsti_student *s = &t->student;
    vsti_epoch_sums *sums = &t->progress.sums;
    vsti_step_sums *of_step = &t->progress.step_sums;
    const float *scores = vst_context_output(s->context, s->scores_output);
    const double loss = vst_context_output(s->context, s->loss_output)[0];
    const double labels = vst_context_output(s->context, s->labels_output)[0];
    sums->steps++;
    sums->rate += rate;
    sums->loss += loss;
    sums->labels += labels;
    of_step->batches++;
    of_step->loss += loss;
    of_step->labels += labels;
    for (int i = 0; t->distilling && i < t->recipe->term_count; i++) {
        const double term = vst_context_output(s->context, s->terms_output + i)[0];
        sums->terms[i] += term;
        of_step->terms[i] += term;
    }
    for (int i = 0; i < batch->count; i++, scores += s->classes) {
        const int of = batch->mixes[i].lambda >= 0.5
                           ? i
                           : batch->count - 1 - i; /* the class with the largest share of a mixed image */
        if (batch->labels[of] < 0 || batch->samples[of] >= t->data.labelled) continue;
        sums->labelled++;
        sums->correct += (int)vst_largest(scores, (size_t)s->classes) == batch->labels[of];
    }
}

/* Whether this step is logged in steps.csv. */
static bool is_logged(const vsti_trainer *t, uint64_t step) {
    const int every = t->recipe->run.log_steps;
    return every > 0 && t->folder.path && step % (uint64_t)every == 0;
}

vst_status vsti_train_step(vsti_trainer *t, const vst_batch *batch) {
    vst_status status = VST_OK;
    vsti_student *s = &t->student;
    const vsti_position position = position_of(t);
    const uint64_t accumulate = (uint64_t)t->recipe->optim.accumulate;
    const double rate = ldexp(vst_schedule_rate(&t->schedule, position.step / accumulate), -t->progress.recoveries);
    const double begin = vst_seconds();
    double norm = 0;
    if (position.step % accumulate == 0) t->progress.step_sums = (vsti_step_sums){0};
    VST_TRY(vsti_teachers_run(&t->teachers, s->params, vst_optimizer_ema(s->optimizer), batch, position));
    if (t->teachers.count) t->teacher_seconds += vst_seconds() - begin;
    if (position.step == 0) VST_TRY(measure_gradients(t, batch, position));
    VST_TRY(vsti_fill_inputs(t, batch, position));
    VST_TRY(vst_context_run(s->context, (uint32_t)position.step));
    VST_TRY(vsti_check_losses(t, batch, position));
    if (accumulate > 1) vst_optimizer_accumulate(s->optimizer);
    const bool updates = (position.step + 1) % accumulate == 0;
    if (updates) status = vst_optimizer_step(s->optimizer, rate, &norm);
    if (status != VST_OK)
        return vst_fail_in(status, "step %llu (epoch %d), learning rate %g", (unsigned long long)position.step + 1,
                           t->progress.epoch + 1, rate);
    add_sums(t, batch, rate);
    t->progress.step_sums.seconds += vst_seconds() - begin;
    t->progress.step++;
    if (updates && is_logged(t, (position.step + 1) / accumulate)) vsti_log_update(t, norm, rate);
out:
    return status;
}
