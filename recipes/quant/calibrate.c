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
    histogram *histograms; /* by tap, as the following two */
    vsti_range *ranges;
    vsti_means *means;
} calibration;

/* What a pass does with the values of one tap for `images` images. */
typedef vst_status take(calibration *self, int tap, const float *x, int images);

static size_t floats_of(const calibration *self, int tap) { return vst_session_tap_at(self->session, tap)->floats; }

/* One pass. *images becomes the number of images. */
static vst_status pass(calibration *self, vst_loader *loader, const volatile sig_atomic_t *stop, take *with,
                       double *images) {
    vst_status status = VST_OK;
    vst_result result = {0};
    vst_batch batch;
    *images = 0;
    VST_TRY(vst_loader_start(loader, 0, 0));
    for (;;) {
        VST_TRY(vsti_check_stop(stop));
        VST_TRY(vst_loader_next(loader, &batch));
        if (!batch.count) break;
        VST_TRY(vst_session_run(self->session, batch.images, batch.count, &result));
        *images += batch.count;
        for (int t = 0; t < self->candidates->tap_count; t++) VST_TRY(with(self, t, result.taps[t], batch.count));
    }
out:
    vst_result_clear(&result);
    return status;
}

/* ---- ranges ---- */

static vst_status take_extremes(calibration *self, int tap, const float *x, int images) {
    histogram *h = &self->histograms[tap];
    const size_t n = (size_t)images * floats_of(self, tap);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return vst_fail(VST_ERROR_NUMERIC, "%s has values that are not finite: this model cannot be quantised",
                            self->candidates->taps[tap]);
        if (x[i] < h->low) h->low = x[i];
        if (x[i] > h->high) h->high = x[i];
    }
    return VST_OK;
}

static vst_status take_counts(calibration *self, int tap, const float *x, int images) {
    histogram *h = &self->histograms[tap];
    const size_t n = (size_t)images * floats_of(self, tap);
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

static double rounded(double x, const vsti_range *range) {
    const double q = rint(x / (double)range->scale) + range->zero_point, cut = q < 0 ? 0 : q > 255 ? 255 : q;
    return (double)range->scale * (cut - range->zero_point);
}

/* The mean square error of quantising, and the mean square, of what the histogram counted. */
static double error_of(const histogram *h, const vsti_range *range, double *square) {
    const double step = ((double)h->high - (double)h->low) / (BINS - 1);
    double error = 0, total = 0;
    *square = 0;
    for (int i = 0; i < BINS; i++) {
        if (!h->bins[i]) continue;
        const double x = (double)h->low + step * i, n = (double)h->bins[i], off = rounded(x, range) - x;
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

/* Channels of a tap: dimension 1 where convolutions read it, the last one where linear layers do, as those of ConvNeXt
 * read images, too; *inner elements follow each. */
static int64_t channels_of(const calibration *self, int tap, int64_t *inner) {
    const vst_shape *shape = &vst_session_tap_at(self->session, tap)->shape;
    const vsti_candidate *reader = self->candidates->list;
    while (reader->tap != tap) reader++;
    *inner = reader->convolution ? shape->dim[2] * shape->dim[3] : 1;
    return shape->dim[reader->convolution ? 1 : shape->rank - 1];
}

static vst_status take_means(calibration *self, int tap, const float *x, int images) {
    vsti_means *means = &self->means[tap];
    const size_t n = (size_t)images * floats_of(self, tap);
    int64_t inner;
    channels_of(self, tap, &inner);
    for (size_t first = 0; first < n; first += (size_t)inner) {
        const size_t channel = first / (size_t)inner % (size_t)means->channels;
        for (size_t i = first; i < first + (size_t)inner; i++) {
            means->exact[channel] += (double)x[i];
            means->rounded[channel] += rounded((double)x[i], &self->ranges[tap]);
        }
    }
    return VST_OK;
}

static vst_status reserve_means(calibration *self) {
    int64_t inner;
    for (int t = 0; t < self->candidates->tap_count; t++) {
        vsti_means *means = &self->means[t];
        means->channels = channels_of(self, t, &inner);
        means->exact = vst_calloc(2 * (size_t)means->channels, sizeof *means->exact);
        if (!means->exact) return vst_fail_memory(2 * (size_t)means->channels * sizeof *means->exact);
        means->rounded = means->exact + means->channels;
    }
    return VST_OK;
}

/* The batch's program, and what all taps of it give. */
static vst_status check_memory(const calibration *self, const vst_loader *loader, int batch) {
    size_t bytes = 0;
    vst_status status = vst_session_prepare(self->session, batch);
    for (int t = 0; t < self->candidates->tap_count; t++) bytes += (size_t)batch * floats_of(self, t) * sizeof(float);
    bytes += vst_session_bytes(self->session) + vst_loader_bytes(loader);
    if (status == VST_OK)
        status = vsti_memory_check(vsti_memory_used() + bytes, "the calibration", VSTI_QUANT_MEMORY_ADVICE);
    return status;
}

vst_status vsti_calibrate(const vst_model *model, const vsti_candidates *candidates, vst_loader *loader, int batch,
                          const volatile sig_atomic_t *stop, vsti_range *ranges, vsti_means *means) {
    vst_status status = VST_OK;
    calibration self = {.candidates = candidates, .ranges = ranges, .means = means};
    const vst_session_options options = {
        .taps = (const char *const *)candidates->taps, .tap_count = candidates->tap_count, .taps_only = true};
    double images;
    self.histograms = vst_calloc((size_t)candidates->tap_count + 1, sizeof *self.histograms);
    if (!self.histograms) VST_TRY(vst_fail_memory((size_t)candidates->tap_count * sizeof *self.histograms));
    VST_TRY(vst_session_create_model(&self.session, model, &options));
    VST_TRY(check_memory(&self, loader, batch));
    VST_TRY(pass(&self, loader, stop, take_extremes, &images));
    VST_TRY(pass(&self, loader, stop, take_counts, &images));
    for (int t = 0; t < candidates->tap_count; t++) ranges[t] = best_range(&self.histograms[t]);
    VST_TRY(reserve_means(&self));
    VST_TRY(pass(&self, loader, stop, take_means, &images));
    for (int t = 0; t < candidates->tap_count; t++) {
        const double each = images * (double)floats_of(&self, t) / (double)means[t].channels;
        for (int64_t i = 0; i < 2 * means[t].channels; i++) means[t].exact[i] /= each;
    }
out:
    vst_session_close(self.session);
    vst_free(self.histograms);
    return status;
}
