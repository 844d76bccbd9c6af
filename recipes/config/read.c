/* Reading recipes. A recipe and what it inherits are applied one after the other onto the same structure, so that an
 * error always names the file that is wrong. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "recipes/config/recipe.h"
#include "recipes/config/synonyms.h"
#include "recipes/config/yaml.h"
#include "vision/base/memory.h"

enum { BASE_DEPTH = 8, WHERE_TEXT = 1200, KEY_TEXT = 128 };

static const char *const top_keys[] = {"base", "name", "model", "data", "augment", "optim", "distill", "run", NULL};

static void *section_of(const vst_recipe_section *section, vst_recipe *recipe) {
    return (char *)recipe + section->offset;
}

static const vst_recipe_section *find_section(const char *name, size_t length) {
    const vst_recipe_section *section = vst_recipe_sections();
    while (section->name && (strlen(section->name) != length || memcmp(section->name, name, length) != 0)) section++;
    return section->name ? section : NULL;
}

static bool is_distill(const vst_recipe_section *section) { return strcmp(section->name, "distill") == 0; }

/* ---- Errors ---- */

static const char *place(const char *file, const vst_yaml *node, char where[WHERE_TEXT]) {
    snprintf(where, WHERE_TEXT, "%.1000s:%d:%d", file, node->line, node->column);
    return where;
}

/* Where an unknown key belongs: what another program calls so, or a key of one other section; NULL: nobody knows. */
static const char *belongs(const char *key, char text[KEY_TEXT]) {
    const vst_recipe_section *found = NULL;
    const char *synonym = vsti_synonym(key);
    if (synonym) return synonym;
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++) {
        if (!vst_options_find(section->options, key)) continue;
        if (found) return NULL;
        found = section;
    }
    if (!found || strcmp(key, "name") == 0) return NULL;
    snprintf(text, KEY_TEXT, "%s.%s", found->name, key);
    return text;
}

/* Completes an error of the options, which begins with the key or with `unknown key "…"`, by where it is:
 * `file:12:3: unknown key "lrr" in optim; did you mean "lr"?`, `file:12:3: optim.lr = 900: allowed is 0 … 100`. */
static vst_status located(vst_status status, const char *where, const char *section, const char *key) {
    static const char unknown[] = "unknown key \"";
    if (status == VST_OK || status == VST_ERROR_MEMORY) return status;
    const char *message = vst_error_message();
    if (strncmp(message, unknown, strlen(unknown)) == 0) {
        const size_t length = strlen(key), head = strlen(unknown) + (length < 100 ? length : 100) + 1;
        char text[KEY_TEXT];
        const char *other = strncmp(section, "distill.terms", 13) == 0 ? NULL : belongs(key, text);
        if (other)
            return vst_fail(status, "%s: unknown key \"%.100s\" in %s; did you mean %s?", where, key, section, other);
        if (head <= strlen(message))
            return vst_fail(status, "%s: %.*s in %s%s", where, (int)head, message, section, message + head);
    }
    if (strncmp(message, key, strlen(key)) == 0) return vst_fail(status, "%s: %s.%s", where, section, message);
    return vst_fail(status, "%s: %s.%s: %s", where, section, key, message);
}

/* ---- Applying values; `where` is their place in a file, for messages ---- */

static vst_status set_model_name(vst_recipe *recipe, const char *where, const char *name) {
    vst_model_config *model;
    const vst_status status = vst_model_config_create(&model, name);
    if (status != VST_OK) return status == VST_ERROR_MEMORY ? status : vst_fail_in(status, "%s", where);
    vst_model_config_destroy(recipe->model);
    recipe->model = model;
    recipe->classes_given = false;
    return VST_OK;
}

static vst_status set_model_key(vst_recipe *recipe, const char *where, const char *key, const char *value) {
    if (!recipe->model)
        return vst_fail(VST_ERROR_FORMAT,
                        "%s: model.name is missing: give the variant first; `vistill models` lists them", where);
    const vst_status status = vst_model_config_set(recipe->model, key, value);
    if (status == VST_OK && strcmp(key, "classes") == 0) recipe->classes_given = true;
    return located(status, where, "model", key);
}

/* The text of a key's value; a list only where `option`, NULL for an unknown key, is one. */
static vst_status value_of(const char *file, const vst_yaml *node, const vst_option *option, char **text) {
    *text = NULL;
    if (option && option->type != VST_TYPE_LIST) {
        const vst_status status = vst_yaml_expect(file, node, VST_YAML_SCALAR, node->key);
        if (status != VST_OK) return status;
    }
    return vst_yaml_value(file, node, node->key, text);
}

static vst_status apply_key(const char *file, const vst_yaml *node, const vst_option *table, void *structure,
                            const char *section) {
    char where[WHERE_TEXT], *text = NULL;
    vst_status status = VST_OK;
    VST_TRY(value_of(file, node, vst_options_find(table, node->key), &text));
    VST_TRY(located(vst_options_set(table, structure, node->key, text), place(file, node, where), section, node->key));
out:
    vst_free(text);
    return status;
}

static vst_status apply_model(vst_recipe *recipe, const char *file, const vst_yaml *node) {
    char where[WHERE_TEXT], *text = NULL;
    vst_status status = VST_OK;
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_MAP, "model"));
    const vst_yaml *name = vst_yaml_find(node, "name");
    if (name) VST_TRY(vst_yaml_expect(file, name, VST_YAML_SCALAR, "model.name"));
    if (name) VST_TRY(set_model_name(recipe, place(file, name, where), name->text));
    for (const vst_yaml *child = node->first; child; child = child->next) {
        const vst_option *table = recipe->model ? recipe->model->backbone->options : NULL;
        if (child == name) continue;
        vst_free(text);
        VST_TRY(value_of(file, child, table ? vst_options_find(table, child->key) : NULL, &text));
        VST_TRY(set_model_key(recipe, place(file, child, where), child->key, text));
    }
out:
    vst_free(text);
    return status;
}

static void clear_terms(vst_recipe *recipe) {
    for (int i = 0; i < recipe->term_count; i++) vst_term_clear(&recipe->terms[i]);
    memset(recipe->terms, 0, sizeof recipe->terms);
    recipe->term_count = 0;
}

static vst_status apply_term_key(vst_term_options *term, const char *file, const vst_yaml *node, const char *section) {
    char where[WHERE_TEXT], *text = NULL;
    vst_status status = VST_OK;
    VST_TRY(value_of(file, node, vst_term_find(term, node->key), &text));
    VST_TRY(located(vst_term_set(term, node->key, text), place(file, node, where), section, node->key));
out:
    vst_free(text);
    return status;
}

/* The distance first: which other keys there are depends on it. */
static vst_status apply_term(vst_term_options *term, const char *file, const vst_yaml *node, const char *section) {
    vst_status status = VST_OK;
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_MAP, section));
    VST_TRY(vst_term_default(term));
    const vst_yaml *distance = vst_yaml_find(node, "distance");
    if (distance) VST_TRY(apply_term_key(term, file, distance, section));
    for (const vst_yaml *child = node->first; child; child = child->next)
        if (child != distance) VST_TRY(apply_term_key(term, file, child, section));
out:
    return status;
}

/* The list replaces whatever terms there were. */
static vst_status apply_terms(vst_recipe *recipe, const char *file, const vst_yaml *node) {
    vst_status status = VST_OK;
    clear_terms(recipe);
    if (node->kind == VST_YAML_SCALAR && node->null) return VST_OK;
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_LIST, "distill.terms"));
    for (const vst_yaml *item = node->first; item; item = item->next) {
        char section[40];
        if (recipe->term_count == VST_MAX_TERMS)
            VST_TRY(vst_yaml_fail(file, item, "distill.terms: at most %d terms", VST_MAX_TERMS));
        snprintf(section, sizeof section, "distill.terms.%d", recipe->term_count);
        VST_TRY(apply_term(&recipe->terms[recipe->term_count++], file, item, section));
    }
out:
    return status;
}

static const vst_preset *find_preset(const char *name) {
    const vst_preset *preset = vsti_presets;
    while (preset->name && strcmp(preset->name, name) != 0) preset++;
    return preset->name ? preset : NULL;
}

static vst_status unknown_preset(const char *where, const char *name) {
    char list[1000] = "";
    size_t used = 0;
    for (const vst_preset *preset = vsti_presets; preset->name && used < sizeof list; preset++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", preset->name);
    return vst_fail(VST_ERROR_NOT_FOUND, "%s: distill.preset: there is no preset '%s'; there are %s", where, name,
                    list);
}

static vst_status apply_section(vst_recipe *recipe, const char *file, const vst_yaml *node,
                                const vst_recipe_section *section);

/* The preset's distill section as if it were written here. */
static vst_status apply_preset(vst_recipe *recipe, const char *where, const char *name) {
    vst_status status = VST_OK;
    vst_yaml *root = NULL;
    const vst_preset *preset = find_preset(name);
    if (!preset) return unknown_preset(where, name);
    char *file = vst_format("preset %s", name);
    if (!file) return vst_fail_memory(64);
    VST_TRY(vst_yaml_parse(&root, file, preset->yaml, strlen(preset->yaml)));
    VST_TRY(vst_yaml_known(file, root, "a preset", (const char *const[]){"distill", NULL}));
    const vst_yaml *section = vst_yaml_find(root, "distill");
    if (section) VST_TRY(apply_section(recipe, file, section, find_section("distill", strlen("distill"))));
out:
    vst_yaml_destroy(root);
    vst_free(file);
    return status;
}

static vst_status apply_preset_key(vst_recipe *recipe, const char *file, const vst_yaml *node) {
    char where[WHERE_TEXT];
    const vst_status status = vst_yaml_expect(file, node, VST_YAML_SCALAR, "distill.preset");
    if (status != VST_OK || node->null) return status;
    return apply_preset(recipe, place(file, node, where), node->text);
}

static vst_status apply_section(vst_recipe *recipe, const char *file, const vst_yaml *node,
                                const vst_recipe_section *section) {
    vst_status status = VST_OK;
    if (node->kind == VST_YAML_SCALAR && node->null) return VST_OK; /* `augment:` with nothing below it */
    VST_TRY(vst_yaml_expect(file, node, VST_YAML_MAP, section->name));
    const vst_yaml *preset = is_distill(section) ? vst_yaml_find(node, "preset") : NULL;
    if (preset) VST_TRY(apply_preset_key(recipe, file, preset));
    for (const vst_yaml *child = node->first; child; child = child->next) {
        if (child == preset) continue;
        if (is_distill(section) && strcmp(child->key, "terms") == 0) VST_TRY(apply_terms(recipe, file, child));
        else VST_TRY(apply_key(file, child, section->options, section_of(section, recipe), section->name));
    }
out:
    return status;
}

/* ---- Files ---- */

typedef struct layer { /* a file and the files that inherit it */
    const char *path;
    const struct layer *child;
    int depth;
    dev_t device;
    ino_t inode;
} layer;

static char *beside(const char *file, const char *path) {
    const char *slash = strrchr(file, '/');
    if (*path == '/' || !slash) return vst_strdup(path);
    return vst_format("%.*s/%s", (int)(slash - file), file, path);
}

static vst_status read_layer(vst_recipe *recipe, layer *self);

static vst_status read_base(vst_recipe *recipe, const layer *self, const vst_yaml *node) {
    char where[WHERE_TEXT], *path = NULL;
    vst_status status = VST_OK;
    VST_TRY(vst_yaml_expect(self->path, node, VST_YAML_SCALAR, "base"));
    if (node->null) return VST_OK;
    if (self->depth + 1 == BASE_DEPTH)
        VST_TRY(vst_yaml_fail(self->path, node, "more than %d recipes inherit from each other", BASE_DEPTH));
    if (!(path = beside(self->path, node->text))) VST_TRY(vst_fail_memory(strlen(node->text)));
    layer base = {.path = path, .child = self, .depth = self->depth + 1};
    struct stat info;
    if (stat(path, &info) != 0)
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s: base: %s: %m; the path is relative to the recipe",
                         place(self->path, node, where), path));
    base.device = info.st_dev;
    base.inode = info.st_ino;
    for (const layer *other = self; other; other = other->child)
        if (other->device == base.device && other->inode == base.inode)
            VST_TRY(vst_yaml_fail(self->path, node, "base: %s inherits from itself", path));
    VST_TRY(read_layer(recipe, &base));
out:
    vst_free(path);
    return status;
}

static vst_status check_top(const char *file, const vst_yaml *root) {
    for (const vst_yaml *child = root->first; child; child = child->next) {
        char text[KEY_TEXT];
        bool known = false;
        for (int i = 0; top_keys[i]; i++) known |= strcmp(top_keys[i], child->key) == 0;
        const char *other = known ? NULL : belongs(child->key, text);
        if (other)
            return vst_yaml_fail(file, child, "unknown key \"%.100s\" in a recipe; did you mean %s?", child->key,
                                 other);
    }
    return vst_yaml_known(file, root, "a recipe", top_keys);
}

/* Reads what the file inherits, then the file. */
static vst_status read_layer(vst_recipe *recipe, layer *self) {
    vst_status status = VST_OK;
    vst_yaml *root = NULL;
    VST_TRY(vst_yaml_read(&root, self->path));
    const vst_yaml *runs = vst_yaml_find(root, "runs");
    if (runs)
        VST_TRY(vst_yaml_fail(self->path, runs, "this is a study, not a recipe: use `vistill study %s`", self->path));
    VST_TRY(check_top(self->path, root));
    const vst_yaml *base = vst_yaml_find(root, "base");
    if (base) VST_TRY(read_base(recipe, self, base));
    for (const vst_yaml *node = root->first; node; node = node->next) {
        const vst_recipe_section *section = find_section(node->key, strlen(node->key));
        if (section) VST_TRY(apply_section(recipe, self->path, node, section));
        if (strcmp(node->key, "model") == 0) VST_TRY(apply_model(recipe, self->path, node));
        if (strcmp(node->key, "name") == 0) {
            VST_TRY(vst_yaml_expect(self->path, node, VST_YAML_SCALAR, "name"));
            if (self->depth > 0) continue; /* a name is not inherited */
            vst_free(recipe->name);
            if (!(recipe->name = vst_strdup(node->text))) VST_TRY(vst_fail_memory(strlen(node->text) + 1));
        }
    }
out:
    vst_yaml_destroy(root);
    return status;
}

/* ---- Settings: section.key=value ---- */

/* "N.key" of distill.terms. */
static vst_status set_term(vst_recipe *recipe, const char *where, const char *path, const char *value) {
    char *end, section[48];
    const long index = strtol(path, &end, 10);
    if (end == path || *end != '.' || index < 0 || index >= recipe->term_count)
        return vst_fail(VST_ERROR_ARGUMENT, "%s: expected distill.terms.N.key with N below %d, the number of terms",
                        where, recipe->term_count);
    snprintf(section, sizeof section, "distill.terms.%ld", index);
    return located(vst_term_set(&recipe->terms[index], end + 1, value), where, section, end + 1);
}

/* distill.terms as a whole, written as in a recipe: [] or [{distance: kl}]. */
static vst_status set_terms(vst_recipe *recipe, const char *where, const char *value) {
    vst_yaml *list = NULL;
    vst_status status = VST_OK;
    VST_TRY(vst_yaml_parse(&list, where, value, strlen(value)));
    VST_TRY(apply_terms(recipe, where, list));
out:
    vst_yaml_destroy(list);
    return status;
}

static vst_status unknown_section(const char *where, char *name) {
    char text[KEY_TEXT];
    const char *other = belongs(name, text);
    if (other && !find_section(name, strlen(name)))
        return vst_fail(VST_ERROR_ARGUMENT, "%s: unknown key \"%.100s\" in a recipe; did you mean %s?", where, name,
                        other);
    vst_yaml child = {.key = name}, map = {.kind = VST_YAML_MAP, .first = &child};
    const vst_status status = vst_yaml_known(where, &map, "a recipe", top_keys + 2); /* base and name cannot be set */
    if (status != VST_OK) return vst_fail(status, "%s: %s", where, strstr(vst_error_message(), "unknown key"));
    return vst_fail(VST_ERROR_ARGUMENT, "%s: expected SECTION.KEY=VALUE, such as optim.lr=1e-3", where);
}

static vst_status apply_setting(vst_recipe *recipe, const char *setting) {
    char where[WHERE_TEXT], *key = NULL;
    vst_status status = VST_OK;
    snprintf(where, sizeof where, "--set %.1000s", setting);
    const char *equals = strchr(setting, '=');
    if (!equals) VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "%s: expected KEY=VALUE, such as optim.lr=1e-3", where));
    if (!(key = vst_format("%.*s", (int)(equals - setting), setting))) VST_TRY(vst_fail_memory(strlen(setting)));
    const char *value = equals + 1, *rest = strchr(key, '.');
    const size_t length = rest ? (size_t)(rest - key) : strlen(key);
    const vst_recipe_section *section = rest ? find_section(key, length) : NULL;
    rest = rest ? rest + 1 : "";
    if (strcmp(key, "model.name") == 0) VST_TRY(set_model_name(recipe, where, value));
    else if (strncmp(key, "model.", 6) == 0) VST_TRY(set_model_key(recipe, where, rest, value));
    else if (strcmp(key, "distill.terms") == 0) VST_TRY(set_terms(recipe, where, value));
    else if (strcmp(key, "distill.preset") == 0) VST_TRY(apply_preset(recipe, where, value));
    else if (strncmp(key, "distill.terms.", 14) == 0) VST_TRY(set_term(recipe, where, key + 14, value));
    else if (section)
        VST_TRY(located(vst_options_set(section->options, section_of(section, recipe), rest, value), where,
                        section->name, rest));
    else {
        key[length] = 0;
        VST_TRY(unknown_section(where, key));
    }
out:
    vst_free(key);
    return status;
}

/* ---- The whole ---- */

/* "recipes/conf/fashion-student.yaml" -> "fashion-student". */
static char *stem(const char *path) {
    const char *slash = strrchr(path, '/'), *start = slash ? slash + 1 : path, *dot = strrchr(start, '.');
    return dot && dot > start ? vst_format("%.*s", (int)(dot - start), start) : vst_strdup(start);
}

static vst_status fill_defaults(vst_recipe *recipe) {
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++) {
        const vst_status status = vst_options_default(section->options, section_of(section, recipe));
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

vst_status vst_recipe_read_base(vst_recipe **out, const char *path, const char *const *settings, int setting_count) {
    vst_status status = VST_OK;
    vst_recipe *recipe = vst_calloc(1, sizeof *recipe);
    *out = NULL;
    if (!recipe || !(recipe->name = stem(path))) VST_TRY(vst_fail_memory(sizeof *recipe));
    VST_TRY(fill_defaults(recipe));
    layer file = {.path = path};
    struct stat info;
    if (stat(path, &info) == 0) {
        file.device = info.st_dev;
        file.inode = info.st_ino;
    }
    VST_TRY(read_layer(recipe, &file));
    for (int i = 0; i < setting_count; i++) VST_TRY(apply_setting(recipe, settings[i]));
    vst_optim_resolve(&recipe->optim);
    *out = recipe;
    recipe = NULL;
out:
    vst_recipe_destroy(recipe);
    return status;
}

vst_status vst_recipe_read(vst_recipe **out, const char *path, const char *const *settings, int setting_count) {
    vst_status status = vst_recipe_read_base(out, path, settings, setting_count);
    if (status != VST_OK) return status;
    status = vst_recipe_check(*out);
    if (status == VST_OK) return VST_OK;
    vst_recipe_destroy(*out);
    *out = NULL;
    return vst_fail_in(status, "%s", path);
}

void vst_recipe_destroy(vst_recipe *recipe) {
    if (!recipe) return;
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++)
        vst_options_clear(section->options, section_of(section, recipe));
    clear_terms(recipe);
    vst_model_config_destroy(recipe->model);
    vst_free(recipe->name);
    vst_free(recipe);
}
