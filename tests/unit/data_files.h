/* Small data sets on disk for the tests of data sets and loader. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_DATA_FILES_H
#define VISTILL_TESTS_UNIT_DATA_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/unit/own_folder.h"

static const char *const idx_names[4] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                         "t10k-labels-idx1-ubyte"};

static inline void write_bytes(const char *path, const uint8_t *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void write_gzip(const char *path, const uint8_t *bytes, size_t size) {
    gzFile file = gzopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(gzwrite(file, bytes, (unsigned)size), (int)size);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

/* The pixel rule of the generated images. */
static inline uint8_t idx_pixel(int sample, int y, int x) { return (uint8_t)(31 * sample + 7 * y + 3 * x + 1); }

static inline void put32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* An IDX file in memory, to be freed: images (height > 0) by idx_pixel, or labels sample % classes. */
static inline uint8_t *make_idx(int count, int height, int width, int classes, size_t *size) {
    const size_t header = height ? 16 : 8, pixels = height ? (size_t)height * (size_t)width : 1;
    uint8_t *bytes = malloc(header + (size_t)count * pixels), *at = bytes + header;
    ck_assert_ptr_nonnull(bytes);
    put32(bytes, height ? 0x803 : 0x801);
    put32(bytes + 4, (uint32_t)count);
    if (height) {
        put32(bytes + 8, (uint32_t)height);
        put32(bytes + 12, (uint32_t)width);
    }
    for (int i = 0; i < count; i++) {
        if (!height) *at++ = (uint8_t)(i % classes);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) *at++ = idx_pixel(i, y, x);
    }
    *size = (size_t)(at - bytes);
    return bytes;
}

/* Writes the four files of a data set: `count` training and `test_count` test samples of `classes` classes. */
static inline void write_idx(const char *folder, const char *prefix, int count, int test_count, int height, int width,
                             int classes, int gzip) {
    for (int i = 0; i < 4; i++) {
        char path[512];
        size_t size;
        uint8_t *bytes = make_idx(i < 2 ? count : test_count, i % 2 ? 0 : height, width, classes, &size);
        snprintf(path, sizeof path, "%s/%s%s%s", folder, prefix, idx_names[i], gzip ? ".gz" : "");
        (gzip ? write_gzip : write_bytes)(path, bytes, size);
        free(bytes);
    }
}

/* Removes the files that write_idx made, and the folder. */
static inline void remove_folder(const char *folder, const char *prefix) {
    for (int i = 0; i < 8; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s%s%s", folder, prefix, idx_names[i % 4], i < 4 ? "" : ".gz");
        unlink(path);
    }
    rmdir(folder);
}

#endif
