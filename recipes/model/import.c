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

#include "recipes/model/match.h"
#include "recipes/model/model.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"
#include "vision/tensor/resample.h"

enum { HASH_BLOCK = 1 << 20, PREFIX_MAX = 2 };

static const char *const finding_names[] = {
    [VST_IMPORT_RENAMED] = "renamed",      [VST_IMPORT_RESIZED] = "resized",
    [VST_IMPORT_FRESH] = "fresh",          [VST_IMPORT_IGNORED] = "ignored",
    [VST_IMPORT_BESIDE] = "beside",        [VST_IMPORT_NOT_FINITE] = "not finite",
    [VST_IMPORT_MISSING] = "missing",      [VST_IMPORT_UNEXPECTED] = "unexpected",
    [VST_IMPORT_TWICE] = "there twice",    [VST_IMPORT_WRONG_SHAPE] = "wrong shape",
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

/* ---- Tensors of the file that no parameter has ---- */

static vst_status list_tensors(vst_import_report *report, const vsti_match *m, const vst_params *params,
                               const vst_weights *weights) {
    static const vst_import_finding findings[] = {[VSTI_BESIDE] = VST_IMPORT_BESIDE,
                                                  [VSTI_INSIDE] = VST_IMPORT_UNEXPECTED,
                                                  [VSTI_USELESS] = VST_IMPORT_IGNORED,
                                                  [VSTI_AGAIN] = VST_IMPORT_TWICE};
    vst_status status = VST_OK;
    for (size_t i = 0; i < vst_weights_count(weights); i++) {
        const vst_tensor *tensor = vst_weights_at(weights, i);
        const bool again = m->uses[i] == VSTI_AGAIN;
        if (m->uses[i] == VSTI_TAKEN) continue;
        VST_TRY(add_row(report, findings[m->uses[i]], tensor->name, tensor,
                        again ? &vst_params_at(params, (size_t)m->again[i])->shape : NULL));
    }
    report->counts[VST_IMPORT_RENAMED] = m->renamed;
    report->naming = m->naming;
    report->split = m->split;
    snprintf(report->prefix, sizeof report->prefix, "%s", m->prefix);
    snprintf(report->other, sizeof report->other, "%s", m->other);
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
    const char *dot = strrchr(name, '.'), *part = dot ? dot + 1 : name;
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

/* Whether all parts are there and fit. */
static bool has_right_shape(const vst_param_info *info, const vsti_source *source) {
    for (int i = 0; i < source->parts; i++)
        if (!source->part[i] || !vsti_fits(info, source->part[i], source->parts)) return false;
    return source->parts > 0;
}

static const vst_tensor *first_part(const vsti_source *source) {
    for (int i = 0; i < source->parts; i++)
        if (source->part[i]) return source->part[i];
    return NULL;
}

static bool is_whole(const vsti_source *source) {
    for (int i = 0; i < source->parts; i++)
        if (!source->part[i]) return false;
    return source->parts > 0;
}

static bool have_right_type(const vst_param_info *info, const vsti_source *source) {
    for (int i = 0; i < source->parts; i++)
        if (!has_right_type(info, source->part[i])) return false;
    return true;
}

static vst_status check_source(vst_import_report *report, const vst_param_info *info, const vsti_source *source,
                               bool fresh) {
    vst_import_finding finding;
    grids unused;
    const vst_tensor *tensor = first_part(source);
    if (fresh) finding = VST_IMPORT_FRESH;
    else if (!tensor && info->kind == VST_PARAM_COUNTER) return VST_OK;
    else if (!is_whole(source)) finding = VST_IMPORT_MISSING;
    else if (!have_right_type(info, source)) finding = VST_IMPORT_WRONG_TYPE;
    else if (has_right_shape(info, source)) {
        report->taken++;
        return VST_OK;
    } else if (source->parts == 1 && find_grids(info->name, &info->shape, &tensor->shape, &unused)) {
        report->taken++;
        finding = VST_IMPORT_RESIZED;
    } else finding = VST_IMPORT_WRONG_SHAPE;
    return add_row(report, finding, info->name, tensor, &info->shape);
}

/* `fresh`: which parameters start afresh; owned by the caller. */
static vst_status compare(vst_import_report *report, vsti_match *m, bool **fresh, const vst_model_config *model,
                          const vst_params *params, const vst_weights *weights, const vst_import_options *options) {
    vst_status status = VST_OK;
    VST_TRY(vsti_match_create(m, model, params, weights));
    *fresh = vst_calloc(vst_params_count(params) + 1, sizeof **fresh);
    if (!*fresh) VST_TRY(vst_fail_memory(vst_params_count(params)));
    VST_TRY(list_tensors(report, m, params, weights));
    if (options->reset_head) VST_TRY(vst_import_heads(*fresh, model, params));
    for (size_t i = 0; i < vst_params_count(params); i++)
        VST_TRY(check_source(report, vst_params_at(params, i), &m->sources[i], (*fresh)[i]));
    VST_TRY(sort_rows(report));
out:
    return status;
}

vst_status vst_import_compare(vst_import_report *report, const vst_model_config *model, const vst_params *params,
                              const vst_weights *weights, const vst_import_options *options) {
    vsti_match m = {0};
    bool *fresh = NULL;
    const vst_status status = compare(report, &m, &fresh, model, params, weights, options);
    vsti_match_clear(&m);
    vst_free(fresh);
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
    else if (report->counts[VST_IMPORT_WRONG_TYPE])
        snprintf(out, size,
                 "it holds whole numbers for weights, as a quantised model does: give the float32 model it was made "
                 "from");
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

static vst_status take(vst_import_report *report, float *values, const vst_param_info *info, const vsti_source *source,
                       const vst_import_options *options) {
    vst_status status = VST_OK;
    const vst_tensor *tensor = source->part[0];
    grids g;
    if (has_right_shape(info, source)) {
        const size_t step = info->count / (size_t)source->parts;
        for (int i = 0; i < source->parts; i++)
            vst_to_float(values + (size_t)i * step, source->part[i]->data, source->part[i]->dtype, step);
    } else if (find_grids(info->name, &info->shape, &tensor->shape, &g))
        VST_TRY(resize(values, tensor, &g, (int)info->shape.dim[2], !options->no_antialias));
    if (!is_finite(values, info->count))
        VST_TRY(add_row(report, VST_IMPORT_NOT_FINITE, info->name, tensor, &info->shape));
out:
    return status;
}

/* "state_dict.teacher": how the tensors behind a prefix are asked for. */
static void entry_of(char *out, size_t size, const vst_weights *weights, const char *prefix) {
    const char *entry = vst_weights_entry(weights);
    const int length = *prefix ? (int)strlen(prefix) - 1 : 0;
    snprintf(out, size, "%s%s%.*s", entry ? entry : "", entry && length ? "." : "", length, prefix);
}

static vst_status refuse_two(const vst_import_report *report, const vst_model_config *model,
                             const vst_weights *weights) {
    char first[300], second[300];
    entry_of(first, sizeof first, weights, report->prefix);
    entry_of(second, sizeof second, weights, report->other);
    return vst_fail(
        VST_ERROR_ARGUMENT,
        "%.200s has the tensors of %s twice, behind \"%s\" and behind \"%s\": say which, with --entry %s or "
        "--entry %s (in a recipe: run.start_entry, distill.teacher_entry)",
        vst_weights_path(weights), model->variant, report->prefix, report->other, *first ? first : "''",
        *second ? second : "''");
}

vst_status vst_import_params(vst_import_report *report, const vst_model_config *model, vst_params *params,
                             const vst_weights *weights, const vst_import_options *options) {
    vst_status status = VST_OK;
    vsti_match m = {0};
    bool *fresh = NULL;
    float *values = vst_params_values(params);
    if (!values) return vst_fail(VST_ERROR_ARGUMENT, "vst_import_params before vst_params_allocate");
    VST_TRY(compare(report, &m, &fresh, model, params, weights, options));
    if (*report->other) VST_TRY(refuse_two(report, model, weights));
    if (vst_import_problems(report)) VST_TRY(refuse(report, model, params, weights));
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (is_whole(&m.sources[i]) && !fresh[i])
            VST_TRY(take(report, values + info->offset, info, &m.sources[i], options));
    }
    vst_params_changed(params);
out:
    vsti_match_clear(&m);
    vst_free(fresh);
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

/* Whose preprocessing it is: "torchvision IMAGENET1K_V1", "unnamed". NULL: nothing is to be said. */
static const char *origin_text(char text[96], const vst_import_origin *origin) {
    if (!origin || !(origin->unnamed || *origin->project)) return NULL;
    snprintf(text, 96, "%s%s%s", origin->unnamed ? VST_NORMALISATION_UNNAMED : origin->project,
             origin->version ? " " : "", origin->version ? origin->version : "");
    return text;
}

vst_status vst_import_facts(char **json, const vst_weights *weights, const vst_import_report *report,
                            const vst_import_origin *origin) {
    char hash[17], date[32], from[96], *text = NULL;
    const char *path = vst_weights_path(weights), *slash = strrchr(path, '/');
    const char *before = vst_weights_metadata(weights, "vistill.training");
    *json = NULL;
    const vst_status status = hash_file(path, hash);
    if (status != VST_OK) return status;
    /* members whose value is NULL are left out ("*"); the facts of a model file that was imported again are kept */
    json_t *object = json_pack(
        "{s:s, s:s, s:s*, s:s*, s:s*, s:s, s:I, s:I, s:o*, s:o*, s:o*, s:s, s:s}", "imported", slash ? slash + 1 : path,
        "format", vst_weights_format(weights), "entry", vst_weights_entry(weights), "prefix",
        *report->prefix ? report->prefix : NULL, "preprocessing", origin_text(from, origin), "xxh3", hash, "tensors",
        (json_int_t)report->taken, "renamed", (json_int_t)report->counts[VST_IMPORT_RENAMED], "resized",
        names_json(report, VST_IMPORT_RESIZED), "fresh", names_json(report, VST_IMPORT_FRESH), "before",
        before ? json_loads(before, 0, NULL) : NULL, "date", today(date), "program", "vistill " VST_VERSION);
    if (object) text = json_dumps(object, JSON_COMPACT);
    if (text) *json = vst_strdup(text);
    free(text);
    json_decref(object);
    return *json ? VST_OK : vst_fail(VST_ERROR_ARGUMENT, "%s: its name is not UTF-8, or memory ran out", path);
}
