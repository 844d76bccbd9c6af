/* Names the step, loss and tensor when a value is not finite. */
#include "recipes/train/nonfinite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/train/inputs.h"
#include "vision/base/memory.h"

enum { NAMED = 400 };

static bool all_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

/* ---- Which tensor it was ---- */

/* Writes "layer3 of the teacher teacher.safetensors" to `text` after running the teachers again; returns false if all
 * taps are finite.
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

/* Runs the student again with all its taps and names the first that is not finite. */
static vst_status nonfinite_tap(const vsti_trainer *t, const vst_batch *batch, char name[NAMED]) {
    vst_status status = VST_OK;
    const vst_graph *graph = t->student.graph;
    vst_session *session = NULL;
    vst_result result = {0};
    const size_t count = vst_tap_count(graph);
    const char **taps = vst_calloc(count + 1, sizeof *taps);
    if (!taps) VST_TRY(vst_fail_memory(count * sizeof *taps));
    for (size_t i = 0; i < count; i++) taps[i] = vst_tap_name(graph, i);
    VST_TRY(vst_session_create(&session, t->recipe->model, t->student.params,
                               &(vst_session_options){.taps = taps, .tap_count = (int)count, .taps_only = true}));
    VST_TRY(vst_session_run(session, batch->images, batch->count, &result));
    for (int i = 0; i < (int)count && !*name; i++)
        if (!all_finite(result.taps[i], (size_t)batch->count * vst_session_tap_at(session, i)->floats))
            snprintf(name, NAMED, "%s of the student", taps[i]);
out:
    vst_result_clear(&result);
    vst_session_close(session);
    vst_free(taps);
    return status;
}

/* "" if all tensors are finite and only the loss is not. */
static vst_status find_nonfinite(vsti_trainer *t, const vst_batch *batch, vsti_position position, char name[NAMED]) {
    vst_status status = VST_OK;
    *name = 0;
    VST_TRY(vsti_fill_inputs(t, batch, position));
    if (!nonfinite_teacher(&t->teachers, name) && !nonfinite_parameter(t->student.params, name))
        VST_TRY(nonfinite_tap(t, batch, name));
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

vst_status vsti_check_state(vsti_trainer *t) {
    char name[NAMED];
    vst_tensor state[VST_OPTIMIZER_TENSORS];
    bool found = nonfinite_parameter(t->student.params, name);
    const size_t count = vst_optimizer_tensors(t->student.optimizer, state);
    for (size_t i = 0; i < count && !found; i++) {
        if (state[i].dtype != VST_F32 || all_finite(state[i].data, (size_t)vst_shape_count(&state[i].shape))) continue;
        snprintf(name, NAMED, "%s", state[i].name);
        found = true;
    }
    if (!found) return VST_OK;
    return vst_fail(VST_ERROR_NUMERIC, "after step %llu of epoch %d %s is not finite",
                    (unsigned long long)t->progress.step, t->progress.epoch + 1, name);
}

vst_status vsti_check_losses(vsti_trainer *t, const vst_batch *batch, vsti_position position) {
    char loss[NAMED], tensor[NAMED];
    if (!nonfinite_loss(t, loss)) return VST_OK;
    const vst_status status = find_nonfinite(t, batch, position, tensor);
    if (status != VST_OK) return status;
    return vst_fail(VST_ERROR_NUMERIC, "step %llu (epoch %d): %s is not finite%s%s; " VSTI_NONFINITE_ADVICE,
                    (unsigned long long)position.step + 1, (int)position.epoch + 1, loss,
                    *tensor ? ", and first of all " : "", tensor);
}
