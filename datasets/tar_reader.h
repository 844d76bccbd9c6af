/* Reads the headers of a tar file (ustar, pax and GNU): names and offsets of its members. Nothing is unpacked.
 * Internal.
 *
 * libarchive is not used because it only streams: it gives no offset of a member's data and cannot seek to it, which
 * random access needs. Headers are read with pread, so an index costs one small read per member. */
#ifndef VISTILL_DATASETS_TAR_READER_H
#define VISTILL_DATASETS_TAR_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "datasets/dataset.h"

enum { VSTI_TAR_BLOCK = 512, VSTI_TAR_NAME_MAX = 4096, VSTI_TAR_EXTENSION_MAX = 1 << 20 };

typedef struct vsti_tar_reader {
    const char *path; /* for messages */
    int file;
    uint64_t size, next; /* size of the file; offset of the next header */
    uint64_t window;     /* offset of the data in `buffer` */
    size_t window_size;
    vst_bytes extension; /* a pax header's records */
    bool ended;
    char name[VSTI_TAR_NAME_MAX];
    uint8_t buffer[8 * VSTI_TAR_BLOCK];
} vsti_tar_reader;

typedef struct vsti_tar_member {
    const char *name;      /* owned by the reader, valid until its next call; without leading "./" */
    char type;             /* '0': a regular file; others as in the header */
    uint64_t offset, size; /* of the data in the file */
} vsti_tar_member;

/* `file` is an open file descriptor that the caller keeps. Close the reader with vsti_tar_reader_close. */
VST_NODISCARD vst_status vsti_tar_reader_open(vsti_tar_reader **out, const char *path, int file);
void vsti_tar_reader_close(vsti_tar_reader *reader); /* NULL allowed */

/* Reads the next member; *found is false at the end of the archive. A file without an empty block at its end is
 * reported as truncated. Every member is checked to lie within the file, after the previous one. */
VST_NODISCARD vst_status vsti_tar_next(vsti_tar_reader *reader, vsti_tar_member *member, bool *found);

/* Reads up to `size` bytes from the start of a member's data and sets *got to their number. Uses the reader's buffer,
 * so that short data need no further read. */
VST_NODISCARD vst_status vsti_tar_peek(vsti_tar_reader *reader, const vsti_tar_member *member, void *out, size_t size,
                                       size_t *got);

#endif
