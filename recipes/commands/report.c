/* vistill report: writes an HTML report of one or several runs. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/report/page_data.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

enum { MOST_RUNS = 64 };

/* Uses whole paths as names if the last components of two paths are equal. */
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

/* The file to write. */
static char *page_path(const vst_arguments *arguments) {
    const char *output = vst_flag_value(arguments, "output");
    if (output) return vst_strdup(output);
    return arguments->word_count == 1 ? vst_format("%s/report.html", arguments->words[0]) : vst_strdup("report.html");
}

static vst_status write_page(vsti_measured_runs *set, const char *path) {
    vst_status status = VST_OK;
    vsti_page_data page = {0};
    int chosen[MOST_RUNS] = {0};
    char title[64];
    bool figures;
    const int count = (int)set->run_count;
    for (int i = 0; i < count; i++) chosen[i] = i;
    VST_TRY(vsti_page_data_fill(&page, set, chosen, count));
    snprintf(title, sizeof title, "%d runs beside each other", count);
    page.report.title = count == 1 ? set->runs[0].name : title;
    VST_TRY(vst_report_write(path, &page.report, &figures));
    vst_print_line(stdout, "report: %s%s", path, figures ? "" : " (without figures: gnuplot is not installed)");
out:
    vsti_page_data_clear(&page);
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vsti_measured_runs set = {
        .data = vst_flag_value(arguments, "data"),
        .stop = vst_catch_interrupt(VST_STOPPING("after this batch"), VST_ENDED("no page is written"))};
    char *path = page_path(arguments);
    if (!path) VST_TRY(vst_fail_memory(4096));
    /* before models are measured; a missing run has its own message */
    if (arguments->word_count > 1 || access(arguments->words[0], F_OK) == 0) VST_TRY(vsti_file_check_writable(path));
    for (int i = 0; i < arguments->word_count; i++) VST_TRY(vsti_report_add(&set, arguments->words[i], NULL, true));
    VST_TRY(vsti_report_compare(&set));
    VST_TRY(make_names_distinct(&set));
    VST_TRY(write_page(&set, path));
out:
    vst_free(path);
    vsti_report_set_clear(&set);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"output", 'o', "FILE", "HTML file to write; by default RUN/report.html, or report.html here for several runs"},
    {"data", 0, "PATH", "data set with the test split, if it is no longer where the recipe says"},
    {0}};

extern const vst_command vsti_command_report;
const vst_command vsti_command_report = {
    .name = "report",
    .words = "RUN…",
    .summary = "write an HTML report of one or several training runs",
    .help =
        "RUN is a run folder. The report is one self-contained HTML file: accuracy, size, latency of one image, "
        "curves,\n"
        "attention maps of Vision Transformers, agreement of teacher and heads, accuracy by class, confusion matrix, "
        "images.\n"
        "best.safetensors (or last.safetensors) is measured on the test split. Missing or broken parts of a run folder "
        "are\n"
        "left out, and the report says so.",
    .flags = flags,
    .minimum = 1,
    .maximum = MOST_RUNS,
    .run = run};
