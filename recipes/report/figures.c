/* Figures of the report: scripts for gnuplot, whose SVG is put into the page. Numbers go into the script, names never
 * do: the script has @@3@@ and are filled in, escaped, when the SVG is copied. Colours are written as rgb(0,0,N)
 * and become the page's colour variables, so that the figures follow its light or dark scheme. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recipes/report/internal.h"
#include "vision/base/memory.h"

extern char **environ;

enum { INK = 101, GRID = 102, SVG_LIMIT = 8 << 20 }; /* colour numbers above those of the runs */

/* ---- Running gnuplot ---- */

/* Starts gnuplot with `script` as its input; returns 0 if it cannot be started. *output: the read end of its output. */
static pid_t start_gnuplot(const char *script, size_t size, int *output) {
    static char *const arguments[] = {"gnuplot", "-d", NULL}; /* -d: no start-up files of the user */
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    int ends[2];
    const int input = memfd_create("script", MFD_CLOEXEC);
    if (input < 0) return 0;
    if (write(input, script, size) != (ssize_t)size || lseek(input, 0, SEEK_SET) != 0 || pipe2(ends, O_CLOEXEC) != 0) {
        close(input);
        return 0;
    }
    if (posix_spawn_file_actions_init(&actions) == 0) {
        if (posix_spawn_file_actions_adddup2(&actions, input, 0) != 0 ||
            posix_spawn_file_actions_adddup2(&actions, ends[1], 1) != 0 ||
            posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0) != 0 ||
            posix_spawnp(&child, arguments[0], &actions, NULL, arguments, environ) != 0)
            child = 0;
        posix_spawn_file_actions_destroy(&actions);
    }
    close(input);
    close(ends[1]);
    if (!child) close(ends[0]);
    *output = ends[0];
    return child;
}

static vst_status read_all(int file, char **text) {
    vst_status status = VST_OK;
    size_t used = 0, capacity = 0;
    *text = NULL;
    for (;;) {
        VST_TRY(vst_grow(text, &capacity, used + 65536, 1));
        const ssize_t got = read(file, *text + used, 65535);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || used > SVG_LIMIT) break;
        used += (size_t)got;
    }
    (*text)[used] = 0;
out:
    return status;
}

/* *svg is NULL if gnuplot is missing or fails, which is not an error. */
static vst_status run_gnuplot(const char *script, size_t size, char **svg) {
    int output, state = 0;
    *svg = NULL;
    const pid_t child = start_gnuplot(script, size, &output);
    if (!child) return VST_OK;
    const vst_status status = read_all(output, svg);
    close(output);
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    if (status != VST_OK || !WIFEXITED(state) || WEXITSTATUS(state) != 0 || !strstr(*svg, "</svg>")) {
        vst_free(*svg);
        *svg = NULL;
    }
    return status;
}

/* ---- Copying its SVG ---- */

/* `rgb(  0,   0,   3)` -> 3 and the end of the text; -1 for other colours. */
static int colour_at(const char *text, const char **end) {
    int number, bytes = 0;
    if (sscanf(text, "rgb( 0 , 0 , %d )%n", &number, &bytes) != 1 || bytes == 0) return -1;
    *end = text + bytes;
    return number;
}

static void write_colour(FILE *html, int number) {
    if (number == INK) fputs("var(--muted)", html);
    else if (number == GRID) fputs("var(--line)", html);
    else fprintf(html, "var(--c%d)", number);
}

static void copy_svg(FILE *html, const char *svg, const vst_report *report) {
    const char *at = strstr(svg, "<svg");
    while (at && *at) {
        const char *end;
        int number, bytes = 0;
        if (*at == 'r' && (number = colour_at(at, &end)) >= 0) {
            write_colour(html, number);
            at = end;
        } else if (*at == '@' && sscanf(at, "@@%d@@%n", &number, &bytes) == 1 && bytes && number >= 0 &&
                   number < report->run_count) {
            vsti_html_text(html, report->runs[number].name);
            at += bytes;
        } else {
            fputc(*at++, html);
        }
    }
}

/* Runs the script that was written to `script`, and closes it. */
static vst_status draw(FILE *html, const vst_report *report, const char *caption, FILE *script, char **text,
                       size_t *size, bool *drawn) {
    char *svg = NULL;
    vst_status status = VST_OK;
    if (fclose(script) != 0) VST_TRY(vst_fail_memory(*size));
    VST_TRY(run_gnuplot(*text, *size, &svg));
    if (!svg) *drawn = false;
    else {
        fputs("<figure>", html);
        copy_svg(html, svg, report);
        fprintf(html, "<figcaption>%s</figcaption></figure>\n", caption);
    }
out:
    free(*text);
    vst_free(svg);
    return status;
}

static void begin_script(FILE *script, const char *name, bool rows) {
    fprintf(script,
            "set terminal svg size 480,300 dynamic noenhanced font 'sans-serif,13' name '%s'\n"
            "set datafile missing 'NaN'\n"
            "set border 3 lc rgb '#%06x' lw 1\n"
            "set tics nomirror scale 0.5 textcolor rgb '#%06x'\n"
            "set grid y lt 1 lc rgb '#%06x' lw 1\n"
            "set key off\nset xlabel textcolor rgb '#%06x' offset 0,0.3\n"
            "set lmargin 6\nset rmargin 2\nset tmargin 1\nset bmargin 3\n",
            name, INK, INK, GRID, INK);
    if (rows) fputs("set xlabel 'epoch'\n", script);
}

/* ---- Curves ---- */

typedef double epoch_value(const vsti_epoch *epoch);
static double train_loss(const vsti_epoch *epoch) { return epoch->train_loss; }
static double eval_loss(const vsti_epoch *epoch) { return epoch->eval_loss; }
static double rate_of(const vsti_epoch *epoch) { return epoch->rate; }
static double train_top1(const vsti_epoch *epoch) { return epoch->train_top1; }
static double eval_top1(const vsti_epoch *epoch) { return epoch->eval_top1; }

static size_t known(const vsti_curve *curve, epoch_value *value) {
    size_t count = 0;
    for (size_t i = 0; value && i < curve->count; i++) count += isfinite(value(&curve->epochs[i])) != 0;
    return count;
}

/* Ticks at whole epochs, about ten. */
static void set_ticks(FILE *script, const vsti_curve *curves, int count) {
    double last = 1;
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < curves[i].count; k++)
            if (curves[i].epochs[k].epoch + 1 > last) last = curves[i].epochs[k].epoch + 1;
    fprintf(script, "set xtics %.0f\n", ceil(last / 10));
}

/* Epochs are counted from 1 as in the progress line; in files from 0 as in timm. */
static void write_data(FILE *script, int number, const vsti_curve *curve, epoch_value *value) {
    fprintf(script, "$d%d << EOD\n", number);
    for (size_t i = 0; value && i < curve->count; i++)
        if (isfinite(value(&curve->epochs[i])))
            fprintf(script, "%.9g %.9g\n", curve->epochs[i].epoch + 1, value(&curve->epochs[i]));
    fputs("EOD\n", script);
}

/* A single point is drawn large, and hollow instead of dashed. */
static const char *style_of(size_t points, bool dashed) {
    if (points == 1) return dashed ? "points pt 6 ps 0.7" : "points pt 7 ps 0.7";
    return points > 40 || (dashed && points > 1) ? "lines" : "linespoints pt 7 ps 0.35";
}

/* Whether the maxima of the curves differ so much that a linear axis would hide the small ones. */
static bool far_apart(const vsti_curve *curves, int count, epoch_value *value) {
    double low = INFINITY, high = 0;
    for (int i = 0; i < count; i++) {
        double largest = 0;
        for (size_t k = 0; k < curves[i].count; k++)
            if (isfinite(value(&curves[i].epochs[k]))) largest = fmax(largest, value(&curves[i].epochs[k]));
        if (largest <= 0) continue;
        low = fmin(low, largest);
        high = fmax(high, largest);
    }
    return high > 10 * low;
}

static void log_height(FILE *script) { fputs("set logscale y\nset mytics 1\nset format y '%g'\n", script); }

/* The curves of all runs, training dashed and evaluation solid; either may be NULL. */
static vst_status figure_of(FILE *html, const vst_report *report, const vsti_curve *curves, const char *name,
                            const char *caption, epoch_value *train, epoch_value *eval, bool *drawn) {
    char *text = NULL;
    size_t size = 0, total = 0;
    for (int i = 0; i < 2 * report->run_count; i++) total += known(&curves[i / 2], i % 2 ? eval : train);
    if (total == 0) return VST_OK;
    FILE *script = open_memstream(&text, &size);
    if (!script) return vst_fail_memory(size);
    begin_script(script, name, true);
    set_ticks(script, curves, report->run_count);
    if (eval == rate_of && far_apart(curves, report->run_count, eval)) log_height(script);
    else if (eval == rate_of) fputs("set yrange [0:*]\n", script); /* a constant one has no range of its own */
    for (int i = 0; i < 2 * report->run_count; i++) write_data(script, i, &curves[i / 2], i % 2 ? eval : train);
    const char *separator = "plot ";
    for (int i = 0; i < 2 * report->run_count; i++) {
        const size_t points = known(&curves[i / 2], i % 2 ? eval : train);
        if (points == 0) continue;
        fprintf(script, "%s$d%d using 1:2 with %s lc rgb '#%06x' %s title '@@%d@@, %s'", separator, i,
                style_of(points, i % 2 == 0), vsti_report_colour(i / 2), i % 2 ? "dt 1 lw 2" : "dt 2 lw 1.2", i / 2,
                i % 2 ? "evaluation" : "training");
        separator = ", ";
    }
    fputs("\n", script);
    return draw(html, report, caption, script, &text, &size, drawn);
}

/* The losses of one run, one colour each, on a logarithmic axis if they differ much. Their names come from log.txt and
 * only appear in the caption. */
static vst_status losses_of(FILE *html, const vst_report *report, const vsti_curve *curve, int run, bool *drawn) {
    char *text = NULL, *caption = NULL;
    size_t size = 0, caption_size = 0;
    double low = INFINITY, high = 0;
    vst_status status = VST_OK;
    for (size_t k = 0; k < curve->count; k++)
        for (int i = 0; i < curve->loss_count; i++) {
            low = fmin(low, curve->epochs[k].losses[i]);
            high = fmax(high, curve->epochs[k].losses[i]);
        }
    FILE *words = open_memstream(&caption, &caption_size), *script = words ? open_memstream(&text, &size) : NULL;
    if (!script) VST_TRY(vst_fail_memory(size));
    const bool logarithmic = low > 0 && high > 20 * low;
    begin_script(script, "losses", true);
    set_ticks(script, curve, 1);
    if (logarithmic) log_height(script);
    fprintf(words, "<b>Losses of training</b>, before their weights%s, of ", logarithmic ? ", logarithmic axis" : "");
    vsti_html_run(words, report, run);
    for (int i = 0; i < curve->loss_count; i++) {
        fprintf(script, "$d%d << EOD\n", i);
        for (size_t k = 0; k < curve->count; k++)
            if (isfinite(curve->epochs[k].losses[i]) && (!logarithmic || curve->epochs[k].losses[i] > 0))
                fprintf(script, "%.9g %.9g\n", curve->epochs[k].epoch + 1, curve->epochs[k].losses[i]);
        fputs("EOD\n", script);
        fprintf(words, "%s<i class=dot style=\"background:var(--c%d)\"></i>", i ? " " : ": ", vsti_report_colour(i));
        vsti_html_text(words, curve->names[i]);
    }
    for (int i = 0; i < curve->loss_count; i++)
        fprintf(script, "%s$d%d using 1:2 with %s lc rgb '#%06x' lw 1.5 title ''", i ? ", " : "plot ", i,
                style_of(curve->count, false), vsti_report_colour(i));
    fputs("\n", script);
    if (fclose(words) != 0) status = vst_fail_memory(caption_size);
    words = NULL;
    if (status == VST_OK) status = draw(html, report, caption, script, &text, &size, drawn);
out:
    if (words) fclose(words);
    free(caption);
    return status;
}

vst_status vsti_figure_curves(FILE *html, const vst_report *report, const vsti_curve *curves, bool *drawn) {
    vst_status status = VST_OK;
    VST_TRY(
        figure_of(html, report, curves, "top1", "<b>Top-1 accuracy</b> per epoch, %", train_top1, eval_top1, drawn));
    VST_TRY(figure_of(html, report, curves, "evaluation",
                      "<b>Loss of evaluation</b>, the cross-entropy with the labels, of all alike", NULL, eval_loss,
                      drawn));
    VST_TRY(figure_of(html, report, curves, "training",
                      "<b>Loss of training</b>, of each run its own, with smoothing, mixing and terms", train_loss,
                      NULL, drawn));
    const bool logarithmic = far_apart(curves, report->run_count, rate_of);
    VST_TRY(figure_of(html, report, curves, "rate",
                      logarithmic ? "<b>Learning rate</b>, mean of each epoch, logarithmic axis"
                                  : "<b>Learning rate</b>, mean of each epoch",
                      NULL, rate_of, drawn));
    for (int i = 0; i < report->run_count; i++)
        if (curves[i].loss_count > 1) VST_TRY(losses_of(html, report, &curves[i], i, drawn));
out:
    return status;
}

/* ---- Accuracy against cost ---- */

typedef double run_value(const vst_report_run *run);
static double millions(const vst_report_run *run) { return run->parameters / 1e6; }
static double milliseconds(const vst_report_run *run) { return run->latency_ms; }

static bool shows(const vst_report_run *run, run_value *cost) {
    return isfinite(run->top1) && isfinite(cost(run)) && cost(run) > 0;
}

/* A logarithmic axis with ticks at 1, 2 and 5 and space for the names at the right. */
static void log_axis(FILE *script, double low, double high) {
    const double first = low / pow(high / low, 0.1), last = high * pow(high / low, 0.45);
    fprintf(script, "set logscale x\nset xrange [%.9g:%.9g]\nset format x '%%g'\nset xtics (", first, last);
    const char *separator = "";
    for (int decade = (int)floor(log10(first)); pow(10, decade) <= last; decade++)
        for (int i = 0; i < 3; i++) {
            const double tick = pow(10, decade) * (i == 0 ? 1 : i == 1 ? 2 : 5);
            if (tick < first || tick > last) continue;
            fprintf(script, "%s%.9g", separator, tick);
            separator = ", ";
        }
    fputs(")\n", script);
}

static int lowest_left(const vst_report *report, run_value *cost, const double *heights) {
    int found = -1;
    for (int i = 0; i < report->run_count; i++)
        if (isnan(heights[i]) && shows(&report->runs[i], cost) &&
            (found < 0 || report->runs[i].top1 < report->runs[found].top1))
            found = i;
    return found;
}

/* The heights of the labels, in ascending order: at the point, or above other labels that it would overlap, those of
 * points within the width of a label. Returns the largest. */
static double place_names(const vst_report *report, run_value *cost, double line, double width, bool logarithmic,
                          double *heights) {
    double largest = 0;
    for (int i = 0; i < report->run_count; i++) heights[i] = NAN;
    for (int i; (i = lowest_left(report, cost, heights)) >= 0;) {
        double height = report->runs[i].top1;
        const double x = cost(&report->runs[i]);
        for (int k = 0; k < report->run_count; k++) {
            const double other = cost(&report->runs[k]), away = logarithmic ? log(x / other) : x - other;
            if (!isnan(heights[k]) && fabs(away) < width) height = fmax(height, heights[k] + line);
        }
        heights[i] = height;
        largest = fmax(largest, height);
    }
    return largest;
}

static vst_status tradeoff(FILE *html, const vst_report *report, const char *name, const char *caption,
                           const char *unit, run_value *cost, bool *drawn) {
    char *text = NULL;
    size_t size = 0;
    double low = INFINITY, high = 0, bottom = 100, top = 0;
    int count = 0;
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        if (!shows(run, cost)) continue;
        low = fmin(low, cost(run));
        high = fmax(high, cost(run));
        bottom = fmin(bottom, run->top1);
        top = fmax(top, run->top1);
        count++;
    }
    if (count < 2) return VST_OK;
    double *heights = vst_calloc((size_t)report->run_count, sizeof *heights);
    FILE *script = heights ? open_memstream(&text, &size) : NULL;
    if (!script) {
        vst_free(heights);
        return vst_fail_memory(size);
    }
    const double range = fmax(top - bottom, 0.5), margin = range * 0.15;
    const bool logarithmic = high / low > 3;
    const double reach = logarithmic ? 1.55 * log(high / low) : high * 1.5; /* of the axis */
    top = place_names(report, cost, range * 0.09, reach * 0.3, logarithmic, heights);
    begin_script(script, name, false);
    fprintf(script, "set xlabel '%s%s'\n", unit, logarithmic ? ", logarithmic" : "");
    if (logarithmic) log_axis(script, low, high);
    else fprintf(script, "set xrange [0:%.9g]\n", high * 1.5);
    fprintf(script, "set yrange [%.9g:%.9g]\n", bottom - margin, top + margin);
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        if (!shows(run, cost)) continue;
        fprintf(script, "set label '@@%d@@' at %.9g,%.9g left offset 0.9,0 textcolor rgb '#%06x'\n", i, cost(run),
                heights[i], vsti_report_colour(i));
        fprintf(script, "$d%d << EOD\n%.9g %.9g\nEOD\n", i, cost(run), run->top1);
    }
    const char *separator = "plot ";
    for (int i = 0; i < report->run_count; i++) {
        if (!shows(&report->runs[i], cost)) continue;
        fprintf(script, "%s$d%d using 1:2 with points pt 7 ps 0.9 lc rgb '#%06x' title '@@%d@@'", separator, i,
                vsti_report_colour(i), i);
        separator = ", ";
    }
    fputs("\n", script);
    vst_free(heights);
    return draw(html, report, caption, script, &text, &size, drawn);
}

vst_status vsti_figure_tradeoffs(FILE *html, const vst_report *report, bool *drawn) {
    vst_status status = VST_OK;
    VST_TRY(tradeoff(html, report, "size", "<b>Top-1 accuracy</b>, %, against millions of parameters",
                     "million parameters", millions, drawn));
    VST_TRY(tradeoff(html, report, "latency", "<b>Top-1 accuracy</b>, %, against milliseconds for one image",
                     "milliseconds", milliseconds, drawn));
out:
    return status;
}
