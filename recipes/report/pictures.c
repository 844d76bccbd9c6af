/* Test images with the predictions of each run: some from all over the test split, and the worst mistakes. */
#include <math.h>

#include "recipes/report/internal.h"

static void write_answer(FILE *html, const vst_report *report, int run, int picture, int label) {
    const vst_report_run *r = &report->runs[run];
    const int answer = r->predictions[picture];
    const char *kind = answer < 0 || label < 0 ? "" : answer == label ? "right" : "wrong";
    fprintf(html, "<li class=\"%s\">%s", kind, !*kind ? "" : answer == label ? "✓ " : "✗ ");
    vsti_html_text(html, vsti_class_at(report, answer));
    if (r->probabilities && isfinite(r->probabilities[picture]))
        fprintf(html, " <span class=sure>%.0f %%</span>", 100 * (double)r->probabilities[picture]);
    if (report->run_count > 1) {
        fputs("<small>", html);
        vsti_html_text(html, r->name);
        fputs("</small>", html);
    }
    fputs("</li>", html);
}

static vst_status write_picture(FILE *html, const vst_report *report, int picture) {
    const int label = report->labels ? report->labels[picture] : -1;
    fputs("<div class=picture>", html);
    const vst_status status = vsti_html_photo(html, &report->pictures[picture], vsti_class_at(report, label));
    fputs("<h4>", html);
    vsti_html_text(html, vsti_class_at(report, label));
    fputs("</h4><ul>", html);
    for (int run = 0; run < report->run_count; run++)
        if (report->runs[run].predictions) write_answer(html, report, run, picture, label);
    fputs("</ul></div>\n", html);
    return status;
}

vst_status vsti_html_pictures(FILE *html, const vst_report *report) {
    vst_status status = VST_OK;
    const int shown = report->picture_count, all = shown + report->mistake_count;
    if (report->mistake_count) {
        fputs("<h2>Worst mistakes</h2>\n<p class=note>Test images that ", html);
        vsti_html_run(html, report, report->mistaken);
        fputs(
            " gets wrong and is most certain about. The label in bold, below it what each run says and the probability "
            "that it gives to that.</p>\n<div class=pictures>\n",
            html);
        for (int i = shown; i < all; i++) VST_TRY(write_picture(html, report, i));
        fputs("</div>\n", html);
    }
    if (shown) {
        fputs(
            "<h2>Some test images</h2>\n<p class=note>Spread evenly over the test split. The label in bold, below it "
            "what each run says, with its probability: green is right, red is wrong.</p>\n<div class=pictures>\n",
            html);
        for (int i = 0; i < shown; i++) VST_TRY(write_picture(html, report, i));
        fputs("</div>\n", html);
    }
out:
    return status;
}
