/* Evaluates the student after an epoch: the trained weights and their moving average. */
#include "recipes/train/evaluation.h"

#include <string.h>

#include "recipes/train/log.h"
#include "vision/base/memory.h"

/* Whole batches and the last, partial one. */
static vst_status prepare(vsti_trainer *t, const vst_dataset *dataset) {
    vst_status status = VST_OK;
    const uint64_t samples = vst_dataset_count(dataset), batch = (uint64_t)t->recipe->run.eval_batch;
    if (samples >= batch) VST_TRY(vst_session_prepare(t->session, (int)batch));
    if (samples % batch) VST_TRY(vst_session_prepare(t->session, (int)(samples % batch)));
out:
    return status;
}

vst_status vsti_evaluation_create(vsti_trainer *t) {
    vst_status status = VST_OK;
    const vst_recipe *r = t->recipe;
    const vst_model student = {.config = r->model, .params = t->student.params, .quantization = t->quantization};
    VST_TRY(vst_session_create_model(&t->session, &student, NULL)); /* on integers, if it is trained for them */
    VST_TRY(prepare(t, t->data.test));
    if (t->data.validation) VST_TRY(prepare(t, t->data.validation));
    if (vst_optimizer_ema(t->student.optimizer)) {
        const size_t bytes = vst_params_trained(t->student.params) * sizeof *t->raw;
        t->raw = vst_alloc(bytes);
        if (!t->raw) VST_TRY(vst_fail_memory(bytes));
    }
out:
    return status;
}

void vsti_evaluation_destroy(vsti_trainer *t) {
    vst_evaluation_clear(&t->validation);
    vst_evaluation_clear(&t->test);
    vst_evaluation_clear(&t->other);
    vst_session_close(t->session);
    vst_free(t->raw);
}

size_t vsti_evaluation_bytes(const vsti_trainer *t) {
    const int heads = VST_HEADS; /* at most */
    const size_t test = vst_evaluation_bytes(vst_dataset_count(t->data.test), heads);
    size_t bytes = vst_session_bytes(t->session) + test;
    if (t->data.validation) bytes += vst_evaluation_bytes(vst_dataset_count(t->data.validation), heads);
    if (vsti_has_average(t)) bytes += test + vst_params_trained(t->student.params) * sizeof *t->raw;
    return bytes;
}

/* Swaps the trained values with the moving average, or back. */
static void swap_average(vsti_trainer *t, bool in) {
    const size_t bytes = vst_params_trained(t->student.params) * sizeof(float);
    float *values = vst_params_values(t->student.params);
    if (in) memcpy(t->raw, values, bytes);
    memcpy(values, in ? vst_optimizer_ema(t->student.optimizer) : t->raw, bytes);
    vst_params_changed(t->student.params);
}

/* Evaluates the trained weights or their average on the splits for which a result is requested. */
static vst_status evaluate_weights(vsti_trainer *t, bool average, vst_evaluation *validation, vst_evaluation *test) {
    vst_status status = VST_OK;
    if (average) swap_average(t, true);
    if (validation) {
        vsti_notify_progress(t, "validation");
        VST_TRY(vst_evaluate(t->session, t->data.validation_loader, vst_dataset_count(t->data.validation), false,
                             t->options->stop, validation));
    }
    vsti_notify_progress(t, "test");
    VST_TRY(
        vst_evaluate(t->session, t->data.test_loader, vst_dataset_count(t->data.test), false, t->options->stop, test));
out:
    if (average) swap_average(t, false);
    return status;
}

vst_status vsti_evaluate_splits(vsti_trainer *t) {
    vst_status status = VST_OK;
    const bool average = vsti_saves_average(t);
    VST_TRY(evaluate_weights(t, average, t->data.validation ? &t->validation : NULL, &t->test));
    if (vsti_has_average(t)) VST_TRY(evaluate_weights(t, !average, NULL, &t->other));
out:
    return status;
}
