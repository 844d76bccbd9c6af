/* Sets a training up, runs it, and puts its result together. */
#include "recipes/train/train.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "recipes/train/events.h"
#include "recipes/train/internal.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/threads.h"

static const double ESTIMATE_SECONDS = 2; /* seconds of a dry run's steps */

char *vst_run_folder(const vst_recipe *recipe) {
    const char *output = recipe->run.output;
    return output && *output ? vst_strdup(output) : vst_format("runs/%s", recipe->name ? recipe->name : "run");
}

/* ---- What decides the result ---- */

static vst_status identify(vsti_trainer *t) {
    vst_status status = VST_OK;
    uint64_t teachers = 0;
    for (int i = 0; i < t->teachers.count; i++)
        if (t->teachers.list[i].file) VST_TRY(vsti_teacher_hash(&t->teachers.list[i], &teachers));
    VST_TRY(vsti_identity_make(&t->at.identity, t->recipe, t->data.hash, teachers,
                               t->start ? vsti_start_hash(t->start) : 0));
out:
    return status;
}

/* ---- The folder ---- */

static vst_status open_folder(vsti_trainer *t) {
    vst_status status = VST_OK;
    char *path = vst_run_folder(t->recipe);
    if (!path) VST_TRY(vst_fail_memory(VSTI_PATH));
    VST_TRY(vsti_run_folder_open(&t->folder, path));
    const bool used = vsti_run_folder_has(&t->folder, "last.safetensors") ||
                      vsti_run_folder_has(&t->folder, "previous.safetensors") ||
                      vsti_run_folder_has(&t->folder, "best.safetensors");
    if (used && !t->options->resume && !t->options->force)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "%s already holds a run: --resume continues it, --force begins anew in it, or choose "
                         "another folder with --set run.output=FOLDER",
                         path));
out:
    vst_free(path);
    return status;
}

/* *file: the checkpoint to go on from, NULL to begin. */
static vst_status find_checkpoint(vsti_trainer *t, vst_safetensors **file) {
    vst_status status = VST_OK;
    vsti_checkpoint found;
    const int threads = t->at.threads;
    status = vsti_checkpoint_open(&t->folder, &found, file);
    if (status != VST_OK && status != VST_ERROR_MEMORY)
        VST_TRY(vst_fail_in(status, "no checkpoint can be continued (begin anew with --force and without --resume)"));
    VST_TRY(status);
    if (!*file) {
        vst_log(VST_LOG_INFO, "%s holds no checkpoint: the run begins", t->folder.path);
        goto out;
    }
    status = vsti_identity_check(&found.identity, &t->at.identity, t->recipe, t->folder.path);
    if (status == VST_ERROR_ARGUMENT && t->options->force) {
        status = VST_OK;
        vst_safetensors_close(*file);
        *file = NULL;
        vst_log(VST_LOG_INFO, "%s holds another recipe's run: it begins anew", t->folder.path);
        goto out;
    }
    VST_TRY(status);
    found.identity = t->at.identity;
    t->at = found;
    if (found.threads != threads && !found.finished)
        vst_log(VST_LOG_WARNING, "the run used %d threads, now there are %d: it will not be the same bit for bit",
                found.threads, threads);
    t->at.threads = threads;
out:
    return status;
}

vst_status vsti_train_restore(vsti_trainer *t, const vst_safetensors *file) {
    vst_status status = VST_OK;
    VST_TRY(vsti_checkpoint_restore(file, t->student.params, t->student.optimizer));
    VST_TRY(vsti_checkpoint_promote(&t->folder, file));
    VST_TRY(vsti_run_folder_truncate(&t->folder, "log.txt", t->at.log_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, "summary.csv", t->at.summary_bytes));
    VST_TRY(vsti_run_folder_truncate(&t->folder, VSTI_EVENTS_FILE, t->at.events_bytes));
    vst_log(VST_LOG_INFO, "continuing %s in epoch %d at step %llu", t->folder.path, t->at.epoch,
            (unsigned long long)t->at.step);
out:
    return status;
}

/* ---- Building ---- */

/* `steps` of the optimiser in an epoch. */
static vst_schedule make_schedule(const vst_recipe *recipe, uint64_t steps) {
    const vst_optim_options *o = &recipe->optim;
    return (vst_schedule){.whole = !o->warmup_prefix,
                          .rate = vsti_learning_rate(o),
                          .minimum = o->min_lr,
                          .warmup_rate = o->warmup_lr,
                          .warmup = (uint64_t)llround(o->warmup_epochs * (double)steps),
                          .steps = (uint64_t)recipe->run.epochs * steps};
}

static vst_status build(vsti_trainer *t) {
    vst_status status = VST_OK;
    const vst_recipe *r = t->recipe;
    VST_TRY(vsti_student_build(&t->student, r, &t->teachers, t->start));
    vst_params_destroy(t->start);
    t->start = NULL;
    t->schedule = make_schedule(r, t->data.steps / (uint64_t)r->optim.accumulate);
    VST_TRY(vst_evaluator_create(&t->test_evaluator, r->model, t->student.params, r->run.eval_batch,
                                 vst_dataset_count(t->data.test)));
    if (t->data.validation)
        VST_TRY(vst_evaluator_create(&t->validation_evaluator, r->model, t->student.params, r->run.eval_batch,
                                     vst_dataset_count(t->data.validation)));
    if (vst_optimizer_ema(t->student.optimizer)) {
        const size_t bytes = vst_params_trained(t->student.params) * sizeof *t->raw;
        t->raw = vst_alloc(bytes);
        if (!t->raw) VST_TRY(vst_fail_memory(bytes));
    }
out:
    return status;
}

static vst_status measure_teachers(vsti_trainer *t) {
    const vst_status status = vsti_teachers_measure(&t->teachers, t->recipe, &t->data, t->options->stop);
    for (int i = 0; status == VST_OK && i < t->teachers.count; i++)
        if (t->teachers.list[i].source == 0) t->at.teacher_top1 = t->teachers.list[i].top1;
    return status;
}

static vst_status write_head(vsti_trainer *t) {
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
    size_t bytes =
        2 * vst_params_total(t->student.params) * sizeof(float) + vst_program_context_bytes(t->student.program);
    for (size_t i = 0; i < count; i++)
        bytes += (size_t)vst_shape_count(&state[i].shape) * vst_dtype_size(state[i].dtype);
    bytes += vst_evaluator_bytes(t->test_evaluator) + vsti_train_data_bytes(&t->data);
    if (t->validation_evaluator) bytes += vst_evaluator_bytes(t->validation_evaluator);
    bytes += vsti_teachers_bytes(&t->teachers);
    return bytes;
}

static void fill_result(const vsti_trainer *t, vst_train_result *result) {
    const vsti_epoch_figures *f = &t->at.figures;
    result->epochs = t->at.epoch;
    result->train_loss = f->train_loss;
    result->train_top1 = f->train_top1;
    result->test_loss = f->test_loss;
    result->test_top1 = f->test_top1;
    result->test_top5 = f->test_top5;
    result->validation_top1 = f->validation_top1;
    result->best_validation = t->at.best_top1;
    result->best_epoch = t->at.best_epoch;
    result->teacher_top1 = t->at.teacher_top1;
    result->seconds = t->at.seconds;
}

/* The medians of some batches' times, after one that warms up: of the whole and of what the teachers take of it. */
static vst_status time_batches(vsti_trainer *t, double *whole, double *teachers) {
    enum { MOST = 64 };
    vst_status status = VST_OK;
    double wholes[MOST], parts[MOST];
    int count = 0;
    const double begin = vst_seconds();
    VST_TRY(vst_loader_start(t->data.loader, 0, 0));
    for (int i = 0; count < MOST && (count == 0 || vst_seconds() - begin < ESTIMATE_SECONDS); i++) {
        vst_batch batch;
        VST_TRY(vst_loader_next(t->data.loader, &batch));
        if (!batch.count) break;
        const double start = vst_seconds(), taught = t->teaching;
        VST_TRY(vsti_train_step(t, &batch));
        wholes[count] = vst_seconds() - start;
        parts[count] = t->teaching - taught;
        if (i == 0) vsti_log_loss_shares(t);
        if (i > 0 || t->data.steps == 1) count++;
    }
    *whole = vst_median(wholes, count);
    *teachers = vst_median(parts, count);
out:
    return status;
}

/* An image of the evaluation costs about a third of one trained on. */
static vst_status estimate(vsti_trainer *t, vst_train_result *result) {
    double whole, teachers;
    const vst_status status = time_batches(t, &whole, &teachers);
    if (status != VST_OK) return status;
    uint64_t evaluated = vst_dataset_count(t->data.test);
    if (vsti_has_average(t)) evaluated *= 2;
    if (t->data.validation) evaluated += vst_dataset_count(t->data.validation);
    result->step_seconds = whole * t->recipe->optim.accumulate;
    result->teacher_seconds = teachers * t->recipe->optim.accumulate;
    const double per_image = result->step_seconds / (double)vst_step_images(&t->recipe->optim);
    const double trained = (double)t->data.steps * t->recipe->optim.batch;
    result->predicted_seconds = t->recipe->run.epochs * per_image * (trained + (double)evaluated / 3);
    return VST_OK;
}

static vst_status train(vsti_trainer *t, vst_train_result *result) {
    vst_status status = VST_OK;
    vst_safetensors *checkpoint = NULL;
    const vst_recipe *r = t->recipe;
    if (t->distilling) VST_TRY(vst_terms_check(r, NULL));
    if (!t->options->dry_run) VST_TRY(open_folder(t));
    VST_TRY(vsti_train_data_open(&t->data, r));
    VST_TRY(vsti_teachers_build(&t->teachers, r, vst_recipe_cached(r)));
    if (vst_recipe_cached(r)) VST_TRY(vsti_cache_open(&t->cache, r, &t->data, &t->teachers));
    if (r->run.start && *r->run.start) VST_TRY(vsti_start_load(&t->start, r));
    VST_TRY(identify(t));
    if (!t->options->dry_run && t->options->resume) VST_TRY(find_checkpoint(t, &checkpoint));
    VST_TRY(build(t));
    result->parameters = t->student.parameters;
    result->bytes = bytes_used(t);
    if (checkpoint) VST_TRY(vsti_train_restore(t, checkpoint));
    else if (t->folder.path) VST_TRY(vsti_run_folder_clean(&t->folder)); /* not before all else is known to be good */
    vst_safetensors_close(checkpoint);
    checkpoint = NULL;
    result->reused = t->at.finished;
    if (!t->at.finished) {
        VST_TRY(measure_teachers(t));
        vsti_log_setup(t);
        if (t->teachers.cache) vsti_cache_log_setup(&t->cache);
        if (t->options->dry_run) {
            status = estimate(t, result);
        } else {
            VST_TRY(write_head(t));
            status = vsti_train_epochs(t);
            vsti_train_data_log_broken(&t->data);
        }
    }
    fill_result(t, result);
out:
    vst_safetensors_close(checkpoint);
    return status;
}

vst_status vst_train(const vst_recipe *recipe, const vst_train_options *options, vst_train_result *result) {
    const int threads = recipe->run.threads > 0 ? recipe->run.threads : omp_get_num_procs();
    *result = (vst_train_result){.teacher_top1 = NAN, .best_validation = NAN};
    vsti_trainer *t = vst_calloc(1, sizeof *t);
    if (!t) return vst_fail_memory(sizeof *t);
    t->recipe = recipe;
    t->options = options;
    t->folder.lock = -1;
    t->distilling = recipe->term_count > 0;
    t->at = (vsti_checkpoint){.threads = threads,
                              .best_top1 = NAN,
                              .teacher_top1 = NAN,
                              .figures = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}};
    const int before = vsti_threads_use(threads);
    vst_status status = train(t, result);
    vsti_threads_use(before);
    vst_evaluation_clear(&t->validation);
    vst_evaluation_clear(&t->test);
    vst_evaluation_clear(&t->other);
    vst_evaluator_destroy(t->validation_evaluator);
    vst_evaluator_destroy(t->test_evaluator);
    vsti_student_clear(&t->student);
    vst_params_destroy(t->start);
    vsti_teachers_clear(&t->teachers);
    vsti_cache_clear(&t->cache);
    vsti_train_data_close(&t->data);
    vsti_run_folder_close(&t->folder);
    vst_free(t->raw);
    vst_free(t);
    return status;
}
