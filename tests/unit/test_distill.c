/* Distillation terms: values against numbers computed here in double, alignment, refusals, targets without labels. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "backbones/backbone.h"
#include "recipes/distill/internal.h"
#include "recipes/distill/term.h"
#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "tests/unit/term_text.h"
#include "vision/ops/ops.h"

#define ck_near(a, b) ck_assert_close(#a, a, b, (tolerance){1e-5, 1e-5, false})

/* A graph whose only content is the student's tap. */
typedef struct fixture {
    vst_params *params;
    vst_graph *graph;
} fixture;

static fixture begin(const char *tap, vst_shape shape) {
    fixture f;
    ck_ok(vst_params_create(&f.params));
    ck_ok(vst_graph_create(&f.graph, f.params));
    vst_tap(f.graph, tap, vst_input(f.graph, "student", shape));
    return f;
}

static void end(fixture *f) {
    vst_graph_destroy(f->graph);
    vst_params_destroy(f->params);
}

static const vst_value no_labels = {0};

static size_t count_of(vst_shape shape) { return (size_t)vst_shape_count(&shape); }

/* The unweighted value of a term. */
static double value_of(const char *keys, vst_shape s, const float *student, vst_shape t, const float *teacher) {
    vst_term_options term = term_of(keys);
    fixture f = begin(term.student, s);
    vst_context *context;
    char name[VST_TEACHER_INPUT_NAME];
    const vst_value loss = vst_term_build(f.graph, &term, 0, term.teacher, t, no_labels);
    ck_ok(vst_graph_finish(f.graph));
    ck_ok(vst_params_allocate(f.params, false, 0));
    context = create_context(f.graph, &loss, 1, &(vst_program_options){.mode = VST_INFER});
    memcpy(vst_context_input(context, "student"), student, count_of(s) * sizeof *student);
    memcpy(vst_context_input(context, vst_term_input(0, term.teacher, name)), teacher, count_of(t) * sizeof *teacher);
    ck_ok(vst_context_run(context, 0));
    const double value = vst_context_output(context, 0)[0];
    destroy_context(context);
    end(&f);
    vst_term_clear(&term);
    return value;
}

static const float student_logits[6] = {1, 2, 0.5f, -1, 0, 3}, teacher_logits[6] = {2, 1, 0, -2, 1, 1.5f};

static double log_softmax(const float *z, int classes, int c, double temperature) {
    double sum = 0;
    for (int i = 0; i < classes; i++) sum += exp(z[i] / temperature);
    return z[c] / temperature - log(sum);
}

START_TEST(kl_has_both_reductions) {
    const double temperature = 3;
    double sum = 0;
    for (int row = 0; row < 2; row++)
        for (int c = 0; c < 3; c++) {
            const double t = log_softmax(teacher_logits + 3 * row, 3, c, temperature);
            sum += exp(t) * (t - log_softmax(student_logits + 3 * row, 3, c, temperature));
        }
    ck_near(value_of("distance=kl temperature=3", VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits),
            9 * sum / 2);
    ck_near(value_of("distance=kl temperature=3 reduction=elements", VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3),
                     teacher_logits),
            9 * sum / 6);
}
END_TEST

START_TEST(hard_takes_the_teachers_decision) {
    /* The teacher decides for class 0 and class 2. */
    const double expected = -(log_softmax(student_logits, 3, 0, 1) + log_softmax(student_logits + 3, 3, 2, 1)) / 2;
    ck_near(value_of("distance=hard", VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits), expected);
}
END_TEST

START_TEST(mse_of_logits) {
    double sum = 0;
    for (int i = 0; i < 6; i++) sum += pow((double)student_logits[i] - teacher_logits[i], 2);
    ck_near(value_of("distance=mse", VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits), sum / 6);
}
END_TEST

START_TEST(standardised_logits_do_not_depend_on_scale_and_shift) {
    float scaled[6];
    for (int i = 0; i < 6; i++) scaled[i] = 4 * teacher_logits[i] + 7;
    ck_assert_double_gt(value_of("distance=kl temperature=2", VST_SHAPE(2, 3), scaled, VST_SHAPE(2, 3), teacher_logits),
                        0.1);
    ck_assert_double_lt(fabs(value_of("distance=kl temperature=2 transform=standardize", VST_SHAPE(2, 3), scaled,
                                      VST_SHAPE(2, 3), teacher_logits)),
                        1e-5);
}
END_TEST

#define FEATURES "distance=mse student=blocks.1 teacher=layer2 "

START_TEST(tokens_meet_a_map_without_their_prefix) {
    /* One image, class and distillation token, then four tokens of two channels; the map has the channels outermost. */
    const float tokens[12] = {100, 100, -100, -100, 1, 10, 2, 20, 3, 30, 4, 40};
    const float same[8] = {1, 2, 3, 4, 10, 20, 30, 40}, other[8] = {1, 2, 3, 4, 10, 20, 30, 44};
    ck_near(value_of(FEATURES, VST_SHAPE(1, 6, 2), tokens, VST_SHAPE(1, 2, 2, 2), same), 0);
    ck_near(value_of(FEATURES, VST_SHAPE(1, 6, 2), tokens, VST_SHAPE(1, 2, 2, 2), other), 16.0 / 8);
    ck_near(value_of(FEATURES, VST_SHAPE(1, 5, 2), tokens + 2, VST_SHAPE(1, 2, 2, 2), same), 0);
}
END_TEST

START_TEST(the_smaller_grid_is_resized) {
    const float one = 3, four[4] = {1, 2, 3, 4};
    ck_near(value_of(FEATURES, VST_SHAPE(1, 1, 1), &one, VST_SHAPE(1, 1, 2, 2), four), 1.5); /* (4 + 1 + 0 + 1) / 4 */
    ck_near(value_of(FEATURES, VST_SHAPE(1, 4, 1), four, VST_SHAPE(1, 1, 1, 1), &one), 1.5);
}
END_TEST

START_TEST(maps_meet_maps) {
    const float a[4] = {1, 2, 3, 4}, b[4] = {1, 2, 3, 6};
    ck_near(value_of(FEATURES, VST_SHAPE(1, 1, 2, 2), a, VST_SHAPE(1, 1, 2, 2), b), 1);
}
END_TEST

START_TEST(a_projector_is_trained_but_not_the_models) {
    fixture f = begin("blocks.1", VST_SHAPE(2, 5, 3));
    vst_term_options term = term_of(FEATURES "projector=linear");
    const vst_value loss = vst_term_build(f.graph, &term, 2, "layer2", VST_SHAPE(2, 7, 4, 4), no_labels);
    vst_differentiate(f.graph, loss);
    ck_ok(vst_graph_finish(f.graph));
    const int weight = vst_params_find(f.params, "distill.2.projector.weight");
    ck_assert_int_ge(weight, 0);
    ck_assert_int_ge(vst_params_find(f.params, "distill.2.projector.bias"), 0);
    ck_assert_int_eq(vst_params_at(f.params, (size_t)weight)->kind, VST_PARAM_WEIGHT);
    ck_assert_int_eq(vst_params_at(f.params, (size_t)weight)->shape.dim[0], 7);
    ck_assert_int_eq(vst_params_at(f.params, (size_t)weight)->shape.dim[1], 3);
    end(&f);
    vst_term_clear(&term);
}
END_TEST

/* A linear projector on the student's 4 x 4 patches, not on the CNN's 16 x 16 places; others where the grids meet. */
START_TEST(a_linear_projector_goes_before_the_resize) {
    static const struct {
        const char *keys, *scope;
        int side;
    } cases[] = {{FEATURES "projector=linear", "distill.1.projector", 4},
                 {FEATURES "projector=linear align=smaller", "distill.1.projector", 4},
                 {FEATURES "projector=norm", "distill.1.projector", 16},
                 {FEATURES "projector=mlp", "distill.1.projector.0", 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f = begin("blocks.1", VST_SHAPE(2, 17, 12));
        vst_term_options term = term_of(cases[i].keys);
        bool found = false;
        vst_term_build(f.graph, &term, 1, "layer1", VST_SHAPE(2, 5, 16, 16), no_labels);
        ck_ok(vst_graph_finish(f.graph));
        for (size_t k = 0; k < vst_graph_node_count(f.graph); k++) {
            const vst_node_info info = vst_graph_node_at(f.graph, k);
            if (strcmp(info.scope, cases[i].scope) != 0 || strcmp(info.operation, "conv2d") != 0) continue;
            found = true;
            ck_assert_int_eq(info.shape.dim[2], cases[i].side);
        }
        ck_assert(found);
        end(&f);
        vst_term_clear(&term);
    }
}
END_TEST

/* features.*: every stage of the teacher, each with the student's block at the same place, whose losses are summed. */
START_TEST(every_stage_is_guided) {
    fixture f = begin("blocks.0", VST_SHAPE(1, 4, 1));
    vst_tap(f.graph, "blocks.1", vst_scale(f.graph, vst_find(f.graph, "blocks.0"), 2));
    vst_tap(f.graph, "blocks.2", vst_scale(f.graph, vst_find(f.graph, "blocks.0"), 3));
    vst_term_options term = term_of("distance=mse student=features.* teacher=features.*");
    const vst_stage stages[2] = {{"layer1", VST_SHAPE(1, 1, 2, 2)}, {"layer2", VST_SHAPE(1, 1, 2, 2)}};
    const vst_value loss = vst_term_build_stages(f.graph, &term, 0, stages, 2, no_labels);
    const float x[4] = {1, 2, 3, 4}, first[4] = {1, 2, 3, 5}, last[4] = {3, 6, 9, 10};
    ck_ok(vst_graph_finish(f.graph));
    ck_ok(vst_params_allocate(f.params, false, 0));
    vst_context *context = create_context(f.graph, &loss, 1, &(vst_program_options){.mode = VST_INFER});
    memcpy(vst_context_input(context, "student"), x, sizeof x);
    memcpy(vst_context_input(context, "teacher.layer1"), first, sizeof first);
    memcpy(vst_context_input(context, "teacher.layer2"), last, sizeof last);
    ck_ok(vst_context_run(context, 0));
    ck_near(vst_context_output(context, 0)[0], 0.25 + 1); /* (5 - 4)² / 4 and (12 - 10)² / 4 */
    destroy_context(context);
    end(&f);
    vst_term_clear(&term);
}
END_TEST

START_TEST(terms_share_a_teachers_tap) {
    fixture f = begin("logits", VST_SHAPE(2, 3));
    vst_term_options kl = term_of("distance=kl"), hard = term_of("distance=hard");
    vst_term_build(f.graph, &kl, 0, "logits", VST_SHAPE(2, 3), no_labels);
    const int first = vst_find(f.graph, "teacher.logits").id;
    vst_term_build(f.graph, &hard, 1, "logits", VST_SHAPE(2, 3), no_labels);
    ck_ok(vst_graph_finish(f.graph));
    ck_assert_int_eq(vst_find(f.graph, "teacher.logits").id, first);
    end(&f);
    vst_term_clear(&kl);
    vst_term_clear(&hard);
}
END_TEST

/* Building must fail with a message that holds all the words; gives the status. */
static vst_status refuse(const char *keys, const char *tap, vst_shape student, vst_shape teacher,
                         const char *const *words) {
    vst_term_options term = term_of(keys);
    fixture f = begin(tap, student);
    vst_term_build(f.graph, &term, 3, term.teacher, teacher, no_labels);
    const vst_status status = vst_graph_finish(f.graph);
    ck_assert_int_ne(status, VST_OK);
    for (; *words; words++)
        ck_assert_msg(strstr(vst_error_message(), *words), "'%s' does not say '%s'", vst_error_message(), *words);
    end(&f);
    vst_term_clear(&term);
    return status;
}
#define WORDS(...) ((const char *const[]){"distill.terms.3", __VA_ARGS__, NULL})

START_TEST(what_does_not_fit_is_refused) {
    ck_assert_int_eq(refuse(FEATURES, "blocks.1", VST_SHAPE(2, 17, 96), VST_SHAPE(2, 64, 8, 8),
                            WORDS("96", "64", "projector to linear")),
                     VST_ERROR_SHAPE);
    refuse(FEATURES, "blocks.1", VST_SHAPE(2, 7, 96), VST_SHAPE(2, 96, 8, 8), WORDS("7 tokens", "square"));
    ck_assert_int_eq(
        refuse(FEATURES, "blocks.0", VST_SHAPE(2, 17, 96), VST_SHAPE(2, 96, 8, 8), WORDS("no tap 'blocks.1'")),
        VST_ERROR_NOT_FOUND);
    refuse(FEATURES, "blocks.1", VST_SHAPE(2, 10), VST_SHAPE(2, 96, 8, 8), WORDS("(2, 10)", "student's tap blocks.1"));
    refuse(FEATURES, "blocks.1", VST_SHAPE(2, 17, 96), VST_SHAPE(2, 10), WORDS("(2, 10)", "teacher's tap layer2"));
    refuse(FEATURES "transform=standardize", "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 8, 8),
           WORDS("standardize", "logits"));
    refuse("distance=kl", "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 100), WORDS("(2, 10)", "(2, 100)", "same classes"));
    refuse("distance=kl", "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 64, 8, 8), WORDS("compares class scores", "mse"));
    ck_assert_int_eq(refuse("distance=kl projector=linear", "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 10),
                            WORDS("projector to none")),
                     VST_ERROR_ARGUMENT);
}
END_TEST

/* Terms of the new kinds that cannot be. */
START_TEST(what_does_not_fit_says_what_would) {
    refuse(FEATURES "distance=kl", "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 4, 4),
           WORDS("kl", "class scores", "mse"));
    refuse(FEATURES "distance=kl student=blocks.1.scores", "blocks.1.scores", VST_SHAPE(2, 3, 17, 17),
           VST_SHAPE(2, 64, 4, 4), WORDS("attention", "relation"));
    refuse(FEATURES "distance=kl student=blocks.1.scores teacher=blocks.5.scores", "blocks.1.scores",
           VST_SHAPE(2, 3, 17, 17), VST_SHAPE(2, 6, 17, 17), WORDS("as many heads"));
    refuse(FEATURES "distance=kl student=blocks.1.scores teacher=blocks.5.scores transform=relation", "blocks.1.scores",
           VST_SHAPE(2, 3, 17, 17), VST_SHAPE(2, 3, 17, 17), WORDS("relation", "queries"));
    refuse(FEATURES "align=none", "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 8, 8),
           WORDS("different grids", "larger or smaller"));
    refuse(FEATURES "projector=regressor tokens=class", "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64),
           WORDS("regressor", "with a grid", "projector to linear"));
    refuse(FEATURES "align=smaller tokens=class", "blocks.1", VST_SHAPE(2, 16, 64), VST_SHAPE(2, 64),
           WORDS("no class token", "patches"));
    refuse(FEATURES "tokens=all", "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 18, 64),
           WORDS("tokens: all", "patches"));
    refuse(FEATURES "distance=hard", "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 4, 4),
           WORDS("hard", "class scores"));
    refuse("distance=mse from=student", "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 10), WORDS("from itself", "deeper"));
}
END_TEST

START_TEST(features_by_place) {
    fixture f = begin("blocks.0", VST_SHAPE(2, 17, 8));
    char name[VST_TAP_NAME];
    const vst_value x = vst_find(f.graph, "blocks.0");
    vst_tap(f.graph, "act1", vst_input(f.graph, "map", VST_SHAPE(2, 3, 4, 4)));
    vst_tap(f.graph, "blocks.1.q", vst_input(f.graph, "q", VST_SHAPE(2, 2, 17, 4)));
    vst_tap(f.graph, "blocks.1", x);
    vst_tap(f.graph, "blocks.2", x);
    vst_tap(f.graph, "blocks.3", x);
    vst_tap(f.graph, "logits", vst_input(f.graph, "logits of it", VST_SHAPE(2, 10)));
    static const char *const pairs[][2] = {{"features.0", "blocks.0"},     {"features.-1", "blocks.3"},
                                           {"features.2", "blocks.2"},     {"features.50%", "blocks.2"},
                                           {"features.100%", "blocks.3"},  {"features.0%", "blocks.0"},
                                           {"features.1.q", "blocks.1.q"}, {"logits", "logits"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        ck_assert_msg(vst_tap_find(f.graph, pairs[i][0], name).id != 0, "%s", pairs[i][0]);
        ck_assert_str_eq(name, pairs[i][1]);
    }
    static const char *const missing[] = {"features.4",  "features.-5",  "features.", "features.x",
                                          "features.1z", "features.1.z", "x"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        ck_assert_msg(vst_tap_find(f.graph, missing[i], name).id == 0, "%s", missing[i]);
    char list[100];
    ck_assert_str_eq(vst_tap_list(f.graph, list, sizeof list), "blocks.0, act1, blocks.1, blocks.2, blocks.3, logits");
    ck_ok(vst_graph_finish(f.graph));
    end(&f);
}
END_TEST

START_TEST(weights_follow_their_schedule) {
    vst_term_options term = {.weight = 2, .begin = 2, .end = 6};
    ck_near(vst_term_weight(&term, 1.9, 10), 0);
    ck_near(vst_term_weight(&term, 2, 10), 2);
    ck_near(vst_term_weight(&term, 5.99, 10), 2);
    ck_near(vst_term_weight(&term, 6, 10), 0);
    term.schedule = VST_SCHEDULE_UP;
    ck_near(vst_term_weight(&term, 1, 10), 0);
    ck_near(vst_term_weight(&term, 3, 10), 0.5);
    ck_near(vst_term_weight(&term, 8, 10), 2);
    term.schedule = VST_SCHEDULE_DOWN;
    ck_near(vst_term_weight(&term, 1, 10), 2);
    ck_near(vst_term_weight(&term, 5, 10), 0.5);
    ck_near(vst_term_weight(&term, 8, 10), 0);
    term.schedule = VST_SCHEDULE_SIGMOID;
    ck_near(vst_term_weight(&term, 0, 10), 2 * exp(-5));
    ck_near(vst_term_weight(&term, 4, 10), 2 * exp(-1.25));
    ck_near(vst_term_weight(&term, 6, 10), 2);
    term = (vst_term_options){.weight = 3, .schedule = VST_SCHEDULE_DOWN};
    ck_near(vst_term_weight(&term, 5, 20), 2.25); /* to the end of the run */
}
END_TEST

/* ---- Distances of other people ---- */

/* sharpness * mean((labels + teacher - student)^2 * gain), with a trained gain. */
typedef struct labelled_options {
    double sharpness;
} labelled_options;

static const vst_option labelled_table[] = {VST_OPTION_DOUBLE(labelled_options, sharpness, 1, 0, 10, "of the test"),
                                            VST_OPTION_END};

static vst_value build_labelled(const vst_distance_inputs *in) {
    const labelled_options *o = in->options;
    vst_graph *g = in->graph;
    const vst_value gain = vst_param(g, "gain", VST_SHAPE(2, 3), (vst_init){VST_INIT_CONSTANT, 0.5, VST_PARAM_WEIGHT});
    const vst_value difference = vst_add(g, vst_add(g, in->labels, in->teacher), vst_scale(g, in->student, -1));
    ck_assert_int_eq(in->index, 2);
    return vst_scale(g, vst_reduce_mean(g, vst_mul(g, gain, vst_mul(g, difference, difference)), 3, false),
                     o->sharpness);
}

static const vst_distance labelled_distance = {.name = "labelled",
                                               .expects = VST_EXPECTS_CLASS_LOGITS,
                                               .needs_labels = true,
                                               .options = labelled_table,
                                               .options_size = sizeof(labelled_options),
                                               .build = build_labelled};

static const float distribution[6] = {0.9f, 0.05f, 0.05f, 0, 2, 0};

static double run_labelled(vst_context *context) {
    char name[VST_TEACHER_INPUT_NAME];
    memcpy(vst_context_input(context, "target"), distribution, sizeof distribution);
    memcpy(vst_context_input(context, vst_term_input(0, "logits", name)), teacher_logits, sizeof teacher_logits);
    ck_ok(vst_context_run(context, 0));
    return vst_context_output(context, 0)[0];
}

static double loss_at(vst_context *context, vst_params *params, size_t index, float value) {
    float *at = vst_params_values(params) + index;
    const float kept = *at;
    *at = value;
    vst_params_changed(params);
    const double loss = run_labelled(context);
    *at = kept;
    return loss;
}

/* Values and gradients, the gain's too, which is named after the term. */
START_TEST(a_distance_reads_labels_and_trains) {
    labelled_options own = {.sharpness = 3};
    vst_term_options term = {.distance = "labelled", .student = "logits", .teacher = "logits", .own = &own};
    const float step = 1e-2f;
    vst_params *params;
    vst_graph *g;
    ck_ok(vst_params_create(&params));
    ck_ok(vst_graph_create(&g, params));
    const vst_value logits = vst_param(g, "logits", VST_SHAPE(2, 3), (vst_init){VST_INIT_NORMAL, 1, VST_PARAM_WEIGHT});
    vst_tap(g, "logits", logits);
    const vst_value loss = vsti_term_build(g, &term, &labelled_distance, 2, "logits", VST_SHAPE(2, 3),
                                           vst_input(g, "target", VST_SHAPE(2, 3)));
    vst_differentiate(g, loss);
    ck_ok(vst_graph_finish(g));
    ck_ok(vst_params_allocate(params, true, 1));
    ck_assert_int_ge(vst_params_find(params, "distill.2.gain"), 0);
    vst_context *context = create_context(g, &loss, 1, &(vst_program_options){.mode = VST_TRAIN});
    const double value = run_labelled(context);
    float gradient[2][6];
    const char *const names[2] = {"logits", "distill.2.gain"};
    size_t offset[2];
    for (int k = 0; k < 2; k++) {
        offset[k] = vst_params_at(params, (size_t)vst_params_find(params, names[k]))->offset;
        memcpy(gradient[k], vst_params_gradients(params) + offset[k], sizeof gradient[k]);
    }
    double expected = 0;
    const float *z = vst_params_values(params) + offset[0];
    for (int i = 0; i < 6; i++) expected += 3 * 0.5 * pow((double)distribution[i] + teacher_logits[i] - z[i], 2) / 6;
    ck_near(value, expected);
    for (size_t i = 0; i < 12; i++) {
        const size_t index = offset[i / 6] + i % 6;
        const float at = vst_params_values(params)[index];
        const double slope = (loss_at(context, params, index, at + step) - loss_at(context, params, index, at - step)) /
                             (2 * (double)step);
        const double got = (double)gradient[i / 6][i % 6];
        ck_assert_msg(fabs(slope - got) < 1e-3, "%zu: %g, finite difference %g", i, got, slope);
        ck_assert(got != 0);
    }
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

START_TEST(a_distance_without_its_labels_is_refused) {
    labelled_options own = {.sharpness = 3};
    const vst_term_options term = {.distance = "labelled", .student = "logits", .teacher = "logits", .own = &own};
    fixture f = begin("logits", VST_SHAPE(2, 3));
    vsti_term_build(f.graph, &term, &labelled_distance, 2, "logits", VST_SHAPE(2, 3), no_labels);
    ck_assert_int_eq(vst_graph_finish(f.graph), VST_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "distill.terms.2: the distance labelled reads the labels"));
    end(&f);
}
END_TEST

START_TEST(an_unknown_distance_is_refused) {
    const vst_term_options term = {.distance = "kll", .student = "logits", .teacher = "logits"};
    fixture f = begin("logits", VST_SHAPE(2, 3));
    vst_term_build(f.graph, &term, 3, "logits", VST_SHAPE(2, 3), no_labels);
    ck_assert_int_eq(vst_graph_finish(f.graph), VST_ERROR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "distill.terms.3: there is no distance 'kll'"));
    end(&f);
}
END_TEST

/* The deeper block is a constant: what the shallow one learns moves nothing of it. */
START_TEST(a_student_teaches_itself) {
    vst_params *params;
    vst_graph *g;
    vst_context *context;
    ck_ok(vst_params_create(&params));
    ck_ok(vst_graph_create(&g, params));
    vst_tap(g, "blocks.0",
            vst_param(g, "shallow", VST_SHAPE(1, 4, 2), (vst_init){VST_INIT_CONSTANT, 1, VST_PARAM_WEIGHT}));
    vst_tap(g, "blocks.1",
            vst_param(g, "deep", VST_SHAPE(1, 4, 2), (vst_init){VST_INIT_CONSTANT, 3, VST_PARAM_WEIGHT}));
    vst_term_options term = term_of("distance=mse from=student student=features.0 teacher=features.-1");
    const vst_value loss = vst_term_build(g, &term, 0, NULL, VST_SCALAR, no_labels);
    vst_differentiate(g, loss);
    ck_ok(vst_graph_finish(g));
    ck_ok(vst_params_allocate(params, true, 1));
    context = create_context(g, &loss, 1, &(vst_program_options){.mode = VST_TRAIN});
    ck_ok(vst_context_run(context, 0));
    ck_near(vst_context_output(context, 0)[0], 4);
    ck_near(vst_params_gradients(params)[vst_params_at(params, (size_t)vst_params_find(params, "shallow"))->offset],
            -0.5);
    ck_near(vst_params_gradients(params)[vst_params_at(params, (size_t)vst_params_find(params, "deep"))->offset], 0);
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
    vst_term_clear(&term);
}
END_TEST

START_TEST(token_grids) {
    int prefix;
    ck_assert_int_eq(vst_token_side(51, &prefix), 7);
    ck_assert_int_eq(prefix, 2);
    ck_assert_int_eq(vst_token_side(64, &prefix), 8);
    ck_assert_int_eq(prefix, 0);
    ck_assert_int_eq(vst_token_side(197, &prefix), 14);
    ck_assert_int_eq(prefix, 1);
    ck_assert_int_eq(vst_token_side(52, &prefix), 0);
}
END_TEST

START_TEST(distances_are_found_by_name) {
    ck_assert_ptr_nonnull(vst_distance_find("kl"));
    ck_assert_ptr_nonnull(vst_distance_find("hard"));
    ck_assert_ptr_nonnull(vst_distance_find("mse"));
    ck_assert_ptr_null(vst_distance_find("k"));
    ck_assert_ptr_null(vst_distance_find(NULL));
}
END_TEST

START_TEST(rows_without_label_have_no_gradient) {
    vst_params *params;
    vst_graph *g;
    vst_context *context;
    ck_ok(vst_params_create(&params));
    ck_ok(vst_graph_create(&g, params));
    const vst_value logits = vst_param(g, "logits", VST_SHAPE(2, 3), (vst_init){VST_INIT_NORMAL, 1, VST_PARAM_WEIGHT});
    const vst_value loss = vst_cross_entropy(g, logits, vst_input(g, "target", VST_SHAPE(2, 3)), 0);
    vst_differentiate(g, loss);
    ck_ok(vst_graph_finish(g));
    ck_ok(vst_params_allocate(params, true, 1));
    context = create_context(g, &loss, 1, &(vst_program_options){.mode = VST_TRAIN});
    const float target[6] = {0, 0, 0, 0, 2, 0}; /* two rows, one labelled: scaled by 2 */
    memcpy(vst_context_input(context, "target"), target, sizeof target);
    ck_ok(vst_context_run(context, 0));
    const float *z = vst_params_values(params), *gradient = vst_params_gradients(params);
    ck_near(vst_context_output(context, 0)[0], -log_softmax(z + 3, 3, 1, 1));
    for (int c = 0; c < 3; c++) {
        ck_assert(gradient[c] == 0);
        ck_near(gradient[3 + c], exp(log_softmax(z + 3, 3, c, 1)) - (c == 1));
    }
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

START_TEST(both_heads_are_averaged) {
    fixture f = begin("logits", VST_SHAPE(1, 2));
    vst_context *context;
    vst_tap(f.graph, "logits_dist", vst_input(f.graph, "second", VST_SHAPE(1, 2)));
    const vst_value scores = vst_model_scores(f.graph);
    ck_ok(vst_graph_finish(f.graph));
    ck_ok(vst_params_allocate(f.params, false, 0));
    context = create_context(f.graph, &scores, 1, &(vst_program_options){.mode = VST_INFER});
    memcpy(vst_context_input(context, "student"), (float[]){1, 5}, 8);
    memcpy(vst_context_input(context, "second"), (float[]){3, -1}, 8);
    ck_ok(vst_context_run(context, 0));
    ck_near(vst_context_output(context, 0)[0], 2);
    ck_near(vst_context_output(context, 0)[1], 2);
    destroy_context(context);
    end(&f);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("distill");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, kl_has_both_reductions);
    tcase_add_test(tests, hard_takes_the_teachers_decision);
    tcase_add_test(tests, mse_of_logits);
    tcase_add_test(tests, standardised_logits_do_not_depend_on_scale_and_shift);
    tcase_add_test(tests, tokens_meet_a_map_without_their_prefix);
    tcase_add_test(tests, the_smaller_grid_is_resized);
    tcase_add_test(tests, maps_meet_maps);
    tcase_add_test(tests, a_projector_is_trained_but_not_the_models);
    tcase_add_test(tests, a_linear_projector_goes_before_the_resize);
    tcase_add_test(tests, every_stage_is_guided);
    tcase_add_test(tests, terms_share_a_teachers_tap);
    tcase_add_test(tests, what_does_not_fit_is_refused);
    tcase_add_test(tests, what_does_not_fit_says_what_would);
    tcase_add_test(tests, features_by_place);
    tcase_add_test(tests, weights_follow_their_schedule);
    tcase_add_test(tests, a_distance_reads_labels_and_trains);
    tcase_add_test(tests, a_distance_without_its_labels_is_refused);
    tcase_add_test(tests, an_unknown_distance_is_refused);
    tcase_add_test(tests, a_student_teaches_itself);
    tcase_add_test(tests, token_grids);
    tcase_add_test(tests, distances_are_found_by_name);
    tcase_add_test(tests, rows_without_label_have_no_gradient);
    tcase_add_test(tests, both_heads_are_averaged);
    return run_suite("distill", tests);
}
