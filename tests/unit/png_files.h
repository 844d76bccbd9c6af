/* PNG files of every kind, made with libpng, for the tests of the decoder. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_PNG_FILES_H
#define VISTILL_TESTS_UNIT_PNG_FILES_H

#include <png.h>
#include <stdint.h>
#include <string.h>

enum { PNG_FILE_MAX = 1 << 16 };

typedef struct png_bytes {
    uint8_t data[PNG_FILE_MAX];
    size_t size;
} png_bytes;

static inline void append(png_structp png, png_bytep data, size_t size) {
    png_bytes *out = png_get_io_ptr(png);
    if (out->size + size > PNG_FILE_MAX) png_error(png, "too large for the test");
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

static inline void flush(png_structp png) { (void)png; }

/* The sample of channel c at (y, x), of `depth` bits. */
static inline unsigned sample_at(int y, int x, int c, int depth) {
    return (unsigned)(y * 5003 + x * 1709 + c * 911 + y * x * 37) & ((1u << depth) - 1);
}

static const png_color palette[16] = {{1, 2, 3},       {250, 4, 5},     {6, 240, 7},     {8, 9, 230},
                                      {10, 20, 30},    {40, 50, 60},    {70, 80, 90},    {100, 110, 120},
                                      {130, 140, 150}, {160, 170, 180}, {190, 200, 210}, {220, 225, 227},
                                      {255, 255, 255}, {0, 0, 0},       {13, 17, 19},    {99, 1, 77}};

static inline int samples_of(int colour) {
    return colour == PNG_COLOR_TYPE_GRAY || colour == PNG_COLOR_TYPE_PALETTE ? 1
           : colour == PNG_COLOR_TYPE_GRAY_ALPHA                             ? 2
           : colour == PNG_COLOR_TYPE_RGB                                    ? 3
                                                                             : 4;
}

/* One row as stored in the file: samples packed from the high bits. */
static inline void pack_row(uint8_t *row, int y, int colour, int depth, int width) {
    const int channels = samples_of(colour);
    const int used = colour == PNG_COLOR_TYPE_PALETTE && depth > 4 ? 4 : depth; /* the palette has 16 entries at most */
    memset(row, 0, (size_t)(width * channels * depth + 7) / 8);
    for (int i = 0; i < width * channels; i++) {
        const unsigned value = sample_at(y, i / channels, i % channels, used);
        if (depth == 16) {
            row[2 * i] = (uint8_t)(value >> 8);
            row[2 * i + 1] = (uint8_t)value;
        } else {
            row[i * depth / 8] |= (uint8_t)(value << (8 - depth - i * depth % 8));
        }
    }
}

/* Writes a whole file to `out`, with a comment and a gamma value, which a decoder must ignore. */
static inline void make_png(png_bytes *out, int colour, int depth, int interlaced, int transparency, int height,
                            int width) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    out->size = 0;
    if (setjmp(png_jmpbuf(png))) ck_abort_msg("libpng cannot write the test's file");
    png_set_write_fn(png, out, append, flush);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, colour,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, depth < 4 ? 1 << depth : 16);
    if (transparency) {
        png_byte alpha[2] = {0, 128};
        png_color_16 one = {.gray = 1, .red = 1, .green = 2, .blue = 3};
        png_set_tRNS(png, info, alpha, 2, colour == PNG_COLOR_TYPE_PALETTE ? NULL : &one);
    }
    png_text text = {.compression = PNG_TEXT_COMPRESSION_NONE, .key = "Comment", .text = "skipped", .text_length = 7};
    png_set_text(png, info, &text, 1);
    png_set_gAMA(png, info, 0.3); /* must not change the pixels */
    png_write_info(png, info);
    const int passes = png_set_interlace_handling(png);
    uint8_t row[8 * 64];
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++) {
            pack_row(row, y, colour, depth, width);
            png_write_row(png, row);
        }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}

typedef struct png_kind {
    int colour, depth, transparency;
} png_kind;

static const png_kind kinds[] = {
    {PNG_COLOR_TYPE_GRAY, 1, 0},       {PNG_COLOR_TYPE_GRAY, 2, 0},        {PNG_COLOR_TYPE_GRAY, 4, 0},
    {PNG_COLOR_TYPE_GRAY, 8, 0},       {PNG_COLOR_TYPE_GRAY, 16, 0},       {PNG_COLOR_TYPE_GRAY, 8, 1},
    {PNG_COLOR_TYPE_GRAY, 2, 1},       {PNG_COLOR_TYPE_GRAY, 16, 1},       {PNG_COLOR_TYPE_RGB, 8, 0},
    {PNG_COLOR_TYPE_RGB, 16, 0},       {PNG_COLOR_TYPE_RGB, 8, 1},         {PNG_COLOR_TYPE_RGB, 16, 1},
    {PNG_COLOR_TYPE_PALETTE, 1, 0},    {PNG_COLOR_TYPE_PALETTE, 2, 0},     {PNG_COLOR_TYPE_PALETTE, 4, 0},
    {PNG_COLOR_TYPE_PALETTE, 8, 0},    {PNG_COLOR_TYPE_PALETTE, 8, 1},     {PNG_COLOR_TYPE_PALETTE, 4, 1},
    {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0}, {PNG_COLOR_TYPE_GRAY_ALPHA, 16, 0}, {PNG_COLOR_TYPE_RGB_ALPHA, 8, 0},
    {PNG_COLOR_TYPE_RGB_ALPHA, 16, 0}};
enum { PNG_KINDS = sizeof kinds / sizeof *kinds };

#endif
