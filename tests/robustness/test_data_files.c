/* Broken and malicious data files, and failing memory: IDX, gzip and PNG truncated at every byte and changed at random,
 * and every allocation of the data code failing in turn. A test fails by a crash, a sanitizer's report, a wrong status,
 * or a leak (found by the address sanitizer when a test's process ends). */
#include <check.h>

#include "datasets/loader/loader.h"
#include "tests/unit/data_files.h"
#include "tests/unit/png_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"

enum { MUTATIONS = 5000, SAMPLES = 9, SIDE = 5, FILE_MAX = 4096 };

/* The statuses allowed for a broken file; others are our bugs. */
static void check_status(vst_status status) {
    ck_assert_msg(status == VST_OK || status == VST_ERROR_FORMAT || status == VST_ERROR_LIMIT, "status %s: %s",
                  vst_status_name(status), vst_error_message());
}

/* Changes one to eight bytes, mostly near the beginning, and sometimes truncates the file. */
static size_t mutate(uint8_t *bytes, size_t size, uint64_t which) {
    static const uint8_t special[] = {0, 1, 0x7f, 0x80, 0xff};
    vst_random random = vst_random_stream(1, vst_random_id("mutation"), 0, which);
    const uint32_t changes = 1 + vst_random_below(&random, 8);
    for (uint32_t i = 0; i < changes; i++) {
        uint8_t *byte = &bytes[vst_random_below(&random, vst_random_below(&random, 2) ? 40 : (uint32_t)size)];
        const uint32_t kind = vst_random_below(&random, 3);
        if (kind == 0) *byte ^= (uint8_t)(1u << vst_random_below(&random, 8));
        if (kind == 1) *byte = special[vst_random_below(&random, sizeof special)];
        if (kind == 2) *byte = (uint8_t)vst_random_u32(&random);
    }
    return vst_random_below(&random, 10) ? size : size - vst_random_below(&random, size < 20 ? (uint32_t)size : 20);
}

/* ---- IDX and gzip ---- */

typedef struct damaged_set {
    char folder[256], path[512]; /* path: the file that is damaged */
    uint8_t whole[FILE_MAX];
    size_t size;
} damaged_set;

/* Writes a small data set of which one file will be damaged: images or labels, plain or gzip. */
static void damaged_begin(damaged_set *self, int file, int gzip) {
    make_folder(self->folder, "damage");
    write_idx(self->folder, "", SAMPLES, 3, SIDE, SIDE, 3, gzip);
    snprintf(self->path, sizeof self->path, "%s/%s%s", self->folder, idx_names[file], gzip ? ".gz" : "");
    FILE *in = fopen(self->path, "rb");
    ck_assert_ptr_nonnull(in);
    self->size = fread(self->whole, 1, sizeof self->whole, in);
    ck_assert_uint_lt(self->size, sizeof self->whole);
    ck_assert_int_eq(fclose(in), 0);
}

/* Opens the data set with these bytes in the file and, if that works, reads all samples. */
static vst_status damaged_open(const damaged_set *self, const uint8_t *bytes, size_t size) {
    vst_dataset *dataset;
    vst_image image = {0};
    write_bytes(self->path, bytes, size);
    const vst_status status = vst_dataset_open(&dataset, self->folder, "train", NULL);
    check_status(status);
    if (status != VST_OK)
        ck_assert_msg(strstr(vst_error_message(), self->path) != NULL, "no path: %s", vst_error_message());
    for (uint64_t i = 0; status == VST_OK && i < vst_dataset_count(dataset); i++) {
        int label;
        ck_ok(vst_dataset_read(dataset, i, &image, &label));
        ck_assert(label >= 0 && label < vst_dataset_classes(dataset));
        ck_assert_ptr_nonnull(vst_dataset_class_name(dataset, label));
    }
    vst_image_clear(&image);
    vst_dataset_close(dataset);
    return status;
}

/* _i: bit 0 gzip, bit 1 the labels. */
START_TEST(idx_cut) {
    damaged_set set;
    damaged_begin(&set, _i >> 1, _i & 1);
    ck_assert_int_eq(damaged_open(&set, set.whole, set.size), VST_OK);
    for (size_t size = 0; size < set.size; size++)
        ck_assert_int_eq(damaged_open(&set, set.whole, size), VST_ERROR_FORMAT);
    remove_folder(set.folder, "");
}
END_TEST

START_TEST(idx_mutated) {
    damaged_set set;
    int refused = 0;
    damaged_begin(&set, _i >> 1, _i & 1);
    for (uint64_t i = 0; i < MUTATIONS; i++) {
        uint8_t bytes[FILE_MAX];
        memcpy(bytes, set.whole, set.size);
        if (set.size < 40) memset(bytes + set.size, 0, 40);
        refused += damaged_open(&set, bytes, mutate(bytes, set.size, i)) != VST_OK;
    }
    ck_assert_int_gt(refused, MUTATIONS / 4);
    if (_i & 1) ck_assert_int_gt(refused, MUTATIONS * 9 / 10); /* found by the checksum */
    remove_folder(set.folder, "");
}
END_TEST

/* ---- PNG ---- */

/* Repairs the checksums of all chunks, so that changes get past them. */
static void repair(uint8_t *bytes, size_t size) {
    for (size_t at = 8; at + 12 <= size;) {
        const size_t length =
            (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (length > size - at - 12) return;
        put32(bytes + at + 8 + length, (uint32_t)crc32(0, bytes + at + 4, (unsigned)length + 4));
        at += 12 + length;
    }
}

static vst_status decode_copy(const uint8_t *bytes, size_t size, int channels) {
    const vst_image_limits limits = {.pixels = 1 << 20};
    vst_image image = {0};
    uint8_t *copy = malloc(size ? size : 1); /* exactly this size, so that reads beyond the end are detected */
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, size);
    const vst_status status = vst_png_decode(copy, size, channels, &limits, &image);
    check_status(status);
    ck_assert(status == VST_OK ? image.channels == (channels ? channels : image.channels) : image.pixels == NULL);
    vst_image_clear(&image);
    free(copy);
    return status;
}

/* What is behind the last row may be missing, as for Pillow: the end (IEND, 12 bytes) and the checksums of the chunk
 * and of the rows (4 bytes each). The checksum of the pixels may be wrong; not that of what is before them. */
START_TEST(png_cut) {
    static png_bytes file;
    const png_kind *now = &kinds[_i / 2];
    make_png(&file, now->colour, now->depth, _i % 2, now->transparency, SIDE, SIDE);
    ck_assert_int_eq(decode_copy(file.data, file.size, 0), VST_OK);
    for (size_t size = 0; size < file.size; size++) {
        const vst_status status = decode_copy(file.data, size, 3);
        if (size + 20 >= file.size) ck_assert_int_eq(status, VST_OK);
        else if (size + 23 < file.size) ck_assert_int_eq(status, VST_ERROR_FORMAT);
        else ck_assert(status == VST_OK || status == VST_ERROR_FORMAT); /* the last bits of rows, or the mark behind */
    }
    file.data[file.size - 13] ^= 1; /* IDAT */
    ck_assert_int_eq(decode_copy(file.data, file.size, 3), VST_OK);
    file.data[32] ^= 1; /* IHDR */
    ck_assert_int_eq(decode_copy(file.data, file.size, 3), VST_ERROR_FORMAT);
}
END_TEST

/* Of chunks behind the pixels, those that begin must be whole, as for Pillow; their checksums and the next header need
 * not. */
START_TEST(png_chunks_behind) {
    static png_bytes file;
    static const uint8_t text[] = "\0\0\0\5tEXtx\0abcSUMSIEND"; /* with a wrong checksum, and no whole chunk behind */
    make_png(&file, PNG_COLOR_TYPE_RGB, 8, 0, 0, SIDE, SIDE);
    file.size -= 12;
    const size_t begin = file.size;
    memcpy(file.data + begin, text, sizeof text - 1);
    for (size_t size = begin; size <= begin + sizeof text - 1; size++)
        ck_assert_msg(
            decode_copy(file.data, size, 3) == (size < begin + 8 || size >= begin + 13 ? VST_OK : VST_ERROR_FORMAT),
            "%zu bytes behind", size - begin);
    /* the rows' own checksum is cut out of the compressed data */
    make_png(&file, PNG_COLOR_TYPE_RGB, 8, 0, 0, SIDE, SIDE);
    size_t at = 8;
    while (memcmp(file.data + at + 4, "IDAT", 4) != 0) at += 12 + ((size_t)file.data[at + 2] << 8 | file.data[at + 3]);
    const size_t length = (size_t)file.data[at + 2] << 8 | file.data[at + 3];
    put32(file.data + at, (uint32_t)length - 4);
    memmove(file.data + at + 8 + length - 4, file.data + at + 8 + length, file.size - at - 8 - length);
    file.size -= 4;
    ck_assert_int_eq(decode_copy(file.data, file.size, 3), VST_OK);
}
END_TEST

START_TEST(png_mutated) {
    static png_bytes file;
    int refused = 0;
    for (uint64_t i = 0; i < MUTATIONS; i++) {
        const png_kind *now = &kinds[i % PNG_KINDS];
        make_png(&file, now->colour, now->depth, (int)(i / PNG_KINDS % 2), now->transparency, SIDE, SIDE);
        file.size = mutate(file.data, file.size, i);
        if (_i) repair(file.data, file.size);
        refused += decode_copy(file.data, file.size, (int)(i % 3 == 2 ? 3 : i % 3)) != VST_OK;
    }
    ck_assert_int_gt(refused, MUTATIONS / 2);
    ck_assert_int_lt(refused, MUTATIONS);
}
END_TEST

/* A text chunk that unpacks to 100 MB is not unpacked, and one that is 100 MB long is not kept in memory. */
START_TEST(png_chunk_bomb) {
    static png_bytes file;
    static uint8_t zeros[1 << 16];
    make_png(&file, PNG_COLOR_TYPE_GRAY, 8, 0, 0, SIDE, SIDE);
    uint8_t *bomb = malloc(1 << 18), *at = bomb + 33; /* signature and header stay at the start */
    ck_assert_ptr_nonnull(bomb);
    memcpy(bomb, file.data, 33);
    z_stream stream = {.next_out = at + 8 + 3, .avail_out = 1 << 17};
    memcpy(at + 4, "zTXtx\0", 7);
    ck_assert_int_eq(deflateInit(&stream, 9), Z_OK);
    for (int i = 0; i < 1600; i++) {
        stream.next_in = zeros;
        stream.avail_in = sizeof zeros;
        ck_assert_int_eq(deflate(&stream, i < 1599 ? Z_NO_FLUSH : Z_FINISH), i < 1599 ? Z_OK : Z_STREAM_END);
    }
    const size_t length = 3 + stream.total_out;
    deflateEnd(&stream);
    put32(at, (uint32_t)length);
    memcpy(at + 12 + length, file.data + 33, file.size - 33);
    repair(bomb, 45 + length + file.size - 33);
    ck_assert_int_eq(decode_copy(bomb, 45 + length + file.size - 33, 0), VST_OK);
    put32(at, 100u << 20);
    ck_assert_int_eq(decode_copy(bomb, 45 + length + file.size - 33, 0), VST_ERROR_FORMAT);
    free(bomb);
}
END_TEST

/* ---- Memory runs out ---- */

typedef struct fixture {
    char folder[256];
    vst_dataset *dataset;
    vst_augment *augment;
    vst_image image;
    png_bytes file;
    int workers;
} fixture;

static vst_status do_open(fixture *self) {
    vst_dataset *dataset, *train, *validation, *part;
    vst_status status = vst_dataset_open(&dataset, self->folder, "train", NULL);
    if (status != VST_OK) return status;
    status = vst_dataset_split(dataset, 2, 1, &train, &validation);
    if (status == VST_OK) {
        status = vst_dataset_sample(train, 3, 1, &part);
        vst_dataset_close(part);
    }
    vst_dataset_close(train);
    vst_dataset_close(validation);
    vst_dataset_close(dataset);
    return status;
}

static vst_status do_read(fixture *self) {
    vst_image image = {0};
    int label;
    const vst_status status = vst_dataset_read(self->dataset, 1, &image, &label);
    vst_image_clear(&image);
    return status;
}

static vst_status do_augment(fixture *self) {
    vst_augment *augment;
    (void)self;
    const vst_status status = vst_augment_create(&augment, "crop:padding=2, flip, crop");
    vst_augment_destroy(augment);
    return status;
}

static vst_status do_load(fixture *self) {
    const vst_loader_options options = {
        .batch = 2, .workers = self->workers, .channels = 1, .size = SIDE, .seed = 1, .augment = self->augment};
    vst_loader *loader;
    vst_batch batch = {.count = 1};
    vst_status status = vst_loader_create(&loader, self->dataset, &options), first = VST_OK;
    while (status == VST_OK && batch.count > 0) {
        status = vst_loader_next(loader, &batch);
        if (status != VST_OK) { /* the loader continues after a broken sample */
            first = status;
            status = VST_OK;
            batch.count = 1;
        }
    }
    vst_loader_destroy(loader);
    return status != VST_OK ? status : first;
}

static vst_status do_decode(fixture *self) {
    vst_image image = {0};
    const vst_status status = vst_png_decode(self->file.data, self->file.size, 3, NULL, &image);
    vst_image_clear(&image);
    return status;
}

static vst_status do_write(fixture *self) {
    char path[300];
    snprintf(path, sizeof path, "%s/picture.png", self->folder);
    const vst_status status = vst_png_write(path, &self->image);
    ck_assert_int_eq(access(path, F_OK), status == VST_OK ? 0 : -1);
    unlink(path);
    return status;
}

static vst_status do_grid(fixture *self) {
    vst_image sheet = {0};
    const vst_status status = vst_image_grid(&self->image, NULL, 1, 1, 2, 2, &sheet);
    vst_image_clear(&sheet);
    return status;
}

static const struct {
    const char *name;
    vst_status (*run)(fixture *self);
    int gzip, workers;
} actions[] = {{"open", do_open, 0, 0},       {"open gzip", do_open, 1, 0}, {"read", do_read, 0, 0},
               {"augment", do_augment, 0, 0}, {"load", do_load, 0, 0},      {"load 1", do_load, 0, 1},
               {"load 3", do_load, 0, 3},     {"decode", do_decode, 0, 0},  {"write", do_write, 0, 0},
               {"grid", do_grid, 0, 0}};
enum { ACTIONS = sizeof actions / sizeof *actions };

/* The n-th allocation fails, for n = 1, 2, … until none is left to fail. */
START_TEST(memory_fails) {
    static fixture self;
    self.workers = actions[_i].workers;
    make_folder(self.folder, "memory");
    write_idx(self.folder, "", SAMPLES, 3, SIDE, SIDE, 3, actions[_i].gzip);
    ck_ok(vst_dataset_open(&self.dataset, self.folder, "train", NULL));
    ck_ok(vst_augment_create(&self.augment, "crop, flip"));
    ck_ok(vst_image_allocate(&self.image, 3, SIDE, SIDE));
    memset(self.image.pixels, 7, 3 * SIDE * SIDE);
    make_png(&self.file, PNG_COLOR_TYPE_GRAY, 2, 1, 1, SIDE, SIDE);
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        const uint64_t before = vst_memory_count();
        vst_memory_fail_at(n);
        const vst_status status = actions[_i].run(&self);
        vst_memory_fail_at(0);
        if (vst_memory_count() - before < n) { /* nothing failed */
            ck_ok(status);
            break;
        }
        ck_assert_msg(status == VST_ERROR_MEMORY, "%s, allocation %d: status %s: %s", actions[_i].name, (int)n,
                      vst_status_name(status), vst_error_message());
        failures++;
    }
    ck_assert_int_gt(failures, 0);
    vst_image_clear(&self.image);
    vst_augment_destroy(self.augment);
    vst_dataset_close(self.dataset);
    remove_folder(self.folder, "");
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("data files");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, idx_cut, 0, 4);
    tcase_add_loop_test(tests, idx_mutated, 0, 4);
    tcase_add_loop_test(tests, png_cut, 0, 2 * PNG_KINDS);
    tcase_add_test(tests, png_chunks_behind);
    tcase_add_loop_test(tests, png_mutated, 0, 2);
    tcase_add_test(tests, png_chunk_bomb);
    tcase_add_loop_test(tests, memory_fails, 0, ACTIONS);
    return run_suite("data files", tests);
}
