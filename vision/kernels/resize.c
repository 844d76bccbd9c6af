/* Adaptive average pooling; bilinear and bicubic resizing of maps, align_corners=False, no antialiasing, as
 * torch.nn.functional.interpolate: source coordinate (i + 0.5) in / out - 0.5 (bilinear: at least 0), cubic coefficient
 * -0.75, edges clamped. */
#include <math.h>
#include <string.h>

#include "vision/kernels/exact.h"

typedef struct taps { /* up to four input positions and their weights */
    int count;
    int64_t at[4];
    float weight[4];
} taps;

static double cubic(double x) {
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

static int64_t clamp(int64_t x, int64_t count) { return x < 0 ? 0 : x >= count ? count - 1 : x; }

static taps taps_of(int64_t i, int64_t in, int64_t out, bool bicubic) {
    double x = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    taps t = {.count = bicubic ? 4 : 2};
    if (!bicubic && x < 0) x = 0;
    const int64_t base = (int64_t)floor(x);
    for (int k = 0; k < t.count; k++) {
        const int64_t position = bicubic ? base - 1 + k : base + k;
        t.at[k] = clamp(position, in);
        t.weight[k] = (float)(bicubic ? cubic(x - (double)position) : 1 - fabs(x - (double)position));
    }
    return t;
}

/* The weights of CHUNK columns are computed once for all rows of a plane. No network has wider maps, so gradients are
 * added row by row. */
enum { CHUNK = 256 };
static int columns_of(const vsti_resize *s, int64_t first, taps columns[CHUNK]) {
    const int count = s->out_width - first < CHUNK ? (int)(s->out_width - first) : CHUNK;
    for (int i = 0; i < count; i++)
        columns[i] = taps_of(first + i, s->in_width, s->out_width, s->kind == VSTI_RESIZE_BICUBIC);
    return count;
}

static void forward_plane(const vsti_resize *s, const float *in, float *out) {
    taps columns[CHUNK];
    for (int64_t first = 0; first < s->out_width; first += CHUNK) {
        const int count = columns_of(s, first, columns);
        for (int64_t y = 0; y < s->out_height; y++) {
            const taps rows = taps_of(y, s->in_height, s->out_height, s->kind == VSTI_RESIZE_BICUBIC);
            for (int x = 0; x < count; x++) {
                float sum = 0;
                for (int r = 0; r < rows.count; r++)
                    for (int c = 0; c < columns[x].count; c++)
                        sum += rows.weight[r] * columns[x].weight[c] * in[rows.at[r] * s->in_width + columns[x].at[c]];
                out[y * s->out_width + first + x] = sum;
            }
        }
    }
}

/* The transposed map: adds every output's gradient to the input positions that it was computed from. */
static void backward_plane(const vsti_resize *s, const float *dout, float *din) {
    taps columns[CHUNK];
    memset(din, 0, (size_t)(s->in_height * s->in_width) * sizeof *din);
    for (int64_t first = 0; first < s->out_width; first += CHUNK) {
        const int count = columns_of(s, first, columns);
        for (int64_t y = 0; y < s->out_height; y++) {
            const taps rows = taps_of(y, s->in_height, s->out_height, s->kind == VSTI_RESIZE_BICUBIC);
            for (int x = 0; x < count; x++)
                for (int r = 0; r < rows.count; r++)
                    for (int c = 0; c < columns[x].count; c++)
                        din[rows.at[r] * s->in_width + columns[x].at[c]] +=
                            rows.weight[r] * columns[x].weight[c] * dout[y * s->out_width + first + x];
        }
    }
}

/* The inputs first … end - 1 of an output of adaptive average pooling. */
typedef struct span {
    int64_t first, end;
} span;
static span span_of(int64_t i, int64_t in, int64_t out) { return (span){i * in / out, ((i + 1) * in + out - 1) / out}; }

static void area_plane(const vsti_resize *s, const float *in, float *out) {
    for (int64_t y = 0; y < s->out_height; y++)
        for (int64_t x = 0; x < s->out_width; x++) {
            const span rows = span_of(y, s->in_height, s->out_height), cols = span_of(x, s->in_width, s->out_width);
            float sum = 0;
            for (int64_t r = rows.first; r < rows.end; r++)
                for (int64_t c = cols.first; c < cols.end; c++) sum += in[r * s->in_width + c];
            out[y * s->out_width + x] = sum / (float)((rows.end - rows.first) * (cols.end - cols.first));
        }
}

static void area_plane_backward(const vsti_resize *s, const float *dout, float *din) {
    memset(din, 0, (size_t)(s->in_height * s->in_width) * sizeof *din);
    for (int64_t y = 0; y < s->out_height; y++)
        for (int64_t x = 0; x < s->out_width; x++) {
            const span rows = span_of(y, s->in_height, s->out_height), cols = span_of(x, s->in_width, s->out_width);
            const float part = dout[y * s->out_width + x] / (float)((rows.end - rows.first) * (cols.end - cols.first));
            for (int64_t r = rows.first; r < rows.end; r++)
                for (int64_t c = cols.first; c < cols.end; c++) din[r * s->in_width + c] += part;
        }
}

void K(resize)(const vsti_resize *s, const float *x, float *y) {
    const int64_t in = s->in_height * s->in_width, out = s->out_height * s->out_width;
#pragma omp parallel for schedule(static) if (s->planes * out > VSTI_PARALLEL)
    for (int64_t p = 0; p < s->planes; p++)
        (s->kind == VSTI_RESIZE_AREA ? area_plane : forward_plane)(s, x + p * in, y + p * out);
}

void K(resize_backward)(const vsti_resize *s, const float *dy, float *dx) {
    const int64_t in = s->in_height * s->in_width, out = s->out_height * s->out_width;
#pragma omp parallel for schedule(static) if (s->planes * out > VSTI_PARALLEL)
    for (int64_t p = 0; p < s->planes; p++)
        (s->kind == VSTI_RESIZE_AREA ? area_plane_backward : backward_plane)(s, dy + p * out, dx + p * in);
}
