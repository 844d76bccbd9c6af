/* Evaluates models: inference programs for whole and partial batches, losses and counts on the host. */
#include "recipes/infer/evaluator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/ops/ops.h"
#include "vision/plan/program.h"

vst_value vst_model_scores(vst_graph *graph) {
    const vst_value logits = vst_find(graph, "logits"), distilled = vst_find(graph, "logits_dist");
    if (!logits.id) vst_graph_fail(graph, VST_ERROR_NOT_FOUND, "the model has no tap 'logits'");
    return distilled.id ? vst_scale(graph, vst_add(graph, logits, distilled), 0.5) : logits;
}

/* ---- Data ---- */

vst_status vst_model_check_data(const vst_model_config *model, const vst_dataset *dataset) {
    const vst_model_common *common = vst_model_common_of(model);
    if (vst_dataset_classes(dataset) == 0)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has no labels; images that belong to classes are wanted",
                        vst_dataset_path(dataset));
    if (vst_dataset_classes(dataset) != common->classes)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has %d classes, the model %d: set model.classes to %d",
                        vst_dataset_path(dataset), vst_dataset_classes(dataset), common->classes,
                        vst_dataset_classes(dataset));
    return VST_OK;
}

vst_evaluation_view vst_model_view(const vst_model_config *model) {
    static const vst_filter filters[] = {VST_FILTER_BICUBIC, VST_FILTER_BILINEAR, VST_FILTER_LANCZOS, VST_FILTER_BOX,
                                         VST_FILTER_NEAREST}; /* as VST_INTERPOLATIONS lists them */
    const vst_model_common *common = vst_model_common_of(model);
    return (vst_evaluation_view){common->image, common->crop_pct, filters[common->interpolation]};
}

vst_status vst_evaluation_loader(vst_loader **out, const vst_dataset *dataset, const vst_model_config *model, int batch,
                                 int workers, const vst_broken_rule *broken) {
    const vst_model_common *common = vst_model_common_of(model);
    const vst_evaluation_view view = vst_model_view(model);
    const vst_loader_options options = {.batch = batch,
                                        .workers = workers,
                                        .channels = common->channels,
                                        .size = view.size,
                                        .evaluation = true,
                                        .crop_pct = view.crop_pct,
                                        .filter = view.filter,
                                        .broken = broken ? *broken : (vst_broken_rule){0},
                                        .unlabel_replaced = true};
    return vst_loader_create(out, dataset, &options);
}

/* ---- Programs of one batch size ---- */

typedef struct stage {
    int batch;
    int outputs; /* the scores, and from two heads also each one's own, in the order of VST_HEAD_CLASS … */
    vst_graph *graph;
    vst_program *program;
    vst_context *context;
} stage;

static void stage_clear(stage *self) {
    vst_context_destroy(self->context);
    vst_program_destroy(self->program);
    vst_graph_destroy(self->graph);
    *self = (stage){0};
}

/* `options` say with which other program weights are shared, and the threads. */
static vst_status stage_build(stage *self, const vst_model_config *model, vst_params *params, int batch, bool heads,
                              const vst_program_options *options) {
    vst_status status = VST_OK;
    self->batch = batch;
    self->outputs = 1;
    VST_TRY(vst_graph_create(&self->graph, params));
    vst_model_build(self->graph, model, batch);
    const vst_value distilled = vst_find(self->graph, "logits_dist");
    const vst_value values[1 + VST_HEADS] = {vst_model_scores(self->graph), vst_find(self->graph, "logits"), distilled};
    if (heads && distilled.id) self->outputs += VST_HEADS;
    VST_TRY(vst_graph_finish(self->graph));
    VST_TRY(vst_program_create(&self->program, self->graph, values, self->outputs, options));
    VST_TRY(vst_context_create(&self->context, self->program, NULL));
out:
    return status;
}

struct vst_evaluator {
    stage whole, partial; /* either may be missing */
    int classes, outputs; /* outputs: of a stage */
    size_t pixels;        /* floats of one image */
    uint64_t samples;
};

static size_t image_floats(const vst_model_config *model) {
    const vst_model_common *common = vst_model_common_of(model);
    return (size_t)common->channels * (size_t)common->image * (size_t)common->image;
}

vst_status vst_evaluator_create(vst_evaluator **out, const vst_model_config *model, vst_params *params, int batch,
                                uint64_t samples) {
    vst_status status = VST_OK;
    *out = NULL;
    if (batch < 1) return vst_fail(VST_ERROR_ARGUMENT, "run.eval_batch is %d, it must be at least 1", batch);
    vst_evaluator *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->classes = vst_model_common_of(model)->classes;
    self->pixels = image_floats(model);
    self->samples = samples;
    vst_program_options options = {.mode = VST_INFER};
    const int rest = (int)(samples % (uint64_t)batch);
    if (samples >= (uint64_t)batch) VST_TRY(stage_build(&self->whole, model, params, batch, true, &options));
    options.share = self->whole.program;
    if (rest) VST_TRY(stage_build(&self->partial, model, params, rest, true, &options));
    self->outputs = self->whole.program ? self->whole.outputs : self->partial.outputs;
    *out = self;
    self = NULL;
out:
    vst_evaluator_destroy(self);
    return status;
}

void vst_evaluator_destroy(vst_evaluator *evaluator) {
    if (!evaluator) return;
    stage_clear(&evaluator->whole);
    stage_clear(&evaluator->partial);
    vst_free(evaluator);
}

size_t vst_evaluator_bytes(const vst_evaluator *evaluator) {
    const vst_program *whole = evaluator->whole.program, *partial = evaluator->partial.program;
    size_t bytes = vst_program_packed_bytes(whole ? whole : partial); /* shared */
    if (whole) bytes += vst_program_context_bytes(whole);
    if (partial) bytes += vst_program_context_bytes(partial);
    return bytes;
}

/* ---- Evaluation ---- */

static vst_status reserve(vst_evaluation *result, const vst_evaluator *evaluator, bool want_logits) {
    vst_status status = VST_OK;
    const size_t classes = (size_t)evaluator->classes, samples = (size_t)evaluator->samples;
    size_t cells, scores;
    if (!vst_multiply(classes, classes, &cells) || !vst_multiply(samples, classes, &scores))
        return vst_fail_memory(SIZE_MAX);
    if (!result->confusion) result->confusion = vst_calloc(cells, sizeof *result->confusion);
    if (!result->labels) result->labels = vst_calloc(samples, sizeof *result->labels);
    if (!result->predictions) result->predictions = vst_calloc(samples, sizeof *result->predictions);
    if (!result->logits && want_logits) result->logits = vst_calloc(scores, sizeof *result->logits);
    for (int h = 0; h < evaluator->outputs - 1; h++) {
        if (!result->heads[h]) result->heads[h] = vst_calloc(samples, sizeof *result->heads[h]);
        if (!result->heads[h]) VST_TRY(vst_fail_memory(samples * sizeof *result->heads[h]));
    }
    if (!result->confusion || !result->labels || !result->predictions || (want_logits && !result->logits))
        VST_TRY(vst_fail_memory(cells * sizeof *result->confusion));
    memset(result->confusion, 0, cells * sizeof *result->confusion);
    result->classes = evaluator->classes;
    result->samples = result->labelled = 0;
out:
    return status;
}

/* The first of the largest. */
static int largest(const float *scores, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (scores[c] > scores[best]) best = c;
    return best;
}

/* One sample's scores: its loss (0 without a label), the first largest class, how many classes beat the label. */
typedef struct sample_result {
    double loss;
    int prediction, better;
} sample_result;

static sample_result score_sample(const float *scores, int classes, int label) {
    sample_result result = {.prediction = largest(scores, classes)};
    double sum = 0;
    if (label < 0) return result;
    for (int c = 0; c < classes; c++) {
        sum += exp((double)scores[c] - scores[result.prediction]);
        const bool worse = scores[c] < scores[label] || (scores[c] == scores[label] && c >= label);
        result.better += !worse; /* so that a score that is not a number is never right */
    }
    result.loss = log(sum) + scores[result.prediction] - scores[label];
    return result;
}

typedef struct sums {
    double loss;
    uint64_t top1, top5;
} sums;

static void take_heads(const vst_evaluator *evaluator, const vst_batch *batch, const vst_context *context,
                       vst_evaluation *result) {
    for (int h = 0; h < evaluator->outputs - 1; h++)
        for (int i = 0; i < batch->count; i++)
            result->heads[h][batch->samples[i]] = largest(
                vst_context_output(context, 1 + h) + (size_t)i * (size_t)evaluator->classes, evaluator->classes);
}

static vst_status take_batch(const vst_evaluator *evaluator, const vst_batch *batch, const float *scores,
                             vst_evaluation *result, sums *total) {
    const int classes = evaluator->classes;
    for (int i = 0; i < batch->count; i++) {
        const float *row = scores + (size_t)i * (size_t)classes;
        const uint64_t sample = batch->samples[i];
        const int label = batch->labels[i];
        if (sample >= evaluator->samples || label >= classes)
            return vst_fail(VST_ERROR_ARGUMENT,
                            "sample %llu with label %d is outside of the %llu samples and %d classes that "
                            "the evaluation was made for",
                            (unsigned long long)sample, label, (unsigned long long)evaluator->samples, classes);
        const sample_result v = score_sample(row, classes, label);
        result->labels[sample] = label;
        result->predictions[sample] = v.prediction;
        if (result->logits) memcpy(result->logits + sample * (size_t)classes, row, (size_t)classes * sizeof *row);
        result->samples++;
        if (label < 0) continue;
        result->labelled++;
        result->confusion[(size_t)label * (size_t)classes + (size_t)v.prediction]++;
        total->loss += v.loss;
        total->top1 += v.better < 1;
        total->top5 += v.better < 5;
    }
    return VST_OK;
}

vst_status vst_evaluate(vst_evaluator *evaluator, vst_loader *loader, bool want_logits,
                        const volatile sig_atomic_t *stop, vst_evaluation *result) {
    vst_status status = VST_OK;
    sums total = {0};
    VST_TRY(reserve(result, evaluator, want_logits));
    VST_TRY(vst_loader_start(loader, 0, 0));
    for (;;) {
        vst_batch batch;
        if (stop && *stop) VST_TRY(vst_fail(VST_ERROR_INTERRUPTED, "stopped while evaluating"));
        VST_TRY(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        const stage *use = batch.count == evaluator->whole.batch ? &evaluator->whole : &evaluator->partial;
        if (batch.count != use->batch)
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                             "a batch of %d samples comes to an evaluation made for batches of %d and %d", batch.count,
                             evaluator->whole.batch, evaluator->partial.batch));
        memcpy(vst_context_input(use->context, "image"), batch.images,
               (size_t)batch.count * evaluator->pixels * sizeof *batch.images);
        VST_TRY(vst_context_run(use->context, 0));
        VST_TRY(take_batch(evaluator, &batch, vst_context_output(use->context, 0), result, &total));
        take_heads(evaluator, &batch, use->context, result);
    }
    const double n = result->labelled ? (double)result->labelled : NAN;
    result->loss = total.loss / n;
    result->top1 = 100 * (double)total.top1 / n;
    result->top5 = evaluator->classes > 5 ? 100 * (double)total.top5 / n : NAN;
out:
    return status;
}

void vst_evaluation_clear(vst_evaluation *evaluation) {
    vst_free(evaluation->confusion);
    vst_free(evaluation->labels);
    vst_free(evaluation->predictions);
    vst_free(evaluation->logits);
    for (int h = 0; h < VST_HEADS; h++) vst_free(evaluation->heads[h]);
    *evaluation = (vst_evaluation){0};
}

/* ---- Latency ---- */

enum { WARM_UP = 5, MIN_RUNS = 20, MAX_RUNS = 2000 };

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double vst_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static vst_status measure(vst_context *context, size_t floats, double *milliseconds) {
    vst_status status = VST_OK;
    double *times = vst_alloc(MAX_RUNS * sizeof *times);
    int runs = 0;
    if (!times) VST_TRY(vst_fail_memory(MAX_RUNS * sizeof *times));
    for (int i = 0; i < WARM_UP; i++) VST_TRY(vst_context_run(context, 0));
    const double start = vst_seconds();
    while (runs < MAX_RUNS && (runs < MIN_RUNS || vst_seconds() - start < 0.5)) {
        float *image = vst_context_input(context, "image"); /* a run may have destroyed it */
        for (size_t i = 0; i < floats; i++) image[i] = 0.5f;
        const double begin = vst_seconds();
        VST_TRY(vst_context_run(context, 0));
        times[runs++] = vst_seconds() - begin;
    }
    *milliseconds = 1e3 * vst_median(times, runs);
out:
    vst_free(times);
    return status;
}

vst_status vst_model_latency(const vst_model_config *model, vst_params *params, double *milliseconds) {
    vst_status status = VST_OK;
    stage single = {0};
    VST_TRY(stage_build(&single, model, params, 1, false, &(vst_program_options){.mode = VST_INFER, .threads = 1}));
    VST_TRY(measure(single.context, image_floats(model), milliseconds));
out:
    stage_clear(&single);
    return status;
}
