/* Second moments of what layers read, after rounding, about its means: they say how much an error of a weight costs,
 * and which other weights can make up for it. From a sample of rows: inputs of a linear layer, windows of a
 * convolution. */
#include "recipes/infer/model_session.h"
#include "recipes/quant/internal.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/ops/ops.h"
#include "vision/plan/program.h"

enum {
    MOST_COLUMNS = 1280, /* of a part: more are divided, and moments between parts are taken for 0 */
    SAMPLES = 8192,      /* rows that all images together give, if they have so many */
    BLOCK = 512          /* rows whose product is computed at a time */
};

/* ---- X'X ---- */

typedef struct square {
    vst_params *params;
    vst_graph *graph;
    vst_program *program;
    vst_context *context;
} square;

static void square_clear(square *s) {
    vst_context_destroy(s->context);
    vst_program_destroy(s->program);
    vst_graph_destroy(s->graph);
    vst_params_destroy(s->params);
}

static vst_status square_create(square *s, int64_t columns) {
    vst_status status = VST_OK;
    VST_TRY(vst_params_create(&s->params));
    VST_TRY(vst_graph_create(&s->graph, s->params));
    const vst_value x = vst_input(s->graph, "x", VST_SHAPE(BLOCK, columns)),
                    y = vst_matmul(s->graph, x, x, true, false);
    VST_TRY(vst_graph_finish(s->graph));
    VST_TRY(vst_params_allocate(s->params, false, 0));
    VST_TRY(vst_program_create(&s->program, s->graph, &y, 1, &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&s->context, s->program, NULL));
out:
    return status;
}

typedef struct collector {
    const vsti_candidates *candidates;
    const vsti_calibration *calibration;
    vsti_moments *moments; /* by layer */
    square *squares;       /* by layer; that of the first layer with as many columns is used */
    int64_t samples;       /* rows of an image */
    uint64_t image;        /* the first one of the batch */
} collector;

static vst_status square_of(collector *self, size_t layer, square **out) {
    size_t first = 0;
    while (self->moments[first].columns != self->moments[layer].columns) first++;
    *out = &self->squares[first];
    return (*out)->context ? VST_OK : square_create(*out, self->moments[layer].columns);
}

/* Adds the rows in the square's input, of which `rows` are filled. */
static vst_status add_rows(square *s, int64_t rows, int64_t columns, float *sum) {
    float *x = vst_context_input(s->context, "x");
    for (int64_t i = rows * columns; i < BLOCK * columns; i++) x[i] = 0;
    const vst_status status = vst_context_run(s->context, 0);
    const float *product = vst_context_output(s->context, 0);
    for (int64_t i = 0; i < columns * columns && status == VST_OK; i++) sum[i] += product[i];
    return status;
}

/* ---- rows ---- */

/* Channels of a part, in the channels of what the layer reads. */
typedef struct part {
    int64_t first, count;
} part;

static part part_at(const vsti_candidate *layer, const vsti_moments *m, int64_t index) {
    const int64_t group = index / m->parts, first = index % m->parts * m->channels, left = layer->in - first;
    return (part){group * layer->in + first, left < m->channels ? left : m->channels};
}

static int64_t positions_of(const vsti_candidate *layer, size_t floats) {
    return layer->convolution ? layer->out_height * layer->out_width : (int64_t)floats / layer->in;
}

/* Outside of the image there are zeros. */
static float pixel(const vsti_candidate *layer, const float *channel, int64_t y, int64_t x) {
    const bool inside = y >= 0 && y < layer->height && x >= 0 && x < layer->width;
    return inside ? channel[y * layer->width + x] : 0;
}

/* One row: what the layer reads at a position of an image, without the channels' means. */
static void gather(const collector *self, const vsti_candidate *layer, part p, const float *image, int64_t position,
                   float *row) {
    const vsti_range *range = &self->calibration->ranges[layer->tap];
    const double *mean = self->calibration->means[layer->tap].rounded;
    for (int64_t c = p.first; c < p.first + p.count; c++) {
        if (!layer->convolution) {
            *row++ = (float)(vsti_rounded((double)image[position * layer->in + c], range) - mean[c]);
            continue;
        }
        const float *channel = image + c * layer->height * layer->width;
        const int64_t top = position / layer->out_width * layer->stride - layer->top,
                      left = position % layer->out_width * layer->stride - layer->left;
        for (int64_t k = 0; k < layer->window; k++) {
            const float x = pixel(layer, channel, top + k / layer->kernel * layer->dilation,
                                  left + k % layer->kernel * layer->dilation);
            *row++ = (float)(vsti_rounded((double)x, range) - mean[c]);
        }
    }
}

static vst_status take_part(collector *self, size_t index, int64_t at, const float *x, int images, size_t floats) {
    vst_status status = VST_OK;
    const vsti_candidate *layer = &self->candidates->list[index];
    vsti_moments *m = &self->moments[index];
    const part p = part_at(layer, m, at);
    const int64_t positions = positions_of(layer, floats),
                  samples = positions < self->samples ? positions : self->samples,
                  used = p.count * layer->window; /* the last part may have fewer columns */
    float *sum = m->values + at * m->columns * m->columns;
    square *s;
    int64_t row = 0;
    VST_TRY(square_of(self, index, &s));
    float *rows = vst_context_input(s->context, "x");
    for (int64_t i = 0; i < images * samples; i++) {
        const uint64_t image = self->image + (uint64_t)(i / samples);
        const uint64_t position = vst_random_permute(image, 0, (uint64_t)positions, (uint64_t)(i % samples));
        float *to = rows + row * m->columns;
        gather(self, layer, p, x + (size_t)(i / samples) * floats, (int64_t)position, to);
        for (int64_t c = used; c < m->columns; c++) to[c] = 0;
        if (++row < BLOCK) continue;
        VST_TRY(add_rows(s, row, m->columns, sum));
        row = 0;
    }
    if (row) VST_TRY(add_rows(s, row, m->columns, sum));
out:
    return status;
}

static vst_status take(void *raw, int tap, const float *x, int images, size_t floats) {
    vst_status status = VST_OK;
    collector *self = raw;
    for (size_t i = 0; i < self->candidates->count; i++) {
        const vsti_candidate *layer = &self->candidates->list[i];
        if (!layer->usable || layer->tap != tap || !self->moments[i].values) continue;
        for (int64_t p = 0; p < layer->groups * self->moments[i].parts; p++)
            VST_TRY(take_part(self, i, p, x, images, floats));
    }
    if (tap == self->candidates->tap_count - 1) self->image += (uint64_t)images;
out:
    return status;
}

/* ---- the whole ---- */

void vsti_moments_describe(vsti_moments *m, const vsti_candidate *layer) {
    const int64_t most = layer->window < MOST_COLUMNS ? MOST_COLUMNS / layer->window : 1;
    m->parts = (layer->in + most - 1) / most;
    m->channels = (layer->in + m->parts - 1) / m->parts;
    if (m->parts > 1) {
        m->channels += m->channels % 2;                         /* neighbours stay together */
        m->parts = (layer->in + m->channels - 1) / m->channels; /* of larger ones there may be fewer */
    }
    m->columns = m->channels * layer->window;
    m->floats = (size_t)(layer->groups * m->parts * m->columns * m->columns);
}

vst_status vsti_moments_collect(vsti_moments *moments, const vst_model *model, const vsti_candidates *candidates,
                                vst_loader *loader, const volatile sig_atomic_t *stop,
                                const vsti_calibration *calibration) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    collector self = {.candidates = candidates,
                      .calibration = calibration,
                      .moments = moments,
                      .samples = (int64_t)((SAMPLES + calibration->images - 1) / calibration->images)};
    self.squares = vst_calloc(candidates->count + 1, sizeof *self.squares);
    if (!self.squares) VST_TRY(vst_fail_memory(candidates->count * sizeof *self.squares));
    VST_TRY(vsti_taps_open(&session, model, candidates));
    VST_TRY(vsti_each_tap(session, candidates, loader, stop, take, &self));
out:
    for (size_t i = 0; self.squares && i < candidates->count; i++) square_clear(&self.squares[i]);
    vst_free(self.squares);
    vst_session_close(session);
    return status;
}
