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

enum { CALIBRATION = 256, HELD_OUT = 512, BATCH = 16, FEW = 64, PROFILE_RUNS = 20 };
#define MAX_CHANGED 2.0
#define VALUE_PRODUCTS 8 /* products that take as long as a value that is read or written */
/* Bytes of second moments that are held at a time; layers that need more wait for another pass over the images. */
#define MOMENTS_BYTES ((size_t)1 << 30)

typedef struct work {
    vst_model *model;
    const volatile sig_atomic_t *stop;
    vst_quantize_report *report;
    double max_drop, max_changed;
    int batch;
    vsti_candidates candidates;
    vsti_calibration calibration;
    /* The params' values: as given; with scales moved between layers, the same function; with rounded weights. */
    float *given, *exact, *rounded;
    vst_dataset *rest, *calibrating, *held_out, *few; /* views; few: some of the held-out images */
    vst_dataset *tried;                               /* some of the calibrating ones */
    vst_loader *calibration_loader, *tried_loader, *loader, *few_loader;
    vst_evaluation float_answers, float_few; /* of the held-out images, and of few */
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
    VST_TRY(vst_dataset_sample(w->rest, wanted < left ? wanted : left, o->seed, &w->calibrating));
    VST_TRY(vst_dataset_sample(w->held_out, judges < FEW ? judges : FEW, o->seed, &w->few));
    VST_TRY(open_loader(&w->calibration_loader, w, w->calibrating));
    const uint64_t images = vst_dataset_count(w->calibrating);
    VST_TRY(vst_dataset_sample(w->calibrating, images < FEW ? images : FEW, o->seed, &w->tried));
    VST_TRY(open_loader(&w->tried_loader, w, w->tried));
    VST_TRY(open_loader(&w->loader, w, w->held_out));
    VST_TRY(open_loader(&w->few_loader, w, w->few));
    w->report->images = (int)vst_dataset_count(w->calibrating);
    w->report->held_out = (int)judges;
out:
    return status;
}

static void close_data(work *w) {
    vst_loader_destroy(w->calibration_loader);
    vst_loader_destroy(w->tried_loader);
    vst_loader_destroy(w->loader);
    vst_loader_destroy(w->few_loader);
    vst_dataset_close(w->few);
    vst_dataset_close(w->tried);
    vst_dataset_close(w->calibrating);
    vst_dataset_close(w->held_out);
    vst_dataset_close(w->rest);
}

/* The layers, all of those on integers that can be, with the ranges of what they read. */
static vst_status list_layers(work *w) {
    vst_quantize_report *r = w->report;
    if (!r->layers) r->layers = vst_calloc(w->candidates.count + 1, sizeof *r->layers);
    if (!r->layers) return vst_fail_memory(w->candidates.count * sizeof *r->layers);
    for (size_t i = 0; i < w->candidates.count; i++) {
        vsti_candidate *c = &w->candidates.list[i];
        vst_quantized_layer *layer = &r->layers[i];
        if (i >= r->count) {
            *layer = (vst_quantized_layer){.name = vst_strdup(c->name), .logit_error = (double)NAN};
            if (!layer->name) return vst_fail_memory(strlen(c->name));
            r->count++;
        }
        if (c->tap >= 0) {
            const vsti_range *range = &w->calibration.ranges[c->tap];
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

/* ---- measuring a choice of layers ---- */

static size_t bytes_of(const work *w) { return vst_params_total(w->model->params) * sizeof(float); }

/* A float32 model with these values. */
static void use_floats(work *w, const float *values) {
    vst_quantization_clear(&w->model->quantization);
    memcpy(vst_params_values(w->model->params), values, bytes_of(w));
    vst_params_changed(w->model->params);
}

/* The quantisation in which the layers with `integers` compute on them, with corrected biases. `weights`: their
 * values. */
static vst_status use_layers(work *w, const float *weights) {
    vst_status status = VST_OK;
    float *values = vst_params_values(w->model->params);
    use_floats(w, w->exact);
    for (size_t i = 0; i < w->report->count && status == VST_OK; i++) {
        const vst_quantized_layer *layer = &w->report->layers[i];
        const vsti_candidate *c = &w->candidates.list[i];
        if (!layer->integers) continue;
        const vsti_range *range = &w->calibration.ranges[c->tap];
        status = vst_quantization_add(&w->model->quantization, layer->name, range->scale, range->zero_point);
        memcpy(values + c->weight, weights + c->weight, (size_t)(c->out * c->in * c->window) * sizeof *values);
        vsti_correct(values, w->exact, c, &w->calibration.means[c->tap]);
    }
    vst_params_changed(w->model->params);
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

/* Per cent of the predictions that change, as the margins of the float32 model and the size of the errors let expect: a
 * count of some hundred images says less. */
static double expected_changes(const vst_evaluation *exact, const vst_evaluation *other) {
    double noise = 0, changes = 0;
    const size_t classes = (size_t)exact->classes;
    for (int pass = 0; pass < 2; pass++) /* the size of the errors first */
        for (size_t i = 0; i < exact->samples; i++) {
            const float *a = exact->logits + i * classes, *b = other->logits + i * classes;
            const size_t first = (size_t)exact->predictions[i];
            size_t second = first == 0 ? classes - 1 : 0;
            for (size_t c = 0; c < classes; c++)
                if (c != first && a[c] > a[second]) second = c;
            const double margin = (double)a[first] - (double)a[second],
                         off = (double)b[first] - (double)b[second] - margin;
            if (pass == 0) noise += off * off / (double)exact->samples;
            else if (noise > 0) changes += 0.5 * erfc(margin / sqrt(2 * noise));
        }
    return 100 * changes / (double)exact->samples;
}

/* What the present choice of layers costs on the held-out images. */
static vst_status measure(work *w, const float *weights, bool few, double *error) {
    vst_evaluation e = {0};
    vst_quantize_report *r = w->report;
    vst_status status = use_layers(w, weights);
    if (status == VST_OK) status = evaluate(w, few, &e);
    if (status == VST_OK) {
        const vst_evaluation *exact = few ? &w->float_few : &w->float_answers;
        *error = relative_error(exact, &e);
        if (!few) {
            r->top1 = e.top1;
            r->agreement = vst_agreement(exact, &e);
            r->expected_changes = expected_changes(exact, &e);
            r->logit_error = *error;
        }
    }
    vst_evaluation_clear(&e);
    return status;
}

/* Whether the present choice is within the budget. */
static bool is_good(const work *w) {
    const vst_quantize_report *r = w->report;
    return r->expected_changes <= w->max_changed && (!r->labelled || r->top1_float - r->top1 <= w->max_drop);
}

/* ---- choosing ---- */

/* The error of the logits with each layer alone on integers. */
static vst_status measure_layers(work *w) {
    vst_status status = VST_OK;
    vst_quantize_report *r = w->report;
    vst_progress progress;
    vst_progress_start(&progress, "errors of single layers", "layers", r->count);
    for (size_t i = 0; i < r->count; i++) r->layers[i].integers = false;
    for (size_t i = 0; i < r->count; i++) {
        if (!w->candidates.list[i].usable) continue;
        r->layers[i].integers = true;
        VST_TRY(measure(w, w->rounded, true, &r->layers[i].logit_error));
        r->layers[i].integers = false;
        vst_progress_update(&progress, i + 1, NAN);
    }
out:
    vst_progress_finish(&progress);
    return status;
}

typedef struct ranked {
    double loss; /* squared error that the layer in float32 saves, for what it takes of speed and size */
    size_t layer;
} ranked;

static int by_loss(const void *a, const void *b) { /* the largest first */
    const ranked *x = a, *y = b;
    return x->loss != y->loss ? (x->loss < y->loss) - (x->loss > y->loss)
                              : (x->layer > y->layer) - (x->layer < y->layer);
}

/* What integers save in a layer: products, less what reading and writing its values costs in any case. */
static double products_of(const vsti_candidate *c) {
    const double products = c->macs - VALUE_PRODUCTS * (double)c->values;
    return c->usable && products > 0 ? products : 0;
}

static double weights_of(const vsti_candidate *c) {
    return c->usable ? (double)c->out * (double)c->in * (double)c->window : 0;
}

/* Layers by what they cost in accuracy for their share of the products and of the weights on integers. */
static size_t rank(const work *w, ranked *order) {
    double products = 1, weights = 1;
    size_t usable = 0;
    for (size_t i = 0; i < w->report->count; i++) {
        products += products_of(&w->candidates.list[i]);
        weights += weights_of(&w->candidates.list[i]);
    }
    for (size_t i = 0; i < w->report->count; i++) {
        const vsti_candidate *c = &w->candidates.list[i];
        const double error = w->report->layers[i].logit_error;
        if (c->usable)
            order[usable++] = (ranked){error * error / (products_of(c) / products + weights_of(c) / weights), i};
    }
    qsort(order, usable, sizeof *order, by_loss);
    return usable;
}

static void keep_worst(work *w, const ranked *order, size_t usable, size_t kept) {
    for (size_t i = 0; i < usable; i++) {
        w->report->layers[order[i].layer].integers = i >= kept;
        w->report->layers[order[i].layer].reason = i < kept ? "accuracy" : NULL;
    }
}

/* The fewest layers, the worst first, in float32 with which the cost is within the budget, by bisection. */
static vst_status give_back(work *w) {
    vst_status status = VST_OK;
    size_t low = 1, high;
    double error;
    ranked *order = vst_calloc(w->report->count + 1, sizeof *order);
    if (!order) return vst_fail_memory(w->report->count * sizeof *order);
    VST_TRY(measure_layers(w));
    const size_t usable = high = rank(w, order);
    while (low < high) {
        const size_t kept = (low + high) / 2;
        keep_worst(w, order, usable, kept);
        VST_TRY(measure(w, w->rounded, false, &error));
        if (is_good(w)) high = kept;
        else low = kept + 1;
    }
    keep_worst(w, order, usable, high);
    VST_TRY(measure(w, w->rounded, false, &error));
out:
    vst_free(order);
    return status;
}

static vst_status choose_layers(work *w) {
    vst_status status = VST_OK;
    double error;
    VST_TRY(measure(w, w->rounded, false, &error));
    if (w->max_drop >= 0 && !is_good(w)) VST_TRY(give_back(w));
    if (!w->report->labelled) w->report->top1 = (double)NAN;
out:
    return status;
}

/* ---- moving scales, rounding ---- */

static const vsti_migration ways[] = {
    {"none", 0, false}, {"0.15", 0.15, false}, {"0.5", 0.5, false}, {"0.95", 0.95, false}, {"fold", 0, true}};
enum { WAYS = sizeof ways / sizeof *ways };

static vst_status create_calibration(const work *w, vsti_calibration *out) {
    const int images = w->report->images;
    return vsti_calibration_create(out, w->candidates.tap_count, w->batch < images ? w->batch : images);
}

/* Moves scales, and measures what the layers read then. given: the same before. */
static vst_status use_way(work *w, const vsti_equaliser *equaliser, const vsti_calibration *given, int way,
                          vst_loader *loader) {
    vst_status status = VST_OK;
    memcpy(w->exact, w->given, bytes_of(w));
    if (way) VST_TRY(vsti_equalise(equaliser, w->exact, &w->candidates, given->extremes, &ways[way]));
    use_floats(w, w->exact);
    VST_TRY(vsti_calibrate(w->model, &w->candidates, loader, w->stop, &w->calibration));
    VST_TRY(list_layers(w));
out:
    return status;
}

/* The way with the least error of the logits, all layers being on integers, their weights rounded to nearest. */
static vst_status choose_way(work *w, const vsti_equaliser *equaliser, const vsti_calibration *given, int *best) {
    vst_status status = VST_OK;
    double error, least = INFINITY;
    vst_progress progress;
    vst_progress_start(&progress, "moving scales", "ways", WAYS);
    for (int way = 0; way < WAYS; way++) {
        VST_TRY(use_way(w, equaliser, given, way, w->tried_loader));
        VST_TRY(measure(w, w->exact, true, &error));
        if (error < least) *best = way, least = error;
        vst_progress_update(&progress, (uint64_t)way + 1, NAN);
    }
out:
    vst_progress_finish(&progress);
    return status;
}

/* Leaves the values in `exact`, and what layers read then in `calibration`. */
static vst_status move_scales(work *w) {
    vst_status status = VST_OK;
    vsti_equaliser *equaliser = NULL;
    vsti_calibration given = {0};
    int best = 0;
    VST_TRY(vsti_equaliser_create(&equaliser, w->model, &w->candidates));
    VST_TRY(create_calibration(w, &given));
    if (vsti_equaliser_sets(equaliser)) {
        VST_TRY(vsti_calibrate(w->model, &w->candidates, w->calibration_loader, w->stop, &given));
        VST_TRY(choose_way(w, equaliser, &given, &best));
        w->report->migration = ways[best].name;
    }
    VST_TRY(use_way(w, equaliser, &given, best, w->calibration_loader));
out:
    vsti_calibration_clear(&given);
    vsti_equaliser_destroy(equaliser);
    return status;
}

/* Rounds the weights of the layers from *first on whose moments fit into memory together; *first becomes the next. */
static vst_status round_some(work *w, vsti_moments *moments, size_t *first, vst_progress *progress) {
    vst_status status = VST_OK;
    const size_t begin = *first, count = w->candidates.count;
    size_t bytes = 0, end = begin;
    for (; end < count && (!bytes || bytes + moments[end].floats * sizeof(float) <= MOMENTS_BYTES); end++) {
        if (!w->candidates.list[end].usable) continue;
        bytes += moments[end].floats * sizeof(float);
        moments[end].values = vst_calloc(moments[end].floats, sizeof(float));
        if (!moments[end].values) VST_TRY(vst_fail_memory(moments[end].floats * sizeof(float)));
    }
    *first = end;
    if (bytes)
        VST_TRY(
            vsti_moments_collect(moments, w->model, &w->candidates, w->calibration_loader, w->stop, &w->calibration));
    for (size_t i = begin; i < end; i++) {
        const vsti_candidate *layer = &w->candidates.list[i];
        VST_TRY(vsti_check_stop(w->stop));
        if (layer->usable) VST_TRY(vsti_round(w->rounded + layer->weight, layer, &moments[i]));
        vst_progress_update(progress, i + 1, NAN);
    }
out:
    for (size_t i = begin; i < count; i++) {
        vst_free(moments[i].values);
        moments[i].values = NULL;
    }
    return status;
}

static vst_status round_weights(work *w) {
    vst_status status = VST_OK;
    vst_progress progress = {0};
    vsti_moments *moments = vst_calloc(w->candidates.count + 1, sizeof *moments);
    if (!moments) return vst_fail_memory(w->candidates.count * sizeof *moments);
    for (size_t i = 0; i < w->candidates.count; i++)
        if (w->candidates.list[i].usable) vsti_moments_describe(&moments[i], &w->candidates.list[i]);
    use_floats(w, w->exact);
    memcpy(w->rounded, w->exact, bytes_of(w));
    vst_progress_start(&progress, "rounding weights", "layers", w->candidates.count);
    for (size_t first = 0; first < w->candidates.count;) VST_TRY(round_some(w, moments, &first, &progress));
out:
    vst_progress_finish(&progress);
    vst_free(moments);
    return status;
}

/* ---- the report ---- */

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

static vst_status reserve(work *w) {
    const size_t bytes = bytes_of(w);
    w->given = vst_alloc(bytes);
    w->exact = vst_alloc(bytes);
    w->rounded = vst_alloc(bytes);
    if (!w->exact || !w->rounded || !w->given) return vst_fail_memory(3 * bytes);
    memcpy(w->given, vst_params_values(w->model->params), bytes);
    return create_calibration(w, &w->calibration);
}

static vst_status answer_in_float(work *w) {
    vst_status status = VST_OK;
    VST_TRY(evaluate(w, false, &w->float_answers));
    VST_TRY(evaluate(w, true, &w->float_few));
    w->report->labelled = w->float_answers.labelled == w->float_answers.samples;
    w->report->top1_float = w->report->labelled ? w->float_answers.top1 : (double)NAN;
out:
    return status;
}

vst_status vst_quantize(vst_model *model, const vst_dataset *data, const vst_quantize_options *options,
                        const volatile sig_atomic_t *stop, vst_quantize_report *report) {
    vst_status status = VST_OK;
    work w = {.model = model,
              .stop = stop,
              .report = report,
              .max_drop = options->max_drop,
              .max_changed = options->max_changed > 0 ? options->max_changed : MAX_CHANGED,
              .batch = options->batch ? options->batch : BATCH};
    if (model->quantization.count)
        return vst_fail(VST_ERROR_ARGUMENT, "the model is quantised already: quantise the float32 model");
    VST_TRY(open_data(&w, data, options));
    VST_TRY(vsti_candidates_find(&w.candidates, model));
    VST_TRY(reserve(&w));
    VST_TRY(answer_in_float(&w));
    VST_TRY(move_scales(&w));
    VST_TRY(round_weights(&w));
    VST_TRY(choose_layers(&w));
    VST_TRY(profile(&w, false));
    VST_TRY(profile(&w, true));
out:
    if (status == VST_ERROR_MEMORY) status = vst_fail_in(status, VSTI_QUANT_MEMORY_ADVICE " takes less memory");
    if (status != VST_OK && w.rounded && w.given && w.exact) use_floats(&w, w.given);
    vst_evaluation_clear(&w.float_answers);
    vst_evaluation_clear(&w.float_few);
    close_data(&w);
    vsti_calibration_clear(&w.calibration);
    vst_free(w.given);
    vst_free(w.exact);
    vst_free(w.rounded);
    vsti_candidates_clear(&w.candidates);
    return status;
}

void vst_quantize_report_clear(vst_quantize_report *report) {
    for (size_t i = 0; i < report->count; i++) vst_free(report->layers[i].name);
    vst_free(report->layers);
    *report = (vst_quantize_report){0};
}
