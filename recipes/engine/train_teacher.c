/* Those that a student learns from: model files, and the moving average of its own weights. */
#include <math.h>
#include <string.h>

#include "recipes/distill/term.h"
#include "recipes/engine/train_parts.h"
#include "vision/base/memory.h"
#include "vision/ops/ops.h"

/* ---- Which there are ---- */

static bool is_asked(const vst_recipe *recipe, int source) {
    for (int i = 0; i < recipe->term_count; i++)
        if (vst_term_source(&recipe->terms[i]) == source) return true;
    return false;
}

/* ---- Building one ---- */

static vst_status check_model(const vst_recipe *recipe, const vst_model *teacher, const char *path) {
    const vst_model_common *s = vst_model_common_of(recipe->model), *t = vst_model_common_of(teacher);
    if (s->channels == t->channels) return VST_OK;
    return vst_fail(VST_ERROR_UNSUPPORTED, "%s: the teacher takes images of %d channels, the student of %d, but both see the same "
                    "ones: set model.channels, or take another teacher", path, t->channels, s->channels);
}

/* The teacher sees what the student sees, resized to its own input where that differs. */
static void build_graph(vst_graph *graph, const vst_recipe *recipe, const vst_model *teacher) {
    const vst_model_common *s = vst_model_common_of(recipe->model), *t = vst_model_common_of(teacher);
    vst_value image = vst_input(graph, "image", VST_SHAPE(recipe->optim.batch, s->channels, s->image, s->image));
    if (s->image != t->image) image = vst_resize(graph, image, t->image, t->image, VST_BICUBIC);
    vst_model_build_on(graph, teacher, image);
}

static const vsti_teacher_tap *tap_named(const vsti_teacher *teacher, const char *name) {
    for (int i = 0; i < teacher->tap_count; i++)
        if (strcmp(teacher->taps[i].name, name) == 0) return &teacher->taps[i];
    return NULL;
}

static vst_status choose_taps(vsti_teacher *teacher, const vst_recipe *recipe, vst_value *outputs) {
    for (int i = 0; i < recipe->term_count; i++) {
        char taps[500];
        vsti_teacher_tap tap = {0};
        if (vst_term_source(&recipe->terms[i]) != teacher->source) continue;
        const vst_value value = vst_tap_find(teacher->graph, recipe->terms[i].teacher, tap.name);
        if (!value.id)
            return vst_fail(VST_ERROR_NOT_FOUND, "distill.terms.%d.teacher: %s (%s) has no tap '%s'; it has %s, and blocks of a "
                            "transformer have .q, .k, .v and .scores: of a CNN's features take transform: relation", i,
                            teacher->name, teacher->model->variant, recipe->terms[i].teacher,
                            vst_tap_list(teacher->graph, taps, sizeof taps));
        if (tap_named(teacher, tap.name)) continue;
        tap.shape = vst_shape_at(teacher->graph, value);
        tap.floats = (size_t)vst_shape_count(&tap.shape);
        outputs[teacher->tap_count] = value;
        teacher->taps[teacher->tap_count++] = tap;
    }
    return VST_OK;
}

/* A file's model with its values, or the student's with values to come. */
static vst_status take_model(vsti_teacher *teacher, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    if (teacher->source == VST_FROM_AVERAGE) {
        teacher->model = recipe->model;
        if (!(teacher->name = vst_strdup("the student's moving average"))) return vst_fail_memory(32);
        VST_TRY(vst_params_create(&teacher->own));
        teacher->params = teacher->own;
    } else {
        if (!(teacher->name = vst_teacher_path(recipe, teacher->source))) return vst_fail_memory(1024);
        status = vst_modelfile_read(&teacher->file, teacher->name);
        if (status != VST_OK) return vst_fail_in(status, "distill.teacher");
        teacher->model = teacher->file->model;
        teacher->params = teacher->file->params;
        VST_TRY(check_model(recipe, teacher->model, teacher->name));
    }
out:
    return status;
}

static vst_status build(vsti_teacher *teacher, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vst_value outputs[VST_MAX_TERMS];
    VST_TRY(take_model(teacher, recipe));
    VST_TRY(vst_graph_create(&teacher->graph, teacher->params));
    build_graph(teacher->graph, recipe, teacher->model);
    VST_TRY(vst_graph_finish(teacher->graph));
    if (teacher->own) VST_TRY(vst_params_allocate(teacher->own, false, 0));
    VST_TRY(choose_taps(teacher, recipe, outputs));
    VST_TRY(vst_plan_create(&teacher->plan, teacher->graph, outputs, teacher->tap_count,
                            &(vst_plan_options){.mode = VST_INFER}));
    teacher->image = vst_plan_input(teacher->plan, "image");
out:
    return status;
}

/* ---- All ---- */

vst_status vsti_teachers_build(vsti_teachers *teachers, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    for (int source = VST_FROM_AVERAGE; source < VST_MAX_TEACHERS; source++) {
        if (source == VST_FROM_STUDENT || !is_asked(recipe, source)) continue;
        vsti_teacher *teacher = &teachers->list[teachers->count++];
        teacher->source = source;
        teacher->top1 = NAN;
        VST_TRY(build(teacher, recipe));
    }
out:
    return status;
}

void vsti_teachers_clear(vsti_teachers *teachers) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        vst_plan_destroy(teacher->plan);
        vst_graph_destroy(teacher->graph);
        vst_params_destroy(teacher->own);
        vst_modelfile_destroy(teacher->file);
        vst_free(teacher->name);
    }
    *teachers = (vsti_teachers){0};
}

const vsti_teacher_tap *vsti_teacher_tap_of(const vsti_teachers *teachers, const vst_term_options *term) {
    const int source = vst_term_source(term);
    char name[VST_TAP_NAME];
    for (int i = 0; i < teachers->count; i++) {
        if (teachers->list[i].source != source) continue;
        vst_tap_find(teachers->list[i].graph, term->teacher, name);
        return tap_named(&teachers->list[i], name);
    }
    return NULL;
}

/* ---- A step ---- */

/* Brings the average up to date: what is trained from the optimiser, running statistics from the student. The student's
 * parameters begin with the model's, in the same order. */
static void follow(const vsti_teacher *teacher, const vsti_student *student) {
    const float *average = vst_optimizer_ema(student->optimizer), *values = vst_params_values(student->params);
    const size_t trained = vst_params_trained(student->params);
    for (size_t i = 0; i < vst_params_count(teacher->own); i++) {
        const vst_param_info *to = vst_params_at(teacher->own, i), *from = vst_params_at(student->params, i);
        VST_ASSERT(strcmp(to->name, from->name) == 0);
        memcpy(vst_params_values(teacher->own) + to->offset, (from->offset < trained ? average : values) + from->offset,
               to->count * sizeof *values);
    }
    vst_params_touch(teacher->own);
}

vst_status vsti_teachers_run(vsti_teachers *teachers, const vsti_student *student, const float *images, size_t floats,
                             uint32_t step) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        if (teacher->own) follow(teacher, student);
        memcpy(teacher->image, images, floats * sizeof *images);
        const vst_status status = vst_plan_run(teacher->plan, step);
        if (status != VST_OK) return vst_fail_in(status, "%s", teacher->name);
        for (int k = 0; k < teacher->tap_count; k++)
            memcpy(teacher->taps[k].target, vst_plan_output(teacher->plan, k), teacher->taps[k].floats * sizeof(float));
    }
    return VST_OK;
}

size_t vsti_teachers_bytes(const vsti_teachers *teachers) {
    size_t bytes = 0;
    for (int i = 0; i < teachers->count; i++)
        bytes += vst_plan_bytes(teachers->list[i].plan) + vst_params_total(teachers->list[i].params) * sizeof(float);
    return bytes;
}
