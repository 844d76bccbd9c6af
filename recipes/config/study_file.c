/* Study files: lists of recipes that are trained in turn and compared. */
#include "recipes/config/study_file.h"

#include <stdlib.h>
#include <string.h>

#include "recipes/config/yaml.h"
#include "vision/base/memory.h"

enum { MOST_RUNS = 64, MOST_SETTINGS = 64, MOST_SEEDS = 32, MOST_RUN_NAME = 64 };

/* ---- One run ---- */

static vst_status text_of(const char *file, const vst_yaml *map, const char *key, char **text) {
    const vst_yaml *node = vst_yaml_find(map, key);
    *text = NULL;
    return node ? vst_yaml_value(file, node, key, text) : VST_OK;
}

/* Converts `set: {optim.lr: 1e-3}` and `set: {optim: {lr: 1e-3}}` to "optim.lr=1e-3". */
static vst_status add_settings(vst_study_run *run, const char *file, const vst_yaml *map, const char *prefix) {
    vst_status status = VST_OK;
    char *path = NULL, *value = NULL;
    VST_TRY(vst_yaml_expect(file, map, VST_YAML_MAP, "set"));
    for (const vst_yaml *node = map->first; node; node = node->next) {
        vst_free(path);
        path = vst_format("%s%s%s", prefix, *prefix ? "." : "", node->key);
        if (!path) VST_TRY(vst_fail_memory(strlen(node->key)));
        if (node->kind == VST_YAML_MAP) {
            VST_TRY(add_settings(run, file, node, path));
            continue;
        }
        if (run->setting_count == MOST_SETTINGS)
            VST_TRY(vst_yaml_fail(file, node, "set: more than %d values", MOST_SETTINGS));
        vst_free(value);
        VST_TRY(vst_yaml_value(file, node, path, &value));
        char *setting = vst_format("%s=%s", path, value);
        if (!setting) VST_TRY(vst_fail_memory(strlen(path)));
        run->settings[run->setting_count++] = setting;
    }
out:
    vst_free(path);
    vst_free(value);
    return status;
}

/* A run's name is also the name of its folder. */
static vst_status check_name(const vst_study *study, const char *file, const vst_yaml *node, const char *name) {
    if (strlen(name) > MOST_RUN_NAME || *name == '.' || strchr(name, '/'))
        return vst_yaml_fail(file, node,
                             "name \"%.80s\": expected at most %d characters, no / and no . in front, because "
                             "the run's folder is called so",
                             name, MOST_RUN_NAME);
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            return vst_yaml_fail(file, node, "name: control characters are not allowed");
    for (int i = 0; i + 1 < study->run_count; i++)
        if (strcmp(study->runs[i].name, name) == 0)
            return vst_yaml_fail(file, node, "two runs are called \"%s\"", name);
    return VST_OK;
}

/* Resolves a path relative to the study file's folder. NULL if out of memory. */
static char *beside(const char *file, const char *path) {
    const char *slash = strrchr(file, '/');
    return *path == '/' || !slash ? vst_strdup(path) : vst_format("%.*s/%s", (int)(slash - file), file, path);
}

/* Paths become relative to the program's folder, an earlier run must be there. */
static vst_status check_source(vst_study *study, const char *file, const vst_yaml *node) {
    vst_study_run *run = &study->runs[study->run_count - 1];
    char **paths[] = {&run->recipe_path, &run->model_path};
    for (int i = 0; i < 2; i++) {
        char *path = *paths[i] ? beside(file, *paths[i]) : NULL;
        if (*paths[i] && !path) return vst_fail_memory(strlen(*paths[i]));
        vst_free(*paths[i]);
        *paths[i] = path;
    }
    for (int i = 0; run->quantize && i + 1 < study->run_count; i++)
        if (strcmp(study->runs[i].name, run->quantize) == 0) return VST_OK;
    if (!run->quantize) return VST_OK;
    return vst_yaml_fail(file, vst_yaml_find(node, "quantize"), "quantize: no run before it is called \"%.80s\"",
                         run->quantize);
}

/* An empty text is as good as none. */
static vst_status source_of(const char *file, const vst_yaml *map, const char *key, char **text, int *given) {
    const vst_status status = text_of(file, map, key, text);
    if (status == VST_OK && *text && !**text) {
        vst_free(*text);
        *text = NULL;
    }
    *given += status == VST_OK && *text;
    return status;
}

static vst_status read_run(vst_study *study, const char *file, const vst_yaml *node) {
    static const char *const keys[] = {"name", "recipe", "model", "quantize", "set", NULL};
    vst_status status = VST_OK;
    int given = 0;
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_MAP, "runs"));
    VST_TRY(vst_yaml_known(file, node, "a run", keys));
    vst_study_run *run = &study->runs[study->run_count++];
    VST_TRY(text_of(file, node, "name", &run->name));
    VST_TRY(source_of(file, node, "recipe", &run->recipe_path, &given));
    VST_TRY(source_of(file, node, "model", &run->model_path, &given));
    VST_TRY(source_of(file, node, "quantize", &run->quantize, &given));
    if (!run->name || !*run->name || given != 1)
        VST_TRY(vst_yaml_fail(file, node,
                              "a run needs a name and a recipe, {name: plain, recipe: student.yaml}, or in its place a "
                              "model file, {name: teacher, model: teacher.safetensors}, or an earlier run to quantise, "
                              "{name: int8, quantize: plain}"));
    VST_TRY(check_name(study, file, vst_yaml_find(node, "name"), run->name));
    VST_TRY(check_source(study, file, node));
    run->settings = vst_calloc(MOST_SETTINGS, sizeof *run->settings);
    if (!run->settings) VST_TRY(vst_fail_memory(MOST_SETTINGS * sizeof *run->settings));
    const vst_yaml *set = vst_yaml_find(node, "set");
    if (set && run->model_path)
        VST_TRY(vst_yaml_fail(file, set, "set: is for recipes; a model file is measured as it is"));
    if (set && !set->null) VST_TRY(add_settings(run, file, set, ""));
out:
    return status;
}

/* ---- The study ---- */

static vst_status read_seeds(vst_study *study, const char *file, const vst_yaml *node) {
    vst_status status = VST_OK;
    study->seed_count = 1; /* default: seed 0 */
    if (!node) return VST_OK;
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_LIST, "seeds"));
    study->seed_count = 0;
    for (const vst_yaml *item = node->first; item; item = item->next) {
        VST_TRY(vst_yaml_expect(file, item, VST_YAML_SCALAR, "seeds"));
        char *end;
        const long seed = strtol(item->text, &end, 10);
        if (end == item->text || *end || seed < 0 || seed > 2147483647L)
            VST_TRY(vst_yaml_fail(file, item, "seeds: expected a whole number from 0, got \"%.40s\"", item->text));
        if (study->seed_count == MOST_SEEDS) VST_TRY(vst_yaml_fail(file, item, "seeds: at most %d", MOST_SEEDS));
        for (int i = 0; i < study->seed_count; i++)
            if (study->seeds[i] == seed) VST_TRY(vst_yaml_fail(file, item, "seeds: %ld is there twice", seed));
        study->seeds[study->seed_count++] = (int)seed;
    }
    if (study->seed_count == 0)
        VST_TRY(vst_yaml_fail(file, node, "seeds: the list is empty; leave the key out for seed 0"));
    study->several = study->seed_count > 1;
out:
    return status;
}

static vst_status read_runs(vst_study *study, const char *file, const vst_yaml *root) {
    vst_status status = VST_OK;
    const vst_yaml *node = vst_yaml_find(root, "runs");
    if (!node || (node->kind == VST_YAML_LIST && !node->first) || node->null)
        VST_TRY(
            vst_yaml_fail(file, node ? node : root, "a study needs runs: [{name: plain, recipe: student.yaml}, …]"));
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_LIST, "runs"));
    study->runs = vst_calloc(MOST_RUNS, sizeof *study->runs);
    if (!study->runs) VST_TRY(vst_fail_memory(MOST_RUNS * sizeof *study->runs));
    for (const vst_yaml *item = node->first; item; item = item->next) {
        if (study->run_count == MOST_RUNS) VST_TRY(vst_yaml_fail(file, item, "runs: at most %d", MOST_RUNS));
        VST_TRY(read_run(study, file, item));
    }
out:
    return status;
}

/* The defaults of title and output are made from the file name. */
static vst_status fill_names(vst_study *study, const char *path) {
    const char *slash = strrchr(path, '/'), *start = slash ? slash + 1 : path, *dot = strrchr(start, '.');
    const int length = dot && dot > start ? (int)(dot - start) : (int)strlen(start);
    if (!study->title || !*study->title) {
        vst_free(study->title);
        study->title = vst_format("%.*s", length, start);
    }
    if (!study->output || !*study->output) {
        vst_free(study->output);
        study->output = vst_format("runs/%.*s", length, start);
    }
    return study->title && study->output ? VST_OK : vst_fail_memory(strlen(path));
}

vst_status vst_study_read(vst_study **out, const char *path) {
    static const char *const keys[] = {"study", "output", "seeds", "runs", NULL};
    vst_status status = VST_OK;
    vst_yaml *root = NULL;
    vst_study *study = vst_calloc(1, sizeof *study);
    *out = NULL;
    if (!study) VST_TRY(vst_fail_memory(sizeof *study));
    VST_TRY(vst_yaml_read(&root, path));
    VST_TRY(vst_yaml_known(path, root, "a study", keys));
    VST_TRY(text_of(path, root, "study", &study->title));
    VST_TRY(text_of(path, root, "output", &study->output));
    VST_TRY(fill_names(study, path));
    VST_TRY(read_seeds(study, path, vst_yaml_find(root, "seeds")));
    VST_TRY(read_runs(study, path, root));
    *out = study;
    study = NULL;
out:
    vst_yaml_destroy(root);
    vst_study_destroy(study);
    return status;
}

vst_status vst_study_set(vst_study *study, const char *const *settings, int count) {
    for (int i = 0; i < study->run_count; i++) {
        vst_study_run *run = &study->runs[i];
        if (!run->recipe_path) continue;
        if (run->setting_count + count > MOST_SETTINGS)
            return vst_fail(VST_ERROR_LIMIT, "run '%s': more than %d values are set", run->name, MOST_SETTINGS);
        for (int k = 0; k < count; k++) {
            char *setting = vst_strdup(settings[k]);
            if (!setting) return vst_fail_memory(strlen(settings[k]));
            run->settings[run->setting_count++] = setting;
        }
    }
    return VST_OK;
}

void vst_study_destroy(vst_study *study) {
    if (!study) return;
    for (int i = 0; i < study->run_count; i++) {
        vst_study_run *run = &study->runs[i];
        for (int j = 0; run->settings && j < run->setting_count; j++) vst_free(run->settings[j]);
        vst_free(run->quantize);
        vst_free(run->settings);
        vst_free(run->recipe_path);
        vst_free(run->model_path);
        vst_free(run->name);
    }
    vst_free(study->runs);
    vst_free(study->title);
    vst_free(study->output);
    vst_free(study);
}
