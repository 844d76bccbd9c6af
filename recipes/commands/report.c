/* vistill report: a page about one run, or about several beside each other. */
#include <stdio.h>
#include <string.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/report/page_data.h"
#include "vision/base/memory.h"

enum { MOST_RUNS = 64 };

/* Two folders may end alike: then the whole paths are shown. */
static vst_status make_names_distinct(vsti_measured_runs *set) {
    for (size_t i = 0; i < set->run_count; i++)
        for (size_t k = 0; k < set->run_count; k++) {
            vsti_measured_run *run = &set->runs[i];
            if (i == k || strcmp(run->name, set->runs[k].name) != 0) continue;
            char *name = vst_strdup(run->folder);
            if (!name) return vst_fail_memory(strlen(run->folder));
            vst_free(run->name);
            run->name = name;
        }
    return VST_OK;
}

static vst_status write_page(vsti_measured_runs *set, const char *output) {
    vst_status status = VST_OK;
    vsti_page_data page = {0};
    int chosen[MOST_RUNS];
    char *path = NULL, title[64];
    bool figures;
    const int count = (int)set->run_count;
    for (int i = 0; i < count; i++) chosen[i] = i;
    path = output       ? vst_strdup(output)
           : count == 1 ? vst_format("%s/report.html", set->runs[0].folder)
                        : vst_strdup("report.html");
    if (!path) VST_TRY(vst_fail_memory(4096));
    VST_TRY(vsti_page_data_fill(&page, set, chosen, count));
    snprintf(title, sizeof title, "%d runs beside each other", count);
    page.report.title = count == 1 ? set->runs[0].name : title;
    VST_TRY(vst_report_write(path, &page.report, &figures));
    vst_print_line(stdout, "report: %s%s", path, figures ? "" : " (without figures: gnuplot is not installed)");
out:
    vsti_page_data_clear(&page);
    vst_free(path);
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vsti_measured_runs set = {
        .data = vst_flag_value(arguments, "data"),
        .stop = vst_catch_interrupt(VST_STOPPING("after this batch"), VST_ENDED("no page is written"))};
    for (int i = 0; i < arguments->word_count; i++) VST_TRY(vsti_report_add(&set, arguments->words[i], NULL, true));
    VST_TRY(vsti_report_compare(&set));
    VST_TRY(make_names_distinct(&set));
    VST_TRY(write_page(&set, vst_flag_value(arguments, "output")));
out:
    vsti_report_set_clear(&set);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"output", 'o', "FILE", "the page; RUN/report.html by default, of several runs report.html here"},
    {"data", 0, "PATH", "the data set whose test split is used, if it is no longer where the recipe says"},
    {0}};

extern const vst_command vsti_command_report;
const vst_command vsti_command_report = {
    .name = "report",
    .words = "RUN…",
    .summary = "write a page about one training run, or several beside each other",
    .help =
        "RUN is a run's folder. The page is one HTML file that needs no network: accuracy, size and the latency of "
        "one\n"
        "image, curves, attention maps of Vision Transformers, how often teacher and heads agree, each class, the "
        "confusion\n"
        "matrix, pictures. best.safetensors (else last.safetensors) is measured on the test split now. What is "
        "missing\n"
        "or broken in a folder is left out, and the page says so.",
    .flags = flags,
    .minimum = 1,
    .maximum = MOST_RUNS,
    .run = run};
