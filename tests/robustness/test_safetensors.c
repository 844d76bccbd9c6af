/* vision/tensor/safetensors.c: round trips, the rules of the format, truncation, mutation, failing memory and disks. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/tensor/safetensors.h"

/* ---- A folder for each test, with nothing in it afterwards but what the test knows ---- */

static char folder[256], path[300];

static void begin(void) {
    make_folder(folder, "tensors");
    snprintf(path, sizeof path, "%s/m.safetensors", folder);
}

static void end(void) {
    unlink(path);
    ck_assert_msg(rmdir(folder) == 0, "%s is not empty", folder);
}

static int files_in_folder(void) {
    DIR *dir = opendir(folder);
    int count = -2; /* . and .. */
    while (readdir(dir)) count++;
    closedir(dir);
    return count;
}

/* ---- Files made by hand ---- */

enum { IMAGE_MAX = 1 << 16 };
typedef struct image {
    unsigned char bytes[IMAGE_MAX];
    size_t size;
} image;

static void set_length(image *file, uint64_t length) {
    for (int i = 0; i < 8; i++) file->bytes[i] = (unsigned char)(length >> (8 * i));
}

/* Length, header and `data` bytes counting 0, 1, 2 … */
static void compose(image *file, const char *header, size_t length, size_t data) {
    ck_assert_uint_le(8 + length + data, IMAGE_MAX);
    set_length(file, length);
    memcpy(file->bytes + 8, header, length);
    for (size_t i = 0; i < data; i++) file->bytes[8 + length + i] = (unsigned char)i;
    file->size = 8 + length + data;
}

/* A copy of exactly that size, so that the sanitizers see every byte read too many. */
static vst_status parse(const void *bytes, size_t size, const vst_safetensors_limits *limits) {
    vst_safetensors *file;
    void *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    const vst_status status = vst_safetensors_parse(&file, "case", copy, size, limits);
    free(copy);
    ck_assert(status == VST_OK ? file != NULL : file == NULL);
    if (status != VST_OK) ck_assert_msg(strncmp(vst_error_message(), "case: ", 6) == 0, "%s", vst_error_message());
    vst_safetensors_close(file);
    return status;
}

#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t data;
} accepted[] = {
    {"{}", 0},
    {"{}   ", 0},
    {"{\"__metadata__\":{}}", 0},
    {"{\"__metadata__\":{\"a\":\"b\\nc\",\"\":\"\"},\"x\":" T("F32", "[2]", "[0,8]") "}", 8},
    {"{\"scalar\":" T("I64", "[]", "[0,8]") "}", 8},
    {"{\"empty\":" T("F32", "[0,5]", "[0,0]") "}", 0},
    {"{\"b\":" T("U8", "[3]", "[2,5]") ",\"a\":" T("F16", "[1]", "[0,2]") "}", 5},
    {"{\"a\":" T("U8", "[0]", "[2,2]") ",\"c\":" T("U8", "[0]", "[0,0]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2},
    {"{\"six\":" T("BOOL", "[1,1,1,1,1,2]", "[0,2]") "}", 2},
    {"{\"\xc3\xa9\":" T("BF16", "[1]", "[0,2]") "}", 2},
    {"{\"a\\\"[[[[[[[[[[\":" T("U8", "[0]", "[0,0]") "}", 0}, /* brackets in a name are no nesting */
    {"{ \"spaces\" :\n {\"shape\": [1], \"data_offsets\": [0, 1], \"dtype\": \"I8\", \"more\": [1.5]}}", 1},
};

START_TEST(good_headers) {
    image file;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        compose(&file, accepted[i].header, strlen(accepted[i].header), accepted[i].data);
        ck_assert_msg(parse(file.bytes, file.size, NULL) == VST_OK, "%s: %s", accepted[i].header, vst_error_message());
    }
}
END_TEST

static const struct {
    const char *header;
    size_t data;
    vst_status status;
    const char *message;
} refused[] = {
    /* JSON */
    {"", 0, VST_ERROR_FORMAT, "does not begin with '{'"},
    {" {}", 0, VST_ERROR_FORMAT, "does not begin with '{'"},
    {"[]", 0, VST_ERROR_FORMAT, "does not begin with '{'"},
    {"{", 0, VST_ERROR_FORMAT, "not valid JSON"},
    {"{}x", 0, VST_ERROR_FORMAT, "not valid JSON"},
    {"{}{}", 0, VST_ERROR_FORMAT, "not valid JSON"},
    {"{\"a\":}", 0, VST_ERROR_FORMAT, "not valid JSON at byte"},
    {"{\"\xff\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "not valid JSON"},
    {"{\"\xc0\xaf\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "not valid JSON"},
    {"{\"a\\u0000b\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "not valid JSON"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2, VST_ERROR_FORMAT, "duplicate"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, VST_ERROR_FORMAT,
     "duplicate"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, VST_ERROR_FORMAT, "duplicate"},
    {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, VST_ERROR_FORMAT, "duplicate"},
    {"{\"a\":[[[[[[[[]]]]]]]]}", 0, VST_ERROR_FORMAT, "nested deeper than 8 levels at byte 20"},
    {"{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{\"h\":{}}}}}}}}}}", 0, VST_ERROR_FORMAT, "nested deeper"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, VST_ERROR_FORMAT, "__metadata__ must be an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, VST_ERROR_FORMAT, "the value of \"a\" must be a string"},
    {"{\"__metadata__\":{\"vistill.xxh3\":\"0\"}}", 0, VST_ERROR_FORMAT, "checksum"},
    /* names */
    {"{\"\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "empty name"},
    {"{\"a\\u001bb\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "control character 0x1b"},
    {"{\"a\\u007f\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "control character 0x7f"},
    /* entries */
    {"{\"a\":1}", 0, VST_ERROR_FORMAT, "tensor \"a\": must be an object"},
    {"{\"a\":{}}", 0, VST_ERROR_FORMAT, "dtype is missing"},
    {"{\"a\":{\"dtype\":1,\"shape\":[],\"data_offsets\":[0,1]}}", 1, VST_ERROR_FORMAT, "dtype is missing"},
    {"{\"a\":" T("F8_E4M3", "[1]", "[0,1]") "}", 1, VST_ERROR_UNSUPPORTED, "dtype \"F8_E4M3\" is not supported"},
    {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, VST_ERROR_UNSUPPORTED, "dtype \"f32\""},
    {"{\"a\":" T("F8_E5M2", "[1]", "[0,1]") "}", 1, VST_ERROR_UNSUPPORTED, "dtype \"F8_E5M2\""},
    {"{\"a\":" T("F6_E2M3", "[4]", "[0,3]") "}", 3, VST_ERROR_UNSUPPORTED, "dtype \"F6_E2M3\""}, /* below a byte */
    {"{\"a\":" T("F4", "[2]", "[0,1]") "}", 1, VST_ERROR_UNSUPPORTED, "dtype \"F4\""},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, VST_ERROR_FORMAT, "shape is missing"},
    {"{\"a\":" T("U8", "1", "[0,1]") "}", 1, VST_ERROR_FORMAT, "shape is missing or not a list"},
    {"{\"a\":" T("U8", "[1.0]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "shape must hold integers"},
    {"{\"a\":" T("U8", "[1e0]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "shape must hold integers"},
    {"{\"a\":" T("U8", "[\"1\"]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "shape must hold integers"},
    {"{\"a\":" T("U8", "[-1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "shape must hold integers of 0 or more"},
    {"{\"a\":" T("U8", "[-1,-1]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "shape must hold integers"},
    {"{\"a\":" T("U8", "[1,1,1,1,1,1,1]", "[0,1]") "}", 1, VST_ERROR_LIMIT, "shape has 7 dimensions; allowed are 6"},
    {"{\"a\":" T("U8", "[99999999999999999999]", "[0,1]") "}", 1, VST_ERROR_FORMAT, "too big integer"},
    {"{\"a\":" T("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, VST_ERROR_FORMAT, "is too large"},
    {"{\"a\":" T("F64", "[2305843009213693952]", "[0,0]") "}", 0, VST_ERROR_FORMAT, "is too large"},
    {"{\"a\":" T("U8", "[4294967296,4294967296,0]", "[0,0]") "}", 0, VST_ERROR_FORMAT, "is too large"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, VST_ERROR_FORMAT, "data_offsets is missing"},
    {"{\"a\":" T("U8", "[1]", "[0]") "}", 1, VST_ERROR_FORMAT, "not a list of two"},
    {"{\"a\":" T("U8", "[1]", "[0,1,2]") "}", 1, VST_ERROR_FORMAT, "not a list of two"},
    {"{\"a\":" T("U8", "[1]", "[0,1.0]") "}", 1, VST_ERROR_FORMAT, "data_offsets must hold integers"},
    {"{\"a\":" T("U8", "[1]", "[0,1e0]") "}", 1, VST_ERROR_FORMAT, "data_offsets must hold integers"},
    {"{\"a\":" T("U8", "[1]", "[-1,0]") "}", 1, VST_ERROR_FORMAT, "data_offsets must hold integers of 0 or more"},
    {"{\"a\":" T("U8", "[1]", "[1,0]") "}", 1, VST_ERROR_FORMAT, "end before they begin"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") "}", 1, VST_ERROR_FORMAT, "go beyond the 1 bytes of data"},
    {"{\"a\":" T("U8", "[2]", "[9223372036854775805,9223372036854775807]") "}", 1, VST_ERROR_FORMAT, "go beyond"},
    {"{\"a\":" T("F32", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT,
     "F32 (1) needs 4 bytes, but data_offsets [0, 1] hold 1"},
    {"{\"a\":" T("F32", "[1]", "[0,8]") "}", 8, VST_ERROR_FORMAT, "needs 4 bytes"},
    /* cover */
    {"{\"a\":" T("U8", "[1]", "[1,2]") "}", 2, VST_ERROR_FORMAT,
     "\"a\" begins at data byte 1, but the one before it ends at 0"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[2,3]") "}", 3, VST_ERROR_FORMAT,
     "holes and overlaps"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3, VST_ERROR_FORMAT,
     "holes and overlaps"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[0,1]") "}", 1, VST_ERROR_FORMAT,
     "holes and overlaps"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") "}", 2, VST_ERROR_FORMAT,
     "end at data byte 1, but the file has 2 bytes of data"},
    {"{}", 1, VST_ERROR_FORMAT, "end at data byte 0, but the file has 1"},
};

START_TEST(bad_headers) {
    image file;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        compose(&file, refused[i].header, strlen(refused[i].header), refused[i].data);
        const vst_status status = parse(file.bytes, file.size, NULL);
        ck_assert_msg(status == refused[i].status && strstr(vst_error_message(), refused[i].message), "%s: got %s: %s",
                      refused[i].header, vst_status_name(status), vst_error_message());
    }
}
END_TEST

static const char small[] = "{\"a\":" T("U8", "[3]", "[0,3]") "}";

START_TEST(bad_lengths) {
    image file;
    ck_fails(parse("", 0, NULL), VST_ERROR_FORMAT, "only 0 bytes long");
    ck_fails(parse("1234567", 7, NULL), VST_ERROR_FORMAT, "only 7 bytes long");
    compose(&file, small, strlen(small), 3);
    ck_ok(parse(file.bytes, file.size, NULL));
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, UINT64_MAX / 2, 100000001, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        set_length(&file, lengths[i]);
        ck_fails(parse(file.bytes, file.size, NULL), VST_ERROR_FORMAT, "the header should have");
    }
    set_length(&file, file.size - 7);
    ck_fails(parse(file.bytes, file.size, NULL), VST_ERROR_FORMAT, "the header should have");
    compose(&file, "{\"a\0\":{}}", 9, 0); /* a NUL as it is */
    ck_fails(parse(file.bytes, file.size, NULL), VST_ERROR_FORMAT, "not valid JSON");
    compose(&file, "{}\0", 3, 0);
    ck_fails(parse(file.bytes, file.size, NULL), VST_ERROR_FORMAT, "not valid JSON");
}
END_TEST

START_TEST(limits_hold) {
    image file;
    const char *two = "{\"__metadata__\":{},\"aaaa\":" T("U8", "[3]", "[0,3]") ",\"b\":" T("U8", "[0]", "[3,3]") "}";
    compose(&file, two, strlen(two), 3);
    const vst_safetensors_limits fits = {strlen(two), file.size, 2, 4};
    ck_ok(parse(file.bytes, file.size, &fits));
    vst_safetensors_limits tight = fits;
    tight.header_bytes--;
    ck_fails(parse(file.bytes, file.size, &tight), VST_ERROR_LIMIT, "the header has");
    tight = fits, tight.file_bytes--;
    ck_fails(parse(file.bytes, file.size, &tight), VST_ERROR_LIMIT, "bytes long; allowed are");
    tight = fits, tight.tensors = 1;
    ck_fails(parse(file.bytes, file.size, &tight), VST_ERROR_LIMIT, "tensors; allowed are 1");
    tight.tensors = 0;
    ck_fails(parse(file.bytes, file.size, &tight), VST_ERROR_LIMIT, "tensors; allowed are 0");
    tight = fits, tight.name_bytes = 3;
    ck_fails(parse(file.bytes, file.size, &tight), VST_ERROR_LIMIT, "\"aaaa…\" has 4 bytes; allowed are 3");
    const char *plain = "{\"a\":" T("U8", "[0]", "[0,0]") ",\"b\":" T("U8", "[0]", "[0,0]") "}";
    compose(&file, plain, strlen(plain), 0); /* no metadata: the count itself */
    tight = fits, tight.tensors = 1;
    ck_fails(parse(file.bytes, file.size, &tight), VST_ERROR_LIMIT, "2 tensors; allowed are 1");
}
END_TEST

/* The limits that hold when none are given, each met and exceeded by one. */
START_TEST(default_limits_hold) {
    enum { HEADER = 16 << 20, TENSORS = 100000, NAME = 1024 };
    image file;
    vst_safetensors *opened;
    char *large = malloc(8 + HEADER + 1), name[NAME + 2], header[NAME + 100];
    ck_assert_ptr_nonnull(large);
    for (size_t extra = 0; extra < 2; extra++) {
        memset(large, ' ', 8 + HEADER + 1);
        memcpy(large + 8, "{}", 2);
        for (int i = 0; i < 8; i++) large[i] = (char)((HEADER + extra) >> (8 * i));
        if (!extra) ck_ok(parse(large, 8 + HEADER, NULL));
        else
            ck_fails(parse(large, 8 + HEADER + 1, NULL), VST_ERROR_LIMIT,
                     "the header has 16777217 bytes; allowed are 16777216");

        memset(name, 'n', NAME + extra);
        name[NAME + extra] = 0;
        snprintf(header, sizeof header, "{\"%s\":" T("U8", "[0]", "[0,0]") "}", name);
        compose(&file, header, strlen(header), 0);
        if (!extra) ck_ok(parse(file.bytes, file.size, NULL));
        else ck_fails(parse(file.bytes, file.size, NULL), VST_ERROR_LIMIT, "has 1025 bytes; allowed are 1024");

        char *at = large + 8;
        for (size_t i = 0; i < TENSORS + extra; i++)
            at += sprintf(at, "%c\"%zu\":" T("U8", "[0]", "[0,0]"), i ? ',' : '{', i);
        *at++ = '}';
        for (int i = 0; i < 8; i++) large[i] = (char)((size_t)(at - large - 8) >> (8 * i));
        const vst_status status = parse(large, (size_t)(at - large), NULL);
        if (!extra) ck_ok(status);
        else ck_fails(status, VST_ERROR_LIMIT, "100001 tensors; allowed are 100000");
    }
    free(large);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(ftruncate(fd, ((off_t)16 << 30) + 1), 0); /* takes no room on the disk */
    close(fd);
    ck_fails(vst_safetensors_open(&opened, path, NULL), VST_ERROR_LIMIT,
             "17179869185 bytes long; allowed are 17179869184");
}
END_TEST

/* The format promises no alignment. */
START_TEST(data_at_odd_addresses) {
    image file;
    vst_safetensors *opened;
    float value;
    const double pi = 3.140625;
    const char *header = "{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("F64", "[1]", "[1,9]") "}";
    compose(&file, header, strlen(header), 9);
    memcpy(file.bytes + file.size - sizeof pi, &pi, sizeof pi);
    ck_ok(vst_safetensors_parse(&opened, "odd", file.bytes, file.size, NULL));
    const vst_tensor *b = vst_safetensors_find(opened, "b");
    ck_assert_uint_ne((uintptr_t)b->data % sizeof pi, 0);
    vst_to_float(&value, b->data, b->dtype, 1);
    ck_assert(value == 3.140625f);
    vst_safetensors_close(opened);
}
END_TEST

/* ---- Round trips ---- */

static unsigned char payload[256];
static const vst_tensor every[] = {
    {"u8", VST_U8, {1, {7}}, payload},
    {"bool", VST_BOOL, {2, {1, 3}}, payload + 1},
    {"i8", VST_I8, {1, {1}}, payload + 3},
    {"u16", VST_U16, {1, {5}}, payload + 5},
    {"i16", VST_I16, {2, {2, 2}}, payload + 2},
    {"f16", VST_F16, {1, {3}}, payload + 7},
    {"bf16", VST_BF16, {1, {3}}, payload + 9},
    {"u32", VST_U32, {1, {2}}, payload + 11},
    {"i32", VST_I32, {1, {2}}, payload + 13},
    {"f32", VST_F32, {6, {1, 2, 1, 2, 1, 2}}, payload + 17},
    {"u64", VST_U64, {1, {2}}, payload + 19},
    {"i64", VST_I64, {0, {0}}, payload + 23},
    {"f64", VST_F64, {1, {3}}, payload + 29},
    {"empty", VST_F32, {3, {4, 0, 2}}, NULL},
    {"a name of \xc3\xa9t\xc3\xa9 \"quoted\" \\ and long enough to need more than one buffer",
     VST_F32,
     {0, {0}},
     payload},
};
enum { EVERY = sizeof every / sizeof *every };
static const vst_metadata notes[] = {{"arch", "vit"}, {"labels", "[\"a\",\n\"b\"]"}, {"none", ""}};

static void fill_payload(void) {
    for (size_t i = 0; i < sizeof payload; i++) payload[i] = (unsigned char)(i * 37 + 11);
}

static size_t bytes_of(const vst_tensor *tensor) {
    return (size_t)vst_shape_count(&tensor->shape) * vst_dtype_size(tensor->dtype);
}

START_TEST(round_trip) {
    vst_safetensors *file;
    fill_payload();
    ck_ok(vst_safetensors_write(path, every, EVERY, notes, 3));
    ck_assert_int_eq(files_in_folder(), 1);
    ck_ok(vst_safetensors_open(&file, path, NULL));
    ck_assert_str_eq(vst_safetensors_path(file), path);
    ck_assert_uint_eq(vst_safetensors_count(file), EVERY);
    for (int i = 0; i < EVERY; i++) {
        const vst_tensor *found = vst_safetensors_find(file, every[i].name);
        ck_assert_ptr_nonnull(found);
        ck_assert_int_eq(found->dtype, every[i].dtype);
        ck_assert(vst_shape_equal(&found->shape, &every[i].shape));
        if (bytes_of(found)) ck_assert_mem_eq(found->data, every[i].data, bytes_of(found));
        ck_assert_uint_eq((uintptr_t)found->data % vst_dtype_size(found->dtype), 0);
    }
    for (size_t i = 1; i < EVERY; i++) { /* large types first, then by name */
        const vst_tensor *a = vst_safetensors_at(file, i - 1), *b = vst_safetensors_at(file, i);
        const size_t x = vst_dtype_size(a->dtype), y = vst_dtype_size(b->dtype);
        ck_assert(x > y || (x == y && (strcmp(a->name, b->name) < 0 || !bytes_of(a) || !bytes_of(b))));
    }
    for (int i = 0; i < 3; i++) ck_assert_str_eq(vst_safetensors_metadata(file, notes[i].key), notes[i].value);
    ck_assert_uint_eq(strlen(vst_safetensors_metadata(file, "vistill.xxh3")), 20);
    ck_assert_ptr_null(vst_safetensors_metadata(file, "missing"));
    ck_assert_ptr_null(vst_safetensors_find(file, "missing"));
    ck_assert_ptr_null(vst_safetensors_find(file, ""));
    vst_safetensors_close(file);
    vst_safetensors_close(NULL);
}
END_TEST

static void read_image(image *file) {
    const int fd = open(path, O_RDONLY);
    const ssize_t size = read(fd, file->bytes, sizeof file->bytes);
    close(fd);
    ck_assert_int_gt(size, 8);
    file->size = (size_t)size;
}

START_TEST(the_written_bytes) {
    image file;
    const vst_tensor tensors[] = {{"b", VST_U8, {1, {1}}, "x"}, {"a", VST_F32, {1, {1}}, "1234"}};
    ck_ok(vst_safetensors_write(path, tensors, 2, NULL, 0));
    read_image(&file);
    const char *expected =
        "{\"__metadata__\":{\"vistill.xxh3\":\"all:0000000000000000\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]}}";
    const size_t padded = (strlen(expected) + 7) / 8 * 8;
    ck_assert_uint_eq(file.bytes[0], padded);
    ck_assert_uint_eq(file.size, 8 + padded + 5);
    char digits[17] = "", sum[17];
    unsigned char *at = file.bytes + 8 + strlen("{\"__metadata__\":{\"vistill.xxh3\":\"all:");
    memcpy(digits, at, 16);
    memset(at, '0', 16);
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)XXH3_64bits(file.bytes, file.size));
    ck_assert_str_eq(digits, sum);
    ck_assert_msg(memcmp(file.bytes + 8, expected, strlen(expected)) == 0, "%.*s", (int)padded, file.bytes + 8);
    for (size_t i = strlen(expected); i < padded; i++) ck_assert_uint_eq(file.bytes[8 + i], ' ');
    ck_assert_mem_eq(file.bytes + 8 + padded, "1234x", 5);
}
END_TEST

static void write_image(const unsigned char *bytes, size_t size) {
    FILE *stream = fopen(path, "wb");
    ck_assert_ptr_nonnull(stream);
    ck_assert_uint_eq(fwrite(bytes, 1, size, stream), size);
    ck_assert_int_eq(fclose(stream), 0);
}

/* The checksum covers every byte: no bit may change, in names, shapes, metadata or the checksum's own key. */
START_TEST(every_bit_counts) {
    image file;
    vst_safetensors *opened;
    const vst_tensor tensors[] = {{"a", VST_F32, {2, {1, 2}}, "12345678"}, {"b", VST_U8, {1, {1}}, "x"}};
    const vst_metadata pairs[] = {{"vistill.format", "1"}, {"training", "7 epochs"}};
    ck_ok(vst_safetensors_write(path, tensors, 2, pairs, 2));
    read_image(&file);
    for (size_t i = 0; i < 8 * file.size; i++) {
        file.bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        write_image(file.bytes, file.size);
        ck_assert_msg(vst_safetensors_open(&opened, path, NULL) != VST_OK, "bit %zu of byte %zu may change", i % 8,
                      i / 8);
        file.bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    write_image(file.bytes, file.size);
    ck_ok(vst_safetensors_open(&opened, path, NULL));
    vst_safetensors_close(opened);
}
END_TEST

static vst_status open_text(const char *header, const char *data) {
    image file = {.size = 8 + strlen(header) + strlen(data)};
    vst_safetensors *opened;
    file.bytes[0] = (unsigned char)strlen(header);
    memcpy(file.bytes + 8, header, strlen(header));
    memcpy(file.bytes + 8 + strlen(header), data, strlen(data));
    write_image(file.bytes, file.size);
    const vst_status status = vst_safetensors_open(&opened, path, NULL);
    vst_safetensors_close(opened);
    return status;
}

/* In version 0.1.0 the checksum covers the data only. */
START_TEST(older_checksums) {
    static const char old[] =
        "{\"__metadata__\":{\"vistill.xxh3\":\"7027ed7259130b7a\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[4,5]}}";
    ck_ok(open_text(old, "1234x"));
    ck_assert_int_eq(open_text(old, "1235x"), VST_ERROR_FORMAT);
    ck_ok(open_text("{\"__metadata__\":{\"format\":\"pt\"}}", "")); /* written by another program */
    ck_assert_int_eq(open_text("{\"__metadata__\":{\"vistill.format\":\"1\"}}", ""), VST_ERROR_FORMAT);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "lacks vistill.xxh3"));
}
END_TEST

START_TEST(an_empty_file) {
    vst_safetensors *file;
    ck_ok(vst_safetensors_write(path, NULL, 0, NULL, 0));
    ck_ok(vst_safetensors_open(&file, path, NULL));
    ck_assert_uint_eq(vst_safetensors_count(file), 0);
    vst_safetensors_close(file);
}
END_TEST

START_TEST(damaged_data) {
    image file;
    fill_payload();
    ck_ok(vst_safetensors_write(path, every, EVERY, NULL, 0));
    read_image(&file);
    ck_ok(parse(file.bytes, file.size, NULL));
    for (size_t i = 8 + file.bytes[0] + 256u * file.bytes[1]; i < file.size; i++) {
        file.bytes[i] ^= 0x10;
        ck_fails(parse(file.bytes, file.size, NULL), VST_ERROR_FORMAT, "the file is damaged");
        file.bytes[i] ^= 0x10;
    }
}
END_TEST

/* ---- Refusals of the writer, and what stays behind ---- */

START_TEST(writer_refuses) {
    char long_name[1100];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    const struct {
        vst_tensor tensor;
        vst_status status;
        const char *message;
    } bad[] = {
        {{NULL, VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "without a name"},
        {{"", VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "empty name"},
        {{"a\nb", VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "control character"},
        {{"\xff", VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "not valid UTF-8"},
        {{long_name, VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "has 1099 bytes"},
        {{"__metadata__", VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "cannot be named __metadata__"},
        {{"first", VST_U8, {1, {1}}, "x"}, VST_ERROR_ARGUMENT, "\"first\" appears twice"},
        {{"a", VST_U8, {1, {1}}, NULL}, VST_ERROR_ARGUMENT, "\"a\" has no data"},
        {{"a", VST_U8, {1, {-1}}, "x"}, VST_ERROR_SHAPE, "(-1) is not possible"},
        {{"a", VST_F64, {1, {INT64_MAX / 2}}, "x"}, VST_ERROR_SHAPE, "is not possible"},
        {{"a", VST_U8, {7, {0}}, "x"}, VST_ERROR_SHAPE, "(rank 7)"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const vst_tensor pair[] = {{"first", VST_U8, {1, {1}}, "x"}, bad[i].tensor};
        ck_fails(vst_safetensors_write(path, pair, 2, NULL, 0), bad[i].status, bad[i].message);
    }
    const vst_tensor large[] = {{"a", VST_U8, {1, {INT64_MAX}}, "x"}, {"b", VST_U8, {1, {1}}, "x"}};
    ck_fails(vst_safetensors_write(path, large, 2, NULL, 0), VST_ERROR_LIMIT, "more bytes than a file can hold");
    const vst_metadata twice[] = {{"k", "1"}, {"k", "2"}}, sum[] = {{"vistill.xxh3", "0"}}, null[] = {{"k", NULL}},
                       broken[] = {{"k", "\xff"}};
    ck_fails(vst_safetensors_write(path, NULL, 0, twice, 2), VST_ERROR_ARGUMENT, "\"k\" appears twice");
    ck_fails(vst_safetensors_write(path, NULL, 0, sum, 1), VST_ERROR_ARGUMENT, "appears twice");
    ck_fails(vst_safetensors_write(path, NULL, 0, null, 1), VST_ERROR_ARGUMENT, "without key or value");
    ck_fails(vst_safetensors_write(path, NULL, 0, broken, 1), VST_ERROR_ARGUMENT, "not valid UTF-8");
    ck_assert_int_eq(files_in_folder(), 0);
}
END_TEST

START_TEST(a_failing_disk_keeps_the_old_file) {
    static float data[5000];
    image before, after;
    const vst_tensor old = {"old", VST_U8, {1, {3}}, "abc"}, new = {"new", VST_F32, {1, {5000}}, data};
    ck_ok(vst_safetensors_write(path, &old, 1, NULL, 0));
    read_image(&before);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room < 24000; room += 4000) {
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){room, RLIM_INFINITY}), 0);
        const vst_status status = vst_safetensors_write(path, &new, 1, NULL, 0);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}), 0);
        if (room <= 20000) {
            ck_fails(status, VST_ERROR_IO, "writing failed: File too large");
            read_image(&after);
            ck_assert_uint_eq(before.size, after.size);
            ck_assert_mem_eq(before.bytes, after.bytes, after.size);
        }
        ck_assert_int_eq(files_in_folder(), 1);
    }
    ck_ok(vst_safetensors_write(path, &new, 1, NULL, 0));
    read_image(&after);
    ck_assert_uint_gt(after.size, 20000);
}
END_TEST

START_TEST(impossible_paths) {
    char other[400];
    vst_safetensors *file = (vst_safetensors *)folder;
    ck_fails(vst_safetensors_open(&file, path, NULL), VST_ERROR_NOT_FOUND, path);
    ck_assert_ptr_null(file);
    ck_fails(vst_safetensors_open(&file, folder, NULL), VST_ERROR_FORMAT, "not a regular file");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_fails(vst_safetensors_open(&file, path, NULL), VST_ERROR_FORMAT, "not a regular file");
    unlink(path);
    snprintf(other, sizeof other, "%s/no/m", folder);
    ck_fails(vst_safetensors_write(other, NULL, 0, NULL, 0), VST_ERROR_IO, "/no/: the folder cannot be opened");
    ck_assert_int_eq(mkdir(path, 0700), 0); /* cannot be replaced by a file */
    ck_fails(vst_safetensors_write(path, NULL, 0, NULL, 0), VST_ERROR_IO, "cannot be replaced");
    ck_assert_int_eq(files_in_folder(), 1);
    rmdir(path);
    ck_assert_int_eq(chdir(folder), 0); /* a name without a folder */
    ck_ok(vst_safetensors_write("m.safetensors", NULL, 0, NULL, 0));
    ck_ok(vst_safetensors_open(&file, path, NULL));
    vst_safetensors_close(file);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* ---- Truncation and mutation ---- */

START_TEST(truncation_at_every_byte) {
    image file;
    vst_safetensors *opened;
    fill_payload();
    ck_ok(vst_safetensors_write(path, every, EVERY, notes, 3));
    read_image(&file);
    for (size_t size = 0; size < file.size; size++) {
        ck_assert_int_eq(parse(file.bytes, size, NULL), VST_ERROR_FORMAT);
        ck_assert_int_eq(truncate(path, (off_t)(file.size - 1 - size)), 0);
        ck_assert_int_eq(vst_safetensors_open(&opened, path, NULL), VST_ERROR_FORMAT);
        ck_assert_ptr_null(opened);
    }
    ck_ok(parse(file.bytes, file.size, NULL));
}
END_TEST

/* Whatever is accepted must be consistent: every byte that a tensor claims can be read. */
static void use(const vst_safetensors *file) {
    static float out[IMAGE_MAX];
    size_t total = 0;
    for (size_t i = 0; i < vst_safetensors_count(file); i++) {
        const vst_tensor *tensor = vst_safetensors_at(file, i);
        ck_assert_ptr_eq(vst_safetensors_find(file, tensor->name), tensor);
        const int64_t count = vst_shape_count(&tensor->shape);
        ck_assert(count >= 0 && count <= IMAGE_MAX);
        vst_to_float(out, tensor->data, tensor->dtype, (size_t)count);
        total += bytes_of(tensor);
    }
    ck_assert_uint_le(total, IMAGE_MAX);
}

static void mutate(image *file, vst_random *random) {
    static const char *const words[] = {"0",
                                        "1",
                                        "-1",
                                        "9223372036854775807",
                                        "18446744073709551615",
                                        "1e3",
                                        "0.5",
                                        "[]",
                                        "{}",
                                        "[[[",
                                        "\"\"",
                                        "null",
                                        ",",
                                        "\"F64\"",
                                        "\"BOOL\"",
                                        "\"__metadata__\"",
                                        "\\u0000",
                                        "\xff",
                                        "\n",
                                        ":"};
    const size_t at = vst_random_below(random, (uint32_t)file->size);
    const char *word = words[vst_random_below(random, sizeof words / sizeof *words)];
    const size_t length = strlen(word), left = file->size - at;
    switch (vst_random_below(random, 7)) {
    case 0: file->bytes[at] ^= (unsigned char)(1u << vst_random_below(random, 8)); break;
    case 1: file->bytes[at] = (unsigned char)vst_random_u32(random); break;
    case 2: file->bytes[vst_random_below(random, 2)] += (unsigned char)(vst_random_below(random, 17) - 8); break;
    case 3: file->bytes[at] = (unsigned char)('0' + vst_random_below(random, 10)); break;
    case 4: file->size = at + 1; break;
    case 5: /* a word in between, the header grows */
        if (file->size + length > IMAGE_MAX) break;
        memmove(file->bytes + at + length, file->bytes + at, left);
        memcpy(file->bytes + at, word, length);
        file->size += length;
        if (at >= 8) file->bytes[0] += (unsigned char)length;
        break;
    case 6: memcpy(file->bytes + at, word, length < left ? length : left); break; /* a word over what was there */
    }
}

START_TEST(mutations) {
    enum { COUNT = 20000, SEEDS = sizeof accepted / sizeof *accepted + 1 };
    static image seeds[SEEDS], file;
    size_t fine = 0;
    fill_payload();
    ck_ok(vst_safetensors_write(path, every, EVERY, notes, 3));
    read_image(&seeds[0]);
    for (size_t i = 1; i < SEEDS; i++)
        compose(&seeds[i], accepted[i - 1].header, strlen(accepted[i - 1].header), accepted[i - 1].data);
    for (uint64_t i = 0; i < COUNT; i++) {
        vst_random random = vst_random_stream(1, vst_random_id("mutation"), 0, i);
        file = seeds[i % SEEDS];
        for (uint32_t n = 1 + vst_random_below(&random, 4); n > 0; n--) mutate(&file, &random);
        vst_safetensors *opened;
        void *copy = malloc(file.size);
        memcpy(copy, file.bytes, file.size);
        const vst_status status = vst_safetensors_parse(&opened, "mutation", copy, file.size, NULL);
        free(copy);
        ck_assert(status == VST_OK || status == VST_ERROR_FORMAT || status == VST_ERROR_LIMIT ||
                  status == VST_ERROR_UNSUPPORTED);
        if (status != VST_OK) continue;
        fine++;
        use(opened);
        vst_safetensors_close(opened);
    }
    ck_assert_uint_gt(fine, COUNT / 100); /* some must get through, or this tests only the first check */
    ck_assert_uint_lt(fine, COUNT / 2);
}
END_TEST

/* ---- Failing memory ---- */

START_TEST(failing_memory_when_writing) {
    image before, after;
    const vst_tensor old = {"old", VST_U8, {1, {3}}, "abc"};
    fill_payload();
    ck_ok(vst_safetensors_write(path, &old, 1, NULL, 0));
    read_image(&before);
    for (uint64_t n = 1;; n++) {
        vst_memory_fail_at(n);
        const vst_status status = vst_safetensors_write(path, every, EVERY, notes, 3);
        vst_memory_fail_at(0);
        ck_assert_int_eq(files_in_folder(), 1);
        read_image(&after);
        if (status == VST_OK) {
            ck_assert_uint_gt(n, 100); /* jansson's are counted too */
            ck_ok(parse(after.bytes, after.size, NULL));
            return;
        }
        ck_assert_int_eq(status, VST_ERROR_MEMORY);
        ck_assert_uint_eq(before.size, after.size);
        ck_assert_mem_eq(before.bytes, after.bytes, after.size);
    }
}
END_TEST

START_TEST(failing_memory_when_reading) {
    image file;
    fill_payload();
    ck_ok(vst_safetensors_write(path, every, EVERY, notes, 3));
    read_image(&file);
    for (int from_file = 0; from_file < 2; from_file++) {
        for (uint64_t n = 1;; n++) {
            vst_safetensors *opened = (vst_safetensors *)&file;
            vst_memory_fail_at(n);
            const vst_status status = from_file ? vst_safetensors_open(&opened, path, NULL)
                                                : vst_safetensors_parse(&opened, "m", file.bytes, file.size, NULL);
            vst_memory_fail_at(0);
            if (status == VST_OK) {
                ck_assert_uint_gt(n, 100);
                ck_assert_uint_eq(vst_safetensors_count(opened), EVERY);
                vst_safetensors_close(opened);
                break;
            }
            ck_assert_int_eq(status, VST_ERROR_MEMORY);
            ck_assert_ptr_null(opened);
        }
    }
}
END_TEST

/* ---- The reference implementation ---- */

/* Runs Python with the path as argument; true if it ended well. */
static bool python(const char *script) {
    char command[2000];
    ck_assert_int_lt(snprintf(command, sizeof command, "python3 -c '%s' %s", script, path), (int)sizeof command);
    return system(command) == 0;
}

START_TEST(python_reads_ours_and_we_read_its) {
    vst_safetensors *file;
    if (!python("import importlib.util as u, sys\n"
                "sys.exit(not (u.find_spec(\"safetensors\") and u.find_spec(\"numpy\")))")) {
        puts("skipped: python3 has no safetensors or numpy package to compare with");
        return;
    }
    const float f32[6] = {0, -1.5f, 3e38f, 4, 5, 6};
    const int64_t i64 = -1234567890123;
    const vst_tensor tensors[] = {{"w", VST_F32, {2, {2, 3}}, (void *)f32},
                                  {"count", VST_I64, {0, {0}}, (void *)&i64},
                                  {"b", VST_U8, {1, {3}}, "abc"},
                                  {"none", VST_F16, {2, {0, 4}}, NULL}};
    ck_ok(vst_safetensors_write(path, tensors, 4, notes, 3));
    ck_assert(
        python("import sys, numpy as n\n"
               "from safetensors import safe_open\n"
               "from safetensors.numpy import save_file\n"
               "f = safe_open(sys.argv[1], \"np\")\n"
               "t = {k: f.get_tensor(k) for k in f.keys()}\n"
               "m = f.metadata()\n"
               "assert m[\"arch\"] == \"vit\" and m[\"none\"] == \"\" and len(m[\"vistill.xxh3\"]) == 20\n"
               "w = n.array([[0, -1.5, 3e38], [4, 5, 6]], n.float32)\n"
               "assert sorted(t) == [\"b\", \"count\", \"none\", \"w\"]\n"
               "assert t[\"w\"].dtype == n.float32 and (t[\"w\"] == w).all() and t[\"w\"].shape == (2, 3)\n"
               "assert t[\"count\"].shape == () and t[\"count\"] == -1234567890123\n"
               "assert bytes(t[\"b\"]) == b\"abc\" and t[\"none\"].shape == (0, 4)\n"
               "t[\"w\"] = t[\"w\"] * 0 + 7\n"
               "save_file(t, sys.argv[1], {\"by\": \"python\"})\n"));
    ck_ok(vst_safetensors_open(&file, path, NULL));
    ck_assert_uint_eq(vst_safetensors_count(file), 4);
    ck_assert_str_eq(vst_safetensors_metadata(file, "by"), "python");
    for (int i = 0; i < 6; i++) ck_assert(((const float *)vst_safetensors_find(file, "w")->data)[i] == 7);
    ck_assert_mem_eq(vst_safetensors_find(file, "count")->data, &i64, sizeof i64);
    vst_safetensors_close(file);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {good_headers,
                                  bad_headers,
                                  bad_lengths,
                                  limits_hold,
                                  default_limits_hold,
                                  data_at_odd_addresses,
                                  round_trip,
                                  the_written_bytes,
                                  every_bit_counts,
                                  older_checksums,
                                  an_empty_file,
                                  damaged_data,
                                  writer_refuses,
                                  a_failing_disk_keeps_the_old_file,
                                  impossible_paths,
                                  truncation_at_every_byte,
                                  mutations,
                                  failing_memory_when_writing,
                                  failing_memory_when_reading,
                                  python_reads_ours_and_we_read_its};
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, begin, end);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(all, tests[i]);
    return run_suite("safetensors", all);
}
