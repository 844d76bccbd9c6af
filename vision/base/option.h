/* Options: one table per structure declares each field's name, type, range, default and help. Recipes, --set, explain,
 * model files and error messages are all based on these tables.
 *
 *     typedef struct resnet_options { int width; double drop; } resnet_options;
 *     static const vst_option options[] = {
 *         VST_OPTION_INT(resnet_options, width, 16, 1, 4096, "channels of the first stage"),
 *         VST_OPTION_DOUBLE(resnet_options, drop, 0, 0, 1, "drop-path rate"),
 *         VST_OPTION_END};
 *
 * The key of a field is the part of its name after the last dot: "image" for "common.image". String fields are `char *`
 * owned by the structure; vst_options_clear frees them. */
#ifndef VISTILL_VISION_BASE_OPTION_H
#define VISTILL_VISION_BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"

VST_BEGIN_DECLS

typedef enum vst_option_type {
    VST_TYPE_END = 0,
    VST_TYPE_INT,    /* int */
    VST_TYPE_DOUBLE, /* double */
    VST_TYPE_BOOL,   /* bool; true/false, yes/no, on/off, 1/0 */
    VST_TYPE_STRING, /* char *, owned; default may be NULL */
    VST_TYPE_CHOICE, /* int; `choices` is "a|b|c", the value is the position in it (VST_CHOICE_TEXT) */
    VST_TYPE_LIST    /* double list: vst_option_list */
} vst_option_type;

enum { VST_OPTION_LIST_MAX = 16 };
typedef struct vst_option_list {
    int count;
    double value[VST_OPTION_LIST_MAX];
} vst_option_list;

typedef struct vst_option {
    const char *name;
    vst_option_type type;
    size_t offset;             /* of the field in its structure */
    double minimum, maximum;   /* of numbers, inclusive */
    const char *default_value; /* the default, as a user would write it; NULL for an unset string */
    const char *choices;       /* VST_TYPE_CHOICE only */
    const char *help;          /* one line */
} vst_option;

#define VST_OPTION_INT(S, field, default_value, minimum, maximum, help) \
    {#field, VST_TYPE_INT, offsetof(S, field), minimum, maximum, #default_value, NULL, help}
#define VST_OPTION_DOUBLE(S, field, default_value, minimum, maximum, help) \
    {#field, VST_TYPE_DOUBLE, offsetof(S, field), minimum, maximum, #default_value, NULL, help}
#define VST_OPTION_BOOL(S, field, default_value, help) \
    {#field, VST_TYPE_BOOL, offsetof(S, field), 0, 1, #default_value, NULL, help}
#define VST_OPTION_STRING(S, field, default_value, help) \
    {#field, VST_TYPE_STRING, offsetof(S, field), 0, 0, default_value, NULL, help}
#define VST_OPTION_CHOICE(S, field, default_value, choices, help) \
    {#field, VST_TYPE_CHOICE, offsetof(S, field), 0, 0, default_value, choices, help}
/* A choice is declared as one list that defines both its enum and its text, so that they are always in the same order:
 *
 *     #define RESNET_BLOCKS(X) X(BASIC, "basic") X(BOTTLENECK, "bottleneck")
 *     enum { VST_CHOICE_ENUM(RESNET_BLOCKS) };
 *     VST_OPTION_CHOICE(resnet, block, "basic", VST_CHOICE_TEXT(RESNET_BLOCKS), "residual block")
 *
 * VST_CHOICE_ENUM also takes lists with more columns. */
#define VST_CHOICE_ENUM(LIST) LIST(VST_CHOICE_CONSTANT_)
#define VST_CHOICE_TEXT(LIST) (&("" LIST(VST_CHOICE_WORD_))[1])
#define VST_CHOICE_NAMES(LIST) LIST(VST_CHOICE_NAME_) /* to initialise an array of texts */
#define VST_CHOICE_CONSTANT_(constant, ...) constant,
#define VST_CHOICE_WORD_(constant, text) "|" text
#define VST_CHOICE_NAME_(constant, text) text,
#define VST_OPTION_LIST(S, field, default_value, minimum, maximum, help) \
    {#field, VST_TYPE_LIST, offsetof(S, field), minimum, maximum, default_value, NULL, help}
#define VST_OPTION_END {NULL, VST_TYPE_END, 0, 0, 0, NULL, NULL, NULL}

/* Fills a zeroed or cleared structure with the defaults. */
VST_NODISCARD vst_status vst_options_default(const vst_option *table, void *structure);

/* Sets one key from text. An unknown key (the message suggests the nearest one), a wrong type or a value out of range
 * is an error; the message names the key, the value and the allowed values, and the field is unchanged. Lists are
 * written "0.5, 0.25", with or without brackets. An empty text sets a string to NULL. */
VST_NODISCARD vst_status vst_options_set(const vst_option *table, void *structure, const char *key, const char *value);

/* Allocates a structure of `size` bytes with the defaults and the options in `text`, such as "alpha=0.9,
 * milestones=[30, 60]" (NULL: none). *out is NULL without a table. The caller clears the structure with
 * vst_options_clear and frees it with vst_free. */
VST_NODISCARD vst_status vst_options_read(const vst_option *table, size_t size, const char *text, void **out);

/* Formats the value of one field as text that vst_options_set parses to the same value. The caller frees it with
 * vst_free. NULL if out of memory. A NULL string gives "". */
char *vst_options_get(const vst_option *option, const void *structure);

/* Text for messages about an unknown key: `; did you mean "lr"?` if a similar key exists, else "; known are lr, beta1,
 * …". */
enum { VST_OPTION_HINT = 576 };
const char *vst_options_hint(const vst_option *table, const char *key, char text[VST_OPTION_HINT]);

/* The declared key, or NULL. */
const vst_option *vst_options_find(const vst_option *table, const char *key);

/* Frees the strings and sets them to NULL. */
void vst_options_clear(const vst_option *table, void *structure);

VST_END_DECLS
#endif
