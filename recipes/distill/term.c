/* Builds a term: find the taps, align them, transform them, apply the distance. */
#include "recipes/distill/term.h"

#include <stdio.h>
#include <string.h>

#include "recipes/distill/distance.h"
#include "vision/ops/ops.h"

enum { PROJECTOR_NONE, PROJECTOR_LINEAR }; /* the positions in the choice's table */

const char *vst_term_input(const char *tap, char name[VST_TEACHER_INPUT_NAME]) {
    snprintf(name, VST_TEACHER_INPUT_NAME, "teacher.%s", tap);
    return name;
}

int vst_token_side(int64_t tokens, int *prefix) {
    int64_t side = 0;
    while ((side + 1) * (side + 1) <= tokens) side++;
    *prefix = (int)(tokens - side * side);
    return *prefix <= VST_TOKEN_PREFIX_MAX ? (int)side : 0;
}

static vst_value teacher_input(vst_graph *g, const char *tap, vst_shape shape) {
    char name[VST_TEACHER_INPUT_NAME];
    vst_value known = vst_find(g, vst_term_input(tap, name));
    return known.id ? known : vst_input(g, name, shape);
}

/* Tokens (B, N, D) as the map (B, D, side, side); maps as they are. `whose` and `tap` are for the message. */
static vst_value to_grid(vst_graph *g, vst_value x, int index, const char *whose, const char *tap) {
    const vst_shape shape = vst_shape_at(g, x);
    char text[VST_SHAPE_TEXT];
    int prefix;
    if (shape.rank == 4) return x;
    if (shape.rank != 3) {
        vst_graph_fail(g, "distill.terms.%d: the %s's tap %s is %s, neither a map (B, C, H, W) nor tokens (B, N, D): take a "
                       "feature tap on both sides or logits on both sides", index, whose, tap, vst_shape_text(&shape, text));
        return (vst_value){0};
    }
    const int side = vst_token_side(shape.dim[1], &prefix);
    if (!side) {
        vst_graph_fail(g, "distill.terms.%d: the %s's tap %s %s has %lld tokens, which are no square grid with at most %d "
                       "class tokens before it: choose an image size that is a multiple of the patch size", index, whose, tap,
                       vst_shape_text(&shape, text), (long long)shape.dim[1], VST_TOKEN_PREFIX_MAX);
        return (vst_value){0};
    }
    x = vst_slice(g, x, 1, prefix, (int64_t)side * side);
    x = vst_permute(g, x, (const int[]){0, 2, 1});
    return vst_reshape(g, x, VST_SHAPE(shape.dim[0], shape.dim[2], side, side));
}

static vst_value resized(vst_graph *g, vst_value x, const vst_shape *from, const vst_shape *to) {
    if (from->dim[2] == to->dim[2] && from->dim[3] == to->dim[3]) return x;
    return vst_resize(g, x, (int)to->dim[2], (int)to->dim[3], VST_BILINEAR);
}

/* Brings both to maps of one shape. */
static void align_features(vst_graph *g, const vst_term_options *term, int index, vst_value *student, vst_value *teacher) {
    *student = to_grid(g, *student, index, "student", term->student);
    *teacher = to_grid(g, *teacher, index, "teacher", term->teacher);
    if (!student->id || !teacher->id) return;
    const vst_shape t = vst_shape_at(g, *teacher);
    vst_shape s = vst_shape_at(g, *student);
    if (term->projector == PROJECTOR_LINEAR) {
        VST_SCOPE(g, VST_DISTILL_PREFIX "%d.projector", index) {
            *student = vst_conv2d(g, *student, (vst_conv2d_options){.out = (int)t.dim[1], .kernel = 1, .bias = true});
        }
        s.dim[1] = t.dim[1];
    }
    if (s.dim[1] != t.dim[1]) {
        vst_graph_fail(g, "distill.terms.%d: the student's tap %s has %lld channels, the teacher's %s has %lld: set "
                       "distill.terms.%d.projector to linear", index, term->student, (long long)s.dim[1], term->teacher,
                       (long long)t.dim[1], index);
        return;
    }
    if (s.dim[2] * s.dim[3] < t.dim[2] * t.dim[3]) *student = resized(g, *student, &s, &t);
    else *teacher = resized(g, *teacher, &t, &s);
}

/* Class scores need no alignment, only the same classes. */
static bool check_scores(vst_graph *g, const vst_term_options *term, int index, const vst_shape *s, const vst_shape *t) {
    char student[VST_SHAPE_TEXT], teacher[VST_SHAPE_TEXT];
    vst_shape_text(s, student);
    vst_shape_text(t, teacher);
    if (s->rank != 2 || t->rank != 2)
        vst_graph_fail(g, "distill.terms.%d: the distance %s compares class scores (B, C), but the student's tap %s is %s and "
                       "the teacher's %s is %s: take the logits taps, or the distance mse for features", index, term->distance,
                       term->student, student, term->teacher, teacher);
    else if (!vst_shape_equal(s, t))
        vst_graph_fail(g, "distill.terms.%d: the student's %s is %s, the teacher's %s is %s: the teacher must be trained on the "
                       "same classes", index, term->student, student, term->teacher, teacher);
    else if (term->projector != PROJECTOR_NONE)
        vst_graph_fail(g, "distill.terms.%d: class scores take no projector: set distill.terms.%d.projector to none", index,
                       index);
    else
        return true;
    return false;
}

vst_value vst_term_build(vst_graph *g, const vst_term_options *term, int index, vst_shape teacher_shape) {
    const vst_value none = {0};
    const vst_distance *distance = vst_distance_find(term->distance);
    if (!distance) {
        vst_graph_fail(g, "distill.terms.%d.distance: there is no distance '%s' (a file of recipes/distill)", index,
                       term->distance ? term->distance : "");
        return none;
    }
    vst_value student = vst_find(g, term->student);
    if (!student.id) {
        vst_graph_fail(g, "distill.terms.%d.student: the student has no tap '%s'; `vistill info` lists a model's taps", index,
                       term->student);
        return none;
    }
    vst_value teacher = teacher_input(g, term->teacher, teacher_shape);
    const vst_shape s = vst_shape_at(g, student);
    const bool scores = distance->scores || (s.rank == 2 && teacher_shape.rank == 2);
    if (scores) {
        if (!check_scores(g, term, index, &s, &teacher_shape)) return none;
    } else {
        align_features(g, term, index, &student, &teacher);
    }
    if (term->standardize && !scores)
        vst_graph_fail(g, "distill.terms.%d.standardize is for logits; the taps %s and %s are features", index, term->student,
                       term->teacher);
    if (term->standardize) {
        student = vst_standardize(g, student);
        teacher = vst_standardize(g, teacher);
    }
    return distance->build(g, student, teacher, term);
}
