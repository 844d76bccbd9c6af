/* Recall, precision and F1 by class for each run, lowest recall first. */
#include <math.h>
#include <stdlib.h>

#include "recipes/report/internal.h"
#include "vision/base/memory.h"

enum { MOST_CLASSES = 24 };

/* Of one class and one run. */
typedef struct figures {
    uint64_t images, right, answered; /* number of images with this label, of these predicted as this class, and all
                                         predicted as this class */
} figures;

typedef struct place {
    int class;
    double mean; /* recall over the runs, per cent; NAN: no images */
} place;

static double share(uint64_t part, uint64_t whole) { return whole ? 100 * (double)part / (double)whole : NAN; }
static double recall(const figures *f) { return share(f->right, f->images); }
/* 0 for a class that is never predicted, as in scikit-learn. */
static double precision(const figures *f) { return f->images && !f->answered ? 0 : share(f->right, f->answered); }
static double f1(const figures *f) { return share(2 * f->right, f->images + f->answered); }

/* counts: (classes) */
static void count(const vst_report_run *run, figures *counts) {
    for (size_t i = 0; run->confusion && i < run->confusion->count; i++) {
        const vst_confusion_cell *cell = &run->confusion->cells[i];
        counts[cell->label].images += cell->count;
        counts[cell->prediction].answered += cell->count;
        if (cell->label == cell->prediction) counts[cell->label].right += cell->count;
    }
}

/* counts: (runs, classes) */
static double mean_recall(const vst_report *report, const figures *counts, int class) {
    double sum = 0;
    int runs = 0;
    for (int i = 0; i < report->run_count; i++) {
        if (!report->runs[i].confusion) continue;
        sum += recall(&counts[i * report->class_count + class]);
        runs++;
    }
    return sum / runs;
}

static int hardest_first(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (isnan(x->mean) || isnan(y->mean)) return isnan(x->mean) - isnan(y->mean);
    return x->mean != y->mean ? (x->mean > y->mean) - (x->mean < y->mean) : x->class - y->class;
}

/* Recall with a bar, precision and F1 below it. */
static void write_cell(FILE *html, double recall_percent, double precision_percent, double f1_percent, int colour) {
    char text[32];
    fprintf(html, "<td>%s", vsti_number_text(recall_percent, 1, text));
    if (isfinite(recall_percent))
        fprintf(html, "<span class=bar><i style=\"width:%.1f%%;background:var(--c%d)\"></i></span>", recall_percent,
                colour);
    fprintf(html, "<small>%s · ", vsti_number_text(precision_percent, 1, text));
    fprintf(html, "%s</small></td>", vsti_number_text(f1_percent, 1, text));
}

static void write_class(FILE *html, const vst_report *report, const figures *counts, int class) {
    uint64_t images = 0;
    fputs("<tr><td class=name>", html);
    vsti_html_text(html, vsti_class_at(report, class));
    fputs("</td>", html);
    for (int i = 0; i < report->run_count; i++) {
        const figures *f = &counts[i * report->class_count + class];
        if (!report->runs[i].confusion) continue;
        images = f->images;
        write_cell(html, recall(f), precision(f), f1(f), vsti_report_colour(i));
    }
    fprintf(html, "<td>%llu</td></tr>\n", (unsigned long long)images);
}

typedef double figure_of(const figures *counts);

/* Mean over the classes for which it is known. */
static double mean_over(const figures *counts, int classes, figure_of *figure) {
    double sum = 0;
    int known = 0;
    for (int i = 0; i < classes; i++) {
        const double value = figure(&counts[i]);
        if (!isfinite(value)) continue;
        sum += value;
        known++;
    }
    return known ? sum / known : NAN;
}

static void write_means(FILE *html, const vst_report *report, const figures *counts) {
    const int classes = report->class_count;
    fputs("<tr><td class=name><b>mean of all classes</b></td>", html);
    for (int i = 0; i < report->run_count; i++) {
        const figures *own = counts + i * classes;
        if (!report->runs[i].confusion) continue;
        write_cell(html, mean_over(own, classes, recall), mean_over(own, classes, precision),
                   mean_over(own, classes, f1), vsti_report_colour(i));
    }
    fputs("<td></td></tr>\n", html);
}

static void write_table(FILE *html, const vst_report *report, const figures *counts, const place *places) {
    const int shown = report->class_count < MOST_CLASSES ? report->class_count : MOST_CLASSES;
    fputs(
        "<h2>Class by class</h2>\n<p class=note>Recall, per cent of each class's test images that get their own label; "
        "in small "
        "type precision, per cent of the answers with this class that are right, and F1, their harmonic mean; ",
        html);
    if (shown < report->class_count) fprintf(html, "the %d hardest of %d classes.", shown, report->class_count);
    else fputs("the hardest class first.", html);
    fputs("</p>\n<div class=scroll><table class=\"runs classes\"><thead><tr><th>class</th>", html);
    for (int i = 0; i < report->run_count; i++) {
        if (!report->runs[i].confusion) continue;
        fputs("<th>", html);
        vsti_html_run(html, report, i);
        fputs("</th>", html);
    }
    fputs("<th>images</th></tr></thead><tbody>\n", html);
    for (int i = 0; i < shown; i++) write_class(html, report, counts, places[i].class);
    write_means(html, report, counts);
    fputs("</tbody></table></div>\n", html);
}

vst_status vsti_html_classes(FILE *html, const vst_report *report) {
    int measured = 0;
    for (int i = 0; i < report->run_count; i++) measured += report->runs[i].confusion != NULL;
    if (measured == 0 || report->class_count == 0) return VST_OK;
    vst_status status = VST_OK;
    const size_t classes = (size_t)report->class_count, all = classes * (size_t)report->run_count;
    place *places = vst_calloc(classes, sizeof *places);
    figures *counts = vst_calloc(all, sizeof *counts);
    if (!places || !counts) VST_TRY(vst_fail_memory(all * sizeof *counts));
    for (int i = 0; i < report->run_count; i++) count(&report->runs[i], counts + (size_t)i * classes);
    for (int i = 0; i < report->class_count; i++) places[i] = (place){i, mean_recall(report, counts, i)};
    qsort(places, classes, sizeof *places, hardest_first);
    write_table(html, report, counts, places);
out:
    vst_free(places);
    vst_free(counts);
    return status;
}
