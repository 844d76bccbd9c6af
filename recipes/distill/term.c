/* Builds a term: finds the taps, aligns, projects, transforms and applies the distance. */
#include "recipes/distill/term.h"

#include <math.h>
#include <stdio.h>

#include "recipes/distill/internal.h"
#include "vision/ops/ops.h"

/* ---- Names ---- */

const char *vst_term_input(int source, const char *tap, char name[VST_TEACHER_INPUT_NAME]) {
    if (source == VST_FROM_AVERAGE) snprintf(name, VST_TEACHER_INPUT_NAME, "ema.%s", tap);
    else if (source == 0) snprintf(name, VST_TEACHER_INPUT_NAME, "teacher.%s", tap);
    else snprintf(name, VST_TEACHER_INPUT_NAME, "teacher%d.%s", source + 1, tap);
    return name;
}

/* ---- Sides ---- */

static bool find_student(vsti_sides *s, char name[VST_TAP_NAME]) {
    char taps[500];
    s->student = (vsti_side){
        .whose = "student", .tap = s->term->student, .value = vst_tap_find(s->graph, s->term->student, name)};
    if (!s->student.value.id)
        return vsti_refuse(
            s, VST_ERROR_NOT_FOUND,
            "the student has no tap '%s'; it has %s, and blocks of a transformer have .q, .k, .v and .scores",
            s->term->student, vst_tap_list(s->graph, taps, sizeof taps));
    const vst_shape shape = vst_shape_at(s->graph, s->student.value);
    s->student.kind = vst_tap_kind_of(name, &shape);
    return true;
}

static bool find_teacher(vsti_sides *s, const char *tap, vst_shape shape, char name[VST_TAP_NAME]) {
    const int source = vst_term_source(s->term);
    char input[VST_TEACHER_INPUT_NAME], taps[500];
    s->teacher = (vsti_side){.whose = source == VST_FROM_STUDENT ? "student" : "teacher", .tap = s->term->teacher};
    if (source == VST_FROM_STUDENT) {
        const vst_value own = vst_tap_find(s->graph, s->term->teacher, name);
        if (!own.id)
            return vsti_refuse(s, VST_ERROR_NOT_FOUND, "the student, its own teacher here, has no tap '%s'; it has %s",
                               s->term->teacher, vst_tap_list(s->graph, taps, sizeof taps));
        if (own.id == s->student.value.id)
            return vsti_refuse(s, VST_ERROR_ARGUMENT,
                               "the student's tap %s would learn from itself: take a deeper one as teacher",
                               s->term->student);
        shape = vst_shape_at(s->graph, own);
        s->teacher.value = vst_detach(s->graph, own);
        tap = name;
    } else {
        const vst_value known = vst_find(s->graph, vst_term_input(source, tap, input));
        s->teacher.value = known.id ? known : vst_input(s->graph, input, shape);
    }
    s->teacher.kind = vst_tap_kind_of(tap, &shape);
    return true;
}

/* ---- Shapes that distances accept ---- */

static bool check_classes(const vsti_sides *s) {
    const vst_shape a = vst_shape_at(s->graph, s->student.value), b = vst_shape_at(s->graph, s->teacher.value);
    char student[VSTI_SIDE_TEXT], teacher[VSTI_SIDE_TEXT];
    vsti_side_text(s->graph, &s->student, student);
    vsti_side_text(s->graph, &s->teacher, teacher);
    if (a.rank != 2 || b.rank != 2)
        return vsti_refuse(
            s, VST_ERROR_ARGUMENT,
            "the distance %s compares class scores (B, C), but it is given %s and %s: take the logits taps, or the "
            "distance mse for features",
            s->term->distance, student, teacher);
    if (!vst_shape_equal(&a, &b))
        return vsti_refuse(s, VST_ERROR_SHAPE, "%s and %s differ: the teacher must be trained on the same classes",
                           student, teacher);
    return true;
}

/* Scores of attention and relations become rows of choices. */
static bool check_rows(vsti_sides *s) {
    const vst_shape a = vst_shape_at(s->graph, s->student.value), b = vst_shape_at(s->graph, s->teacher.value);
    char student[VSTI_SIDE_TEXT], teacher[VSTI_SIDE_TEXT];
    if (s->student.kind != VST_TAP_ATTENTION) return check_classes(s);
    if (!vst_shape_equal(&a, &b))
        return vsti_refuse(
            s, VST_ERROR_SHAPE, "%s and %s differ: %s", vsti_side_text(s->graph, &s->student, student),
            vsti_side_text(s->graph, &s->teacher, teacher),
            s->term->transform == VST_TRANSFORM_RELATION
                ? "relations need as many heads and places on both sides"
                : "scores need as many heads and tokens; with other heads take transform: relation of features");
    const vst_shape rows = VST_SHAPE(-1, a.dim[a.rank - 1]);
    s->student.value = vst_reshape(s->graph, s->student.value, rows);
    s->teacher.value = vst_reshape(s->graph, s->teacher.value, rows);
    return true;
}

static bool check_same(const vsti_sides *s) {
    const vst_shape a = vst_shape_at(s->graph, s->student.value), b = vst_shape_at(s->graph, s->teacher.value);
    char student[VSTI_SIDE_TEXT], teacher[VSTI_SIDE_TEXT];
    if (vst_shape_equal(&a, &b)) return true;
    const bool features = s->student.kind == VST_TAP_MAP || s->student.kind == VST_TAP_VECTOR;
    return vsti_refuse(
        s, VST_ERROR_SHAPE, "%s and %s differ: %s%s", vsti_side_text(s->graph, &s->student, student),
        vsti_side_text(s->graph, &s->teacher, teacher),
        features ? "set projector to linear" : "they need as many heads, tokens and channels on both sides",
        features ? ", or transform to relation, which needs no equal channels" : "");
}

static bool check_taken(vsti_sides *s) {
    switch (s->distance->expects) {
    case VST_EXPECTS_CLASS_LOGITS: return check_classes(s);
    case VST_EXPECTS_LOGIT_ROWS: return check_rows(s);
    case VST_EXPECTS_SAME_SHAPE:
    case VST_EXPECTS_CHANNELS_LAST: return check_same(s);
    case VST_EXPECTS_VECTORS: break;
    }
    char text[VSTI_SIDE_TEXT];
    return s->student.kind == VST_TAP_VECTOR ||
           vsti_refuse(s, VST_ERROR_ARGUMENT, "the distance %s compares images by vectors (B, D), and %s is none",
                       s->distance->name, vsti_side_text(s->graph, &s->student, text));
}

/* Class logits are compared without a projector. */
static bool check_projector(const vsti_sides *s) {
    const bool classes =
        s->distance->expects == VST_EXPECTS_CLASS_LOGITS || s->distance->expects == VST_EXPECTS_LOGIT_ROWS;
    if (!classes || s->student.kind != VST_TAP_VECTOR || s->term->projector == VST_PROJECTOR_NONE) return true;
    return vsti_refuse(s, VST_ERROR_ARGUMENT, "class scores take no projector: set distill.terms.%d.projector to none",
                       s->index);
}

static bool check_labels(const vsti_sides *s, vst_value labels) {
    return !s->distance->needs_labels || labels.id ||
           vsti_refuse(s, VST_ERROR_ARGUMENT, "the distance %s reads the labels, and this training has none",
                       s->distance->name);
}

static vst_value build_distance(const vsti_sides *s, vst_value labels) {
    const vst_distance_inputs inputs = {.graph = s->graph,
                                        .student = s->student.value,
                                        .teacher = s->teacher.value,
                                        .labels = labels,
                                        .options = s->term->own,
                                        .index = s->index};
    VST_ASSERT(s->term->own || !s->distance->options);
    return s->distance->build(&inputs);
}

/* Builds in the term's scope, which names its parameters and its rows of a profile. */
static vst_value build(vsti_sides *s, const char *teacher_tap, vst_shape teacher_shape, vst_value labels) {
    char student_name[VST_TAP_NAME], teacher_name[VST_TAP_NAME];
    if (!s->distance)
        vsti_refuse(s, VST_ERROR_NOT_FOUND, "there is no distance '%s'; `vistill explain` lists them",
                    s->term->distance ? s->term->distance : "");
    const bool built = s->distance && check_labels(s, labels) && find_student(s, student_name) &&
                       find_teacher(s, teacher_tap, teacher_shape, teacher_name) && check_projector(s) &&
                       vsti_align(s) && vsti_transform(s) && check_taken(s);
    return built ? build_distance(s, labels) : (vst_value){0};
}

vst_value vsti_term_build(vst_graph *g, const vst_term_options *term, const vst_distance *distance, int index,
                          const char *teacher_tap, vst_shape teacher_shape, vst_value labels) {
    vsti_sides s = {.graph = g, .term = term, .index = index, .distance = distance};
    vst_value loss = {0};
    VST_SCOPE (g, VST_DISTILL_PREFIX "%d", index) loss = build(&s, teacher_tap, teacher_shape, labels);
    return loss;
}

vst_value vst_term_build(vst_graph *g, const vst_term_options *term, int index, const char *teacher_tap,
                         vst_shape teacher_shape, vst_value labels) {
    return vsti_term_build(g, term, vst_distance_find(term->distance), index, teacher_tap, teacher_shape, labels);
}

/* ---- Every stage ---- */

/* The index of the student's feature at the relative depth of the teacher's `stage` of `stages`. */
static int place_of(const vst_graph *g, int stage, int stages) {
    const int last = vst_feature_count(g) - 1;
    return stages > 1 ? (int)lround((double)stage / (stages - 1) * last) : last;
}

vst_value vst_term_build_stages(vst_graph *g, const vst_term_options *term, int index, const vst_stage *stages,
                                int count, vst_value labels) {
    const bool every = vst_is_every_feature(term->student);
    vst_value sum = {0};
    for (int i = 0; i < count; i++) {
        char student[VST_TAP_NAME];
        vst_term_options one = *term; /* a view, which is not cleared */
        snprintf(student, sizeof student, "features.%d", place_of(g, i, count));
        if (every) one.student = student;
        one.teacher = (char *)stages[i].name;
        vsti_sides s = {.graph = g, .term = &one, .index = index, .distance = vst_distance_find(term->distance)};
        vst_value loss = {0};
        VST_SCOPE (g, VST_DISTILL_PREFIX "%d.%d", index, i) {
            loss = build(&s, stages[i].name, stages[i].shape, labels);
            sum = i ? vst_add(g, sum, loss) : loss;
        }
    }
    return sum;
}

/* ---- Weight ---- */

double vst_term_weight(const vst_term_options *term, double epoch, int epochs) {
    const double begin = term->begin, end = term->end > 0 ? term->end : epochs;
    const double passed = epoch <= begin ? 0 : epoch >= end ? 1 : (epoch - begin) / (end - begin);
    switch (term->schedule) {
    case VST_SCHEDULE_UP: return term->weight * passed;
    case VST_SCHEDULE_DOWN: return term->weight * (1 - passed);
    case VST_SCHEDULE_SIGMOID: return term->weight * exp(-5 * (1 - passed) * (1 - passed));
    default: return epoch >= begin && epoch < end ? term->weight : 0;
    }
}
