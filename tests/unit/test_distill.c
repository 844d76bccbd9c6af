/* Distillation terms: values against numbers computed here in double, alignment, refusals, targets without labels. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "recipes/distill/internal.h"
#include "recipes/distill/term.h"
#include "recipes/infer/evaluator.h"
#include "tests/unit/context.h"
#include "tests/unit/own_folder.h"
#include "vision/ops/ops.h"

#define ck_near(a, b)                                                                                               \
    ck_assert_msg(fabs((double)(a) - (double)(b)) < 1e-5 * (1 + fabs((double)(b))), "%g, expected %g", (double)(a), \
                  (double)(b))

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

static size_t count_of(vst_shape shape) { return (size_t)vst_shape_count(&shape); }

/* The unweighted value of a term. */
static double value_of(const vst_term_options *term, vst_shape s, const float *student, vst_shape t,
                       const float *teacher) {
    fixture f = begin(term->student, s);
    vst_context *context;
    char name[VST_TEACHER_INPUT_NAME];
    const vst_value loss = vst_term_build(f.graph, term, 0, term->teacher, t);
    ck_ok(vst_graph_finish(f.graph));
    ck_ok(vst_params_allocate(f.params, false, 0));
    context = create_context(f.graph, &loss, 1, &(vst_program_options){.mode = VST_INFER});
    memcpy(vst_context_input(context, "student"), student, count_of(s) * sizeof *student);
    memcpy(vst_context_input(context, vst_term_input(0, term->teacher, name)), teacher, count_of(t) * sizeof *teacher);
    ck_ok(vst_context_run(context, 0));
    const double value = vst_context_output(context, 0)[0];
    destroy_context(context);
    end(&f);
    return value;
}

static vst_term_options logits_term(char *distance) {
    return (vst_term_options){
        .distance = distance, .student = "logits", .teacher = "logits", .weight = 1, .temperature = 1};
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
    vst_term_options term = logits_term("kl");
    term.temperature = temperature;
    term.reduction = VST_KL_BATCHMEAN;
    ck_near(value_of(&term, VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits), 9 * sum / 2);
    term.reduction = VST_KL_ELEMENTS;
    ck_near(value_of(&term, VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits), 9 * sum / 6);
}
END_TEST

START_TEST(hard_takes_the_teachers_decision) {
    /* The teacher decides for class 0 and class 2. */
    const double expected = -(log_softmax(student_logits, 3, 0, 1) + log_softmax(student_logits + 3, 3, 2, 1)) / 2;
    const vst_term_options term = logits_term("hard");
    ck_near(value_of(&term, VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits), expected);
}
END_TEST

START_TEST(mse_of_logits) {
    double sum = 0;
    for (int i = 0; i < 6; i++) sum += pow((double)student_logits[i] - teacher_logits[i], 2);
    const vst_term_options term = logits_term("mse");
    ck_near(value_of(&term, VST_SHAPE(2, 3), student_logits, VST_SHAPE(2, 3), teacher_logits), sum / 6);
}
END_TEST

START_TEST(standardised_logits_do_not_depend_on_scale_and_shift) {
    float scaled[6];
    for (int i = 0; i < 6; i++) scaled[i] = 4 * teacher_logits[i] + 7;
    vst_term_options term = logits_term("kl");
    term.temperature = 2;
    ck_assert_double_gt(value_of(&term, VST_SHAPE(2, 3), scaled, VST_SHAPE(2, 3), teacher_logits), 0.1);
    term.transform = VSTI_TRANSFORM_STANDARDIZE;
    ck_assert_double_lt(fabs(value_of(&term, VST_SHAPE(2, 3), scaled, VST_SHAPE(2, 3), teacher_logits)), 1e-5);
}
END_TEST

static vst_term_options feature_term(void) {
    return (vst_term_options){.distance = "mse", .student = "blocks.1", .teacher = "layer2", .weight = 1};
}

START_TEST(tokens_meet_a_map_without_their_prefix) {
    /* One image, class and distillation token, then four tokens of two channels; the map has the channels outermost. */
    const float tokens[12] = {100, 100, -100, -100, 1, 10, 2, 20, 3, 30, 4, 40};
    const float same[8] = {1, 2, 3, 4, 10, 20, 30, 40}, other[8] = {1, 2, 3, 4, 10, 20, 30, 44};
    const vst_term_options term = feature_term();
    ck_near(value_of(&term, VST_SHAPE(1, 6, 2), tokens, VST_SHAPE(1, 2, 2, 2), same), 0);
    ck_near(value_of(&term, VST_SHAPE(1, 6, 2), tokens, VST_SHAPE(1, 2, 2, 2), other), 16.0 / 8);
    ck_near(value_of(&term, VST_SHAPE(1, 5, 2), tokens + 2, VST_SHAPE(1, 2, 2, 2), same), 0);
}
END_TEST

START_TEST(the_smaller_grid_is_resized) {
    const float one = 3, four[4] = {1, 2, 3, 4};
    const vst_term_options term = feature_term();
    ck_near(value_of(&term, VST_SHAPE(1, 1, 1), &one, VST_SHAPE(1, 1, 2, 2), four), 1.5); /* (4 + 1 + 0 + 1) / 4 */
    ck_near(value_of(&term, VST_SHAPE(1, 4, 1), four, VST_SHAPE(1, 1, 1, 1), &one), 1.5);
}
END_TEST

START_TEST(maps_meet_maps) {
    const float a[4] = {1, 2, 3, 4}, b[4] = {1, 2, 3, 6};
    const vst_term_options term = feature_term();
    ck_near(value_of(&term, VST_SHAPE(1, 1, 2, 2), a, VST_SHAPE(1, 1, 2, 2), b), 1);
}
END_TEST

START_TEST(a_projector_is_trained_but_not_the_models) {
    fixture f = begin("blocks.1", VST_SHAPE(2, 5, 3));
    vst_term_options term = feature_term();
    term.projector = 1;
    const vst_value loss = vst_term_build(f.graph, &term, 2, "layer2", VST_SHAPE(2, 7, 4, 4));
    vst_differentiate(f.graph, loss);
    ck_ok(vst_graph_finish(f.graph));
    const int weight = vst_params_find(f.params, "distill.2.projector.weight");
    ck_assert_int_ge(weight, 0);
    ck_assert_int_ge(vst_params_find(f.params, "distill.2.projector.bias"), 0);
    ck_assert_int_eq(vst_params_at(f.params, (size_t)weight)->kind, VST_PARAM_WEIGHT);
    ck_assert_int_eq(vst_params_at(f.params, (size_t)weight)->shape.dim[0], 7);
    ck_assert_int_eq(vst_params_at(f.params, (size_t)weight)->shape.dim[1], 3);
    end(&f);
}
END_TEST

START_TEST(terms_share_a_teachers_tap) {
    fixture f = begin("logits", VST_SHAPE(2, 3));
    const vst_term_options kl = logits_term("kl"), hard = logits_term("hard");
    vst_term_build(f.graph, &kl, 0, "logits", VST_SHAPE(2, 3));
    const int first = vst_find(f.graph, "teacher.logits").id;
    vst_term_build(f.graph, &hard, 1, "logits", VST_SHAPE(2, 3));
    ck_ok(vst_graph_finish(f.graph));
    ck_assert_int_eq(vst_find(f.graph, "teacher.logits").id, first);
    end(&f);
}
END_TEST

/* Building must fail with a message that holds all the words; gives the status. */
static vst_status refuse(const vst_term_options *term, const char *tap, vst_shape student, vst_shape teacher,
                         const char *const *words) {
    fixture f = begin(tap, student);
    vst_term_build(f.graph, term, 3, term->teacher, teacher);
    const vst_status status = vst_graph_finish(f.graph);
    ck_assert_int_ne(status, VST_OK);
    for (; *words; words++)
        ck_assert_msg(strstr(vst_error_message(), *words), "'%s' does not say '%s'", vst_error_message(), *words);
    end(&f);
    return status;
}
#define WORDS(...) ((const char *const[]){"distill.terms.3", __VA_ARGS__, NULL})

START_TEST(what_does_not_fit_is_refused) {
    vst_term_options term = feature_term();
    ck_assert_int_eq(refuse(&term, "blocks.1", VST_SHAPE(2, 17, 96), VST_SHAPE(2, 64, 8, 8),
                            WORDS("96", "64", "projector to linear")),
                     VST_ERROR_SHAPE);
    refuse(&term, "blocks.1", VST_SHAPE(2, 7, 96), VST_SHAPE(2, 96, 8, 8), WORDS("7 tokens", "square"));
    ck_assert_int_eq(
        refuse(&term, "blocks.0", VST_SHAPE(2, 17, 96), VST_SHAPE(2, 96, 8, 8), WORDS("no tap 'blocks.1'")),
        VST_ERROR_NOT_FOUND);
    refuse(&term, "blocks.1", VST_SHAPE(2, 10), VST_SHAPE(2, 96, 8, 8), WORDS("(2, 10)", "student's tap blocks.1"));
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 96), VST_SHAPE(2, 10), WORDS("(2, 10)", "teacher's tap layer2"));
    term.transform = VSTI_TRANSFORM_STANDARDIZE;
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 8, 8), WORDS("standardize", "logits"));
    term = logits_term("kl");
    refuse(&term, "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 100), WORDS("(2, 10)", "(2, 100)", "same classes"));
    refuse(&term, "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 64, 8, 8), WORDS("compares class scores", "mse"));
    term.projector = 1;
    ck_assert_int_eq(refuse(&term, "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 10), WORDS("projector to none")),
                     VST_ERROR_ARGUMENT);
    term = logits_term("kll");
    ck_assert_int_eq(refuse(&term, "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 10), WORDS("no distance 'kll'")),
                     VST_ERROR_NOT_FOUND);
}
END_TEST

/* Terms of the new kinds that cannot be. */
START_TEST(what_does_not_fit_says_what_would) {
    vst_term_options term = feature_term();
    term.distance = "kl";
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 4, 4), WORDS("kl", "class scores", "mse"));
    term.student = "blocks.1.scores";
    refuse(&term, "blocks.1.scores", VST_SHAPE(2, 3, 17, 17), VST_SHAPE(2, 64, 4, 4), WORDS("attention", "relation"));
    term.teacher = "blocks.5.scores";
    refuse(&term, "blocks.1.scores", VST_SHAPE(2, 3, 17, 17), VST_SHAPE(2, 6, 17, 17), WORDS("as many heads"));
    term.transform = VSTI_TRANSFORM_RELATION;
    refuse(&term, "blocks.1.scores", VST_SHAPE(2, 3, 17, 17), VST_SHAPE(2, 3, 17, 17), WORDS("relation", "queries"));
    term = feature_term();
    term.align = VSTI_ALIGN_NONE;
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 8, 8),
           WORDS("different grids", "larger or smaller"));
    term.align = VSTI_ALIGN_SMALLER;
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 7, 7), WORDS("pooled", "larger"));
    term.tokens = VSTI_TOKENS_CLASS;
    refuse(&term, "blocks.1", VST_SHAPE(2, 16, 64), VST_SHAPE(2, 64), WORDS("no class token", "patches"));
    term = feature_term();
    term.tokens = VSTI_TOKENS_ALL;
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 18, 64), WORDS("tokens: all", "patches"));
    term = feature_term();
    term.distance = "hard";
    refuse(&term, "blocks.1", VST_SHAPE(2, 17, 64), VST_SHAPE(2, 64, 4, 4), WORDS("hard", "class scores"));
    term = logits_term("mse");
    term.from = "student";
    refuse(&term, "logits", VST_SHAPE(2, 10), VST_SHAPE(2, 10), WORDS("from itself", "deeper"));
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
    static const char *const none[] = {"features.4",  "features.-5",  "features.", "features.x",
                                       "features.1z", "features.1.z", "x"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        ck_assert_msg(vst_tap_find(f.graph, none[i], name).id == 0, "%s", none[i]);
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
    term.schedule = VSTI_SCHEDULE_UP;
    ck_near(vst_term_weight(&term, 1, 10), 0);
    ck_near(vst_term_weight(&term, 3, 10), 0.5);
    ck_near(vst_term_weight(&term, 8, 10), 2);
    term.schedule = VSTI_SCHEDULE_DOWN;
    ck_near(vst_term_weight(&term, 1, 10), 2);
    ck_near(vst_term_weight(&term, 5, 10), 0.5);
    ck_near(vst_term_weight(&term, 8, 10), 0);
    term = (vst_term_options){.weight = 3, .schedule = VSTI_SCHEDULE_DOWN};
    ck_near(vst_term_weight(&term, 5, 20), 2.25); /* to the end of the run */
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
    const vst_term_options term = {
        .distance = "mse", .from = "student", .student = "features.0", .teacher = "features.-1"};
    const vst_value loss = vst_term_build(g, &term, 0, NULL, VST_SCALAR);
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
    Suite *suite = suite_create("distill");
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
    tcase_add_test(tests, terms_share_a_teachers_tap);
    tcase_add_test(tests, what_does_not_fit_is_refused);
    tcase_add_test(tests, what_does_not_fit_says_what_would);
    tcase_add_test(tests, features_by_place);
    tcase_add_test(tests, weights_follow_their_schedule);
    tcase_add_test(tests, a_student_teaches_itself);
    tcase_add_test(tests, token_grids);
    tcase_add_test(tests, distances_are_found_by_name);
    tcase_add_test(tests, rows_without_label_have_no_gradient);
    tcase_add_test(tests, both_heads_are_averaged);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
