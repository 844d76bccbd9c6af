/* Transforms of the aligned values before they are compared. */
#include <math.h>

#include "recipes/distill/internal.h"
#include "vision/ops/ops.h"

/* Channels last, one row per position. */
static void to_rows(vst_graph *g, vsti_side *side) {
    if (side->kind == VST_TAP_MAP) side->value = vst_permute(g, side->value, (const int[]){0, 2, 3, 1});
}

/* The energy of the map at each position, as a unit vector (Zagoruyko and Komodakis, "Paying More Attention to
 * Attention", 2017). */
static void to_attention_map(vst_graph *g, vsti_side *side) {
    const int64_t batch = vst_shape_at(g, side->value).dim[0];
    const vst_value energy = vst_reduce_mean(g, vst_mul(g, side->value, side->value), 1u << 1, false);
    side->value = vst_l2_normalize(g, vst_reshape(g, energy, VST_SHAPE(batch, -1)));
    side->kind = VST_TAP_VECTOR;
}

/* x xᵀ / sqrt(width): relations between all pairs of positions (MiniLM's relations of queries, keys and values). For a
 * CNN, positions are pixels of the map. No projector is needed. */
static void to_relation(vst_graph *g, vsti_side *side) {
    const vst_shape shape = vst_shape_at(g, side->value);
    vst_value rows = side->value;
    if (side->kind == VST_TAP_MAP)
        rows = vst_permute(g, vst_reshape(g, rows, VST_SHAPE(shape.dim[0], shape.dim[1], -1)), (const int[]){0, 2, 1});
    const int64_t width = side->kind == VST_TAP_MAP ? shape.dim[1] : shape.dim[3];
    side->value = vst_scale(g, vst_matmul(g, rows, rows, false, true), 1 / sqrt((double)width));
    side->kind = VST_TAP_ATTENTION;
}

static bool needs(const vsti_sides *s, bool fits, const char *transform, const char *what) {
    char text[VSTI_SIDE_TEXT];
    if (fits) return true;
    return vsti_refuse(s, VST_ERROR_ARGUMENT, "the transform %s is for %s, and %s is none", transform, what,
                       vsti_side_text(s->graph, &s->student, text));
}

bool vsti_transform(vsti_sides *s) {
    vst_graph *g = s->graph;
    const vst_tap_kind kind = s->student.kind;
    vsti_side *const both[] = {&s->student, &s->teacher};
    switch (s->term->transform) {
    case VST_TRANSFORM_STANDARDIZE:
        if (!needs(s, kind == VST_TAP_VECTOR, "standardize", "logits")) return false;
        for (int i = 0; i < 2; i++) both[i]->value = vst_standardize(g, both[i]->value);
        break;
    case VST_TRANSFORM_UNIT:
        for (int i = 0; i < 2; i++) {
            to_rows(g, both[i]);
            both[i]->value = vst_l2_normalize(g, both[i]->value);
        }
        break;
    case VST_TRANSFORM_ATTENTION:
        if (!needs(s, kind == VST_TAP_MAP, "attention", "features with a grid")) return false;
        for (int i = 0; i < 2; i++) to_attention_map(g, both[i]);
        break;
    case VST_TRANSFORM_RELATION:
        if (!needs(s, kind == VST_TAP_MAP || kind == VST_TAP_HEADS, "relation",
                   "features with a grid, queries, keys or values"))
            return false;
        for (int i = 0; i < 2; i++) to_relation(g, both[i]);
        break;
    default:
        for (int i = 0; i < 2 && s->distance->expects == VST_EXPECTS_CHANNELS_LAST; i++) to_rows(g, both[i]);
    }
    return true;
}
