/* The confusion counts of an evaluation. Only pairs of label and prediction that occur are stored, at most one per
 * sample; a matrix for 10,000 classes would take 800 MB. */
#ifndef VISTILL_RECIPES_INFER_CONFUSION_H
#define VISTILL_RECIPES_INFER_CONFUSION_H

#include "recipes/infer/evaluate.h"

typedef struct vst_confusion_cell {
    int label, prediction;
    uint64_t count; /* number of samples, at least 1 */
} vst_confusion_cell;

typedef struct vst_confusion {
    int classes;
    vst_confusion_cell *cells; /* sorted by label, then by prediction */
    size_t count;
    size_t *rows; /* (classes + 1): the cells of label i are rows[i] … rows[i + 1] - 1 */
} vst_confusion;

/* Counts the labelled samples. `out` need not be initialised; clear it even after a failure. */
VST_NODISCARD vst_status vst_confusion_create(vst_confusion *out, const vst_evaluation *evaluation);
void vst_confusion_clear(vst_confusion *confusion);

/* Number of samples with this label, and of those predicted correctly. */
uint64_t vst_confusion_samples(const vst_confusion *confusion, int label);
uint64_t vst_confusion_right(const vst_confusion *confusion, int label);

#endif
