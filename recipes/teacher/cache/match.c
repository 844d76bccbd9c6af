/* Compares a cache with the one that a recipe needs, and says what differs. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "recipes/teacher/cache/internal.h"

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

static vst_status compare_shared(const vsti_cache *found, const vsti_cache *wanted) {
    if (strcmp(found->version, wanted->version) != 0)
        return refuse(found, "by vistill %s, and this is %s", found->version, wanted->version);
    if (found->seed != wanted->seed)
        return refuse(found, "with run.seed = %d, and this is %d: images are augmented otherwise", found->seed,
                      wanted->seed);
    if (found->views != wanted->views)
        return refuse(found, "with augment.views = %d, and this is %d", found->views, wanted->views);
    if (found->data != wanted->data)
        return refuse(found, "for other training samples (hash %016llx, these have %016llx)",
                      (unsigned long long)found->data, (unsigned long long)wanted->data);
    if (found->batch && wanted->batch && found->batch != wanted->batch)
        return refuse(found, "with optim.batch = %d, and this is %d: other images are mixed", found->batch,
                      wanted->batch);
    if (found->view != wanted->view)
        return refuse(found,
                      "with another augmentation (view %016llx, this is %016llx): augment, or the student's image, "
                      "channels, mean or "
                      "std",
                      (unsigned long long)found->view, (unsigned long long)wanted->view);
    if (found->dtype != wanted->dtype)
        return refuse(found, "with distill.cache_precision = %s, and this is %s", vsti_cache_precision(found->dtype),
                      vsti_cache_precision(wanted->dtype));
    if (found->topk != wanted->topk)
        return refuse(found, "with distill.cache_topk = %d, and this is %d", found->topk, wanted->topk);
    if (found->block != wanted->block)
        return refuse(found, "for epochs of %llu images, and these have %llu", (unsigned long long)found->block,
                      (unsigned long long)wanted->block);
    return VST_OK;
}

static vst_status compare_teacher(const vsti_cache *cache, const vsti_cache_teacher *found,
                                  const vsti_cache_teacher *wanted, bool whole) {
    if (!found) return refuse(cache, "without teacher %d", wanted->number);
    if (found->hash != wanted->hash)
        return refuse(cache, "from another teacher %d (hash %016llx, this one has %016llx)", wanted->number,
                      (unsigned long long)found->hash, (unsigned long long)wanted->hash);
    for (int i = 0; i < wanted->tap_count; i++) {
        const vsti_cache_tap *tap = vsti_cache_tap_named(found, wanted->taps[i].name);
        if (!tap || !vst_shape_equal(&tap->shape, &wanted->taps[i].shape))
            return refuse(cache, "without the tap %s of teacher %d", wanted->taps[i].name, wanted->number);
    }
    if (whole && found->tap_count != wanted->tap_count)
        return refuse(cache, "for other taps of teacher %d", wanted->number);
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
