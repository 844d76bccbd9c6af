/* The keys of a term of `distill.terms`: those of all terms, and the options of its distance. */
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

/* One distillation term: taps, alignment, transform, distance and weight. */
typedef struct vst_term_options {
    char *distance; /* kl | hard | mse …: name of a file in recipes/distill/distances */
    char *student;  /* tap: "logits", "logits_dist", "blocks.3" … */
    char *from;     /* teacher: "teacher" or "1", "2" …; or "student", "ema" (see vst_term_source) */
    char *teacher;  /* tap of the teacher: "logits", "layer3", "features.-1" …; "features.*": every stage */
    double weight;
    int tokens;        /* vst_term_tokens */
    int align;         /* vst_term_align: for grids of different size */
    int projector;     /* vst_term_projector: from the student's features to the teacher's channels */
    int transform;     /* vst_term_transform */
    int schedule;      /* vst_term_schedule: of the weight, from epoch `begin` to `end` */
    double begin, end; /* end 0: end of the run */
    void *own;         /* options structure of the distance, owned; NULL: none */
} vst_term_options;

/* The keys of all terms. */
extern const vst_option vst_term_table[];
/* The table of the distance's options; empty if it has none or no distance is set. */
const vst_option *vst_term_own_table(const vst_term_options *term);
/* Finds a key in both tables; NULL if it does not exist. */
const vst_option *vst_term_find(const vst_term_options *term, const char *key);

/* Fills a zeroed or cleared structure with the defaults; the distance is not set. */
VST_NODISCARD vst_status vst_term_default(vst_term_options *term);
/* Like vst_options_set, for both tables. Setting another distance resets its options to their defaults. */
VST_NODISCARD vst_status vst_term_set(vst_term_options *term, const char *key, const char *value);
void vst_term_clear(vst_term_options *term);

bool vst_term_needs_labels(const vst_term_options *term);

enum { VST_MAX_TEACHERS = 4 };

/* The source of a term's teacher value: the index of a teacher from 0, or one of these. */
enum { VST_FROM_STUDENT = -1, VST_FROM_AVERAGE = -2, VST_FROM_NOWHERE = -3 };
/* The source named by `from`: "teacher" or "1", "2" …, "student" (another tap of the student, as a constant), "ema"
 * (the moving average of the student's weights); VST_FROM_NOWHERE for anything else. */
int vst_term_source(const vst_term_options *term);

/* Parameters of terms (projectors) are named "distill.<term index>.…". They are trained, but not part of the model. */
#define VST_DISTILL_PREFIX "distill."

#endif
