/* Formats of image files: folders, tars, WebDataset shards give the same data set; CIFAR; broken samples. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <zlib.h>

#include "datasets/loader/loader.h"
#include "datasets/tar_index.h"
#include "recipes/datatools/datatools.h"
#include "tests/unit/suite.h"
#include "tests/unit/tar_files.h"
#include "vision/base/log.h"
#include "vision/base/progress.h"
#include "vision/image/decode.h"
#include "vision/image/resize.h"

static void expect_error(vst_status expected, const char *text, vst_status got) {
    ck_assert_msg(got == expected, "status %s, expected %s: %s", vst_status_name(got), vst_status_name(expected),
                  vst_error_message());
    ck_assert_msg(strstr(vst_error_message(), text) != NULL, "'%s' is not in: %s", text, vst_error_message());
}

static char folder[256];

static void setup(void) { make_folder(folder, "formats"); }
static void teardown(void) { remove_tree(folder); }

static const char *in(const char *name) {
    static char path[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

/* The number that make_picture encoded in the image. */
static int number_of(const vst_dataset *dataset, uint64_t index, int *label) {
    vst_image image = {0};
    ck_ok(vst_dataset_read(dataset, index, &image, label));
    const int number = image.pixels[0];
    vst_image_clear(&image);
    return number;
}

static void check_order(const char *path, const char *split, const char *format, const int *numbers, const int *labels,
                        int count) {
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, path, split, &(vst_dataset_options){.format = format}));
    ck_assert_uint_eq(vst_dataset_count(dataset), (uint64_t)count);
    ck_assert_int_eq(vst_dataset_channels(dataset), 3);
    for (int i = 0; i < count; i++) {
        int label;
        ck_assert_int_eq(number_of(dataset, (uint64_t)i, &label), numbers[i]);
        ck_assert_int_eq(label, labels[i]);
    }
    vst_dataset_close(dataset);
}

static uint64_t hash_of(const char *path, const char *split, const char *format) {
    vst_dataset *dataset;
    uint64_t hash;
    ck_ok(vst_dataset_open(&dataset, path, split, &(vst_dataset_options){.format = format}));
    ck_ok(vst_dataset_hash(dataset, &hash));
    vst_dataset_close(dataset);
    return hash;
}

/* ---- The same images in three layouts ---- */

/* In the order of torchvision's ImageFolder: by class, folder and name, each compared by bytes. */
static const struct {
    const char *name;
    int label;
} tree[] = {{"Zebra/x.PNG", 0},
            {"ant/1.png", 1},
            {"ant/10.jpg", 1},
            {"ant/2.png", 1},
            {"ant/sub/1.png", 1},
            {"ant/sub-x/0.png", 1},
            {"ant/sub/deep/1.png", 1},
            {"ant/zoo/1.png", 1},
            {"ant-hill/a.b.c.png", 2},
            {"b e e/\xc3\xa4.png", 3},
            {"b e e/\xe2\x82\xac.jpeg", 3}};
enum { TREE = sizeof tree / sizeof *tree };

static void write_tree(const char *root) {
    for (int i = TREE - 1; i >= 0; i--) write_picture(root, tree[i].name, i); /* not in order */
    write_in(root, "ant/notes.txt", "no image", 8);
    write_in(root, "readme.png.txt", "no image", 8);
}

static void write_tar_of_tree(const char *path, const char *prefix) {
    tar_file tar = {0};
    char name[256];
    for (int i = 0; i < TREE; i++) {
        const int k = (i * 7 + 3) % TREE; /* another order */
        snprintf(name, sizeof name, "%s%s", prefix, tree[k].name);
        tar_picture(&tar, name, k);
    }
    snprintf(name, sizeof name, "%sant/notes.txt", prefix);
    tar_member(&tar, name, "no image", 8);
    tar_end(&tar);
    tar_write(path, &tar);
}

START_TEST(three_layouts) {
    int labels[TREE], order[TREE];
    vst_dataset *dataset, *shards;
    vst_pack_result packed;
    for (int i = 0; i < TREE; i++) {
        labels[i] = tree[i].label;
        order[i] = i;
    }
    write_tree(in("images/train"));
    write_tree(in("images/val"));
    write_tar_of_tree(in("plain.tar"), "");
    write_tar_of_tree(in("rooted.tar"), "./data/set/");
    write_tar_of_tree(in("split.tar"), "set/train/");
    check_order(in("images"), "train", NULL, order, labels, TREE);
    check_order(in("images"), "test", NULL, order, labels, TREE);
    check_order(in("images/val"), "train", "imagefolder", order, labels, TREE);
    check_order(in("plain.tar"), "train", NULL, order, labels, TREE);
    check_order(in("rooted.tar"), "test", "tar", order, labels, TREE);
    check_order(in("split.tar"), "train", NULL, order, labels, TREE);
    const uint64_t hash = hash_of(in("images"), "train", NULL);
    ck_assert_uint_eq(hash_of(in("plain.tar"), "train", NULL), hash);
    ck_assert_uint_eq(hash_of(in("split.tar"), "train", NULL), hash);
    ck_ok(vst_dataset_open(&dataset, in("images"), "train", NULL));
    ck_ok(vst_data_pack(dataset, in("shards"), "train", &(vst_pack_options){.shard_bytes = 12 * 1024}, &packed));
    ck_assert_uint_eq(packed.samples, TREE);
    ck_assert_uint_gt(packed.shards, 2);
    check_order(in("shards"), "train", NULL, order, labels, TREE);
    char pattern[512];
    snprintf(pattern, sizeof pattern, "%s/shards/train-{000000..%06d}.tar", folder, (int)packed.shards - 1);
    check_order(pattern, "train", NULL, order, labels, TREE);
    ck_ok(vst_dataset_open(&shards, pattern, "train", NULL));
    ck_assert_int_eq(vst_dataset_classes(shards), 4);
    for (int i = 0; i < 4; i++) ck_assert_str_eq(vst_dataset_class_name(shards, i), vst_dataset_class_name(dataset, i));
    ck_assert_str_eq(vst_dataset_class_name(dataset, 0), "Zebra");
    ck_assert(vst_dataset_has_no_splits(shards) && !vst_dataset_has_no_splits(dataset));
    for (uint64_t i = 0; i < TREE; i++) { /* the original bytes */
        vst_bytes a = {0}, b = {0};
        char name[PATH_MAX];
        int label;
        ck_ok(vst_dataset_read_bytes(dataset, i, &a, &label));
        ck_ok(vst_dataset_read_bytes(shards, i, &b, &label));
        ck_assert(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
        ck_assert_str_eq(vst_dataset_sample_name(dataset, i, name, sizeof name), tree[i].name);
        snprintf(pattern, sizeof pattern, "%09d.png", (int)i);
        ck_assert_str_eq(vst_dataset_sample_name(shards, i, name, sizeof name), pattern);
        vst_bytes_clear(&a);
        vst_bytes_clear(&b);
    }
    vst_dataset_close(shards);
    vst_dataset_close(dataset);
}
END_TEST

/* ---- Splits and classes ---- */

static vst_status try_open(const char *path, const char *split, const char *format) {
    vst_dataset *dataset = NULL;
    const vst_status status = vst_dataset_open(&dataset, path, split, &(vst_dataset_options){.format = format});
    vst_dataset_close(dataset);
    return status;
}

/* Count, classes and `whole` of a split. */
static void check_facts(const char *path, const char *split, uint64_t count, int classes, bool whole,
                        const char *ending) {
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, path, split, NULL));
    ck_assert_uint_eq(vst_dataset_count(dataset), count);
    ck_assert_int_eq(vst_dataset_classes(dataset), classes);
    ck_assert_int_eq(vst_dataset_has_no_splits(dataset), whole);
    const char *found = vst_dataset_path(dataset);
    ck_assert_msg(strlen(found) >= strlen(ending) && strcmp(found + strlen(found) - strlen(ending), ending) == 0, "%s",
                  found);
    ck_assert(vst_dataset_encoded(dataset));
    vst_dataset_close(dataset);
}

START_TEST(split_folders) {
    int label;
    vst_dataset *dataset;
    write_picture(in("a"), "train/cat/1.png", 1);
    write_picture(in("a"), "train/dog/1.png", 2);
    write_picture(in("a"), "train/dog/2.png", 3);
    write_picture(in("a"), "val/dog/3.png", 4); /* without cat: dog keeps its number */
    check_facts(in("a"), "train", 3, 2, false, "/a/train");
    check_facts(in("a"), "test", 1, 2, false, "/a/val");
    ck_ok(vst_dataset_open(&dataset, in("a"), "test", NULL));
    ck_assert_int_eq(number_of(dataset, 0, &label), 4);
    ck_assert_int_eq(label, 1);
    vst_dataset_close(dataset);
    write_picture(in("a"), "test/loose.png", 5); /* no classes, as in ImageNet: val is still the test split */
    check_facts(in("a"), "test", 1, 2, false, "/a/val");
    write_picture(in("a"), "test/cat/6.png", 6);
    write_picture(in("a"), "test/cat/7.png", 7);
    unlink(in("a/test/loose.png"));
    check_facts(in("a"), "test", 2, 2, false, "/a/test");
    write_picture(in("a"), "test/cow/8.png", 8);
    expect_error(VST_ERROR_FORMAT, "class \"cow\" is not in", try_open(in("a"), "test", NULL));
    check_facts(in("a/train"), "test", 3, 2, true, "/a/train");
    remove_tree(in("a/test"));
    remove_tree(in("a/val"));
    expect_error(VST_ERROR_NOT_FOUND, "no folder test, val or validation", try_open(in("a"), "test", NULL));
    expect_error(VST_ERROR_NOT_FOUND, "not a folder", try_open(in("b"), "train", "imagefolder"));
}
END_TEST

/* A class called "train" is a class; hidden folders without images and empty folders. */
START_TEST(odd_classes) {
    vst_dataset *dataset;
    write_picture(in("v"), "bus/1.png", 1);
    write_picture(in("v"), "train/1.png", 2);
    write_picture(in("v"), "car/1.png", 3);
    check_facts(in("v"), "train", 3, 3, true, "/v");
    tar_file tar = {0};
    tar_picture(&tar, "v/bus/1.png", 1);
    tar_picture(&tar, "v/train/1.png", 2);
    tar_end(&tar);
    tar_write(in("v.tar"), &tar);
    check_facts(in("v.tar"), "test", 2, 2, true, "v.tar");
    mkdir(in("v/.cache"), 0777);
    mkdir(in("v/axle"), 0777);
    write_picture(in("v"), ".thumbs/1.png", 4);
    ck_ok(vst_dataset_open(&dataset, in("v"), "test", NULL));
    ck_assert_int_eq(vst_dataset_classes(dataset), 5);
    static const char *const names[] = {".thumbs", "axle", "bus", "car", "train"};
    for (int i = 0; i < 5; i++) ck_assert_str_eq(vst_dataset_class_name(dataset, i), names[i]);
    vst_dataset_close(dataset);
}
END_TEST

START_TEST(links) {
    write_picture(in("l"), "a/1.png", 1);
    write_picture(in("elsewhere"), "2.png", 2);
    write_picture(in("elsewhere"), "deep/3.png", 3);
    ck_assert_int_eq(symlink("../../elsewhere", in("l/a/more")), 0);
    ck_assert_int_eq(symlink("..", in("l/a/up")), 0); /* l/a/up/a … would be endless */
    ck_assert_int_eq(symlink(".", in("l/a/self")), 0);
    ck_assert_int_eq(symlink("../elsewhere/deep", in("elsewhere/back")), 0);
    ck_assert_int_eq(symlink("1.png", in("l/a/9.png")), 0);
    ck_assert_int_eq(symlink("nowhere", in("l/a/dangling.png")), 0);
    ck_assert_int_eq(mkfifo(in("l/a/pipe.png"), 0600), 0);
    vst_dataset *dataset;
    vst_image image = {0};
    int label;
    ck_ok(vst_dataset_open(&dataset, in("l"), "train", NULL));
    static const char *const names[] = {"a/1.png",      "a/9.png",           "a/dangling.png",   "a/pipe.png",
                                        "a/more/2.png", "a/more/back/3.png", "a/more/deep/3.png"};
    ck_assert_uint_eq(vst_dataset_count(dataset), 7);
    for (int i = 0; i < 7; i++) {
        char name[PATH_MAX];
        ck_assert_str_eq(vst_dataset_sample_name(dataset, (uint64_t)i, name, sizeof name), names[i]);
    }
    expect_error(VST_ERROR_NOT_FOUND, "/l: a/dangling.png: cannot be opened",
                 vst_dataset_read(dataset, 2, &image, &label));
    expect_error(VST_ERROR_FORMAT, "a/pipe.png: not a regular file, but a pipe",
                 vst_dataset_read(dataset, 3, &image, &label));
    vst_dataset_close(dataset);
    if (geteuid() != 0) { /* root reads everything */
        chmod(in("elsewhere/deep"), 0);
        expect_error(VST_ERROR_IO, "cannot be read", try_open(in("l"), "train", "imagefolder"));
        chmod(in("elsewhere/deep"), 0777);
    }
    vst_image_clear(&image);
}
END_TEST

START_TEST(unlabelled_images) {
    static const int numbers[] = {1, 2, 3}, none[] = {-1, -1, -1};
    write_picture(in("u"), "a.png", 1);
    write_picture(in("u"), "b.png", 2);
    write_picture(in("u"), "more/0.png", 3);
    check_order(in("u"), "train", NULL, numbers, none, 3);
    check_facts(in("u"), "train", 3, 0, true, "/u");
    write_picture(in("s"), "train/1.png", 1);
    write_picture(in("s"), "train/x/2.png", 2);
    write_picture(in("s"), "test/1.png", 3);
    check_facts(in("s"), "train", 2, 0, false, "/s/train");
    check_facts(in("s"), "test", 1, 0, false, "/s/test");
    write_picture(in("c"), "x/1.png", 1);
    write_picture(in("c"), "y/1.png", 2);
    write_picture(in("c"), "y/2.png", 3);
    check_facts(in("c"), "train", 3, 2, true, "/c");
    check_order(in("c"), "train", "images", numbers, none, 3);
    mkdir(in("empty"), 0777);
    expect_error(VST_ERROR_NOT_FOUND, "no image files", try_open(in("empty"), "train", "images"));
    expect_error(VST_ERROR_FORMAT, "images (images without labels", try_open(in("empty"), "train", NULL));
}
END_TEST

/* ---- Channels ---- */

START_TEST(channels) {
    vst_dataset *dataset;
    vst_image image = {0};
    int label;
    write_picture(in("c"), "x/1.png", 40);
    for (int wanted = 0; wanted <= 3; wanted += wanted ? 2 : 1) {
        ck_ok(vst_dataset_open(&dataset, in("c"), "train", &(vst_dataset_options){.channels = wanted}));
        ck_assert_int_eq(vst_dataset_channels(dataset), wanted ? wanted : 3);
        ck_ok(vst_dataset_read(dataset, 0, &image, &label));
        ck_assert_int_eq(image.channels, wanted ? wanted : 3);
        vst_dataset_close(dataset);
    }
    expect_error(VST_ERROR_ARGUMENT, "2 channels",
                 vst_dataset_open(&dataset, in("c"), "train", &(vst_dataset_options){.channels = 2}));
    write_idx(folder, "", 5, 2, 3, 3, 2, 0); /* pixels are converted, too */
    ck_ok(vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "idx", .channels = 3}));
    ck_ok(vst_dataset_read(dataset, 1, &image, &label));
    ck_assert(image.channels == 3 && image.pixels[0] == idx_pixel(1, 0, 0) && image.pixels[2] == idx_pixel(1, 0, 0));
    vst_bytes bytes = {0};
    ck_assert(!vst_dataset_encoded(dataset));
    expect_error(VST_ERROR_UNSUPPORTED, "stored as pixels", vst_dataset_read_bytes(dataset, 0, &bytes, &label));
    char name[32];
    ck_assert_str_eq(vst_dataset_sample_name(dataset, 3, name, sizeof name), "sample 3");
    vst_dataset_close(dataset);
    vst_image_clear(&image);
}
END_TEST

/* ---- Tar headers ---- */

START_TEST(tar_names_and_sizes) {
    tar_file tar = {0};
    size_t size;
    uint8_t *png = make_picture(3, 3, 4, 4, &size);
    char longest[400], name[PATH_MAX];
    int label;
    memset(longest, 'n', sizeof longest);
    memcpy(longest, "a/", 2);
    strcpy(longest + 300, ".png");
    tar_pax(&tar, 'g', "comment", "of all members");
    tar_pax(&tar, 'x', "path", "a/p\xc3\xa4x.png");
    tar_member(&tar, "a/short", png, size);
    tar_header(&tar, NULL, "././@LongLink", 'L', strlen(longest) + 1, 0);
    tar_append(&tar, longest, strlen(longest) + 1);
    tar_pad(&tar);
    tar_member(&tar, "a/cut", png, size);
    tar_header(&tar, "b/prefix", "z.png", '0', size, 0);
    tar_append(&tar, png, size);
    tar_pad(&tar);
    tar_header(&tar, NULL, "b/y.png", '\0', size, 1);
    tar_append(&tar, png, size);
    tar_pad(&tar);
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", size);
    tar_pax(&tar, 'x', "size", digits);
    tar_header(&tar, NULL, "b/x.png", '0', 0, 0);
    tar_append(&tar, png, size);
    tar_pad(&tar);
    tar_header(&tar, NULL, "b/old.png/", '\0', 0, 0);     /* a folder before ustar */
    tar_header(&tar, NULL, "b/folder.png", '5', 4096, 0); /* no data, whatever its size says */
    tar_end(&tar);
    tar_write(in("t.tar"), &tar);
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, in("t.tar"), "train", NULL));
    const char *const expected[] = {longest, "a/p\xc3\xa4x.png", "b/x.png", "b/y.png", "b/prefix/z.png"};
    ck_assert_uint_eq(vst_dataset_count(dataset), 5);
    for (uint64_t i = 0; i < 5; i++) {
        ck_assert_str_eq(vst_dataset_sample_name(dataset, i, name, sizeof name), expected[i]);
        ck_assert_int_eq(number_of(dataset, i, &label), 3);
        ck_assert_int_eq(label, i >= 2);
    }
    vst_dataset_close(dataset);
    vst_free(png);
}
END_TEST

/* Broken tars and the expected messages. */
START_TEST(tar_errors) {
    tar_file tar = {0};
    const char *path = in("bad.tar");
    static const struct {
        const char *prefix, *name;
        char type;
        uint64_t size;
        int base256;
        vst_status status;
        const char *text;
    } headers[] = {
        {NULL, "a/1.png", '0', 5000, 0, VST_ERROR_FORMAT, "cut off: the member at byte 0"},
        {NULL, "a/1.png", '0', 1500, 0, VST_ERROR_FORMAT,
         "cut off: the member at byte 0"}, /* smaller than all of the file */
        {NULL, "a/1.png", '0', UINT64_MAX, 1, VST_ERROR_FORMAT, "no valid size"},
        {NULL, "a/1.png", '0', INT64_MAX >> 8, 1, VST_ERROR_FORMAT, "cut off"},
        {NULL, "a/1.png", '1', 0, 0, VST_ERROR_UNSUPPORTED, "a/1.png is a link"},
        {NULL, "a/1.png", '2', 0, 0, VST_ERROR_UNSUPPORTED, "--dereference"},
        {NULL, "a/1.png", 'S', 0, 0, VST_ERROR_UNSUPPORTED, "is sparse"},
        {NULL, "x", 'x', 512, 0, VST_ERROR_FORMAT, "the pax header at byte 0 is malformed"},
        {NULL, "a/1.txt", '0', 0, 0, VST_ERROR_NOT_FOUND, "no image files"},
        {NULL, "a/1.cls", '0', 512, 0, VST_ERROR_FORMAT, "must be a class from 0"},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        tar_header(&tar, headers[i].prefix, headers[i].name, headers[i].type, headers[i].size, headers[i].base256);
        tar_end(&tar);
        tar_write(path, &tar);
        expect_error(headers[i].status, headers[i].text, try_open(path, "train", "tar"));
        ck_assert_ptr_nonnull(strstr(vst_error_message(), path));
    }
    tar_header(&tar, NULL, "a/1.png", '0', 5, 1);
    tar.data[124] = 0xff; /* a negative number */
    tar_sum(tar.data);
    tar_end(&tar);
    tar_write(path, &tar);
    expect_error(VST_ERROR_FORMAT, "no valid size", try_open(path, "train", "tar"));
    tar_picture(&tar, "a/1.png", 1);
    tar_write(path, &tar);
    expect_error(VST_ERROR_FORMAT, "without an end-of-archive block", try_open(path, "train", "tar"));
    write_bytes(path, (const uint8_t *)"\x1f\x8b compressed", 13);
    expect_error(VST_ERROR_FORMAT, "cut off", try_open(path, "train", "tar"));
    tar_picture(&tar, "set/test/a/1.png", 1);
    tar_end(&tar);
    tar_write(path, &tar);
    expect_error(VST_ERROR_NOT_FOUND, "no folder of the split \"train\"", try_open(path, "train", "tar"));
    check_facts(path, "test", 1, 1, false, "bad.tar");
    expect_error(VST_ERROR_NOT_FOUND, "no-0.tar: cannot be opened", try_open(in("no-{0..3}.tar"), "train", "tar"));
}
END_TEST

/* ---- WebDataset ---- */

static void tar_text(tar_file *tar, const char *name, const char *text) { tar_member(tar, name, text, strlen(text)); }

START_TEST(webdataset) {
    static const int numbers[] = {1, 2, 3, 4, 5}, labels[] = {2, 0, 1, 1, 2};
    tar_file tar = {0};
    tar_text(&tar, "__meta__.json", "{\"label\": 9}");
    tar_picture(&tar, "d/one.seg.png", 77); /* not the image */
    tar_picture(&tar, "d/one.png", 1);
    tar_text(&tar, "d/one.cls", "2\n");
    tar_text(&tar, "d/two.json", "{\"label\": 5, \"x\": [1]}"); /* cls takes precedence */
    tar_text(&tar, "d/two.cls", "0");
    tar_picture(&tar, "d/two.PNG", 2);
    tar_picture(&tar, "d/two.jpg", 78);
    tar_picture(&tar, "d/three.png", 3);
    tar_text(&tar, "d/three.json", "{\"label\": 1}");
    tar_picture(&tar, "d/four.png", 4);
    tar_text(&tar, "d/four.json", "{\"label\": \"1\"}");
    tar_picture(&tar, "d/.hidden.png", 79);
    tar_text(&tar, "d/zfive.cls", "2");
    tar_text(&tar, "d/zfive.json", "{\"label\": 1}");
    tar_picture(&tar, "d/zfive.png", 5);
    tar_end(&tar);
    tar_write(in("w.tar"), &tar);
    check_order(in("w.tar"), "train", NULL, numbers, labels, 5);
    check_facts(in("w.tar"), "train", 5, 3, true, "w.tar");
    write_in(folder, "classes.txt", "n\nm\r\no\np", 8);
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, in("w.tar"), "test", NULL));
    ck_assert_int_eq(vst_dataset_classes(dataset), 4);
    ck_assert_str_eq(vst_dataset_class_name(dataset, 1), "m");
    ck_assert_str_eq(vst_dataset_class_name(dataset, 3), "p");
    vst_dataset_close(dataset);
    write_in(folder, "classes.txt", "n\nm", 3);
    expect_error(VST_ERROR_FORMAT, "d/one.png has label 2, but there are 2 classes",
                 try_open(in("w.tar"), "train", NULL));
}
END_TEST

/* What is labelled is counted: a label that is elsewhere, of another kind or missing is an error, never a guess. */
START_TEST(strange_labels) {
    static const struct {
        const char *members[5][2]; /* name and text; images have none */
        const char *error;         /* NULL: it opens */
        int labels[2];
    } cases[] = {
        {{{"a.cls", "1"}, {"a.png", NULL}, {"b.png", NULL}, {"b.cls", "0"}}, NULL, {1, 0}},
        {{{"a.png", NULL}, {"a.json", "{\"label\": 1.0}"}, {"b.png", NULL}, {"b.json", "{\"label\": \"0\"}"}},
         NULL,
         {1, 0}},
        {{{"a.png", NULL}, {"a.txt", "a cat"}, {"b.png", NULL}, {"b.txt", "2 dogs"}}, NULL, {-1, -1}},
        {{{"a.png", NULL}, {"a.json", "{\"label\": null}"}, {"b.png", NULL}}, NULL, {-1, -1}},
        {{{"a.png", NULL}, {"a.cls", "1"}, {"b.png", NULL}}, "b.png has no label", {0}},
        {{{"a.png", NULL}, {"a.txt", "1\n"}, {"b.png", NULL}, {"b.txt", "0"}}, "a.txt holds a number", {0}},
        {{{"a.png", NULL}, {"a.json", "{\"label\": \"cat\"}"}}, "\"label\" is \"cat\", and a class is a number", {0}},
        {{{"a.png", NULL}, {"a.json", "{\"label\": 1.5}"}}, "\"label\" is 1.5, and a class is a number", {0}},
        {{{"a.png", NULL}, {"a.json", "{\"label\": -1}"}}, "\"label\" is -1, and a class is a number", {0}},
        {{{"a.png", NULL}, {"b.png", NULL}, {"a.cls", "1"}, {"b.cls", "0"}},
         "a has a label but no image beside it",
         {0}},
        {{{"n.0.png", NULL}, {"n.0.cls", "1"}, {"m.png", NULL}, {"m.cls", "0"}},
         "n.0.png: the key of a sample ends",
         {0}},
        {{{"n.0.png", NULL}, {"n.0.cls", "1"}, {"n.1.png", NULL}, {"n.1.cls", "0"}},
         "n.1.png: the key of a sample ends", /* where no other sample has a label */
         {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tar_file tar = {0};
        for (int k = 0; k < 5 && cases[i].members[k][0]; k++) {
            if (cases[i].members[k][1]) tar_text(&tar, cases[i].members[k][0], cases[i].members[k][1]);
            else tar_picture(&tar, cases[i].members[k][0], 1 + k / 2);
        }
        tar_end(&tar);
        tar_write(in("strange.tar"), &tar);
        if (cases[i].error) {
            const vst_status status = try_open(in("strange.tar"), "train", NULL);
            ck_assert_msg(status != VST_OK && strstr(vst_error_message(), cases[i].error), "case %zu: %s", i,
                          status == VST_OK ? "opened" : vst_error_message());
        } else {
            vst_dataset *dataset;
            vst_image image = {0};
            ck_ok(vst_dataset_open(&dataset, in("strange.tar"), "train", NULL));
            for (int k = 0; k < 2; k++) {
                int label;
                ck_ok(vst_dataset_read(dataset, (uint64_t)k, &image, &label));
                ck_assert_int_eq(label, cases[i].labels[k]);
            }
            vst_image_clear(&image);
            vst_dataset_close(dataset);
        }
    }
}
END_TEST

/* Shards of both splits in one folder and in two folders; both splits have the classes of the training split. */
START_TEST(shard_folders) {
    static const char *const names[] = {"n/set-train-0.tar", "n/x-medieval-train-1.tar",
                                        "n/set-val-0.tar",   "f/train/b.tar",
                                        "f/train/a.tar",     "f/validation/medieval.tar"};
    static const int train[2][2] = {{0, 1}, {4, 3}}, test[2][1] = {{2}, {5}};
    static const int train_labels[2][2] = {{3, 0}, {1, 2}}, test_labels[2][1] = {{1}, {0}};
    static const char *const cls[] = {"3", "0", "1", "2", "1", "0"};
    for (int i = 0; i < 6; i++) {
        tar_file tar = {0};
        tar_picture(&tar, "k.png", i);
        tar_text(&tar, "k.cls", cls[i]);
        tar_end(&tar);
        write_in(folder, names[i], tar.data, tar.size);
        free(tar.data);
    }
    for (int i = 0; i < 2; i++) {
        const char *path = in(i ? "f" : "n");
        check_order(path, "train", NULL, train[i], train_labels[i], 2);
        check_order(path, "test", NULL, test[i], test_labels[i], 1);
        check_facts(path, "train", 2, i ? 3 : 4, false, i ? "/f" : "/n");
        check_facts(path, "test", 1, i ? 3 : 4, false, i ? "/f" : "/n");
    }
}
END_TEST

/* ---- Index files ---- */

static int warnings;
static void count_warnings(vst_log_level level, const char *text, void *user) {
    (void)user;
    if (level == VST_LOG_WARNING && strstr(text, "is not used")) warnings++;
}

START_TEST(index_files) {
    uint64_t images;
    write_tar_of_tree(in("t.tar"), "set/train/");
    const uint64_t hash = hash_of(in("t.tar"), "train", NULL);
    ck_ok(vsti_tar_index_make(in("t.tar"), &images));
    ck_assert_uint_eq(images, TREE);
    vst_log_set(count_warnings, NULL);
    ck_assert_uint_eq(hash_of(in("t.tar"), "train", NULL), hash);
    ck_assert_int_eq(warnings, 0);
    /* The first block is part of the fingerprint, so the index no longer matches. */
    FILE *file = fopen(in("t.tar"), "r+b");
    uint8_t byte = 'x';
    ck_assert_uint_eq(fwrite(&byte, 1, 1, file), 1);
    fclose(file);
    expect_error(VST_ERROR_FORMAT, "wrong checksum", try_open(in("t.tar"), "train", NULL));
    ck_assert_int_eq(warnings, 1);
}
END_TEST

/* If the index is used, headers are not read and may be broken. */
START_TEST(index_is_read) {
    uint64_t images;
    tar_file tar = {0};
    for (int i = 0; i < 400; i++) tar_picture(&tar, i % 2 ? "a/1.png" : "b/1.png", i);
    tar_end(&tar);
    const size_t size = tar.size;
    tar_write(in("t.tar"), &tar);
    ck_ok(vsti_tar_index_make(in("t.tar"), &images));
    FILE *file = fopen(in("t.tar"), "r+b"); /* far from the blocks of the fingerprint: 16 of 4 KiB in 400 KiB */
    fseek(file, (long)(size / 15 / 512 / 2 * 2 * 512 + 5120), SEEK_SET);
    uint8_t block[512];
    memset(block, 'x', sizeof block);
    ck_assert_uint_eq(fwrite(block, 1, sizeof block, file), sizeof block);
    fclose(file);
    ck_assert_int_eq(utimensat(AT_FDCWD, in("t.tar.idx"), NULL, 0), 0); /* not older than the tar */
    vst_log_set(count_warnings, NULL);
    check_facts(in("t.tar"), "train", 400, 2, true, "t.tar");
    ck_assert_int_eq(warnings, 0);
    unlink(in("t.tar.idx"));
    expect_error(VST_ERROR_FORMAT, "wrong checksum", try_open(in("t.tar"), "train", NULL));
}
END_TEST

typedef struct small_set {
    const char *names[3];
    size_t size;
    uint8_t byte;
} small_set;

/* The set as class folders, as those in a tar, or as WebDataset samples. */
static uint64_t hash_of_set(const small_set *set, int layout) {
    tar_file tar = {0};
    uint8_t bytes[64];
    char name[64];
    memset(bytes, set->byte, sizeof bytes);
    ck_assert_int_eq(system("rm -rf hashed hashed.tar"), 0);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.png", set->names[i]);
        if (layout == 0) {
            snprintf(name, sizeof name, "hashed/%.1s", set->names[i]);
            ck_assert(mkdir("hashed", 0700) == 0 || errno == EEXIST);
            ck_assert(mkdir(name, 0700) == 0 || errno == EEXIST);
            snprintf(name, sizeof name, "hashed/%s.png", set->names[i]);
            FILE *file = fopen(name, "wb");
            fwrite(bytes, 1, set->size, file);
            fclose(file);
            continue;
        }
        tar_member(&tar, name, bytes, set->size);
        snprintf(name, sizeof name, "%s.cls", set->names[i]);
        if (layout == 2) tar_member(&tar, name, set->names[i][0] == 'a' ? "0" : "1", 1);
    }
    if (layout == 0) return hash_of("hashed", "train", NULL);
    tar_end(&tar);
    tar_write("hashed.tar", &tar);
    return hash_of("hashed.tar", "train", NULL);
}

/* Of image files names, sizes and labels count, and the bytes do not, in every layout alike: dataset.h says so. */
START_TEST(what_the_hash_covers) {
    const small_set set = {{"a/1", "a/2", "b/3"}, 20, 7};
    const small_set others[] = {{{"a/1", "a/4", "b/3"}, 20, 7},  /* another name */
                                {{"a/1", "b/2", "b/3"}, 20, 7},  /* another class */
                                {{"a/1", "a/2", "c/3"}, 20, 7},  /* another class name */
                                {{"a/1", "a/2", "b/3"}, 21, 7}}; /* another size */
    const small_set pixels = {{"a/1", "a/2", "b/3"}, 20, 8};
    char before[PATH_MAX];
    ck_assert_ptr_nonnull(getcwd(before, sizeof before));
    ck_assert_int_eq(chdir(folder), 0);
    const uint64_t hash = hash_of_set(&set, _i);
    for (int i = 0; i < 4; i++) ck_assert_uint_ne(hash_of_set(&others[i], _i), hash);
    ck_assert_uint_eq(hash_of_set(&pixels, _i), hash);
    if (_i == 1) ck_assert_uint_eq(hash, hash_of_set(&set, 0));
    ck_assert_int_eq(chdir(before), 0);
}
END_TEST

/* 200 samples of one class, all of one size: tars of two classes differ in 200 bytes that no fingerprint looks at. */
static void write_class(const char *path, const char *class) {
    tar_file tar = {0};
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "%05d.png", i);
        tar_picture(&tar, name, i);
        snprintf(name, sizeof name, "%05d.cls", i);
        tar_member(&tar, name, class, 1);
    }
    tar_end(&tar);
    tar_write(path, &tar);
}

/* A tar made anew, as large as before: its old index has the old labels. */
START_TEST(index_of_the_old_tar) {
    const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    uint64_t images;
    int labels[2];
    vst_dataset *dataset;
    vst_log_set(count_warnings, NULL);
    for (int class = 1; class <= 2; class ++) {
        write_class(in("t.tar"), class == 1 ? "1" : "2");
        if (class == 1) {
            ck_ok(vsti_tar_index_make(in("t.tar"), &images));
            ck_assert_int_eq(utimensat(AT_FDCWD, in("t.tar.idx"), old, 0), 0);
            ck_assert_int_eq(utimensat(AT_FDCWD, in("t.tar"), old, 0), 0);
        }
        vst_image image = {0};
        ck_ok(vst_dataset_open(&dataset, in("t.tar"), "train", NULL));
        ck_ok(vst_dataset_read(dataset, 100, &image, &labels[class - 1]));
        vst_image_clear(&image);
        vst_dataset_close(dataset);
        ck_assert_int_eq(warnings, class - 1);
    }
    ck_assert(labels[0] == 1 && labels[1] == 2);
}
END_TEST

/* ---- CIFAR ---- */

static void write_records(const char *name, int count, int label_bytes, int first, int classes) {
    const size_t size = (size_t)label_bytes + 3072;
    uint8_t *bytes = calloc((size_t)count, size);
    for (int i = 0; i < count; i++) {
        uint8_t *record = bytes + (size_t)i * size;
        if (label_bytes == 2) record[0] = 19;
        record[label_bytes - 1] = (uint8_t)((first + i) % classes);
        for (int p = 0; p < 1024; p++)
            for (int c = 0; c < 3; c++) record[label_bytes + 1024 * c + p] = (uint8_t)(first + i + 3 * p + 70 * c);
    }
    write_in(folder, name, bytes, (size_t)count * size);
    free(bytes);
}

static void check_records(const char *path, const char *split, int count, int classes, const char *name3) {
    vst_dataset *dataset;
    vst_image image = {0};
    ck_ok(vst_dataset_open(&dataset, path, split, NULL));
    ck_assert_uint_eq(vst_dataset_count(dataset), (uint64_t)count);
    ck_assert_int_eq(vst_dataset_classes(dataset), classes);
    ck_assert_str_eq(vst_dataset_class_name(dataset, 3), name3);
    for (int i = 0; i < count; i++) {
        int label;
        ck_ok(vst_dataset_read(dataset, (uint64_t)i, &image, &label));
        ck_assert_int_eq(label, i % classes);
        ck_assert(image.channels == 3 && image.height == 32 && image.width == 32);
        for (int p = 0; p < 1024; p++)
            for (int c = 0; c < 3; c++) ck_assert_uint_eq(image.pixels[3 * p + c], (uint8_t)(i + 3 * p + 70 * c));
    }
    vst_image_clear(&image);
    vst_dataset_close(dataset);
}

START_TEST(cifar) {
    char name[64], text[1024] = "";
    for (int i = 1; i <= 5; i++) {
        snprintf(name, sizeof name, "ten/cifar-10-batches-bin/data_batch_%d.bin", i);
        write_records(name, 4, 1, 4 * (i - 1), 10);
    }
    write_records("ten/cifar-10-batches-bin/test_batch.bin", 3, 1, 0, 10);
    check_records(in("ten"), "train", 20, 10, "3");
    static const char meta[] = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    write_in(folder, "ten/cifar-10-batches-bin/batches.meta.txt", meta, strlen(meta));
    check_records(in("ten"), "train", 20, 10, "cat");
    check_records(in("ten/cifar-10-batches-bin"), "test", 3, 10, "cat");
    write_records("hundred/train.bin", 5, 2, 0, 100);
    write_records("hundred/test.bin", 2, 2, 0, 100);
    expect_error(VST_ERROR_FORMAT, "no known data set format", try_open(in("hundred"), "train", NULL));
    for (int i = 0; i < 100; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "n%d\n", i);
    write_in(folder, "hundred/fine_label_names.txt", text, strlen(text));
    check_records(in("hundred"), "train", 5, 100, "n3");
    check_records(in("hundred"), "test", 2, 100, "n3");
    const uint64_t hash = hash_of(in("hundred"), "train", NULL);
    ck_assert_uint_ne(hash, hash_of(in("hundred"), "test", NULL));
    write_records("hundred/test.bin", 2, 2, 120, 256);
    expect_error(VST_ERROR_FORMAT, "test.bin: label 120 at byte 1", try_open(in("hundred"), "test", NULL));
    write_in(folder, "hundred/test.bin", text, 300);
    expect_error(VST_ERROR_FORMAT, "300 bytes are not a multiple of the record size 3074",
                 try_open(in("hundred"), "test", NULL));
    unlink(in("hundred/test.bin"));
    expect_error(VST_ERROR_NOT_FOUND, "test.bin: cannot be opened", try_open(in("hundred"), "test", NULL));
}
END_TEST

/* The real data set as class folders in one tar: 50000 and 10000 images in ten classes. */
START_TEST(cifar10_tar) {
    const char *path = getenv("VISTILL_CIFAR10");
    if (!path) {
        fprintf(stderr, "skipped: VISTILL_CIFAR10 does not name a tar of CIFAR-10's class folders\n");
        return;
    }
    for (int i = 0; i < 2; i++) {
        vst_dataset *dataset;
        vst_image image = {0};
        uint64_t counts[10] = {0};
        ck_ok(vst_dataset_open(&dataset, path, i ? "test" : "train", NULL));
        ck_assert_uint_eq(vst_dataset_count(dataset), i ? 10000 : 50000);
        ck_assert_int_eq(vst_dataset_classes(dataset), 10);
        ck_assert_str_eq(vst_dataset_class_name(dataset, 9), "truck");
        ck_assert(!vst_dataset_has_no_splits(dataset));
        for (uint64_t k = 0; k < vst_dataset_count(dataset); k++) {
            int label;
            ck_ok(vst_dataset_read(dataset, k, &image, &label));
            ck_assert(image.channels == 3 && image.height == 32 && image.width == 32);
            counts[label]++;
        }
        for (int c = 0; c < 10; c++) ck_assert_uint_eq(counts[c], i ? 1000 : 5000);
        vst_image_clear(&image);
        vst_dataset_close(dataset);
    }
}
END_TEST

/* ---- Broken samples ---- */

enum { MANY = 120, BATCH = 7 };

static bool is_bad(int i) { return i == 0 || i == 50 || i == 51 || i == MANY - 1; }

static void write_many(void) {
    for (int i = 0; i < MANY; i++) {
        char name[64];
        snprintf(name, sizeof name, "many/%c/%03d.png", i < 60 ? 'a' : 'b', i);
        if (is_bad(i)) write_in(folder, name, "no picture at all", 17);
        else write_picture(folder, name, i);
    }
}

static int told;
static void count_told(vst_log_level level, const char *text, void *user) {
    (void)user;
    if (level == VST_LOG_WARNING && strstr(text, "broken sample") && strstr(text, ".png")) told++;
}

/* Samples, labels and first pixels of two epochs, for a number of workers. */
typedef struct seen {
    uint64_t samples[2 * MANY];
    int labels[2 * MANY];
    float pixels[2 * MANY];
} seen;

static void run_loader(const vst_dataset *dataset, vst_broken_rule rule, bool evaluate, int workers, seen *out,
                       uint64_t *broken) {
    const vst_loader_options options = {.batch = BATCH,
                                        .workers = workers,
                                        .shuffle = !evaluate,
                                        .seed = 4,
                                        .channels = 3,
                                        .size = 4,
                                        .broken = rule,
                                        .unlabel_replaced = evaluate};
    vst_loader *loader;
    vst_batch batch;
    int n = 0;
    memset(out, 0, sizeof *out);
    ck_ok(vst_loader_create(&loader, dataset, &options));
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        ck_ok(vst_loader_start(loader, epoch, 0));
        for (;;) {
            ck_ok(vst_loader_next(loader, &batch));
            if (!batch.count) break;
            for (int i = 0; i < batch.count; i++, n++) {
                out->samples[n] = batch.samples[i];
                out->labels[n] = batch.labels[i];
                out->pixels[n] = batch.images[i * 48];
            }
        }
    }
    ck_assert_int_eq(n, 2 * MANY);
    *broken = vst_loader_broken(loader);
    vst_loader_destroy(loader);
}

START_TEST(broken_are_replaced) {
    static seen first, other;
    static const int workers[] = {0, 1, 3, 8};
    vst_dataset *dataset;
    uint64_t broken;
    write_many();
    vst_log_set(count_told, NULL);
    ck_ok(vst_dataset_open(&dataset, in("many"), "train", NULL));
    for (int i = 0; i < 4; i++) {
        const vst_broken_rule rule = {i % 2 ? VST_BROKEN_WARN : VST_BROKEN_SKIP, 0.1};
        told = 0;
        run_loader(dataset, rule, false, workers[i], i ? &other : &first, &broken);
        ck_assert_uint_eq(broken, 4); /* each counted once, although found in both epochs */
        ck_assert_int_eq(told, i % 2 ? 4 : 0);
        if (i) ck_assert_int_eq(memcmp(&first, &other, sizeof first), 0);
    }
    for (int i = 0; i < 2 * MANY; i++) { /* the replacement has its own index and label */
        ck_assert(!is_bad((int)first.samples[i]));
        ck_assert_int_eq(first.labels[i], first.samples[i] >= 60);
        ck_assert_int_eq((int)(first.pixels[i] * 255 + 0.5f), (int)first.samples[i]);
    }
    int times[MANY] = {0};
    for (int i = 0; i < MANY; i++) times[first.samples[i]]++;
    ck_assert_int_eq(times[52], 3); /* for 50, 51 and itself */
    ck_assert_int_eq(times[1], 3);  /* for 0, and for the last sample, where the search wraps around */
    run_loader(dataset, (vst_broken_rule){VST_BROKEN_SKIP, 0.1}, true, 2, &first, &broken);
    for (int i = 0; i < MANY; i++) {
        ck_assert_uint_eq(first.samples[i], (uint64_t)i);
        ck_assert_int_eq(first.labels[i], is_bad(i) ? -1 : i >= 60);
    }
    vst_dataset_close(dataset);
}
END_TEST

/* The batch at which the limit is exceeded does not depend on the number of workers. */
START_TEST(broken_limit) {
    static const int workers[] = {0, 1, 5};
    vst_dataset *dataset;
    char first[1024] = "";
    write_many();
    ck_ok(vst_dataset_open(&dataset, in("many"), "train", NULL));
    for (int i = 0; i < 3; i++) {
        for (int policy = 0; policy < 2; policy++) {
            const vst_loader_options options = {.batch = BATCH,
                                                .workers = workers[i],
                                                .shuffle = policy,
                                                .seed = 1,
                                                .channels = 3,
                                                .size = 4,
                                                .broken = {policy ? VST_BROKEN_SKIP : VST_BROKEN_ERROR, 0.017}};
            vst_loader *loader;
            vst_batch batch;
            char text[1024];
            int step = 0;
            ck_ok(vst_loader_create(&loader, dataset, &options));
            vst_status status;
            while ((status = vst_loader_next(loader, &batch)) == VST_OK && batch.count) step++;
            snprintf(text, sizeof text, "%d %d %s", status, step, vst_error_message());
            if (!policy) ck_assert_msg(step == 0 && strstr(text, "a/000.png"), "%s", text);
            else if (i) ck_assert_str_eq(text, first);
            else snprintf(first, sizeof first, "%s", text);
            vst_loader_destroy(loader);
        }
    }
    ck_assert_msg(strstr(first, "3 of 120 samples cannot be read, the limit is 1.7 %"), "%s", first);
    vst_dataset_close(dataset);
}
END_TEST

START_TEST(broken_in_a_row) {
    vst_dataset *dataset;
    vst_loader *loader;
    vst_batch batch;
    for (int i = 0; i < 40; i++) {
        char name[64];
        snprintf(name, sizeof name, "row/a/%03d.png", i);
        if (i < 21 + _i) write_in(folder, name, "no", 2); /* 20 following samples are tried */
        else write_picture(folder, name, i);
    }
    ck_ok(vst_dataset_open(&dataset, in("row"), "train", NULL));
    const vst_loader_options options = {.batch = 1, .channels = 3, .size = 4, .broken = {VST_BROKEN_SKIP, 1}};
    ck_ok(vst_loader_create(&loader, dataset, &options));
    for (int i = 0; i <= _i; i++) expect_error(VST_ERROR_FORMAT, "in a row", vst_loader_next(loader, &batch));
    ck_ok(vst_loader_next(loader, &batch));
    ck_assert_uint_eq(batch.samples[0], 21 + (uint64_t)_i);
    vst_loader_destroy(loader);
    vst_dataset_close(dataset);
}
END_TEST

/* ---- Checking and packing ---- */

START_TEST(check_report) {
    write_many();
    vst_dataset *dataset;
    ck_ok(vst_dataset_open(&dataset, in("many"), "train", NULL));
    for (int workers = 1; workers <= 4; workers += 3) {
        vst_data_report report = {0};
        ck_ok(vst_data_check(dataset, workers, NULL, &report));
        ck_assert_uint_eq(report.samples, MANY);
        ck_assert_uint_eq(report.bad_count, 4);
        static const uint64_t bad[] = {0, 50, 51, MANY - 1};
        for (int i = 0; i < 4; i++) {
            ck_assert_uint_eq(report.bad[i].sample, bad[i]);
            ck_assert_int_eq(report.bad[i].label, i == 3);
            ck_assert_ptr_nonnull(strstr(report.bad[i].reason, i == 3 ? "b/119.png" : "a/0"));
        }
        ck_assert(report.good[0] == 57 && report.broken[0] == 3 && report.good[1] == 59 && report.broken[1] == 1);
        ck_assert(report.good[2] == 0 && report.least_height == 4 && report.most_width == 4);
        vst_data_report_clear(&report);
    }
    vst_pack_result packed;
    expect_error(VST_ERROR_FORMAT, "a/000.png is neither JPEG nor PNG",
                 vst_data_pack(dataset, in("out"), "train", &(vst_pack_options){.shard_bytes = 1 << 20}, &packed));
    ck_assert_int_ne(access(in("out/train-000000.tar"), F_OK), 0);
    vst_dataset_close(dataset);
}
END_TEST

/* Progress is told after each sample: until the last one no reader takes what is there for a data set. */
static void look_at_shards(const vst_progress *progress, bool finished, void *user) {
    vst_dataset *shards = NULL;
    (void)user;
    if (finished || progress->done < 10) return;
    const vst_status status = vst_dataset_open(&shards, in("out"), "train", NULL);
    ck_assert_int_eq(status, VST_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "is still writing these shards, or was interrupted"));
}

/* A pack that is killed leaves a folder that is refused; one that fails or is interrupted leaves nothing. */
START_TEST(unfinished_pack) {
    vst_dataset *dataset, *shards;
    vst_pack_result result;
    volatile sig_atomic_t stop = 0;
    const vst_pack_options options = {.shard_bytes = 8 * 1024, .stop = &stop};
    write_idx(folder, "", 30, 4, 3, 5, 3, 0);
    ck_ok(vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "idx"}));
    vst_progress_set(look_at_shards, NULL);
    ck_ok(vst_data_pack(dataset, in("out"), "train", &options, &result));
    vst_progress_set(NULL, NULL);
    ck_assert_uint_gt(result.shards, 3);
    ck_ok(vst_dataset_open(&shards, in("out"), "train", NULL));
    ck_assert_uint_eq(vst_dataset_count(shards), 30);
    vst_dataset_close(shards);
    ck_assert_int_eq(access(in("out/classes.txt"), F_OK), 0);
    /* killed between the renames */
    ck_assert_int_eq(rename(in("out/train-000000.tar"), in("out/train-000000.tar.part")), 0);
    expect_error(VST_ERROR_FORMAT, "train-000000.tar.part", try_open(in("out"), "train", NULL));
    expect_error(VST_ERROR_ARGUMENT, "is there already", vst_data_pack(dataset, in("out"), "train", &options, &result));
    stop = 1;
    expect_error(VST_ERROR_INTERRUPTED, "packing", vst_data_pack(dataset, in("none"), "train", &options, &result));
    ck_assert_int_eq(rmdir(in("none")), 0); /* it is empty */
    vst_dataset_close(dataset);
}
END_TEST

/* Pixels become PNG; the shuffled order is another one, the same each time; old shards are not touched. */
START_TEST(packing) {
    vst_dataset *dataset, *shards;
    vst_pack_result result;
    write_idx(folder, "", 30, 4, 3, 5, 3, 0);
    ck_ok(vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "idx"}));
    for (int shuffled = 0; shuffled < 2; shuffled++) {
        const vst_pack_options options = {.shard_bytes = 1 << 20, .shuffle = shuffled, .seed = 9};
        const char *out = in(shuffled ? "mixed" : "plain");
        int in_place = 0, seen_pixels[256] = {0};
        ck_ok(vst_data_pack(dataset, out, "train", &options, &result));
        ck_assert(result.samples == 30 && result.shards == 1 && result.bytes % 10240 == 0);
        expect_error(VST_ERROR_ARGUMENT, "is there already", vst_data_pack(dataset, out, "train", &options, &result));
        ck_ok(vst_dataset_open(&shards, out, "train", &(vst_dataset_options){.channels = 1}));
        ck_assert_uint_eq(vst_dataset_count(shards), 30);
        for (int i = 0; i < 30; i++) {
            vst_image image = {0};
            int label;
            ck_ok(vst_dataset_read(shards, (uint64_t)i, &image, &label));
            ck_assert(image.channels == 1 && image.height == 3 && image.width == 5);
            in_place += image.pixels[0] == idx_pixel(i, 0, 0);
            seen_pixels[image.pixels[0]]++;
            if (!shuffled) ck_assert_int_eq(label, i % 3);
            vst_image_clear(&image);
        }
        for (int i = 0; i < 30; i++) ck_assert_int_eq(seen_pixels[idx_pixel(i, 0, 0)], 1);
        if (shuffled) ck_assert_int_lt(in_place, 10);
        else ck_assert_int_eq(in_place, 30);
        vst_dataset_close(shards);
    }
    vst_dataset_close(dataset);
}
END_TEST

/* Writes an image of noise to folder/wide/a. */
static void write_noise(const char *name, int planes, int height, int width, bool jpeg) {
    vst_image image = {0};
    uint8_t *bytes;
    size_t size;
    ck_ok(vst_image_allocate(&image, planes, height, width));
    for (int i = 0; i < planes * height * width; i++) image.pixels[i] = (uint8_t)(i * 7919 >> 3);
    ck_ok(jpeg ? vst_jpeg_encode(&image, 80, &bytes, &size) : vst_png_encode(&image, &bytes, &size));
    write_in(in("wide/a"), name, bytes, size);
    vst_free(bytes);
    vst_image_clear(&image);
}

/* Replaces `file` by the file that packing with --resize 10 and quality 60 must give. */
static void expect_small(vst_bytes *file) {
    vst_image large = {0}, small = {0}, scratch = {0};
    uint8_t *bytes;
    size_t size;
    int height, width;
    const bool jpeg = vst_image_format_of(file->data, file->size) == VST_IMAGE_JPEG;
    ck_ok(vst_image_decode(file->data, file->size, NULL, &large, NULL));
    vst_resize_shorter(large.height, large.width, 10, &height, &width);
    if (height >= large.height) goto out;
    ck_ok(vst_image_resize(&large, NULL, height, width, VST_FILTER_BICUBIC, &scratch, &small));
    ck_ok(jpeg ? vst_jpeg_encode(&small, 60, &bytes, &size) : vst_png_encode(&small, &bytes, &size));
    ck_ok(vst_bytes_resize(file, size));
    memcpy(file->data, bytes, size);
    vst_free(bytes);
out:
    vst_image_clear(&large);
    vst_image_clear(&small);
    vst_image_clear(&scratch);
}

/* Large images are resized in their own format; small ones keep their bytes; a broken large one is an error. */
START_TEST(packing_smaller) {
    vst_dataset *dataset, *shards;
    vst_pack_result result;
    vst_bytes expected = {0}, got = {0};
    const vst_pack_options options = {.shard_bytes = 1 << 20, .resize = 10, .quality = 60};
    write_noise("0.jpg", 3, 30, 45, true);
    write_noise("1.jpg", 1, 45, 11, true);
    write_noise("2.png", 3, 20, 20, false);
    write_noise("3.jpg", 3, 10, 40, true); /* small enough: the shorter side counts */
    write_noise("4.png", 1, 8, 9, false);
    ck_ok(vst_dataset_open(&dataset, in("wide"), "train", NULL));
    ck_ok(vst_data_pack(dataset, in("small"), "train", &options, &result));
    ck_assert(result.samples == 5 && result.resized == 3);
    ck_ok(vst_dataset_open(&shards, in("small"), "train", NULL));
    for (uint64_t i = 0; i < 5; i++) {
        int label;
        ck_ok(vst_dataset_read_bytes(dataset, i, &expected, &label));
        ck_ok(vst_dataset_read_bytes(shards, i, &got, &label));
        expect_small(&expected);
        ck_assert_uint_eq(got.size, expected.size);
        ck_assert_int_eq(memcmp(got.data, expected.data, got.size), 0);
    }
    vst_dataset_close(shards);
    ck_ok(vst_dataset_read_bytes(dataset, 0, &got, &(int){0}));
    write_bytes(in("wide/a/0.jpg"), got.data, got.size - 20);
    expect_error(VST_ERROR_FORMAT, "a/0.jpg cannot be made smaller: reading JPEG",
                 vst_data_pack(dataset, in("broken"), "train", &options, &result));
    vst_dataset_close(dataset);
    vst_bytes_clear(&expected);
    vst_bytes_clear(&got);
}
END_TEST

/* Samples stored as pixels, and every allocation failing in turn. */
START_TEST(packing_smaller_pixels) {
    vst_dataset *dataset, *shards;
    vst_pack_result result;
    vst_image image = {0};
    int label;
    const vst_pack_options options = {.shard_bytes = 1 << 20, .resize = 6, .quality = 95};
    write_idx(folder, "", 3, 2, 12, 8, 3, 0);
    ck_ok(vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "idx"}));
    ck_ok(vst_data_pack(dataset, in("small"), "train", &options, &result));
    ck_assert(result.samples == 3 && result.resized == 3);
    ck_ok(vst_dataset_open(&shards, in("small"), "train", &(vst_dataset_options){.channels = 1}));
    ck_ok(vst_dataset_read(shards, 2, &image, &label));
    ck_assert(image.height == 9 && image.width == 6 && label == 2);
    vst_image_clear(&image);
    vst_dataset_close(shards);
    for (uint64_t n = 1;; n++) {
        remove_tree(in("failing"));
        vst_memory_fail_at(n);
        const vst_status status = vst_data_pack(dataset, in("failing"), "train", &options, &result);
        vst_memory_fail_at(0);
        if (status == VST_OK) break;
        ck_assert_int_eq(status, VST_ERROR_MEMORY);
        ck_assert_uint_lt(n, 200);
    }
    vst_dataset_close(dataset);
}
END_TEST

START_TEST(preview_sheet) {
    vst_dataset *dataset;
    vst_image sheet = {0};
    write_tree(in("t"));
    ck_ok(vst_dataset_open(&dataset, in("t"), "train", NULL));
    ck_ok(vst_data_preview(dataset, "flip", 3, 4, &sheet));
    ck_assert(sheet.channels == 3 && sheet.width == 2 * (160 + 4) + 4 && sheet.height == 2 * (160 + 12 + 4) + 4);
    int dark = 0; /* pixels in the colour of the letters under the first image, which nothing else has */
    for (int y = 4 + 160; y < 4 + 160 + 12; y++)
        for (int x = 0; x < 164; x++) dark += sheet.pixels[3 * (y * sheet.width + x)] == 32;
    ck_assert_int_gt(dark, 10);
    expect_error(VST_ERROR_ARGUMENT, "0 samples", vst_data_preview(dataset, "", 3, 0, &sheet));
    expect_error(VST_ERROR_ARGUMENT, "no augmentation 'spin'", vst_data_preview(dataset, "spin", 3, 4, &sheet));
    vst_image_clear(&sheet);
    vst_dataset_close(dataset);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("formats");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, three_layouts);
    tcase_add_test(tests, split_folders);
    tcase_add_test(tests, odd_classes);
    tcase_add_test(tests, links);
    tcase_add_test(tests, unlabelled_images);
    tcase_add_test(tests, channels);
    tcase_add_test(tests, tar_names_and_sizes);
    tcase_add_test(tests, tar_errors);
    tcase_add_test(tests, webdataset);
    tcase_add_test(tests, strange_labels);
    tcase_add_test(tests, shard_folders);
    tcase_add_test(tests, index_files);
    tcase_add_test(tests, index_is_read);
    tcase_add_test(tests, index_of_the_old_tar);
    tcase_add_loop_test(tests, what_the_hash_covers, 0, 3);
    tcase_add_test(tests, cifar);
    tcase_add_test(tests, cifar10_tar);
    tcase_add_test(tests, broken_are_replaced);
    tcase_add_test(tests, broken_limit);
    tcase_add_loop_test(tests, broken_in_a_row, 0, 2);
    tcase_add_test(tests, check_report);
    tcase_add_test(tests, packing);
    tcase_add_test(tests, unfinished_pack);
    tcase_add_test(tests, packing_smaller);
    tcase_add_test(tests, packing_smaller_pixels);
    tcase_add_test(tests, preview_sheet);
    return run_suite("formats", tests);
}
