/* Images: PNG of every kind that libpng writes against the pixels it was made from, round trips, limits, grids. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/png_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/image/image.h"

enum { HEIGHT = 13, WIDTH = 11 };

/* The expected value of the sample of channel c. */
static uint8_t expected_at(int y, int x, int c, int colour, int depth) {
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        const png_color *entry = &palette[sample_at(y, x, 0, depth > 4 ? 4 : depth)];
        return c == 0 ? entry->red : c == 1 ? entry->green : entry->blue;
    }
    const unsigned value = sample_at(y, x, c, depth);
    if (depth == 16) return (uint8_t)(colour == PNG_COLOR_TYPE_GRAY ? (value + 128) / 257 : value >> 8);
    return (uint8_t)(value * 255 / ((1u << depth) - 1));
}

/* Each kind, plain and interlaced, decoded to the same image; then to 1 and to 3 channels. */
START_TEST(every_kind) {
    const png_kind *now = &kinds[_i / 2];
    static png_bytes file;
    vst_image image = {0}, converted = {0};
    for (int height = 1; height <= HEIGHT; height += 4) {
        for (int width = 1; width <= WIDTH; width++) {
            make_png(&file, now->colour, now->depth, _i % 2, now->transparency, height, width);
            ck_ok(vst_png_decode(file.data, file.size, 0, NULL, &image));
            ck_assert_int_eq(image.channels, now->colour & PNG_COLOR_MASK_COLOR ? 3 : 1);
            ck_assert(image.height == height && image.width == width);
            for (int i = 0; i < height * width * image.channels; i++) {
                const int pixel = i / image.channels, c = i % image.channels;
                ck_assert_int_eq(image.pixels[i],
                                 expected_at(pixel / width, pixel % width, c, now->colour, now->depth));
            }
            for (int channels = 1; channels <= 3; channels += 2) {
                ck_ok(vst_png_decode(file.data, file.size, channels, NULL, &converted));
                ck_assert_int_eq(converted.channels, channels);
                for (int i = 0; i < height * width; i++) {
                    const uint8_t *p = image.pixels + i * image.channels, *q = converted.pixels + i * channels;
                    if (image.channels == channels) ck_assert_int_eq(memcmp(p, q, (size_t)channels), 0);
                    else if (channels == 3) ck_assert(q[0] == p[0] && q[1] == p[0] && q[2] == p[0]);
                    else ck_assert_int_eq(q[0], (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 32768) / 65536);
                }
            }
        }
    }
    vst_image_clear(&image);
    vst_image_clear(&converted);
}
END_TEST

START_TEST(convert) {
    vst_image image = {0};
    /* Pillow: Image.new("RGB", (1, 1), colour).convert("L") */
    static const int known[][4] = {
        {255, 0, 0, 76}, {0, 255, 0, 150}, {0, 0, 255, 29}, {255, 255, 255, 255}, {1, 2, 3, 2}};
    for (int i = 0; i < 5; i++) {
        ck_ok(vst_image_allocate(&image, 3, 1, 1));
        for (int c = 0; c < 3; c++) image.pixels[c] = (uint8_t)known[i][c];
        ck_ok(vst_image_convert(&image, 1));
        ck_assert_int_eq(image.pixels[0], known[i][3]);
        ck_ok(vst_image_convert(&image, 3));
        for (int c = 0; c < 3; c++) ck_assert_int_eq(image.pixels[c], known[i][3]);
    }
    ck_assert_int_eq(vst_image_convert(&image, 2), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_allocate(&image, 1, 0, 1), VST_ERROR_ARGUMENT);
    vst_image_clear(&image);
    ck_assert_ptr_null(image.pixels);
}
END_TEST

/* Encode, write, decode; the written file has the encoded bytes, and no temporary file is left. */
START_TEST(round_trip) {
    char folder[256], path[300];
    make_folder(folder, "image");
    snprintf(path, sizeof path, "%s/picture.png", folder);
    vst_image image = {0}, back = {0};
    for (int channels = 1; channels <= 3; channels += 2) {
        uint8_t *encoded, read[PNG_FILE_MAX];
        size_t size;
        ck_ok(vst_image_allocate(&image, channels, 57, 91));
        for (int i = 0; i < 57 * 91 * channels; i++) image.pixels[i] = (uint8_t)(i * i / 7 + i);
        ck_ok(vst_png_encode(&image, &encoded, &size));
        ck_ok(vst_png_write(path, &image));
        FILE *file = fopen(path, "rb");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fread(read, 1, sizeof read, file), size);
        fclose(file);
        ck_assert_int_eq(memcmp(read, encoded, size), 0);
        ck_ok(vst_png_decode(encoded, size, 0, NULL, &back));
        ck_assert(back.channels == channels && back.height == 57 && back.width == 91);
        ck_assert_int_eq(memcmp(back.pixels, image.pixels, (size_t)(57 * 91 * channels)), 0);
        vst_free(encoded);
    }
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* a folder with this name: the rename fails */
    ck_assert_int_eq(vst_png_write(path, &image), VST_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), path));
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);                          /* empty */
    ck_assert_int_eq(vst_png_write(path, &image), VST_ERROR_IO); /* no such folder */
    vst_image_clear(&image);
    vst_image_clear(&back);
}
END_TEST

static void put32(uint8_t *out, unsigned long value) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Changes the header's width and height and repairs its checksum. */
static void set_size(png_bytes *file, unsigned long height, unsigned long width) {
    put32(file->data + 16, width);
    put32(file->data + 20, height);
    put32(file->data + 29, crc32(0, file->data + 12, 17));
}

START_TEST(limits) {
    static png_bytes file;
    vst_image image = {0};
    const vst_image_limits exact = {.pixels = HEIGHT * WIDTH}, less = {.pixels = HEIGHT * WIDTH - 1};
    make_png(&file, PNG_COLOR_TYPE_GRAY, 8, 0, 0, HEIGHT, WIDTH);
    ck_ok(vst_png_decode(file.data, file.size, 0, &exact, &image));
    ck_assert_int_eq(vst_png_decode(file.data, file.size, 0, &less, &image), VST_ERROR_LIMIT);
    ck_assert_ptr_nonnull(
        strstr(vst_error_message(), "13 x 11 pixels (height x width) are more than the limit of 142"));
    ck_assert_ptr_null(image.pixels); /* cleared on failure */
    set_size(&file, 8000, 8000);
    ck_assert_int_eq(vst_png_decode(file.data, file.size, 0, NULL, &image),
                     VST_ERROR_FORMAT); /* allowed, but truncated */
    set_size(&file, 8000, 8001);
    ck_assert_int_eq(vst_png_decode(file.data, file.size, 0, NULL, &image), VST_ERROR_LIMIT);
    set_size(&file, 0x7fffffff, 0x7fffffff);
    ck_assert_int_eq(vst_png_decode(file.data, file.size, 0, NULL, &image), VST_ERROR_LIMIT);
    set_size(&file, 0, 5);
    ck_assert_int_eq(vst_png_decode(file.data, file.size, 0, NULL, &image), VST_ERROR_FORMAT);
    ck_assert_int_eq(vst_png_decode(file.data, file.size, 2, NULL, &image), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_png_decode("not a PNG file", 14, 0, NULL, &image), VST_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "Not a PNG file"));
}
END_TEST

/* Compares the grid pixel by pixel with its definition: two grey images and one in colour, in two columns. */
START_TEST(grid) {
    enum { SCALE = 2, PADDING = 3 };
    static const int shapes[3][3] = {{1, 2, 3}, {3, 4, 2}, {1, 1, 1}}; /* cells are 4 x 3 pixels, enlarged 8 x 6 */
    vst_image images[3] = {{0}}, sheet = {0};
    for (int i = 0; i < 3; i++) {
        ck_ok(vst_image_allocate(&images[i], shapes[i][0], shapes[i][1], shapes[i][2]));
        for (int p = 0; p < shapes[i][0] * shapes[i][1] * shapes[i][2]; p++)
            images[i].pixels[p] = (uint8_t)(60 * i + p + 1);
    }
    ck_ok(vst_image_grid(images, NULL, 3, 2, SCALE, PADDING, &sheet));
    ck_assert(sheet.channels == 3 && sheet.height == 2 * 8 + 3 * PADDING && sheet.width == 2 * 6 + 3 * PADDING);
    for (int i = 0; i < sheet.height * sheet.width * 3; i++) {
        const int c = i % 3, x = i / 3 % sheet.width, y = i / 3 / sheet.width;
        int expected = 255;
        for (int k = 0; k < 3; k++) {
            const int top = PADDING + k / 2 * (8 + PADDING), left = PADDING + k % 2 * (6 + PADDING);
            if (y < top || x < left || (y - top) / SCALE >= shapes[k][1] || (x - left) / SCALE >= shapes[k][2])
                continue;
            const int pixel = (y - top) / SCALE * shapes[k][2] + (x - left) / SCALE;
            expected = images[k].pixels[shapes[k][0] == 1 ? pixel : 3 * pixel + c];
        }
        ck_assert_int_eq(sheet.pixels[i], expected);
    }
    ck_ok(vst_image_grid(&images[2], NULL, 1, 100, 1, 0, &sheet)); /* not wider than there are images */
    ck_assert(sheet.channels == 1 && sheet.height == 1 && sheet.width == 1 && sheet.pixels[0] == 121);
    /* A caption below: a bar of one column, cut where the cell ends, or nothing where not even a letter has room. */
    vst_image white = {0};
    ck_ok(vst_image_allocate(&white, 1, 1, 11));
    memset(white.pixels, 255, 11);
    ck_ok(vst_image_grid(&white, (const char *const[]){"||"}, 1, 1, 1, 0, &sheet));
    ck_assert(sheet.height == 1 + 12 && sheet.width == 11);
    int ink = 0;
    for (int i = 0; i < sheet.height * sheet.width; i++)
        if (sheet.pixels[i] != 255) ink += i % sheet.width == 2 ? 1 : 1000; /* the second bar would be in column 8 */
    ck_assert_int_ge(ink, 6);
    ck_assert_int_lt(ink, 9);
    vst_image_clear(&white);
    ck_assert_int_eq(vst_image_grid(images, NULL, 3, 2, 20000, 0, &sheet), VST_ERROR_LIMIT);
    ck_assert_int_eq(vst_image_grid(images, NULL, 3, 0, 1, 0, &sheet), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_grid(images, NULL, 0, 1, 1, 0, &sheet), VST_ERROR_ARGUMENT);
    for (int i = 0; i < 3; i++) vst_image_clear(&images[i]);
    vst_image_clear(&sheet);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("image");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_kind, 0, 2 * PNG_KINDS);
    tcase_add_test(tests, convert);
    tcase_add_test(tests, round_trip);
    tcase_add_test(tests, limits);
    tcase_add_test(tests, grid);
    return run_suite("image", tests);
}
