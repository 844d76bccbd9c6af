/* YAML files as small trees with positions. Supports the subset that recipes use: anchors, aliases, tags, several
 * documents, duplicate keys and anything above the limits below are errors. */
#ifndef VISTILL_RECIPES_CONFIG_YAML_H
#define VISTILL_RECIPES_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"

enum { VST_YAML_BYTES = 1 << 20, VST_YAML_DEPTH = 16, VST_YAML_NODES = 10000 };

typedef enum vst_yaml_kind { VST_YAML_SCALAR, VST_YAML_LIST, VST_YAML_MAP } vst_yaml_kind;

typedef struct vst_yaml {
    vst_yaml_kind kind;
    char *key;                            /* of a child of a map; otherwise NULL */
    char *text;                           /* of a scalar */
    bool null;                            /* empty, ~ or null, unquoted */
    int line, column;                     /* from 1: of the key if there is one, otherwise of the node */
    struct vst_yaml *first, *next, *last; /* children */
} vst_yaml;

/* Reads a file, or text in memory (messages use `name` as its path). The root of a file must be a map. */
VST_NODISCARD vst_status vst_yaml_read(vst_yaml **out, const char *path);
VST_NODISCARD vst_status vst_yaml_parse(vst_yaml **out, const char *name, const char *text, size_t size);
void vst_yaml_destroy(vst_yaml *node);

const vst_yaml *vst_yaml_find(const vst_yaml *map, const char *key); /* NULL if absent or not a map */

/* Fails with a message that begins with "file:line:column: ". */
VST_NODISCARD vst_status vst_yaml_fail(const char *name, const vst_yaml *node, const char *format, ...)
    VST_PRINTF(3, 4);
/* Fails unless the node has this kind; the message calls it `what`. */
VST_NODISCARD vst_status vst_yaml_expect(const char *name, const vst_yaml *node, vst_yaml_kind kind, const char *what);
/* Fails unless every key of the map is one of `keys` (at most 15, NULL at the end); the message suggests a similar one.
 */
VST_NODISCARD vst_status vst_yaml_known(const char *name, const vst_yaml *map, const char *what,
                                        const char *const *keys);

/* A scalar, or a list of scalars as "[a, b]", as text for vst_options_set. "" for a null value. The caller frees *text
 * with vst_free. */
VST_NODISCARD vst_status vst_yaml_value(const char *name, const vst_yaml *node, const char *what, char **text);

/* Formats `text` as a double-quoted YAML scalar. The caller frees it with vst_free. NULL if out of memory. */
char *vst_yaml_quote(const char *text);

#endif
