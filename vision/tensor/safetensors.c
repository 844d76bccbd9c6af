/* Reading and writing safetensors files: 8 bytes of header length, a JSON header, the data. JSON is parsed by jansson.
 */
#include "vision/tensor/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/tensor/source.h"

enum {
    LENGTH_BYTES = 8,
    DEPTH_MAX = 8, /* the format itself needs 3 */
    DIGITS = 16,
    CHECKSUM_TEXT = 24,
    SHOWN = 100 /* bytes of a name that a message shows */
};
static const char checksum_key[] = "vistill.xxh3", own_keys[] = "vistill.";
static const char all_mark[] = "all:"; /* before the digits if the checksum covers the whole file */
static const char metadata_key[] = "__metadata__";

const vst_safetensors_limits vst_safetensors_default_limits = {
    .header_bytes = (size_t)16 << 20, .file_bytes = (size_t)16 << 30, .tensors = 100000, .name_bytes = 1024};

typedef struct entry {
    vst_tensor tensor; /* the name is owned by the JSON */
    size_t begin, end; /* in bytes, from the start of the data */
} entry;

struct vst_safetensors {
    char *path;
    json_t *header;
    const json_t *metadata; /* part of `header`; NULL if absent */
    entry *entries;         /* sorted by offset */
    const entry **by_name;
    size_t count;
    void *data;
    size_t data_size;
};

/* ---- Memory for jansson ---- */

/* jansson ignores a failed allocation in one place and loses a byte (strbuffer_append in lex_save). A failed allocation
 * is therefore recorded here and retried, and callers of jansson check out_of_memory() afterwards. */
static _Thread_local bool json_refused;

static void *json_alloc(size_t bytes) {
    void *pointer = vst_alloc(bytes);
    if (pointer) return pointer;
    json_refused = true;
    return vst_alloc(bytes);
}

/* jansson has one allocator per process; it is set before main, so that no thread sees it change. */
__attribute__((constructor)) static void set_json_allocator(void) { json_set_alloc_funcs(json_alloc, vst_free); }

/* ---- Reading ---- */

static uint64_t from_little_endian(const unsigned char bytes[LENGTH_BYTES]) {
    uint64_t value = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

/* Limits the nesting, because jansson recurses. Syntax errors are left to jansson. */
static vst_status check_depth(const char *text, size_t length) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        const char c = text[i];
        if (quoted && c == '\\') i++;
        else if (c == '"') quoted = !quoted;
        else if (!quoted && (c == '{' || c == '[') && ++depth > DEPTH_MAX)
            return vst_fail(VST_ERROR_FORMAT, "the header is nested deeper than %d levels at byte %zu", DEPTH_MAX,
                            LENGTH_BYTES + i);
        else if (!quoted && (c == '}' || c == ']')) depth--;
    }
    return VST_OK;
}

static vst_status parse_json(json_t **out, const char *text, size_t length) {
    json_error_t error;
    const vst_status status = check_depth(text, length);
    if (status != VST_OK) return status;
    if (length == 0 || text[0] != '{')
        return vst_fail(VST_ERROR_FORMAT, "the header does not begin with '{': not a safetensors file");
    json_refused = false;
    *out = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (json_refused) {
        json_decref(*out);
        *out = NULL;
        return vst_fail_memory(length);
    }
    if (!*out)
        return vst_fail(VST_ERROR_FORMAT, "the header is not valid JSON at byte %d: %s", LENGTH_BYTES + error.position,
                        error.text);
    return VST_OK;
}

static vst_status check_metadata(const json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return vst_fail(VST_ERROR_FORMAT, "%s must be an object", metadata_key);
    json_object_foreach((json_t *)metadata, key, value) {
        if (!json_is_string(value))
            return vst_fail(VST_ERROR_FORMAT, "%s: the value of \"%.*s\" must be a string", metadata_key, SHOWN, key);
    }
    return VST_OK;
}

static vst_status check_name(const char *name, size_t limit) {
    const size_t length = strlen(name);
    if (length == 0) return vst_fail(VST_ERROR_FORMAT, "a tensor has an empty name");
    if (length > limit)
        return vst_fail(VST_ERROR_LIMIT, "the tensor name \"%.*s…\" has %zu bytes; allowed are %zu", SHOWN, name,
                        length, limit);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return vst_fail(VST_ERROR_FORMAT, "a tensor has the control character 0x%02x in its name",
                            (unsigned)name[i]);
    return VST_OK;
}

/* Reads a non-negative JSON integer. Reals such as 1.0 or 1e3 are refused. */
static vst_status read_size(const json_t *value, const char *what, int64_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return vst_fail(VST_ERROR_FORMAT, "%s must hold integers of 0 or more", what);
    *out = json_integer_value(value);
    return VST_OK;
}

static vst_status read_dtype(const json_t *value, vst_dtype *out) {
    if (!json_is_string(value)) return vst_fail(VST_ERROR_FORMAT, "dtype is missing or not a string");
    for (vst_dtype dtype = VST_F64; dtype <= VST_BOOL; dtype++) {
        if (strcmp(vst_dtype_name(dtype), json_string_value(value)) == 0) {
            *out = dtype;
            return VST_OK;
        }
    }
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "dtype \"%.20s\" is not supported; known are F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL",
                    json_string_value(value));
}

static vst_status read_shape(const json_t *value, vst_shape *out) {
    vst_status status = VST_OK;
    if (!json_is_array(value)) return vst_fail(VST_ERROR_FORMAT, "shape is missing or not a list");
    const size_t rank = json_array_size(value);
    if (rank > VST_MAX_RANK)
        return vst_fail(VST_ERROR_LIMIT, "shape has %zu dimensions; allowed are %d", rank, VST_MAX_RANK);
    out->rank = (int)rank;
    for (size_t i = 0; i < rank; i++) VST_TRY(read_size(json_array_get(value, i), "shape", &out->dim[i]));
out:
    return status;
}

static vst_status read_offsets(const json_t *value, size_t data_size, entry *out) {
    vst_status status = VST_OK;
    int64_t begin = 0, end = 0;
    if (!json_is_array(value) || json_array_size(value) != 2)
        return vst_fail(VST_ERROR_FORMAT, "data_offsets is missing or not a list of two");
    VST_TRY(read_size(json_array_get(value, 0), "data_offsets", &begin));
    VST_TRY(read_size(json_array_get(value, 1), "data_offsets", &end));
    if (end < begin)
        return vst_fail(VST_ERROR_FORMAT, "data_offsets [%" PRId64 ", %" PRId64 "] end before they begin", begin, end);
    if ((uint64_t)end > data_size)
        return vst_fail(VST_ERROR_FORMAT,
                        "data_offsets [%" PRId64 ", %" PRId64
                        "] go beyond the %zu bytes of data: "
                        "the file is cut short; copy it again",
                        begin, end, data_size);
    out->begin = (size_t)begin;
    out->end = (size_t)end;
out:
    return status;
}

static vst_status read_entry(const char *name, const json_t *info, size_t data_size, entry *out) {
    vst_status status = VST_OK;
    char text[VST_SHAPE_TEXT];
    size_t bytes;
    if (!json_is_object(info)) return vst_fail(VST_ERROR_FORMAT, "must be an object");
    *out = (entry){.tensor.name = name};
    VST_TRY(read_dtype(json_object_get(info, "dtype"), &out->tensor.dtype));
    VST_TRY(read_shape(json_object_get(info, "shape"), &out->tensor.shape));
    VST_TRY(read_offsets(json_object_get(info, "data_offsets"), data_size, out));
    const int64_t count = vst_shape_count(&out->tensor.shape);
    if (count < 0 || !vst_multiply((size_t)count, vst_dtype_size(out->tensor.dtype), &bytes))
        return vst_fail(VST_ERROR_FORMAT, "the shape %s is too large", vst_shape_text(&out->tensor.shape, text));
    if (out->end - out->begin != bytes)
        return vst_fail(VST_ERROR_FORMAT, "%s %s needs %zu bytes, but data_offsets [%zu, %zu] hold %zu",
                        vst_dtype_name(out->tensor.dtype), vst_shape_text(&out->tensor.shape, text), bytes, out->begin,
                        out->end, out->end - out->begin);
out:
    return status;
}

static int compare_offsets(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static int compare_names(const void *a, const void *b) {
    const entry *const *x = a, *const *y = b;
    return strcmp((*x)->tensor.name, (*y)->tensor.name);
}

/* Checks that the tensors cover the data without holes and overlaps. */
static vst_status check_cover(const vst_safetensors *file) {
    size_t end = 0;
    for (size_t i = 0; i < file->count; i++) {
        const entry *e = &file->entries[i];
        if (e->begin != end)
            return vst_fail(VST_ERROR_FORMAT,
                            "tensor \"%.*s\" begins at data byte %zu, but the one before it ends at "
                            "%zu: holes and overlaps are not allowed",
                            SHOWN, e->tensor.name, e->begin, end);
        end = e->end;
    }
    if (end != file->data_size)
        return vst_fail(VST_ERROR_FORMAT, "the tensors end at data byte %zu, but the file has %zu bytes of data", end,
                        file->data_size);
    return VST_OK;
}

static vst_status read_entries(vst_safetensors *file, const vst_safetensors_limits *limits) {
    vst_status status = VST_OK;
    const char *name;
    json_t *info;
    file->metadata = json_object_get(file->header, metadata_key);
    if (file->metadata) VST_TRY(check_metadata(file->metadata));
    const size_t tensors = json_object_size(file->header) - (file->metadata != NULL);
    if (tensors > limits->tensors)
        return vst_fail(VST_ERROR_LIMIT, "%zu tensors; allowed are %zu", tensors, limits->tensors);
    file->entries = vst_calloc(tensors, sizeof *file->entries);
    file->by_name = vst_calloc(tensors, sizeof *file->by_name);
    if (!file->entries || !file->by_name) return vst_fail_memory(tensors * sizeof *file->entries);

    json_object_foreach(file->header, name, info) {
        if (info == file->metadata) continue;
        VST_TRY(check_name(name, limits->name_bytes));
        status = read_entry(name, info, file->data_size, &file->entries[file->count]);
        if (status != VST_OK) return vst_fail_in(status, "tensor \"%.*s\"", SHOWN, name);
        file->count++;
    }
    qsort(file->entries, file->count, sizeof *file->entries, compare_offsets);
    for (size_t i = 0; i < file->count; i++) file->by_name[i] = &file->entries[i];
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
    VST_TRY(check_cover(file));
out:
    return status;
}

static vst_status read_data(vst_safetensors *file, const vsti_source *from, size_t offset) {
    vst_status status = VST_OK;
    file->data = vst_alloc_aligned(file->data_size);
    if (!file->data) return vst_fail_memory(file->data_size);
    VST_TRY(vsti_source_read(from, offset, file->data, file->data_size));
    for (size_t i = 0; i < file->count; i++) file->entries[i].tensor.data = (char *)file->data + file->entries[i].begin;
out:
    return status;
}

/* ---- The checksum ---- */

static void checksum_text(const char *mark, uint64_t hash, char text[CHECKSUM_TEXT]) {
    snprintf(text, CHECKSUM_TEXT, "%s%0*" PRIx64, mark, DIGITS, hash);
}

/* Finds the digits of a whole-file checksum in the header, as our writer formats it; NULL if there are none. Quotes
 * inside JSON strings are escaped, so the match is a key. */
static char *find_digits(char *header, size_t size) {
    char key[64];
    const size_t length = (size_t)snprintf(key, sizeof key, "\"%s\":\"%s", checksum_key, all_mark);
    char *found = memmem(header, size, key, length);
    return found && (size_t)(header + size - found) >= length + DIGITS ? found + length : NULL;
}

/* Starts the hash with the header; data are added afterwards in file order. NULL if out of memory. */
static XXH3_state_t *hash_begin(const char *header, size_t size) {
    XXH3_state_t *state = XXH3_createState();
    if (!state) return NULL;
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, header, size);
    return state;
}

static uint64_t hash_end(XXH3_state_t *state) {
    const uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* True if there is a key that only Vistill writes; Vistill always writes a checksum too. */
static bool has_own_keys(const vst_safetensors *file) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)file->metadata, key, value) {
        if (strncmp(key, own_keys, sizeof own_keys - 1) == 0) return true;
    }
    return false;
}

/* `header`: the length and the JSON text of the file; its digits are overwritten with zeros. */
static vst_status verify(const vst_safetensors *file, char *header, size_t size) {
    char found[CHECKSUM_TEXT];
    const char *expected = vst_safetensors_metadata(file, checksum_key);
    if (!expected && !has_own_keys(file)) return VST_OK;
    if (!expected)
        return vst_fail(VST_ERROR_FORMAT, "the header lacks %s, the checksum: the file is damaged; copy it again",
                        checksum_key);
    char *digits = find_digits(header, size);
    if (digits) {
        memset(digits, '0', DIGITS);
        XXH3_state_t *all = hash_begin(header, size);
        if (!all) return vst_fail(VST_ERROR_MEMORY, "out of memory for the checksum");
        XXH3_64bits_update(all, file->data, file->data_size);
        checksum_text(all_mark, hash_end(all), found);
    } else {
        checksum_text("", XXH3_64bits(file->data, file->data_size), found); /* version 0.1.0 */
    }
    if (strcmp(found, expected) == 0) return VST_OK;
    return vst_fail(VST_ERROR_FORMAT,
                    "the file's checksum is %s, but the header says %.*s: the file is damaged; copy it again", found,
                    SHOWN, expected);
}

static vst_status check_sizes(size_t file_size, uint64_t header, const vst_safetensors_limits *limits) {
    if (header > file_size - LENGTH_BYTES)
        return vst_fail(VST_ERROR_FORMAT,
                        "the header should have %" PRIu64
                        " bytes, but the file has only %zu: it is "
                        "cut short, or not a safetensors file",
                        header, file_size);
    if (header > limits->header_bytes)
        return vst_fail(VST_ERROR_LIMIT, "the header has %" PRIu64 " bytes; allowed are %zu", header,
                        limits->header_bytes);
    return VST_OK;
}

/* Checks the whole header before it reads the data. */
static vst_status load(vst_safetensors *file, const vsti_source *from, const vst_safetensors_limits *limits) {
    vst_status status = VST_OK;
    unsigned char length[LENGTH_BYTES];
    char *bytes = NULL;
    if (from->size < LENGTH_BYTES)
        return vst_fail(VST_ERROR_FORMAT, "only %zu bytes long: not a safetensors file", from->size);
    if (from->size > limits->file_bytes)
        return vst_fail(VST_ERROR_LIMIT, "%zu bytes long; allowed are %zu", from->size, limits->file_bytes);
    VST_TRY(vsti_source_read(from, 0, length, sizeof length));
    VST_TRY(check_sizes(from->size, from_little_endian(length), limits));

    const size_t header = (size_t)from_little_endian(length);
    file->data_size = from->size - LENGTH_BYTES - header;
    bytes = vst_alloc(LENGTH_BYTES + header);
    if (!bytes) VST_TRY(vst_fail_memory(header));
    memcpy(bytes, length, LENGTH_BYTES);
    VST_TRY(vsti_source_read(from, LENGTH_BYTES, bytes + LENGTH_BYTES, header));
    VST_TRY(parse_json(&file->header, bytes + LENGTH_BYTES, header));
    VST_TRY(read_entries(file, limits));
    VST_TRY(read_data(file, from, LENGTH_BYTES + header));
    VST_TRY(verify(file, bytes, LENGTH_BYTES + header));
out:
    vst_free(bytes);
    return status;
}

static vst_status load_new(vst_safetensors **out, const char *path, const vsti_source *from,
                           const vst_safetensors_limits *limits) {
    vst_status status = VST_OK;
    vst_safetensors *file = vst_calloc(1, sizeof *file);
    if (!file) VST_TRY(vst_fail_memory(sizeof *file));
    file->path = vst_strdup(path);
    if (!file->path) VST_TRY(vst_fail_memory(strlen(path) + 1));
    VST_TRY(load(file, from, limits ? limits : &vst_safetensors_default_limits));
    *out = file;
    file = NULL;
out:
    vst_safetensors_close(file);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", path);
}

vst_status vst_safetensors_parse(vst_safetensors **out, const char *name, const void *bytes, size_t size,
                                 const vst_safetensors_limits *limits) {
    const vsti_source from = vsti_source_of(bytes, size);
    *out = NULL;
    return load_new(out, name, &from, limits);
}

vst_status vst_safetensors_open(vst_safetensors **out, const char *path, const vst_safetensors_limits *limits) {
    vst_status status = VST_OK;
    vsti_source from = {.fd = -1};
    *out = NULL;
    VST_TRY(vsti_source_open(&from, path));
    VST_TRY(load_new(out, path, &from, limits));
out:
    vsti_source_close(&from);
    return status;
}

void vst_safetensors_close(vst_safetensors *file) {
    if (!file) return;
    json_decref(file->header);
    vst_free(file->path);
    vst_free(file->entries);
    vst_free(file->by_name);
    vst_free(file->data);
    vst_free(file);
}

const char *vst_safetensors_path(const vst_safetensors *file) { return file->path; }

size_t vst_safetensors_count(const vst_safetensors *file) { return file->count; }

const vst_tensor *vst_safetensors_at(const vst_safetensors *file, size_t index) {
    VST_ASSERT(index < file->count);
    return &file->entries[index].tensor;
}

const vst_tensor *vst_safetensors_find(const vst_safetensors *file, const char *name) {
    const entry wanted = {.tensor.name = name}, *key = &wanted;
    const entry *const *found = bsearch(&key, file->by_name, file->count, sizeof *file->by_name, compare_names);
    return found ? &(*found)->tensor : NULL;
}

const char *vst_safetensors_metadata(const vst_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}

/* ---- Writing ---- */

static size_t tensor_bytes(const vst_tensor *tensor) {
    return (size_t)vst_shape_count(&tensor->shape) * vst_dtype_size(tensor->dtype);
}

/* Checks that a tensor can be written and adds its bytes to *total. */
static vst_status check_tensor(const vst_tensor *tensor, size_t *total) {
    char text[VST_SHAPE_TEXT];
    size_t bytes;
    if (!tensor->name) return vst_fail(VST_ERROR_ARGUMENT, "a tensor without a name");
    const vst_status status = check_name(tensor->name, vst_safetensors_default_limits.name_bytes);
    if (status != VST_OK) return vst_fail_in(VST_ERROR_ARGUMENT, "cannot be written");
    if (strcmp(tensor->name, metadata_key) == 0)
        return vst_fail(VST_ERROR_ARGUMENT, "a tensor cannot be named %s", metadata_key);
    const int64_t count = vst_shape_count(&tensor->shape);
    if (count < 0 || !vst_multiply((size_t)count, vst_dtype_size(tensor->dtype), &bytes))
        return vst_fail(VST_ERROR_SHAPE, "tensor \"%s\": the shape %s is not possible", tensor->name,
                        vst_shape_text(&tensor->shape, text));
    if (count > 0 && !tensor->data) return vst_fail(VST_ERROR_ARGUMENT, "tensor \"%s\" has no data", tensor->name);
    if (__builtin_add_overflow(*total, bytes, total) || *total > INT64_MAX)
        return vst_fail(VST_ERROR_LIMIT, "the tensors have more bytes than a file can hold");
    return VST_OK;
}

/* The reference writer's order: larger element size first, so that every tensor is aligned; then by name. */
static int compare_layout(const void *a, const void *b) {
    const vst_tensor *const *x = a, *const *y = b;
    const size_t x_size = vst_dtype_size((*x)->dtype), y_size = vst_dtype_size((*y)->dtype);
    if (x_size != y_size) return x_size > y_size ? -1 : 1;
    return strcmp((*x)->name, (*y)->name);
}

static vst_status header_memory(void) {
    return vst_fail(VST_ERROR_MEMORY, "out of memory while writing the header of a safetensors file");
}

/* Converts the result of json_object_set_new to a status. If memory did not fail, a key or value is not UTF-8. */
static vst_status json_result(int result, const char *key) {
    if (json_refused) return header_memory();
    if (result != 0) return vst_fail(VST_ERROR_ARGUMENT, "\"%.*s\" or its value is not valid UTF-8", SHOWN, key);
    return VST_OK;
}

/* The digits of the checksum are zeros until the whole header is known. */
static vst_status describe_metadata(json_t *header, const vst_metadata *metadata, size_t count) {
    vst_status status = VST_OK;
    char checksum[CHECKSUM_TEXT];
    json_t *object = json_object(); /* json_object_set_new below takes ownership */
    VST_TRY(json_result(json_object_set_new(header, metadata_key, object), metadata_key));
    checksum_text(all_mark, 0, checksum);
    VST_TRY(json_result(json_object_set_new(object, checksum_key, json_string(checksum)), checksum_key));
    for (size_t i = 0; i < count; i++) {
        if (!metadata[i].key || !metadata[i].value)
            return vst_fail(VST_ERROR_ARGUMENT, "metadata without key or value");
        if (json_object_get(object, metadata[i].key))
            return vst_fail(VST_ERROR_ARGUMENT, "the metadata key \"%.*s\" appears twice", SHOWN, metadata[i].key);
        VST_TRY(
            json_result(json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)), metadata[i].key));
    }
out:
    return status;
}

static vst_status describe_tensors(json_t *header, const vst_tensor *const *order, size_t count) {
    vst_status status = VST_OK;
    size_t begin = 0;
    for (size_t i = 0; i < count; i++) {
        const vst_tensor *tensor = order[i];
        if (json_object_get(header, tensor->name))
            return vst_fail(VST_ERROR_ARGUMENT, "the tensor \"%s\" appears twice", tensor->name);
        const size_t end = begin + tensor_bytes(tensor);
        json_t *shape = json_array();
        for (int d = 0; d < tensor->shape.rank; d++) json_array_append_new(shape, json_integer(tensor->shape.dim[d]));
        json_t *info = json_pack("{s:s,s:o,s:[I,I]}", "dtype", vst_dtype_name(tensor->dtype), "shape", shape,
                                 "data_offsets", (json_int_t)begin, (json_int_t)end);
        VST_TRY(json_result(json_object_set_new(header, tensor->name, info), tensor->name));
        begin = end;
    }
out:
    return status;
}

/* The header's length and text as stored in the file. The caller frees *out with vst_free. */
static vst_status encode_header(const json_t *header, char **out, size_t *size) {
    json_refused = false;
    char *json = json_dumps(header, JSON_COMPACT);
    if (!json || json_refused) {
        vst_free(json);
        return header_memory();
    }
    const size_t length = strlen(json), padded = (length + 7) / 8 * 8;
    *size = LENGTH_BYTES + padded;
    *out = vst_alloc(*size);
    if (*out) {
        for (int i = 0; i < LENGTH_BYTES; i++) (*out)[i] = (char)((uint64_t)padded >> (8 * i));
        memcpy(*out + LENGTH_BYTES, json, length);
        memset(*out + LENGTH_BYTES + length, ' ', padded - length);
    }
    vst_free(json);
    return *out ? VST_OK : vst_fail_memory(*size);
}

/* Replaces the zeros by the digits. */
static vst_status seal(char *header, size_t size, const vst_tensor *const *order, size_t count) {
    char text[CHECKSUM_TEXT], *digits = find_digits(header, size);
    VST_ASSERT(digits);
    XXH3_state_t *all = hash_begin(header, size);
    if (!all) return header_memory();
    for (size_t i = 0; i < count; i++) XXH3_64bits_update(all, order[i]->data, tensor_bytes(order[i]));
    checksum_text("", hash_end(all), text);
    memcpy(digits, text, DIGITS);
    return VST_OK;
}

/* Write errors are reported by vsti_file_commit. */
static vst_status write_file(const char *path, const char *header, size_t header_size, const vst_tensor *const *order,
                             size_t count) {
    vsti_file_writer writer;
    const vst_status status = vsti_file_create(&writer, path);
    if (status != VST_OK) return status;
    fwrite(header, 1, header_size, writer.stream);
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = tensor_bytes(order[i]);
        if (bytes) fwrite(order[i]->data, 1, bytes, writer.stream); /* data of an empty tensor may be NULL */
    }
    return vsti_file_commit(&writer);
}

vst_status vst_safetensors_write(const char *path, const vst_tensor *tensors, size_t tensor_count,
                                 const vst_metadata *metadata, size_t metadata_count) {
    vst_status status = VST_OK;
    const vst_tensor **order = NULL;
    json_t *object = NULL;
    char *header = NULL;
    size_t header_size = 0, total = 0;

    for (size_t i = 0; i < tensor_count; i++) VST_TRY(check_tensor(&tensors[i], &total));
    order = vst_calloc(tensor_count, sizeof *order);
    if (!order) VST_TRY(vst_fail_memory(tensor_count * sizeof *order));
    for (size_t i = 0; i < tensor_count; i++) order[i] = &tensors[i];
    qsort(order, tensor_count, sizeof *order, compare_layout);

    json_refused = false;
    object = json_object();
    VST_TRY(describe_metadata(object, metadata, metadata_count));
    VST_TRY(describe_tensors(object, order, tensor_count));
    VST_TRY(encode_header(object, &header, &header_size));
    VST_TRY(seal(header, header_size, order, tensor_count));
    VST_TRY(write_file(path, header, header_size, order, tensor_count));
out:
    json_decref(object);
    vst_free(header);
    vst_free(order);
    return status;
}
