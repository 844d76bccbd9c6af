/* Is a cache the one that a recipe needs? What it must be, and what differs. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "recipes/teacher/cache/internal.h"
#include "recipes/train/internal.h"
#include "vision/base/memory.h"
#include "vision/base/version.h"

const char *const vsti_cache_precisions[] = {"half", "float"};

/* ---- Teachers and taps ---- */

vsti_cache_teacher *vsti_cache_teacher_of(vsti_cache *cache, int number) {
    for (int i = 0; i < cache->teacher_count; i++)
        if (cache->teachers[i].number == number) return &cache->teachers[i];
    return NULL;
}

const vsti_cache_tap *vsti_cache_tap_named(const vsti_cache_teacher *teacher, const char *name) {
    for (int i = 0; i < teacher->tap_count; i++)
        if (strcmp(teacher->taps[i].name, name) == 0) return &teacher->taps[i];
    return NULL;
}

void vsti_cache_clear(vsti_cache *cache) {
    vsti_cache_close(cache);
    for (int i = 0; i < cache->teacher_count; i++) vst_free(cache->teachers[i].sums);
    vst_free(cache->sound);
    vst_free(cache->folder);
    *cache = (vsti_cache){0};
}

/* ---- What a recipe wants ---- */

static vsti_cache_teacher describe_teacher(const vsti_teacher *teacher, uint64_t hash) {
    vsti_cache_teacher out = {.number = teacher->source + 1, .hash = hash, .top1 = teacher->top1, .file = -1};
    for (int i = 0; i < teacher->tap_count; i++) {
        const vst_shape *batch = &teacher->taps[i].shape;
        vsti_cache_tap *tap = &out.taps[out.tap_count++];
        snprintf(tap->name, sizeof tap->name, "%s", teacher->taps[i].name);
        tap->shape.rank = batch->rank - 1;
        memcpy(tap->shape.dim, batch->dim + 1, (size_t)tap->shape.rank * sizeof *batch->dim);
    }
    return out;
}

static uint64_t block_of(const vst_recipe *recipe, const vsti_train_data *data, bool mixing) {
    const uint64_t samples = vst_dataset_count(data->train);
    if (recipe->augment.views) return samples;
    if (mixing) return data->steps * (uint64_t)recipe->optim.batch;
    return vst_order_count(&(vst_order){.samples = samples, .repeats = recipe->augment.repeats});
}

vst_status vsti_cache_describe(vsti_cache *cache, const vst_recipe *recipe, const vsti_train_data *data,
                               const vsti_teachers *teachers) {
    const bool mixing = vsti_recipe_mixes(recipe);
    *cache = (vsti_cache){.data = data->train_hash,
                          .view = data->view,
                          .seed = recipe->run.seed,
                          .batch = mixing ? recipe->optim.batch : 0,
                          .views = recipe->augment.views,
                          .dtype = recipe->distill.cache_precision == VST_CACHE_HALF ? VST_F16 : VST_F32,
                          .topk = recipe->distill.cache_topk,
                          .block = block_of(recipe, data, mixing)};
    snprintf(cache->version, sizeof cache->version, "%s", VST_VERSION);
    if (!(cache->folder = vst_strdup(recipe->distill.cache))) return vst_fail_memory(4096);
    for (int i = 0; i < teachers->count; i++) {
        uint64_t hash = 0;
        if (!teachers->list[i].file) continue;
        const vst_status status = vsti_teacher_hash(&teachers->list[i], &hash);
        if (status != VST_OK) return status;
        cache->teachers[cache->teacher_count++] = describe_teacher(&teachers->list[i], hash);
    }
    if (vsti_cache_lay_out_all(cache) && cache->block <= VSTI_CACHE_RECORDS) return VST_OK;
    return vst_fail(VST_ERROR_LIMIT, "the teacher's taps are too large for a cache");
}

/* ---- Comparing ---- */

static vst_status refuse(const vsti_cache *found, const char *format, ...) VST_PRINTF(2, 3);
static vst_status refuse(const vsti_cache *found, const char *format, ...) {
    char text[500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return vst_fail(VST_ERROR_ARGUMENT,
                    "the cache %s was made %s; " VSTI_CACHE_MEND ", or set distill.cache to another folder",
                    found->folder, text);
}

static vst_status compare_shared(const vsti_cache *f, const vsti_cache *w) {
    if (strcmp(f->version, w->version) != 0) return refuse(f, "by vistill %s, and this is %s", f->version, w->version);
    if (f->seed != w->seed)
        return refuse(f, "with run.seed = %d, and this is %d: images are augmented otherwise", f->seed, w->seed);
    if (f->views != w->views) return refuse(f, "with augment.views = %d, and this is %d", f->views, w->views);
    if (f->data != w->data)
        return refuse(f, "for other training samples (hash %016llx, these have %016llx)", (unsigned long long)f->data,
                      (unsigned long long)w->data);
    if (f->batch && w->batch && f->batch != w->batch)
        return refuse(f, "with optim.batch = %d, and this is %d: other images are mixed", f->batch, w->batch);
    if (f->view != w->view)
        return refuse(f,
                      "with another augmentation (view %016llx, this is %016llx): augment, or the student's image, "
                      "channels, mean or "
                      "std",
                      (unsigned long long)f->view, (unsigned long long)w->view);
    if (f->dtype != w->dtype)
        return refuse(f, "with distill.cache_precision = %s, and this is %s",
                      vsti_cache_precisions[f->dtype == VST_F32], vsti_cache_precisions[w->dtype == VST_F32]);
    if (f->topk != w->topk) return refuse(f, "with distill.cache_topk = %d, and this is %d", f->topk, w->topk);
    if (f->block != w->block)
        return refuse(f, "for epochs of %llu images, and these have %llu", (unsigned long long)f->block,
                      (unsigned long long)w->block);
    return VST_OK;
}

static vst_status compare_teacher(const vsti_cache *found, const vsti_cache_teacher *f, const vsti_cache_teacher *w,
                                  bool whole) {
    if (!f) return refuse(found, "without teacher %d", w->number);
    if (f->hash != w->hash)
        return refuse(found, "from another teacher %d (hash %016llx, this one has %016llx)", w->number,
                      (unsigned long long)f->hash, (unsigned long long)w->hash);
    for (int i = 0; i < w->tap_count; i++) {
        const vsti_cache_tap *tap = vsti_cache_tap_named(f, w->taps[i].name);
        if (!tap || !vst_shape_equal(&tap->shape, &w->taps[i].shape))
            return refuse(found, "without the tap %s of teacher %d", w->taps[i].name, w->number);
    }
    if (whole && f->tap_count != w->tap_count) return refuse(found, "for other taps of teacher %d", w->number);
    return VST_OK;
}

vst_status vsti_cache_compare(const vsti_cache *found, const vsti_cache *wanted, bool whole) {
    vst_status status = compare_shared(found, wanted);
    for (int i = 0; status == VST_OK && i < wanted->teacher_count; i++) {
        const vsti_cache_teacher *teacher = &wanted->teachers[i];
        status = compare_teacher(found, vsti_cache_teacher_of((vsti_cache *)found, teacher->number), teacher, whole);
    }
    if (status == VST_OK && whole && found->teacher_count != wanted->teacher_count)
        status = refuse(found, "from other teachers");
    return status;
}
