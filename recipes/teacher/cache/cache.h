/* Writes the outputs of a recipe's teachers to distill.cache, and checks them. */
#ifndef VISTILL_RECIPES_TEACHER_CACHE_CACHE_H
#define VISTILL_RECIPES_TEACHER_CACHE_CACHE_H

#include <signal.h>

#include "recipes/teacher/teacher.h"

/* ---- build ---- */

typedef struct vst_cache_build_options {
    int epochs;                        /* 0: run.epochs; must be 0 with augment.views, which builds all views */
    bool force;                        /* start again, whatever exists */
    const volatile sig_atomic_t *stop; /* may be NULL; if non-zero: keep what is built, VST_ERROR_INTERRUPTED */
} vst_cache_build_options;

typedef struct vst_cache_size {
    uint64_t blocks, records, bytes; /* blocks are epochs or views; bytes of all teachers' files */
    uint64_t added;                  /* records added by this call */
} vst_cache_size;

/* The images and teachers of a training, for building and checking. */
typedef struct vsti_cache_source {
    const vst_recipe *recipe;
    vsti_teachers *teachers; /* must be able to run */
    vsti_cache_data data;
    vst_loader *loader; /* gives images in the order of the records: its epoch is the block, its position the record in
                           the block */
    vst_status (*measure)(void *user); /* measures the teachers' accuracy; called before a new cache is started */
    void *user;
} vsti_cache_source;

/* Runs the teachers on everything that a training shows. Existing records are kept if they were made for the same
 * recipe; otherwise it fails. Logs the size first, and fails if the disk is too small. */
VST_NODISCARD vst_status vsti_cache_build(const vsti_cache_source *source, const vst_cache_build_options *options,
                                          vst_cache_size *size);

/* ---- import ---- */

/* Logits computed by another program. */
typedef struct vsti_logits {
    const vst_tensor *tensor; /* (count, classes) or (views, count, classes), floating point */
    uint64_t count;
    size_t classes;
    uint64_t views;       /* 1: all views have the same logits */
    const uint64_t *rows; /* by training sample: its row, below count */
    uint64_t hash;        /* of the tensor */
    double top1;          /* NAN: unknown */
} vsti_logits;

/* Writes the logits to a cache as the outputs of a teacher that exists only there (distill.teacher: cache). The recipe
 * must have as many augment.views as the logits, or the logits have one view. Without `force` a folder that has a cache
 * is an error. */
VST_NODISCARD vst_status vsti_cache_import(const vst_recipe *recipe, const vsti_cache_data *data,
                                           const vsti_logits *logits, bool force, vst_cache_size *size);

/* ---- check ---- */

typedef struct vst_cache_tap_check {
    int teacher; /* from 1 */
    char tap[VST_TAP_NAME];
    double mean_error, max_error; /* absolute errors of single values; of truncated logits, only those that were kept */
    double magnitude;             /* mean absolute value of the teacher's outputs */
    double same_top1;             /* per cent with the same top-1; NAN if these are not logits */
} vst_cache_tap_check;

typedef struct vst_cache_report {
    vst_cache_size size;
    uint64_t recomputed; /* records */
    vst_cache_tap_check taps[VST_MAX_TEACHER_TAPS];
    int tap_count;
    bool good; /* mean errors are below 1 % of the magnitude, and at least 99 % have the same top-1 */
} vst_cache_report;

/* Fails if the cache was made for another recipe or is damaged (all checksums are compared), and runs the teachers
 * again on about `samples` of its images. */
VST_NODISCARD vst_status vsti_cache_check(const vsti_cache_source *source, int samples,
                                          const volatile sig_atomic_t *stop, vst_cache_report *report);

#endif
