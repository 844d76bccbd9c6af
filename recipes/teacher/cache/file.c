/* The data files of a cache: locks, maps, checksums, and opening one for a training. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "recipes/teacher/cache/internal.h"
#include "recipes/train/internal.h"
#include "vision/base/file.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

void vsti_cache_close(vsti_cache *cache) {
    for (int i = 0; i < cache->teacher_count; i++) {
        vsti_cache_teacher *teacher = &cache->teachers[i];
        if (teacher->map) munmap((void *)teacher->map, teacher->mapped);
        if (teacher->file >= 0) close(teacher->file);
        teacher->map = NULL;
        teacher->file = -1;
    }
}

/* Opens and locks, and checks that what the head tells of is there. */
static vst_status open_file(const vsti_cache *cache, vsti_cache_teacher *teacher, int flags, int lock,
                            uint64_t *bytes) {
    vst_status status = VST_OK;
    struct stat info;
    char path[VSTI_PATH];
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
                         "%s has %lld bytes, and %llu records of %zu are told of: it was cut; " VSTI_CACHE_MEND, path,
                         (long long)info.st_size, (unsigned long long)cache->done, teacher->record));
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

/* ---- For a training ---- */

/* Is all there that the run will ask for? */
static vst_status check_length(const vsti_cache *cache, int epochs) {
    const uint64_t wanted = (uint64_t)(cache->views ? cache->views : epochs), have = cache->done / cache->block;
    if (have >= wanted) return VST_OK;
    return vst_fail(
        VST_ERROR_ARGUMENT, "the cache %s has %llu of the run's %llu %s: `vistill cache build RECIPE` adds the others",
        cache->folder, (unsigned long long)have, (unsigned long long)wanted, cache->views ? "views" : "epochs");
}

static void attach(vsti_cache *cache, vsti_teachers *teachers) {
    teachers->cache = cache;
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        if (!teacher->file) continue;
        teacher->cached = vsti_cache_teacher_of(cache, teacher->source + 1);
        teacher->top1 = teacher->cached->top1;
        for (int k = 0; k < teacher->tap_count; k++)
            teacher->taps[k].cached = vsti_cache_tap_named(teacher->cached, teacher->taps[k].name);
    }
}

vst_status vsti_cache_open(vsti_cache *cache, const vst_recipe *recipe, const vsti_train_data *data,
                           vsti_teachers *teachers) {
    vst_status status = VST_OK;
    vsti_cache wanted = {0};
    VST_TRY(vsti_cache_read_head(cache, recipe->distill.cache));
    VST_TRY(vsti_cache_describe(&wanted, recipe, data, teachers));
    VST_TRY(vsti_cache_compare(cache, &wanted, false));
    VST_TRY(check_length(cache, recipe->run.epochs));
    VST_TRY(vsti_cache_open_read(cache));
    attach(cache, teachers);
out:
    vsti_cache_clear(&wanted);
    return status;
}

void vsti_cache_log_setup(const vsti_cache *cache) {
    size_t record = 0;
    for (int i = 0; i < cache->teacher_count; i++) record += cache->teachers[i].record;
    vst_log(VST_LOG_INFO,
            "answers  from the cache %s, no teacher runs: %llu %s of %llu images, %zu bytes each, %s precision",
            cache->folder, (unsigned long long)(cache->done / cache->block), cache->views ? "views" : "epochs",
            (unsigned long long)cache->block, record, cache->dtype == VST_F16 ? "half" : "single");
    if (cache->topk) vst_log(VST_LOG_INFO, "         of logits the %d largest and the sum of the others", cache->topk);
}
