/* The data files of a cache: locks, maps, checksums. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "recipes/teacher/cache/internal.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

static void close_files(vsti_cache *cache) {
    for (int i = 0; i < cache->teacher_count; i++) {
        vsti_cache_teacher *teacher = &cache->teachers[i];
        if (teacher->map) munmap((void *)teacher->map, teacher->mapped);
        if (teacher->file >= 0) close(teacher->file);
        teacher->map = NULL;
        teacher->file = -1;
    }
}

void vsti_cache_clear(vsti_cache *cache) {
    close_files(cache);
    for (int i = 0; i < cache->teacher_count; i++) vst_free(cache->teachers[i].sums);
    vst_free(cache->sound);
    vst_free(cache->folder);
    *cache = (vsti_cache){0};
}

/* Opens and locks, and checks that all records of the manifest are there. */
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

vst_status vsti_cache_commit(const vsti_cache *cache) {
    for (int i = 0; i < cache->teacher_count; i++)
        if (fdatasync(cache->teachers[i].file) != 0)
            return vst_fail(VST_ERROR_IO, "%s/teacher%d.bin: cannot be written: %s", cache->folder,
                            cache->teachers[i].number, strerror(errno));
    return vsti_cache_write_manifest(cache);
}

vst_status vsti_cache_open_read(vsti_cache *cache) {
    const uint64_t blocks = vsti_cache_blocks(cache);
    for (int i = 0; i < cache->teacher_count; i++) {
        uint64_t bytes;
        vsti_cache_teacher *teacher = &cache->teachers[i];
        const vst_status status = open_file(cache, teacher, O_RDONLY, LOCK_SH, &bytes);
        if (status != VST_OK) return status;
        if (!bytes) continue;
        void *map = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, teacher->file, 0);
        if (map == MAP_FAILED)
            return vst_fail(VST_ERROR_IO, "%s/teacher%d.bin: cannot be mapped: %s", cache->folder, teacher->number,
                            strerror(errno));
        teacher->map = map;
        teacher->mapped = (size_t)bytes;
    }
    cache->sound = vst_calloc(blocks ? (size_t)blocks : 1, sizeof *cache->sound);
    return cache->sound ? VST_OK : vst_fail_memory((size_t)blocks);
}

/* Asks for the whole block at once: it is about to be read from end to end. */
static void prefetch(const uint8_t *from, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (uintptr_t)from % page;
    madvise((void *)(from - before), bytes + before, MADV_WILLNEED);
}

vst_status vsti_cache_verify(vsti_cache *cache, uint64_t block) {
    if (cache->sound[block]) return VST_OK;
    for (int i = 0; i < cache->teacher_count; i++) {
        const vsti_cache_teacher *teacher = &cache->teachers[i];
        const size_t bytes = (size_t)vsti_cache_filled(cache, block) * teacher->record;
        const size_t begin = (size_t)(block * cache->block) * teacher->record;
        prefetch(teacher->map + begin, bytes);
        if (XXH3_64bits(teacher->map + begin, bytes) != teacher->sums[block])
            return vst_fail(VST_ERROR_FORMAT,
                            "%s/teacher%d.bin: bytes %zu to %zu (%s %llu) do not fit their checksum: the file was "
                            "damaged; " VSTI_CACHE_MEND,
                            cache->folder, teacher->number, begin, begin + bytes, cache->views ? "view" : "epoch",
                            (unsigned long long)block);
    }
    cache->sound[block] = true;
    return VST_OK;
}
