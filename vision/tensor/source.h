/* Inside: where a reader's bytes come from, an open file or memory. Files are read with pread, not mapped: one that is
 * cut meanwhile is an error, not a signal. */
#ifndef VISTILL_VISION_TENSOR_SOURCE_H
#define VISTILL_VISION_TENSOR_SOURCE_H

#include <stddef.h>

#include "vision/base/status.h"

typedef struct vsti_source {
    int fd;            /* -1 in memory */
    const char *bytes; /* NULL in a file */
    size_t size;
} vsti_source;

/* Opens a regular file; anything else is refused. On failure there is nothing to close. */
VST_NODISCARD vst_status vsti_source_open(vsti_source *out, const char *path);
void vsti_source_close(vsti_source *source);
/* Bytes in memory, which stay the caller's. */
vsti_source vsti_source_of(const void *bytes, size_t size);

/* Reads exactly `size` bytes from `offset` on; the caller has checked them against from->size. Messages do not name the
 * file. */
VST_NODISCARD vst_status vsti_source_read(const vsti_source *from, size_t offset, void *to, size_t size);

#endif
