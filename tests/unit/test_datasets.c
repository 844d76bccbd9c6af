/* Data sets and augmentations: the IDX reader on the real Fashion-MNIST and on generated files, views, policies. */
#include <check.h>
#include <math.h>
#include <zlib.h>

#include "datasets/augment/augment.h"
#include "datasets/dataset.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "vision/base/random.h"

#define FASHION "/usr/share/datasets/fashion-mnist"

static void expect_error(vst_status expected, const char *text, vst_status got) {
    ck_assert_msg(got == expected, "status %s, expected %s: %s", vst_status_name(got), vst_status_name(expected),
                  vst_error_message());
    ck_assert_msg(strstr(vst_error_message(), text) != NULL, "'%s' is not in: %s", text, vst_error_message());
}

/* ---- Fashion-MNIST ---- */

typedef struct facts {
    const char *split;
    uint64_t count;
    uint32_t pixels_crc, labels_crc; /* of the unpacked files without their headers, by Python's zlib */
} facts;

static const facts fashion[2] = {{"train", 60000, 0xae65dccd, 0x2ed6e46a}, {"test", 10000, 0x12728439, 0x242bc73f}};

START_TEST(fashion_mnist) {
    const facts *expected = &fashion[_i];
    vst_dataset *dataset;
    if (access(FASHION, R_OK) != 0) {
        fprintf(stderr, "skipped: %s is not there (Debian package dataset-fashion-mnist)\n", FASHION);
        return;
    }
    ck_ok(vst_dataset_open(&dataset, FASHION, expected->split, NULL));
    ck_assert_uint_eq(vst_dataset_count(dataset), expected->count);
    ck_assert_int_eq(vst_dataset_classes(dataset), 10);
    ck_assert_int_eq(vst_dataset_channels(dataset), 1);
    ck_assert_str_eq(vst_dataset_class_name(dataset, 0), "T-shirt/top");
    ck_assert_str_eq(vst_dataset_class_name(dataset, 9), "Ankle boot");
    ck_assert_ptr_null(vst_dataset_class_name(dataset, 10));
    vst_image image = {0};
    uLong pixels = crc32(0, NULL, 0), labels = crc32(0, NULL, 0);
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < expected->count; i++) {
        static const int first[10] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5};
        int label;
        ck_ok(vst_dataset_read(dataset, i, &image, &label));
        if (i < 10 && _i == 0) ck_assert_int_eq(label, first[i]);
        if (image.channels != 1 || image.height != 28 || image.width != 28) ck_abort_msg("sample of another shape");
        const uint8_t byte = (uint8_t)label;
        pixels = crc32(pixels, image.pixels, 784);
        labels = crc32(labels, &byte, 1);
        for (int p = 0; p < 784; p++) {
            sum += image.pixels[p];
            squares += image.pixels[p] * image.pixels[p];
        }
    }
    ck_assert_uint_eq(pixels, expected->pixels_crc);
    ck_assert_uint_eq(labels, expected->labels_crc);
    if (_i == 0) { /* the well-known 0.2860 and 0.3530 */
        const double n = 784.0 * 60000, mean = sum / n / 255, deviation = sqrt(squares / n / 65025 - mean * mean);
        ck_assert_double_eq_tol(mean, 0.2860, 5e-5);
        ck_assert_double_eq_tol(deviation, 0.3530, 5e-5);
    }
    vst_image_clear(&image);
    vst_dataset_close(dataset);
}
END_TEST

/* ---- Generated IDX files ---- */

static void check_samples(const vst_dataset *dataset, int count, int height, int width, int classes) {
    vst_image image = {0};
    ck_assert_uint_eq(vst_dataset_count(dataset), (uint64_t)count);
    for (int i = 0; i < count; i++) {
        int label;
        ck_ok(vst_dataset_read(dataset, (uint64_t)i, &image, &label));
        ck_assert_int_eq(label, i % classes);
        ck_assert(image.channels == 1 && image.height == height && image.width == width);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) ck_assert_int_eq(image.pixels[y * width + x], idx_pixel(i, y, x));
    }
    vst_image_clear(&image);
}

/* Plain and gzip files give the same data, from the folder and from each file, with and without a prefix. */
START_TEST(generated) {
    const int gzip = _i & 1;
    const char *prefix = _i & 2 ? "emnist-digits-" : "";
    char folder[256], path[512];
    uint64_t hashes[2];
    make_folder(folder, "digits");
    write_idx(folder, prefix, 37, 11, 5, 3, 4, gzip);
    for (int i = 0; i < 8; i++) {
        vst_dataset *dataset;
        snprintf(path, sizeof path, "%s/%s%s%s", folder, prefix, idx_names[i / 2], gzip ? ".gz" : "");
        const char *given = !*prefix && i < 2 ? folder : path;
        ck_ok(vst_dataset_open(&dataset, given, i % 2 ? "test" : "train",
                               i < 4 ? &(vst_dataset_options){.format = "idx"} : NULL));
        check_samples(dataset, i % 2 ? 11 : 37, 5, 3, 4);
        ck_assert_int_eq(vst_dataset_classes(dataset), 4);
        ck_assert_str_eq(vst_dataset_class_name(dataset, 3), "3");
        uint64_t hash;
        ck_ok(vst_dataset_hash(dataset, &hash));
        if (i < 2) hashes[i] = hash;
        ck_assert_uint_eq(hash, hashes[i % 2]);
        vst_dataset_close(dataset);
    }
    ck_assert_uint_ne(hashes[0], hashes[1]);
    remove_folder(folder, prefix);
}
END_TEST

/* The test split alone has fewer classes; in a "fashion" folder ten classes get their names. */
START_TEST(class_counts_and_names) {
    char folder[256], path[512];
    vst_dataset *dataset;
    make_folder(folder, "Fashion");
    write_idx(folder, "", 20, 3, 2, 2, 10, 0);
    ck_ok(vst_dataset_open(&dataset, folder, "test", NULL));
    ck_assert_int_eq(vst_dataset_classes(dataset), 10);
    ck_assert_str_eq(vst_dataset_class_name(dataset, 7), "Sneaker");
    vst_dataset_close(dataset);
    snprintf(path, sizeof path, "%s/%s", folder, idx_names[1]);
    unlink(path);
    ck_ok(vst_dataset_open(&dataset, folder, "test", NULL));
    ck_assert_int_eq(vst_dataset_classes(dataset), 3);
    ck_assert_str_eq(vst_dataset_class_name(dataset, 2), "2");
    vst_dataset_close(dataset);
    expect_error(VST_ERROR_NOT_FOUND, idx_names[1], vst_dataset_open(&dataset, folder, "train", NULL));
    remove_folder(folder, "");
}
END_TEST

START_TEST(open_errors) {
    char folder[256], path[512];
    vst_dataset *dataset = (vst_dataset *)folder;
    make_folder(folder, "empty");
    expect_error(VST_ERROR_FORMAT, "idx (MNIST", vst_dataset_open(&dataset, folder, "train", NULL));
    ck_assert_ptr_null(dataset);
    expect_error(VST_ERROR_NOT_FOUND, "train-images",
                 vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "idx"}));
    expect_error(VST_ERROR_ARGUMENT, "'zarr'",
                 vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "zarr"}));
    expect_error(VST_ERROR_ARGUMENT, "'dev'", vst_dataset_open(&dataset, folder, "dev", NULL));
    snprintf(path, sizeof path, "%s/nothing", folder);
    expect_error(VST_ERROR_NOT_FOUND, path, vst_dataset_open(&dataset, path, "train", NULL));
    write_bytes(path, (const uint8_t *)"hello", 5);
    expect_error(VST_ERROR_NOT_FOUND, "not named like",
                 vst_dataset_open(&dataset, path, "train", &(vst_dataset_options){.format = "idx"}));
    unlink(path);
    remove_folder(folder, "");
}
END_TEST

typedef struct damage {
    int file;   /* of idx_names */
    int length; /* bytes kept, negative: bytes dropped from the end */
    int at;     /* a 32-bit big-endian value written there; -1: none */
    uint32_t value;
    int extra; /* bytes appended */
    vst_status status;
    const char *text;
} damage;

static const damage damages[] = {
    {0, 2, -1, 0, 0, VST_ERROR_FORMAT, "4 bytes (magic number) are needed from offset 0"},
    {0, 9, -1, 0, 0, VST_ERROR_FORMAT, "12 bytes (header) are needed from offset 4"},
    {1, -1, -1, 0, 0, VST_ERROR_FORMAT, "7 bytes (labels) are needed from offset 8"},
    {0, -1, -1, 0, 0, VST_ERROR_FORMAT, "84 bytes (images) are needed from offset 16"},
    {0, 0, -1, 0, 1, VST_ERROR_FORMAT, "more bytes than its header says: data at offset 100"},
    {0, 0, 0, 0x801, 0, VST_ERROR_FORMAT, "begins with 0x00000801, IDX images begin with 0x00000803"},
    {1, 0, 0, 0x803, 0, VST_ERROR_FORMAT, "begins with 0x00000803, IDX labels begin with 0x00000801"},
    {0, 0, 4, 8, 0, VST_ERROR_FORMAT, "96 bytes (images) are needed from offset 16"},
    {0, 0, 4, 6, 0, VST_ERROR_FORMAT, "data at offset 88"},
    {1, 0, 4, 0, 0, VST_ERROR_FORMAT, "dimension 0 in the header (byte 4) is 0"},
    {0, 0, 8, 65537, 0, VST_ERROR_FORMAT, "dimension 1 in the header (byte 8) is 65537"},
    {0, 0, 4, 0xffffffff, 0, VST_ERROR_LIMIT, "the limit is 1073741824"},
    {0, 0, 4, 0x5000000, 0, VST_ERROR_FORMAT, "cannot hold them"},
};

/* Every kind of damage, in a plain and in a well-formed gzip file. */
START_TEST(damaged) {
    const damage *what = &damages[_i / 2];
    const int gzip = _i % 2;
    char folder[256], path[512];
    size_t size;
    vst_dataset *dataset;
    make_folder(folder, "damaged");
    write_idx(folder, "", 7, 7, 4, 3, 3, gzip);
    uint8_t *bytes = make_idx(7, what->file % 2 ? 0 : 4, 3, 3, &size);
    bytes = realloc(bytes, size + 1);
    bytes[size] = 0;
    size += (size_t)what->extra;
    if (what->length) size = what->length > 0 ? (size_t)what->length : size - (size_t)-what->length;
    if (what->at >= 0) put32(bytes + what->at, what->value);
    snprintf(path, sizeof path, "%s/%s%s", folder, idx_names[what->file], gzip ? ".gz" : "");
    (gzip ? write_gzip : write_bytes)(path, bytes, size);
    expect_error(what->status, what->text, vst_dataset_open(&dataset, folder, "train", NULL));
    ck_assert_msg(strstr(vst_error_message(), path) != NULL, "no path in: %s", vst_error_message());
    free(bytes);
    remove_folder(folder, "");
}
END_TEST

START_TEST(counts_differ) {
    char folder[256], path[512];
    size_t size;
    vst_dataset *dataset;
    make_folder(folder, "counts");
    write_idx(folder, "", 7, 7, 4, 3, 3, 0);
    uint8_t *bytes = make_idx(6, 0, 0, 3, &size);
    snprintf(path, sizeof path, "%s/%s", folder, idx_names[1]);
    write_bytes(path, bytes, size);
    expect_error(VST_ERROR_FORMAT, " 6 labels", vst_dataset_open(&dataset, folder, "train", NULL));
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "holds 7 images"));
    free(bytes);
    remove_folder(folder, "");
}
END_TEST

/* Several gzip members are one file; trailing bytes, a wrong checksum and a wrong length are errors. */
START_TEST(gzip_members) {
    char folder[256], path[512], plain[512];
    uint8_t file[4096];
    size_t size, length;
    vst_dataset *dataset;
    make_folder(folder, "gzip");
    write_idx(folder, "", 7, 7, 4, 3, 3, 0);
    uint8_t *bytes = make_idx(7, 4, 3, 3, &size);
    snprintf(plain, sizeof plain, "%s/%s", folder, idx_names[0]);
    snprintf(path, sizeof path, "%s/%s.gz", folder, idx_names[0]);
    unlink(plain);
    write_gzip(path, bytes, 50);
    gzFile second = gzopen(path, "ab");
    ck_assert_int_eq(gzwrite(second, bytes + 50, (unsigned)size - 50), (int)size - 50);
    gzclose(second);
    ck_ok(vst_dataset_open(&dataset, folder, "train", NULL));
    check_samples(dataset, 7, 4, 3, 3);
    vst_dataset_close(dataset);
    FILE *in = fopen(path, "rb");
    length = fread(file, 1, sizeof file, in);
    fclose(in);
    file[length] = 'x';
    write_bytes(path, file, length + 1);
    expect_error(VST_ERROR_FORMAT, "after the end of the data", vst_dataset_open(&dataset, folder, "train", NULL));
    write_bytes(path, file, length - 1);
    expect_error(VST_ERROR_FORMAT, "cut off at byte", vst_dataset_open(&dataset, folder, "train", NULL));
    file[length - 5] ^= 1; /* the last byte of the checksum */
    write_bytes(path, file, length);
    expect_error(VST_ERROR_FORMAT, "incorrect data check", vst_dataset_open(&dataset, folder, "train", NULL));
    file[length - 5] ^= 1;
    file[length - 1] ^= 1;
    write_bytes(path, file, length);
    expect_error(VST_ERROR_FORMAT, "incorrect length check", vst_dataset_open(&dataset, folder, "train", NULL));
    free(bytes);
    remove_folder(folder, "");
}
END_TEST

/* ---- Views ---- */

/* Finds which samples of the parent a view has, by their first pixel (one-pixel images, at most 256 samples). */
static void members(const vst_dataset *view, int seen[256]) {
    vst_image image = {0};
    memset(seen, 0, 256 * sizeof *seen);
    for (uint64_t i = 0; i < vst_dataset_count(view); i++) {
        int label;
        ck_ok(vst_dataset_read(view, i, &image, &label));
        seen[image.pixels[0]]++;
    }
    vst_image_clear(&image);
}

START_TEST(views) {
    char folder[256];
    vst_dataset *dataset, *train, *validation, *again[2], *part, *larger;
    int seen[256], seen_validation[256], seen_part[256];
    uint64_t hashes[5];
    make_folder(folder, "views");
    write_idx(folder, "", 200, 5, 1, 1, 10, 0);
    ck_ok(vst_dataset_open(&dataset, folder, "train", NULL));
    ck_ok(vst_dataset_split(dataset, 50, 3, &train, &validation));
    ck_assert_uint_eq(vst_dataset_count(train), 150);
    ck_assert_uint_eq(vst_dataset_count(validation), 50);
    ck_assert_int_eq(vst_dataset_classes(train), 10);
    ck_assert_str_eq(vst_dataset_path(train), vst_dataset_path(dataset));
    members(train, seen);
    members(validation, seen_validation);
    int in_order = 0;
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(seen[idx_pixel(i, 0, 0)] + seen_validation[idx_pixel(i, 0, 0)], 1);
        in_order += i < 50 && seen_validation[idx_pixel(i, 0, 0)];
    }
    ck_assert_int_lt(in_order, 30); /* not simply the first 50; 12.5 are expected */
    ck_ok(vst_dataset_split(dataset, 50, 4, &again[0], &again[1]));
    ck_ok(vst_dataset_sample(dataset, 20, 3, &part));
    ck_ok(vst_dataset_sample(dataset, 60, 3, &larger));
    members(part, seen_part);
    members(larger, seen);
    for (int i = 0; i < 256; i++) ck_assert(seen_part[i] <= seen[i]);
    vst_dataset *all[5] = {dataset, train, validation, again[0], part};
    for (int i = 0; i < 5; i++) {
        ck_ok(vst_dataset_hash(all[i], &hashes[i]));
        for (int k = 0; k < i; k++) ck_assert_uint_ne(hashes[i], hashes[k]);
    }
    vst_image image = {0};
    int label;
    expect_error(VST_ERROR_ARGUMENT, "sample 20 asked for, there are 20", vst_dataset_read(part, 20, &image, &label));
    vst_dataset *none[2];
    expect_error(VST_ERROR_ARGUMENT, "1 to 199", vst_dataset_split(dataset, 200, 3, &none[0], &none[1]));
    expect_error(VST_ERROR_ARGUMENT, "1 to 200", vst_dataset_sample(dataset, 201, 3, &none[0]));
    for (int i = 1; i < 5; i++) vst_dataset_close(all[i]);
    vst_dataset_close(again[1]);
    vst_dataset_close(larger);
    vst_dataset_close(dataset);
    remove_folder(folder, "");
}
END_TEST

/* ---- Augmentation ---- */

static void make_image(vst_image *image, int channels, int height, int width) {
    ck_ok(vst_image_allocate(image, channels, height, width));
    for (int i = 0; i < channels * height * width; i++) image->pixels[i] = (uint8_t)(i + 1);
}

/* The crop of a 3 x 3 image with padding 1 at each of its nine positions, worked out by hand. */
START_TEST(crop_example) {
    static const uint8_t padded[5][5] = {{0}, {0, 1, 2, 3, 0}, {0, 4, 5, 6, 0}, {0, 7, 8, 9, 0}, {0}};
    vst_augment *crop;
    vst_image image = {0};
    int seen[9] = {0};
    ck_ok(vst_augment_create(&crop, "crop:padding=1"));
    for (uint64_t sample = 0; sample < 9000; sample++) {
        int found = -1;
        make_image(&image, 1, 3, 3);
        ck_ok(vst_augment_apply(crop, 1, 0, sample, &image));
        for (int place = 0; place < 9; place++) {
            int equal = 1;
            for (int i = 0; i < 9; i++) equal &= image.pixels[i] == padded[place / 3 + i / 3][place % 3 + i % 3];
            if (equal) found = place;
        }
        ck_assert_int_ge(found, 0);
        seen[found]++;
    }
    double chi = 0;
    for (int i = 0; i < 9; i++) chi += (seen[i] - 1000.0) * (seen[i] - 1000.0) / 1000;
    ck_assert_double_lt(chi, 26.1); /* 8 degrees of freedom: one in a thousand */
    vst_image_clear(&image);
    vst_augment_destroy(crop);
}
END_TEST

/* Three channels, padding wider than the image: compared with a naive implementation. */
START_TEST(crop_by_definition) {
    enum { HEIGHT = 5, WIDTH = 4, PADDING = 6 };
    vst_augment *crop;
    vst_image image = {0}, original = {0};
    ck_ok(vst_augment_create(&crop, "crop:padding=6"));
    make_image(&original, 3, HEIGHT, WIDTH);
    for (uint64_t sample = 0; sample < 2000; sample++) {
        make_image(&image, 3, HEIGHT, WIDTH);
        ck_ok(vst_augment_apply(crop, 5, 2, sample, &image));
        vst_random random = vst_random_stream(5, vst_random_id("augment.crop"), 2, sample);
        const int top = (int)vst_random_below(&random, 2 * PADDING + 1) - PADDING;
        const int left = (int)vst_random_below(&random, 2 * PADDING + 1) - PADDING;
        for (int i = 0; i < 3 * HEIGHT * WIDTH; i++) {
            const int y = i / 3 / WIDTH + top, x = i / 3 % WIDTH + left;
            const int inside = y >= 0 && y < HEIGHT && x >= 0 && x < WIDTH;
            ck_assert_int_eq(image.pixels[i], inside ? original.pixels[(y * WIDTH + x) * 3 + i % 3] : 0);
        }
    }
    vst_image_clear(&image);
    vst_image_clear(&original);
    vst_augment_destroy(crop);
}
END_TEST

START_TEST(flip_rate) {
    enum { COUNT = 20000 };
    vst_augment *flip;
    vst_image image = {0};
    int flips = 0;
    ck_ok(vst_augment_create(&flip, "flip:probability=0.3"));
    for (uint64_t sample = 0; sample < COUNT; sample++) {
        make_image(&image, 3, 2, 5);
        ck_ok(vst_augment_apply(flip, 1, 0, sample, &image));
        const int flipped = image.pixels[0] != 1;
        for (int i = 0; i < 30; i++) {
            const int x = i / 3 % 5, from = i + (flipped ? 3 * (4 - 2 * x) : 0);
            ck_assert_int_eq(image.pixels[i], from + 1);
        }
        flips += flipped;
    }
    ck_assert_double_eq_tol(flips / (double)COUNT, 0.3, 0.0113); /* 3.5 standard deviations */
    vst_image_clear(&image);
    vst_augment_destroy(flip);
}
END_TEST

/* Equal arguments give equal pixels; another seed, epoch or sample changes some; repeated policies differ. */
START_TEST(augment_is_pure) {
    vst_augment *list, *flips;
    vst_image image = {0}, other = {0};
    int different[3] = {0}, restored = 0;
    ck_ok(vst_augment_create(&list, " crop : padding = 2 , flip "));
    ck_ok(vst_augment_create(&flips, "flip, flip"));
    for (uint64_t sample = 0; sample < 100; sample++) {
        make_image(&image, 1, 4, 4);
        ck_ok(vst_augment_apply(list, 1, 7, sample, &image));
        for (int i = 0; i < 4; i++) {
            make_image(&other, 1, 4, 4);
            ck_ok(vst_augment_apply(list, 1 + (i == 0), 7 + (i == 1), sample + (i == 2), &other));
            const int equal = memcmp(image.pixels, other.pixels, 16) == 0;
            if (i < 3) different[i] += !equal;
            else ck_assert(equal);
        }
        make_image(&other, 1, 4, 4);
        ck_ok(vst_augment_apply(flips, 1, 7, sample, &other));
        restored += other.pixels[0] == 1;
    }
    for (int i = 0; i < 3; i++) ck_assert_int_gt(different[i], 80);
    ck_assert(restored > 25 && restored < 75); /* with one stream for both it would be 100 */
    vst_image_clear(&image);
    vst_image_clear(&other);
    vst_augment_destroy(list);
    vst_augment_destroy(flips);
}
END_TEST

START_TEST(augment_texts) {
    static const char *const empty[] = {"", "none", "  ", " none "};
    static const char *const wrong[][2] = {{"crop, blur", "'blur'; there are: auto_augment (one of"},
                                           {"crop:colour=3", "padding (pixels added"},
                                           {"crop:padding", "'padding' must be written option=value"},
                                           {"crop:padding=x", "padding"},
                                           {"flip:probability=1.5", "probability"},
                                           {"crop,", "there is no augmentation ''"},
                                           {"crop:padding=-1", "padding"},
                                           {"none, crop", "'none'"},
                                           {"crop:", "option=value"}};
    vst_augment *augment;
    vst_image image = {0};
    make_image(&image, 1, 4, 4);
    for (int i = 0; i < 4; i++) {
        ck_ok(vst_augment_create(&augment, empty[i]));
        ck_ok(vst_augment_apply(augment, 1, 0, 0, &image));
        vst_augment_destroy(augment);
    }
    ck_ok(vst_augment_apply(NULL, 1, 0, 0, &image));
    for (int i = 0; i < 16; i++) ck_assert_int_eq(image.pixels[i], i + 1);
    /* The stage on floats too: erased pixels have ImageNet's mean, the others their value. */
    ck_ok(vst_augment_create(&augment, "random_erasing:probability=1:area_min=0.2:area_max=0.4:mode=const"));
    ck_ok(vst_augment_apply(augment, 1, 0, 0, &image));
    int erased = 0;
    for (int i = 0; i < 16; i++) {
        ck_assert(image.pixels[i] == i + 1 || image.pixels[i] == 124); /* 255 * 0.485 */
        erased += image.pixels[i] == 124;
    }
    ck_assert_int_ge(erased, 2);
    vst_augment_destroy(augment);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_error(VST_ERROR_ARGUMENT, wrong[i][1], vst_augment_create(&augment, wrong[i][0]));
        ck_assert_ptr_null(augment);
    }
    vst_image_clear(&image);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("datasets");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, fashion_mnist, 0, 2);
    tcase_add_loop_test(tests, generated, 0, 4);
    tcase_add_test(tests, class_counts_and_names);
    tcase_add_test(tests, open_errors);
    tcase_add_loop_test(tests, damaged, 0, 2 * (int)(sizeof damages / sizeof *damages));
    tcase_add_test(tests, counts_differ);
    tcase_add_test(tests, gzip_members);
    tcase_add_test(tests, views);
    tcase_add_test(tests, crop_example);
    tcase_add_test(tests, crop_by_definition);
    tcase_add_test(tests, flip_rate);
    tcase_add_test(tests, augment_is_pure);
    tcase_add_test(tests, augment_texts);
    return run_suite("datasets", tests);
}
