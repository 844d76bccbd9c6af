/* Folders of image files: finds the folder of a split, and stores a compact list of files in torchvision's order.
 * Internal. */
#ifndef VISTILL_DATASETS_FILES_H
#define VISTILL_DATASETS_FILES_H

#include <limits.h>

#include "datasets/dataset.h"

enum { VSTI_CLASSES_MAX = 1 << 20 };

/* ---- Splits ---- */

/* The possible names of a split's folder in order of preference; ends with NULL. */
const char *const *vsti_split_words(const char *split);

/* The folder of `path` with such a name in any case ("train", "Train", "TRAIN"; as written if it is there); false if
 * there is none. */
bool vsti_named_folder(const char *path, const char *name, char folder[PATH_MAX]);

typedef enum vsti_folder_kind {
    VSTI_FOLDER_NONE,
    VSTI_FOLDER_CLASSES, /* sub-folders with images (at any depth), no images directly in the folder */
    VSTI_FOLDER_IMAGES   /* images directly in the folder */
} vsti_folder_kind;

/* The kind of a data set's root folder: that of its split folders if it has any, otherwise its own. Reads a few names
 * only. Images beside tar files are ignored, since the tar files are the data. A class that is called "train" among
 * other classes is not a split. */
vsti_folder_kind vsti_root_kind(const char *path);

/* Finds the folder of a split with the given kind: a split folder of `path`, or `path` itself, with *whole set to true,
 * if it has no split folders. VST_ERROR_NOT_FOUND if the root has split folders but not this one. */
VST_NODISCARD vst_status vsti_split_folder(const char *path, const char *split, vsti_folder_kind kind,
                                           char folder[PATH_MAX], bool *whole);

/* ---- Lists of files ---- */

/* Takes about 5 bytes and the file name per file; folder names are stored once. Initialise it with {0}. */
typedef struct vsti_files {
    char *arena; /* all names, each terminated by NUL; owned */
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
    uint64_t stray; /* files of other systems that were passed over (vsti_is_stray_name) */
} vsti_files;

/* Adds the image files of root/folder and of all folders below it, sorted as torchvision's make_dataset does: by folder
 * path, then by name, compared by bytes. `folder` "" is the root itself. Symbolic links to folders are followed, except
 * into a folder that contains them. Anything with the name of an image file is added, even a dangling link: reading it
 * gives the error. */
VST_NODISCARD vst_status vsti_files_add(vsti_files *files, const char *root, const char *folder, int label);
void vsti_files_clear(vsti_files *files);

/* Writes the path of a file relative to the root, truncated to `size` bytes, and returns its label. */
int vsti_files_path(const vsti_files *files, uint64_t index, char *buffer, size_t size);

/* The sorted names of the class folders in `folder`: all sub-folders except hidden ones without images. */
VST_NODISCARD vst_status vsti_class_folders(const char *folder, char ***names, size_t *count);
void vsti_names_free(char **names, size_t count);

#endif
