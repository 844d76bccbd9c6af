/* Writes recipes with all their keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/config/recipe.h"
#include "recipes/config/yaml.h"
#include "vision/base/memory.h"

/* Writes "key: value" of one option; strings are quoted, unset strings are ~. */
static bool write_option(FILE *file, const char *indent, const vst_option *option, const void *structure) {
    const char *dot = strrchr(option->name, '.');
    char *value = vst_options_get(option, structure), *quoted = NULL;
    bool ok = value != NULL;
    if (ok && option->type == VST_TYPE_STRING && *value) ok = (quoted = vst_yaml_quote(value)) != NULL;
    if (ok)
        fprintf(file, "%s%s: %s\n", indent, dot ? dot + 1 : option->name,
                quoted                            ? quoted
                : option->type == VST_TYPE_STRING ? "~"
                                                  : value);
    vst_free(value);
    vst_free(quoted);
    return ok;
}

static bool write_table(FILE *file, const char *indent, const vst_option *table, const void *structure) {
    for (const vst_option *option = table; option->type != VST_TYPE_END; option++)
        if (!write_option(file, indent, option, structure)) return false;
    return true;
}

/* The first key starts a list item. */
static bool write_term(FILE *file, const vst_term_options *term) {
    return write_option(file, "    - ", vst_term_table, term) &&
           write_table(file, "      ", vst_term_table + 1, term) &&
           write_table(file, "      ", vst_term_own_table(term), term->own);
}

static bool write_terms(FILE *file, const vst_recipe *recipe) {
    fprintf(file, "  terms:%s\n", recipe->term_count ? "" : " []");
    for (int i = 0; i < recipe->term_count; i++)
        if (!write_term(file, &recipe->terms[i])) return false;
    return true;
}

static bool write_recipe(FILE *file, const vst_recipe *recipe) {
    char *name = vst_yaml_quote(recipe->name);
    if (name) fprintf(file, "name: %s\n\n", name);
    vst_free(name);
    if (!name) return false;
    if (recipe->model) {
        fprintf(file, "model:\n  name: %s\n", recipe->model->variant);
        if (!write_table(file, "  ", recipe->model->backbone->options, recipe->model->options)) return false;
    }
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++) {
        fprintf(file, "\n%s:\n", section->name);
        if (!write_table(file, "  ", section->options, (const char *)recipe + section->offset)) return false;
        if (strcmp(section->name, "distill") == 0 && !write_terms(file, recipe)) return false;
    }
    return true;
}

char *vst_recipe_to_yaml(const vst_recipe *recipe) {
    char *buffer = NULL, *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&buffer, &size);
    if (!file) return NULL;
    const bool ok = write_recipe(file, recipe);
    if (fclose(file) == 0 && ok) text = vst_strdup(buffer);
    free(buffer);
    return text;
}
