/* Opening, reading and atomic writing. */
#include "vision/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vision/base/memory.h"

enum { LINKS_MAX = 40, LINK_BYTES = 4096, NAMES_MAX = 1000 };
static const char mark[] = ".tmp.";

/* ---- Opening and reading ---- */

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

vst_status vsti_file_open_at(int folder, const char *path, int flags, int *fd, uint64_t *size) {
    vst_status status = VST_OK;
    struct stat info;
    *fd = openat(folder, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
    /* open fails with EISDIR for a folder, with ENXIO for writing to a FIFO without a reader. */
    if (*fd < 0 && (errno == EISDIR || errno == ENXIO) && fstatat(folder, path, &info, 0) == 0 &&
        !S_ISREG(info.st_mode))
        return vst_fail(VST_ERROR_FORMAT, "not a regular file, but %s", kind_of(info.st_mode));
    if (*fd < 0)
        return vst_fail(errno == ENOENT ? VST_ERROR_NOT_FOUND : VST_ERROR_IO, "cannot be opened: %s", strerror(errno));
    if (fstat(*fd, &info) != 0) VST_TRY(vst_fail(VST_ERROR_IO, "cannot be examined: %s", strerror(errno)));
    if (!S_ISREG(info.st_mode))
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "not a regular file, but %s", kind_of(info.st_mode)));
    if (size) *size = (uint64_t)info.st_size;
out:
    if (status != VST_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

vst_status vsti_file_open(const char *path, int flags, int *fd, uint64_t *size) {
    const vst_status status = vsti_file_open_at(AT_FDCWD, path, flags, fd, size);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", path);
}

vst_status vsti_file_read_at(int fd, uint64_t offset, void *to, size_t size) {
    for (size_t done = 0; done < size;) {
        const size_t left = size - done, wanted = left < VSTI_IO_CHUNK ? left : VSTI_IO_CHUNK;
        const ssize_t got = pread(fd, (char *)to + done, wanted, (off_t)(offset + done));
        const unsigned long long at = (unsigned long long)(offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return vst_fail(VST_ERROR_IO, "reading at byte %llu failed: %s", at, strerror(errno));
        if (got == 0) return vst_fail(VST_ERROR_FORMAT, "cut off at byte %llu: fetch the file again", at);
        done += (size_t)got;
    }
    return VST_OK;
}

vst_status vsti_file_read(const char *path, size_t limit, const char *kind, char **bytes, size_t *size) {
    vst_status status = VST_OK;
    uint64_t length;
    int fd = -1;
    *bytes = NULL;
    VST_TRY(vsti_file_open(path, O_RDONLY, &fd, &length));
    if (length > limit)
        VST_TRY(vst_fail(VST_ERROR_LIMIT, "%s: %llu bytes, and %s has at most %zu: is it the right file?", path,
                         (unsigned long long)length, kind, limit));
    *bytes = vst_alloc((size_t)length + 1);
    if (!*bytes) VST_TRY(vst_fail_memory((size_t)length + 1));
    status = vsti_file_read_at(fd, 0, *bytes, (size_t)length);
    if (status != VST_OK) VST_TRY(vst_fail_in(status, "%s", path));
    (*bytes)[length] = 0;
    if (size) *size = (size_t)length;
out:
    if (fd >= 0) close(fd);
    if (status != VST_OK) {
        vst_free(*bytes);
        *bytes = NULL;
    }
    return status;
}

/* ---- Resolving a path ---- */

/* The length of the folder part of the path, including the slash; 0 if there is none. */
static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static char *folder_of(const char *path) {
    const size_t length = folder_length(path);
    return length ? vst_format("%.*s", (int)length, path) : vst_strdup("./");
}

/* Resolves symbolic links. The final target need not exist. */
static vst_status resolve(const char *path, char **out) {
    char link[LINK_BYTES];
    *out = vst_strdup(path);
    for (int i = 0; *out && i < LINKS_MAX; i++) {
        const ssize_t length = readlink(*out, link, sizeof link);
        if (length < 0) return VST_OK; /* not a link */
        const int before = link[0] == '/' ? 0 : (int)folder_length(*out);
        char *next = vst_format("%.*s%.*s", before, *out, (int)length, link);
        vst_free(*out);
        *out = next;
    }
    if (!*out) return vst_fail_memory(strlen(path) + 1);
    vst_free(*out);
    *out = NULL;
    return vst_fail(VST_ERROR_IO, "%s: too many symbolic links: give the path of a file", path);
}

/* *mode is the mode of the existing file, or 0 if there is none. */
static vst_status check_target(const char *path, mode_t *mode) {
    struct stat info;
    *mode = 0;
    if (stat(path, &info) != 0) return VST_OK; /* if it cannot be written, creating the temporary file reports why */
    *mode = info.st_mode & 0777;
    if (S_ISREG(info.st_mode)) return VST_OK;
    return vst_fail(VST_ERROR_IO, "%s cannot be replaced: not a regular file, but %s: give the path of a file", path,
                    kind_of(info.st_mode));
}

/* ---- Temporary files ---- */

/* True if `name` is a temporary file of `base`, such as model.safetensors.tmp.4711 or model.safetensors.tmp.4711.2. */
static bool is_temporary(const char *name, const char *base) {
    const size_t length = strlen(base);
    if (strncmp(name, base, length) != 0 || strncmp(name + length, mark, sizeof mark - 1) != 0) return false;
    const char *number = name + length + sizeof mark - 1;
    return *number && strspn(number, "0123456789.") == strlen(number);
}

/* Removes a temporary file if no writer holds its lock. The process number in the name is not enough: it may be in use
 * on another machine or in another container. The lock is released when the writer's process ends. */
static void remove_stray(int folder, const char *name) {
    struct stat opened, named;
    const int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_dev == opened.st_dev &&
        named.st_ino == opened.st_ino)
        unlinkat(folder, name, 0);
    close(fd);
}

void vsti_file_remove_strays(const char *path) {
    char folder[PATH_MAX]; /* on the stack, because this must not fail for lack of memory */
    const char *base = path + folder_length(path);
    const int length = snprintf(folder, sizeof folder, "./%.*s", (int)(base - path), path);
    DIR *stream = length < (int)sizeof folder ? opendir(*path == '/' ? folder + 2 : folder) : NULL;
    for (const struct dirent *entry; stream && (entry = readdir(stream));)
        if (is_temporary(entry->d_name, base)) remove_stray(dirfd(stream), entry->d_name);
    if (stream) closedir(stream);
}

/* Locks the new file. Returns false if another writer has taken it for a stray and removed it before it was locked. On
 * file systems without locks no stray is ever removed. */
static bool claim(int fd) {
    struct stat info;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
    return fstat(fd, &info) != 0 || info.st_nlink > 0;
}

/* If another thread writes the same path, a second number is appended to the name. */
static vst_status create_temporary(vsti_file_writer *writer) {
    for (int i = 0; i < NAMES_MAX; i++) {
        vst_free(writer->temporary);
        writer->temporary = i ? vst_format("%s%s%ld.%d", writer->path, mark, (long)getpid(), i)
                              : vst_format("%s%s%ld", writer->path, mark, (long)getpid());
        if (!writer->temporary) return vst_fail_memory(strlen(writer->path));
        writer->fd = open(writer->temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (writer->fd < 0 && errno == EEXIST) continue;
        if (writer->fd < 0)
            return vst_fail(VST_ERROR_IO, "%s: cannot be created: %s", writer->temporary, strerror(errno));
        if (claim(writer->fd)) return VST_OK;
        close(writer->fd); /* do not unlink: the name may belong to another writer by now */
        writer->fd = -1;
    }
    return vst_fail(VST_ERROR_IO, "%s: %d temporary files of it are in use: remove %s%s*", writer->path, NAMES_MAX,
                    writer->path, mark);
}

/* ---- The writer ---- */

/* The write function of the stream. After the first failure it keeps errno and writes nothing more. */
static ssize_t write_bytes(void *cookie, const char *bytes, size_t size) {
    vsti_file_writer *writer = cookie;
    for (size_t done = 0; done < size && !writer->error;) {
        const size_t left = size - done, wanted = left < VSTI_IO_CHUNK ? left : VSTI_IO_CHUNK;
        const ssize_t put = write(writer->fd, bytes + done, wanted);
        if (put >= 0) done += (size_t)put;
        else if (errno != EINTR) writer->error = errno;
    }
    return writer->error ? 0 : (ssize_t)size;
}

/* Closes and frees everything. Removes the temporary file unless it has been renamed (`placed`). */
static void finish(vsti_file_writer *writer, bool placed) {
    if (writer->stream) fclose(writer->stream);
    if (writer->fd >= 0) {
        if (!placed) unlink(writer->temporary);
        close(writer->fd);
    }
    if (writer->folder >= 0) close(writer->folder);
    vst_free(writer->path);
    vst_free(writer->temporary);
    *writer = (vsti_file_writer){0};
}

static vst_status open_folder(vsti_file_writer *writer) {
    vst_status status = VST_OK;
    char *folder = folder_of(writer->path);
    if (!folder) return vst_fail_memory(strlen(writer->path));
    writer->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (writer->folder < 0)
        status = vst_fail(VST_ERROR_IO, "%s cannot be written: %s: the folder cannot be opened: %s", writer->path,
                          folder, strerror(errno));
    vst_free(folder);
    return status;
}

vst_status vsti_file_create(vsti_file_writer *writer, const char *path) {
    vst_status status = VST_OK;
    mode_t mode;
    *writer = (vsti_file_writer){.fd = -1, .folder = -1};
    VST_TRY(check_target(path, &mode));
    VST_TRY(resolve(path, &writer->path));
    VST_TRY(open_folder(writer));
    vsti_file_remove_strays(writer->path);
    VST_TRY(create_temporary(writer));
    if (mode && fchmod(writer->fd, mode) != 0)
        VST_TRY(vst_fail(VST_ERROR_IO, "%s: its mode cannot be kept: %s", writer->path, strerror(errno)));
    writer->stream = fopencookie(writer, "w", (cookie_io_functions_t){.write = write_bytes});
    if (!writer->stream) VST_TRY(vst_fail_memory(BUFSIZ));
out:
    if (status != VST_OK) finish(writer, false);
    return status;
}

/* Syncs and renames. A file system that cannot sync a folder (EINVAL) is not an error. */
static vst_status place(const vsti_file_writer *writer) {
    if (fsync(writer->fd) != 0)
        return vst_fail(VST_ERROR_IO, "%s: syncing failed: %s", writer->temporary, strerror(errno));
    if (rename(writer->temporary, writer->path) != 0)
        return vst_fail(VST_ERROR_IO, "%s cannot be replaced by %s: %s", writer->path, writer->temporary,
                        strerror(errno));
    return VST_OK;
}

vst_status vsti_file_commit(vsti_file_writer *writer) {
    vst_status status = VST_OK;
    bool placed = false;
    if (fflush(writer->stream) != 0 || ferror(writer->stream))
        VST_TRY(vst_fail(VST_ERROR_IO, "%s: writing failed: %s%s", writer->temporary,
                         strerror(writer->error ? writer->error : EIO),
                         writer->error == ENOSPC ? ": make room, or write to another disk" : ""));
    VST_TRY(place(writer));
    placed = true;
    if (fsync(writer->folder) != 0 && errno != EINVAL)
        status =
            vst_fail(VST_ERROR_IO, "%s is written, but syncing its folder failed: %s", writer->path, strerror(errno));
out:
    finish(writer, placed);
    return status;
}

void vsti_file_discard(vsti_file_writer *writer) {
    if (writer->stream) finish(writer, false);
}

vst_status vsti_file_check_writable(const char *path) {
    vsti_file_writer writer;
    const vst_status status = vsti_file_create(&writer, path);
    if (status == VST_OK) vsti_file_discard(&writer);
    return status;
}

vst_status vsti_file_write(const char *path, const void *bytes, size_t size) {
    vsti_file_writer writer;
    const vst_status status = vsti_file_create(&writer, path);
    if (status != VST_OK) return status;
    if (size) fwrite(bytes, 1, size, writer.stream);
    return vsti_file_commit(&writer);
}
