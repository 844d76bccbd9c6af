/* vistill study: trains several recipes and compares their models. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/commands/train_progress.h"
#include "recipes/study/study.h"

static void top1_cell(vst_table *table, const vst_study_row *row) {
    if (isnan(row->deviation)) vst_table_cell(table, "%.2f", row->top1);
    else vst_table_cell(table, "%.2f ± %.2f", row->top1, row->deviation);
}

static void agreement_cell(vst_table *table, double agreement) {
    if (isnan(agreement)) vst_table_cell(table, "-");
    else vst_table_cell(table, "%.1f", agreement);
}

/* Where models are the same on integers and in float32, their agreement takes the place of the parameters. */
static bool has_integers(const vst_study_result *result) {
    for (int i = 0; i < result->row_count; i++)
        if (!isnan(result->rows[i].float_agreement)) return true;
    return false;
}

/* In lines of at most 80 columns. */
static void print_wrapped(const char *text) {
    enum { COLUMNS = 80 };
    int used = 0;
    while (*text) {
        const int length = (int)strcspn(text, " ");
        char word[128];
        snprintf(word, sizeof word, "%.*s", length, text);
        const int width = vst_text_width(word);
        if (used && used + 1 + width > COLUMNS) {
            putchar('\n');
            used = 0;
        }
        used += width + (used > 0);
        vst_print_part(stdout, used > width ? " %s" : "%s", word);
        text += length;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static vst_status print_result(const vst_study_result *result) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    const bool integers = has_integers(result);
    VST_TRY(vst_table_create(&table, (const char *[]){"run", ">test top-1 %", integers ? ">as float %" : ">parameters",
                                                      ">MB", ">ms, 1 core", ">as teacher %", ">minutes", NULL}));
    for (int i = 0; i < result->row_count; i++) {
        const vst_study_row *row = &result->rows[i];
        vst_table_cell(table, "%s", row->name);
        top1_cell(table, row);
        if (integers) agreement_cell(table, row->float_agreement);
        else vst_table_cell(table, "%.3f M", row->parameters / 1e6);
        vst_table_cell(table, "%.2f", row->megabytes);
        vst_table_cell(table, "%.2f", row->latency_ms);
        agreement_cell(table, row->agreement);
        if (isnan(row->minutes)) vst_table_cell(table, "-"); /* a model file that was not trained here */
        else vst_table_cell(table, "%.1f", row->minutes);
    }
    VST_TRY(vst_table_write(table, stdout));
    if (result->verdict) {
        putchar('\n');
        print_wrapped(result->verdict);
    }
    putchar('\n');
    vst_print_line(stdout, "report: %s%s", result->report,
                   result->figures ? "" : " (without curves: gnuplot is not installed)");
out:
    vst_table_destroy(table);
    return status;
}

/* Parses "0,1,2", the seeds to use instead of the study's. */
static vst_status set_seeds(vst_study *study, const char *text) {
    enum { MOST = sizeof study->seeds / sizeof *study->seeds };
    if (!text) return VST_OK;
    study->seed_count = 0;
    for (const char *at = text; *at || at == text;) {
        char *end;
        errno = 0;
        const long seed = strtol(at, &end, 10);
        if (end == at || errno || seed < 0 || seed > INT_MAX || (*end && *end != ',') || study->seed_count == MOST)
            return vst_fail(VST_ERROR_ARGUMENT,
                            "--seeds %s: expected at most %d whole numbers from 0 on, separated by commas", text, MOST);
        for (int i = 0; i < study->seed_count; i++)
            if (study->seeds[i] == seed)
                return vst_fail(VST_ERROR_ARGUMENT, "--seeds %s: %ld is given twice", text, seed);
        study->seeds[study->seed_count++] = (int)seed;
        at = *end ? end + 1 : end;
        if (*end && !*at)
            return vst_fail(VST_ERROR_ARGUMENT, "--seeds %s: a number is missing after the last comma", text);
    }
    study->several |= study->seed_count > 1;
    return VST_OK;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_study *study = NULL;
    vst_study_result result = {0};
    vst_train_line line = {0};
    int count;
    const char *const *settings = vst_flag_values(arguments, "set", &count);
    VST_TRY(vst_study_read(&study, arguments->words[0]));
    VST_TRY(set_seeds(study, vst_flag_value(arguments, "seeds")));
    VST_TRY(vst_study_set(study, settings, count));
    const vst_study_options options = {
        .force = vst_flag_given(arguments, "force"),
        .stop = vst_catch_interrupt(VST_STOPPING("after this step"),
                                    VST_ENDED("the steps since the last checkpoint are lost")),
        .progress = vst_train_line_update,
        .user = &line};
    status = vst_study_execute(study, &options, &result);
    vst_train_line_finish(&line);
    if (status != VST_OK) goto out;
    VST_TRY(print_result(&result));
out:
    vst_study_result_clear(&result);
    vst_study_destroy(study);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"set", 's', "KEY=VALUE", "set a key of all recipes, such as data.path=FOLDER; can be repeated"},
    {"force", 0, NULL, "overwrite a run folder that holds a run of another recipe"},
    {"seeds", 0, "N,N…", "seeds to use instead of the study's; several give mean and standard deviation"},
    {0}};

extern const vst_command vsti_command_study;
const vst_command vsti_command_study = {.name = "study",
                                        .words = "STUDY",
                                        .summary = "train several recipes and compare their models",
                                        .help =
                                            "Trains the recipes in the study file (teacher, plain student, distilled "
                                            "students), quantises models if it says\n"
                                            "so, measures all models on the test split and writes report.html. "
                                            "Finished runs are kept and interrupted runs\n"
                                            "continue: after Ctrl-C, run the same command again.",
                                        .flags = flags,
                                        .minimum = 1,
                                        .maximum = 1,
                                        .run = run};
