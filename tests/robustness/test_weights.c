/* vision/tensor/weights.c, pytorch.c, pickle.c: files that PyTorch wrote, files made by hand for each rule, hostile
 * pickles, truncation, mutation, failing memory. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/tensor/pickle.h"
#include "vision/tensor/pytorch.h"
#include "vision/tensor/safetensors.h"
#include "vision/tensor/weights.h"

/* ---- A folder for each test, with nothing in it afterwards but what the test knows ---- */

static char folder[256], path[300];

static void begin(void) {
    make_folder(folder, "weights");
    snprintf(path, sizeof path, "%s/model.pth", folder);
}

static void end(void) {
    unlink(path);
    ck_assert_msg(rmdir(folder) == 0, "%s is not empty", folder);
}

/* ---- Bytes ---- */

enum { ROOM = 1 << 16 };
typedef struct buffer {
    unsigned char bytes[ROOM];
    size_t size;
} buffer;

static void put(buffer *to, const void *bytes, size_t size) {
    ck_assert_uint_le(to->size + size, ROOM);
    if (size) memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}
#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static void put_number(buffer *to, uint64_t number, int width) {
    unsigned char bytes[8];
    for (int i = 0; i < width; i++) bytes[i] = (unsigned char)(number >> (8 * i));
    put(to, bytes, (size_t)width);
}

static void write_file(const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

/* ---- Archives made by hand ---- */

typedef struct member {
    const char *name;
    const void *data;
    size_t size;
    int method, flags; /* 8: deflated; 1: encrypted */
    uint32_t damage;   /* of the checksum */
    size_t more;       /* bytes that it claims to have when unpacked */
    int same_as;       /* 1 + the member whose place it claims */
} member;

static void put_header(buffer *to, const member *m, int central, size_t offset) {
    put_number(to, central ? 0x02014b50 : 0x04034b50, 4);
    if (central) put_number(to, 20, 2);
    put_number(to, 20, 2);
    put_number(to, (uint64_t)m->flags, 2);
    put_number(to, (uint64_t)m->method, 2);
    put_number(to, 0x00210000, 4); /* 1 January 1980 */
    put_number(to, (uint32_t)crc32(0, m->data, (uInt)m->size) ^ m->damage, 4);
    put_number(to, m->size, 4);
    put_number(to, m->size + m->more, 4);
    put_number(to, strlen(m->name), 2);
    put_number(to, 0, 2);
    if (central) {
        put_number(to, 0, 6); /* comment, disk, attributes */
        put_number(to, 0, 4);
        put_number(to, offset, 4);
    }
    put(to, m->name, strlen(m->name));
}

static void make_zip(buffer *to, const member *members, size_t count) {
    size_t offsets[32];
    ck_assert_uint_le(count, 32);
    to->size = 0;
    for (size_t i = 0; i < count; i++) {
        offsets[i] = members[i].same_as ? offsets[members[i].same_as - 1] : to->size;
        if (members[i].same_as) continue;
        put_header(to, &members[i], 0, 0);
        put(to, members[i].data, members[i].size);
    }
    const size_t directory = to->size;
    for (size_t i = 0; i < count; i++) put_header(to, &members[i], 1, offsets[i]);
    const size_t end = to->size;
    PUT(to, "PK\5\6\0\0\0\0");
    put_number(to, count, 2);
    put_number(to, count, 2);
    put_number(to, end - directory, 4);
    put_number(to, directory, 4);
    put_number(to, 0, 2);
}

static unsigned char payload[256];

static void fill_payload(void) {
    for (size_t i = 0; i < sizeof payload; i++) payload[i] = (unsigned char)(i * 37 + 11);
}

/* An archive of a pickle and one storage of 48 bytes, "0". */
static void make_archive(buffer *to, const void *pickle, size_t size) {
    fill_payload();
    const member members[] = {{.name = "m/data.pkl", .data = pickle, .size = size},
                              {.name = "m/byteorder", .data = "little", .size = 6},
                              {.name = "m/data/0", .data = payload, .size = 48}};
    make_zip(to, members, 3);
}

/* ---- Pickles made by hand ---- */

static void put_text(buffer *to, const char *text) {
    PUT(to, "X");
    put_number(to, strlen(text), 4);
    put(to, text, strlen(text));
}

static void put_integer(buffer *to, int64_t number) {
    PUT(to, "\212\10");
    put_number(to, (uint64_t)number, 8);
}

static void put_tuple(buffer *to, const int64_t *numbers, int count) {
    PUT(to, "(");
    for (int i = 0; i < count; i++) put_integer(to, numbers[i]);
    PUT(to, "t");
}

typedef struct spec {
    const char *type, *key;
    int64_t count, offset;
    int rank;
    int64_t size[7], stride[7];
} spec;

static void put_tensor(buffer *to, const spec *t, bool legacy) {
    PUT(to, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(to, "storage");
    PUT(to, "ctorch\n");
    put(to, t->type, strlen(t->type));
    PUT(to, "Storage\n");
    put_text(to, t->key);
    put_text(to, "cpu");
    put_integer(to, t->count);
    if (legacy) PUT(to, "N");
    PUT(to, "tQ");
    put_integer(to, t->offset);
    put_tuple(to, t->size, t->rank);
    put_tuple(to, t->stride, t->rank);
    PUT(to, "\211ccollections\nOrderedDict\n)RtR");
}

static void begin_dict(buffer *to) {
    to->size = 0;
    PUT(to, "\200\2}(");
}

static void end_dict(buffer *to) { PUT(to, "u."); }

static const spec plain = {"Float", "0", 12, 0, 2, {3, 4}, {4, 1}};

/* {"w": tensor} with a storage "0" of 48 bytes. */
static void make_one(buffer *to, const spec *t) {
    static buffer pickle;
    begin_dict(&pickle);
    put_text(&pickle, "w");
    put_tensor(&pickle, t, false);
    end_dict(&pickle);
    make_archive(to, pickle.bytes, pickle.size);
}

#define MAGIC "\200\2\212\12l\374\234F\371 j\250P\31."
#define PROTOCOL "\200\2M\351\3."
#define SYSTEM "\200\2}X\15\0\0\0little_endian\210s."

/* The older form of {"w": plain} and {"v": a second storage}. */
static void make_legacy(buffer *to) {
    static const spec second = {"Half", "1", 5, 1, 1, {2}, {2}};
    fill_payload();
    to->size = 0;
    PUT(to, MAGIC PROTOCOL SYSTEM "\200\2}(");
    put_text(to, "w");
    put_tensor(to, &plain, true);
    put_text(to, "v");
    put_tensor(to, &second, true);
    PUT(to, "u.\200\2](");
    put_text(to, "0");
    put_text(to, "1");
    PUT(to, "e.");
    put_number(to, 12, 8);
    put(to, payload, 48);
    put_number(to, 5, 8);
    put(to, payload + 100, 10);
}

/* ---- Reading ---- */

/* Every promise of the header; every byte that a tensor claims can be read. */
static void use(const vst_weights *weights) {
    for (size_t i = 0; i < vst_weights_count(weights); i++) {
        const vst_tensor *tensor = vst_weights_at(weights, i);
        const int64_t count = vst_shape_count(&tensor->shape);
        ck_assert(tensor->name && *tensor->name && count >= 0);
        ck_assert_ptr_eq(vst_weights_find(weights, tensor->name), tensor);
        ck_assert_ptr_nonnull(tensor->data);
        float *out = malloc((size_t)count * sizeof *out + 1);
        vst_to_float(out, tensor->data, tensor->dtype, (size_t)count);
        free(out);
    }
    for (size_t i = 0; i < vst_weights_skipped_count(weights); i++)
        ck_assert_str_ne(vst_weights_skipped_at(weights, i), "");
}

/* Opens a copy of exactly that size, so that the sanitizers see every byte read too many. */
static vst_status open_bytes(vst_weights **out, const void *bytes, size_t size, const char *entry) {
    void *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, bytes, size);
    *out = (vst_weights *)path;
    const vst_status status = vst_weights_parse(out, "case", copy, size, entry);
    free(copy);
    ck_assert(status == VST_OK ? *out != NULL : *out == NULL);
    if (status != VST_OK) ck_assert_msg(strncmp(vst_error_message(), "case: ", 6) == 0, "%s", vst_error_message());
    else use(*out);
    return status;
}

static vst_status parse(const buffer *file, const char *entry) {
    vst_weights *weights;
    const vst_status status = open_bytes(&weights, file->bytes, file->size, entry);
    vst_weights_close(weights);
    return status;
}

static vst_status parse_pickle(const void *pickle, size_t size) {
    static buffer file;
    make_archive(&file, pickle, size);
    return parse(&file, NULL);
}

static size_t bytes_of(const vst_tensor *tensor) {
    return (size_t)vst_shape_count(&tensor->shape) * vst_dtype_size(tensor->dtype);
}

/* ---- What PyTorch wrote ---- */

static const struct {
    const char *file, *entry, *taken, *expected, *skipped; /* skipped: names, each followed by a space */
} checkpoints[] = {
    {"types", NULL, NULL, "types", ""},
    {"types_legacy", NULL, NULL, "types", ""},
    {"types_protocol4", NULL, NULL, "types", ""},
    {"types_protocol5_legacy", NULL, NULL, "types", ""},
    {"layouts", NULL, NULL, "layouts", ""},
    {"layouts_legacy", NULL, NULL, "layouts", ""},
    {"training", NULL, "model_ema", "training_ema", "argparse.Namespace pathlib.PurePosixPath __builtin__.set "},
    {"training", "model", "model", "training_model", "argparse.Namespace pathlib.PurePosixPath __builtin__.set "},
    {"training_legacy", NULL, "model_ema", "training_ema", "argparse.Namespace pathlib.PurePosixPath __builtin__.set "},
    {"training_legacy", "model", "model", "training_model",
     "argparse.Namespace pathlib.PurePosixPath __builtin__.set "},
    {"wrapped", "state_dict.module", "state_dict.module", "training_model", ""},
};
static const char *fixture(const char *name, const char *end) {
    static char text[2][600];
    static int turn;
    char *out = text[turn++ % 2];
    snprintf(out, sizeof *text, "%s/tests/robustness/checkpoints/%s%s", VISTILL_SOURCE_DIR, name, end);
    return out;
}

static void same_tensors(const vst_weights *found, const vst_safetensors *expected) {
    ck_assert_uint_eq(vst_weights_count(found), vst_safetensors_count(expected));
    for (size_t i = 0; i < vst_safetensors_count(expected); i++) {
        const vst_tensor *want = vst_safetensors_at(expected, i), *got = vst_weights_find(found, want->name);
        ck_assert_msg(got != NULL, "%s is missing", want->name);
        ck_assert_int_eq(got->dtype, want->dtype);
        ck_assert(vst_shape_equal(&got->shape, &want->shape));
        if (bytes_of(want))
            ck_assert_msg(memcmp(got->data, want->data, bytes_of(want)) == 0, "%s has other values", want->name);
    }
}

START_TEST(files_of_pytorch) {
    for (size_t i = 0; i < sizeof checkpoints / sizeof *checkpoints; i++) {
        vst_weights *weights;
        vst_safetensors *expected;
        char skipped[200] = "";
        const char *name = fixture(checkpoints[i].file, ".pth");
        ck_ok(vst_weights_open(&weights, name, checkpoints[i].entry));
        ck_ok(vst_safetensors_open(&expected, fixture(checkpoints[i].expected, ".expected.safetensors"), NULL));
        use(weights);
        same_tensors(weights, expected);
        ck_assert_str_eq(vst_weights_path(weights), name);
        ck_assert_pstr_eq(vst_weights_entry(weights), checkpoints[i].taken);
        ck_assert_str_eq(vst_weights_format(weights),
                         strstr(checkpoints[i].file, "legacy") ? "PyTorch before 1.6" : "PyTorch");
        for (size_t k = 0; k < vst_weights_skipped_count(weights); k++)
            strcat(strcat(skipped, vst_weights_skipped_at(weights, k)), " ");
        ck_assert_str_eq(skipped, checkpoints[i].skipped);
        ck_assert_ptr_null(vst_weights_metadata(weights, "format"));
        ck_assert_ptr_null(vst_weights_find(weights, "missing"));
        vst_weights_close(weights);
        vst_safetensors_close(expected);
    }
}
END_TEST

START_TEST(whole_modules_of_pytorch) {
    vst_weights *weights;
    for (int legacy = 0; legacy < 2; legacy++)
        ck_fails(vst_weights_open(&weights, fixture("whole_module", legacy ? "_legacy.pth" : ".pth"), NULL),
                 VST_ERROR_UNSUPPORTED,
                 "is an object of the Python class __main__.Scale, not a state dict: in Python, save "
                 "its state_dict()");
}
END_TEST

START_TEST(safetensors_files) {
    vst_weights *weights;
    vst_safetensors *expected;
    const vst_tensor tensors[] = {{"module._orig_mod.b", VST_U8, {1, {3}}, "abc"},
                                  {"module._orig_mod.a", VST_F32, {0, {0}}, "1234"}};
    const vst_metadata note = {"arch", "vit"};
    ck_ok(vst_weights_open(&weights, fixture("types", ".expected.safetensors"), NULL));
    ck_ok(vst_safetensors_open(&expected, fixture("types", ".expected.safetensors"), NULL));
    same_tensors(weights, expected);
    vst_weights_close(weights);
    vst_safetensors_close(expected);
    ck_ok(vst_safetensors_write(path, tensors, 2, &note, 1));
    ck_ok(vst_weights_open(&weights, path, NULL));
    use(weights);
    ck_assert_str_eq(vst_weights_format(weights), "safetensors");
    ck_assert_str_eq(vst_weights_metadata(weights, "arch"), "vit");
    ck_assert_ptr_null(vst_weights_metadata(weights, "missing"));
    ck_assert_ptr_null(vst_weights_entry(weights));
    ck_assert_uint_eq(vst_weights_skipped_count(weights), 0);
    ck_assert_str_eq(vst_weights_at(weights, 0)->name, "module.a");
    ck_assert_mem_eq(vst_weights_find(weights, "module.b")->data, "abc", 3);
    vst_weights_close(weights);
    ck_fails(vst_weights_open(&weights, path, "model"), VST_ERROR_NOT_FOUND, "no tensor's name begins with \"model.\"");
    ck_ok(vst_weights_open(&weights, path, "module"));
    ck_assert_str_eq(vst_weights_at(weights, 0)->name, "a");
    ck_assert_str_eq(vst_weights_entry(weights), "module");
    vst_weights_close(weights);
    ck_assert_int_eq(truncate(path, 100), 0); /* the path stands in the message once, whoever finds the fault */
    ck_fails(vst_weights_open(&weights, path, NULL), VST_ERROR_FORMAT, "cut short");
    ck_assert(strncmp(vst_error_message(), path, strlen(path)) == 0 && !strstr(vst_error_message() + 1, path));
}
END_TEST

/* ---- Formats ---- */

START_TEST(formats_are_recognised) {
    static const struct {
        const char *bytes;
        size_t size;
        vst_status status;
        const char *message;
    } refused[] = {
        {"", 0, VST_ERROR_FORMAT, "it is empty"},
        {"version https://git-lfs.github.com/spec/v1", 42, VST_ERROR_UNSUPPORTED, "git lfs pull"},
        {"<!DOCTYPE html>", 15, VST_ERROR_UNSUPPORTED, "a web page"},
        {"\x1f\x8b\x08\0", 4, VST_ERROR_UNSUPPORTED, "compressed by gzip"},
        {"\x89HDF\r\n\x1a\n", 8, VST_ERROR_UNSUPPORTED, "an HDF5 file"},
        {"PK\5\6", 4, VST_ERROR_UNSUPPORTED, "an empty zip archive"},
        {"PK\3\4", 4, VST_ERROR_FORMAT, "the zip archive cannot be opened"},
        {"(dp0\nS'a'\n", 10, VST_ERROR_UNSUPPORTED, "it is no weights file"},
        {"\200", 1, VST_ERROR_UNSUPPORTED, "with the byte 0x80"},
        {"\200\6.", 3, VST_ERROR_UNSUPPORTED, "it is no weights file"},
        {"\2\0\0\0\0\0\0\0", 8, VST_ERROR_UNSUPPORTED, "with the byte 0x02"},
        {"\2\0\0\0\1\0\0\0{}", 10, VST_ERROR_UNSUPPORTED, "it is no weights file"},
        {"\2\0\0\0\0\0\0\0{]", 10, VST_ERROR_FORMAT, "not valid JSON"},
        {"\200\2\0\0\0\0\0\0{}", 10, VST_ERROR_FORMAT, "the header should have 640 bytes"}, /* and no pickle */
        {"\200\2N.", 4, VST_ERROR_UNSUPPORTED, "a pickle, but not one of torch.save"},
        {"\200\1N.", 4, VST_ERROR_UNSUPPORTED, "pickle protocol 1 is not supported"},
        {"\200\4N.", 4, VST_ERROR_UNSUPPORTED, "a pickle, but not one of torch.save"},
    };
    vst_weights *weights;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        ck_fails(open_bytes(&weights, refused[i].bytes, refused[i].size, NULL), refused[i].status, refused[i].message);
}
END_TEST

START_TEST(impossible_paths) {
    vst_weights *weights = (vst_weights *)path;
    ck_fails(vst_weights_open(&weights, path, NULL), VST_ERROR_NOT_FOUND, path);
    ck_assert_ptr_null(weights);
    ck_fails(vst_weights_open(&weights, folder, NULL), VST_ERROR_FORMAT, "not a regular file");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_fails(vst_weights_open(&weights, path, NULL), VST_ERROR_FORMAT, "not a regular file");
    unlink(path);
    write_file("PK\3\4", 4);
    ck_assert_int_eq(truncate(path, ((off_t)16 << 30) + 1), 0); /* nothing of it takes room on the disk */
    ck_fails(vst_weights_open(&weights, path, NULL), VST_ERROR_LIMIT,
             "17179869185 bytes long; allowed are 17179869184");
    vst_weights_close(NULL);
}
END_TEST

/* A file that is cut, or taken away, between the look at its size and the reading. */
START_TEST(files_that_change) {
    char bytes[8] = "";
    write_file("abcd", 4);
    vsti_source from = {.fd = open(path, O_RDONLY), .size = 8};
    ck_ok(vsti_source_read(&from, 1, bytes, 3));
    ck_assert_mem_eq(bytes, "bcd\0", 4);
    ck_fails(vsti_source_read(&from, 1, bytes, 7), VST_ERROR_FORMAT, "cut off at byte 4");
    close(from.fd);
    ck_fails(vsti_source_read(&from, 2, bytes, 2), VST_ERROR_IO, "reading at byte 2 failed: Bad file descriptor");
}
END_TEST

/* libzip needs a file descriptor of its own. */
START_TEST(too_many_open_files) {
    vst_weights *weights = (vst_weights *)path;
    struct rlimit before, few;
    const char *name = fixture("types", ".pth");
    const int lowest = open("/dev/null", O_RDONLY);
    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t more = 0; more < 2; more++) {
        few = (struct rlimit){(rlim_t)lowest + more, before.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        ck_fails(vst_weights_open(&weights, name, NULL), VST_ERROR_IO, "Too many open files");
        ck_assert_ptr_null(weights);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_ok(vst_weights_open(&weights, name, NULL));
    vst_weights_close(weights);
}
END_TEST

/* ---- Data types and layouts ---- */

static const struct {
    const char *type;
    vst_dtype dtype;
} types[] = {{"Double", VST_F64}, {"Float", VST_F32}, {"Half", VST_F16}, {"BFloat16", VST_BF16}, {"Long", VST_I64},
             {"Int", VST_I32},    {"Short", VST_I16}, {"Char", VST_I8},  {"Byte", VST_U8},       {"Bool", VST_BOOL}};

START_TEST(every_type) {
    static buffer file;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        vst_weights *weights;
        const size_t element = vst_dtype_size(types[i].dtype);
        const int64_t count = (int64_t)(48 / element);
        const spec t = {types[i].type, "0", count, 1, 1, {count - 1}, {1}};
        make_one(&file, &t);
        ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
        const vst_tensor *w = vst_weights_find(weights, "w");
        ck_assert_int_eq(w->dtype, types[i].dtype);
        ck_assert_uint_eq(bytes_of(w), 48 - element);
        ck_assert_mem_eq(w->data, payload + element, 48 - element);
        ck_assert_uint_eq((uintptr_t)w->data % element, 0);
        vst_weights_close(weights);
        const spec all = {types[i].type, "0", count + 1, 0, 1, {count + 1}, {1}};
        make_one(&file, &all); /* the size of an element, from the other side */
        ck_fails(parse(&file, NULL), VST_ERROR_FORMAT, "data/0 has 48 bytes, but the pickle says");
    }
}
END_TEST

static const struct {
    spec tensor;
    const char *elements; /* of a storage that counts 0, 1, 2 … */
} layouts[] = {
    {{"Byte", "0", 48, 0, 2, {2, 3}, {3, 1}}, "\0\1\2\3\4\5"},
    {{"Byte", "0", 48, 7, 2, {2, 3}, {3, 1}}, "\7\10\11\12\13\14"},
    {{"Byte", "0", 48, 0, 2, {3, 2}, {1, 3}}, "\0\3\1\4\2\5"}, /* transposed */
    {{"Byte", "0", 48, 1, 1, {4}, {2}}, "\1\3\5\7"},           /* every second */
    {{"Byte", "0", 48, 5, 2, {2, 3}, {0, 1}}, "\5\6\7\5\6\7"}, /* expanded */
    {{"Byte", "0", 48, 9, 3, {2, 1, 2}, {0, 0, 0}}, "\11\11\11\11"},
    {{"Byte", "0", 48, 2, 3, {1, 2, 1}, {999, 1, 5000000000}}, "\2\3"},  /* such strides move nothing */
    {{"Byte", "0", 48, 0, 3, {2, 2, 2}, {1, 4, 2}}, "\0\2\4\6\1\3\5\7"}, /* permuted */
    {{"Byte", "0", 48, 47, 0, {0}, {0}}, "\57"},                         /* a scalar, the last element */
    {{"Byte", "0", 48, 0, 6, {1, 1, 2, 1, 1, 2}, {9, 9, 3, 9, 9, 1}}, "\0\1\3\4"},
    {{"Byte", "0", 48, 23, 2, {2, 2}, {24, 0}}, "\27\27\57\57"},
    {{"Byte", "0", 48, 99, 2, {0, 5}, {5, 1}}, ""}, /* no elements: they cannot be outside */
};

START_TEST(every_layout) {
    static buffer file;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        vst_weights *weights;
        make_one(&file, &layouts[i].tensor);
        ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
        const vst_tensor *w = vst_weights_at(weights, 0);
        ck_assert_int_eq(w->shape.rank, layouts[i].tensor.rank);
        for (int d = 0; d < w->shape.rank; d++) ck_assert_int_eq(w->shape.dim[d], layouts[i].tensor.size[d]);
        for (size_t k = 0; k < bytes_of(w); k++)
            ck_assert_uint_eq(((unsigned char *)w->data)[k], payload[(unsigned char)layouts[i].elements[k]]);
        vst_weights_close(weights);
    }
}
END_TEST

START_TEST(shared_storages) {
    static const spec whole = {"Byte", "0", 48, 0, 1, {48}, {1}}, part = {"Byte", "0", 48, 8, 2, {2, 4}, {4, 1}},
                      turned = {"Byte", "0", 48, 0, 2, {4, 2}, {1, 4}};
    static buffer pickle, file;
    vst_weights *weights;
    begin_dict(&pickle);
    put_text(&pickle, "turned");
    put_tensor(&pickle, &turned, false);
    put_text(&pickle, "whole");
    put_tensor(&pickle, &whole, false);
    put_text(&pickle, "part");
    put_tensor(&pickle, &part, false);
    put_text(&pickle, "whole again");
    put_tensor(&pickle, &whole, false);
    end_dict(&pickle);
    make_archive(&file, pickle.bytes, pickle.size);
    ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
    const char *data = vst_weights_find(weights, "whole")->data;
    ck_assert_mem_eq(data, payload, 48);
    ck_assert_ptr_eq(vst_weights_find(weights, "whole again")->data, data); /* read once */
    ck_assert_ptr_eq(vst_weights_find(weights, "part")->data, data + 8);
    ck_assert_ptr_ne(vst_weights_find(weights, "turned")->data, data);
    ck_assert_str_eq(vst_weights_at(weights, 0)->name, "turned"); /* the file's order */
    ck_assert_str_eq(vst_weights_at(weights, 3)->name, "whole again");
    vst_weights_close(weights);
}
END_TEST

START_TEST(expanded_tensors_are_limited) {
    static buffer file;
    const spec fits = {"Byte", "0", 48, 0, 2, {1 << 20, 64}, {0, 0}};
    make_one(&file, &fits);
    ck_ok(parse(&file, NULL));
    spec large = fits;
    large.size[1] = 65;
    make_one(&file, &large);
    ck_fails(parse(&file, NULL), VST_ERROR_LIMIT,
             "tensor \"w\": with it, the tensors that are expanded or not dense have");
    const spec enormous = {"Byte", "0", 48, 0, 2, {1 << 30, 1 << 30}, {0, 0}};
    make_one(&file, &enormous);
    ck_fails(parse(&file, NULL), VST_ERROR_LIMIT, "save them after .contiguous()");
}
END_TEST

/* ---- Rules of tensors and storages ---- */

static const struct {
    spec tensor;
    vst_status status;
    const char *message;
} bad_tensors[] = {
    {{"Float", "0", 12, -1, 1, {1}, {1}}, VST_ERROR_FORMAT, "its offset must be an integer of 0 or more"},
    {{"Float", "0", 12, 0, 1, {-1}, {1}}, VST_ERROR_FORMAT, "size must hold integers of 0 or more"},
    {{"Float", "0", 12, 0, 1, {1}, {-1}}, VST_ERROR_FORMAT, "stride must hold integers of 0 or more"},
    {{"Float", "0", 12, 0, 7, {1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1}},
     VST_ERROR_LIMIT,
     "size has 7 dimensions; allowed are 6"},
    {{"Float", "0", 12, 0, 1, {13}, {1}},
     VST_ERROR_FORMAT,
     "(13) with offset 0 and its strides reaches beyond the 12 elements of storage 0"},
    {{"Float", "0", 12, 1, 1, {12}, {1}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, 12, 0, {0}, {0}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, 0, 2, {3, 4}, {5, 1}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, 0, 1, {2}, {INT64_MAX}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, 0, 1, {3}, {INT64_MAX}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, INT64_MAX, 2, {2, 2}, {INT64_MAX, 1}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, 2, 2, {2, 2}, {INT64_MAX, INT64_MAX}}, VST_ERROR_FORMAT, "reaches beyond"},
    {{"Float", "0", 12, 0, 2, {INT64_MAX, 3}, {0, 0}}, VST_ERROR_FORMAT, "is too large"},
    {{"Double", "0", 6, 0, 1, {INT64_MAX / 2}, {0}}, VST_ERROR_FORMAT, "is too large"},
    {{"Float", "0", 13, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "data/0 has 48 bytes, but the pickle says 52"},
    {{"Float", "0", -1, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "storage 0 cannot have -1 elements"},
    {{"Double", "0", INT64_MAX / 2, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "storage 0 cannot have"},
    {{"Float", "1", 12, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "the zip archive has no member m/data/1"},
    {{"Float", "", 12, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "a string of 1 to 20 digits"},
    {{"Float", "000000000000000000000", 12, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "a string of 1 to 20 digits"},
    {{"Float", "../0", 12, 0, 1, {1}, {1}},
     VST_ERROR_FORMAT,
     "the key of a storage has the byte 0x2e; it may have digits"},
    {{"Float", "0a", 12, 0, 1, {1}, {1}}, VST_ERROR_FORMAT, "the key of a storage has the byte 0x61"},
    {{"ComplexFloat", "0", 6, 0, 1, {1}, {1}},
     VST_ERROR_UNSUPPORTED,
     "a torch.ComplexFloatStorage is not supported; known are"},
};

START_TEST(bad_tensor_specs) {
    static buffer file;
    for (size_t i = 0; i < sizeof bad_tensors / sizeof *bad_tensors; i++) {
        make_one(&file, &bad_tensors[i].tensor);
        const vst_status status = parse(&file, NULL);
        ck_assert_msg(status == bad_tensors[i].status && strstr(vst_error_message(), bad_tensors[i].message),
                      "%zu: %s: %s", i, vst_status_name(status), vst_error_message());
    }
}
END_TEST

#define W "\200\2}X\1\0\0\0w" /* {"w": … */
#define ID                                           \
    "X\7\0\0\0storagectorch\nByteStorage\nX\1\0\0\0" \
    "0X\3\0\0\0cpuK\60"
#define STORAGE "(" ID "tQ"
#define V2 "ctorch._utils\n_rebuild_tensor_v2\n"
#define ARGUMENTS "(" STORAGE "K\0K\2\205K\1\205\211Nt"
#define TENSOR V2 ARGUMENTS "R"
#define B(literal) (literal), sizeof(literal) - 1

typedef struct pickle_case {
    const char *bytes;
    size_t size;
    vst_status status;
    const char *message;
} pickle_case;

static void run_cases(const pickle_case *cases, size_t count, vst_status (*run)(const void *, size_t)) {
    for (size_t i = 0; i < count; i++) {
        const vst_status status = run(cases[i].bytes, cases[i].size);
        ck_assert_msg(status == cases[i].status && (status == VST_OK || strstr(vst_error_message(), cases[i].message)),
                      "case %zu: %s: %s", i, vst_status_name(status), vst_error_message());
    }
}

static const pickle_case rebuilds[] = {
    {B(W TENSOR "s."), VST_OK, NULL},
    {B(W "ctorch._utils\n_rebuild_tensor\n(" STORAGE "K\0K\2\205K\1\205tRs."), VST_OK, NULL},
    {B(W "ctorch._utils\n_rebuild_parameter\n" TENSOR "\210N\207Rs."), VST_OK, NULL},
    {B(W "ctorch._utils\n_rebuild_parameter_with_state\n(" TENSOR "\210N}tRs."), VST_OK, NULL},
    {B(W "ctorch._tensor\n_rebuild_from_type_v2\n(" V2 "ctorch\nTensor\n" ARGUMENTS "}tRs."), VST_OK, NULL},
    {B(W "ctorch._utils\n_rebuild_parameter\nctorch._tensor\n_rebuild_from_type_v2\n(" V2 "ctorch\nTensor\n" ARGUMENTS
         "}tR\210N\207Rs."),
     VST_OK, NULL},
    {B(W V2 "(" STORAGE "K\0K\2\205K\1\205\211N}tRs."), VST_OK, NULL}, /* empty metadata */
    {B(W V2 "(" STORAGE "K\0))\211NtRs."), VST_OK, NULL},
    {B(W V2 "(" STORAGE "K\0K\2\205K\1\205\211N}X\3\0\0\0neg\210stRs."), VST_ERROR_UNSUPPORTED,
     "negated or conjugated view"},
    {B(W V2 "(" STORAGE "K\0K\2\205tRs."), VST_ERROR_FORMAT,
     "tensor \"w\": it is not made from a storage, offset, size"},
    {B(W V2 "(NK\0K\2\205K\1\205tRs."), VST_ERROR_FORMAT, "it is not made from a storage"},
    {B(W V2 "(X\6\0\0\0modulecos\nsystem\nNN"
            "\207"
            "\206QK\0K\2\205K\1\205tRs."),
     VST_ERROR_FORMAT, "not made from a storage"},
    {B(W V2 "(" STORAGE "NK\2\205K\1\205\211NtRs."), VST_ERROR_FORMAT, "its offset must be an integer"},
    {B(W V2 "(" STORAGE "K\0](K\2eK\1\205\211NtRs."), VST_ERROR_FORMAT, "size is no tuple"},
    {B(W V2 "(" STORAGE "K\0K\2\205K\1\211NtRs."), VST_ERROR_FORMAT, "stride is no tuple"},
    {B(W V2 "(" STORAGE "K\0K\2\205)\211NtRs."), VST_ERROR_FORMAT, "it has 1 sizes, but 0 strides"},
    {B(W V2 "(" STORAGE "K\0G@\0\0\0\0\0\0\0\205K\1\205\211NtRs."), VST_ERROR_FORMAT, "size must hold integers"},
    {B(W V2 "(" STORAGE "K\0\212\11\0\0\0\0\0\0\0\0\1\205K\1\205\211NtRs."), VST_ERROR_FORMAT,
     "size must hold integers"},
    {B(W "ctorch._utils\n_rebuild_sparse_tensor\n(" STORAGE "tRs."), VST_ERROR_UNSUPPORTED,
     "tensor \"w\": a tensor made by torch._utils._rebuild_sparse_tensor is not supported"},
    {B(W "ctorch._tensor\n_rebuild_from_type_v2\nN\205Rs."), VST_ERROR_UNSUPPORTED,
     "made by torch._tensor._rebuild_from_type_v2"},
    {B(W "ctorch._utils\n_rebuild_parameter\n)Rs."), VST_ERROR_UNSUPPORTED, "made by torch._utils._rebuild_parameter"},
    {B(W "ctorch._utils\n_rebuild_parameter\nN\205Rs."), VST_ERROR_UNSUPPORTED,
     "made by torch._utils._rebuild_parameter"},
    /* storages */
    {B(W "NQs."), VST_ERROR_FORMAT, "refers to an object outside of it that is no storage"},
    {B(W ")Qs."), VST_ERROR_FORMAT, "that is no storage"},
    {B(W "X\5\0\0\0other\205Qs."), VST_ERROR_FORMAT, "that is no storage"},
    {B(W "X\7\0\0\0storage\205Qs."), VST_ERROR_FORMAT, "a storage is not described by"},
    {B(W "(" ID "NNtQs."), VST_ERROR_FORMAT, "a storage is not described by"},
    {B(W "(X\7\0\0\0storageX\1\0\0\0aX\1\0\0\0"
         "0X\3\0\0\0cpuK\60tQs."),
     VST_ERROR_FORMAT, "a storage is not described by"},
    {B(W "(X\7\0\0\0storagectorch\nByteStorage\nX\1\0\0\0"
         "0X\3\0\0\0cpuNtQs."),
     VST_ERROR_FORMAT, "is not described by"},
    {B(W "(X\7\0\0\0storagectorch\nByteStorage\nK\0X\3\0\0\0cpuK\60tQs."), VST_ERROR_FORMAT,
     "must be a string of 1 to 20"},
    {B(W "(" ID "NtQs."), VST_ERROR_NOT_FOUND, "no tensors"},
    {B(W "(" ID ")tQs."), VST_ERROR_UNSUPPORTED, "storage 0 is a view of another"},
    {B(W TENSOR "(X\7\0\0\0storagectorch\nCharStorage\nX\1\0\0\0"
                "0X\3\0\0\0cpuK\60tQ\206s."),
     VST_ERROR_FORMAT, "storage 0 is once a torch."},
    {B(W TENSOR "(X\7\0\0\0storagectorch\nByteStorage\nX\1\0\0\0"
                "0X\3\0\0\0cpuK\57tQ\206s."),
     VST_ERROR_FORMAT, "storage 0 is once a torch.ByteStorage of"},
    /* names */
    {B("\200\2}X\0\0\0\0" TENSOR "s."), VST_ERROR_FORMAT, "a tensor has an empty name"},
    {B("\200\2}X\2\0\0\0a\33" TENSOR "s."), VST_ERROR_FORMAT, "control character 0x1b"},
    {B("\200\2}X\2\0\0\0a\0" TENSOR "s."), VST_ERROR_FORMAT, "control character 0x00"},
    {B("\200\2}X\1\0\0\0\177" TENSOR "s."), VST_ERROR_FORMAT, "control character 0x7f"},
    {B("\200\2}X\4\0\0\0a\303\251b" TENSOR "s."), VST_OK, NULL},
    {B("\200\2}X\4\0\0\0\360\237\230\200" TENSOR "s."), VST_OK, NULL},
    {B("\200\2}X\3\0\0\0\356\200\200" TENSOR "s."), VST_OK, NULL},
    {B("\200\2}X\1\0\0\0\377" TENSOR "s."), VST_ERROR_FORMAT, "the name of a tensor is not valid UTF-8 at its byte 0"},
    {B("\200\2}X\2\0\0\0a\200" TENSOR "s."), VST_ERROR_FORMAT, "UTF-8 at its byte 1"},
    {B("\200\2}X\1\0\0\0\303" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"},         /* ends too early */
    {B("\200\2}X\2\0\0\0\300\257" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"},     /* overlong */
    {B("\200\2}X\3\0\0\0\340\200\257" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"}, /* overlong */
    {B("\200\2}X\4\0\0\0\360\200\200\257" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"},
    {B("\200\2}X\3\0\0\0\355\240\200" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"},     /* a surrogate */
    {B("\200\2}X\4\0\0\0\364\220\200\200" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"}, /* above U+10FFFF */
    {B("\200\2}X\4\0\0\0\370\210\200\200" TENSOR "s."), VST_ERROR_FORMAT, "not valid UTF-8"},
    {B("\200\2}(X\1\0\0\0w" TENSOR "X\1\0\0\0w" TENSOR "u."), VST_ERROR_FORMAT, "the tensor \"w\" is there twice"},
    {B("\200\2}(X\1\0\0\0w" TENSOR "K\1" TENSOR "u."), VST_OK, NULL}, /* a key that is no name */
    /* what is not a state dict */
    {B("\200\2N."), VST_ERROR_UNSUPPORTED, "what was saved is not a state dict"},
    {B("\200\2]."), VST_ERROR_UNSUPPORTED, "what was saved is not a state dict"},
    {B("\200\2cbuiltins\nlist\n."), VST_ERROR_UNSUPPORTED, "what was saved is not a state dict"},
    {B("\200\2ca.b\nModel\n)\201."), VST_ERROR_UNSUPPORTED,
     "an object of the Python class a.b.Model, not a state dict: in Python"},
    {B("\200\2N)R."), VST_ERROR_UNSUPPORTED, "an object of the Python class unknown"},
    {B("\200\2X\6\0\0\0moduleca\nModel\n\206Q)\201."), VST_ERROR_UNSUPPORTED, "an object of the Python class a.Model"},
    {B("\200\2}X\5\0\0\0modelca\nModel\n)\201s."), VST_ERROR_UNSUPPORTED,
     "its entry \"model\" is an object of the Python class a.M"},
    {B("\200\2}."), VST_ERROR_NOT_FOUND, "its entries are: none"},
    {B("\200\2}(X\1\0\0\0a}X\2\0\0\0b\33K\1K\1K\1u."), VST_ERROR_NOT_FOUND,
     "its entries are: \"a\", \"b?\". Name the one"},
    {B("\200\2}X\5\0\0\0model}s."), VST_ERROR_NOT_FOUND, "its entry \"model\" has no tensors"},
    {B(W TENSOR "s.N"), VST_ERROR_FORMAT, "data.pkl ends at byte"},
};

START_TEST(tensors_in_pickles) { run_cases(rebuilds, sizeof rebuilds / sizeof *rebuilds, parse_pickle); }
END_TEST

START_TEST(long_names_and_many_tensors) {
    enum { COUNT = 100001, NAME = 1025 };
    static buffer file;
    buffer *const pickle = &file;
    vst_weights *weights;
    char name[NAME + 1];
    for (int length = NAME - 1; length <= NAME; length++) {
        static buffer small;
        memset(name, 'n', (size_t)length);
        name[length] = 0;
        begin_dict(&small);
        put_text(&small, name);
        put_tensor(&small, &plain, false);
        end_dict(&small);
        if (length < NAME) ck_ok(parse_pickle(small.bytes, small.size));
        else ck_fails(parse_pickle(small.bytes, small.size), VST_ERROR_LIMIT, "has 1025 bytes; allowed are 1024");
    }
    /* the older form, in which an archive's directory need not be made: one tensor under many names */
    unsigned char *many = malloc((size_t)COUNT * 12 + ROOM), *end = many;
    pickle->size = 0;
    PUT(pickle, MAGIC PROTOCOL SYSTEM "\200\2");
    put_tensor(pickle, &(spec){"Byte", "0", 1, 0, 0, {0}, {0}}, true);
    PUT(pickle,
        "q\0"
        "0}("); /* remembered, popped */
    memcpy(end, pickle->bytes, pickle->size);
    end += pickle->size;
    for (int i = 0; i < COUNT; i++) end += sprintf((char *)end, "\214\6%06dh", i) + 1; /* its NUL is the memo's 0 */
    pickle->size = 0;
    PUT(pickle,
        "u.\200\2](\214\1"
        "0e.\1\0\0\0\0\0\0\0x");
    memcpy(end, pickle->bytes, pickle->size);
    end += pickle->size;
    ck_fails(open_bytes(&weights, many, (size_t)(end - many), NULL), VST_ERROR_LIMIT, "more than 100000 tensors");
    free(many);
}
END_TEST

/* ---- Rules of archives ---- */

static vst_status parse_members(const member *members, size_t count) {
    static buffer file;
    make_zip(&file, members, count);
    return parse(&file, NULL);
}

START_TEST(bad_archives) {
    static const char pickle[] = W TENSOR "s.";
    fill_payload();
    const member good[] = {{.name = "a/b/data.pkl", .data = pickle, .size = sizeof pickle - 1},
                           {.name = "a/b/data/0", .data = payload, .size = 48},
                           {.name = "a/b/byteorder", .data = "little", .size = 6},
                           {.name = "a/b/version", .data = "3\n", .size = 2}};
    enum { COUNT = sizeof good / sizeof *good };
    member m[COUNT + 1];
    const member more = {.name = "a/b/more", .data = "x", .size = 1};
#define RESET() (memcpy(m, good, sizeof good), m[COUNT] = more)
    RESET();
    ck_ok(parse_members(m, COUNT + 1));
    m[0].name = "data.pkl", m[1].name = "data/0"; /* no folder */
    ck_ok(parse_members(m, 2));
    RESET();
    ck_ok(parse_members(m, 2)); /* as before PyTorch 2.1: no byteorder */
    m[0].name = "a/b/xdata.pkl";
    ck_fails(parse_members(m, COUNT), VST_ERROR_FORMAT, "has no data.pkl: it was not");
    m[0].name = "a/b/data.pkl/";
    ck_fails(parse_members(m, COUNT), VST_ERROR_FORMAT, "has no data.pkl: it was not");
    RESET(), m[COUNT].name = "c/data.pkl";
    ck_fails(parse_members(m, COUNT + 1), VST_ERROR_FORMAT, "it should have one data.pkl");
    RESET(), m[COUNT].name = "a/b/data/0";
    ck_fails(parse_members(m, COUNT + 1), VST_ERROR_FORMAT, "has the member \"a/b/data/0\" twice");
    RESET(), m[COUNT].name = "a/b/constants.pkl";
    ck_fails(parse_members(m, COUNT + 1), VST_ERROR_UNSUPPORTED, "a TorchScript archive");
    RESET(), m[1].method = 8;
    ck_fails(parse_members(m, COUNT), VST_ERROR_UNSUPPORTED, "the member \"a/b/data/0\" is compressed");
    RESET(), m[0].flags = 1;
    ck_fails(parse_members(m, COUNT), VST_ERROR_UNSUPPORTED, "the member \"a/b/data.pkl\" is encrypted");
    RESET(), m[1].more = 8;
    ck_fails(parse_members(m, COUNT), VST_ERROR_FORMAT, "has 56 bytes of which 48 are in the archive");
    RESET(), m[2].data = "big", m[2].size = 3;
    ck_fails(parse_members(m, COUNT), VST_ERROR_UNSUPPORTED, "its byteorder is \"big\"");
    RESET(), m[2].data = "little ", m[2].size = 7;
    ck_fails(parse_members(m, COUNT), VST_ERROR_UNSUPPORTED, "its byteorder is \"little \"");
    RESET(), m[2].data = payload, m[2].size = 101;
    ck_fails(parse_members(m, COUNT), VST_ERROR_LIMIT, "byteorder has 101 bytes; allowed are 100");
    for (int i = 0; i < 3; i++) {
        RESET(), m[i].damage = 1u << (i * 8);
        ck_fails(parse_members(m, COUNT), VST_ERROR_FORMAT, "CRC error; copy the file again");
    }
    RESET(), m[3].damage = 1; /* not read, so not noticed */
    ck_ok(parse_members(m, COUNT));
}
END_TEST

START_TEST(overlapping_members) {
    static unsigned char large[20000];
    static const char pickle[] = W TENSOR "s.";
    const member m[] = {{.name = "a/data.pkl", .data = pickle, .size = sizeof pickle - 1},
                        {.name = "a/data/0", .data = large, .size = sizeof large},
                        {.name = "a/data/1", .data = large, .size = sizeof large, .same_as = 2}};
    ck_ok(parse_members(m, 2));
    ck_fails(parse_members(m, 3), VST_ERROR_FORMAT, "the members of the zip archive have more bytes than the file");
}
END_TEST

/* Every byte of the members that are read is under a checksum. */
START_TEST(damaged_archives) {
    static buffer file;
    make_one(&file, &plain);
    const size_t pickle = 30 + strlen("m/data.pkl");
    size_t data = 0;
    for (size_t i = 0; i + 8 < file.size && !data; i++)
        if (memcmp(file.bytes + i, payload, 48) == 0) data = i;
    ck_assert_uint_gt(data, pickle);
    for (size_t i = pickle; i < data + 48; i++) {
        if (i >= data - 38 - 6 - 41 && i < data) continue; /* headers and byteorder in between */
        file.bytes[i] ^= 0x10;
        ck_fails(parse(&file, NULL), VST_ERROR_FORMAT, "CRC error");
        file.bytes[i] ^= 0x10;
    }
    ck_ok(parse(&file, NULL));
}
END_TEST

/* ---- Rules of the older form ---- */

static vst_status parse_raw(const void *bytes, size_t size) {
    vst_weights *weights;
    const vst_status status = open_bytes(&weights, bytes, size, NULL);
    vst_weights_close(weights);
    return status;
}

#define HEAD MAGIC PROTOCOL SYSTEM
#define OLD_STORAGE "(" ID "NtQ"
#define OBJECT W V2 "(" OLD_STORAGE "K\0K\2\205K\1\205\211NtRs."
#define KEYS           \
    "\200\2]X\1\0\0\0" \
    "0a."
#define COUNT48 "\60\0\0\0\0\0\0\0"
#define DATA48 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuv"

static const pickle_case streams[] = {
    {B(HEAD OBJECT KEYS COUNT48 DATA48), VST_OK, NULL},
    {B(MAGIC PROTOCOL "\200\2}." OBJECT KEYS COUNT48 DATA48), VST_OK, NULL}, /* it says nothing of the byte order */
    {B(MAGIC "\200\2M\350\3." SYSTEM OBJECT KEYS COUNT48 DATA48), VST_ERROR_UNSUPPORTED,
     "protocol of this PyTorch file is not 1001"},
    {B(MAGIC "\200\2N." SYSTEM OBJECT KEYS COUNT48 DATA48), VST_ERROR_UNSUPPORTED, "is not 1001"},
    {B("\200\2\212\12l\374\234F\371 j\250P\32." PROTOCOL SYSTEM), VST_ERROR_UNSUPPORTED, "not one of torch.save"},
    {B("\200\2\212\13l\374\234F\371 j\250P\31\0." PROTOCOL SYSTEM), VST_ERROR_UNSUPPORTED, "not one of torch.save"},
    {B(MAGIC PROTOCOL "\200\2X\15\0\0\0little_endian." OBJECT), VST_ERROR_FORMAT,
     "the system that wrote it is no dict"},
    {B(MAGIC PROTOCOL "\200\2}X\15\0\0\0little_endian\211s." OBJECT), VST_ERROR_UNSUPPORTED, "a big-endian machine"},
    {B(MAGIC PROTOCOL "\200\2}X\15\0\0\0little_endianNs." OBJECT), VST_ERROR_UNSUPPORTED, "a big-endian machine"},
    {B(MAGIC PROTOCOL SYSTEM "\200\2a."), VST_ERROR_FORMAT,
     "in the pickle that begins at byte 45 of the file: the pickle is broken"},
    {B(HEAD OBJECT "\200\2N."), VST_ERROR_FORMAT, "the keys of the storages are no list"},
    {B(HEAD OBJECT "\200\2]Na."), VST_ERROR_FORMAT, "the key of a storage must be a string"},
    {B(HEAD OBJECT "\200\2]."), VST_ERROR_FORMAT, "storage 0 is not in the file's list of storages"},
    {B(HEAD OBJECT "\200\2]X\1\0\0\0"
                   "1a." COUNT48 DATA48),
     VST_ERROR_FORMAT, "storage 1 is listed, but not used by the pickle"},
    {B(HEAD OBJECT "\200\2](X\1\0\0\0"
                   "0X\1\0\0\0"
                   "0e." COUNT48 DATA48 COUNT48 DATA48),
     VST_ERROR_FORMAT, "storage 0 is listed, but for the second time"},
    {B(HEAD OBJECT KEYS "\57\0\0\0\0\0\0\0" DATA48), VST_ERROR_FORMAT, "storage 0 has 47 elements at byte"},
    {B(HEAD OBJECT KEYS "\60\0\0\0\0\0\0\1" DATA48), VST_ERROR_FORMAT, "but the pickle says 48"},
    {B(HEAD OBJECT KEYS COUNT48 DATA48 "x"), VST_ERROR_FORMAT, "the last storage ends at byte"},
    {B(HEAD OBJECT KEYS COUNT48 "abc"), VST_ERROR_FORMAT, "storage 0 should have 48 bytes at byte"},
    {B(HEAD OBJECT KEYS "\60\0\0"), VST_ERROR_FORMAT, "it is cut short"},
    {B(HEAD W V2 "((" ID "K\1tQK\0K\2\205K\1\205\211NtRs." KEYS COUNT48 DATA48), VST_ERROR_UNSUPPORTED,
     "is a view of another"},
    {B(HEAD "\200\2}(X\1\0\0\0w" V2 "(" OLD_STORAGE
            "K\0K\2\205K\1\205\211NtRX\1\0\0\0v(X\7\0\0\0storagectorch\nQIntStorage\n"
            "X\1\0\0\0"
            "1X\3\0\0\0cpuK\1NtQu."
            "\200\2](X\1\0\0\0"
            "0X\1\0\0\0"
            "1e." COUNT48 DATA48 "\1\0\0\0\0\0\0\0xxxx"),
     VST_ERROR_UNSUPPORTED, "a torch.QIntStorage is not supported"}, /* its size is not known */
};

START_TEST(the_older_form) {
    static buffer file;
    vst_weights *weights;
    run_cases(streams, sizeof streams / sizeof *streams, parse_raw);
    make_legacy(&file);
    ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
    ck_assert_uint_eq(vst_weights_count(weights), 2);
    ck_assert_mem_eq(vst_weights_find(weights, "w")->data, payload, 48);
    ck_assert_mem_eq(vst_weights_find(weights, "v")->data, payload + 102, 2);
    ck_assert_mem_eq((char *)vst_weights_find(weights, "v")->data + 2, payload + 106, 2);
    vst_weights_close(weights);
}
END_TEST

/* ---- Entries and prefixes ---- */

/* {NAME: {"NAME.w": tensor}, …, "epoch": 3, "w": tensor}; names are parted by spaces. */
static void make_entries(buffer *file, const char *names) {
    static buffer pickle;
    char copy[200], *rest = copy, *name;
    snprintf(copy, sizeof copy, "%s", names);
    begin_dict(&pickle);
    while ((name = strtok_r(rest, " ", &rest))) {
        char inner[100];
        snprintf(inner, sizeof inner, "%s.w", name);
        put_text(&pickle, name);
        PUT(&pickle, "}");
        put_text(&pickle, inner);
        put_tensor(&pickle, &plain, false);
        PUT(&pickle, "s");
    }
    put_text(&pickle, "epoch");
    PUT(&pickle, "K\3");
    put_text(&pickle, "w");
    put_tensor(&pickle, &plain, false);
    end_dict(&pickle);
    make_archive(file, pickle.bytes, pickle.size);
}

START_TEST(entries) {
    static const struct {
        const char *names, *asked, *taken; /* taken NULL: the whole */
    } cases[] = {
        {"model state_dict model_ema state_dict_ema", NULL, "state_dict_ema"},
        {"model state_dict model_ema", NULL, "model_ema"},
        {"model state_dict", NULL, "state_dict"},
        {"model optimizer", NULL, "model"},
        {"optimizer net", NULL, NULL},
        {"", NULL, NULL},
        {"model state_dict model_ema state_dict_ema", "model", "model"},
        {"net model", "net", "net"},
    };
    static buffer file;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vst_weights *weights;
        char name[100];
        make_entries(&file, cases[i].names);
        ck_ok(open_bytes(&weights, file.bytes, file.size, cases[i].asked));
        ck_assert_pstr_eq(vst_weights_entry(weights), cases[i].taken);
        snprintf(name, sizeof name, "%s%sw", cases[i].taken ? cases[i].taken : "", cases[i].taken ? "." : "");
        ck_assert_uint_eq(vst_weights_count(weights), 1);
        ck_assert_str_eq(vst_weights_at(weights, 0)->name, name);
        vst_weights_close(weights);
    }
    make_entries(&file, "model net");
    ck_fails(parse(&file, "ema"), VST_ERROR_NOT_FOUND,
             "it has no entry \"ema\"; it has \"model\", \"net\", \"epoch\", \"w\"");
    ck_fails(parse(&file, "epoch"), VST_ERROR_UNSUPPORTED, "its entry \"epoch\" is not a state dict");
    ck_fails(parse(&file, "w"), VST_ERROR_UNSUPPORTED, "its entry \"w\" is an object of the Python class torch._utils");
}
END_TEST

START_TEST(wrappers_that_are_no_dicts) {
    static buffer file, pickle; /* "model" is a tensor's name here, state_dict_ema is None */
    vst_weights *weights;
    begin_dict(&pickle);
    put_text(&pickle, "state_dict_ema");
    PUT(&pickle, "N");
    put_text(&pickle, "model");
    put_tensor(&pickle, &plain, false);
    end_dict(&pickle);
    make_archive(&file, pickle.bytes, pickle.size);
    ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
    ck_assert_ptr_null(vst_weights_entry(weights));
    ck_assert_str_eq(vst_weights_at(weights, 0)->name, "model");
    vst_weights_close(weights);
}
END_TEST

START_TEST(many_keys_in_a_message) {
    static buffer file;
    char names[200] = "";
    for (int i = 0; i < 30; i++) snprintf(names + strlen(names), sizeof names - strlen(names), "k%d ", i);
    make_entries(&file, names);
    ck_fails(parse(&file, "no"), VST_ERROR_NOT_FOUND, "\"k18\", \"k19\", …");
    static buffer pickle; /* long ones: the message stays whole */
    char name[901];
    memset(name, 'n', 900);
    name[900] = 0;
    begin_dict(&pickle);
    for (int i = 0; i < 19; i++) name[0] = (char)('a' + i), put_text(&pickle, name), PUT(&pickle, "N");
    end_dict(&pickle);
    make_archive(&file, pickle.bytes, pickle.size);
    ck_fails(parse(&file, "no"), VST_ERROR_NOT_FOUND, "n\", …");
}
END_TEST

START_TEST(wrappers_in_names) {
    static const struct {
        const char *first, *second, *expected;
    } cases[] = {
        {"module.a", "module.b", "module.a module.b"}, /* the import decides which model they are of */
        {"_orig_mod.a", "b", "a b"},
        {"module._orig_mod.a", "module._orig_mod.b", "module.a module.b"},
        {"blocks.0._fsdp_wrapped_module.attn._orig_mod.a", "_checkpoint_wrapped_module._fpw_module.b",
         "blocks.0.attn.a b"},
        {"_orig_mod.a._orig_mod.", "_orig_mod.", "a._orig_mod. _orig_mod."},
        {"my_orig_mod.a", "_orig_modb", "my_orig_mod.a _orig_modb"},
    };
    static buffer pickle, file;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vst_weights *weights;
        char names[100];
        begin_dict(&pickle);
        put_text(&pickle, "epoch"); /* no tensor: it has no say */
        PUT(&pickle, "K\1");
        put_text(&pickle, cases[i].first);
        put_tensor(&pickle, &plain, false);
        put_text(&pickle, cases[i].second);
        put_tensor(&pickle, &plain, false);
        end_dict(&pickle);
        make_archive(&file, pickle.bytes, pickle.size);
        ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
        snprintf(names, sizeof names, "%s %s", vst_weights_at(weights, 0)->name, vst_weights_at(weights, 1)->name);
        ck_assert_str_eq(names, cases[i].expected);
        vst_weights_close(weights);
    }
}
END_TEST

/* A dict of dicts and tensors from a text: "ema{module{a b}} loss"; a name is a tensor. */
static const char *put_members(buffer *pickle, const char *text) {
    while (*text && *text != '}') {
        char name[50];
        const size_t length = strcspn(text, " {}");
        memcpy(name, text, length);
        name[length] = 0;
        text += length;
        put_text(pickle, name);
        if (*text == '{') {
            PUT(pickle, "}");
            text = put_members(pickle, text + 1);
        } else put_tensor(pickle, &plain, false);
        PUT(pickle, "s");
        text += strspn(text, " ");
    }
    return text + (*text == '}');
}

START_TEST(nested_entries) {
    static const struct {
        const char *members, *asked, *taken, *first; /* taken NULL: the whole object; first: a tensor, or the message */
    } cases[] = {
        {"ema{module{a b} updates}", NULL, "ema.module", "a"},
        {"model_state_dict{a b} loss", NULL, "model_state_dict", "a"},
        {"my_net{a b} loss", NULL, "my_net", "a"},
        {"a b c meta{d}", NULL, NULL, "a"},
        {"a b c net.meta{d e f g}", NULL, "net.meta", "d"},
        {"net.meta{d{e f} g}", "net.meta.d", "net.meta.d", "e"},
        {"optimizer{a b c} w", NULL, NULL, "w"},
        {"state_dict{model{a b}}", NULL, "state_dict.model", "a"},
        {"state_dict{student.a teacher.b}", "teacher", "state_dict.teacher", "b"},
        {"state_dict{student.a teacher.b}", "state_dict.student", "state_dict.student", "a"},
        {"student.x.a teacher.x.b", "student.x", "student.x", "a"},
        {"student{a} teacher{b}", "teacher", "teacher", "b"},
        {"student{a} teacher{b}", NULL, "", "several of its entries have tensors: \"student\", \"teacher\"; say which"},
        {"state_dict{student.a}", "teacher", "", "it has no entry \"teacher\"; it has \"state_dict\""},
        {"state_dict{student.a}", "state_dict.teacher", "", "no tensor's name begins with \"teacher.\""},
        {"a{b{c{d{e{f{w}}}}}}", NULL, "", "it has no tensors at its top level; its entries are: \"a\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static buffer pickle, file;
        vst_weights *weights;
        pickle.size = 0;
        PUT(&pickle, "\200\2}");
        put_members(&pickle, cases[i].members);
        PUT(&pickle, ".");
        make_archive(&file, pickle.bytes, pickle.size);
        const vst_status status = open_bytes(&weights, file.bytes, file.size, cases[i].asked);
        if (cases[i].taken && !*cases[i].taken) {
            ck_assert_int_ne(status, VST_OK);
            ck_assert_msg(strstr(vst_error_message(), cases[i].first), "%s: %s", cases[i].members, vst_error_message());
            continue;
        }
        ck_ok(status);
        ck_assert_pstr_eq(vst_weights_entry(weights), cases[i].taken);
        ck_assert_str_eq(vst_weights_at(weights, 0)->name, cases[i].first);
        vst_weights_close(weights);
    }
}
END_TEST

/* A dict that refers to one dict in a hundred places, a hundred levels deep: refused without counting it completely. */
START_TEST(entries_that_multiply) {
    static buffer pickle, file;
    vst_weights *weights;
    char name[20];
    pickle.size = 0;
    PUT(&pickle, "\200\2}");
    put_text(&pickle, "w");
    put_tensor(&pickle, &plain, false);
    PUT(&pickle, "s}q\xc8"); /* memo 200: an empty dict */
    PUT(&pickle, "0");
    for (int level = 0; level < 4; level++) {
        PUT(&pickle, "}(");
        for (int i = 0; i < 100; i++) {
            const unsigned char get[2] = {'h', (unsigned char)(200 + level)};
            snprintf(name, sizeof name, "k%d", i);
            put_text(&pickle, name);
            put(&pickle, get, sizeof get);
        }
        const unsigned char end[4] = {'u', 'q', (unsigned char)(201 + level), '0'};
        put(&pickle, end, sizeof end);
    }
    put_text(&pickle, "all");
    PUT(&pickle, "h\xcc");
    PUT(&pickle, "s.");
    make_archive(&file, pickle.bytes, pickle.size);
    ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
    ck_assert_str_eq(vst_weights_at(weights, 0)->name, "w");
    vst_weights_close(weights);
}
END_TEST

/* ---- Pickles alone ---- */

static vst_status read_pickle(const void *bytes, size_t size) {
    vsti_pickle pickle;
    size_t used = 0;
    void *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    const vst_status status = vsti_pickle_read(&pickle, copy, size, &used);
    if (status == VST_OK) ck_assert(pickle.root && used <= size);
    else ck_assert(!pickle.root && !pickle.blocks && !pickle.globals && !pickle.persistents);
    vsti_pickle_clear(&pickle);
    free(copy);
    return status;
}

static const pickle_case pickles[] = {
    {B("\200\2N."), VST_OK, NULL},
    {B("N."), VST_OK, NULL},
    {B("\200\5\225\2\0\0\0\0\0\0\0N."), VST_OK, NULL},
    {B("\200\2(N1N."), VST_OK, NULL},
    {B("\200\2N(0."), VST_OK, NULL}, /* a MARK is popped */
    {B("\200\4N\224N\224"
       "0h\1"
       "0."),
     VST_OK, NULL},
    {B("\200\2ccollections\nOrderedDict\n](K\1K\2\206](K\3K\4ee\205R."), VST_OK, NULL}, /* of Python 2 */
    {B("\200\1N."), VST_ERROR_UNSUPPORTED, "pickle protocol 1 is not supported; known are 2 to 5"},
    {B("\200\6N."), VST_ERROR_UNSUPPORTED, "pickle protocol 6"},
    {B("\200\2."), VST_ERROR_FORMAT, "it stops with a number of values other than one"},
    {B("\200\2NN."), VST_ERROR_FORMAT, "it stops with a number of values other than one"},
    {B("\200\2(N."), VST_ERROR_FORMAT, "it stops with a number of values other than one"},
    {B("\200\2N0"
       "0N."),
     VST_ERROR_FORMAT, "at byte 5: it takes a value that is not there"},
    {B("\200\2N(00"
       "0N."),
     VST_ERROR_FORMAT, "it takes a value that is not there"},
    {B("\200\2"
       "2."),
     VST_ERROR_FORMAT, "it needs a value that is not there"},
    {B("\200\2N(2."), VST_ERROR_FORMAT, "it needs a value that is not there"}, /* below the MARK */
    {B("\200\2"
       "1N."),
     VST_ERROR_FORMAT, "a MARK is missing"},
    {B("\200\2Nt."), VST_ERROR_FORMAT, "a MARK is missing"},
    {B("\200\2]Ne."), VST_ERROR_FORMAT, "a MARK is missing"},
    {B("\200\2N\206."), VST_ERROR_FORMAT, "a tuple has too few values"},
    {B("\200\2N(N\206t."), VST_ERROR_FORMAT, "a tuple has too few values"},
    {B("\200\2(Nd."), VST_ERROR_FORMAT, "a key has no value"},
    {B("\200\2}(Nu."), VST_ERROR_FORMAT, "a key has no value"},
    {B("\200\2Na."), VST_ERROR_FORMAT, "it takes a value that is not there"},
    {B("\200\2}NNa."), VST_ERROR_FORMAT, "put into something that cannot hold them"},
    {B("\200\2NNa."), VST_ERROR_FORMAT, "put into something that cannot hold them"},
    {B("\200\2](NNu."), VST_ERROR_FORMAT, "put into something that cannot hold them"},
    {B("\200\2)(Ne."), VST_ERROR_FORMAT, "put into something that cannot hold them"},
    {B("\200\4](N\220."), VST_ERROR_FORMAT, "put into something that cannot hold them"},
    {B("\200\2(Ne."), VST_ERROR_FORMAT, "it needs a value that is not there"},
    {B("\200\2Nb."), VST_ERROR_FORMAT, "it needs a value that is not there"},
    {B("\200\2h\0."), VST_ERROR_FORMAT, "recalls a value that was not remembered"},
    {B("\200\2Nq\2"
       "0h\1."),
     VST_ERROR_FORMAT, "recalls a value that was not remembered"},
    {B("\200\2Nj\377\377\377\377."), VST_ERROR_FORMAT, "recalls a value that was not remembered"},
    {B("\200\2q\0."), VST_ERROR_FORMAT, "it needs a value that is not there"},
    {B("\200\2Nr\77\102\17\0."), VST_OK, NULL}, /* 999,999 */
    {B("\200\2Nr\100\102\17\0."), VST_ERROR_LIMIT, "more than 1000000 remembered values at byte 8"},
    {B("\200\2Nr\377\377\377\377."), VST_ERROR_LIMIT, "remembered values"},
    {B("\200\2NR."), VST_ERROR_FORMAT, "it takes a value that is not there"},
    {B("\200\2ca\nb\nNR."), VST_ERROR_FORMAT, "the arguments of a call are no tuple"},
    {B("\200\2ca\nb\nN\201."), VST_ERROR_FORMAT, "the arguments of a call are no tuple"},
    {B("\200\4ca\nb\n)}\222."), VST_OK, NULL},
    {B("\200\4ca\nb\n}\222."), VST_ERROR_FORMAT, "it takes a value that is not there"},
    {B("\200\2ccollections\nOrderedDict\nN\205R."), VST_ERROR_FORMAT, "an OrderedDict of no list"},
    {B("\200\2ccollections\nOrderedDict\n]]\206R."), VST_ERROR_FORMAT, "an OrderedDict of no list"},
    {B("\200\2ccollections\nOrderedDict\n](Ne\205R."), VST_ERROR_FORMAT,
     "an OrderedDict of something other than pairs"},
    {B("\200\2ccollections\nOrderedDict\n](N\205e\205R."), VST_ERROR_FORMAT, "something other than pairs"},
    {B("\200\2c\nb\n."), VST_ERROR_FORMAT, "a class has no name"},
    {B("\200\2ca\n\n."), VST_ERROR_FORMAT, "a class has no name"},
    {B("\200\2ca\33[2J\nb\n."), VST_ERROR_FORMAT, "the name of a class has a space or control character"},
    {B("\200\2ca\nb c\n."), VST_ERROR_FORMAT, "the name of a class has a space"},
    {B("\200\4\214\1aX\3\0\0\0b\0c\223."), VST_ERROR_FORMAT, "the name of a class has a space"},
    {B("\200\4\214\1aN\223."), VST_ERROR_FORMAT, "a class is not named by strings"},
    {B("\200\4\214\1a\223."), VST_ERROR_FORMAT, "it takes a value that is not there"},
    {B("\200\2ca\nb"), VST_ERROR_FORMAT, "the pickle ends at byte 6 in the middle: the file is cut short"},
    {B("\200\2X\377\377\377\0a."), VST_ERROR_FORMAT, "the pickle ends at byte 9"},
    {B("\200\2X\1\0\0\1a."), VST_ERROR_LIMIT, "more than 16777216 bytes in a string at byte 7"},
    {B("\200\4\215\377\377\377\377\377\377\377\377a."), VST_ERROR_LIMIT, "bytes in a string"},
    {B("\200\2\213\377\377\377\377a."), VST_ERROR_LIMIT, "bytes in a string"},
    /* opcodes of protocol 0 and 1, of extensions, of buffers outside, and none at all */
    {B("I1\n."), VST_ERROR_UNSUPPORTED, "the pickle's opcode 0x49 at byte 0 is not supported"},
    {B("P1\n."), VST_ERROR_UNSUPPORTED, "opcode 0x50"},
    {B("(ios\nsystem\n."), VST_ERROR_UNSUPPORTED, "opcode 0x69 at byte 1"},
    {B("(cos\nsystem\no."), VST_ERROR_UNSUPPORTED, "opcode 0x6f"},
    {B("\200\2\202\1."), VST_ERROR_UNSUPPORTED, "opcode 0x82"},
    {B("\200\5\227."), VST_ERROR_UNSUPPORTED, "opcode 0x97"},
    {B("\200\2\377."), VST_ERROR_UNSUPPORTED, "opcode 0xff at byte 2"},
};

START_TEST(rules_of_pickles) { run_cases(pickles, sizeof pickles / sizeof *pickles, read_pickle); }
END_TEST

/* Every opcode's value, in one list. */
START_TEST(values) {
    static const char bytes[] =
        "\200\5]("
        "N\210\211K\377M\377\377J\377\377\377\377\212\0\212\1\200\212\10\1\0\0\0\0\0\0\200\212\11\1\2\3\4\5\6\7\10\11"
        "\213\2\0\0\0\0\1G\300\4\0\0\0\0\0\0\214\1aX\1\0\0\0b\215\1\0\0\0\0\0\0\0cU\1dT\1\0\0\0eC\1fB\1\0\0\0g\216\1\0"
        "\0\0\0\0\0\0h"
        "\226\1\0\0\0\0\0\0\0i)K\1\205K\1K\2\206K\1K\2K\3\207(K\1t(K\1l(K\1K\2d\217(K\1K\2\220(K\1\221]K\1a}"
        "K\1K\2sca\nb\n\214\1c\214\1"
        "d\223ca\nb\n)Rca\nb\n)\201ca\nb\n)}\222K\1Qe.";
    enum { COUNT = 39 };
    static const vsti_kind kinds[] = {
        VSTI_NONE,    VSTI_TRUTH,  VSTI_TRUTH,   VSTI_INTEGER, VSTI_INTEGER, VSTI_INTEGER,   VSTI_INTEGER, VSTI_INTEGER,
        VSTI_INTEGER, VSTI_WIDE,   VSTI_INTEGER, VSTI_REAL,    VSTI_STRING,  VSTI_STRING,    VSTI_STRING,  VSTI_STRING,
        VSTI_STRING,  VSTI_BYTES,  VSTI_BYTES,   VSTI_BYTES,   VSTI_BYTES,   VSTI_TUPLE,     VSTI_TUPLE,   VSTI_TUPLE,
        VSTI_TUPLE,   VSTI_TUPLE,  VSTI_LIST,    VSTI_DICT,    VSTI_SET,     VSTI_SET,       VSTI_LIST,    VSTI_DICT,
        VSTI_GLOBAL,  VSTI_GLOBAL, VSTI_CALL,    VSTI_CALL,    VSTI_CALL,    VSTI_PERSISTENT};
    static const int64_t integers[] = {0, 1, 0, 255, 65535, -1, 0, -128, INT64_MIN + 1, 0, 256};
    static const size_t counts[] = {0, 1, 2, 3, 1, 1, 2, 2, 1, 1, 2}; /* of the containers */
    vsti_pickle pickle;
    size_t used;
    ck_ok(vsti_pickle_read(&pickle, bytes, sizeof bytes - 1, &used));
    ck_assert_uint_eq(used, sizeof bytes - 1);
    ck_assert_int_eq(pickle.root->kind, VSTI_LIST);
    ck_assert_uint_eq(pickle.root->as.list.count, sizeof kinds / sizeof *kinds);
    ck_assert_uint_eq(sizeof kinds / sizeof *kinds, COUNT - 1);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const vsti_pickled *value = pickle.root->as.list.items[i];
        ck_assert_msg(value->kind == kinds[i], "%zu is of kind %d", i, (int)value->kind);
        if (value->kind == VSTI_INTEGER || value->kind == VSTI_TRUTH) ck_assert_int_eq(value->as.integer, integers[i]);
        if (value->kind == VSTI_STRING || value->kind == VSTI_BYTES) {
            ck_assert_uint_eq(value->as.text.size, 1);
            ck_assert_int_eq(value->as.text.bytes[0], (int)('a' + i - 12));
        }
        if (i >= 21 && i < 32) ck_assert_uint_eq(value->as.list.count, counts[i - 21]);
    }
    ck_assert(pickle.root->as.list.items[11]->as.real == -2.5);
    ck_assert_uint_eq(pickle.root->as.list.items[9]->as.text.size, 9);
    ck_assert_uint_eq(pickle.global_count, 2);
    ck_assert_str_eq(pickle.globals[0], "a.b");
    ck_assert_str_eq(pickle.globals[1], "c.d");
    ck_assert_uint_eq(pickle.persistent_count, 1);
    vsti_pickle_clear(&pickle);
}
END_TEST

/* A pickle of `count` times `piece` between `begin` and `end`. */
static vst_status read_repeated(const char *begin, const char *piece, size_t piece_size, size_t count,
                                const char *end) {
    const size_t head = strlen(begin), tail = strlen(end), size = head + piece_size * count + tail;
    char *bytes = malloc(size), *at = bytes;
    vsti_pickle pickle;
    size_t used;
    memcpy(at, begin, head);
    at += head;
    for (size_t i = 0; i < count; i++, at += piece_size) memcpy(at, piece, piece_size);
    memcpy(at, end, tail);
    const vst_status status = vsti_pickle_read(&pickle, bytes, size, &used);
    vsti_pickle_clear(&pickle);
    free(bytes);
    return status;
}

START_TEST(limits_of_pickles) {
    ck_ok(read_repeated("(", B("N"), VSTI_PICKLE_STACK, "t."));
    ck_fails(read_repeated("(", B("N"), VSTI_PICKLE_STACK + 1, "t."), VST_ERROR_LIMIT,
             "more than 1000000 values on its stack");
    ck_ok(read_repeated("N", B("\205"), VSTI_PICKLE_DEPTH, "."));
    ck_fails(read_repeated("N", B("\205"), VSTI_PICKLE_DEPTH + 1, "."), VST_ERROR_LIMIT,
             "more than 64 nested containers");
    ck_fails(
        read_repeated("", B("]"), 70, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."),
        VST_ERROR_LIMIT, "nested containers");
    ck_fails(read_repeated(")", B("\205Q"), VSTI_PICKLE_DEPTH, "."), VST_ERROR_LIMIT, "nested containers");
    ck_fails(read_repeated("ca\nb\n)R", B(")R"), VSTI_PICKLE_DEPTH, "."), VST_ERROR_LIMIT, "nested containers");
    ck_ok(read_repeated("", B("("), VSTI_PICKLE_DEPTH,
                        "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt."));
    ck_fails(read_repeated("", B("("), VSTI_PICKLE_DEPTH + 1, "."), VST_ERROR_LIMIT, "more than 64 nested MARKs");
    ck_ok(read_repeated("c", B("a"), 127, "\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n."));
    ck_ok(read_repeated("c", B("a"), 255, "\na\n."));
    ck_fails(read_repeated("c", B("a"), 256, "\na\n."), VST_ERROR_LIMIT, "more than 256 bytes in the name of a class");
    ck_fails(read_repeated("", B("}0"), VSTI_PICKLE_ARENA / 32 + 1, "N."), VST_ERROR_LIMIT,
             "more than 268435456 bytes of values");
    const size_t fits = VSTI_PICKLE_BYTES / 3 - 10;
    ck_ok(read_repeated("Nq",
                        B("\0h\0"
                          "0"),
                        1, "."));
    ck_ok(
        read_repeated("N\224"
                      "0",
                      B("h\0"
                        "0"),
                      fits, "N."));
    ck_fails(read_repeated("N\224"
                           "0",
                           B("h\0"
                             "0"),
                           fits + 20, "N."),
             VST_ERROR_LIMIT, "more than 67108864 bytes");
}
END_TEST

START_TEST(many_classes) {
    for (int extra = 0; extra < 2; extra++) {
        char *bytes = malloc(40000), *at = bytes + sprintf(bytes, "(");
        vsti_pickle pickle;
        size_t used;
        for (int i = 0; i < VSTI_PICKLE_GLOBALS + extra; i++) at += sprintf(at, "ca\nb%d\nca\nb%d\n", i, i / 2);
        at += sprintf(at, "t.");
        const vst_status status = vsti_pickle_read(&pickle, bytes, (size_t)(at - bytes), &used);
        if (extra) ck_fails(status, VST_ERROR_LIMIT, "more than 2000 different classes");
        else {
            ck_ok(status);
            ck_assert_uint_eq(pickle.global_count, VSTI_PICKLE_GLOBALS);
            for (int i = 0; i < VSTI_PICKLE_GLOBALS; i++) ck_assert_int_eq(atoi(pickle.globals[i] + 3), i);
        }
        vsti_pickle_clear(&pickle);
        free(bytes);
    }
}
END_TEST

/* A whole archive whose pickle is too long: refused by its size, before it is read. */
START_TEST(a_pickle_that_is_too_long) {
    enum { SIZE = VSTI_PICKLE_BYTES + 1 };
    static buffer head, tail;
    vst_weights *weights;
    const member m = {.name = "m/data.pkl", .data = payload, .size = 1};
    make_zip(&head, &m, 1); /* with one byte; then that byte grows */
    unsigned char *file = calloc(1, SIZE + head.size);
    const size_t begin = 30 + strlen(m.name), rest = head.size - begin - 1;
    memcpy(file, head.bytes, begin);
    memcpy(file + begin + SIZE, head.bytes + begin + 1, rest);
    for (int i = 0; i < 4; i++)
        file[18 + i] = file[22 + i] = file[begin + SIZE + 20 + i] = file[begin + SIZE + 24 + i] =
            (unsigned char)(SIZE >> (8 * i));
    tail.size = 0;
    put_number(&tail, begin + SIZE, 4);
    memcpy(file + SIZE - 1 + head.size - 6, tail.bytes, 4);
    ck_fails(open_bytes(&weights, file, SIZE - 1 + head.size, NULL), VST_ERROR_LIMIT,
             "data.pkl has 67108865 bytes; allowed are 67108864");
    free(file);
}
END_TEST

/* ---- Hostile pickles ---- */

/* A pickle's request to run a command, in every way that Python knows; the tensors are read all the same. */
START_TEST(nothing_is_run) {
    static buffer pickle, file;
    char command[400];
    vst_weights *weights;
    snprintf(command, sizeof command, "touch %s", path);
    for (int legacy = 0; legacy < 2; legacy++) {
        pickle.size = 0;
        if (legacy) PUT(&pickle, HEAD);
        PUT(&pickle, "\200\4}(");
        put_text(&pickle, "a");
        PUT(&pickle, "cos\nsystem\n");
        put_text(&pickle, command);
        PUT(&pickle, "\205R"); /* REDUCE */
        put_text(&pickle, "b");
        PUT(&pickle, "\214\5posix\214\6system\223");
        put_text(&pickle, command);
        PUT(&pickle, "\205\201"); /* STACK_GLOBAL, NEWOBJ */
        put_text(&pickle, "c");
        PUT(&pickle, "csubprocess\nPopen\n");
        put_text(&pickle, command);
        PUT(&pickle, "\205}\222}X\5\0\0\0shell\210sb"); /* NEWOBJ_EX, BUILD */
        put_text(&pickle, "w");
        put_tensor(&pickle, &plain, legacy);
        put_text(&pickle, "d");
        PUT(&pickle, "cos\nsystem\n");
        put_text(&pickle, command);
        PUT(&pickle,
            "\205R(NNu(NeN"
            "au."); /* values put into what it did not return */
        if (legacy) {
            PUT(&pickle, KEYS "\14\0\0\0\0\0\0\0" DATA48);
            ck_ok(open_bytes(&weights, pickle.bytes, pickle.size, NULL));
        } else {
            make_archive(&file, pickle.bytes, pickle.size);
            ck_ok(open_bytes(&weights, file.bytes, file.size, NULL));
        }
        ck_assert_int_ne(access(path, F_OK), 0);
        ck_assert_uint_eq(vst_weights_count(weights), 1);
        ck_assert_uint_eq(vst_weights_skipped_count(weights), 3);
        ck_assert_str_eq(vst_weights_skipped_at(weights, 0), "os.system");
        ck_assert_str_eq(vst_weights_skipped_at(weights, 1), "posix.system");
        ck_assert_str_eq(vst_weights_skipped_at(weights, 2), "subprocess.Popen");
        vst_weights_close(weights);
    }
}
END_TEST

START_TEST(values_that_contain_themselves) {
    static const pickle_case cases[] = {
        {B("\200\2]q\0h\0a."), VST_ERROR_UNSUPPORTED, "not a state dict"},
        {B("\200\2}q\0X\1\0\0\0sh\0s."), VST_ERROR_NOT_FOUND, "no tensors"},
        {B("\200\2}q\0(X\1\0\0\0sh\0X\1\0\0\0w" TENSOR "u."), VST_OK, NULL},
        {B("\200\2}q\0(X\5\0\0\0modelh\0X\1\0\0\0w" TENSOR "u."), VST_OK, NULL}, /* the entry is the whole */
        {B("\200\2]q\0h\0\205q\1ah\1q\2."), VST_ERROR_FORMAT, "it stops with"},
        {B(W "]q\0h\0\205q\1a0" TENSOR "s."), VST_OK, NULL}, /* a tuple in a list in that tuple */
        {B(W "ca\nb\n)\201q\0h\0b0" TENSOR "s."), VST_OK, NULL},
        {B(W "]q\0V2"), VST_ERROR_UNSUPPORTED, "opcode 0x56"},
        /* parameters and subclasses made of what contains them: the calls are unwrapped so far and no further */
        {B(W "ctorch._utils\n_rebuild_parameter\n]q\0h\0a\205Rs."), VST_ERROR_UNSUPPORTED, "_rebuild_parameter is not"},
        {B(W "ctorch._tensor\n_rebuild_from_type_v2\nq\0h\0Nh\0N)\207\207Rs."), VST_ERROR_UNSUPPORTED,
         "_from_type_v2 is not"},
    };
    run_cases(cases, sizeof cases / sizeof *cases, parse_pickle);
}
END_TEST

/* Short pickles that would be long work: each opcode's work is bounded by its bytes. */
START_TEST(no_quadratic_work) {
    static const char repeat[] = "h\0h\1R0"; /* OrderedDict of a list of 500,000 pairs, over and over */
    char *bytes = malloc(4000000), *at = bytes;
    vsti_pickle pickle;
    size_t used;
    at += sprintf(at, "ccollections\nOrderedDict\n\224](");
    for (int i = 0; i < 500000; i++) at += sprintf(at, "NN\206");
    at += sprintf(at,
                  "e\205\224"
                  "00");
    for (int i = 0; i < 200000; i++, at += 6) memcpy(at, repeat, 6);
    at += sprintf(at, "N.");
    ck_fails(vsti_pickle_read(&pickle, bytes, (size_t)(at - bytes), &used), VST_ERROR_LIMIT, "bytes of values");
    free(bytes);
}
END_TEST

/* ---- Truncation and mutation ---- */

static void truncate_everywhere(const buffer *file) {
    vst_weights *weights;
    write_file(file->bytes, file->size);
    ck_ok(parse(file, NULL));
    ck_ok(vst_weights_open(&weights, path, NULL));
    vst_weights_close(weights);
    for (size_t size = file->size; size-- > 0;) {
        const vst_status expected = open_bytes(&weights, file->bytes, size, NULL);
        ck_assert(expected == VST_ERROR_FORMAT || (size < 5 && expected == VST_ERROR_UNSUPPORTED));
        ck_assert_int_eq(truncate(path, (off_t)size), 0);
        weights = (vst_weights *)path;
        ck_assert_int_eq(vst_weights_open(&weights, path, NULL), expected);
        ck_assert_ptr_null(weights);
    }
}

START_TEST(truncation_at_every_byte) {
    static buffer file;
    make_one(&file, &plain);
    truncate_everywhere(&file);
    make_legacy(&file);
    truncate_everywhere(&file);
}
END_TEST

static void read_fixture(buffer *to, const char *name) {
    FILE *file = fopen(fixture(name, ".pth"), "rb");
    ck_assert_ptr_nonnull(file);
    to->size = fread(to->bytes, 1, ROOM, file);
    fclose(file);
    ck_assert(to->size > 100 && to->size < ROOM);
}

/* Each byte by itself: to its neighbours, its opposite, and the values at which numbers turn over. */
static void mutate_everywhere(buffer *file, bool checksums) {
    size_t fine = 0, all = 0;
    for (size_t i = 0; i < file->size; i++) {
        const unsigned char old = file->bytes[i];
        const unsigned char others[] = {old + 1, old - 1, old ^ 0x80, (unsigned char)~old, 0, 1, 0x7f, 0xff};
        for (size_t k = 0; k < sizeof others; k++) {
            if (others[k] == old) continue;
            file->bytes[i] = others[k];
            const vst_status status = parse(file, NULL);
            ck_assert_msg(status == VST_OK || status == VST_ERROR_FORMAT || status == VST_ERROR_LIMIT ||
                              status == VST_ERROR_UNSUPPORTED || status == VST_ERROR_NOT_FOUND,
                          "%s", vst_error_message());
            fine += status == VST_OK;
            all++;
        }
        file->bytes[i] = old;
    }
    ck_assert_uint_gt(fine,
                      all / 100); /* a file has bytes that mean nothing, such as dates, and data without checksums */
    ck_assert_uint_lt(fine, checksums ? all / 2 : all * 3 / 4);
}

START_TEST(mutation_of_every_byte) {
    static buffer file;
    make_one(&file, &plain);
    mutate_everywhere(&file, true);
    make_legacy(&file);
    mutate_everywhere(&file, false);
}
END_TEST

START_TEST(mutation_of_files_of_pytorch) {
    static buffer file;
    read_fixture(&file, "layouts");
    mutate_everywhere(&file, true);
    read_fixture(&file, "layouts_legacy");
    mutate_everywhere(&file, false);
}
END_TEST

/* ---- Failing memory ---- */

START_TEST(failing_memory) {
    static const struct {
        const char *name, *end;
        uint64_t least; /* allocations that there are */
    } files[] = {{"training", ".pth", 25},
                 {"training_legacy", ".pth", 25},
                 {"layouts", ".pth", 40},
                 {"layouts_legacy", ".pth", 40},
                 {"types", ".expected.safetensors", 40}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (uint64_t n = 1;; n++) {
            vst_weights *weights = (vst_weights *)path;
            const char *name = fixture(files[i].name, files[i].end);
            vst_memory_fail_at(n);
            const vst_status status = vst_weights_open(&weights, name, NULL);
            vst_memory_fail_at(0);
            if (status == VST_OK) {
                ck_assert_uint_gt(n, files[i].least);
                use(weights);
                vst_weights_close(weights);
                break;
            }
            ck_assert_int_eq(status, VST_ERROR_MEMORY);
            ck_assert_ptr_null(weights);
            ck_assert_msg(strstr(vst_error_message(), name) && strstr(vst_error_message(), "out of memory"), "%s",
                          vst_error_message());
        }
    }
}
END_TEST

int main(void) {
    const TTest *const tests[] = {files_of_pytorch,
                                  whole_modules_of_pytorch,
                                  safetensors_files,
                                  formats_are_recognised,
                                  impossible_paths,
                                  files_that_change,
                                  too_many_open_files,
                                  every_type,
                                  every_layout,
                                  shared_storages,
                                  expanded_tensors_are_limited,
                                  bad_tensor_specs,
                                  tensors_in_pickles,
                                  long_names_and_many_tensors,
                                  bad_archives,
                                  overlapping_members,
                                  damaged_archives,
                                  the_older_form,
                                  entries,
                                  wrappers_that_are_no_dicts,
                                  many_keys_in_a_message,
                                  wrappers_in_names,
                                  nested_entries,
                                  entries_that_multiply,
                                  rules_of_pickles,
                                  values,
                                  limits_of_pickles,
                                  many_classes,
                                  a_pickle_that_is_too_long,
                                  nothing_is_run,
                                  values_that_contain_themselves,
                                  no_quadratic_work,
                                  truncation_at_every_byte,
                                  mutation_of_every_byte,
                                  mutation_of_files_of_pytorch,
                                  failing_memory};
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, begin, end);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(all, tests[i]);
    return run_suite("weights", all);
}
