/* What building and checking a cache share. Internal. */
#ifndef VISTILL_RECIPES_TEACHER_CACHE_WORK_H
#define VISTILL_RECIPES_TEACHER_CACHE_WORK_H

#include "recipes/teacher/cache/cache.h"
#include "recipes/train/internal.h"

/* The recipe's data, and its teachers ready to run. Starts as {0}. */
typedef struct vsti_cache_work {
    const vst_recipe *recipe;
    vsti_train_data data;
    vsti_teachers teachers;
    vsti_cache wanted; /* what the recipe's cache must be */
    vst_loader
        *loader; /* of the images in the order of the records: epoch and place are a block and the record in it */
    size_t image_floats;
    int previous_threads; /* OpenMP's number of threads before, to be restored; 0: not changed */
} vsti_cache_work;

/* Fails if the recipe sets no cache. Computes with run.threads. */
VST_NODISCARD vst_status vsti_cache_work_open(vsti_cache_work *work, const vst_recipe *recipe);
void vsti_cache_work_close(vsti_cache_work *work);

/* Of all its files with so many records; false if that is no size. */
bool vsti_cache_total(const vsti_cache *cache, uint64_t records, uint64_t *bytes);
vst_cache_size vsti_cache_size_of(const vsti_cache *cache);

#endif
