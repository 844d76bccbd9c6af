/* Folders of image files, for the formats that read them: which folder is which split, and a compact list of files in
 * the order of torchvision. Internal. */
#ifndef VISTILL_DATASETS_FILES_H
#define VISTILL_DATASETS_FILES_H

#include <limits.h>

#include "datasets/dataset.h"

enum { VSTI_CLASSES_MAX = 1 << 20 };

/* ---- Splits ---- */

/* The names that a split's folder may have, best first; ends with NULL. */
const char *const *vsti_split_words(const char *split);

typedef enum vsti_folder_kind {
    VSTI_FOLDER_NONE,
    VSTI_FOLDER_CLASSES, /* sub-folders with images (at any depth), none directly in it */
    VSTI_FOLDER_IMAGES   /* images directly in it */
} vsti_folder_kind;

/* What `path`, a data set's root, is: decided by its split folders if it has such, otherwise by itself. Looks at names
 * only, and at few. Images beside tar files are none: the tars are the data. A class that happens to be called "train"
 * among others does not make splits. */
vsti_folder_kind vsti_root_kind(const char *path);

/* The folder of a split, of the wanted kind: a split folder of `path`, or `path` itself with *whole true if it has
 * none. In a root that has split folders but not this one: VST_ERROR_NOT_FOUND. */
VST_NODISCARD vst_status vsti_split_folder(const char *path, const char *split, vsti_folder_kind kind,
                                           char folder[PATH_MAX], bool *whole);

/* ---- Lists of files ---- */

/* About 5 bytes and the file's own name for each file; the folder's name is kept once. Starts as {0}. */
typedef struct vsti_files {
    char *arena; /* all names, each ended by NUL; owned */
    size_t arena_size, arena_capacity;
    uint32_t *names; /* of the files, offsets into the arena, in the order they were found; owned */
    size_t count, capacity;
    struct vsti_files_folder {
        uint32_t path;  /* relative to the root, an offset into the arena */
        uint32_t first; /* in `names` */
        uint32_t start; /* index of its first file in the order of the list */
        uint32_t count;
        int32_t label;
    } *folders; /* with at least one file, in the order of the list; owned */
    size_t folder_count, folder_capacity;
} vsti_files;

/* Adds the image files of root/folder and of all folders below it, sorted as torchvision's make_dataset does: by folder
 * path, then by name, compared by bytes. `folder` "" is the root itself. Links to folders are followed, but not back
 * into a folder that leads to them. What only looks like an image file (a dangling link) is added, too: reading says
 * what is wrong. */
VST_NODISCARD vst_status vsti_files_add(vsti_files *files, const char *root, const char *folder, int label);
void vsti_files_clear(vsti_files *files);

/* The file's path relative to the root, cut to `size` bytes, and its label. */
int vsti_files_path(const vsti_files *files, uint64_t index, char *buffer, size_t size);

/* The names of the sub-folders of `folder` that are classes, sorted: all but hidden ones without an image. */
VST_NODISCARD vst_status vsti_class_folders(const char *folder, char ***names, size_t *count);
void vsti_names_free(char **names, size_t count);

#endif
