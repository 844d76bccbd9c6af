/* vistill quantize: a model whose layers compute on 8-bit integers. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/model/classes.h"
#include "recipes/quant/quantize.h"
#include "vision/base/file.h"

extern const vst_command vsti_command_quantize;

static const char help[] =
    "Linear layers and convolutions compute on 8-bit integers: weights with a step for each output\n"
    "channel, what the layers read with one scale, found on some hundred images of the training split.\n"
    "Scales of channels are moved between layers where that helps, and weights are rounded so that the\n"
    "outputs of their layer change least. The first layer and depthwise convolutions stay in float32, and\n"
    "those layers that cost the most on other images of that split, until the loss of top-1 is within\n"
    "--max-drop and the changed predictions are within --max-changed.\n"
    "The result is a model file that every command takes.";

static double megabytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (double)info.st_size / 1e6 : 0;
}

/* Whether it was asked what single layers cost: only where all of them together cost too much. */
static bool knows_logits(const vst_quantize_report *r) {
    for (size_t i = 0; i < r->count; i++)
        if (!isnan(r->layers[i].logit_error)) return true;
    return false;
}

static vst_status print_layers(const vst_quantize_report *r) {
    static const char *const all[] = {"layer", "type", ">input %", ">ms", ">int8 ms", ">logits %", NULL};
    static const char *const some[] = {"layer", "type", ">input %", ">ms", ">int8 ms", NULL};
    const bool logits = knows_logits(r);
    vst_status status = VST_OK;
    vst_table *table = NULL;
    VST_TRY(vst_table_create(&table, logits ? all : some));
    for (size_t i = 0; i < r->count; i++) {
        const vst_quantized_layer *l = &r->layers[i];
        vst_table_cell(table, "%s", l->name);
        if (l->integers) vst_table_cell(table, "int8");
        else vst_table_cell(table, "float32 (%s)", l->reason ? l->reason : "");
        vst_table_cell(table, "%.2f", 100 * l->input_error);
        vst_table_cell(table, "%.3f", l->float_ms);
        vst_table_cell(table, "%.3f", l->integer_ms);
        if (logits && isnan(l->logit_error)) vst_table_cell(table, "-");
        else if (logits) vst_table_cell(table, "%.2f", 100 * l->logit_error);
    }
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static size_t on_integers(const vst_quantize_report *r) {
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++) count += r->layers[i].integers;
    return count;
}

static void print_summary(const vst_quantize_report *r, const char *from, const char *to) {
    printf("\nlayers     %zu of %zu on 8-bit integers\n", on_integers(r), r->count);
    printf("images     %d for calibration, %d others to judge\n", r->images, r->held_out);
    if (r->labelled) printf("top-1      %.2f %% float32, %.2f %% int8\n", r->top1_float, r->top1);
    printf("agreement  %.2f %% of the predictions are those of float32\n", r->agreement);
    printf("logits     %.2f %% off, by which %.2f %% of the predictions change\n", 100 * r->logit_error,
           r->expected_changes);
    if (r->migration) printf("scales     moved between layers: %s\n", r->migration);
    printf("latency    %.2f ms float32, %.2f ms int8: one image, all threads\n", r->float_ms, r->integer_ms);
    printf("size       %.2f MB float32, %.2f MB int8\n", megabytes(from), megabytes(to));
    vst_print_line(stdout, "written    %s", to);
}

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static vst_status print_json(const vst_quantize_report *r, const char *to) {
    json_t *whole = json_object(), *layers = json_array();
    for (size_t i = 0; i < r->count; i++) {
        const vst_quantized_layer *l = &r->layers[i];
        json_t *layer = json_object();
        json_object_set_new(layer, "name", json_string(l->name));
        json_object_set_new(layer, "type", json_string(l->integers ? "int8" : "float32"));
        json_object_set_new(layer, "reason", l->reason ? json_string(l->reason) : json_null());
        json_object_set_new(layer, "input_error", number(l->input_error));
        json_object_set_new(layer, "logit_error", number(l->logit_error));
        json_object_set_new(layer, "float_ms", number(l->float_ms));
        json_object_set_new(layer, "int8_ms", number(l->integer_ms));
        json_array_append_new(layers, layer);
    }
    json_object_set_new(whole, "model", vst_json_text(to));
    json_object_set_new(whole, "calibration_images", json_integer(r->images));
    json_object_set_new(whole, "held_out_images", json_integer(r->held_out));
    json_object_set_new(whole, "top1_float", number(r->labelled ? r->top1_float : (double)NAN));
    json_object_set_new(whole, "top1", number(r->labelled ? r->top1 : (double)NAN));
    json_object_set_new(whole, "agreement", number(r->agreement));
    json_object_set_new(whole, "expected_changes", number(r->expected_changes));
    json_object_set_new(whole, "logit_error", number(r->logit_error));
    json_object_set_new(whole, "migration", r->migration ? json_string(r->migration) : json_null());
    json_object_set_new(whole, "float_ms", number(r->float_ms));
    json_object_set_new(whole, "int8_ms", number(r->integer_ms));
    json_object_set_new(whole, "layers", layers);
    return vst_json_print(whole);
}

static vst_status read_options(const vst_arguments *arguments, vst_quantize_options *o) {
    vst_status status = VST_OK;
    *o = (vst_quantize_options){.max_drop = 0.5};
    VST_TRY(vst_flag_int(arguments, "images", 1, 1000000, &o->images));
    VST_TRY(vst_flag_int(arguments, "held-out", 1, 1000000, &o->held_out));
    VST_TRY(vst_flag_int(arguments, "batch", 1, 65536, &o->batch));
    VST_TRY(vst_flag_double(arguments, "max-drop", 0, 100, &o->max_drop));
    VST_TRY(vst_flag_double(arguments, "max-changed", 0.001, 100, &o->max_changed));
    if (vst_flag_given(arguments, "all")) o->max_drop = -1;
out:
    return status;
}

/* *view: NULL if the data have no labels, or the model's classes in its order. */
static vst_status match_classes(vst_dataset **view, const vst_dataset *data, const vst_model *model, const char *path) {
    vst_class_match match = {0};
    const vst_classes from = vst_dataset_class_list(data), to = vst_model_classes(model, path);
    if (!vst_dataset_classes(data)) return VST_OK;
    const vst_status status = vst_classes_view(view, data, &to, &match);
    if (status == VST_OK) vst_class_match_log(&match, &from, &to);
    vst_class_match_clear(&match);
    return status;
}

static bool is_same_file(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_model *model = NULL;
    vst_dataset *dataset = NULL, *view = NULL;
    vst_quantize_report report = {0};
    vst_quantize_options options;
    const char *output = vst_flag_value(arguments, "output"), *split = vst_flag_value(arguments, "split"),
               *from = arguments->words[0];
    if (!output) return vst_command_usage(&vsti_command_quantize, "-o FILE is missing, the model file to write");
    VST_TRY(read_options(arguments, &options));
    if (is_same_file(from, output))
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s is the float32 model itself, which would be lost: name another file",
                         output));
    VST_TRY(vst_model_read(&model, from));
    VST_TRY(vsti_file_check_writable(output));
    const vst_dataset_options data = {.format = vst_flag_value(arguments, "format"),
                                      .channels = vst_model_common_of(model->config)->channels == 1 ? 1 : 3};
    VST_TRY(vst_dataset_open(&dataset, arguments->words[1], split ? split : "train", &data));
    VST_TRY(match_classes(&view, dataset, model, from));
    VST_TRY(vst_quantize(model, view ? view : dataset, &options,
                         vst_catch_interrupt(VST_STOPPING("after this batch"), VST_ENDED("nothing was written")),
                         &report));
    VST_TRY(vst_model_write(output, &(vst_model_content){.config = model->config,
                                                         .params = model->params,
                                                         .class_names = (const char *const *)model->class_names,
                                                         .class_count = model->class_count,
                                                         .training = model->training,
                                                         .quantization = &model->quantization}));
    if (vst_flag_given(arguments, "json")) {
        VST_TRY(print_json(&report, output));
    } else {
        VST_TRY(print_layers(&report));
        print_summary(&report, from, output);
    }
out:
    vst_quantize_report_clear(&report);
    vst_dataset_close(view);
    vst_dataset_close(dataset);
    vst_model_destroy(model);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{"output", 'o', "FILE", "the model file to write"},
                                 {"images", 0, "N", "images for calibration, 256 by default"},
                                 {"held-out", 0, "N", "other images by which layers are chosen, 512 by default"},
                                 {"max-drop", 0, "POINTS", "how much top-1 may fall on those, 0.5 by default"},
                                 {"max-changed", 0, "PERCENT", "how many predictions may change, 2 by default"},
                                 {"all", 0, NULL, "all layers that can be on integers are, whatever they cost"},
                                 {"split", 0, "SPLIT", "train, the default, or test"},
                                 {"format", 0, "FORMAT", "the data set's format, if it is not recognised"},
                                 {"batch", 0, "N", "images at a time, 16 by default"},
                                 {"json", 0, NULL, "one JSON object for machines"},
                                 {0}};

const vst_command vsti_command_quantize = {.name = "quantize",
                                           .words = "MODEL DATA -o FILE",
                                           .summary = "make a model compute on 8-bit integers",
                                           .help = help,
                                           .flags = flags,
                                           .minimum = 2,
                                           .maximum = 2,
                                           .run = run};
