/* Makes a cache from logits that another program computed, with the same records as a build would write. */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/teacher/internal.h"
#include "vision/base/memory.h"

typedef struct importer {
    const vsti_logits *logits;
    vsti_cache cache;
    vsti_cache_teacher *teacher;
    float *row;
    uint32_t *scratch;
    uint8_t *record;
} importer;

/* A teacher that has only logits. */
static void describe_logits(vsti_teachers *teachers, const vsti_logits *logits) {
    vsti_teacher *teacher = &teachers->list[teachers->count++];
    *teacher =
        (vsti_teacher){.source = 0, .external = true, .hash = logits->hash, .top1 = logits->top1, .tap_count = 1};
    snprintf(teacher->taps[0].name, sizeof teacher->taps[0].name, "logits");
    teacher->taps[0].stored = teacher->taps[0].shape = VST_SHAPE(1, (int64_t)logits->classes);
    teacher->taps[0].stored_floats = teacher->taps[0].floats = logits->classes;
}

static vst_status check_new(const vsti_cache *cache, bool force) {
    vsti_cache found = {0};
    const vst_status status = force ? VST_ERROR_NOT_FOUND : vsti_cache_read_manifest(&found, cache->folder);
    vsti_cache_clear(&found);
    if (status == VST_ERROR_NOT_FOUND) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "%s holds a cache already: --force replaces it", cache->folder);
}

static vst_status allocate(importer *self) {
    vst_status status = VST_OK;
    const size_t blocks = (size_t)vsti_cache_blocks(&self->cache);
    VST_TRY(vst_grow(&self->teacher->sums, &self->teacher->sum_capacity, blocks, sizeof *self->teacher->sums));
    self->row = vst_alloc(self->logits->classes * sizeof *self->row);
    self->scratch = vst_alloc(vsti_cache_scratch(&self->cache) * sizeof *self->scratch);
    self->record = vst_alloc(self->teacher->record);
    if (!self->row || !self->scratch || !self->record) VST_TRY(vst_fail_memory(self->teacher->record));
out:
    return status;
}

/* The logits of a sample in a view. */
static const float *row_of(const importer *self, uint64_t view, uint64_t sample) {
    const vsti_logits *l = self->logits;
    const uint64_t row = l->rows[sample] + (l->views > 1 ? view * l->count : 0);
    const size_t bytes = vst_dtype_size(l->tensor->dtype);
    vst_to_float(self->row, (const char *)l->tensor->data + row * l->classes * bytes, l->tensor->dtype, l->classes);
    return self->row;
}

static vst_status write_block(importer *self, uint64_t block) {
    vst_status status = VST_OK;
    XXH3_state_t *sum = XXH3_createState();
    if (!sum) return vst_fail_memory(1024);
    XXH3_64bits_reset(sum);
    for (uint64_t sample = 0; sample < self->cache.block; sample++) {
        status = vsti_cache_encode(&self->teacher->taps[0], self->cache.dtype, row_of(self, block, sample),
                                   self->scratch, self->record);
        if (status != VST_OK)
            VST_TRY(vst_fail_in(status, "row %llu of the logits", (unsigned long long)self->logits->rows[sample]));
        XXH3_64bits_update(sum, self->record, self->teacher->record);
        VST_TRY(vsti_cache_put(&self->cache, self->teacher, block * self->cache.block + sample, self->record, 1));
    }
    self->teacher->sums[block] = XXH3_64bits_digest(sum);
out:
    XXH3_freeState(sum);
    return status;
}

static vst_status import(importer *self, const vst_recipe *recipe, const vsti_cache_data *data, bool force) {
    vst_status status = VST_OK;
    vsti_teachers teachers = {0};
    describe_logits(&teachers, self->logits);
    VST_TRY(vsti_teachers_describe_cache(&teachers, recipe, data, &self->cache));
    self->teacher = &self->cache.teachers[0];
    VST_TRY(check_new(&self->cache, force));
    VST_TRY(vsti_cache_open_write(&self->cache));
    const uint64_t blocks = (uint64_t)self->cache.views;
    self->cache.done = blocks * self->cache.block;
    VST_TRY(allocate(self));
    for (uint64_t block = 0; block < blocks; block++) VST_TRY(write_block(self, block));
    VST_TRY(vsti_cache_commit(&self->cache));
out:
    return status;
}

vst_status vsti_cache_import(const vst_recipe *recipe, const vsti_cache_data *data, const vsti_logits *logits,
                             bool force, vst_cache_size *size) {
    importer *self = vst_calloc(1, sizeof *self);
    *size = (vst_cache_size){0};
    if (!self) return vst_fail_memory(sizeof *self);
    self->logits = logits;
    const vst_status status = import(self, recipe, data, force);
    if (status == VST_OK) {
        *size = vsti_cache_size_of(&self->cache);
        size->added = size->records;
    }
    vsti_cache_clear(&self->cache);
    vst_free(self->row);
    vst_free(self->scratch);
    vst_free(self->record);
    vst_free(self);
    return status;
}
