/* `vistill import`: weights of other programs become a model file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "recipes/commands/main.h"
#include "recipes/commands/table.h"
#include "recipes/model/imagenet.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

enum { ROWS_SHOWN = 20, LINE = 4096, NAMES_BYTES = 64 << 20 };

/* ---- Which model ---- */

static const char help[] =
    "WEIGHTS is a safetensors file, or what torch.save wrote (.pth, .pt, .bin): a state dict, or a checkpoint that\n"
    "holds one. No code in it is ever run. Tensors are found by timm's names, or by those of torchvision and of the\n"
    "models' authors where the family knows them; nothing may be missing, left over or of another shape. Position\n"
    "embeddings of another image size are resized.\n"
    "Without --model, the one model of `vistill models` that fits exactly is taken.\n\n"
    "    vistill import resnet18-f37072fd.pth --model resnet18 -o resnet18.safetensors\n"
    "    vistill import deit_tiny.pth --model deit_tiny_patch16_224 --set image=384 -o deit384.safetensors\n"
    "    vistill import deit_tiny.pth --model deit_tiny_patch16_224 --set classes=10 --reset-head -o start.safetensors";

extern const vst_command vsti_command_import;

/* "a, b, c and 3 more" */
static void list_names(char *out, size_t size, const vst_import_candidate *list, size_t count) {
    size_t used = 0, shown = 0;
    *out = 0;
    for (; shown < count && used + strlen(list[shown].variant) + 20 < size; shown++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", shown ? ", " : "", list[shown].variant);
    if (shown < count) snprintf(out + used, size - used, " and %zu more", count - shown);
}

/* The variants that fit the file exactly. */
static vst_status fitting(char *names, size_t size, size_t *count, const vst_weights *weights) {
    vst_import_candidate *list = NULL;
    size_t all;
    const vst_status status = vst_import_candidates(&list, &all, weights);
    *count = 0;
    while (*count < all && list[*count].problems == 0) (*count)++;
    list_names(names, size, list, *count);
    vst_free(list);
    return status;
}

static vst_status recognise(vst_model_config **out, const vst_weights *weights) {
    vst_status status = VST_OK;
    vst_import_candidate *list = NULL;
    size_t count, fit = 0;
    char names[600];
    VST_TRY(vst_import_candidates(&list, &count, weights));
    while (fit < count && list[fit].problems == 0) fit++;
    list_names(names, sizeof names, list, fit ? fit : count < 3 ? count : 3);
    if (fit == 1) VST_TRY(vst_model_config_create(out, list[0].variant));
    else if (fit)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "%.200s fits %zu models, which have the same tensors but may differ in "
                         "preprocessing and arithmetic: say --model, one of %s",
                         vst_weights_path(weights), fit, names));
    else
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND,
                         "%.200s fits no model exactly; nearest are %s (%zu tensors do not fit the first): "
                         "say --model, and its options with --set",
                         vst_weights_path(weights), names, list[0].problems));
out:
    vst_free(list);
    return status;
}

static vst_status set_options(vst_model_config *model, const vst_arguments *arguments) {
    int count;
    const char *const *given = vst_flag_values(arguments, "set", &count);
    for (int i = 0; i < count; i++) {
        char key[64];
        const char *text = strncmp(given[i], "model.", 6) == 0 ? given[i] + 6 : given[i]; /* as recipes have it */
        const size_t length = strcspn(text, "=");
        if (!text[length] || !length || length >= sizeof key)
            return vst_fail(VST_ERROR_ARGUMENT, "--set %.100s: expected KEY=VALUE, such as classes=10", given[i]);
        memcpy(key, text, length);
        key[length] = 0;
        const vst_status status = vst_model_config_set(model, key, text + length + 1);
        if (status != VST_OK) return vst_fail_in(status, "--set %.100s", given[i]);
    }
    return VST_OK;
}

/* From --model, or from the metadata of a model file of ours, or by what fits. */
static vst_status choose_model(vst_model_config **out, const vst_weights *weights, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    const char *name = vst_flag_value(arguments, "model"), *ours = vst_weights_metadata(weights, "vistill.model");
    *out = NULL;
    if (name) VST_TRY(vst_model_config_create(out, name));
    else if (ours) VST_TRY(vst_model_config_from_json(out, ours));
    else VST_TRY(recognise(out, weights));
    VST_TRY(set_options(*out, arguments));
out:
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

/* One name a line; lines may end as on Windows. */
static vst_status read_names(names *self, const char *path, int classes) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    char *text = NULL;
    status = vsti_file_read(path, NAMES_BYTES, "a list of class names", &text, NULL);
    if (status != VST_OK) VST_TRY(vst_fail_in(status, "--classes"));
    for (char *rest = text, *line; self->count <= classes && *rest && (line = strsep(&rest, "\n"));) {
        const size_t length = strcspn(line, "\r");
        if (length == 0 || length >= LINE)
            VST_TRY(vst_fail(
                VST_ERROR_FORMAT, "%s:%d: %s", path, self->count + 1,
                length ? "the line is too long for a class name" : "the line is empty: one class name a line"));
        VST_TRY(add_name(self, &capacity, line, length));
        if (!rest) break;
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

/* Those that a model file of ours has, if there are as many; else ImageNet's for 1000 classes, or numbers. */
static vst_status default_names(names *self, const vst_weights *weights, int classes) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    const char *text = vst_weights_metadata(weights, "vistill.classes");
    json_t *list = text ? json_loads(text, 0, NULL) : NULL;
    const bool known = json_array_size(list) == (size_t)classes;
    for (int i = 0; i < classes; i++) {
        char number[16];
        const char *name = classes == VSTI_IMAGENET_CLASSES ? vsti_imagenet[i].name : NULL;
        if (known) name = json_string_value(json_array_get(list, (size_t)i));
        snprintf(number, sizeof number, "%d", i);
        if (!name) name = number;
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

/* All that keeps the file from being imported, the first of each kind. */
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

/* After a misfit: the table, and the models that would do. The error's text stays as it is. */
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
        printf("%-11s %s", title, row->name);
        if (finding == VST_IMPORT_RESIZED)
            printf(" %s -> %s", vst_shape_text(&row->found->shape, from), vst_shape_text(&row->wanted, to));
        putchar('\n');
    }
}

/* A guess of the names is said. */
static void print_classes(const vst_arguments *arguments, const vst_weights *weights, int count) {
    const bool known = vst_flag_value(arguments, "classes") || vst_weights_metadata(weights, "vistill.classes");
    if (known) return;
    if (count == VSTI_IMAGENET_CLASSES)
        printf("classes     1000, taken for those of ImageNet-1k; --classes FILE names others\n");
    else printf("classes     %d without names, matched with data by position; --classes FILE names them\n", count);
}

static void print_summary(const char *path, const vst_model_config *model, const vst_weights *weights,
                          const vst_import_report *report) {
    struct stat info;
    const char *entry = vst_weights_entry(weights);
    printf("model       %s (%s)\nfile        %s\nformat      %s%s%s%s\n", model->variant, model->backbone->help,
           vst_weights_path(weights), vst_weights_format(weights), entry ? ", entry \"" : "", entry ? entry : "",
           entry ? "\"" : "");
    for (size_t i = 0; i < vst_weights_skipped_count(weights); i++)
        printf("%-11s %s\n", "skipped", vst_weights_skipped_at(weights, i));
    printf("tensors     %zu taken, %zu of them renamed, %zu resized\n", report->taken,
           report->counts[VST_IMPORT_RENAMED], report->counts[VST_IMPORT_RESIZED]);
    print_rows("resized", report, VST_IMPORT_RESIZED);
    print_rows("fresh", report, VST_IMPORT_FRESH);
    print_rows("ignored", report, VST_IMPORT_IGNORED);
    print_rows("not finite", report, VST_IMPORT_NOT_FINITE);
    const double bytes = stat(path, &info) == 0 ? (double)info.st_size : 0;
    printf("written     %s (%.1f %s)\n", path, bytes < 1e6 ? bytes / 1e3 : bytes / 1e6, bytes < 1e6 ? "kB" : "MB");
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
                              const names *classes, const vst_weights *weights, const vst_import_report *report) {
    char *facts = NULL;
    vst_status status = vst_import_facts(&facts, weights, report);
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
    names classes = {0};
    const char *output = vst_flag_value(arguments, "output"), *list = vst_flag_value(arguments, "classes");
    if (!output) return vst_command_usage(&vsti_command_import, "say with -o FILE where to write the model");
    VST_TRY(vst_weights_open(&weights, arguments->words[0], vst_flag_value(arguments, "entry")));
    VST_TRY(choose_model(&model, weights, arguments));
    const int count = vst_model_common_of(model)->classes;
    VST_TRY(list ? read_names(&classes, list, count) : default_names(&classes, weights, count));
    VST_TRY(import_into(&params, &report, model, weights, arguments));
    VST_TRY(write_model(output, model, params, &classes, weights, &report));
    print_summary(output, model, weights, &report);
    print_classes(arguments, weights, count);
out:
    names_clear(&classes);
    vst_import_report_clear(&report);
    vst_params_destroy(params);
    vst_model_config_destroy(model);
    vst_weights_close(weights);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"model", 'm', "NAME", "the model that the weights are of, as `vistill models` lists them"},
    {"output", 'o', "FILE", "the model file to write"},
    {"entry", 'e', "KEY", "the entry of a training checkpoint to take: model_ema, state_dict …"},
    {"set", 's', "KEY=VALUE", "an option of the model: classes=10, image=384, mean=0.5 …"},
    {"classes", 'c', "FILE", "names of the classes, one a line; else ImageNet-1k's for 1000, or 0, 1, 2 …"},
    {"reset-head", 0, NULL, "leaves the file's classifier; the model gets a fresh one"},
    {"no-antialias", 0, NULL, "resizes position embeddings as DeiT's own code does, not as timm"},
    {0}};

const vst_command vsti_command_import = {.name = "import",
                                         .words = "WEIGHTS -o FILE",
                                         .summary = "turn weights of PyTorch, timm or torchvision into a model file",
                                         .help = help,
                                         .flags = flags,
                                         .minimum = 1,
                                         .maximum = 1,
                                         .run = run};
