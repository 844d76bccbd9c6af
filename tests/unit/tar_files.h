/* Tar files and image folders made in tests. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_TAR_FILES_H
#define VISTILL_TESTS_UNIT_TAR_FILES_H

#include "tests/unit/data_files.h"
#include "vision/base/memory.h"
#include "vision/image/image.h"

/* ---- Folders ---- */

/* Writes a file at folder/name and creates missing folders. */
static inline void write_in(const char *folder, const char *name, const void *bytes, size_t size) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    write_bytes(path, bytes, size);
}

/* A small PNG whose pixels encode `number`; the caller frees it. */
static inline uint8_t *make_picture(int number, int channels, int height, int width, size_t *size) {
    vst_image image = {0};
    uint8_t *bytes;
    ck_ok(vst_image_allocate(&image, channels, height, width));
    for (int i = 0; i < channels * height * width; i++) image.pixels[i] = (uint8_t)(number + 16 * i);
    ck_ok(vst_png_encode(&image, &bytes, size));
    vst_image_clear(&image);
    return bytes;
}

static inline void write_picture(const char *folder, const char *name, int number) {
    size_t size;
    uint8_t *bytes = make_picture(number, 3, 4, 4, &size);
    write_in(folder, name, bytes, size);
    vst_free(bytes);
}

/* ---- Tars ---- */

typedef struct tar_file {
    uint8_t *data;
    size_t size;
} tar_file;

static inline void tar_append(tar_file *tar, const void *bytes, size_t size) {
    tar->data = realloc(tar->data, tar->size + size + 512);
    ck_assert_ptr_nonnull(tar->data);
    if (size) memcpy(tar->data + tar->size, bytes, size);
    tar->size += size;
}

static inline void tar_pad(tar_file *tar) {
    static const uint8_t zeros[512];
    tar_append(tar, zeros, (512 - tar->size % 512) % 512);
}

/* Writes the checksum of the header at `at`. */
static inline void tar_sum(uint8_t *header) {
    unsigned sum = 0;
    char text[9];
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++) sum += header[i];
    snprintf(text, sizeof text, "%06o", sum);
    memcpy(header + 148, text, 7);
}

/* A header; base256: the size is stored as a binary number instead of octal digits. `prefix` may be NULL. */
static inline void tar_header(tar_file *tar, const char *prefix, const char *name, char type, uint64_t size,
                              int base256) {
    uint8_t header[512] = {0};
    memcpy(header, name, strnlen(name, 100));
    memcpy(header + 100,
           "0000644\0"
           "0000000\0"
           "0000000",
           24);
    if (base256) {
        header[124] = 0x80;
        for (int i = 0; i < 8; i++) header[135 - i] = (uint8_t)(size >> 8 * i);
    } else {
        char text[13];
        snprintf(text, sizeof text, "%011llo", (unsigned long long)size);
        memcpy(header + 124, text, 12);
    }
    memcpy(header + 136, "00000000000", 12);
    header[156] = (uint8_t)type;
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    if (prefix) memcpy(header + 345, prefix, strnlen(prefix, 155));
    tar_sum(header);
    tar_append(tar, header, sizeof header);
}

static inline void tar_member(tar_file *tar, const char *name, const void *bytes, size_t size) {
    tar_header(tar, NULL, name, '0', size, 0);
    tar_append(tar, bytes, size);
    tar_pad(tar);
}

/* A pax header with one record for the next member. */
static inline void tar_pax(tar_file *tar, char type, const char *key, const char *value) {
    char record[8192];
    size_t length = strlen(key) + strlen(value) + 3, digits = 1;
    while (snprintf(NULL, 0, "%zu", length + digits) != (int)digits) digits++;
    length += digits;
    snprintf(record, sizeof record, "%zu %s=%s\n", length, key, value);
    tar_header(tar, NULL, "PaxHeader", type, length, 0);
    tar_append(tar, record, length);
    tar_pad(tar);
}

static inline void tar_end(tar_file *tar) {
    static const uint8_t zeros[1024];
    tar_append(tar, zeros, sizeof zeros);
}

static inline void tar_write(const char *path, tar_file *tar) {
    write_bytes(path, tar->data, tar->size);
    free(tar->data);
    *tar = (tar_file){0};
}

static inline void tar_picture(tar_file *tar, const char *name, int number) {
    size_t size;
    uint8_t *bytes = make_picture(number, 3, 4, 4, &size);
    tar_member(tar, name, bytes, size);
    vst_free(bytes);
}

#endif
