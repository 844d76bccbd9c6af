/* CIFAR-10 and CIFAR-100, binary versions: records of one label byte (CIFAR-100: coarse and fine label) and 3 x 32 x 32
 * bytes, in planes red, green, blue. `path` is the folder with data_batch_1.bin … data_batch_5.bin and test_batch.bin,
 * or train.bin and test.bin, or its parent (with cifar-10-batches-bin or cifar-100-binary in it). Labels are the fine
 * ones. All records are loaded into memory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "datasets/encoded.h"
#include "vision/base/memory.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE, FILES_MAX = 5, NAMES_MAX = 1 << 16 };

typedef struct version {
    const char *folder, *names; /* name of the unpacked folder; file of class names */
    const char *train[FILES_MAX + 1], *test[2];
    int classes, label_bytes;
} version;

static const version versions[] = {
    {"cifar-10-batches-bin",
     "batches.meta.txt",
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", NULL},
     {"test_batch.bin", NULL},
     10,
     1},
    {"cifar-100-binary", "fine_label_names.txt", {"train.bin", NULL}, {"test.bin", NULL}, 100, 2},
};

/* Finds the version in `path` or in its standard folder there. "train.bin" is a common name, so CIFAR-100 is recognised
 * by its file of class names. */
static const version *locate(const char *path, char folder[PATH_MAX]) {
    for (size_t i = 0; i < 2 * (sizeof versions / sizeof *versions); i++) {
        const version *found = &versions[i / 2];
        char file[PATH_MAX];
        if (snprintf(folder, PATH_MAX, i % 2 ? "%s/%s" : "%s", path, found->folder) >= PATH_MAX) continue;
        const char *const sign = found->label_bytes == 2 ? found->names : found->train[0];
        if (snprintf(file, sizeof file, "%s/%s", folder, sign) < PATH_MAX && access(file, F_OK) == 0) return found;
        if (snprintf(file, sizeof file, "%s/%s", folder, found->test[0]) < PATH_MAX && found->label_bytes == 1 &&
            access(file, F_OK) == 0)
            return found;
    }
    return NULL;
}

typedef struct cifar {
    vst_dataset base;
    char *path;
    const version *version;
    vst_bytes records;
    vst_bytes text; /* file of class names */
    const char *names[100];
    char numbers[100][4];
} cifar;

static size_t record_size(const cifar *self) { return (size_t)self->version->label_bytes + 3 * PIXELS; }

static vst_status cifar_read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    const cifar *self = (const cifar *)dataset;
    vst_status status = vst_image_allocate(image, 3, SIDE, SIDE);
    if (status != VST_OK) return status;
    const uint8_t *record = self->records.data + index * record_size(self);
    const uint8_t *planes = record + self->version->label_bytes;
    for (int i = 0; i < PIXELS; i++)
        for (int c = 0; c < 3; c++) image->pixels[3 * i + c] = planes[c * PIXELS + i];
    *label = planes[-1]; /* the last label byte is the fine one */
    return VST_OK;
}

static vst_status cifar_hash(const vst_dataset *dataset, uint64_t *hash) {
    const cifar *self = (const cifar *)dataset;
    *hash = XXH3_64bits(self->records.data, self->records.size);
    return VST_OK;
}

static void cifar_close(vst_dataset *dataset) {
    cifar *self = (cifar *)dataset;
    vst_bytes_clear(&self->records);
    vst_bytes_clear(&self->text);
    vst_free(self->path);
    vst_free(self);
}

static const vst_dataset_methods cifar_methods = {.read = cifar_read, .hash = cifar_hash, .close = cifar_close};

/* Appends a file of records and checks them. */
static vst_status load_file(cifar *self, int folder, const char *name) {
    vst_status status = VST_OK;
    vst_bytes file = {0};
    const size_t size = record_size(self), before = self->records.size;
    VST_TRY(vsti_read_file(folder, name, &file));
    if (file.size == 0 || file.size % size)
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%zu bytes are not a multiple of the record size %zu: fetch the file again",
                         file.size, size));
    for (size_t at = (size_t)self->version->label_bytes - 1; at < file.size; at += size)
        if (file.data[at] >= self->version->classes)
            VST_TRY(vst_fail(VST_ERROR_FORMAT, "label %d at byte %zu, it must be below %d: is it the right file?",
                             file.data[at], at, self->version->classes));
    if (before + file.size > VST_DATASET_MEMORY)
        VST_TRY(vst_fail(VST_ERROR_LIMIT, "the files together have more than %llu bytes",
                         (unsigned long long)VST_DATASET_MEMORY));
    VST_TRY(vst_bytes_resize(&self->records, before + file.size));
    memcpy(self->records.data + before, file.data, file.size);
    self->base.count += file.size / size;
out:
    vst_bytes_clear(&file);
    return status == VST_OK ? status : vst_fail_in(status, "%s/%s", self->path, name);
}

/* Reads one name per line. If there is no such file, or it has another number of names, numbers are used as names. */
static vst_status load_names(cifar *self, int folder) {
    const version *which = self->version;
    int found = 0;
    for (int i = 0; i < which->classes; i++) {
        snprintf(self->numbers[i], sizeof self->numbers[i], "%d", i);
        self->names[i] = self->numbers[i];
    }
    self->base.class_names = self->names;
    const vst_status status = vsti_read_file(folder, which->names, &self->text);
    if (status != VST_OK) return status == VST_ERROR_MEMORY ? status : VST_OK;
    if (self->text.size == 0 || self->text.size >= NAMES_MAX || memchr(self->text.data, '\0', self->text.size))
        return VST_OK;
    const vst_status grown = vst_bytes_resize(&self->text, self->text.size + 1);
    if (grown != VST_OK) return grown;
    self->text.data[self->text.size - 1] = '\0';
    const char *names[100];
    char *rest = NULL;
    for (char *line = strtok_r((char *)self->text.data, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
        if (found++ < which->classes) names[found - 1] = line;
    if (found == which->classes) memcpy(self->names, names, (size_t)found * sizeof *names);
    return VST_OK;
}

static vst_status open_cifar(vst_dataset **out, const char *path, const char *split) {
    vst_status status = VST_OK;
    char folder[PATH_MAX];
    int opened = -1;
    const version *which = locate(path, folder);
    if (!which)
        return vst_fail(VST_ERROR_NOT_FOUND,
                        "%s: there is no data_batch_1.bin or test_batch.bin (CIFAR-10), and no "
                        "fine_label_names.txt with train.bin and test.bin (CIFAR-100)",
                        path);
    cifar *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->version = which;
    self->base = (vst_dataset){.methods = &cifar_methods, .channels = 3, .classes = which->classes};
    self->base.path = self->path = vst_strdup(folder);
    if (!self->path) VST_TRY(vst_fail_memory(strlen(folder)));
    opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) VST_TRY(vst_fail(VST_ERROR_IO, "%s: cannot be opened: %s", folder, strerror(errno)));
    for (const char *const *name = strcmp(split, "train") == 0 ? which->train : which->test; *name; name++)
        VST_TRY(load_file(self, opened, *name));
    VST_TRY(load_names(self, opened));
    *out = &self->base;
    self = NULL;
out:
    if (opened >= 0) close(opened);
    if (self) cifar_close(&self->base);
    return status;
}

static bool probe(const char *path) {
    char folder[PATH_MAX];
    return locate(path, folder) != NULL;
}

extern const vst_dataset_format vsti_dataset_format_cifar;
const vst_dataset_format vsti_dataset_format_cifar = {
    .name = "cifar",
    .help = "CIFAR-10 or CIFAR-100, binary version: data_batch_1.bin … and test_batch.bin, or train.bin and test.bin",
    .probe = probe,
    .open = open_cifar,
};
