/* The pickle reader: a stack machine of about fifty opcodes that only builds values. The work and memory of an opcode
 * are bounded by its bytes, so a malicious pickle causes an error and never an endless loop. */
#include "vision/tensor/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "vision/base/memory.h"

enum {
    BLOCK_BYTES = 64 << 10,
    GRAIN = 16,          /* alignment of values in the arena */
    GLOBAL_SLOTS = 4096, /* size of the hash table of names; more than twice VSTI_PICKLE_GLOBALS */
    PROTOCOL_FIRST = 2,
    PROTOCOL_LAST = 5
};

/* Opcodes, named as in Python's pickletools. */
enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_POP = '0',
    OP_POP_MARK = '1',
    OP_DUP = '2',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_DICT = 'd',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_LIST = 'l',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_LIST = ']',
    OP_EMPTY_TUPLE = ')',
    OP_EMPTY_DICT = '}',
    OP_PROTO = 0x80,
    OP_NEWOBJ = 0x81,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_LONG4 = 0x8b, /* protocol 2 */
    OP_BINBYTES = 'B',
    OP_SHORT_BINBYTES = 'C', /* 3 */
    OP_SHORT_BINUNICODE = 0x8c,
    OP_BINUNICODE8 = 0x8d,
    OP_BINBYTES8 = 0x8e,
    OP_EMPTY_SET = 0x8f,
    OP_ADDITEMS = 0x90,
    OP_FROZENSET = 0x91,
    OP_NEWOBJ_EX = 0x92,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95,     /* 4 */
    OP_BYTEARRAY8 = 0x96 /* 5 */
};

typedef struct vsti_block {
    struct vsti_block *next;
    size_t used, size;
    _Alignas(GRAIN) char bytes[];
} block;

typedef struct machine {
    vsti_pickle *pickle;
    const unsigned char *bytes;
    size_t size, at;
    vsti_pickled **stack;
    size_t height, stack_capacity;
    size_t marks[VSTI_PICKLE_DEPTH]; /* stack heights */
    size_t mark_count;
    vsti_pickled **memo; /* NULL for indices that are not set */
    size_t memo_size, memo_capacity;
    uint16_t slots[GLOBAL_SLOTS]; /* 1 + index into pickle->globals; 0: free */
    bool stopped;
} machine;

static vst_status broken(const machine *m, const char *what) {
    return vst_fail(VST_ERROR_FORMAT, "the pickle is broken at byte %zu: %s", m->at, what);
}

static vst_status limited(const machine *m, const char *what, size_t limit) {
    return vst_fail(VST_ERROR_LIMIT, "the pickle has more than %zu %s at byte %zu", limit, what, m->at);
}

/* ---- The arena ---- */

static vst_status allocate(machine *m, size_t bytes, void *pointer) {
    vsti_pickle *pickle = m->pickle;
    const size_t rounded = (bytes + GRAIN - 1) / GRAIN * GRAIN; /* no overflow: callers stay far below SIZE_MAX */
    if (rounded > VSTI_PICKLE_ARENA - pickle->arena_bytes) return limited(m, "bytes of values", VSTI_PICKLE_ARENA);
    if (!pickle->blocks || rounded > pickle->blocks->size - pickle->blocks->used) {
        const size_t size = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
        block *fresh = vst_alloc(sizeof *fresh + size);
        if (!fresh) return vst_fail_memory(sizeof *fresh + size);
        *fresh = (block){.next = pickle->blocks, .size = size};
        pickle->blocks = fresh;
    }
    void *memory = pickle->blocks->bytes + pickle->blocks->used;
    pickle->blocks->used += rounded;
    pickle->arena_bytes += rounded;
    memcpy(pointer, &memory, sizeof memory); /* pointer is a T ** for any T */
    return VST_OK;
}

static vst_status check_depth(const machine *m, vsti_pickled *container, const vsti_pickled *item) {
    if (item->depth >= VSTI_PICKLE_DEPTH) return limited(m, "nested containers", VSTI_PICKLE_DEPTH);
    if (container->depth <= item->depth) container->depth = item->depth + 1;
    return VST_OK;
}

/* Appends to a tuple, list, set or dict. */
static vst_status append(machine *m, vsti_pickled *container, vsti_pickled *item) {
    vst_status status = VST_OK;
    VST_TRY(check_depth(m, container, item));
    if (container->as.list.count == container->as.list.capacity) {
        const size_t capacity = container->as.list.capacity ? 2 * container->as.list.capacity : 4;
        vsti_pickled **items;
        VST_TRY(allocate(m, capacity * sizeof *items, &items));
        if (container->as.list.count > 0)
            memcpy(items, container->as.list.items, container->as.list.count * sizeof *items);
        container->as.list.items = items;
        container->as.list.capacity = capacity;
    }
    container->as.list.items[container->as.list.count++] = item;
out:
    return status;
}

/* ---- The stack ---- */

/* Number of values above the newest MARK. Values below it cannot be popped. */
static size_t reachable(const machine *m) { return m->height - (m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0); }

static vst_status push(machine *m, vsti_pickled *value) {
    vst_status status = VST_OK;
    if (m->height == VSTI_PICKLE_STACK) return limited(m, "values on its stack", VSTI_PICKLE_STACK);
    VST_TRY(vst_grow(&m->stack, &m->stack_capacity, m->height + 1, sizeof(vsti_pickled *)));
    m->stack[m->height++] = value;
out:
    return status;
}

static vst_status pop(machine *m, vsti_pickled **out) {
    if (reachable(m) == 0) return broken(m, "it takes a value that is not there");
    *out = m->stack[--m->height];
    return VST_OK;
}

static vst_status top(const machine *m, vsti_pickled **out) {
    if (reachable(m) == 0) return broken(m, "it needs a value that is not there");
    *out = m->stack[m->height - 1];
    return VST_OK;
}

/* Removes the newest MARK. The values pushed since then stay on the stack, from index *first on. */
static vst_status pop_mark(machine *m, size_t *first) {
    if (m->mark_count == 0) return broken(m, "a MARK is missing");
    *first = m->marks[--m->mark_count];
    return VST_OK;
}

static vst_status push_new(machine *m, vsti_pickled value) {
    vst_status status = VST_OK;
    vsti_pickled *made = NULL;
    VST_TRY(allocate(m, sizeof *made, &made));
    *made = value;
    VST_TRY(push(m, made));
out:
    return status;
}

/* ---- Reading the bytes ---- */

static vst_status take(machine *m, size_t count, const unsigned char **out) {
    if (count > m->size - m->at) {
        if (m->size == VSTI_PICKLE_BYTES) return limited(m, "bytes", VSTI_PICKLE_BYTES);
        return vst_fail(VST_ERROR_FORMAT,
                        "the pickle ends at byte %zu in the middle: the file is cut short; copy it again", m->size);
    }
    *out = m->bytes + m->at;
    m->at += count;
    return VST_OK;
}

/* Reads a little-endian integer of `width` bytes. */
static vst_status take_number(machine *m, size_t width, uint64_t *out) {
    vst_status status = VST_OK;
    const unsigned char *bytes = NULL;
    VST_TRY(take(m, width, &bytes));
    *out = 0;
    for (size_t i = width; i > 0; i--) *out = *out << 8 | bytes[i - 1];
out:
    return status;
}

static vst_status push_integer(machine *m, size_t width) {
    vst_status status = VST_OK;
    uint64_t number = 0;
    VST_TRY(take_number(m, width, &number));
    /* Only BININT (4 bytes) is signed. */
    const int64_t value = width == 4 ? (int64_t)(int32_t)(uint32_t)number : (int64_t)number;
    VST_TRY(push_new(m, (vsti_pickled){.kind = VSTI_INTEGER, .as.integer = value}));
out:
    return status;
}

static vst_status push_real(machine *m) {
    vst_status status = VST_OK;
    const unsigned char *bytes = NULL;
    uint64_t bits = 0;
    double real;
    VST_TRY(take(m, 8, &bytes));
    for (int i = 0; i < 8; i++) bits = bits << 8 | bytes[i]; /* big-endian, unlike all other numbers */
    memcpy(&real, &bits, sizeof real);
    VST_TRY(push_new(m, (vsti_pickled){.kind = VSTI_REAL, .as.real = real}));
out:
    return status;
}

/* Pushes text that is preceded by its length in `width` bytes. */
static vst_status push_text(machine *m, vsti_kind kind, size_t width) {
    vst_status status = VST_OK;
    const unsigned char *bytes = NULL;
    uint64_t length = 0;
    VST_TRY(take_number(m, width, &length));
    if (length > VSTI_PICKLE_TEXT) return limited(m, "bytes in a string", VSTI_PICKLE_TEXT);
    VST_TRY(take(m, (size_t)length, &bytes));
    VST_TRY(push_new(m, (vsti_pickled){.kind = kind, .as.text = {(const char *)bytes, (size_t)length}}));
out:
    return status;
}

/* Pushes a two's complement integer of `width` bytes; VSTI_INTEGER if it fits in 64 bits. */
static vst_status push_long(machine *m, size_t width) {
    vst_status status = VST_OK;
    vsti_pickled *value = NULL;
    VST_TRY(push_text(m, VSTI_WIDE, width));
    VST_TRY(top(m, &value));
    const size_t length = value->as.text.size;
    if (length > 8) return VST_OK;
    const unsigned char *bytes = (const unsigned char *)value->as.text.bytes;
    uint64_t number = length > 0 && bytes[length - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = length; i > 0; i--) number = number << 8 | bytes[i - 1];
    *value = (vsti_pickled){.kind = VSTI_INTEGER, .as.integer = (int64_t)number};
out:
    return status;
}

/* ---- Containers ---- */

/* Replaces the values from index `first` on with a container of them. */
static vst_status collect(machine *m, vsti_kind kind, size_t first) {
    vst_status status = VST_OK;
    vsti_pickled *made = NULL;
    if (kind == VSTI_DICT && (m->height - first) % 2) return broken(m, "a key has no value");
    VST_TRY(allocate(m, sizeof *made, &made));
    *made = (vsti_pickled){.kind = kind, .depth = 1};
    for (size_t i = first; i < m->height; i++) VST_TRY(append(m, made, m->stack[i]));
    m->height = first;
    VST_TRY(push(m, made));
out:
    return status;
}

static vst_status collect_from_mark(machine *m, vsti_kind kind) {
    vst_status status = VST_OK;
    size_t first = 0;
    VST_TRY(pop_mark(m, &first));
    VST_TRY(collect(m, kind, first));
out:
    return status;
}

static vst_status collect_last(machine *m, size_t count) {
    if (reachable(m) < count) return broken(m, "a tuple has too few values");
    return collect(m, VSTI_TUPLE, m->height - count);
}

/* Appends the values from index `first` on to the container below them. For the result of a call they are dropped. */
static vst_status extend(machine *m, vsti_kind kind, size_t first) {
    vst_status status = VST_OK;
    const size_t end = m->height;
    vsti_pickled *container = NULL;
    m->height = first;
    VST_TRY(top(m, &container));
    if (container->kind == VSTI_CALL) return VST_OK;
    if (container->kind != kind) return broken(m, "values are put into something that cannot hold them");
    if (kind == VSTI_DICT && (end - first) % 2) return broken(m, "a key has no value");
    for (size_t i = first; i < end; i++) VST_TRY(append(m, container, m->stack[i]));
out:
    return status;
}

static vst_status extend_from_mark(machine *m, vsti_kind kind) {
    vst_status status = VST_OK;
    size_t first = 0;
    VST_TRY(pop_mark(m, &first));
    VST_TRY(extend(m, kind, first));
out:
    return status;
}

static vst_status extend_by(machine *m, vsti_kind kind, size_t count) {
    if (reachable(m) <= count) return broken(m, "it takes a value that is not there");
    return extend(m, kind, m->height - count);
}

/* ---- Classes and functions: only their names are kept ---- */

static vst_status check_global(const machine *m, const vsti_pickled *module, const vsti_pickled *name) {
    if (module->kind != VSTI_STRING || name->kind != VSTI_STRING) return broken(m, "a class is not named by strings");
    if (module->as.text.size + name->as.text.size > VSTI_PICKLE_GLOBAL_BYTES)
        return limited(m, "bytes in the name of a class", VSTI_PICKLE_GLOBAL_BYTES);
    for (int part = 0; part < 2; part++) {
        const vsti_pickled *text = part == 0 ? module : name;
        if (text->as.text.size == 0) return broken(m, "a class has no name");
        for (size_t i = 0; i < text->as.text.size; i++) /* names are shown to users */
            if ((unsigned char)text->as.text.bytes[i] <= 0x20 || text->as.text.bytes[i] == 0x7f)
                return broken(m, "the name of a class has a space or control character");
    }
    return VST_OK;
}

/* Returns the only copy of a name. */
static vst_status intern(machine *m, const char *name, const char **out) {
    vst_status status = VST_OK;
    vsti_pickle *pickle = m->pickle;
    const size_t length = strlen(name);
    size_t slot = XXH3_64bits(name, length) % GLOBAL_SLOTS;
    char *copy;
    for (; m->slots[slot]; slot = (slot + 1) % GLOBAL_SLOTS) {
        *out = pickle->globals[m->slots[slot] - 1];
        if (strcmp(*out, name) == 0) return VST_OK;
    }
    if (pickle->global_count == VSTI_PICKLE_GLOBALS) return limited(m, "different classes", VSTI_PICKLE_GLOBALS);
    VST_TRY(allocate(m, length + 1, &copy));
    VST_TRY(vst_grow(&pickle->globals, &pickle->global_capacity, pickle->global_count + 1, sizeof(char *)));
    *out = memcpy(copy, name, length + 1);
    pickle->globals[pickle->global_count++] = copy;
    m->slots[slot] = (uint16_t)pickle->global_count;
out:
    return status;
}

static vst_status push_global(machine *m, const vsti_pickled *module, const vsti_pickled *name) {
    vst_status status = VST_OK;
    char text[VSTI_PICKLE_GLOBAL_BYTES + 2];
    vsti_pickled made = {.kind = VSTI_GLOBAL};
    VST_TRY(check_global(m, module, name));
    snprintf(text, sizeof text, "%.*s.%.*s", (int)module->as.text.size, module->as.text.bytes, (int)name->as.text.size,
             name->as.text.bytes);
    VST_TRY(intern(m, text, &made.as.global));
    VST_TRY(push_new(m, made));
out:
    return status;
}

/* Reads text up to the end of the line. */
static vst_status take_line(machine *m, vsti_pickled *out) {
    vst_status status = VST_OK;
    const unsigned char *begin = m->bytes + m->at, *end = memchr(begin, '\n', m->size - m->at);
    const size_t length = end ? (size_t)(end - begin) : m->size - m->at;
    VST_TRY(take(m, length + 1, &begin));
    *out = (vsti_pickled){.kind = VSTI_STRING, .as.text = {(const char *)begin, length}};
out:
    return status;
}

static vst_status named_global(machine *m) {
    vst_status status = VST_OK;
    vsti_pickled module, name;
    VST_TRY(take_line(m, &module));
    VST_TRY(take_line(m, &name));
    VST_TRY(push_global(m, &module, &name));
out:
    return status;
}

static vst_status stacked_global(machine *m) {
    vst_status status = VST_OK;
    vsti_pickled *module = NULL, *name = NULL;
    VST_TRY(pop(m, &name));
    VST_TRY(pop(m, &module));
    VST_TRY(push_global(m, module, name));
out:
    return status;
}

/* OrderedDict(), or as Python 2 wrote it OrderedDict([[key, value], …]). */
static vst_status push_ordered_dict(machine *m, const vsti_pickled *arguments) {
    vst_status status = VST_OK;
    vsti_pickled *dict = NULL;
    VST_TRY(allocate(m, sizeof *dict, &dict));
    *dict = (vsti_pickled){.kind = VSTI_DICT, .depth = 1};
    if (arguments->as.list.count > 0) {
        const vsti_pickled *pairs = arguments->as.list.items[0];
        if (arguments->as.list.count > 1 || pairs->kind != VSTI_LIST) return broken(m, "an OrderedDict of no list");
        for (size_t i = 0; i < pairs->as.list.count; i++) {
            const vsti_pickled *pair = pairs->as.list.items[i];
            if ((pair->kind != VSTI_LIST && pair->kind != VSTI_TUPLE) || pair->as.list.count != 2)
                return broken(m, "an OrderedDict of something other than pairs");
            for (int part = 0; part < 2; part++) VST_TRY(append(m, dict, pair->as.list.items[part]));
        }
    }
    VST_TRY(push(m, dict));
out:
    return status;
}

/* Pushes a call as a value; nothing is executed. */
static vst_status push_call(machine *m, vsti_pickled *function, vsti_pickled *arguments) {
    vst_status status = VST_OK;
    vsti_pickled made = {.kind = VSTI_CALL, .depth = 1, .as.call = {function, arguments}};
    if (arguments->kind != VSTI_TUPLE) return broken(m, "the arguments of a call are no tuple");
    if (vsti_pickled_is_global(function, "collections.OrderedDict")) return push_ordered_dict(m, arguments);
    VST_TRY(check_depth(m, &made, arguments));
    VST_TRY(check_depth(m, &made, function));
    VST_TRY(push_new(m, made));
out:
    return status;
}

/* With `keywords` the value on top is a dict of keyword arguments, which is dropped. */
static vst_status call(machine *m, bool keywords) {
    vst_status status = VST_OK;
    vsti_pickled *function = NULL, *arguments = NULL, *dropped = NULL;
    if (keywords) VST_TRY(pop(m, &dropped));
    VST_TRY(pop(m, &arguments));
    VST_TRY(pop(m, &function));
    VST_TRY(push_call(m, function, arguments));
out:
    return status;
}

static vst_status push_persistent(machine *m) {
    vst_status status = VST_OK;
    vsti_pickle *pickle = m->pickle;
    vsti_pickled made = {.kind = VSTI_PERSISTENT, .depth = 1};
    VST_TRY(pop(m, &made.as.id));
    VST_TRY(check_depth(m, &made, made.as.id));
    VST_TRY(push_new(m, made));
    VST_TRY(vst_grow(&pickle->persistents, &pickle->persistent_capacity, pickle->persistent_count + 1,
                     sizeof *pickle->persistents));
    pickle->persistents[pickle->persistent_count++] = m->stack[m->height - 1];
out:
    return status;
}

/* ---- The memo ---- */

static vst_status put(machine *m, uint64_t index) {
    vst_status status = VST_OK;
    vsti_pickled *value = NULL;
    VST_TRY(top(m, &value));
    if (index >= VSTI_PICKLE_MEMO) return limited(m, "remembered values", VSTI_PICKLE_MEMO);
    VST_TRY(vst_grow(&m->memo, &m->memo_capacity, (size_t)index + 1, sizeof(vsti_pickled *)));
    while (m->memo_size <= index) m->memo[m->memo_size++] = NULL;
    m->memo[index] = value;
out:
    return status;
}

static vst_status put_by_number(machine *m, size_t width) {
    vst_status status = VST_OK;
    uint64_t index = 0;
    VST_TRY(take_number(m, width, &index));
    VST_TRY(put(m, index));
out:
    return status;
}

static vst_status get(machine *m, size_t width) {
    vst_status status = VST_OK;
    uint64_t index = 0;
    VST_TRY(take_number(m, width, &index));
    if (index >= m->memo_size || !m->memo[index]) return broken(m, "it recalls a value that was not remembered");
    VST_TRY(push(m, m->memo[index]));
out:
    return status;
}

/* ---- Opcodes ---- */

static vst_status check_protocol(machine *m) {
    vst_status status = VST_OK;
    uint64_t protocol;
    VST_TRY(take_number(m, 1, &protocol));
    if (protocol < PROTOCOL_FIRST || protocol > PROTOCOL_LAST)
        return vst_fail(VST_ERROR_UNSUPPORTED, "pickle protocol %" PRIu64 " is not supported; known are %d to %d",
                        protocol, PROTOCOL_FIRST, PROTOCOL_LAST);
out:
    return status;
}

static vst_status set_mark(machine *m) {
    if (m->mark_count == VSTI_PICKLE_DEPTH) return limited(m, "nested MARKs", VSTI_PICKLE_DEPTH);
    m->marks[m->mark_count++] = m->height;
    return VST_OK;
}

static vst_status drop(machine *m) {
    vsti_pickled *dropped = NULL;
    if (reachable(m) == 0 && m->mark_count > 0) { /* a MARK is popped like a value */
        m->mark_count--;
        return VST_OK;
    }
    return pop(m, &dropped);
}

static vst_status drop_from_mark(machine *m) {
    size_t first = 0;
    const vst_status status = pop_mark(m, &first);
    if (status == VST_OK) m->height = first;
    return status;
}

static vst_status duplicate(machine *m) {
    vsti_pickled *value = NULL;
    const vst_status status = top(m, &value);
    return status == VST_OK ? push(m, value) : status;
}

/* Drops the state: it could only be interpreted by the class's own code. */
static vst_status build(machine *m) {
    vsti_pickled *state = NULL, *object = NULL;
    const vst_status status = pop(m, &state);
    return status == VST_OK ? top(m, &object) : status;
}

static vst_status stop(machine *m) {
    if (m->mark_count > 0 || m->height != 1) return broken(m, "it stops with a number of values other than one");
    m->pickle->root = m->stack[0];
    m->stopped = true;
    return VST_OK;
}

static vst_status unknown(machine *m, int opcode) {
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "the pickle's opcode 0x%02x at byte %zu is not supported: it is broken, or not "
                    "what torch.save writes",
                    (unsigned)opcode, m->at - 1);
}

static vst_status execute(machine *m, int opcode) {
    uint64_t ignored;
    switch (opcode) {
    case OP_PROTO: return check_protocol(m);
    case OP_FRAME: return take_number(m, 8, &ignored); /* only of use to readers that read in pieces */
    case OP_STOP: return stop(m);
    case OP_MARK: return set_mark(m);
    case OP_POP: return drop(m);
    case OP_POP_MARK: return drop_from_mark(m);
    case OP_DUP: return duplicate(m);
    case OP_NONE: return push_new(m, (vsti_pickled){.kind = VSTI_NONE});
    case OP_NEWTRUE:
    case OP_NEWFALSE: return push_new(m, (vsti_pickled){.kind = VSTI_TRUTH, .as.integer = opcode == OP_NEWTRUE});
    case OP_BININT1: return push_integer(m, 1);
    case OP_BININT2: return push_integer(m, 2);
    case OP_BININT: return push_integer(m, 4);
    case OP_LONG1: return push_long(m, 1);
    case OP_LONG4: return push_long(m, 4);
    case OP_BINFLOAT: return push_real(m);
    case OP_SHORT_BINUNICODE: return push_text(m, VSTI_STRING, 1);
    case OP_BINUNICODE: return push_text(m, VSTI_STRING, 4);
    case OP_BINUNICODE8: return push_text(m, VSTI_STRING, 8);
    case OP_SHORT_BINSTRING: return push_text(m, VSTI_STRING, 1); /* Python 2 string */
    case OP_BINSTRING: return push_text(m, VSTI_STRING, 4);
    case OP_SHORT_BINBYTES: return push_text(m, VSTI_BYTES, 1);
    case OP_BINBYTES: return push_text(m, VSTI_BYTES, 4);
    case OP_BINBYTES8:
    case OP_BYTEARRAY8: return push_text(m, VSTI_BYTES, 8);
    case OP_EMPTY_TUPLE: return collect(m, VSTI_TUPLE, m->height);
    case OP_EMPTY_LIST: return collect(m, VSTI_LIST, m->height);
    case OP_EMPTY_SET: return collect(m, VSTI_SET, m->height);
    case OP_EMPTY_DICT: return collect(m, VSTI_DICT, m->height);
    case OP_TUPLE1: return collect_last(m, 1);
    case OP_TUPLE2: return collect_last(m, 2);
    case OP_TUPLE3: return collect_last(m, 3);
    case OP_TUPLE: return collect_from_mark(m, VSTI_TUPLE);
    case OP_LIST: return collect_from_mark(m, VSTI_LIST);
    case OP_FROZENSET: return collect_from_mark(m, VSTI_SET);
    case OP_DICT: return collect_from_mark(m, VSTI_DICT);
    case OP_APPEND: return extend_by(m, VSTI_LIST, 1);
    case OP_SETITEM: return extend_by(m, VSTI_DICT, 2);
    case OP_APPENDS: return extend_from_mark(m, VSTI_LIST);
    case OP_SETITEMS: return extend_from_mark(m, VSTI_DICT);
    case OP_ADDITEMS: return extend_from_mark(m, VSTI_SET);
    case OP_BINPUT: return put_by_number(m, 1);
    case OP_LONG_BINPUT: return put_by_number(m, 4);
    case OP_MEMOIZE: return put(m, m->memo_size);
    case OP_BINGET: return get(m, 1);
    case OP_LONG_BINGET: return get(m, 4);
    case OP_GLOBAL: return named_global(m);
    case OP_STACK_GLOBAL: return stacked_global(m);
    case OP_REDUCE:
    case OP_NEWOBJ: return call(m, false);
    case OP_NEWOBJ_EX: return call(m, true);
    case OP_BUILD: return build(m);
    case OP_BINPERSID: return push_persistent(m);
    default: return unknown(m, opcode);
    }
}

vst_status vsti_pickle_read(vsti_pickle *out, const void *bytes, size_t size, size_t *used) {
    vst_status status = VST_OK;
    const unsigned char *opcode = NULL;
    *out = (vsti_pickle){0};
    machine *m = vst_calloc(1, sizeof *m);
    if (!m) return vst_fail_memory(sizeof *m);
    m->pickle = out;
    m->bytes = bytes;
    m->size = size < VSTI_PICKLE_BYTES ? size : VSTI_PICKLE_BYTES;
    while (!m->stopped) {
        VST_TRY(take(m, 1, &opcode));
        VST_TRY(execute(m, *opcode));
    }
    *used = m->at;
out:
    if (status != VST_OK) vsti_pickle_clear(out);
    vst_free(m->stack);
    vst_free(m->memo);
    vst_free(m);
    return status;
}

void vsti_pickle_clear(vsti_pickle *pickle) {
    for (block *b = pickle->blocks, *next; b; b = next) {
        next = b->next;
        vst_free(b);
    }
    vst_free(pickle->globals);
    vst_free(pickle->persistents);
    *pickle = (vsti_pickle){0};
}

bool vsti_pickled_is(const vsti_pickled *value, const char *text) {
    const size_t length = strlen(text);
    return value->kind == VSTI_STRING && value->as.text.size == length &&
           memcmp(value->as.text.bytes, text, length) == 0;
}

bool vsti_pickled_is_global(const vsti_pickled *value, const char *name) {
    return value->kind == VSTI_GLOBAL && strcmp(value->as.global, name) == 0;
}

const vsti_pickled *vsti_dict_find(const vsti_pickled *dict, const char *key) {
    if (dict->kind != VSTI_DICT) return NULL;
    for (size_t i = dict->as.list.count; i >= 2; i -= 2)
        if (vsti_pickled_is(dict->as.list.items[i - 2], key)) return dict->as.list.items[i - 1];
    return NULL;
}
