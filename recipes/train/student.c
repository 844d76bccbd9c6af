/* The student of a training: its differentiated graph with the terms, its program and optimiser. */
#include "recipes/train/student.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/model/start.h"
#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"
#include "vision/ops/ops.h"

/* sum + weight * value; the weight is an input because it may change every step. */
static vst_value plus(vst_graph *g, vst_value sum, vst_value value, double weight, const char *name) {
    if (weight == 0) return sum;
    const vst_value part = vst_mul(g, value, vst_input(g, name, VST_SCALAR));
    return sum.id ? vst_add(g, sum, part) : part;
}

static const char *weight_name(int index, char name[32]) {
    snprintf(name, 32, "weight.%d", index);
    return name;
}

/* Emits a term, summed over the teacher's stages if it has several. */
static vst_value emit_term(vst_graph *g, const vst_recipe *recipe, const vsti_teachers *teachers, int index,
                           vst_value target) {
    const vst_term_options *term = &recipe->terms[index];
    const vsti_teacher_tap *tap = vsti_teacher_tap_of(teachers, term, 0);
    if (!tap || !vst_is_every_feature(term->teacher))
        return vst_term_build(g, term, index, tap ? tap->name : NULL, tap ? tap->shape : VST_SCALAR, target);
    vst_stage stages[VST_MAX_TEACHER_TAPS];
    int count = 0;
    for (; tap; tap = vsti_teacher_tap_of(teachers, term, count)) stages[count++] = (vst_stage){tap->name, tap->shape};
    return vst_term_build_stages(g, term, index, stages, count, target);
}

/* The loss on labels and the terms, each weighted. */
static vst_value emit_terms(vst_graph *g, const vst_recipe *recipe, const vsti_teachers *teachers, vst_value target,
                            vst_value labels, vst_value *terms) {
    vst_value total = plus(g, (vst_value){0}, labels, recipe->distill.label_weight, "weight.labels");
    for (int i = 0; i < recipe->term_count; i++) {
        char name[32];
        terms[i] = emit_term(g, recipe, teachers, i, target);
        total = plus(g, total, terms[i], recipe->terms[i].weight, weight_name(i, name));
    }
    if (!total.id)
        vst_graph_fail(g, VST_ERROR_ARGUMENT,
                       "distill.label_weight and the weights of all terms are 0: there is nothing to learn");
    return total;
}

/* Emits the losses and lists the outputs of a step: total, labels, terms, scores. */
static int emit_losses(vsti_student *student, const vst_recipe *recipe, const vsti_teachers *teachers,
                       vst_value *outputs) {
    vst_graph *g = student->graph;
    int count = 0;
    const vst_value target = vst_input(g, "target", VST_SHAPE(recipe->optim.batch, student->classes));
    const bool mean =
        !recipe->run.train_mode && !recipe->term_count; /* with two heads: the only output of DeiT in training */
    const vst_value logits = mean ? vst_model_scores(g) : vst_find(g, "logits");
    const vst_value labels = recipe->optim.loss == VST_LOSS_BCE
                                 ? vst_binary_cross_entropy(g, logits, target)
                                 : vst_cross_entropy(g, logits, target, 0); /* smoothed on the host */
    const vst_value scores = mean ? logits : vst_model_scores(g);
    vst_value total = labels, terms[VST_MAX_TERMS];
    if (recipe->term_count) total = emit_terms(g, recipe, teachers, target, labels, terms);
    outputs[count++] = total;
    if (recipe->term_count) student->labels_output = count, outputs[count++] = labels;
    student->terms_output = count;
    for (int i = 0; i < recipe->term_count; i++) outputs[count++] = terms[i];
    student->scores_output = count;
    outputs[count++] = scores;
    vst_differentiate(g, total);
    return count;
}

/* Finds the token grid from the first tap with tokens. */
static void find_grid(vsti_student *student) {
    const vst_shape shape = vst_shape_at(student->graph, vst_find(student->graph, "blocks.0"));
    if (shape.rank == 3) student->grid = vst_token_side(shape.dim[1], &student->prefix);
}

static bool is_projector(const vst_param_info *info) {
    return strncmp(info->name, VST_DISTILL_PREFIX, strlen(VST_DISTILL_PREFIX)) == 0;
}

static size_t model_parameters(const vst_params *params) {
    size_t numel = vst_params_numel(params);
    for (size_t i = 0; i < vst_params_count(params); i++)
        if (is_projector(vst_params_at(params, i))) numel -= vst_params_at(params, i)->count;
    return numel;
}

static vst_status find_inputs(vsti_student *student, const vst_recipe *recipe, vsti_teachers *teachers) {
    char name[VST_TEACHER_INPUT_NAME];
    student->image = vst_context_input(student->context, "image");
    student->target = vst_context_input(student->context, "target");
    bool found = student->image && student->target;
    for (int i = 0; i < teachers->count; i++)
        for (int k = 0; k < teachers->list[i].tap_count; k++) {
            vsti_teacher_tap *tap = &teachers->list[i].taps[k];
            tap->target =
                vst_context_input(student->context, vst_term_input(teachers->list[i].source, tap->name, name));
            found = found && tap->target;
        }
    if (recipe->term_count) student->labels_weight = vst_context_input(student->context, "weight.labels");
    for (int i = 0; i < recipe->term_count; i++)
        student->term_weights[i] = vst_context_input(student->context, weight_name(i, name));
    return found ? VST_OK : vst_fail(VST_ERROR_INTERNAL, "the student's program lacks an input");
}

/* ---- Weights of the losses ---- */

void vsti_student_set_loss_weights(vsti_student *student, const vst_recipe *recipe, double epoch) {
    if (student->labels_weight) *student->labels_weight = (float)recipe->distill.label_weight;
    for (int i = 0; i < recipe->term_count; i++)
        if (student->term_weights[i])
            *student->term_weights[i] = (float)vst_term_weight(&recipe->terms[i], epoch, recipe->run.epochs);
}

static double model_gradient(vst_params *params) {
    double squares = 0;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (info->offset >= vst_params_trained(params) || is_projector(info)) continue;
        squares += vsti_get_kernels()->sum_squares(vst_params_gradients(params) + info->offset, (int64_t)info->count);
    }
    return sqrt(squares);
}

vst_status vsti_student_gradient_of(vsti_student *student, const vst_recipe *recipe, int index, uint32_t step,
                                    double *length) {
    const size_t bytes = vst_params_total(student->params) * sizeof(float);
    float *values = vst_params_values(student->params), *kept = vst_alloc(bytes);
    if (!kept) return vst_fail_memory(bytes);
    memcpy(kept, values, bytes); /* a step in training changes running statistics */
    if (student->labels_weight && index >= 0) *student->labels_weight = 0;
    for (int i = 0; i < recipe->term_count; i++)
        if (student->term_weights[i] && i != index) *student->term_weights[i] = 0;
    const vst_status status = vst_context_run(student->context, step);
    if (status == VST_OK) *length = model_gradient(student->params);
    memcpy(values, kept, bytes);
    vst_params_changed(student->params);
    vst_free(kept);
    return status;
}

/* ---- Building ---- */

/* "!pos_embed" excludes matches. Returns the number of matching parameters. */
static size_t freeze_by(vst_params *params, const char *pattern) {
    const bool frozen = *pattern != '!';
    size_t fits = 0;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        if (fnmatch(pattern + !frozen, vst_params_at(params, i)->name, 0) != 0) continue;
        vst_params_freeze(params, i, frozen);
        fits++;
    }
    return fits;
}

/* Applies the comma-separated patterns in order, after the model is built and before projectors exist. */
static vst_status freeze(vst_params *params, const char *patterns) {
    vst_status status = VST_OK;
    char *text = patterns ? vst_strdup(patterns) : NULL, *rest = text;
    if (patterns && !text) return vst_fail_memory(strlen(patterns));
    for (char *pattern; (pattern = strsep(&rest, ", "));)
        if (*pattern && !freeze_by(params, pattern))
            VST_TRY(vst_fail(VST_ERROR_NOT_FOUND,
                             "optim.freeze: \"%s\" fits no parameter; names are such as %s, and * stands for any text",
                             pattern, vst_params_at(params, vst_params_count(params) / 2)->name));
out:
    vst_free(text);
    return status;
}

vst_status vsti_student_emit(vsti_student *student, const vst_recipe *recipe, const vsti_teachers *teachers,
                             const vst_quantization *quantization, vst_value outputs[VSTI_MAX_OUTPUTS_OF_STEP],
                             int *count) {
    vst_status status = VST_OK;
    const vst_model_common *common = vst_model_common_of(recipe->model);
    student->classes = common->classes;
    student->image_floats = (size_t)common->channels * (size_t)common->image * (size_t)common->image;
    VST_TRY(vst_params_create(&student->params));
    VST_TRY(vst_graph_create(&student->graph, student->params));
    vst_graph_set_evaluation(student->graph, !recipe->run.train_mode);
    vst_fake_quantize_products(student->graph, quantization->products, quantization->count);
    vst_model_build(student->graph, recipe->model, recipe->optim.batch);
    vst_fake_quantize_products(student->graph, NULL, 0); /* terms are not quantised */
    vst_graph_set_evaluation(student->graph, false);     /* projectors are not part of the model */
    VST_TRY(freeze(student->params, recipe->optim.freeze));
    *count = emit_losses(student, recipe, teachers, outputs);
    VST_TRY(vst_graph_finish(student->graph));
    find_grid(student);
out:
    return status;
}

vst_status vsti_student_build(vsti_student *student, const vst_recipe *recipe, vsti_teachers *teachers,
                              vst_params *start, const vst_quantization *quantization) {
    vst_status status = VST_OK;
    vst_value outputs[VSTI_MAX_OUTPUTS_OF_STEP];
    const uint64_t seed = (uint64_t)recipe->run.seed;
    const vst_program_options in = {.mode = VST_TRAIN, .seed = seed, .precision = (vst_precision)recipe->run.precision};
    int count;
    VST_TRY(vsti_student_emit(student, recipe, teachers, quantization, outputs, &count));
    VST_TRY(vst_params_allocate(student->params, true, seed));
    if (start) vsti_start_copy(student->params, start); /* before the average is initialised from them */
    student->parameters = model_parameters(student->params);
    VST_TRY(vst_program_create(&student->program, student->graph, outputs, count, &in));
    const vst_context_options profiled = {.profile = recipe->term_count > 0}; /* to measure the time of the terms */
    VST_TRY(vst_context_create(&student->context, student->program, &profiled));
    VST_TRY(find_inputs(student, recipe, teachers));
    vsti_student_set_loss_weights(student, recipe, 0);
    const vst_optimizer_options options = vst_recipe_optimizer(recipe);
    VST_TRY(vst_optimizer_create(&student->optimizer, student->params, &options));
out:
    return status;
}

void vsti_student_clear(vsti_student *student) {
    vst_optimizer_destroy(student->optimizer);
    vst_context_destroy(student->context);
    vst_program_destroy(student->program);
    vst_graph_destroy(student->graph);
    vst_params_destroy(student->params);
    *student = (vsti_student){0};
}
