/* IDX, the format of MNIST and Fashion-MNIST: a big-endian magic number and dimensions, then bytes; plain or gzip,
 * detected from the content. `path` is a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte,
 * t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz), or one of these files; the others are then found beside
 * it, with the same prefix, such as "emnist-digits-". Images are kept in memory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#include "datasets/dataset.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

enum {
    MAGIC_LABELS = 0x801, /* unsigned bytes, one dimension */
    MAGIC_IMAGES = 0x803, /* unsigned bytes, three dimensions */
    SIDE_MAX = 65536,
    CLASSES_MAX = 256,
    DEFLATE_RATIO = 1032, /* maximum expansion of deflate */
    BUFFER = 1 << 16
};

/* ---- Reading plain and gzip files ---- */

typedef struct reader {
    const char *path;
    int file;
    bool gzip, member; /* member: inside a gzip member, whose end has not been reached */
    uint64_t size;     /* of the file */
    uint64_t taken;    /* bytes read from the file so far */
    uint64_t offset;   /* decompressed bytes returned so far */
    z_stream stream;   /* next_in and avail_in are the rest of `buffer`, also for plain files */
    uint8_t buffer[BUFFER];
} reader;

static void *stream_allocate(void *opaque, unsigned count, unsigned size) {
    (void)opaque;
    return vst_calloc(count, size);
}

static void stream_release(void *opaque, void *memory) {
    (void)opaque;
    vst_free(memory);
}

/* Fills the empty buffer; it is still empty at the end of the file. */
static vst_status reader_fill(reader *self) {
    ssize_t got;
    do got = read(self->file, self->buffer, sizeof self->buffer);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return vst_fail(VST_ERROR_IO, "%s: reading at byte %llu failed: %s", self->path,
                        (unsigned long long)self->taken, strerror(errno));
    self->taken += (uint64_t)got;
    self->stream.next_in = self->buffer;
    self->stream.avail_in = (unsigned)got;
    return VST_OK;
}

static void reader_close(reader *self) {
    if (!self) return;
    if (self->gzip) inflateEnd(&self->stream);
    if (self->file >= 0) close(self->file);
    vst_free(self);
}

static vst_status reader_open(reader **out, const char *path) {
    vst_status status = VST_OK;
    reader *self = vst_alloc(sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    *self = (reader){.path = path, .file = -1, .stream = {.zalloc = stream_allocate, .zfree = stream_release}};
    VST_TRY(vsti_file_open(path, O_RDONLY, &self->file, &self->size));
    VST_TRY(reader_fill(self));
    if (self->stream.avail_in >= 2 && self->buffer[0] == 0x1f && self->buffer[1] == 0x8b) {
        const int code = inflateInit2(&self->stream, 15 + 16); /* gzip, verifying its checksum */
        self->gzip = self->member = code == Z_OK;
        if (code != Z_OK) status = vst_fail(VST_ERROR_MEMORY, "%s: zlib cannot start: out of memory", path);
    }
out:
    if (status != VST_OK) reader_close(self);
    else *out = self;
    return status;
}

/* Inflates up to `wanted` bytes from the buffer. */
static vst_status reader_inflate(reader *self, uint8_t *out, size_t wanted, size_t *got) {
    z_stream *stream = &self->stream;
    if (!self->member && stream->next_in[0] != 0x1f) /* a member may only be followed by another one */
        return vst_fail(VST_ERROR_FORMAT,
                        "%s: bytes that are not gzip after the end of the data, at byte %llu of the file: fetch "
                        "the file again",
                        self->path, (unsigned long long)(self->taken - stream->avail_in));
    self->member = true;
    stream->next_out = out;
    stream->avail_out = wanted < UINT_MAX ? (unsigned)wanted : UINT_MAX;
    const unsigned room = stream->avail_out;
    const int code = inflate(stream, Z_NO_FLUSH);
    *got = room - stream->avail_out;
    if (code == Z_MEM_ERROR) return vst_fail(VST_ERROR_MEMORY, "%s: unpacking: out of memory", self->path);
    if (code == Z_STREAM_END) {
        self->member = false;
        return inflateReset(stream) == Z_OK ? VST_OK
                                            : vst_fail(VST_ERROR_INTERNAL, "%s: zlib cannot restart", self->path);
    }
    if (code == Z_OK || code == Z_BUF_ERROR) return VST_OK; /* Z_BUF_ERROR: more input is needed */
    return vst_fail(VST_ERROR_FORMAT, "%s: corrupt gzip data at byte %llu of the file (zlib: %s): fetch the file again",
                    self->path, (unsigned long long)(self->taken - stream->avail_in),
                    stream->msg ? stream->msg : "no details");
}

/* Reads `wanted` bytes, or fewer at the end of the data. */
static vst_status reader_get(reader *self, uint8_t *out, size_t wanted, size_t *got) {
    for (*got = 0; *got < wanted;) {
        vst_status status = self->stream.avail_in ? VST_OK : reader_fill(self);
        if (status != VST_OK) return status;
        const bool ended = !self->stream.avail_in; /* end of the file; zlib may still have output */
        size_t step = 0;
        if (ended && !(self->gzip && self->member)) return VST_OK;
        if (self->gzip) {
            status = reader_inflate(self, out + *got, wanted - *got, &step);
            if (status != VST_OK) return status;
            if (ended && !step && self->member)
                return vst_fail(VST_ERROR_FORMAT,
                                "%s: the gzip data is cut off at byte %llu, the end of the file: fetch the file "
                                "again",
                                self->path, (unsigned long long)self->taken);
        } else {
            step = wanted - *got < self->stream.avail_in ? wanted - *got : self->stream.avail_in;
            memcpy(out + *got, self->stream.next_in, step);
            self->stream.next_in += step;
            self->stream.avail_in -= (unsigned)step;
        }
        *got += step;
        self->offset += step;
    }
    return VST_OK;
}

static vst_status reader_exactly(reader *self, uint8_t *out, size_t wanted, const char *what) {
    size_t got;
    const unsigned long long start = self->offset;
    vst_status status = reader_get(self, out, wanted, &got);
    if (status != VST_OK || got == wanted) return status;
    return vst_fail(VST_ERROR_FORMAT,
                    "%s: cut off: %zu bytes (%s) are needed from offset %llu%s, there are %zu: fetch the file "
                    "again",
                    self->path, wanted, what, start, self->gzip ? " of the unpacked data" : "", got);
}

/* Fails if more data follow. For gzip this also verifies the checksum. */
static vst_status reader_finish(reader *self) {
    uint8_t byte;
    size_t got;
    vst_status status = reader_get(self, &byte, 1, &got);
    if (status != VST_OK || got == 0) return status;
    return vst_fail(VST_ERROR_FORMAT, "%s: more bytes than its header says: data at offset %llu%s must be the end",
                    self->path, (unsigned long long)self->offset - 1, self->gzip ? " of the unpacked data" : "");
}

/* ---- IDX files ---- */

static uint32_t big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Reads a file of `rank` dimensions into *data, which the caller frees with vst_free. */
static vst_status read_idx(const char *path, uint32_t magic, int rank, uint32_t dims[], uint8_t **data) {
    vst_status status = VST_OK;
    reader *self = NULL;
    uint8_t *bytes = NULL, header[16];
    size_t total = 1;
    VST_TRY(reader_open(&self, path));
    VST_TRY(reader_exactly(self, header, 4, "magic number"));
    if (big_endian(header) != magic) {
        status = vst_fail(VST_ERROR_FORMAT, "%s: begins with 0x%08x, IDX %s begin with 0x%08x: is it the right file?",
                          path, big_endian(header), rank == 1 ? "labels" : "images", magic);
        goto out;
    }
    VST_TRY(reader_exactly(self, header, 4 * (size_t)rank, "header"));
    for (int i = 0; i < rank; i++) {
        dims[i] = big_endian(header + 4 * i);
        if (!vst_multiply(total, dims[i], &total)) total = SIZE_MAX;
        if (dims[i] == 0 || (i > 0 && dims[i] > SIDE_MAX)) {
            status = vst_fail(VST_ERROR_FORMAT, "%s: dimension %d in the header (byte %d) is %u, it must be 1 to %u",
                              path, i, 4 + 4 * i, dims[i], i ? SIDE_MAX : UINT32_MAX);
            goto out;
        }
    }
    if (total > VST_DATASET_MEMORY) {
        status = vst_fail(VST_ERROR_LIMIT, "%s: the header announces %zu bytes or more, the limit is %llu", path, total,
                          (unsigned long long)VST_DATASET_MEMORY);
        goto out;
    }
    if (total / (self->gzip ? DEFLATE_RATIO : 1) > self->size) { /* checked before memory is allocated */
        status = vst_fail(VST_ERROR_FORMAT,
                          "%s: cut off: the header announces %zu bytes from offset %d, a file of %llu bytes "
                          "cannot hold them: fetch the file again",
                          path, total, 4 + 4 * rank, (unsigned long long)self->size);
        goto out;
    }
    bytes = vst_alloc(total);
    if (!bytes) {
        status = vst_fail_memory(total);
        goto out;
    }
    VST_TRY(reader_exactly(self, bytes, total, rank == 1 ? "labels" : "images"));
    VST_TRY(reader_finish(self));
    *data = bytes;
    bytes = NULL;
out:
    reader_close(self);
    vst_free(bytes);
    return status;
}

/* ---- File names ---- */

static const char *const images_name = "images-idx3-ubyte", *const labels_name = "labels-idx1-ubyte";
static const char *const stems[2] = {"train", "t10k"};

/* Where the four files are, as parts of the given path. */
typedef struct location {
    const char *folder, *prefix;
    int folder_length, prefix_length;
} location;

/* False if `path` is neither a folder nor a file with one of the four names. */
static bool locate(const char *path, location *out) {
    struct stat info;
    if (stat(path, &info) != 0) return false;
    *out = (location){path, "", (int)strlen(path), 0};
    if (S_ISDIR(info.st_mode)) return true;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (int i = 0; i < 4; i++) {
        char ending[32];
        snprintf(ending, sizeof ending, "%s-%s", stems[i / 2], i % 2 ? labels_name : images_name);
        const char *found = strstr(name, ending);
        if (!found || (found[strlen(ending)] && strcmp(found + strlen(ending), ".gz") != 0)) continue;
        out->folder = slash ? path : ".";
        out->folder_length = slash && slash > path ? (int)(slash - path) : 1;
        out->prefix = name;
        out->prefix_length = (int)(found - name);
        return true;
    }
    return false;
}

/* Finds the plain or the .gz file; false if neither exists. */
static bool find_file(const location *at, const char *stem, const char *name, char out[PATH_MAX]) {
    for (int i = 0; i < 2; i++) {
        const int length = snprintf(out, PATH_MAX, "%.*s/%.*s%s-%s%s", at->folder_length, at->folder, at->prefix_length,
                                    at->prefix, stem, name, i ? ".gz" : "");
        if (length < PATH_MAX && access(out, F_OK) == 0) return true;
    }
    return false;
}

static vst_status need_file(const location *at, const char *stem, const char *name, char out[PATH_MAX]) {
    if (find_file(at, stem, name, out)) return VST_OK;
    return vst_fail(VST_ERROR_NOT_FOUND, "%.*s: there is neither %.*s%s-%s nor the same with .gz", at->folder_length,
                    at->folder, at->prefix_length, at->prefix, stem, name);
}

static bool probe(const char *path) {
    char found[PATH_MAX];
    location at;
    return locate(path, &at) &&
           (find_file(&at, stems[0], images_name, found) || find_file(&at, stems[1], images_name, found));
}

/* ---- The data set ---- */

typedef struct idx {
    vst_dataset base;
    char *path; /* of the image file */
    uint8_t *images, *labels;
    int height, width;
    const char *names[CLASSES_MAX];
    char numbers[CLASSES_MAX][12];
} idx;

static vst_status idx_read(const vst_dataset *dataset, uint64_t index, vst_image *image, int *label) {
    const idx *self = (const idx *)dataset;
    vst_status status = vst_image_allocate(image, 1, self->height, self->width);
    if (status != VST_OK) return status;
    const size_t size = (size_t)self->height * (size_t)self->width;
    memcpy(image->pixels, self->images + index * size, size);
    *label = self->labels[index];
    return VST_OK;
}

static vst_status idx_hash(const vst_dataset *dataset, uint64_t *hash) {
    const idx *self = (const idx *)dataset;
    const size_t size = (size_t)self->height * (size_t)self->width;
    const uint64_t parts[5] = {dataset->count, (uint64_t)self->height, (uint64_t)self->width,
                               XXH3_64bits(self->images, dataset->count * size),
                               XXH3_64bits(self->labels, dataset->count)};
    *hash = XXH3_64bits(parts, sizeof parts);
    return VST_OK;
}

static void idx_close(vst_dataset *dataset) {
    idx *self = (idx *)dataset;
    vst_free(self->path);
    vst_free(self->images);
    vst_free(self->labels);
    vst_free(self);
}

static const vst_dataset_methods idx_methods = {.read = idx_read, .hash = idx_hash, .close = idx_close};

static void count_classes(idx *self, const uint8_t *labels, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (labels[i] >= self->base.classes) self->base.classes = labels[i] + 1;
}

/* True for a folder named like fashion-mnist (or FashionMNIST/raw, torchvision's layout). */
static bool is_fashion(const location *at) {
    char folder[PATH_MAX], full[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", at->folder_length, at->folder);
    if (!realpath(folder, full)) return false;
    char *last = strrchr(full, '/');
    if (strcmp(last, "/raw") == 0) *last = '\0';
    last = strrchr(full, '/');
    return last && strcasestr(last, "fashion");
}

static void name_classes(idx *self, const location *at) {
    static const char *const fashion[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                          "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
    const bool is = self->base.classes == 10 && is_fashion(at);
    for (int i = 0; i < self->base.classes; i++) {
        snprintf(self->numbers[i], sizeof self->numbers[i], "%d", i);
        self->names[i] = is ? fashion[i] : self->numbers[i];
    }
    self->base.class_names = self->names;
}

/* Loads images and labels of one split. */
static vst_status load_split(idx *self, const location *at, const char *stem) {
    vst_status status = VST_OK;
    char path[PATH_MAX];
    uint32_t dims[3], count;
    VST_TRY(need_file(at, stem, images_name, path));
    self->base.path = self->path = vst_strdup(path);
    if (!self->path) return vst_fail_memory(strlen(path));
    VST_TRY(need_file(at, stem, labels_name, path));
    VST_TRY(read_idx(self->path, MAGIC_IMAGES, 3, dims, &self->images));
    VST_TRY(read_idx(path, MAGIC_LABELS, 1, &count, &self->labels));
    if (count != dims[0])
        return vst_fail(VST_ERROR_FORMAT, "%s holds %u images, but %s %u labels: they do not belong together",
                        self->path, dims[0], path, count);
    self->base.count = count;
    self->height = (int)dims[1];
    self->width = (int)dims[2];
    count_classes(self, self->labels, count);
out:
    return status;
}

/* The number of classes is that of both splits, so the labels of the other split are read too. */
static vst_status count_other_split(idx *self, const location *at, const char *stem) {
    char path[PATH_MAX];
    uint8_t *labels = NULL;
    uint32_t count;
    if (!find_file(at, stem, labels_name, path)) return VST_OK;
    vst_status status = read_idx(path, MAGIC_LABELS, 1, &count, &labels);
    if (status == VST_OK) count_classes(self, labels, count);
    vst_free(labels);
    return status;
}

static vst_status open_idx(vst_dataset **out, const char *path, const char *split) {
    vst_status status = VST_OK;
    location at;
    if (!locate(path, &at))
        return vst_fail(VST_ERROR_NOT_FOUND, "%s: not a folder, and not named like train-%s or t10k-%s", path,
                        images_name, images_name);
    const int which = strcmp(split, "test") == 0;
    idx *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->base.methods = &idx_methods;
    self->base.channels = 1;
    VST_TRY(load_split(self, &at, stems[which]));
    VST_TRY(count_other_split(self, &at, stems[!which]));
    name_classes(self, &at);
    *out = &self->base;
    self = NULL;
out:
    if (self) idx_close(&self->base);
    return status;
}

extern const vst_dataset_format vsti_dataset_format_idx;
const vst_dataset_format vsti_dataset_format_idx = {
    .name = "idx",
    .help = "MNIST's format: {train,t10k}-images-idx3-ubyte[.gz] and {train,t10k}-labels-idx1-ubyte[.gz]",
    .probe = probe,
    .open = open_idx,
};
