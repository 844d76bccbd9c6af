/* Distances: what a distillation term measures between an aligned pair of student and teacher values. One file of this
 * folder per distance, with the options that it has; CMake makes the table. */
#ifndef VISTILL_RECIPES_DISTILL_DISTANCES_DISTANCE_H
#define VISTILL_RECIPES_DISTILL_DISTANCES_DISTANCE_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/option.h"
#include "vision/graph/graph.h"

VST_BEGIN_DECLS

typedef enum vst_distance_expects {
    VST_EXPECTS_SAME_SHAPE,    /* any two values of one shape: class scores, features, relations */
    VST_EXPECTS_CHANNELS_LAST, /* the same, channels last */
    VST_EXPECTS_LOGIT_ROWS,    /* (rows, choices), softmax taken inside: class scores, or the scores of attention and
                                  relations */
    VST_EXPECTS_CLASS_LOGITS,  /* class scores (B, C) alone */
    VST_EXPECTS_VECTORS        /* (B, D) and (B, E): vectors of images, of any two lengths */
} vst_distance_expects;

/* What a distance is built from. */
typedef struct vst_distance_inputs {
    vst_graph *graph;
    vst_value student, teacher; /* as `expects` says */
    /* The batch's target distribution (B, C) as the loss on labels has it: smoothed and mixed. Rows of samples without
     * a label are 0 and the others are scaled so that a mean over the batch is one over the labelled samples. The null
     * value if the training has no labels. */
    vst_value labels;
    const void *options; /* the distance's structure; NULL if it has none */
    int index;           /* of the term in distill.terms */
} vst_distance_inputs;

typedef struct vst_distance {
    const char *name, *help; /* help: one line for `vistill explain` */
    vst_distance_expects expects;
    bool needs_labels;         /* terms are refused where the training has no labels */
    const vst_option *options; /* table of the options structure, keys of a term beside the general ones; NULL: none */
    size_t options_size;       /* its sizeof */
    /* Emits the distance, a scalar. Gradients must not flow into `teacher` alone; errors go to the graph. It runs in
     * the term's scope: a vst_param "scale" is named distill.<index>.scale, is trained with the student, saved in
     * checkpoints and left out of the model file. Operations with random masks draw them from the run's seed, the step
     * and their place in the graph, so that a resumed run draws the same ones. */
    vst_value (*build)(const vst_distance_inputs *inputs);
} vst_distance;

/* All distances, in alphabetical order; index < vst_distance_count(). */
size_t vst_distance_count(void);
const vst_distance *vst_distance_at(size_t index);

/* The distance of that name, NULL if there is none. */
const vst_distance *vst_distance_find(const char *name);

VST_END_DECLS
#endif
