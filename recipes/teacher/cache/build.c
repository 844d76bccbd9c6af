/* Builds a cache: runs the teachers on all images that a training shows. The manifest is updated regularly, so that an
 * interrupted or killed build can continue. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "recipes/teacher/cache/cache.h"
#include "recipes/teacher/internal.h"
#include "vision/base/clock.h"
#include "vision/base/disk.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"

enum { COMMIT_SECONDS = 30, CHUNK = 1 << 20 };

/* ---- Starting point ---- */

typedef struct builder {
    const vsti_cache_source *source;
    vsti_cache wanted; /* describes the cache that the recipe needs */
    vsti_cache cache;
    const vst_cache_build_options *options;
    uint64_t blocks;                      /* number of blocks to build */
    XXH3_state_t *sums[VST_MAX_TEACHERS]; /* checksum states of the current block */
    uint8_t *buffer;                      /* records of a batch of one teacher, or CHUNK bytes */
    uint32_t *scratch;
    double committed; /* time of the last commit */
} builder;

static vst_status count_blocks(builder *self) {
    const vst_recipe *recipe = self->source->recipe;
    const int epochs = self->options->epochs, views = recipe->augment.views;
    if (views && epochs)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "--epochs %d: the recipe's epochs show %d views in turn (augment.views), and all of them are "
                        "made",
                        epochs, views);
    self->blocks = (uint64_t)(views ? views : epochs ? epochs : recipe->run.epochs);
    return VST_OK;
}

static vst_status begin_anew(builder *self) {
    const vst_status status = self->source->measure(self->source->user);
    if (status != VST_OK) return status;
    self->cache = self->wanted;
    self->wanted = (vsti_cache){0};
    for (int i = 0; i < self->source->teachers->count; i++) {
        const vsti_teacher *teacher = &self->source->teachers->list[i];
        if (teacher->model) vsti_cache_teacher_of(&self->cache, teacher->source + 1)->top1 = teacher->top1;
    }
    return VST_OK;
}

/* Continues an existing cache if it was made for the same recipe. A block that was started with another batch size is
 * built again. */
static vst_status find_cache(builder *self) {
    vst_status status = VST_OK;
    const char *folder = self->source->recipe->distill.cache;
    if (self->options->force) return begin_anew(self);
    status = vsti_cache_read_manifest(&self->cache, folder);
    if (status == VST_ERROR_NOT_FOUND) return begin_anew(self);
    VST_TRY(status);
    const bool complete =
        self->cache.done / self->cache.block >= self->blocks; /* then it may have more taps than needed */
    VST_TRY(vsti_cache_compare(&self->cache, &self->wanted, !complete));
    const uint64_t begun = self->cache.done % self->cache.block;
    if (begun % (uint64_t)self->source->recipe->optim.batch) self->cache.done -= begun;
out:
    return status;
}

/* ---- Disk space ---- */

static vst_status check_room(const builder *self) {
    const vsti_cache *cache = &self->cache;
    char whole[32], missing[32];
    uint64_t records, all, have;
    if (__builtin_mul_overflow(self->blocks, cache->block, &records) || !vsti_cache_total(cache, records, &all) ||
        !vsti_cache_total(cache, cache->done, &have))
        return vst_fail(VST_ERROR_LIMIT, "%llu %s of %llu images are too many for a cache",
                        (unsigned long long)self->blocks, cache->views ? "views" : "epochs",
                        (unsigned long long)cache->block);
    const uint64_t left = all > have ? all - have : 0;
    vst_log(VST_LOG_INFO, "cache    %s: %llu %s of %llu images", cache->folder, (unsigned long long)self->blocks,
            vsti_cache_block_word(cache, self->blocks), (unsigned long long)cache->block);
    vst_log(VST_LOG_INFO, "         %llu bytes each, %s; %s to be written", (unsigned long long)(all / records),
            vsti_bytes_text(all, whole), vsti_bytes_text(left, missing));
    if (cache->batch)
        vst_log(VST_LOG_INFO, "         images are mixed: it serves this seed and batches of %d alone", cache->batch);
    return vsti_disk_check(cache->folder, left,
                           "set distill.cache to another disk, distill.cache_topk, fewer --epochs or augment.views");
}

/* ---- Records ---- */

/* Computes the checksum of the existing part of the current block and compares it with the manifest. */
static vst_status reread(builder *self, int teacher) {
    const vsti_cache *cache = &self->cache;
    const vsti_cache_teacher *cached = &cache->teachers[teacher];
    const uint64_t block = cache->done / cache->block, end = cache->done * cached->record;
    for (uint64_t at = block * cache->block * cached->record; at < end;) {
        const size_t wanted = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
        const ssize_t got = pread(cached->file, self->buffer, wanted, (off_t)at);
        if (got <= 0)
            return vst_fail(VST_ERROR_IO, "%s/teacher%d.bin: cannot be read: %s", cache->folder, cached->number,
                            strerror(errno));
        XXH3_64bits_update(self->sums[teacher], self->buffer, (size_t)got);
        at += (uint64_t)got;
    }
    if (cache->done % cache->block == 0 || XXH3_64bits_digest(self->sums[teacher]) == cached->sums[block])
        return VST_OK;
    return vst_fail(VST_ERROR_FORMAT,
                    "%s/teacher%d.bin was damaged since the build was interrupted: --force builds it anew",
                    cache->folder, cached->number);
}

static vst_status allocate(builder *self) {
    vst_status status = VST_OK;
    size_t buffer = CHUNK;
    for (int i = 0; i < self->cache.teacher_count; i++) {
        size_t bytes;
        vsti_cache_teacher *cached = &self->cache.teachers[i];
        if (!vst_multiply((size_t)self->source->recipe->optim.batch, cached->record, &bytes))
            VST_TRY(vst_fail_memory(SIZE_MAX));
        if (bytes > buffer) buffer = bytes;
        VST_TRY(vst_grow(&cached->sums, &cached->sum_capacity, (size_t)self->blocks, sizeof *cached->sums));
        if (!(self->sums[i] = XXH3_createState())) VST_TRY(vst_fail_memory(1024));
        XXH3_64bits_reset(self->sums[i]);
    }
    self->buffer = vst_alloc(buffer);
    self->scratch = vst_alloc(vsti_cache_scratch(&self->cache) * sizeof *self->scratch);
    if (!self->buffer || !self->scratch) VST_TRY(vst_fail_memory(buffer));
out:
    return status;
}

static vst_status encode(builder *self, const vsti_teacher *teacher, const vsti_cache_teacher *cached, int count) {
    for (int k = 0; k < teacher->tap_count; k++) {
        const vsti_cache_tap *tap = vsti_cache_tap_named(cached, teacher->taps[k].name);
        const float *values = teacher->outputs.taps[k];
        for (int i = 0; i < count; i++) {
            const vst_status status = vsti_cache_encode(tap, self->cache.dtype, values + (size_t)i * tap->floats,
                                                        self->scratch, self->buffer + (size_t)i * cached->record);
            if (status != VST_OK) return vst_fail_in(status, "%s", teacher->name);
        }
    }
    return VST_OK;
}

/* Adds the records of a batch for all teachers. */
static vst_status add_batch(builder *self, const vst_batch *batch) {
    vst_status status = VST_OK;
    const uint64_t block = self->cache.done / self->cache.block;
    for (int i = 0; i < self->cache.teacher_count; i++) {
        const vsti_cache_teacher *cached = &self->cache.teachers[i];
        vsti_teacher *teacher = vsti_teacher_of(self->source->teachers, cached->number - 1);
        const size_t bytes = (size_t)batch->count * cached->record;
        VST_TRY(vsti_teacher_run(teacher, batch->images));
        VST_TRY(encode(self, teacher, cached, batch->count));
        VST_TRY(vsti_cache_put(&self->cache, cached, self->cache.done, self->buffer, (size_t)batch->count));
        if (self->cache.done % self->cache.block == 0) XXH3_64bits_reset(self->sums[i]);
        XXH3_64bits_update(self->sums[i], self->buffer, bytes);
        cached->sums[block] = XXH3_64bits_digest(self->sums[i]);
    }
    self->cache.done += (uint64_t)batch->count;
out:
    return status;
}

static vst_status commit(builder *self) {
    self->committed = vst_seconds();
    return vsti_cache_commit(&self->cache);
}

/* Truncates the files after the last record, so that equal caches have equal files. */
static vst_status cut(const builder *self) {
    const vsti_cache *cache = &self->cache;
    for (int i = 0; i < cache->teacher_count; i++) {
        const vsti_cache_teacher *cached = &cache->teachers[i];
        if (ftruncate(cached->file, (off_t)(cache->done * cached->record)) != 0)
            return vst_fail(VST_ERROR_IO, "%s/teacher%d.bin: cannot be shortened: %s", cache->folder, cached->number,
                            strerror(errno));
    }
    return VST_OK;
}

/* ---- Building ---- */

static vst_status interrupt(builder *self) {
    const vst_status status = commit(self);
    if (status != VST_OK) return status;
    return vst_fail(VST_ERROR_INTERRUPTED, "%s holds %llu of %llu records; the same command goes on",
                    self->cache.folder, (unsigned long long)self->cache.done,
                    (unsigned long long)(self->blocks * self->cache.block));
}

static vst_status fill_block(builder *self, vst_progress *progress, uint64_t begin) {
    vst_status status = VST_OK;
    vsti_cache *cache = &self->cache;
    const uint64_t block = cache->done / cache->block;
    const uint64_t step = cache->done % cache->block / (uint64_t)self->source->recipe->optim.batch;
    VST_TRY(vst_loader_start(self->source->loader, (uint32_t)block, step));
    while (cache->done < (block + 1) * cache->block) {
        vst_batch batch;
        if (self->options->stop && *self->options->stop) return interrupt(self);
        VST_TRY(vst_loader_next(self->source->loader, &batch));
        if (!batch.count) VST_TRY(vst_fail(VST_ERROR_INTERNAL, "the loader's epoch ends before that of the cache"));
        VST_TRY(add_batch(self, &batch));
        vst_progress_update(progress, cache->done - begin, NAN);
        if (vst_seconds() - self->committed > COMMIT_SECONDS) VST_TRY(commit(self));
    }
    VST_TRY(commit(self));
out:
    return status;
}

static vst_status fill(builder *self) {
    vst_status status = VST_OK;
    vst_progress progress;
    const uint64_t begin = self->cache.done, end = self->blocks * self->cache.block;
    self->committed = vst_seconds();
    vst_progress_start(&progress, "teacher", "images", end - begin);
    while (self->cache.done < end && status == VST_OK) status = fill_block(self, &progress, begin);
    vst_progress_finish(&progress);
    return status;
}

static vst_status build(builder *self, vst_cache_size *size) {
    vst_status status = VST_OK;
    VST_TRY(count_blocks(self));
    VST_TRY(
        vsti_teachers_describe_cache(self->source->teachers, self->source->recipe, &self->source->data, &self->wanted));
    VST_TRY(find_cache(self));
    const uint64_t begin = self->cache.done;
    if (begin / self->cache.block < self->blocks) {
        VST_TRY(check_room(self));
        VST_TRY(vsti_cache_open_write(&self->cache));
        VST_TRY(allocate(self));
        for (int i = 0; i < self->cache.teacher_count; i++) VST_TRY(reread(self, i));
        VST_TRY(commit(self)); /* the manifest must not count the dropped records */
        VST_TRY(cut(self));
        VST_TRY(fill(self));
    }
    *size = vsti_cache_size_of(&self->cache);
    size->added = self->cache.done - begin;
out:
    return status;
}

vst_status vsti_cache_build(const vsti_cache_source *source, const vst_cache_build_options *options,
                            vst_cache_size *size) {
    *size = (vst_cache_size){0};
    builder *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->source = source;
    self->options = options;
    const vst_status status = build(self, size);
    for (int i = 0; i < VST_MAX_TEACHERS; i++) XXH3_freeState(self->sums[i]);
    vsti_cache_clear(&self->cache);
    vsti_cache_clear(&self->wanted);
    vst_free(self->buffer);
    vst_free(self->scratch);
    vst_free(self);
    return status;
}
