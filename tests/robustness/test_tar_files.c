/* Broken and malicious tars, index files, CIFAR files and folders: truncated at every byte, changed at random, and
 * every allocation failing in turn. A test fails by a crash, a sanitizer's report, a wrong status, or a leak. */
#include <check.h>
#include <xxhash.h>

#include "datasets/loader/loader.h"
#include "datasets/tar_index.h"
#include "recipes/datatools/datatools.h"
#include "tests/unit/suite.h"
#include "tests/unit/tar_files.h"
#include "vision/base/random.h"

enum { MUTATIONS = 4000 };

static char folder[256], path[300], index_path[320];

static void setup(void) {
    make_folder(folder, "tars");
    snprintf(path, sizeof path, "%s/t.tar", folder);
    snprintf(index_path, sizeof index_path, "%s.idx", path);
}
static void teardown(void) { remove_tree(folder); }

/* The statuses allowed for a broken file. */
static void check_status(vst_status status) {
    ck_assert_msg(status == VST_OK || status == VST_ERROR_FORMAT || status == VST_ERROR_LIMIT ||
                      status == VST_ERROR_NOT_FOUND || status == VST_ERROR_UNSUPPORTED,
                  "status %s: %s", vst_status_name(status), vst_error_message());
}

/* Opens both splits and reads their samples. */
static vst_status use(const char *format) {
    vst_status last = VST_OK;
    for (int i = 0; i < 2; i++) {
        vst_dataset *dataset;
        vst_bytes bytes = {0};
        vst_image image = {0};
        last = vst_dataset_open(&dataset, strcmp(format, "tar") == 0 ? path : folder, i ? "train" : "test",
                                &(vst_dataset_options){.format = format});
        check_status(last);
        if (last != VST_OK) continue;
        for (uint64_t k = 0; k < vst_dataset_count(dataset); k++) {
            char name[PATH_MAX];
            int label;
            ck_assert_uint_lt(strlen(vst_dataset_sample_name(dataset, k, name, sizeof name)), sizeof name);
            if (vst_dataset_encoded(dataset)) check_status(vst_dataset_read_bytes(dataset, k, &bytes, &label));
            else ck_ok(vst_dataset_read(dataset, k, &image, &label));
            ck_assert(label >= -1 && label < vst_dataset_classes(dataset));
        }
        vst_image_clear(&image);
        vst_bytes_clear(&bytes);
        vst_dataset_close(dataset);
    }
    return last;
}

/* Two small tars: WebDataset with all extensions of names and sizes, and class folders. */
static tar_file make_tar(int kind) {
    tar_file tar = {0};
    if (kind == 0) {
        tar_pax(&tar, 'x', "path", "d/one.png");
        tar_member(&tar, "short", "123", 3);
        tar_member(&tar, "d/one.cls", "1\n", 2);
        tar_header(&tar, NULL, "././@LongLink", 'L', 10, 0);
        tar_append(&tar, "d/two.jpg", 10);
        tar_pad(&tar);
        tar_header(&tar, NULL, "cut", '0', 600, 1);
        tar_append(&tar, (uint8_t[600]){7}, 600);
        tar_pad(&tar);
        tar_member(&tar, "d/two.json", "{\"label\": 0}", 12);
    } else {
        tar_member(&tar, "set/train/a/1.png", "abc", 3);
        tar_header(&tar, "set/train", "b/2.png", '\0', 0, 0);
        tar_member(&tar, "set/test/b/x/3.png", "abcdef", 6);
    }
    tar_end(&tar);
    return tar;
}

START_TEST(tar_cut) {
    tar_file tar = make_tar(_i);
    for (size_t size = 0; size <= tar.size; size++) {
        write_bytes(path, tar.data, size);
        const vst_status status = use("tar");
        if (size < tar.size - 512)
            ck_assert_msg(status == VST_ERROR_FORMAT, "%zu bytes: %s", size, vst_error_message());
        else ck_ok(status); /* the second of the two empty blocks is not needed */
    }
    free(tar.data);
}
END_TEST

static void mutate(uint8_t *bytes, size_t size, uint64_t which) {
    static const uint8_t special[] = {0, 1, ' ', '/', '.', '0', '7', 'L', 'x', 0x7f, 0x80, 0xff};
    vst_random random = vst_random_stream(7, vst_random_id("tar"), 0, which);
    for (uint32_t i = 1 + vst_random_below(&random, 6); i > 0; i--) {
        uint8_t *byte = &bytes[vst_random_below(&random, (uint32_t)size)];
        *byte = vst_random_below(&random, 2) ? special[vst_random_below(&random, sizeof special)]
                                             : (uint8_t)vst_random_u32(&random);
    }
}

/* Half of them get repaired checksums, so that the checks behind them are reached. */
START_TEST(tar_mutated) {
    tar_file tar = make_tar(_i);
    uint8_t *copy = malloc(tar.size);
    int good = 0;
    for (uint64_t which = 0; which < MUTATIONS; which++) {
        memcpy(copy, tar.data, tar.size);
        mutate(copy, tar.size, which);
        for (size_t at = 0; which % 2 && at + 512 <= tar.size; at += 512)
            if (memcmp(copy + at + 257, "ustar", 5) == 0) tar_sum(copy + at);
        write_bytes(path, copy, tar.size);
        good += use("tar") == VST_OK;
    }
    ck_assert_int_gt(good, MUTATIONS / 10);
    free(copy);
    free(tar.data);
}
END_TEST

/* ---- Index files ---- */

static uint8_t *read_file(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    ck_assert_ptr_nonnull(file);
    uint8_t *bytes = malloc(65536);
    *size = fread(bytes, 1, 65536, file);
    fclose(file);
    return bytes;
}

static void put_sum(uint8_t *bytes, size_t size) {
    const uint64_t sum = XXH3_64bits(bytes, size - 8);
    for (int i = 0; i < 8; i++) bytes[size - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

/* A truncated index is not used, even if its checksum is right. */
START_TEST(index_cut) {
    uint64_t images;
    size_t size;
    tar_file tar = make_tar(1);
    tar_write(path, &tar);
    ck_ok(vsti_tar_index_make(path, &images));
    ck_assert_uint_eq(images, 3);
    uint8_t *bytes = read_file(index_path, &size), *copy = malloc(size);
    for (size_t length = 0; length < size; length++) {
        memcpy(copy, bytes, length);
        if (length >= 8) put_sum(copy, length);
        write_bytes(index_path, copy, length);
        ck_ok(use("tar"));
    }
    free(bytes);
    free(copy);
}
END_TEST

START_TEST(index_mutated) {
    uint64_t images;
    size_t size;
    tar_file tar = make_tar(_i);
    tar_write(path, &tar);
    ck_ok(vsti_tar_index_make(path, &images));
    uint8_t *bytes = read_file(index_path, &size), *copy = malloc(size);
    for (uint64_t which = 0; which < MUTATIONS; which++) {
        memcpy(copy, bytes, size);
        mutate(copy + 24, size - 24, which); /* magic, size and fingerprint are kept, so that the index is read */
        put_sum(copy, size);
        write_bytes(index_path, copy, size);
        use("tar");
    }
    free(bytes);
    free(copy);
}
END_TEST

/* ---- CIFAR ---- */

START_TEST(cifar_cut) {
    enum { RECORD = 3073 };
    static uint8_t bytes[2 * RECORD];
    for (int i = 1; i <= 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "data_batch_%d.bin", i);
        write_in(folder, name, bytes, RECORD);
    }
    for (size_t size = 0; size <= sizeof bytes; size++) {
        write_in(folder, "test_batch.bin", bytes, size);
        vst_dataset *dataset = NULL;
        const vst_status status = vst_dataset_open(&dataset, folder, "test", NULL);
        ck_assert_int_eq(status, size > 0 && size % RECORD == 0 ? VST_OK : VST_ERROR_FORMAT);
        vst_dataset_close(dataset);
    }
    for (int value = 0; value < 256; value++) {
        bytes[RECORD] = (uint8_t)value;
        write_in(folder, "test_batch.bin", bytes, sizeof bytes);
        ck_assert_int_eq(use("cifar"), VST_OK);
        vst_dataset *dataset = NULL;
        ck_assert_int_eq(vst_dataset_open(&dataset, folder, "test", NULL), value < 10 ? VST_OK : VST_ERROR_FORMAT);
        vst_dataset_close(dataset);
    }
}
END_TEST

/* ---- Folders ---- */

/* Links to each other multiply paths, but no path goes through a folder twice. */
START_TEST(linked_folders) {
    char from[600], to[64];
    for (int i = 0; i < 5; i++) {
        snprintf(to, sizeof to, "c/d%d/%d.png", i, i);
        write_picture(folder, to, i);
    }
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 5; k++) {
            snprintf(from, sizeof from, "%s/c/d%d/l%d", folder, i, k);
            snprintf(to, sizeof to, "../d%d", k);
            ck_assert_int_eq(symlink(to, from), 0);
        }
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "imagefolder"}));
    ck_assert_uint_eq(vst_dataset_count(dataset), 5 + 20 + 60 + 120 + 120); /* paths through 1 … 5 of the folders */
    vst_dataset_close(dataset);
}
END_TEST

START_TEST(deep_folders) {
    char name[400] = "c";
    for (int i = 0; i < 70; i++) strcat(name, "/d");
    strcat(name, "/1.png");
    write_picture(folder, name, 1);
    write_picture(folder, "b/1.png", 1);
    vst_dataset *dataset;
    ck_assert_int_eq(vst_dataset_open(&dataset, folder, "train", NULL), VST_ERROR_LIMIT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "folders nested more than 64 deep"));
}
END_TEST

/* ---- Memory that runs out ---- */

static vst_status open_and_read(const char *at, const char *format) {
    vst_dataset *dataset;
    vst_image image = {0};
    vst_bytes bytes = {0};
    int label;
    uint64_t hash;
    vst_status status = vst_dataset_open(&dataset, at, "test", &(vst_dataset_options){.format = format});
    if (status != VST_OK) return status;
    status = vst_dataset_read(dataset, 0, &image, &label);
    if (status == VST_OK && vst_dataset_encoded(dataset)) status = vst_dataset_read_bytes(dataset, 0, &bytes, &label);
    if (status == VST_OK) status = vst_dataset_hash(dataset, &hash);
    vst_image_clear(&image);
    vst_bytes_clear(&bytes);
    vst_dataset_close(dataset);
    return status;
}

static const char *at(const char *name) {
    static char full[320];
    snprintf(full, sizeof full, "%s/%s", folder, name);
    return full;
}

static vst_status do_imagefolder(const vst_dataset *d) { return (void)d, open_and_read(at("set"), NULL); }
static vst_status do_images(const vst_dataset *d) { return (void)d, open_and_read(at("set/train/b"), NULL); }
static vst_status do_tar(const vst_dataset *d) { return (void)d, open_and_read(at("t.tar"), NULL); }
static vst_status do_shards(const vst_dataset *d) { return (void)d, open_and_read(at("w-{0..1}.tar"), NULL); }
static vst_status do_cifar(const vst_dataset *d) { return (void)d, open_and_read(at("cifar"), NULL); }

static vst_status do_index(const vst_dataset *d) {
    uint64_t images;
    (void)d;
    const vst_status status = vsti_tar_index_make(at("t.tar"), &images);
    return status == VST_OK ? open_and_read(at("t.tar"), "tar") : status;
}

static vst_status do_check(const vst_dataset *dataset) {
    vst_data_report report = {0};
    const vst_status status = vst_data_check(dataset, 2, NULL, &report);
    vst_data_report_clear(&report);
    return status;
}

static vst_status do_preview(const vst_dataset *dataset) {
    vst_image sheet = {0};
    vst_dataset *good;
    vst_status status = vst_dataset_open(&good, at("set"), "test", NULL);
    (void)dataset;
    if (status != VST_OK) return status;
    status = vst_data_preview(good, "", 1, 2, &sheet);
    vst_image_clear(&sheet);
    vst_dataset_close(good);
    return status;
}

static vst_status do_pack(const vst_dataset *dataset) {
    vst_pack_result result;
    vst_dataset *good;
    vst_status status = vst_dataset_open(&good, at("set"), "test", NULL);
    (void)dataset;
    if (status != VST_OK) return status;
    remove_tree(at("packed"));
    status = vst_data_pack(good, at("packed"), "x", &(vst_pack_options){.shard_bytes = 1}, &result);
    vst_dataset_close(good);
    return status;
}

/* The data set has a broken sample. */
static vst_status do_skip(const vst_dataset *dataset) {
    const vst_loader_options options = {
        .batch = 2, .workers = 1, .channels = 3, .size = 4, .broken = {VST_BROKEN_WARN, 1}};
    vst_loader *loader;
    vst_batch batch = {.count = 1};
    vst_status status = vst_loader_create(&loader, dataset, &options), first = VST_OK;
    if (status != VST_OK) return status;
    while (batch.count > 0) {
        status = vst_loader_next(loader, &batch);
        if (status != VST_OK && first == VST_OK) first = status;
        if (status != VST_OK) batch.count = 1; /* the loader continues after it */
    }
    vst_loader_destroy(loader);
    return first;
}

static const struct {
    const char *name;
    vst_status (*run)(const vst_dataset *dataset);
} actions[] = {{"imagefolder", do_imagefolder},
               {"images", do_images},
               {"tar", do_tar},
               {"shards", do_shards},
               {"cifar", do_cifar},
               {"index", do_index},
               {"check", do_check},
               {"preview", do_preview},
               {"pack", do_pack},
               {"skip", do_skip}};
enum { ACTIONS = sizeof actions / sizeof *actions };

static void write_all(void) {
    static uint8_t record[3073];
    write_picture(folder, "set/train/a/1.png", 1);
    write_picture(folder, "set/train/b/x.png", 2);
    write_picture(folder, "set/train/b/y/z.png", 2);
    write_picture(folder, "set/val/a/1.png", 3);
    write_picture(folder, "set/val/b/1.png", 4);
    write_picture(folder, "holes/a/1.png", 3);
    write_in(folder, "holes/a/2.png", "no", 2);
    write_picture(folder, "holes/b/1.png", 4);
    write_in(folder, "cifar/test_batch.bin", record, sizeof record);
    write_in(folder, "cifar/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    tar_file tar = {0};
    tar_pax(&tar, 'x', "path", "set/train/a/1.png");
    tar_picture(&tar, "short", 1);
    tar_picture(&tar, "set/test/a/1.png", 1);
    tar_end(&tar);
    tar_write(at("t.tar"), &tar);
    for (int i = 0; i < 2; i++) {
        char name[16];
        tar_picture(&tar, "k.png", i);
        tar_member(&tar, "k.json", "{\"label\": 1}", 12);
        tar_end(&tar);
        snprintf(name, sizeof name, "w-%d.tar", i);
        tar_write(at(name), &tar);
    }
}

START_TEST(memory_fails) {
    vst_dataset *dataset;
    int failures = 0;
    write_all();
    ck_ok(vst_dataset_open(&dataset, at("holes"), "train", NULL));
    for (uint64_t n = 1;; n++) {
        const uint64_t before = vst_memory_count();
        vst_memory_fail_at(n);
        const vst_status status = actions[_i].run(dataset);
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
    vst_dataset_close(dataset);
}
END_TEST

int main(void) {
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1); /* ten thousand small files */
    TCase *tests = tcase_create("tar files");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, tar_cut, 0, 2);
    tcase_add_loop_test(tests, tar_mutated, 0, 2);
    tcase_add_test(tests, index_cut);
    tcase_add_loop_test(tests, index_mutated, 0, 2);
    tcase_add_test(tests, cifar_cut);
    tcase_add_test(tests, linked_folders);
    tcase_add_test(tests, deep_folders);
    tcase_add_loop_test(tests, memory_fails, 0, ACTIONS);
    return run_suite("tar files", tests);
}
