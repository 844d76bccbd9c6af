/* What happens when a value is not finite: step, loss and tensor are named, and the run may go back and try again. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/train/internal.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { NAMED = 400 };

static bool all_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

/* ---- Which tensor it was ---- */

/* "layer3 of the teacher teacher.safetensors", with fresh values in the student's inputs; false: the teachers are well.
 */
static bool nonfinite_teacher(const vsti_teachers *teachers, char name[NAMED]) {
    for (int i = 0; i < teachers->count; i++)
        for (int k = 0; k < teachers->list[i].tap_count; k++) {
            const vsti_teacher_tap *tap = &teachers->list[i].taps[k];
            if (all_finite(tap->target, tap->floats)) continue;
            snprintf(name, NAMED, "%s of the teacher %s", tap->name, teachers->list[i].name);
            return true;
        }
    return false;
}

static bool nonfinite_parameter(vst_params *params, char name[NAMED]) {
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (all_finite(vst_params_values(params) + info->offset, info->count)) continue;
        snprintf(name, NAMED, "the parameter %s", info->name);
        return true;
    }
    return false;
}

/* Runs the student once more with all its taps kept; the first that is not finite is named. */
static vst_status nonfinite_tap(const vsti_student *s, const vst_batch *batch, char name[NAMED]) {
    vst_status status = VST_OK;
    vst_program *program = NULL;
    vst_context *context = NULL;
    const size_t count = vst_tap_count(s->graph);
    vst_value *taps = vst_calloc(count + 1, sizeof *taps);
    if (!taps) VST_TRY(vst_fail_memory(count * sizeof *taps));
    for (size_t i = 0; i < count; i++) taps[i] = vst_find(s->graph, vst_tap_name(s->graph, i));
    VST_TRY(vst_program_create(&program, s->graph, taps, (int)count, &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&context, program, NULL));
    memcpy(vst_context_input(context, "image"), batch->images,
           (size_t)batch->count * s->image_floats * sizeof *batch->images);
    VST_TRY(vst_context_run(context, 0));
    for (size_t i = 0; i < count && !*name; i++) {
        const vst_shape shape = vst_shape_at(s->graph, taps[i]);
        if (!all_finite(vst_context_output(context, (int)i), (size_t)vst_shape_count(&shape)))
            snprintf(name, NAMED, "%s of the student", vst_tap_name(s->graph, i));
    }
out:
    vst_context_destroy(context);
    vst_program_destroy(program);
    vst_free(taps);
    return status;
}

/* "" if all tensors are finite and only the loss is not. */
static vst_status find_nonfinite(vsti_trainer *t, const vst_batch *batch, uint64_t step, char name[NAMED]) {
    vst_status status = VST_OK;
    *name = 0;
    VST_TRY(vsti_fill_inputs(t, batch, step));
    if (!nonfinite_teacher(&t->teachers, name) && !nonfinite_parameter(t->student.params, name))
        VST_TRY(nonfinite_tap(&t->student, batch, name));
out:
    return status;
}

/* ---- Which loss it was ---- */

/* "the cross-entropy with the labels"; false: all are finite. */
static bool nonfinite_loss(const vsti_trainer *t, char name[NAMED]) {
    const vsti_student *s = &t->student;
    const vst_recipe *r = t->recipe;
    if (isfinite(vst_context_output(s->context, s->loss_output)[0])) return false;
    snprintf(name, NAMED, "the sum of the weighted losses");
    if (!isfinite(vst_context_output(s->context, s->labels_output)[0])) {
        snprintf(name, NAMED, "the cross-entropy with the labels");
        return true;
    }
    for (int i = 0; t->distilling && i < r->term_count; i++)
        if (!isfinite(vst_context_output(s->context, s->terms_output + i)[0])) {
            snprintf(name, NAMED, "distill.terms.%d (%s, %s <- %s)", i, r->terms[i].distance, r->terms[i].student,
                     r->terms[i].teacher);
            return true;
        }
    return true;
}

vst_status vsti_check_losses(vsti_trainer *t, const vst_batch *batch, uint64_t step) {
    char loss[NAMED], tensor[NAMED];
    if (!nonfinite_loss(t, loss)) return VST_OK;
    const vst_status status = find_nonfinite(t, batch, step, tensor);
    if (status != VST_OK) return status;
    return vst_fail(VST_ERROR_NUMERIC,
                    "step %llu (epoch %d): %s is not finite%s%s; lower optim.lr, lengthen optim.warmup_epochs, set "
                    "optim.clip_norm or run.recover",
                    (unsigned long long)step, t->at.epoch, loss, *tensor ? ", and first of all " : "", tensor);
}

/* ---- The way back ---- */

vst_status vsti_recover(vsti_trainer *t) {
    vst_status status = VST_OK;
    vst_safetensors *file = NULL;
    const int recoveries = t->at.recoveries + 1;
    const vsti_identity identity = t->at.identity;
    vst_log(VST_LOG_WARNING, "%s", vst_error_message());
    VST_TRY(vsti_checkpoint_open(&t->folder, &t->at, &file));
    if (!file) VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s holds no checkpoint to return to", t->folder.path));
    VST_TRY(vsti_train_restore(t, file));
    t->at.recoveries = recoveries;
    t->at.identity = identity;
    t->mark = vst_seconds();
    vst_log(VST_LOG_WARNING, "the learning rate is %g of the recipe's from here on (return %d of at most %d)",
            ldexp(1, -recoveries), recoveries, t->recipe->run.recover);
out:
    vst_safetensors_close(file);
    return status;
}
