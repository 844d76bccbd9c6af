/* Which class was taken for which, of an evaluation: only the pairs that occur, of which there are at most as many as
 * samples; a matrix of 10,000 classes would have 800 MB. */
#ifndef VISTILL_RECIPES_INFER_CONFUSION_H
#define VISTILL_RECIPES_INFER_CONFUSION_H

#include "recipes/infer/evaluate.h"

typedef struct vst_confusion_cell {
    int label, prediction;
    uint64_t count; /* of samples, 1 or more */
} vst_confusion_cell;

typedef struct vst_confusion {
    int classes;
    vst_confusion_cell *cells; /* by label, then by prediction */
    size_t count;
    size_t *rows; /* (classes + 1): the cells of label i are rows[i] up to rows[i + 1] */
} vst_confusion;

/* Counts the labelled samples. `out` needs no initial value; clear it also after a failure. */
VST_NODISCARD vst_status vst_confusion_create(vst_confusion *out, const vst_evaluation *evaluation);
void vst_confusion_clear(vst_confusion *confusion);

/* Samples with this label, and how many of them got it as prediction. */
uint64_t vst_confusion_samples(const vst_confusion *confusion, int label);
uint64_t vst_confusion_right(const vst_confusion *confusion, int label);

#endif
