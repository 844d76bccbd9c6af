/* The parts of the report that report.c puts together. Internal to recipes/report. */
#ifndef VISTILL_RECIPES_REPORT_INTERNAL_H
#define VISTILL_RECIPES_REPORT_INTERNAL_H

#include <stdio.h>

#include "recipes/report/html.h"

/* One line of summary.csv; NAN where a value is missing. */
typedef struct vsti_epoch {
    double epoch, train_loss, train_top1, eval_loss, eval_top1, seconds;
} vsti_epoch;

typedef struct vsti_curve {
    vsti_epoch *epochs;
    size_t count, capacity;
} vsti_curve;

/* Reads FOLDER/summary.csv, or if that holds no epoch, log.txt, which has no seconds. A folder without either gives
 * an empty curve; a line of summary.csv that is not of numbers ends it, one of log.txt that cannot be read is passed
 * over. */
VST_NODISCARD vst_status vsti_curve_read(vsti_curve *curve, const char *folder);
/* Of all epochs together; NAN if that is not known. */
double vsti_curve_minutes(const vsti_curve *curve);

/* What figures.c draws; each writes a <figure>, or nothing if there is nothing to show. *drawn becomes false
 * when gnuplot is missing or fails. */
VST_NODISCARD vst_status vsti_figure_curves(FILE *html, const vst_report *report, const vsti_curve *curves,
                                            bool *drawn);
VST_NODISCARD vst_status vsti_figure_tradeoffs(FILE *html, const vst_report *report, bool *drawn);

/* attention_maps.c: attention maps over some test images. */
VST_NODISCARD vst_status vsti_html_attention(FILE *html, const vst_report *report);
/* agreement.c: how often teacher and heads give the same answer. */
void vsti_html_agreement(FILE *html, const vst_report *report);
/* classes.c: each class's accuracy, the hardest first. */
VST_NODISCARD vst_status vsti_html_classes(FILE *html, const vst_report *report);
/* confusion.c: the matrix of one run, and the pairs it confuses most. */
VST_NODISCARD vst_status vsti_html_confusion(FILE *html, const vst_report *report, const vst_report_run *run);

extern const char vsti_report_style[];

#endif
