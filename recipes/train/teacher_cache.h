/* What `vistill cache` does: the outputs of a recipe's teachers are written to distill.cache once, and checked. */
#ifndef VISTILL_RECIPES_TRAIN_TEACHER_CACHE_H
#define VISTILL_RECIPES_TRAIN_TEACHER_CACHE_H

#include "recipes/teacher/cache/cache.h"
#include "recipes/train/data.h"

/* What a cache must know of the recipe's data. */
vsti_cache_data vsti_train_cache_data(const vsti_train_data *data, const vst_recipe *recipe);

/* Both open the recipe's data and teachers, compute with run.threads, and fail if the recipe sets no cache. */
VST_NODISCARD vst_status vst_cache_build(const vst_recipe *recipe, const vst_cache_build_options *options,
                                         vst_cache_size *size);
VST_NODISCARD vst_status vst_cache_check(const vst_recipe *recipe, int samples, const volatile sig_atomic_t *stop,
                                         vst_cache_report *report);

#endif
