/* YAML files as small trees with positions: the subset that recipes use. Anchors, aliases, tags, several documents and
 * duplicate keys are errors, as is whatever exceeds the limits below. */
#ifndef VISTILL_RECIPES_CONFIG_YAML_H
#define VISTILL_RECIPES_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/status.h"

enum { VST_YAML_BYTES = 1 << 20, VST_YAML_DEPTH = 16, VST_YAML_NODES = 10000 };

typedef enum vst_yaml_kind { VST_YAML_SCALAR, VST_YAML_LIST, VST_YAML_MAP } vst_yaml_kind;

typedef struct vst_yaml {
    vst_yaml_kind kind;
    char *key;                            /* of a map's child; NULL otherwise */
    char *text;                           /* of a scalar */
    bool null;                            /* empty, ~ or null, not quoted */
    int line, column;                     /* from 1: of the key if there is one, else of the node */
    struct vst_yaml *first, *next, *last; /* children */
} vst_yaml;

/* Reads a file, or text in memory (`name` is the path in messages). The root is a map, or, from memory,
 * anything. */
VST_NODISCARD vst_status vst_yaml_read(vst_yaml **out, const char *path);
VST_NODISCARD vst_status vst_yaml_parse(vst_yaml **out, const char *name, const char *text, size_t size);
void vst_yaml_destroy(vst_yaml *node);

const vst_yaml *vst_yaml_find(const vst_yaml *map, const char *key); /* NULL if absent or not a map */

/* Fails with "file:line:column: " before the text. */
VST_NODISCARD vst_status vst_yaml_fail(const char *name, const vst_yaml *node, const char *format, ...)
    VST_PRINTF(3, 4);
/* The node must be of this kind; the message calls it `what`. */
VST_NODISCARD vst_status vst_yaml_expect(const char *name, const vst_yaml *node, vst_yaml_kind kind, const char *what);
/* Every key of the map must be one of `keys` (at most 15, ends with NULL); suggests a near one. */
VST_NODISCARD vst_status vst_yaml_known(const char *name, const vst_yaml *map, const char *what,
                                        const char *const *keys);

/* A scalar, or a list of scalars as "[a, b]": what vst_options_set reads. "" for nothing. To be vst_free'd. */
VST_NODISCARD vst_status vst_yaml_value(const char *name, const vst_yaml *node, const char *what, char **text);

/* `text` as a double-quoted YAML scalar, to be vst_free'd; NULL: out of memory. */
char *vst_yaml_quote(const char *text);

#endif
