/* The keys of a term: parsing, checking and their meaning. */
#include "recipes/distill/term_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/distill/distances/distance.h"
#include "vision/base/memory.h"

enum { MOST_KEYS = 64 }; /* maximum number of words to choose a suggestion from */

const vst_option vst_term_table[] = {
    VST_OPTION_STRING(vst_term_options, distance, NULL,
                      "kl, hard, mse …: the loss between student and teacher; it may have options of its own"),
    VST_OPTION_STRING(vst_term_options, student, "logits", "tap of the student: logits, logits_dist, blocks.3 …"),
    VST_OPTION_STRING(
        vst_term_options, from, "teacher",
        "source of the target: teacher (or 1), 2 … of several, ema: the student's moving average, student: itself"),
    VST_OPTION_STRING(vst_term_options, teacher, "logits",
                      "tap of the source: logits, layer3, features.-1 …, features.*: all stages"),
    VST_OPTION_DOUBLE(vst_term_options, weight, 0.5, 0, 1e6, "weight of the term in the loss"),
    VST_OPTION_CHOICE(vst_term_options, tokens, "patches", VST_CHOICE_TEXT(VST_TERM_TOKENS),
                      "tokens of a transformer to use: the patches as a grid, all, or the class token"),
    VST_OPTION_CHOICE(vst_term_options, align, "larger", VST_CHOICE_TEXT(VST_TERM_ALIGNS),
                      "grids of different size: resize to the larger, pool to the smaller, or refuse"),
    VST_OPTION_CHOICE(
        vst_term_options, projector, "none", VST_CHOICE_TEXT(VST_TERM_PROJECTORS),
        "maps the student's channels to the teacher's: 1x1 convolution, two, one with batch norm, FitNets' regressor"),
    VST_OPTION_CHOICE(vst_term_options, transform, "none", VST_CHOICE_TEXT(VST_TERM_TRANSFORMS),
                      "standardised logits, L2-normalised channels, energy map, similarity of positions"),
    VST_OPTION_CHOICE(vst_term_options, schedule, "constant", VST_CHOICE_TEXT(VST_TERM_SCHEDULES),
                      "weight between `begin` and `end`: constant, linear from 0, linear to 0, exp(-5 (1 - t)^2)"),
    VST_OPTION_DOUBLE(vst_term_options, begin, 0, 0, 100000, "epoch in which the schedule begins"),
    VST_OPTION_DOUBLE(vst_term_options, end, 0, 0, 100000, "epoch in which the schedule ends; 0: the last one"),
    VST_OPTION_END};

int vst_term_source(const vst_term_options *term) {
    char *end = NULL;
    if (!term->from || strcmp(term->from, "teacher") == 0) return 0;
    if (strcmp(term->from, "student") == 0) return VST_FROM_STUDENT;
    if (strcmp(term->from, "ema") == 0) return VST_FROM_AVERAGE;
    const long number = strtol(term->from, &end, 10);
    return *end || number < 1 || number > VST_MAX_TEACHERS ? VST_FROM_NOWHERE : (int)number - 1;
}

bool vst_term_needs_labels(const vst_term_options *term) {
    const vst_distance *distance = vst_distance_find(term->distance);
    return distance && distance->needs_labels;
}

/* ---- The options of the distance ---- */

static const vst_option *table_of(const vst_distance *distance) {
    static const vst_option none[] = {VST_OPTION_END};
    return distance && distance->options ? distance->options : none;
}

const vst_option *vst_term_own_table(const vst_term_options *term) {
    return table_of(vst_distance_find(term->distance));
}

const vst_option *vst_term_find(const vst_term_options *term, const char *key) {
    const vst_option *option = vst_options_find(vst_term_table, key);
    return option ? option : vst_options_find(vst_term_own_table(term), key);
}

static vst_status make_own(const vst_distance *distance, void **out) {
    *out = NULL;
    if (!distance || !distance->options) return VST_OK;
    void *own = vst_calloc(1, distance->options_size);
    if (!own) return vst_fail_memory(distance->options_size);
    const vst_status status = vst_options_default(distance->options, own);
    if (status == VST_OK) *out = own;
    else vst_free(own);
    return status;
}

static void destroy_own(const vst_option *table, void *own) {
    if (own) vst_options_clear(table, own);
    vst_free(own);
}

static vst_status unknown_distance(const char *name) {
    vst_option names[MOST_KEYS] = {VST_OPTION_END};
    char hint[VST_OPTION_HINT];
    for (size_t i = 0; i < vst_distance_count() && i + 1 < MOST_KEYS; i++)
        names[i] = (vst_option){.name = vst_distance_at(i)->name, .type = VST_TYPE_BOOL};
    return vst_fail(VST_ERROR_NOT_FOUND, "distance: there is no distance \"%.100s\"%s", name,
                    vst_options_hint(names, name, hint));
}

static vst_status set_distance(vst_term_options *term, const char *name) {
    const vst_distance *old = vst_distance_find(term->distance), *distance = vst_distance_find(name);
    vst_status status = VST_OK;
    void *own = NULL;
    if (*name && !distance) return unknown_distance(name);
    if (distance && distance == old) return VST_OK;
    VST_TRY(make_own(distance, &own));
    VST_TRY(vst_options_set(vst_term_table, term, "distance", name));
    destroy_own(table_of(old), term->own);
    term->own = own;
    own = NULL;
out:
    destroy_own(table_of(distance), own);
    return status;
}

/* ---- Keys ---- */

/* True for options that version 0.1.0 wrote to every term of a recipe.yaml although only kl has them. */
static bool is_old_default(const char *key, const char *value) {
    char *end;
    if (strcmp(key, "reduction") == 0) return strcmp(value, "batchmean") == 0;
    return strcmp(key, "temperature") == 0 && strtod(value, &end) == 1 && !*end;
}

/* The names of the distances that have the option: "kl, dkd". */
static const char *owners_of(const char *key, char text[VST_OPTION_HINT]) {
    size_t used = 0;
    *text = 0;
    for (size_t i = 0; i < vst_distance_count() && used < VST_OPTION_HINT; i++)
        if (vst_options_find(table_of(vst_distance_at(i)), key))
            used += (size_t)snprintf(text + used, VST_OPTION_HINT - used, "%s%s", used ? ", " : "",
                                     vst_distance_at(i)->name);
    return text;
}

/* The options of the term's distance: " (options of the distance kl: temperature, reduction)". */
static const char *own_keys(const vst_term_options *term, char text[VST_OPTION_HINT]) {
    const vst_option *own = vst_term_own_table(term);
    size_t used = 0;
    *text = 0;
    if (!term->distance) return text;
    if (own->type == VST_TYPE_END)
        snprintf(text, VST_OPTION_HINT, " (the distance %s has no options of its own)", term->distance);
    for (const vst_option *option = own; option->type != VST_TYPE_END && used < VST_OPTION_HINT; option++) {
        if (option == own)
            used += (size_t)snprintf(text, VST_OPTION_HINT, " (options of the distance %s: ", term->distance);
        if (used < VST_OPTION_HINT)
            used += (size_t)snprintf(text + used, VST_OPTION_HINT - used, "%s%s", option->name,
                                     option[1].type == VST_TYPE_END ? ")" : ", ");
    }
    return text;
}

static vst_status unknown_key(const vst_term_options *term, const char *key) {
    vst_option all[MOST_KEYS] = {VST_OPTION_END};
    const vst_option *tables[2] = {vst_term_table, vst_term_own_table(term)};
    char owners[VST_OPTION_HINT], hint[VST_OPTION_HINT], own[VST_OPTION_HINT];
    int count = 0;
    if (*owners_of(key, owners))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "unknown key \"%.100s\"; the distance %s has no such option; these have: %s", key,
                        term->distance ? term->distance : "is missing and", owners);
    for (int i = 0; i < 2; i++)
        for (const vst_option *option = tables[i]; option->type != VST_TYPE_END && count + 1 < MOST_KEYS; option++)
            all[count++] = *option;
    return vst_fail(VST_ERROR_ARGUMENT, "unknown key \"%.100s\"%s%s", key, vst_options_hint(all, key, hint),
                    own_keys(term, own));
}

vst_status vst_term_set(vst_term_options *term, const char *key, const char *value) {
    if (strcmp(key, "distance") == 0) return set_distance(term, value);
    if (vst_options_find(vst_term_table, key)) return vst_options_set(vst_term_table, term, key, value);
    const vst_option *own = vst_term_own_table(term);
    if (vst_options_find(own, key)) return vst_options_set(own, term->own, key, value);
    return is_old_default(key, value) ? VST_OK : unknown_key(term, key);
}

vst_status vst_term_default(vst_term_options *term) { return vst_options_default(vst_term_table, term); }

void vst_term_clear(vst_term_options *term) {
    destroy_own(vst_term_own_table(term), term->own);
    term->own = NULL;
    vst_options_clear(vst_term_table, term);
}
