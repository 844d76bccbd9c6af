/* Opening and reading a source of tensors. */
#include "vision/tensor/source.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vision/base/file.h"

vsti_source vsti_source_of(const void *bytes, size_t size) {
    return (vsti_source){.fd = -1, .bytes = size ? bytes : "", .size = size};
}

vst_status vsti_source_open(vsti_source *out, const char *path) {
    uint64_t size = 0;
    *out = (vsti_source){.fd = -1};
    const vst_status status = vsti_file_open(path, O_RDONLY, &out->fd, &size);
    out->size = (size_t)size;
    return status;
}

void vsti_source_close(vsti_source *source) {
    if (source->fd >= 0) close(source->fd);
    source->fd = -1;
}

vst_status vsti_source_read(const vsti_source *from, size_t offset, void *to, size_t size) {
    if (size == 0) return VST_OK;
    if (from->bytes) {
        memcpy(to, from->bytes + offset, size);
        return VST_OK;
    }
    return vsti_file_read_at(from->fd, offset, to, size);
}
