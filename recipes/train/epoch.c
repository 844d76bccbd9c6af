/* The loop: steps, epochs, evaluation, checkpoints. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/train/events.h"
#include "recipes/train/internal.h"
#include "vision/base/memory.h"

/* ---- One step ---- */

/* What a run of the student's plan reads, and uses up: its inputs' memory serves for other values later. */
vst_status vsti_fill_inputs(vsti_trainer *t, const vst_batch *batch, uint64_t step) {
    vsti_student *s = &t->student;
    memcpy(s->image, batch->images, (size_t)batch->count * s->image_floats * sizeof *batch->images);
    memcpy(s->target, batch->targets, (size_t)batch->count * (size_t)s->classes * sizeof *batch->targets);
    vsti_student_set_loss_weights(s, t->recipe, (double)step / (double)t->data.steps);
    return vsti_bind_teacher_taps(&t->teachers);
}

/* How much each loss total_norm at the model in the very first step. */
static vst_status measure_gradients(vsti_trainer *t, const vst_batch *batch) {
    for (int i = -1; t->distilling && i < t->recipe->term_count; i++) {
        vst_status status = vsti_fill_inputs(t, batch, 0);
        if (status == VST_OK)
            status = vsti_student_gradient_of(&t->student, t->recipe, i, 0, &t->gradient_norms[i + 1]);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

static void add_sums(vsti_trainer *t, const vst_batch *batch, double rate) {
    const vsti_student *s = &t->student;
    vsti_epoch_sums *sums = &t->at.sums;
    const float *scores = vst_plan_output(s->plan, s->scores_output);
    sums->steps++;
    sums->rate += rate;
    sums->loss += vst_plan_output(s->plan, s->loss_output)[0];
    sums->labels += vst_plan_output(s->plan, s->labels_output)[0];
    for (int i = 0; t->distilling && i < t->recipe->term_count; i++)
        sums->terms[i] += vst_plan_output(s->plan, s->terms_output + i)[0];
    for (int i = 0; i < batch->count; i++, scores += s->classes) {
        const int of = batch->mix.lambda >= 0.5 ? i : batch->count - 1 - i; /* what a mixed image shows most of */
        if (batch->labels[of] < 0 || batch->samples[of] >= t->data.labelled) continue;
        int best = 0;
        for (int c = 1; c < s->classes; c++)
            if (scores[c] > scores[best]) best = c;
        sums->labelled++;
        sums->correct += best == batch->labels[of];
    }
}

vst_status vsti_train_step(vsti_trainer *t, const vst_batch *batch) {
    vst_status status = VST_OK;
    vsti_student *s = &t->student;
    const uint64_t step = (uint64_t)t->at.epoch * t->data.steps + t->at.step;
    const uint64_t accumulate = (uint64_t)t->recipe->optim.accumulate;
    const double rate = ldexp(vst_schedule_rate(&t->schedule, step / accumulate), -t->at.recoveries);
    const vsti_position at = {(uint32_t)t->at.epoch, t->at.step * (uint64_t)t->recipe->optim.batch, (uint32_t)step};
    const double begin = vst_seconds();
    VST_TRY(vsti_teachers_run(&t->teachers, s, batch, at));
    if (t->teachers.count) t->teaching += vst_seconds() - begin;
    if (step == 0) VST_TRY(measure_gradients(t, batch));
    VST_TRY(vsti_fill_inputs(t, batch, step));
    VST_TRY(vst_plan_run(s->plan, (uint32_t)step));
    VST_TRY(vsti_check_losses(t, batch, step));
    if (accumulate > 1) vst_optimizer_accumulate(s->optimizer);
    if ((step + 1) % accumulate == 0) status = vst_optimizer_step(s->optimizer, rate, NULL);
    if (status != VST_OK)
        return vst_fail_in(status, "step %llu (epoch %d), learning rate %g", (unsigned long long)step, t->at.epoch,
                           rate);
    add_sums(t, batch, rate);
    t->at.step++;
out:
    return status;
}

/* ---- Checkpoints ---- */

static void add_seconds(vsti_trainer *t) {
    const double now = vst_seconds();
    t->at.seconds += now - t->mark;
    t->at.sums.seconds += now - t->mark;
    t->mark = now;
}

static vst_status save(vsti_trainer *t, bool best) {
    vst_status status = VST_OK;
    char path[VSTI_PATH], *training = vsti_training_json(t);
    const vst_model_content content = {.config = t->recipe->model,
                                       .params = t->student.params,
                                       .values = vsti_saves_average(t) ? vst_optimizer_ema(t->student.optimizer) : NULL,
                                       .class_names = t->data.class_names,
                                       .class_count = t->student.classes,
                                       .training = training};
    if (!training) VST_TRY(vst_fail_memory(1024));
    if (best) {
        VST_TRY(vsti_run_folder_file(&t->folder, "best.safetensors", path));
        VST_TRY(vst_model_write(path, &content));
    }
    t->at.finished = t->at.epoch >= t->recipe->run.epochs;
    t->at.log_bytes = vsti_run_folder_size(&t->folder, "log.txt");
    t->at.summary_bytes = vsti_run_folder_size(&t->folder, "summary.csv");
    t->at.events_bytes = vsti_run_folder_size(&t->folder, VSTI_EVENTS_FILE);
    VST_TRY(vsti_checkpoint_write(&t->folder, &t->at, &content, t->student.params, t->student.optimizer));
out:
    free(training);
    return status;
}

/* Ends the run at the user's wish, with everything saved. */
static vst_status interrupt(vsti_trainer *t) {
    add_seconds(t);
    vst_status status = save(t, false);
    if (status != VST_OK) return status;
    return vst_fail(VST_ERROR_INTERRUPTED, "stopped in epoch %d after step %llu of %llu; --resume continues in %s",
                    t->at.epoch, (unsigned long long)t->at.step, (unsigned long long)t->data.steps, t->folder.path);
}

static bool stopped(const vsti_trainer *t) { return t->options->stop && *t->options->stop; }

/* ---- Epochs ---- */

static void notify_progress(const vsti_trainer *t, const char *phase) {
    const vsti_epoch_sums *sums = &t->at.sums;
    if (!t->options->progress) return;
    const double steps = sums->steps ? (double)sums->steps : NAN;
    const vst_train_progress progress = {
        .epoch = t->at.epoch,
        .epochs = t->recipe->run.epochs,
        .step = t->at.step,
        .steps = t->data.steps,
        .batch = t->recipe->optim.batch,
        .loss = sums->loss / steps,
        .top1 = sums->labelled ? 100 * (double)sums->correct / (double)sums->labelled : NAN,
        .rate = sums->rate / steps,
        .phase = phase};
    t->options->progress(&progress, t->options->user);
}

static vst_status train_epoch(vsti_trainer *t) {
    vst_status status = VST_OK;
    const double begin = vst_seconds(), waited = vst_loader_waited(t->data.loader);
    double logged = begin;
    t->waiting = 0;
    if (t->at.step < t->data.steps) VST_TRY(vst_loader_start(t->data.loader, (uint32_t)t->at.epoch, t->at.step));
    while (t->at.step < t->data.steps) {
        vst_batch batch;
        if (stopped(t)) return interrupt(t);
        VST_TRY(vst_loader_next(t->data.loader, &batch));
        if (batch.count != t->recipe->optim.batch)
            VST_TRY(vst_fail(VST_ERROR_INTERNAL, "the loader gave %d samples instead of %d", batch.count,
                             t->recipe->optim.batch));
        VST_TRY(vsti_train_step(t, &batch));
        if (t->at.epoch == 0 && t->at.step == 1) vsti_log_loss_shares(t);
        notify_progress(t, "train");
        const double every = t->recipe->run.log_seconds;
        if (every > 0 && vst_seconds() - logged >= every) {
            vsti_log_step(t);
            logged = vst_seconds();
        }
    }
    t->waiting = (vst_loader_waited(t->data.loader) - waited) / (vst_seconds() - begin);
out:
    return status;
}

/* Puts the moving average in the place of the trained values, or back. */
static void swap_average(vsti_trainer *t, bool in) {
    const size_t bytes = vst_params_trained(t->student.params) * sizeof(float);
    float *values = vst_params_values(t->student.params);
    if (in) memcpy(t->raw, values, bytes);
    memcpy(values, in ? vst_optimizer_ema(t->student.optimizer) : t->raw, bytes);
    vst_params_changed(t->student.params);
}

/* The trained weights or their average, on the splits that have a place for the result. */
static vst_status evaluate_weights(vsti_trainer *t, bool average, vst_evaluation *validation, vst_evaluation *test) {
    vst_status status = VST_OK;
    if (average) swap_average(t, true);
    if (validation) {
        notify_progress(t, "validation");
        VST_TRY(vst_evaluate(t->validation_evaluator, t->data.validation_loader, false, t->options->stop, validation));
    }
    notify_progress(t, "test");
    VST_TRY(vst_evaluate(t->test_evaluator, t->data.test_loader, false, t->options->stop, test));
out:
    if (average) swap_average(t, false);
    return status;
}

static vst_status evaluate_splits(vsti_trainer *t) {
    vst_status status = VST_OK;
    const bool average = vsti_saves_average(t);
    VST_TRY(evaluate_weights(t, average, t->data.validation ? &t->validation : NULL, &t->test));
    if (vsti_has_average(t)) VST_TRY(evaluate_weights(t, !average, NULL, &t->other));
out:
    return status;
}

static void take_figures(vsti_trainer *t) {
    const vsti_epoch_sums *sums = &t->at.sums;
    const double labelled = sums->labelled ? (double)sums->labelled : NAN;
    t->at.figures = (vsti_epoch_figures){.train_loss = sums->loss / (double)sums->steps,
                                         .train_top1 = 100 * (double)sums->correct / labelled,
                                         .test_loss = t->test.loss,
                                         .test_top1 = t->test.top1,
                                         .test_top5 = t->test.top5,
                                         .validation_loss = t->data.validation ? t->validation.loss : NAN,
                                         .validation_top1 = t->data.validation ? t->validation.top1 : NAN,
                                         .other_loss = vsti_has_average(t) ? t->other.loss : NAN,
                                         .other_top1 = vsti_has_average(t) ? t->other.top1 : NAN};
}

static vst_status finish_epoch(vsti_trainer *t) {
    vst_status status = evaluate_splits(t);
    if (status == VST_ERROR_INTERRUPTED) return interrupt(t); /* all steps are done: resuming evaluates again */
    if (status != VST_OK) return status;
    take_figures(t);
    add_seconds(t);
    vsti_log_epoch(t);
    const double top1 = t->at.figures.validation_top1;
    const bool best = !t->data.validation || !(top1 <= t->at.best_top1); /* NAN: the first epoch */
    if (best) {
        t->at.best_top1 = top1;
        t->at.best_epoch = t->at.epoch;
    }
    t->at.epoch++;
    t->at.step = 0;
    t->at.sums = (vsti_epoch_sums){0};
    return save(t, best);
}

vst_status vsti_train_epochs(vsti_trainer *t) {
    vst_status status = VST_OK;
    t->mark = vst_seconds();
    if (t->recipe->run.recover && t->at.epoch == 0 && t->at.step == 0) status = save(t, false); /* what to return to */
    while (status == VST_OK && t->at.epoch < t->recipe->run.epochs) {
        status = train_epoch(t);
        if (status == VST_OK) status = finish_epoch(t);
        if (status == VST_ERROR_NUMERIC && t->at.recoveries < t->recipe->run.recover) status = vsti_recover(t);
    }
    return status;
}
