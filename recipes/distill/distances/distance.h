/* Distances between an aligned pair of student and teacher values, as used by distillation terms. One file of this
 * folder per distance, with its own options; CMake generates the table. */
#ifndef VISTILL_RECIPES_DISTILL_DISTANCES_DISTANCE_H
#define VISTILL_RECIPES_DISTILL_DISTANCES_DISTANCE_H

#include <stdbool.h>
#include <stddef.h>

#include "vision/base/option.h"
#include "vision/graph/graph.h"

VST_BEGIN_DECLS

typedef enum vst_distance_expects {
    VST_EXPECTS_SAME_SHAPE,    /* any two values of the same shape: logits, features, relations */
    VST_EXPECTS_CHANNELS_LAST, /* the same with channels last */
    VST_EXPECTS_LOGIT_ROWS,    /* (rows, choices) before softmax, which the distance applies: class logits, or scores of
                                  attention and relations */
    VST_EXPECTS_CLASS_LOGITS,  /* class logits (B, C) only */
    VST_EXPECTS_VECTORS        /* (B, D) and (B, E): one vector per image, possibly of different lengths */
} vst_distance_expects;

/* The inputs of a distance. */
typedef struct vst_distance_inputs {
    vst_graph *graph;
    vst_value student, teacher; /* as given by `expects` */
    /* The target distribution (B, C) of the label loss, smoothed and mixed. Rows of unlabelled samples are 0; the
     * others are scaled so that a mean over the batch is a mean over the labelled samples. The null value if the
     * training has no labels. */
    vst_value labels;
    const void *options; /* the distance's options; NULL if it has none */
    int index;           /* index of the term in distill.terms */
} vst_distance_inputs;

typedef struct vst_distance {
    const char *name, *help; /* help: one line for `vistill explain` */
    vst_distance_expects expects;
    bool needs_labels;         /* refuse terms if the training has no labels */
    const vst_option *options; /* table of the options structure, keys of a term besides the general ones; NULL: none */
    size_t options_size;       /* its sizeof */
    /* Emits the distance, a scalar. Only the student may receive gradients; errors are set on the graph. It runs in the
     * term's scope: a vst_param "scale" is named distill.<index>.scale; it is trained with the student, saved in
     * checkpoints and not part of the model file. Operations with random masks use the run's seed, the step and their
     * position in the graph, so that a resumed run draws the same numbers. */
    vst_value (*build)(const vst_distance_inputs *inputs);
} vst_distance;

/* All distances, in alphabetical order; index < vst_distance_count(). */
size_t vst_distance_count(void);
const vst_distance *vst_distance_at(size_t index);

/* Finds a distance by name; NULL if there is none. */
const vst_distance *vst_distance_find(const char *name);

VST_END_DECLS
#endif
