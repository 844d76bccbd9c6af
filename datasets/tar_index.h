/* The images in a tar file and their offsets, from its headers or from the index file NAME.tar.idx beside it. Internal
 * to datasets, and used by `vistill data index`. */
#ifndef VISTILL_DATASETS_TAR_INDEX_H
#define VISTILL_DATASETS_TAR_INDEX_H

#include "datasets/dataset.h"

/* Members of one WebDataset sample follow each other and have the same key: the path up to the first '.' of the file
 * name. Its image is the first member whose name is the key and an image extension. */
enum {
    VSTI_TAR_UNLABELLED = -1, /* no .cls and no .json with a label */
    VSTI_TAR_EXTRA = -2 /* an image file that is not the image of a WebDataset sample; used if folders are classes */
};

typedef struct vsti_tar_entry {
    uint64_t offset; /* of the data */
    uint32_t size;   /* UINT32_MAX: that size or more */
    uint32_t name;   /* the member's path, an offset into the arena */
    int32_t label;   /* class, or one of the constants above */
} vsti_tar_entry;

typedef struct vsti_tar_index {
    vsti_tar_entry *entries; /* image files, in the order of the tar; owned */
    size_t count, capacity;
    char *arena; /* owned */
    size_t arena_size, arena_capacity;
    uint64_t stray; /* files of other systems that were passed over; not known from an index file */
    bool labelled;  /* at least one entry has a label */
} vsti_tar_index;

/* Reads the index of the tar `path`, open as `file`: from path.idx if it exists, is not older than the tar and matches
 * it, otherwise from the headers (an index that does not match is logged). `index` must be {0}; it is empty on failure.
 */
VST_NODISCARD vst_status vsti_tar_index_read(vsti_tar_index *index, const char *path, int file);
void vsti_tar_index_clear(vsti_tar_index *index);

/* Reads the headers and writes path.idx. */
VST_NODISCARD vst_status vsti_tar_index_make(const char *path, uint64_t *images);

#endif
