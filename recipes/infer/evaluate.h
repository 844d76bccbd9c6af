/* Evaluation: compares a session's scores for all samples of a loader with their labels. */
#ifndef VISTILL_RECIPES_INFER_EVALUATE_H
#define VISTILL_RECIPES_INFER_EVALUATE_H

#include <signal.h>

#include "datasets/loader/loader.h"
#include "recipes/infer/session.h"
#include "recipes/model/classes.h"

typedef struct vst_evaluation {
    int classes;
    uint64_t samples, labelled; /* the following values are over labelled samples */
    double loss;                /* mean cross-entropy with the label */
    double top1, top5;          /* per cent; top5 is NAN with 5 classes or fewer */
    int *labels, *predictions;  /* (samples) by index in the data set; label -1: unlabelled */
    float *probabilities;       /* (samples) of the prediction, by the softmax of the scores */
    int *heads[VST_HEADS];      /* (samples) predictions of each head alone; NULL of a model with one head */
    float *logits;              /* (samples, classes) by index in the data set; NULL if not wanted */
} vst_evaluation;

/* The place of the largest value, the first of equal ones; `count` is 1 or more. */
size_t vst_largest(const float *values, size_t count);

/* What vst_evaluate allocates: for samples of a model with so many classes, `heads` of them 0 or VST_HEADS. */
size_t vst_evaluation_bytes(uint64_t samples, int heads);

/* Prepares the session for the batches of `samples`, and compares what an evaluation takes beside what the process has
 * with the machine's memory: a warning, or VST_ERROR_LIMIT (vision/base/memory_room.h). `advice` names what to make
 * smaller. */
VST_NODISCARD vst_status vst_evaluation_check_memory(vst_session *session, const vst_loader *loader, uint64_t samples,
                                                     int batch, const char *advice);

/* Fills `evaluation`, which is zeroed or one of the same model and samples (its arrays are then used again). The loader
 * is one of vst_evaluation_loader, of a data set of `samples`. `stop` may be NULL; when it becomes non-zero the result
 * is VST_ERROR_INTERRUPTED. Scores that are not finite are VST_ERROR_NUMERIC: of what they say nothing is right. */
VST_NODISCARD vst_status vst_evaluate(vst_session *session, vst_loader *loader, uint64_t samples, bool want_logits,
                                      const volatile sig_atomic_t *stop, vst_evaluation *evaluation);
/* From the model's class numbers to those of the data (classes.h: `match` is from the data to the model): labels and
 * predictions. A prediction of a class that the data does not have becomes -1. Not with logits. */
VST_NODISCARD vst_status vst_evaluation_to_data(vst_evaluation *evaluation, const vst_class_match *match);
/* Per cent of equal predictions of the same samples. */
double vst_agreement(const vst_evaluation *a, const vst_evaluation *b);
void vst_evaluation_clear(vst_evaluation *evaluation);

#endif
