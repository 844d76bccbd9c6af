/* Projectors: the student's channels become the teacher's. They are trained, and no part of the model. */
#include "recipes/distill/internal.h"
#include "vision/ops/ops.h"

static vst_value convolution(vst_graph *g, vst_value x, const char *name, int64_t out) {
    VST_SCOPE (g, "%s", name) x = vst_conv2d(g, x, (vst_conv2d_options){.out = (int)out, .kernel = 1, .bias = true});
    return x;
}

/* x (B, C, H, W) -> (B, out, H, W) */
static vst_value project(vst_graph *g, vst_value x, int projector, int index, int64_t out) {
    VST_SCOPE (g, VST_DISTILL_PREFIX "%d", index) {
        if (projector == VST_PROJECTOR_MLP)
            VST_SCOPE (g, "projector") x = convolution(g, vst_gelu(g, convolution(g, x, "0", out)), "2", out);
        else x = convolution(g, x, "projector", out);
        if (projector == VST_PROJECTOR_NORM)
            VST_SCOPE (g, "norm") x = vst_batch_norm(g, x, (vst_norm_options){0});
    }
    return x;
}

bool vsti_project(vsti_sides *s) {
    vst_graph *g = s->graph;
    const vst_shape from = vst_shape_at(g, s->student.value), to = vst_shape_at(g, s->teacher.value);
    char text[VSTI_SIDE_TEXT];
    if (s->term->projector == VST_PROJECTOR_NONE) return true;
    if (s->student.kind != VST_TAP_MAP && s->student.kind != VST_TAP_VECTOR)
        return vsti_refuse(s, VST_ERROR_ARGUMENT, "%s takes no projector: set distill.terms.%d.projector to none",
                           vsti_side_text(g, &s->student, text), s->index);
    const bool vector = s->student.kind == VST_TAP_VECTOR;
    vst_value x =
        vector ? vst_reshape(g, s->student.value, VST_SHAPE(from.dim[0], from.dim[1], 1, 1)) : s->student.value;
    x = project(g, x, s->term->projector, s->index, to.dim[1]);
    s->student.value = vector ? vst_reshape(g, x, VST_SHAPE(from.dim[0], to.dim[1])) : x;
    return true;
}
