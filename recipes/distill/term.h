/* Distillation terms: a student's and a teacher's tap, aligned, projected, transformed and compared by a distance. */
#ifndef VISTILL_RECIPES_DISTILL_TERM_H
#define VISTILL_RECIPES_DISTILL_TERM_H

#include "recipes/distill/tap.h"
#include "recipes/distill/term_options.h"
#include "vision/graph/graph.h"

enum { VST_TEACHER_INPUT_NAME = 128 };

/* The name of the graph's input for a teacher's value: "teacher.layer3", "teacher2.logits", "ema.blocks.3". */
const char *vst_term_input(int source, const char *tap, char name[VST_TEACHER_INPUT_NAME]);

/* Emits term `index` into the student's graph, which must have its taps, and returns its unweighted loss, a scalar.
 * `labels` is the batch's target distribution (B, C) for distances that use it, the null value if there are no labels.
 *
 * The teacher's value is the input vst_term_input with the tap's own name `teacher_tap` and its shape (both unused with
 * VST_FROM_STUDENT); terms that read the same tap share it. No gradient flows into it.
 *
 * Features become maps (B, C, H, W): the patches of tokens as their grid (tokens: patches), all tokens as a column
 * (all), or the class token as a vector (class). Different grids are resized bilinearly to the larger one (align:
 * larger, as in locality guidance), average-pooled to the smaller one (smaller, as in attention transfer), or refused
 * (none). A projector maps the student's channels to the teacher's; a linear one before the student's grid is enlarged,
 * which gives the same values for less work. A regressor also changes the grid. A transform then gives the values to
 * compare. If something does not fit, the graph's error says why and what would fit. */
vst_value vst_term_build(vst_graph *graph, const vst_term_options *term, int index, const char *teacher_tap,
                         vst_shape teacher_shape, vst_value labels);

/* A term whose teacher tap is "features.*" is the sum over the teacher's stages, which the caller lists. The student's
 * tap "features.*" is, for each stage, the student's feature at the same relative depth, as for features.P%. Parameters
 * are named distill.<index>.<stage>.… */
typedef struct vst_stage {
    const char *name; /* name of the tap */
    vst_shape shape;
} vst_stage;
vst_value vst_term_build_stages(vst_graph *graph, const vst_term_options *term, int index, const vst_stage *stages,
                                int count, vst_value labels);

/* The weight at a time of the training, in epochs: `weight` times a factor 0 … 1 from the schedule. */
double vst_term_weight(const vst_term_options *term, double epoch, int epochs);

#endif
