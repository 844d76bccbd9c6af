/* Terms: a student's tap and a teacher's tap, aligned, projected, transformed and compared by a distance. */
#ifndef VISTILL_RECIPES_DISTILL_TERM_H
#define VISTILL_RECIPES_DISTILL_TERM_H

#include "recipes/distill/tap.h"
#include "recipes/distill/term_options.h"
#include "vision/graph/graph.h"

enum { VST_TEACHER_INPUT_NAME = 128 };

/* The graph's input for the teacher's value: "teacher.layer3", "teacher2.logits", "ema.blocks.3". */
const char *vst_term_input(int source, const char *tap, char name[VST_TEACHER_INPUT_NAME]);

/* Emits term `index` into the student's graph, whose taps must be there, and gives its unweighted loss, a scalar.
 *
 * `labels` is the batch's target distribution (B, C), the null value if there is none: for distances that read it.
 *
 * The teacher's values enter as the input of vst_term_input with the tap's own name `teacher_tap` and shape (both
 * unused with VST_FROM_STUDENT), shared by terms that read the same tap; no gradient flows into them.
 *
 * Features become maps (B, C, H, W): the patches of tokens as their grid (tokens: patches), all tokens as a column
 * (all), or the class token alone as a vector (class). Grids that differ are resized bilinearly to the larger (align:
 * larger, as locality guidance does), average-pooled to the smaller (smaller, as attention transfer), or refused
 * (none). A projector brings the student's channels to the teacher's; a linear one on the student's own grid, if that
 * is resized to a larger one, which gives the same values for less work. A regressor brings the grid along. A transform
 * then makes what is compared. What does not fit goes to the graph as an error that says why and what would fit. */
vst_value vst_term_build(vst_graph *graph, const vst_term_options *term, int index, const char *teacher_tap,
                         vst_shape teacher_shape, vst_value labels);

/* A term whose teacher's tap is "features.*": the sum over the teacher's stages, which the caller lists. A student's
 * tap "features.*" is, for each of them, the student's feature at the same place, as features.P% names it. Parameters
 * are named distill.<index>.<stage>.… */
typedef struct vst_stage {
    const char *name; /* the tap's own */
    vst_shape shape;
} vst_stage;
vst_value vst_term_build_stages(vst_graph *graph, const vst_term_options *term, int index, const vst_stage *stages,
                                int count, vst_value labels);

/* The weight at a moment of the training, in epochs: `weight` times 0 … 1 by the schedule. */
double vst_term_weight(const vst_term_options *term, double epoch, int epochs);

#endif
