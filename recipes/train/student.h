/* The student of a training: its differentiated graph with the terms, its program and optimiser. */
#ifndef VISTILL_RECIPES_TRAIN_STUDENT_H
#define VISTILL_RECIPES_TRAIN_STUDENT_H

#include "recipes/config/recipe.h"
#include "recipes/model/quantization.h"
#include "recipes/teacher/teacher.h"
#include "vision/optim/optim.h"
#include "vision/plan/program.h"

enum { VSTI_MAX_OUTPUTS_OF_STEP = VST_MAX_TERMS + 3 };

typedef struct vsti_student {
    vst_params *params;
    vst_graph *graph;
    vst_program *program;
    vst_context *context;
    vst_optimizer *optimizer;
    float *image, *target;
    float *labels_weight, *term_weights[VST_MAX_TERMS]; /* inputs; NULL if not part of the total */
    int classes;
    size_t image_floats;                                         /* of one image */
    int loss_output, labels_output, terms_output, scores_output; /* indices of the program's outputs */
    size_t parameters;                                           /* of the model alone */
    int grid, prefix; /* side of the token grid and tokens before it; 0: no tokens */
} vsti_student;

/* Builds the differentiated training graph with all terms and its program. Afterwards the taps of the teachers point to
 * the inputs of the student. `start`: initial values; NULL: random initialisation. `quantization`: products with
 * simulated integers; none in it: all in float32. */
VST_NODISCARD vst_status vsti_student_build(vsti_student *student, const vst_recipe *recipe, vsti_teachers *teachers,
                                            vst_params *start, const vst_quantization *quantization);
void vsti_student_clear(vsti_student *student);
/* Builds only the graph, with all terms. *count: number of outputs of a step. */
VST_NODISCARD vst_status vsti_student_emit(vsti_student *student, const vst_recipe *recipe,
                                           const vsti_teachers *teachers, const vst_quantization *quantization,
                                           vst_value outputs[VSTI_MAX_OUTPUTS_OF_STEP], int *count);
/* Sets the weights of labels and terms for a time in epochs. */
void vsti_student_set_loss_weights(vsti_student *student, const vst_recipe *recipe, double epoch);
/* The norm of the gradient of the labels' loss (index -1) or one term with respect to the model's parameters, weight
 * included, for the batch in the inputs, which are overwritten. Changes the gradients and the outputs of the context.
 */
VST_NODISCARD vst_status vsti_student_gradient_of(vsti_student *student, const vst_recipe *recipe, int index,
                                                  uint32_t step, double *length);

#endif
