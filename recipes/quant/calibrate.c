/* Ranges of activations. Three passes over the images: the extremes, then a histogram between them, in which the cut is
 * searched whose quantisation has the least squared error; then the means of each channel before and after rounding. */
#include <math.h>
#include <string.h>

#include "recipes/infer/model_session.h"
#include "recipes/quant/internal.h"
#include "vision/base/memory.h"

enum { BINS = 2048, CUTS = 24 };

typedef struct histogram {
    float low, high;
    uint64_t bins[BINS];
} histogram;

static vst_status note_extremes(histogram *h, const char *tap, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (x[i] < h->low) h->low = x[i];
        if (x[i] > h->high) h->high = x[i];
    }
    if (isfinite(h->low) && isfinite(h->high)) return VST_OK;
    return vst_fail(VST_ERROR_NUMERIC, "%s has values that are not finite: this model cannot be quantised", tap);
}

static void count_values(histogram *h, const float *x, size_t n) {
    const float factor = h->high > h->low ? (BINS - 1) / (h->high - h->low) : 0;
    for (size_t i = 0; i < n; i++) h->bins[(int)((x[i] - h->low) * factor + 0.5f)]++;
}

static vst_status pass(vst_session *session, const vsti_candidates *c, vst_loader *loader, bool extremes,
                       const volatile sig_atomic_t *stop, histogram *histograms) {
    vst_status status = VST_OK;
    vst_result result = {0};
    vst_batch batch;
    VST_TRY(vst_loader_start(loader, 0, 0));
    for (;;) {
        VST_TRY(vsti_check_stop(stop));
        VST_TRY(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        VST_TRY(vst_session_run(session, batch.images, batch.count, &result));
        for (int t = 0; t < c->tap_count; t++) {
            const size_t n = (size_t)batch.count * vst_session_tap_at(session, t)->floats;
            if (extremes) VST_TRY(note_extremes(&histograms[t], c->taps[t], result.taps[t], n));
            else count_values(&histograms[t], result.taps[t], n);
        }
    }
out:
    vst_result_clear(&result);
    return status;
}

/* The scale and zero point of uint8 for [low, high], which includes 0. */
static vsti_range range_of(double low, double high) {
    vsti_range range = {.low = (float)low, .high = (float)high};
    const double span = high - low;
    range.scale = span > 0 ? (float)(span / 255) : 1;
    range.zero_point = span > 0 ? (int)lround(-low / (double)range.scale) : 0;
    return range;
}

/* The mean square error of quantising, and the mean square, of what the histogram counted. */
static double error_of(const histogram *h, const vsti_range *range, double *square) {
    const double step = ((double)h->high - h->low) / (BINS - 1), scale = (double)range->scale;
    double error = 0, total = 0;
    *square = 0;
    for (int i = 0; i < BINS; i++) {
        if (!h->bins[i]) continue;
        const double x = h->low + step * i, n = (double)h->bins[i];
        double q = rint(x / scale) + range->zero_point;
        q = q < 0 ? 0 : q > 255 ? 255 : q;
        const double rounding = scale * (q - range->zero_point) - x;
        error += n * (rounding * rounding);
        *square += n * x * x;
        total += n;
    }
    *square /= total > 0 ? total : 1;
    return error / (total > 0 ? total : 1);
}

/* Tries cuts of both ends, each in steps of 1/CUTS … of the range; 0 stays inside. */
static vsti_range best_range(const histogram *h) {
    const double low = h->low < 0 ? (double)h->low : 0, high = h->high > 0 ? (double)h->high : 0;
    vsti_range best = {0};
    double least = INFINITY, square = 0;
    for (int a = 0; a < (low < 0 ? CUTS : 1); a++)
        for (int b = 0; b < CUTS; b++) {
            vsti_range range = range_of(low * (1 - (double)a / CUTS), high * (1 - (double)b / CUTS));
            const double error = error_of(h, &range, &square);
            if (error >= least) continue;
            least = error;
            best = range;
        }
    best.error = square > 0 ? sqrt(least / square) : 0;
    return best;
}

/* Channels of a tap: dimension 1 of images, the last one of tokens and vectors; *inner elements follow each. */
static int64_t channels_of(const vst_shape *shape, int64_t *inner) {
    *inner = shape->rank == 4 ? shape->dim[2] * shape->dim[3] : 1;
    return shape->dim[shape->rank == 4 ? 1 : shape->rank - 1];
}

static void add_means(vsti_means *means, const vsti_range *range, const float *x, size_t n, int64_t inner) {
    for (size_t first = 0; first < n; first += (size_t)inner) {
        const size_t channel = first / (size_t)inner % (size_t)means->channels;
        double exact = 0, rounded = 0;
        for (size_t i = first; i < first + (size_t)inner; i++) {
            float q = rintf(x[i] / range->scale) + (float)range->zero_point;
            q = q < 0 ? 0 : q > 255 ? 255 : q;
            exact += (double)x[i];
            rounded += (double)(range->scale * (q - (float)range->zero_point));
        }
        means->exact[channel] += exact;
        means->rounded[channel] += rounded;
    }
}

/* A third pass: the means before and after rounding. */
static vst_status find_means(vst_session *session, const vsti_candidates *c, vst_loader *loader,
                             const volatile sig_atomic_t *stop, const vsti_range *ranges, vsti_means *means) {
    vst_status status = VST_OK;
    vst_result result = {0};
    vst_batch batch;
    int64_t inner;
    double images = 0;
    for (int t = 0; t < c->tap_count; t++) {
        means[t].channels = channels_of(&vst_session_tap_at(session, t)->shape, &inner);
        means[t].exact = vst_calloc(2 * (size_t)means[t].channels, sizeof(double));
        if (!means[t].exact) VST_TRY(vst_fail_memory(2 * (size_t)means[t].channels * sizeof(double)));
        means[t].rounded = means[t].exact + means[t].channels;
    }
    VST_TRY(vst_loader_start(loader, 0, 0));
    for (;;) {
        VST_TRY(vsti_check_stop(stop));
        VST_TRY(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        VST_TRY(vst_session_run(session, batch.images, batch.count, &result));
        images += batch.count;
        for (int t = 0; t < c->tap_count; t++) {
            const vst_session_tap *tap = vst_session_tap_at(session, t);
            channels_of(&tap->shape, &inner);
            add_means(&means[t], &ranges[t], result.taps[t], (size_t)batch.count * tap->floats, inner);
        }
    }
    for (int t = 0; t < c->tap_count; t++) {
        const double each = images * (double)vst_session_tap_at(session, t)->floats / (double)means[t].channels;
        for (int64_t i = 0; i < 2 * means[t].channels; i++) means[t].exact[i] /= each;
    }
out:
    vst_result_clear(&result);
    return status;
}

vst_status vsti_calibrate(const vst_model *model, const vsti_candidates *candidates, vst_loader *loader,
                          const volatile sig_atomic_t *stop, vsti_range *ranges, vsti_means *means) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    const vst_session_options options = {
        .taps = (const char *const *)candidates->taps, .tap_count = candidates->tap_count, .taps_only = true};
    histogram *histograms = vst_calloc((size_t)candidates->tap_count + 1, sizeof *histograms);
    if (!histograms) VST_TRY(vst_fail_memory((size_t)candidates->tap_count * sizeof *histograms));
    VST_TRY(vst_session_create_model(&session, model, &options));
    VST_TRY(pass(session, candidates, loader, true, stop, histograms));
    VST_TRY(pass(session, candidates, loader, false, stop, histograms));
    for (int t = 0; t < candidates->tap_count; t++) ranges[t] = best_range(&histograms[t]);
    VST_TRY(find_means(session, candidates, loader, stop, ranges, means));
out:
    vst_session_close(session);
    vst_free(histograms);
    return status;
}
