/* HTML elements shared by the parts of the report. Internal to this folder. */
#ifndef VISTILL_RECIPES_REPORT_HTML_H
#define VISTILL_RECIPES_REPORT_HTML_H

#include <stdio.h>

#include "recipes/report/report.h"

enum { VSTI_REPORT_COLOURS = 8 }; /* --c0 … --c7 of the style sheet; reused for more runs */

/* "87.65"; an en dash for NAN. */
const char *vsti_number_text(double value, int decimals, char text[32]);
/* Three significant digits: 0.042, 1.37, 12.4, 310. */
const char *vsti_short_text(double value, char text[32]);
/* Text with <, >, &, quotes escaped and control characters as spaces. */
void vsti_html_text(FILE *html, const char *text);
void vsti_html_bytes(FILE *html, const char *text, size_t length); /* the same for `length` bytes */
/* <img> with embedded data. */
VST_NODISCARD vst_status vsti_html_picture(FILE *html, const vst_image *image, const char *attributes, const char *alt);
/* The same for a photograph, downscaled to the displayed size, as JPEG; small images keep their pixels. */
VST_NODISCARD vst_status vsti_html_photo(FILE *html, const vst_image *image, const char *alt);
/* A dot in the run's colour, and its name. */
void vsti_html_run(FILE *html, const vst_report *report, int run);
/* The name of a class, or "?". */
const char *vsti_class_at(const vst_report *report, int index);
/* The colour of a run in the figures and the legend. */
static inline int vsti_report_colour(int run) { return run % VSTI_REPORT_COLOURS; }

#endif
