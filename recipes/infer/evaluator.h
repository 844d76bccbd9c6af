/* Evaluation: a model over a loader's samples, and its latency on one core. */
#ifndef VISTILL_RECIPES_INFER_EVALUATOR_H
#define VISTILL_RECIPES_INFER_EVALUATOR_H

#include <signal.h>

#include "backbones/backbone.h"
#include "datasets/loader/loader.h"
#include "datasets/loader/transform.h"
#include "vision/base/clock.h"
#include "vision/graph/params.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The value that a model is judged by: its "logits", or, with a distillation head, the mean of "logits" and
 * "logits_dist" (as DeiT's code does). The graph must hold the model; a model without logits is the graph's error. */
vst_value vst_model_scores(vst_graph *graph);

/* Checks that a data set has as many classes as the model. */
VST_NODISCARD vst_status vst_model_check_data(const vst_model_config *model, const vst_dataset *dataset);

/* How a model sees pictures of any size: by its options image, crop_pct and interpolation. */
vst_evaluation_view vst_model_view(const vst_model_config *model);

/* A loader for evaluating: in order, in the model's view, the last batch kept. `broken` NULL: a broken sample is an
 * error; one that is passed over counts as unlabelled. */
VST_NODISCARD vst_status vst_evaluation_loader(vst_loader **out, const vst_dataset *dataset,
                                               const vst_model_config *model, int batch, int workers,
                                               const vst_broken_rule *broken);

/* A prepared evaluation: inference plans for batches of `batch` samples and for the partial last one. Plans read the
 * params at each run, so it can be used again after more training. */
typedef struct vst_evaluator vst_evaluator;

/* `params` must hold the model's parameters (others may be there too), be allocated and outlive the evaluator.
 * `samples` says how many will come in one pass. */
VST_NODISCARD vst_status vst_evaluator_create(vst_evaluator **out, const vst_model_config *model, vst_params *params,
                                              int batch, uint64_t samples);
void vst_evaluator_destroy(vst_evaluator *evaluator);
size_t vst_evaluator_bytes(const vst_evaluator *evaluator); /* of its plans */

enum { VST_HEAD_CLASS, VST_HEAD_DISTILLED, VST_HEADS }; /* taps "logits" and "logits_dist" */

typedef struct vst_evaluation {
    int classes;
    uint64_t samples, labelled; /* the figures below are over the labelled ones */
    double loss;                /* mean cross-entropy with the label */
    double top1, top5;          /* per cent; top5 is NAN with 5 classes or fewer */
    uint64_t *confusion;        /* (classes, classes): row label, column prediction */
    int *labels, *predictions;  /* (samples) by index in the data set; label -1: unlabelled */
    int *heads[VST_HEADS];      /* (samples) predictions of each head alone; NULL of a model with one head */
    float *logits;              /* (samples, classes) by index in the data set; NULL if not wanted */
} vst_evaluation;

/* Fills `evaluation`, which is zeroed or one of the same evaluator (its arrays are then used again). The loader must
 * have the evaluator's batch, no shuffle, no augmentation and keep the last batch. `stop` may be NULL; when it becomes
 * non-zero the result is VST_ERROR_INTERRUPTED. */
VST_NODISCARD vst_status vst_evaluate(vst_evaluator *evaluator, vst_loader *loader, bool want_logits,
                                      const volatile sig_atomic_t *stop, vst_evaluation *evaluation);
void vst_evaluation_clear(vst_evaluation *evaluation);

/* Milliseconds for one image on one core: median of runs of a batch-1 inference program over half a second (at least
 * 20). Sets the number of OpenMP threads to one meanwhile. */
VST_NODISCARD vst_status vst_model_latency(const vst_model_config *model, vst_params *params, double *milliseconds);

/* The median; sorts the values. count > 0. */
double vst_median(double *values, int count);

#ifdef __cplusplus
}
#endif
#endif
