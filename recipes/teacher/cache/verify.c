/* Checks a cache: manifest, checksums, and some records against the teachers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/infer/evaluate.h"
#include "recipes/teacher/cache/cache.h"
#include "recipes/teacher/internal.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"

static const double most_error = 0.01, least_same = 99; /* fraction of the magnitude; per cent */

typedef struct checker {
    const vsti_cache_source *source;
    vsti_cache wanted; /* describes the cache that the recipe needs */
    vsti_cache cache;
    vst_cache_report *report;
    float *values;                                /* of one tap, out of the cache */
    uint32_t *places;                             /* of the largest */
    uint64_t numbers[VST_MAX_TEACHER_TAPS], rows; /* that the report's sums are over */
} checker;

static vst_status verify_all(checker *self, const volatile sig_atomic_t *stop) {
    vst_status status = VST_OK;
    vst_progress progress;
    const uint64_t blocks = vsti_cache_blocks(&self->cache);
    vst_progress_start(&progress, "checksums", self->cache.views ? "views" : "epochs", blocks);
    for (uint64_t block = 0; block < blocks && status == VST_OK; block++) {
        if (stop && *stop) status = vst_fail(VST_ERROR_INTERRUPTED, "stopped while checking");
        else status = vsti_cache_verify(&self->cache, block);
        vst_progress_update(&progress, block + 1, NAN);
    }
    vst_progress_finish(&progress);
    return status;
}

/* ---- Comparing with the teacher ---- */

/* Adds what `self->values` is away from the teacher's. */
static void compare(checker *self, int index, const vsti_cache_tap *tap, const float *fresh) {
    vst_cache_tap_check *to = &self->report->taps[index];
    const size_t count = tap->kept ? tap->kept : tap->floats;
    float rest;
    if (tap->kept) vsti_cache_largest(fresh, tap->floats, tap->kept, self->places, &rest);
    for (size_t i = 0; i < count; i++) {
        const size_t at = tap->kept ? self->places[i] : i;
        const double error = fabs((double)self->values[at] - (double)fresh[at]);
        to->mean_error += error;
        to->magnitude += fabs((double)fresh[at]);
        if (!(error <= to->max_error)) to->max_error = error;
    }
    self->numbers[index] += count;
    if (!isnan(to->same_top1))
        to->same_top1 += vst_largest(self->values, tap->floats) == vst_largest(fresh, tap->floats);
}

static vst_status compare_row(checker *self, uint64_t record, int row) {
    int index = 0;
    for (int i = 0; i < self->source->teachers->count; i++) {
        const vsti_teacher *teacher = &self->source->teachers->list[i];
        if (!teacher->model) continue;
        const vsti_cache_teacher *from = vsti_cache_teacher_of(&self->cache, teacher->source + 1);
        const vst_status status = vsti_cache_read(&self->cache, from, record);
        if (status != VST_OK) return status;
        for (int k = 0; k < teacher->tap_count; k++, index++) {
            const vsti_cache_tap *tap = vsti_cache_tap_named(from, teacher->taps[k].name);
            if (!vsti_cache_decode(tap, self->cache.dtype, from->buffer, self->values))
                return vst_fail(
                    VST_ERROR_FORMAT,
                    "%s/teacher%d.bin: record %llu names a class that tap %s does not have; " VSTI_CACHE_MEND,
                    self->cache.folder, from->number, (unsigned long long)record, tap->name);
            compare(self, index, tap, teacher->outputs.taps[k] + (size_t)row * tap->floats);
        }
    }
    self->rows++;
    return VST_OK;
}

static vst_status recompute_batch(checker *self, uint64_t record) {
    vst_status status = VST_OK;
    vst_batch batch;
    const vsti_cache *cache = &self->cache;
    const uint64_t size = (uint64_t)self->source->recipe->optim.batch, block = record / cache->block;
    const uint64_t step = record % cache->block / size, first = block * cache->block + step * size;
    VST_TRY(vst_loader_start(self->source->loader, (uint32_t)block, step));
    VST_TRY(vst_loader_next(self->source->loader, &batch));
    for (int i = 0; i < self->source->teachers->count; i++)
        if (self->source->teachers->list[i].model)
            VST_TRY(vsti_teacher_run(&self->source->teachers->list[i], batch.images));
    for (int i = 0; i < batch.count && first + (uint64_t)i < cache->done; i++)
        VST_TRY(compare_row(self, first + (uint64_t)i, i));
out:
    return status;
}

static vst_status recompute(checker *self, int samples, const volatile sig_atomic_t *stop) {
    vst_status status = VST_OK;
    vst_progress progress;
    const uint64_t size = (uint64_t)self->source->recipe->optim.batch, records = self->cache.done;
    const uint64_t wanted = (uint64_t)samples < records ? (uint64_t)samples : records,
                   batches = (wanted + size - 1) / size;
    vst_progress_start(&progress, "recomputing", "batches", batches);
    for (uint64_t i = 0; i < batches && status == VST_OK; i++) {
        if (stop && *stop) status = vst_fail(VST_ERROR_INTERRUPTED, "stopped while checking");
        else status = recompute_batch(self, (uint64_t)((double)records * (double)i / (double)batches));
        vst_progress_update(&progress, i + 1, NAN);
    }
    vst_progress_finish(&progress);
    return status;
}

/* ---- The report ---- */

static void list_taps(checker *self) {
    vst_cache_report *report = self->report;
    for (int i = 0; i < self->source->teachers->count; i++) {
        const vsti_teacher *teacher = &self->source->teachers->list[i];
        for (int k = 0; teacher->model && k < teacher->tap_count; k++) {
            vst_cache_tap_check *tap = &report->taps[report->tap_count++];
            *tap = (vst_cache_tap_check){.teacher = teacher->source + 1,
                                         .same_top1 = teacher->taps[k].shape.rank == 2 ? 0 : NAN};
            memcpy(tap->tap, teacher->taps[k].name, sizeof tap->tap);
        }
    }
}

static void finish_report(checker *self) {
    vst_cache_report *report = self->report;
    report->size = vsti_cache_size_of(&self->cache);
    report->recomputed = self->rows;
    report->good = true;
    for (int i = 0; i < report->tap_count; i++) {
        vst_cache_tap_check *tap = &report->taps[i];
        tap->mean_error /= (double)self->numbers[i];
        tap->magnitude /= (double)self->numbers[i];
        tap->same_top1 *= 100 / (double)self->rows;
        if (!(tap->mean_error <= most_error * tap->magnitude) || tap->same_top1 < least_same) report->good = false;
    }
}

static vst_status check(checker *self, int samples, const volatile sig_atomic_t *stop) {
    vst_status status = VST_OK;
    size_t floats = 1;
    VST_TRY(
        vsti_teachers_describe_cache(self->source->teachers, self->source->recipe, &self->source->data, &self->wanted));
    VST_TRY(vsti_cache_read_manifest(&self->cache, self->source->recipe->distill.cache));
    VST_TRY(vsti_cache_compare(&self->cache, &self->wanted, false));
    if (!self->cache.done)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "the cache %s is empty: `vistill cache build RECIPE` fills it",
                         self->cache.folder));
    VST_TRY(vsti_cache_open_read(&self->cache));
    for (int i = 0; i < self->wanted.teacher_count; i++)
        for (int k = 0; k < self->wanted.teachers[i].tap_count; k++)
            if (self->wanted.teachers[i].taps[k].floats > floats) floats = self->wanted.teachers[i].taps[k].floats;
    self->values = vst_alloc(floats * sizeof *self->values);
    self->places = vst_alloc(vsti_cache_scratch(&self->cache) * sizeof *self->places);
    if (!self->values || !self->places) VST_TRY(vst_fail_memory(floats * sizeof *self->values));
    list_taps(self);
    VST_TRY(verify_all(self, stop));
    if (self->report->tap_count) VST_TRY(recompute(self, samples, stop));
    finish_report(self);
out:
    return status;
}

vst_status vsti_cache_check(const vsti_cache_source *source, int samples, const volatile sig_atomic_t *stop,
                            vst_cache_report *report) {
    *report = (vst_cache_report){0};
    checker *self = vst_calloc(1, sizeof *self);
    if (!self) return vst_fail_memory(sizeof *self);
    self->report = report;
    self->source = source;
    const vst_status status = check(self, samples, stop);
    vsti_cache_clear(&self->cache);
    vsti_cache_clear(&self->wanted);
    vst_free(self->values);
    vst_free(self->places);
    vst_free(self);
    return status;
}
