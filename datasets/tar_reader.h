/* The headers of a tar file: ustar, pax and GNU, names and positions of its members. Nothing is unpacked. Internal.
 *
 * Why not libarchive: it streams, and gives neither where a member's data begin nor a way to go there, which random
 * access is all about. Headers are read with pread at their places, so an index costs one small read per member. */
#ifndef VISTILL_DATASETS_TAR_READER_H
#define VISTILL_DATASETS_TAR_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "datasets/dataset.h"

enum { VSTI_TAR_BLOCK = 512, VSTI_TAR_NAME_MAX = 4096, VSTI_TAR_EXTENSION_MAX = 1 << 20 };

typedef struct vsti_tar_reader {
    const char *path; /* for messages */
    int file;
    uint64_t size, next; /* of the file; where the next header is */
    uint64_t window;     /* what is in `buffer` comes from there */
    size_t window_size;
    vst_bytes extension; /* a pax header's records */
    bool ended;
    char name[VSTI_TAR_NAME_MAX];
    uint8_t buffer[8 * VSTI_TAR_BLOCK];
} vsti_tar_reader;

typedef struct vsti_tar_member {
    const char *name;      /* of the reader, valid until its next call; without "./" in front */
    char type;             /* '0': an ordinary file, others as in the header */
    uint64_t offset, size; /* of the data, within the file */
} vsti_tar_member;

/* `file` is open and stays the caller's; close with vsti_tar_reader_close. */
VST_NODISCARD vst_status vsti_tar_reader_open(vsti_tar_reader **out, const char *path, int file);
void vsti_tar_reader_close(vsti_tar_reader *reader); /* NULL allowed */

/* The next member; *found is false at the end of the archive. A file without the two (or one) empty blocks at its end
 * is taken for cut off. Every member lies within the file and behind the one before. */
VST_NODISCARD vst_status vsti_tar_next(vsti_tar_reader *reader, vsti_tar_member *member, bool *found);

/* Up to `size` bytes of a member's data from its beginning; *got says how many. Through the window, so that short ones
 * come with the header. */
VST_NODISCARD vst_status vsti_tar_peek(vsti_tar_reader *reader, const vsti_tar_member *member, void *out, size_t size,
                                       size_t *got);

#endif
