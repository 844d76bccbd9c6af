/* Attention rollout and its overlay on the image. */
#include "recipes/infer/attention.h"

#include <math.h>
#include <stdio.h>

#include "recipes/distill/tap.h"
#include "recipes/distill/term.h"
#include "vision/base/memory.h"
#include "vision/image/resize.h"
#include "vision/ops/ops.h"

enum { MOST_TOKENS = 2 };

vst_rollout vst_rollout_find(vst_graph *graph, vst_value values[VST_ROLLOUT_BLOCKS]) {
    vst_rollout found = {0};
    for (; found.blocks < VST_ROLLOUT_BLOCKS; found.blocks++) {
        char wanted[32], name[VST_TAP_NAME];
        snprintf(wanted, sizeof wanted, "blocks.%d.scores", found.blocks);
        const vst_value scores = vst_tap_find(graph, wanted, name);
        if (!scores.id) break;
        values[found.blocks] = vst_softmax(graph, scores);
    }
    const vst_shape shape = found.blocks ? vst_shape_at(graph, values[0]) : (vst_shape){0};
    if (shape.rank != 4) return (vst_rollout){0};
    found.heads = (int)shape.dim[1];
    found.all = (int)shape.dim[3];
    found.side = vst_token_side(shape.dim[3], &found.prefix);
    found.tokens = found.prefix < MOST_TOKENS ? found.prefix : MOST_TOKENS;
    return found.side > 0 && found.prefix > 0 ? found : (vst_rollout){0};
}

/* next = row (A + I)/2. One row is enough, so no matrix product is needed. */
static void multiply_row(const vst_rollout *a, const float *attention, const double *row, double *next) {
    const size_t all = (size_t)a->all;
    for (size_t i = 0; i < all; i++) next[i] = row[i] / 2;
    for (size_t h = 0; h < (size_t)a->heads; h++)
        for (size_t i = 0; i < all; i++) {
            const float *weights = attention + (h * all + i) * all;
            const double share = row[i] / 2 / a->heads;
            for (size_t j = 0; j < all; j++) next[j] += share * weights[j];
        }
}

vst_status vst_rollout_maps(const vst_rollout *a, const float *const *blocks, float *maps) {
    const size_t all = (size_t)a->all, patches = (size_t)a->side * (size_t)a->side;
    double *rows = vst_alloc(2 * all * sizeof *rows);
    if (!rows) return vst_fail_memory(2 * all * sizeof *rows);
    double *row = rows, *next = rows + all;
    for (int token = 0; token < a->tokens; token++) {
        for (size_t i = 0; i < all; i++) row[i] = i == (size_t)token;
        for (int b = a->blocks; b-- > 0;) { /* from the last block to the first */
            multiply_row(a, blocks[b], row, next);
            double *swap = row;
            row = next;
            next = swap;
        }
        for (size_t i = 0; i < patches; i++) maps[(size_t)token * patches + i] = (float)row[(size_t)a->prefix + i];
    }
    vst_free(rows);
    return VST_OK;
}

/* ---- Overlay ---- */

/* Maps 0 … 1 to black, purple, orange and light yellow. Brightness increases, so that it is readable in greyscale and
 * for the colour-blind. */
static void map_colour(double heat, double colour[3]) {
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

vst_status vst_attention_overlay(const vst_image *picture, const float *map, int side, vst_image *out) {
    vst_status status = VST_OK;
    vst_image heat = {0};
    VST_TRY(stretch(map, side, picture->height, picture->width, &heat));
    VST_TRY(vst_image_allocate(out, 3, picture->height, picture->width));
    for (size_t i = 0; i < (size_t)picture->height * (size_t)picture->width; i++) {
        const uint8_t *pixel = picture->pixels + i * (size_t)picture->channels;
        double colour[3], sum = 0;
        for (int c = 0; c < picture->channels; c++) sum += pixel[c];
        map_colour(heat.pixels[i] / 255.0, colour);
        const double grey = sum / picture->channels;
        for (int c = 0; c < 3; c++) out->pixels[3 * i + (size_t)c] = (uint8_t)lround(0.4 * grey + 0.6 * colour[c]);
    }
out:
    vst_image_clear(&heat);
    return status;
}
