/* Opening and reading what tensors are read from. */
#include "vision/tensor/source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

vsti_source vsti_source_of(const void *bytes, size_t size) {
    return (vsti_source){.fd = -1, .bytes = size ? bytes : "", .size = size};
}

vst_status vsti_source_open(vsti_source *out, const char *path) {
    vst_status status = VST_OK;
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block, it is refused below */
    *out = (vsti_source){.fd = -1};
    if (fd < 0)
        return vst_fail(errno == ENOENT ? VST_ERROR_NOT_FOUND : VST_ERROR_IO, "%s: cannot be opened: %s", path,
                        strerror(errno));
    if (fstat(fd, &info) != 0) VST_TRY(vst_fail(VST_ERROR_IO, "%s: %s", path, strerror(errno)));
    if (!S_ISREG(info.st_mode)) VST_TRY(vst_fail(VST_ERROR_IO, "%s: not a regular file", path));
    *out = (vsti_source){.fd = fd, .size = (size_t)info.st_size};
out:
    if (status != VST_OK) close(fd);
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
    for (size_t done = 0; done < size;) {
        const size_t left = size - done, wanted = left < VSTI_IO_CHUNK ? left : VSTI_IO_CHUNK;
        const ssize_t got = pread(from->fd, (char *)to + done, wanted, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return vst_fail(VST_ERROR_IO, "reading at byte %zu: %s", offset + done, strerror(errno));
        if (got == 0)
            return vst_fail(VST_ERROR_IO, "ended at byte %zu of %zu: it was cut while being read", offset + done,
                            from->size);
        done += (size_t)got;
    }
    return VST_OK;
}
