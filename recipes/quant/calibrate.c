/* Ranges and means of activations. Three passes over the images: the extremes; a histogram between them, in which the
 * cut is searched whose quantisation has the least squared error; the means of each channel before and after rounding.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "recipes/infer/model_session.h"
#include "recipes/quant/internal.h"
#include "vision/base/memory.h"
#include "vision/base/memory_room.h"

enum { BINS = 2048, CUTS = 24 };

typedef struct histogram {
    float low, high;
    uint64_t bins[BINS];
} histogram;

typedef struct calibration {
    vst_session *session;
    const vsti_candidates *candidates;
    histogram *histograms; /* by tap, as the following */
    vsti_range *ranges;
    vsti_means *means;
    vsti_extremes *extremes;
    int64_t images;
} calibration;

/* ---- a pass ---- */

vst_status vsti_taps_open(vst_session **out, const vst_model *model, const vsti_candidates *candidates) {
    const vst_session_options options = {
        .taps = (const char *const *)candidates->taps, .tap_count = candidates->tap_count, .taps_only = true};
    return vst_session_create_model(out, model, &options);
}

vst_status vsti_each_tap(vst_session *session, const vsti_candidates *candidates, vst_loader *loader,
                         const volatile sig_atomic_t *stop, vsti_take *take, void *user) {
    vst_status status = VST_OK;
    vst_result result = {0};
    vst_batch batch;
    VST_TRY(vst_loader_start(loader, 0, 0));
    for (;;) {
        VST_TRY(vsti_check_stop(stop));
        VST_TRY(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        VST_TRY(vst_session_run(session, batch.images, batch.count, &result));
        for (int t = 0; t < candidates->tap_count; t++)
            VST_TRY(take(user, t, result.taps[t], batch.count, vst_session_tap_at(session, t)->floats));
    }
out:
    vst_result_clear(&result);
    return status;
}

/* Channels of a tap: dimension 1 where convolutions read it, the last one where linear layers do, as those of ConvNeXt
 * read images, too; *inner elements follow each. */
static int64_t channels_of(const calibration *self, int tap, int64_t *inner) {
    const vst_shape *shape = &vst_session_tap_at(self->session, tap)->shape;
    const vsti_candidate *reader = self->candidates->list;
    while (reader->tap != tap) reader++;
    *inner = reader->convolution ? shape->dim[2] * shape->dim[3] : 1;
    return shape->dim[reader->convolution ? 1 : shape->rank - 1];
}

/* ---- ranges ---- */

static vst_status take_extremes(void *raw, int tap, const float *x, int images, size_t floats) {
    calibration *self = raw;
    vsti_extremes *e = &self->extremes[tap];
    const size_t n = (size_t)images * floats;
    int64_t inner;
    channels_of(self, tap, &inner);
    for (size_t first = 0; first < n; first += (size_t)inner) {
        const size_t channel = first / (size_t)inner % (size_t)e->channels;
        for (size_t i = first; i < first + (size_t)inner; i++) {
            if (!isfinite(x[i]))
                return vst_fail(VST_ERROR_NUMERIC, "%s has values that are not finite: this model cannot be quantised",
                                self->candidates->taps[tap]);
            if (x[i] < e->low[channel]) e->low[channel] = x[i];
            if (x[i] > e->high[channel]) e->high[channel] = x[i];
        }
    }
    if (tap == 0) self->images += images;
    return VST_OK;
}

/* The range of a histogram includes 0. */
static void find_limits(histogram *h, const vsti_extremes *e) {
    for (int64_t c = 0; c < e->channels; c++) {
        if (e->low[c] < h->low) h->low = e->low[c];
        if (e->high[c] > h->high) h->high = e->high[c];
    }
}

static vst_status take_counts(void *raw, int tap, const float *x, int images, size_t floats) {
    calibration *self = raw;
    histogram *h = &self->histograms[tap];
    const size_t n = (size_t)images * floats;
    const double low = (double)h->low, span = (double)h->high - low, /* in float32 it may overflow */
        factor = span > 0 ? (BINS - 1) / span : 0;
    for (size_t i = 0; i < n; i++) h->bins[(int)(((double)x[i] - low) * factor + 0.5)]++;
    return VST_OK;
}

/* The scale and zero point of uint8 for [low, high], which includes 0. */
static vsti_range range_of(double low, double high) {
    vsti_range range = {0};
    const double span = high - low;
    const bool is_zero = span / 255 < (double)FLT_MIN; /* or as good as */
    range.scale = is_zero ? 1 : (float)(span / 255);
    range.zero_point = is_zero ? 0 : (int)lround(-low / (double)range.scale);
    return range;
}

/* The mean square error of quantising, and the mean square, of what the histogram counted. */
static double error_of(const histogram *h, const vsti_range *range, double *square) {
    const double step = ((double)h->high - (double)h->low) / (BINS - 1);
    double error = 0, total = 0;
    *square = 0;
    for (int i = 0; i < BINS; i++) {
        if (!h->bins[i]) continue;
        const double x = (double)h->low + step * i, n = (double)h->bins[i], off = vsti_rounded(x, range) - x;
        error += n * (off * off);
        *square += n * x * x;
        total += n;
    }
    *square /= total > 0 ? total : 1;
    return error / (total > 0 ? total : 1);
}

/* Tries cuts of both ends, in steps of 1 / CUTS of the range; 0 stays inside. */
static vsti_range best_range(const histogram *h) {
    vsti_range best = {0};
    double least = INFINITY, square = 0;
    for (int a = 0; a < (h->low < 0 ? CUTS : 1); a++)
        for (int b = 0; b < (h->high > 0 ? CUTS : 1); b++) {
            vsti_range range =
                range_of((double)h->low * (1 - (double)a / CUTS), (double)h->high * (1 - (double)b / CUTS));
            const double error = error_of(h, &range, &square);
            if (error >= least) continue;
            least = error;
            best = range;
        }
    best.error = square > 0 ? sqrt(least / square) : 0;
    return best;
}

/* ---- means ---- */

static vst_status take_means(void *raw, int tap, const float *x, int images, size_t floats) {
    calibration *self = raw;
    vsti_means *means = &self->means[tap];
    const size_t n = (size_t)images * floats;
    int64_t inner;
    channels_of(self, tap, &inner);
    for (size_t first = 0; first < n; first += (size_t)inner) {
        const size_t channel = first / (size_t)inner % (size_t)means->channels;
        for (size_t i = first; i < first + (size_t)inner; i++) {
            means->exact[channel] += (double)x[i];
            means->rounded[channel] += vsti_rounded((double)x[i], &self->ranges[tap]);
        }
    }
    return VST_OK;
}

/* ---- the whole ---- */

vst_status vsti_calibration_create(vsti_calibration *out, int taps, int batch) {
    const size_t count = (size_t)taps + 1;
    *out = (vsti_calibration){.ranges = vst_calloc(count, sizeof *out->ranges),
                              .means = vst_calloc(count, sizeof *out->means),
                              .extremes = vst_calloc(count, sizeof *out->extremes),
                              .taps = taps,
                              .batch = batch};
    return out->ranges && out->means && out->extremes ? VST_OK : vst_fail_memory(count * sizeof *out->means);
}

void vsti_calibration_clear(vsti_calibration *c) {
    for (int t = 0; t < c->taps; t++) {
        if (c->means) vst_free(c->means[t].exact);
        if (c->extremes) vst_free(c->extremes[t].low);
    }
    vst_free(c->ranges);
    vst_free(c->means);
    vst_free(c->extremes);
    *c = (vsti_calibration){0};
}

static vst_status reserve(calibration *self, int tap) {
    int64_t inner;
    vsti_means *means = &self->means[tap];
    vsti_extremes *extremes = &self->extremes[tap];
    const int64_t channels = means->channels = extremes->channels = channels_of(self, tap, &inner);
    if (!means->exact) means->exact = vst_alloc(2 * (size_t)channels * sizeof *means->exact);
    if (!extremes->low) extremes->low = vst_alloc(2 * (size_t)channels * sizeof *extremes->low);
    if (!means->exact || !extremes->low) return vst_fail_memory(2 * (size_t)channels * sizeof *means->exact);
    means->rounded = means->exact + channels;
    extremes->high = extremes->low + channels;
    for (int64_t i = 0; i < 2 * channels; i++) means->exact[i] = 0;
    for (int64_t i = 0; i < channels; i++) {
        extremes->low[i] = INFINITY;
        extremes->high[i] = -INFINITY;
    }
    return VST_OK;
}

/* The batch's program, and what all taps of it give. */
static vst_status check_memory(const calibration *self, const vst_loader *loader, int batch) {
    size_t bytes = 0;
    const uint64_t used = vsti_memory_used(); /* before the session has weights, which are counted below */
    const vst_status status = vst_session_prepare(self->session, batch);
    if (status != VST_OK) return status;
    for (int t = 0; t < self->candidates->tap_count; t++)
        bytes += (size_t)batch * vst_session_tap_at(self->session, t)->floats * sizeof(float);
    bytes += vst_session_bytes(self->session) + vst_loader_bytes(loader);
    return vsti_memory_check(used + bytes, "the calibration", VSTI_QUANT_MEMORY_ADVICE);
}

vst_status vsti_calibrate(const vst_model *model, const vsti_candidates *candidates, vst_loader *loader,
                          const volatile sig_atomic_t *stop, vsti_calibration *out) {
    vst_status status = VST_OK;
    calibration self = {
        .candidates = candidates, .ranges = out->ranges, .means = out->means, .extremes = out->extremes};
    self.histograms = vst_calloc((size_t)candidates->tap_count + 1, sizeof *self.histograms);
    if (!self.histograms) VST_TRY(vst_fail_memory((size_t)candidates->tap_count * sizeof *self.histograms));
    VST_TRY(vsti_taps_open(&self.session, model, candidates));
    VST_TRY(check_memory(&self, loader, out->batch));
    for (int t = 0; t < candidates->tap_count; t++) VST_TRY(reserve(&self, t));
    VST_TRY(vsti_each_tap(self.session, candidates, loader, stop, take_extremes, &self));
    for (int t = 0; t < candidates->tap_count; t++) find_limits(&self.histograms[t], &out->extremes[t]);
    VST_TRY(vsti_each_tap(self.session, candidates, loader, stop, take_counts, &self));
    for (int t = 0; t < candidates->tap_count; t++) out->ranges[t] = best_range(&self.histograms[t]);
    VST_TRY(vsti_each_tap(self.session, candidates, loader, stop, take_means, &self));
    for (int t = 0; t < candidates->tap_count; t++) {
        const vsti_means *means = &out->means[t];
        const double floats = (double)vst_session_tap_at(self.session, t)->floats,
                     each = (double)self.images * floats / (double)means->channels;
        for (int64_t i = 0; i < 2 * means->channels; i++) means->exact[i] /= each;
    }
    out->images = (uint64_t)self.images;
out:
    vst_session_close(self.session);
    vst_free(self.histograms);
    return status;
}
