/* A data set of image files in a folder, shared by imagefolder.c and images.c. Internal. */
#ifndef VISTILL_DATASETS_FILE_SET_H
#define VISTILL_DATASETS_FILE_SET_H

#include "datasets/files.h"

typedef struct vsti_file_set {
    vst_dataset base; /* with all methods set */
    char *path;       /* the split's folder; owned */
    int folder;       /* its file descriptor */
    vsti_files files;
    char **names; /* of the classes; owned */
    size_t name_count;
} vsti_file_set;

/* Opens the folder of a split of the data set at `path`, without classes and files. */
VST_NODISCARD vst_status vsti_file_set_create(vsti_file_set **out, const char *path, const char *split,
                                              vsti_folder_kind kind);
/* To call after all files were added: sets the count. No files is an error. */
VST_NODISCARD vst_status vsti_file_set_finish(vsti_file_set *self);
void vsti_file_set_close(vsti_file_set *self); /* NULL allowed */

#endif
