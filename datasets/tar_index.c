/* Indices of tar files.
 *
 * An index file is: "VSTTAR1\n", then as little-endian 64-bit numbers the tar's size, its fingerprint, the number of
 * entries, the bytes of names and whether there are labels; the entries (offset 8 bytes, size 4, name 4, label 4); the
 * names, each ended by NUL; xxh3 of all that. The fingerprint is over 16 blocks spread over the tar. An
 * index that is older than its tar is not used: copy it after the tar, or keep the times. */
#include "datasets/tar_index.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "datasets/encoded.h"
#include "datasets/files.h"
#include "datasets/tar_reader.h"
#include "vision/base/file.h"
#include "vision/base/lines.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum {
    CLS_MAX = 64,
    JSON_MAX = 1 << 20,
    MAGIC_SIZE = 8,
    FIELDS = 5,
    HEADER = MAGIC_SIZE + 8 * FIELDS,
    ENTRY = 20,
    SUM = 8,
    PRINT_BLOCKS = 16,
    PRINT_SIZE = 4096
};
static const char magic[MAGIC_SIZE + 1] = "VSTTAR1\n";

void vsti_tar_index_clear(vsti_tar_index *index) {
    vst_free(index->entries);
    vst_free(index->arena);
    *index = (vsti_tar_index){0};
}

/* ---- Reading the headers ---- */

typedef struct sample { /* WebDataset: the members seen so far with one key */
    char key[VSTI_TAR_NAME_MAX];
    size_t image;                     /* index of its entry, SIZE_MAX: none yet */
    bool from_cls, from_json, number; /* where the label comes from; a .txt that holds a number */
    bool other_label;                 /* a label (.cls) whose name has more than the key before its ending */
    char other[64];                   /* an image whose name has more than the key before its ending, "" if none */
    int32_t label;
} sample;

/* What would lose samples if the tar holds WebDataset samples; the first is kept, for only the end says whether it
 * does. */
typedef struct fault {
    bool found, always; /* always: whatever else the tar holds */
    char text[512];
} fault;

static vst_status add_entry(vsti_tar_index *index, const vsti_tar_member *member) {
    const size_t size = strlen(member->name) + 1;
    if (index->arena_size + size > UINT32_MAX)
        return vst_fail(VST_ERROR_LIMIT, "its names take more than 4 GiB: split it into shards");
    vst_status status = vst_grow(&index->arena, &index->arena_capacity, index->arena_size + size, 1);
    if (status == VST_OK)
        status = vst_grow(&index->entries, &index->capacity, index->count + 1, sizeof *index->entries);
    if (status != VST_OK) return status;
    memcpy(index->arena + index->arena_size, member->name, size);
    index->entries[index->count++] =
        (vsti_tar_entry){.offset = member->offset,
                         .size = member->size < UINT32_MAX ? (uint32_t)member->size : UINT32_MAX,
                         .name = (uint32_t)index->arena_size,
                         .label = VSTI_TAR_EXTRA};
    index->arena_size += size;
    return VST_OK;
}

/* A decimal number, optionally followed by white space. */
static vst_status read_cls(vsti_tar_reader *reader, const vsti_tar_member *member, int32_t *label) {
    char text[CLS_MAX + 1], *end;
    size_t got;
    const vst_status status = vsti_tar_peek(reader, member, text, CLS_MAX, &got);
    if (status != VST_OK) return status;
    text[got] = '\0';
    const long value = strtol(text, &end, 10);
    const bool digits = end != text && strspn(end, " \t\r\n") == strlen(end) && strlen(text) == member->size;
    if (!digits || value < 0 || value >= VSTI_CLASSES_MAX)
        return vst_fail(VST_ERROR_FORMAT, "%s at byte %llu must be a class from 0 to %d in decimal digits",
                        member->name, (unsigned long long)member->offset, VSTI_CLASSES_MAX - 1);
    *label = (int32_t)value;
    return VST_OK;
}

/* The class that a JSON value says: an integer, also one written 3.0 or "3"; null and none say nothing. */
static bool json_class(const json_t *value, int32_t *label) {
    double number = -1;
    char *end = NULL;
    if (!value || json_is_null(value)) return true;
    if (json_is_number(value)) number = json_number_value(value);
    if (json_is_string(value) && isdigit((unsigned char)*json_string_value(value)))
        number = (double)strtol(json_string_value(value), &end, 10);
    if ((end && *end) || number != floor(number) || number < 0 || number >= VSTI_CLASSES_MAX) return false;
    *label = (int32_t)number;
    return true;
}

/* {"label": n}; without "label" it says nothing of a class. */
static vst_status read_json(vsti_tar_reader *reader, const vsti_tar_member *member, sample *current) {
    size_t got;
    if (member->size > JSON_MAX)
        return vst_fail(VST_ERROR_LIMIT,
                        "%s has %llu bytes, a sample's JSON may have %d: name its class in a .cls before it",
                        member->name, (unsigned long long)member->size, JSON_MAX);
    char *text = vst_alloc(JSON_MAX);
    if (!text) return vst_fail_memory(JSON_MAX);
    vst_status status = vsti_tar_peek(reader, member, text, JSON_MAX, &got);
    if (status == VST_OK) {
        const size_t mark = vst_byte_order_mark(text, got);
        json_t *root = json_loadb(text + mark, got - mark, 0, NULL);
        const json_t *value = json_object_get(root, "label");
        char *shown = json_dumps(value, JSON_ENCODE_ANY);
        if (!json_class(value, &current->label))
            status =
                vst_fail(VST_ERROR_FORMAT, "%s at byte %llu: \"label\" is %.60s, and a class is a number from 0 to %d",
                         member->name, (unsigned long long)member->offset, shown ? shown : "something else",
                         VSTI_CLASSES_MAX - 1);
        current->from_json = current->label >= 0;
        free(shown);
        json_decref(root);
    }
    vst_free(text);
    return status;
}

/* Text is a caption; a number alone would be a class by another name. */
static vst_status read_text(vsti_tar_reader *reader, const vsti_tar_member *member, sample *current) {
    char text[CLS_MAX + 1];
    size_t got;
    if (member->size == 0 || member->size > CLS_MAX) return VST_OK;
    const vst_status status = vsti_tar_peek(reader, member, text, CLS_MAX, &got);
    if (status != VST_OK) return status;
    text[got] = '\0';
    const size_t digits = strspn(text, "0123456789");
    current->number = digits > 0 && strspn(text + digits, " \t\r\n") == got - digits;
    return VST_OK;
}

/* The end of the key; NULL if there is none: hidden files and names without an extension do not belong to samples. */
static const char *key_end(const char *name) {
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strchr(base, '.');
    return dot && dot > base ? dot : NULL;
}

/* Judges a sample when its last member has been seen. */
static void finish_sample(const sample *self, fault *found) {
    const bool labelled = self->from_cls || self->from_json;
    const char *slash = strrchr(self->key, '/');
    if (found->found || !*self->key || strncmp(slash ? slash + 1 : self->key, "__", 2) == 0) return; /* __meta__ */
    if (self->image == SIZE_MAX && *self->other) {
        found->found = true;
        found->always |= self->other_label;
        snprintf(
            found->text, sizeof found->text,
            "%s: the key of a sample ends at the first dot, here \"%s\", which has no image of its own: take names "
            "without further dots",
            self->other, self->key);
    } else if (self->image == SIZE_MAX && labelled) {
        found->found = true;
        snprintf(
            found->text, sizeof found->text,
            "%s has a label but no image beside it: the members of a sample must follow each other (tar --sort=name)",
            self->key);
    } else if (self->image != SIZE_MAX && !labelled && self->number) {
        found->found = found->always = true;
        snprintf(found->text, sizeof found->text, "%s.txt holds a number: if that is the class, call it %s.cls",
                 self->key, self->key);
    }
}

static vst_status take_member(vsti_tar_index *index, vsti_tar_reader *reader, const vsti_tar_member *member,
                              sample *current, fault *found) {
    vst_status status = VST_OK;
    const char *end = key_end(member->name), *extension = end ? end + 1 : "";
    const size_t length = end ? (size_t)(end - member->name) : 0;
    const bool is_image = vsti_is_image_name(member->name);
    if (end && (strlen(current->key) != length || memcmp(current->key, member->name, length) != 0)) {
        finish_sample(current, found);
        *current = (sample){.image = SIZE_MAX, .label = VSTI_TAR_UNLABELLED};
        memcpy(current->key, member->name, length);
    }
    index->stray += vsti_is_stray_name(member->name);
    if (is_image) VST_TRY(add_entry(index, member));
    const bool main = is_image && end && !strchr(extension, '.') && current->image == SIZE_MAX;
    if (main) current->image = index->count - 1;
    if (is_image && end && strchr(extension, '.'))
        snprintf(current->other, sizeof current->other, "%s",
                 strrchr(member->name, '/') ? strrchr(member->name, '/') + 1 : member->name);
    const char *last = strrchr(extension, '.');
    current->other_label |= last && strcasecmp(last, ".cls") == 0;
    if (end && strcasecmp(extension, "cls") == 0) {
        VST_TRY(read_cls(reader, member, &current->label));
        current->from_cls = true;
    } else if (end && strcasecmp(extension, "json") == 0 && !current->from_cls) {
        VST_TRY(read_json(reader, member, current));
    } else if (end && strcasecmp(extension, "txt") == 0) {
        VST_TRY(read_text(reader, member, current));
    }
    if (end && current->image != SIZE_MAX) index->entries[current->image].label = current->label;
    if (current->from_cls || current->from_json) index->labelled = true;
out:
    return status;
}

/* A link to an image is an error: it has no data, and skipping it would silently change the data set. */
static vst_status check_link(const vsti_tar_member *member) {
    if ((member->type != '1' && member->type != '2') || !vsti_is_image_name(member->name)) return VST_OK;
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "%s is a link: pack the files themselves, tar --dereference --hard-dereference", member->name);
}

static vst_status build(vsti_tar_index *index, const char *path, int file) {
    vst_status status = VST_OK;
    vsti_tar_reader *reader = NULL;
    vsti_tar_member member;
    bool found;
    fault wrong = {0};
    sample *current = vst_calloc(1, sizeof *current);
    if (!current) return vst_fail_memory(sizeof *current);
    current->image = SIZE_MAX;
    VST_TRY(vsti_tar_reader_open(&reader, path, file));
    for (;;) {
        VST_TRY(vsti_tar_next(reader, &member, &found));
        if (!found) break;
        status = member.type == '0' ? take_member(index, reader, &member, current, &wrong) : check_link(&member);
        if (status != VST_OK) VST_TRY(vst_fail_in(status, "%s", path));
    }
    finish_sample(current, &wrong);
    if (wrong.found && (index->labelled || wrong.always)) /* of class folders names are free */
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: %s", path, wrong.text));
out:
    vsti_tar_reader_close(reader);
    vst_free(current);
    return status;
}

/* ---- Index files ---- */

static void put_number(uint8_t *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_number(const uint8_t *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)in[i] << 8 * i;
    return value;
}

static vst_status fingerprint(int file, uint64_t *size, uint64_t *print) {
    struct stat info;
    uint8_t block[PRINT_SIZE];
    if (fstat(file, &info) != 0) return vst_fail(VST_ERROR_IO, "cannot be read: %s", strerror(errno));
    *size = *print = (uint64_t)info.st_size;
    const uint64_t room = *size > PRINT_SIZE ? *size - PRINT_SIZE : 0;
    for (uint64_t i = 0; i < PRINT_BLOCKS; i++) {
        const uint64_t at = room / (PRINT_BLOCKS - 1) * i + (i == PRINT_BLOCKS - 1 ? room % (PRINT_BLOCKS - 1) : 0);
        const ssize_t got = pread(file, block, sizeof block, (off_t)at);
        if (got < 0) return vst_fail(VST_ERROR_IO, "cannot be read: %s", strerror(errno));
        *print = XXH3_64bits_withSeed(block, (size_t)got, *print);
    }
    return VST_OK;
}

/* Reads the index; false unless all sizes and offsets fit the tar and the index file. */
static bool unpack(vsti_tar_index *index, const vst_bytes *bytes, uint64_t tar_size, uint64_t print,
                   vst_status *status) {
    uint64_t field[FIELDS];
    *status = VST_OK;
    if (bytes->size < HEADER + SUM || memcmp(bytes->data, magic, MAGIC_SIZE) != 0) return false;
    for (int i = 0; i < FIELDS; i++) field[i] = get_number(bytes->data + MAGIC_SIZE + 8 * i, 8);
    const uint64_t rest = bytes->size - HEADER - SUM, count = field[2], names = field[3];
    if (field[0] != tar_size || field[1] != print || count > rest / ENTRY || names != rest - count * ENTRY)
        return false;
    if (get_number(bytes->data + bytes->size - SUM, 8) != XXH3_64bits(bytes->data, bytes->size - SUM)) return false;
    if (names > UINT32_MAX || (names && bytes->data[bytes->size - SUM - 1] != '\0')) return false;
    if (count == 0) return true;
    *status = vst_grow(&index->entries, &index->capacity, (size_t)count, sizeof *index->entries);
    if (*status == VST_OK) *status = vst_grow(&index->arena, &index->arena_capacity, (size_t)names, 1);
    if (*status != VST_OK) return false;
    const uint8_t *at = bytes->data + HEADER;
    for (; index->count < count; index->count++, at += ENTRY) {
        const vsti_tar_entry entry = {get_number(at, 8), (uint32_t)get_number(at + 8, 4),
                                      (uint32_t)get_number(at + 12, 4), (int32_t)(uint32_t)get_number(at + 16, 4)};
        if (entry.offset > tar_size || entry.size > tar_size - entry.offset || entry.name >= names ||
            entry.label < VSTI_TAR_EXTRA || entry.label >= VSTI_CLASSES_MAX)
            return false;
        index->entries[index->count] = entry;
    }
    memcpy(index->arena, at, (size_t)names);
    index->arena_size = (size_t)names;
    index->labelled = field[4] != 0;
    return true;
}

/* Whether the tar was changed after its index was made. Its fingerprint is of some blocks: of a tar that was made anew,
 * with other labels at the same places, it may be the same. */
static bool is_older(const char *index, int tar) {
    struct stat made, changed;
    if (stat(index, &made) != 0 || fstat(tar, &changed) != 0) return false;
    return made.st_mtim.tv_sec != changed.st_mtim.tv_sec ? made.st_mtim.tv_sec < changed.st_mtim.tv_sec
                                                         : made.st_mtim.tv_nsec < changed.st_mtim.tv_nsec;
}

/* *found: the index file is there and right. */
static vst_status load(vsti_tar_index *index, const char *path, int file, bool *found) {
    vst_status status = VST_OK;
    vst_bytes bytes = {0};
    uint64_t size, print;
    char *name = vst_format("%s.idx", path);
    *found = false;
    if (!name) return vst_fail_memory(strlen(path));
    if (access(name, F_OK) != 0) goto out;
    if (is_older(name, file)) {
        vst_log(VST_LOG_WARNING,
                "%s is older than the tar beside it and is not used: `vistill data index` makes it anew", name);
        goto out;
    }
    VST_TRY(fingerprint(file, &size, &print));
    status = vsti_read_file(AT_FDCWD, name, &bytes);
    if (status == VST_OK) *found = unpack(index, &bytes, size, print, &status);
    if (status == VST_ERROR_MEMORY) goto out;
    if (*found) goto out;
    vst_log(VST_LOG_WARNING,
            "%s does not belong to the tar beside it and is not used: `vistill data index` makes it anew", name);
    vsti_tar_index_clear(index);
    status = VST_OK;
out:
    vst_bytes_clear(&bytes);
    vst_free(name);
    return status;
}

vst_status vsti_tar_index_read(vsti_tar_index *index, const char *path, int file) {
    bool found;
    vst_status status = load(index, path, file, &found);
    if (status == VST_OK && !found) status = build(index, path, file);
    if (status != VST_OK) vsti_tar_index_clear(index);
    return status;
}

/* Serialises an index without its checksum. */
static vst_status pack(const vsti_tar_index *index, uint64_t tar_size, uint64_t print, vst_bytes *bytes) {
    const uint64_t field[FIELDS] = {tar_size, print, index->count, index->arena_size, index->labelled};
    vst_status status = vst_bytes_resize(bytes, HEADER + index->count * ENTRY + index->arena_size + SUM);
    if (status != VST_OK) return status;
    uint8_t *at = bytes->data + HEADER;
    memcpy(bytes->data, magic, MAGIC_SIZE);
    for (int i = 0; i < FIELDS; i++) put_number(bytes->data + MAGIC_SIZE + 8 * i, field[i], 8);
    for (size_t i = 0; i < index->count; i++, at += ENTRY) {
        const vsti_tar_entry *entry = &index->entries[i];
        put_number(at, entry->offset, 8);
        put_number(at + 8, entry->size, 4);
        put_number(at + 12, entry->name, 4);
        put_number(at + 16, (uint32_t)entry->label, 4);
    }
    if (index->arena_size) memcpy(at, index->arena, index->arena_size);
    put_number(bytes->data + bytes->size - SUM, XXH3_64bits(bytes->data, bytes->size - SUM), SUM);
    return VST_OK;
}

vst_status vsti_tar_index_make(const char *path, uint64_t *images) {
    vst_status status = VST_OK;
    vsti_tar_index index = {0};
    vst_bytes bytes = {0};
    uint64_t size, print;
    int file = -1;
    char *name = vst_format("%s.idx", path);
    if (!name) VST_TRY(vst_fail_memory(strlen(path)));
    VST_TRY(vsti_file_open(path, O_RDONLY, &file, NULL));
    VST_TRY(build(&index, path, file));
    VST_TRY(fingerprint(file, &size, &print));
    VST_TRY(pack(&index, size, print, &bytes));
    VST_TRY(vsti_file_write(name, bytes.data, bytes.size));
    *images = index.count;
out:
    if (file >= 0) close(file);
    vst_bytes_clear(&bytes);
    vsti_tar_index_clear(&index);
    vst_free(name);
    return status;
}
