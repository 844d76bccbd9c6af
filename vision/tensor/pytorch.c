/* Reads files of torch.save. libzip reads the archive and pickle.c the pickle; this file has the rules of both formats,
 * and turns calls of torch._utils._rebuild_tensor_v2 into dense tensors. */
#include "vision/tensor/pytorch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "vision/base/file.h"
#include "vision/base/memory.h"

enum {
    SHOWN = 100,     /* bytes of a name that a message shows */
    KEY_DIGITS = 20, /* maximum length of a storage's key: a counter in zip files, an address in the older format */
    PROTOCOL = 1001  /* of the older format */
};
/* Maximum size of the pickles in a file of the older format: the object and the list of keys may both have the maximum
 * size. */
static const size_t head_limit = 2 * (size_t)VSTI_PICKLE_BYTES + (64 << 10);

typedef struct storage {
    const char *key; /* digits in the pickle, not terminated */
    int key_size;
    const char *type; /* "torch.FloatStorage" */
    bool known;       /* dtype is set */
    vst_dtype dtype;
    int64_t count; /* elements */
    size_t bytes;
    bool located; /* older format: found in the file, at `offset` */
    size_t offset;
    void *data;  /* NULL until a tensor needs it */
    bool viewed; /* a tensor points to it */
} storage;

struct vsti_pytorch {
    vsti_source from;
    zip_t *zip; /* NULL: the older format */
    char *stem; /* prefix of the names in the archive, including "/" */
    char *head; /* the pickle's bytes; in the older format the start of the file */
    vsti_pickle pickle;
    storage *storages; /* sorted by key */
    size_t storage_count;
    void **blocks; /* data of tensors */
    size_t block_count, block_capacity;
    size_t strided_bytes;        /* bytes of tensors that had to be copied because they were not dense */
    char nothing[VST_ALIGNMENT]; /* data of tensors without elements */
};

/* Stores a block of data until the file is closed. On failure the block is freed. */
static vst_status keep(vsti_pytorch *file, void *data) {
    const vst_status status = vst_grow(&file->blocks, &file->block_capacity, file->block_count + 1, sizeof(void *));
    if (status == VST_OK) file->blocks[file->block_count++] = data;
    else vst_free(data);
    return status;
}

/* ---- The zip archive ---- */

static vst_status zip_failed(zip_error_t *error, const char *what) {
    const int code = zip_error_code_zip(error);
    vst_status status = VST_ERROR_FORMAT; /* also for a failed seek: a broken archive can have impossible offsets */
    if (code == ZIP_ER_MEMORY) status = VST_ERROR_MEMORY;
    if (code == ZIP_ER_READ || code == ZIP_ER_OPEN) status = VST_ERROR_IO;
    return vst_fail(status, "%s: %s; copy the file again", what, zip_error_strerror(error));
}

/* Opens a separate FILE, which libzip closes. */
static zip_source_t *source_of_file(int fd, zip_error_t *error) {
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    FILE *stream = copy < 0 ? NULL : fdopen(copy, "rb");
    if (!stream) {
        zip_error_set(error, ZIP_ER_OPEN, errno);
        if (copy >= 0) close(copy);
        return NULL;
    }
    zip_source_t *source = zip_source_filep_create(stream, 0, -1, error);
    if (!source) fclose(stream);
    return source;
}

static vst_status open_archive(vsti_pytorch *file) {
    vst_status status = VST_OK;
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = file->from.bytes ? zip_source_buffer_create(file->from.bytes, file->from.size, 0, &error)
                                            : source_of_file(file->from.fd, &error);
    if (source) file->zip = zip_open_from_source(source, ZIP_RDONLY, &error); /* takes ownership of source on success */
    if (!file->zip) {
        status = zip_failed(&error, "the zip archive cannot be opened");
        zip_source_free(source);
    }
    zip_error_fini(&error);
    return status;
}

static int compare_texts(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* Names may contain any bytes and are compared as bytes. */
static vst_status list_members(zip_t *zip, const char ***out, size_t *count) {
    const zip_int64_t entries = zip_get_num_entries(zip, 0);
    *count = entries < 0 ? 0 : (size_t)entries;
    *out = vst_calloc(*count, sizeof **out);
    if (!*out) return vst_fail_memory(*count * sizeof **out);
    for (size_t i = 0; i < *count; i++) {
        (*out)[i] = zip_get_name(zip, i, ZIP_FL_ENC_RAW);
        if (!(*out)[i]) return zip_failed(zip_get_error(zip), "the zip archive has a member without a name");
    }
    qsort(*out, *count, sizeof **out, compare_texts);
    for (size_t i = 1; i < *count; i++)
        if (strcmp((*out)[i - 1], (*out)[i]) == 0)
            return vst_fail(VST_ERROR_FORMAT, "the zip archive has the member \"%.*s\" twice", SHOWN, (*out)[i]);
    return VST_OK;
}

/* The prefix is the name under which the file was saved, so the pickle is found by the end of its name. */
static vst_status find_stem(vsti_pytorch *file, const char *const *names, size_t count) {
    static const char wanted[] = "data.pkl";
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]), tail = sizeof wanted - 1;
        const size_t stem = length < tail ? 0 : length - tail;
        if (length < tail || strcmp(names[i] + stem, wanted) != 0 || (stem > 0 && names[i][stem - 1] != '/')) continue;
        if (file->stem)
            return vst_fail(VST_ERROR_FORMAT,
                            "the zip archive has \"%.*s%s\" and \"%.*s\": it should have one data.pkl", SHOWN,
                            file->stem, wanted, SHOWN, names[i]);
        file->stem = vst_format("%.*s", (int)stem, names[i]);
        if (!file->stem) return vst_fail_memory(stem + 1);
    }
    if (!file->stem)
        return vst_fail(VST_ERROR_FORMAT, "the zip archive has no data.pkl: it was not written by torch.save");
    return VST_OK;
}

/* The full name of a member, freed with vst_free; NULL if out of memory. */
static char *member_name(const vsti_pytorch *file, const char *name) { return vst_format("%s%s", file->stem, name); }

/* Sets *index to the member's index, -1 if there is none. */
static vst_status locate(const vsti_pytorch *file, const char *name, zip_int64_t *index) {
    char *full = member_name(file, name);
    if (!full) return vst_fail_memory(strlen(file->stem) + strlen(name) + 1);
    *index = zip_name_locate(file->zip, full, ZIP_FL_ENC_RAW);
    vst_free(full);
    return VST_OK;
}

static vst_status refuse_torchscript(const vsti_pytorch *file) {
    zip_int64_t index = -1;
    const vst_status status = locate(file, "constants.pkl", &index);
    if (status != VST_OK || index < 0) return status;
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "it is a TorchScript archive, a program: in Python, save its weights with "
                    "torch.save(torch.jit.load(path).state_dict(), new_path)");
}

/* The sizes of uncompressed members cannot exceed the file's size, unless they overlap. */
static vst_status check_members(const vsti_pytorch *file, size_t count) {
    const zip_uint64_t needed =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        zip_stat_t info;
        if (zip_stat_index(file->zip, i, 0, &info) != 0 || (info.valid & needed) != needed)
            return zip_failed(zip_get_error(file->zip), "the zip archive has a broken member");
        if (info.encryption_method != ZIP_EM_NONE)
            return vst_fail(VST_ERROR_UNSUPPORTED,
                            "the member \"%.*s\" is encrypted; unpack it and save the weights again "
                            "with torch.save",
                            SHOWN, info.name);
        if (info.comp_method != ZIP_CM_STORE)
            return vst_fail(VST_ERROR_UNSUPPORTED,
                            "the member \"%.*s\" is compressed, which torch.save never does; load the "
                            "file in Python and save it again with torch.save",
                            SHOWN, info.name);
        if (info.size != info.comp_size)
            return vst_fail(VST_ERROR_FORMAT,
                            "the member \"%.*s\" is not compressed, yet has %" PRIu64 " bytes of which %" PRIu64
                            " are in the archive",
                            SHOWN, info.name, info.size, info.comp_size);
        if (__builtin_add_overflow(total, info.size, &total) || total > file->from.size)
            return vst_fail(VST_ERROR_FORMAT,
                            "the members of the zip archive have more bytes than the file: they overlap, or "
                            "the file is cut short");
    }
    return VST_OK;
}

/* Reads the whole member. libzip verifies the checksum at its end, so one more byte is requested. */
static vst_status read_opened(zip_file_t *member, char *to, size_t size, const char *name) {
    char more;
    for (size_t done = 0; done < size;) {
        const size_t left = size - done;
        const zip_int64_t got = zip_fread(member, to + done, left < VSTI_IO_CHUNK ? left : VSTI_IO_CHUNK);
        if (got < 0) return zip_failed(zip_file_get_error(member), name);
        if (got == 0)
            return vst_fail(VST_ERROR_FORMAT, "%s ends at byte %zu of %zu: the file is cut short; copy it again", name,
                            done, size);
        done += (size_t)got;
    }
    const zip_int64_t got = zip_fread(member, &more, 1);
    if (got < 0) return zip_failed(zip_file_get_error(member), name);
    if (got > 0) return vst_fail(VST_ERROR_FORMAT, "%s has more than its %zu bytes", name, size);
    return VST_OK;
}

/* Reads a member of `least` to `most` bytes to new memory. *to is NULL if there is no such member. */
static vst_status read_member(const vsti_pytorch *file, const char *name, size_t least, size_t most, void **to,
                              size_t *size) {
    vst_status status = VST_OK;
    zip_stat_t info;
    zip_int64_t index = -1;
    zip_file_t *member = NULL;
    *to = NULL;
    VST_TRY(locate(file, name, &index));
    if (index < 0) return VST_OK;
    if (zip_stat_index(file->zip, (zip_uint64_t)index, 0, &info) != 0)
        VST_TRY(zip_failed(zip_get_error(file->zip), name));
    *size = (size_t)info.size;
    if (*size < least)
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s has %zu bytes, but the pickle says %zu", name, *size, least));
    if (*size > most) VST_TRY(vst_fail(VST_ERROR_LIMIT, "%s has %zu bytes; allowed are %zu", name, *size, most));
    member = zip_fopen_index(file->zip, (zip_uint64_t)index, 0);
    if (!member) VST_TRY(zip_failed(zip_get_error(file->zip), name));
    *to = vst_alloc_aligned(*size);
    if (!*to) VST_TRY(vst_fail_memory(*size));
    VST_TRY(read_opened(member, *to, *size, name));
out:
    if (member) zip_fclose(member);
    if (status != VST_OK) {
        vst_free(*to);
        *to = NULL;
    }
    return status;
}

/* PyTorch before 2.1 did not write this member; in practice its files are little-endian. */
static vst_status check_byte_order(const vsti_pytorch *file) {
    static const char little[] = "little";
    void *text;
    size_t size;
    vst_status status = read_member(file, "byteorder", 0, SHOWN, &text, &size);
    if (status == VST_OK && text && (size != sizeof little - 1 || memcmp(text, little, size) != 0))
        status = vst_fail(VST_ERROR_UNSUPPORTED, "its byteorder is \"%.*s\"; only \"little\" is supported", (int)size,
                          (const char *)text);
    vst_free(text);
    return status;
}

static vst_status read_zip(vsti_pytorch *file) {
    vst_status status = VST_OK;
    const char **names = NULL;
    void *pickle = NULL;
    size_t count, size, used;
    VST_TRY(open_archive(file));
    VST_TRY(list_members(file->zip, &names, &count));
    VST_TRY(find_stem(file, names, count));
    VST_TRY(refuse_torchscript(file));
    VST_TRY(check_members(file, count));
    VST_TRY(check_byte_order(file));
    VST_TRY(read_member(file, "data.pkl", 0, VSTI_PICKLE_BYTES, &pickle, &size));
    if (!pickle) VST_TRY(vst_fail(VST_ERROR_FORMAT, "the zip archive has no data.pkl"));
    file->head = pickle;
    VST_TRY(vsti_pickle_read(&file->pickle, file->head, size, &used));
    if (used != size) VST_TRY(vst_fail(VST_ERROR_FORMAT, "data.pkl ends at byte %zu, but has %zu", used, size));
out:
    vst_free(names);
    return status;
}

/* ---- Storages ---- */

static const struct {
    const char *name;
    vst_dtype dtype;
} storage_types[] = {
    {"torch.DoubleStorage", VST_F64},    {"torch.FloatStorage", VST_F32}, {"torch.HalfStorage", VST_F16},
    {"torch.BFloat16Storage", VST_BF16}, {"torch.LongStorage", VST_I64},  {"torch.IntStorage", VST_I32},
    {"torch.ShortStorage", VST_I16},     {"torch.CharStorage", VST_I8},   {"torch.ByteStorage", VST_U8},
    {"torch.BoolStorage", VST_BOOL},
};
enum { STORAGE_TYPES = sizeof storage_types / sizeof *storage_types };

static vst_status check_storage(const storage *s) {
    if (s->known) return VST_OK;
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "a %s is not supported; known are storages of Double, Float, Half, BFloat16, Long, "
                    "Int, Short, Char, Byte and Bool",
                    s->type);
}

static vst_status read_key(const vsti_pickled *key, storage *out) {
    if (key->kind != VSTI_STRING || key->as.text.size == 0 || key->as.text.size > KEY_DIGITS)
        return vst_fail(VST_ERROR_FORMAT, "the key of a storage must be a string of 1 to %d digits", KEY_DIGITS);
    for (size_t i = 0; i < key->as.text.size; i++)
        if (key->as.text.bytes[i] < '0' || key->as.text.bytes[i] > '9')
            return vst_fail(VST_ERROR_FORMAT, "the key of a storage has the byte 0x%02x; it may have digits only",
                            (unsigned)(unsigned char)key->as.text.bytes[i]);
    out->key = key->as.text.bytes;
    out->key_size = (int)key->as.text.size;
    return VST_OK;
}

/* Reads ("storage", type, key, location, elements), in the older format followed by None or a view. */
static vst_status read_storage_id(const vsti_pickled *id, storage *out) {
    vst_status status = VST_OK;
    *out = (storage){0};
    const size_t count = id->as.list.count;
    vsti_pickled *const *item = id->as.list.items;
    if (count < 5 || count > 6 || item[1]->kind != VSTI_GLOBAL || item[4]->kind != VSTI_INTEGER)
        return vst_fail(VST_ERROR_FORMAT, "a storage is not described by (\"storage\", type, key, location, elements)");
    VST_TRY(read_key(item[2], out));
    if (count == 6 && item[5]->kind != VSTI_NONE)
        return vst_fail(VST_ERROR_UNSUPPORTED,
                        "storage %.*s is a view of another, as PyTorch before 0.4 wrote; save the file "
                        "again with a newer one",
                        out->key_size, out->key);
    out->type = item[1]->as.global;
    out->count = item[4]->as.integer;
    for (int i = 0; i < STORAGE_TYPES; i++) {
        if (strcmp(out->type, storage_types[i].name) != 0) continue;
        out->known = true;
        out->dtype = storage_types[i].dtype;
    }
    const size_t element = out->known ? vst_dtype_size(out->dtype) : 1;
    if (out->count < 0 || !vst_multiply((size_t)out->count, element, &out->bytes))
        return vst_fail(VST_ERROR_FORMAT, "storage %.*s cannot have %" PRId64 " elements", out->key_size, out->key,
                        out->count);
out:
    return status;
}

static int compare_keys(const void *a, const void *b) {
    const storage *x = a, *y = b;
    if (x->key_size != y->key_size) return x->key_size < y->key_size ? -1 : 1;
    return memcmp(x->key, y->key, (size_t)x->key_size);
}

/* Checks whether a reference is to a storage. The older format also stores the source code of classes this way. */
static vst_status check_tag(const vsti_pickled *id, bool *is_storage) {
    if (id->kind == VSTI_TUPLE && id->as.list.count > 0) {
        *is_storage = vsti_pickled_is(id->as.list.items[0], "storage");
        if (*is_storage || vsti_pickled_is(id->as.list.items[0], "module")) return VST_OK;
    }
    return vst_fail(VST_ERROR_FORMAT, "the pickle refers to an object outside of it that is no storage");
}

/* Lists each storage once. All references to it must agree. */
static vst_status list_storages(vsti_pytorch *file) {
    vst_status status = VST_OK;
    const vsti_pickle *pickle = &file->pickle;
    size_t count = 0;
    file->storages = vst_calloc(pickle->persistent_count, sizeof *file->storages);
    if (!file->storages) return vst_fail_memory(pickle->persistent_count * sizeof *file->storages);
    for (size_t i = 0; i < pickle->persistent_count; i++) {
        const vsti_pickled *id = pickle->persistents[i]->as.id;
        bool is_storage;
        VST_TRY(check_tag(id, &is_storage));
        if (is_storage) VST_TRY(read_storage_id(id, &file->storages[count++]));
    }
    qsort(file->storages, count, sizeof *file->storages, compare_keys);
    for (size_t i = 0; i < count; i++) {
        const storage *s = &file->storages[i], *last = &file->storages[file->storage_count - (file->storage_count > 0)];
        if (file->storage_count == 0 || compare_keys(last, s) != 0) file->storages[file->storage_count++] = *s;
        else if (strcmp(last->type, s->type) != 0 || last->count != s->count)
            return vst_fail(VST_ERROR_FORMAT,
                            "storage %.*s is once a %s of %" PRId64 " elements, once a %s of %" PRId64, s->key_size,
                            s->key, last->type, last->count, s->type, s->count);
    }
out:
    return status;
}

static storage *find_storage(const vsti_pytorch *file, const storage *wanted) {
    return bsearch(wanted, file->storages, file->storage_count, sizeof *file->storages, compare_keys);
}

static vst_status load_from_zip(vsti_pytorch *file, storage *s) {
    char name[8 + KEY_DIGITS];
    size_t size;
    snprintf(name, sizeof name, "data/%.*s", s->key_size, s->key);
    const vst_status status = read_member(file, name, s->bytes, SIZE_MAX, &s->data, &size);
    if (status == VST_OK && !s->data)
        return vst_fail(VST_ERROR_FORMAT, "the zip archive has no member %s%s", file->stem, name);
    return status;
}

static vst_status load_from_stream(vsti_pytorch *file, storage *s) {
    vst_status status = VST_OK;
    if (!s->located)
        return vst_fail(VST_ERROR_FORMAT, "storage %.*s is not in the file's list of storages", s->key_size, s->key);
    void *data = vst_alloc_aligned(s->bytes);
    if (!data) VST_TRY(vst_fail_memory(s->bytes));
    VST_TRY(vsti_source_read(&file->from, s->offset, data, s->bytes));
    s->data = data;
    data = NULL;
out:
    vst_free(data);
    return status;
}

/* ---- The older format: magic, protocol, system, object, keys of the storages, storages ---- */

/* Reads the pickle at offset *at and advances *at. */
static vst_status next_pickle(const vsti_pytorch *file, size_t head_size, size_t *at, vsti_pickle *out) {
    size_t used;
    const vst_status status = vsti_pickle_read(out, file->head + *at, head_size - *at, &used);
    if (status != VST_OK) return vst_fail_in(status, "in the pickle that begins at byte %zu of the file", *at);
    *at += used;
    return VST_OK;
}

static bool is_magic(const vsti_pickled *value) {
    static const unsigned char magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    return value->kind == VSTI_WIDE && value->as.text.size == sizeof magic &&
           memcmp(value->as.text.bytes, magic, sizeof magic) == 0;
}

static vst_status check_protocol(const vsti_pickled *value) {
    if (value->kind != VSTI_INTEGER || value->as.integer != PROTOCOL)
        return vst_fail(VST_ERROR_UNSUPPORTED, "the protocol of this PyTorch file is not %d", PROTOCOL);
    return VST_OK;
}

static vst_status check_system(const vsti_pickled *value) {
    const vsti_pickled *little = vsti_dict_find(value, "little_endian");
    if (value->kind != VSTI_DICT)
        return vst_fail(VST_ERROR_FORMAT, "the description of the system that wrote it is no dict");
    if (little && (little->kind != VSTI_TRUTH || !little->as.integer))
        return vst_fail(VST_ERROR_UNSUPPORTED, "it was written by a big-endian machine");
    return VST_OK;
}

/* Reads the three pickles before the object. */
static vst_status read_preamble(const vsti_pytorch *file, size_t head_size, size_t *at) {
    vst_status status = VST_OK;
    vsti_pickle pickle = {0};
    VST_TRY(next_pickle(file, head_size, at, &pickle));
    if (!is_magic(pickle.root))
        VST_TRY(vst_fail(VST_ERROR_UNSUPPORTED,
                         "it is a pickle, but not one of torch.save: in Python, load it and save its "
                         "tensors with torch.save or safetensors"));
    vsti_pickle_clear(&pickle);
    VST_TRY(next_pickle(file, head_size, at, &pickle));
    VST_TRY(check_protocol(pickle.root));
    vsti_pickle_clear(&pickle);
    VST_TRY(next_pickle(file, head_size, at, &pickle));
    VST_TRY(check_system(pickle.root));
out:
    vsti_pickle_clear(&pickle);
    return status;
}

/* Finds one storage: the number of elements in 8 bytes, then the elements. Advances *at past it. */
static vst_status locate_storage(const vsti_pytorch *file, const vsti_pickled *key, size_t *at) {
    vst_status status = VST_OK;
    storage wanted = {0};
    uint64_t count;
    VST_TRY(read_key(key, &wanted));
    storage *s = find_storage(file, &wanted);
    if (!s || s->located)
        return vst_fail(VST_ERROR_FORMAT, "storage %.*s is listed, but %s", wanted.key_size, wanted.key,
                        s ? "for the second time" : "not used by the pickle");
    VST_TRY(check_storage(s)); /* its size must be known */
    if (file->from.size - *at < sizeof count || file->from.size - *at - sizeof count < s->bytes)
        return vst_fail(VST_ERROR_FORMAT,
                        "storage %.*s should have %zu bytes at byte %zu, but the file ends at %zu: it is cut "
                        "short; copy it again",
                        s->key_size, s->key, s->bytes, *at + sizeof count, file->from.size);
    VST_TRY(vsti_source_read(&file->from, *at, &count, sizeof count));
    if (count != (uint64_t)s->count)
        return vst_fail(VST_ERROR_FORMAT,
                        "storage %.*s has %" PRIu64 " elements at byte %zu, but the pickle says %" PRId64, s->key_size,
                        s->key, count, *at, s->count);
    s->offset = *at + sizeof count;
    s->located = true;
    *at = s->offset + s->bytes;
out:
    return status;
}

static vst_status read_stream(vsti_pytorch *file) {
    vst_status status = VST_OK;
    const size_t size = file->from.size < head_limit ? file->from.size : head_limit;
    size_t at = 0;
    vsti_pickle keys = {0};
    file->head = vst_alloc(size);
    if (!file->head) VST_TRY(vst_fail_memory(size));
    VST_TRY(vsti_source_read(&file->from, 0, file->head, size));
    VST_TRY(read_preamble(file, size, &at));
    VST_TRY(next_pickle(file, size, &at, &file->pickle));
    VST_TRY(list_storages(file));
    VST_TRY(next_pickle(file, size, &at, &keys));
    if (keys.root->kind != VSTI_LIST) VST_TRY(vst_fail(VST_ERROR_FORMAT, "the keys of the storages are no list"));
    for (size_t i = 0; i < keys.root->as.list.count; i++)
        VST_TRY(locate_storage(file, keys.root->as.list.items[i], &at));
    if (at != file->from.size)
        VST_TRY(
            vst_fail(VST_ERROR_FORMAT, "the last storage ends at byte %zu, but the file at %zu", at, file->from.size));
out:
    vsti_pickle_clear(&keys);
    return status;
}

/* ---- Tensors ---- */

typedef struct layout {
    storage *storage;
    vst_shape shape;
    int64_t offset, stride[VST_MAX_RANK]; /* in elements */
} layout;

/* A call in the pickle that builds a tensor, without the calls around it that build a parameter or a subclass. */
typedef struct rebuild {
    const vsti_pickled *function, *arguments;
} rebuild;

static rebuild unwrap(const vsti_pickled *value) {
    rebuild call = {value->as.call.function, value->as.call.arguments};
    for (int level = 0; level < VSTI_PICKLE_DEPTH; level++) {
        const size_t count = call.arguments->as.list.count;
        vsti_pickled *const *item = call.arguments->as.list.items;
        if (vsti_pickled_is_global(call.function, "torch._tensor._rebuild_from_type_v2") && count >= 3 &&
            item[2]->kind == VSTI_TUPLE) /* (function, type, arguments, state) */
            call = (rebuild){item[0], item[2]};
        else if ((vsti_pickled_is_global(call.function, "torch._utils._rebuild_parameter") ||
                  vsti_pickled_is_global(call.function, "torch._utils._rebuild_parameter_with_state")) &&
                 count >= 1 && item[0]->kind == VSTI_CALL) /* (tensor, requires_grad, …) */
            call = (rebuild){item[0]->as.call.function, item[0]->as.call.arguments};
        else break;
    }
    return call;
}

static const char *const rebuilders[] = {"torch._utils._rebuild_", "torch._tensor._rebuild_"};

bool vsti_pytorch_is_tensor(const vsti_pickled *value) {
    if (value->kind != VSTI_CALL) return false;
    const vsti_pickled *function = unwrap(value).function;
    for (int i = 0; i < 2 && function->kind == VSTI_GLOBAL; i++)
        if (strncmp(function->as.global, rebuilders[i], strlen(rebuilders[i])) == 0) return true;
    return false;
}

/* Checks whether a call builds a tensor. An unknown way to build one is an error, so that no tensor is silently
 * dropped. */
static vst_status check_function(const vsti_pickled *function, bool *is_tensor) {
    *is_tensor = vsti_pickled_is_global(function, "torch._utils._rebuild_tensor_v2") ||
                 vsti_pickled_is_global(function, "torch._utils._rebuild_tensor");
    if (*is_tensor || function->kind != VSTI_GLOBAL) return VST_OK;
    for (int i = 0; i < 2; i++)
        if (strncmp(function->as.global, rebuilders[i], strlen(rebuilders[i])) == 0)
            return vst_fail(VST_ERROR_UNSUPPORTED,
                            "a tensor made by %s is not supported; save it as an ordinary dense one",
                            function->as.global);
    return VST_OK;
}

static vst_status read_numbers(const vsti_pickled *value, const char *what, int64_t *out, int *count) {
    if (value->kind != VSTI_TUPLE) return vst_fail(VST_ERROR_FORMAT, "%s is no tuple", what);
    if (value->as.list.count > VST_MAX_RANK)
        return vst_fail(VST_ERROR_LIMIT, "%s has %zu dimensions; allowed are %d", what, value->as.list.count,
                        VST_MAX_RANK);
    *count = (int)value->as.list.count;
    for (int i = 0; i < *count; i++) {
        const vsti_pickled *item = value->as.list.items[i];
        if (item->kind != VSTI_INTEGER || item->as.integer < 0)
            return vst_fail(VST_ERROR_FORMAT, "%s must hold integers of 0 or more", what);
        out[i] = item->as.integer;
    }
    return VST_OK;
}

/* Reads (storage, offset, size, stride, requires_grad, hooks, metadata). metadata says whether a view is negated or
 * conjugated. */
static vst_status read_layout(const vsti_pytorch *file, const vsti_pickled *arguments, layout *out) {
    vst_status status = VST_OK;
    const size_t count = arguments->as.list.count;
    vsti_pickled *const *item = arguments->as.list.items;
    storage wanted;
    int strides;
    *out = (layout){0};
    if (count < 4 || item[0]->kind != VSTI_PERSISTENT || vsti_pickled_is(item[0]->as.id->as.list.items[0], "module"))
        return vst_fail(VST_ERROR_FORMAT, "it is not made from a storage, offset, size and stride");
    if (count > 6 && item[6]->kind == VSTI_DICT && item[6]->as.list.count > 0)
        return vst_fail(VST_ERROR_UNSUPPORTED, "it is a negated or conjugated view; save it after .resolve_neg()");
    VST_TRY(read_storage_id(item[0]->as.id, &wanted));
    out->storage = find_storage(file, &wanted);
    VST_TRY(check_storage(out->storage));
    if (item[1]->kind != VSTI_INTEGER || item[1]->as.integer < 0)
        return vst_fail(VST_ERROR_FORMAT, "its offset must be an integer of 0 or more");
    out->offset = item[1]->as.integer;
    VST_TRY(read_numbers(item[2], "size", out->shape.dim, &out->shape.rank));
    VST_TRY(read_numbers(item[3], "stride", out->stride, &strides));
    if (strides != out->shape.rank)
        return vst_fail(VST_ERROR_FORMAT, "it has %d sizes, but %d strides", out->shape.rank, strides);
out:
    return status;
}

/* Checks that all elements are within the storage. */
static vst_status check_extent(const layout *l, size_t *bytes) {
    char text[VST_SHAPE_TEXT];
    int64_t last = l->offset, step;
    const int64_t count = vst_shape_count(&l->shape);
    if (count < 0 || !vst_multiply((size_t)count, vst_dtype_size(l->storage->dtype), bytes))
        return vst_fail(VST_ERROR_FORMAT, "the shape %s is too large", vst_shape_text(&l->shape, text));
    bool inside = true;
    for (int i = 0; i < l->shape.rank && count > 0; i++)
        inside = inside && !__builtin_mul_overflow(l->shape.dim[i] - 1, l->stride[i], &step) &&
                 !__builtin_add_overflow(last, step, &last);
    if (count > 0 && (!inside || last >= l->storage->count))
        return vst_fail(
            VST_ERROR_FORMAT,
            "%s with offset %" PRId64 " and its strides reaches beyond the %" PRId64 " elements of storage %.*s",
            vst_shape_text(&l->shape, text), l->offset, l->storage->count, l->storage->key_size, l->storage->key);
    return VST_OK;
}

static bool is_dense(const layout *l) {
    int64_t expected = 1;
    for (int i = l->shape.rank - 1; i >= 0; i--) {
        if (l->shape.dim[i] == 1) continue; /* its stride is never used */
        if (l->stride[i] != expected) return false;
        expected *= l->shape.dim[i];
    }
    return true;
}

/* Copies the dimensions from `axis` on in row-major order. Returns the position after the last element. */
static char *copy_strided(char *to, const char *from, const layout *l, int axis, size_t element) {
    if (axis == l->shape.rank) {
        memcpy(to, from, element);
        return to + element;
    }
    for (int64_t i = 0; i < l->shape.dim[axis]; i++)
        to = copy_strided(to, from + (size_t)(i * l->stride[axis]) * element, l, axis + 1, element);
    return to;
}

/* An expanded tensor is larger than its storage: without a limit a small file could request all memory. */
static vst_status gather_new(vsti_pytorch *file, const layout *l, const char *from, size_t bytes, void **out) {
    const size_t limit = file->from.size + VSTI_ACCUMULATE_ROOM;
    if (bytes > limit - file->strided_bytes)
        return vst_fail(VST_ERROR_LIMIT,
                        "with it, the tensors that are expanded or not dense have more than %zu bytes; save "
                        "them after .contiguous()",
                        limit);
    file->strided_bytes += bytes;
    *out = vst_alloc_aligned(bytes);
    if (!*out) return vst_fail_memory(bytes);
    copy_strided(*out, from, l, 0, vst_dtype_size(l->storage->dtype));
    return keep(file, *out);
}

static vst_status load_tensor(vsti_pytorch *file, const layout *l, size_t bytes, vst_tensor *out) {
    vst_status status = VST_OK;
    storage *s = l->storage;
    *out = (vst_tensor){.dtype = s->dtype, .shape = l->shape, .data = file->nothing};
    if (bytes == 0) return VST_OK;
    if (!s->data) VST_TRY(file->zip ? load_from_zip(file, s) : load_from_stream(file, s));
    char *first = (char *)s->data + (size_t)l->offset * vst_dtype_size(s->dtype);
    if (!is_dense(l)) return gather_new(file, l, first, bytes, &out->data);
    s->viewed = true;
    out->data = first;
out:
    return status;
}

vst_status vsti_pytorch_tensor(vsti_pytorch *file, const vsti_pickled *value, bool *is_tensor, vst_tensor *out) {
    vst_status status = VST_OK;
    layout l;
    size_t bytes = 0;
    *is_tensor = false;
    if (value->kind != VSTI_CALL) return VST_OK;
    const rebuild call = unwrap(value);
    VST_TRY(check_function(call.function, is_tensor));
    if (!*is_tensor) return VST_OK;
    VST_TRY(read_layout(file, call.arguments, &l));
    VST_TRY(check_extent(&l, &bytes));
    VST_TRY(load_tensor(file, &l, bytes, out));
out:
    return status;
}

/* ---- The file ---- */

/* Names that are understood here or that are in every file. */
static bool is_familiar(const char *name) {
    static const char *const familiar[] = {"collections.OrderedDict",
                                           "torch._utils._rebuild_tensor",
                                           "torch._utils._rebuild_tensor_v2",
                                           "torch._utils._rebuild_parameter",
                                           "torch._utils._rebuild_parameter_with_state",
                                           "torch._tensor._rebuild_from_type_v2",
                                           "torch.Tensor",
                                           "torch.nn.parameter.Parameter",
                                           "torch.Size",
                                           "torch.device",
                                           "torch.float64",
                                           "torch.float32",
                                           "torch.float16",
                                           "torch.bfloat16",
                                           "torch.int64",
                                           "torch.int32",
                                           "torch.int16",
                                           "torch.int8",
                                           "torch.uint8",
                                           "torch.bool"};
    for (size_t i = 0; i < sizeof familiar / sizeof *familiar; i++)
        if (strcmp(name, familiar[i]) == 0) return true;
    for (int i = 0; i < STORAGE_TYPES; i++)
        if (strcmp(name, storage_types[i].name) == 0) return true;
    return false;
}

/* Keeps only the names that users should know about. */
static void drop_familiar(vsti_pickle *pickle) {
    size_t kept = 0;
    for (size_t i = 0; i < pickle->global_count; i++)
        if (!is_familiar(pickle->globals[i])) pickle->globals[kept++] = pickle->globals[i];
    pickle->global_count = kept;
}

vst_status vsti_pytorch_open(vsti_pytorch **out, const vsti_source *from, bool zip) {
    vst_status status = VST_OK;
    *out = NULL;
    vsti_pytorch *file = vst_calloc(1, sizeof *file);
    if (!file) return vst_fail_memory(sizeof *file);
    file->from = *from;
    if (zip) {
        VST_TRY(read_zip(file));
        VST_TRY(list_storages(file));
    } else VST_TRY(read_stream(file));
    drop_familiar(&file->pickle);
    *out = file;
    file = NULL;
out:
    vsti_pytorch_close(file);
    return status;
}

/* Storages that tensors point to are kept. */
void vsti_pytorch_release(vsti_pytorch *file) {
    for (size_t i = 0; i < file->storage_count; i++) {
        storage *s = &file->storages[i];
        if (!s->viewed) vst_free(s->data);
        s->data = s->viewed ? s->data : NULL;
    }
    vsti_pickle_clear(&file->pickle);
    if (file->zip) zip_discard(file->zip);
    file->zip = NULL;
    vst_free(file->head);
    vst_free(file->stem);
    file->head = file->stem = NULL;
}

void vsti_pytorch_close(vsti_pytorch *file) {
    if (!file) return;
    vsti_pytorch_release(file);
    for (size_t i = 0; i < file->storage_count; i++) vst_free(file->storages[i].data);
    for (size_t i = 0; i < file->block_count; i++) vst_free(file->blocks[i]);
    vst_free(file->storages);
    vst_free(file->blocks);
    vst_free(file);
}

const vsti_pickled *vsti_pytorch_root(const vsti_pytorch *file) { return file->pickle.root; }

const char *vsti_pytorch_skipped(const vsti_pytorch *file, size_t index) {
    return index < file->pickle.global_count ? file->pickle.globals[index] : NULL;
}
