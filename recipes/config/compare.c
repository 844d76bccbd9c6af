/* What differs between two recipes, key by key. */
#include "recipes/config/recipe.h"

#include <stdlib.h>
#include <string.h>

#include "recipes/config/yaml.h"
#include "vision/base/memory.h"

enum { MOST_SHOWN = 8, PATH_TEXT = 256 };

/* They do not decide the weights: where things lie, how fast they are read, when is evaluated, saved and logged. What
 * lies there is compared by its content (recipes/train/identity.h). */
static const char *const ignored[] = {"name",
                                      "data.path",
                                      "data.test",
                                      "data.format",
                                      "data.workers",
                                      "distill.teacher",
                                      "distill.cache",
                                      "run.output",
                                      "run.start",
                                      "run.threads",
                                      "run.eval_batch",
                                      "run.eval_every",
                                      "run.save_minutes",
                                      "run.log_seconds",
                                      "run.log_steps",
                                      "run.recover",
                                      "run.start_entry",
                                      "distill.teacher_entry",
                                      "distill.teacher_model"};

typedef struct comparison {
    FILE *text;
    bool extend; /* run.epochs may differ */
    int count;
} comparison;

static bool is_ignored(const char *path) {
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (strcmp(ignored[i], path) == 0) return true;
    return false;
}

/* ---- Essence ---- */

/* Appends "path: value" of what decides. Recursion is bounded by the parser's VST_YAML_DEPTH. */
static vst_status write_deciding(FILE *text, const char *path, const vst_yaml *node) {
    vst_status status = VST_OK;
    char inner[PATH_TEXT], number[16], *value = NULL;
    int index = 0;
    if (is_ignored(path)) return VST_OK;
    if (!node->first || (node->kind == VST_YAML_LIST && node->first->kind == VST_YAML_SCALAR)) {
        if (node->kind != VST_YAML_MAP) status = vst_yaml_value("a recipe", node, "a value", &value);
        if (status == VST_OK) fprintf(text, "%s: %s\n", path, value ? value : "");
        vst_free(value);
        return status;
    }
    for (const vst_yaml *child = node->first; child; child = child->next, index++) {
        snprintf(number, sizeof number, "%d", index);
        snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", child->key ? child->key : number);
        VST_TRY(write_deciding(text, inner, child));
    }
out:
    return status;
}

char *vst_recipe_essence(const vst_recipe *recipe) {
    char *buffer = NULL, *text = NULL, *yaml = vst_recipe_to_yaml(recipe);
    size_t size = 0;
    vst_yaml *root = NULL;
    FILE *file = open_memstream(&buffer, &size);
    bool good = file && yaml && vst_yaml_parse(&root, "a recipe", yaml, strlen(yaml)) == VST_OK &&
                write_deciding(file, "", root) == VST_OK;
    if (good) fprintf(file, "cached: %d\n", vst_recipe_cached(recipe));
    if (file) good &= fclose(file) == 0;
    if (good) text = vst_strdup(buffer);
    vst_yaml_destroy(root);
    vst_free(yaml);
    free(buffer);
    return text;
}

/* ---- Differences ---- */

/* A value as a recipe has it; maps and lists of maps are only said to be there. */
static char *value_text(const vst_yaml *node) {
    char *text = NULL;
    if (!node) return vst_strdup("not there");
    if (node->kind == VST_YAML_SCALAR && node->null) return vst_strdup("unset");
    if (node->kind == VST_YAML_MAP || (node->first && node->first->kind != VST_YAML_SCALAR)) return vst_strdup("there");
    return vst_yaml_value("a recipe", node, "a value", &text) == VST_OK ? text : NULL;
}

static vst_status compare_values(comparison *c, const char *path, const vst_yaml *was, const vst_yaml *is) {
    vst_status status = VST_OK;
    char *before = value_text(was), *now = value_text(is);
    if (!before || !now) VST_TRY(vst_fail_memory(PATH_TEXT));
    if (strcmp(before, now) == 0) goto out;
    if (c->count < MOST_SHOWN) fprintf(c->text, "%s%s was %s, is %s", c->count ? "; " : "", path, before, now);
    c->count++;
out:
    vst_free(before);
    vst_free(now);
    return status;
}

/* A child by its key, or in a list by its number. */
static const vst_yaml *child_of(const vst_yaml *node, const char *key, int index) {
    if (key) return vst_yaml_find(node, key);
    const vst_yaml *child = node->first;
    while (child && index-- > 0) child = child->next;
    return child;
}

static bool has_children(const vst_yaml *node) {
    return node && node->first && (node->kind == VST_YAML_MAP || node->first->kind == VST_YAML_MAP);
}

/* `was` and `is` may be NULL, but not both. Recursion is bounded by the parser's VST_YAML_DEPTH. */
static vst_status compare_nodes(comparison *c, const char *path, const vst_yaml *was, const vst_yaml *is) {
    vst_status status = VST_OK;
    char inner[PATH_TEXT], number[16];
    if (is_ignored(path) || (c->extend && strcmp(path, "run.epochs") == 0)) return VST_OK;
    if (!has_children(was) || !has_children(is)) return compare_values(c, path, was, is);
    for (int side = 0; side < 2; side++) { /* first what was there, then what is new */
        int index = 0;
        for (const vst_yaml *child = (side ? is : was)->first; child; child = child->next, index++) {
            const vst_yaml *other = child_of(side ? was : is, child->key, index);
            if (side && other) continue;
            snprintf(number, sizeof number, "%d", index);
            snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", child->key ? child->key : number);
            VST_TRY(compare_nodes(c, inner, side ? NULL : child, side ? child : other));
        }
    }
out:
    return status;
}

/* Another model has other keys: then only its name is told. */
static vst_status compare_roots(comparison *c, const vst_yaml *was, const vst_yaml *is) {
    const vst_yaml *name[2] = {vst_yaml_find(vst_yaml_find(was, "model"), "name"),
                               vst_yaml_find(vst_yaml_find(is, "model"), "name")};
    const vst_status status = compare_values(c, "model.name", name[0], name[1]);
    return status == VST_OK && c->count == 0 ? compare_nodes(c, "", was, is) : status;
}

vst_status vst_recipe_compare(const vst_recipe *was, const vst_recipe *is, bool extend, char **differences) {
    const vst_recipe *recipes[2] = {was, is};
    vst_yaml *roots[2] = {NULL, NULL};
    vst_status status = VST_OK;
    char *buffer = NULL;
    size_t size = 0;
    comparison c = {.text = open_memstream(&buffer, &size), .extend = extend};
    *differences = NULL;
    if (!c.text) VST_TRY(vst_fail_memory(PATH_TEXT));
    for (int i = 0; i < 2; i++) {
        char *yaml = vst_recipe_to_yaml(recipes[i]);
        if (!yaml) VST_TRY(vst_fail_memory(1 << 16));
        status = vst_yaml_parse(&roots[i], "a recipe", yaml, strlen(yaml));
        vst_free(yaml);
        VST_TRY(status);
    }
    VST_TRY(compare_roots(&c, roots[0], roots[1]));
    if (c.count > MOST_SHOWN) fprintf(c.text, "; and %d more", c.count - MOST_SHOWN);
out:
    if (c.text && fclose(c.text) != 0 && status == VST_OK) status = vst_fail_memory(size);
    if (status == VST_OK && !(*differences = vst_strdup(buffer))) status = vst_fail_memory(size);
    free(buffer);
    vst_yaml_destroy(roots[0]);
    vst_yaml_destroy(roots[1]);
    return status;
}
