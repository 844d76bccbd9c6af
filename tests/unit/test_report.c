/* The report: its contents, escaping, pages without gnuplot, and no leaks if allocations fail. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipes/report/internal.h"
#include "recipes/report/report.h"
#include "tests/unit/html_check.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

enum { CLASSES = 3, MANY = 40, PICTURES = 2 };
static vst_image pictures[PICTURES];
static const int labels[PICTURES] = {1, -1}, first_answers[PICTURES] = {1, 0}, second_answers[PICTURES] = {2, -1};
static const char *const names[MANY] = {"cat", "<dog>", "a & b"};
static vst_confusion_cell cells[] = {{0, 0, 90}, {0, 1, 7}, {0, 2, 3}, {1, 1, 100}, {2, 0, 40}, {2, 2, 60}};
static size_t rows[CLASSES + 1] = {0, 3, 4, 6};
static const vst_confusion confusion = {CLASSES, cells, 6, rows};
static vst_confusion_cell many_cells[MANY];
static size_t many_rows[MANY + 1];
static const vst_confusion large_confusion = {MANY, many_cells, MANY, many_rows};
static vst_report_run runs[2];

static void set_up(void) {
    enter_own_folder("report");
    FILE *file = fopen("summary.csv", "w");
    fputs(
        "epoch,lr,train_loss,train_top1,eval_loss,eval_top1,seconds,more\n"
        "0,1e-3,2.5,10,nan,,3,9\n1,1e-3,1.5,40.5,1.25,45,3,9\n2,1e-3,0.5,80,0.75,75,3,9\n3,1e-3,x",
        file);
    ck_assert_int_eq(fclose(file), 0);
    for (int i = 0; i < PICTURES; i++) {
        ck_ok(vst_image_allocate(&pictures[i], 1 + 2 * i, 2, 2));
        memset(pictures[i].pixels, 7 * i, 4 * (size_t)pictures[i].channels);
    }
    runs[0] = (vst_report_run){.name = "<script>alert('x')</script>",
                               .model = "resnet\"20",
                               .folder = own_folder,
                               .parameters = 272474,
                               .megabytes = 1.1,
                               .latency_ms = 3.125,
                               .latency_low = NAN,
                               .latency_high = NAN,
                               .top1 = 93.125,
                               .top1_deviation = 0.25,
                               .teacher_agreement = NAN,
                               .minutes = 7.5,
                               .confusion = &confusion,
                               .predictions = first_answers,
                               .file = "best.safetensors",
                               .seeds = "0, 1",
                               .last_top1 = 92.5,
                               .epochs = 17,
                               .notes = "no <map>: it is gone\nno more"};
    runs[1] = vst_report_unknown("plain");
    runs[1].parameters = 1390;
    runs[1].latency_ms = 0.5;
    runs[1].top1 = 87.5;
    runs[1].teacher_agreement = 90.25;
    runs[1].predictions = second_answers;
}

static void tear_down(void) {
    for (int i = 0; i < PICTURES; i++) vst_image_clear(&pictures[i]);
    leave_own_folder();
}

static vst_report two_runs(void) {
    return (vst_report){.title = "A \"title\" <b>",
                        .subtitle = "sub & title",
                        .runs = runs,
                        .run_count = 2,
                        .class_names = names,
                        .class_count = CLASSES,
                        .pictures = pictures,
                        .labels = labels,
                        .picture_count = PICTURES,
                        .recipe = "a: <i>\n"};
}

START_TEST(summary_file) {
    vsti_curve curve = {0};
    ck_ok(vsti_curve_read(&curve, own_folder));
    ck_assert_uint_eq(curve.count, 3); /* the last line is not complete */
    ck_assert(isnan(curve.epochs[0].eval_loss) && isnan(curve.epochs[0].eval_top1));
    ck_assert_double_eq(curve.epochs[1].train_top1, 40.5);
    ck_assert_double_eq(curve.epochs[2].eval_loss, 0.75);
    ck_assert_double_eq(curve.epochs[0].rate, 1e-3);
    ck_assert_int_eq(curve.loss_count, 0);
    vst_free(curve.epochs);
    curve = (vsti_curve){0};
    FILE *log = fopen("log.txt", "w"); /* a line within an epoch, two of whole ones, and half a line */
    fputs(
        "{\"epoch\": 0, \"step\": 5, \"train_term0_kl\": 9}\n"
        "{\"epoch\": 0, \"test_acc1\": null, \"train_labels_loss\": 2, \"train_term0_kl\": 0.5}\n"
        "{\"epoch\": 2, \"test_acc1\": 75, \"train_labels_loss\": 1, \"train_term0_kl\": 0.25}\n{\"epoch\"",
        log);
    ck_assert_int_eq(fclose(log), 0);
    ck_ok(vsti_curve_read(&curve, own_folder));
    ck_assert_int_eq(curve.loss_count, 2);
    ck_assert_str_eq(curve.names[0], "labels");
    ck_assert_str_eq(curve.names[1], "0 kl");
    ck_assert_double_eq(curve.epochs[0].losses[1], 0.5);
    ck_assert_double_eq(curve.epochs[2].losses[0], 1);
    ck_assert(isnan(curve.epochs[1].losses[0]));
    vst_free(curve.epochs);
    curve = (vsti_curve){0};
    ck_ok(vsti_curve_read(&curve, "no such folder"));
    ck_assert_uint_eq(curve.count, 0);
}
END_TEST

START_TEST(page) {
    const vst_report report = two_runs();
    char *html;
    bool figures;
    ck_ok(vst_report_html(&report, &html, &figures));
    check_html(html);
    ck_assert_int_eq(occurrences(html, "<script"), 0);
    ck_assert_ptr_null(strstr(html, "@@"));
    ck_assert_ptr_nonnull(strstr(html, "<h1>A &quot;title&quot; &lt;b&gt;</h1>"));
    ck_assert_ptr_nonnull(strstr(html, "&lt;script&gt;alert(&#39;x&#39;)"));
    ck_assert_ptr_nonnull(strstr(html, "<td class=best>93.12"));
    ck_assert_ptr_nonnull(strstr(html, "± 0.25"));
    ck_assert_ptr_nonnull(strstr(html, "<td class=best>1390</td>"));
    ck_assert_ptr_nonnull(strstr(html, "<b>a &amp; b</b> taken for <b>cat</b><small>40 of 100</small>"));
    ck_assert_int_eq(occurrences(html, "<table class=matrix>"), 1);
    ck_assert_int_eq(occurrences(html, "data:image/png;base64,iVBORw0KGgo"), 2);
    ck_assert_int_eq(occurrences(html, "<li class=\"right\">✓ &lt;dog&gt;"), 1);
    ck_assert_int_eq(occurrences(html, "<li class=\"wrong\">✗ a &amp; b"), 1);
    ck_assert_int_eq(occurrences(html, "<li class=\"\">"), 2); /* the image without a label */
    ck_assert_ptr_nonnull(strstr(html, "a: &lt;i&gt;"));
    ck_assert_ptr_nonnull(
        strstr(html, "is right most often, about 93.12 % of the test images, 5.62 points ahead of <b>plain"));
    ck_assert_ptr_nonnull(strstr(html, "<td>17</td><td>7.5</td><td>0, 1</td>"));
    ck_assert_ptr_nonnull(strstr(html, "</b> no &lt;map&gt;: it is gone</li>\n<li>"));
    ck_assert_ptr_nonnull(strstr(html, "</b> no more</li>"));
    /* Nothing is downloaded: the only addresses are XML namespaces. */
    ck_assert_int_eq(occurrences(html, "http"), occurrences(html, "http://www.w3.org/"));
    if (figures) {
        ck_assert_int_eq(occurrences(html, "<figure>"), 6);
        ck_assert_int_eq(occurrences(html, "</svg></figure>") + occurrences(html, "</svg>\n"), 6);
        ck_assert_ptr_nonnull(strstr(html, "stroke='var(--c0)'"));
    } else {
        fprintf(stderr, "skipped: figures, gnuplot is not there\n");
    }
    vst_free(html);
}
END_TEST

/* What distillation gained, and what the student saves. */
static const struct {
    double student, plain, teacher; /* top-1; NAN: there is no such run */
    double ms, teacher_ms, megabytes, teacher_megabytes;
    const char *text;
} verdicts[] = {
    {90, 80, 94, 0.1, 0.8, 0.5, 1,
     "a is right about 90.00 % of the test images, 10.00 points more than b, the same model trained without a teacher. "
     "Against its teacher (c, 94.00 %) it loses 4.00 points, takes 8.0 times less time for an image (0.10 ms for 0.80 "
     "ms) and its file is 2.0 times smaller (0.50 MB for 1.00 MB)."},
    {90, 89.5, 94, 0.1, 0.8, NAN, 1,
     "a is right about 90.00 % of the test images, 0.50 points more than b, the same model trained without a teacher, "
     "which 300 test images cannot tell from chance. Against its teacher (c, 94.00 %) it loses 4.00 points and takes "
     "8.0 times less time for an image (0.10 ms for 0.80 ms)."},
    {80, 90, NAN, 1, 1, 1, 1,
     "a is right about 80.00 % of the test images, 10.00 points fewer than b, the same model trained without a "
     "teacher: "
     "distillation gained nothing here."},
    {80, NAN, 90, 2, 1, 3, 1,
     "a is right about 80.00 % of the test images. Against its teacher (c, 90.00 %) it loses 10.00 points, takes 2.0 "
     "times as long for an image (2.00 ms for 1.00 ms) and its file is 3.0 times as large (3.00 MB for 1.00 MB). The "
     "teacher is the better model to ship: no slower, no larger, no less often right."},
    {90, 90, 80, NAN, 1, 1, 1,
     "a is right about 90.00 % of the test images, as often as b, the same model trained without a teacher: "
     "distillation gained nothing here. Against its teacher (c, 80.00 %) it gains 10.00 points and its file is as "
     "large (1.00 MB for 1.00 MB)."},
};

START_TEST(verdict) {
    vst_report_run shown[3] = {vst_report_unknown("a"), vst_report_unknown("b"), vst_report_unknown("c")};
    const vst_report report = {.title = "t", .runs = shown, .run_count = 3, .class_count = CLASSES};
    char *text, *html;
    shown[0].top1 = verdicts[_i].student;
    shown[0].latency_ms = verdicts[_i].ms;
    shown[0].megabytes = verdicts[_i].megabytes;
    shown[0].confusion = &confusion;
    shown[1].top1 = verdicts[_i].plain;
    shown[2].top1 = verdicts[_i].teacher;
    shown[2].latency_ms = verdicts[_i].teacher_ms;
    shown[2].megabytes = verdicts[_i].teacher_megabytes;
    ck_ok(vst_report_verdict(&report, &text));
    ck_assert_ptr_null(text); /* nobody was taught */
    if (!isnan(shown[1].top1)) shown[0].plain = &shown[1];
    if (!isnan(shown[2].top1)) shown[0].teacher = &shown[2];
    ck_ok(vst_report_verdict(&report, &text));
    ck_assert_str_eq(text, verdicts[_i].text);
    ck_ok(vst_report_html(&report, &html, NULL));
    check_html(html);
    ck_assert_ptr_nonnull(strstr(html, "<p class=headline><b>a</b> is right about "));
    if (_i == 0) {
        ck_assert_ptr_nonnull(strstr(html, "<b>+10.00<small> points</small></b><small>against the same model without"));
        ck_assert_ptr_nonnull(strstr(html, "<b>-4.00<small> points</small></b><small>against the teacher<br>c"));
        ck_assert_ptr_nonnull(strstr(html, "<b>8.0<small> ×</small></b><small>faster than the teacher<br>0.10 ms"));
        ck_assert_ptr_nonnull(strstr(html, "<b>2.0<small> ×</small></b><small>smaller than the teacher<br>0.50 MB"));
    }
    vst_free(html);
    vst_free(text);
}
END_TEST

START_TEST(without_gnuplot) {
    const vst_report report = two_runs();
    char *html;
    bool figures = true;
    ck_assert_int_eq(setenv("PATH", "/nonexistent", 1), 0);
    ck_ok(vst_report_html(&report, &html, &figures));
    ck_assert(!figures);
    ck_assert_int_eq(occurrences(html, "<figure>"), 0);
    check_html(html);
    ck_assert_ptr_nonnull(strstr(html, "gnuplot-nox"));
    ck_assert_ptr_nonnull(strstr(html, "<table class=matrix>"));
    vst_free(html);
}
END_TEST

START_TEST(many_classes) {
    for (int i = 0; i < MANY; i++) {
        many_cells[i] = (vst_confusion_cell){i, (i + (i == 5)) % MANY, 10};
        many_rows[i + 1] = (size_t)i + 1;
    }
    runs[0].confusion = &large_confusion;
    const vst_report report = {
        .title = "many", .runs = runs, .run_count = 1, .class_names = names, .class_count = MANY};
    char *html;
    ck_ok(vst_report_html(&report, &html, NULL));
    ck_assert_ptr_nonnull(strstr(html, "<img class=matrix width=480 height=480"));
    ck_assert_int_eq(occurrences(html, "taken for"), 1);
    ck_assert_ptr_null(strstr(html, "<h2>Runs")); /* one run has its numbers on top */
    ck_assert_ptr_nonnull(strstr(html, "the 24 hardest of 40 classes"));
    ck_assert_ptr_nonnull(strstr(html, "best.safetensors · 17 epochs · 92.50 % after the last one · seed 0, 1"));
    check_html(html);
    vst_free(html);
}
END_TEST

/* Photographs stand on the page in the size that is shown, and of classes only the hardest: 5 MB are the most. */
START_TEST(page_of_a_thousand_classes) {
    enum { CLASS_COUNT = 1000, SHOWN = 24, HEIGHT = 1200, WIDTH = 1600 };
    static vst_confusion_cell wrong[2 * CLASS_COUNT];
    static size_t begins[CLASS_COUNT + 1];
    static const char *class_names[CLASS_COUNT];
    static vst_image photos[SHOWN];
    static int answers[SHOWN], truth[SHOWN];
    for (int i = 0; i < CLASS_COUNT; i++) {
        const int other = (i + 7) % CLASS_COUNT;
        wrong[2 * i] = (vst_confusion_cell){i, i < other ? i : other, 20};
        wrong[2 * i + 1] = (vst_confusion_cell){i, i < other ? other : i, 30};
        begins[i + 1] = 2 * (size_t)i + 2;
        class_names[i] = "a class with a rather long name";
    }
    const vst_confusion all = {CLASS_COUNT, wrong, (size_t)2 * CLASS_COUNT, begins};
    for (int i = 0; i < SHOWN; i++) {
        ck_ok(vst_image_allocate(&photos[i], 3, HEIGHT, WIDTH));
        for (int k = 0; k < 3 * HEIGHT * WIDTH; k++)
            photos[i].pixels[k] = (uint8_t)((unsigned)k * (unsigned)k / 977 + (unsigned)(i * k));
        answers[i] = truth[i] = i;
    }
    runs[0].confusion = &all;
    runs[0].predictions = answers;
    const vst_report report = {.title = "a thousand",
                               .runs = runs,
                               .run_count = 1,
                               .class_names = class_names,
                               .class_count = CLASS_COUNT,
                               .pictures = photos,
                               .labels = truth,
                               .picture_count = SHOWN};
    char *html;
    ck_ok(vst_report_html(&report, &html, NULL));
    ck_assert_uint_lt(strlen(html), 5000000);
    ck_assert_int_eq(occurrences(html, "<div class=picture>"), SHOWN);
    check_html(html);
    vst_free(html);
    for (int i = 0; i < SHOWN; i++) vst_image_clear(&photos[i]);
}
END_TEST

/* Attention and agreement of one of two runs; classes sorted by difficulty. */
START_TEST(parts) {
    static const vst_report_agreement agreement = {
        .count = 2, .names = {"teacher", "student"}, .right = {91, 88.5}, .same = {{100, 93.25}, {93.25, 100}}};
    static const int views[1] = {1};
    static const char *const recipes[2] = {
        "model.name: resnet\nmodel.width: 8\noptim.lr: 0.1\nrun.epochs: 3\ndistill.teacher: \n",
        "model.name: vit\nmodel.dim: 64\noptim.lr: 0.01 <fast>\nrun.epochs: 3\ndistill.teacher: t\n"};
    static const float sure[] = {0.875f, 0.5f, 0.75f, 0.25f};
    const vst_image maps[3] = {pictures[0], pictures[1], pictures[0]};
    vst_report report = two_runs();
    runs[1].agreement = &agreement;
    runs[1].attention = maps;
    runs[1].attention_tokens = 2;
    report.views = views;
    report.view_count = 1;
    report.picture_count--; /* the last one is a mistake */
    report.mistake_count = report.mistaken = 1;
    runs[0].probabilities = sure;
    runs[1].latency_low = 0.25;
    runs[1].latency_high = 0.75;
    for (int i = 0; i < 2; i++) runs[i].recipe = recipes[i];
    char *html;
    ck_ok(vst_report_html(&report, &html, NULL));
    check_html(html);
    ck_assert_ptr_nonnull(strstr(html, "<h2>Attention maps</h2>"));
    ck_assert_int_eq(occurrences(html, "<figure class=attention-map>"), 3);
    ck_assert_int_eq(occurrences(html, "<figcaption>distillation token"), 1);
    ck_assert_int_eq(occurrences(html, ">93.25</td>"), 2);
    ck_assert_ptr_nonnull(strstr(html, "<td class=right-of>88.50</td>"));
    /* A key of one family of models is not shown, nor one that is the same. */
    ck_assert_ptr_nonnull(strstr(html, "<td class=name>model.name</td><td>resnet</td><td>vit</td></tr>"));
    ck_assert_ptr_nonnull(strstr(html, "<td class=name>optim.lr</td><td>0.1</td><td>0.01 &lt;fast&gt;</td></tr>"));
    ck_assert_ptr_nonnull(strstr(html, "<td class=name>distill.teacher</td><td>–</td><td>t</td></tr>"));
    ck_assert_int_eq(occurrences(html, "<td class=name>model."), 1);
    ck_assert_int_eq(occurrences(html, "run.epochs"), 0);
    ck_assert_ptr_nonnull(strstr(html, "0.50<small>0.25–0.75</small></td>"));
    ck_assert_int_eq(occurrences(html, "<span class=sure>88 %</span>"), 1);
    const char *mistakes = strstr(html, "<h2>Worst mistakes</h2>"), *others = strstr(html, "<h2>Some test images</h2>");
    ck_assert(mistakes && others && mistakes < others);
    const char *worst = strstr(html, "<td class=name>a &amp; b</td><td>60.0"),
               *best = strstr(html, "<td class=name>&lt;dog&gt;</td><td>100.0");
    ck_assert(worst && best && worst < best);
    vst_free(html);
}
END_TEST

/* Without summary.csv the epochs are read from log.txt; lines of steps and truncated lines are not epochs. */
START_TEST(log_file) {
    vsti_curve curve = {0};
    FILE *file = fopen("log.txt", "w");
    fputs(
        "{\"epoch\": 0, \"step\": 7, \"train_loss\": 9}\n"
        "{\"train_loss\": 2.5, \"test_loss\": null, \"test_acc1\": 40, \"epoch\": 0, \"train_acc1\": 30}\n"
        "{\"train_loss\": 1.5, \"test_loss\": 1, \"test_acc1\": 6",
        file);
    ck_assert_int_eq(fclose(file), 0);
    ck_ok(vsti_curve_read(&curve, own_folder));
    ck_assert_uint_eq(curve.count, 3); /* summary.csv takes precedence */
    ck_assert_double_eq_tol(vsti_curve_minutes(&curve), 9 / 60.0, 1e-12);
    vst_free(curve.epochs);
    curve = (vsti_curve){0};
    ck_assert_int_eq(unlink("summary.csv"), 0);
    ck_ok(vsti_curve_read(&curve, own_folder));
    ck_assert_uint_eq(curve.count, 1);
    ck_assert_double_eq(curve.epochs[0].eval_top1, 40);
    ck_assert(isnan(curve.epochs[0].eval_loss) && isnan(vsti_curve_minutes(&curve)));
    vst_free(curve.epochs);
}
END_TEST

START_TEST(bare) {
    runs[0] = vst_report_unknown("x");
    const vst_report report = {.title = "bare", .runs = runs, .run_count = 1};
    char *html;
    bool figures;
    ck_ok(vst_report_html(&report, &html, &figures));
    ck_assert(figures); /* there was nothing to draw */
    check_html(html);
    ck_assert_ptr_null(strstr(html, "nan"));
    vst_free(html);
}
END_TEST

START_TEST(files) {
    const vst_report report = two_runs();
    bool figures;
    ck_ok(vst_report_write("report.html", &report, &figures));
    ck_assert_int_eq(access("report.html", R_OK), 0);
    ck_assert_int_ne(access("report.html.part", F_OK), 0);
    ck_assert_int_eq(vst_report_write("no/report.html", &report, &figures), VST_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "no/report.html"));
}
END_TEST

START_TEST(failing_allocations) {
    const vst_report report = two_runs();
    vst_status status = VST_ERROR_MEMORY;
    char *html = NULL;
    int failures = 0;
    ck_assert_int_eq(setenv("PATH", "/nonexistent", _i), 0); /* once with gnuplot, once without */
    for (uint64_t n = 1; status != VST_OK; n++, failures++) {
        vst_memory_fail_at(n);
        status = vst_report_html(&report, &html, NULL);
        vst_memory_fail_at(0);
        ck_assert_int_eq(html != NULL, status == VST_OK);
        ck_assert_int_lt(failures, 1000);
    }
    ck_assert_int_gt(failures, 5);
    vst_free(html);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("report");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, summary_file);
    tcase_add_test(tests, page);
    tcase_add_loop_test(tests, verdict, 0, sizeof verdicts / sizeof *verdicts);
    tcase_add_test(tests, without_gnuplot);
    tcase_add_test(tests, many_classes);
    tcase_add_test(tests, page_of_a_thousand_classes);
    tcase_add_test(tests, parts);
    tcase_add_test(tests, log_file);
    tcase_add_test(tests, bare);
    tcase_add_test(tests, files);
    tcase_add_loop_test(tests, failing_allocations, 0, 2);
    return run_suite("report", tests);
}
