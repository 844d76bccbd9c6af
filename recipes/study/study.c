/* Trains the recipes of a study and compares their models. */
#include "recipes/study/study.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/model/model.h"
#include "recipes/report/page_data.h"
#include "recipes/study/quantized.h"
#include "recipes/train/disk_needs.h"
#include "recipes/train/fit.h"
#include "recipes/train/run_folder.h"
#include "recipes/train/teacher_cache.h"
#include "recipes/train/terms_check.h"
#include "vision/base/disk.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { MOST_SEEDS_TEXT = 256 };

/* One recipe with one seed. */
typedef struct job {
    vst_recipe *recipe;             /* NULL: a model file that is only measured, or a quantised run */
    char *folder;                   /* NULL: a model file */
    char *model;                    /* the file that is measured, which later runs may learn from or start with */
    int teachers[VST_MAX_TEACHERS]; /* which earlier run each is, -1: a file */
    bool cached;                    /* distill.cache is the study's */
    int start;                      /* the earlier run whose model it begins with or quantises; -1: a file, or none */
    vst_quantize_options quantize;
    vst_train_result trained;
    double seconds; /* NAN: nothing was done */
} job;

typedef struct work {
    double current, later; /* cost of the run under way, and of all after it */
    const vst_study *study;
    const vst_study_options *options;
    job *jobs;              /* (runs, seeds) */
    vsti_measured_runs set; /* (runs, seeds) as well */
} work;

static int place(const work *self, int run, int seed) { return run * self->study->seed_count + seed; }
static job *job_at(const work *self, int run, int seed) { return &self->jobs[place(self, run, seed)]; }

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

/* Whether a run trains for integers. */
static bool quantizes(const job *j) { return j->recipe && j->recipe->run.quantization_aware; }
static bool is_quantized(const work *self, int run) { return self->study->runs[run].quantize != NULL; }

/* The run whose graph a run's model has: that which was quantised, or itself. */
static int origin(const work *self, int run) {
    while (is_quantized(self, run)) run = job_at(self, run, 0)->start;
    return run;
}

/* Earlier runs among the teachers become their files. */
static vst_status find_teachers(const work *self, job *j, int run, int seed) {
    vst_status status = VST_OK;
    char *path = NULL, *all = NULL;
    for (int i = 0; i < vst_teacher_count(j->recipe); i++) {
        VST_TRY(replace(&path, vst_teacher_path(j->recipe, i)));
        const int earlier = find_run(self->study, path, run);
        if (earlier >= 0) VST_TRY(replace(&path, vst_strdup(job_at(self, earlier, seed)->model)));
        j->teachers[i] = earlier;
        VST_TRY(replace(&all, vst_format("%s%s%s", all ? all : "", all ? ", " : "", path)));
    }
    if (all) VST_TRY(replace(&j->recipe->distill.teacher, vst_strdup(all)));
out:
    vst_free(path);
    vst_free(all);
    return status;
}

/* A cache whose name is no path is the study's own. */
static bool owns_cache(const vst_recipe *recipe) {
    return vst_recipe_cached(recipe) && !strchr(recipe->distill.cache, '/');
}

static vst_status prepare_quantized(const work *self, job *j, int run, int seed) {
    vst_status status = VST_OK;
    const vst_study_run *r = &self->study->runs[run];
    j->start = find_run(self->study, r->quantize, run);
    VST_TRY(vst_options_default(vst_quantize_table, &j->quantize));
    for (int i = 0; i < r->setting_count; i++) {
        const size_t length = strcspn(r->settings[i], "=");
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)length, r->settings[i]);
        VST_TRY(vst_options_set(vst_quantize_table, &j->quantize, key, r->settings[i] + length + 1));
    }
    j->quantize.seed = (uint64_t)self->study->seeds[seed];
    if (is_quantized(self, j->start) || quantizes(job_at(self, j->start, seed)))
        VST_TRY(
            vst_fail(VST_ERROR_ARGUMENT, "quantize: '%s' is on integers already: name a run in float32", r->quantize));
out:
    return status;
}

static vst_status prepare_job(work *self, int run, int seed) {
    vst_status status = VST_OK;
    const vst_study *study = self->study;
    const vst_study_run *r = &study->runs[run];
    job *j = job_at(self, run, seed);
    char suffix[32] = "";
    j->start = -1;
    j->seconds = NAN;
    for (int i = 0; i < VST_MAX_TEACHERS; i++) j->teachers[i] = -1;
    if (r->model_path) {
        VST_TRY(replace(&j->model, vst_strdup(r->model_path)));
        goto out;
    }
    if (study->several) snprintf(suffix, sizeof suffix, "-seed%d", study->seeds[seed]);
    VST_TRY(replace(&j->folder, vst_format("%s/%s%s", study->output, r->name, suffix)));
    VST_TRY(replace(&j->model, vst_format("%s/last.safetensors", j->folder)));
    if (r->quantize) {
        VST_TRY(prepare_quantized(self, j, run, seed));
        goto out;
    }
    VST_TRY(vst_recipe_read(&j->recipe, r->recipe_path, (const char *const *)r->settings, r->setting_count));
    vst_recipe *recipe = j->recipe;
    VST_TRY(replace(&recipe->name, vst_strdup(r->name)));
    VST_TRY(replace(&recipe->run.output, vst_strdup(j->folder)));
    recipe->run.seed = study->seeds[seed];
    VST_TRY(vst_recipe_fit_data(recipe));
    VST_TRY(find_teachers(self, j, run, seed));
    if ((j->cached = owns_cache(recipe)))
        VST_TRY(replace(&recipe->distill.cache, vst_format("%s/%s%s", study->output, recipe->distill.cache, suffix)));
    j->start = find_run(study, recipe->run.start, run);
    if (j->start >= 0) VST_TRY(replace(&recipe->run.start, vst_strdup(job_at(self, j->start, seed)->model)));
out:
    return status == VST_OK ? status : vst_fail_in(status, "run '%s'", r->name);
}

/* Refuses terms that do not fit, and missing files of teachers, before the first run trains. */
static vst_status check_job(const work *self, int run) {
    const job *j = job_at(self, run, 0);
    const vst_model_config *models[VST_MAX_TEACHERS] = {NULL};
    if (!j->recipe) return VST_OK;
    for (int i = 0; i < vst_teacher_count(j->recipe); i++) {
        const int teacher = j->teachers[i] >= 0 ? origin(self, j->teachers[i]) : -1;
        if (teacher >= 0 && job_at(self, teacher, 0)->recipe) models[i] = job_at(self, teacher, 0)->recipe->model;
        else if (teacher >= 0 && teacher != j->teachers[i]) return VST_OK; /* a file that is yet to be quantised */
    }
    const vst_status status = vst_terms_check(j->recipe, models);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "run '%s'", self->study->runs[run].name);
}

/* The disk has room for all runs that have no checkpoint yet; those that have one check what they still need. */
static vst_status check_disk(const work *self) {
    uint64_t all = 0, bytes;
    for (int i = 0; i < self->study->run_count * self->study->seed_count; i++) {
        const job *j = &self->jobs[i];
        if (!j->recipe || vsti_run_folder_has(&(vsti_run_folder){.path = j->folder, .lock = -1}, "last.safetensors"))
            continue;
        const vst_status status = vsti_train_disk_needs(j->recipe, j->folder, &bytes);
        if (status != VST_OK) return status;
        all += bytes;
    }
    return vsti_disk_check(self->study->output, all, "make room there, or give the study file another `output` folder");
}

/* ---- Caches ---- */

static bool reads(const vst_recipe *recipe, const vst_term_options *term) {
    for (int i = 0; i < recipe->term_count; i++)
        if (vst_term_source(&recipe->terms[i]) == vst_term_source(term) &&
            strcmp(recipe->terms[i].teacher, term->teacher) == 0)
            return true;
    return false;
}

/* Adds to a view of a recipe what another reads of the same teachers; nothing of the view is freed. */
static vst_status add_reading(vst_recipe *all, const vst_recipe *recipe) {
    if (recipe->run.epochs > all->run.epochs) all->run.epochs = recipe->run.epochs;
    for (int i = 0; i < recipe->term_count; i++) {
        if (vst_term_source(&recipe->terms[i]) < 0 || reads(all, &recipe->terms[i])) continue;
        if (all->term_count == VST_MAX_TERMS)
            return vst_fail(VST_ERROR_LIMIT, "the runs with the cache %s read more than %d taps: give them two caches",
                            all->distill.cache, VST_MAX_TERMS);
        all->terms[all->term_count++] = recipe->terms[i];
    }
    return VST_OK;
}

/* A cache of the study is made before the first run that names it, with what all runs read. What is there is kept. */
static vst_status build_cache(const work *self, int run, int seed) {
    const job *j = job_at(self, run, seed);
    vst_recipe all = *j->recipe;
    for (int other = 0; other < self->study->run_count; other++) {
        const job *o = job_at(self, other, seed);
        if (!o->cached || strcmp(o->recipe->distill.cache, j->recipe->distill.cache) != 0) continue;
        if (other < run) return VST_OK;
        const vst_status status = add_reading(&all, o->recipe);
        if (status != VST_OK) return status;
    }
    vst_cache_size size;
    return vst_cache_build(&all, &(vst_cache_build_options){.stop = self->options->stop}, &size);
}

/* ---- Time left ---- */

static vst_status macs_of(const vst_model_config *model, double *macs) {
    vst_params *params = NULL;
    vst_graph *graph = NULL;
    const vst_status status = vst_model_declare(&graph, &params, model);
    *macs = status == VST_OK ? vst_graph_macs(graph) : 0;
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    return status;
}

/* What a run costs in comparison to others of the study: multiplications of an image, three times for the gradients,
 * and those of teachers that are earlier runs, by its epochs. The images of an epoch are taken to be as many. */
static vst_status cost_of(const work *self, int run, double *cost) {
    vst_status status = VST_OK;
    const job *j = job_at(self, run, 0);
    double macs;
    *cost = 0;
    if (!j->recipe) return VST_OK; /* a model file, which is not trained */
    VST_TRY(macs_of(j->recipe->model, &macs));
    *cost = 3 * macs;
    for (int i = 0; i < vst_teacher_count(j->recipe) && !vst_recipe_cached(j->recipe); i++) {
        const job *teacher = j->teachers[i] >= 0 ? job_at(self, origin(self, j->teachers[i]), 0) : NULL;
        if (!teacher || !teacher->recipe) continue;
        VST_TRY(macs_of(teacher->recipe->model, &macs));
        *cost += macs;
    }
    *cost *= j->recipe->run.epochs;
out:
    return status;
}

/* Sets the cost of this run and of those that follow it. */
static vst_status look_ahead(work *self, int run, int seed) {
    const vst_study *study = self->study;
    self->later = 0;
    for (int other = 0; other < study->run_count; other++) {
        double cost;
        const vst_status status = cost_of(self, other, &cost);
        if (status != VST_OK) return status;
        if (other == run) self->current = cost;
        self->later += cost * (study->seed_count - 1 - seed + (other > run));
    }
    return VST_OK;
}

/* Adds the study's time left to a run's: the other runs go on at the pace of this one. */
static void show_progress(const vst_train_progress *progress, void *user) {
    const work *self = user;
    vst_train_progress p = *progress;
    const double steps = (double)p.steps, done = p.epoch * steps + (double)p.step, all = p.epochs * steps;
    if (done < all) p.study_left = p.seconds_left * (1 + self->later / self->current * all / (all - done));
    self->options->progress(&p, self->options->user);
}

/* ---- Training ---- */

static vst_status train_job(work *self, int run, int seed) {
    job *j = job_at(self, run, seed);
    const vst_train_options options = {.resume = true,
                                       .force = self->options->force,
                                       .stop = self->options->stop,
                                       .progress = self->options->progress ? show_progress : NULL,
                                       .user = self};
    vst_status status = look_ahead(self, run, seed);
    if (status == VST_OK && j->cached) status = build_cache(self, run, seed);
    if (status == VST_OK) status = vst_train(j->recipe, &options, &j->trained);
    if (status == VST_OK && j->trained.reused)
        vst_log(VST_LOG_INFO, "%s is finished already: test top-1 %.2f %%", j->folder, j->trained.test_top1);
    j->seconds = j->trained.seconds;
    return status;
}

/* On the training images of the run that made the model, or else of the first recipe. */
static vst_status quantize_job(work *self, int run, int seed) {
    job *j = job_at(self, run, seed);
    const vst_recipe *data = job_at(self, j->start, seed)->recipe;
    for (int i = 0; !data && i < self->study->run_count; i++) data = job_at(self, i, seed)->recipe;
    if (!data)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "no recipe of the study says which images are to calibrate: use `vistill "
                        "quantize` for model files alone");
    return vsti_study_quantize(&(vsti_quantized_run){.source = job_at(self, j->start, seed)->model,
                                                     .folder = j->folder,
                                                     .data = data,
                                                     .options = j->quantize,
                                                     .stop = self->options->stop},
                               &j->seconds);
}

static vst_status execute_job(work *self, int run, int seed) {
    const vst_study *study = self->study;
    int all = 0, number = 0;
    if (study->runs[run].model_path) return VST_OK;
    for (int i = 0; i < study->run_count; i++) {
        all += !study->runs[i].model_path;
        if (i == run) number = all;
    }
    vst_log(VST_LOG_INFO, "--- %s, seed %d (%d of %d)", study->runs[run].name, study->seeds[seed], seed * all + number,
            all * study->seed_count);
    const vst_status status = (is_quantized(self, run) ? quantize_job : train_job)(self, run, seed);
    return status == VST_OK ? status : vst_fail_in(status, "run '%s'", study->runs[run].name);
}

/* ---- Comparing ---- */

/* What the last epoch left is compared: the best of several epochs would have been chosen. */
static vst_status measure_job(work *self, int run, int seed) {
    const job *j = job_at(self, run, seed);
    const vst_status status = j->recipe ? vsti_report_add(&self->set, j->folder, "last.safetensors", seed == 0)
                                        : vsti_report_add_file(&self->set, j->model, self->study->runs[run].name);
    if (status != VST_OK) return status;
    const vsti_measured_run *measured = &self->set.runs[place(self, run, seed)];
    return measured->answers >= 0 ? VST_OK : vst_fail(VST_ERROR_FORMAT, "%s: %s", measured->folder, measured->notes);
}

/* Per cent of test images with the teacher's answer; NAN without a teacher. */
static double agreement(const vsti_measured_run *run) {
    return run->teacher >= 0 && run->agreement.count > 1 ? run->agreement.same[0][run->agreement.count - 1] : NAN;
}

/* The run in float32 whose model a run has on integers; -1: it is in float32 itself, or began with a file. */
static int exact_run(const work *self, int run) {
    int at = run;
    while (at >= 0 && (is_quantized(self, at) || quantizes(job_at(self, at, 0)))) at = job_at(self, at, 0)->start;
    return at == run ? -1 : at;
}

/* Per cent of test images with the answer of the float32 model; NAN without one. */
static double float_agreement(const work *self, int run, int seed) {
    const int exact = exact_run(self, run);
    if (exact < 0) return NAN;
    const vst_evaluation *a = vsti_report_answers(&self->set, &self->set.runs[place(self, run, seed)]),
                         *b = vsti_report_answers(&self->set, &self->set.runs[place(self, exact, seed)]);
    return a->samples == b->samples ? vst_agreement(a, b) : (double)NAN;
}

static vst_status fill_row(const work *self, int run, vst_study_row *row) {
    const int seeds = self->study->seed_count;
    const vsti_measured_run *first = &self->set.runs[place(self, run, 0)];
    double squares = 0;
    row->name = vst_strdup(self->study->runs[run].name);
    if (!row->name) return vst_fail_memory(strlen(self->study->runs[run].name) + 1);
    row->parameters = (double)vst_params_numel(first->model->params);
    row->megabytes = first->megabytes;
    row->latency_ms = first->latency.median;
    for (int s = 0; s < seeds; s++) {
        const vsti_measured_run *measured = &self->set.runs[place(self, run, s)];
        row->agreement += agreement(measured) / seeds;
        row->float_agreement += float_agreement(self, run, s) / seeds;
        row->top1 += vsti_report_answers(&self->set, measured)->top1 / seeds;
        row->minutes += job_at(self, run, s)->seconds / 60 / seeds;
    }
    for (int s = 0; s < seeds; s++)
        squares += pow(vsti_report_answers(&self->set, &self->set.runs[place(self, run, s)])->top1 - row->top1, 2);
    row->deviation = seeds > 1 && job_at(self, run, 0)->folder ? sqrt(squares / (seeds - 1)) : NAN;
    return VST_OK;
}

static vst_status compare(work *self, vst_study_result *result) {
    vst_status status = VST_OK;
    const int runs = self->study->run_count;
    result->rows = vst_calloc((size_t)runs, sizeof *result->rows);
    if (!result->rows) VST_TRY(vst_fail_memory((size_t)runs * sizeof *result->rows));
    result->row_count = runs;
    for (int run = 0; run < runs && !self->set.like; run++) self->set.like = job_at(self, run, 0)->recipe;
    for (int run = 0; run < runs; run++)
        for (int seed = 0; seed < self->study->seed_count; seed++) VST_TRY(measure_job(self, run, seed));
    VST_TRY(vsti_report_compare(&self->set));
    for (int run = 0; run < runs; run++) VST_TRY(fill_row(self, run, &result->rows[run]));
out:
    return status;
}

/* ---- The report ---- */

/* "0, 1, 2" */
static void seeds_text(const vst_study *study, char text[MOST_SEEDS_TEXT]) {
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < study->seed_count && used < MOST_SEEDS_TEXT; i++)
        used += (size_t)snprintf(text + used, MOST_SEEDS_TEXT - used, "%s%d", i ? ", " : "", study->seeds[i]);
}

/* A run's pictures and matrix are those of the first seed, its numbers the means of all. */
static void show_row(vst_report_run *shown, const vst_study_row *row, const char *seeds) {
    shown->name = row->name;
    shown->top1 = row->top1;
    shown->top1_deviation = row->deviation;
    shown->teacher_agreement = row->agreement;
    shown->float_agreement = row->float_agreement;
    shown->minutes = row->minutes;
    if (seeds) shown->seeds = seeds;
}

static vst_status write_report(work *self, vst_study_result *result) {
    vst_status status = VST_OK;
    const vst_study *study = self->study;
    const int runs = study->run_count;
    vsti_page_data page = {0};
    char seeds[MOST_SEEDS_TEXT];
    int *chosen = vst_calloc((size_t)runs, sizeof *chosen);
    result->report = vst_format("%s/report.html", study->output);
    if (!chosen || !result->report) VST_TRY(vst_fail_memory(VSTI_PATH));
    for (int run = 0; run < runs; run++) chosen[run] = place(self, run, 0);
    VST_TRY(vsti_page_data_fill(&page, &self->set, chosen, runs));
    seeds_text(study, seeds);
    for (int run = 0; run < runs; run++)
        show_row(&page.runs[run], &result->rows[run], self->jobs[chosen[run]].folder ? seeds : NULL);
    for (int run = 0; run < runs; run++)
        if (exact_run(self, run) >= 0) page.runs[run].exact = &page.runs[exact_run(self, run)];
    page.report.title = study->title;
    VST_TRY(vst_report_write(result->report, &page.report, &result->figures));
    VST_TRY(vst_report_verdict(&page.report, &result->verdict));
out:
    vsti_page_data_clear(&page);
    vst_free(chosen);
    return status;
}

/* ---- All of it ---- */

static vst_status execute(work *self, vst_study_result *result) {
    vst_status status = VST_OK;
    const vst_study *study = self->study;
    for (int seed = 0; seed < study->seed_count; seed++) /* all recipes are read before the first one trains */
        for (int run = 0; run < study->run_count; run++) VST_TRY(prepare_job(self, run, seed));
    for (int run = 0; run < study->run_count; run++) VST_TRY(check_job(self, run));
    VST_TRY(check_disk(self));
    for (int seed = 0; seed < study->seed_count; seed++)
        for (int run = 0; run < study->run_count; run++) VST_TRY(execute_job(self, run, seed));
    VST_TRY(compare(self, result));
    VST_TRY(write_report(self, result));
out:
    return status;
}

vst_status vst_study_execute(const vst_study *study, const vst_study_options *options, vst_study_result *result) {
    work self = {.study = study, .options = options, .set = {.stop = options->stop}};
    const size_t jobs = (size_t)study->run_count * (size_t)study->seed_count;
    *result = (vst_study_result){0};
    if (!jobs) return vst_fail(VST_ERROR_ARGUMENT, "the study has no runs or no seeds");
    self.jobs = vst_calloc(jobs, sizeof *self.jobs);
    if (!self.jobs) return vst_fail_memory(jobs * sizeof *self.jobs);
    vst_status status = execute(&self, result);
    for (size_t i = 0; i < jobs; i++) {
        vst_recipe_destroy(self.jobs[i].recipe);
        vst_free(self.jobs[i].folder);
        vst_free(self.jobs[i].model);
    }
    vsti_report_set_clear(&self.set);
    vst_free(self.jobs);
    if (status != VST_OK) vst_study_result_clear(result);
    return status;
}

void vst_study_result_clear(vst_study_result *result) {
    for (int i = 0; i < result->row_count; i++) vst_free(result->rows[i].name);
    vst_free(result->rows);
    vst_free(result->report);
    vst_free(result->verdict);
    *result = (vst_study_result){0};
}
