/* Runs studies and compares their models. */
#include "recipes/engine/study_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "recipes/engine/report.h"
#include "recipes/engine/run_folder.h"
#include "recipes/engine/train_parts.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { PICTURES = 24 };

/* One recipe with one seed. */
typedef struct job {
    vst_recipe *recipe;
    char *folder;
    int teacher; /* index of the run that is its teacher, -1: none or a file */
    vst_train_result trained;
    vst_evaluation test;
    double megabytes;
} job;

typedef struct work {
    const vst_study *study;
    const vst_study_options *options;
    job *jobs; /* (runs, seeds) */
    vst_dataset *test; /* of the first run; the pictures come from it */
} work;

static job *job_at(const work *w, int run, int seed) { return &w->jobs[run * w->study->seed_count + seed]; }

/* ---- Preparing ---- */

static int find_run(const vst_study *study, const char *name, int before) {
    for (int i = 0; name && i < before; i++)
        if (strcmp(study->runs[i].name, name) == 0) return i;
    return -1;
}

static vst_status replace(char **text, char *value) {
    if (!value) return vst_fail_memory(VSTI_PATH);
    vst_free(*text);
    *text = value;
    return VST_OK;
}

/* Earlier runs among the teachers become their files. The job's teacher is the first of them. */
static vst_status find_teachers(const work *w, job *j, int run, int seed) {
    vst_status status = VST_OK;
    char *path = NULL, *all = NULL;
    for (int i = 0; i < vst_teacher_count(j->recipe); i++) {
        VST_TRY(replace(&path, vst_teacher_path(j->recipe, i)));
        const int earlier = find_run(w->study, path, run);
        if (j->teacher < 0) j->teacher = earlier;
        if (earlier >= 0) VST_TRY(replace(&path, vst_format("%s/last.safetensors", job_at(w, earlier, seed)->folder)));
        VST_TRY(replace(&all, vst_format("%s%s%s", all ? all : "", all ? ", " : "", path)));
    }
    if (all) VST_TRY(replace(&j->recipe->distill.teacher, vst_strdup(all)));
out:
    vst_free(path);
    vst_free(all);
    return status;
}

static vst_status prepare_job(work *w, int run, int seed) {
    vst_status status = VST_OK;
    const vst_study *study = w->study;
    const vst_study_run *r = &study->runs[run];
    job *j = job_at(w, run, seed);
    char suffix[32] = "";
    j->teacher = -1;
    if (study->seed_count > 1) snprintf(suffix, sizeof suffix, "-seed%d", study->seeds[seed]);
    VST_TRY(vst_recipe_read(&j->recipe, r->recipe_path, (const char *const *)r->settings, r->setting_count));
    vst_recipe *recipe = j->recipe;
    VST_TRY(replace(&recipe->name, vst_strdup(r->name)));
    VST_TRY(replace(&j->folder, vst_format("%s/%s%s", study->output, r->name, suffix)));
    VST_TRY(replace(&recipe->run.output, vst_strdup(j->folder)));
    recipe->run.seed = study->seeds[seed];
    VST_TRY(find_teachers(w, j, run, seed));
    const int start = find_run(study, recipe->run.start, run);
    if (start >= 0) VST_TRY(replace(&recipe->run.start, vst_format("%s/last.safetensors", job_at(w, start, seed)->folder)));
out:
    return status == VST_OK ? status : vst_fail_in(status, "run '%s'", r->name);
}

/* ---- Training ---- */

static vst_status train_job(work *w, int run, int seed) {
    const vst_study *study = w->study;
    job *j = job_at(w, run, seed);
    const vst_train_options options = {.resume = true,
                                       .force = w->options->force,
                                       .stop = w->options->stop,
                                       .progress = w->options->progress,
                                       .user = w->options->user};
    vst_log(VST_LOG_INFO, "--- %s, seed %d (%d of %d)", study->runs[run].name, study->seeds[seed],
            seed * study->run_count + run + 1, study->run_count * study->seed_count);
    vst_status status = vst_train(j->recipe, &options, &j->trained);
    if (status != VST_OK) return vst_fail_in(status, "run '%s'", study->runs[run].name);
    if (j->trained.reused) vst_log(VST_LOG_INFO, "%s is finished already: test top-1 %.2f %%", j->folder, j->trained.test_top1);
    return VST_OK;
}

/* ---- Comparing ---- */

static vst_status evaluate_file(const char *path, const vst_recipe *recipe, const volatile sig_atomic_t *stop,
                                vst_evaluation *evaluation, double *latency) {
    vst_status status = VST_OK;
    vst_modelfile *file = NULL;
    vst_dataset *test = NULL;
    vst_loader *loader = NULL;
    vst_evaluator *evaluator = NULL;
    const vst_broken_rule broken = vsti_recipe_broken(recipe);
    VST_TRY(vst_modelfile_read(&file, path));
    VST_TRY(vsti_recipe_data(&test, recipe, "test", vst_model_common_of(file->model)->channels));
    VST_TRY(vst_model_check_data(file->model, test));
    VST_TRY(vst_evaluation_loader(&loader, test, file->model, recipe->run.eval_batch, recipe->data.workers, &broken));
    VST_TRY(vst_evaluator_create(&evaluator, file->model, file->params, recipe->run.eval_batch, vst_dataset_count(test)));
    VST_TRY(vst_evaluate(evaluator, loader, false, stop, evaluation));
    if (latency) VST_TRY(vst_model_latency(file->model, file->params, latency));
out:
    vst_evaluator_destroy(evaluator);
    vst_loader_destroy(loader);
    vst_dataset_close(test);
    vst_modelfile_destroy(file);
    return status == VST_OK ? status : vst_fail_in(status, "%s", path);
}

static double agreement(const vst_evaluation *a, const vst_evaluation *b) {
    uint64_t equal = 0;
    if (!a->samples || a->samples != b->samples) return NAN; /* not evaluated, or on other data */
    for (uint64_t i = 0; i < a->samples; i++) equal += a->predictions[i] == b->predictions[i];
    return 100 * (double)equal / (double)a->samples;
}

/* The run whose answers a run is compared with: its teacher, or the first that any run has. -1: none. */
static int reference_of(const work *w, int run) {
    if (job_at(w, run, 0)->teacher >= 0) return job_at(w, run, 0)->teacher;
    if (job_at(w, run, 0)->recipe->distill.teacher) return -1;
    for (int i = 0; i < w->study->run_count; i++)
        if (job_at(w, i, 0)->teacher >= 0) return job_at(w, i, 0)->teacher == run ? -1 : job_at(w, i, 0)->teacher;
    return -1;
}

static vst_status job_agreement(const work *w, int run, int seed, double *percent) {
    const job *j = job_at(w, run, seed);
    const int reference = reference_of(w, run);
    *percent = NAN;
    if (reference >= 0) {
        *percent = agreement(&j->test, &job_at(w, reference, seed)->test);
        return VST_OK;
    }
    if (!vst_teacher_count(j->recipe)) return VST_OK;
    char *teacher = vst_teacher_path(j->recipe, 0);
    if (!teacher) return vst_fail_memory(VSTI_PATH);
    vst_evaluation answers = {0};
    vst_status status = evaluate_file(teacher, j->recipe, w->options->stop, &answers, NULL);
    if (status == VST_OK) *percent = agreement(&j->test, &answers);
    vst_evaluation_clear(&answers);
    vst_free(teacher);
    return status;
}

static double file_megabytes(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (double)info.st_size / 1e6 : NAN;
}

static vst_status compare_job(work *w, int run, int seed, double *latency) {
    vst_status status = VST_OK;
    job *j = job_at(w, run, seed);
    char path[VSTI_PATH];
    const vsti_run_folder folder = {.path = j->folder, .lock = -1};
    VST_TRY(vsti_run_folder_file(&folder, "best.safetensors", path));
    j->megabytes = file_megabytes(path);
    VST_TRY(vsti_run_folder_file(&folder, "last.safetensors", path));
    VST_TRY(evaluate_file(path, j->recipe, w->options->stop, &j->test, seed == 0 ? latency : NULL));
out:
    return status;
}

static vst_status fill_row(work *w, int run, vst_study_row *row) {
    vst_status status = VST_OK;
    const int seeds = w->study->seed_count;
    double squares = 0;
    row->name = vst_strdup(w->study->runs[run].name);
    if (!row->name) VST_TRY(vst_fail_memory(strlen(w->study->runs[run].name) + 1));
    row->parameters = (double)job_at(w, run, 0)->trained.parameters;
    row->megabytes = job_at(w, run, 0)->megabytes;
    for (int s = 0; s < seeds; s++) {
        double percent;
        VST_TRY(job_agreement(w, run, s, &percent));
        row->agreement += percent / seeds;
        row->top1 += job_at(w, run, s)->test.top1 / seeds;
        row->minutes += job_at(w, run, s)->trained.seconds / 60 / seeds;
    }
    for (int s = 0; s < seeds; s++) squares += pow(job_at(w, run, s)->test.top1 - row->top1, 2);
    row->deviation = seeds > 1 ? sqrt(squares / (seeds - 1)) : NAN;
out:
    return status;
}

static vst_status compare(work *w, vst_study_result *result) {
    vst_status status = VST_OK;
    const int runs = w->study->run_count;
    result->rows = vst_calloc((size_t)runs, sizeof *result->rows);
    if (!result->rows) VST_TRY(vst_fail_memory((size_t)runs * sizeof *result->rows));
    result->row_count = runs;
    for (int run = 0; run < runs; run++)
        for (int seed = 0; seed < w->study->seed_count; seed++)
            VST_TRY(compare_job(w, run, seed, &result->rows[run].latency_ms));
    for (int run = 0; run < runs; run++) VST_TRY(fill_row(w, run, &result->rows[run]));
out:
    return status;
}

/* ---- The report ---- */

typedef struct sheet {
    vst_report_run *runs;
    vst_image pictures[PICTURES];
    int labels[PICTURES];
    int picture_count;
    int *predictions; /* (runs, PICTURES) */
    const char **class_names;
    int class_count;
} sheet;

/* Pictures evenly spread over the test split, and what each run says of them. */
static vst_status choose_pictures(const work *w, sheet *s) {
    vst_status status = VST_OK;
    const uint64_t count = vst_dataset_count(w->test);
    s->picture_count = count < PICTURES ? (int)count : PICTURES;
    for (int i = 0; i < s->picture_count; i++) {
        const uint64_t sample = (uint64_t)i * count / (uint64_t)s->picture_count;
        VST_TRY(vst_dataset_read(w->test, sample, &s->pictures[i], &s->labels[i]));
        for (int run = 0; run < w->study->run_count; run++) {
            const vst_evaluation *test = &job_at(w, run, 0)->test;
            s->predictions[run * PICTURES + i] = test->samples == count ? test->predictions[sample] : -1;
        }
    }
    for (int i = 0; i < s->class_count; i++) s->class_names[i] = vst_dataset_class_name(w->test, i);
out:
    return status;
}

static void fill_run(const work *w, const vst_study_result *result, sheet *s, int run) {
    const vst_study_row *row = &result->rows[run];
    const job *j = job_at(w, run, 0);
    const bool same = j->test.samples == vst_dataset_count(w->test) && j->test.classes == s->class_count;
    s->runs[run] = (vst_report_run){.name = row->name,
                                    .model = j->recipe->model->variant,
                                    .folder = j->folder,
                                    .parameters = row->parameters,
                                    .megabytes = row->megabytes,
                                    .latency_ms = row->latency_ms,
                                    .top1 = row->top1,
                                    .top1_deviation = row->deviation,
                                    .agreement = row->agreement,
                                    .minutes = row->minutes,
                                    .confusion = same ? j->test.confusion : NULL,
                                    .predictions = same ? s->predictions + run * PICTURES : NULL};
}

static vst_status write_report(work *w, vst_study_result *result) {
    vst_status status = VST_OK;
    const vst_study *study = w->study;
    const size_t runs = (size_t)study->run_count;
    const job *last = job_at(w, study->run_count - 1, 0);
    sheet s = {.class_count = vst_dataset_classes(w->test)};
    char subtitle[512], *yaml = vst_recipe_to_yaml(last->recipe);
    s.runs = vst_calloc(runs, sizeof *s.runs);
    s.predictions = vst_calloc(runs * PICTURES, sizeof *s.predictions);
    s.class_names = vst_calloc((size_t)s.class_count, sizeof *s.class_names);
    result->report = vst_format("%s/report.html", study->output);
    if (!yaml || !s.runs || !s.predictions || !s.class_names || !result->report) VST_TRY(vst_fail_memory(VSTI_PATH));
    VST_TRY(choose_pictures(w, &s));
    for (int run = 0; run < study->run_count; run++) fill_run(w, result, &s, run);
    snprintf(subtitle, sizeof subtitle, "%s, %llu test samples, %d seed%s", last->recipe->data.path,
             (unsigned long long)vst_dataset_count(w->test), study->seed_count, study->seed_count > 1 ? "s" : "");
    const vst_report report = {.title = study->title,
                               .subtitle = subtitle,
                               .runs = s.runs,
                               .run_count = study->run_count,
                               .class_names = s.class_names,
                               .class_count = s.class_count,
                               .pictures = s.pictures,
                               .labels = s.labels,
                               .picture_count = s.picture_count,
                               .recipe = yaml};
    VST_TRY(vst_report_write(result->report, &report, &result->figures));
out:
    for (int i = 0; i < PICTURES; i++) vst_image_clear(&s.pictures[i]);
    vst_free(s.runs);
    vst_free(s.predictions);
    vst_free(s.class_names);
    vst_free(yaml);
    return status;
}

/* ---- All of it ---- */

static vst_status execute(work *w, vst_study_result *result) {
    vst_status status = VST_OK;
    const vst_study *study = w->study;
    for (int seed = 0; seed < study->seed_count; seed++) /* all recipes are read before the first one trains */
        for (int run = 0; run < study->run_count; run++) VST_TRY(prepare_job(w, run, seed));
    const vst_recipe *first = job_at(w, 0, 0)->recipe;
    VST_TRY(vsti_recipe_data(&w->test, first, "test", vst_model_common_of(first->model)->channels));
    for (int seed = 0; seed < study->seed_count; seed++)
        for (int run = 0; run < study->run_count; run++) VST_TRY(train_job(w, run, seed));
    VST_TRY(compare(w, result));
    VST_TRY(write_report(w, result));
out:
    return status;
}

vst_status vst_study_execute(const vst_study *study, const vst_study_options *options, vst_study_result *result) {
    work w = {.study = study, .options = options};
    const size_t jobs = (size_t)study->run_count * (size_t)study->seed_count;
    *result = (vst_study_result){0};
    if (!jobs) return vst_fail(VST_ERROR_ARGUMENT, "the study has no runs or no seeds");
    w.jobs = vst_calloc(jobs, sizeof *w.jobs);
    if (!w.jobs) return vst_fail_memory(jobs * sizeof *w.jobs);
    vst_status status = execute(&w, result);
    for (size_t i = 0; i < jobs; i++) {
        vst_evaluation_clear(&w.jobs[i].test);
        vst_recipe_destroy(w.jobs[i].recipe);
        vst_free(w.jobs[i].folder);
    }
    vst_dataset_close(w.test);
    vst_free(w.jobs);
    if (status != VST_OK) vst_study_result_clear(result);
    return status;
}

void vst_study_result_clear(vst_study_result *result) {
    for (int i = 0; i < result->row_count; i++) vst_free(result->rows[i].name);
    vst_free(result->rows);
    vst_free(result->report);
    *result = (vst_study_result){0};
}
