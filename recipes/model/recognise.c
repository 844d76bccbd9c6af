/* Finds the model of a weights file from its tensors, and its preprocessing from tensor and file names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/model/hub.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { VALUE = 48, CHOICES = 8 };

/* ---- Measuring ---- */

/* How well a file fits a model: the result of the comparison, and the file's classes and channels if only these differ.
 */
typedef struct fit {
    size_t problems, resized, unknown;
    const vst_naming *naming;
    int64_t classes, channels; /* of the file, if they differ from the model's; 0: unknown */
} fit;

/* The file's number of classes, from tensors that differ where the model has its number of classes; 0 if they disagree.
 */
static int64_t classes_in(const vst_import_report *report, int classes) {
    int64_t found = 0;
    for (size_t i = 0; i < report->count; i++) {
        const vst_import_row *row = &report->rows[i];
        if (row->finding != VST_IMPORT_WRONG_SHAPE || row->wanted.rank < 1 || !row->found || row->found->shape.rank < 1)
            continue;
        if (row->wanted.dim[0] != classes) continue;
        if (found && found != row->found->shape.dim[0]) return 0;
        found = row->found->shape.dim[0];
    }
    return found;
}

/* The file's number of image channels, from the stem's convolution. */
static int64_t channels_in(const vst_import_report *report, int channels) {
    for (size_t i = 0; i < report->count; i++) {
        const vst_import_row *row = &report->rows[i];
        if (row->finding != VST_IMPORT_WRONG_SHAPE || row->wanted.rank != 4 || row->found->shape.rank != 4) continue;
        vst_shape with = row->wanted;
        if (with.dim[1] != channels) continue;
        with.dim[1] = row->found->shape.dim[1];
        if (vst_shape_equal(&with, &row->found->shape)) return with.dim[1];
    }
    return 0;
}

static vst_status measure(fit *out, const vst_model_config *model, const vst_weights *weights) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_params *params = NULL;
    vst_import_report report = {0};
    VST_TRY(vst_model_declare(&graph, &params, model));
    VST_TRY(vst_import_compare(&report, model, params, weights, &(vst_import_options){0}));
    *out = (fit){.problems = vst_import_problems(&report),
                 .resized = report.counts[VST_IMPORT_RESIZED],
                 .unknown = report.counts[VST_IMPORT_UNEXPECTED] + report.counts[VST_IMPORT_BESIDE],
                 .naming = report.naming,
                 .classes = classes_in(&report, vst_model_common_of(model)->classes),
                 .channels = channels_in(&report, vst_model_common_of(model)->channels)};
out:
    vst_import_report_clear(&report);
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    return status;
}

/* ---- Trying options ---- */

static bool is_given(const vst_import_choice *choice, const char *key) {
    const size_t length = strlen(key);
    for (int i = 0; choice && i < choice->setting_count; i++) {
        const char *text = choice->settings[i];
        if (strncmp(text, "model.", 6) == 0) text += 6;
        if (strncmp(text, key, length) == 0 && text[length] == '=') return true;
    }
    return false;
}

/* Lists the other values of an option if it is a choice or a bool. */
static int other_values(const vst_option *option, const char *now, char values[CHOICES][VALUE]) {
    int count = 0;
    if (option->type == VST_TYPE_BOOL) {
        snprintf(values[0], VALUE, "%s", strcmp(now, "true") == 0 ? "false" : "true");
        return 1;
    }
    if (option->type != VST_TYPE_CHOICE) return 0;
    for (const char *word = option->choices; *word && count < CHOICES;) {
        const size_t length = strcspn(word, "|");
        if (length && length < VALUE && (strlen(now) != length || memcmp(now, word, length) != 0))
            snprintf(values[count++], VALUE, "%.*s", (int)length, word);
        word += length + (word[length] == '|');
    }
    return count;
}

/* Tries another value of an option, and keeps it if more tensors fit. */
static vst_status try_value(vst_model_config *model, fit *best, const vst_weights *weights, const char *key,
                            const char *now, const char *value, bool *kept) {
    vst_status status = VST_OK;
    fit with;
    *kept = false;
    VST_TRY(vst_model_config_set(model, key, value));
    status = measure(&with, model, weights);
    *kept = status == VST_OK && with.problems < best->problems;
    if (*kept) *best = with;
    else VST_TRY(vst_model_config_set(model, key, now));
    if (status != VST_ERROR_MEMORY) status = VST_OK; /* options that contradict each other describe no model */
out:
    return status;
}

static void add_option(char *text, size_t size, const char *key, const char *value) {
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s=%s", used ? ", " : "", key, value);
}

/* Tries a number taken from the tensors' shapes (0: none), if the option's range allows it. */
static vst_status try_number(vst_model_config *model, fit *best, const vst_weights *weights, const char *key,
                             int64_t number, char *changed, size_t size) {
    vst_status status = VST_OK;
    const vst_option *option = vst_options_find(model->backbone->options, key);
    char text[24], *now = NULL;
    bool kept = false;
    if (!option || number < 1 || (double)number > option->maximum) return VST_OK;
    if (!(now = vst_options_get(option, model->options))) return vst_fail_memory(VALUE);
    snprintf(text, sizeof text, "%lld", (long long)number);
    VST_TRY(try_value(model, best, weights, key, now, text, &kept));
    if (kept) add_option(changed, size, key, text);
out:
    vst_free(now);
    return status;
}

/* Whether the variant is named for this option: a distilled model is none without its token. */
static bool is_of_variant(const vst_model_config *model, const char *key) {
    const size_t length = strlen(key);
    for (const vst_backbone_variant *v = model->backbone->variants; v->name; v++)
        for (const char *at = v->overrides; strcmp(v->name, model->variant) == 0 && at && (at = strstr(at, key)); at++)
            if ((at == v->overrides || at[-1] == ' ' || at[-1] == ',') && at[length] == '=') return true;
    return false;
}

/* Tries all choices of the family's own options once. */
static vst_status try_options(vst_model_config *model, fit *best, const vst_weights *weights,
                              const vst_import_choice *choice, char *changed, size_t size) {
    vst_status status = VST_OK;
    for (const vst_option *o = model->backbone->options; o->type != VST_TYPE_END && best->problems; o++) {
        char values[CHOICES][VALUE];
        if (strchr(o->name, '.') || is_given(choice, o->name) || is_of_variant(model, o->name)) continue;
        char *now = vst_options_get(o, model->options);
        if (!now) VST_TRY(vst_fail_memory(VALUE));
        const int count = other_values(o, now, values);
        bool kept = false;
        for (int i = 0; i < count && !kept && status == VST_OK; i++) {
            status = try_value(model, best, weights, o->name, now, values[i], &kept);
            if (kept) add_option(changed, size, o->name, values[i]);
        }
        vst_free(now);
        if (status != VST_OK) break;
    }
out:
    return status;
}

/* Finds options with which a file fits. `changed` is "" if there are none; the model is then unchanged. */
static vst_status adapt(vst_model_config *model, fit *best, const vst_weights *weights, const vst_import_choice *choice,
                        char *changed, size_t size, int *changes) {
    vst_status status = VST_OK;
    const fit before = *best;
    char *json = vst_model_config_to_json(model);
    vst_model_config *fresh = NULL;
    *changed = 0;
    *changes = 0;
    if (!json) return vst_fail_memory(1024);
    const bool head = !(choice && choice->reset_head) && !is_given(choice, "classes");
    for (int round = 0; round < 2 && best->problems; round++) {
        const size_t problems = best->problems;
        if (head) VST_TRY(try_number(model, best, weights, "classes", best->classes, changed, size));
        if (!is_given(choice, "channels"))
            VST_TRY(try_number(model, best, weights, "channels", best->channels, changed, size));
        VST_TRY(try_options(model, best, weights, choice, changed, size));
        if (best->problems == problems) break;
    }
    if (best->problems && *changed) { /* with a partial fit the message would be about another model */
        VST_TRY(vst_model_config_from_json(&fresh, json));
        for (const vst_option *o = model->backbone->options; o->type != VST_TYPE_END; o++) {
            const char *dot = strrchr(o->name, '.');
            char *value = vst_options_get(o, fresh->options);
            if (!value) VST_TRY(vst_fail_memory(VALUE));
            status = vst_model_config_set(model, dot ? dot + 1 : o->name, value);
            vst_free(value);
            VST_TRY(status);
        }
        *changed = 0;
        *best = before;
    }
    for (const char *c = changed; *c; c++) *changes += *c == '=';
out:
    vst_model_config_destroy(fresh);
    vst_free(json);
    return status;
}

/* ---- Candidates ---- */

/* True if the model knows enough names of the file to try its options; half of a file with student and teacher. */
static bool is_near(size_t unknown, size_t tensors) { return 2 * unknown <= tensors; }

bool vst_import_is_foreign(const vst_import_candidate *nearest, const vst_weights *weights) {
    return !is_near(nearest->unknown, vst_weights_count(weights));
}

static vst_status measure_variant(vst_import_candidate *out, const char *variant, const vst_weights *weights,
                                  bool options) {
    vst_status status = VST_OK;
    vst_model_config *model = NULL;
    fit found;
    *out = (vst_import_candidate){.variant = variant};
    VST_TRY(vst_model_config_create(&model, variant));
    VST_TRY(measure(&found, model, weights));
    if (options && found.problems && is_near(found.unknown, vst_weights_count(weights)))
        VST_TRY(adapt(model, &found, weights, NULL, out->options, sizeof out->options, &out->changes));
    out->problems = found.problems + found.resized;
    out->unknown = found.unknown;
out:
    vst_model_config_destroy(model);
    return status;
}

static int by_distance(const void *a, const void *b) {
    const vst_import_candidate *x = a, *y = b;
    if (!x->problems != !y->problems) return x->problems ? 1 : -1;
    if (!x->problems && x->changes != y->changes) return x->changes < y->changes ? -1 : 1;
    if (x->unknown != y->unknown) return x->unknown < y->unknown ? -1 : 1;
    if (x->problems != y->problems) return x->problems < y->problems ? -1 : 1;
    return strcmp(x->variant, y->variant);
}

static vst_status measure_all(vst_import_candidate *list, size_t count, const vst_weights *weights, bool options) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < count && status == VST_OK; i++)
        status = measure_variant(&list[i], list[i].variant, weights, options);
    if (count) qsort(list, count, sizeof *list, by_distance);
    return status;
}

/* Options are tried only if no variant fits as it is. */
vst_status vst_import_candidates(vst_import_candidate **list, size_t *count, size_t *fitting,
                                 const vst_weights *weights) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    *list = NULL;
    *count = *fitting = 0;
    for (size_t i = 0; i < vst_backbone_count(); i++)
        for (const vst_backbone_variant *v = vst_backbone_at(i)->variants; v->name; v++) {
            VST_TRY(vst_grow(list, &capacity, *count + 1, sizeof **list));
            (*list)[(*count)++] = (vst_import_candidate){.variant = v->name};
        }
    VST_TRY(measure_all(*list, *count, weights, false));
    if (*count && (*list)[0].problems) VST_TRY(measure_all(*list, *count, weights, true));
    while (*fitting < *count && !(*list)[*fitting].problems && (*list)[*fitting].changes == (*list)[0].changes)
        (*fitting)++;
out:
    if (status != VST_OK) {
        vst_free(*list);
        *list = NULL;
        *count = 0;
    }
    return status;
}

/* ---- Choosing a model ---- */

void vst_import_list(char *out, size_t size, const vst_import_candidate *list, size_t count) {
    size_t used = 0, shown = 0;
    *out = 0;
    for (; shown < count && used + strlen(list[shown].variant) + strlen(list[shown].options) + 30 < size; shown++)
        used += (size_t)snprintf(out + used, size - used, "%s%s%s%s", shown ? ", " : "", list[shown].variant,
                                 *list[shown].options ? " with " : "", list[shown].options);
    if (shown < count) snprintf(out + used, size - used, " and %zu more", count - shown);
}

static void list_families(char *out, size_t size) {
    size_t used = 0;
    *out = 0;
    for (size_t i = 0; i < vst_backbone_count() && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", vst_backbone_at(i)->name);
}

static vst_status recognise(vst_model_config **out, const vst_weights *weights) {
    vst_status status = VST_OK;
    vst_import_candidate *list = NULL;
    size_t count, fitting;
    char names[600];
    VST_TRY(vst_import_candidates(&list, &count, &fitting, weights));
    vst_import_list(names, sizeof names, list, fitting ? fitting : count < 3 ? count : 3);
    if (fitting == 1) VST_TRY(vst_model_config_create(out, list[0].variant));
    else if (fitting)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "%.200s fits %zu models, which have the same tensors but may differ in preprocessing and "
                         "arithmetic: say --model (in a recipe: distill.teacher_model), one of %s",
                         vst_weights_path(weights), fitting, names));
    else if (!count || vst_import_is_foreign(&list[0], weights)) {
        list_families(names, sizeof names);
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND,
                         "%.200s is of no family of models that there is here: %s. A teacher of another family can "
                         "still teach, by logits that its own program computes: see `vistill cache import`",
                         vst_weights_path(weights), names));
    } else
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND,
                         "%.200s fits no model exactly; nearest are %s (%zu tensors do not fit the first): "
                         "say --model, and its options with --set",
                         vst_weights_path(weights), names, list[0].problems));
out:
    vst_free(list);
    return status;
}

static vst_status set_options(vst_model_config *model, const vst_import_choice *choice) {
    for (int i = 0; i < choice->setting_count; i++) {
        char key[64];
        const char *given = choice->settings[i];
        const char *text = strncmp(given, "model.", 6) == 0 ? given + 6 : given; /* as written in recipes */
        const size_t length = strcspn(text, "=");
        if (!text[length] || !length || length >= sizeof key)
            return vst_fail(VST_ERROR_ARGUMENT, "--set %.100s: expected KEY=VALUE, such as classes=10", given);
        memcpy(key, text, length);
        key[length] = 0;
        const vst_status status = vst_model_config_set(model, key, text + length + 1);
        if (status != VST_OK) return vst_fail_in(status, "--set %.100s", given);
    }
    return VST_OK;
}

/* ---- Preprocessing ---- */

static bool is_of(const vst_preprocessing *p, const vst_model_config *model) {
    return !p->variant || strcmp(p->variant, model->variant) == 0;
}

/* The first entry of the variant with the requested version, or with the file's name. */
static const vst_preprocessing *find_preprocessing(const vst_naming *naming, const vst_model_config *model,
                                                   const char *path, const char *version, bool asked) {
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    for (const vst_preprocessing *p = naming->preprocessing; p && p->overrides; p++) {
        if (!is_of(p, model)) continue;
        if (version ? p->version && strcmp(p->version, version) == 0 : !p->file || strstr(file, p->file)) return p;
    }
    for (const vst_preprocessing *p = naming->preprocessing; asked && !version && p && p->overrides; p++)
        if (is_of(p, model)) return p; /* requested by the project's name only */
    return NULL;
}

/* Sets the options that the user has not set. */
static vst_status override(vst_model_config *model, const char *overrides, const vst_import_choice *choice) {
    vst_status status = VST_OK;
    vst_model_config *theirs = NULL;
    char *json = vst_model_config_to_json(model);
    if (!json) return vst_fail_memory(1024);
    VST_TRY(vst_model_config_from_json(&theirs, json));
    VST_TRY(vst_model_config_override(theirs, overrides));
    for (const vst_option *o = model->backbone->options; o->type != VST_TYPE_END; o++) {
        const char *dot = strrchr(o->name, '.'), *key = dot ? dot + 1 : o->name;
        if (is_given(choice, key)) continue;
        char *value = vst_options_get(o, theirs->options);
        if (!value) VST_TRY(vst_fail_memory(VALUE));
        status = vst_model_config_set(model, key, value);
        vst_free(value);
        VST_TRY(status);
    }
out:
    vst_free(json);
    vst_model_config_destroy(theirs);
    return status;
}

/* Another version that the file may have, if its name does not tell. */
static const char *rival_of(const vst_naming *naming, const vst_model_config *model, const vst_preprocessing *taken) {
    for (const vst_preprocessing *p = naming->preprocessing; taken->version && !taken->file && p->overrides; p++)
        if (p != taken && is_of(p, model) && p->version && strcmp(p->version, taken->version) != 0) return p->version;
    return NULL;
}

static vst_status unknown_preprocessing(const char *asked, const vst_model_config *model) {
    char known[300] = "timm";
    for (const vst_naming *n = model->backbone->namings; n && n->project; n++)
        for (const vst_preprocessing *p = n->preprocessing; p && p->overrides; p++) {
            const size_t used = strlen(known);
            if (is_of(p, model) &&
                !(p > n->preprocessing && p->version && p[-1].version && strcmp(p->version, p[-1].version) == 0))
                snprintf(known + used, sizeof known - used, ", %s%s%s", n->project, p->version ? ":" : "",
                         p->version ? p->version : "");
        }
    return vst_fail(VST_ERROR_NOT_FOUND, "--preprocessing %.60s: of %s there is %s", asked, model->variant, known);
}

static vst_status choose_preprocessing(vst_model_config *model, vst_import_origin *origin, const vst_naming *naming,
                                       const vst_weights *weights, const vst_import_choice *choice) {
    vst_status status = VST_OK;
    char project[64] = "";
    const char *asked = choice->preprocessing, *colon = asked ? strchr(asked, ':') : NULL;
    const vst_preprocessing *found = NULL;
    if (asked) snprintf(project, sizeof project, "%.*s", (int)(colon ? colon - asked : (long)strlen(asked)), asked);
    const bool timm = strcmp(project, "timm") == 0;
    origin->project = vst_model_common_of(model)->mean.count ? "timm" : "";
    for (const vst_naming *n = model->backbone->namings; n && n->project && !naming && !timm; n++)
        if (n->timm_names) origin->rival = n->project;
    for (const vst_naming *n = model->backbone->namings; n && n->project && !timm && !found; n++) {
        if (asked ? strcmp(n->project, project) != 0 : n != naming && !(n->timm_names && !naming)) continue;
        found = find_preprocessing(n, model, vst_weights_path(weights), colon ? colon + 1 : NULL, asked != NULL);
        if (!found) continue;
        VST_TRY(override(model, found->overrides, choice));
        origin->project = n->project;
        origin->version = found->version;
        origin->rival = rival_of(n, model, found);
        if (colon) origin->rival = NULL;
    }
    if (asked && !timm && !found) VST_TRY(unknown_preprocessing(asked, model));
    if (is_given(choice, "mean") || is_given(choice, "std")) {
        origin->project = "";
        origin->version = origin->rival = NULL;
    }
    origin->unnamed = !vst_model_common_of(model)->mean.count && !vst_model_common_of(model)->std.count;
out:
    return status;
}

/* ---- Files beside it ---- */

static bool fits_worse(const fit *a, const fit *b) { return a->problems + a->resized > b->problems + b->resized; }

/* Image and patch as config.json says, unless the tensors fit worse then: it is of another file in the folder. */
static vst_status take_sizes(vst_model_config *model, vst_import_origin *origin, const vsti_hub *hub,
                             const vst_weights *weights, const vst_import_choice *choice) {
    const struct {
        const char *key;
        int value;
    } sizes[] = {{"patch", hub->patch}, {"image", hub->image}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        vst_status status = VST_OK;
        fit before, with;
        char text[16];
        const vst_option *option = vst_options_find(model->backbone->options, sizes[i].key);
        if (!option || !sizes[i].value || is_given(choice, sizes[i].key)) continue;
        char *now = vst_options_get(option, model->options);
        if (!now) return vst_fail_memory(VALUE);
        snprintf(text, sizeof text, "%d", sizes[i].value);
        bool kept = false;
        if (strcmp(now, text) != 0) {
            status = measure(&before, model, weights);
            if (status == VST_OK && vst_model_config_set(model, sizes[i].key, text) == VST_OK)
                kept = measure(&with, model, weights) == VST_OK && !fits_worse(&with, &before);
            if (status == VST_OK && !kept) status = vst_model_config_set(model, sizes[i].key, now);
        }
        if (kept) {
            const size_t used = strlen(origin->beside);
            snprintf(origin->beside + used, sizeof origin->beside - used, "%s%s %s", used ? ", " : "", sizes[i].key,
                     text);
        }
        vst_free(now);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

static void take_labels(vst_import_origin *origin, vsti_hub *hub, int classes) {
    char sizes[sizeof origin->beside];
    if (!hub->labels || hub->label_count != classes) return;
    origin->labels = hub->labels;
    origin->label_count = hub->label_count;
    hub->labels = NULL;
    snprintf(sizes, sizeof sizes, "%s", origin->beside);
    snprintf(origin->beside, sizeof origin->beside, "names of %d classes%s%.100s", classes, *sizes ? ", " : "", sizes);
}

static vst_status take_images(vst_model_config *model, vst_import_origin *origin, const vsti_hub *hub,
                              const vst_import_choice *choice) {
    const vst_model_common *common = vst_model_common_of(model);
    if (!*hub->overrides || choice->preprocessing) return VST_OK;
    if (hub->channels > 1 && hub->channels != common->channels) {
        vst_log(VST_LOG_WARNING, "%s is passed over: its mean has %d values, the model's images %d channel%s",
                hub->source, hub->channels, common->channels, common->channels == 1 ? "" : "s");
        return VST_OK;
    }
    const vst_status status = override(model, hub->overrides, choice);
    if (status != VST_OK && status != VST_ERROR_MEMORY) {
        vst_log(VST_LOG_WARNING, "%s is passed over: %s", hub->source, vst_error_message());
        return VST_OK;
    }
    if (!is_given(choice, "mean") && !is_given(choice, "std")) origin->project = hub->source;
    origin->version = origin->rival = NULL;
    origin->unnamed = !common->mean.count && !common->std.count;
    origin->squeezes = hub->squeezes;
    return status;
}

void vst_import_origin_clear(vst_import_origin *origin) {
    for (int i = 0; origin->labels && i < origin->label_count; i++) vst_free(origin->labels[i]);
    vst_free(origin->labels);
    *origin = (vst_import_origin){.project = ""};
}

/* ---- Recognising a file ---- */

static vst_status choose_variant(vst_model_config **out, const vsti_hub *hub, const vst_weights *weights) {
    vst_model_config *named = NULL;
    fit found = {.problems = 1};
    if (*hub->variant && vst_model_config_create(&named, hub->variant) == VST_OK) {
        const vst_status status = measure(&found, named, weights);
        if (status == VST_ERROR_MEMORY || (status == VST_OK && !found.problems)) {
            *out = named;
            return status;
        }
        vst_model_config_destroy(named);
    }
    return recognise(out, weights);
}

vst_status vst_import_model(vst_model_config **out, vst_import_origin *origin, const vst_weights *weights,
                            const vst_import_choice *choice) {
    vst_status status = VST_OK;
    const char *ours = vst_weights_metadata(weights, "vistill.model");
    char options[sizeof origin->options] = "";
    fit found;
    int changes;
    vsti_hub hub = {.source = ""};
    *out = NULL;
    *origin = (vst_import_origin){.project = ""};
    if (!ours) VST_TRY(vsti_hub_read(&hub, vst_weights_path(weights)));
    if (choice->variant) VST_TRY(vst_model_config_create(out, choice->variant));
    else if (ours) VST_TRY(vst_model_config_from_json(out, ours));
    else VST_TRY(choose_variant(out, &hub, weights));
    VST_TRY(set_options(*out, choice));
    if (ours) goto out; /* everything else is known too */
    VST_TRY(take_sizes(*out, origin, &hub, weights, choice));
    VST_TRY(measure(&found, *out, weights));
    if (found.problems) VST_TRY(adapt(*out, &found, weights, choice, options, sizeof options, &changes));
    VST_TRY(choose_preprocessing(*out, origin, found.naming, weights, choice));
    VST_TRY(take_images(*out, origin, &hub, choice));
    memcpy(origin->options, options, sizeof options);
    if (!choice->reset_head) take_labels(origin, &hub, vst_model_common_of(*out)->classes);
out:
    vsti_hub_clear(&hub);
    if (status == VST_OK) return status;
    vst_import_origin_clear(origin);
    vst_model_config_destroy(*out);
    *out = NULL;
    return status;
}
