/* Headers of tar files. The fields of a header block: name 0…99, size 124…135, checksum 148…155, type 156, magic
 * 257…264, prefix 345…499. */
#include "datasets/tar_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vision/base/memory.h"

enum {
    NAME = 0,
    NAME_SIZE = 100,
    SIZE = 124,
    SIZE_SIZE = 12,
    SUM = 148,
    SUM_SIZE = 8,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_SIZE = 155
};

#define AT(position) (unsigned long long)(position)

vst_status vsti_tar_reader_open(vsti_tar_reader **out, const char *path, int file) {
    struct stat info;
    *out = NULL;
    if (fstat(file, &info) != 0) return vst_fail(VST_ERROR_IO, "%s: %s", path, strerror(errno));
    vsti_tar_reader *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->path = path;
    self->file = file;
    self->size = (uint64_t)info.st_size;
    *out = self;
    return VST_OK;
}

void vsti_tar_reader_close(vsti_tar_reader *self) {
    if (!self) return;
    vst_bytes_clear(&self->extension);
    vst_free(self);
}

static vst_status cut_off(const vsti_tar_reader *self, const char *what, uint64_t at) {
    return vst_fail(VST_ERROR_FORMAT,
                    "%s: cut off: %s at byte %llu does not end within the file's %llu bytes: fetch it again",
                    self->path, what, AT(at), AT(self->size));
}

/* Fills the window from `offset` on. */
static vst_status fill_window(vsti_tar_reader *self, uint64_t offset) {
    self->window = offset;
    self->window_size = 0;
    while (self->window_size < sizeof self->buffer) {
        const ssize_t got = pread(self->file, self->buffer + self->window_size, sizeof self->buffer - self->window_size,
                                  (off_t)(offset + self->window_size));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return vst_fail(VST_ERROR_IO, "%s: reading at byte %llu failed: %s", self->path,
                            AT(offset + self->window_size), strerror(errno));
        if (got == 0) break;
        self->window_size += (size_t)got;
    }
    return VST_OK;
}

/* Gives `size` bytes at `offset`; at most the size of the window. */
static vst_status need(vsti_tar_reader *self, uint64_t offset, size_t size, const uint8_t **out) {
    if (offset < self->window || offset + size > self->window + self->window_size) {
        const vst_status status = fill_window(self, offset);
        if (status != VST_OK) return status;
        if (self->window_size < size) return cut_off(self, "a block", offset);
    }
    *out = self->buffer + (offset - self->window);
    return VST_OK;
}

vst_status vsti_tar_peek(vsti_tar_reader *self, const vsti_tar_member *member, void *out, size_t size, size_t *got) {
    const size_t wanted = member->size < size ? (size_t)member->size : size;
    const uint8_t *bytes;
    for (*got = 0; *got < wanted;) {
        const size_t step = wanted - *got < VSTI_TAR_BLOCK ? wanted - *got : VSTI_TAR_BLOCK;
        const vst_status status = need(self, member->offset + *got, step, &bytes);
        if (status != VST_OK) return status;
        memcpy((uint8_t *)out + *got, bytes, step);
        *got += step;
    }
    return VST_OK;
}

/* ---- Fields ---- */

/* Reads octal digits surrounded by blanks, or a big-endian number marked by the highest bit. False for others and
 * negative ones. */
static bool read_number(const uint8_t *field, size_t size, uint64_t *value) {
    *value = 0;
    if (field[0] & 0x80) {
        if (field[0] != 0x80) return false; /* negative, or above 88 bits */
        for (size_t i = 1; i < size; i++) {
            if (*value >> 55) return false;
            *value = *value << 8 | field[i];
        }
        return true;
    }
    size_t at = 0;
    while (at < size && field[at] == ' ') at++;
    for (; at < size && field[at] >= '0' && field[at] <= '7'; at++) {
        if (*value >> 60) return false;
        *value = *value << 3 | (uint64_t)(field[at] - '0');
    }
    while (at < size && (field[at] == ' ' || field[at] == '\0')) at++;
    return at == size;
}

/* The checksum is the sum of all bytes with blanks in its own field; some old programs summed signed bytes. */
static bool checksum_fits(const uint8_t *block) {
    uint64_t stored;
    int64_t plain = 0, with_sign = 0;
    if (!read_number(block + SUM, SUM_SIZE, &stored)) return false;
    for (int i = 0; i < VSTI_TAR_BLOCK; i++) {
        const uint8_t byte = i >= SUM && i < SUM + SUM_SIZE ? ' ' : block[i];
        plain += byte;
        with_sign += (int8_t)byte;
    }
    return (int64_t)stored == plain || (int64_t)stored == with_sign;
}

static size_t field_length(const uint8_t *field, size_t size) {
    const uint8_t *end = memchr(field, '\0', size);
    return end ? (size_t)(end - field) : size;
}

/* prefix/name. GNU's format has other data in place of the prefix. */
static void read_name(const uint8_t *block, char *name) {
    size_t used = 0;
    if (memcmp(block + MAGIC, "ustar", 6) == 0 && block[PREFIX]) {
        used = field_length(block + PREFIX, PREFIX_SIZE);
        memcpy(name, block + PREFIX, used);
        name[used++] = '/';
    }
    const size_t length = field_length(block + NAME, NAME_SIZE);
    memcpy(name + used, block + NAME, length);
    name[used + length] = '\0';
}

/* ---- Extensions: headers whose data describe the next member ---- */

typedef struct extras {
    bool name, size; /* name: it is in self->name */
    uint64_t size_value;
} extras;

static vst_status wrong_pax(const vsti_tar_reader *self, uint64_t at) {
    return vst_fail(VST_ERROR_FORMAT, "%s: the pax header at byte %llu is malformed: pack the files again", self->path,
                    AT(at));
}

static vst_status take_record(vsti_tar_reader *self, const char *key, const char *value, uint64_t at, extras *found) {
    if (strncmp(key, "GNU.sparse.", 11) == 0)
        return vst_fail(VST_ERROR_UNSUPPORTED, "%s: the member at byte %llu is sparse: pack it without --sparse",
                        self->path, AT(at));
    if (strcmp(key, "path") == 0) {
        if (strlen(value) >= VSTI_TAR_NAME_MAX)
            return vst_fail(VST_ERROR_LIMIT, "%s: the name at byte %llu is longer than %d bytes", self->path, AT(at),
                            VSTI_TAR_NAME_MAX - 1);
        strcpy(self->name, value);
        found->name = true;
    } else if (strcmp(key, "size") == 0) {
        char *end;
        errno = 0;
        found->size_value = strtoull(value, &end, 10);
        if (errno || end == value || *end || *value == '-' || *value == '+' || *value == ' ')
            return wrong_pax(self, at);
        found->size = true;
    }
    return VST_OK;
}

/* Records "LENGTH KEY=VALUE\n"; LENGTH is decimal and counts the whole record. */
static vst_status read_pax(vsti_tar_reader *self, uint64_t at, extras *found) {
    char *text = (char *)self->extension.data;
    const size_t size = self->extension.size;
    for (size_t done = 0; done < size;) {
        size_t length = 0, digits = 0;
        while (done + digits < size && digits < 8 && text[done + digits] >= '0' && text[done + digits] <= '9')
            length = 10 * length + (size_t)(text[done + digits++] - '0');
        char *record = text + done, *key = record + digits + 1;
        if (digits == 0 || length < digits + 3 || length > size - done || record[digits] != ' ' ||
            record[length - 1] != '\n')
            return wrong_pax(self, at);
        char *equals = memchr(key, '=', length - digits - 1);
        if (!equals) return wrong_pax(self, at);
        *equals = record[length - 1] = '\0';
        const vst_status status = take_record(self, key, equals + 1, at, found);
        if (status != VST_OK) return status;
        done += length;
    }
    return VST_OK;
}

static vst_status read_extension(vsti_tar_reader *self, const vsti_tar_member *header, extras *found) {
    size_t got;
    const uint64_t at = header->offset - VSTI_TAR_BLOCK;
    if (header->type == 'g' || header->type == 'K') return VST_OK; /* global header or link target: irrelevant */
    if (header->size > VSTI_TAR_EXTENSION_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s: the extended header at byte %llu has %llu bytes, the limit is %d",
                        self->path, AT(at), AT(header->size), VSTI_TAR_EXTENSION_MAX);
    vst_status status = vst_bytes_resize(&self->extension, (size_t)header->size + 1);
    if (status == VST_OK) status = vsti_tar_peek(self, header, self->extension.data, (size_t)header->size, &got);
    if (status != VST_OK) return status;
    self->extension.data[header->size] = '\0';
    self->extension.size = (size_t)header->size;
    if (header->type == 'x' || header->type == 'X') return read_pax(self, at, found);
    if (strlen((char *)self->extension.data) >= VSTI_TAR_NAME_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s: the name at byte %llu is longer than %d bytes", self->path, AT(at),
                        VSTI_TAR_NAME_MAX - 1);
    strcpy(self->name, (char *)self->extension.data);
    found->name = true;
    return VST_OK;
}

/* ---- Members ---- */

static bool is_extension(char type) { return strchr("xXgLK", type) != NULL; }

/* Links, devices and folders have no data, whatever size the header has. */
static bool has_data(char type) {
    return type != '1' && type != '2' && type != '3' && type != '4' && type != '5' && type != '6';
}

/* Reads a header block and advances past its data; *found is false at an empty block. `extra` are the values from
 * preceding extension headers. */
static vst_status read_header(vsti_tar_reader *self, const extras *extra, vsti_tar_member *member, bool *found) {
    static const uint8_t empty[VSTI_TAR_BLOCK];
    const uint64_t at = self->next;
    const uint8_t *block;
    uint64_t size;
    if (at >= self->size)
        return vst_fail(VST_ERROR_FORMAT,
                        "%s: cut off: the file ends at byte %llu without an end-of-archive block: "
                        "fetch it again",
                        self->path, AT(self->size));
    vst_status status = need(self, at, VSTI_TAR_BLOCK, &block);
    if (status != VST_OK) return status;
    *found = memcmp(block, empty, sizeof empty) != 0;
    if (!*found) return VST_OK;
    if (!checksum_fits(block))
        return vst_fail(VST_ERROR_FORMAT, "%s: no tar header (wrong checksum) at byte %llu: %s", self->path, AT(at),
                        at == 0 ? "is it a tar, and not compressed?" : "fetch the file again");
    if (!read_number(block + SIZE, SIZE_SIZE, &size))
        return vst_fail(VST_ERROR_FORMAT, "%s: the header at byte %llu has no valid size: pack the files again",
                        self->path, AT(at));
    *member = (vsti_tar_member){.type = (char)block[TYPE], .offset = at + VSTI_TAR_BLOCK, .size = size};
    if (member->type == '\0' || member->type == '7') member->type = '0';
    const bool ordinary = !is_extension(member->type);
    if (ordinary && extra->size) member->size = extra->size_value;
    if (ordinary && !extra->name) read_name(block, self->name);
    if (!has_data(member->type)) member->size = 0;
    if (member->size > self->size || member->offset > self->size - member->size) return cut_off(self, "the member", at);
    const uint64_t padded = (member->size + VSTI_TAR_BLOCK - 1) / VSTI_TAR_BLOCK * VSTI_TAR_BLOCK;
    self->next = member->offset + padded;
    return VST_OK;
}

vst_status vsti_tar_next(vsti_tar_reader *self, vsti_tar_member *member, bool *found) {
    extras extra = {0};
    *found = false;
    while (!self->ended) {
        vst_status status = read_header(self, &extra, member, found);
        if (status != VST_OK) return status;
        self->ended = !*found;
        if (self->ended) break;
        if (!is_extension(member->type)) {
            member->name = self->name;
            while (strncmp(member->name, "./", 2) == 0) member->name += 2;
            const size_t length = strlen(member->name);
            if (member->type == '0' && length && member->name[length - 1] == '/') member->type = '5'; /* before ustar */
            if (member->type != 'S') return VST_OK;
            return vst_fail(VST_ERROR_UNSUPPORTED, "%s: %s is sparse: pack it without --sparse", self->path,
                            self->name);
        }
        status = read_extension(self, member, &extra);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}
