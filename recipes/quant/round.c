/* Rounds the weights of a layer so that its output changes least, not so that each weight does: for each output channel
 * (w - q)' H (w - q) is to be small, H being the second moments of what the layer reads. One column after the other is
 * rounded, and the columns that are left take over the error (GPTQ, Frantar et al., 2023, in the form of Babai's
 * nearest plane). */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/quant/internal.h"
#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"

enum { LANES = 8, CUTS = 20 }; /* rows at a time; steps between the largest weight and half of it */

/* ---- the step of a row ---- */

static int64_t neighbour(const vsti_candidate *layer, int64_t i) {
    return vsti_weight_neighbour(layer->in * layer->window, layer->window, i);
}

/* The nearest integer that a weight can be beside its neighbour, 0 where that is not rounded yet. */
static double nearest(double wanted, double beside) {
    const double low = fmax(-VSTI_WEIGHT_LEVELS, -VSTI_PAIR_LEVELS - beside),
                 high = fmin(VSTI_WEIGHT_LEVELS, VSTI_PAIR_LEVELS - beside);
    return fmin(fmax(rint(wanted), low), high);
}

static double least_step(const vsti_candidate *layer, const float *row) {
    double most = 0, sum = 0;
    for (int64_t i = 0; i < layer->in * layer->window; i++) {
        const int64_t other = neighbour(layer, i);
        most = fmax(most, fabs((double)row[i]));
        if (other > i) sum = fmax(sum, fabs((double)row[i] + (double)row[other]));
    }
    return fmax(most / VSTI_WEIGHT_LEVELS, sum / VSTI_PAIR_LEVELS);
}

static double error_of(const vsti_candidate *layer, const float *row, const float *importance, double step) {
    double error = 0;
    for (int64_t i = 0; i < layer->in * layer->window; i++) {
        const int64_t other = neighbour(layer, i);
        const double beside = other >= 0 && other < i ? nearest((double)row[other] / step, 0) : 0;
        const double off = step * nearest((double)row[i] / step, beside) - (double)row[i];
        error += (double)importance[i] * off * off;
    }
    return error;
}

/* The largest weights may be cut where that makes the rounding of the others finer. 0: a row of zeros. */
static double best_step(const vsti_candidate *layer, const float *row, const float *importance) {
    const double whole = least_step(layer, row);
    double best = 0, least = INFINITY;
    if (whole <= (double)FLT_MIN) return 0;
    for (int c = 0; c < CUTS; c++) {
        const double step = whole * (1 - 0.5 * c / CUTS), error = error_of(layer, row, importance, step);
        if (error >= least) continue;
        least = error;
        best = step;
    }
    return best;
}

/* ---- rounding ---- */

/* H = R'R, R upper triangular with its rows divided by their diagonal, which is all that rounding needs. */
static void factorise(double *h, int64_t n) {
    for (int64_t k = 0; k < n; k++) {
        double *row = h + k * n;
        const double scale = 1 / row[k];
        for (int64_t i = k + 1; i < n; i++) {
            const double factor = row[i] * scale;
            double *below = h + i * n;
            for (int64_t j = i; j < n; j++) below[j] -= factor * row[j];
        }
        for (int64_t j = k; j < n; j++) row[j] *= scale;
    }
}

/* Rounds LANES rows, w (n, LANES) in the order of the factor's columns; afterwards w holds the integers. beside: the
 * place of each column's neighbour; error: (n, LANES). */
static void round_rows(const double *factor, int64_t n, const int64_t *beside, const double *steps, double *w,
                       double *error) {
    static const double none[LANES];
    for (int64_t i = n - 1; i >= 0; i--) {
        const double *other = beside[i] > i ? w + beside[i] * LANES : none;
        double wanted[LANES];
        memcpy(wanted, w + i * LANES, sizeof wanted);
        for (int64_t j = i + 1; j < n; j++)
            for (int l = 0; l < LANES; l++) wanted[l] += factor[i * n + j] * error[j * LANES + l];
        for (int l = 0; l < LANES; l++) {
            const double q = steps[l] > 0 ? nearest(wanted[l] / steps[l], other[l]) : 0;
            error[i * LANES + l] = w[i * LANES + l] - steps[l] * q;
            w[i * LANES + l] = q;
        }
    }
}

/* ---- a layer ---- */

typedef struct ranked {
    double size;
    int64_t column;
} ranked;

typedef struct rounding {
    const vsti_candidate *layer;
    const vsti_moments *moments;
    float *weight;             /* (out, in, window) */
    ranked *order;             /* (columns): what is rounded first stands last */
    int64_t *place, *beside;   /* (columns): of a column in the order; of the neighbour of a place, -1: none */
    double *factor;            /* (columns, columns) */
    double *w, *error, *steps; /* (columns, LANES), the same, (out) */
    float *importance;         /* (in, window): the diagonal of the moments of one group */
} rounding;

static int by_size(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->size != y->size ? (x->size > y->size) - (x->size < y->size)
                              : (x->column > y->column) - (x->column < y->column);
}

static const float *moments_of(const rounding *r, int64_t group, int64_t part) {
    const vsti_moments *m = r->moments;
    return m->values + (group * m->parts + part) * m->columns * m->columns;
}

/* Columns of a part that the weight has; the last part may have fewer. */
static int64_t used_columns(const rounding *r, int64_t part) {
    const int64_t left = r->layer->in - part * r->moments->channels;
    return (left < r->moments->channels ? left : r->moments->channels) * r->layer->window;
}

/* Orders the columns of a part and factorises its moments. The diagonal grows by a hundredth of its mean: what the
 * images did not show is not trusted. */
static void prepare(rounding *r, const float *moments) {
    const int64_t n = r->moments->columns;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        r->order[i] = (ranked){(double)moments[i * n + i], i};
        sum += r->order[i].size;
    }
    qsort(r->order, (size_t)n, sizeof *r->order, by_size);
    for (int64_t i = 0; i < n; i++) r->place[r->order[i].column] = i;
    for (int64_t i = 0; i < n; i++) {
        const int64_t other = neighbour(r->layer, r->order[i].column);
        r->beside[i] = other >= 0 && other < n ? r->place[other] : -1;
    }
    const double more = sum > 0 ? 0.01 * sum / (double)n : 1;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++)
            r->factor[i * n + j] = (double)moments[r->order[i].column * n + r->order[j].column] + (i == j ? more : 0);
    factorise(r->factor, n);
}

/* Rounds the weights of LANES outputs in a part; they become integers. */
static void round_lanes(rounding *r, int64_t first, int64_t rows, int64_t part) {
    const int64_t n = r->moments->columns, used = used_columns(r, part), width = r->layer->in * r->layer->window;
    float *weight = r->weight + first * width + part * n;
    double steps[LANES] = {0};
    memset(r->w, 0, (size_t)(n * LANES) * sizeof *r->w);
    for (int64_t l = 0; l < rows; l++) {
        steps[l] = r->steps[first + l];
        for (int64_t i = 0; i < n; i++)
            if (r->order[i].column < used) r->w[i * LANES + l] = (double)weight[l * width + r->order[i].column];
    }
    round_rows(r->factor, n, r->beside, steps, r->w, r->error);
    for (int64_t l = 0; l < rows; l++)
        for (int64_t i = 0; i < n; i++)
            if (r->order[i].column < used) weight[l * width + r->order[i].column] = (float)r->w[i * LANES + l];
}

/* From integers to weights. The step is found again as the least one within the levels, so that a weight or the sum of
 * neighbours has to reach them: the one that lacks least is brought there. */
static void finish_row(const vsti_candidate *layer, float *row, double step) {
    const int64_t n = layer->in * layer->window;
    float lack = INFINITY;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t other = neighbour(layer, i);
        const float alone = VSTI_WEIGHT_LEVELS - fabsf(row[i]),
                    both = other >= 0 && fabsf(row[i]) >= fabsf(row[other])
                               ? VSTI_PAIR_LEVELS - fabsf(row[i] + row[other])
                               : INFINITY,
                    less = fminf(alone, both);
        if (row[i] == 0 || less >= lack) continue;
        lack = less;
        at = i;
    }
    if (lack < INFINITY) row[at] += copysignf(lack, row[at]);
    for (int64_t i = 0; i < n; i++) row[i] = (float)((double)row[i] * step);
}

static void round_group(rounding *r, int64_t group) {
    const vsti_moments *m = r->moments;
    const int64_t rows = r->layer->out / r->layer->groups, first = group * rows,
                  width = r->layer->in * r->layer->window;
    for (int64_t p = 0; p < m->parts; p++)
        for (int64_t i = 0; i < used_columns(r, p); i++)
            r->importance[p * m->columns + i] = moments_of(r, group, p)[i * m->columns + i];
    for (int64_t o = first; o < first + rows; o++)
        r->steps[o] = best_step(r->layer, r->weight + o * width, r->importance);
    for (int64_t p = 0; p < m->parts; p++) {
        prepare(r, moments_of(r, group, p));
        for (int64_t o = first; o < first + rows; o += LANES)
            round_lanes(r, o, first + rows - o < LANES ? first + rows - o : LANES, p);
    }
    for (int64_t o = first; o < first + rows; o++) finish_row(r->layer, r->weight + o * width, r->steps[o]);
}

vst_status vsti_round(float *weight, const vsti_candidate *layer, const vsti_moments *moments) {
    vst_status status = VST_OK;
    const size_t n = (size_t)moments->columns, width = (size_t)(layer->in * layer->window);
    rounding r = {.layer = layer, .moments = moments, .weight = weight};
    r.order = vst_alloc(n * sizeof *r.order);
    r.place = vst_alloc(2 * n * sizeof *r.place);
    r.factor = vst_alloc((n * n + 2 * n * LANES + (size_t)layer->out) * sizeof *r.factor);
    r.importance = vst_alloc(width * sizeof *r.importance);
    if (!r.order || !r.place || !r.factor || !r.importance) VST_TRY(vst_fail_memory((n * n) * sizeof *r.factor));
    r.beside = r.place + n;
    r.w = r.factor + n * n;
    r.error = r.w + n * LANES;
    r.steps = r.error + n * LANES;
    for (int64_t g = 0; g < layer->groups; g++) round_group(&r, g);
out:
    vst_free(r.order);
    vst_free(r.place);
    vst_free(r.factor);
    vst_free(r.importance);
    return status;
}
