/* Builds and checks distill.cache, the cached outputs of a recipe's teachers, for `vistill cache`. */
#ifndef VISTILL_RECIPES_TRAIN_TEACHER_CACHE_H
#define VISTILL_RECIPES_TRAIN_TEACHER_CACHE_H

#include "recipes/teacher/cache/cache.h"
#include "recipes/train/data.h"

/* The facts about the recipe's data that a cache depends on. */
vsti_cache_data vsti_train_cache_data(const vsti_train_data *data, const vst_recipe *recipe);

/* Both open the recipe's data and teachers, compute with run.threads, and fail if the recipe sets no cache. */
VST_NODISCARD vst_status vst_cache_build(const vst_recipe *recipe, const vst_cache_build_options *options,
                                         vst_cache_size *size);
VST_NODISCARD vst_status vst_cache_check(const vst_recipe *recipe, int samples, const volatile sig_atomic_t *stop,
                                         vst_cache_report *report);

/* Makes distill.cache from logits of another program, for `distill.teacher: cache`. */
typedef struct vst_cache_import_options {
    const char *logits; /* a safetensors file (or .pth) with the tensor "logits", (samples, classes) or (views, samples,
                           classes): of all training samples of the data set in its order, or of those trained on */
    const char *names;  /* text file: which image each row is of, one name a line as the data set calls them; NULL: the
                           rows are in the data set's order */
    bool plain; /* logits without views belong to images without augmentation, although the recipe has augmentation */
    bool force;
} vst_cache_import_options;
/* *top1: of up to 2000 training samples; NAN without labels. */
VST_NODISCARD vst_status vst_cache_import(const vst_recipe *recipe, const vst_cache_import_options *options,
                                          vst_cache_size *size, double *top1);

#endif
