/* Files: checks on opening, the bounded reader and the atomic writer. Paths are user input: only regular files are
 * opened, and a FIFO is refused without blocking. */
#ifndef VISTILL_VISION_BASE_FILE_H
#define VISTILL_VISION_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vision/base/status.h"

/* Bytes of one read: Linux moves at most 2 GiB at once. */
#define VSTI_IO_CHUNK ((size_t)1 << 30)

/* ---- Opening and reading ---- */

/* Opens a regular file with these flags of open(2) (a created file has mode 0666 less the umask). A file that does not
 * exist is VST_ERROR_NOT_FOUND; a folder, FIFO, socket or device is VST_ERROR_FORMAT. *size (may be NULL) is set to the
 * size in bytes. On failure *fd is -1. */
VST_NODISCARD vst_status vsti_file_open(const char *path, int flags, int *fd, uint64_t *size);
/* Like vsti_file_open, relative to an open folder (or AT_FDCWD). Messages do not name the file. */
VST_NODISCARD vst_status vsti_file_open_at(int folder, const char *path, int flags, int *fd, uint64_t *size);

/* Reads exactly `size` bytes from `offset` on with pread: a file that is truncated meanwhile causes an error, not a
 * signal as with mmap. Messages do not name the file. */
VST_NODISCARD vst_status vsti_file_read_at(int fd, uint64_t offset, void *to, size_t size);

/* Reads a whole file and appends a zero byte. The caller frees it with vst_free. More than `limit` bytes is
 * VST_ERROR_LIMIT, before memory is allocated; its message uses `kind`, such as "a recipe". `size` may be NULL. */
VST_NODISCARD vst_status vsti_file_read(const char *path, size_t limit, const char *kind, char **bytes, size_t *size);

/* ---- Writing ---- */

/* A file that is written whole or not at all: a temporary file PATH.tmp.PID in the same folder, fsync, rename, fsync of
 * the folder. Symbolic links are followed; an existing regular file keeps its mode; any other kind of file is refused.
 * The temporary file is locked (flock) while it is written, so that the next writer of the same path can recognise and
 * remove the temporary files of killed processes. Several writers of one path, also in different processes, are
 * allowed: the last commit wins. */
typedef struct vsti_file_writer {
    FILE *stream;           /* for the caller to write to; errors are reported on commit */
    char *path, *temporary; /* path: links resolved */
    int fd, folder;
    int error; /* errno of the first write that failed */
} vsti_file_writer;

/* `writer` must not be moved until it is committed or discarded. After a failure nothing needs to be closed. */
VST_NODISCARD vst_status vsti_file_create(vsti_file_writer *writer, const char *path);
/* Renames the temporary file to its path. On failure the old file is unchanged and the temporary file is removed. The
 * writer is closed in any case. */
VST_NODISCARD vst_status vsti_file_commit(vsti_file_writer *writer);
/* Closes and removes the temporary file. Does nothing if the writer is {0}, committed or discarded. */
void vsti_file_discard(vsti_file_writer *writer);

/* Checks that `path` can be written, before work whose result is written to it: creates the temporary file and removes
 * it again. */
VST_NODISCARD vst_status vsti_file_check_writable(const char *path);

/* All at once. */
VST_NODISCARD vst_status vsti_file_write(const char *path, const void *bytes, size_t size);

/* Removes the temporary files of `path` that killed processes left, but not those of running writers. Never fails. */
void vsti_file_remove_strays(const char *path);

#endif
