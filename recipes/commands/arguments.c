/* Parses the words after a subcommand with its table of flags. */
#include "recipes/commands/arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"

const vst_flag vst_help_flag = {"help", 'h', NULL, "shows this help"};

/* `--name` or `--name=value`: returns the flag; *value is its value after '=', or NULL. */
static const vst_flag *find_long(const vst_flag *table, const char *text, const char **value) {
    const size_t length = strcspn(text, "=");
    *value = text[length] ? text + length + 1 : NULL;
    for (const vst_flag *flag = table; flag && flag->name; flag++)
        if (strlen(flag->name) == length && memcmp(flag->name, text, length) == 0) return flag;
    return length == strlen(vst_help_flag.name) && memcmp(text, vst_help_flag.name, length) == 0 ? &vst_help_flag
                                                                                                 : NULL;
}

static const vst_flag *find_letter(const vst_flag *table, char letter) {
    for (const vst_flag *flag = table; flag && flag->name; flag++)
        if (flag->letter == letter) return flag;
    return letter == vst_help_flag.letter ? &vst_help_flag : NULL;
}

static vst_status unknown(const vst_flag *table, const char *word) {
    char known[512] = "--help";
    for (const vst_flag *flag = table; flag && flag->name; flag++) {
        const size_t used = strlen(known);
        if (used + strlen(flag->name) + 5 < sizeof known) {
            strcat(known, ", --");
            strcat(known, flag->name);
        }
    }
    return vst_fail(VST_ERROR_ARGUMENT, "unknown option \"%.100s\"; known are %s", word, known);
}

/* Parses the flag at argv[*at] with its value. */
static vst_status read_flag(vst_arguments *arguments, const vst_flag *table, int argc, char **argv, int *at) {
    const char *word = argv[*at], *value = NULL;
    const bool is_long = word[1] == '-';
    const vst_flag *flag = is_long ? find_long(table, word + 2, &value) : find_letter(table, word[1]);
    if (!flag) return unknown(table, word);
    if (!is_long && word[2]) {
        if (!flag->value) return vst_fail(VST_ERROR_ARGUMENT, "\"%.100s\": write options one by one", word);
        value = word + 2 + (word[2] == '=');
    }
    if (value && !flag->value)
        return vst_fail(VST_ERROR_ARGUMENT, "--%s takes no value, but has \"%.100s\"", flag->name, value);
    if (flag->value && !value) {
        if (*at + 1 == argc)
            return vst_fail(VST_ERROR_ARGUMENT, "--%s needs a value: --%s %s", flag->name, flag->name, flag->value);
        value = argv[++*at];
    }
    if (arguments->given_count == VST_MAX_FLAGS)
        return vst_fail(VST_ERROR_LIMIT, "more than %d options are given", VST_MAX_FLAGS);
    arguments->given[arguments->given_count++] = (struct vst_given_flag){flag, value};
    return VST_OK;
}

vst_status vst_arguments_parse(vst_arguments *arguments, const vst_flag *table, int minimum, int maximum, int argc,
                               char **argv) {
    vst_status status = VST_OK;
    bool words_only = false;
    memset(arguments, 0, sizeof *arguments);
    arguments->words = vst_calloc((size_t)argc + 1, sizeof *arguments->words);
    arguments->values = vst_calloc(VST_MAX_FLAGS, sizeof *arguments->values);
    if (!arguments->words || !arguments->values) VST_TRY(vst_fail_memory(sizeof(char *) * VST_MAX_FLAGS));
    for (int i = 0; i < argc; i++) {
        if (!words_only && strcmp(argv[i], "--") == 0) words_only = true;
        else if (!words_only && argv[i][0] == '-' && argv[i][1]) VST_TRY(read_flag(arguments, table, argc, argv, &i));
        else arguments->words[arguments->word_count++] = argv[i];
    }
    if (vst_flag_given(arguments, "help")) return VST_OK;
    if (arguments->word_count < minimum)
        VST_TRY(
            vst_fail(VST_ERROR_ARGUMENT, "something is missing: %d given, %d needed", arguments->word_count, minimum));
    if (maximum >= 0 && arguments->word_count > maximum)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "\"%.100s\" is too much", arguments->words[maximum]));
out:
    if (status != VST_OK) vst_arguments_clear(arguments);
    return status;
}

void vst_arguments_clear(vst_arguments *arguments) {
    vst_free(arguments->words);
    vst_free(arguments->values);
    memset(arguments, 0, sizeof *arguments);
}

bool vst_flag_given(const vst_arguments *arguments, const char *name) {
    for (int i = 0; i < arguments->given_count; i++)
        if (strcmp(arguments->given[i].flag->name, name) == 0) return true;
    return false;
}

const char *const *vst_flag_values(const vst_arguments *arguments, const char *name, int *count) {
    *count = 0;
    for (int i = 0; i < arguments->given_count; i++)
        if (strcmp(arguments->given[i].flag->name, name) == 0)
            arguments->values[(*count)++] = arguments->given[i].value;
    return arguments->values;
}

const char *vst_flag_value(const vst_arguments *arguments, const char *name) {
    for (int i = arguments->given_count - 1; i >= 0; i--)
        if (strcmp(arguments->given[i].flag->name, name) == 0) return arguments->given[i].value;
    return NULL;
}

vst_status vst_flag_int(const vst_arguments *arguments, const char *name, int minimum, int maximum, int *value) {
    const char *text = vst_flag_value(arguments, name);
    if (!text) return VST_OK;
    char *end;
    errno = 0;
    const long number = strtol(text, &end, 10);
    if (end == text || *end || errno || number < minimum || number > maximum)
        return vst_fail(VST_ERROR_ARGUMENT, "--%s %.100s: expected a whole number, %d … %d", name, text, minimum,
                        maximum);
    *value = (int)number;
    return VST_OK;
}

vst_status vst_flag_double(const vst_arguments *arguments, const char *name, double minimum, double maximum,
                           double *value) {
    const char *text = vst_flag_value(arguments, name);
    if (!text) return VST_OK;
    char *end;
    const double number = strtod(text, &end);
    if (end == text || *end || !(number >= minimum && number <= maximum))
        return vst_fail(VST_ERROR_ARGUMENT, "--%s %.100s: expected a number, %g … %g", name, text, minimum, maximum);
    *value = number;
    return VST_OK;
}

vst_status vst_flag_bf16(const vst_arguments *arguments, bool *bf16) {
    const char *text = vst_flag_value(arguments, "precision");
    *bf16 = text && strcmp(text, "bf16") == 0;
    if (!text || *bf16 || strcmp(text, "f32") == 0) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "--precision %.100s: it must be f32 or bf16", text);
}
