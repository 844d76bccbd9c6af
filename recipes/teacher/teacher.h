/* The teachers of a distillation: model files that run beside the student, or whose outputs are read from a cache, and
 * the moving average of the student's own weights. Internal to recipes. */
#ifndef VISTILL_RECIPES_TEACHER_TEACHER_H
#define VISTILL_RECIPES_TEACHER_TEACHER_H

#include "datasets/loader/loader.h"
#include "recipes/config/recipe.h"
#include "recipes/distill/term.h"
#include "recipes/infer/model_session.h"
#include "recipes/model/classes.h"
#include "recipes/model/model.h"
#include "vision/base/position.h"

struct vsti_cache;
struct vsti_cache_teacher;
struct vsti_cache_tap;

/* A teacher's tap is copied into the student's input after each of its runs. */
typedef struct vsti_teacher_tap {
    char name[VST_TAP_NAME];
    vst_shape shape; /* of a batch, as the student gets it */
    size_t floats;
    bool scores;      /* of classes: the student gets those of its own classes, in its order */
    vst_shape stored; /* as the teacher gives it and a cache holds it; of other taps the same */
    size_t stored_floats;
    float *target;                       /* the student's input */
    const struct vsti_cache_tap *cached; /* NULL: the teacher runs */
} vsti_teacher_tap;

typedef struct vsti_teacher {
    int source; /* vst_term_source */
    char *name; /* the file's, or what it is */
    const vst_model_config *config;
    vst_params *params;
    vst_model *model; /* NULL: the student's moving average */
    vst_params *own;  /* of the moving average, which is copied there before each run */
    vst_session *session;
    vst_result outputs; /* of the last run: the taps */
    int batch;
    const struct vsti_cache_teacher *cached;
    vst_class_match classes; /* of each of the student's classes the teacher's; no map: it learns no scores, or it is the
                                moving average */
    float *scores;           /* (classes) of one image from a cache, before they are mapped; NULL without a cache */
    double top1; /* measured before the training; NAN: it was not */
    vsti_teacher_tap taps[VST_MAX_TERMS];
    int tap_count;
    struct { /* what terms call the taps; the names belong to the recipe */
        const char *name;
        int tap;
    } asked[VST_MAX_TERMS];
    int asked_count;
} vsti_teacher;

typedef struct vsti_teachers {
    vsti_teacher list[VST_MAX_TEACHERS + 1];
    int count;
    struct vsti_cache *cache; /* of those that are files; NULL: they run; owned */
    const vst_batch *batch;   /* the last one, and where it was */
    vsti_position position;
} vsti_teachers;

/* ---- Which there are (teacher.c) ---- */

/* Loads the model files that terms ask for and makes those taps ready for the training batch; not of the files with
 * `cached`, because their outputs are read from a cache then. Starts as {0}. */
VST_NODISCARD vst_status vsti_teachers_build(vsti_teachers *teachers, const vst_recipe *recipe, bool cached);
/* Their taps alone, which cannot run. models[i], if it is not NULL, stands for the file of teacher i from 0.
 */
VST_NODISCARD vst_status vsti_teachers_describe(vsti_teachers *teachers, const vst_recipe *recipe,
                                                const vst_model_config *const *models);
/* Finds the student's classes among each teacher's, by name. An error if a term learns class scores of a teacher that
 * lacks one. To be called before the teachers run. */
VST_NODISCARD vst_status vsti_teachers_match(vsti_teachers *teachers, const vst_classes *classes);
void vsti_teachers_clear(vsti_teachers *teachers);
vsti_teacher *vsti_teacher_of(const vsti_teachers *teachers, int source); /* NULL: no term reads it */
/* The tap that the term learns from; NULL with `from: student`. */
const vsti_teacher_tap *vsti_teacher_tap_of(const vsti_teachers *teachers, const vst_term_options *term);
/* Adds model and values of a teacher that is a file to the hash. */
VST_NODISCARD vst_status vsti_teacher_hash(const vsti_teacher *teacher, uint64_t *hash);
size_t vsti_teachers_bytes(const vsti_teachers *teachers);

/* ---- Running them (online.c) ---- */

/* Runs it on the memory of a whole batch, of which the beginning may be filled; outputs.taps are its taps in order. A
 * last, partial batch is computed as a whole one, so that each image's outputs have the same bits in any batch. */
VST_NODISCARD vst_status vsti_teacher_run(vsti_teacher *teacher, const float *images);
/* Runs all on the batch. `student` and `average` are the student's parameters and their moving average (NULL without
 * one). For teachers with a cache the batch is only remembered, and must stay until the next one. */
VST_NODISCARD vst_status vsti_teachers_run(vsti_teachers *teachers, vst_params *student, const float *average,
                                           const vst_batch *batch, vsti_position position);
/* Copies the taps of their last run, or reads those of the cache, to the student's inputs: before each run of the
 * student. */
VST_NODISCARD vst_status vsti_bind_teacher_taps(vsti_teachers *teachers);

/* ---- Reading their outputs from a cache (cached.c) ---- */

/* What a training shows, as far as a cache must fit it. */
typedef struct vsti_cache_data {
    uint64_t hash, view;     /* vst_dataset_hash of the training samples, vst_view_id of the images made of them */
    uint64_t samples, steps; /* of the training split; batches of an epoch */
    bool mixed;              /* by mixup or CutMix */
} vsti_cache_data;

/* Opens distill.cache: everything that the training will read must be there and made for it. The teachers get their
 * taps of it, and their accuracy. */
VST_NODISCARD vst_status vsti_teachers_open_cache(vsti_teachers *teachers, const vst_recipe *recipe,
                                                  const vsti_cache_data *data);
void vsti_teachers_log_cache(const vsti_teachers *teachers); /* to the log: which cache is read */

#endif
