/* Files: the checks on opening, the bounded reader, and the atomic writer. A path that a user gives may name anything;
 * only regular files are opened, and a FIFO is refused at once instead of waiting for its other end. */
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
 * exist is VST_ERROR_NOT_FOUND; a folder, FIFO, socket or device is VST_ERROR_FORMAT. `size` (may be NULL): in bytes.
 * On failure *fd is -1 and there is nothing to close. */
VST_NODISCARD vst_status vsti_file_open(const char *path, int flags, int *fd, uint64_t *size);
/* The same within an open folder (or AT_FDCWD); messages do not name the file. */
VST_NODISCARD vst_status vsti_file_open_at(int folder, const char *path, int flags, int *fd, uint64_t *size);

/* Reads exactly `size` bytes from `offset` on with pread: a file that is cut meanwhile is an error, not a signal as
 * when mapped. Messages do not name the file. */
VST_NODISCARD vst_status vsti_file_read_at(int fd, uint64_t offset, void *to, size_t size);

/* The whole file, a zero byte after it, to be vst_free'd. More than `limit` bytes is VST_ERROR_LIMIT before memory is
 * taken; `kind` says in its message what the file should be, such as "a recipe". `size` may be NULL. */
VST_NODISCARD vst_status vsti_file_read(const char *path, size_t limit, const char *kind, char **bytes, size_t *size);

/* ---- Writing ---- */

/* A file that is written whole or not at all: a temporary file PATH.tmp.PID in the same folder, fsync, rename, fsync of
 * the folder. A symbolic link is followed to its target; an existing regular file keeps its mode; anything else is
 * refused and stays. The temporary file is locked (flock) while it is written, so that the next writer of the same path
 * recognises and removes those that a killed process left. Several writers of one path, of any process, are allowed:
 * the last one to commit wins. */
typedef struct vsti_file_writer {
    FILE *stream;           /* for the caller to write to; errors are reported on commit */
    char *path, *temporary; /* path: links resolved */
    int fd, folder;
    int error; /* errno of the first write that failed */
} vsti_file_writer;

/* `writer` must stay where it is until committed or discarded. After a failure there is nothing to close. */
VST_NODISCARD vst_status vsti_file_create(vsti_file_writer *writer, const char *path);
/* Puts the file in its place; on failure the old one is unchanged and no temporary file is left. Closes in any case. */
VST_NODISCARD vst_status vsti_file_commit(vsti_file_writer *writer);
/* Gives the file up; nothing if the writer is {0}, committed or discarded. */
void vsti_file_discard(vsti_file_writer *writer);

/* All at once. */
VST_NODISCARD vst_status vsti_file_write(const char *path, const void *bytes, size_t size);

/* Removes the temporary files of `path` that killed processes left; those of running writers stay. Never fails. */
void vsti_file_remove_strays(const char *path);

#endif
