/* `vistill import`: makes a model file from weights of other programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/model/imagenet.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "vision/base/file.h"
#include "vision/base/lines.h"
#include "vision/base/memory.h"

enum { ROWS_SHOWN = 20, LINE = 4096, NAMES_BYTES = 64 << 20 };

/* ---- Which model ---- */

static const char help[] =
    "WEIGHTS is a safetensors file, or what torch.save wrote (.pth, .pt, .bin): a state dict, or a checkpoint that\n"
    "holds one. No code in it is ever run. Tensors are found by timm's names, or by those of torchvision, "
    "transformers\n"
    "and the models' authors where the family knows them; a common prefix (module., model., backbone. …) is removed.\n"
    "No tensor of the model may be missing, left over or of another shape. Position embeddings of another image size\n"
    "are resized.\n"
    "Without --model, the only model of `vistill models` that fits is used, with the options that the tensors show:\n"
    "number of classes, shortcut=pad and the like. Preprocessing (mean, std, size, filter) follows the project whose\n"
    "names the tensors have, or --preprocessing and --set.\n\n"
    "    vistill import resnet18-f37072fd.pth --model resnet18 -o resnet18.safetensors\n"
    "    vistill import deit_tiny.pth --model deit_tiny_patch16_224 --set image=384 -o deit384.safetensors\n"
    "    vistill import deit_tiny.pth --model deit_tiny_patch16_224 --set classes=10 --reset-head -o start.safetensors";

extern const vst_command vsti_command_import;

/* The variants that fit the file exactly. */
static vst_status fitting(char *names, size_t size, size_t *count, const vst_weights *weights) {
    vst_import_candidate *list = NULL;
    size_t all;
    const vst_status status = vst_import_candidates(&list, &all, count, weights);
    vst_import_list(names, size, list, *count);
    vst_free(list);
    return status;
}

/* ---- Class names ---- */

typedef struct names {
    char **list;
    int count;
} names;

static void names_clear(names *self) {
    for (int i = 0; i < self->count; i++) vst_free(self->list[i]);
    vst_free(self->list);
}

static vst_status add_name(names *self, size_t *capacity, const char *text, size_t length) {
    const vst_status status = vst_grow(&self->list, capacity, (size_t)self->count + 1, sizeof *self->list);
    if (status != VST_OK) return status;
    char *copy = vst_format("%.*s", (int)length, text);
    if (!copy) return vst_fail_memory(length + 1);
    self->list[self->count++] = copy;
    return VST_OK;
}

/* One name per line; lines may end with CR LF. */
static vst_status read_names(names *self, const char *path, int classes) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    char *text = NULL;
    const char *line;
    size_t size = 0, length;
    status = vsti_file_read(path, NAMES_BYTES, "a list of class names", &text, &size);
    if (status != VST_OK) VST_TRY(vst_fail_in(status, "--classes"));
    for (vst_lines lines = vst_lines_of(text, size);
         self->count <= classes && vst_lines_next(&lines, &line, &length);) {
        if (length == 0 || length >= LINE)
            VST_TRY(vst_fail(
                VST_ERROR_FORMAT, "%s:%d: %s", path, self->count + 1,
                length ? "the line is too long for a class name" : "the line is empty: one class name a line"));
        VST_TRY(add_name(self, &capacity, line, length));
    }
    if (self->count > classes)
        VST_TRY(
            vst_fail(VST_ERROR_ARGUMENT, "%s has more than %d names, the model %d classes", path, classes, classes));
    if (self->count < classes)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s has %d names, the model %d classes", path, self->count, classes));
out:
    vst_free(text);
    return status;
}

/* Names from config.json beside the file or from a Vistill model file, if their number fits; else ImageNet's for 1000
 * classes, or numbers. */
static vst_status default_names(names *self, const vst_weights *weights, const vst_import_origin *origin, int classes) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    const char *text = vst_weights_metadata(weights, "vistill.classes");
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;
    const bool known = json_array_size(list) == (size_t)classes;
    for (int i = 0; i < classes; i++) {
        char number[16];
        const char *name = known ? json_string_value(json_array_get(list, (size_t)i)) : NULL;
        if (origin->labels) name = origin->labels[i];
        if (!name) name = vsti_default_class_name(i, classes, number);
        VST_TRY(add_name(self, &capacity, name, strlen(name)));
    }
out:
    json_decref(list);
    return status;
}

/* ---- What is said ---- */

static void shape_cell(vst_table *table, const vst_shape *shape) {
    char text[VST_SHAPE_TEXT];
    vst_table_cell(table, "%s", shape && shape->rank >= 0 ? vst_shape_text(shape, text) : "-");
}

/* Prints the first problems of each kind. */
static vst_status print_problems(const vst_import_report *report) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    size_t shown[VST_IMPORT_FINDINGS] = {0};
    VST_TRY(vst_table_create(&table, (const char *[]){"", "tensor", "in the file", "in the model", "type", NULL}));
    for (size_t i = 0; i < report->count; i++) {
        const vst_import_row *row = &report->rows[i];
        if (row->finding < VST_IMPORT_MISSING || shown[row->finding]++ >= ROWS_SHOWN) continue;
        vst_table_cell(table, "%s", vst_import_finding_name(row->finding));
        vst_table_cell(table, "%s", row->name);
        shape_cell(table, row->found ? &row->found->shape : NULL);
        shape_cell(table, &row->wanted);
        vst_table_cell(table, "%s", row->found ? vst_dtype_name(row->found->dtype) : "");
    }
    VST_TRY(vst_table_write(table, stderr));
    for (int i = VST_IMPORT_MISSING; i < VST_IMPORT_FINDINGS; i++)
        if (shown[i] > ROWS_SHOWN)
            fprintf(stderr, "and %zu more: %s\n", shown[i] - ROWS_SHOWN,
                    vst_import_finding_name((vst_import_finding)i));
out:
    vst_table_destroy(table);
    return status;
}

/* Prints the table of problems and the models that fit. The error message is unchanged. */
static vst_status explain_misfit(vst_status status, const vst_import_report *report, const vst_weights *weights) {
    char fit[600];
    size_t count = 0;
    char *message = vst_import_problems(report) ? vst_strdup(vst_error_message()) : NULL;
    if (!message) return status;
    if (print_problems(report) == VST_OK && fitting(fit, sizeof fit, &count, weights) == VST_OK && count)
        status = vst_fail(status, "%s; models that fit: %s", message, fit);
    else status = vst_fail(status, "%s", message);
    vst_free(message);
    return status;
}

static void print_rows(const char *title, const vst_import_report *report, vst_import_finding finding) {
    char from[VST_SHAPE_TEXT], to[VST_SHAPE_TEXT];
    for (size_t i = 0; i < report->count; i++) {
        const vst_import_row *row = &report->rows[i];
        if (row->finding != finding) continue;
        if (finding == VST_IMPORT_RESIZED)
            vst_print_line(stdout, "%-11s %s %s -> %s", title, row->name, vst_shape_text(&row->found->shape, from),
                           vst_shape_text(&row->wanted, to));
        else vst_print_line(stdout, "%-11s %s", title, row->name);
    }
}

/* Prints where the class names come from. */
static void print_classes(const vst_arguments *arguments, const vst_weights *weights, const vst_import_origin *origin,
                          int count) {
    const bool known =
        vst_flag_value(arguments, "classes") || vst_weights_metadata(weights, "vistill.classes") || origin->labels;
    if (known) return;
    if (count == VSTI_IMAGENET_CLASSES)
        printf("classes     1000, taken for those of ImageNet-1k; --classes FILE names others\n");
    else printf("classes     %d without names, matched with data by position; --classes FILE names them\n", count);
}

/* "teacher.* 122, criterion.* 1": tensors that do not belong to the model, counted by the first component of their
 * names. */
static void print_beside(const vst_import_report *report) {
    size_t begin = 0, count = 0;
    for (size_t i = 0; i < report->count; i++) {
        if (report->rows[i].finding != VST_IMPORT_BESIDE) continue;
        const char *name = report->rows[i].name, *before = report->rows[begin].name;
        const size_t length = strcspn(name, ".");
        if (count && (strncmp(name, before, length) != 0 || strcspn(before, ".") != length)) {
            vst_print_line(stdout, "beside      %.*s: %zu", (int)strcspn(before, "."), before, count);
            count = 0;
        }
        if (!count++) begin = i;
    }
    const char *last = count ? report->rows[begin].name : "";
    if (count) vst_print_line(stdout, "beside      %.*s: %zu", (int)strcspn(last, "."), last, count);
}

static void print_origin(const vst_model_config *model, const vst_import_origin *origin) {
    char text[VST_PREPROCESSING_TEXT];
    if (*origin->options) vst_print_line(stdout, "options     %s, found from the tensors", origin->options);
    if (*origin->beside) vst_print_line(stdout, "beside      config.json: %s", origin->beside);
    printf("images      ");
    vst_text_write(stdout, vst_preprocessing_text(model, text), 12, vst_terminal_width(stdout) - 12);
    if (*origin->project)
        printf("            as %s%s%s\n", origin->project, origin->version ? " " : "",
               origin->version ? origin->version : "");
    if (origin->squeezes) printf("            (which resizes images to a square; here the centre is cropped)\n");
    if (origin->rival && origin->version)
        printf("            if they are its %s: --preprocessing %s:%s\n", origin->rival, origin->project,
               origin->rival);
    else if (origin->rival) printf("            if they are %s's: --preprocessing %s\n", origin->rival, origin->rival);
}

static void print_summary(const char *path, const vst_model_config *model, const vst_weights *weights,
                          const vst_import_report *report, const vst_import_origin *origin) {
    struct stat info;
    const char *entry = vst_weights_entry(weights);
    printf("model       %s (%s)\n", model->variant, model->backbone->help);
    vst_print_line(stdout, "file        %s", vst_weights_path(weights));
    vst_print_line(stdout, "format      %s%s%s%s", vst_weights_format(weights), entry ? ", entry \"" : "",
                   entry ? entry : "", entry ? "\"" : "");
    for (size_t i = 0; i < vst_weights_skipped_count(weights); i++)
        vst_print_line(stdout, "%-11s %s", "skipped", vst_weights_skipped_at(weights, i));
    printf("tensors     %zu taken, %zu of them renamed, %zu resized\n", report->taken,
           report->counts[VST_IMPORT_RENAMED], report->counts[VST_IMPORT_RESIZED]);
    if (*report->prefix) vst_print_line(stdout, "prefix      %s", report->prefix);
    print_beside(report);
    print_rows("resized", report, VST_IMPORT_RESIZED);
    print_rows("fresh", report, VST_IMPORT_FRESH);
    print_rows("ignored", report, VST_IMPORT_IGNORED);
    print_rows("not finite", report, VST_IMPORT_NOT_FINITE);
    print_origin(model, origin);
    const double bytes = stat(path, &info) == 0 ? (double)info.st_size : 0;
    vst_print_line(stdout, "written     %s (%.1f %s)", path, bytes < 1e6 ? bytes / 1e3 : bytes / 1e6,
                   bytes < 1e6 ? "kB" : "MB");
}

/* ---- The command ---- */

static vst_status import_into(vst_params **params, vst_import_report *report, const vst_model_config *model,
                              const vst_weights *weights, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    const vst_import_options options = {.reset_head = vst_flag_given(arguments, "reset-head"),
                                        .no_antialias = vst_flag_given(arguments, "no-antialias")};
    VST_TRY(vst_model_declare(&graph, params, model));
    /* a fresh head needs initial values */
    VST_TRY(options.reset_head ? vst_params_allocate(*params, false, 0) : vst_params_reserve(*params));
    status = vst_import_params(report, model, *params, weights, &options);
    if (status != VST_OK) status = explain_misfit(status, report, weights);
out:
    vst_graph_destroy(graph);
    return status;
}

static vst_status write_model(const char *path, const vst_model_config *model, const vst_params *params,
                              const names *classes, const vst_weights *weights, const vst_import_report *report,
                              const vst_import_origin *origin) {
    char *facts = NULL;
    vst_status status = vst_import_facts(&facts, weights, report, origin);
    if (status == VST_OK)
        status = vst_model_write(path, &(vst_model_content){.config = model,
                                                            .params = params,
                                                            .class_names = (const char *const *)classes->list,
                                                            .class_count = classes->count,
                                                            .training = facts});
    vst_free(facts);
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_weights *weights = NULL;
    vst_model_config *model = NULL;
    vst_params *params = NULL;
    vst_import_report report = {0};
    vst_import_origin origin = {.project = ""};
    names classes = {0};
    const char *output = vst_flag_value(arguments, "output"), *list = vst_flag_value(arguments, "classes");
    if (!output) return vst_command_usage(&vsti_command_import, "-o FILE is missing, the model file to write");
    VST_TRY(vst_weights_open(&weights, arguments->words[0], vst_flag_value(arguments, "entry")));
    VST_TRY(vsti_file_check_writable(output));
    vst_import_choice choice = {.variant = vst_flag_value(arguments, "model"),
                                .preprocessing = vst_flag_value(arguments, "preprocessing"),
                                .reset_head = vst_flag_given(arguments, "reset-head")};
    choice.settings = vst_flag_values(arguments, "set", &choice.setting_count);
    VST_TRY(vst_import_model(&model, &origin, weights, &choice));
    const int count = vst_model_common_of(model)->classes;
    VST_TRY(list ? read_names(&classes, list, count) : default_names(&classes, weights, &origin, count));
    VST_TRY(import_into(&params, &report, model, weights, arguments));
    VST_TRY(write_model(output, model, params, &classes, weights, &report, &origin));
    print_summary(output, model, weights, &report, &origin);
    print_classes(arguments, weights, &origin, count);
    if (origin.unnamed) vst_warn_unnamed(output);
out:
    names_clear(&classes);
    vst_import_origin_clear(&origin);
    vst_import_report_clear(&report);
    vst_params_destroy(params);
    vst_model_config_destroy(model);
    vst_weights_close(weights);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"model", 'm', "NAME", "the model of the weights, a name from `vistill models`"},
    {"output", 'o', "FILE", "the model file to write"},
    {"entry", 'e', "KEY", "entry of a checkpoint (model_ema, ema.module …), or prefix of the tensor names (student …)"},
    {"set", 's', "KEY=VALUE", "an option of the model: classes=10, image=384, mean=0.5 …"},
    {"preprocessing", 'p', "OF", "preprocessing of images as in timm, torchvision, torchvision:IMAGENET1K_V2 …"},
    {"classes", 'c', "FILE", "names of the classes, one per line; by default ImageNet-1k's for 1000, else 0, 1, 2 …"},
    {"reset-head", 0, NULL, "initialise the classifier randomly instead of using the file's"},
    {"no-antialias", 0, NULL, "resize position embeddings as DeiT's code, without antialiasing"},
    {0}};

const vst_command vsti_command_import = {.name = "import",
                                         .words = "WEIGHTS -o FILE",
                                         .summary = "turn weights of PyTorch, timm or torchvision into a model file",
                                         .help = help,
                                         .flags = flags,
                                         .minimum = 1,
                                         .maximum = 1,
                                         .run = run};
