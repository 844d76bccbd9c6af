/* Terms: a student's tap and a teacher's tap, aligned, transformed and compared by a distance. */
#ifndef VISTILL_RECIPES_DISTILL_TERM_H
#define VISTILL_RECIPES_DISTILL_TERM_H

#include "recipes/engine/recipe.h"
#include "vision/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { VST_TOKEN_PREFIX_MAX = 2, VST_TEACHER_INPUT_NAME = 160 };

/* Parameters of terms (projectors) are named "distill.<term index>.…": they are trained, but no part of the model. */
#define VST_DISTILL_PREFIX "distill."

/* Emits term `index` into the student's graph, whose taps must be there, and gives its unweighted loss, a scalar.
 *
 * The teacher's values enter as the input "teacher.<tap>" of shape `teacher_shape` (shared by terms that read the same tap);
 * no gradient flows into them. Scores (B, C) must agree in shape. Features are aligned as grids: tokens (B, N, D) lose
 * their class and distillation tokens and become (B, D, side, side); with projector "linear" a 1x1 convolution with bias
 * brings the student's channels to the teacher's; the smaller grid is resized bilinearly to the larger one (all as locality
 * guidance does). What does not fit goes to the graph as an error that says why and what would fit. */
vst_value vst_term_build(vst_graph *graph, const vst_term_options *term, int index, vst_shape teacher_shape);

/* "teacher.<tap>", the name of the graph's input. */
const char *vst_term_input(const char *tap, char name[VST_TEACHER_INPUT_NAME]);

/* Side of the square grid in N tokens, prefix tokens (at most VST_TOKEN_PREFIX_MAX) left out; 0 if it is not square. */
int vst_token_side(int64_t tokens, int *prefix);

#ifdef __cplusplus
}
#endif
#endif
