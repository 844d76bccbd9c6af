/* A data set of image files in a folder. */
#include "datasets/file_set.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datasets/encoded.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

static vst_status set_read(const vst_dataset *dataset, uint64_t index, vst_bytes *bytes, int *label) {
    const vsti_file_set *self = (const vsti_file_set *)dataset;
    char path[PATH_MAX];
    *label = vsti_files_path(&self->files, index, path, sizeof path);
    return vsti_read_file(self->folder, path, bytes);
}

static void set_name(const vst_dataset *dataset, uint64_t index, char *buffer, size_t size) {
    vsti_files_path(&((const vsti_file_set *)dataset)->files, index, buffer, size);
}

static uint64_t set_size(const vst_dataset *dataset, uint64_t index, int *label) {
    const vsti_file_set *self = (const vsti_file_set *)dataset;
    char path[PATH_MAX];
    struct stat info;
    *label = vsti_files_path(&self->files, index, path, sizeof path);
    return fstatat(self->folder, path, &info, 0) == 0 ? (uint64_t)info.st_size : UINT64_MAX;
}

static vst_status set_hash(const vst_dataset *dataset, uint64_t *hash) {
    vsti_encoded_hash(dataset, set_size, hash);
    return VST_OK;
}

static void set_close(vst_dataset *dataset) { vsti_file_set_close((vsti_file_set *)dataset); }

static const vst_dataset_methods methods = {
    .read_bytes = set_read, .name = set_name, .hash = set_hash, .close = set_close};

vst_status vsti_file_set_create(vsti_file_set **out, const char *path, const char *split, vsti_folder_kind kind) {
    vst_status status = VST_OK;
    char folder[PATH_MAX];
    vsti_file_set *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->base = (vst_dataset){.methods = &methods, .channels = 3};
    self->folder = -1;
    VST_TRY(vsti_split_folder(path, split, kind, folder, &self->base.whole));
    self->base.path = self->path = vst_strdup(folder);
    if (!self->path) VST_TRY(vst_fail_memory(strlen(folder)));
    self->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->folder < 0) VST_TRY(vst_fail(VST_ERROR_IO, "%s: cannot be opened: %s", folder, strerror(errno)));
    *out = self;
    self = NULL;
out:
    vsti_file_set_close(self);
    return status;
}

vst_status vsti_file_set_finish(vsti_file_set *self) {
    self->base.count = self->files.count;
    self->base.classes = (int)self->name_count;
    self->base.class_names = (const char *const *)self->names;
    if (self->files.stray)
        vst_log(VST_LOG_INFO, "%s: %llu files of other systems (._*, .DS_Store, Thumbs.db …) are passed over",
                self->path, (unsigned long long)self->files.stray);
    if (self->files.count > 0) return VST_OK;
    return vst_fail(VST_ERROR_NOT_FOUND, "%s: no image files (.jpg, .jpeg, .png …) found", self->path);
}

void vsti_file_set_close(vsti_file_set *self) {
    if (!self) return;
    if (self->folder >= 0) close(self->folder);
    vsti_files_clear(&self->files);
    vsti_names_free(self->names, self->name_count);
    vst_free(self->path);
    vst_free(self);
}
