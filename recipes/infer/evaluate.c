/* Evaluation of sessions: loss, accuracy and confusion matrix. */
#include "recipes/infer/evaluate.h"

#include <math.h>
#include <string.h>

#include "recipes/infer/model_session.h"
#include "vision/base/memory.h"
#include "vision/base/memory_room.h"

static vst_status reserve_ints(int **array, uint64_t count) {
    if (!*array) *array = vst_calloc((size_t)count, sizeof **array);
    return *array ? VST_OK : vst_fail_memory((size_t)count * sizeof **array);
}

static vst_status reserve(vst_evaluation *e, int classes, uint64_t samples, bool want_logits) {
    vst_status status = VST_OK;
    size_t scores;
    if (!vst_multiply((size_t)samples, (size_t)classes, &scores)) return vst_fail_memory(SIZE_MAX);
    if (!e->logits && want_logits) e->logits = vst_calloc(scores, sizeof *e->logits);
    if (want_logits && !e->logits) VST_TRY(vst_fail_memory(scores * sizeof *e->logits));
    VST_TRY(reserve_ints(&e->labels, samples));
    VST_TRY(reserve_ints(&e->predictions, samples));
    if (!e->probabilities) e->probabilities = vst_calloc((size_t)samples, sizeof *e->probabilities);
    if (!e->probabilities) VST_TRY(vst_fail_memory((size_t)samples * sizeof *e->probabilities));
    e->classes = classes;
    e->samples = e->labelled = 0;
out:
    return status;
}

size_t vst_evaluation_bytes(uint64_t samples, int heads) {
    return (size_t)samples * (sizeof(int) * (2 + (size_t)heads) + sizeof(float));
}

vst_status vst_evaluation_check_memory(vst_session *session, const vst_loader *loader, uint64_t samples, int batch,
                                       const char *advice) {
    const int largest = samples < (uint64_t)batch ? (int)samples : batch;
    const size_t before = vst_session_bytes(session);
    const uint64_t used = vsti_memory_used(); /* contains `before`, which must not be counted twice */
    const vst_status status = largest ? vst_session_prepare(session, largest) : VST_OK;
    if (status != VST_OK) return status;
    const size_t all = vst_session_bytes(session), added = all > before ? all - before : 0;
    return vsti_memory_check(used + added + vst_loader_bytes(loader) + vst_evaluation_bytes(samples, VST_HEADS),
                             "the evaluation", advice);
}

size_t vst_largest(const float *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

static bool all_finite(const float *scores, int classes) {
    for (int c = 0; c < classes; c++)
        if (!isfinite(scores[c])) return false;
    return true;
}

/* One sample's scores: its loss (0 without a label), the first largest class and its probability, how many classes beat
 * the label. */
typedef struct sample_result {
    double loss, probability;
    int prediction, better;
} sample_result;

static sample_result score_sample(const float *scores, int classes, int label) {
    sample_result result = {.prediction = (int)vst_largest(scores, (size_t)classes)};
    double sum = 0;
    for (int c = 0; c < classes; c++) sum += exp((double)scores[c] - scores[result.prediction]);
    result.probability = 1 / sum;
    if (label < 0) return result;
    for (int c = 0; c < classes; c++) {
        const bool worse = scores[c] < scores[label] || (scores[c] == scores[label] && c >= label);
        result.better += !worse;
    }
    result.loss = log(sum) + scores[result.prediction] - scores[label];
    return result;
}

typedef struct sums {
    double loss;
    uint64_t top1, top5;
} sums;

/* Stores the predictions of each head of a model with two heads. Allocates them at the first batch. */
static vst_status take_heads(const vst_batch *batch, const vst_result *answers, uint64_t samples, vst_evaluation *e) {
    for (int h = 0; h < VST_HEADS; h++) {
        if (!answers->heads[h]) continue;
        const vst_status status = reserve_ints(&e->heads[h], samples);
        if (status != VST_OK) return status;
        for (int i = 0; i < batch->count; i++)
            e->heads[h][batch->samples[i]] =
                (int)vst_largest(answers->heads[h] + (size_t)i * (size_t)e->classes, (size_t)e->classes);
    }
    return VST_OK;
}

static vst_status take_batch(const vst_batch *batch, const float *scores, uint64_t samples, vst_evaluation *e,
                             sums *total) {
    const int classes = e->classes;
    for (int i = 0; i < batch->count; i++) {
        const float *row = scores + (size_t)i * (size_t)classes;
        const uint64_t sample = batch->samples[i];
        const int label = batch->labels[i];
        if (sample >= samples || label >= classes)
            return vst_fail(VST_ERROR_ARGUMENT,
                            "sample %llu with label %d is outside of the %llu samples and %d classes that "
                            "the evaluation was made for",
                            (unsigned long long)sample, label, (unsigned long long)samples, classes);
        if (!all_finite(row, classes))
            return vst_fail(VST_ERROR_NUMERIC,
                            "the model's scores of sample %llu are not finite: its weights or the image hold values "
                            "that are not",
                            (unsigned long long)sample);
        const sample_result v = score_sample(row, classes, label);
        e->labels[sample] = label;
        e->predictions[sample] = v.prediction;
        e->probabilities[sample] = (float)v.probability;
        if (e->logits) memcpy(e->logits + sample * (size_t)classes, row, (size_t)classes * sizeof *row);
        e->samples++;
        if (label < 0) continue;
        e->labelled++;
        total->loss += v.loss;
        total->top1 += v.better < 1;
        total->top5 += v.better < 5;
    }
    return VST_OK;
}

vst_status vst_evaluate(vst_session *session, vst_loader *loader, uint64_t samples, bool want_logits,
                        const volatile sig_atomic_t *stop, vst_evaluation *e) {
    vst_status status = VST_OK;
    sums total = {0};
    vst_result answers = {0};
    VST_TRY(reserve(e, vst_session_classes(session), samples, want_logits));
    VST_TRY(vst_loader_start(loader, 0, 0));
    for (;;) {
        vst_batch batch;
        if (stop && *stop) VST_TRY(vst_fail(VST_ERROR_INTERRUPTED, "stopped while evaluating"));
        VST_TRY(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        VST_TRY(vst_session_run(session, batch.images, batch.count, &answers));
        VST_TRY(take_batch(&batch, answers.scores, samples, e, &total));
        VST_TRY(take_heads(&batch, &answers, samples, e));
    }
    const double n = e->labelled ? (double)e->labelled : NAN;
    e->loss = total.loss / n;
    e->top1 = 100 * (double)total.top1 / n;
    e->top5 = e->classes > 5 ? 100 * (double)total.top5 / n : NAN;
out:
    vst_result_clear(&answers);
    return status;
}

static void map_all(int *classes, uint64_t count, const int *back) {
    for (uint64_t i = 0; classes && i < count; i++)
        if (classes[i] >= 0) classes[i] = back[classes[i]];
}

vst_status vst_evaluation_to_data(vst_evaluation *e, const vst_class_match *match) {
    VST_ASSERT(!e->logits);
    if (match->same) return VST_OK;
    int *back = vst_alloc((size_t)match->to * sizeof *back);
    if (!back) return vst_fail_memory((size_t)match->to * sizeof *back);
    for (int i = 0; i < match->to; i++) back[i] = -1;
    for (int i = 0; i < match->from; i++) back[match->map[i]] = i;
    e->classes = match->from;
    map_all(e->labels, e->samples, back);
    map_all(e->predictions, e->samples, back);
    for (int h = 0; h < VST_HEADS; h++) map_all(e->heads[h], e->samples, back);
    vst_free(back);
    return VST_OK;
}

double vst_agreement(const vst_evaluation *a, const vst_evaluation *b) {
    uint64_t equal = 0;
    for (uint64_t i = 0; i < a->samples; i++) equal += a->predictions[i] == b->predictions[i];
    return 100 * (double)equal / (double)a->samples;
}

void vst_evaluation_clear(vst_evaluation *evaluation) {
    vst_free(evaluation->labels);
    vst_free(evaluation->predictions);
    vst_free(evaluation->probabilities);
    vst_free(evaluation->logits);
    for (int h = 0; h < VST_HEADS; h++) vst_free(evaluation->heads[h]);
    *evaluation = (vst_evaluation){0};
}
