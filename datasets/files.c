/* Folders of image files: finding splits by folder names, and listing files. */
#include "datasets/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "datasets/encoded.h"
#include "vision/base/memory.h"

enum {
    PROBE_FOLDERS = 4096, /* folders to examine at most when detecting the kind of a root */
    PROBE_DEPTH = 16,
    DEPTH_MAX = 64,                /* nesting of folders */
    FOLDERS_MAX = 16 * 1024 * 1024 /* symbolic links can multiply folders */
};

/* ---- Examining one folder ---- */

/* Joins a folder's path and the name of an entry; false if the result is too long. */
static bool join(char out[PATH_MAX], const char *folder, const char *name) {
    return snprintf(out, PATH_MAX, *name ? "%s/%s" : "%s%s", folder, name) < PATH_MAX;
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Follows links. Calls stat only if the folder entry does not tell its type. */
static bool entry_is_folder(const char *folder, const struct dirent *entry) {
    char path[PATH_MAX];
    if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
    return join(path, folder, entry->d_name) && is_folder(path);
}

/* True if the folder directly contains a file that `fits`. */
static bool files_in(const char *folder, bool (*fits)(const char *name)) {
    bool found = false;
    DIR *stream = opendir(folder);
    if (!stream) return false;
    for (const struct dirent *entry; !found && (entry = readdir(stream));)
        found = fits(entry->d_name) && !entry_is_folder(folder, entry);
    closedir(stream);
    return found;
}

static bool is_tar_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && dot > name && strcmp(dot, ".tar") == 0;
}

static bool images_in(const char *folder) { return files_in(folder, vsti_is_image_name); }
static bool tars_in(const char *folder) { return files_in(folder, is_tar_name); }

/* True if the folder or a folder below it contains images. `budget`: folders that may still be examined. */
static bool images_below(const char *folder, int depth, int *budget) {
    char path[PATH_MAX];
    bool found = images_in(folder);
    if (found || depth == 0 || --*budget < 0) return found;
    DIR *stream = opendir(folder);
    if (!stream) return false;
    for (const struct dirent *entry; !found && (entry = readdir(stream));)
        if (!is_dots(entry->d_name) && entry_is_folder(folder, entry) && join(path, folder, entry->d_name))
            found = images_below(path, depth - 1, budget);
    closedir(stream);
    return found;
}

bool vsti_named_folder(const char *path, const char *name, char folder[PATH_MAX]) {
    bool found = false;
    if (join(folder, path, name) && is_folder(folder)) return true;
    DIR *stream = opendir(path);
    if (!stream) return false;
    for (const struct dirent *entry; !found && (entry = readdir(stream));)
        found = strcasecmp(entry->d_name, name) == 0 && join(folder, path, entry->d_name) && is_folder(folder);
    closedir(stream);
    return found;
}

static bool is_split_word(const char *name) {
    static const char *const splits[] = {"train", "test"};
    for (int i = 0; i < 2; i++)
        for (const char *const *word = vsti_split_words(splits[i]); *word; word++)
            if (strcasecmp(*word, name) == 0) return true;
    return false;
}

/* True if a sub-folder has images; with `but_splits`, sub-folders with the name of a split do not count. */
static bool has_classes(const char *folder, bool but_splits) {
    char path[PATH_MAX];
    int budget = PROBE_FOLDERS;
    bool found = false;
    DIR *stream = opendir(folder);
    if (!stream) return false;
    for (const struct dirent *entry; !found && (entry = readdir(stream));)
        if (!is_dots(entry->d_name) && !(but_splits && is_split_word(entry->d_name)) &&
            entry_is_folder(folder, entry) && join(path, folder, entry->d_name))
            found = images_below(path, PROBE_DEPTH, &budget);
    closedir(stream);
    return found;
}

static vsti_folder_kind kind_of(const char *folder) {
    if (images_in(folder)) return VSTI_FOLDER_IMAGES;
    return has_classes(folder, false) ? VSTI_FOLDER_CLASSES : VSTI_FOLDER_NONE;
}

/* ---- Splits ---- */

const char *const *vsti_split_words(const char *split) {
    static const char *const train[] = {"train", "training", NULL};
    static const char *const test[] = {"test", "val", "validation", "valid", "testing", NULL};
    return strcmp(split, "train") == 0 ? train : test;
}

/* Finds the first folder with a name of the split and of the given kind. */
static bool find_split(const char *path, const char *split, vsti_folder_kind kind, char folder[PATH_MAX]) {
    for (const char *const *word = vsti_split_words(split); *word; word++)
        if (vsti_named_folder(path, *word, folder) && kind_of(folder) == kind) return true;
    return false;
}

/* For class folders one split folder is enough. A split folder with images directly in it could also be a class of that
 * name, so it counts only if both splits exist or there are no other classes. */
static bool has_splits(const char *path, vsti_folder_kind kind) {
    char folder[PATH_MAX];
    const bool train = find_split(path, "train", kind, folder), test = find_split(path, "test", kind, folder);
    if (kind == VSTI_FOLDER_CLASSES) return train || test;
    return (train && test) || ((train || test) && !has_classes(path, true));
}

vsti_folder_kind vsti_root_kind(const char *path) {
    if (!is_folder(path)) return VSTI_FOLDER_NONE;
    if (has_splits(path, VSTI_FOLDER_CLASSES)) return VSTI_FOLDER_CLASSES;
    if (has_splits(path, VSTI_FOLDER_IMAGES)) return VSTI_FOLDER_IMAGES;
    const vsti_folder_kind kind = kind_of(path);
    return kind == VSTI_FOLDER_IMAGES && tars_in(path) ? VSTI_FOLDER_NONE : kind;
}

vst_status vsti_split_folder(const char *path, const char *split, vsti_folder_kind kind, char folder[PATH_MAX],
                             bool *whole) {
    *whole = false;
    if (!is_folder(path)) return vst_fail(VST_ERROR_NOT_FOUND, "%s: not a folder", path);
    if (!has_splits(path, kind)) {
        *whole = true;
        if (snprintf(folder, PATH_MAX, "%s", path) < PATH_MAX) return VST_OK;
        return vst_fail(VST_ERROR_ARGUMENT, "%s: the path is too long", path);
    }
    if (find_split(path, split, kind, folder)) return VST_OK;
    return vst_fail(VST_ERROR_NOT_FOUND, "%s: split \"%s\" not found: there is no folder %s with %s", path, split,
                    strcmp(split, "train") == 0 ? "train" : "test, val or validation",
                    kind == VSTI_FOLDER_CLASSES ? "class folders of images" : "images");
}

/* ---- Lists of files ---- */

void vsti_files_clear(vsti_files *files) {
    vst_free(files->arena);
    vst_free(files->names);
    vst_free(files->folders);
    *files = (vsti_files){0};
}

/* Stores "a/b" ("b" if a is empty, "a" if b is empty) in the arena. */
static vst_status keep_name(vsti_files *files, const char *a, const char *b, uint32_t *offset) {
    const size_t first = strlen(a), second = strlen(b), size = first + second + (first && second) + 1;
    if (files->arena_size + size > UINT32_MAX)
        return vst_fail(VST_ERROR_LIMIT, "the names of all files take more than 4 GiB: use tar shards");
    vst_status status = vst_grow(&files->arena, &files->arena_capacity, files->arena_size + size, 1);
    if (status != VST_OK) return status;
    *offset = (uint32_t)files->arena_size;
    snprintf(files->arena + files->arena_size, size, first && second ? "%s/%s" : "%s%s", a, b);
    files->arena_size += size;
    return VST_OK;
}

/* A scan. Folders to be read are appended to files->folders; `places` has their identity and parent. */
typedef struct scanned_folder {
    dev_t device;
    ino_t inode;
    size_t parent; /* SIZE_MAX: none */
    int depth;
} scanned_folder;

typedef struct scan {
    vsti_files *files;
    const char *root;
    size_t base; /* index of its first folder in files->folders */
    scanned_folder *places;
    size_t capacity;
} scan;

/* Appends a folder, unless it is one of its own parents (through a symbolic link). */
static vst_status push_folder(scan *self, size_t parent, const char *path, const char *name, int label) {
    vst_status status;
    vsti_files *files = self->files;
    const size_t count = files->folder_count - self->base;
    char full[PATH_MAX], relative[PATH_MAX];
    struct stat info;
    snprintf(relative, sizeof relative, "%s", path); /* `path` may point into the arena, which may be moved below */
    if (snprintf(full, sizeof full, "%s%s%s%s%s", self->root, *path ? "/" : "", path, *name ? "/" : "", name) >=
        PATH_MAX)
        return vst_fail(VST_ERROR_LIMIT, "%s/%s/%s: the path is too long", self->root, path, name);
    if (stat(full, &info) != 0) return vst_fail(VST_ERROR_IO, "%s: cannot be examined: %s", full, strerror(errno));
    const int depth = parent == SIZE_MAX ? 0 : self->places[parent].depth + 1;
    for (size_t i = parent; i != SIZE_MAX; i = self->places[i].parent)
        if (self->places[i].device == info.st_dev && self->places[i].inode == info.st_ino) return VST_OK;
    if (depth > DEPTH_MAX || files->folder_count >= FOLDERS_MAX)
        return vst_fail(
            VST_ERROR_LIMIT,
            "%s: folders nested more than %d deep, or more than %d folders: do symbolic links multiply them?", full,
            DEPTH_MAX, FOLDERS_MAX);
    status = vst_grow(&files->folders, &files->folder_capacity, files->folder_count + 1, sizeof *files->folders);
    if (status == VST_OK) status = vst_grow(&self->places, &self->capacity, count + 1, sizeof *self->places);
    uint32_t offset = 0;
    if (status == VST_OK) status = keep_name(files, relative, name, &offset);
    if (status != VST_OK) return status;
    files->folders[files->folder_count++] = (struct vsti_files_folder){.path = offset, .label = label};
    self->places[count] = (scanned_folder){info.st_dev, info.st_ino, parent, depth};
    return VST_OK;
}

static int by_name(const void *a, const void *b, void *arena) {
    return strcmp((const char *)arena + *(const uint32_t *)a, (const char *)arena + *(const uint32_t *)b);
}

static vst_status read_folder(scan *self, size_t index) {
    vst_status status = VST_OK;
    vsti_files *files = self->files;
    struct vsti_files_folder *folder = &files->folders[self->base + index];
    char full[PATH_MAX];
    const size_t first = files->count;
    const int label = folder->label;
    if (!join(full, self->root, files->arena + folder->path))
        return vst_fail(VST_ERROR_LIMIT, "%s: a path below it is too long", self->root);
    DIR *stream = opendir(full);
    if (!stream) return vst_fail(VST_ERROR_IO, "%s: cannot be read: %s", full, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(stream));) {
        if (is_dots(entry->d_name)) continue;
        if (vsti_is_stray_name(entry->d_name)) {
            files->stray++;
        } else if (entry_is_folder(full, entry)) {
            VST_TRY(
                push_folder(self, index, files->arena + files->folders[self->base + index].path, entry->d_name, label));
        } else if (vsti_is_image_name(entry->d_name)) {
            VST_TRY(vst_grow(&files->names, &files->capacity, files->count + 1, sizeof *files->names));
            VST_TRY(keep_name(files, "", entry->d_name, &files->names[files->count]));
            files->count++;
        }
    }
    folder = &files->folders[self->base + index]; /* push_folder may have moved the array */
    folder->first = (uint32_t)first;
    folder->count = (uint32_t)(files->count - first);
    if (folder->count) qsort_r(files->names + first, folder->count, sizeof *files->names, by_name, files->arena);
out:
    closedir(stream);
    return status;
}

static int by_path(const void *a, const void *b, void *arena) {
    return by_name(&((const struct vsti_files_folder *)a)->path, &((const struct vsti_files_folder *)b)->path, arena);
}

/* Sorts the scanned folders, removes empty ones and numbers the files. */
static void finish_scan(scan *self, uint64_t start) {
    vsti_files *files = self->files;
    size_t kept = self->base;
    for (size_t i = self->base; i < files->folder_count; i++)
        if (files->folders[i].count) files->folders[kept++] = files->folders[i];
    files->folder_count = kept;
    if (kept == self->base) return;
    qsort_r(files->folders + self->base, kept - self->base, sizeof *files->folders, by_path, files->arena);
    for (size_t i = self->base; i < kept; i++) {
        files->folders[i].start = (uint32_t)start;
        start += files->folders[i].count;
    }
}

vst_status vsti_files_add(vsti_files *files, const char *root, const char *folder, int label) {
    const uint64_t start = files->count;
    scan self = {.files = files, .root = root, .base = files->folder_count};
    vst_status status = push_folder(&self, SIZE_MAX, folder, "", label);
    for (size_t i = 0; status == VST_OK && self.base + i < files->folder_count; i++) status = read_folder(&self, i);
    if (status == VST_OK) finish_scan(&self, start);
    vst_free(self.places);
    return status;
}

int vsti_files_path(const vsti_files *files, uint64_t index, char *buffer, size_t size) {
    size_t low = 0, high = files->folder_count; /* the last folder whose first file is not after the index */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (files->folders[middle].start <= index) low = middle;
        else high = middle;
    }
    const struct vsti_files_folder *folder = &files->folders[low];
    const char *path = files->arena + folder->path;
    const char *name = files->arena + files->names[folder->first + (index - folder->start)];
    snprintf(buffer, size, *path ? "%s/%s" : "%s%s", path, name);
    return folder->label;
}

/* ---- Class folders ---- */

void vsti_names_free(char **names, size_t count) {
    for (size_t i = 0; i < count; i++) vst_free(names[i]);
    vst_free(names);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Hidden folders without images, which some tools create, are not classes. (torchvision fails on them.) */
static bool is_class(const char *folder, const struct dirent *entry) {
    char path[PATH_MAX];
    int budget = PROBE_FOLDERS;
    if (is_dots(entry->d_name) || vsti_is_stray_name(entry->d_name) || !entry_is_folder(folder, entry)) return false;
    return entry->d_name[0] != '.' || (join(path, folder, entry->d_name) && images_below(path, PROBE_DEPTH, &budget));
}

vst_status vsti_class_folders(const char *folder, char ***names, size_t *count) {
    vst_status status = VST_OK;
    char **list = NULL;
    size_t capacity = 0, used = 0;
    DIR *stream = opendir(folder);
    if (!stream) return vst_fail(VST_ERROR_IO, "%s: cannot be read: %s", folder, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(stream));) {
        if (!is_class(folder, entry)) continue;
        VST_TRY(vst_grow(&list, &capacity, used + 1, sizeof *list));
        list[used] = vst_strdup(entry->d_name);
        if (!list[used]) VST_TRY(vst_fail_memory(strlen(entry->d_name)));
        used++;
    }
    if (used) qsort(list, used, sizeof *list, by_text);
    *names = list;
    *count = used;
    list = NULL;
out:
    closedir(stream);
    if (list) vsti_names_free(list, used);
    return status;
}
