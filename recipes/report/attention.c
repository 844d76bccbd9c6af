/* Attention rollout and its picture. */
#include "recipes/report/attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/distill/tap.h"
#include "vision/base/memory.h"
#include "vision/image/resize.h"
#include "vision/ops/ops.h"
#include "vision/plan/program.h"

enum { MOST_BLOCKS = 100, MOST_TOKENS = 2 };

struct vsti_attention {
    vst_graph *graph;
    vst_program *program;
    vst_context *context;
    size_t pixels;                                /* floats of an image */
    int blocks, heads, tokens, side, prefix, all; /* all: tokens and patches */
    double *row, *next;                           /* (all) */
};

/* The attention of all blocks in order, as far as they have any. */
static int find_blocks(vst_graph *graph, vst_value values[MOST_BLOCKS]) {
    int count = 0;
    for (; count < MOST_BLOCKS; count++) {
        char wanted[32], name[VST_TAP_NAME];
        snprintf(wanted, sizeof wanted, "blocks.%d.scores", count);
        const vst_value scores = vst_tap_find(graph, wanted, name);
        if (!scores.id) break;
        values[count] = vst_softmax(graph, scores);
    }
    return count;
}

/* False for a model that has no class token before a square grid of patches. */
static bool find_grid(vsti_attention *self, const vst_value *values) {
    if (self->blocks == 0) return false;
    const vst_shape shape = vst_shape_at(self->graph, values[0]);
    if (shape.rank != 4) return false;
    self->heads = (int)shape.dim[1];
    self->all = (int)shape.dim[3];
    self->side = vst_token_side(shape.dim[3], &self->prefix);
    self->tokens = self->prefix < MOST_TOKENS ? self->prefix : MOST_TOKENS;
    return self->side > 0 && self->prefix > 0;
}

vst_status vsti_attention_create(vsti_attention **out, const vst_model_config *model, vst_params *params) {
    vst_status status = VST_OK;
    vst_value values[MOST_BLOCKS];
    const vst_model_common *common = vst_model_common_of(model);
    vsti_attention *self = vst_calloc(1, sizeof *self);
    *out = NULL;
    if (!self) return vst_fail_memory(sizeof *self);
    self->pixels = (size_t)common->channels * (size_t)common->image * (size_t)common->image;
    VST_TRY(vst_graph_create(&self->graph, params));
    vst_model_build(self->graph, model, 1);
    self->blocks = find_blocks(self->graph, values);
    VST_TRY(vst_graph_finish(self->graph));
    if (!find_grid(self, values)) goto out;
    VST_TRY(vst_program_create(&self->program, self->graph, values, self->blocks,
                               &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&self->context, self->program, NULL));
    self->row = vst_calloc((size_t)self->all, sizeof *self->row);
    self->next = vst_calloc((size_t)self->all, sizeof *self->next);
    if (!self->row || !self->next) VST_TRY(vst_fail_memory((size_t)self->all * sizeof *self->row));
    *out = self;
    self = NULL;
out:
    vsti_attention_destroy(self);
    return status;
}

void vsti_attention_destroy(vsti_attention *attention) {
    if (!attention) return;
    vst_context_destroy(attention->context);
    vst_program_destroy(attention->program);
    vst_graph_destroy(attention->graph);
    vst_free(attention->row);
    vst_free(attention->next);
    vst_free(attention);
}

int vsti_attention_tokens(const vsti_attention *attention) { return attention->tokens; }
int vsti_attention_side(const vsti_attention *attention) { return attention->side; }

/* row <- row (A + I)/2, from the last block to the first: one row of the product needs no product of matrices. */
static void roll(vsti_attention *self, const float *attention) {
    const size_t all = (size_t)self->all;
    for (size_t i = 0; i < all; i++) self->next[i] = self->row[i] / 2;
    for (size_t h = 0; h < (size_t)self->heads; h++)
        for (size_t i = 0; i < all; i++) {
            const float *weights = attention + (h * all + i) * all;
            const double share = self->row[i] / 2 / self->heads;
            for (size_t j = 0; j < all; j++) self->next[j] += share * weights[j];
        }
    double *swap = self->row;
    self->row = self->next;
    self->next = swap;
}

vst_status vsti_attention_run(vsti_attention *attention, const float *image, float *maps) {
    const size_t patches = (size_t)attention->side * (size_t)attention->side;
    memcpy(vst_context_input(attention->context, "image"), image, attention->pixels * sizeof *image);
    const vst_status status = vst_context_run(attention->context, 0);
    if (status != VST_OK) return status;
    for (int token = 0; token < attention->tokens; token++) {
        for (int i = 0; i < attention->all; i++) attention->row[i] = i == token;
        for (int b = attention->blocks; b-- > 0;) roll(attention, vst_context_output(attention->context, b));
        for (size_t i = 0; i < patches; i++)
            maps[(size_t)token * patches + i] = (float)attention->row[(size_t)attention->prefix + i];
    }
    return VST_OK;
}

/* ---- The picture ---- */

/* 0 … 1 from black through purple and orange to a light yellow: brighter the more, also in print and for the
 * colour-blind. */
static void heat_colour(double heat, double colour[3]) {
    static const double stops[5][3] = {{8, 6, 28}, {92, 24, 110}, {196, 56, 84}, {246, 132, 42}, {252, 232, 130}};
    const double at = fmin(fmax(heat, 0), 1) * 4;
    const int stop = at < 3 ? (int)at : 3;
    for (int c = 0; c < 3; c++) colour[c] = stops[stop][c] + (at - stop) * (stops[stop + 1][c] - stops[stop][c]);
}

static vst_status stretch(const float *map, int side, int height, int width, vst_image *out) {
    vst_status status = VST_OK;
    vst_image grid = {0}, scratch = {0};
    float low = map[0], high = map[0];
    for (int i = 1; i < side * side; i++) low = fminf(low, map[i]), high = fmaxf(high, map[i]);
    VST_TRY(vst_image_allocate(&grid, 1, side, side));
    for (int i = 0; i < side * side; i++)
        grid.pixels[i] = high > low ? (uint8_t)lroundf(255 * (map[i] - low) / (high - low)) : 0;
    VST_TRY(vst_image_resize(&grid, NULL, height, width, VST_FILTER_BICUBIC, &scratch, out));
out:
    vst_image_clear(&grid);
    vst_image_clear(&scratch);
    return status;
}

vst_status vsti_attention_overlay(const vst_image *picture, const float *map, int side, vst_image *out) {
    vst_status status = VST_OK;
    vst_image heat = {0};
    VST_TRY(stretch(map, side, picture->height, picture->width, &heat));
    VST_TRY(vst_image_allocate(out, 3, picture->height, picture->width));
    for (size_t i = 0; i < (size_t)picture->height * (size_t)picture->width; i++) {
        const uint8_t *pixel = picture->pixels + i * (size_t)picture->channels;
        double colour[3], sum = 0;
        for (int c = 0; c < picture->channels; c++) sum += pixel[c];
        heat_colour(heat.pixels[i] / 255.0, colour);
        const double grey = sum / picture->channels;
        for (int c = 0; c < 3; c++) out->pixels[3 * i + (size_t)c] = (uint8_t)lround(0.4 * grey + 0.6 * colour[c]);
    }
out:
    vst_image_clear(&heat);
    return status;
}
