/* The teachers of a distillation: model files that run during training or whose outputs are read from a cache, and the
 * moving average of the student's weights. Internal to recipes. */
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

/* A tap of a teacher. It is copied to the student's input after each run of the teacher. */
typedef struct vsti_teacher_tap {
    char name[VST_TAP_NAME];
    vst_shape shape; /* for a batch, as the student gets it */
    size_t floats;
    bool scores;      /* of classes: the student gets those of its own classes, in its order */
    vst_shape stored; /* as the teacher gives it and a cache holds it; the same unless `scores` */
    size_t stored_floats;
    float *target;                       /* memory of the student's input */
    const struct vsti_cache_tap *cached; /* NULL: the teacher runs */
} vsti_teacher_tap;

typedef struct vsti_teacher {
    int source; /* vst_term_source */
    char *name; /* path of the file, or a description */
    const vst_model_config *config;
    vst_params *params;
    vst_model *model; /* NULL: moving average of the student, or external */
    bool external;    /* answers are in the cache alone: no model, no parameters and no session */
    uint64_t hash;    /* of external answers */
    vst_params *own;  /* parameters of the moving average, updated before each run */
    vst_session *session;
    vst_result outputs; /* of the last run: the taps */
    int batch;
    const struct vsti_cache_teacher *cached;
    vst_class_match classes; /* of each of the student's classes the teacher's; no map: it learns no scores, or it is
                                the moving average */
    float *scores;           /* (classes) of one image from a cache, before they are mapped; NULL without a cache */
    double top1;             /* measured before the training; NAN: it was not */
    vsti_teacher_tap taps[VST_MAX_TEACHER_TAPS];
    int tap_count;
    struct { /* what terms call the taps; the names belong to the recipe, "features.*" has an entry for each stage */
        const char *name;
        int tap;
    } asked[VST_MAX_TEACHER_TAPS];
    int asked_count;
} vsti_teacher;

typedef struct vsti_teachers {
    vsti_teacher list[VST_MAX_TEACHERS + 1];
    int count;
    struct vsti_cache *cache; /* for teachers that are files; NULL: they run; owned */
    const vst_batch *batch;   /* the last batch and its position */
    vsti_position position;
} vsti_teachers;

/* ---- Building (teacher.c) ---- */

/* The model of the recipe's teacher of that number from 0: a model file, or another program's weights. */
VST_NODISCARD vst_status vsti_teacher_open(vst_model **out, const vst_recipe *recipe, int index);

/* Loads the model files that terms ask for and makes those taps ready for the training batch; not of the files with
 * `cached`, because their outputs are read from a cache then. Starts as {0}. */
VST_NODISCARD vst_status vsti_teachers_build(vsti_teachers *teachers, const vst_recipe *recipe, bool cached);
/* Describes taps only; such teachers cannot run. If models[i] is not NULL, it replaces the file of teacher i (from 0).
 */
VST_NODISCARD vst_status vsti_teachers_describe(vsti_teachers *teachers, const vst_recipe *recipe,
                                                const vst_model_config *const *models);
/* Finds the student's classes among each teacher's, by name. An error if a term learns class scores of a teacher that
 * lacks one. To be called before the teachers run. */
VST_NODISCARD vst_status vsti_teachers_match(vsti_teachers *teachers, const vst_classes *classes);
void vsti_teachers_clear(vsti_teachers *teachers);
vsti_teacher *vsti_teacher_of(const vsti_teachers *teachers, int source); /* NULL: no term reads it */
/* The tap that the term learns from, with "features.*" that of a stage from 0 on; NULL beyond the last, and with `from:
 * student`. */
const vsti_teacher_tap *vsti_teacher_tap_of(const vsti_teachers *teachers, const vst_term_options *term, int stage);
/* Whether it is given from outside: a file, or answers in the cache. */
static inline bool vsti_teacher_is_given(const vsti_teacher *teacher) { return teacher->model || teacher->external; }
/* Adds model and values of a given teacher to the hash, or the hash of its answers. */
VST_NODISCARD vst_status vsti_teacher_hash(const vsti_teacher *teacher, uint64_t *hash);
size_t vsti_teachers_bytes(const vsti_teachers *teachers);

/* ---- Running them (online.c) ---- */

/* Runs a teacher on the memory of a whole batch, which may be filled only partly; outputs.taps are its taps in order. A
 * partial last batch is computed as a whole one, so that an image has the same bits in every batch. */
VST_NODISCARD vst_status vsti_teacher_run(vsti_teacher *teacher, const float *images);
/* Runs all teachers on a batch. `student` and `average` are the student's parameters and their moving average (NULL
 * without one). For cached teachers the batch is only stored; it must stay valid until the next call. */
VST_NODISCARD vst_status vsti_teachers_run(vsti_teachers *teachers, vst_params *student, const float *average,
                                           const vst_batch *batch, vsti_position position);
/* Copies the taps of the last run, or reads them from the cache, to the student's inputs. Call before each run of the
 * student. */
VST_NODISCARD vst_status vsti_bind_teacher_taps(vsti_teachers *teachers);

/* ---- Reading from a cache (cached.c) ---- */

/* The properties of a training that a cache must match. */
typedef struct vsti_cache_data {
    uint64_t hash, view;     /* vst_dataset_hash of the training samples, vst_view_id of their views */
    uint64_t samples, steps; /* number of training samples; batches per epoch */
    bool mixed;              /* with mixup or CutMix */
} vsti_cache_data;

/* Opens distill.cache. Fails unless it was made for this training and has everything that it reads. Connects the
 * teachers' taps and sets their accuracy. */
VST_NODISCARD vst_status vsti_teachers_open_cache(vsti_teachers *teachers, const vst_recipe *recipe,
                                                  const vsti_cache_data *data);
void vsti_teachers_log_cache(const vsti_teachers *teachers); /* logs which cache is read */

#endif
