/* Teachers whose outputs are read from a cache. */
#include <stdio.h>
#include <string.h>

#include "datasets/loader/order.h"
#include "recipes/teacher/internal.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"

/* ---- Description of the cache ---- */

static vsti_cache_teacher describe_teacher(const vsti_teacher *teacher, uint64_t hash) {
    vsti_cache_teacher out = {.number = teacher->source + 1, .hash = hash, .top1 = teacher->top1, .file = -1};
    for (int i = 0; i < teacher->tap_count; i++) {
        const vst_shape *batch = &teacher->taps[i].stored;
        vsti_cache_tap *tap = &out.taps[out.tap_count++];
        snprintf(tap->name, sizeof tap->name, "%s", teacher->taps[i].name);
        tap->shape.rank = batch->rank - 1;
        memcpy(tap->shape.dim, batch->dim + 1, (size_t)tap->shape.rank * sizeof *batch->dim);
    }
    return out;
}

static uint64_t block_of(const vst_recipe *recipe, const vsti_cache_data *data) {
    if (recipe->augment.views) return data->samples;
    if (data->mixed) return data->steps * (uint64_t)recipe->optim.batch;
    return vst_order_count(&(vst_order){.samples = data->samples, .repeats = recipe->augment.repeats});
}

vst_status vsti_teachers_describe_cache(const vsti_teachers *teachers, const vst_recipe *recipe,
                                        const vsti_cache_data *data, vsti_cache *cache) {
    *cache = (vsti_cache){.data = data->hash,
                          .view = data->view,
                          .seed = recipe->run.seed,
                          .batch = data->mixed ? recipe->optim.batch : 0,
                          .views = recipe->augment.views,
                          .dtype = recipe->distill.cache_precision == VST_CACHE_HALF ? VST_F16 : VST_F32,
                          .topk = recipe->distill.cache_topk,
                          .block = block_of(recipe, data)};
    snprintf(cache->version, sizeof cache->version, "%s", VST_VERSION);
    if (!(cache->folder = vst_strdup(recipe->distill.cache))) return vst_fail_memory(4096);
    for (int i = 0; i < teachers->count; i++) {
        uint64_t hash = 0;
        if (!vsti_teacher_is_given(&teachers->list[i])) continue;
        const vst_status status = vsti_teacher_hash(&teachers->list[i], &hash);
        if (status != VST_OK) return status;
        cache->teachers[cache->teacher_count++] = describe_teacher(&teachers->list[i], hash);
    }
    if (vsti_cache_lay_out_all(cache) && cache->block <= VSTI_CACHE_RECORDS) return VST_OK;
    return vst_fail(VST_ERROR_LIMIT, "the teacher's taps are too large for a cache");
}

/* ---- Opening for a training ---- */

/* Fails if the cache has fewer epochs or views than the run reads. */
static vst_status check_length(const vsti_cache *cache, int epochs) {
    const uint64_t wanted = (uint64_t)(cache->views ? cache->views : epochs), have = cache->done / cache->block;
    if (have >= wanted) return VST_OK;
    return vst_fail(
        VST_ERROR_ARGUMENT, "the cache %s has %llu of the run's %llu %s: `vistill cache build RECIPE` adds the others",
        cache->folder, (unsigned long long)have, (unsigned long long)wanted, cache->views ? "views" : "epochs");
}

static void attach(vsti_teachers *teachers) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        if (!vsti_teacher_is_given(teacher)) continue;
        teacher->cached = vsti_cache_teacher_of(teachers->cache, teacher->source + 1);
        teacher->top1 = teacher->cached->top1;
        for (int k = 0; k < teacher->tap_count; k++)
            teacher->taps[k].cached = vsti_cache_tap_named(teacher->cached, teacher->taps[k].name);
    }
}

vst_status vsti_teachers_open_cache(vsti_teachers *teachers, const vst_recipe *recipe, const vsti_cache_data *data) {
    vst_status status = VST_OK;
    vsti_cache wanted = {0}, *cache = teachers->cache = vst_calloc(1, sizeof *cache);
    if (!cache) VST_TRY(vst_fail_memory(sizeof *cache));
    VST_TRY(vsti_cache_read_manifest(cache, recipe->distill.cache));
    VST_TRY(vsti_teachers_describe_cache(teachers, recipe, data, &wanted));
    VST_TRY(vsti_cache_compare(cache, &wanted, false));
    VST_TRY(check_length(cache, recipe->run.epochs));
    VST_TRY(vsti_cache_open_read(cache));
    attach(teachers);
out:
    vsti_cache_clear(&wanted);
    return status;
}

void vsti_teachers_log_cache(const vsti_teachers *teachers) {
    const vsti_cache *cache = teachers->cache;
    size_t record = 0;
    for (int i = 0; i < cache->teacher_count; i++) record += cache->teachers[i].record;
    const uint64_t blocks = cache->done / cache->block;
    vst_log(VST_LOG_INFO, "answers  from the cache %s, no teacher runs", cache->folder);
    vst_log(VST_LOG_INFO, "         %llu %s of %llu images, %zu bytes each, %s precision", (unsigned long long)blocks,
            vsti_cache_block_word(cache, blocks), (unsigned long long)cache->block, record,
            cache->dtype == VST_F16 ? "half" : "single");
    if (cache->topk) vst_log(VST_LOG_INFO, "         of logits the %d largest and the sum of the others", cache->topk);
}

/* ---- Reading a batch ---- */

vst_status vsti_read_cached(const vsti_teachers *teachers, const vsti_teacher *teacher) {
    vsti_cache *cache = teachers->cache;
    const vst_batch *batch = teachers->batch;
    const vsti_cache_teacher *from = teacher->cached;
    vsti_position position = teachers->position;
    const vst_status status = vsti_cache_verify(cache, vsti_cache_block(cache, position.epoch));
    if (status != VST_OK) return status;
    for (int i = 0; i < batch->count; i++, position.sample++) {
        const uint64_t index = vsti_cache_index(cache, position, batch->samples[i]);
        const vst_status read = vsti_cache_read(cache, from, index);
        if (read != VST_OK) return read;
        for (int k = 0; k < teacher->tap_count; k++) {
            const vsti_cache_tap *tap = teacher->taps[k].cached;
            const vsti_teacher_tap *wanted = &teacher->taps[k];
            float *target = wanted->target + (size_t)i * (wanted->floats / (size_t)teacher->batch);
            float *values = wanted->scores && teacher->scores ? teacher->scores : target;
            if (vsti_cache_decode(tap, cache->dtype, from->buffer, values))
                vsti_take_scores(teacher, wanted, values, 1, target);
            else
                return vst_fail(
                    VST_ERROR_FORMAT,
                    "%s/teacher%d.bin: record %llu names a class that tap %s does not have; " VSTI_CACHE_MEND,
                    cache->folder, from->number, (unsigned long long)index, tap->name);
        }
    }
    return VST_OK;
}
