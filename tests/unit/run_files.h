/* The files of run folders, and whether two runs have equal ones. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_RUN_FILES_H
#define VISTILL_TESTS_UNIT_RUN_FILES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/data_files.h"
#include "vision/tensor/safetensors.h"

/* Reads a whole file and appends a zero byte; the caller frees it. */
static inline char *read_whole(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s is missing", path);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*size + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

static inline vst_safetensors *open_tensors(const char *output, const char *name) {
    vst_safetensors *file;
    char path[128];
    snprintf(path, sizeof path, "%s/%s", output, name);
    ck_ok(vst_safetensors_open(&file, path, NULL));
    return file;
}

static inline void same_tensors(const char *a, const char *b, const char *name) {
    vst_safetensors *x = open_tensors(a, name), *y = open_tensors(b, name);
    ck_assert_uint_eq(vst_safetensors_count(x), vst_safetensors_count(y));
    for (size_t i = 0; i < vst_safetensors_count(x); i++) {
        const vst_tensor *s = vst_safetensors_at(x, i), *t = vst_safetensors_find(y, s->name);
        ck_assert_msg(t && t->dtype == s->dtype && vst_shape_equal(&s->shape, &t->shape), "%s: no %s like it", name,
                      s->name);
        const size_t bytes = (size_t)vst_shape_count(&s->shape) * vst_dtype_size(s->dtype);
        ck_assert_msg(memcmp(s->data, t->data, bytes) == 0, "%s: %s differs between %s and %s", name, s->name, a, b);
    }
    vst_safetensors_close(x);
    vst_safetensors_close(y);
}

/* Removes summary.csv's column of seconds, the only one that may differ. */
static inline void cut_seconds(char *text) {
    char *to = text;
    for (int column = 0; *text; text++) {
        column = *text == '\n' ? 0 : column + (*text == ',');
        if (column != 6) *to++ = *text;
    }
    *to = '\0';
}

static inline int count_lines(const char *text) {
    int lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

static inline void same_text(const char *a, const char *b, const char *name, int lines) {
    char path[2][128], *text[2];
    for (int i = 0; i < 2; i++) {
        size_t size;
        snprintf(path[i], sizeof path[i], "%s/%s", i ? b : a, name);
        text[i] = read_whole(path[i], &size);
        ck_assert_int_eq(count_lines(text[i]), lines);
        if (strcmp(name, "summary.csv") == 0) cut_seconds(text[i]);
    }
    ck_assert_str_eq(text[0], text[1]);
    free(text[0]);
    free(text[1]);
}

/* Compares all files of two runs except dates and seconds. `epochs`: lines in the log; the summary has a header in
 * addition. */
/* Events contain times, so only the sizes are compared. */
static inline void same_events(const char *a, const char *b) {
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/events.out.tfevents.0.vistill", i ? b : a);
        free(read_whole(path, &sizes[i]));
    }
    ck_assert_uint_gt(sizes[0], 0);
    ck_assert_uint_eq(sizes[0], sizes[1]);
}

static inline void same_runs(const char *a, const char *b, int epochs) {
    same_tensors(a, b, "last.safetensors");
    same_tensors(a, b, "best.safetensors");
    same_text(a, b, "log.txt", epochs);
    same_text(a, b, "summary.csv", epochs + 1);
    same_events(a, b);
}

#endif
