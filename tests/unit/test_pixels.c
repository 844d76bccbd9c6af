/* Decoding, resizing, geometry and colour, bit for bit: against Pillow 11.3's results for the same images (pixels/,
 * made by make_pixels.py), on every instruction set; parts of a JPEG against the whole; broken and malicious files.
 * With --serve the program executes commands from a pipe, see pixel_server.h. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zlib.h>

#include "tests/unit/jpeg_files.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/pixel_commands.h"
#include "tests/unit/pixel_server.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/image/internal.h"
#include "vision/kernels/kernels.h"

static size_t size_of(const vst_image *image) {
    return (size_t)image->channels * (size_t)image->height * (size_t)image->width;
}

static void assert_same(const vst_image *a, const vst_image *b, const char *what) {
    ck_assert_msg(a->channels == b->channels && a->height == b->height && a->width == b->width,
                  "%s: %d %d %d, not %d %d %d", what, a->channels, a->height, a->width, b->channels, b->height,
                  b->width);
    ck_assert_msg(memcmp(a->pixels, b->pixels, size_of(a)) == 0, "%s: other pixels", what);
}

static void copy_image(const vst_image *in, vst_image *out) {
    ck_ok(vst_image_allocate(out, in->channels, in->height, in->width));
    memcpy(out->pixels, in->pixels, size_of(in));
}

/* ---- Against Pillow ---- */

static uint32_t noise(uint32_t y, uint32_t x, uint32_t c, uint32_t seed) {
    uint32_t h = y * 0x9E3779B1u + x * 0x85EBCA77u + c * 0xC2B2AE3Du + seed * 0x27D4EB2Fu;
    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    return (h ^ h >> 12) & 255;
}

/* The same as in make_pixels.py. */
static uint32_t sample(int kind, uint32_t y, uint32_t x, uint32_t c, uint32_t seed) {
    switch (kind) {
    case 0: return noise(y, x, c, seed);
    case 1: return (y * 3 + x * 5 + c * 40 + seed + (noise(y, x, c, seed) >> 5)) % 512 / 2;
    case 2: return 70 + c * 9 + (noise(y, x, c, seed) >> 3);
    case 3: return 255 * (noise(y / 3, x / 4, 0, seed) & 1);
    default: return (seed * 37 + c * 91) & 255;
    }
}

/* Allocates exactly the needed size, so that the sanitizers detect reads beyond the end. */
static void make_image(vst_image *image, int channels, int height, int width, int kind, int seed) {
    vst_image_clear(image);
    ck_ok(vst_image_allocate(image, channels, height, width));
    uint8_t *p = image->pixels;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                *p++ = (uint8_t)sample(kind, (uint32_t)y, (uint32_t)x, (uint32_t)c, (uint32_t)seed);
}

static uint32_t checksum(const vst_image *image) {
    char text[64];
    const int length = snprintf(text, sizeof text, "%d %d %d", image->channels, image->height, image->width);
    return (uint32_t)crc32(crc32(0, (const Bytef *)text, (uInt)length), image->pixels, (uInt)size_of(image));
}

static FILE *open_fixture(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/unit/pixels/%s", VISTILL_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s: cannot be opened", path);
    return file;
}

/* All operations with one set of kernels. Each test runs in its own process, where the choice is made again. */
START_TEST(operations) {
    static const char *const sets[] = {"generic", "avx2", "avx512"};
    pixel_desk desk = {0};
    char line[1024];
    int lines = 0;
    setenv("VISTILL_ISA", sets[_i], 1);
    if (!vsti_find_kernels(sets[_i])) return;
    ck_assert_str_eq(vsti_get_kernels()->isa, sets[_i]);
    FILE *file = open_fixture("operations.txt");
    while (fgets(line, sizeof line, file)) {
        int channels, height, width, kind, seed, command_at, end;
        unsigned expected;
        char whole[1024];
        snprintf(whole, sizeof whole, "%s", line);
        ck_assert_int_eq(sscanf(line, "%d %d %d %d %d;%n", &channels, &height, &width, &kind, &seed, &command_at), 5);
        end = (int)strcspn(line + command_at, ";") + command_at;
        line[end] = 0;
        ck_assert_int_eq(sscanf(line + end + 1, "%x", &expected), 1);
        make_image(&desk.image, channels, height, width, kind, seed);
        vst_image_clear(&desk.other);
        vst_image_clear(&desk.scratch);
        ck_ok(pixel_command(&desk, line + command_at));
        ck_assert_msg(checksum(&desk.image) == expected, "%s on %s: other pixels than Pillow's", sets[_i], whole);
        lines++;
    }
    fclose(file);
    ck_assert_int_gt(lines, 2500);
    pixel_desk_clear(&desk);
}
END_TEST

static uint8_t *read_fixture(const char *name, size_t *size) {
    FILE *file = open_fixture(name);
    uint8_t *bytes = malloc(1 << 16);
    ck_assert_ptr_nonnull(bytes);
    *size = fread(bytes, 1, 1 << 16, file);
    ck_assert_uint_lt(*size, 1 << 16);
    fclose(file);
    return bytes;
}

START_TEST(files) {
    vst_image image = {0};
    char line[256];
    int lines = 0;
    FILE *file = open_fixture("files.txt");
    while (fgets(line, sizeof line, file)) {
        vst_decode_options options = {0};
        unsigned expected;
        size_t size;
        bool damaged = true;
        char *rest = strchr(line, ';');
        *rest = 0;
        ck_assert_int_eq(sscanf(rest + 1, "%d;%x", &options.channels, &expected), 2);
        uint8_t *bytes = read_fixture(line, &size);
        ck_ok(vst_image_decode(bytes, size, &options, &image, &damaged));
        ck_assert(!damaged);
        ck_assert_msg(checksum(&image) == expected, "%s as %d channels: other pixels than Pillow's", line,
                      options.channels);
        free(bytes);
        lines++;
    }
    fclose(file);
    ck_assert_int_gt(lines, 60);
    vst_image_clear(&image);
}
END_TEST

/* ---- Parts of a JPEG ---- */

static int below(vst_random *random, int limit) { return (int)vst_random_below(random, (uint32_t)limit); }

static vst_box random_box(vst_random *random, int height, int width) {
    vst_box box;
    box.height = 1 + below(random, below(random, 2) ? height : height < 9 ? height : 9);
    box.width = 1 + below(random, below(random, 2) ? width : width < 9 ? width : 9);
    box.top = below(random, height - box.height + 1);
    box.left = below(random, width - box.width + 1);
    return box;
}

/* A part has the pixels of the whole, for any chroma subsampling and position. */
START_TEST(part_is_part_of_whole) {
    enum { FILES = 12, BOXES = 25, SIDE = 150 };
    const jpeg_kind *kind = &jpeg_kinds[_i];
    vst_image whole = {0}, part = {0}, expected = {0};
    for (int f = 0; f < FILES; f++) {
        vst_random random = vst_random_stream(5, (uint64_t)_i, (uint32_t)f, 0);
        const int height = 1 + below(&random, SIDE), width = 1 + below(&random, SIDE);
        size_t size;
        uint8_t *file = make_jpeg(kind, height, width, f % 2 ? 30 : 95, &size);
        ck_ok(vst_image_decode(file, size, NULL, &whole, NULL));
        ck_assert(whole.height == height && whole.width == width && whole.channels == (kind->components == 1 ? 1 : 3));
        for (int b = 0; b < BOXES; b++) {
            const vst_box box = random_box(&random, height, width);
            const vst_decode_options options = {.crop = &box};
            char what[200];
            snprintf(what, sizeof what, "%s, %d x %d, rows %d + %d, columns %d + %d", kind->name, height, width,
                     box.top, box.height, box.left, box.width);
            ck_ok(vst_image_decode(file, size, &options, &part, NULL));
            ck_ok(vst_image_crop(&whole, box, &expected));
            assert_same(&part, &expected, what);
        }
        free(file);
    }
    vst_image_clear(&whole);
    vst_image_clear(&part);
    vst_image_clear(&expected);
}
END_TEST

/* A window of a resized image has the pixels of the whole, computed from the whole input or from its source only. */
START_TEST(window_is_part_of_resized) {
    enum { CASES = 300, SIDE = 90 };
    vst_image in = {0}, part = {0}, whole = {0}, expected = {0}, out = {0}, scratch = {0};
    for (uint32_t i = 0; i < CASES; i++) {
        vst_random random = vst_random_stream(6, (uint64_t)_i, i, 0);
        const int height = 1 + below(&random, SIDE), width = 1 + below(&random, SIDE);
        const int to_height = i % 4 == 0 ? height : 1 + below(&random, SIDE);
        const int to_width = i % 4 == 1 ? width : 1 + below(&random, SIDE);
        const vst_resize_window window = {
            height, width, to_height, to_width, random_box(&random, to_height, to_width), (vst_filter)_i};
        ck_ok(vst_image_allocate(&in, i % 3 ? 3 : 1, height, width));
        for (size_t k = 0; k < size_of(&in); k++) in.pixels[k] = (uint8_t)below(&random, 256);
        ck_ok(vst_image_resize(&in, NULL, to_height, to_width, (vst_filter)_i, &scratch, &whole));
        ck_ok(vst_image_crop(&whole, window.box, &expected));
        ck_ok(vst_image_resize_window(&in, &window, &scratch, &out));
        assert_same(&out, &expected, "a window from the whole input");
        ck_ok(vst_image_crop(&in, vst_resize_source(&window), &part));
        ck_ok(vst_image_resize_window(&part, &window, &scratch, &out));
        assert_same(&out, &expected, "a window from its source");
    }
    const vst_resize_window far = {10, 10, 20, 20, {0, 0, 20, 20}, (vst_filter)_i};
    ck_ok(vst_image_allocate(&in, 1, 9, 10));
    ck_assert_int_eq(vst_image_resize_window(&in, &far, &scratch, &out), VST_ERROR_ARGUMENT);
    vst_image *const images[] = {&in, &part, &whole, &expected, &out, &scratch};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) vst_image_clear(images[i]);
}
END_TEST

static double mean_difference(const vst_image *a, const vst_image *b) {
    double sum = 0;
    for (size_t i = 0; i < size_of(a); i++) sum += abs(a->pixels[i] - b->pixels[i]);
    return sum / (double)size_of(a);
}

/* A scaled decode is at least as large as requested, not larger than needed, and similar to the original. */
START_TEST(scaled) {
    vst_image image = {0}, whole = {0}, small = {0}, scratch = {0};
    size_t size;
    static const jpeg_kind smooth = {"", JCS_YCbCr, 3, {{2, 2}, {1, 1}, {1, 1}}, false, 0};
    uint8_t *file = make_jpeg(&smooth, 128, 208, 90, &size);
    static const struct {
        int least_height, least_width, height, width;
    } cases[] = {{128, 208, 128, 208}, {64, 104, 64, 104}, {64, 105, 128, 208}, {65, 1, 128, 208}, {32, 52, 32, 52},
                 {33, 52, 64, 104},    {16, 26, 16, 26},   {1, 1, 16, 26},      {0, 1, 128, 208},  {1, 0, 128, 208}};
    ck_ok(vst_image_decode(file, size, NULL, &whole, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vst_decode_options options = {.least_height = cases[i].least_height, .least_width = cases[i].least_width};
        ck_ok(vst_image_decode(file, size, &options, &image, NULL));
        ck_assert(image.height == cases[i].height && image.width == cases[i].width);
        ck_ok(vst_image_resize(&whole, NULL, image.height, image.width, VST_FILTER_BOX, &scratch, &small));
        ck_assert(mean_difference(&image, &small) < 8);
    }
    const vst_box box = {40, 48, 80, 96};
    const vst_decode_options options = {.crop = &box, .least_height = 40, .least_width = 48};
    ck_ok(vst_image_decode(file, size, &options, &image, NULL));
    ck_assert(image.height == 40 && image.width == 48);
    ck_ok(vst_image_resize(&whole, &box, 40, 48, VST_FILTER_BOX, &scratch, &small));
    ck_assert(mean_difference(&image, &small) < 8);
    free(file);
    vst_image_clear(&image);
    vst_image_clear(&whole);
    vst_image_clear(&small);
    vst_image_clear(&scratch);
}
END_TEST

/* ---- EXIF, facts, options ---- */

START_TEST(orientation) {
    vst_image plain = {0}, turned = {0}, expected = {0};
    size_t size, marked_size;
    uint8_t *file = make_jpeg(&jpeg_kinds[3], 20, 31, 90, &size);
    ck_ok(vst_image_decode(file, size, NULL, &plain, NULL));
    for (int i = 0; i <= 9; i++) {
        vst_image_facts facts;
        const vst_decode_options options = {.turn = true};
        uint8_t *marked = add_orientation(file, size, i, _i, &marked_size);
        ck_ok(vst_image_inspect(marked, marked_size, NULL, &facts));
        ck_assert_int_eq(facts.orientation, i >= 1 && i <= 8 ? i : 1);
        ck_assert(facts.format == VST_IMAGE_JPEG && facts.channels == 3 && facts.height == 20 && facts.width == 31);
        ck_ok(vst_image_decode(marked, marked_size, NULL, &turned, NULL));
        assert_same(&turned, &plain, "not asked to turn");
        ck_ok(vst_image_decode(marked, marked_size, &options, &turned, NULL));
        ck_ok(vst_image_turn(&plain, i, &expected));
        assert_same(&turned, &expected, "turned");
        for (size_t cut = 0; cut < 40; cut++) { /* a broken structure: its last bytes are missing */
            uint8_t *shorter = malloc(cut + 1);
            memcpy(shorter, marked + 12, cut);
            const int found = vsti_exif_orientation(shorter, cut);
            ck_assert(found >= 1 && found <= 8 && (cut >= 22 || found == 1));
            free(shorter);
        }
        free(marked);
    }
    free(file);
    vst_image_clear(&plain);
    vst_image_clear(&turned);
    vst_image_clear(&expected);
}
END_TEST

/* An eXIf chunk in a PNG, before the pixels. */
START_TEST(png_orientation) {
    static const uint8_t tiff[26] = {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6};
    enum { HEADER = 33, CHUNK = 12 + sizeof tiff };
    vst_image image = {0}, turned = {0}, expected = {0};
    uint8_t *file, chunk[CHUNK] = {0, 0, 0, sizeof tiff, 'e', 'X', 'I', 'f'};
    size_t size;
    vst_image_facts facts;
    const vst_decode_options options = {.turn = true};
    make_image(&image, 3, 5, 9, 0, 1);
    ck_ok(vst_png_encode(&image, &file, &size));
    ck_ok(vst_image_inspect(file, size, NULL, &facts));
    ck_assert(facts.format == VST_IMAGE_PNG && facts.channels == 3 && facts.height == 5 && facts.width == 9);
    ck_assert_int_eq(facts.orientation, 1);
    memcpy(chunk + 8, tiff, sizeof tiff);
    const uint32_t crc = (uint32_t)crc32(0, chunk + 4, 4 + sizeof tiff);
    for (int i = 0; i < 4; i++) chunk[8 + sizeof tiff + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    uint8_t *marked = malloc(size + CHUNK);
    memcpy(marked, file, HEADER);
    memcpy(marked + HEADER, chunk, CHUNK);
    memcpy(marked + HEADER + CHUNK, file + HEADER, size - HEADER);
    ck_ok(vst_image_inspect(marked, size + CHUNK, NULL, &facts));
    ck_assert_int_eq(facts.orientation, 6);
    ck_ok(vst_image_decode(marked, size + CHUNK, &options, &turned, NULL));
    ck_ok(vst_image_turn(&image, 6, &expected));
    assert_same(&turned, &expected, "PNG");
    const vst_box box = {1, 2, 3, 4};
    const vst_decode_options part = {.crop = &box};
    ck_ok(vst_image_decode(file, size, &part, &turned, NULL));
    ck_ok(vst_image_crop(&image, box, &expected));
    assert_same(&turned, &expected, "part of a PNG");
    free(marked);
    vst_free(file);
    vst_image_clear(&image);
    vst_image_clear(&turned);
    vst_image_clear(&expected);
}
END_TEST

static void refuse(const uint8_t *file, size_t size, const vst_decode_options *options, vst_status status,
                   const char *text) {
    vst_image image = {0};
    ck_ok(vst_image_allocate(&image, 1, 1, 1));
    ck_assert_int_eq(vst_image_decode(file, size, options, &image, NULL), status);
    ck_assert_msg(strstr(vst_error_message(), text) != NULL, "\"%s\" lacks \"%s\"", vst_error_message(), text);
    ck_assert_ptr_null(image.pixels); /* cleared on failure */
}

START_TEST(refusals) {
    size_t size;
    uint8_t *file = make_jpeg(&jpeg_kinds[3], 20, 31, 90, &size);
    static const vst_box boxes[] = {{0, 0, 21, 1},        {0, 0, 1, 32},       {-1, 0, 3, 3}, {0, -1, 3, 3},
                                    {18, 0, 3, 3},        {0, 29, 3, 3},       {0, 0, 0, 3},  {0, 0, 3, 0},
                                    {0, 0, -2, 3},        {20, 0, 1, 1},       {0, 31, 1, 1}, {5, 5, 3, -1},
                                    {INT32_MAX, 0, 1, 1}, {1, 1, INT32_MAX, 1}};
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++)
        refuse(file, size, &(vst_decode_options){.crop = &boxes[i]}, VST_ERROR_ARGUMENT, "does not lie within");
    const vst_box box = {0, 0, 1, 1};
    refuse(file, size, &(vst_decode_options){.crop = &box, .turn = true}, VST_ERROR_ARGUMENT, "crop");
    refuse(file, size, &(vst_decode_options){.channels = 2}, VST_ERROR_ARGUMENT, "2 channels");
    refuse(file, 5, NULL, VST_ERROR_FORMAT, "JPEG");
    refuse(file + 1, size - 1, NULL, VST_ERROR_FORMAT, "begins with the bytes d8 ff");
    refuse(file, 0, NULL, VST_ERROR_FORMAT, "0 bytes");
    free(file);
    vst_image image = {0}, out = {0};
    make_image(&image, 3, 4, 5, 0, 0);
    ck_assert_int_eq(vst_image_crop(&image, (vst_box){1, 1, 4, 1}, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_resize(&image, NULL, 0, 3, VST_FILTER_BOX, &out, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_resize(&image, NULL, 3, 3, (vst_filter)6, &out, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_pad(&image, 0, -1, 0, 0, VST_BORDER_EDGE, NULL, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_pad(&image, INT32_MAX, 1, 0, 0, VST_BORDER_EDGE, NULL, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_rotate(&image, NAN, (vst_sampling){VST_FILTER_BICUBIC, NULL}, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_rotate(&image, 3, (vst_sampling){VST_FILTER_LANCZOS, NULL}, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_shear_x(&image, INFINITY, (vst_sampling){VST_FILTER_NEAREST, NULL}, &out),
                     VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_gaussian_blur(&image, -1, &out), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_image_gaussian_blur(&image, NAN, &out), VST_ERROR_ARGUMENT);
    vst_image_clear(&image);
    vst_image_clear(&out);
}
END_TEST

/* ---- Broken and hostile files ---- */

/* Tries the first `cut` bytes followed by `end`. Returns 0 if they are refused, 1 if the decoder filled in missing
 * pixels and reported damage, 2 if all pixels are right. */
static int try_cut(const uint8_t *file, size_t cut, const char *end, const vst_image *whole) {
    const vst_decode_options lenient = {.allow_damaged = true};
    const size_t more = strlen(end);
    vst_image image = {0};
    uint8_t *copy = malloc(cut + more + !(cut + more)); /* exactly this size, for the sanitizers */
    bool damaged = false;
    int result = 2;
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, file, cut);
    memcpy(copy + cut, end, more);
    if (vst_image_decode(copy, cut + more, &lenient, &image, &damaged) != VST_OK) {
        ck_assert_ptr_null(image.pixels);
        result = 0;
    } else if (damaged) {
        ck_assert(vst_image_decode(copy, cut + more, NULL, &image, NULL) == VST_ERROR_FORMAT);
        result = 1;
    } else {
        assert_same(&image, whole, "not called damaged");
    }
    free(copy);
    vst_image_clear(&image);
    return result;
}

/* A file truncated anywhere is an error, is reported as damaged, or has all pixels. The same holds for one that is
 * truncated and given an end marker, except if it has lost whole scans of a progressive file, which cannot be detected.
 */
START_TEST(truncation) {
    vst_image whole = {0};
    size_t size;
    int cuts[3] = {0}, ends[3] = {0};
    uint8_t *file = make_jpeg(&jpeg_kinds[_i], 19, 23, 50, &size);
    ck_ok(vst_image_decode(file, size, NULL, &whole, NULL));
    for (size_t cut = 0; cut < size; cut++) {
        cuts[try_cut(file, cut, "", &whole)]++;
        if (!jpeg_kinds[_i].progressive) ends[try_cut(file, cut, "\xff\xd9", &whole)]++;
    }
    ck_assert(cuts[0] > 100 && cuts[1] > 10 && cuts[2] <= 2);
    ck_assert(jpeg_kinds[_i].progressive || (ends[0] > 100 && ends[1] > 10 && ends[2] <= 4));
    free(file);
    vst_image_clear(&whole);
}
END_TEST

/* Sets another size in the file's frame header. */
static void set_jpeg_size(uint8_t *file, size_t size, unsigned height, unsigned width) {
    for (size_t i = 0; i + 9 < size; i++)
        if (file[i] == 0xff && (file[i + 1] == 0xc0 || file[i + 1] == 0xc2)) {
            file[i + 5] = (uint8_t)(height >> 8);
            file[i + 6] = (uint8_t)height;
            file[i + 7] = (uint8_t)(width >> 8);
            file[i + 8] = (uint8_t)width;
            return;
        }
    ck_abort_msg("no frame");
}

static long peak_kilobytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

START_TEST(pixel_bomb) {
    size_t size;
    uint8_t *file = make_jpeg(&jpeg_kinds[_i ? 11 : 3], 19, 23, 50, &size);
    const vst_image_limits limits = {.pixels = 19 * 23 - 1}, more = {.pixels = 19 * 23};
    vst_image image = {0};
    refuse(file, size, &(vst_decode_options){.limits = &limits}, VST_ERROR_LIMIT, "19 x 23 pixels");
    ck_ok(vst_image_decode(file, size, &(vst_decode_options){.limits = &more}, &image, NULL));
    const long before = peak_kilobytes();
    set_jpeg_size(file, size, 65500, 65500);
    refuse(file, size, NULL, VST_ERROR_LIMIT, "65500 x 65500 pixels");
    vst_image_facts facts;
    ck_assert_int_eq(vst_image_inspect(file, size, NULL, &facts), VST_ERROR_LIMIT);
    ck_assert_int_lt(peak_kilobytes() - before, 4096);
    free(file);
    vst_image_clear(&image);
}
END_TEST

/* A progressive file that repeats its last scan: each repeat costs a pass over the image. */
START_TEST(scan_bomb) {
    enum { REPEATS = 600 };
    size_t size, scan = 0;
    uint8_t *file = make_jpeg(&jpeg_kinds[15], 64, 64, 50, &size);
    for (size_t i = 0; i + 1 < size; i++)
        if (file[i] == 0xff && file[i + 1] == 0xda) scan = i;
    const size_t length = size - 2 - scan;
    uint8_t *bomb = malloc(size + REPEATS * length);
    memcpy(bomb, file, size - 2);
    for (int i = 0; i < REPEATS; i++) memcpy(bomb + size - 2 + (size_t)i * length, file + scan, length);
    memcpy(bomb + size - 2 + REPEATS * length, file + size - 2, 2);
    const vst_image_limits few = {.scans = 4}, large = {.pixels = 64 * 64}, enough = {.scans = 2 * REPEATS};
    refuse(bomb, size + REPEATS * length, &(vst_decode_options){.allow_damaged = true}, VST_ERROR_LIMIT,
           "more than 500 scans");
    refuse(file, size, &(vst_decode_options){.limits = &few, .allow_damaged = true}, VST_ERROR_LIMIT,
           "more than 4 scans");
    refuse(bomb, size + REPEATS * length, &(vst_decode_options){.limits = &large, .allow_damaged = true},
           VST_ERROR_LIMIT, "more than 32 scans of 64 x 64 pixels");
    vst_image image = {0}; /* the repeats are reported as damage */
    ck_ok(vst_image_decode(bomb, size + REPEATS * length,
                           &(vst_decode_options){.limits = &enough, .allow_damaged = true}, &image, NULL));
    free(bomb);
    free(file);
    vst_image_clear(&image);
}
END_TEST

/* ---- Memory ---- */

/* Operations on reused images do not allocate. */
START_TEST(no_allocation) {
    static const char *const commands[] = {"resize bicubic 20 31",
                                           "resize lanczos 70 30",
                                           "resize_box bilinear 9 9 3 4 20 20",
                                           "rotate bicubic 27",
                                           "affine nearest 30 30 1 .1 0 .1 1 0",
                                           "sharpness 1.5",
                                           "blur 1.3",
                                           "pad 4 4 4 4 reflect",
                                           "crop 2 2 10 10",
                                           "equalize",
                                           "color 0.3",
                                           "contrast 1.3"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        pixel_desk desk = {0};
        vst_image kept = {0};
        uint64_t before = 0;
        make_image(&kept, 3, 40, 50, 1, 3);
        for (int repeat = 0; repeat < 5; repeat++) {
            char command[100];
            snprintf(command, sizeof command, "%s", commands[i]);
            copy_image(&kept, &desk.image);
            if (repeat == 3) before = vst_memory_count();
            ck_ok(pixel_command(&desk, command));
        }
        ck_assert_msg(vst_memory_count() == before, "\"%s\" allocates every time", commands[i]);
        pixel_desk_clear(&desk);
        vst_image_clear(&kept);
    }
}
END_TEST

/* Every allocation fails in turn: an error is returned, and nothing is leaked. */
START_TEST(failing_allocations) {
    static const char *const commands[] = {"resize bicubic 20 31", "rotate bicubic 27",
                                           "sharpness 1.5",        "blur 1.3",
                                           "pad 4 4 4 4 edge",     "turn 6",
                                           "crop 2 2 3 3",         "jpeg 90"};
    size_t size;
    uint8_t *file = make_jpeg(&jpeg_kinds[16], 33, 44, 80, &size), *marked;
    marked = add_orientation(file, size, 6, false, &size);
    const vst_box box = {3, 3, 9, 9};
    const vst_decode_options options[] = {{.turn = true, .channels = 3}, {.crop = &box}};
    for (int i = 0; i < 2; i++)
        for (uint64_t n = 1;; n++) {
            vst_image image = {0};
            vst_memory_fail_at(n);
            const vst_status status = vst_image_decode(marked, size, &options[i], &image, NULL);
            vst_memory_fail_at(0);
            vst_image_clear(&image);
            if (status == VST_OK) break;
            ck_assert_int_eq(status, VST_ERROR_MEMORY);
            ck_assert_uint_lt(n, 10);
        }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        for (uint64_t n = 1;; n++) {
            char command[100];
            pixel_desk desk = {0};
            make_image(&desk.image, 3, 10, 12, 1, 3);
            snprintf(command, sizeof command, "%s", commands[i]);
            vst_memory_fail_at(n);
            const vst_status status = pixel_command(&desk, command);
            vst_memory_fail_at(0);
            pixel_desk_clear(&desk);
            if (status == VST_OK) break;
            ck_assert_int_eq(status, VST_ERROR_MEMORY);
            ck_assert_uint_lt(n, 10);
        }
    free(marked);
    free(file);
}
END_TEST

/* Images that no JPEG can store; and more bytes than the encoder's first buffer, which has to grow. */
START_TEST(jpeg_encoding) {
    vst_image image = {0}, back = {0};
    uint8_t *file[2];
    size_t size[2];
    make_image(&image, 3, 100, 150, 0, 7);
    for (int quality = 0; quality <= 101; quality += 101)
        ck_assert_int_eq(vst_jpeg_encode(&image, quality, &file[0], &size[0]), VST_ERROR_ARGUMENT);
    for (int i = 0; i < 2; i++) ck_ok(vst_jpeg_encode(&image, i ? 95 : 10, &file[i], &size[i]));
    ck_assert_uint_gt(size[1], 3 * size[0]);
    ck_assert_uint_gt(size[1], 4 * 4096);
    ck_ok(vst_image_decode(file[1], size[1], NULL, &back, NULL));
    ck_assert(back.channels == 3 && back.height == 100 && back.width == 150);
    for (int i = 0; i < 2; i++) vst_free(file[i]);
    ck_ok(vst_image_allocate(&image, 1, 1, 65501));
    memset(image.pixels, 0, 65501);
    ck_assert_int_eq(vst_jpeg_encode(&image, 95, &file[0], &size[0]), VST_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "1 x 65501 pixels"));
    vst_image_clear(&image);
    vst_image_clear(&back);
}
END_TEST

START_TEST(shorter_side) {
    static const int cases[][5] = {{375, 500, 256, 256, 341},
                                   {500, 375, 256, 341, 256},
                                   {256, 256, 256, 256, 256},
                                   {333, 1000, 248, 248, 744},
                                   {7, 3, 2, 4, 2}}; /* torchvision's */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int height, width;
        vst_resize_shorter(cases[i][0], cases[i][1], cases[i][2], &height, &width);
        ck_assert(height == cases[i][3] && width == cases[i][4]);
    }
}
END_TEST

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--serve") == 0) return pixel_serve();
    TCase *tests = tcase_create("pixels");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, operations, 0, 3);
    tcase_add_test(tests, files);
    tcase_add_loop_test(tests, part_is_part_of_whole, 0, JPEG_KINDS);
    tcase_add_loop_test(tests, window_is_part_of_resized, VST_FILTER_NEAREST, VST_FILTER_LANCZOS + 1);
    tcase_add_test(tests, scaled);
    tcase_add_loop_test(tests, orientation, 0, 2);
    tcase_add_test(tests, png_orientation);
    tcase_add_test(tests, refusals);
    tcase_add_loop_test(tests, truncation, 0, JPEG_KINDS);
    tcase_add_loop_test(tests, pixel_bomb, 0, 2);
    tcase_add_test(tests, scan_bomb);
    tcase_add_test(tests, no_allocation);
    tcase_add_test(tests, failing_allocations);
    tcase_add_test(tests, jpeg_encoding);
    tcase_add_test(tests, shorter_side);
    return run_suite("pixels", tests);
}
