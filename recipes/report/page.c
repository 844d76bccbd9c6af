/* The page: table of runs, figures, and the other parts. */
#include "recipes/report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipes/report/internal.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"

vst_report_run vst_report_unknown(const char *name) {
    return (vst_report_run){.name = name,
                            .parameters = NAN,
                            .megabytes = NAN,
                            .latency_ms = NAN,
                            .latency_low = NAN,
                            .latency_high = NAN,
                            .top1 = NAN,
                            .top1_deviation = NAN,
                            .teacher_agreement = NAN,
                            .float_agreement = NAN,
                            .minutes = NAN,
                            .last_top1 = NAN};
}

/* ---- Numbers ---- */

/* "86.6 M", "0.27 M", "940" with the unit in small type. */
static void write_count(FILE *html, double count) {
    char text[32];
    if (isfinite(count) && count < 1e4) fprintf(html, "%.0f", count);
    else fprintf(html, "%s%s", vsti_short_text(count / 1e6, text), isfinite(count) ? " M" : "");
}

/* Whether the column has different values and this is the best. */
static bool is_best(const vst_report *report, const vst_report_run *run, vsti_run_number *number, bool largest) {
    bool differs = false;
    if (!isfinite(number(run))) return false;
    for (int i = 0; i < report->run_count; i++) {
        const double other = number(&report->runs[i]);
        if (!isfinite(other)) continue;
        if (largest ? other > number(run) : other < number(run)) return false;
        differs = differs || other != number(run);
    }
    return differs;
}

/* ---- The table of runs ---- */

static void write_number(FILE *html, const vst_report *report, const vst_report_run *run, vsti_run_number *number,
                         bool largest, int decimals) {
    char text[32];
    fprintf(html, "<td%s>%s</td>", is_best(report, run, number, largest) ? " class=best" : "",
            decimals >= 0 ? vsti_number_text(number(run), decimals, text) : vsti_short_text(number(run), text));
}

static void write_top1(FILE *html, const vst_report *report, int index) {
    const vst_report_run *run = &report->runs[index];
    char text[32];
    fprintf(html, "<td%s>%s", is_best(report, run, vsti_top1_of, true) ? " class=best" : "",
            vsti_number_text(run->top1, 2, text));
    if (isfinite(run->top1_deviation))
        fprintf(html, " <small style=\"display:inline\">± %.2f</small>", run->top1_deviation);
    if (isfinite(run->top1))
        fprintf(html, "<span class=bar><i style=\"width:%.1f%%;background:var(--c%d)\"></i></span>",
                fmin(fmax(run->top1, 0), 100), vsti_report_colour(index));
    fputs("</td>", html);
}

/* The median, and below it the range from the 10th to the 90th percentile. */
static void write_latency(FILE *html, const vst_report *report, const vst_report_run *run) {
    char low[32], high[32];
    fprintf(html, "<td%s>%s", is_best(report, run, vsti_latency_of, false) ? " class=best" : "",
            vsti_short_text(run->latency_ms, low));
    if (isfinite(run->latency_low) && isfinite(run->latency_high))
        fprintf(html, "<small>%s–%s</small>", vsti_short_text(run->latency_low, low),
                vsti_short_text(run->latency_high, high));
    fputs("</td>", html);
}

/* Whether some run is another one on 8-bit integers. */
static bool has_integers(const vst_report *report) {
    for (int i = 0; i < report->run_count; i++)
        if (report->runs[i].exact) return true;
    return false;
}

static void write_run(FILE *html, const vst_report *report, int index) {
    const vst_report_run *run = &report->runs[index];
    fputs("<tr><td class=name>", html);
    vsti_html_run(html, report, index);
    if (run->model) {
        fputs("<small>", html);
        vsti_html_text(html, run->model);
        fputs("</small>", html);
    }
    fputs("</td>", html);
    write_top1(html, report, index);
    write_number(html, report, run, vsti_last_of, true, 2);
    write_number(html, report, run, vsti_agreement_of, true, 2);
    if (has_integers(report)) write_number(html, report, run, vsti_float_agreement_of, true, 2);
    fprintf(html, "<td%s>", is_best(report, run, vsti_parameters_of, false) ? " class=best" : "");
    write_count(html, run->parameters);
    fputs("</td>", html);
    write_number(html, report, run, vsti_megabytes_of, false, -1);
    write_latency(html, report, run);
    if (run->epochs) fprintf(html, "<td>%d</td>", run->epochs);
    else fputs("<td>–</td>", html);
    write_number(html, report, run, vsti_minutes_of, false, 1);
    fputs("<td>", html);
    vsti_html_text(html, run->seeds ? run->seeds : "–");
    fputs("</td></tr>\n", html);
}

/* For one run the tiles already show the numbers. */
static void write_runs(FILE *html, const vst_report *report) {
    if (report->run_count == 1) return;
    const bool integers = has_integers(report);
    fprintf(
        html,
        "<h2>Runs</h2>\n<div class=scroll><table class=runs><thead><tr><th>run</th><th>top-1 %%</th>"
        "<th>last<br>epoch %%</th><th>as the<br>teacher %%</th>%s<th>parameters</th><th>MB</th><th>ms per<br>image</th>"
        "<th>epochs</th><th>minutes</th><th>seed</th></tr></thead><tbody>\n",
        integers ? "<th>as in<br>float32 %</th>" : "");
    for (int i = 0; i < report->run_count; i++) write_run(html, report, i);
    fputs(
        "</tbody></table></div>\n<p class=note>Top-1: test images whose label is the model's first answer; last epoch: "
        "the "
        "same as the training wrote it down. As the teacher: test images with the teacher's answer, right or wrong. ",
        html);
    if (integers)
        fputs("As in float32: test images with the answer of the model before it computed on 8-bit integers. ", html);
    fputs(
        "Milliseconds: one image on one core, measured when this page was made: the median, and below it the range "
        "without the quickest and the slowest tenth. Best values are bold.</p>\n",
        html);
}

/* ---- Figures ---- */

static void write_legend(FILE *html, const vst_report *report) {
    fputs("<div class=legend>", html);
    for (int i = 0; i < report->run_count; i++) {
        fputs("<span>", html);
        vsti_html_run(html, report, i);
        fputs("</span>\n", html);
    }
    fputs(
        "<span><svg viewBox=\"0 0 30 8\"><path d=\"M0 4h30\" stroke=\"currentColor\" "
        "stroke-width=\"2\"/></svg>evaluation</span>\n"
        "<span><svg viewBox=\"0 0 30 8\"><path d=\"M0 4h30\" stroke=\"currentColor\" stroke-width=\"1.5\" "
        "stroke-dasharray=\"5 4\"/></svg>training</span></div>\n",
        html);
}

static vst_status write_curves(FILE *html, const vst_report *report, bool *drawn) {
    vst_status status = VST_OK;
    size_t epochs = 0;
    vsti_curve *curves = vst_calloc((size_t)report->run_count, sizeof *curves);
    if (!curves) return vst_fail_memory((size_t)report->run_count * sizeof *curves);
    for (int i = 0; i < report->run_count; i++) {
        if (report->runs[i].folder) VST_TRY(vsti_curve_read(&curves[i], report->runs[i].folder));
        epochs += curves[i].count;
    }
    if (epochs) {
        fprintf(html, "<h2>How %s learned</h2>\n", report->run_count > 1 ? "they" : "it");
        write_legend(html, report);
        fputs("<div class=figures>\n", html);
        VST_TRY(vsti_figure_curves(html, report, curves, drawn));
        fputs("</div>\n", html);
    }
out:
    for (int i = 0; i < report->run_count; i++) vst_free(curves[i].epochs);
    vst_free(curves);
    return status;
}

static vst_status write_costs(FILE *html, const vst_report *report, bool *drawn) {
    if (report->run_count == 1) return VST_OK;
    fputs(
        "<h2>Accuracy and cost</h2>\n<p class=note>Up and to the left is better: more right answers from a smaller, "
        "faster model.</p>\n<div class=figures>\n",
        html);
    const vst_status status = vsti_figure_tradeoffs(html, report, drawn);
    fputs("</div>\n", html);
    return status;
}

static vst_status write_figures(FILE *html, const vst_report *report, bool *drawn) {
    vst_status status = VST_OK;
    *drawn = true;
    VST_TRY(write_costs(html, report, drawn));
    VST_TRY(write_curves(html, report, drawn));
    if (!*drawn)
        fputs(
            "<p class=note>The figures are missing because gnuplot could not draw them. Install it (Debian: "
            "<code>gnuplot-nox</code>) and make the report again with <code>vistill report</code>.</p>\n",
            html);
out:
    return status;
}

/* ---- Confusion ---- */

static vst_status write_confusions(FILE *html, const vst_report *report) {
    vst_status status = VST_OK;
    int last = -1;
    for (int i = 0; i < report->run_count; i++)
        if (report->runs[i].confusion) last = i;
    if (last < 0) return VST_OK;
    fputs(
        "<h2>What is confused</h2>\n<p class=note>Test images by their label (rows) and by the answer (columns). "
        "Right answers are blue, wrong ones red; an error that takes a fifth of its row is fully red.</p>\n",
        html);
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        char text[32];
        if (!run->confusion) continue;
        fprintf(html, "<details%s><summary>", i == last ? " open" : "");
        vsti_html_run(html, report, i);
        fprintf(html, "<small>%s %% right</small></summary>\n", vsti_number_text(run->top1, 2, text));
        VST_TRY(vsti_html_confusion(html, report, run));
        fputs("</details>\n", html);
    }
out:
    return status;
}

/* ---- The page ---- */

/* "vit_tiny · best.safetensors · 20 epochs · seed 0", for a page about one run. */
static void write_facts(FILE *html, const vst_report_run *run) {
    const char *const texts[] = {run->model, run->file}, *separator = "";
    char text[32];
    fputs("<p class=lead>", html);
    for (int i = 0; i < 2; i++) {
        if (!texts[i]) continue;
        fputs(separator, html);
        vsti_html_text(html, texts[i]);
        separator = " · ";
    }
    if (run->epochs)
        fprintf(html, "%s%d epoch%s", separator, run->epochs, run->epochs > 1 ? "s" : ""), separator = " · ";
    if (isfinite(run->last_top1))
        fprintf(html, "%s%s %% after the last one", separator, vsti_number_text(run->last_top1, 2, text)),
            separator = " · ";
    if (isfinite(run->latency_low) && isfinite(run->latency_high)) {
        char high[32];
        fprintf(html, "%s%s–", separator, vsti_short_text(run->latency_low, text));
        fprintf(html, "%s ms for one image", vsti_short_text(run->latency_high, high));
        separator = " · ";
    }
    if (run->seeds) {
        fprintf(html, "%sseed ", separator);
        vsti_html_text(html, run->seeds);
    }
    fputs("</p>\n", html);
}

/* Lists what is missing. */
static void write_notes(FILE *html, const vst_report *report) {
    int noted = 0;
    for (int i = 0; i < report->run_count; i++) noted += report->runs[i].notes != NULL;
    if (noted == 0) return;
    fputs("<div class=missing><h4>What is missing here</h4><ul>\n", html);
    for (int i = 0; i < report->run_count; i++) {
        const char *at = report->runs[i].notes;
        while (at && *at) {
            const size_t length = strcspn(at, "\n");
            fputs("<li><b>", html);
            vsti_html_text(html, report->runs[i].name);
            fputs("</b> ", html);
            vsti_html_bytes(html, at, length);
            fputs("</li>\n", html);
            at += length + (at[length] == '\n');
        }
    }
    fputs("</ul></div>\n", html);
}

static void write_head(FILE *html, const vst_report *report) {
    fputs(
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta name=viewport content=\"width=device-width,initial-scale=1\">\n<title>",
        html);
    vsti_html_text(html, report->title);
    fprintf(html, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", vsti_report_style);
    vsti_html_text(html, report->title);
    fputs("</h1>\n", html);
    if (report->subtitle) {
        fputs("<p class=lead>", html);
        vsti_html_text(html, report->subtitle);
        fputs("</p>\n", html);
    }
    if (report->run_count == 1) write_facts(html, &report->runs[0]);
}

static vst_status write_page(FILE *html, const vst_report *report, bool *drawn) {
    vst_status status = VST_OK;
    write_head(html, report);
    vsti_html_headline(html, report);
    write_notes(html, report);
    write_runs(html, report);
    vsti_html_differences(html, report);
    VST_TRY(write_figures(html, report, drawn));
    VST_TRY(vsti_html_attention(html, report));
    vsti_html_agreement(html, report);
    VST_TRY(vsti_html_classes(html, report));
    VST_TRY(write_confusions(html, report));
    VST_TRY(vsti_html_pictures(html, report));
    if (report->recipe) {
        fprintf(html, "<h2>Recipe</h2>\n<details><summary>All keys%s</summary><pre>",
                report->run_count > 1 ? " of the last run" : " as they were used");
        vsti_html_text(html, report->recipe);
        fputs("</pre></details>\n", html);
    }
    fputs("<footer>Made by Vistill " VST_VERSION "</footer>\n</body>\n</html>\n", html);
out:
    return status;
}

vst_status vst_report_html(const vst_report *report, char **html, bool *figures) {
    char *buffer = NULL;
    size_t size = 0;
    bool drawn = false;
    *html = NULL;
    FILE *file = open_memstream(&buffer, &size);
    if (!file) return vst_fail_memory(size);
    vst_status status = write_page(file, report, &drawn);
    if (fclose(file) != 0 && status == VST_OK) status = vst_fail_memory(size);
    if (status == VST_OK && !(*html = vst_strdup(buffer))) status = vst_fail_memory(size);
    if (figures) *figures = drawn;
    free(buffer);
    return status;
}

vst_status vst_report_write(const char *path, const vst_report *report, bool *figures) {
    char *html = NULL;
    vst_status status = vst_report_html(report, &html, figures);
    if (status == VST_OK) status = vsti_file_write(path, html, strlen(html));
    vst_free(html);
    return status;
}
