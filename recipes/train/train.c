/* Sets up and runs training and returns its result. */
#include "recipes/train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/model/start.h"
#include "recipes/quant/quantize.h"
#include "recipes/train/disk_needs.h"
#include "recipes/train/epoch.h"
#include "recipes/train/estimate.h"
#include "recipes/train/evaluation.h"
#include "recipes/train/log.h"
#include "recipes/train/restore.h"
#include "recipes/train/samples.h"
#include "recipes/train/schedule.h"
#include "recipes/train/teacher_cache.h"
#include "recipes/train/teachers_measure.h"
#include "recipes/train/terms_check.h"
#include "vision/base/disk.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/memory_room.h"
#include "vision/base/threads.h"

char *vst_run_folder(const vst_recipe *recipe) {
    const char *output = recipe->run.output;
    return output && *output ? vst_strdup(output) : vst_format("runs/%s", recipe->name ? recipe->name : "run");
}

/* ---- What decides the result ---- */

static vst_status identify(vsti_trainer *t) {
    vst_status status = VST_OK;
    uint64_t teachers = 0;
    for (int i = 0; i < t->teachers.count; i++)
        if (vsti_teacher_is_given(&t->teachers.list[i])) VST_TRY(vsti_teacher_hash(&t->teachers.list[i], &teachers));
    VST_TRY(vsti_identity_make(&t->progress.identity, t->recipe, t->data.hash, teachers,
                               t->start ? vsti_start_hash(t->start) : 0));
out:
    return status;
}

/* ---- The folder ---- */

/* Inputs must not be files that the run writes: --force would remove them before they are read, or the first checkpoint
 * would replace them. */
static vst_status check_reading(const vsti_trainer *t, const char *key, const char *path) {
    if (!path || !vsti_run_folder_writes(&t->folder, path)) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT,
                    "%s: %s is a file that this run writes: choose another folder with --set run.output=FOLDER, or "
                    "copy the file elsewhere",
                    key, path);
}

static vst_status check_inputs(const vsti_trainer *t) {
    vst_status status = check_reading(t, "run.start", t->recipe->run.start);
    for (int i = 0; status == VST_OK && i < vst_teacher_count(t->recipe); i++) {
        char *path = vst_teacher_path(t->recipe, i);
        status = path ? check_reading(t, "distill.teacher", path) : vst_fail_memory(VSTI_PATH);
        vst_free(path);
    }
    return status;
}

static vst_status open_folder(vsti_trainer *t) {
    vst_status status = VST_OK;
    char *path = vst_run_folder(t->recipe);
    if (!path) VST_TRY(vst_fail_memory(VSTI_PATH));
    VST_TRY(vsti_run_folder_open(&t->folder, path));
    VST_TRY(check_inputs(t));
    const bool used = vsti_run_folder_has(&t->folder, "last.safetensors") ||
                      vsti_run_folder_has(&t->folder, "previous.safetensors") ||
                      vsti_run_folder_has(&t->folder, "best.safetensors");
    if (used && !t->options->resume && !t->options->force)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "%s already holds a run: --resume continues it, --force overwrites it, or choose "
                         "another folder with --set run.output=FOLDER",
                         path));
out:
    vst_free(path);
    return status;
}

static vst_status check_disk(const vsti_trainer *t) {
    uint64_t bytes;
    const vst_status status = vsti_train_disk_needs(t->recipe, t->folder.path, &bytes);
    if (status != VST_OK) return status;
    return vsti_disk_check(t->folder.path, bytes,
                           "make room there, or choose another folder with --set run.output=FOLDER");
}

/* *file: the checkpoint to continue from; NULL: start a new run. */
static vst_status find_checkpoint(vsti_trainer *t, vst_safetensors **file) {
    vst_status status = VST_OK;
    vsti_checkpoint found;
    status = vsti_checkpoint_open(&t->folder, &found, file);
    if (status != VST_OK && status != VST_ERROR_MEMORY) VST_TRY(vst_fail_in(status, VSTI_NO_CHECKPOINT));
    VST_TRY(status);
    if (!*file) goto out;
    status = vsti_train_adopt(t, &found);
    if (status == VST_ERROR_ARGUMENT && t->options->force) {
        status = VST_OK;
        vst_safetensors_close(*file);
        *file = NULL;
        vst_log(VST_LOG_INFO, "%s holds a run of another recipe, which is overwritten", t->folder.path);
        goto out;
    }
out:
    return status;
}

/* ---- Building ---- */

static vst_status open_cache(vsti_trainer *t) {
    const vsti_cache_data data = vsti_train_cache_data(&t->data, t->recipe);
    return vsti_teachers_open_cache(&t->teachers, t->recipe, &data);
}

static vst_status load_start(vsti_trainer *t) {
    const vst_run_options *run = &t->recipe->run;
    const vst_status status = vsti_start_load(&t->start, &t->quantization, run->start, run->start_entry,
                                              t->recipe->model, run->new_head, (uint64_t)run->seed, &t->data.classes);
    return status == VST_OK || status == VST_ERROR_MEMORY ? status : vst_fail_in(status, "run.start");
}

/* Which products train with simulated integers, and their ranges: those of the run that goes on, of a quantised model
 * that it starts with, or all that can, on training images. */
static vst_status find_ranges(vsti_trainer *t, const vst_safetensors *checkpoint) {
    vst_status status = VST_OK;
    const vst_recipe *r = t->recipe;
    const vst_model start = {.config = r->model, .params = t->start};
    const vst_quantize_options options = {.images = r->run.calibration_images, .seed = (uint64_t)r->run.seed};
    if (checkpoint || !r->run.quantization_aware) vst_quantization_clear(&t->quantization);
    if (!r->run.quantization_aware) return VST_OK;
    if (checkpoint) VST_TRY(vst_quantization_read(&t->quantization, checkpoint));
    if (!t->quantization.count)
        VST_TRY(vst_quantize_ranges(&t->quantization, &start, t->data.train, &options, t->options->stop));
out:
    return status == VST_OK || status == VST_ERROR_MEMORY ? status : vst_fail_in(status, "run.quantization_aware");
}

static vst_status build(vsti_trainer *t) {
    vst_status status = VST_OK;
    const vst_recipe *r = t->recipe;
    VST_TRY(vsti_student_build(&t->student, r, &t->teachers, t->start, &t->quantization));
    vst_params_destroy(t->start);
    t->start = NULL;
    VST_TRY(
        vsti_recipe_schedule(&t->schedule, r, t->data.steps / (uint64_t)r->optim.accumulate, &t->progress.schedule));
    VST_TRY(vsti_evaluation_create(t));
out:
    return status;
}

static vst_status measure_teachers(vsti_trainer *t) {
    const vst_status status = vsti_teachers_measure(&t->teachers, t->recipe, &t->data, t->options->stop);
    for (int i = 0; status == VST_OK && i < t->teachers.count; i++)
        if (t->teachers.list[i].source == 0) t->progress.teacher_top1 = t->teachers.list[i].top1;
    return status;
}

static vst_status write_recipe(vsti_trainer *t) {
    vst_status status = VST_OK;
    char *yaml = vst_recipe_to_yaml(t->recipe);
    if (!yaml) VST_TRY(vst_fail_memory(1 << 16));
    VST_TRY(vsti_run_folder_write(&t->folder, "recipe.yaml", yaml));
    VST_TRY(vsti_write_samples(t));
out:
    vst_free(yaml);
    return status;
}

/* ---- Results ---- */

static size_t bytes_used(vsti_trainer *t) {
    vst_tensor state[VST_OPTIMIZER_TENSORS];
    const size_t count = vst_optimizer_tensors(t->student.optimizer, state);
    size_t bytes = 2 * vst_params_total(t->student.params) * sizeof(float) +
                   vst_program_context_bytes(t->student.program) + vst_program_packed_bytes(t->student.program);
    for (size_t i = 0; i < count; i++)
        bytes += (size_t)vst_shape_count(&state[i].shape) * vst_dtype_size(state[i].dtype);
    return bytes + vsti_evaluation_bytes(t) + vsti_train_data_bytes(&t->data) + vsti_teachers_bytes(&t->teachers);
}

static void fill_result(const vsti_trainer *t, vst_train_result *result) {
    const vsti_epoch_figures *f = &t->progress.figures;
    result->epochs = t->progress.epoch;
    result->train_loss = f->train_loss;
    result->train_top1 = f->train_top1;
    result->test_loss = f->test_loss;
    result->test_top1 = f->test_top1;
    result->test_top5 = f->test_top5;
    result->validation_top1 = f->validation_top1;
    result->best_validation = t->progress.best_top1;
    result->best_epoch = t->progress.best_epoch;
    result->teacher_top1 = t->progress.teacher_top1;
    result->seconds = t->progress.seconds;
}

static vst_status train(vsti_trainer *t, vst_train_result *result) {
    vst_status status = VST_OK;
    vst_safetensors *checkpoint = NULL;
    const vst_recipe *r = t->recipe;
    if (t->distilling) VST_TRY(vst_terms_check(r, NULL));
    if (!t->options->dry_run) VST_TRY(open_folder(t));
    VST_TRY(vsti_train_data_open(&t->data, r));
    VST_TRY(vsti_teachers_build(&t->teachers, r, vst_recipe_cached(r)));
    VST_TRY(vsti_teachers_match(&t->teachers, &t->data.classes));
    if (vst_recipe_cached(r)) VST_TRY(open_cache(t));
    if (r->run.start && *r->run.start) VST_TRY(load_start(t));
    VST_TRY(identify(t));
    if (!t->options->dry_run && t->options->resume) VST_TRY(find_checkpoint(t, &checkpoint));
    if (t->folder.path && !t->progress.finished) VST_TRY(check_disk(t));
    VST_TRY(find_ranges(t, checkpoint));
    VST_TRY(build(t));
    result->parameters = t->student.parameters;
    result->bytes = bytes_used(t);
    VST_TRY(vsti_memory_check(result->bytes, "the training", VSTI_MEMORY_ADVICE));
    if (checkpoint) VST_TRY(vsti_train_restore(t, &checkpoint));
    else if (t->folder.path) VST_TRY(vsti_run_folder_clean(&t->folder)); /* only after all other checks */
    vst_safetensors_close(checkpoint);
    checkpoint = NULL;
    result->reused = t->progress.finished;
    if (!t->progress.finished) {
        VST_TRY(measure_teachers(t));
        vsti_log_setup(t);
        if (t->teachers.cache) vsti_teachers_log_cache(&t->teachers);
        if (t->options->dry_run) {
            status = vsti_train_estimate(t, result);
        } else {
            VST_TRY(write_recipe(t));
            status = vsti_train_epochs(t);
            vsti_train_data_log_broken(&t->data);
        }
    }
    fill_result(t, result);
out:
    vst_safetensors_close(checkpoint);
    return status;
}

/* Before any data are read. */
static vst_status check_precision(const vst_recipe *recipe) {
    const struct {
        const char *key;
        int precision;
    } keys[] = {{"run.precision", recipe->run.precision},
                {"distill.teacher_precision", recipe->distill.teacher_precision}};
    for (int i = 0; i < 2; i++) {
        bool slow;
        const vst_status status = vst_precision_check((vst_precision)keys[i].precision, &slow);
        if (status != VST_OK) return vst_fail_in(status, "%s", keys[i].key);
        if (slow)
            vst_log(VST_LOG_WARNING,
                    "%s is bf16, which this processor emulates, more slowly than f32: AVX512_BF16 or AMX is needed",
                    keys[i].key);
    }
    return VST_OK;
}

vst_status vst_train(const vst_recipe *recipe, const vst_train_options *options, vst_train_result *result) {
    vsti_team team = {0};
    *result = (vst_train_result){.teacher_top1 = NAN, .best_validation = NAN};
    vsti_trainer *t = vst_calloc(1, sizeof *t);
    if (!t) return vst_fail_memory(sizeof *t);
    t->recipe = recipe;
    t->options = options;
    t->folder.lock = -1;
    t->distilling = recipe->term_count > 0;
    t->progress = (vsti_checkpoint){
        .best_top1 = NAN, .teacher_top1 = NAN, .figures = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}};
    vst_status status = vsti_team_begin(&team, recipe->run.threads);
    t->progress.threads = team.threads;
    if (status == VST_OK) status = check_precision(recipe);
    if (status == VST_OK) status = train(t, result);
    if (status == VST_ERROR_MEMORY) status = vst_fail_in(status, VSTI_MEMORY_ADVICE " takes less memory");
    vsti_team_end(&team);
    vsti_evaluation_destroy(t);
    vsti_student_clear(&t->student);
    vst_schedule_clear(&t->schedule);
    vst_params_destroy(t->start);
    vst_quantization_clear(&t->quantization);
    vsti_teachers_clear(&t->teachers);
    vsti_train_data_close(&t->data);
    vsti_run_folder_close(&t->folder);
    vst_free(t);
    return status;
}
