/* The data of a page about measured runs: the images shown, and predictions and attention maps of each run. */
#ifndef VISTILL_RECIPES_REPORT_PAGE_DATA_H
#define VISTILL_RECIPES_REPORT_PAGE_DATA_H

#include "recipes/report/run.h"

enum { VSTI_PICTURES = 24, VSTI_MISTAKES = 12, VSTI_SHOWN = VSTI_PICTURES + VSTI_MISTAKES, VSTI_VIEWS = 6 };

typedef struct vsti_page_data {
    vst_report_run *runs; /* one row per run; the caller may replace values, for example by means over seeds */
    int run_count;
    vst_report report; /* except title and subtitle */
    vst_image pictures[VSTI_SHOWN];
    int labels[VSTI_SHOWN], views[VSTI_VIEWS];
    uint64_t samples[VSTI_SHOWN];
    int *predictions;          /* (runs, VSTI_SHOWN) */
    float *probabilities;      /* (runs, VSTI_SHOWN) */
    vst_confusion *confusions; /* (runs) */
    vst_image *attention;      /* (runs, VSTI_VIEWS, 1 + 2) */
    char **recipes;            /* (runs), lines */
    const char **class_names;
    char subtitle[512];
} vsti_page_data;

/* Fills it for the runs `chosen` of the set (`count` indices). The set must outlive the page data. Initialise it with
 * {0}. */
VST_NODISCARD vst_status vsti_page_data_fill(vsti_page_data *page, vsti_measured_runs *set, const int *chosen,
                                             int count);
void vsti_page_data_clear(vsti_page_data *page);

#endif
