/* Converts both sides of a term to the same kind and grid. */
#include "recipes/distill/internal.h"
#include "vision/ops/ops.h"

/* Tokens (B, N, D) from index `first` on to a map (B, D, rows, columns). */
static void tokens_to_map(vst_graph *g, vsti_side *side, int64_t first, int64_t rows, int64_t columns) {
    const vst_shape shape = vst_shape_at(g, side->value);
    const vst_value kept = vst_slice(g, side->value, 1, first, rows * columns);
    side->value = vst_reshape(g, vst_permute(g, kept, (const int[]){0, 2, 1}),
                              VST_SHAPE(shape.dim[0], shape.dim[2], rows, columns));
    side->kind = VST_TAP_MAP;
}

static bool patches_to_map(const vsti_sides *s, vsti_side *side) {
    const int64_t tokens = vst_shape_at(s->graph, side->value).dim[1];
    char text[VSTI_SIDE_TEXT];
    int prefix;
    const int edge = vst_token_side(tokens, &prefix);
    if (!edge)
        return vsti_refuse(
            s, VST_ERROR_SHAPE,
            "%s has %lld tokens, which are no square grid with at most %d class tokens before it: choose an "
            "image size that is a multiple of the patch size",
            vsti_side_text(s->graph, side, text), (long long)tokens, VST_TOKEN_PREFIX_MAX);
    tokens_to_map(s->graph, side, prefix, edge, edge);
    return true;
}

static bool class_token(const vsti_sides *s, vsti_side *side) {
    const vst_shape shape = vst_shape_at(s->graph, side->value);
    char text[VSTI_SIDE_TEXT];
    int prefix;
    if (!vst_token_side(shape.dim[1], &prefix) || !prefix)
        return vsti_refuse(s, VST_ERROR_ARGUMENT, "%s has no class token: set distill.terms.%d.tokens to patches",
                           vsti_side_text(s->graph, side, text), s->index);
    side->value =
        vst_reshape(s->graph, vst_slice(s->graph, side->value, 1, 0, 1), VST_SHAPE(shape.dim[0], shape.dim[2]));
    side->kind = VST_TAP_VECTOR;
    return true;
}

static bool take_tokens(const vsti_sides *s, vsti_side *side) {
    if (side->kind != VST_TAP_TOKENS) return true;
    if (s->term->tokens == VST_TOKENS_CLASS) return class_token(s, side);
    if (s->term->tokens == VST_TOKENS_PATCHES) return patches_to_map(s, side);
    tokens_to_map(s->graph, side, 0, vst_shape_at(s->graph, side->value).dim[1], 1);
    return true;
}

/* Maps are averaged to vectors if the distance compares whole images. */
static void pool(vst_graph *g, vsti_side *side) {
    if (side->kind != VST_TAP_MAP) return;
    side->value = vst_global_avg_pool(g, side->value);
    side->kind = VST_TAP_VECTOR;
}

/* ---- Grids ---- */

static bool is_larger(const vst_shape *a, const vst_shape *b) { return a->dim[2] * a->dim[3] > b->dim[2] * b->dim[3]; }

/* PyTorch's adaptive average pooling; plain pooling if the larger grid is a multiple of the smaller one. */
static void pool_to(const vsti_sides *s, vsti_side *side, const vst_shape *to) {
    const vst_shape from = vst_shape_at(s->graph, side->value);
    const int64_t kernel = from.dim[2] / to->dim[2];
    const bool divides = from.dim[2] == kernel * to->dim[2] && from.dim[3] == kernel * to->dim[3];
    side->value = divides ? vst_avg_pool(s->graph, side->value, (vst_pool_options){.kernel = (int)kernel})
                          : vst_resize(s->graph, side->value, (int)to->dim[2], (int)to->dim[3], VST_AREA);
}

static bool align_grids(vsti_sides *s) {
    const vst_shape a = vst_shape_at(s->graph, s->student.value), b = vst_shape_at(s->graph, s->teacher.value);
    char student[VSTI_SIDE_TEXT], teacher[VSTI_SIDE_TEXT];
    if (a.dim[2] == b.dim[2] && a.dim[3] == b.dim[3]) return true;
    if (s->term->align == VST_ALIGN_NONE || s->term->tokens == VST_TOKENS_ALL)
        return vsti_refuse(
            s, VST_ERROR_SHAPE, "%s and %s have different grids: %s", vsti_side_text(s->graph, &s->student, student),
            vsti_side_text(s->graph, &s->teacher, teacher),
            s->term->tokens == VST_TOKENS_ALL ? "tokens: all needs as many on both sides; take tokens: patches"
                                              : "set align to larger or smaller");
    vsti_side *larger = is_larger(&a, &b) ? &s->student : &s->teacher,
              *smaller = is_larger(&a, &b) ? &s->teacher : &s->student;
    const vst_shape large = vst_shape_at(s->graph, larger->value), small = vst_shape_at(s->graph, smaller->value);
    if (s->term->align == VST_ALIGN_SMALLER) pool_to(s, larger, &small);
    else smaller->value = vst_resize(s->graph, smaller->value, (int)large.dim[2], (int)large.dim[3], VST_BILINEAR);
    return true;
}

/* Aligns grids, then channels, except that a linear projector is applied before its side is enlarged. Both are linear
 * maps, one over channels and one over positions (with weights that sum to 1, which keeps the bias), so the order
 * affects only the cost: a ViT with 14 x 14 patches and a CNN with a map of 112 x 112 would be projected at 64 times as
 * many positions. */
static bool align_maps(vsti_sides *s) {
    const vst_shape a = vst_shape_at(s->graph, s->student.value), b = vst_shape_at(s->graph, s->teacher.value);
    const bool enlarged = s->term->align == VST_ALIGN_LARGER && is_larger(&b, &a);
    if (s->term->projector == VST_PROJECTOR_REGRESSOR) return vsti_regress(s);
    if (enlarged && s->term->projector == VST_PROJECTOR_LINEAR) return vsti_project(s) && align_grids(s);
    return align_grids(s) && vsti_project(s);
}

/* ---- Kinds ---- */

static bool refuse_kinds(const vsti_sides *s) {
    char student[VSTI_SIDE_TEXT], teacher[VSTI_SIDE_TEXT];
    const vst_tap_kind a = s->student.kind, b = s->teacher.kind;
    const bool attention = a == VST_TAP_HEADS || a == VST_TAP_ATTENTION || b == VST_TAP_HEADS || b == VST_TAP_ATTENTION;
    const bool classes =
        s->distance->expects == VST_EXPECTS_CLASS_LOGITS || s->distance->expects == VST_EXPECTS_LOGIT_ROWS;
    const char *advice =
        attention ? "attention is compared with attention; for features take transform: relation on both sides"
        : classes ? "it compares class scores (B, C): take the logits taps, or the distance mse for features"
                  : "take features on both sides, or logits on both sides";
    return vsti_refuse(s, VST_ERROR_SHAPE, "%s cannot be compared with %s by %s: %s",
                       vsti_side_text(s->graph, &s->student, student), vsti_side_text(s->graph, &s->teacher, teacher),
                       s->distance->name, advice);
}

bool vsti_align(vsti_sides *s) {
    if (!take_tokens(s, &s->student) || !take_tokens(s, &s->teacher)) return false;
    if (s->distance->expects == VST_EXPECTS_VECTORS) {
        pool(s->graph, &s->student);
        pool(s->graph, &s->teacher);
    }
    if (s->student.kind != s->teacher.kind || s->student.kind == VST_TAP_OTHER) return refuse_kinds(s);
    return s->student.kind == VST_TAP_MAP ? align_maps(s) : vsti_project(s);
}
