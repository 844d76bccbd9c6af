/* Distances: what a distillation term measures between an aligned pair of student and teacher values. One file of this
 * folder per distance; CMake makes the table. */
#ifndef VISTILL_RECIPES_DISTILL_DISTANCES_DISTANCE_H
#define VISTILL_RECIPES_DISTILL_DISTANCES_DISTANCE_H

#include "recipes/config/recipe.h"
#include "vision/graph/graph.h"

typedef enum vst_distance_expects {
    VST_EXPECTS_SAME_SHAPE,    /* any two values of one shape: class scores, features, relations */
    VST_EXPECTS_CHANNELS_LAST, /* the same, channels last */
    VST_EXPECTS_LOGIT_ROWS,    /* (rows, choices), softmax taken inside: class scores, or the scores of attention and
                                  relations */
    VST_EXPECTS_CLASS_LOGITS,  /* class scores (B, C) alone */
    VST_EXPECTS_VECTORS        /* (B, D) and (B, E): vectors of images, of any two lengths */
} vst_distance_expects;

typedef struct vst_distance {
    const char *name, *help; /* help: one line for `vistill explain` */
    vst_distance_expects expects;
    /* Emits the distance, a scalar. Gradients must not flow into `teacher` alone; errors go to the graph. */
    vst_value (*build)(vst_graph *graph, vst_value student, vst_value teacher, const vst_term_options *term);
} vst_distance;

/* All distances, in alphabetical order; index < vst_distance_count(). */
size_t vst_distance_count(void);
const vst_distance *vst_distance_at(size_t index);

/* The distance of that name, NULL if there is none. */
const vst_distance *vst_distance_find(const char *name);

#endif
