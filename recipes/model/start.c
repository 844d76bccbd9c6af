/* What a training begins with instead of random weights. */
#include "recipes/model/start.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/distill/term_options.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

/* The names of all rows of one finding, as far as there is room. */
static void list_rows(const vst_import_report *report, vst_import_finding finding, char *out, size_t size) {
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < report->count; i++) {
        const char *name = report->rows[i].name;
        if (report->rows[i].finding != finding || used + strlen(name) + 3 > size) continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", name);
    }
}

static void log_start(const vst_weights *weights, const vst_import_report *report) {
    char names[400];
    const char *path = vst_weights_path(weights), *entry = vst_weights_entry(weights);
    vst_log(VST_LOG_INFO, "start    %s%s%s%s: %zu tensors", path, entry ? ", entry \"" : "", entry ? entry : "",
            entry ? "\"" : "", report->taken);
    list_rows(report, VST_IMPORT_RESIZED, names, sizeof names);
    if (*names) vst_log(VST_LOG_INFO, "         resized to the model's grid: %s", names);
    list_rows(report, VST_IMPORT_FRESH, names, sizeof names);
    if (*names) vst_log(VST_LOG_INFO, "         begin afresh: %s", names);
    list_rows(report, VST_IMPORT_NOT_FINITE, names, sizeof names);
    if (*names) vst_log(VST_LOG_WARNING, "%s: not all values are finite: %s", path, names);
}

/* Parameters of their own: the student's have the terms' projectors besides. Initial values are a function of seed and
 * name, so that a fresh classifier is the student's own. */
vst_status vsti_start_load(vst_params **out, const char *path, const char *entry, const vst_model_config *config,
                           bool new_head, uint64_t seed) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_weights *weights = NULL;
    vst_import_report report = {0};
    /* Positions are resized as facebookresearch/deit does it, without antialiasing; between sizes that grow it is the
     * cubic curve that differs from timm's. */
    const vst_import_options options = {.reset_head = new_head, .no_antialias = true};
    VST_TRY(vst_weights_open(&weights, path, entry && *entry ? entry : NULL));
    VST_TRY(vst_model_declare(&graph, out, config));
    VST_TRY(vst_params_allocate(*out, false, seed));
    VST_TRY(vst_import_params(&report, config, *out, weights, &options));
    log_start(weights, &report);
out:
    vst_import_report_clear(&report);
    vst_weights_close(weights);
    vst_graph_destroy(graph);
    if (status == VST_OK) return status;
    vst_params_destroy(*out);
    *out = NULL;
    return status;
}

uint64_t vsti_start_hash(vst_params *start) {
    return XXH3_64bits(vst_params_values(start), vst_params_total(start) * sizeof(float));
}

void vsti_start_copy(vst_params *params, vst_params *start) {
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const int index = vst_params_find(start, info->name);
        VST_ASSERT(index >= 0 || strncmp(info->name, VST_DISTILL_PREFIX, strlen(VST_DISTILL_PREFIX)) == 0);
        if (index < 0) continue;
        memcpy(vst_params_values(params) + info->offset,
               vst_params_values(start) + vst_params_at(start, (size_t)index)->offset, info->count * sizeof(float));
    }
    vst_params_changed(params);
}
