/* The parts of a training: data, student, teacher. Internal to this folder. */
#ifndef VISTILL_RECIPES_TRAIN_INTERNAL_H
#define VISTILL_RECIPES_TRAIN_INTERNAL_H

#include "datasets/loader/loader.h"
#include "recipes/config/recipe.h"
#include "recipes/distill/term.h"
#include "recipes/infer/evaluator.h"
#include "recipes/model/model.h"
#include "recipes/teacher/cache/internal.h"
#include "recipes/train/checkpoint.h"
#include "recipes/train/run_folder.h"
#include "recipes/train/train.h"
#include "vision/optim/optim.h"
#include "vision/plan/plan.h"

/* ---- data (train_data.c) ---- */

typedef struct vsti_train_data {
    vst_dataset *source, *sampled, *split_train, *split_validation, *test_split; /* owned, in order of dependence */
    const vst_dataset *train, *validation, *test; /* views of the above; validation may be NULL */
    uint64_t labelled;                            /* samples [0, labelled) of `train` keep their label */
    vst_augment *augment;
    vst_loader *loader, *validation_loader, *test_loader;
    uint64_t steps; /* batches of an epoch: whole steps of optim.accumulate */
    const char **class_names;
    uint64_t hash, train_hash; /* of the samples of all splits, and of those trained on */
    uint64_t view;             /* vst_view_id of the training: what is made of them */
} vsti_train_data;

/* Opens the split "train" or "test" of the recipe's data, as images of `channels`. */
VST_NODISCARD vst_status vsti_recipe_data(vst_dataset **out, const vst_recipe *recipe, const char *split, int channels);

static inline vst_broken_rule vsti_recipe_broken(const vst_recipe *recipe) {
    return (vst_broken_rule){(vst_broken_policy)recipe->data.broken, recipe->data.broken_limit};
}

static inline bool vsti_recipe_mixes(const vst_recipe *recipe) {
    const vst_augment_options *o = &recipe->augment;
    const vst_mix_options mix = {o->mixup, o->cutmix, o->mixup_prob, o->mixup_switch_prob};
    return vst_mix_enabled(&mix);
}

/* How a training loads its samples. */
vst_loader_options vsti_training_options(const vsti_train_data *data, const vst_recipe *recipe);

/* Opens the splits as the recipe says and checks them against the model. Starts as {0}. */
VST_NODISCARD vst_status vsti_train_data_open(vsti_train_data *data, const vst_recipe *recipe);
void vsti_train_data_close(vsti_train_data *data);
/* Tells the log how many images were passed over, if any were. */
void vsti_train_data_log_broken(const vsti_train_data *data);

size_t vsti_train_data_bytes(const vsti_train_data *data); /* of all batches that are held ready */

/* ---- teachers (train_teacher.c) ---- */

typedef struct vsti_teachers vsti_teachers;

/* A teacher's tap is copied into the student's input after each of its runs. */
typedef struct vsti_teacher_tap {
    char name[VST_TAP_NAME];
    vst_value value;
    vst_shape shape;
    size_t floats;
    float *target;                /* the student's input */
    const vsti_cache_tap *cached; /* NULL: the teacher runs */
} vsti_teacher_tap;

typedef struct vsti_teacher {
    int source; /* vst_term_source */
    char *name; /* the file's, or what it is */
    const vst_model_config *config;
    vst_params *params;
    vst_model *model; /* NULL: the student's moving average */
    vst_params *own;  /* of the moving average, which is copied there before each run */
    vst_graph *graph;
    vst_plan *plan; /* NULL: a cache has its answers */
    float *image;
    const vsti_cache_teacher *cached;
    double top1; /* measured before the training; NAN: it was not */
    vsti_teacher_tap taps[VST_MAX_TERMS];
    int tap_count;
} vsti_teacher;

/* Where in a training a batch is. */
typedef struct vsti_position {
    uint32_t epoch;
    uint64_t place; /* of its first image in the epoch */
    uint32_t step;  /* of the whole run */
} vsti_position;

struct vsti_teachers {
    vsti_teacher list[VST_MAX_TEACHERS + 1];
    int count;
    vsti_cache *cache;      /* of those that are files; NULL: they run */
    const vst_batch *batch; /* the last one, and where it was */
    vsti_position at;
};

typedef struct vsti_student vsti_student;

/* Loads the model files that terms ask for and plans those taps for the training batch; not with `cached`, for then a
 * cache answers for them. */
VST_NODISCARD vst_status vsti_teachers_build(vsti_teachers *teachers, const vst_recipe *recipe, bool cached);
/* Their graphs and taps alone, which cannot run. models[i], if it is not NULL, stands for the file of teacher i from 0.
 */
VST_NODISCARD vst_status vsti_teachers_describe(vsti_teachers *teachers, const vst_recipe *recipe,
                                                const vst_model_config *const *models);
void vsti_teachers_clear(vsti_teachers *teachers);
const vsti_teacher *vsti_teacher_of(const vsti_teachers *teachers, int source); /* NULL: not asked for */
/* The tap that the term learns from; NULL with `from: student`. */
const vsti_teacher_tap *vsti_teacher_tap_of(const vsti_teachers *teachers, const vst_term_options *term);
/* Takes model and values of a teacher that is a file into the hash. */
VST_NODISCARD vst_status vsti_teacher_hash(const vsti_teacher *teacher, uint64_t *hash);
/* Sets the accuracy of those that are files, on the validation samples, or without such a split on some of the training
 * samples as they are. `stop` as in vst_train_options. */
VST_NODISCARD vst_status vsti_teachers_measure(vsti_teachers *teachers, const vst_recipe *recipe,
                                               const vsti_train_data *data, const volatile sig_atomic_t *stop);
/* Runs it on `floats` numbers of images, a batch or the beginning of one; the plan's outputs are its taps in order. */
VST_NODISCARD vst_status vsti_teacher_run(const vsti_teacher *teacher, const float *images, size_t floats,
                                          uint32_t step);
/* Runs all on the batch; for those that a cache answers for, it is only remembered, and must stay until the next one.
 */
VST_NODISCARD vst_status vsti_teachers_run(vsti_teachers *teachers, const vsti_student *student, const vst_batch *batch,
                                           vsti_position at);
/* Copies the taps of their last run, or reads those of the cache, to the student's inputs: before each run of the
 * student. */
VST_NODISCARD vst_status vsti_bind_teacher_taps(vsti_teachers *teachers);
size_t vsti_teachers_bytes(const vsti_teachers *teachers);

/* ---- student (train_model.c) ---- */

enum { VSTI_MAX_OUTPUTS_OF_STEP = VST_MAX_TERMS + 3 };

struct vsti_student {
    vst_params *params;
    vst_graph *graph;
    vst_plan *plan;
    vst_optimizer *optimizer;
    float *image, *target;
    float *labels_weight, *term_weights[VST_MAX_TERMS]; /* inputs; NULL: not part of the total */
    int classes;
    size_t image_floats;                                         /* of one image */
    int loss_output, labels_output, terms_output, scores_output; /* indices of the plan's outputs */
    size_t parameters;                                           /* of the model alone */
    int grid, prefix; /* side of the token grid and tokens before it; 0: no tokens */
};

/* Builds the differentiated training graph with all terms and its plan. Afterwards the teachers' taps point to the
 * student's inputs. `start`: values to begin with, NULL for random ones. */
VST_NODISCARD vst_status vsti_student_build(vsti_student *student, const vst_recipe *recipe, vsti_teachers *teachers,
                                            vst_params *start);
void vsti_student_clear(vsti_student *student);
/* The graph alone, with all terms. *count: of the outputs of a step. */
VST_NODISCARD vst_status vsti_student_emit(vsti_student *student, const vst_recipe *recipe,
                                           const vsti_teachers *teachers, vst_value outputs[VSTI_MAX_OUTPUTS_OF_STEP],
                                           int *count);
/* Sets the weights of labels and terms to those of a moment, in epochs. */
void vsti_student_set_loss_weights(vsti_student *student, const vst_recipe *recipe, double epoch);
/* The length of the gradient that the labels (index -1) or a term alone have on the model's parameters, weight
 * included, for the batch that lies in the inputs, which are used up. Leaves the gradients and the plan's outputs
 * changed. */
VST_NODISCARD vst_status vsti_student_gradient_of(vsti_student *student, const vst_recipe *recipe, int index,
                                                  uint32_t step, double *length);

/* The weights of run.start, as parameters of the recipe's model without any more: every tensor must be there, position
 * embeddings are resized, and with run.new_head the classifier has the values that the student's would begin with. To
 * be destroyed. Their hash decides the run's. _take copies them to the student's parameters (train_start.c). */
VST_NODISCARD vst_status vsti_start_load(vst_params **start, const vst_recipe *recipe);
uint64_t vsti_start_hash(vst_params *start);
void vsti_start_take(vst_params *params, vst_params *start);

/* The learning rate that optim.lr, lr_rule and the images of a step give. */
double vsti_learning_rate(const vst_optim_options *options);

/* ---- the run as a whole ---- */

typedef struct vsti_trainer {
    const vst_recipe *recipe;
    const vst_train_options *options;
    vsti_run_folder folder; /* path NULL: dry run */
    vsti_train_data data;
    vsti_teachers teachers;
    vsti_cache cache;  /* distill.cache */
    bool distilling;   /* there are terms */
    vst_params *start; /* until the student has them; NULL without run.start */
    vsti_student student;
    vst_evaluator *validation_evaluator, *test_evaluator;
    vst_evaluation validation, test, other; /* other: of the weights that are not saved, on the test split */
    vst_schedule schedule;
    float *raw;         /* the trained values while the moving average stands in their place; NULL without one */
    vsti_checkpoint at; /* position, sums, figures */
    double mark;        /* when the seconds were last added up */
    double gradient_norms[VST_MAX_TERMS + 1]; /* lengths of the gradients of labels and terms in the first step */
    double teaching;                          /* seconds of this session in which teachers ran */
    double waiting; /* share of the time of the last epoch's steps that went into waiting for images; 0 if unknown */
} vsti_trainer;

/* Trains from the position to the end (train_epoch.c). */
VST_NODISCARD vst_status vsti_train_epochs(vsti_trainer *trainer);
/* Trains on a batch of optim.batch samples; every optim.accumulate-th makes a step of the optimiser. Advances the
 * position and the sums. Allocates nothing. */
VST_NODISCARD vst_status vsti_train_step(vsti_trainer *trainer, const vst_batch *batch);

/* Copies what a run of the student's plan reads, and uses up: images, targets, weights of the losses, the teachers'
 * taps. */
VST_NODISCARD vst_status vsti_fill_inputs(vsti_trainer *trainer, const vst_batch *batch, uint64_t step);
/* Puts a checkpoint's values back, whose position is trainer->at; what was logged after it goes (train.c). */
VST_NODISCARD vst_status vsti_train_restore(vsti_trainer *trainer, const vst_safetensors *file);

/* When a value is not finite (train_fault.c): an error that names step, loss and tensor, if a loss of the last run of
 * the student's plan is not finite; and the way back to the last checkpoint, from where it goes on at half the learning
 * rate. */
VST_NODISCARD vst_status vsti_check_losses(vsti_trainer *trainer, const vst_batch *batch, uint64_t step);
VST_NODISCARD vst_status vsti_recover(vsti_trainer *trainer);

/* Whether there is a moving average, and whether it is what the model files get. */
static inline bool vsti_has_average(const vsti_trainer *trainer) { return trainer->recipe->optim.ema_decay > 0; }
static inline bool vsti_saves_average(const vsti_trainer *trainer) {
    return vsti_has_average(trainer) && trainer->recipe->optim.weights == VST_WEIGHTS_AVERAGE;
}

/* What is said and written (train_log.c): who learns what from whom; each term's share after the first step; the lines
 * of log.txt and summary.csv; samples.png. */
void vsti_log_setup(const vsti_trainer *trainer);
void vsti_log_loss_shares(const vsti_trainer *trainer);
void vsti_log_step(vsti_trainer *trainer);
void vsti_log_epoch(vsti_trainer *trainer);
/* The epoch for TensorBoard (train_events.c). */
void vsti_log_events(vsti_trainer *trainer);
VST_NODISCARD vst_status vsti_write_samples(vsti_trainer *trainer);
/* The JSON of a model file's "vistill.training"; free() it, as jansson's; NULL: out of memory. */
char *vsti_training_json(const vsti_trainer *trainer);

#endif
