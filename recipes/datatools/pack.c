/* Writes a data set as WebDataset shards. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datasets/tar_index.h"
#include "datasets/tar_shards.h"
#include "recipes/datatools/datatools.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"
#include "vision/base/random.h"
#include "vision/image/decode.h"
#include "vision/image/resize.h"

enum { BLOCK = 512, RECORD = 20 * BLOCK }; /* the size of a tar is a multiple of RECORD */

/* Shards have this suffix until all are written. Without it, an interrupted run would leave some of the samples, which
 * look like a whole set. */
#define UNFINISHED VSTI_SHARD_UNFINISHED

typedef struct packer {
    const vst_dataset *dataset;
    const vst_pack_options *options;
    const char *folder, *name;
    vsti_file_writer output; /* the current shard */
    uint64_t written;        /* bytes written to it */
    bool publishing;         /* some shards may have been renamed already */
    vst_pack_result *result;
    vst_bytes bytes;
    vst_image image, smaller, scratch;
} packer;

/* ---- Members ---- */

static uint64_t padded(uint64_t size) { return (size + BLOCK - 1) / BLOCK * BLOCK; }

/* Writes a ustar member. Owner and time are omitted, so that equal data give equal shards. Errors are reported on
 * commit. */
static void write_member(packer *self, const char *name, const void *data, size_t size) {
    static const char zeros[BLOCK];
    char header[BLOCK] = {0};
    unsigned sum = 0;
    snprintf(header, 100, "%s", name);
    memcpy(header + 100,
           "0000644\0"
           "0000000\0"
           "0000000",
           24);
    snprintf(header + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(header + 136, "00000000000\0        0", 21); /* time, a blank checksum, type */
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    for (int i = 0; i < BLOCK; i++) sum += (uint8_t)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    fwrite(header, 1, BLOCK, self->output.stream);
    fwrite(data, 1, size, self->output.stream);
    fwrite(zeros, 1, (size_t)(padded(size) - size), self->output.stream);
    self->written += BLOCK + padded(size);
}

/* ---- Image files ---- */

static bool too_large(const packer *self, int height, int width) {
    return self->options->resize > 0 && (height < width ? height : width) > self->options->resize;
}

static vst_status shrink(packer *self) {
    int height, width;
    vst_resize_shorter(self->image.height, self->image.width, self->options->resize, &height, &width);
    const vst_status status =
        vst_image_resize(&self->image, NULL, height, width, VST_FILTER_BICUBIC, &self->scratch, &self->smaller);
    if (status != VST_OK) return status;
    const vst_image large = self->image;
    self->image = self->smaller;
    self->smaller = large; /* keep its memory for the next image */
    self->result->resized++;
    return VST_OK;
}

/* Encodes self->image to self->bytes. */
static vst_status encode(packer *self, vst_image_format format) {
    uint8_t *file = NULL;
    size_t size = 0;
    vst_status status = format == VST_IMAGE_JPEG ? vst_jpeg_encode(&self->image, self->options->quality, &file, &size)
                                                 : vst_png_encode(&self->image, &file, &size);
    if (status == VST_OK) status = vst_bytes_resize(&self->bytes, size);
    if (status == VST_OK) memcpy(self->bytes.data, file, size);
    vst_free(file);
    return status;
}

/* Replaces the file in self->bytes by a smaller one of the same format if its image is too large. */
static vst_status shrink_file(packer *self, vst_image_format format) {
    const vst_image_limits *limits = vst_dataset_limits(self->dataset);
    const vst_decode_options options = {.limits = limits};
    vst_image_facts facts;
    vst_status status = vst_image_inspect(self->bytes.data, self->bytes.size, limits, &facts);
    if (status != VST_OK) return vst_fail_in(status, "cannot be read");
    if (!too_large(self, facts.height, facts.width)) return VST_OK;
    status = vst_image_decode(self->bytes.data, self->bytes.size, &options, &self->image, NULL);
    if (status == VST_OK) status = shrink(self);
    if (status == VST_OK) status = encode(self, format);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "cannot be made smaller");
}

static vst_status get_encoded(packer *self, uint64_t index, int *label, vst_image_format *format) {
    vst_status status = vst_dataset_read_bytes(self->dataset, index, &self->bytes, label);
    if (status != VST_OK) return status;
    *format = vst_image_format_of(self->bytes.data, self->bytes.size);
    if (*format == VST_IMAGE_UNKNOWN) status = vst_fail(VST_ERROR_FORMAT, "is neither JPEG nor PNG");
    else if (self->options->resize > 0) status = shrink_file(self, *format);
    if (!vst_dataset_is_broken(status)) return status;
    char name[PATH_MAX], cause[1024];
    vst_dataset_sample_name(self->dataset, index, name, sizeof name);
    snprintf(cause, sizeof cause, "%s", vst_error_message());
    return vst_fail(status, "%s: %s %s: remove it; `vistill data check` lists all such",
                    vst_dataset_path(self->dataset), name, cause);
}

static vst_status get_pixels(packer *self, uint64_t index, int *label) {
    vst_status status = vst_dataset_read(self->dataset, index, &self->image, label);
    if (status == VST_OK && too_large(self, self->image.height, self->image.width)) status = shrink(self);
    return status == VST_OK ? encode(self, VST_IMAGE_PNG) : status;
}

/* Gets the image file of a sample, encoding it if the data set stores pixels, and its extension. */
static vst_status get_file(packer *self, uint64_t index, int *label, const char **extension) {
    vst_image_format format = VST_IMAGE_PNG;
    const vst_status status =
        vst_dataset_encoded(self->dataset) ? get_encoded(self, index, label, &format) : get_pixels(self, index, label);
    *extension = format == VST_IMAGE_JPEG ? "jpg" : "png";
    return status;
}

/* ---- Shards ---- */

/* Writes folder/classes.txt, one name per line. */
static vst_status write_classes(const vst_dataset *dataset, const char *folder) {
    vst_status status = VST_OK;
    vsti_file_writer output = {0};
    char *path = vst_format("%s/classes.txt", folder);
    if (!path) return vst_fail_memory(strlen(folder));
    VST_TRY(vsti_file_create(&output, path));
    for (int i = 0; i < vst_dataset_classes(dataset); i++)
        fprintf(output.stream, "%s\n", vst_dataset_class_name(dataset, i));
    VST_TRY(vsti_file_commit(&output));
out:
    vst_free(path);
    return status;
}

/* The path folder/NAME-000007.tar followed by `ending`. */
static vst_status shard_path(const packer *self, uint64_t shard, const char *ending, char path[PATH_MAX]) {
    if (snprintf(path, PATH_MAX, "%s/%s-%06llu.tar%s", self->folder, self->name, (unsigned long long)shard, ending) <
        PATH_MAX)
        return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "%s: the path is too long", self->folder);
}

static vst_status open_shard(packer *self) {
    char path[PATH_MAX];
    const vst_status status = shard_path(self, self->result->shards, UNFINISHED, path);
    if (status != VST_OK) return status;
    self->written = 0;
    return vsti_file_create(&self->output, path);
}

static vst_status close_shard(packer *self) {
    static const char zeros[RECORD];
    char path[PATH_MAX];
    uint64_t images;
    snprintf(path, sizeof path, "%s", self->output.path);
    const uint64_t end = self->written + 2 * (uint64_t)BLOCK, whole = (end + RECORD - 1) / RECORD * RECORD;
    for (uint64_t left = whole - self->written; left > 0;) {
        const size_t step = left < sizeof zeros ? (size_t)left : sizeof zeros;
        fwrite(zeros, 1, step, self->output.stream);
        left -= step;
    }
    vst_status status = vsti_file_commit(&self->output);
    if (status != VST_OK) return status;
    self->result->shards++;
    self->result->bytes += whole;
    return vsti_tar_index_make(path, &images);
}

static vst_status rename_part(const packer *self, uint64_t shard, const char *from_ending, const char *to_ending) {
    char from[PATH_MAX], to[PATH_MAX];
    vst_status status = VST_OK;
    VST_TRY(shard_path(self, shard, from_ending, from));
    VST_TRY(shard_path(self, shard, to_ending, to));
    if (rename(from, to) != 0) VST_TRY(vst_fail(VST_ERROR_IO, "%s: cannot become %s: %s", from, to, strerror(errno)));
out:
    return status;
}

/* Renames the shards after all samples are written. Readers refuse the folder as long as one has its suffix. */
static vst_status publish(packer *self) {
    vst_status status = VST_OK;
    self->publishing = true;
    if (vst_dataset_classes(self->dataset) > 0) VST_TRY(write_classes(self->dataset, self->folder));
    for (uint64_t i = self->result->shards; i-- > 0;) VST_TRY(rename_part(self, i, UNFINISHED ".idx", ".idx"));
    for (uint64_t i = self->result->shards; i-- > 0;) VST_TRY(rename_part(self, i, UNFINISHED, ""));
out:
    return status;
}

/* Removes the shards after a failure, but not if some may have been renamed: the others must stay, so that the set is
 * refused. */
static void remove_parts(const packer *self) {
    static const char *const endings[] = {UNFINISHED, UNFINISHED ".idx"};
    char path[PATH_MAX];
    for (uint64_t i = 0; i < self->result->shards && !self->publishing; i++)
        for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
            if (shard_path(self, i, endings[k], path) == VST_OK) unlink(path);
}

static vst_status pack_sample(packer *self, uint64_t position) {
    const vst_pack_options *options = self->options;
    const uint64_t count = vst_dataset_count(self->dataset);
    const uint64_t index = options->shuffle ? vst_random_permute(options->seed, 0, count, position) : position;
    char name[40], text[16];
    const char *extension;
    int label = -1;
    vst_status status = get_file(self, index, &label, &extension);
    if (status != VST_OK) return status;
    const uint64_t size = BLOCK + padded(self->bytes.size) + (label >= 0 ? 2 * BLOCK : 0);
    if (self->output.stream && self->written + size + RECORD > options->shard_bytes) status = close_shard(self);
    if (status == VST_OK && !self->output.stream) status = open_shard(self);
    if (status != VST_OK) return status;
    snprintf(name, sizeof name, "%09llu.%s", (unsigned long long)position, extension);
    write_member(self, name, self->bytes.data, self->bytes.size);
    if (label >= 0) {
        snprintf(name, sizeof name, "%09llu.cls", (unsigned long long)position);
        write_member(self, name, text, (size_t)snprintf(text, sizeof text, "%d", label));
    }
    if (ferror(self->output.stream))
        return vst_fail(VST_ERROR_IO, "%s: writing failed: is the disk full?", self->output.temporary);
    self->result->samples++;
    return VST_OK;
}

/* Creates the folder. Fails if it has shards of an earlier run, because they would be read together with the new ones.
 */
static vst_status prepare_folder(const char *folder, const char *name) {
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return vst_fail(VST_ERROR_IO, "%s: the folder cannot be made: %s", folder, strerror(errno));
    DIR *stream = opendir(folder);
    if (!stream) return vst_fail(VST_ERROR_IO, "%s: cannot be read: %s", folder, strerror(errno));
    vst_status status = VST_OK;
    const size_t length = strlen(name);
    for (const struct dirent *entry; status == VST_OK && (entry = readdir(stream));)
        if (strncmp(entry->d_name, name, length) == 0 && entry->d_name[length] == '-' && strstr(entry->d_name, ".tar"))
            status =
                vst_fail(VST_ERROR_ARGUMENT, "%s/%s is there already: remove the old shards or choose another folder",
                         folder, entry->d_name);
    closedir(stream);
    return status;
}

vst_status vst_data_pack(const vst_dataset *dataset, const char *folder, const char *name,
                         const vst_pack_options *options, vst_pack_result *result) {
    vst_status status = VST_OK;
    vst_progress progress;
    packer self = {.dataset = dataset, .options = options, .folder = folder, .name = name, .result = result};
    const uint64_t count = vst_dataset_count(dataset);
    *result = (vst_pack_result){0};
    status = prepare_folder(folder, name);
    if (status != VST_OK) return status;
    vst_progress_start(&progress, "packing", "images", count);
    for (uint64_t i = 0; i < count; i++) {
        if (options->stop && *options->stop) VST_TRY(vst_fail(VST_ERROR_INTERRUPTED, "stopped while packing"));
        VST_TRY(pack_sample(&self, i));
        vst_progress_update(&progress, i + 1, NAN);
    }
    VST_TRY(close_shard(&self));
    VST_TRY(publish(&self));
out:
    vst_progress_finish(&progress);
    vsti_file_discard(&self.output);
    if (status != VST_OK) remove_parts(&self);
    vst_bytes_clear(&self.bytes);
    vst_image_clear(&self.image);
    vst_image_clear(&self.smaller);
    vst_image_clear(&self.scratch);
    return status;
}
