/* Which images are in a tar file and where: read from its headers, or from the index file NAME.tar.idx beside it.
 * Internal to datasets, and used by `vistill data index`. */
#ifndef VISTILL_DATASETS_TAR_INDEX_H
#define VISTILL_DATASETS_TAR_INDEX_H

#include "datasets/dataset.h"

/* Members of one WebDataset sample follow each other and have the same key: the path up to the first '.' of the file
 * name. Its image is the member whose name has nothing but an image's extension behind the key, the first if there are
 * several. */
enum {
    VSTI_TAR_UNLABELLED = -1, /* no .cls and no .json with a label beside it */
    VSTI_TAR_EXTRA = -2 /* an image file, but no sample's image for WebDataset; counts where folders are classes */
};

typedef struct vsti_tar_entry {
    uint64_t offset; /* of the data */
    uint32_t size;   /* UINT32_MAX: that or more */
    uint32_t name;   /* the member's path, in the arena */
    int32_t label;   /* class, or one of the above */
} vsti_tar_entry;

typedef struct vsti_tar_index {
    vsti_tar_entry *entries; /* image files, in the order of the tar; owned */
    size_t count, capacity;
    char *arena; /* owned */
    size_t arena_size, arena_capacity;
    bool labelled; /* an entry has a label */
} vsti_tar_index;

/* Reads the index of the tar `path`, open as `file`: from path.idx if that is there and fits the tar, otherwise from
 * the headers (an index that does not fit is told to the log). Starts as {0}; on failure nothing is left in it. */
VST_NODISCARD vst_status vsti_tar_index_read(vsti_tar_index *index, const char *path, int file);
void vsti_tar_index_clear(vsti_tar_index *index);

/* Reads the headers and writes path.idx. */
VST_NODISCARD vst_status vsti_tar_index_make(const char *path, uint64_t *images);

#endif
