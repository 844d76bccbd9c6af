/* A recipe: one YAML file with the sections model, data, augment, optim, distill and run. Every key is declared once in
 * a table (vision/base/option.h); parsing, --set, `vistill explain`, the resolved recipe.yaml and the errors come from
 * it. */
#ifndef VISTILL_RECIPES_CONFIG_RECIPE_H
#define VISTILL_RECIPES_CONFIG_RECIPE_H

#include <stdio.h>

#include "backbones/backbone.h"
#include "datasets/loader/mix.h"
#include "recipes/distill/term_options.h"
#include "vision/base/option.h"
#include "vision/optim/optim.h"

#define VST_CLASS_ORDERS(X) X(VST_CLASS_ORDER_BYTES, "bytes") X(VST_CLASS_ORDER_NATURAL, "natural")
typedef enum vst_class_order { VST_CHOICE_ENUM(VST_CLASS_ORDERS) } vst_class_order;

typedef struct vst_data_options {
    char *path;     /* folder or file of the data set */
    char *test;     /* folder or file of the test split, NULL: in `path` */
    char *format;   /* "auto" or a format's name */
    int validation; /* samples held out of the training split for validation; 0: none, the test split is only reported.
                       So many others become the test split of a data set that has none */
    int limit;      /* use only so many training samples (seeded choice); 0: all */
    int labelled; /* distillation: only so many training samples keep their label, the others have the teacher's answers
                     alone; 0: all */
    int max_megapixels; /* larger images are refused as broken */
    int class_order;    /* vst_class_order: which class folder is which number */
    int workers;        /* loader threads */
    int broken;         /* vst_broken_policy */
    double broken_limit;
} vst_data_options;

typedef struct vst_augment_options {
    char *train; /* policies in order: "crop:padding=2, flip:probability=0.5"; "" for none */
    double mixup, cutmix, mixup_prob, mixup_switch_prob; /* as timm names them; vst_recipe_mix */
    int mixup_mode;                                      /* vst_mix_mode */
    vst_option_list cutmix_minmax;
    int repeats;      /* repeated augmentation: copies of a sample in an epoch */
    int views;        /* so many views of each image, which epochs show in turn; 0: a new one each epoch */
    bool fast_decode; /* JPEGs may be decoded smaller than they are */
} vst_augment_options;

#define VST_LR_RULES(X) X(VST_LR_RULE_NONE, "none") X(VST_LR_RULE_LINEAR, "linear") X(VST_LR_RULE_SQRT, "sqrt")
#define VST_LOSSES(X) X(VST_LOSS_CE, "ce") X(VST_LOSS_BCE, "bce")
#define VST_WEIGHTS(X) X(VST_WEIGHTS_AVERAGE, "average") X(VST_WEIGHTS_RAW, "raw")
typedef enum vst_lr_rule {
    VST_CHOICE_ENUM(VST_LR_RULES)
} vst_lr_rule; /* lr is for lr_batch images, scaled to a step's */
typedef enum vst_loss { VST_CHOICE_ENUM(VST_LOSSES) } vst_loss;
typedef enum vst_kept_weights { VST_CHOICE_ENUM(VST_WEIGHTS) } vst_kept_weights;
typedef struct vst_optim_options {
    int name;       /* which of vst_optimizer_method_at; vst_optimizer_name */
    char *options;  /* its own ones, "alpha=0.9"; NULL: their defaults */
    int batch;      /* images that are computed together */
    int accumulate; /* batches whose gradients are averaged for one step of batch * accumulate images */
    double lr, min_lr, warmup_lr, warmup_epochs;
    int lr_rule;            /* vst_lr_rule */
    int lr_batch;           /* images of a step that `lr` is meant for, when lr_rule is not none */
    bool warmup_prefix;     /* the schedule begins after the warm-up; false: at the first step, as DeiT's */
    int schedule;           /* which of vst_schedule_method_at */
    char *schedule_options; /* its own ones */
    char *freeze;           /* patterns of parameters that are not trained */
    double momentum, beta1, beta2, epsilon, weight_decay, clip_norm, ema_decay;
    bool nesterov, ema_ramp;
    int loss;         /* vst_loss, of the labels */
    double smoothing; /* label smoothing of the loss on labels */
    int weights;      /* vst_kept_weights: what the model file gets when there is an average */
} vst_optim_options;

/* The names of optimiser and schedule, which are files of vision/optim. */
const char *vst_optim_name(const vst_optim_options *options);
const char *vst_optim_schedule(const vst_optim_options *options);
/* Betas that the recipe leaves to the optimiser get its own. */
void vst_optim_resolve(vst_optim_options *options);

/* Images of one step of the optimiser. */
static inline int64_t vst_step_images(const vst_optim_options *options) {
    return (int64_t)options->batch * options->accumulate;
}

enum { VST_MAX_TERMS = 16, VST_MAX_TEACHER_TAPS = 32 }; /* taps: of one teacher, by all terms */
#define VST_CACHE_PRECISIONS(X) X(VST_CACHE_HALF, "half") X(VST_CACHE_FLOAT, "float")
typedef enum vst_cache_precision { VST_CHOICE_ENUM(VST_CACHE_PRECISIONS) } vst_cache_precision;
typedef struct vst_distill_options {
    char *teacher; /* model file, or several with commas between; in a study, names of earlier runs may stand here */
    char *teacher_entry; /* of other programs' checkpoints, or several with commas between */
    char *teacher_model; /* which models their weights are of, or several with commas between */
    double label_weight; /* of the cross-entropy of the class head with the labels, if there are terms; DeiT: 1 - alpha
                            = 0.5 */
    char *cache;         /* folder with the answers of the teachers' files; NULL: they run */
    int cache_precision; /* vst_cache_precision */
    int teacher_precision; /* vst_precision: of the teachers' products */
    int cache_topk;        /* of logits only the largest so many; 0: all */
} vst_distill_options;

/* The texts of vst_precision (vision/plan/program.h). */
#define VST_PRECISIONS(X) X(VST_PRECISION_F32, "f32") X(VST_PRECISION_BF16, "bf16")

typedef struct vst_run_options {
    int epochs;
    int eval_every; /* epochs; the last one is always evaluated */
    int seed;
    int threads;   /* 0: all processors */
    int precision; /* vst_precision: of the student's products in training */
    char *output;  /* run folder; unset: runs/<name> */
    int eval_batch;
    char *start; /* weights to begin with: a model file or another program's; unset: random ones. In a study, the name
                    of an earlier   run may stand here */
    char *start_entry;       /* of another program's checkpoint: model, model_ema … */
    bool new_head;           /* the classifier of `start` is not taken */
    bool train_mode;         /* false: the model computes as in evaluation while it is trained */
    bool quantization_aware; /* trained with simulated 8-bit integers; the model files compute on them */
    int calibration_images;  /* on which the ranges of activations are found for it */
    int recover; /* returns to the last checkpoint after a value that is not finite, each halving the learning rate */
    double save_minutes; /* between checkpoints while an epoch runs; 0: only after each epoch */
    int log_steps;       /* steps of the optimiser between lines in steps.csv; 0: none */
    double log_seconds;  /* between lines in log.txt while an epoch runs; 0: only per epoch */
} vst_run_options;

typedef struct vst_recipe {
    char *name; /* file name without folder and suffix, or the study's name for it */
    vst_model_config *model;
    bool classes_given; /* model.classes stands in the recipe; else it is the data set's (vst_recipe_fit_data) */
    vst_data_options data;
    vst_augment_options augment;
    vst_optim_options optim;
    vst_distill_options distill;
    vst_term_options terms[VST_MAX_TERMS]; /* distill.terms */
    int term_count;
    vst_run_options run;
} vst_recipe;

/* The path of the teacher of that number from 0 on, out of distill.teacher, where commas separate several; to be
 * vst_free'd. NULL: no memory. */
char *vst_teacher_path(const vst_recipe *recipe, int index);
/* The same for distill.teacher_entry and distill.teacher_model; "" where none is named. */
char *vst_teacher_entry(const vst_recipe *recipe, int index);
char *vst_teacher_model(const vst_recipe *recipe, int index);
int vst_teacher_count(const vst_recipe *recipe);

bool vst_recipe_cached(const vst_recipe *recipe); /* distill.cache is set */

/* The tables, for explain and tests. vst_recipe_sections() ends with {NULL}. */
typedef struct vst_recipe_section {
    const char *name; /* "data", "augment", "optim", "distill", "run"; the model's table comes from its backbone,
                         the terms' is vst_term_table */
    const vst_option *options;
    size_t offset; /* of the section in vst_recipe */
} vst_recipe_section;
const vst_recipe_section *vst_recipe_sections(void);

/* Methods of distillation with their published settings: recipes/conf/presets/NAME.yaml, a `distill` section each,
 * whose first line says what it is. `distill.preset: NAME` puts it in the place of the section's keys and terms, before
 * those that the section itself gives. The table ends with {NULL, NULL}. */
typedef struct vst_preset {
    const char *name, *yaml;
} vst_preset;
extern const vst_preset vsti_presets[];

/* Reads a recipe with what it inherits by `base: other.yaml` (relative to the file; at most 8 deep, no cycles), then
 * applies `settings` ("optim.lr=2e-3", "model.dim=96", "distill.terms.0.weight=1"). Unknown keys, values out of range,
 * wrong types, duplicate keys, aliases and tabs are errors with file, line and column. */
VST_NODISCARD vst_status vst_recipe_read(vst_recipe **out, const char *path, const char *const *settings,
                                         int setting_count);
/* The same without vst_recipe_check, for a file that others inherit: the model may be missing (NULL). */
VST_NODISCARD vst_status vst_recipe_read_base(vst_recipe **out, const char *path, const char *const *settings,
                                              int setting_count);
void vst_recipe_destroy(vst_recipe *recipe);

/* The resolved recipe as YAML that vst_recipe_read reads back to the same recipe; to be vst_free'd; NULL: out of
 * memory. */
char *vst_recipe_to_yaml(const vst_recipe *recipe);

/* What decides a run's result, as text that is equal for equal recipes: vst_recipe_to_yaml without the keys that
 * vst_recipe_compare passes over, and whether there is a cache, whose half precision rounds. To be vst_free'd; NULL:
 * out of memory. */
char *vst_recipe_essence(const vst_recipe *recipe);

/* The keys that differ and may change the result, with both values: "optim.lr was 0.001, is 0.002; …"; "" without any.
 * Names, the places of files and of the run folder, the numbers of threads, and when is evaluated, saved and logged are
 * not compared, with `extend` the number of epochs neither. To be vst_free'd. */
VST_NODISCARD vst_status vst_recipe_compare(const vst_recipe *was, const vst_recipe *is, bool extend,
                                            char **differences);

/* How it mixes batches. */
vst_mix_options vst_recipe_mix(const vst_recipe *recipe);
/* The options of its optimiser; a view of the recipe's texts. */
vst_optimizer_options vst_recipe_optimizer(const vst_recipe *recipe);

/* Checks what no single key can: taps against model and teacher are checked when the run is built; here: teacher set
 * when there are terms, batch against data. Called by vst_recipe_read. */
VST_NODISCARD vst_status vst_recipe_check(const vst_recipe *recipe);

#endif
