/* vistill data: indexes, checks, previews and packs data sets, and dumps training batches. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "datasets/augment/augment.h"
#include "datasets/tar_index.h"
#include "datasets/tar_shards.h"
#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/datatools/datatools.h"
#include "recipes/train/fit.h"
#include "vision/base/file.h"

extern const vst_command vsti_command_data;
static const char *const splits[] = {"train", "test"};

/* Opens the splits of --split, or those that exist; a missing split is NULL. */
static vst_status open_splits(const vst_arguments *arguments, vst_dataset *opened[2]) {
    const char *wanted = vst_flag_value(arguments, "split");
    const vst_dataset_options options = {.format = vst_flag_value(arguments, "format")};
    vst_status status = VST_OK;
    if (wanted && strcmp(wanted, "train") != 0 && strcmp(wanted, "test") != 0)
        return vst_fail(VST_ERROR_ARGUMENT, "--split %s: it must be train or test", wanted);
    for (int i = 0; i < 2; i++) {
        if (wanted && strcmp(wanted, splits[i]) != 0) continue;
        if (i == 1 && !wanted && opened[0] && vst_dataset_has_no_splits(opened[0]))
            continue; /* it would be the same again */
        status = vst_dataset_open(&opened[i], arguments->words[1], splits[i], &options);
        if (status != VST_OK && (status != VST_ERROR_NOT_FOUND || wanted)) return status;
    }
    return opened[0] || opened[1] ? VST_OK : status;
}

static const char *split_name(const vst_dataset *dataset, int i) {
    return vst_dataset_has_no_splits(dataset) ? "all" : splits[i];
}

/* ---- index ---- */

static vst_status index_tars(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vsti_shards shards = {0};
    uint64_t images, total = 0;
    VST_TRY(vsti_shards_find(&shards, arguments->words[1], NULL));
    for (size_t i = 0; i < shards.count; i++) {
        VST_TRY(vsti_tar_index_make(shards.paths[i], &images));
        vst_print_line(stdout, "%s.idx: %" PRIu64 " images", shards.paths[i], images);
        total += images;
    }
    if (shards.count > 1) printf("%" PRIu64 " images in %zu shards\n", total, shards.count);
out:
    vsti_shards_clear(&shards);
    return status;
}

/* ---- check ---- */

static const char *row_name(const vst_dataset *dataset, int row) {
    return row < vst_dataset_classes(dataset) ? vst_dataset_class_name(dataset, row) : "(no label)";
}

static bool row_used(const vst_data_report *report, int row) {
    return row < report->classes || report->good[row] + report->broken[row] > 0;
}

static vst_status print_report(const vst_dataset *dataset, const char *split, const vst_data_report *report) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    VST_TRY(vst_table_create(&table, (const char *[]){"class", ">samples", ">broken", NULL}));
    for (int row = 0; row <= report->classes; row++) {
        if (!row_used(report, row)) continue;
        vst_table_cell(table, "%s", row_name(dataset, row));
        vst_table_cell(table, "%" PRIu64, report->good[row] + report->broken[row]);
        vst_table_cell(table, "%" PRIu64, report->broken[row]);
    }
    VST_TRY(vst_table_write(table, stdout));
    for (size_t i = 0; i < report->bad_count; i++) vst_print_line(stdout, "broken  %s", report->bad[i].reason);
    printf("%s: %" PRIu64 " samples, %zu broken, ", split, report->samples, report->bad_count);
    if (report->least_width == report->most_width && report->least_height == report->most_height)
        printf("all of %d x %d pixels\n", report->most_width, report->most_height);
    else
        printf("from %d x %d to %d x %d pixels\n", report->least_width, report->least_height, report->most_width,
               report->most_height);
out:
    vst_table_destroy(table);
    return status;
}

static json_t *bad_to_json(const vst_dataset *dataset, const vst_data_report *report) {
    json_t *list = json_array();
    for (size_t i = 0; i < report->bad_count; i++) {
        char name[4096];
        json_t *object = json_object();
        vst_dataset_sample_name(dataset, report->bad[i].sample, name, sizeof name);
        json_object_set_new(object, "sample", json_integer((json_int_t)report->bad[i].sample));
        json_object_set_new(object, "name", vst_json_text(name));
        json_object_set_new(object, "label", json_integer(report->bad[i].label));
        json_object_set_new(object, "reason", vst_json_text(report->bad[i].reason));
        json_array_append_new(list, object);
    }
    return list;
}

/* Prints one object per split. */
static vst_status print_json(const vst_dataset *dataset, const char *split, const vst_data_report *report) {
    uint64_t hash;
    char text[20];
    vst_status status = vst_dataset_hash(dataset, &hash);
    if (status != VST_OK) return status;
    json_t *object = json_object(), *classes = json_array();
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    for (int row = 0; row <= report->classes; row++) {
        if (!row_used(report, row)) continue;
        json_t *one = json_object();
        json_object_set_new(one, "name", vst_json_text(row_name(dataset, row)));
        json_object_set_new(one, "samples", json_integer((json_int_t)(report->good[row] + report->broken[row])));
        json_object_set_new(one, "broken", json_integer((json_int_t)report->broken[row]));
        json_array_append_new(classes, one);
    }
    json_object_set_new(object, "split", json_string(split));
    json_object_set_new(object, "path", vst_json_text(vst_dataset_path(dataset)));
    json_object_set_new(object, "samples", json_integer((json_int_t)report->samples));
    json_object_set_new(object, "hash", json_string(text));
    json_object_set_new(object, "smallest", json_pack("[i,i]", report->least_width, report->least_height));
    json_object_set_new(object, "largest", json_pack("[i,i]", report->most_width, report->most_height));
    json_object_set_new(object, "classes", classes);
    json_object_set_new(object, "broken", bad_to_json(dataset, report));
    return vst_json_print(object);
}

static vst_status check(const vst_arguments *arguments, bool *broken) {
    vst_status status = VST_OK;
    vst_dataset *opened[2] = {NULL, NULL};
    vst_data_report report = {0};
    int workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (workers < 1 || workers > 256) workers = 1;
    VST_TRY(vst_flag_int(arguments, "workers", 1, 256, &workers));
    VST_TRY(open_splits(arguments, opened));
    for (int i = 0; i < 2; i++) {
        if (!opened[i]) continue;
        if (i == 1 && opened[0] && !vst_flag_given(arguments, "json")) putchar('\n');
        VST_TRY(vst_data_check(opened[i], workers,
                               vst_catch_interrupt(VST_STOPPING("after this image"), VST_ENDED("nothing was finished")),
                               &report));
        VST_TRY((vst_flag_given(arguments, "json") ? print_json : print_report)(opened[i], split_name(opened[i], i),
                                                                                &report));
        *broken |= report.bad_count > 0;
        vst_data_report_clear(&report);
    }
out:
    vst_data_report_clear(&report);
    vst_dataset_close(opened[0]);
    vst_dataset_close(opened[1]);
    return status;
}

/* ---- preview ---- */

static vst_status preview(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_dataset *dataset = NULL;
    vst_image sheet = {0};
    int count = 36, seed = 0;
    const char *split = vst_flag_value(arguments, "split"), *augment = vst_flag_value(arguments, "augment");
    const char *output = vst_flag_value(arguments, "output");
    const vst_dataset_options options = {.format = vst_flag_value(arguments, "format")};
    if (!output) output = "preview.png";
    VST_TRY(vst_flag_int(arguments, "count", 1, 1024, &count));
    VST_TRY(vst_flag_int(arguments, "seed", 0, INT32_MAX, &seed));
    VST_TRY(vst_dataset_open(&dataset, arguments->words[1], split ? split : "train", &options));
    VST_TRY(vsti_file_check_writable(output));
    VST_TRY(vst_data_preview(dataset, augment ? augment : "", (uint64_t)seed, count, &sheet));
    VST_TRY(vst_png_write(output, &sheet));
    vst_print_line(stdout, "%s: %d x %d pixels", output, sheet.width, sheet.height);
out:
    vst_image_clear(&sheet);
    vst_dataset_close(dataset);
    return status;
}

/* ---- pack ---- */

static vst_status pack(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_dataset *opened[2] = {NULL, NULL};
    int megabytes = 512, seed = 0;
    vst_pack_options options = {
        .shuffle = vst_flag_given(arguments, "shuffle"),
        .quality = 95,
        .stop = vst_catch_interrupt(VST_STOPPING("after this image"), VST_ENDED("nothing was finished"))};
    const char *output = vst_flag_value(arguments, "output");
    VST_TRY(vst_flag_int(arguments, "shard-size", 1, 1 << 20, &megabytes));
    VST_TRY(vst_flag_int(arguments, "shuffle", 0, INT32_MAX, &seed));
    VST_TRY(vst_flag_int(arguments, "resize", 1, 65500, &options.resize));
    VST_TRY(vst_flag_int(arguments, "quality", 1, 100, &options.quality));
    options.shard_bytes = (uint64_t)megabytes << 20;
    options.seed = (uint64_t)seed;
    VST_TRY(open_splits(arguments, opened));
    for (int i = 0; i < 2; i++) {
        vst_pack_result result;
        if (!opened[i]) continue;
        VST_TRY(vst_data_pack(opened[i], output, split_name(opened[i], i), &options, &result));
        printf("%s: %" PRIu64 " samples in %" PRIu64 " shard%s, %.1f MB", split_name(opened[i], i), result.samples,
               result.shards, result.shards == 1 ? "" : "s", (double)result.bytes / 1e6);
        if (options.resize > 0) printf(", %" PRIu64 " made smaller", result.resized);
        putchar('\n');
    }
out:
    vst_dataset_close(opened[0]);
    vst_dataset_close(opened[1]);
    return status;
}

/* ---- dump ---- */

static vst_status dump(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_recipe *recipe = NULL;
    int epoch = 1, batches = 1, written, count;
    const char *output = vst_flag_value(arguments, "output");
    const char *const *settings = vst_flag_values(arguments, "set", &count);
    VST_TRY(vst_recipe_read(&recipe, arguments->words[1], settings, count));
    VST_TRY(vst_recipe_fit_data(recipe));
    VST_TRY(vst_flag_int(arguments, "batches", 1, 10000, &batches));
    VST_TRY(vst_flag_int(arguments, "epoch", 1, 1000000, &epoch));
    VST_TRY(vsti_file_check_writable(output));
    VST_TRY(vst_data_dump(recipe, epoch - 1, batches, output, &written));
    vst_print_line(stdout, "%s: %d batch%s of epoch %d, %d images each", output, written, written == 1 ? "" : "es",
                   epoch, recipe->optim.batch);
out:
    vst_recipe_destroy(recipe);
    return status;
}

/* ---- The command ---- */

static int run(const vst_arguments *arguments) {
    const char *action = arguments->words[0];
    bool broken = false;
    vst_status status;
    if (strcmp(action, "index") == 0) {
        status = index_tars(arguments);
    } else if (strcmp(action, "check") == 0) {
        status = check(arguments, &broken);
    } else if (strcmp(action, "preview") == 0) {
        status = preview(arguments);
    } else if (strcmp(action, "pack") == 0) {
        if (!vst_flag_given(arguments, "output"))
            return vst_command_usage(&vsti_command_data, "pack needs --output FOLDER for the shards");
        if (vst_flag_given(arguments, "quality") && !vst_flag_given(arguments, "resize"))
            return vst_command_usage(&vsti_command_data, "--quality needs --resize: other files are not encoded");
        status = pack(arguments);
    } else if (strcmp(action, "dump") == 0) {
        if (!vst_flag_given(arguments, "output"))
            return vst_command_usage(&vsti_command_data, "dump needs --output FILE for the batches");
        status = dump(arguments);
    } else {
        return vst_command_usage(&vsti_command_data, "\"%.100s\" is none of index, check, preview, pack, dump", action);
    }
    return status == VST_OK && broken ? VST_EXIT_ERROR : vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"split", 0, "SPLIT", "train or test; by default check and pack use both, preview uses train"},
    {"format", 0, "FORMAT", "the data set's format, if it is not recognised"},
    {"workers", 0, "N", "check: number of threads, by default one per processor"},
    {"json", 0, NULL, "check: print one JSON object per split"},
    {"augment", 0, "POLICIES", "preview: augmentation as in recipes, \"crop:padding=4, flip\""},
    {"count", 0, "N", "preview: number of samples, 36 by default"},
    {"seed", 0, "N", "preview: seed of samples and augmentation, 0 by default"},
    {"output", 'o', "PATH", "preview: the PNG file, preview.png by default; pack: the folder; dump: the file"},
    {"batches", 0, "N", "dump: number of batches, 1 by default"},
    {"epoch", 0, "N", "dump: epoch of the batches, from 1 on, 1 by default"},
    {"set", 's', "KEY=VALUE", "dump: set a key of the recipe; can be repeated"},
    {"shard-size", 0, "MB", "pack: largest size of a shard, 512 by default"},
    {"shuffle", 0, "SEED", "pack: shuffle the samples with this seed"},
    {"resize", 0, "N", "pack: resize larger images to a shorter side of N pixels (bicubic)"},
    {"quality", 0, "Q", "pack --resize: quality of resized JPEG files, 1 to 100, 95 by default"},
    {0}};

const vst_command vsti_command_data = {
    .name = "data",
    .words = "index|check|preview|pack DATA, dump RECIPE",
    .summary = "check, preview or pack a data set",
    .help =
        "index    writes NAME.tar.idx beside each tar of DATA, so that opening it need not read all headers\n"
        "check    decodes all images, counts classes and lists broken images; exit code 1 if there are any\n"
        "preview  writes a PNG file with augmented samples and their classes\n"
        "pack     writes tar shards in WebDataset's layout to --output, with image files unchanged or resized by "
        "--resize, indices and classes.txt\n"
        "dump     writes a recipe's first training batches, augmented and mixed, as safetensors: batch0.images, "
        ".targets, "
        ".labels, .samples, .lambda, .box",
    .flags = flags,
    .minimum = 2,
    .maximum = 2,
    .run = run};
