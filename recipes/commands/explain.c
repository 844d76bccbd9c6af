/* `vistill explain`: the keys of a recipe, or the values of one. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "recipes/commands/main.h"
#include "recipes/commands/table.h"
#include "recipes/config/recipe.h"
#include "recipes/distill/distances/distance.h"
#include "recipes/train/terms_check.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/optim/methods/method.h"
#include "vision/optim/schedules/schedule_method.h"

static const char *key_of(const vst_option *option) {
    const char *dot = strrchr(option->name, '.');
    return dot ? dot + 1 : option->name;
}

/* The allowed values: "1 … 65536", "sgd/adamw". */
static void describe(const vst_option *option, char *text, size_t size) {
    switch (option->type) {
    case VST_TYPE_INT: snprintf(text, size, "%.0f … %.0f", option->minimum, option->maximum); break;
    case VST_TYPE_DOUBLE: snprintf(text, size, "%.8g … %.8g", option->minimum, option->maximum); break;
    case VST_TYPE_BOOL: snprintf(text, size, "true, false"); break;
    case VST_TYPE_CHOICE: snprintf(text, size, "%s", option->choices); break;
    case VST_TYPE_LIST: snprintf(text, size, "numbers"); break;
    default: snprintf(text, size, "text"); break;
    }
    for (char *at = text; option->type == VST_TYPE_CHOICE && *at; at++)
        if (*at == '|') *at = '/';
}

static void wrap(vst_table *table) {
    const int columns = vst_terminal_width(stdout);
    if (columns > 0) vst_table_wrap(table, columns);
}

/* ---- All keys ---- */

static void add_keys(vst_table *table, const char *section, const vst_option *options) {
    for (const vst_option *option = options; option->type != VST_TYPE_END; option++) {
        char allowed[128];
        describe(option, allowed, sizeof allowed);
        vst_table_cell(table, "%s.%s", section, key_of(option));
        vst_table_cell(table, "%s", option->default_value ? option->default_value : "");
        vst_table_cell(table, "%s", allowed);
        vst_table_cell(table, "%s", option->help);
    }
}

/* The description is the first line, a comment. */
static void add_preset(vst_table *table, const vst_preset *preset) {
    const char *text = preset->yaml + strspn(preset->yaml, "# ");
    vst_table_cell(table, "%s", preset->name);
    vst_table_cell(table, "%.*s", (int)strcspn(text, "\n"), text);
}

/* Presets, distances and their options. */
static vst_status explain_named(void) {
    static const char *const presets[] = {"distill.preset", "method", NULL};
    static const char *const distances[] = {"distance", "what it measures", NULL};
    static const char *const options[] = {"option of a distance", "default", "allowed", "meaning", NULL};
    vst_status status = VST_OK;
    vst_table *table = NULL;
    VST_TRY(vst_table_create(&table, presets));
    wrap(table);
    for (const vst_preset *preset = vsti_presets; preset->name; preset++) add_preset(table, preset);
    printf("\n");
    VST_TRY(vst_table_write(table, stdout));
    vst_table_destroy(table);
    VST_TRY(vst_table_create(&table, distances));
    wrap(table);
    for (size_t i = 0; i < vst_distance_count(); i++) {
        vst_table_cell(table, "%s", vst_distance_at(i)->name);
        vst_table_cell(table, "%s", vst_distance_at(i)->help);
    }
    printf("\n");
    VST_TRY(vst_table_write(table, stdout));
    vst_table_destroy(table);
    VST_TRY(vst_table_create(&table, options));
    wrap(table);
    for (size_t i = 0; i < vst_distance_count(); i++)
        if (vst_distance_at(i)->options) add_keys(table, vst_distance_at(i)->name, vst_distance_at(i)->options);
    printf("\n");
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static void add_named(vst_table *table, const char *name, const char *help) {
    vst_table_cell(table, "%s", name);
    vst_table_cell(table, "%s", help);
}

/* Optimisers, schedules and their options. */
static vst_status explain_optim(void) {
    static const char *const optimizers[] = {"optim.name", "optimiser", NULL};
    static const char *const schedules[] = {"optim.schedule", "learning rate", NULL};
    static const char *const options[] = {"option of an optimiser or schedule", "default", "allowed", "meaning", NULL};
    vst_status status = VST_OK;
    vst_table *tables[3] = {NULL};
    VST_TRY(vst_table_create(&tables[0], optimizers));
    VST_TRY(vst_table_create(&tables[1], schedules));
    VST_TRY(vst_table_create(&tables[2], options));
    for (int i = 0; i < 3; i++) wrap(tables[i]);
    for (size_t i = 0; i < vst_optimizer_method_count(); i++) {
        const vst_optimizer_method *method = vst_optimizer_method_at(i);
        add_named(tables[0], method->name, method->help);
        if (method->options) add_keys(tables[2], method->name, method->options);
    }
    for (size_t i = 0; i < vst_schedule_method_count(); i++) {
        const vst_schedule_method *method = vst_schedule_method_at(i);
        add_named(tables[1], method->name, method->help);
        if (method->options) add_keys(tables[2], method->name, method->options);
    }
    for (int i = 0; i < 3; i++) {
        printf("\n");
        VST_TRY(vst_table_write(tables[i], stdout));
    }
out:
    for (int i = 0; i < 3; i++) vst_table_destroy(tables[i]);
    return status;
}

static vst_status explain_all(void) {
    static const char *const headers[] = {"key", "default", "allowed", "meaning", NULL};
    vst_status status = VST_OK;
    vst_table *table = NULL, *models = NULL;
    VST_TRY(vst_table_create(&table, headers));
    wrap(table);
    vst_table_cell(table, "base");
    vst_table_cell(table, "%s", "");
    vst_table_cell(table, "text");
    vst_table_cell(table, "another recipe, beside this one, whose keys hold where this one says nothing");
    vst_table_cell(table, "model.name");
    vst_table_cell(table, "%s", "");
    vst_table_cell(table, "text");
    vst_table_cell(table, "the model's variant; `vistill models` lists them, its other keys are below");
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++) {
        add_keys(table, section->name, section->options);
        if (strcmp(section->name, "distill") != 0) continue;
        vst_table_cell(table, "distill.preset");
        vst_table_cell(table, "%s", "");
        vst_table_cell(table, "text");
        vst_table_cell(table, "a method with its published settings, below; other keys of the section change it");
        add_keys(table, "distill.terms.N", vst_term_table);
    }
    VST_TRY(vst_table_write(table, stdout));
    VST_TRY(explain_optim());
    VST_TRY(explain_named());
    for (size_t i = 0; i < vst_backbone_count(); i++) {
        const vst_backbone *backbone = vst_backbone_at(i);
        printf("\n%s: %s\n", backbone->name, backbone->help);
        vst_table_destroy(models);
        VST_TRY(vst_table_create(&models, headers));
        wrap(models);
        add_keys(models, "model", backbone->options);
        VST_TRY(vst_table_write(models, stdout));
    }
out:
    vst_table_destroy(table);
    vst_table_destroy(models);
    return status;
}

/* ---- One recipe ---- */

static bool unset(const char *value) { return !*value || strcmp(value, "[]") == 0; }

/* Values that equal those of `reference` are not marked. */
static vst_status add_values(vst_table *table, const char *section, const vst_option *options, const void *structure,
                             const void *reference) {
    vst_status status = VST_OK;
    for (const vst_option *option = options; option->type != VST_TYPE_END && status == VST_OK; option++) {
        char *value = vst_options_get(option, structure), *usual = vst_options_get(option, reference);
        if (value && usual) {
            vst_table_cell(table, "%s.%s", section, key_of(option));
            vst_table_cell(table, "%s", value);
            vst_table_cell(table, "%s", strcmp(value, usual) == 0 ? "" : unset(usual) ? "none" : usual);
            vst_table_cell(table, "%s", option->help);
        } else {
            status = vst_fail_memory(64);
        }
        vst_free(value);
        vst_free(usual);
    }
    return status;
}

/* Compares with the defaults of the table. */
static vst_status add_section(vst_table *table, const char *name, const vst_option *options, const void *structure) {
    union {
        vst_data_options data;
        vst_augment_options augment;
        vst_optim_options optim;
        vst_distill_options distill;
        vst_run_options run;
    } usual;
    memset(&usual, 0, sizeof usual);
    vst_status status = vst_options_default(options, &usual);
    if (status == VST_OK && strcmp(name, "optim") == 0) {
        const int adamw = usual.optim.name;
        usual.optim.name = ((const vst_optim_options *)structure)->name; /* whose default betas apply */
        vst_optim_resolve(&usual.optim);
        usual.optim.name = adamw;
    }
    if (status == VST_OK) status = add_values(table, name, options, structure, &usual);
    vst_options_clear(options, &usual);
    return status;
}

static vst_status add_term(vst_table *table, const char *name, const vst_term_options *term) {
    vst_term_options usual = {0};
    vst_status status = VST_OK;
    VST_TRY(vst_term_default(&usual));
    VST_TRY(add_values(table, name, vst_term_table, term, &usual));
    if (term->own) {
        VST_TRY(vst_term_set(&usual, "distance", term->distance));
        VST_TRY(add_values(table, name, vst_term_own_table(term), term->own, usual.own));
    }
out:
    vst_term_clear(&usual);
    return status;
}

static vst_status add_model(vst_table *table, const vst_model_config *model) {
    vst_model_config *usual = NULL;
    vst_status status = VST_OK;
    VST_TRY(vst_model_config_create(&usual, model->variant));
    vst_table_cell(table, "model.name");
    vst_table_cell(table, "%s", model->variant);
    vst_table_cell(table, "%s", "");
    vst_table_cell(table, "%s", model->backbone->help);
    VST_TRY(add_values(table, "model", model->backbone->options, model->options, usual->options));
out:
    vst_model_config_destroy(usual);
    return status;
}

static vst_status explain_recipe(const vst_recipe *recipe) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    VST_TRY(vst_table_create(&table, (const char *[]){"key", "value", "instead of", "meaning", NULL}));
    wrap(table);
    if (recipe->model) VST_TRY(add_model(table, recipe->model));
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++) {
        VST_TRY(add_section(table, section->name, section->options, (const char *)recipe + section->offset));
        for (int i = 0; strcmp(section->name, "distill") == 0 && i < recipe->term_count; i++) {
            char name[40];
            snprintf(name, sizeof name, "distill.terms.%d", i);
            VST_TRY(add_term(table, name, &recipe->terms[i]));
        }
    }
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

/* Whether the model files of all teachers exist. */
static bool has_teachers(const vst_recipe *recipe) {
    bool all = true;
    for (int i = 0; i < vst_teacher_count(recipe); i++) {
        char *path = vst_teacher_path(recipe, i);
        all = all && path && access(path, R_OK) == 0;
        vst_free(path);
    }
    return all;
}

/* Reads and checks a recipe. A base for other recipes may lack model and data. */
static vst_status read_recipe(vst_recipe **recipe, const char *path, const char *const *settings, int count) {
    vst_status status = VST_OK;
    VST_TRY(vst_recipe_read_base(recipe, path, settings, count));
    if (!(*recipe)->model || !(*recipe)->data.path) {
        vst_log(VST_LOG_INFO, "%s: %s is missing, so this is a base for other recipes", path,
                (*recipe)->model ? "data.path" : "model.name");
        return VST_OK;
    }
    status = vst_recipe_check(*recipe);
    if (status != VST_OK) VST_TRY(vst_fail_in(status, "%s", path));
    if ((*recipe)->term_count && has_teachers(*recipe)) VST_TRY(vst_terms_check(*recipe, NULL));
out:
    return status;
}

extern const vst_command vsti_command_explain;

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_recipe *recipe = NULL;
    char *yaml = NULL;
    int count;
    const char *const *settings = vst_flag_values(arguments, "set", &count);
    if (arguments->word_count == 0) {
        if (count || vst_flag_given(arguments, "yaml"))
            return vst_command_usage(&vsti_command_explain, "--set and --yaml need a recipe");
        return vst_command_exit(explain_all());
    }
    VST_TRY(read_recipe(&recipe, arguments->words[0], settings, count));
    if (vst_flag_given(arguments, "yaml")) {
        if (!(yaml = vst_recipe_to_yaml(recipe))) VST_TRY(vst_fail_memory(4096));
        fputs(yaml, stdout);
    } else {
        VST_TRY(explain_recipe(recipe));
    }
out:
    vst_free(yaml);
    vst_recipe_destroy(recipe);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{"set", 's', "KEY=VALUE", "set a key first; can be repeated"},
                                 {"yaml", 0, NULL, "print the resolved recipe as YAML"},
                                 {0}};

const vst_command vsti_command_explain = {
    .name = "explain",
    .words = "[RECIPE]",
    .summary = "show every key of a recipe with its value and meaning",
    .help =
        "With a recipe: its keys as they are used, after inheritance and --set; "
        "\"instead of\" is the default where the\n"
        "recipe says something else; terms of distillation that do not fit are refused. A file that others inherit "
        "may lack a model. "
        "Without: all keys there are.",
    .flags = flags,
    .minimum = 0,
    .maximum = 1,
    .run = run};
