/* Separable bicubic resizing, columns first. The weights of each output position are computed once, in double. */
#include "vision/tensor/resample.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "vision/base/memory.h"

enum { SIDE_MAX = 1 << 24 }; /* keeps positions and filter widths far from overflow */

typedef struct filter { /* along one dimension */
    int out, in, width; /* width: allocated weights per output position */
    int *first, *count; /* range of input positions per output position */
    double *weight;     /* (out, width) */
} filter;

/* The cubic convolution kernel (Keys, 1981); `a` is its free coefficient. */
static double cubic(double x, double a) {
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

static int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* Four taps; positions outside are clamped to the edge. */
static void fill_plain(filter *f, int i) {
    const double at = (i + 0.5) * f->in / f->out - 0.5;
    const int base = (int)floor(at), last = f->in - 1;
    double *weight = f->weight + (size_t)i * (size_t)f->width;
    f->first[i] = clamp(base - 1, 0, last);
    f->count[i] = clamp(base + 2, 0, last) - f->first[i] + 1;
    for (int k = base - 1; k <= base + 2; k++) weight[clamp(k, 0, last) - f->first[i]] += cubic(at - k, -0.75);
}

/* The filter is widened when shrinking; positions outside are left out and the weights are normalised. */
static void fill_antialiased(filter *f, int i) {
    const double scale = fmax((double)f->in / f->out, 1), at = (i + 0.5) * f->in / f->out, support = 2 * scale;
    double *weight = f->weight + (size_t)i * (size_t)f->width, sum = 0;
    f->first[i] = clamp((int)floor(at - support + 0.5), 0, f->in - 1);
    f->count[i] = clamp((int)floor(at + support + 0.5), f->first[i] + 1, f->in) - f->first[i];
    for (int k = 0; k < f->count[i]; k++) sum += weight[k] = cubic((f->first[i] + k + 0.5 - at) / scale, -0.5);
    for (int k = 0; k < f->count[i]; k++) weight[k] /= sum;
}

static void filter_destroy(filter *f) {
    vst_free(f->first);
    vst_free(f->count);
    vst_free(f->weight);
}

static vst_status filter_create(filter *f, int out, int in, bool antialias) {
    const int width = antialias && in > out ? (int)(4.0 * in / out) + 2 : 5;
    *f = (filter){.out = out, .in = in, .width = width < in ? width : in};
    const size_t cells = (size_t)out * (size_t)f->width;
    f->first = vst_calloc((size_t)out, sizeof *f->first);
    f->count = vst_calloc((size_t)out, sizeof *f->count);
    f->weight = vst_calloc(cells, sizeof *f->weight);
    if (!f->first || !f->count || !f->weight) return vst_fail_memory(cells * sizeof *f->weight);
    for (int i = 0; i < out; i++) {
        if (antialias) fill_antialiased(f, i);
        else fill_plain(f, i);
    }
    return VST_OK;
}

/* in (f->in, inner) -> out (f->out, inner) */
static void apply(const filter *f, float *out, const float *in, size_t inner) {
    memset(out, 0, (size_t)f->out * inner * sizeof *out);
    for (int i = 0; i < f->out; i++, out += inner)
        for (int k = 0; k < f->count[i]; k++) {
            const float weight = (float)f->weight[(size_t)i * (size_t)f->width + (size_t)k];
            const float *from = in + (size_t)(f->first[i] + k) * inner;
            for (size_t c = 0; c < inner; c++) out[c] += weight * from[c];
        }
}

static bool fits(int rows, int columns, int channels) {
    size_t count, bytes;
    return rows <= SIDE_MAX && columns <= SIDE_MAX &&
           vst_multiply((size_t)rows * (size_t)columns, (size_t)channels, &count) &&
           vst_multiply(count, sizeof(float), &bytes) && bytes <= PTRDIFF_MAX;
}

static vst_status check_sizes(int out_h, int out_w, int in_h, int in_w, int channels) {
    if (out_h < 1 || out_w < 1 || in_h < 1 || in_w < 1 || channels < 1)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "resizing %d x %d positions of %d channels to %d x %d: sizes must be at least 1", in_h, in_w,
                        channels, out_h, out_w);
    if (!fits(in_h, in_w, channels) || !fits(out_h, out_w, channels) || !fits(in_h, out_w, channels))
        return vst_fail(VST_ERROR_LIMIT, "resizing %d x %d positions of %d channels to %d x %d: too large", in_h, in_w,
                        channels, out_h, out_w);
    return VST_OK;
}

vst_status vst_resample_bicubic(float *out, int out_h, int out_w, const float *in, int in_h, int in_w, int channels,
                                bool antialias) {
    filter rows = {0}, columns = {0};
    float *half = NULL; /* (in_h, out_w, channels) */
    vst_status status = check_sizes(out_h, out_w, in_h, in_w, channels);
    if (status != VST_OK) return status;
    const size_t row_in = (size_t)in_w * (size_t)channels, row_out = (size_t)out_w * (size_t)channels;
    VST_TRY(filter_create(&rows, out_h, in_h, antialias));
    VST_TRY(filter_create(&columns, out_w, in_w, antialias));
    half = vst_alloc((size_t)in_h * row_out * sizeof *half);
    if (!half) {
        status = vst_fail_memory((size_t)in_h * row_out * sizeof *half);
        goto out;
    }
    for (int y = 0; y < in_h; y++)
        apply(&columns, half + (size_t)y * row_out, in + (size_t)y * row_in, (size_t)channels);
    apply(&rows, out, half, row_out);
out:
    filter_destroy(&rows);
    filter_destroy(&columns);
    vst_free(half);
    return status;
}

vst_status vst_resize_position(float *out, int out_h, int out_w, const float *in, int in_h, int in_w, int prefix_tokens,
                               int dim, bool antialias) {
    if (prefix_tokens < 0)
        return vst_fail(VST_ERROR_ARGUMENT, "a position embedding with %d prefix tokens", prefix_tokens);
    vst_status status = check_sizes(out_h, out_w, in_h, in_w, dim);
    if (status != VST_OK) return status;
    const size_t prefix = (size_t)prefix_tokens * (size_t)dim;
    memcpy(out, in, prefix * sizeof *out);
    return vst_resample_bicubic(out + prefix, out_h, out_w, in + prefix, in_h, in_w, dim, antialias);
}
