/* Named tensors from a file of any supported format: detects the format, selects the state dict and normalises the
 * names. */
#include "vision/tensor/weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/tensor/pytorch.h"
#include "vision/tensor/safetensors.h"

enum {
    HEAD_BYTES = 16, /* enough to detect the format */
    SHOWN = 100,     /* bytes of a name that a message shows */
    KEYS_SHOWN = 20,
    KEYS_TEXT = 1000
};

typedef enum format { SAFETENSORS, PYTORCH, PYTORCH_OLD } format;

struct vst_weights {
    char *path;
    format format;
    char *entry;
    vst_tensor *tensors; /* in the file's order */
    const vst_tensor **by_name;
    size_t count, capacity;
    char **names; /* owned; empty for safetensors, where the file owns the names */
    size_t name_count, name_capacity;
    char **skipped;
    size_t skipped_count, skipped_capacity;
    vst_safetensors *safetensors; /* one of the two owns the data */
    vsti_pytorch *pytorch;
};

/* Appends a copy of `text`. */
static vst_status add_text(char ***texts, size_t *count, size_t *capacity, const char *text, size_t length) {
    vst_status status = VST_OK;
    VST_TRY(vst_grow(texts, capacity, *count + 1, sizeof **texts));
    char *copy = vst_alloc(length + 1);
    if (!copy) return vst_fail_memory(length + 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    (*texts)[(*count)++] = copy;
out:
    return status;
}

/* ---- Formats ---- */

/* Files that users often take for weights, with advice. */
static const struct {
    const char *begin, *what;
} mistakes[] = {
    {"version https://", "it is a pointer to a Git LFS file, not the file: fetch it with \"git lfs pull\""},
    {"<", "it is a web page, not the file behind it: download the file itself"},
    {"\x1f\x8b", "it is compressed by gzip: unpack it first"},
    {"\x89HDF\r\n", "it is an HDF5 file, as Keras writes: convert it to safetensors"},
    {"PK\x05\x06", "it is an empty zip archive"},
};

static vst_status recognise(const unsigned char *head, size_t size, format *out) {
    if (size == 0) return vst_fail(VST_ERROR_FORMAT, "it is empty");
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        const size_t length = strlen(mistakes[i].begin);
        if (size >= length && memcmp(head, mistakes[i].begin, length) == 0)
            return vst_fail(VST_ERROR_UNSUPPORTED, "%s", mistakes[i].what);
    }
    if (size >= 4 && memcmp(head, "PK\x03\x04", 4) == 0) *out = PYTORCH;
    else if (size > 8 && head[8] == '{' && memcmp(head + 4, "\0\0\0\0", 4) == 0) *out = SAFETENSORS; /* below 4 GiB */
    else if (size >= 2 && head[0] == 0x80 && head[1] <= 5) *out = PYTORCH_OLD;
    else
        return vst_fail(VST_ERROR_UNSUPPORTED,
                        "it is no weights file: it begins neither like safetensors nor like a file of "
                        "torch.save (zip archive or pickle), but with the byte 0x%02x",
                        head[0]);
    return VST_OK;
}

/* ---- Names ---- */

/* The length of the UTF-8 character at `text`, 0 if it is invalid. */
static size_t utf8_length(const unsigned char *text, size_t left) {
    static const struct {
        unsigned char mask, lead, low, high; /* of the first byte; range of the second byte */
        unsigned char length;
    } forms[] = {{0x80, 0x00, 0x00, 0x00, 1}, {0xe0, 0xc0, 0x80, 0xbf, 2}, {0xff, 0xe0, 0xa0, 0xbf, 3},
                 {0xff, 0xed, 0x80, 0x9f, 3}, {0xf0, 0xe0, 0x80, 0xbf, 3}, {0xff, 0xf0, 0x90, 0xbf, 4},
                 {0xff, 0xf4, 0x80, 0x8f, 4}, {0xf8, 0xf0, 0x80, 0xbf, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if ((text[0] & forms[i].mask) != forms[i].lead) continue;
        if (forms[i].length > left || text[0] == 0xc0 || text[0] == 0xc1 || text[0] > 0xf4) return 0;
        for (size_t k = 1; k < forms[i].length; k++)
            if ((text[k] & 0xc0) != 0x80 || (k == 1 && (text[k] < forms[i].low || text[k] > forms[i].high))) return 0;
        return forms[i].length;
    }
    return 0;
}

/* The rules for names are those of safetensors, so that every tensor can be written again. */
static vst_status check_name(const vsti_pickled *name) {
    const unsigned char *text = (const unsigned char *)name->as.text.bytes;
    const size_t length = name->as.text.size, limit = vst_safetensors_default_limits.name_bytes;
    if (length == 0) return vst_fail(VST_ERROR_FORMAT, "a tensor has an empty name");
    if (length > limit)
        return vst_fail(VST_ERROR_LIMIT, "the tensor name \"%.*s…\" has %zu bytes; allowed are %zu", SHOWN,
                        name->as.text.bytes, length, limit);
    for (size_t i = 0, step; i < length; i += step) {
        if (text[i] < 0x20 || text[i] == 0x7f)
            return vst_fail(VST_ERROR_FORMAT, "a tensor has the control character 0x%02x in its name",
                            (unsigned)text[i]);
        step = utf8_length(text + i, length - i);
        if (step == 0) return vst_fail(VST_ERROR_FORMAT, "the name of a tensor is not valid UTF-8 at its byte %zu", i);
    }
    return VST_OK;
}

/* Parts of names that wrappers insert: torch.compile, fully sharded data parallel, activation checkpointing. No module
 * has such a name, so they are removed everywhere. Other prefixes tell which model the tensors are of and are kept. */
static const char *const wrappers[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_fpw_module.",
                                       "_checkpoint_wrapped_module."};

/* The length of a wrapper's part at `name`, which is the start of a part; 0 if there is none, or if it is the whole
 * name. */
static size_t wrapper_length(const char *name) {
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        const size_t length = strlen(wrappers[i]);
        if (strncmp(name, wrappers[i], length) == 0 && name[length]) return length;
    }
    return 0;
}

static bool is_wrapped(const char *name) {
    for (const char *part = name; part; part = strchr(part, '.')) {
        if (*part == '.') part++;
        if (wrapper_length(part)) return true;
    }
    return false;
}

static void unwrap_name(char *to, const char *name) {
    for (bool begins = true; *name; name++) {
        for (size_t length; begins && (length = wrapper_length(name));) name += length;
        begins = *name == '.';
        *to++ = *name;
    }
    *to = 0;
}

static vst_status unwrap_names(vst_weights *weights) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < weights->count; i++) {
        const char *name = weights->tensors[i].name;
        if (!is_wrapped(name)) continue;
        VST_TRY(add_text(&weights->names, &weights->name_count, &weights->name_capacity, name, strlen(name)));
        unwrap_name(weights->names[weights->name_count - 1], name);
        weights->tensors[i].name = weights->names[weights->name_count - 1];
    }
out:
    return status;
}

/* Keeps the tensors whose names begin with `prefix` and a dot, and removes this prefix. */
static vst_status keep_only(vst_weights *weights, const char *prefix) {
    const size_t length = strlen(prefix);
    size_t kept = 0;
    if (!length) return VST_OK;
    for (size_t i = 0; i < weights->count; i++) {
        const char *name = weights->tensors[i].name;
        if (strncmp(name, prefix, length) != 0 || name[length] != '.' || !name[length + 1]) continue;
        weights->tensors[kept] = weights->tensors[i];
        weights->tensors[kept++].name += length + 1;
    }
    weights->count = kept;
    return kept ? VST_OK : vst_fail(VST_ERROR_NOT_FOUND, "no tensor's name begins with \"%.*s.\"", SHOWN, prefix);
}

static int compare_names(const void *a, const void *b) {
    const vst_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static vst_status index_names(vst_weights *weights) {
    weights->by_name = vst_calloc(weights->count, sizeof *weights->by_name);
    if (!weights->by_name) return vst_fail_memory(weights->count * sizeof *weights->by_name);
    for (size_t i = 0; i < weights->count; i++) weights->by_name[i] = &weights->tensors[i];
    qsort(weights->by_name, weights->count, sizeof *weights->by_name, compare_names);
    for (size_t i = 1; i < weights->count; i++)
        if (strcmp(weights->by_name[i - 1]->name, weights->by_name[i]->name) == 0)
            return vst_fail(VST_ERROR_FORMAT, "the tensor \"%.*s\" is there twice", SHOWN, weights->by_name[i]->name);
    return VST_OK;
}

/* ---- Finding the state dict ---- */

/* The string keys of a dict for a message: "model", "epoch". */
static const char *keys_text(const vsti_pickled *dict, char text[KEYS_TEXT]) {
    size_t used = 0, shown = 0;
    text[0] = 0;
    for (size_t i = 0; i < dict->as.list.count; i += 2) {
        const vsti_pickled *key = dict->as.list.items[i];
        if (key->kind != VSTI_STRING) continue;
        const int length = key->as.text.size < SHOWN ? (int)key->as.text.size : SHOWN;
        if (shown == KEYS_SHOWN || used + (size_t)length + 10 > KEYS_TEXT) {
            snprintf(text + used, KEYS_TEXT - used, ", …");
            break;
        }
        used += (size_t)snprintf(text + used, KEYS_TEXT - used, "%s\"%.*s\"", shown++ ? ", " : "", length,
                                 key->as.text.bytes);
    }
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?'; /* no control characters for the terminal */
    return shown ? text : "none";
}

/* The class of an object; NULL if `value` is not an object. */
static const char *class_of(const vsti_pickled *value) {
    if (value->kind != VSTI_CALL) return NULL;
    const vsti_pickled *function = value->as.call.function;
    if (function->kind == VSTI_PERSISTENT && function->as.id->as.list.count > 1) /* ("module", class, file, source) */
        function = function->as.id->as.list.items[1];
    return function->kind == VSTI_GLOBAL ? function->as.global : "unknown";
}

static vst_status not_a_dict(const vsti_pickled *value, const char *where) {
    const char *class = class_of(value);
    if (class)
        return vst_fail(VST_ERROR_UNSUPPORTED,
                        "%s is an object of the Python class %s, not a state dict: in Python, save "
                        "its state_dict() with torch.save(model.state_dict(), path)",
                        where, class);
    return vst_fail(VST_ERROR_UNSUPPORTED, "%s is not a state dict, that is, a dict of names and tensors", where);
}

/* The members of a dict: number of tensors, and dicts that contain tensors at any depth. */
typedef struct contents {
    size_t tensors;
    const vsti_pickled *key, *dict; /* the first such dict */
    size_t dicts, most;             /* number of such dicts; number of tensors in the first */
    char names[KEYS_TEXT];          /* all their names, for a message */
} contents;

enum { ENTRY_DEPTH = 4, ENTRY_BYTES = 400, ENTRY_MEMBERS = 300000 };

/* True for entries that training programs store besides the weights: the state of an optimiser has tensors too. */
static bool is_state(const vsti_pickled *key) {
    static const char *const states[] = {"optim", "lr_sched", "scheduler", "scaler", "callbacks", "loops"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        const size_t length = strlen(states[i]);
        if (key->as.text.size >= length && memcmp(key->as.text.bytes, states[i], length) == 0) return true;
    }
    return false;
}

/* Counts the tensors in a dict and in its dicts. A pickle may refer to one dict in many places, so at most *budget
 * members are visited. */
static size_t count_within(const vsti_pickled *dict, int depth, size_t *budget) {
    size_t count = 0;
    for (size_t i = 0; i < dict->as.list.count && *budget; i += 2, --*budget) {
        const vsti_pickled *key = dict->as.list.items[i], *value = dict->as.list.items[i + 1];
        if (key->kind != VSTI_STRING || is_state(key)) continue;
        if (value->kind == VSTI_DICT && depth < ENTRY_DEPTH) count += count_within(value, depth + 1, budget);
        else count += vsti_pytorch_is_tensor(value);
        if (!*budget) break;
    }
    return count;
}

static size_t tensors_within(const vsti_pickled *dict) {
    size_t budget = ENTRY_MEMBERS;
    return count_within(dict, 1, &budget);
}

static void look_into(const vsti_pickled *dict, contents *out) {
    size_t used = 0, budget = ENTRY_MEMBERS;
    *out = (contents){0};
    for (size_t i = 0; i < dict->as.list.count; i += 2) {
        const vsti_pickled *key = dict->as.list.items[i], *value = dict->as.list.items[i + 1];
        if (key->kind != VSTI_STRING) continue;
        out->tensors += vsti_pytorch_is_tensor(value);
        const size_t within = value->kind == VSTI_DICT && !is_state(key) ? count_within(value, 1, &budget) : 0;
        if (!within) continue;
        if (!out->dicts++) out->key = key, out->dict = value, out->most = within;
        if (used + SHOWN + 10 < sizeof out->names)
            used += (size_t)snprintf(out->names + used, sizeof out->names - used, "%s\"%.*s\"", used ? ", " : "",
                                     key->as.text.size < SHOWN ? (int)key->as.text.size : SHOWN, key->as.text.bytes);
    }
    for (char *c = out->names; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
}

/* Appends a key to the path of the entry: "ema", then "ema.module". */
static vst_status enter(vst_weights *weights, const char *key, size_t length) {
    const char *before = weights->entry;
    char *entry = vst_format("%s%s%.*s", before ? before : "", before ? "." : "", (int)length, key);
    if (!entry) return vst_fail_memory(length + 1);
    vst_free(weights->entry);
    weights->entry = entry;
    return VST_OK;
}

/* Finds the state dict if no entry was given. Entries of training programs come first, in timm's order, averages before
 * the raw weights; then the only dict that has more tensors than there are beside it. */
static vst_status choose(vst_weights *weights, const vsti_pickled *dict, const vsti_pickled **found) {
    static const char *const usual[] = {"state_dict_ema", "model_ema", "ema_state_dict",   "ema",
                                        "state_dict",     "model",     "model_state_dict", "module"};
    vst_status status = VST_OK;
    contents in;
    for (int depth = 0; depth < ENTRY_DEPTH; depth++) {
        const vsti_pickled *next = NULL;
        for (size_t i = 0; i < sizeof usual / sizeof *usual && !next; i++) {
            const vsti_pickled *value = vsti_dict_find(dict, usual[i]);
            if (!value || value->kind != VSTI_DICT || !tensors_within(value)) continue;
            VST_TRY(enter(weights, usual[i], strlen(usual[i])));
            next = value;
        }
        if (!next) {
            look_into(dict, &in);
            if (in.dicts > 1 && !in.tensors)
                VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                                 "several of its entries have tensors: %s; say which, with --entry (in a recipe: "
                                 "run.start_entry, distill.teacher_entry)",
                                 in.names));
            if (in.dicts != 1 || in.most <= in.tensors) break;
            VST_TRY(enter(weights, in.key->as.text.bytes, in.key->as.text.size));
            next = in.dict;
        }
        dict = next;
    }
    *found = dict;
out:
    return status;
}

/* Finds the longest part of the entry, up to a dot or its end, that is a key of the dict. *rest: what follows. */
static const vsti_pickled *find_entry(const vsti_pickled *dict, const char *entry, const char **rest) {
    char key[ENTRY_BYTES];
    snprintf(key, sizeof key, "%s", entry);
    for (char *end = key + strlen(key); end; end = strrchr(key, '.')) {
        *end = 0;
        const vsti_pickled *value = vsti_dict_find(dict, key);
        *rest = entry + strlen(key) + (entry[strlen(key)] == '.');
        if (value) return value;
    }
    return NULL;
}

/* Follows "ema.module" from dict to dict. If no key matches, the rest is a prefix of names. */
static vst_status take_entry(vst_weights *weights, const vsti_pickled *root, const char *entry,
                             const vsti_pickled **found, const char **prefix) {
    vst_status status = VST_OK;
    char text[KEYS_TEXT];
    const vsti_pickled *dict = root;
    const char *left = entry, *rest;
    if (strlen(entry) >= ENTRY_BYTES) return vst_fail(VST_ERROR_ARGUMENT, "the entry's name is too long");
    while (*left) {
        const vsti_pickled *value = find_entry(dict, left, &rest);
        if (!value) break;
        if (value->kind != VSTI_DICT) {
            snprintf(text, sizeof text, "its entry \"%.*s\"", SHOWN, entry);
            return not_a_dict(value, text);
        }
        VST_TRY(enter(weights, left, strlen(left) - strlen(rest) - (*rest != 0)));
        dict = value;
        left = rest;
    }
    if (left == entry) { /* not a dict: tensors with this prefix in the dict that is used by default */
        VST_TRY(choose(weights, root, &dict));
        for (size_t i = 0; i < dict->as.list.count; i += 2) {
            const vsti_pickled *key = dict->as.list.items[i];
            if (key->kind == VSTI_STRING && key->as.text.size > strlen(entry) &&
                memcmp(key->as.text.bytes, entry, strlen(entry)) == 0 && key->as.text.bytes[strlen(entry)] == '.')
                goto found;
        }
        VST_TRY(
            vst_fail(VST_ERROR_NOT_FOUND, "it has no entry \"%.*s\"; it has %s", SHOWN, entry, keys_text(root, text)));
    }
found:
    *found = dict;
    *prefix = left;
out:
    return status;
}

static vst_status add_tensor(vst_weights *weights, const vsti_pickled *key, const vsti_pickled *value) {
    vst_status status = VST_OK;
    vst_tensor tensor;
    bool is_tensor;
    const int shown = key->as.text.size < SHOWN ? (int)key->as.text.size : SHOWN;
    status = vsti_pytorch_tensor(weights->pytorch, value, &is_tensor, &tensor);
    if (status != VST_OK) return vst_fail_in(status, "tensor \"%.*s\"", shown, key->as.text.bytes);
    if (!is_tensor) return VST_OK;
    VST_TRY(check_name(key));
    if (weights->count == vst_safetensors_default_limits.tensors)
        return vst_fail(VST_ERROR_LIMIT, "more than %zu tensors", weights->count);
    VST_TRY(add_text(&weights->names, &weights->name_count, &weights->name_capacity, key->as.text.bytes,
                     key->as.text.size));
    VST_TRY(vst_grow(&weights->tensors, &weights->capacity, weights->count + 1, sizeof *weights->tensors));
    tensor.name = weights->names[weights->name_count - 1];
    weights->tensors[weights->count++] = tensor;
out:
    return status;
}

/* If no tensor was found, the wrong entry was taken; the message lists the others. */
static vst_status no_tensors(const vst_weights *weights, const vsti_pickled *root) {
    static const char *const usual[] = {"state_dict", "model"};
    char text[KEYS_TEXT];
    if (weights->entry) return vst_fail(VST_ERROR_NOT_FOUND, "its entry \"%s\" has no tensors", weights->entry);
    for (int i = 0; i < 2; i++) {
        const vsti_pickled *value = vsti_dict_find(root, usual[i]);
        if (value && value->kind == VSTI_DICT)
            return vst_fail(VST_ERROR_NOT_FOUND, "its entry \"%s\" has no tensors", usual[i]);
        if (!value || !class_of(value)) continue;
        snprintf(text, sizeof text, "its entry \"%s\"", usual[i]);
        return not_a_dict(value, text);
    }
    return vst_fail(VST_ERROR_NOT_FOUND,
                    "it has no tensors at its top level; its entries are: %s. Name the one with the weights",
                    keys_text(root, text));
}

static vst_status read_pytorch(vst_weights *weights, const vsti_source *from, const char *entry) {
    vst_status status = VST_OK;
    const vsti_pickled *dict = NULL;
    const char *name, *prefix = "";
    VST_TRY(vsti_pytorch_open(&weights->pytorch, from, weights->format == PYTORCH));
    const vsti_pickled *root = vsti_pytorch_root(weights->pytorch);
    if (root->kind != VSTI_DICT) VST_TRY(not_a_dict(root, "what was saved"));
    if (entry) VST_TRY(take_entry(weights, root, entry, &dict, &prefix));
    else VST_TRY(choose(weights, root, &dict));
    for (size_t i = 0; i < dict->as.list.count; i += 2)
        if (dict->as.list.items[i]->kind == VSTI_STRING)
            VST_TRY(add_tensor(weights, dict->as.list.items[i], dict->as.list.items[i + 1]));
    if (weights->count == 0) VST_TRY(no_tensors(weights, root));
    VST_TRY(unwrap_names(weights));
    VST_TRY(keep_only(weights, prefix));
    if (*prefix) VST_TRY(enter(weights, prefix, strlen(prefix)));
    while ((name = vsti_pytorch_skipped(weights->pytorch, weights->skipped_count)))
        VST_TRY(add_text(&weights->skipped, &weights->skipped_count, &weights->skipped_capacity, name, strlen(name)));
    vsti_pytorch_release(weights->pytorch);
out:
    return status;
}

/* ---- Opening ---- */

/* *named: the message begins with the path already. */
static vst_status read_safetensors(vst_weights *weights, const vsti_source *from, const char *entry, bool *named) {
    vst_status status = VST_OK;
    *named = true;
    if (from->bytes)
        VST_TRY(vst_safetensors_parse(&weights->safetensors, weights->path, from->bytes, from->size, NULL));
    else VST_TRY(vst_safetensors_open(&weights->safetensors, weights->path, NULL));
    *named = false;
    weights->count = vst_safetensors_count(weights->safetensors);
    weights->tensors = vst_calloc(weights->count, sizeof *weights->tensors);
    if (!weights->tensors) return vst_fail_memory(weights->count * sizeof *weights->tensors);
    for (size_t i = 0; i < weights->count; i++) weights->tensors[i] = *vst_safetensors_at(weights->safetensors, i);
    VST_TRY(unwrap_names(weights));
    if (entry) {
        VST_TRY(keep_only(weights, entry));
        VST_TRY(enter(weights, entry, strlen(entry)));
    }
out:
    return status;
}

static vst_status check_head(const vsti_source *from, format *out) {
    unsigned char head[HEAD_BYTES];
    const size_t size = from->size < HEAD_BYTES ? from->size : HEAD_BYTES,
                 limit = vst_safetensors_default_limits.file_bytes;
    if (from->size > limit) return vst_fail(VST_ERROR_LIMIT, "%zu bytes long; allowed are %zu", from->size, limit);
    const vst_status status = vsti_source_read(from, 0, head, size);
    return status == VST_OK ? recognise(head, size, out) : status;
}

static vst_status load_new(vst_weights **out, const char *path, const vsti_source *from, const char *entry) {
    vst_status status = VST_OK;
    bool named = false;
    vst_weights *weights = vst_calloc(1, sizeof *weights);
    if (!weights) VST_TRY(vst_fail_memory(sizeof *weights));
    weights->path = vst_strdup(path);
    if (!weights->path) VST_TRY(vst_fail_memory(strlen(path) + 1));
    VST_TRY(check_head(from, &weights->format));
    if (weights->format == SAFETENSORS) VST_TRY(read_safetensors(weights, from, entry, &named));
    else VST_TRY(read_pytorch(weights, from, entry));
    VST_TRY(index_names(weights));
    *out = weights;
    weights = NULL;
out:
    if (status != VST_OK && !named) status = vst_fail_in(status, "%s", path);
    vst_weights_close(weights);
    return status;
}

vst_status vst_weights_parse(vst_weights **out, const char *name, const void *bytes, size_t size, const char *entry) {
    const vsti_source from = vsti_source_of(bytes, size);
    *out = NULL;
    return load_new(out, name, &from, entry);
}

vst_status vst_weights_open(vst_weights **out, const char *path, const char *entry) {
    vst_status status = VST_OK;
    vsti_source from = {.fd = -1};
    *out = NULL;
    VST_TRY(vsti_source_open(&from, path));
    VST_TRY(load_new(out, path, &from, entry));
out:
    vsti_source_close(&from);
    return status;
}

static void free_texts(char **texts, size_t count) {
    for (size_t i = 0; i < count; i++) vst_free(texts[i]);
    vst_free(texts);
}

void vst_weights_close(vst_weights *weights) {
    if (!weights) return;
    free_texts(weights->names, weights->name_count);
    free_texts(weights->skipped, weights->skipped_count);
    vst_safetensors_close(weights->safetensors);
    vsti_pytorch_close(weights->pytorch);
    vst_free(weights->tensors);
    vst_free(weights->by_name);
    vst_free(weights->entry);
    vst_free(weights->path);
    vst_free(weights);
}

/* ---- Access ---- */

const char *vst_weights_path(const vst_weights *weights) { return weights->path; }

const char *vst_weights_format(const vst_weights *weights) {
    static const char *const names[] = {
        [SAFETENSORS] = "safetensors", [PYTORCH] = "PyTorch", [PYTORCH_OLD] = "PyTorch before 1.6"};
    return names[weights->format];
}

const char *vst_weights_entry(const vst_weights *weights) { return weights->entry; }

size_t vst_weights_count(const vst_weights *weights) { return weights->count; }

const vst_tensor *vst_weights_at(const vst_weights *weights, size_t index) {
    VST_ASSERT(index < weights->count);
    return &weights->tensors[index];
}

const vst_tensor *vst_weights_find(const vst_weights *weights, const char *name) {
    const vst_tensor wanted = {.name = name}, *key = &wanted;
    const vst_tensor *const *found =
        bsearch(&key, weights->by_name, weights->count, sizeof *weights->by_name, compare_names);
    return found ? *found : NULL;
}

size_t vst_weights_skipped_count(const vst_weights *weights) { return weights->skipped_count; }

const char *vst_weights_skipped_at(const vst_weights *weights, size_t index) {
    VST_ASSERT(index < weights->skipped_count);
    return weights->skipped[index];
}

const char *vst_weights_metadata(const vst_weights *weights, const char *key) {
    return weights->safetensors ? vst_safetensors_metadata(weights->safetensors, key) : NULL;
}
