/* `vistill info`: lists the parts or tensors of a model file; with --plan, the nodes of its inference plan with their
 * times. For other weights: the tensors, and how to import them. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/infer/model_session.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/model/cost.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "vision/base/memory.h"

enum { PROFILE_RUNS = 20, NAMES_SHOWN = 8, TEXT = 3000, PLAN_COLUMNS = 80 };

/* A model file with its graph for one image; with --plan also the profile of a batch. */
typedef struct subject {
    vst_model *model;
    vst_params *declared; /* of `graph` */
    vst_graph *graph;
    vst_session_profile profile; /* of --plan */
    vst_model_part *parts;
    size_t part_count;
    int batch;
    bool bf16; /* the plan */
} subject;

static void subject_clear(subject *self) {
    vst_free(self->parts);
    vst_session_profile_clear(&self->profile);
    vst_graph_destroy(self->graph);
    vst_params_destroy(self->declared);
    vst_model_destroy(self->model);
}

static vst_status measure(subject *self) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    VST_TRY(
        vst_session_create_model(&session, self->model, &(vst_session_options){.profile = true, .bf16 = self->bf16}));
    VST_TRY(vst_session_measure(session, self->batch, PROFILE_RUNS, &self->profile));
out:
    vst_session_close(session);
    return status;
}

static vst_status subject_open(subject *self, const char *path, bool plan) {
    vst_status status = VST_OK;
    VST_TRY(vst_model_read(&self->model, path));
    VST_TRY(vst_model_declare(&self->graph, &self->declared, self->model->config));
    VST_TRY(vst_model_parts(&self->parts, &self->part_count, self->graph, self->declared));
    if (plan) VST_TRY(measure(self));
out:
    return status;
}

/* ---- Facts for people ---- */

/* The value of an option as text, "" if out of memory; overwritten by the next call. */
static const char *option_text(const vst_model_config *model, const char *key) {
    static char text[300];
    const vst_option *option = vst_options_find(model->backbone->options, key);
    char *value = option ? vst_options_get(option, model->options) : NULL;
    snprintf(text, sizeof text, "%s", value ? value : "");
    vst_free(value);
    return text;
}

static void append(char text[TEXT], const char *format, ...) VST_PRINTF(2, 3);
static void append(char text[TEXT], const char *format, ...) {
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, TEXT - used, format, arguments);
    va_end(arguments);
}

static void classes_text(char text[TEXT], const vst_model *model) {
    *text = 0;
    append(text, "%d: ", model->class_count);
    for (int i = 0; i < model->class_count && i < NAMES_SHOWN; i++)
        append(text, "%s%s", i ? ", " : "", model->class_names[i]);
    if (model->class_count > NAMES_SHOWN) append(text, " …");
}

/* The options of the family without those common to all families. */
static void options_text(char text[TEXT], const vst_model_config *model) {
    *text = 0;
    for (const vst_option *o = model->backbone->options; o->type != VST_TYPE_END; o++)
        if (!strchr(o->name, '.')) append(text, "%s%s=%s", *text ? ", " : "", o->name, option_text(model, o->name));
}

/* "recipe=…, epochs=10": the members of an object; the text itself if it is not an object. */
static void training_text(char text[TEXT], const char *json) {
    json_t *object = json_loads(json, 0, NULL), *value;
    const char *key;
    *text = 0;
    if (!json_is_object(object)) append(text, "%s", json);
    json_object_foreach(object, key, value) {
        char *dumped =
            json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        append(text, "%s%s=%s", *text ? ", " : "", key,
               dumped                  ? dumped
               : json_is_string(value) ? json_string_value(value)
                                       : "");
        free(dumped);
    }
    json_decref(object);
}

static vst_status print_facts(const subject *self) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    char text[TEXT];
    const vst_model_config *config = self->model->config;
    const vst_model_common *common = vst_model_common_of(config);
    const size_t parameters = vst_params_numel(self->model->params);
    snprintf(text, sizeof text, "%s (%s)", config->variant, config->backbone->help);
    VST_TRY(vst_table_create(&table, (const char *[]){"model", text, NULL}));
    vst_table_wrap(table, vst_terminal_width(stdout));
    vst_table_cell(table, "options");
    options_text(text, config);
    vst_table_cell(table, "%s", text);
    vst_table_cell(table, "input");
    vst_table_cell(table, "%d × %d × %d", common->channels, common->image, common->image);
    vst_table_cell(table, "preprocessing");
    vst_table_cell(table, "%s", vst_preprocessing_text(config, text));
    vst_table_cell(table, "classes");
    classes_text(text, self->model);
    vst_table_cell(table, "%s", text);
    vst_table_cell(table, "parameters");
    vst_table_cell(table, "%zu (%.2f MB)", parameters, (double)parameters * 4 / 1e6);
    vst_table_cell(table, "GMAC");
    vst_table_cell(table, "%.4g", vst_graph_macs(self->graph) / 1e9);
    if (self->model->quantization.count) {
        vst_table_cell(table, "quantised");
        vst_table_cell(table, "%zu layers on 8-bit integers", self->model->quantization.count);
    }
    if (self->model->training) {
        vst_table_cell(table, "training");
        training_text(text, self->model->training);
        vst_table_cell(table, "%s", text);
    }
    VST_TRY(vst_table_write(table, stdout));
    putchar('\n');
out:
    vst_table_destroy(table);
    return status;
}

/* ---- Tables ---- */

static void part_row(vst_table *table, const char *name, double parameters, double macs, const char *output) {
    vst_table_cell(table, "%s", name);
    vst_table_cell(table, "%.0f", parameters);
    vst_table_cell(table, "%.3g", macs / 1e9);
    vst_table_cell(table, "%s", output);
}

static vst_status print_parts(const subject *self) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    char shape[VST_SHAPE_TEXT];
    double parameters = 0, macs = 0;
    VST_TRY(vst_table_create(&table, (const char *[]){"part", ">parameters", ">GMAC", "output", NULL}));
    for (size_t i = 0; i < self->part_count; i++) {
        const vst_model_part *b = &self->parts[i];
        part_row(table, *b->name ? b->name : "(no name)", (double)b->parameters, b->macs,
                 b->output.rank < 0 ? "" : vst_shape_text(&b->output, shape));
        parameters += (double)b->parameters;
        macs += b->macs;
    }
    part_row(table, "all", parameters, macs, "");
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static vst_status print_tensors(const vst_params *params) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    char shape[VST_SHAPE_TEXT];
    VST_TRY(vst_table_create(&table, (const char *[]){"tensor", "shape", ">values", NULL}));
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *p = vst_params_at(params, i);
        vst_table_cell(table, "%s", p->name);
        vst_table_cell(table, "%s", vst_shape_text(&p->shape, shape));
        vst_table_cell(table, "%lld", (long long)vst_shape_count(&p->shape));
    }
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static void plan_row(vst_table *table, const vst_profile_row *row, double whole) {
    vst_table_cell(table, "%s", row->name);
    vst_table_cell(table, "%.2f", row->flops / 1e6);
    vst_table_cell(table, "%.4f", row->seconds * 1e3);
    vst_table_cell(table, "%.1f", whole > 0 ? 100 * row->seconds / whole : 0);
    vst_table_cell(table, "%s", row->implementation);
}

static vst_profile_row add_up(const vst_session_profile *profile) {
    vst_profile_row total = {.name = "all"};
    for (size_t i = 0; i < profile->count; i++) {
        total.bytes += profile->rows[i].bytes;
        total.flops += profile->rows[i].flops;
        total.seconds += profile->rows[i].seconds;
    }
    return total;
}

static size_t memory_of(const vst_session_profile *profile) { return profile->packed_bytes + profile->context_bytes; }

static vst_status print_plan(const subject *self) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    const vst_session_profile *profile = &self->profile;
    const vst_profile_row total = add_up(profile);
    const int width = vst_terminal_width(stdout);
    VST_TRY(vst_table_create(&table, (const char *[]){"node", ">MFLOP", ">ms", ">%", "implementation", NULL}));
    vst_table_wrap(table, width > 0 ? width : PLAN_COLUMNS);
    for (size_t i = 0; i < profile->count; i++) plan_row(table, &profile->rows[i], total.seconds);
    plan_row(table, &total, total.seconds);
    VST_TRY(vst_table_write(table, stdout));
    printf("\nbatch %d: %.2f MFLOP, %.2f MB of memory besides the parameters\n", self->batch, profile->flops / 1e6,
           (double)memory_of(profile) / 1e6);
out:
    vst_table_destroy(table);
    return status;
}

/* ---- JSON: NULL from any of these means that memory ran out ---- */

static json_t *shape_json(const vst_shape *shape) {
    json_t *list = shape->rank < 0 ? json_null() : json_array();
    for (int i = 0; i < shape->rank; i++) json_array_append_new(list, json_integer(shape->dim[i]));
    return list;
}

static json_t *list_json(const vst_option_list *values) {
    json_t *list = json_array();
    for (int i = 0; i < values->count; i++) json_array_append_new(list, json_real(values->value[i]));
    return list;
}

static json_t *names_json(const vst_model *model) {
    json_t *list = json_array();
    for (int i = 0; i < model->class_count; i++) json_array_append_new(list, vst_json_text(model->class_names[i]));
    return list;
}

static json_t *parts_json(const subject *self) {
    json_t *list = json_array();
    for (size_t i = 0; i < self->part_count; i++) {
        const vst_model_part *b = &self->parts[i];
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:f, s:o}", "name", b->name, "parameters", (json_int_t)b->parameters, "gmac",
                            b->macs / 1e9, "output", shape_json(&b->output)));
    }
    return list;
}

static json_t *tensors_json(const vst_params *params) {
    json_t *list = json_array();
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *p = vst_params_at(params, i);
        json_array_append_new(list, json_pack("{s:s, s:o}", "name", p->name, "shape", shape_json(&p->shape)));
    }
    return list;
}

static json_t *plan_json(const subject *self) {
    json_t *nodes = json_array();
    for (size_t i = 0; i < self->profile.count; i++) {
        const vst_profile_row *row = &self->profile.rows[i];
        json_array_append_new(
            nodes, json_pack("{s:s, s:s, s:s, s:f, s:f, s:f}", "name", row->name, "shape", row->shape, "implementation",
                             row->implementation, "bytes", row->bytes, "flops", row->flops, "ms", row->seconds * 1e3));
    }
    return json_pack("{s:i, s:f, s:I, s:o}", "batch", self->batch, "flops", self->profile.flops, "bytes",
                     (json_int_t)memory_of(&self->profile), "nodes", nodes);
}

static vst_status print_json(const subject *self, bool tensors) {
    const vst_model_config *config = self->model->config;
    const vst_model_common *common = vst_model_common_of(config);
    char *described = vst_model_config_to_json(config);
    json_t *description = described ? json_loads(described, 0, NULL) : NULL;
    json_t *preprocessing = json_pack("{s:f, s:s, s:o, s:o}", "crop_pct", common->crop_pct, "interpolation",
                                      option_text(config, "interpolation"), "mean", list_json(&common->mean), "std",
                                      list_json(&common->std));
    json_t *object = json_pack(
        "{s:s, s:s, s:O*, s:[iii], s:o, s:o, s:I, s:f, s:o*, s:o, s:o*, s:o*}", "model", config->variant, "family",
        config->backbone->name, "options", json_object_get(description, "options"), "input", common->channels,
        common->image, common->image, "preprocessing", preprocessing, "classes", names_json(self->model), "parameters",
        (json_int_t)vst_params_numel(self->model->params), "gmac", vst_graph_macs(self->graph) / 1e9, "training",
        self->model->training ? json_loads(self->model->training, 0, NULL) : NULL, "parts", parts_json(self), "tensors",
        tensors ? tensors_json(self->model->params) : NULL, "plan", self->profile.rows ? plan_json(self) : NULL);
    json_decref(description);
    vst_free(described);
    return vst_json_print(object);
}

/* ---- Weights that are no model file ---- */

static vst_status print_weights(const vst_weights *weights) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    char shape[VST_SHAPE_TEXT];
    double values = 0;
    VST_TRY(vst_table_create(&table, (const char *[]){"tensor", "type", "shape", ">values", NULL}));
    for (size_t i = 0; i < vst_weights_count(weights); i++) {
        const vst_tensor *t = vst_weights_at(weights, i);
        vst_table_cell(table, "%s", t->name);
        vst_table_cell(table, "%s", vst_dtype_name(t->dtype));
        vst_table_cell(table, "%s", vst_shape_text(&t->shape, shape));
        vst_table_cell(table, "%lld", (long long)vst_shape_count(&t->shape));
        values += (double)vst_shape_count(&t->shape);
    }
    VST_TRY(vst_table_write(table, stdout));
    printf("\n%zu tensors, %.0f values; ", vst_weights_count(weights), values);
out:
    vst_table_destroy(table);
    return status;
}

/* Prints the command that imports the weights, if the tensors show the model. */
static vst_status print_advice(const vst_weights *weights) {
    vst_import_candidate *list = NULL;
    size_t count, fit;
    const vst_status status = vst_import_candidates(&list, &count, &fit, weights);
    if (status != VST_OK) return status;
    if (!count || (!fit && vst_import_is_foreign(&list[0], weights)))
        printf("not a model file, and none of the models of `vistill models`\n");
    else
        vst_print_line(stdout, "not a model file: `vistill import %s --model %s -o FILE` makes it one",
                       vst_weights_path(weights), fit == 1 ? list[0].variant : "NAME");
    for (size_t i = 0; fit > 1 && i < fit; i++) printf("%s%s", i ? ", " : "NAME may be ", list[i].variant);
    if (fit > 1) putchar('\n');
    else if (fit && *list[0].options) vst_print_line(stdout, "with %s, found from the tensors", list[0].options);
    else if (!fit && count && !vst_import_is_foreign(&list[0], weights))
        printf("no model fits; the nearest is %s, in which %zu tensors do not fit\n", list[0].variant,
               list[0].problems);
    vst_free(list);
    return VST_OK;
}

static vst_status weights_json(const vst_weights *weights) {
    json_t *list = json_array();
    for (size_t i = 0; i < vst_weights_count(weights); i++) {
        const vst_tensor *t = vst_weights_at(weights, i);
        json_array_append_new(list, json_pack("{s:o, s:s, s:o}", "name", vst_json_text(t->name), "type",
                                              vst_dtype_name(t->dtype), "shape", shape_json(&t->shape)));
    }
    return vst_json_print(json_pack("{s:n, s:s, s:s*, s:o}", "model", "format", vst_weights_format(weights), "entry",
                                    vst_weights_entry(weights), "tensors", list));
}

static vst_status show_weights(const vst_weights *weights, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    const char *entry = vst_weights_entry(weights);
    if (vst_flag_given(arguments, "plan"))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "%s is not a model file, so there is nothing to run: import it with `vistill import`",
                        vst_weights_path(weights));
    if (vst_flag_given(arguments, "json")) return weights_json(weights);
    vst_print_line(stdout, "format      %s%s%s%s", vst_weights_format(weights), entry ? ", entry \"" : "",
                   entry ? entry : "", entry ? "\"" : "");
    putchar('\n');
    VST_TRY(print_weights(weights));
    VST_TRY(print_advice(weights));
out:
    return status;
}

/* ---- The command ---- */

static vst_status show_model(subject *self, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    const bool tensors = vst_flag_given(arguments, "tensors"), plan = vst_flag_given(arguments, "plan");
    self->batch = 1;
    VST_TRY(vst_flag_int(arguments, "batch", 1, 4096, &self->batch));
    VST_TRY(vst_flag_bf16(arguments, &self->bf16));
    VST_TRY(subject_open(self, arguments->words[0], plan));
    if (vst_flag_given(arguments, "json")) return print_json(self, tensors);
    VST_TRY(print_facts(self));
    if (plan) status = print_plan(self);
    else status = tensors ? print_tensors(self->model->params) : print_parts(self);
out:
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_weights *weights = NULL;
    subject self = {0};
    VST_TRY(vst_weights_open(&weights, arguments->words[0], NULL));
    if (vst_weights_metadata(weights, "vistill.format")) {
        vst_weights_close(weights); /* read again as a model file, so that only one copy is in memory */
        weights = NULL;
        status = show_model(&self, arguments);
    } else status = show_weights(weights, arguments);
out:
    subject_clear(&self);
    vst_weights_close(weights);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"tensors", 0, NULL, "list all tensors instead of the parts of the model"},
    {"plan", 0, NULL,
     "the inference plan: work, time and implementation of each node; with --json also shapes and bytes"},
    {"batch", 0, "N", "batch size of the plan, 1 by default"},
    {"precision", 0, "TYPE", "precision of products in the plan: f32, the default, or bf16"},
    {"json", 0, NULL, "print one JSON object"},
    {0}};

const vst_command vsti_command_info = {.name = "info",
                                       .words = "FILE",
                                       .summary = "show the contents of a model file or a file of weights",
                                       .help =
                                           "For a model file: the model, its preprocessing, classes and origin, and "
                                           "parameters and work of each part.\n"
                                           "GMAC: 10^9 multiply-accumulates of one image. For other weights "
                                           "(safetensors, .pth): the tensors, and how to\n"
                                           "import them.",
                                       .flags = flags,
                                       .minimum = 1,
                                       .maximum = 1,
                                       .run = run};
