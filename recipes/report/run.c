/* Reads run folders and measures their models. */
#include "recipes/report/run.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recipes/infer/latency.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/teacher/teacher.h"
#include "recipes/train/data.h"
#include "recipes/train/run_folder.h"
#include "vision/base/file.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { RECIPE_BYTES = 1 << 20, BATCH = 256 };

static vst_status replace(char **text, char *value) {
    if (!value) return vst_fail_memory(VSTI_PATH);
    vst_free(*text);
    *text = value;
    return VST_OK;
}

/* ---- Notes ---- */

static vst_status add_note(vsti_measured_run *run, const char *text) {
    vst_log(VST_LOG_WARNING, "%s: %s", run->folder, text);
    return replace(&run->notes, vst_format("%s%s%s", run->notes ? run->notes : "", run->notes ? "\n" : "", text));
}

vst_status vsti_report_note(vsti_measured_run *run, vst_status status, const char *without) {
    if (status == VST_OK || status == VST_ERROR_MEMORY || status == VST_ERROR_INTERRUPTED) return status;
    char *text = vst_format("%s: %s", without, vst_error_message());
    if (!text) return vst_fail_memory(VSTI_PATH);
    const vst_status result = add_note(run, text);
    vst_free(text);
    return result;
}

/* ---- What the folder holds ---- */

static bool has(const char *folder, const char *name) {
    return vsti_run_folder_has(&(vsti_run_folder){.path = (char *)folder, .lock = -1}, name); /* only read */
}

/* "runs/a/" -> "a"; "." -> the name of the current folder. */
static vst_status name_run(vsti_measured_run *run, const char *folder) {
    vst_status status = VST_OK;
    char *real = realpath(folder, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL;
    VST_TRY(replace(&run->folder, vst_strdup(folder)));
    for (size_t end = strlen(run->folder); end > 1 && run->folder[end - 1] == '/'; end--) run->folder[end - 1] = 0;
    VST_TRY(replace(&run->name, vst_strdup(slash && slash[1] ? slash + 1 : run->folder)));
out:
    free(real);
    return status;
}

static vst_status check_folder(const char *folder) {
    static const char *const files[] = {"recipe.yaml", "summary.csv", "log.txt", "best.safetensors",
                                        "last.safetensors"};
    struct stat info;
    if (stat(folder, &info) != 0) return vst_fail(VST_ERROR_NOT_FOUND, "%s: there is no such run folder", folder);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (has(folder, files[i])) return VST_OK;
    return vst_fail(VST_ERROR_NOT_FOUND,
                    "%s is no run folder: it holds neither recipe.yaml, summary.csv, log.txt, best.safetensors "
                    "nor last.safetensors. Of a study give its runs' folders: %s/*/",
                    folder, folder);
}
static vst_status read_recipe(vsti_measured_run *run) {
    vst_status status = VST_OK;
    char *path = vst_format("%s/recipe.yaml", run->folder);
    if (!path) VST_TRY(vst_fail_memory(VSTI_PATH));
    status = vsti_file_read(path, RECIPE_BYTES, "a recipe", &run->yaml, NULL);
    if (status == VST_OK) status = vst_recipe_read(&run->recipe, path, NULL, 0);
    VST_TRY(vsti_report_note(run, status, "the recipe cannot be used"));
    if (run->recipe) VST_TRY(replace(&run->seed, vst_format("%d", run->recipe->run.seed)));
out:
    vst_free(path);
    return status;
}
static vst_status read_curve(vsti_measured_run *run) {
    vst_status status = VST_OK;
    VST_TRY(vsti_report_note(run, vsti_curve_read(&run->curve, run->folder), "the curves end early"));
    if (run->curve.count == 0)
        VST_TRY(add_note(run, "no curves: neither summary.csv nor log.txt has a complete epoch"));
    else if (!has(run->folder, "summary.csv"))
        VST_TRY(add_note(run, "summary.csv is missing: the curves come from log.txt, which has no times"));
out:
    return status;
}

/* The size of the model only: a checkpoint also contains the optimiser's state. */
static double model_megabytes(const vsti_measured_run *run, const vst_model *model) {
    char path[VSTI_PATH];
    struct stat info;
    const int length = snprintf(path, sizeof path, "%s%s", run->folder, run->alone ? "" : "/best.safetensors");
    const double values = (double)vst_params_total(model->params) * sizeof(float);
    if (length >= (int)sizeof path || stat(path, &info) != 0) return values / 1e6;
    return (run->alone ? fmin((double)info.st_size, values) : (double)info.st_size) / 1e6;
}

/* A value of the training metadata of a model file, as text to be freed with vst_free; NULL: missing. */
static char *said_of_training(const vst_model *model, const char *key) {
    json_t *object = model->training ? json_loads(model->training, 0, NULL) : NULL;
    const json_t *value = json_object_get(object, key);
    char *text = json_is_integer(value) ? vst_format("%lld", (long long)json_integer_value(value))
                                        : vst_strdup(json_string_value(value));
    json_decref(object);
    return text;
}

/* The path of the run's model file, to be vst_free'd; NULL: out of memory. */
static char *model_path(const vsti_measured_run *run) {
    return run->alone ? vst_strdup(run->folder) : vst_format("%s/%s", run->folder, run->file_name);
}

/* `name` NULL: the run is only a model file. */
static vst_status read_model(vsti_measured_run *run, const char *name) {
    vst_status status = VST_OK;
    run->file_name = name;
    char *path = model_path(run);
    if (!path) return vst_fail_memory(VSTI_PATH);
    VST_TRY(vsti_report_note(run, vst_model_read(&run->model, path), "the model cannot be used"));
    if (!run->model) goto out;
    run->megabytes = model_megabytes(run, run->model);
    if (!run->seed) run->seed = said_of_training(run->model, "seed");
out:
    vst_free(path);
    return status;
}

static vst_status read_any_model(vsti_measured_run *run, const char *wanted) {
    static const char *const names[] = {"best.safetensors", "last.safetensors", "previous.safetensors"};
    vst_status status = VST_OK;
    bool any = false;
    if (wanted) return read_model(run, wanted);
    for (size_t i = 0; i < sizeof names / sizeof *names && !run->model; i++) {
        if (!has(run->folder, names[i])) continue;
        any = true;
        VST_TRY(read_model(run, names[i]));
    }
    if (!any) VST_TRY(add_note(run, "no model: neither best.safetensors nor last.safetensors is there"));
out:
    return status;
}

/* ---- The test split ---- */

/* Opens the data of the recipe, or without a recipe of the model file's metadata. */
static vst_status open_data(const vsti_measured_runs *set, vsti_measured_run *run) {
    vst_status status = VST_OK;
    const char *instead = set->data;
    const vst_recipe *from = run->recipe ? run->recipe : set->like;
    vst_recipe recipe = from ? *from : (vst_recipe){0}; /* a view that owns nothing */
    char *known = instead ? vst_strdup(instead)
                  : from  ? vst_strdup(from->data.path)
                          : said_of_training(run->model, "data");
    if (!known) return vst_fail(VST_ERROR_NOT_FOUND, "nothing says on which data: give it with --data PATH");
    VST_TRY(replace(&run->data, known));
    if (instead) recipe.data = (vst_data_options){0};
    recipe.data.path = run->data;
    VST_TRY(vsti_recipe_data(&run->test, &recipe, "test", vst_model_common_of(run->model->config)->channels));
out:
    return status;
}

static vst_status evaluate(const vsti_measured_runs *set, const vsti_measured_run *run, const vst_model *model,
                           vst_evaluation *evaluation) {
    vst_status status = VST_OK;
    vst_loader *loader = NULL;
    vst_session *session = NULL;
    vst_dataset *view = NULL;
    vst_class_match match = {0};
    const vst_classes classes = vst_model_classes(model, model == run->model ? "the model" : "the teacher");
    const vst_recipe *recipe = run->recipe ? run->recipe : set->like;
    const vst_broken_rule broken = recipe ? vsti_recipe_broken(recipe) : (vst_broken_rule){0};
    const int batch = recipe ? recipe->run.eval_batch : BATCH, workers = recipe ? recipe->data.workers : 1;
    VST_TRY(vst_classes_view(&view, run->test, &classes, &match));
    VST_TRY(vst_evaluation_loader(&loader, view ? view : run->test, model->config, batch, workers, &broken));
    VST_TRY(vst_session_create_model(&session, model, NULL));
    VST_TRY(vst_evaluate(session, loader, vst_dataset_count(run->test), false, set->stop, evaluation));
    VST_TRY(vst_evaluation_to_data(evaluation, &match)); /* the page uses the classes of the data */
out:
    vst_session_close(session);
    vst_loader_destroy(loader);
    vst_class_match_clear(&match);
    vst_dataset_close(view);
    return status;
}

static int find_answers(const vsti_measured_runs *set, const char *path, const char *data) {
    for (size_t i = 0; i < set->answer_count; i++)
        if (strcmp(set->answers[i].model, path) == 0 && strcmp(set->answers[i].data, data) == 0) return (int)i;
    return -1;
}

/* *index: of the predictions of the model at `path` on the run's data, which are computed if necessary; `model` NULL:
 * the first teacher of the recipe. */
static vst_status ask(vsti_measured_runs *set, const vsti_measured_run *run, const char *path, const vst_model *model,
                      const vst_recipe *recipe, int *index) {
    vst_status status = VST_OK;
    vst_model *own = NULL;
    vsti_answers answers = {0};
    char *real = realpath(path, NULL);
    const char *data = vst_dataset_path(run->test);
    *index = find_answers(set, real ? real : path, data);
    if (*index >= 0) goto out;
    if (!model) {
        VST_TRY(vsti_teacher_open(&own, recipe, 0));
        model = own;
    }
    VST_TRY(replace(&answers.model, vst_strdup(real ? real : path)));
    VST_TRY(replace(&answers.data, vst_strdup(data)));
    VST_TRY(evaluate(set, run, model, &answers.evaluation));
    VST_TRY(vst_grow(&set->answers, &set->answer_capacity, set->answer_count + 1, sizeof *set->answers));
    *index = (int)set->answer_count;
    set->answers[set->answer_count++] = answers;
    answers = (vsti_answers){0};
out:
    vst_evaluation_clear(&answers.evaluation);
    vst_free(answers.model);
    vst_free(answers.data);
    vst_model_destroy(own);
    free(real);
    return status;
}

static vst_status measure(vsti_measured_runs *set, vsti_measured_run *run, bool latency) {
    vst_status status = VST_OK;
    char *path = NULL;
    if (latency) VST_TRY(vsti_report_note(run, vst_model_latency(run->model, false, &run->latency), "no latency"));
    VST_TRY(vsti_report_note(run, open_data(set, run), "not tested, so no accuracy, matrix, pictures"));
    if (!run->test) goto out;
    path = model_path(run);
    if (!path) VST_TRY(vst_fail_memory(VSTI_PATH));
    VST_TRY(vsti_report_note(run, ask(set, run, path, run->model, NULL, &run->answers), "not tested"));
out:
    vst_free(path);
    return status;
}

static vst_status fill(vsti_measured_runs *set, vsti_measured_run *run, const char *folder, const char *model,
                       bool latency) {
    vst_status status = VST_OK;
    *run = (vsti_measured_run){.answers = -1, .teacher = -1, .megabytes = NAN, .latency = {NAN, NAN, NAN}};
    VST_TRY(check_folder(folder));
    VST_TRY(name_run(run, folder));
    VST_TRY(read_recipe(run));
    VST_TRY(read_curve(run));
    VST_TRY(read_any_model(run, model));
    if (run->model) VST_TRY(measure(set, run, latency));
    if (run->curve.count == 0 && !run->model)
        status = vst_fail(VST_ERROR_FORMAT, "%s: nothing can be shown of this run. %s", folder, run->notes);
out:
    return status;
}

vst_status vsti_report_add(vsti_measured_runs *set, const char *folder, const char *model, bool latency) {
    const vst_status status = vst_grow(&set->runs, &set->run_capacity, set->run_count + 1, sizeof *set->runs);
    if (status != VST_OK) return status;
    return fill(set, &set->runs[set->run_count++], folder, model, latency);
}

vst_status vsti_report_add_file(vsti_measured_runs *set, const char *path, const char *name) {
    vst_status status = vst_grow(&set->runs, &set->run_capacity, set->run_count + 1, sizeof *set->runs);
    if (status != VST_OK) return status;
    vsti_measured_run *run = &set->runs[set->run_count++];
    *run =
        (vsti_measured_run){.alone = true, .answers = -1, .teacher = -1, .megabytes = NAN, .latency = {NAN, NAN, NAN}};
    VST_TRY(replace(&run->folder, vst_strdup(path)));
    VST_TRY(replace(&run->name, vst_strdup(name)));
    VST_TRY(read_model(run, NULL));
    if (run->model) VST_TRY(measure(set, run, true));
    else status = vst_fail(VST_ERROR_FORMAT, "%s: %s", path, run->notes);
out:
    return status;
}

/* ---- Comparing ---- */

static double same(const int *a, const int *b, uint64_t samples) {
    uint64_t equal = 0;
    for (uint64_t i = 0; i < samples; i++) equal += a[i] == b[i];
    return 100 * (double)equal / (double)samples;
}

static double right(const int *answers, const vst_evaluation *e) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < e->samples; i++) count += e->labels[i] >= 0 && answers[i] == e->labels[i];
    return e->labelled ? 100 * (double)count / (double)e->labelled : NAN;
}

static void compare(vst_report_agreement *agreement, const vst_evaluation *own, const vst_evaluation *teacher) {
    const int *answers[VST_REPORT_ANSWERS];
    int count = 0;
    if (teacher) agreement->names[count] = "teacher", answers[count++] = teacher->predictions;
    for (int h = 0; h < VST_HEADS; h++)
        if (own->heads[h])
            agreement->names[count] = h ? "distillation head" : "class head", answers[count++] = own->heads[h];
    agreement->names[count] = count > 1 ? "mean of both heads" : "student";
    answers[count++] = own->predictions;
    for (int i = 0; i < count; i++) {
        agreement->right[i] = right(answers[i], own);
        for (int k = 0; k < count; k++) agreement->same[i][k] = same(answers[i], answers[k], own->samples);
    }
    agreement->count = count;
}

static bool has_teacher(const vsti_measured_run *run) { return run->recipe && vst_teacher_count(run->recipe) > 0; }

/* Whether the file is the run's model or in its folder: a run is not compared with itself. */
static bool is_own(const vsti_measured_run *run, const char *path) {
    char *folder = realpath(run->folder, NULL), *real = realpath(path, NULL);
    const size_t length = folder ? strlen(folder) : 0;
    const bool own = folder && real && strncmp(real, folder, length) == 0 && (real[length] == '/' || !real[length]);
    free(folder);
    free(real);
    return own;
}

/* The run whose teacher a run is compared with: itself, or another run, preferably with the same seed; NULL: none. */
static const vsti_measured_run *find_student(const vsti_measured_runs *set, const vsti_measured_run *run) {
    const vsti_measured_run *found = NULL;
    if (has_teacher(run)) return run;
    for (size_t i = 0; i < set->run_count; i++) {
        const vsti_measured_run *other = &set->runs[i];
        if (!has_teacher(other)) continue;
        if (run->seed && strcmp(run->seed, other->seed) == 0) return other;
        if (!found) found = other;
    }
    return found;
}

int vsti_report_teacher(const vsti_measured_runs *set, const vsti_measured_run *run) {
    char *path = has_teacher(run) ? vst_teacher_path(run->recipe, 0) : NULL;
    int found = -1;
    for (size_t i = 0; path && found < 0 && i < set->run_count; i++)
        if (&set->runs[i] != run && is_own(&set->runs[i], path)) found = (int)i;
    vst_free(path);
    return found;
}

static vst_status compare_run(vsti_measured_runs *set, vsti_measured_run *run) {
    vst_status status = VST_OK;
    const vsti_measured_run *student = find_student(set, run);
    const vst_evaluation *own = vsti_report_answers(set, run), *teacher = NULL;
    char *path = NULL;
    if (!own) goto out;
    if (student) {
        path = vst_teacher_path(student->recipe, 0);
        if (!path) VST_TRY(vst_fail_memory(VSTI_PATH));
        const bool theirs = student != run;
        if (theirs && (is_own(run, path) || access(path, R_OK) != 0)) goto out;
        status = ask(set, run, path, NULL, student->recipe, &run->teacher);
        VST_TRY(vsti_report_note(run, status, "no agreement with the teacher"));
        own = vsti_report_answers(set, run); /* the list may have been reallocated */
    }
    if (run->teacher >= 0) teacher = &set->answers[run->teacher].evaluation;
    if (teacher && teacher->samples != own->samples) teacher = NULL;
out:
    if (status == VST_OK && own) compare(&run->agreement, own, teacher);
    vst_free(path);
    return status;
}

vst_status vsti_report_compare(vsti_measured_runs *set) {
    for (size_t i = 0; i < set->run_count; i++) {
        const vst_status status = compare_run(set, &set->runs[i]);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

void vsti_report_set_clear(vsti_measured_runs *set) {
    for (size_t i = 0; i < set->run_count; i++) {
        vsti_measured_run *run = &set->runs[i];
        vst_dataset_close(run->test);
        vst_model_destroy(run->model);
        vst_recipe_destroy(run->recipe);
        vst_free(run->curve.epochs);
        vst_free(run->folder);
        vst_free(run->name);
        vst_free(run->yaml);
        vst_free(run->seed);
        vst_free(run->data);
        vst_free(run->notes);
    }
    for (size_t i = 0; i < set->answer_count; i++) {
        vst_evaluation_clear(&set->answers[i].evaluation);
        vst_free(set->answers[i].model);
        vst_free(set->answers[i].data);
    }
    vst_free(set->runs);
    vst_free(set->answers);
    *set = (vsti_measured_runs){0};
}
