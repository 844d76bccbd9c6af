/* Parses the words after a subcommand with a declared table: `--flag`, `--flag value`, `--flag=value`, `-f value`; `--`
 * ends the flags. `vistill help COMMAND` is generated from the same table. */
#ifndef VISTILL_RECIPES_COMMANDS_ARGUMENTS_H
#define VISTILL_RECIPES_COMMANDS_ARGUMENTS_H

#include <stdbool.h>

#include "vision/base/status.h"

typedef struct vst_flag {
    const char *name;  /* without dashes: "set" */
    char letter;       /* 'o' for -o; 0: none */
    const char *value; /* name of its value, "KEY=VALUE"; NULL: a switch */
    const char *help;  /* one line */
} vst_flag;

extern const vst_flag vst_help_flag;

enum { VST_MAX_FLAGS = 128 }; /* given on one command line */
typedef struct vst_arguments {
    const char **words; /* words that are not flags, in order */
    int word_count;
    struct vst_given_flag {
        const vst_flag *flag;
        const char *value;
    } given[VST_MAX_FLAGS];
    int given_count;
    const char **values; /* scratch of vst_flag_values */
} vst_arguments;

/* `table` ends with {0}; minimum and maximum bound the number of words (maximum -1: any number). The strings point into
 * argv. Every command has --help and -h, with which no other word is needed. */
VST_NODISCARD vst_status vst_arguments_parse(vst_arguments *arguments, const vst_flag *table, int minimum, int maximum,
                                             int argc, char **argv);
void vst_arguments_clear(vst_arguments *arguments);

/* Whether the flag was given; its last value (NULL if not given); all values (valid until the next call).
 */
bool vst_flag_given(const vst_arguments *arguments, const char *name);
const char *vst_flag_value(const vst_arguments *arguments, const char *name);
const char *const *vst_flag_values(const vst_arguments *arguments, const char *name, int *count);
/* A number in range. *value is unchanged if the flag was not given. */
VST_NODISCARD vst_status vst_flag_int(const vst_arguments *arguments, const char *name, int minimum, int maximum,
                                      int *value);
VST_NODISCARD vst_status vst_flag_double(const vst_arguments *arguments, const char *name, double minimum,
                                         double maximum, double *value);
/* --precision: f32 or bf16; false if it was not given. */
#define VST_PRECISION_FLAG \
    {"precision", 0, "TYPE", "precision of products: f32, the default, or bf16 (AVX512_BF16 or AMX)"}
VST_NODISCARD vst_status vst_flag_bf16(const vst_arguments *arguments, bool *bf16);

#endif
