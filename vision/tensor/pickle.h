/* A pickle as plain values: a reader of Python's pickle protocols 2 to 5 that never runs anything.
 * What Python would call or look up ("os.system" with its arguments) becomes a value that says so and does nothing.
 * All values of a pickle live in one arena and are freed at once, so values that contain themselves cost nothing extra;
 * whoever walks them must bound the walk. Not thread-safe within one pickle. */
#ifndef VISTILL_VISION_TENSOR_PICKLE_H
#define VISTILL_VISION_TENSOR_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"

enum {
    VSTI_PICKLE_BYTES = 64 << 20,   /* the longest pickle */
    VSTI_PICKLE_STACK = 1000000,    /* values on the stack */
    VSTI_PICKLE_MEMO = 1000000,     /* remembered values */
    VSTI_PICKLE_DEPTH = 64,         /* nested containers, and MARKs that are open at a time */
    VSTI_PICKLE_TEXT = 16 << 20,    /* bytes of one string */
    VSTI_PICKLE_GLOBALS = 2000,     /* different classes and functions */
    VSTI_PICKLE_GLOBAL_BYTES = 256, /* of one's name */
    VSTI_PICKLE_ARENA = 256 << 20   /* bytes of all values */
};

typedef enum vsti_kind {
    VSTI_NONE,
    VSTI_TRUTH,   /* True or False, in `integer` */
    VSTI_INTEGER, /* fits into 64 bits */
    VSTI_WIDE,    /* a wider integer: little-endian two's complement in `text` */
    VSTI_REAL,
    VSTI_STRING, /* `text`; may hold anything, NUL and broken UTF-8 included */
    VSTI_BYTES,  /* `text` */
    VSTI_TUPLE,  /* `list` */
    VSTI_LIST,
    VSTI_SET,       /* frozen or not */
    VSTI_DICT,      /* `list` of key, value, key, value …; an OrderedDict too. Of equal keys the last one counts */
    VSTI_GLOBAL,    /* a class or function by its name, `global` */
    VSTI_CALL,      /* what `call.function` (any value) would return; state set later is dropped */
    VSTI_PERSISTENT /* an object kept outside the pickle, by its `id` */
} vsti_kind;

typedef struct vsti_pickled vsti_pickled;
struct vsti_pickled {
    vsti_kind kind;
    int depth; /* containers in it, as far as they were there when it was made */
    union {
        int64_t integer;
        double real;
        struct {
            const char *bytes; /* in the bytes that were read; not terminated */
            size_t size;
        } text;
        struct {
            vsti_pickled **items;
            size_t count, capacity;
        } list;
        const char *global; /* "module.name" */
        struct {
            vsti_pickled *function, *arguments; /* the arguments are a tuple */
        } call;
        vsti_pickled *id;
    } as;
};

typedef struct vsti_pickle {
    const vsti_pickled *root;
    const char **globals; /* the names of all classes and functions asked for, once each, in order of appearance */
    size_t global_count, global_capacity;
    const vsti_pickled **persistents; /* all of them, in order */
    size_t persistent_count, persistent_capacity;
    struct vsti_block *blocks; /* the arena */
    size_t arena_bytes;
} vsti_pickle;

/* Reads the pickle that `bytes` begin with, *used bytes long. `bytes` must outlive `out`. On failure *out is empty; the
 * message names the byte of the pickle. VST_ERROR_FORMAT (broken), _LIMIT, _UNSUPPORTED (an opcode) or _MEMORY. */
VST_NODISCARD vst_status vsti_pickle_read(vsti_pickle *out, const void *bytes, size_t size, size_t *used);
void vsti_pickle_clear(vsti_pickle *pickle);

bool vsti_pickled_is(const vsti_pickled *value, const char *text);        /* the string `text` */
bool vsti_pickled_is_global(const vsti_pickled *value, const char *name); /* the class or function `name` */
/* The value of a string key; NULL if it is not there or `dict` is no dict. */
const vsti_pickled *vsti_dict_find(const vsti_pickled *dict, const char *key);

#endif
