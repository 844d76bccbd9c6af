/* The parts of the report, which page.c writes in order. Internal to recipes/report. */
#ifndef VISTILL_RECIPES_REPORT_INTERNAL_H
#define VISTILL_RECIPES_REPORT_INTERNAL_H

#include <stdio.h>

#include "recipes/report/curve.h"
#include "recipes/report/html.h"
#include "recipes/report/report.h"

/* The columns of the table of runs. */
typedef double vsti_run_number(const vst_report_run *run);
static inline double vsti_top1_of(const vst_report_run *run) { return run->top1; }
static inline double vsti_agreement_of(const vst_report_run *run) { return run->teacher_agreement; }
static inline double vsti_float_agreement_of(const vst_report_run *run) { return run->float_agreement; }
static inline double vsti_parameters_of(const vst_report_run *run) { return run->parameters; }
static inline double vsti_megabytes_of(const vst_report_run *run) { return run->megabytes; }
static inline double vsti_latency_of(const vst_report_run *run) { return run->latency_ms; }
static inline double vsti_last_of(const vst_report_run *run) { return run->last_top1; }
static inline double vsti_minutes_of(const vst_report_run *run) { return run->minutes; }

/* headline.c: the result in sentences and large numbers. */
void vsti_html_headline(FILE *html, const vst_report *report);

/* figures.c: each function writes a <figure>, or nothing if there are no data. *drawn becomes false when gnuplot is
 * missing or fails. */
VST_NODISCARD vst_status vsti_figure_curves(FILE *html, const vst_report *report, const vsti_curve *curves,
                                            bool *drawn);
VST_NODISCARD vst_status vsti_figure_tradeoffs(FILE *html, const vst_report *report, bool *drawn);

/* differences.c: the keys in which the recipes of the runs differ; each line of a recipe ends with a newline. */
void vsti_html_differences(FILE *html, const vst_report *report);
/* pictures.c: the worst mistakes, and some test images. */
VST_NODISCARD vst_status vsti_html_pictures(FILE *html, const vst_report *report);
/* attention_maps.c: attention maps over some test images. */
VST_NODISCARD vst_status vsti_html_attention(FILE *html, const vst_report *report);
/* agreement.c: how often teacher and heads predict the same class. */
void vsti_html_agreement(FILE *html, const vst_report *report);
/* classes.c: accuracy by class, lowest first. */
VST_NODISCARD vst_status vsti_html_classes(FILE *html, const vst_report *report);
/* confusion.c: the matrix of one run and its most frequent confusions. */
VST_NODISCARD vst_status vsti_html_confusion(FILE *html, const vst_report *report, const vst_report_run *run);

extern const char vsti_report_style[];

#endif
