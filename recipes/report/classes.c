/* Class by class: how many of its test images each run gets right, the hardest classes first. */
#include <math.h>
#include <stdlib.h>

#include "recipes/report/internal.h"
#include "vision/base/memory.h"

enum { MOST_CLASSES = 24 };

typedef struct place {
    int class;
    double mean; /* over the runs, per cent; NAN: no images */
} place;

static double accuracy(const vst_confusion *confusion, int class, uint64_t *images) {
    *images = vst_confusion_samples(confusion, class);
    return *images ? 100 * (double)vst_confusion_right(confusion, class) / (double)*images : NAN;
}

static double mean_accuracy(const vst_report *report, int class) {
    double sum = 0;
    int runs = 0;
    for (int i = 0; i < report->run_count; i++) {
        uint64_t images;
        if (!report->runs[i].confusion) continue;
        sum += accuracy(report->runs[i].confusion, class, &images);
        runs++;
    }
    return sum / runs;
}

static int hardest_first(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (isnan(x->mean) || isnan(y->mean)) return isnan(x->mean) - isnan(y->mean);
    return x->mean != y->mean ? (x->mean > y->mean) - (x->mean < y->mean) : x->class - y->class;
}

static void write_class(FILE *html, const vst_report *report, int class) {
    uint64_t images = 0;
    char text[32];
    fputs("<tr><td class=name>", html);
    vsti_html_text(html, vsti_class_at(report, class));
    fputs("</td>", html);
    for (int i = 0; i < report->run_count; i++) {
        if (!report->runs[i].confusion) continue;
        const double percent = accuracy(report->runs[i].confusion, class, &images);
        fprintf(html, "<td>%s", vsti_number_text(percent, 1, text));
        if (isfinite(percent))
            fprintf(html, "<span class=bar><i style=\"width:%.1f%%;background:var(--c%d)\"></i></span>", percent,
                    vsti_report_colour(i));
        fputs("</td>", html);
    }
    fprintf(html, "<td>%llu</td></tr>\n", (unsigned long long)images);
}

static void write_table(FILE *html, const vst_report *report, const place *places) {
    const int shown = report->class_count < MOST_CLASSES ? report->class_count : MOST_CLASSES;
    fputs("<h2>Class by class</h2>\n<p class=note>Per cent of each class's test images that get their own label, ",
          html);
    if (shown < report->class_count) fprintf(html, "of the %d hardest of %d classes.", shown, report->class_count);
    else fputs("the hardest class first.", html);
    fputs("</p>\n<div class=scroll><table class=\"runs classes\"><thead><tr><th>class</th>", html);
    for (int i = 0; i < report->run_count; i++) {
        if (!report->runs[i].confusion) continue;
        fputs("<th>", html);
        vsti_html_run(html, report, i);
        fputs("</th>", html);
    }
    fputs("<th>images</th></tr></thead><tbody>\n", html);
    for (int i = 0; i < shown; i++) write_class(html, report, places[i].class);
    fputs("</tbody></table></div>\n", html);
}

vst_status vsti_html_classes(FILE *html, const vst_report *report) {
    int measured = 0;
    for (int i = 0; i < report->run_count; i++) measured += report->runs[i].confusion != NULL;
    if (measured == 0 || report->class_count == 0) return VST_OK;
    place *places = vst_calloc((size_t)report->class_count, sizeof *places);
    if (!places) return vst_fail_memory((size_t)report->class_count * sizeof *places);
    for (int i = 0; i < report->class_count; i++) places[i] = (place){i, mean_accuracy(report, i)};
    qsort(places, (size_t)report->class_count, sizeof *places, hardest_first);
    write_table(html, report, places);
    vst_free(places);
    return VST_OK;
}
