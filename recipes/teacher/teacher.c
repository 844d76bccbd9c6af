/* Which teachers a recipe has, and building them: model files, and the moving average of the student's weights. */
#include "recipes/teacher/teacher.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/teacher/internal.h"
#include "vision/base/memory.h"
#include "vision/ops/ops.h"

/* ---- Which there are ---- */

static bool is_asked(const vst_recipe *recipe, int source) {
    for (int i = 0; i < recipe->term_count; i++)
        if (vst_term_source(&recipe->terms[i]) == source) return true;
    return false;
}

/* ---- Building one ---- */

static vst_status check_model(const vst_recipe *recipe, const vst_model_config *teacher, const char *path) {
    const vst_model_common *s = vst_model_common_of(recipe->model), *t = vst_model_common_of(teacher);
    if (s->channels == t->channels) return VST_OK;
    return vst_fail(VST_ERROR_UNSUPPORTED,
                    "%s: the teacher takes images of %d channels, the student of %d, but both see the same "
                    "ones: set model.channels, or take another teacher",
                    path, t->channels, s->channels);
}

/* The teacher sees what the student sees, resized to its own input where that differs. */
static void build_graph(vst_graph *graph, const vst_recipe *recipe, const vst_model_config *teacher) {
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

static vst_status choose_taps(vsti_teacher *teacher, const vst_recipe *recipe) {
    for (int i = 0; i < recipe->term_count; i++) {
        char taps[500];
        vsti_teacher_tap tap = {0};
        if (vst_term_source(&recipe->terms[i]) != teacher->source) continue;
        tap.value = vst_tap_find(teacher->graph, recipe->terms[i].teacher, tap.name);
        if (!tap.value.id)
            return vst_fail(VST_ERROR_NOT_FOUND,
                            "distill.terms.%d.teacher: %s (%s) has no tap '%s'; it has %s, and blocks of a "
                            "transformer have .q, .k, .v and .scores: of a CNN's features take transform: relation",
                            i, teacher->name, teacher->config->variant, recipe->terms[i].teacher,
                            vst_tap_list(teacher->graph, taps, sizeof taps));
        if (tap_named(teacher, tap.name)) continue;
        tap.shape = vst_shape_at(teacher->graph, tap.value);
        tap.floats = (size_t)vst_shape_count(&tap.shape);
        teacher->taps[teacher->tap_count++] = tap;
    }
    return VST_OK;
}

/* A model without values: the student's, whose average comes later, or a teacher's that is only looked at. */
static vst_status take_bare(vsti_teacher *teacher, const vst_model_config *model) {
    const vst_status status = vst_params_create(&teacher->own);
    teacher->config = model;
    teacher->params = teacher->own;
    return status;
}

static vst_status take_file(vsti_teacher *teacher) {
    const vst_status status = vst_model_read(&teacher->model, teacher->name);
    if (status != VST_OK) return vst_fail_in(status, "distill.teacher");
    teacher->config = teacher->model->config;
    teacher->params = teacher->model->params;
    return VST_OK;
}

/* `model` in place of the file's, if it is given. */
static vst_status take_model(vsti_teacher *teacher, const vst_recipe *recipe, const vst_model_config *model) {
    const bool average = teacher->source == VST_FROM_AVERAGE;
    teacher->name = average ? vst_strdup("the student's moving average") : vst_teacher_path(recipe, teacher->source);
    if (!teacher->name) return vst_fail_memory(1024);
    if (average) model = recipe->model;
    const vst_status status = model ? take_bare(teacher, model) : take_file(teacher);
    return status == VST_OK ? check_model(recipe, teacher->config, teacher->name) : status;
}

static vst_status describe(vsti_teacher *teacher, const vst_recipe *recipe, const vst_model_config *model) {
    vst_status status = VST_OK;
    VST_TRY(take_model(teacher, recipe, model));
    VST_TRY(vst_graph_create(&teacher->graph, teacher->params));
    build_graph(teacher->graph, recipe, teacher->config);
    const vst_status chosen = choose_taps(teacher, recipe); /* emits scores: before the graph is finished */
    VST_TRY(vst_graph_finish(teacher->graph));              /* its error comes first: it may be why a tap is missing */
    VST_TRY(chosen);
out:
    return status;
}

static vst_status make_program(vsti_teacher *teacher) {
    vst_status status = VST_OK;
    vst_value outputs[VST_MAX_TERMS];
    for (int i = 0; i < teacher->tap_count; i++) outputs[i] = teacher->taps[i].value;
    if (teacher->own) VST_TRY(vst_params_allocate(teacher->own, false, 0));
    VST_TRY(vst_program_create(&teacher->program, teacher->graph, outputs, teacher->tap_count,
                               &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&teacher->context, teacher->program, NULL));
    teacher->image = vst_context_input(teacher->context, "image");
out:
    return status;
}

/* ---- All ---- */

vst_status vsti_teachers_describe(vsti_teachers *teachers, const vst_recipe *recipe,
                                  const vst_model_config *const *models) {
    vst_status status = VST_OK;
    const vst_model_common *common = vst_model_common_of(recipe->model);
    teachers->image_floats = (size_t)common->channels * (size_t)common->image * (size_t)common->image;
    for (int source = VST_FROM_AVERAGE; source < VST_MAX_TEACHERS; source++) {
        if (source == VST_FROM_STUDENT || !is_asked(recipe, source)) continue;
        vsti_teacher *teacher = &teachers->list[teachers->count++];
        teacher->source = source;
        teacher->top1 = NAN;
        VST_TRY(describe(teacher, recipe, models && source >= 0 ? models[source] : NULL));
    }
out:
    return status;
}

vst_status vsti_teachers_build(vsti_teachers *teachers, const vst_recipe *recipe, bool cached) {
    vst_status status = vsti_teachers_describe(teachers, recipe, NULL);
    for (int i = 0; i < teachers->count && status == VST_OK; i++)
        if (!cached || !teachers->list[i].model) status = make_program(&teachers->list[i]);
    return status;
}

void vsti_teachers_clear(vsti_teachers *teachers) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        vst_context_destroy(teacher->context);
        vst_program_destroy(teacher->program);
        vst_graph_destroy(teacher->graph);
        vst_params_destroy(teacher->own);
        vst_model_destroy(teacher->model);
        vst_free(teacher->name);
    }
    if (teachers->cache) vsti_cache_clear(teachers->cache);
    vst_free(teachers->cache);
    *teachers = (vsti_teachers){0};
}

const vsti_teacher *vsti_teacher_of(const vsti_teachers *teachers, int source) {
    for (int i = 0; i < teachers->count; i++)
        if (teachers->list[i].source == source) return &teachers->list[i];
    return NULL;
}

const vsti_teacher_tap *vsti_teacher_tap_of(const vsti_teachers *teachers, const vst_term_options *term) {
    const vsti_teacher *teacher = vsti_teacher_of(teachers, vst_term_source(term));
    char name[VST_TAP_NAME];
    if (!teacher) return NULL;
    vst_tap_find(teacher->graph, term->teacher, name);
    return tap_named(teacher, name);
}

vst_status vsti_teacher_hash(const vsti_teacher *teacher, uint64_t *hash) {
    char *model = vst_model_config_to_json(teacher->config);
    if (!model) return vst_fail_memory(1 << 16);
    *hash = XXH3_64bits_withSeed(vst_params_values(teacher->params), vst_params_total(teacher->params) * sizeof(float),
                                 XXH3_64bits_withSeed(model, strlen(model), *hash));
    vst_free(model);
    return VST_OK;
}

static size_t program_bytes(const vsti_teacher *teacher) {
    if (!teacher->program) return 0;
    return vst_program_packed_bytes(teacher->program) + vst_program_context_bytes(teacher->program);
}

size_t vsti_teachers_bytes(const vsti_teachers *teachers) {
    size_t bytes = 0;
    for (int i = 0; i < teachers->count; i++)
        bytes += program_bytes(&teachers->list[i]) + vst_params_total(teachers->list[i].params) * sizeof(float);
    return bytes;
}
