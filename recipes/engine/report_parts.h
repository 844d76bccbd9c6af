/* The parts of the report that report.c puts together. Internal to recipes/engine. */
#ifndef VISTILL_RECIPES_ENGINE_REPORT_PARTS_H
#define VISTILL_RECIPES_ENGINE_REPORT_PARTS_H

#include <stdio.h>

#include "recipes/engine/report.h"

enum { VSTI_REPORT_COLOURS = 8 }; /* --c0 … --c7 of the style sheet; more runs use them again */

/* One line of summary.csv; NAN where nothing is said. */
typedef struct vsti_epoch {
    double epoch, train_loss, train_top1, eval_loss, eval_top1;
} vsti_epoch;

typedef struct vsti_curve {
    vsti_epoch *epochs;
    size_t count, capacity;
} vsti_curve;

/* Reads FOLDER/summary.csv. A folder without one gives an empty curve, a line that is not of numbers ends it. */
VST_NODISCARD vst_status vsti_curve_read(vsti_curve *curve, const char *folder);

/* Text with <, >, &, quotes escaped and control characters as spaces. */
void vsti_html_text(FILE *html, const char *text);
/* <img> with the picture inside. */
VST_NODISCARD vst_status vsti_html_picture(FILE *html, const vst_image *image, const char *attributes, const char *alt);
/* The colour of a run in the figures and the legend. */
static inline int vsti_report_colour(int run) { return run % VSTI_REPORT_COLOURS; }

/* What report_figures.c draws; each writes a <figure>, or nothing if there is nothing to show. *drawn becomes false
 * when gnuplot is missing or fails. */
VST_NODISCARD vst_status vsti_figure_curves(FILE *html, const vst_report *report, const vsti_curve *curves,
                                            bool *drawn);
VST_NODISCARD vst_status vsti_figure_tradeoffs(FILE *html, const vst_report *report, bool *drawn);

/* report_confusion.c: the matrix of one run, and the pairs it confuses most. */
VST_NODISCARD vst_status vsti_html_confusion(FILE *html, const vst_report *report, const vst_report_run *run);

extern const char vsti_report_style[];

#endif
