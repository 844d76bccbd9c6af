/* Parsing, printing and copying the fields that a table of options declares. */
#include "vision/base/option.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"

enum {
    NUMBER_TEXT = 32, /* bytes of a double written in full */
    WORD_MAX = 63     /* no suggestion for longer words */
};

/* The key that users write: "image" for the field "common.image". */
static const char *key_of(const vst_option *option) {
    const char *dot = strrchr(option->name, '.');
    return dot ? dot + 1 : option->name;
}

static void *field_of(const vst_option *option, void *structure) { return (char *)structure + option->offset; }

const vst_option *vst_options_find(const vst_option *table, const char *key) {
    for (const vst_option *option = table; option->type != VST_TYPE_END; option++)
        if (strcmp(key_of(option), key) == 0) return option;
    return NULL;
}

/* ---- Suggestions ---- */

/* Levenshtein distance of two words, ignoring case; both lengths are at most WORD_MAX. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_length; j++) row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            const size_t replaced = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            const size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = replaced < shorter + 1 ? replaced : shorter + 1;
        }
    }
    return row[b_length];
}

/* The best match so far. */
typedef struct suggestion {
    const char *word;
    size_t length, distance;
} suggestion;

/* Keeps `word` if it is closer to `written` than the best match so far and close enough to be a plausible typo. */
static void suggest(suggestion *best, const char *written, const char *word, size_t length) {
    const size_t written_length = strlen(written);
    if (written_length > WORD_MAX || length > WORD_MAX) return;
    const size_t distance = edit_distance(written, written_length, word, length);
    if (distance > 1 + length / 4 || distance >= length) return;
    if (!best->word || distance < best->distance) *best = (suggestion){word, length, distance};
}

/* `; did you mean "lr"?`, or `otherwise` if nothing is similar. */
static const char *suggestion_text(const suggestion *best, const char *otherwise, char *text, size_t size) {
    if (best->word) snprintf(text, size, "; did you mean \"%.*s\"?", (int)best->length, best->word);
    else snprintf(text, size, "%s", otherwise);
    return text;
}

const char *vst_options_hint(const vst_option *table, const char *key, char text[VST_OPTION_HINT]) {
    char known[512] = "; known are";
    size_t used = strlen(known);
    suggestion best = {0};
    for (const vst_option *option = table; option->type != VST_TYPE_END; option++) {
        const char *name = key_of(option);
        suggest(&best, key, name, strlen(name));
        if (used + strlen(name) + 2 < sizeof known)
            used += (size_t)sprintf(known + used, "%s %s", option == table ? "" : ",", name);
    }
    return suggestion_text(&best, known, text, VST_OPTION_HINT);
}

static vst_status unknown_key(const vst_option *table, const char *key) {
    char hint[VST_OPTION_HINT];
    return vst_fail(VST_ERROR_ARGUMENT, "unknown key \"%.100s\"%s", key, vst_options_hint(table, key, hint));
}

/* ---- Parsing ---- */

/* The shortest text that is parsed to the same double. */
static const char *number_text(double value, char text[NUMBER_TEXT]) {
    snprintf(text, NUMBER_TEXT, "%.15g", value);
    if (strtod(text, NULL) != value) snprintf(text, NUMBER_TEXT, "%.17g", value);
    return text;
}

static vst_status out_of_range(const vst_option *option, const char *value) {
    char low[NUMBER_TEXT], high[NUMBER_TEXT];
    return vst_fail(VST_ERROR_ARGUMENT, "%s = %.100s: allowed is %s … %s", key_of(option), value,
                    number_text(option->minimum, low), number_text(option->maximum, high));
}

static vst_status expected(const vst_option *option, const char *what, const char *value) {
    return vst_fail(VST_ERROR_ARGUMENT, "%s: expected %s, got \"%.100s\"", key_of(option), what, value);
}

static const char *skip_space(const char *text) {
    while (isspace((unsigned char)*text)) text++;
    return text;
}

static vst_status parse_int(const vst_option *option, const char *value, int *out) {
    char *end;
    const long number = strtol(value, &end, 10);
    if (end == value || *skip_space(end)) return expected(option, "a whole number", value);
    if (number < INT_MIN || number > INT_MAX || (double)number < option->minimum || (double)number > option->maximum)
        return out_of_range(option, value);
    *out = (int)number;
    return VST_OK;
}

static vst_status parse_double(const vst_option *option, const char *value, double *out) {
    char *end;
    const double number = strtod(value, &end);
    if (end == value || *skip_space(end) || isnan(number)) return expected(option, "a number", value);
    if (number < option->minimum || number > option->maximum) return out_of_range(option, value);
    *out = number;
    return VST_OK;
}

static vst_status parse_bool(const vst_option *option, const char *value, bool *out) {
    static const char *const words[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int truth = 0; truth < 2; truth++)
            if (strcasecmp(value, words[i][truth]) == 0) {
                *out = truth;
                return VST_OK;
            }
    return expected(option, "true or false", value);
}

static vst_status parse_choice(const vst_option *option, const char *value, int *out) {
    char text[576];
    suggestion best = {0};
    const char *word = option->choices;
    for (int position = 0; word; position++) {
        const char *bar = strchr(word, '|');
        const size_t length = bar ? (size_t)(bar - word) : strlen(word);
        if (strlen(value) == length && memcmp(value, word, length) == 0) {
            *out = position;
            return VST_OK;
        }
        suggest(&best, value, word, length);
        word = bar ? bar + 1 : NULL;
    }
    return vst_fail(VST_ERROR_ARGUMENT, "%s: expected one of %.300s, got \"%.100s\"%s", key_of(option), option->choices,
                    value, suggestion_text(&best, "", text, sizeof text));
}

static vst_status parse_list(const vst_option *option, const char *value, vst_option_list *out) {
    vst_option_list list = {0};
    const char *at = skip_space(value);
    const bool bracket = *at == '[';
    const char close = bracket ? ']' : 0;
    at = skip_space(at + bracket);
    while (*at != close || list.count) {
        char *end;
        const double number = strtod(at, &end);
        if (end == at || isnan(number)) return expected(option, "a list of numbers such as \"0.5, 0.25\"", value);
        if (number < option->minimum || number > option->maximum) return out_of_range(option, value);
        if (list.count == VST_OPTION_LIST_MAX)
            return vst_fail(VST_ERROR_ARGUMENT, "%s: at most %d numbers are allowed", key_of(option),
                            VST_OPTION_LIST_MAX);
        list.value[list.count++] = number;
        at = skip_space(end);
        if (*at != ',') break;
        at = skip_space(at + 1);
    }
    if (*at != close || *skip_space(at + bracket))
        return expected(option, "a list of numbers such as \"0.5, 0.25\"", value);
    *out = list;
    return VST_OK;
}

static vst_status parse_string(const char *value, char **out) {
    char *copy = *value ? vst_strdup(value) : NULL;
    if (*value && !copy) return vst_fail_memory(strlen(value) + 1);
    vst_free(*out);
    *out = copy;
    return VST_OK;
}

static vst_status set_field(const vst_option *option, void *structure, const char *value) {
    void *field = field_of(option, structure);
    switch (option->type) {
    case VST_TYPE_INT: return parse_int(option, value, field);
    case VST_TYPE_DOUBLE: return parse_double(option, value, field);
    case VST_TYPE_BOOL: return parse_bool(option, value, field);
    case VST_TYPE_STRING: return parse_string(value, field);
    case VST_TYPE_CHOICE: return parse_choice(option, value, field);
    case VST_TYPE_LIST: return parse_list(option, value, field);
    case VST_TYPE_END: break;
    }
    return vst_fail(VST_ERROR_INTERNAL, "option %s has no type", option->name);
}

vst_status vst_options_set(const vst_option *table, void *structure, const char *key, const char *value) {
    const vst_option *option = vst_options_find(table, key);
    return option ? set_field(option, structure, value) : unknown_key(table, key);
}

/* Sets an option from "key=value", up to a comma outside brackets, and advances *text. */
static vst_status read_one(const vst_option *table, void *structure, const char **text) {
    vst_status status = VST_OK;
    char *key = NULL, *value = NULL;
    const char *at = skip_space(*text), *equals = at + strcspn(at, "=,"), *end = equals;
    if (*equals != '=')
        return vst_fail(VST_ERROR_ARGUMENT, "\"%.100s\": expected key=value, with commas between several", at);
    for (bool inside = false; *end && (*end != ',' || inside); end++) inside = *end == '[' || (inside && *end != ']');
    size_t length = (size_t)(equals - at);
    while (length && isspace((unsigned char)at[length - 1])) length--;
    key = vst_format("%.*s", (int)length, at);
    value = vst_format("%.*s", (int)(end - equals - 1), equals + 1);
    if (!key || !value) VST_TRY(vst_fail_memory(strlen(at)));
    VST_TRY(vst_options_set(table, structure, key, skip_space(value)));
    *text = *end ? end + 1 : end;
out:
    vst_free(key);
    vst_free(value);
    return status;
}

vst_status vst_options_read(const vst_option *table, size_t size, const char *text, void **out) {
    vst_status status = VST_OK;
    void *structure = NULL;
    *out = NULL;
    if (text) text = skip_space(text);
    if (!table && text && *text) return vst_fail(VST_ERROR_ARGUMENT, "\"%.100s\": it has no options of its own", text);
    if (!table) return VST_OK;
    if (!(structure = vst_calloc(1, size))) return vst_fail_memory(size);
    VST_TRY(vst_options_default(table, structure));
    while (text && *text) VST_TRY(read_one(table, structure, &text));
    *out = structure;
    structure = NULL;
out:
    if (structure) vst_options_clear(table, structure);
    vst_free(structure);
    return status;
}

vst_status vst_options_default(const vst_option *table, void *structure) {
    for (const vst_option *option = table; option->type != VST_TYPE_END; option++) {
        if (!option->default_value) continue; /* the structure is zeroed already */
        const vst_status status = set_field(option, structure, option->default_value);
        if (status != VST_OK) {
            vst_options_clear(table, structure);
            return status == VST_ERROR_MEMORY ? status : vst_fail_in(status, "default of %s", option->name);
        }
    }
    return VST_OK;
}

/* ---- Printing and copying ---- */

static char *choice_text(const vst_option *option, int position) {
    const char *word = option->choices;
    while (position-- > 0 && (word = strchr(word, '|'))) word++;
    VST_ASSERT(word);
    return vst_format("%.*s", (int)strcspn(word, "|"), word);
}

static char *list_text(const vst_option_list *list) {
    char text[VST_OPTION_LIST_MAX * (NUMBER_TEXT + 2) + 3], number[NUMBER_TEXT];
    size_t used = (size_t)sprintf(text, "[");
    for (int i = 0; i < list->count; i++)
        used += (size_t)sprintf(text + used, "%s%s", i ? ", " : "", number_text(list->value[i], number));
    sprintf(text + used, "]");
    return vst_strdup(text);
}

char *vst_options_get(const vst_option *option, const void *structure) {
    const char *field = (const char *)structure + option->offset;
    char text[NUMBER_TEXT];
    switch (option->type) {
    case VST_TYPE_INT: return vst_format("%d", *(const int *)field);
    case VST_TYPE_DOUBLE: return vst_strdup(number_text(*(const double *)field, text));
    case VST_TYPE_BOOL: return vst_strdup(*(const bool *)field ? "true" : "false");
    case VST_TYPE_STRING: return vst_strdup(*(char *const *)field ? *(char *const *)field : "");
    case VST_TYPE_CHOICE: return choice_text(option, *(const int *)field);
    case VST_TYPE_LIST: return list_text((const vst_option_list *)field);
    case VST_TYPE_END: break;
    }
    return vst_strdup("");
}

void vst_options_clear(const vst_option *table, void *structure) {
    for (const vst_option *option = table; option->type != VST_TYPE_END; option++) {
        if (option->type != VST_TYPE_STRING) continue;
        char **string = field_of(option, structure);
        vst_free(*string);
        *string = NULL;
    }
}
