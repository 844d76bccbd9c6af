/* Internal: a reader of Python's pickle protocols 2 to 5 that never executes code. What Python would call or import
 * ("os.system" with its arguments) becomes an inert value. All values are allocated in one arena and freed at once.
 * Values may contain themselves, so code that traverses them must limit the depth. One pickle may be used by one thread
 * at a time. */
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
    VSTI_PICKLE_DEPTH = 64,         /* nested containers, and open MARKs */
    VSTI_PICKLE_TEXT = 16 << 20,    /* bytes of one string */
    VSTI_PICKLE_GLOBALS = 2000,     /* number of different classes and functions */
    VSTI_PICKLE_GLOBAL_BYTES = 256, /* bytes of one name */
    VSTI_PICKLE_ARENA = 256 << 20   /* bytes of all values */
};

typedef enum vsti_kind {
    VSTI_NONE,
    VSTI_TRUTH,   /* True or False, in `integer` */
    VSTI_INTEGER, /* in `integer`; fits in 64 bits */
    VSTI_WIDE,    /* a wider integer: little-endian two's complement in `text` */
    VSTI_REAL,
    VSTI_STRING, /* `text`; any bytes, including NUL and invalid UTF-8 */
    VSTI_BYTES,  /* `text` */
    VSTI_TUPLE,  /* `list` */
    VSTI_LIST,
    VSTI_SET,    /* frozen or not */
    VSTI_DICT,   /* `list` of key, value, key, value …; also for OrderedDict. The last one of equal keys is valid */
    VSTI_GLOBAL, /* a class or function by its name, `global` */
    VSTI_CALL,   /* a call of `call.function` (any value) that was not made; state set later is ignored */
    VSTI_PERSISTENT /* a reference, `id`, to an object outside the pickle */
} vsti_kind;

typedef struct vsti_pickled vsti_pickled;
struct vsti_pickled {
    vsti_kind kind;
    int depth; /* nesting depth of the containers in it at its creation */
    union {
        int64_t integer;
        double real;
        struct {
            const char *bytes; /* points into the input; not terminated */
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
    const char **globals; /* names of all classes and functions in the pickle, each once, in order of appearance */
    size_t global_count, global_capacity;
    const vsti_pickled **persistents; /* all persistent references, in order */
    size_t persistent_count, persistent_capacity;
    struct vsti_block *blocks; /* the arena */
    size_t arena_bytes;
} vsti_pickle;

/* Reads the pickle at the start of `bytes` and sets *used to its size. `bytes` must outlive `out`. On failure *out is
 * empty and the message names the offset in the pickle. Errors: VST_ERROR_FORMAT (invalid pickle), _LIMIT, _UNSUPPORTED
 * (an opcode) or _MEMORY. */
VST_NODISCARD vst_status vsti_pickle_read(vsti_pickle *out, const void *bytes, size_t size, size_t *used);
void vsti_pickle_clear(vsti_pickle *pickle);

bool vsti_pickled_is(const vsti_pickled *value, const char *text);        /* the string `text` */
bool vsti_pickled_is_global(const vsti_pickled *value, const char *name); /* the class or function `name` */
/* The value of a string key; NULL if absent or if `dict` is not a dict. */
const vsti_pickled *vsti_dict_find(const vsti_pickled *dict, const char *key);

#endif
