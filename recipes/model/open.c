/* A model from any file of weights: a model file, or what another program wrote, imported in memory. */
#include "recipes/model/open.h"

#include <string.h>

#include "recipes/model/imagenet.h"
#include "recipes/model/import.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

/* The names that config.json has beside another program's file, or those of a model file that `vistill import` makes of
 * it. */
static vst_status name_classes(vst_model *self, const vst_import_origin *origin) {
    const int count = vst_model_common_of(self->config)->classes;
    self->class_names = vst_calloc((size_t)count, sizeof *self->class_names);
    if (!self->class_names) return vst_fail_memory((size_t)count * sizeof *self->class_names);
    for (int i = 0; i < count; i++, self->class_count++) {
        char number[16];
        const char *name = origin->labels ? origin->labels[i] : vsti_default_class_name(i, count, number);
        if (!(self->class_names[i] = vst_strdup(name))) return vst_fail_memory(strlen(name));
    }
    return VST_OK;
}

static void log_import(const vst_model *model, const vst_weights *weights, const vst_import_report *report,
                       const vst_import_origin *origin) {
    const char *entry = vst_weights_entry(weights);
    vst_log(VST_LOG_INFO, "weights  %s%s%s%s: %zu tensors as %s%s%s%s%s", vst_weights_path(weights),
            entry ? ", entry \"" : "", entry ? entry : "", entry ? "\"" : "", report->taken, model->config->variant,
            *origin->project ? ", images as " : "", origin->project, origin->version ? " " : "",
            origin->version ? origin->version : "");
    if (*origin->beside) vst_log(VST_LOG_INFO, "         config.json beside it: %s", origin->beside);
}

static vst_status fill(vst_model *self, const vst_weights *weights, const char *variant) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_import_report report = {0};
    vst_import_origin origin = {.project = ""};
    VST_TRY(vst_import_model(&self->config, &origin, weights, &(vst_import_choice){.variant = variant}));
    VST_TRY(vst_model_declare(&graph, &self->params, self->config));
    VST_TRY(vst_params_reserve(self->params));
    VST_TRY(vst_import_params(&report, self->config, self->params, weights, &(vst_import_options){0}));
    VST_TRY(vst_import_facts(&self->training, weights, &report, &origin));
    VST_TRY(name_classes(self, &origin));
    log_import(self, weights, &report, &origin);
    if (origin.unnamed) vst_warn_unnamed(vst_weights_path(weights));
out:
    vst_import_origin_clear(&origin);
    vst_import_report_clear(&report);
    vst_graph_destroy(graph);
    return status;
}

vst_status vst_model_open(vst_model **out, const char *path, const char *entry, const char *variant) {
    vst_status status = VST_OK;
    vst_weights *weights = NULL;
    vst_model *self = NULL;
    const bool asked = (entry && *entry) || (variant && *variant);
    *out = NULL;
    VST_TRY(vst_weights_open(&weights, path, entry && *entry ? entry : NULL));
    if (vst_weights_metadata(weights, "vistill.format")) {
        if (asked)
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                             "%s is a model file, which says itself what it is: no entry and no model are to be named",
                             path));
        vst_weights_close(weights); /* it is read again: not both at a time in memory */
        weights = NULL;
        VST_TRY(vst_model_read(out, path));
        goto out;
    }
    self = vst_calloc(1, sizeof *self);
    if (!self) VST_TRY(vst_fail_memory(sizeof *self));
    VST_TRY(fill(self, weights, variant && *variant ? variant : NULL));
    *out = self;
    self = NULL;
out:
    vst_model_destroy(self);
    vst_weights_close(weights);
    return status;
}
