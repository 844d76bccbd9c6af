/* The same images as class folders, as a tar of these, as shards of either and as CIFAR-10's binary files: the same
 * facts, samples in the same order, and trainings that leave the same bits. The images are made here, ten classes of
 * colours under noise; VISTILL_CIFAR10 may name a tar of the real ones as class folders
 * cifar10/{train,test}/CLASS/NAME. */
#include <check.h>
#include <limits.h>
#include <sys/stat.h>

#include "recipes/datatools/datatools.h"
#include "recipes/train/train.h"
#include "tests/unit/run_files.h"
#include "tests/unit/suite.h"
#include "tests/unit/tar_files.h"
#include "vision/base/random.h"

enum { CLASSES = 10, SIDE = 32, PIXELS = SIDE * SIDE, CIFAR_FILES = 5, EPOCHS = 3, QUALITY = 75 };

static const char *const splits[2] = {"train", "test"};
static const int per_class[2] = {40, 8};
static const char *const classes[CLASSES] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                             "dog",      "frog",       "horse", "ship", "truck"};

/* ---- The same images in several layouts. Paths are relative: every test works in a folder of its own ---- */

static void enter_folder(void) { enter_own_folder("layouts"); }

static void make_image(int split, int label, int number, vst_image *image) {
    vst_random random = vst_random_stream(3, (uint64_t)split, (uint32_t)label, (uint64_t)number);
    ck_ok(vst_image_allocate(image, 3, SIDE, SIDE));
    for (int i = 0; i < 3 * PIXELS; i++)
        image->pixels[i] = (uint8_t)(50 * ((label >> i % 3) & 3) + (int)vst_random_below(&random, 100));
}

/* FORMAT/{train,test}/CLASS/0000.FORMAT, …; format: "jpg" or "png". */
static void write_folders(const char *format) {
    vst_image image = {0};
    for (int split = 0; split < 2; split++)
        for (int i = 0; i < CLASSES * per_class[split]; i++) {
            char name[64];
            uint8_t *bytes;
            size_t size;
            const int label = i / per_class[split], number = i % per_class[split];
            make_image(split, label, number, &image);
            ck_ok(strcmp(format, "jpg") == 0 ? vst_jpeg_encode(&image, QUALITY, &bytes, &size)
                                             : vst_png_encode(&image, &bytes, &size));
            snprintf(name, sizeof name, "%s/%s/%04d.%s", splits[split], classes[label], number, format);
            write_in(format, name, bytes, size);
            vst_free(bytes);
        }
    vst_image_clear(&image);
}

/* Records of CIFAR-10: the label, then the planes. */
static void write_records(const char *name, int split, int first, int count) {
    vst_image image = {0};
    const size_t size = (size_t)count * (1 + 3 * PIXELS);
    uint8_t *records = malloc(size), *at = records;
    ck_assert_ptr_nonnull(records);
    for (int i = first; i < first + count; i++) {
        make_image(split, i / per_class[split], i % per_class[split], &image);
        *at++ = (uint8_t)(i / per_class[split]);
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < PIXELS; p++) *at++ = image.pixels[3 * p + c];
    }
    write_in("binary", name, records, size);
    free(records);
    vst_image_clear(&image);
}

static void write_binary(void) {
    const int count = CLASSES * per_class[0] / CIFAR_FILES;
    char name[32], names[256] = "";
    for (int i = 0; i < CIFAR_FILES; i++) {
        snprintf(name, sizeof name, "data_batch_%d.bin", i + 1);
        write_records(name, 0, i * count, count);
    }
    write_records("test_batch.bin", 1, 0, CLASSES * per_class[1]);
    for (int i = 0; i < CLASSES; i++) strcat(strcat(names, classes[i]), "\n");
    write_in("binary", "batches.meta.txt", names, strlen(names));
}

static vst_dataset *open_split(const char *path, int split) {
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, path, splits[split], NULL));
    return dataset;
}

/* What `vistill data pack` does. */
static void pack(const char *path, const char *shards) {
    const vst_pack_options options = {.shard_bytes = 200 * 1024};
    for (int split = 0; split < 2; split++) {
        vst_pack_result result;
        vst_dataset *dataset = open_split(path, split);
        ck_ok(vst_data_pack(dataset, shards, splits[split], &options, &result));
        ck_assert_uint_gt(result.shards, 1); /* several files */
        vst_dataset_close(dataset);
    }
}

static void shell(const char *command, const char *word) {
    char text[PATH_MAX + 64];
    snprintf(text, sizeof text, "%s '%s'", command, word);
    ck_assert_msg(system(text) == 0, "%s failed", text);
}

/* ---- Comparing ---- */

static void same_report(const vst_dataset *a, const vst_dataset *b) {
    vst_data_report x = {0}, y = {0};
    ck_ok(vst_data_check(a, 2, NULL, &x));
    ck_ok(vst_data_check(b, 2, NULL, &y));
    ck_assert(x.samples == y.samples && x.bad_count == 0 && y.bad_count == 0);
    ck_assert_int_eq(x.classes, CLASSES);
    ck_assert_int_eq(y.classes, CLASSES);
    for (int i = 0; i < CLASSES; i++) ck_assert_uint_eq(x.good[i], y.good[i]);
    ck_assert(x.least_height == SIDE && x.most_width == SIDE && y.least_width == SIDE && y.most_height == SIDE);
    vst_data_report_clear(&x);
    vst_data_report_clear(&y);
}

/* Compares facts, classes, every sample's label and pixels, and its file if both have files. */
static void same_data(const char *a, const char *b) {
    vst_image images[2] = {{0}, {0}};
    vst_bytes files[2] = {{0}, {0}};
    for (int split = 0; split < 2; split++) {
        vst_dataset *sets[2] = {open_split(a, split), open_split(b, split)};
        const bool encoded = vst_dataset_encoded(sets[0]) && vst_dataset_encoded(sets[1]);
        same_report(sets[0], sets[1]);
        for (int i = 0; i < CLASSES; i++)
            for (int k = 0; k < 2; k++) ck_assert_str_eq(vst_dataset_class_name(sets[k], i), classes[i]);
        for (uint64_t i = 0; i < vst_dataset_count(sets[0]); i++) {
            int labels[2];
            for (int k = 0; k < 2; k++) {
                ck_ok(vst_dataset_read(sets[k], i, &images[k], &labels[k]));
                if (encoded) ck_ok(vst_dataset_read_bytes(sets[k], i, &files[k], &labels[k]));
            }
            ck_assert_int_eq(labels[0], labels[1]);
            ck_assert_msg(memcmp(images[0].pixels, images[1].pixels, 3 * PIXELS) == 0,
                          "%s and %s: sample %d of %s is another picture", a, b, (int)i, splits[split]);
            ck_assert_uint_eq(files[0].size, files[1].size);
            if (encoded) ck_assert_int_eq(memcmp(files[0].data, files[1].data, files[0].size), 0);
        }
        for (int k = 0; k < 2; k++) vst_dataset_close(sets[k]);
    }
    for (int k = 0; k < 2; k++) {
        vst_image_clear(&images[k]);
        vst_bytes_clear(&files[k]);
    }
}

static void same_hash(const char *a, const char *b) {
    for (int split = 0; split < 2; split++) {
        vst_dataset *sets[2] = {open_split(a, split), open_split(b, split)};
        uint64_t hashes[2];
        for (int k = 0; k < 2; k++) {
            ck_ok(vst_dataset_hash(sets[k], &hashes[k]));
            vst_dataset_close(sets[k]);
        }
        ck_assert_uint_eq(hashes[0], hashes[1]);
    }
}

/* Trains on the data at `path` with output folder `output`. setting: an additional one, or NULL. */
static void train(const char *path, const char *output, const char *setting) {
    static const char text[] =
        "model: {name: resnet8_cifar, width: 8, image: 32, channels: 3, classes: 10}\n"
        "data: {path: none, workers: 2}\n"
        "augment: {train: \"crop, flip\"}\n"
        "optim: {name: sgd, batch: 40, lr: 0.05, warmup_epochs: 0}\n"
        "run: {epochs: 3, threads: 1, eval_batch: 40, log_seconds: 0}\n";
    char data[PATH_MAX], run[64];
    vst_recipe *recipe;
    vst_train_result result;
    snprintf(data, sizeof data, "data.path=%s", path);
    snprintf(run, sizeof run, "run.output=%s", output);
    const char *const settings[] = {data, run, setting};
    write_bytes("recipe.yaml", (const uint8_t *)text, strlen(text));
    ck_ok(vst_recipe_read(&recipe, "recipe.yaml", settings, setting ? 3 : 2));
    ck_ok(vst_train(recipe, &(vst_train_options){0}, &result));
    ck_assert_double_gt(result.test_top1, 20); /* it learns: chance is 10 % */
    vst_recipe_destroy(recipe);
}

/* ---- Tests ---- */

START_TEST(jpeg_files) {
    write_folders("jpg");
    shell("tar -cf jpg.tar", "jpg");
    pack("jpg", "shards");
    pack("jpg.tar", "tar-shards");
    same_hash("jpg", "jpg.tar");
    same_hash("shards", "tar-shards");
    same_data("jpg", "jpg.tar");
    same_data("jpg", "shards");
    train("jpg", "run", NULL);
    train("jpg.tar", "tar-run", NULL);
    train("shards", "shards-run", NULL);
    same_runs("run", "tar-run", EPOCHS);
    same_runs("run", "shards-run", EPOCHS);
}
END_TEST

START_TEST(lossless) {
    write_folders("png");
    write_binary();
    pack("png", "shards");
    pack("binary", "binary-shards"); /* its pixels become PNG files */
    same_data("binary", "png");
    same_data("png", "shards");
    same_data("binary", "binary-shards");
    train("binary", "run", NULL);
    train("png", "png-run", NULL);
    train("shards", "shards-run", NULL);
    train("binary-shards", "binary-shards-run", NULL);
    same_runs("run", "png-run", EPOCHS);
    same_runs("run", "shards-run", EPOCHS);
    same_runs("run", "binary-shards-run", EPOCHS);
}
END_TEST

/* The comparison must detect another order. */
START_TEST(another_order) {
    const vst_pack_options shuffled = {.shard_bytes = 1 << 20, .shuffle = true, .seed = 1};
    vst_pack_result result;
    write_folders("png");
    for (int split = 0; split < 2; split++) {
        vst_dataset *dataset = open_split("png", split);
        ck_ok(vst_data_pack(dataset, "mixed", splits[split], &shuffled, &result));
        vst_dataset_close(dataset);
    }
    train("png", "run", NULL);
    train("mixed", "mixed-run", NULL);
    size_t size;
    char *logs[2] = {read_whole("run/log.txt", &size), read_whole("mixed-run/log.txt", &size)};
    ck_assert_str_ne(logs[0], logs[1]);
    for (int i = 0; i < 2; i++) free(logs[i]);
}
END_TEST

/* Real images, 150 steps of them. */
START_TEST(real_cifar10) {
    static const char setting[] = "data.limit=2000";
    const char *path = getenv("VISTILL_CIFAR10");
    if (!path) {
        fprintf(stderr, "skipped: VISTILL_CIFAR10 does not name a tar of CIFAR-10's class folders\n");
        return;
    }
    ck_assert_int_eq(mkdir("files", 0777), 0);
    shell("tar -C files --strip-components=1 -xf", path);
    pack("files", "shards");
    same_hash("files", path);
    same_data("files", "shards");
    train(path, "run", setting);
    train("files", "files-run", setting);
    train("shards", "shards-run", setting);
    same_runs("run", "files-run", EPOCHS);
    same_runs("run", "shards-run", EPOCHS);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("layouts");
    tcase_set_timeout(tests, 240);
    tcase_add_checked_fixture(tests, enter_folder, leave_own_folder);
    tcase_add_test(tests, jpeg_files);
    tcase_add_test(tests, lossless);
    tcase_add_test(tests, another_order);
    tcase_add_test(tests, real_cifar10);
    return run_suite("layouts", tests);
}
