/* Projectors: the student's channels become the teacher's. They are trained, and no part of the model. */
#include "recipes/distill/internal.h"
#include "vision/ops/ops.h"

static vst_value convolution(vst_graph *g, vst_value x, const char *name, int64_t out) {
    VST_SCOPE (g, "%s", name) x = vst_conv2d(g, x, (vst_conv2d_options){.out = (int)out, .kernel = 1, .bias = true});
    return x;
}

/* x (B, C, H, W) -> (B, out, H, W) */
static vst_value project(vst_graph *g, vst_value x, int projector, int64_t out) {
    if (projector == VST_PROJECTOR_MLP)
        VST_SCOPE (g, "projector") x = convolution(g, vst_gelu(g, convolution(g, x, "0", out)), "2", out);
    else x = convolution(g, x, "projector", out);
    if (projector == VST_PROJECTOR_NORM)
        VST_SCOPE (g, "norm") x = vst_batch_norm(g, x, (vst_norm_options){0});
    return x;
}

/* ---- FitNets' regressor, as mdistiller's ConvReg ---- */

/* (N, C, H, W) -> (N, C, H, 2 W): a zero before each value. */
static vst_value spread_columns(vst_graph *g, vst_value x) {
    const vst_shape s = vst_shape_at(g, x), apart = {5, {s.dim[0], s.dim[1], s.dim[2], s.dim[3], 1}};
    const vst_value value = vst_reshape(g, x, apart);
    const vst_value pair = vst_concat(g, (vst_value[]){vst_scale(g, value, 0), value}, 2, 4);
    return vst_reshape(g, pair, VST_SHAPE(s.dim[0], s.dim[1], s.dim[2], 2 * s.dim[3]));
}

/* ConvTranspose2d(kernel 4, stride 2, padding 1) with its kernel rotated by 180 degrees: a convolution of the map with
 * zeros inserted between its values. SAME pads one pixel before and two after. */
static vst_value enlarge(vst_graph *g, vst_value x, int64_t out) {
    static const int turned[] = {0, 1, 3, 2};
    x = vst_permute(g, spread_columns(g, vst_permute(g, spread_columns(g, x), turned)), turned);
    return vst_conv2d(g, x, (vst_conv2d_options){.out = (int)out, .kernel = 4, .same = true, .bias = true});
}

/* Maps the student's map to the teacher's grid. mdistiller's ConvReg is not defined for a smaller map that is not half
 * as large; there the result of a 1x1 convolution is resized. */
static vst_value regress(vst_graph *g, vst_value x, const vst_shape *from, const vst_shape *to) {
    const int64_t height = from->dim[2], wanted = to->dim[2];
    const bool square = height == from->dim[3] && wanted == to->dim[3];
    vst_conv2d_options options = {.out = (int)to->dim[1], .kernel = 1, .bias = true};
    if (square && 2 * height == wanted) return enlarge(g, x, to->dim[1]);
    if (!square || height < wanted)
        return vst_resize(g, vst_conv2d(g, x, options), (int)wanted, (int)to->dim[3], VST_BILINEAR);
    options.kernel = (int)(1 + height - wanted);
    if (height == 2 * wanted) options.kernel = 3, options.stride = 2, options.padding = 1;
    return vst_conv2d(g, x, options);
}

bool vsti_regress(vsti_sides *s) {
    vst_graph *g = s->graph;
    const vst_shape from = vst_shape_at(g, s->student.value), to = vst_shape_at(g, s->teacher.value);
    char text[VSTI_SIDE_TEXT];
    if (s->student.kind != VST_TAP_MAP)
        return vsti_refuse(s, VST_ERROR_ARGUMENT,
                           "a regressor is for features with a grid, and %s is none: set distill.terms.%d.projector to "
                           "linear",
                           vsti_side_text(g, &s->student, text), s->index);
    vst_value x = s->student.value;
    VST_SCOPE (g, "projector") x = regress(g, x, &from, &to);
    VST_SCOPE (g, "norm") x = vst_relu(g, vst_batch_norm(g, x, (vst_norm_options){0}));
    s->student.value = x;
    return true;
}

bool vsti_project(vsti_sides *s) {
    vst_graph *g = s->graph;
    const vst_shape from = vst_shape_at(g, s->student.value), to = vst_shape_at(g, s->teacher.value);
    char text[VSTI_SIDE_TEXT];
    if (s->term->projector == VST_PROJECTOR_NONE) return true;
    if (s->term->projector == VST_PROJECTOR_REGRESSOR) return vsti_regress(s); /* which says what it takes */
    if (s->student.kind != VST_TAP_MAP && s->student.kind != VST_TAP_VECTOR)
        return vsti_refuse(s, VST_ERROR_ARGUMENT, "%s takes no projector: set distill.terms.%d.projector to none",
                           vsti_side_text(g, &s->student, text), s->index);
    const bool vector = s->student.kind == VST_TAP_VECTOR;
    vst_value x =
        vector ? vst_reshape(g, s->student.value, VST_SHAPE(from.dim[0], from.dim[1], 1, 1)) : s->student.value;
    x = project(g, x, s->term->projector, to.dim[1]);
    s->student.value = vector ? vst_reshape(g, x, VST_SHAPE(from.dim[0], to.dim[1])) : x;
    return true;
}
