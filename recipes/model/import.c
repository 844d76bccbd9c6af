/* Compares a file's tensors with a model's parameters, and copies them over. */
#include "recipes/model/import.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "recipes/model/model.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"
#include "vision/tensor/resample.h"

enum { NAME_BYTES = 1024, HASH_BLOCK = 1 << 20, PREFIX_MAX = 2 };

static const char *const finding_names[] = {[VST_IMPORT_RENAMED] = "renamed",
                                            [VST_IMPORT_RESIZED] = "resized",
                                            [VST_IMPORT_FRESH] = "fresh",
                                            [VST_IMPORT_IGNORED] = "ignored",
                                            [VST_IMPORT_NOT_FINITE] = "not finite",
                                            [VST_IMPORT_MISSING] = "missing",
                                            [VST_IMPORT_UNEXPECTED] = "unexpected",
                                            [VST_IMPORT_TWICE] = "there twice",
                                            [VST_IMPORT_WRONG_SHAPE] = "wrong shape",
                                            [VST_IMPORT_WRONG_TYPE] = "wrong type"};

const char *vst_import_finding_name(vst_import_finding finding) { return finding_names[finding]; }

size_t vst_import_problems(const vst_import_report *report) {
    size_t sum = 0;
    for (int i = VST_IMPORT_MISSING; i < VST_IMPORT_FINDINGS; i++) sum += report->counts[i];
    return sum;
}

void vst_import_report_clear(vst_import_report *report) {
    vst_free(report->rows);
    *report = (vst_import_report){0};
}

/* ---- Rows ---- */

static vst_status add_row(vst_import_report *report, vst_import_finding finding, const char *name,
                          const vst_tensor *found, const vst_shape *wanted) {
    const vst_status status = vst_grow(&report->rows, &report->capacity, report->count + 1, sizeof *report->rows);
    if (status != VST_OK) return status;
    report->rows[report->count] = (vst_import_row){finding, name, found, {.rank = -1}};
    if (wanted) report->rows[report->count].wanted = *wanted;
    report->counts[finding]++;
    report->count++;
    return VST_OK;
}

/* Rows by finding, in the order in which they were found. */
static vst_status sort_rows(vst_import_report *report) {
    size_t used = 0;
    if (!report->count) return VST_OK;
    vst_import_row *sorted = vst_calloc(report->count, sizeof *sorted);
    if (!sorted) return vst_fail_memory(report->count * sizeof *sorted);
    for (int finding = 0; finding < VST_IMPORT_FINDINGS; finding++)
        for (size_t i = 0; i < report->count; i++)
            if ((int)report->rows[i].finding == finding) sorted[used++] = report->rows[i];
    vst_free(report->rows);
    report->rows = sorted;
    report->capacity = report->count;
    return VST_OK;
}

/* ---- Which tensor for which parameter ---- */

static const char *last_part(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* What is in state dicts without being part of a model: thop's counters of operations, the step count of weight
 * averaging (torch.optim.swa_utils), and what our own checkpoints hold besides the model. */
static bool is_ignored(const vst_weights *weights, const char *name) {
    const char *part = last_part(name);
    if (strcmp(part, "total_ops") == 0 || strcmp(part, "total_params") == 0 || strcmp(name, "n_averaged") == 0)
        return true;
    return vst_weights_metadata(weights, "vistill.format") &&
           (strncmp(name, "optimizer.", 10) == 0 || strncmp(name, "ema.", 4) == 0);
}

static int find_renamed(const vst_model_config *model, const vst_params *params, const char *name) {
    char ours[NAME_BYTES];
    if (!model->backbone->rename || !model->backbone->rename(model->options, name, ours, sizeof ours)) return -1;
    return vst_params_find(params, ours);
}

/* Fills source[parameter]. A tensor with the parameter's own name goes before one that would have to be renamed. */
static vst_status match_names(vst_import_report *report, const vst_tensor **source, const vst_model_config *model,
                              const vst_params *params, const vst_weights *weights) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < vst_params_count(params); i++)
        source[i] = vst_weights_find(weights, vst_params_at(params, i)->name);
    for (size_t i = 0; i < vst_weights_count(weights); i++) {
        const vst_tensor *tensor = vst_weights_at(weights, i);
        if (vst_params_find(params, tensor->name) >= 0) continue;
        const int index = find_renamed(model, params, tensor->name);
        if (index >= 0 && !source[index]) {
            source[index] = tensor;
            report->counts[VST_IMPORT_RENAMED]++;
        } else if (index >= 0) {
            const vst_param_info *info = vst_params_at(params, (size_t)index);
            VST_TRY(add_row(report, VST_IMPORT_TWICE, tensor->name, tensor, &info->shape));
        } else {
            const bool ignored = is_ignored(weights, tensor->name);
            VST_TRY(add_row(report, ignored ? VST_IMPORT_IGNORED : VST_IMPORT_UNEXPECTED, tensor->name, tensor, NULL));
        }
    }
out:
    return status;
}

/* ---- Classifiers: what changes its shape with the number of classes ---- */

static vst_status other_classes(vst_model_config **out, const vst_model_config *model) {
    vst_status status = VST_OK;
    char classes[16], *json = vst_model_config_to_json(model);
    const int count = vst_model_common_of(model)->classes;
    *out = NULL;
    if (!json) return vst_fail_memory(1024);
    VST_TRY(vst_model_config_from_json(out, json));
    snprintf(classes, sizeof classes, "%d", count > 1 ? count - 1 : 2);
    VST_TRY(vst_model_config_set(*out, "classes", classes));
out:
    vst_free(json);
    return status;
}

vst_status vst_import_heads(bool *head, const vst_model_config *model, const vst_params *params) {
    vst_status status = VST_OK;
    vst_model_config *other = NULL;
    vst_graph *graph = NULL;
    vst_params *others = NULL;
    VST_TRY(other_classes(&other, model));
    VST_TRY(vst_model_declare(&graph, &others, other));
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        const int index = vst_params_find(others, info->name);
        head[i] = index >= 0 && !vst_shape_equal(&info->shape, &vst_params_at(others, (size_t)index)->shape);
    }
out:
    vst_graph_destroy(graph);
    vst_params_destroy(others);
    vst_model_config_destroy(other);
    return status;
}

/* ---- Position embeddings ---- */

typedef struct grids {
    int prefix, wanted, found; /* tokens before the grid, which have no place in it; sides of the grids */
} grids;

static int side_of(int64_t cells) {
    const int64_t side = cells > 0 && cells <= INT32_MAX ? (int64_t)lround(sqrt((double)cells)) : 0;
    return side && side * side == cells ? (int)side : 0;
}

/* (1, prefix + side * side, dim) with the same prefix and dim on both sides. No two prefixes can fit one shape:
 * neighbouring squares are further apart. */
static bool find_grids(const char *name, const vst_shape *wanted, const vst_shape *found, grids *out) {
    const char *part = last_part(name);
    if (strcmp(part, "pos_embed") != 0 && strcmp(part, "positional_emb") != 0) return false;
    if (wanted->rank != 3 || found->rank != 3 || wanted->dim[0] != 1 || found->dim[0] != 1) return false;
    if (wanted->dim[2] != found->dim[2] || wanted->dim[2] > INT32_MAX) return false;
    for (int prefix = 0; prefix <= PREFIX_MAX; prefix++) {
        *out = (grids){prefix, side_of(wanted->dim[1] - prefix), side_of(found->dim[1] - prefix)};
        if (out->wanted && out->found) return true;
    }
    return false;
}

/* ---- Comparing ---- */

static bool has_right_type(const vst_param_info *info, const vst_tensor *tensor) {
    return info->kind == VST_PARAM_COUNTER || tensor->dtype <= VST_BF16;
}

/* Without the dimensions of one element, in which projects differ: torchvision's LayerScale is (C, 1, 1), timm's (C).
 */
static vst_shape squeezed(const vst_shape *shape) {
    vst_shape out = {0};
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] != 1) out.dim[out.rank++] = shape->dim[i];
    return out;
}

static bool has_right_shape(const vst_param_info *info, const vst_tensor *tensor) {
    if (info->kind == VST_PARAM_COUNTER) return vst_shape_count(&tensor->shape) == 1; /* () or (1) */
    const vst_shape wanted = squeezed(&info->shape), found = squeezed(&tensor->shape);
    return vst_shape_equal(&wanted, &found);
}

static vst_status check_tensor(vst_import_report *report, const vst_param_info *info, const vst_tensor *tensor,
                               bool fresh) {
    vst_import_finding finding;
    grids unused;
    if (fresh) finding = VST_IMPORT_FRESH;
    else if (!tensor && info->kind == VST_PARAM_COUNTER) return VST_OK;
    else if (!tensor) finding = VST_IMPORT_MISSING;
    else if (!has_right_type(info, tensor)) finding = VST_IMPORT_WRONG_TYPE;
    else if (has_right_shape(info, tensor)) {
        report->taken++;
        return VST_OK;
    } else if (find_grids(info->name, &info->shape, &tensor->shape, &unused)) {
        report->taken++;
        finding = VST_IMPORT_RESIZED;
    } else finding = VST_IMPORT_WRONG_SHAPE;
    return add_row(report, finding, info->name, tensor, &info->shape);
}

/* Where each parameter's values come from, and which parameters start afresh. */
typedef struct match {
    const vst_tensor **source;
    bool *fresh;
} match;

static vst_status match_create(match *out, const vst_params *params) {
    const size_t count = vst_params_count(params);
    out->source = vst_calloc(count + 1, sizeof *out->source);
    out->fresh = vst_calloc(count + 1, sizeof *out->fresh);
    return out->source && out->fresh ? VST_OK : vst_fail_memory(count * sizeof *out->source);
}

static void match_clear(match *self) {
    vst_free(self->source);
    vst_free(self->fresh);
}

static vst_status compare(vst_import_report *report, match *m, const vst_model_config *model, const vst_params *params,
                          const vst_weights *weights, const vst_import_options *options) {
    vst_status status = VST_OK;
    VST_TRY(match_create(m, params));
    VST_TRY(match_names(report, m->source, model, params, weights));
    if (options->reset_head) VST_TRY(vst_import_heads(m->fresh, model, params));
    for (size_t i = 0; i < vst_params_count(params); i++)
        VST_TRY(check_tensor(report, vst_params_at(params, i), m->source[i], m->fresh[i]));
    VST_TRY(sort_rows(report));
out:
    return status;
}

vst_status vst_import_compare(vst_import_report *report, const vst_model_config *model, const vst_params *params,
                              const vst_weights *weights, const vst_import_options *options) {
    match m = {0};
    const vst_status status = compare(report, &m, model, params, weights, options);
    match_clear(&m);
    return status;
}

/* ---- What to do about misfits ---- */

static bool has_row(const vst_import_report *report, vst_import_finding finding, const char *name) {
    for (size_t i = 0; i < report->count; i++)
        if (report->rows[i].finding == finding && strcmp(report->rows[i].name, name) == 0) return true;
    return false;
}

/* Whether the classifiers are all that does not fit; *found is then one of the file's that has another shape, or NULL.
 */
static bool only_heads(const vst_import_report *report, const bool *head, const vst_params *params,
                       const vst_tensor **found) {
    *found = NULL;
    for (size_t i = 0; i < report->count; i++) {
        const vst_import_row *row = &report->rows[i];
        if (row->finding < VST_IMPORT_MISSING) continue;
        const int index = vst_params_find(params, row->name);
        if (index < 0 || !head[index]) return false;
        if (row->finding == VST_IMPORT_WRONG_SHAPE) *found = row->found;
    }
    return true;
}

static void write_hint(char *out, size_t size, const vst_import_report *report, const bool *head,
                       const vst_model_config *model, const vst_params *params) {
    const vst_tensor *found;
    const int classes = vst_model_common_of(model)->classes;
    if (has_row(report, VST_IMPORT_MISSING, "dist_token"))
        snprintf(out, size, "the model has a distillation token and the file has none: import it as the model without");
    else if (has_row(report, VST_IMPORT_UNEXPECTED, "dist_token"))
        snprintf(out, size, "the file is of a model with a distillation token: import it as the \"distilled\" model");
    else if (only_heads(report, head, params, &found) && found && found->shape.rank > 0)
        snprintf(out, size,
                 "the file's classifier has %lld classes, the model's %d: take it over with --set classes=%lld, or "
                 "give the model a fresh one with --reset-head (in a recipe: run.new_head)",
                 (long long)found->shape.dim[0], classes, (long long)found->shape.dim[0]);
    else if (only_heads(report, head, params, &found))
        snprintf(out, size,
                 "the file has no classifier: --reset-head (in a recipe: run.new_head) gives the model a fresh one");
    else if (!report->taken && !report->counts[VST_IMPORT_WRONG_SHAPE])
        snprintf(out, size, "no tensor fits, so it is of another family of models, or names them otherwise");
    else snprintf(out, size, "the model's name or options are not those of the file");
}

static vst_status refuse(const vst_import_report *report, const vst_model_config *model, const vst_params *params,
                         const vst_weights *weights) {
    char hint[400];
    bool *head = vst_calloc(vst_params_count(params) + 1, sizeof *head);
    if (!head) return vst_fail_memory(vst_params_count(params));
    vst_status status = vst_import_heads(head, model, params);
    if (status == VST_OK) {
        const size_t *n = report->counts;
        write_hint(hint, sizeof hint, report, head, model, params);
        status = vst_fail(
            n[VST_IMPORT_WRONG_SHAPE] ? VST_ERROR_SHAPE : VST_ERROR_FORMAT,
            "%.200s does not fit %s (tensors: %zu missing, %zu unexpected, %zu of wrong shape or type); %s",
            vst_weights_path(weights), model->variant, n[VST_IMPORT_MISSING],
            n[VST_IMPORT_UNEXPECTED] + n[VST_IMPORT_TWICE], n[VST_IMPORT_WRONG_SHAPE] + n[VST_IMPORT_WRONG_TYPE], hint);
    }
    vst_free(head);
    return status;
}

/* ---- Taking over ---- */

static vst_status resize(float *out, const vst_tensor *tensor, const grids *g, int dim, bool antialias) {
    const size_t count = (size_t)vst_shape_count(&tensor->shape);
    float *in = vst_alloc(count * sizeof *in);
    if (!in) return vst_fail_memory(count * sizeof *in);
    vst_to_float(in, tensor->data, tensor->dtype, count);
    const vst_status status =
        vst_resize_position(out, g->wanted, g->wanted, in, g->found, g->found, g->prefix, dim, antialias);
    vst_free(in);
    return status;
}

static bool is_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static vst_status take(vst_import_report *report, float *values, const vst_param_info *info, const vst_tensor *tensor,
                       const vst_import_options *options) {
    vst_status status = VST_OK;
    grids g;
    if (has_right_shape(info, tensor)) vst_to_float(values, tensor->data, tensor->dtype, info->count);
    else if (find_grids(info->name, &info->shape, &tensor->shape, &g))
        VST_TRY(resize(values, tensor, &g, (int)info->shape.dim[2], !options->no_antialias));
    if (!is_finite(values, info->count))
        VST_TRY(add_row(report, VST_IMPORT_NOT_FINITE, info->name, tensor, &info->shape));
out:
    return status;
}

vst_status vst_import_params(vst_import_report *report, const vst_model_config *model, vst_params *params,
                             const vst_weights *weights, const vst_import_options *options) {
    vst_status status = VST_OK;
    match m = {0};
    float *values = vst_params_values(params);
    if (!values) return vst_fail(VST_ERROR_ARGUMENT, "vst_import_params before vst_params_allocate");
    VST_TRY(compare(report, &m, model, params, weights, options));
    if (vst_import_problems(report)) VST_TRY(refuse(report, model, params, weights));
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (m.source[i] && !m.fresh[i]) VST_TRY(take(report, values + info->offset, info, m.source[i], options));
    }
    vst_params_changed(params);
out:
    match_clear(&m);
    return status;
}

/* ---- Which model is it? ---- */

static vst_status measure(vst_import_candidate *out, const char *variant, const vst_weights *weights) {
    vst_status status = VST_OK;
    vst_model_config *model = NULL;
    vst_graph *graph = NULL;
    vst_params *params = NULL;
    vst_import_report report = {0};
    VST_TRY(vst_model_config_create(&model, variant));
    VST_TRY(vst_model_declare(&graph, &params, model));
    VST_TRY(vst_import_compare(&report, model, params, weights, &(vst_import_options){0}));
    *out = (vst_import_candidate){variant, vst_import_problems(&report) + report.counts[VST_IMPORT_RESIZED],
                                  report.counts[VST_IMPORT_UNEXPECTED]};
out:
    vst_import_report_clear(&report);
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    vst_model_config_destroy(model);
    return status;
}

static int by_distance(const void *a, const void *b) {
    const vst_import_candidate *x = a, *y = b;
    if (x->unknown != y->unknown) return x->unknown < y->unknown ? -1 : 1;
    if (x->problems != y->problems) return x->problems < y->problems ? -1 : 1;
    return strcmp(x->variant, y->variant);
}

vst_status vst_import_candidates(vst_import_candidate **list, size_t *count, const vst_weights *weights) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    *list = NULL;
    *count = 0;
    for (size_t i = 0; i < vst_backbone_count(); i++)
        for (const vst_backbone_variant *v = vst_backbone_at(i)->variants; v->name; v++) {
            VST_TRY(vst_grow(list, &capacity, *count + 1, sizeof **list));
            VST_TRY(measure(&(*list)[*count], v->name, weights));
            (*count)++;
        }
    qsort(*list, *count, sizeof **list, by_distance);
out:
    if (status != VST_OK) {
        vst_free(*list);
        *list = NULL;
        *count = 0;
    }
    return status;
}

/* ---- Where the weights come from ---- */

static vst_status hash_file(const char *path, char text[17]) {
    vst_status status = VST_OK;
    XXH3_state_t *state = XXH3_createState();
    char *block = vst_alloc(HASH_BLOCK);
    uint64_t size;
    int file = -1;
    if (!state || !block) VST_TRY(vst_fail_memory(HASH_BLOCK));
    VST_TRY(vsti_file_open(path, O_RDONLY, &file, &size));
    XXH3_64bits_reset(state);
    for (uint64_t at = 0; at < size;) {
        const size_t step = size - at < HASH_BLOCK ? (size_t)(size - at) : HASH_BLOCK;
        status = vsti_file_read_at(file, at, block, step);
        if (status != VST_OK) VST_TRY(vst_fail_in(status, "%s: reading it again for its checksum", path));
        XXH3_64bits_update(state, block, step);
        at += step;
    }
    snprintf(text, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(state));
out:
    if (file >= 0) close(file);
    vst_free(block);
    XXH3_freeState(state);
    return status;
}

/* The names of the rows of one finding, NULL if there are none. */
static json_t *names_json(const vst_import_report *report, vst_import_finding finding) {
    json_t *list = report->counts[finding] ? json_array() : NULL;
    for (size_t i = 0; list && i < report->count; i++)
        if (report->rows[i].finding == finding) json_array_append_new(list, json_string(report->rows[i].name));
    return list;
}

static char *today(char text[32]) {
    const time_t now = time(NULL);
    struct tm utc;
    text[0] = 0;
    if (gmtime_r(&now, &utc)) strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

vst_status vst_import_facts(char **json, const vst_weights *weights, const vst_import_report *report) {
    char hash[17], date[32], *text = NULL;
    const char *path = vst_weights_path(weights), *slash = strrchr(path, '/');
    const char *before = vst_weights_metadata(weights, "vistill.training");
    *json = NULL;
    const vst_status status = hash_file(path, hash);
    if (status != VST_OK) return status;
    /* members whose value is NULL are left out ("*"); the facts of a model file that was imported again are kept */
    json_t *object =
        json_pack("{s:s, s:s, s:s*, s:s, s:I, s:I, s:o*, s:o*, s:o*, s:s, s:s}", "imported", slash ? slash + 1 : path,
                  "format", vst_weights_format(weights), "entry", vst_weights_entry(weights), "xxh3", hash, "tensors",
                  (json_int_t)report->taken, "renamed", (json_int_t)report->counts[VST_IMPORT_RENAMED], "resized",
                  names_json(report, VST_IMPORT_RESIZED), "fresh", names_json(report, VST_IMPORT_FRESH), "before",
                  before ? json_loads(before, 0, NULL) : NULL, "date", today(date), "program", "vistill " VST_VERSION);
    if (object) text = json_dumps(object, JSON_COMPACT);
    if (text) *json = vst_strdup(text);
    free(text);
    json_decref(object);
    return *json ? VST_OK : vst_fail(VST_ERROR_ARGUMENT, "%s: its name is not UTF-8, or memory ran out", path);
}
