/* Counts pairs of label and prediction by sorting them. */
#include "recipes/infer/confusion.h"

#include <stdlib.h>

#include "vision/base/memory.h"

static int compare(const void *a, const void *b) {
    const vst_confusion_cell *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return (x->prediction > y->prediction) - (x->prediction < y->prediction);
}

/* Merges equal neighbours. */
static size_t merge(vst_confusion_cell *cells, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept && compare(&cells[kept - 1], &cells[i]) == 0) cells[kept - 1].count++;
        else cells[kept++] = cells[i];
    }
    return kept;
}

vst_status vst_confusion_create(vst_confusion *out, const vst_evaluation *e) {
    size_t count = 0, at = 0;
    *out = (vst_confusion){.classes = e->classes};
    out->cells = vst_calloc((size_t)e->labelled + 1, sizeof *out->cells);
    out->rows = vst_calloc((size_t)e->classes + 1, sizeof *out->rows);
    if (!out->cells || !out->rows) return vst_fail_memory((size_t)e->labelled * sizeof *out->cells);
    for (uint64_t i = 0; i < e->samples; i++)
        if (e->labels[i] >= 0) out->cells[count++] = (vst_confusion_cell){e->labels[i], e->predictions[i], 1};
    qsort(out->cells, count, sizeof *out->cells, compare);
    out->count = merge(out->cells, count);
    for (int label = 0; label <= e->classes; label++) {
        while (at < out->count && out->cells[at].label < label) at++;
        out->rows[label] = at;
    }
    return VST_OK;
}

void vst_confusion_clear(vst_confusion *confusion) {
    vst_free(confusion->cells);
    vst_free(confusion->rows);
    *confusion = (vst_confusion){0};
}

uint64_t vst_confusion_samples(const vst_confusion *confusion, int label) {
    uint64_t sum = 0;
    for (size_t i = confusion->rows[label]; i < confusion->rows[label + 1]; i++) sum += confusion->cells[i].count;
    return sum;
}

uint64_t vst_confusion_right(const vst_confusion *confusion, int label) {
    for (size_t i = confusion->rows[label]; i < confusion->rows[label + 1]; i++)
        if (confusion->cells[i].prediction == label) return confusion->cells[i].count;
    return 0;
}
