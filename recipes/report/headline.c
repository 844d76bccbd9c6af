/* The result in sentences and large numbers. For a distilled run: the gain over the same model without a teacher, and
 * the savings of the student compared with the teacher. */
#include <math.h>
#include <stdlib.h>

#include "recipes/report/internal.h"
#include "vision/base/memory.h"

static const double ALIKE = 1.05; /* smaller ratios of latency and size are not mentioned */

/* The run with the best value, NULL if no run has one. */
static const vst_report_run *best_run(const vst_report *report, vsti_run_number *number, bool largest) {
    const vst_report_run *best = NULL;
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        if (!isfinite(number(run))) continue;
        if (!best || (largest ? number(run) > number(best) : number(run) < number(best))) best = run;
    }
    return best;
}

/* The best run that has a teacher or a run without a teacher to compare with; NULL: none. */
static const vst_report_run *find_student(const vst_report *report) {
    const vst_report_run *best = NULL;
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        if (isfinite(run->top1) && (run->plain || run->teacher) && !run->exact && (!best || run->top1 > best->top1))
            best = run;
    }
    return best;
}

/* The best of the runs on 8-bit integers, of those of `exact` if there are any; NULL: there is none. */
static const vst_report_run *find_integers(const vst_report *report, const vst_report_run *exact) {
    const vst_report_run *best = NULL;
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        if (!run->exact || !isfinite(run->top1) || (best && best->exact == exact && run->exact != exact)) continue;
        if (!best || (run->exact == exact && best->exact != exact) || run->top1 > best->top1) best = run;
    }
    return best;
}

/* ---- Sentences ---- */

typedef struct sentences {
    FILE *out;
    bool html;
} sentences;

static void say_name(const sentences *s, const char *name) {
    if (s->html) {
        fputs("<b>", s->out);
        vsti_html_text(s->out, name);
        fputs("</b>", s->out);
    } else {
        fputs(name, s->out);
    }
}

/* Number of labelled test images, from the confusion matrix; 0: unknown. */
static double count_images(const vst_report_run *run) {
    uint64_t sum = 0;
    for (int label = 0; run->confusion && label < run->confusion->classes; label++)
        sum += vst_confusion_samples(run->confusion, label);
    return (double)sum;
}

/* Two standard errors of the difference of two accuracies on `count` images, in points; NAN: unknown. */
static double chance(const vst_report_run *a, const vst_report_run *b) {
    const double images = count_images(a);
    if (!(images > 0)) return NAN;
    return 2 * sqrt((a->top1 * (100 - a->top1) + b->top1 * (100 - b->top1)) / images);
}

static void say_gain(const sentences *s, const vst_report_run *run) {
    const double gain = run->top1 - run->plain->top1;
    char text[32];
    fputs(", ", s->out);
    if (gain == 0) fputs("as often as ", s->out);
    else fprintf(s->out, "%s points %s than ", vsti_number_text(fabs(gain), 2, text), gain < 0 ? "fewer" : "more");
    say_name(s, run->plain->name);
    fputs(", the same model trained without a teacher", s->out);
    if (gain <= 0) fputs(": distillation gained nothing here", s->out);
    else if (gain < chance(run, run->plain))
        fprintf(s->out, ", which %.0f test images cannot tell from chance", count_images(run));
}

/* "takes 8.1 times less time for an image (0.12 ms for 0.97 ms)" */
static void say_ratio(const sentences *s, double own, double other, const char *unit, const char *less,
                      const char *alike, const char *more) {
    char a[32], b[32];
    if (own < ALIKE * other && other < ALIKE * own) fputs(alike, s->out);
    else if (own < other) fprintf(s->out, less, other / own);
    else fprintf(s->out, more, own / other);
    fprintf(s->out, " (%s %s for %s %s)", vsti_short_text(own, a), unit, vsti_short_text(other, b), unit);
}

static void say_savings(const sentences *s, const vst_report_run *run) {
    const vst_report_run *teacher = run->teacher;
    const bool timed = isfinite(run->latency_ms) && isfinite(teacher->latency_ms),
               sized = isfinite(run->megabytes) && isfinite(teacher->megabytes);
    const double behind = teacher->top1 - run->top1;
    char text[32];
    fputs(" Against its teacher (", s->out);
    say_name(s, teacher->name);
    if (isfinite(teacher->top1)) fprintf(s->out, ", %s %%", vsti_number_text(teacher->top1, 2, text));
    fputs(") it ", s->out);
    if (behind == 0 || isnan(behind)) fputs(behind == 0 ? "loses no points" : "was not compared", s->out);
    else fprintf(s->out, "%s %s points", behind > 0 ? "loses" : "gains", vsti_number_text(fabs(behind), 2, text));
    if (timed) {
        fputs(sized ? ", " : " and ", s->out);
        say_ratio(s, run->latency_ms, teacher->latency_ms, "ms", "takes %.1f times less time for an image",
                  "takes the same time for an image", "takes %.1f times as long for an image");
    }
    if (sized) {
        fputs(" and ", s->out);
        say_ratio(s, run->megabytes, teacher->megabytes, "MB", "its file is %.1f times smaller", "its file is as large",
                  "its file is %.1f times as large");
    }
    fputs(".", s->out);
    if (behind >= 0 && timed && sized && run->latency_ms * ALIKE > teacher->latency_ms &&
        run->megabytes * ALIKE > teacher->megabytes)
        fputs(" The teacher is the better model to ship: no slower, no larger, no less often right.", s->out);
}

/* What a run on integers loses and saves against the same model in float32. */
static void say_integers(const sentences *s, const vst_report_run *run) {
    const vst_report_run *exact = run->exact;
    const double behind = exact->top1 - run->top1;
    char text[32];
    fputs(" On 8-bit integers (", s->out);
    say_name(s, run->name);
    fputs(") ", s->out);
    say_name(s, exact->name);
    if (behind == 0) fputs(" loses no points", s->out);
    else fprintf(s->out, " %s %s points", behind > 0 ? "loses" : "gains", vsti_number_text(fabs(behind), 2, text));
    if (isfinite(run->float_agreement))
        fprintf(s->out, ", answers as in float32 on %s %% of the images",
                vsti_number_text(run->float_agreement, 2, text));
    if (isfinite(run->latency_ms) && isfinite(exact->latency_ms)) {
        fputs(", ", s->out);
        say_ratio(s, run->latency_ms, exact->latency_ms, "ms", "takes %.1f times less time for an image",
                  "takes the same time for an image", "takes %.1f times as long for an image");
    }
    fputs(" and ", s->out);
    say_ratio(s, run->megabytes, exact->megabytes, "MB", "its file is %.1f times smaller", "its file is as large",
              "its file is %.1f times as large");
    fputs(".", s->out);
}

static void say_verdict(const sentences *s, const vst_report_run *run) {
    char text[32];
    say_name(s, run->name);
    fprintf(s->out, " is right about %s %% of the test images", vsti_number_text(run->top1, 2, text));
    if (run->plain && isfinite(run->plain->top1)) say_gain(s, run);
    fputs(".", s->out);
    if (run->teacher) say_savings(s, run);
}

vst_status vst_report_verdict(const vst_report *report, char **text) {
    vst_status status = VST_OK;
    const vst_report_run *run = find_student(report), *integers = find_integers(report, run);
    char *buffer = NULL;
    size_t size = 0;
    *text = NULL;
    if (!run && !integers) return VST_OK;
    const sentences s = {.out = open_memstream(&buffer, &size)};
    if (!s.out) return vst_fail_memory(size);
    if (run) say_verdict(&s, run);
    if (integers) say_integers(&s, integers);
    if (fclose(s.out) != 0 || !(*text = vst_strdup(buffer))) status = vst_fail_memory(size);
    free(buffer);
    return status;
}

/* Without a teacher to compare with: the run with the highest accuracy. */
static void say_best(const sentences *s, const vst_report *report) {
    const vst_report_run *best = best_run(report, vsti_top1_of, true), *next = NULL;
    char text[32];
    if (!best) return;
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_run *run = &report->runs[i];
        if (run != best && isfinite(run->top1) && (!next || run->top1 > next->top1)) next = run;
    }
    if (report->run_count == 1) {
        fputs("It is right about ", s->out);
    } else {
        say_name(s, best->name);
        fputs(" is right most often, about ", s->out);
    }
    fprintf(s->out, "%s %% of the test images", vsti_number_text(best->top1, 2, text));
    if (next) {
        fprintf(s->out, ", %s points ahead of ", vsti_number_text(best->top1 - next->top1, 2, text));
        say_name(s, next->name);
    }
    if (isfinite(best->teacher_agreement))
        fprintf(s->out, ", and gives its teacher's answer to %s %%",
                vsti_number_text(best->teacher_agreement, 2, text));
    fputs(".", s->out);
}

/* ---- Tiles ---- */

static void tile(FILE *html, const char *value, const char *unit, const char *label, const char *name) {
    fprintf(html, "<div class=tile><b>%s<small>%s</small></b><small>%s", value, unit, label);
    if (name) {
        fputs("<br>", html);
        vsti_html_text(html, name);
    }
    fputs("</small></div>\n", html);
}

static void write_best_tiles(FILE *html, const vst_report *report) {
    static const struct {
        vsti_run_number *number;
        bool largest;
        double factor;
        const char *unit, *one, *several; /* the label for one run, and the label for the best of several */
    } tiles[] = {{vsti_top1_of, true, 1, " %", "top-1 accuracy", "best top-1 accuracy"},
                 {vsti_agreement_of, true, 1, " %", "same answer as the teacher", "closest to its teacher"},
                 {vsti_parameters_of, false, 1e-6, " M", "parameters", "fewest parameters"},
                 {vsti_latency_of, false, 1, " ms", "for one image", "fastest, one image"},
                 {vsti_megabytes_of, false, 1, " MB", "model file", NULL},
                 {vsti_minutes_of, false, 1, " min", "training", NULL}};
    const bool several = report->run_count > 1;
    char text[32];
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const vst_report_run *run = best_run(report, tiles[i].number, tiles[i].largest);
        if (!run || (several && !tiles[i].several)) continue;
        const double value = tiles[i].number(run) * tiles[i].factor;
        tile(html, tiles[i].largest ? vsti_number_text(value, 1, text) : vsti_short_text(value, text), tiles[i].unit,
             several ? tiles[i].several : tiles[i].one, several ? run->name : NULL);
    }
}

/* "+2.47" */
static void points_tile(FILE *html, double difference, const char *label, const char *name) {
    char text[32];
    if (!isfinite(difference)) return;
    snprintf(text, sizeof text, "%+.2f", difference);
    tile(html, text, " points", label, name);
}

/* "8.1 ×" of what the teacher has, or the model in float32, and both numbers. */
static void ratio_tile(FILE *html, double own, double others, const char *unit, const char *less, const char *more,
                       const char *whom) {
    char text[32], label[128], a[32], b[32];
    if (!isfinite(own) || !isfinite(others) || !(own > 0) || !(others > 0)) return;
    snprintf(text, sizeof text, "%.1f", own <= others ? others / own : own / others);
    snprintf(label, sizeof label, "%s than %s<br>%s %s for %s %s", own <= others ? less : more, whom,
             vsti_short_text(own, a), unit, vsti_short_text(others, b), unit);
    tile(html, text, " ×", label, NULL);
}

static void write_integer_tiles(FILE *html, const vst_report_run *run) {
    points_tile(html, run->top1 - run->exact->top1, "on 8-bit integers, against float32", run->name);
    ratio_tile(html, run->latency_ms, run->exact->latency_ms, "ms", "faster", "slower", "in float32");
    ratio_tile(html, run->megabytes, run->exact->megabytes, "MB", "smaller", "larger", "in float32");
}

static void write_gain_tiles(FILE *html, const vst_report_run *run) {
    char text[32];
    tile(html, vsti_number_text(run->top1, 2, text), " %", "top-1 accuracy", run->name);
    if (run->plain)
        points_tile(html, run->top1 - run->plain->top1, "against the same model without a teacher", run->plain->name);
    if (!run->teacher) return;
    points_tile(html, run->top1 - run->teacher->top1, "against the teacher", run->teacher->name);
    ratio_tile(html, run->latency_ms, run->teacher->latency_ms, "ms", "faster", "slower", "the teacher");
    ratio_tile(html, run->megabytes, run->teacher->megabytes, "MB", "smaller", "larger", "the teacher");
}

void vsti_html_headline(FILE *html, const vst_report *report) {
    const sentences s = {.out = html, .html = true};
    const vst_report_run *student = find_student(report), *integers = find_integers(report, student);
    fputs("<p class=headline>", html);
    if (student) say_verdict(&s, student);
    else say_best(&s, report);
    if (integers) say_integers(&s, integers);
    fputs("</p>\n<div class=tiles>\n", html);
    if (student) write_gain_tiles(html, student);
    else write_best_tiles(html, report);
    if (integers) write_integer_tiles(html, integers);
    fputs("</div>\n", html);
}
