/* The models of a training: the student's differentiated graph with the terms, the teacher's plan, the optimiser. */
#include <math.h>
#include <string.h>

#include "recipes/distill/term.h"
#include "recipes/engine/train_parts.h"
#include "vision/base/memory.h"
#include "vision/ops/ops.h"

/* ---- Teacher ---- */

static vst_status check_teacher(const vst_recipe *recipe, const vst_model *teacher) {
    const vst_model_common *s = vst_model_common_of(recipe->model), *t = vst_model_common_of(teacher);
    if (s->channels == t->channels) return VST_OK;
    return vst_fail(VST_ERROR_UNSUPPORTED, "%s: the teacher takes images of %d channels, the student of %d, but both see the same "
                    "ones: set model.channels, or take another teacher", recipe->distill.teacher, t->channels, s->channels);
}

/* The teacher sees what the student sees, resized to its own input where that differs. */
static void build_teacher(vst_graph *graph, const vst_recipe *recipe, const vst_model *teacher) {
    const vst_model_common *s = vst_model_common_of(recipe->model), *t = vst_model_common_of(teacher);
    vst_value image = vst_input(graph, "image", VST_SHAPE(recipe->optim.batch, s->channels, s->image, s->image));
    if (s->image != t->image) image = vst_resize(graph, image, t->image, t->image, VST_BICUBIC);
    vst_model_build_on(graph, teacher, image);
}

static bool has_tap(const vsti_teacher *teacher, const char *name) {
    for (int i = 0; i < teacher->tap_count; i++)
        if (strcmp(teacher->taps[i].name, name) == 0) return true;
    return false;
}

static vst_status choose_taps(vsti_teacher *teacher, const vst_recipe *recipe, vst_value *outputs) {
    for (int i = 0; i < recipe->term_count; i++) {
        const char *name = recipe->terms[i].teacher;
        if (has_tap(teacher, name)) continue;
        const vst_value value = vst_find(teacher->graph, name);
        if (!value.id)
            return vst_fail(VST_ERROR_NOT_FOUND, "distill.terms.%d.teacher: %s has no tap '%s'; `vistill info` lists a model's taps",
                            i, recipe->distill.teacher, name);
        const vst_shape shape = vst_shape_at(teacher->graph, value);
        outputs[teacher->tap_count] = value;
        teacher->taps[teacher->tap_count++] =
            (vsti_teacher_tap){.name = name, .shape = shape, .floats = (size_t)vst_shape_count(&shape)};
    }
    return VST_OK;
}

vst_status vsti_teacher_build(vsti_teacher *teacher, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vst_value outputs[VST_MAX_TERMS];
    status = vst_modelfile_read(&teacher->file, recipe->distill.teacher);
    if (status != VST_OK) return vst_fail_in(status, "distill.teacher");
    VST_TRY(check_teacher(recipe, teacher->file->model));
    VST_TRY(vst_graph_create(&teacher->graph, teacher->file->params));
    build_teacher(teacher->graph, recipe, teacher->file->model);
    VST_TRY(vst_graph_finish(teacher->graph));
    VST_TRY(choose_taps(teacher, recipe, outputs));
    if (!teacher->tap_count)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "distill.teacher is set, but distill.terms is empty: nothing would be learnt from "
                         "it"));
    VST_TRY(vst_plan_create(&teacher->plan, teacher->graph, outputs, teacher->tap_count,
                            &(vst_plan_options){.mode = VST_INFER}));
    teacher->image = vst_plan_input(teacher->plan, "image");
out:
    return status;
}

void vsti_teacher_clear(vsti_teacher *teacher) {
    vst_plan_destroy(teacher->plan);
    vst_graph_destroy(teacher->graph);
    vst_modelfile_destroy(teacher->file);
    *teacher = (vsti_teacher){0};
}

/* ---- Student ---- */

static const vsti_teacher_tap *tap_of(const vsti_teacher *teacher, const char *name) {
    for (int i = 0; i < teacher->tap_count; i++)
        if (strcmp(teacher->taps[i].name, name) == 0) return &teacher->taps[i];
    VST_ASSERT(!"a term's tap was chosen by vsti_teacher_build");
    return NULL;
}

static vst_value plus(vst_graph *g, vst_value sum, vst_value value, double weight) {
    if (weight == 0) return sum;
    const vst_value part = weight == 1 ? value : vst_scale(g, value, weight);
    return sum.id ? vst_add(g, sum, part) : part;
}

/* Emits the losses and lists what a step reads: total, labels, terms, scores. */
static int emit_losses(vsti_student *student, const vst_recipe *recipe, const vsti_teacher *teacher, vst_value *outputs) {
    vst_graph *g = student->graph;
    int count = 0;
    vst_value total = {0};
    const vst_value target = vst_input(g, "target", VST_SHAPE(recipe->optim.batch, student->classes));
    const vst_value labels = recipe->optim.loss == VST_LOSS_BCE
                                 ? vst_binary_cross_entropy(g, vst_find(g, "logits"), target)
                                 : vst_cross_entropy(g, vst_find(g, "logits"), target, 0); /* smoothed on the host */
    const vst_value scores = vst_model_scores(g);
    if (!teacher) {
        outputs[count++] = total = labels;
        student->loss_output = student->labels_output = 0;
    } else {
        vst_value terms[VST_MAX_TERMS];
        total = plus(g, total, labels, recipe->distill.label_weight);
        for (int i = 0; i < recipe->term_count; i++) {
            terms[i] = vst_term_build(g, &recipe->terms[i], i, tap_of(teacher, recipe->terms[i].teacher)->shape);
            total = plus(g, total, terms[i], recipe->terms[i].weight);
        }
        if (!total.id) vst_graph_fail(g, "distill.label_weight and the weights of all terms are 0: there is nothing to learn");
        /* A term of weight 1 may be the total itself; a plan's outputs are told apart by giving the total a node. */
        total = vst_scale(g, total, 1);
        outputs[count++] = total;
        student->labels_output = count;
        outputs[count++] = labels;
        student->terms_output = count;
        for (int i = 0; i < recipe->term_count; i++) outputs[count++] = terms[i];
    }
    student->scores_output = count;
    outputs[count++] = scores;
    vst_differentiate(g, total);
    return count;
}

/* The first tap of tokens tells the grid that features live on. */
static void find_grid(vsti_student *student) {
    const vst_shape shape = vst_shape_at(student->graph, vst_find(student->graph, "blocks.0"));
    if (shape.rank == 3) student->grid = vst_token_side(shape.dim[1], &student->prefix);
}

static size_t model_parameters(const vst_params *params) {
    size_t numel = vst_params_numel(params);
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (strncmp(info->name, VST_DISTILL_PREFIX, strlen(VST_DISTILL_PREFIX)) == 0) numel -= info->count;
    }
    return numel;
}

static vst_status find_inputs(vsti_student *student, vsti_teacher *teacher) {
    student->image = vst_plan_input(student->plan, "image");
    student->target = vst_plan_input(student->plan, "target");
    bool found = student->image && student->target;
    for (int i = 0; teacher && i < teacher->tap_count; i++) {
        char name[VST_TEACHER_INPUT_NAME];
        teacher->taps[i].target = vst_plan_input(student->plan, vst_term_input(teacher->taps[i].name, name));
        found = found && teacher->taps[i].target;
    }
    return found ? VST_OK : vst_fail(VST_ERROR_INTERNAL, "the student's plan lacks an input");
}

static vst_status create_optimizer(vsti_student *student, const vst_optim_options *o) {
    const vst_optimizer_options options = {.kind = (vst_optimizer_kind)o->name,
                                           .momentum = o->momentum,
                                           .nesterov = o->nesterov,
                                           .beta1 = o->beta1,
                                           .beta2 = o->beta2,
                                           .epsilon = o->epsilon,
                                           .weight_decay = o->weight_decay,
                                           .clip_norm = o->clip_norm,
                                           .ema_decay = o->ema_decay,
                                           .accumulate = o->accumulate};
    return vst_optimizer_create(&student->optimizer, student->params, &options);
}

vst_status vsti_student_build(vsti_student *student, const vst_recipe *recipe, vsti_teacher *teacher) {
    vst_status status = VST_OK;
    vst_value outputs[VSTI_MAX_OUTPUTS_OF_STEP];
    const vst_model_common *common = vst_model_common_of(recipe->model);
    const uint64_t seed = (uint64_t)recipe->run.seed;
    student->classes = common->classes;
    student->image_floats = (size_t)common->channels * (size_t)common->image * (size_t)common->image;
    VST_TRY(vst_params_create(&student->params));
    VST_TRY(vst_graph_create(&student->graph, student->params));
    vst_model_build(student->graph, recipe->model, recipe->optim.batch);
    const int count = emit_losses(student, recipe, teacher, outputs);
    VST_TRY(vst_graph_finish(student->graph));
    find_grid(student);
    VST_TRY(vst_params_allocate(student->params, true, seed));
    student->parameters = model_parameters(student->params);
    VST_TRY(vst_plan_create(&student->plan, student->graph, outputs, count,
                            &(vst_plan_options){.mode = VST_TRAIN, .seed = seed}));
    VST_TRY(find_inputs(student, teacher));
    VST_TRY(create_optimizer(student, &recipe->optim));
out:
    return status;
}

void vsti_student_clear(vsti_student *student) {
    vst_optimizer_destroy(student->optimizer);
    vst_plan_destroy(student->plan);
    vst_graph_destroy(student->graph);
    vst_params_destroy(student->params);
    *student = (vsti_student){0};
}

double vsti_learning_rate(const vst_optim_options *o) {
    const double ratio = o->lr_batch > 0 ? (double)vst_step_images(o) / o->lr_batch : 1;
    switch (o->lr_rule) {
    case VST_LR_RULE_LINEAR: return o->lr * ratio;
    case VST_LR_RULE_SQRT: return o->lr * sqrt(ratio);
    default: return o->lr;
    }
}
