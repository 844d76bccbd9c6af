/* vistill cache: builds, checks and imports caches of the outputs of teachers. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/train/fit.h"
#include "recipes/train/teacher_cache.h"

extern const vst_command vsti_command_cache;

static void print_size(const vst_recipe *recipe, const vst_cache_size *size) {
    vst_print_part(stdout, "%s: %" PRIu64 " records of %" PRIu64 " complete %s, %.1f MB", recipe->distill.cache,
                   size->records, size->blocks,
                   recipe->augment.views ? size->blocks == 1 ? "view" : "views"
                   : size->blocks == 1   ? "epoch"
                                         : "epochs",
                   (double)size->bytes / 1e6);
}

/* ---- build ---- */

static vst_status build(const vst_arguments *arguments, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vst_cache_size size;
    vst_cache_build_options options = {
        .force = vst_flag_given(arguments, "force"),
        .stop = vst_catch_interrupt(VST_STOPPING("after this batch"),
                                    VST_ENDED("the answers since the last complete block are lost"))};
    VST_TRY(vst_flag_int(arguments, "epochs", 1, 100000, &options.epochs));
    VST_TRY(vst_cache_build(recipe, &options, &size));
    print_size(recipe, &size);
    printf(size.added ? ", %" PRIu64 " of them new\n" : ", nothing to do\n", size.added);
out:
    return status;
}

/* ---- check ---- */

static vst_status print_report(const vst_recipe *recipe, const vst_cache_report *report) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    VST_TRY(vst_table_create(
        &table, (const char *[]){"teacher", "tap", ">mean error", ">largest", ">mean size", ">same top-1 %", NULL}));
    for (int i = 0; i < report->tap_count; i++) {
        const vst_cache_tap_check *tap = &report->taps[i];
        vst_table_cell(table, "%d", tap->teacher);
        vst_table_cell(table, "%s", tap->tap);
        vst_table_cell(table, "%.3g", tap->mean_error);
        vst_table_cell(table, "%.3g", tap->max_error);
        vst_table_cell(table, "%.3g", tap->magnitude);
        if (isnan(tap->same_top1)) vst_table_cell(table, "-");
        else vst_table_cell(table, "%.2f", tap->same_top1);
    }
    if (report->tap_count) VST_TRY(vst_table_write(table, stdout)); /* imported logits cannot be recomputed */
    print_size(recipe, &report->size);
    printf("; checksums fit, %" PRIu64 " records recomputed\n", report->recomputed);
out:
    vst_table_destroy(table);
    return status;
}

static vst_status print_json(const vst_recipe *recipe, const vst_cache_report *report) {
    json_t *object = json_object(), *taps = json_array();
    for (int i = 0; i < report->tap_count; i++) {
        const vst_cache_tap_check *tap = &report->taps[i];
        json_t *one = json_object();
        json_object_set_new(one, "teacher", json_integer(tap->teacher));
        json_object_set_new(one, "tap", json_string(tap->tap));
        json_object_set_new(one, "mean_error", json_real(tap->mean_error));
        json_object_set_new(one, "max_error", json_real(tap->max_error));
        json_object_set_new(one, "mean_size", json_real(tap->magnitude));
        json_object_set_new(one, "same_top1", isnan(tap->same_top1) ? json_null() : json_real(tap->same_top1));
        json_array_append_new(taps, one);
    }
    json_object_set_new(object, "folder", vst_json_text(recipe->distill.cache));
    json_object_set_new(object, "records", json_integer((json_int_t)report->size.records));
    json_object_set_new(object, "blocks", json_integer((json_int_t)report->size.blocks));
    json_object_set_new(object, "bytes", json_integer((json_int_t)report->size.bytes));
    json_object_set_new(object, "recomputed", json_integer((json_int_t)report->recomputed));
    json_object_set_new(object, "taps", taps);
    json_object_set_new(object, "good", json_boolean(report->good));
    return vst_json_print(object);
}

static vst_status check(const vst_arguments *arguments, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vst_cache_report report;
    int samples = 512;
    VST_TRY(vst_flag_int(arguments, "samples", 1, 100000000, &samples));
    VST_TRY(vst_cache_check(recipe, samples,
                            vst_catch_interrupt(VST_STOPPING("after this batch"),
                                                VST_ENDED("the answers since the last complete block are lost")),
                            &report));
    if (vst_flag_given(arguments, "json")) VST_TRY(print_json(recipe, &report));
    else VST_TRY(print_report(recipe, &report));
    if (!report.good)
        VST_TRY(vst_fail(VST_ERROR_FORMAT,
                         "%s does not match the outputs of the teachers: `vistill cache build RECIPE --force` makes it "
                         "anew",
                         recipe->distill.cache));
out:
    return status;
}

/* ---- import ---- */

static vst_status import(const vst_arguments *arguments, const vst_recipe *recipe) {
    vst_cache_size size;
    double top1;
    const vst_cache_import_options options = {.logits = arguments->words[2],
                                              .names = vst_flag_value(arguments, "names"),
                                              .plain = vst_flag_given(arguments, "plain"),
                                              .force = vst_flag_given(arguments, "force")};
    const vst_status status = vst_cache_import(recipe, &options, &size, &top1);
    if (status != VST_OK) return status;
    print_size(recipe, &size);
    if (isnan(top1)) printf("; there are no labels to measure them by\n");
    else printf("; top-1 %.2f %% on training samples\n", top1);
    if (top1 < 50)
        fprintf(
            stderr,
            "warning: the logits are right for only %.2f %% of the training samples: are the rows in the data set's "
            "order (or named by --names), and of these classes?\n",
            top1);
    return VST_OK;
}

/* ---- The command ---- */

static int run(const vst_arguments *arguments) {
    const char *action = arguments->words[0];
    vst_recipe *recipe = NULL;
    int count;
    const bool building = strcmp(action, "build") == 0, importing = strcmp(action, "import") == 0;
    const char *const *settings = vst_flag_values(arguments, "set", &count);
    if (!building && !importing && strcmp(action, "check") != 0)
        return vst_command_usage(&vsti_command_cache, "\"%.100s\" is none of build, check, import", action);
    if (importing != (arguments->word_count == 3))
        return vst_command_usage(&vsti_command_cache,
                                 importing ? "name the file of logits after the recipe" : "\"%.100s\" is too much",
                                 arguments->words[arguments->word_count - 1]);
    vst_status status = vst_recipe_read(&recipe, arguments->words[1], settings, count);
    if (status == VST_OK) status = vst_recipe_fit_data(recipe);
    if (status == VST_OK) status = (building ? build : importing ? import : check)(arguments, recipe);
    vst_recipe_destroy(recipe);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"set", 's', "KEY=VALUE", "set a key of the recipe, such as distill.cache=FOLDER; can be repeated"},
    {"epochs", 0, "N", "build: number of epochs, by default the recipe's; not with augment.views"},
    {"force", 0, NULL, "build, import: start over, even if the cache belongs to another recipe or is damaged"},
    {"names", 0, "FILE", "import: name of the image of each row (cat/7.jpg), one per line"},
    {"plain", 0, NULL, "import: use logits of the images without augmentation although augment.train is set"},
    {"samples", 0, "N", "check: number of records to recompute with the teachers, 512 by default"},
    {"json", 0, NULL, "check: one JSON object for machines"},
    {0}};

const vst_command vsti_command_cache = {
    .name = "cache",
    .words = "build|check RECIPE, import RECIPE LOGITS",
    .summary = "compute the outputs of the teachers once, for many training runs",
    .help =
        "build  runs the teachers of the recipe on all training images and writes the outputs that its terms read to\n"
        "       distill.cache; after Ctrl-C the same command continues. Training with the cache runs no teacher, for\n"
        "       any student, distance, temperature and weight. With augment.views the views repeat, and one cache\n"
        "       serves training of any length\n"
        "check  verifies that the cache belongs to the recipe, all checksums, and some records with the teachers\n"
        "import makes a cache from logits of another program, for a teacher that is not among the models here: the\n"
        "       recipe has distill.teacher: cache. LOGITS is a safetensors file with the tensor \"logits\", "
        "(samples,\n"
        "       classes), in the order of the training images or of --names; see recipes/conf/README.md",
    .flags = flags,
    .minimum = 2,
    .maximum = 3,
    .run = run};
