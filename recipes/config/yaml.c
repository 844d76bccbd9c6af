/* Builds a tree from libyaml's events. libyaml's document API would be shorter, but it resolves aliases first and has
 * no limits. */
#include "recipes/config/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "vision/base/file.h"
#include "vision/base/lines.h"
#include "vision/base/memory.h"
#include "vision/base/option.h"

enum { MOST_VALUES = 256, MOST_KEYS = 16 };

typedef struct builder {
    yaml_parser_t parser;
    const char *name; /* file name for messages */
    vst_yaml *root;
    vst_yaml *open[VST_YAML_DEPTH]; /* maps and lists that are still open */
    int depth, nodes, documents;
    char *key; /* key whose value comes next */
    int key_line, key_column;
} builder;

/* ---- Errors ---- */

vst_status vst_yaml_fail(const char *name, const vst_yaml *node, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return vst_fail(VST_ERROR_FORMAT, "%s:%d:%d: %s", name, node->line, node->column, text);
}

static vst_status fail_at(const builder *b, const yaml_mark_t *mark, const char *what) {
    return vst_fail(VST_ERROR_FORMAT, "%s:%zu:%zu: %s", b->name, mark->line + 1, mark->column + 1, what);
}

static vst_status parser_error(const builder *b) {
    const yaml_parser_t *parser = &b->parser;
    if (parser->error == YAML_MEMORY_ERROR) return vst_fail_memory(VST_YAML_BYTES);
    if (parser->error == YAML_READER_ERROR)
        return vst_fail(VST_ERROR_FORMAT, "%s: byte %zu: %s; a recipe is text in UTF-8", b->name,
                        parser->problem_offset, parser->problem);
    char what[512];
    snprintf(what, sizeof what, "not valid YAML: %s%s%s%s", parser->problem ? parser->problem : "",
             parser->context ? ", " : "", parser->context ? parser->context : "",
             parser->problem && strstr(parser->problem, "cannot start any token")
                 ? "; indent with spaces, not tabs, and quote text that begins with a special character"
                 : "");
    return fail_at(b, &parser->problem_mark, what);
}

vst_status vst_yaml_expect(const char *name, const vst_yaml *node, vst_yaml_kind kind, const char *what) {
    static const char *const names[] = {"a single value", "a list", "keys with values"};
    if (node->kind == kind) return VST_OK;
    return vst_yaml_fail(name, node, "%s: expected %s, got %s", what, names[kind], names[node->kind]);
}

/* Makes a table of options from the keys, to use its suggestions. */
vst_status vst_yaml_known(const char *name, const vst_yaml *map, const char *what, const char *const *keys) {
    vst_option table[MOST_KEYS] = {{0}};
    for (int i = 0; keys[i] && i + 1 < MOST_KEYS; i++) table[i] = (vst_option){.name = keys[i], .type = VST_TYPE_BOOL};
    for (const vst_yaml *child = map->first; child; child = child->next) {
        if (vst_options_find(table, child->key)) continue;
        char hint[VST_OPTION_HINT];
        return vst_yaml_fail(name, child, "unknown key \"%.100s\" in %s%s", child->key, what,
                             vst_options_hint(table, child->key, hint));
    }
    return VST_OK;
}

/* ---- Building the tree ---- */

void vst_yaml_destroy(vst_yaml *node) {
    while (node) {
        vst_yaml *next = node->next;
        vst_yaml_destroy(node->first); /* at most VST_YAML_DEPTH deep */
        vst_free(node->key);
        vst_free(node->text);
        vst_free(node);
        node = next;
    }
}

const vst_yaml *vst_yaml_find(const vst_yaml *map, const char *key) {
    for (const vst_yaml *child = map->kind == VST_YAML_MAP ? map->first : NULL; child; child = child->next)
        if (strcmp(child->key, key) == 0) return child;
    return NULL;
}

/* Appends a new node to the innermost open node, with the pending key. */
static vst_status add_node(builder *b, vst_yaml_kind kind, const yaml_mark_t *mark, vst_yaml **out) {
    if (++b->nodes > VST_YAML_NODES) return fail_at(b, mark, "more values than a recipe may have (10000)");
    vst_yaml *node = *out = vst_calloc(1, sizeof *node);
    if (!node) return vst_fail_memory(sizeof *node);
    node->kind = kind;
    node->key = b->key;
    node->line = b->key ? b->key_line : (int)mark->line + 1;
    node->column = b->key ? b->key_column : (int)mark->column + 1;
    b->key = NULL;
    vst_yaml *parent = b->depth ? b->open[b->depth - 1] : NULL;
    if (!parent) b->root = node;
    else if (parent->last) parent->last->next = node;
    else parent->first = node;
    if (parent) parent->last = node;
    return VST_OK;
}

static vst_status open_node(builder *b, vst_yaml_kind kind, const yaml_event_t *event) {
    if (b->depth == VST_YAML_DEPTH) return fail_at(b, &event->start_mark, "nested deeper than 16 levels");
    vst_yaml *node;
    const vst_status status = add_node(b, kind, &event->start_mark, &node);
    if (status == VST_OK) b->open[b->depth++] = node;
    return status;
}

static bool means_nothing(const yaml_event_t *event, const char *text) {
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || !strcmp(text, "~") || !strcmp(text, "null") || !strcmp(text, "Null") || !strcmp(text, "NULL"));
}

static vst_status add_scalar(builder *b, const yaml_event_t *event) {
    const char *value = (const char *)event->data.scalar.value;
    if (strlen(value) != event->data.scalar.length) return fail_at(b, &event->start_mark, "text contains a zero byte");
    char *text = vst_strdup(value);
    if (!text) return vst_fail_memory(event->data.scalar.length + 1);
    vst_yaml *parent = b->depth ? b->open[b->depth - 1] : NULL, *node;
    if (parent && parent->kind == VST_YAML_MAP && !b->key) {
        b->key = text; /* freed with the builder */
        b->key_line = (int)event->start_mark.line + 1;
        b->key_column = (int)event->start_mark.column + 1;
        const vst_yaml *earlier = vst_yaml_find(parent, text);
        if (!earlier) return VST_OK;
        return vst_fail(VST_ERROR_FORMAT, "%s:%d:%d: \"%.100s\" was already given in line %d", b->name, b->key_line,
                        b->key_column, text, earlier->line);
    }
    const vst_status status = add_node(b, VST_YAML_SCALAR, &event->start_mark, &node);
    if (status != VST_OK) {
        vst_free(text);
        return status;
    }
    node->text = text;
    node->null = means_nothing(event, text);
    return VST_OK;
}

static vst_status refuse_marks(const builder *b, const yaml_event_t *event, const void *anchor, const void *tag) {
    if (anchor) return fail_at(b, &event->start_mark, "anchors (&name) are not supported: use `base:` or write it out");
    if (tag) return fail_at(b, &event->start_mark, "tags (!name) are not supported: remove it");
    return VST_OK;
}

static vst_status handle(builder *b, const yaml_event_t *event) {
    vst_status status = VST_OK;
    const vst_yaml *parent = b->depth ? b->open[b->depth - 1] : NULL;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++) return fail_at(b, &event->start_mark, "a second document (---): one file, one document");
        return VST_OK;
    case YAML_ALIAS_EVENT:
        return fail_at(b, &event->start_mark, "aliases (*name) are not supported: use `base:` or write it out");
    case YAML_SCALAR_EVENT:
        VST_TRY(refuse_marks(b, event, event->data.scalar.anchor, event->data.scalar.tag));
        return add_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        VST_TRY(refuse_marks(b, event, event->data.mapping_start.anchor, event->data.mapping_start.tag));
        if (parent && parent->kind == VST_YAML_MAP && !b->key)
            return fail_at(b, &event->start_mark, "a key must be a single word");
        return open_node(b, event->type == YAML_SEQUENCE_START_EVENT ? VST_YAML_LIST : VST_YAML_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: b->depth--; return VST_OK;
    default: return VST_OK;
    }
out:
    return status;
}

vst_status vst_yaml_parse(vst_yaml **out, const char *name, const char *text, size_t size) {
    builder b = {.name = name};
    vst_status status = VST_OK;
    *out = NULL;
    if (size > VST_YAML_BYTES) return vst_fail(VST_ERROR_LIMIT, "%s: larger than 1 MiB: not a recipe", name);
    if (!yaml_parser_initialize(&b.parser)) return vst_fail_memory(VST_YAML_BYTES);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    const size_t mark = vst_byte_order_mark(text, size);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text + mark, size - mark);
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b.parser, &event)) VST_TRY(parser_error(&b));
        end = event.type == YAML_STREAM_END_EVENT;
        status = handle(&b, &event);
        yaml_event_delete(&event);
        if (status != VST_OK) goto out;
    }
    if (!b.root) VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: the file is empty", name));
    *out = b.root;
    b.root = NULL;
out:
    vst_yaml_destroy(b.root);
    vst_free(b.key);
    yaml_parser_delete(&b.parser);
    return status;
}

/* ---- Files ---- */

vst_status vst_yaml_read(vst_yaml **out, const char *path) {
    char *text = NULL;
    size_t size = 0;
    vst_status status = VST_OK;
    *out = NULL;
    VST_TRY(vsti_file_read(path, VST_YAML_BYTES, "a recipe or study", &text, &size));
    VST_TRY(vst_yaml_parse(out, path, text, size));
    VST_TRY(vst_yaml_expect(path, *out, VST_YAML_MAP, "the file"));
out:
    vst_free(text);
    if (status != VST_OK) {
        vst_yaml_destroy(*out);
        *out = NULL;
    }
    return status;
}

/* ---- Values ---- */

vst_status vst_yaml_value(const char *name, const vst_yaml *node, const char *what, char **text) {
    vst_status status = VST_OK;
    char *joined = NULL;
    int count = 0;
    *text = NULL;
    if (node->kind == VST_YAML_MAP) return vst_yaml_expect(name, node, VST_YAML_SCALAR, what);
    if (node->kind == VST_YAML_SCALAR) joined = vst_strdup(node->null ? "" : node->text);
    else joined = vst_strdup("[");
    for (const vst_yaml *child = node->first; child && joined; child = child->next) {
        VST_TRY(vst_yaml_expect(name, child, VST_YAML_SCALAR, what));
        if (++count > MOST_VALUES) VST_TRY(vst_yaml_fail(name, child, "%s: more than %d values", what, MOST_VALUES));
        char *longer = vst_format("%s%s%s", joined, child == node->first ? "" : ", ", child->text);
        vst_free(joined);
        joined = longer;
    }
    if (joined && node->kind == VST_YAML_LIST) {
        char *closed = vst_format("%s]", joined);
        vst_free(joined);
        joined = closed;
    }
    if (!joined) VST_TRY(vst_fail_memory(64));
    *text = joined;
    joined = NULL;
out:
    vst_free(joined);
    return status;
}

/* The code point of a multi-byte character that libyaml would refuse or change unless it is escaped, or that changes
 * how a terminal shows the line: C1 controls, line separators, the byte-order mark, non-characters, marks of direction.
 * 0 for others. */
static unsigned needs_escape(const char *text, int *length) {
    const unsigned char *t = (const unsigned char *)text;
    *length = 2;
    if (t[0] == 0xc2 && t[1] >= 0x80 && t[1] < 0xa0) return t[1];
    if (t[0] == 0xd8 && t[1] == 0x9c) return 0x61c;
    if (t[0] < 0xe0 || t[0] > 0xef || !t[1] || !t[2]) return 0;
    const unsigned code = (t[0] & 15u) << 12 | (t[1] & 63u) << 6 | (t[2] & 63u);
    *length = 3;
    const bool direction = code == 0x200e || code == 0x200f || (code >= 0x2066 && code <= 0x2069);
    return direction || (code >= 0x2028 && code <= 0x202e) || code == 0xfeff || code >= 0xfffe ? code : 0;
}

char *vst_yaml_quote(const char *text) {
    char *quoted = vst_alloc(4 * strlen(text) + 3), *at = quoted;
    if (!quoted) return NULL;
    *at++ = '"';
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 127) {
            at += sprintf(at, "\\x%02x", (unsigned)*text);
            continue;
        }
        int length;
        const unsigned code = needs_escape(text, &length);
        if (code) {
            at += sprintf(at, "\\u%04x", code);
            text += length - 1;
            continue;
        }
        if (*text == '"' || *text == '\\') *at++ = '\\';
        *at++ = *text;
    }
    strcpy(at, "\"");
    return quoted;
}
