/* Internal: the bytes of a reader, from an open file or from memory. Files are read with pread instead of mmap, so that
 * a file that is truncated meanwhile causes an error and not a signal. */
#ifndef VISTILL_VISION_TENSOR_SOURCE_H
#define VISTILL_VISION_TENSOR_SOURCE_H

#include <stddef.h>

#include "vision/base/status.h"

typedef struct vsti_source {
    int fd;            /* -1 in memory */
    const char *bytes; /* NULL in a file */
    size_t size;
} vsti_source;

/* Opens a regular file; other kinds of file are refused. On failure nothing needs to be closed. */
VST_NODISCARD vst_status vsti_source_open(vsti_source *out, const char *path);
void vsti_source_close(vsti_source *source);
/* A source over bytes in memory, which the caller owns. */
vsti_source vsti_source_of(const void *bytes, size_t size);

/* Reads exactly `size` bytes at `offset`; the caller has checked the range against from->size. Messages do not name the
 * file. */
VST_NODISCARD vst_status vsti_source_read(const vsti_source *from, size_t offset, void *to, size_t size);

#endif
