/* Finds and builds the teachers of a recipe: model files, and the moving average of the student's weights. */
#include "recipes/teacher/teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/model/open.h"
#include "recipes/teacher/internal.h"
#include "vision/base/memory.h"

/* ---- Which teachers there are ---- */

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

/* A model without values: the student's, whose average is copied later, or a teacher's that is only described. */
static vst_status take_bare(vsti_teacher *teacher, const vst_model_config *model) {
    const vst_status status = vst_params_create(&teacher->own);
    teacher->config = model;
    teacher->params = teacher->own;
    return status;
}

vst_status vsti_teacher_open(vst_model **out, const vst_recipe *recipe, int index) {
    char *path = vst_teacher_path(recipe, index), *entry = vst_teacher_entry(recipe, index);
    char *model = vst_teacher_model(recipe, index);
    *out = NULL;
    const vst_status status = path && entry && model ? vst_model_open(out, path, entry, model) : vst_fail_memory(1024);
    vst_free(path);
    vst_free(entry);
    vst_free(model);
    return status;
}

static vst_status take_file(vsti_teacher *teacher, const vst_recipe *recipe) {
    const vst_status status = vsti_teacher_open(&teacher->model, recipe, teacher->source);
    if (status != VST_OK) return vst_fail_in(status, "distill.teacher");
    teacher->config = teacher->model->config;
    teacher->params = teacher->model->params;
    return VST_OK;
}

static const char external_name[] = "cache"; /* distill.teacher: its answers are in distill.cache alone */

/* What the cache says of a teacher that is nowhere else: its taps. */
static vst_status take_cached(vsti_teacher *teacher, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vsti_cache cache = {0};
    teacher->external = true;
    if (!vst_recipe_cached(recipe))
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "distill.teacher is cache: set distill.cache to the folder that `vistill cache import` made"));
    status = vsti_cache_read_manifest(&cache, recipe->distill.cache);
    if (status == VST_ERROR_NOT_FOUND)
        VST_TRY(vst_fail(status, "%s/cache.json is not there: `vistill cache import RECIPE LOGITS` makes the cache",
                         recipe->distill.cache));
    VST_TRY(status);
    const vsti_cache_teacher *found = vsti_cache_teacher_of(&cache, teacher->source + 1);
    if (!found)
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s has no answers of teacher %d", recipe->distill.cache,
                         teacher->source + 1));
    teacher->hash = found->hash;
    for (int i = 0; i < found->tap_count; i++) {
        vsti_teacher_tap *tap = &teacher->taps[teacher->tap_count++];
        *tap = (vsti_teacher_tap){.shape = {.rank = found->taps[i].shape.rank + 1, .dim = {teacher->batch}}};
        memcpy(tap->name, found->taps[i].name, sizeof tap->name);
        memcpy(tap->shape.dim + 1, found->taps[i].shape.dim,
               (size_t)found->taps[i].shape.rank * sizeof *tap->shape.dim);
        tap->stored = tap->shape;
        tap->floats = tap->stored_floats = (size_t)vst_shape_count(&tap->shape);
    }
out:
    vsti_cache_clear(&cache);
    return status;
}

/* If `model` is given, it is used instead of the file's. */
static vst_status take_model(vsti_teacher *teacher, const vst_recipe *recipe, const vst_model_config *model) {
    const bool average = teacher->source == VST_FROM_AVERAGE;
    teacher->name = average ? vst_strdup("the student's moving average") : vst_teacher_path(recipe, teacher->source);
    if (!teacher->name) return vst_fail_memory(1024);
    if (strcmp(teacher->name, external_name) == 0) return take_cached(teacher, recipe);
    if (average) model = recipe->model;
    const vst_status status = model ? take_bare(teacher, model) : take_file(teacher, recipe);
    return status == VST_OK ? check_model(recipe, teacher->config, teacher->name) : status;
}

/* Teachers see the student's images, resized to their own input size if it differs. */
static vst_session_options session_options(const vst_recipe *recipe) {
    return (vst_session_options){.image = vst_model_common_of(recipe->model)->image,
                                 .taps_only = true,
                                 .bf16 = recipe->distill.teacher_precision == VST_PRECISION_BF16};
}

static int tap_named(const vsti_teacher *teacher, const char *name) {
    for (int i = 0; i < teacher->tap_count; i++)
        if (strcmp(teacher->taps[i].name, name) == 0) return i;
    return -1;
}

/* The student may have only some of the teacher's classes. Which ones, and in which order, vsti_teachers_match says. */
static void take_scores(vsti_teacher_tap *tap, const vsti_teacher *teacher, const vst_recipe *recipe) {
    const int own = vst_model_common_of(teacher->config)->classes, wanted = vst_model_common_of(recipe->model)->classes;
    tap->scores = teacher->source >= 0 && tap->stored.rank == 2 && tap->stored.dim[1] == own &&
                  strncmp(tap->name, "logits", strlen("logits")) == 0;
    if (tap->scores && wanted < own) tap->shape.dim[1] = wanted;
}

/* One of those that the cache has. */
static vst_status ask_cached(vsti_teacher *teacher, const char *asked) {
    const int index = tap_named(teacher, asked);
    if (index < 0)
        return vst_fail(VST_ERROR_ARGUMENT, "the cache has no tap '%s' of it, only %s", asked, teacher->taps[0].name);
    teacher->asked[teacher->asked_count].name = asked;
    teacher->asked[teacher->asked_count++].tap = index;
    return VST_OK;
}

static bool is_full(const vsti_teacher *teacher) {
    return teacher->tap_count == VST_MAX_TEACHER_TAPS || teacher->asked_count == VST_MAX_TEACHER_TAPS;
}

/* The tap `name` that a term asks for as `asked`; two terms may call the same one by different names. */
static vst_status add_tap(vsti_teacher *teacher, const vst_recipe *recipe, const char *asked, const char *name) {
    vst_status status = VST_OK;
    if (teacher->external) return ask_cached(teacher, asked);
    vst_session *session = NULL;
    vst_session_options options = session_options(recipe);
    options.taps = &name;
    options.tap_count = 1;
    VST_TRY(vst_session_create(&session, teacher->config, teacher->params, &options));
    const vst_session_tap *found = vst_session_tap_at(session, 0);
    int index = tap_named(teacher, found->name);
    if (is_full(teacher))
        VST_TRY(vst_fail(VST_ERROR_LIMIT, "all terms together read more than %d taps of this teacher",
                         VST_MAX_TEACHER_TAPS));
    if (index < 0) {
        vsti_teacher_tap *tap = &teacher->taps[index = teacher->tap_count++];
        snprintf(tap->name, sizeof tap->name, "%s", found->name);
        tap->shape = found->shape;
        tap->shape.dim[0] *= teacher->batch;
        tap->stored = tap->shape;
        take_scores(tap, teacher, recipe);
        tap->floats = (size_t)vst_shape_count(&tap->shape);
        tap->stored_floats = (size_t)vst_shape_count(&tap->stored);
    }
    teacher->asked[teacher->asked_count].name = asked;
    teacher->asked[teacher->asked_count++].tap = index;
out:
    vst_session_close(session);
    return status;
}

static bool is_asked_for(const vsti_teacher *teacher, const char *asked) {
    for (int i = 0; i < teacher->asked_count; i++)
        if (strcmp(teacher->asked[i].name, asked) == 0) return true;
    return false;
}

/* The taps that a term asks for: one, or with "features.*" as many as the teacher has stages. */
static vst_status add_taps(vsti_teacher *teacher, const vst_recipe *recipe, const char *asked) {
    vst_status status = VST_OK;
    if (!vst_is_every_feature(asked)) return add_tap(teacher, recipe, asked, asked);
    for (int i = 0; status == VST_OK && (i > 0 || !is_asked_for(teacher, asked)); i++) {
        char name[VST_TAP_NAME];
        snprintf(name, sizeof name, "features.%d", i);
        status = add_tap(teacher, recipe, asked, name);
        if (status == VST_ERROR_NOT_FOUND && i > 0) return VST_OK; /* that was the last */
    }
    return status;
}

static const char relation_hint[] = ": to learn from a CNN's features take transform: relation";

static vst_status choose_taps(vsti_teacher *teacher, const vst_recipe *recipe) {
    for (int i = 0; i < recipe->term_count; i++) {
        if (vst_term_source(&recipe->terms[i]) != teacher->source) continue;
        const vst_status status = add_taps(teacher, recipe, recipe->terms[i].teacher);
        if (status == VST_OK) continue;
        char *reason = vst_strdup(vst_error_message());
        const vst_status failed =
            vst_fail(status, "distill.terms.%d.teacher: %s: %s%s", i, teacher->name,
                     reason ? reason : "no memory for the reason", status == VST_ERROR_NOT_FOUND ? relation_hint : "");
        vst_free(reason);
        return failed;
    }
    return VST_OK;
}

static vst_status describe(vsti_teacher *teacher, const vst_recipe *recipe, const vst_model_config *model) {
    vst_status status = VST_OK;
    teacher->batch = recipe->optim.batch;
    VST_TRY(take_model(teacher, recipe, model));
    VST_TRY(choose_taps(teacher, recipe));
out:
    return status;
}

static vst_status prepare(vsti_teacher *teacher, const vst_recipe *recipe) {
    vst_status status = VST_OK;
    const char *names[VST_MAX_TEACHER_TAPS];
    vst_session_options options = session_options(recipe);
    for (int i = 0; i < teacher->tap_count; i++) names[i] = teacher->taps[i].name;
    options.taps = names;
    options.tap_count = teacher->tap_count;
    if (teacher->own) VST_TRY(vst_params_allocate(teacher->own, false, 0));
    VST_TRY(vst_session_create(&teacher->session, teacher->config, teacher->params, &options));
    VST_TRY(vst_session_prepare(teacher->session, teacher->batch));
out:
    return status;
}

/* ---- All teachers ---- */

vst_status vsti_teachers_describe(vsti_teachers *teachers, const vst_recipe *recipe,
                                  const vst_model_config *const *models) {
    vst_status status = VST_OK;
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
        if (!teachers->list[i].external && (!cached || !teachers->list[i].model))
            status = prepare(&teachers->list[i], recipe);
    return status;
}

void vsti_teachers_clear(vsti_teachers *teachers) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        vst_session_close(teacher->session);
        vst_result_clear(&teacher->outputs);
        vst_params_destroy(teacher->own);
        vst_model_destroy(teacher->model);
        vst_class_match_clear(&teacher->classes);
        vst_free(teacher->scores);
        vst_free(teacher->name);
    }
    if (teachers->cache) vsti_cache_clear(teachers->cache);
    vst_free(teachers->cache);
    *teachers = (vsti_teachers){0};
}

vsti_teacher *vsti_teacher_of(const vsti_teachers *teachers, int source) {
    for (int i = 0; i < teachers->count; i++)
        if (teachers->list[i].source == source) return (vsti_teacher *)&teachers->list[i];
    return NULL;
}

const vsti_teacher_tap *vsti_teacher_tap_of(const vsti_teachers *teachers, const vst_term_options *term, int stage) {
    const vsti_teacher *teacher = vsti_teacher_of(teachers, vst_term_source(term));
    for (int i = 0; teacher && i < teacher->asked_count; i++)
        if (strcmp(teacher->asked[i].name, term->teacher) == 0 && stage-- == 0)
            return &teacher->taps[teacher->asked[i].tap];
    return NULL;
}

vst_status vsti_teacher_hash(const vsti_teacher *teacher, uint64_t *hash) {
    if (teacher->external) {
        *hash = teacher->hash;
        return VST_OK;
    }
    char *model = vst_model_config_to_json(teacher->config);
    if (!model) return vst_fail_memory(1 << 16);
    *hash = XXH3_64bits_withSeed(vst_params_values(teacher->params), vst_params_total(teacher->params) * sizeof(float),
                                 XXH3_64bits_withSeed(model, strlen(model), *hash));
    vst_free(model);
    return VST_OK;
}

size_t vsti_teachers_bytes(const vsti_teachers *teachers) {
    size_t bytes = 0;
    for (int i = 0; i < teachers->count; i++)
        bytes += (teachers->list[i].session ? vst_session_bytes(teachers->list[i].session) : 0) +
                 (teachers->list[i].params ? vst_params_total(teachers->list[i].params) * sizeof(float) : 0);
    return bytes;
}
