/* The keys of a term of a recipe's `distill.terms`: those that all terms have, and the options of its distance. */
#ifndef VISTILL_RECIPES_DISTILL_TERM_OPTIONS_H
#define VISTILL_RECIPES_DISTILL_TERM_OPTIONS_H

#include "vision/base/option.h"

/* The choices of a term. */
#define VST_TERM_TOKENS(X) X(VST_TOKENS_PATCHES, "patches") X(VST_TOKENS_ALL, "all") X(VST_TOKENS_CLASS, "class")
#define VST_TERM_ALIGNS(X) X(VST_ALIGN_LARGER, "larger") X(VST_ALIGN_SMALLER, "smaller") X(VST_ALIGN_NONE, "none")
#define VST_TERM_PROJECTORS(X)        \
    X(VST_PROJECTOR_NONE, "none")     \
    X(VST_PROJECTOR_LINEAR, "linear") \
    X(VST_PROJECTOR_MLP, "mlp")       \
    X(VST_PROJECTOR_NORM, "norm")     \
    X(VST_PROJECTOR_REGRESSOR, "regressor")
#define VST_TERM_TRANSFORMS(X)                  \
    X(VST_TRANSFORM_NONE, "none")               \
    X(VST_TRANSFORM_STANDARDIZE, "standardize") \
    X(VST_TRANSFORM_UNIT, "unit")               \
    X(VST_TRANSFORM_ATTENTION, "attention")     \
    X(VST_TRANSFORM_RELATION, "relation")
#define VST_TERM_SCHEDULES(X)            \
    X(VST_SCHEDULE_CONSTANT, "constant") \
    X(VST_SCHEDULE_UP, "up")             \
    X(VST_SCHEDULE_DOWN, "down")         \
    X(VST_SCHEDULE_SIGMOID, "sigmoid")
typedef enum vst_term_tokens { VST_CHOICE_ENUM(VST_TERM_TOKENS) } vst_term_tokens;
typedef enum vst_term_align { VST_CHOICE_ENUM(VST_TERM_ALIGNS) } vst_term_align;
typedef enum vst_term_projector { VST_CHOICE_ENUM(VST_TERM_PROJECTORS) } vst_term_projector;
typedef enum vst_term_transform { VST_CHOICE_ENUM(VST_TERM_TRANSFORMS) } vst_term_transform;
typedef enum vst_term_schedule { VST_CHOICE_ENUM(VST_TERM_SCHEDULES) } vst_term_schedule;

/* One distillation term: which taps, how aligned and transformed, which distance, with what weight (design: one loss
 * engine, recipes as data). */
typedef struct vst_term_options {
    char *distance; /* kl | hard | mse …: a file of recipes/distill/distances */
    char *student;  /* tap: "logits", "logits_dist", "blocks.3" … */
    char *from;     /* "teacher" or "1", "2" …: of which teacher; "student", "ema" (recipes/distill/term.h) */
    char *teacher;  /* its tap: "logits", "layer3", "features.-1" …; "features.*": every stage */
    double weight;
    int tokens;        /* vst_term_tokens */
    int align;         /* vst_term_align: what becomes of grids that differ */
    int projector;     /* vst_term_projector: of the student's features to the teacher's channels */
    int transform;     /* vst_term_transform */
    int schedule;      /* vst_term_schedule: of the weight, between the epochs `begin` and `end` */
    double begin, end; /* end 0: that of the run */
    void *own;         /* the structure of the distance's own options, owned; NULL: it has none */
} vst_term_options;

/* The keys that all terms have. */
extern const vst_option vst_term_table[];
/* Those of the term's distance; without any if it has none or the term has no distance yet. */
const vst_option *vst_term_own_table(const vst_term_options *term);
/* The declared key, one of the two tables'; NULL if it is none. */
const vst_option *vst_term_find(const vst_term_options *term, const char *key);

/* Fills a zeroed or cleared structure with the defaults; the distance is not set. */
VST_NODISCARD vst_status vst_term_default(vst_term_options *term);
/* As vst_options_set, over both tables. Setting another distance sets its own options to their defaults. */
VST_NODISCARD vst_status vst_term_set(vst_term_options *term, const char *key, const char *value);
void vst_term_clear(vst_term_options *term);

bool vst_term_needs_labels(const vst_term_options *term);

enum { VST_MAX_TEACHERS = 4 };

/* Where a term's teacher value comes from: the teacher of that number from 0 on, or one of these. */
enum { VST_FROM_STUDENT = -1, VST_FROM_AVERAGE = -2, VST_FROM_NOWHERE = -3 };
/* Of `from`: "teacher" or "1", "2" …, "student" (another tap of the student itself, as a constant), "ema" (the moving
 * average of the student's weights); VST_FROM_NOWHERE if it is none of these. */
int vst_term_source(const vst_term_options *term);

/* Parameters of terms (projectors) are named "distill.<term index>.…": they are trained, but no part of the model. */
#define VST_DISTILL_PREFIX "distill."

#endif
