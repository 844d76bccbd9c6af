/* Run folders: creation, lock, text files. */
#include "recipes/train/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recipes/train/events.h"
#include "vision/base/file.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

static const char *const files[] = {"last.safetensors", "previous.safetensors", "best.safetensors", "log.txt",
                                    "summary.csv",      "recipe.yaml",          "samples.png",      "report.html",
                                    VSTI_EVENTS_FILE,   VSTI_STEPS_FILE};
enum { FILES = sizeof files / sizeof *files };

vst_status vsti_make_folders(const char *path, const char *key) {
    char part[VSTI_PATH];
    const size_t length = strlen(path);
    if (!length || length >= sizeof part)
        return vst_fail(VST_ERROR_ARGUMENT, "%s: a folder's path has 1 to %d bytes, this one %zu", key, VSTI_PATH - 1,
                        length);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i]) continue;
        const char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return vst_fail(VST_ERROR_IO, "%s: cannot make the folder: %s; choose another with %s", part,
                            strerror(errno), key);
        part[i] = kept;
    }
    return VST_OK;
}

vst_status vsti_run_folder_file(const vsti_run_folder *folder, const char *name, char path[VSTI_PATH]) {
    const int length = snprintf(path, VSTI_PATH, "%s/%s", folder->path, name);
    if (length > 0 && length < VSTI_PATH) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "%.80s…/%s: the path is longer than %d bytes", folder->path, name,
                    VSTI_PATH - 1);
}

/* Removes temporary files of killed runs, which may be as large as a checkpoint. */
static void remove_strays(const vsti_run_folder *folder) {
    char path[VSTI_PATH];
    for (size_t i = 0; i < FILES; i++)
        if (vsti_run_folder_file(folder, files[i], path) == VST_OK) vsti_file_remove_strays(path);
}

vst_status vsti_run_folder_open(vsti_run_folder *folder, const char *path) {
    vst_status status = VST_OK;
    char file[VSTI_PATH];
    *folder = (vsti_run_folder){.lock = -1, .path = vst_strdup(path)};
    if (!folder->path) VST_TRY(vst_fail_memory(strlen(path) + 1));
    VST_TRY(vsti_make_folders(path, "run.output"));
    VST_TRY(vsti_run_folder_file(folder, "lock", file));
    VST_TRY(vsti_file_open(file, O_RDWR | O_CREAT, &folder->lock, NULL));
    if (flock(folder->lock, LOCK_EX | LOCK_NB) != 0)
        VST_TRY(vst_fail(VST_ERROR_IO,
                         errno == EWOULDBLOCK ? "%s is in use by another training (%s): wait for it, or choose "
                                                "another folder with run.output"
                                              : "%s: cannot lock it: %s",
                         path, strerror(errno)));
    remove_strays(folder);
out:
    if (status != VST_OK) vsti_run_folder_close(folder);
    return status;
}

void vsti_run_folder_close(vsti_run_folder *folder) {
    if (folder->path && folder->lock >= 0) close(folder->lock);
    vst_free(folder->path);
    *folder = (vsti_run_folder){.lock = -1};
}

bool vsti_run_folder_has(const vsti_run_folder *folder, const char *name) {
    char path[VSTI_PATH];
    return vsti_run_folder_file(folder, name, path) == VST_OK && access(path, F_OK) == 0;
}

bool vsti_run_folder_writes(const vsti_run_folder *folder, const char *path) {
    char own[VSTI_PATH];
    struct stat wanted, found;
    if (stat(path, &wanted) != 0) return false;
    for (size_t i = 0; i < FILES; i++)
        if (vsti_run_folder_file(folder, files[i], own) == VST_OK && stat(own, &found) == 0 &&
            found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino)
            return true;
    return false;
}

vst_status vsti_run_folder_clean(const vsti_run_folder *folder) {
    for (size_t i = 0; i < FILES; i++) {
        char path[VSTI_PATH];
        vst_status status = vsti_run_folder_file(folder, files[i], path);
        if (status != VST_OK) return status;
        if (unlink(path) != 0 && errno != ENOENT)
            return vst_fail(VST_ERROR_IO, "%s: cannot remove the old file: %s", path, strerror(errno));
    }
    return VST_OK;
}

vst_status vsti_run_folder_write(const vsti_run_folder *folder, const char *name, const char *text) {
    char path[VSTI_PATH];
    vst_status status = vsti_run_folder_file(folder, name, path);
    if (status != VST_OK) return status;
    return vsti_file_write(path, text, strlen(text));
}

void vsti_run_folder_append(vsti_run_folder *folder, const char *name, const void *bytes, size_t size) {
    char path[VSTI_PATH];
    if (vsti_run_folder_file(folder, name, path) != VST_OK) return;
    int file;
    vst_status status = vsti_file_open(path, O_WRONLY | O_CREAT | O_APPEND, &file, NULL);
    if (status == VST_OK && write(file, bytes, size) != (ssize_t)size)
        status = vst_fail(VST_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    if (file >= 0) close(file);
    if (status == VST_OK || folder->log_failed) return;
    folder->log_failed = true;
    vst_log(VST_LOG_WARNING, "%s; the training continues without it", vst_error_message());
}

uint64_t vsti_run_folder_size(const vsti_run_folder *folder, const char *name) {
    char path[VSTI_PATH];
    struct stat info;
    if (vsti_run_folder_file(folder, name, path) != VST_OK || stat(path, &info) != 0) return 0;
    return (uint64_t)info.st_size;
}

vst_status vsti_run_folder_truncate(const vsti_run_folder *folder, const char *name, uint64_t bytes) {
    char path[VSTI_PATH];
    vst_status status = vsti_run_folder_file(folder, name, path);
    if (status != VST_OK || vsti_run_folder_size(folder, name) <= bytes) return status;
    if (truncate(path, (off_t)bytes) == 0) return VST_OK;
    return vst_fail(VST_ERROR_IO, "%s: cannot shorten it to the checkpoint's %llu bytes: %s", path,
                    (unsigned long long)bytes, strerror(errno));
}
