/* Writing the outputs of a recipe's teachers to distill.cache once, and checking them. */
#ifndef VISTILL_RECIPES_TEACHER_CACHE_CACHE_H
#define VISTILL_RECIPES_TEACHER_CACHE_CACHE_H

#include <signal.h>

#include "recipes/teacher/teacher.h"

/* ---- build ---- */

typedef struct vst_cache_build_options {
    int epochs;                        /* 0: run.epochs; with augment.views it must be 0: all views are made */
    bool force;                        /* begin anew, whatever is there */
    const volatile sig_atomic_t *stop; /* when it becomes non-zero what is done is kept and the result is
                                          VST_ERROR_INTERRUPTED; NULL: never */
} vst_cache_build_options;

typedef struct vst_cache_size {
    uint64_t blocks, records, bytes; /* epochs or views; all of the teachers' files together */
    uint64_t added;                  /* records by this call */
} vst_cache_size;

/* The images of a training and its teachers, as building and checking need them. */
typedef struct vsti_cache_source {
    const vst_recipe *recipe;
    vsti_teachers *teachers; /* which can run */
    vsti_cache_data data;
    vst_loader *loader; /* of the images in the order of the records: epoch and place are a block and the record in it
                         */
    vst_status (*measure)(void *user); /* sets the teachers' accuracy; called before a cache is begun */
    void *user;
} vsti_cache_source;

/* Runs the teachers over everything that a training shows. What is there already is kept if it was made for the same
 * recipe, and refused otherwise; the size is logged before it begins, and too small a disk is an error then. */
VST_NODISCARD vst_status vsti_cache_build(const vsti_cache_source *source, const vst_cache_build_options *options,
                                          vst_cache_size *size);

/* ---- import ---- */

/* Logits that another program computed. */
typedef struct vsti_logits {
    const vst_tensor *tensor; /* (count, classes) or (views, count, classes), floating point */
    uint64_t count;
    size_t classes;
    uint64_t views;       /* 1: the same for each view */
    const uint64_t *rows; /* of each training sample, below count */
    uint64_t hash;        /* of the tensor */
    double top1;          /* NAN: not known */
} vsti_logits;

/* Writes them as the answers of a teacher that is in the cache alone (distill.teacher: cache). The recipe has
 * augment.views, as many as the logits have, or these have one. A folder that holds a cache is refused without `force`.
 */
VST_NODISCARD vst_status vsti_cache_import(const vst_recipe *recipe, const vsti_cache_data *data,
                                           const vsti_logits *logits, bool force, vst_cache_size *size);

/* ---- check ---- */

typedef struct vst_cache_tap_check {
    int teacher; /* from 1 */
    char tap[VST_TAP_NAME];
    double mean_error, max_error; /* of a number; of logits that were cut, of those that were kept */
    double magnitude;             /* mean of the teacher's numbers without sign */
    double same_top1;             /* per cent; NAN: no class scores */
} vst_cache_tap_check;

typedef struct vst_cache_report {
    vst_cache_size size;
    uint64_t recomputed; /* records */
    vst_cache_tap_check taps[VST_MAX_TERMS];
    int tap_count;
    bool good; /* mean errors are below a hundredth of the magnitude, and 99 % of the top-1 are the same */
} vst_cache_report;

/* Refuses a cache that is not the recipe's or is damaged, compares all of it with its checksums, and runs the teachers
 * on about `samples` of its images again. */
VST_NODISCARD vst_status vsti_cache_check(const vsti_cache_source *source, int samples,
                                          const volatile sig_atomic_t *stop, vst_cache_report *report);

#endif
