/* JPEG files of every kind, written with libjpeg, for the tests of the decoder. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_JPEG_FILES_H
#define VISTILL_TESTS_UNIT_JPEG_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h> /* needed by jpeglib.h */
#include <stdlib.h>
#include <string.h>
/* clang-format off */
#include <jpeglib.h>
/* clang-format on */

typedef struct jpeg_kind {
    const char *name;
    J_COLOR_SPACE space; /* in the file */
    int components;
    int sampling[4][2]; /* horizontal, vertical */
    bool progressive;
    unsigned restart; /* blocks between restart markers; 0: none */
} jpeg_kind;

static const jpeg_kind jpeg_kinds[] = {
    {"4:4:4", JCS_YCbCr, 3, {{1, 1}, {1, 1}, {1, 1}}, false, 0},
    {"4:2:2", JCS_YCbCr, 3, {{2, 1}, {1, 1}, {1, 1}}, false, 0},
    {"4:4:0", JCS_YCbCr, 3, {{1, 2}, {1, 1}, {1, 1}}, false, 0},
    {"4:2:0", JCS_YCbCr, 3, {{2, 2}, {1, 1}, {1, 1}}, false, 0},
    {"4:1:1", JCS_YCbCr, 3, {{4, 1}, {1, 1}, {1, 1}}, false, 0},
    {"1 x 4", JCS_YCbCr, 3, {{1, 4}, {1, 1}, {1, 1}}, false, 0},
    {"4:1:0", JCS_YCbCr, 3, {{4, 2}, {1, 1}, {1, 1}}, false, 0},
    {"3 x 1", JCS_YCbCr, 3, {{3, 1}, {1, 1}, {1, 1}}, false, 0},
    {"mixed", JCS_YCbCr, 3, {{2, 2}, {2, 1}, {1, 2}}, false, 0},
    {"colour finer than brightness", JCS_YCbCr, 3, {{1, 1}, {2, 2}, {1, 1}}, false, 0},
    {"4:2:0 with restarts", JCS_YCbCr, 3, {{2, 2}, {1, 1}, {1, 1}}, false, 3},
    {"4:2:0 progressive", JCS_YCbCr, 3, {{2, 2}, {1, 1}, {1, 1}}, true, 0},
    {"RGB", JCS_RGB, 3, {{1, 1}, {1, 1}, {1, 1}}, false, 0},
    {"grey", JCS_GRAYSCALE, 1, {{1, 1}}, false, 0},
    {"grey, 2 x 2", JCS_GRAYSCALE, 1, {{2, 2}}, false, 0},
    {"grey progressive", JCS_GRAYSCALE, 1, {{1, 1}}, true, 0},
    {"CMYK", JCS_CMYK, 4, {{1, 1}, {1, 1}, {1, 1}, {1, 1}}, false, 0},
    {"YCCK", JCS_YCCK, 4, {{2, 2}, {1, 1}, {1, 1}, {2, 2}}, false, 0},
};
enum { JPEG_KINDS = sizeof jpeg_kinds / sizeof *jpeg_kinds };

/* The samples of a pixel: gradients with noise, so that neighbouring blocks differ. */
static inline void jpeg_row(uint8_t *row, int y, int width, int components) {
    for (int x = 0; x < width; x++)
        for (int c = 0; c < components; c++)
            row[x * components + c] =
                (uint8_t)(y * (3 + c) + x * (5 - c) + ((y * 7919 + x * 104729 + c * 31) >> 3) % 40);
}

/* A file; the caller frees it. */
static inline uint8_t *make_jpeg(const jpeg_kind *kind, int height, int width, int quality, size_t *size) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *file = NULL;
    unsigned long bytes = 0;
    uint8_t *row = malloc((size_t)width * 4);
    ck_assert_ptr_nonnull(row);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &file, &bytes);
    jpeg.image_height = (JDIMENSION)height;
    jpeg.image_width = (JDIMENSION)width;
    jpeg.input_components = kind->components;
    jpeg.in_color_space = kind->components == 1 ? JCS_GRAYSCALE : kind->components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_colorspace(&jpeg, kind->space);
    jpeg_set_quality(&jpeg, quality, TRUE);
    for (int c = 0; c < kind->components; c++) {
        jpeg.comp_info[c].h_samp_factor = kind->sampling[c][0];
        jpeg.comp_info[c].v_samp_factor = kind->sampling[c][1];
    }
    jpeg.restart_interval = kind->restart;
    if (kind->progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < height; y++) {
        jpeg_row(row, y, width, kind->components);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(row);
    *size = bytes;
    return file;
}

/* Inserts an APP1 segment with EXIF orientation after the start of the file. The caller frees the result. */
static inline uint8_t *add_orientation(const uint8_t *file, size_t size, int orientation, bool big, size_t *new_size) {
    enum { SEGMENT = 36 };
    static const uint8_t header[] = {0xff, 0xe1, 0, SEGMENT - 2, 'E', 'x', 'i', 'f', 0, 0};
    static const uint8_t tiff[2][26] = {
        {'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}};
    uint8_t *out = malloc(size + SEGMENT);
    ck_assert_ptr_nonnull(out);
    memcpy(out, file, 2);
    memcpy(out + 2, header, sizeof header);
    memcpy(out + 12, tiff[big], sizeof tiff[big]);
    out[12 + 18 + big] = (uint8_t)orientation;
    memcpy(out + 2 + SEGMENT, file + 2, size - 2);
    *new_size = size + SEGMENT;
    return out;
}

#endif
