/* `vistill models`: the variants for `model.name`. */
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "backbones/backbone.h"
#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "recipes/model/model.h"

typedef struct facts {
    const char *name, *family;
    size_t parameters;
    double macs;
    int channels, image, classes;
} facts;

/* The number of trained parameters; vst_params_numel needs allocated memory. */
static size_t trained(const vst_params *params) {
    size_t sum = 0;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY)
            sum += (size_t)vst_shape_count(&info->shape);
    }
    return sum;
}

/* Builds the graph, which declares the parameters; nothing is allocated for them. */
static vst_status measure(const char *name, facts *out) {
    vst_status status = VST_OK;
    vst_model_config *model = NULL;
    vst_params *params = NULL;
    vst_graph *graph = NULL;
    VST_TRY(vst_model_config_create(&model, name));
    VST_TRY(vst_model_declare(&graph, &params, model));
    const vst_model_common *common = vst_model_common_of(model);
    *out = (facts){.name = name,
                   .family = model->backbone->name,
                   .parameters = trained(params),
                   .macs = vst_graph_macs(graph),
                   .channels = common->channels,
                   .image = common->image,
                   .classes = common->classes};
out:
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    vst_model_config_destroy(model);
    return status;
}

static void add_row(vst_table *table, const facts *f) {
    vst_table_cell(table, "%s", f->name);
    vst_table_cell(table, "%s", f->family);
    vst_table_cell(table, "%.2f M", (double)f->parameters / 1e6);
    vst_table_cell(table, f->macs < 1e8 ? "%.4f" : "%.2f", f->macs / 1e9);
    vst_table_cell(table, "%d × %d × %d", f->channels, f->image, f->image);
    vst_table_cell(table, "%d", f->classes);
}

static int add_json(json_t *list, const facts *f) {
    return json_array_append_new(
        list, json_pack("{s:s, s:s, s:I, s:f, s:[iii], s:i}", "name", f->name, "family", f->family, "parameters",
                        (json_int_t)f->parameters, "gmac", f->macs / 1e9, "input", f->channels, f->image, f->image,
                        "classes", f->classes));
}

static bool matches(const char *pattern, const char *name) {
    return !pattern || strstr(name, pattern) || fnmatch(pattern, name, 0) == 0;
}

static vst_status list_models(const char *pattern, vst_table *table, json_t *list) {
    vst_status status = VST_OK;
    int found = 0;
    for (size_t i = 0; i < vst_backbone_count(); i++)
        for (const vst_backbone_variant *variant = vst_backbone_at(i)->variants; variant->name; variant++) {
            facts f = {0};
            if (!matches(pattern, variant->name)) continue;
            found++;
            VST_TRY(measure(variant->name, &f));
            add_row(table, &f);
            if (add_json(list, &f) != 0) VST_TRY(vst_fail(VST_ERROR_MEMORY, "out of memory"));
        }
    if (!found) VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "no model matches \"%s\"; `vistill models` lists all", pattern));
out:
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    json_t *list = json_array();
    const char *pattern = arguments->word_count ? arguments->words[0] : NULL;
    VST_TRY(vst_table_create(&table,
                             (const char *[]){"model", "family", ">parameters", ">GMAC", "input", ">classes", NULL}));
    VST_TRY(list_models(pattern, table, list));
    if (vst_flag_given(arguments, "json")) status = vst_json_print(json_incref(list));
    else status = vst_table_write(table, stdout);
out:
    json_decref(list);
    vst_table_destroy(table);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{"json", 0, NULL, "print a JSON list"}, {0}};

const vst_command vsti_command_models = {.name = "models",
                                         .words = "[PATTERN]",
                                         .summary = "list the models with parameters, GMAC and input",
                                         .help =
                                             "PATTERN is a part of the name, or has * and ? (quote it for the shell). "
                                             "GMAC: 10^9 multiply-accumulates of\n"
                                             "one image.",
                                         .flags = flags,
                                         .minimum = 0,
                                         .maximum = 1,
                                         .run = run};
