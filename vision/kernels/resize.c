/* Bilinear and bicubic resizing of maps, align_corners=False, no antialiasing, as torch.nn.functional.interpolate:
 * source coordinate (i + 0.5) in / out - 0.5 (bilinear: at least 0), cubic coefficient -0.75, edges clamped. */
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

static void forward_plane(const vsti_resize *s, const float *in, float *out) {
    for (int64_t y = 0; y < s->out_height; y++) {
        const taps rows = taps_of(y, s->in_height, s->out_height, s->bicubic);
        for (int64_t x = 0; x < s->out_width; x++) {
            const taps cols = taps_of(x, s->in_width, s->out_width, s->bicubic);
            float sum = 0;
            for (int r = 0; r < rows.count; r++)
                for (int c = 0; c < cols.count; c++)
                    sum += rows.weight[r] * cols.weight[c] * in[rows.at[r] * s->in_width + cols.at[c]];
            out[y * s->out_width + x] = sum;
        }
    }
}

/* The transposed map: adds every output's gradient to the input positions that it was computed from. */
static void backward_plane(const vsti_resize *s, const float *dout, float *din) {
    memset(din, 0, (size_t)(s->in_height * s->in_width) * sizeof *din);
    for (int64_t y = 0; y < s->out_height; y++) {
        const taps rows = taps_of(y, s->in_height, s->out_height, s->bicubic);
        for (int64_t x = 0; x < s->out_width; x++) {
            const taps cols = taps_of(x, s->in_width, s->out_width, s->bicubic);
            for (int r = 0; r < rows.count; r++)
                for (int c = 0; c < cols.count; c++)
                    din[rows.at[r] * s->in_width + cols.at[c]] +=
                        rows.weight[r] * cols.weight[c] * dout[y * s->out_width + x];
        }
    }
}

void K(resize)(const vsti_resize *s, const float *x, float *y) {
    const int64_t in = s->in_height * s->in_width, out = s->out_height * s->out_width;
#pragma omp parallel for schedule(static) if (s->planes * out > VSTI_PARALLEL)
    for (int64_t p = 0; p < s->planes; p++) forward_plane(s, x + p * in, y + p * out);
}

void K(resize_backward)(const vsti_resize *s, const float *dy, float *dx) {
    const int64_t in = s->in_height * s->in_width, out = s->out_height * s->out_width;
#pragma omp parallel for schedule(static) if (s->planes * out > VSTI_PARALLEL)
    for (int64_t p = 0; p < s->planes; p++) backward_plane(s, dy + p * out, dx + p * in);
}
