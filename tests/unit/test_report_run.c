/* Reports of real runs: a tiny teacher and a DeiT with a distillation token are trained on generated data. The numbers
 * of the page are those of summary.csv and of the models; attention rollout follows its formula; broken or missing
 * files are named, and the rest of the page is unchanged. */
#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/loader/transform.h"
#include "recipes/distill/tap.h"
#include "recipes/infer/attention.h"
#include "recipes/infer/model_session.h"
#include "recipes/report/page_data.h"
#include "recipes/train/train.h"
#include "tests/unit/context.h"
#include "tests/unit/data_files.h"
#include "tests/unit/html_check.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

enum { SIDE = 12, CLASSES = 3, TRAIN = 48, TEST = 21, TOKENS = 11, PATCHES = 9, BLOCKS = 2, HEADS = 2 };

#define DATA "data: {path: data, workers: 1}\nrun: {epochs: 2, threads: 1, seed: 3, log_seconds: 0, eval_batch: 8}\n"
#define SIZE "image: 12, channels: 1, classes: 3, mean: 0.3, std: 0.2"
#define ADAMW "optim: {name: adamw, batch: 12, lr: 4e-3, warmup_epochs: 0.5}\n"

static const char teacher_recipe[] = DATA ADAMW "model: {name: resnet8_cifar, width: 8, " SIZE "}\n";
static const char student_recipe[] =
    DATA ADAMW "model: {name: deit_mini_distilled_patch4_28, dim: 16, depth: 2, heads: 2, " SIZE
               "}\n"
               "distill:\n  teacher: teacher/last.safetensors\n  label_weight: 0.5\n  terms:\n"
               "    - {distance: hard, student: logits_dist, teacher: logits, weight: 0.5}\n";

static vst_train_result trained[2];

static void train(const char *text, const char *output, vst_train_result *result) {
    char setting[64];
    vst_recipe *recipe;
    snprintf(setting, sizeof setting, "run.output=%s", output);
    write_bytes("recipe.yaml", (const uint8_t *)text, strlen(text));
    ck_ok(vst_recipe_read(&recipe, "recipe.yaml", (const char *const[]){setting}, 1));
    ck_ok(vst_train(recipe, &(vst_train_options){0}, result));
    vst_recipe_destroy(recipe);
}

static void set_up(void) {
    enter_own_folder("report-run");
    ck_assert_int_eq(system("mkdir data"), 0);
    write_idx("data", "", TRAIN, TEST, SIDE, SIDE, CLASSES, 0);
    train(teacher_recipe, "teacher", &trained[0]);
    train(student_recipe, "student", &trained[1]);
}

/* The page about both runs, or about the student only; freed with vst_free. */
static char *page_of(vsti_measured_runs *set, bool both) {
    vsti_page_data sheet = {0};
    char *html;
    if (both) ck_ok(vsti_report_add(set, "teacher/", NULL, true));
    ck_ok(vsti_report_add(set, "student", NULL, true));
    ck_ok(vsti_report_compare(set));
    ck_ok(vsti_page_data_fill(&sheet, set, (const int[]){0, 1}, both ? 2 : 1));
    sheet.report.title = "a page";
    ck_ok(vst_report_html(&sheet.report, &html, NULL));
    vsti_page_data_clear(&sheet);
    check_html(html);
    return html;
}

static void expect(const char *html, const char *format, ...) {
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ck_assert_msg(strstr(html, text) != NULL, "the page does not say \"%s\"", text);
}

/* ---- Numbers ---- */

START_TEST(numbers) {
    vsti_measured_runs set = {0};
    char *html = page_of(&set, true);
    for (int i = 0; i < 2; i++) {
        const vsti_measured_run *run = &set.runs[i];
        const vst_evaluation *answers = vsti_report_answers(&set, run);
        ck_assert_ptr_null(run->notes);
        ck_assert_uint_eq(run->curve.count, 2);
        ck_assert_double_eq_tol(answers->top1, trained[i].test_top1, 1e-9);
        ck_assert_double_eq_tol(run->curve.epochs[1].eval_top1, trained[i].test_top1, 1e-4);
        expect(html, ">%.2f<span class=bar>", trained[i].test_top1);
        ck_assert_uint_eq(vst_params_numel(run->model->params), trained[i].parameters);
        ck_assert(run->latency.low > 0 && run->latency.low <= run->latency.median &&
                  run->latency.median <= run->latency.high);
    }
    ck_assert_str_eq(set.runs[0].name, "teacher");
    expect(html, "<td>2</td><td>");  /* epochs */
    expect(html, "<td>3</td></tr>"); /* seed */
    expect(html, "data, 21 test images");
    ck_assert_int_eq(occurrences(html, "<table class=matrix>"), 2);
    ck_assert_int_eq(occurrences(html, "<figcaption>class token"), VSTI_VIEWS);
    ck_assert_int_eq(occurrences(html, "alt=\"what it sees\""), VSTI_VIEWS);
    expect(html, "<h3>What differs between their recipes");
    ck_assert_int_ge(occurrences(html, "<span class=sure>"), 2 * TEST); /* under each picture, of both runs */
    ck_assert_int_eq(occurrences(html, "<figcaption>distillation token"), VSTI_VIEWS);
    vst_free(html);
    vsti_report_set_clear(&set);
}
END_TEST

/* The predictions of the two heads, from the model's taps, one image at a time. */
static void answer(const vsti_measured_run *run, int answers[VST_HEADS][TEST]) {
    vst_graph *graph;
    vst_context *context;
    vst_image image = {0};
    int label;
    ck_ok(vst_graph_create(&graph, run->model->params));
    vst_model_build(graph, run->model->config, 1);
    const vst_value heads[VST_HEADS] = {vst_find(graph, "logits"), vst_find(graph, "logits_dist")};
    ck_ok(vst_graph_finish(graph));
    context = create_context(graph, heads, VST_HEADS, &(vst_program_options){.mode = VST_INFER});
    for (uint64_t i = 0; i < TEST; i++) {
        ck_ok(vst_dataset_read(run->test, i, &image, &label));
        vst_image_to_floats(&image, vst_context_input(context, "image"));
        ck_ok(vst_context_run(context, 0));
        for (int h = 0; h < VST_HEADS; h++) {
            const float *scores = vst_context_output(context, h);
            answers[h][i] = 0;
            for (int c = 1; c < CLASSES; c++)
                if (scores[c] > scores[answers[h][i]]) answers[h][i] = c;
        }
    }
    vst_image_clear(&image);
    destroy_context(context);
    vst_graph_destroy(graph);
}

START_TEST(agreement_of_heads) {
    vsti_measured_runs set = {0};
    char *html = page_of(&set, true);
    const vsti_measured_run *student = &set.runs[1];
    const vst_report_agreement *agreement = &student->agreement;
    const vst_evaluation *own = vsti_report_answers(&set, student), *teacher = vsti_report_answers(&set, &set.runs[0]);
    int heads[VST_HEADS][TEST], same[2] = {0}, right = 0;
    ck_assert_int_eq(agreement->count, 4);
    ck_assert_int_lt(set.runs[0].agreement.count, 2); /* a run is not compared with itself */
    ck_assert_int_lt(set.runs[0].teacher, 0);
    answer(student, heads);
    for (int i = 0; i < TEST; i++) {
        same[0] += heads[0][i] == teacher->predictions[i]; /* the teacher's last.safetensors is its best.safetensors */
        same[1] += heads[0][i] == heads[1][i];
        right += heads[1][i] == i % CLASSES;
    }
    ck_assert_double_eq_tol(agreement->same[0][1], 100.0 * same[0] / TEST, 1e-9);
    ck_assert_double_eq_tol(agreement->same[1][2], 100.0 * same[1] / TEST, 1e-9);
    ck_assert_double_eq_tol(agreement->right[2], 100.0 * right / TEST, 1e-9);
    ck_assert_double_eq_tol(agreement->right[3], own->top1, 1e-9);
    ck_assert_double_eq(agreement->same[3][3], 100);
    expect(html, ">%.2f</td>", 100.0 * same[1] / TEST);
    vst_free(html);
    vsti_report_set_clear(&set);
}
END_TEST

/* ---- Attention ---- */

typedef double matrix[TOKENS][TOKENS];

/* out = (A + I)/2 times in, where A is the mean over the heads of the softmax of a block's scores. */
static void apply_block(const float *scores, matrix in, matrix out) {
    for (int i = 0; i < TOKENS; i++) {
        double row[TOKENS] = {0};
        row[i] = 0.5;
        for (int h = 0; h < HEADS; h++) {
            const float *s = scores + (h * TOKENS + i) * TOKENS;
            double sum = 0;
            for (int j = 0; j < TOKENS; j++) sum += exp(s[j]);
            for (int j = 0; j < TOKENS; j++) row[j] += exp(s[j]) / sum / HEADS / 2;
        }
        for (int k = 0; k < TOKENS; k++) {
            out[i][k] = 0;
            for (int j = 0; j < TOKENS; j++) out[i][k] += row[j] * in[j][k];
        }
    }
}

/* The product of the paper, computed from the raw scores. */
static void roll_out(const vsti_measured_run *run, const float *image, matrix rolled) {
    vst_graph *graph;
    vst_context *context;
    vst_value scores[BLOCKS];
    char name[VST_TAP_NAME];
    matrix other;
    ck_ok(vst_graph_create(&graph, run->model->params));
    vst_model_build(graph, run->model->config, 1);
    scores[0] = vst_tap_find(graph, "blocks.0.scores", name);
    scores[1] = vst_tap_find(graph, "blocks.1.scores", name);
    ck_ok(vst_graph_finish(graph));
    context = create_context(graph, scores, BLOCKS, &(vst_program_options){.mode = VST_INFER});
    memcpy(vst_context_input(context, "image"), image, SIDE * SIDE * sizeof *image);
    ck_ok(vst_context_run(context, 0));
    for (int i = 0; i < TOKENS; i++)
        for (int k = 0; k < TOKENS; k++) rolled[i][k] = i == k;
    apply_block(vst_context_output(context, 0), rolled, other);
    apply_block(vst_context_output(context, 1), other, rolled);
    destroy_context(context);
    vst_graph_destroy(graph);
}

START_TEST(rollout) {
    vsti_measured_runs set = {0};
    const vst_session_options options = {.attention = true};
    vst_session *session;
    vst_result result = {0};
    float image[SIDE * SIDE];
    matrix rolled;
    ck_ok(vsti_report_add(&set, "teacher", NULL, false));
    ck_ok(vsti_report_add(&set, "student", NULL, false));
    ck_ok(vst_session_create_model(&session, set.runs[0].model, &options));
    ck_assert_int_eq(vst_session_attention_tokens(session), 0); /* a CNN */
    vst_session_close(session);
    ck_ok(vst_session_create_model(&session, set.runs[1].model, &options));
    ck_assert_int_eq(vst_session_attention_tokens(session), 2);
    ck_assert_int_eq(vst_session_attention_side(session), 3);
    for (int i = 0; i < SIDE * SIDE; i++) image[i] = (float)(i * 37 % 101) / 101;
    ck_ok(vst_session_run(session, image, 1, &result));
    roll_out(&set.runs[1], image, rolled);
    for (int token = 0; token < 2; token++)
        for (int i = 0; i < PATCHES; i++)
            ck_assert_double_eq_tol(result.attention[token * PATCHES + i], rolled[token][2 + i], 1e-6);
    vst_result_clear(&result);
    vst_session_close(session);
    vsti_report_set_clear(&set);
}
END_TEST

START_TEST(overlay) {
    vst_image picture = {0}, out = {0};
    const float map[4] = {0, 0, 0, 1};
    ck_ok(vst_image_allocate(&picture, 1, 8, 8));
    memset(picture.pixels, 100, 64);
    ck_ok(vst_attention_overlay(&picture, map, 2, &out));
    ck_assert_int_eq(out.channels, 3);
    ck_assert_int_eq(out.width, 8);
    const uint8_t *least = out.pixels, *most = out.pixels + 3 * 63;
    ck_assert_int_gt(most[0], least[0] + 100);
    vst_image_clear(&picture);
    vst_image_clear(&out);
}
END_TEST

/* ---- What is missing ---- */

typedef struct damage {
    const char *command;              /* shell command, run in the folder of both runs */
    const char *says, *keeps, *lacks; /* texts of the page about the student */
} damage;

static const damage damages[] = {
    {"rm student/summary.csv", "the curves come from log.txt", "<h2>How it learned", "<small> min</small>"},
    {"rm student/summary.csv; truncate -s 20 student/log.txt", "neither summary.csv nor log.txt", "<h2>Class by class",
     "How it"},
    {"truncate -s 100 student/best.safetensors", "the model cannot be used: student/best.safetensors",
     "last.safetensors ·", "+"},
    {"rm student/*.safetensors", "no model: neither best.safetensors", "<h2>How it learned", "<h2>What is confused"},
    {"rm -r data", "not tested, so no accuracy, matrix, pictures: ", "<h2>How it learned", "<h2>What is confused"},
    {"truncate -s 30 data/t10k-images*", "not tested, so", "for one image", "<h2>Attention maps"},
    {"rm -r teacher", "no agreement with the teacher: teacher/last.safetensors", ">mean of both heads<", ">teacher<"},
    {"echo 'modell: {}' >> student/recipe.yaml", "the recipe cannot be used: ", "<h2>What is confused", ">teacher<"},
    {"rm student/recipe.yaml", "the recipe cannot be used: ", " · seed 3", "<h2>Recipe"},
};

START_TEST(missing) {
    const damage *d = &damages[_i];
    vsti_measured_runs set = {0};
    ck_assert_int_eq(system(d->command), 0);
    char *html = page_of(&set, false);
    expect(html, "What is missing here");
    expect(html, "%s", d->says);
    expect(html, "%s", d->keeps);
    ck_assert_msg(!strstr(html, d->lacks) || *d->lacks == '+', "%s: the page has %s", d->command, d->lacks);
    vst_free(html);
    vsti_report_set_clear(&set);
}
END_TEST

static void refuse(const char *run, const char *says) {
    vsti_measured_runs set = {0};
    ck_assert_int_ne(vsti_report_add(&set, run, NULL, false), VST_OK);
    ck_assert_msg(strstr(vst_error_message(), says) != NULL, "\"%s\" is not in: %s", says, vst_error_message());
    vsti_report_set_clear(&set);
}

START_TEST(nothing) {
    refuse("none", "none: there is no such run folder");
    refuse("data", "data is no run folder");
    ck_assert_int_eq(system("rm student/summary.csv student/log.txt student/*.safetensors"), 0);
    refuse("student", "student: nothing can be shown of this run");
}
END_TEST

/* The data have been moved. */
START_TEST(moved_data) {
    vsti_measured_runs set = {.data = "moved"};
    ck_assert_int_eq(system("mv data moved"), 0);
    char *html = page_of(&set, true);
    ck_assert_ptr_null(set.runs[0].notes);
    expect(html, "moved, 21 test images");
    vst_free(html);
    vsti_report_set_clear(&set);
}
END_TEST

/* Other images than those of the first run: no common images, but a row in the table. */
START_TEST(other_data) {
    vsti_measured_runs set = {0};
    ck_assert_int_eq(system("mkdir other"), 0);
    write_idx("other", "", TRAIN, TEST - 2, SIDE, SIDE, CLASSES, 0);
    ck_assert_int_eq(system("sed -i 's/path: \"data\"/path: \"other\"/' student/recipe.yaml"), 0);
    char *html = page_of(&set, true);
    expect(html, "no matrix and no pictures: it was tested on other/");
    ck_assert_int_eq(occurrences(html, "<table class=matrix>"), 1);
    ck_assert_int_eq(set.runs[1].agreement.count, 4); /* the teacher is run on these images too */
    vst_free(html);
    vsti_report_set_clear(&set);
}
END_TEST

START_TEST(failing_allocations) {
    vst_status status = VST_ERROR_MEMORY;
    int failures = 0;
    for (uint64_t n = 1; status != VST_OK; n += 7, failures++) {
        vsti_measured_runs set = {0};
        vsti_page_data sheet = {0};
        vst_memory_fail_at(n);
        status = vsti_report_add(&set, "student", NULL, false);
        if (status == VST_OK) status = vsti_report_compare(&set);
        if (status == VST_OK) status = vsti_page_data_fill(&sheet, &set, (const int[]){0}, 1);
        vst_memory_fail_at(0);
        if (status != VST_OK) ck_assert_int_eq(status, VST_ERROR_MEMORY);
        vsti_page_data_clear(&sheet);
        vsti_report_set_clear(&set);
        ck_assert_int_lt(failures, 5000);
    }
    ck_assert_int_gt(failures, 20);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("report_run");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, set_up, leave_own_folder);
    tcase_add_test(tests, numbers);
    tcase_add_test(tests, agreement_of_heads);
    tcase_add_test(tests, rollout);
    tcase_add_test(tests, overlay);
    tcase_add_loop_test(tests, missing, 0, sizeof damages / sizeof *damages);
    tcase_add_test(tests, nothing);
    tcase_add_test(tests, moved_data);
    tcase_add_test(tests, other_data);
    tcase_add_test(tests, failing_allocations);
    return run_suite("report_run", tests);
}
