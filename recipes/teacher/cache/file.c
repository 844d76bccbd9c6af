/* The data files of a cache: locks, reading, checksums. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "recipes/teacher/cache/internal.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

static void close_files(vsti_cache *cache) {
    for (int i = 0; i < cache->teacher_count; i++) {
        vsti_cache_teacher *teacher = &cache->teachers[i];
        if (teacher->file >= 0) close(teacher->file);
        vst_free(teacher->buffer);
        teacher->buffer = NULL;
        teacher->file = -1;
    }
}

void vsti_cache_clear(vsti_cache *cache) {
    close_files(cache);
    for (int i = 0; i < cache->teacher_count; i++) vst_free(cache->teachers[i].sums);
    vst_free(cache->sound);
    vst_free(cache->piece);
    vst_free(cache->folder);
    *cache = (vsti_cache){0};
}

/* Opens and locks a file, and checks that it has all records counted by the manifest. */
static vst_status open_file(const vsti_cache *cache, vsti_cache_teacher *teacher, int flags, int lock,
                            uint64_t *bytes) {
    vst_status status = VST_OK;
    struct stat info;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/teacher%d.bin", cache->folder, teacher->number) >= (int)sizeof path)
        return vst_fail(VST_ERROR_ARGUMENT, "distill.cache: the folder's path is too long");
    VST_TRY(vsti_file_open(path, flags, &teacher->file, NULL));
    if (flock(teacher->file, lock | LOCK_NB) != 0)
        VST_TRY(vst_fail(VST_ERROR_IO,
                         errno == EWOULDBLOCK ? "%s is in use by another training or `vistill cache build` (%s): wait "
                                                "for it"
                                              : "%s: cannot be locked: %s",
                         path, strerror(errno)));
    if (fstat(teacher->file, &info) != 0) VST_TRY(vst_fail(VST_ERROR_IO, "%s: %s", path, strerror(errno)));
    if (!vsti_cache_bytes(teacher, cache->done, bytes) || (uint64_t)info.st_size < *bytes)
        VST_TRY(vst_fail(VST_ERROR_FORMAT,
                         "%s has %lld bytes, too few for %llu records of %zu bytes: the file was cut; " VSTI_CACHE_MEND,
                         path, (long long)info.st_size, (unsigned long long)cache->done, teacher->record));
out:
    return status;
}

vst_status vsti_cache_open_write(vsti_cache *cache) {
    for (int i = 0; i < cache->teacher_count; i++) {
        uint64_t bytes;
        const vst_status status = open_file(cache, &cache->teachers[i], O_RDWR | O_CREAT, LOCK_EX, &bytes);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

vst_status vsti_cache_put(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t index,
                          const uint8_t *records, size_t count) {
    const uint64_t at = index * teacher->record;
    const size_t bytes = count * teacher->record;
    for (size_t written = 0; written < bytes;) {
        const ssize_t step = pwrite(teacher->file, records + written, bytes - written, (off_t)(at + written));
        if (step <= 0 && errno != EINTR)
            return vst_fail(VST_ERROR_IO, "%s/teacher%d.bin: cannot be written: %s", cache->folder, teacher->number,
                            strerror(errno));
        if (step > 0) written += (size_t)step;
    }
    return VST_OK;
}

vst_status vsti_cache_open_read(vsti_cache *cache) {
    const uint64_t blocks = vsti_cache_blocks(cache);
    for (int i = 0; i < cache->teacher_count; i++) {
        uint64_t bytes;
        vsti_cache_teacher *teacher = &cache->teachers[i];
        const vst_status status = open_file(cache, teacher, O_RDONLY, LOCK_SH, &bytes);
        if (status != VST_OK) return status;
        teacher->buffer = vst_alloc(teacher->record);
        if (!teacher->buffer) return vst_fail_memory(teacher->record);
    }
    cache->piece = vst_alloc(VSTI_CACHE_PIECE);
    cache->sound = vst_calloc(blocks ? (size_t)blocks : 1, sizeof *cache->sound);
    return cache->sound && cache->piece ? VST_OK : vst_fail_memory((size_t)blocks + VSTI_CACHE_PIECE);
}

static vst_status read_at(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t offset, void *to,
                          size_t bytes) {
    const vst_status status = vsti_file_read_at(teacher->file, offset, to, bytes);
    if (status == VST_OK) return VST_OK;
    return vst_fail(status, "%s/teacher%d.bin: %s; or " VSTI_CACHE_MEND, cache->folder, teacher->number,
                    vst_error_message());
}

vst_status vsti_cache_read(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t record) {
    return read_at(cache, teacher, record * teacher->record, teacher->buffer, teacher->record);
}

static vst_status sum_up(const vsti_cache *cache, const vsti_cache_teacher *teacher, uint64_t offset, uint64_t bytes,
                         XXH3_state_t *state) {
    XXH3_64bits_reset(state);
    while (bytes) {
        const size_t piece = bytes < VSTI_CACHE_PIECE ? (size_t)bytes : VSTI_CACHE_PIECE;
        const vst_status status = read_at(cache, teacher, offset, cache->piece, piece);
        if (status != VST_OK) return status;
        XXH3_64bits_update(state, cache->piece, piece);
        offset += piece;
        bytes -= piece;
    }
    return VST_OK;
}

vst_status vsti_cache_verify(vsti_cache *cache, uint64_t block) {
    vst_status status = VST_OK;
    if (cache->sound[block]) return VST_OK;
    XXH3_state_t *state = XXH3_createState();
    if (!state) VST_TRY(vst_fail(VST_ERROR_MEMORY, "out of memory for a checksum"));
    for (int i = 0; i < cache->teacher_count; i++) {
        const vsti_cache_teacher *teacher = &cache->teachers[i];
        const uint64_t bytes = vsti_cache_filled(cache, block) * teacher->record;
        const uint64_t begin = block * cache->block * teacher->record;
        VST_TRY(sum_up(cache, teacher, begin, bytes, state));
        if (XXH3_64bits_digest(state) != teacher->sums[block])
            VST_TRY(vst_fail(VST_ERROR_FORMAT,
                             "%s/teacher%d.bin: bytes %llu to %llu (%s %llu) do not fit their checksum: the file was "
                             "damaged; " VSTI_CACHE_MEND,
                             cache->folder, teacher->number, (unsigned long long)begin,
                             (unsigned long long)(begin + bytes), cache->views ? "view" : "epoch",
                             (unsigned long long)block));
    }
    cache->sound[block] = true;
out:
    XXH3_freeState(state);
    return status;
}
