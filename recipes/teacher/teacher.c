/* Those that a student learns from: model files, and the moving average of its own weights. */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "recipes/distill/term.h"
#include "recipes/train/internal.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/ops/ops.h"

enum { MEASURED = 2000 }; /* samples, without a validation split */

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
    VST_TRY(vst_graph_finish(teacher->graph));
    VST_TRY(choose_taps(teacher, recipe));
out:
    return status;
}

static vst_status plan(vsti_teacher *teacher) {
    vst_status status = VST_OK;
    vst_value outputs[VST_MAX_TERMS];
    for (int i = 0; i < teacher->tap_count; i++) outputs[i] = teacher->taps[i].value;
    if (teacher->own) VST_TRY(vst_params_allocate(teacher->own, false, 0));
    VST_TRY(vst_plan_create(&teacher->plan, teacher->graph, outputs, teacher->tap_count,
                            &(vst_plan_options){.mode = VST_INFER}));
    teacher->image = vst_plan_input(teacher->plan, "image");
out:
    return status;
}

/* ---- All ---- */

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
        if (!cached || !teachers->list[i].model) status = plan(&teachers->list[i]);
    return status;
}

void vsti_teachers_clear(vsti_teachers *teachers) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        vst_plan_destroy(teacher->plan);
        vst_graph_destroy(teacher->graph);
        vst_params_destroy(teacher->own);
        vst_model_destroy(teacher->model);
        vst_free(teacher->name);
    }
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

/* ---- Before a training ---- */

vst_status vsti_teacher_hash(const vsti_teacher *teacher, uint64_t *hash) {
    char *model = vst_model_config_to_json(teacher->config);
    if (!model) return vst_fail_memory(1 << 16);
    *hash = XXH3_64bits_withSeed(vst_params_values(teacher->params), vst_params_total(teacher->params) * sizeof(float),
                                 XXH3_64bits_withSeed(model, strlen(model), *hash));
    vst_free(model);
    return VST_OK;
}

/* A model's input has a mean of about 0 and a deviation of about 1 with the normalisation that it was trained with. */
static void check_normalisation(const vsti_teacher *teacher, const vst_batch *batch) {
    const vst_model_common *common = vst_model_common_of(teacher->config);
    const size_t pixels = (size_t)common->image * (size_t)common->image;
    double sum = 0, squares = 0;
    for (int i = 0; i < batch->count * common->channels; i++) {
        const float *plane = batch->images + (size_t)i * pixels;
        double mean, std;
        vst_model_normalization(teacher->config, i % common->channels, &mean, &std);
        for (size_t k = 0; k < pixels; k++) {
            const double x = (plane[k] - mean) / std;
            sum += x;
            squares += x * x;
        }
    }
    const double count = (double)batch->count * common->channels * (double)pixels;
    const double mean = sum / count, deviation = sqrt(fmax(0, squares / count - mean * mean));
    if (fabs(mean) < 1 && deviation > 0.4 && deviation < 2.5) return;
    vst_log(VST_LOG_WARNING,
            "%s: images come to it with mean %.2f and deviation %.2f, and models are mostly trained with 0 and 1: "
            "was it trained with the mean and std that its file says? `vistill info` shows them, `vistill import --set "
            "mean=…,std=…` "
            "sets them",
            teacher->name, mean, deviation);
}

static vst_status check_input(const vsti_teacher *teacher, vst_loader *loader) {
    vst_batch batch;
    vst_status status = vst_loader_start(loader, 0, 0);
    if (status == VST_OK) status = vst_loader_next(loader, &batch);
    if (status == VST_OK) check_normalisation(teacher, &batch);
    return status;
}

static vst_status measure(vsti_teacher *teacher, const vst_recipe *r, const vsti_train_data *data,
                          const volatile sig_atomic_t *stop) {
    vst_status status = VST_OK;
    vst_dataset *view = NULL;
    vst_loader *loader = NULL;
    vst_evaluator *evaluator = NULL;
    vst_evaluation evaluation = {0};
    const vst_model_config *model = teacher->config;
    const vst_dataset *dataset = data->validation;
    const uint64_t all = vst_dataset_count(data->source);
    const vst_broken_rule broken = vsti_recipe_broken(r);
    if (vst_model_common_of(model)->classes != vst_model_common_of(r->model)->classes)
        return VST_OK;                                         /* features alone */
    if (vst_dataset_classes(data->source) == 0) return VST_OK; /* no labels to measure by */
    if (!dataset) {
        VST_TRY(vst_dataset_sample(data->source, all < MEASURED ? all : MEASURED, (uint64_t)r->run.seed, &view));
        dataset = view;
    }
    VST_TRY(vst_evaluation_loader(&loader, dataset, model, r->run.eval_batch, r->data.workers, &broken));
    VST_TRY(check_input(teacher, loader));
    VST_TRY(vst_evaluator_create(&evaluator, model, teacher->params, r->run.eval_batch, vst_dataset_count(dataset)));
    VST_TRY(vst_evaluate(evaluator, loader, false, stop, &evaluation));
    teacher->top1 = evaluation.top1;
out:
    vst_evaluation_clear(&evaluation);
    vst_evaluator_destroy(evaluator);
    vst_loader_destroy(loader);
    vst_dataset_close(view);
    return status;
}

vst_status vsti_teachers_measure(vsti_teachers *teachers, const vst_recipe *recipe, const vsti_train_data *data,
                                 const volatile sig_atomic_t *stop) {
    for (int i = 0; i < teachers->count; i++) {
        vsti_teacher *teacher = &teachers->list[i];
        if (!teacher->model || teacher->cached) continue; /* a cache knows the figure */
        const vst_status status = measure(teacher, recipe, data, stop);
        if (status != VST_OK) return vst_fail_in(status, "%s", teacher->name);
    }
    return VST_OK;
}

/* ---- A step ---- */

/* Brings the average up to date: what is trained from the optimiser, running statistics from the student. The student's
 * parameters begin with the model's, in the same order. */
static void sync_average(const vsti_teacher *teacher, const vsti_student *student) {
    const float *average = vst_optimizer_ema(student->optimizer), *values = vst_params_values(student->params);
    const size_t trained = vst_params_trained(student->params);
    for (size_t i = 0; i < vst_params_count(teacher->own); i++) {
        const vst_param_info *to = vst_params_at(teacher->own, i), *from = vst_params_at(student->params, i);
        VST_ASSERT(strcmp(to->name, from->name) == 0);
        memcpy(vst_params_values(teacher->own) + to->offset, (from->offset < trained ? average : values) + from->offset,
               to->count * sizeof *values);
    }
    vst_params_changed(teacher->own);
}

vst_status vsti_teacher_run(const vsti_teacher *teacher, const float *images, size_t floats, uint32_t step) {
    memcpy(teacher->image, images, floats * sizeof *images);
    const vst_status status = vst_plan_run(teacher->plan, step);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", teacher->name);
}

vst_status vsti_teachers_run(vsti_teachers *teachers, const vsti_student *student, const vst_batch *batch,
                             vsti_position at) {
    vst_status status = VST_OK;
    const size_t floats = (size_t)batch->count * student->image_floats;
    for (int i = 0; i < teachers->count && status == VST_OK; i++) {
        const vsti_teacher *teacher = &teachers->list[i];
        if (teacher->own) sync_average(teacher, student);
        if (!teacher->cached) status = vsti_teacher_run(teacher, batch->images, floats, at.step);
    }
    teachers->batch = batch;
    teachers->at = at;
    return status;
}

/* Reads the batch's answers. */
static vst_status read_cached(const vsti_teacher *teacher, vsti_cache *cache, const vst_batch *batch,
                              vsti_position at) {
    const vsti_cache_teacher *from = teacher->cached;
    const vst_status status = vsti_cache_verify(cache, vsti_cache_block(cache, at.epoch));
    if (status != VST_OK) return status;
    for (int i = 0; i < batch->count; i++) {
        const uint64_t index = vsti_cache_index(cache, at.epoch, at.place + (uint64_t)i, batch->samples[i]);
        for (int k = 0; k < teacher->tap_count; k++) {
            const vsti_cache_tap *tap = teacher->taps[k].cached;
            if (!vsti_cache_decode(tap, cache->dtype, from->map + index * from->record,
                                   teacher->taps[k].target + (size_t)i * tap->floats))
                return vst_fail(VST_ERROR_FORMAT,
                                "%s/teacher%d.bin: record %llu names a class that tap %s has not; " VSTI_CACHE_MEND,
                                cache->folder, from->number, (unsigned long long)index, tap->name);
        }
    }
    return VST_OK;
}

vst_status vsti_bind_teacher_taps(vsti_teachers *teachers) {
    vst_status status = VST_OK;
    for (int i = 0; i < teachers->count && status == VST_OK; i++) {
        const vsti_teacher *teacher = &teachers->list[i];
        if (teacher->cached) status = read_cached(teacher, teachers->cache, teachers->batch, teachers->at);
        for (int k = 0; !teacher->cached && k < teacher->tap_count; k++)
            memcpy(teacher->taps[k].target, vst_plan_output(teacher->plan, k), teacher->taps[k].floats * sizeof(float));
    }
    return status;
}

size_t vsti_teachers_bytes(const vsti_teachers *teachers) {
    size_t bytes = 0;
    for (int i = 0; i < teachers->count; i++)
        bytes += (teachers->list[i].plan ? vst_plan_bytes(teachers->list[i].plan) : 0) +
                 vst_params_total(teachers->list[i].params) * sizeof(float);
    return bytes;
}
