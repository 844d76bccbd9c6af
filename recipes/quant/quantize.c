/* The whole of post-training quantisation: calibrate, quantise all that can be, and give layers back to float32 until
 * the accuracy on held-out images is within the budget. */
#include "recipes/quant/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/infer/evaluate.h"
#include "recipes/infer/model_session.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/quant/internal.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"

enum { CALIBRATION = 256, HELD_OUT = 512, BATCH = 16, SENSITIVITY_IMAGES = 64, PROFILE_RUNS = 20 };

typedef struct work {
    vst_model *model;
    const volatile sig_atomic_t *stop;
    vst_quantize_report *report;
    double max_drop;
    int batch;
    vsti_candidates candidates;
    vsti_range *ranges;                               /* by tap */
    vsti_means *means;                                /* by tap */
    float *values;                                    /* of the params, before corrections */
    vst_dataset *rest, *calibration, *held_out, *few; /* views; few: for the errors of single layers */
    vst_loader *loader, *few_loader;                  /* of held_out and few */
    vst_evaluation exact, exact_few;                  /* of the float32 model */
} work;

/* ---- images ---- */

static vst_status open_loader(vst_loader **out, const work *w, const vst_dataset *data) {
    return vst_evaluation_loader(out, data, w->model->config, w->batch, 1, &(vst_broken_rule){VST_BROKEN_SKIP, 1});
}

static vst_status open_data(work *w, const vst_dataset *data, const vst_quantize_options *o) {
    vst_status status = VST_OK;
    const uint64_t count = vst_dataset_count(data), wanted = o->images ? (uint64_t)o->images : CALIBRATION,
                   judged = o->held_out ? (uint64_t)o->held_out : HELD_OUT;
    if (count < 2)
        return vst_fail(VST_ERROR_ARGUMENT, "%s has %llu image: quantising takes some to calibrate and others to judge",
                        vst_dataset_path(data), (unsigned long long)count);
    VST_TRY(vst_dataset_split(data, judged < count / 2 ? judged : count / 2, o->seed, &w->rest, &w->held_out));
    const uint64_t left = vst_dataset_count(w->rest), judges = vst_dataset_count(w->held_out);
    VST_TRY(vst_dataset_sample(w->rest, wanted < left ? wanted : left, o->seed, &w->calibration));
    VST_TRY(
        vst_dataset_sample(w->held_out, judges < SENSITIVITY_IMAGES ? judges : SENSITIVITY_IMAGES, o->seed, &w->few));
    VST_TRY(open_loader(&w->loader, w, w->held_out));
    VST_TRY(open_loader(&w->few_loader, w, w->few));
    w->report->images = (int)vst_dataset_count(w->calibration);
    w->report->held_out = (int)judges;
out:
    return status;
}

static void close_data(work *w) {
    vst_loader_destroy(w->loader);
    vst_loader_destroy(w->few_loader);
    vst_dataset_close(w->few);
    vst_dataset_close(w->calibration);
    vst_dataset_close(w->held_out);
    vst_dataset_close(w->rest);
}

/* ---- measuring a choice of layers ---- */

/* The model as it was given. */
static void use_floats(work *w) {
    vst_params *params = w->model->params;
    vst_quantization_clear(&w->model->quantization);
    memcpy(vst_params_values(params), w->values, vst_params_total(params) * sizeof *w->values);
    vst_params_changed(params);
}

/* The quantisation in which the layers with `integers` compute on them, with corrected biases. */
static vst_status use_layers(work *w) {
    vst_status status = VST_OK;
    vst_params *params = w->model->params;
    use_floats(w);
    for (size_t i = 0; i < w->report->count && status == VST_OK; i++) {
        const vst_quantized_layer *layer = &w->report->layers[i];
        const vsti_candidate *candidate = &w->candidates.list[i];
        if (!layer->integers) continue;
        const vsti_range *range = &w->ranges[candidate->tap];
        status = vst_quantization_add(&w->model->quantization, layer->name, range->scale, range->zero_point);
        if (status == VST_OK) status = vsti_correct(params, candidate, &w->means[candidate->tap]);
    }
    vst_params_changed(params);
    return status;
}

static vst_status evaluate(work *w, bool few, vst_evaluation *evaluation) {
    vst_session *session = NULL;
    vst_status status = vst_session_create_model(&session, w->model, NULL);
    if (status == VST_OK)
        status = vst_evaluate(session, few ? w->few_loader : w->loader, vst_dataset_count(few ? w->few : w->held_out),
                              true, w->stop, evaluation);
    vst_session_close(session);
    return status;
}

static double relative_error(const vst_evaluation *exact, const vst_evaluation *other) {
    double error = 0, square = 0;
    for (size_t i = 0; i < (size_t)exact->samples * (size_t)exact->classes; i++) {
        const double difference = (double)other->logits[i] - (double)exact->logits[i];
        error += difference * difference;
        square += (double)exact->logits[i] * (double)exact->logits[i];
    }
    return square > 0 ? sqrt(error / square) : 0;
}

/* Points of top-1 that the present choice loses; without labels the share of changed predictions. */
static vst_status measure_drop(work *w, double *drop) {
    vst_evaluation e = {0};
    vst_status status = use_layers(w);
    if (status == VST_OK) status = evaluate(w, false, &e);
    if (status == VST_OK) {
        w->report->top1 = e.top1;
        w->report->agreement = vst_agreement(&w->exact, &e);
        *drop = w->report->labelled ? w->exact.top1 - e.top1 : 100 - w->report->agreement;
    }
    vst_evaluation_clear(&e);
    return status;
}

/* ---- choosing ---- */

/* The error of the logits with each layer alone on integers. */
static vst_status measure_layers(work *w) {
    vst_status status = VST_OK;
    vst_quantize_report *r = w->report;
    vst_evaluation e = {0};
    vst_progress progress;
    vst_progress_start(&progress, "errors of single layers", "layers", r->count);
    for (size_t i = 0; i < r->count; i++) r->layers[i].integers = false;
    for (size_t i = 0; i < r->count; i++) {
        if (!w->candidates.list[i].usable) continue;
        r->layers[i].integers = true;
        VST_TRY(use_layers(w));
        VST_TRY(evaluate(w, true, &e));
        r->layers[i].integers = false;
        r->layers[i].logit_error = relative_error(&w->exact_few, &e);
        vst_progress_update(&progress, i + 1, NAN);
    }
out:
    vst_progress_finish(&progress);
    vst_evaluation_clear(&e);
    return status;
}

typedef struct ranked {
    double error;
    size_t layer;
} ranked;

static int by_error(const void *a, const void *b) { /* the largest first */
    const ranked *x = a, *y = b;
    return x->error != y->error ? (x->error < y->error) - (x->error > y->error)
                                : (x->layer > y->layer) - (x->layer < y->layer);
}

static void keep_worst(work *w, const ranked *order, size_t usable, size_t kept) {
    for (size_t i = 0; i < usable; i++) {
        w->report->layers[order[i].layer].integers = i >= kept;
        w->report->layers[order[i].layer].reason = i < kept ? "accuracy" : NULL;
    }
}

/* The fewest layers, the worst first, in float32 with which the drop is within the budget, by bisection. */
static vst_status give_back(work *w) {
    vst_status status = VST_OK;
    size_t usable = 0, low = 1, high;
    double drop;
    ranked *order = vst_calloc(w->report->count + 1, sizeof *order);
    if (!order) return vst_fail_memory(w->report->count * sizeof *order);
    VST_TRY(measure_layers(w));
    for (size_t i = 0; i < w->report->count; i++)
        if (w->candidates.list[i].usable) order[usable++] = (ranked){w->report->layers[i].logit_error, i};
    qsort(order, usable, sizeof *order, by_error);
    for (high = usable; low < high;) {
        const size_t kept = (low + high) / 2;
        keep_worst(w, order, usable, kept);
        VST_TRY(measure_drop(w, &drop));
        if (drop <= w->max_drop) high = kept;
        else low = kept + 1;
    }
    keep_worst(w, order, usable, high);
    VST_TRY(measure_drop(w, &drop));
out:
    vst_free(order);
    return status;
}

static vst_status choose_layers(work *w) {
    vst_status status = VST_OK;
    double drop;
    VST_TRY(evaluate(w, false, &w->exact));
    VST_TRY(evaluate(w, true, &w->exact_few));
    w->report->labelled = w->exact.labelled == w->exact.samples;
    w->report->top1_float = w->report->labelled ? w->exact.top1 : (double)NAN;
    VST_TRY(measure_drop(w, &drop));
    if (w->max_drop >= 0 && drop > w->max_drop) VST_TRY(give_back(w));
    if (!w->report->labelled) w->report->top1 = (double)NAN;
out:
    return status;
}

/* ---- the report ---- */

static vst_status list_layers(work *w) {
    vst_quantize_report *r = w->report;
    r->layers = vst_calloc(w->candidates.count + 1, sizeof *r->layers);
    if (!r->layers) return vst_fail_memory(w->candidates.count * sizeof *r->layers);
    for (size_t i = 0; i < w->candidates.count; i++) {
        vsti_candidate *c = &w->candidates.list[i];
        vst_quantized_layer *layer = &r->layers[i];
        *layer = (vst_quantized_layer){.name = vst_strdup(c->name), .logit_error = (double)NAN};
        if (!layer->name) return vst_fail_memory(strlen(c->name));
        r->count++;
        if (c->tap >= 0) {
            const vsti_range *range = &w->ranges[c->tap];
            layer->input_error = range->error;
            if (c->padded && range->zero_point) {
                c->usable = false;
                c->reason = "padding";
            }
        }
        layer->reason = c->reason;
        layer->integers = c->usable;
    }
    return VST_OK;
}

/* Milliseconds of each layer and of the whole, on one image. Rows begin with the layer's scope. */
static vst_status profile(work *w, bool integers) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    vst_session_profile p = {0};
    const vst_quantization kept = w->model->quantization;
    double total = 0;
    if (!integers) w->model->quantization = (vst_quantization){0};
    VST_TRY(vst_session_create_model(&session, w->model, &(vst_session_options){.profile = true}));
    VST_TRY(vst_session_measure(session, 1, PROFILE_RUNS, &p));
    for (size_t row = 0; row < p.count; row++) {
        const char *space = strchr(p.rows[row].name, ' ');
        const size_t length = space ? (size_t)(space - p.rows[row].name) : 0;
        total += 1e3 * p.rows[row].seconds;
        for (size_t i = 0; i < w->report->count; i++) {
            vst_quantized_layer *layer = &w->report->layers[i];
            if (strlen(layer->name) != length || memcmp(layer->name, p.rows[row].name, length) != 0) continue;
            *(integers ? &layer->integer_ms : &layer->float_ms) += 1e3 * p.rows[row].seconds;
        }
    }
    *(integers ? &w->report->integer_ms : &w->report->float_ms) = total;
out:
    w->model->quantization = kept;
    vst_session_profile_clear(&p);
    vst_session_close(session);
    return status;
}

vst_status vst_quantize(vst_model *model, const vst_dataset *data, const vst_quantize_options *options,
                        const volatile sig_atomic_t *stop, vst_quantize_report *report) {
    vst_status status = VST_OK;
    work w = {.model = model,
              .stop = stop,
              .report = report,
              .max_drop = options->max_drop,
              .batch = options->batch ? options->batch : BATCH};
    vst_loader *loader = NULL;
    if (model->quantization.count)
        return vst_fail(VST_ERROR_ARGUMENT, "the model is quantised already: quantise the float32 model");
    VST_TRY(open_data(&w, data, options));
    VST_TRY(vsti_candidates_find(&w.candidates, model));
    w.ranges = vst_calloc((size_t)w.candidates.tap_count + 1, sizeof *w.ranges);
    w.means = vst_calloc((size_t)w.candidates.tap_count + 1, sizeof *w.means);
    w.values = vst_alloc(vst_params_total(model->params) * sizeof *w.values);
    if (w.values)
        memcpy(w.values, vst_params_values(model->params), vst_params_total(model->params) * sizeof *w.values);
    if (!w.ranges || !w.means || !w.values)
        VST_TRY(vst_fail_memory(vst_params_total(model->params) * sizeof *w.values));
    VST_TRY(open_loader(&loader, &w, w.calibration));
    VST_TRY(vsti_calibrate(model, &w.candidates, loader, w.batch < report->images ? w.batch : report->images, stop,
                           w.ranges, w.means));
    VST_TRY(list_layers(&w));
    VST_TRY(choose_layers(&w));
    VST_TRY(profile(&w, false));
    VST_TRY(profile(&w, true));
out:
    if (status == VST_ERROR_MEMORY) status = vst_fail_in(status, VSTI_QUANT_MEMORY_ADVICE " takes less memory");
    if (status != VST_OK && w.values) use_floats(&w);
    vst_loader_destroy(loader);
    vst_evaluation_clear(&w.exact);
    vst_evaluation_clear(&w.exact_few);
    close_data(&w);
    for (int t = 0; w.means && t < w.candidates.tap_count; t++) vst_free(w.means[t].exact);
    vst_free(w.means);
    vst_free(w.values);
    vst_free(w.ranges);
    vsti_candidates_clear(&w.candidates);
    return status;
}

void vst_quantize_report_clear(vst_quantize_report *report) {
    for (size_t i = 0; i < report->count; i++) vst_free(report->layers[i].name);
    vst_free(report->layers);
    *report = (vst_quantize_report){0};
}
