/* Recipes: the tables of their keys, and reading, checking and writing them. A recipe and what it inherits are applied
 * one after the other onto the same structure, so that an error always names the file that is wrong. */
#include "recipes/config/recipe.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "datasets/augment/augment.h"
#include "recipes/config/yaml.h"
#include "recipes/distill/term.h"
#include "vision/base/memory.h"

enum { BASE_DEPTH = 8, WHERE_TEXT = 1200 };

/* ---- The keys ---- */

static const vst_option data_table[] = {
    VST_OPTION_STRING(vst_data_options, path, NULL, "folder or file of the data set"),
    VST_OPTION_STRING(vst_data_options, test, NULL, "folder or file of the test images, if they are not in data.path"),
    VST_OPTION_STRING(vst_data_options, format, "auto", "its format; auto: found out from the files"),
    VST_OPTION_INT(vst_data_options, validation, 0, 0, 100000000,
                   "training samples held out to choose the best epoch by; 0: none"),
    VST_OPTION_INT(vst_data_options, limit, 0, 0, 100000000, "use only so many training samples; 0: all"),
    VST_OPTION_INT(vst_data_options, labelled, 0, 0, 100000000,
                   "distillation: only so many keep their label, the others have the teacher alone; 0: all"),
    VST_OPTION_INT(vst_data_options, workers, 1, 0, 256, "threads that read and augment images"),
    VST_OPTION_CHOICE(vst_data_options, broken, "error", "error|warn|skip",
                      "images that cannot be read: stop, or take the next one; warn names each"),
    VST_OPTION_DOUBLE(vst_data_options, broken_limit, 0.01, 0, 1,
                      "share of images above which broken ones stop it anyway"),
    VST_OPTION_END};

static const vst_option augment_table[] = {
    VST_OPTION_STRING(vst_augment_options, train, NULL,
                      "policies in order: \"crop:padding=2, flip:probability=0.5\"; empty: none"),
    VST_OPTION_DOUBLE(vst_augment_options, mixup, 0, 0, 100, "alpha of mixup, timm's and DeiT's is 0.8; 0: none"),
    VST_OPTION_DOUBLE(vst_augment_options, cutmix, 0, 0, 100, "alpha of CutMix, DeiT's is 1; 0: none"),
    VST_OPTION_DOUBLE(vst_augment_options, mixup_prob, 1, 0, 1,
                      "probability of mixing a batch, if mixup or cutmix is on"),
    VST_OPTION_DOUBLE(vst_augment_options, mixup_switch_prob, 0.5, 0, 1, "probability of CutMix if both are on"),
    VST_OPTION_INT(vst_augment_options, repeats, 1, 1, 64,
                   "an epoch shows samples / repeats images, each so often and augmented differently; DeiT: 3"),
    VST_OPTION_INT(vst_augment_options, views, 0, 0, 1000000,
                   "so many views of each image, which epochs show in turn; 0: a new one each epoch"),
    VST_OPTION_BOOL(vst_augment_options, fast_decode, false,
                    "decode large JPEGs at 1/2, 1/4, 1/8 where the first policy shrinks them; other pixels than exact"),
    VST_OPTION_END};

static const vst_option optim_table[] = {
    VST_OPTION_CHOICE(vst_optim_options, name, "adamw", "sgd|adamw|lamb", "optimiser; lamb is meant with clip_norm: 1"),
    VST_OPTION_INT(vst_optim_options, batch, 128, 1, 65536, "images that are computed together"),
    VST_OPTION_INT(vst_optim_options, accumulate, 1, 1, 65536,
                   "batches whose gradients are averaged for a step, which has batch * accumulate images then"),
    VST_OPTION_DOUBLE(vst_optim_options, lr, 1e-3, 0, 100, "learning rate after warm-up; falls along a cosine"),
    VST_OPTION_DOUBLE(vst_optim_options, min_lr, 1e-5, 0, 100, "learning rate at the end"),
    VST_OPTION_DOUBLE(vst_optim_options, warmup_lr, 1e-6, 0, 100, "learning rate at the start of warm-up"),
    VST_OPTION_DOUBLE(vst_optim_options, warmup_epochs, 1, 0, 10000, "epochs of linear warm-up"),
    VST_OPTION_BOOL(
        vst_optim_options, warmup_prefix, true,
        "the cosine begins after the warm-up; false: with the run, so that warm-up hides its beginning, as DeiT"),
    VST_OPTION_CHOICE(vst_optim_options, lr_rule, "none", "none|linear|sqrt",
                      "scales lr, which is for lr_batch images, to those of a step"),
    VST_OPTION_INT(vst_optim_options, lr_batch, 512, 1, 65536,
                   "images of a step that lr is meant for, unless lr_rule is none"),
    VST_OPTION_DOUBLE(vst_optim_options, momentum, 0.9, 0, 0.999999, "sgd"),
    VST_OPTION_DOUBLE(vst_optim_options, beta1, 0.9, 0, 0.999999, "adamw, lamb: decay of the mean gradient"),
    VST_OPTION_DOUBLE(vst_optim_options, beta2, 0.999, 0, 0.9999999, "adamw, lamb: decay of the mean squared gradient"),
    VST_OPTION_DOUBLE(vst_optim_options, epsilon, 1e-8, 1e-16, 1,
                      "adamw, lamb: added to the root of the squared gradient"),
    VST_OPTION_DOUBLE(vst_optim_options, weight_decay, 0.05, 0, 10, "of weights; not of biases and norms"),
    VST_OPTION_DOUBLE(vst_optim_options, clip_norm, 0, 0, 1e6, "longest gradient norm; 0: no clipping"),
    VST_OPTION_DOUBLE(vst_optim_options, ema_decay, 0, 0, 0.9999999,
                      "moving average of the weights, once a step; 0: none"),
    VST_OPTION_CHOICE(vst_optim_options, weights, "average", "average|raw",
                      "what the model file gets if there is an average; both are evaluated. DeiT's results are raw"),
    VST_OPTION_BOOL(vst_optim_options, nesterov, true, "sgd: Nesterov's momentum"),
    VST_OPTION_DOUBLE(vst_optim_options, smoothing, 0, 0, 0.999999, "label smoothing"),
    VST_OPTION_CHOICE(vst_optim_options, loss, "ce", "ce|bce",
                      "of the labels: cross-entropy, or as DeiT-III each class's own, whose answer is target > 0"),
    VST_OPTION_END};

static const vst_option distill_table[] = {
    VST_OPTION_STRING(vst_distill_options, teacher, NULL, "model file of the teacher, or several with commas between"),
    VST_OPTION_DOUBLE(vst_distill_options, label_weight, 0.5, 0, 1e6,
                      "of the cross-entropy with the labels, beside the terms; without terms it is 1"),
    VST_OPTION_STRING(vst_distill_options, cache, NULL,
                      "folder with the teachers' answers, made by `vistill cache build`; empty: they run in training"),
    VST_OPTION_CHOICE(vst_distill_options, cache_precision, "half", "half|float",
                      "of the answers in the cache; with float training is the same bit for bit"),
    VST_OPTION_INT(vst_distill_options, cache_topk, 0, 0, 100000000,
                   "cache only so many of the largest logits, and the sum of the others; 0: all"),
    VST_OPTION_END};

const vst_option vst_term_table[] = {
    VST_OPTION_STRING(vst_term_options, distance, NULL, "kl, hard, mse …: how student and teacher are compared"),
    VST_OPTION_STRING(vst_term_options, student, "logits", "tap of the student: logits, logits_dist, blocks.3 …"),
    VST_OPTION_STRING(
        vst_term_options, from, "teacher",
        "who teaches: teacher (or 1), 2 … of several, ema: the student's moving average, student: itself"),
    VST_OPTION_STRING(vst_term_options, teacher, "logits", "tap of who teaches: logits, layer3, features.-1 …"),
    VST_OPTION_DOUBLE(vst_term_options, weight, 0.5, 0, 1e6, "of the term in the loss"),
    VST_OPTION_DOUBLE(vst_term_options, temperature, 1, 1e-3, 1000, "kl: softens both distributions"),
    VST_OPTION_CHOICE(vst_term_options, reduction, "batchmean", "batchmean|elements",
                      "kl: mean over the batch, or over batch and classes as DeiT's code does"),
    VST_OPTION_CHOICE(vst_term_options, tokens, "patches", "patches|all|class",
                      "of a transformer's tokens: the patches as a grid, all, or the class token"),
    VST_OPTION_CHOICE(vst_term_options, align, "larger", "larger|smaller|none",
                      "grids that differ: resized to the larger, pooled to the smaller, or refused"),
    VST_OPTION_CHOICE(
        vst_term_options, projector, "none", "none|linear|mlp|norm",
        "brings the student's channels to the teacher's: 1x1 convolution, two of them, one with batch norm"),
    VST_OPTION_CHOICE(vst_term_options, transform, "none", "none|standardize|unit|attention|relation",
                      "logits standardised, channels of length 1, energy map, places among each other"),
    VST_OPTION_CHOICE(vst_term_options, schedule, "constant", "constant|up|down",
                      "of the weight between `begin` and `end`: as it is, from 0 up, down to 0"),
    VST_OPTION_DOUBLE(vst_term_options, begin, 0, 0, 100000, "epoch from which the schedule counts"),
    VST_OPTION_DOUBLE(vst_term_options, end, 0, 0, 100000, "epoch to which it counts; 0: the run's last"),
    VST_OPTION_END};

static const vst_option run_table[] = {
    VST_OPTION_INT(vst_run_options, epochs, 10, 1, 100000, "passes over the training samples"),
    VST_OPTION_INT(vst_run_options, seed, 0, 0, 2147483647, "of weights, order and augmentation"),
    VST_OPTION_INT(vst_run_options, threads, 0, 0, 4096, "of computation; 0: all processors"),
    VST_OPTION_STRING(vst_run_options, output, NULL, "run folder; empty: runs/NAME"),
    VST_OPTION_INT(vst_run_options, eval_batch, 250, 1, 65536, "images in a step of evaluation"),
    VST_OPTION_STRING(vst_run_options, start, NULL,
                      "weights to begin with, a model file or what `vistill import` reads; positions are resized"),
    VST_OPTION_BOOL(vst_run_options, new_head, false, "run.start: the classifier begins afresh, for other classes"),
    VST_OPTION_INT(
        vst_run_options, recover, 0, 0, 100,
        "a value is not finite: go back to the last checkpoint, halve the learning rate, so many times; 0: stop"),
    VST_OPTION_DOUBLE(vst_run_options, log_seconds, 10, 0, 86400,
                      "between lines in log.txt within an epoch; 0: one line an epoch"),
    VST_OPTION_END};

const vst_recipe_section *vst_recipe_sections(void) {
    static const vst_recipe_section sections[] = {
        {"data", data_table, offsetof(vst_recipe, data)},    {"augment", augment_table, offsetof(vst_recipe, augment)},
        {"optim", optim_table, offsetof(vst_recipe, optim)}, {"distill", distill_table, offsetof(vst_recipe, distill)},
        {"run", run_table, offsetof(vst_recipe, run)},       {NULL, NULL, 0}};
    return sections;
}

static const char *const top_keys[] = {"base", "name", "model", "data", "augment", "optim", "distill", "run", NULL};

static void *section_of(const vst_recipe_section *section, vst_recipe *recipe) {
    return (char *)recipe + section->offset;
}

static const vst_recipe_section *find_section(const char *name, size_t length) {
    const vst_recipe_section *section = vst_recipe_sections();
    while (section->name && (strlen(section->name) != length || memcmp(section->name, name, length) != 0)) section++;
    return section->name ? section : NULL;
}

/* ---- Errors ---- */

static const char *place(const char *file, const vst_yaml *node, char where[WHERE_TEXT]) {
    snprintf(where, WHERE_TEXT, "%.1000s:%d:%d", file, node->line, node->column);
    return where;
}

/* Completes an error of the options, which begins with the key or with `unknown key "…"`, by where it is:
 * `file:12:3: unknown key "lrr" in optim; did you mean "lr"?`, `file:12:3: optim.lr = 900: allowed is 0 … 100`. */
static vst_status located(vst_status status, const char *where, const char *section, const char *key) {
    static const char unknown[] = "unknown key \"";
    if (status == VST_OK || status == VST_ERROR_MEMORY) return status;
    const char *message = vst_error_message();
    if (strncmp(message, unknown, strlen(unknown)) == 0) {
        const size_t length = strlen(key), head = strlen(unknown) + (length < 100 ? length : 100) + 1;
        if (head <= strlen(message))
            return vst_fail(status, "%s: %.*s in %s%s", where, (int)head, message, section, message + head);
    }
    if (strncmp(message, key, strlen(key)) == 0) return vst_fail(status, "%s: %s.%s", where, section, message);
    return vst_fail(status, "%s: %s.%s: %s", where, section, key, message);
}

/* ---- Applying values; `where` says from where they come ---- */

static vst_status set_model_name(vst_recipe *recipe, const char *where, const char *name) {
    vst_model_config *model;
    const vst_status status = vst_model_config_create(&model, name);
    if (status != VST_OK) return status == VST_ERROR_MEMORY ? status : vst_fail_in(status, "%s", where);
    vst_model_config_destroy(recipe->model);
    recipe->model = model;
    return VST_OK;
}

static vst_status set_model_key(vst_recipe *recipe, const char *where, const char *key, const char *value) {
    if (!recipe->model)
        return vst_fail(VST_ERROR_FORMAT,
                        "%s: model.name is missing: give the variant first; `vistill models` lists them", where);
    return located(vst_model_config_set(recipe->model, key, value), where, "model", key);
}

/* The text of a key's value; a list only where the table declares one. */
static vst_status value_of(const char *file, const vst_yaml *node, const vst_option *table, char **text) {
    const vst_option *option = vst_options_find(table, node->key);
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
    VST_TRY(value_of(file, node, table, &text));
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
        static const vst_option none[] = {VST_OPTION_END};
        if (child == name) continue;
        vst_free(text);
        VST_TRY(value_of(file, child, recipe->model ? recipe->model->backbone->options : none, &text));
        VST_TRY(set_model_key(recipe, place(file, child, where), child->key, text));
    }
out:
    vst_free(text);
    return status;
}

static void clear_terms(vst_recipe *recipe) {
    for (int i = 0; i < recipe->term_count; i++) vst_options_clear(vst_term_table, &recipe->terms[i]);
    memset(recipe->terms, 0, sizeof recipe->terms);
    recipe->term_count = 0;
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
        VST_TRY(vst_yaml_expect(file, item, VST_YAML_MAP, section));
        vst_term_options *term = &recipe->terms[recipe->term_count++];
        VST_TRY(vst_options_default(vst_term_table, term));
        for (const vst_yaml *child = item->first; child; child = child->next)
            VST_TRY(apply_key(file, child, vst_term_table, term, section));
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
    const vst_yaml *preset = section->options == distill_table ? vst_yaml_find(node, "preset") : NULL;
    if (preset) VST_TRY(apply_preset_key(recipe, file, preset));
    for (const vst_yaml *child = node->first; child; child = child->next) {
        if (child == preset) continue;
        if (section->options == distill_table && strcmp(child->key, "terms") == 0)
            VST_TRY(apply_terms(recipe, file, child));
        else VST_TRY(apply_key(file, child, section->options, section_of(section, recipe), section->name));
    }
out:
    return status;
}

/* ---- Files ---- */

typedef struct layer { /* a file and those that asked for it */
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
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND, "%s: base: %s: %m; it is looked for beside the recipe",
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

/* Reads what the file inherits, then the file. */
static vst_status read_layer(vst_recipe *recipe, layer *self) {
    vst_status status = VST_OK;
    vst_yaml *root = NULL;
    VST_TRY(vst_yaml_read(&root, self->path));
    const vst_yaml *runs = vst_yaml_find(root, "runs");
    if (runs)
        VST_TRY(vst_yaml_fail(self->path, runs, "this is a study, not a recipe: use `vistill study %s`", self->path));
    VST_TRY(vst_yaml_known(self->path, root, "a recipe", top_keys));
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
    return located(vst_options_set(vst_term_table, &recipe->terms[index], end + 1, value), where, section, end + 1);
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

vst_status vst_recipe_read(vst_recipe **out, const char *path, const char *const *settings, int setting_count) {
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
    status = vst_recipe_check(recipe);
    if (status != VST_OK) VST_TRY(vst_fail_in(status, "%s", path));
    *out = recipe;
    recipe = NULL;
out:
    vst_recipe_destroy(recipe);
    return status;
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

/* ---- Checks across keys ---- */

int vst_teacher_count(const vst_recipe *recipe) {
    const char *list = recipe->distill.teacher;
    int count = list && *list;
    for (; list && *list; list++) count += *list == ',';
    return count;
}

char *vst_teacher_path(const vst_recipe *recipe, int index) {
    const char *from = recipe->distill.teacher;
    VST_ASSERT(index >= 0 && index < vst_teacher_count(recipe));
    for (; index > 0; index--) from = strchr(from, ',') + 1;
    while (isspace((unsigned char)*from)) from++;
    size_t length = strcspn(from, ",");
    while (length && isspace((unsigned char)from[length - 1])) length--;
    return vst_format("%.*s", (int)length, from);
}

/* Is there who the term would learn from? */
static vst_status check_source(const vst_recipe *recipe, int index) {
    const vst_term_options *term = &recipe->terms[index];
    const int source = vst_term_source(term);
    if (source == VST_FROM_NOWHERE)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.terms.%d.from = '%s': expected teacher, a number from 1 to %d, student or ema", index,
                        term->from, VST_MAX_TEACHERS);
    if (source >= vst_teacher_count(recipe))
        return vst_fail(VST_ERROR_ARGUMENT,
                        source == 0 ? "distill.terms need a teacher: set distill.teacher to its model file, or "
                                      "remove them (distill.terms.%d is the first)"
                                    : "distill.terms.%d.from: distill.teacher names fewer teachers",
                        index);
    if (source == VST_FROM_AVERAGE && recipe->optim.ema_decay <= 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.terms.%d.from = ema: the student has no moving average; set optim.ema_decay, "
                        "0.99 in a short run",
                        index);
    return VST_OK;
}

static vst_status check_term(const vst_recipe *recipe, int index) {
    const vst_term_options *term = &recipe->terms[index];
    const char *missing = !term->distance ? "distance" : !term->student ? "student" : !term->teacher ? "teacher" : NULL;
    if (missing) return vst_fail(VST_ERROR_ARGUMENT, "distill.terms.%d.%s is missing", index, missing);
    const double end = term->end > 0 ? term->end : recipe->run.epochs;
    if (term->begin >= end)
        return vst_fail(VST_ERROR_ARGUMENT, "distill.terms.%d.begin = %g is not before its end, epoch %g", index,
                        term->begin, end);
    return check_source(recipe, index);
}

bool vst_recipe_cached(const vst_recipe *recipe) { return recipe->distill.cache && *recipe->distill.cache; }

/* Only what a teacher's file says can be cached. */
static vst_status check_cache(const vst_recipe *recipe) {
    if (!vst_recipe_cached(recipe)) return VST_OK;
    for (int i = 0; i < recipe->term_count; i++)
        if (vst_term_source(&recipe->terms[i]) >= 0) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "distill.cache is set, but no term learns from a teacher's file: remove it");
}

static vst_status check_distill(const vst_recipe *recipe) {
    const vst_distill_options *distill = &recipe->distill;
    vst_status status = VST_OK;
    double weights = distill->label_weight;
    if (distill->teacher && recipe->term_count == 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "distill.teacher is set but there are no distill.terms, so nothing would be distilled: "
                        "add a term, or remove the teacher");
    for (int i = 0; i < recipe->term_count; i++) {
        VST_TRY(check_term(recipe, i));
        weights += recipe->terms[i].weight;
    }
    if (recipe->term_count && weights <= 0)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "distill.label_weight and the weights of all distill.terms are 0: nothing would be "
                         "learnt"));
    VST_TRY(check_cache(recipe));
    if (recipe->data.labelled > 0 && !recipe->term_count)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT,
                         "data.labelled = %d needs a teacher for the samples without labels: use data.limit to "
                         "train on fewer samples",
                         recipe->data.labelled));
out:
    return status;
}

/* The list is built once more by the training; here only to refuse it before any data is read. */
static vst_status check_augment(const vst_recipe *recipe) {
    const vst_augment_options *options = &recipe->augment;
    vst_augment *augment = NULL;
    if ((options->mixup > 0 || options->cutmix > 0) && recipe->optim.batch % 2)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optim.batch = %d is odd, but augment.mixup and augment.cutmix pair the images of a batch",
                        recipe->optim.batch);
    if (options->views && (options->mixup > 0 || options->cutmix > 0))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "augment.views = %d: views cannot repeat where augment.mixup or augment.cutmix make "
                        "them anew in each batch: set views to 0, or both of these",
                        options->views);
    if (options->views && options->repeats > 1)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "augment.views = %d and augment.repeats = %d: repeated images are new views: set one of "
                        "them to its default, 0 and 1",
                        options->views, options->repeats);
    const vst_status status = vst_augment_create(&augment, options->train ? options->train : "");
    vst_augment_destroy(augment);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "augment.train");
}

vst_status vst_recipe_check(const vst_recipe *recipe) {
    const vst_optim_options *optim = &recipe->optim;
    const vst_data_options *data = &recipe->data;
    if (!recipe->model)
        return vst_fail(VST_ERROR_ARGUMENT, "model.name is missing; `vistill models` lists the variants");
    if (!data->path) return vst_fail(VST_ERROR_ARGUMENT, "data.path is missing: the folder or file of the data set");
    if (optim->warmup_epochs >= recipe->run.epochs)
        return vst_fail(VST_ERROR_ARGUMENT, "optim.warmup_epochs = %g is not shorter than run.epochs = %d",
                        optim->warmup_epochs, recipe->run.epochs);
    if (optim->lr_rule == VST_LR_RULE_NONE && optim->min_lr > optim->lr)
        return vst_fail(VST_ERROR_ARGUMENT, "optim.min_lr = %g is above optim.lr = %g", optim->min_lr, optim->lr);
    if (data->limit > 0 && vst_step_images(optim) > data->limit)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optim.batch = %d by optim.accumulate = %d is more than data.limit = %d: no step "
                        "would be full",
                        optim->batch, optim->accumulate, data->limit);
    if (optim->loss == VST_LOSS_BCE && optim->smoothing > 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "optim.smoothing = %g with optim.loss = bce: every class would be right, for its "
                        "target is above 0; set optim.smoothing to 0",
                        optim->smoothing);
    if (recipe->run.new_head && !recipe->run.start)
        return vst_fail(VST_ERROR_ARGUMENT, "run.new_head is about the classifier of run.start, which is not set");
    if (data->limit > 0 && data->labelled > data->limit)
        return vst_fail(VST_ERROR_ARGUMENT, "data.labelled = %d is more than data.limit = %d", data->labelled,
                        data->limit);
    const vst_status status = check_augment(recipe);
    return status == VST_OK ? check_distill(recipe) : status;
}

/* ---- Writing ---- */

/* "key: value" of one option; strings are quoted, unset ones are ~. */
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

static bool write_terms(FILE *file, const vst_recipe *recipe) {
    fprintf(file, "  terms:%s\n", recipe->term_count ? "" : " []");
    for (int i = 0; i < recipe->term_count; i++)
        for (const vst_option *option = vst_term_table; option->type != VST_TYPE_END; option++)
            if (!write_option(file, option == vst_term_table ? "    - " : "      ", option, &recipe->terms[i]))
                return false;
    return true;
}

static bool write_recipe(FILE *file, const vst_recipe *recipe) {
    char *name = vst_yaml_quote(recipe->name);
    if (name) fprintf(file, "name: %s\n\n", name);
    vst_free(name);
    if (!name) return false;
    fprintf(file, "model:\n  name: %s\n", recipe->model->variant);
    if (!write_table(file, "  ", recipe->model->backbone->options, recipe->model->options)) return false;
    for (const vst_recipe_section *section = vst_recipe_sections(); section->name; section++) {
        fprintf(file, "\n%s:\n", section->name);
        if (!write_table(file, "  ", section->options, (const char *)recipe + section->offset)) return false;
        if (section->options == distill_table && !write_terms(file, recipe)) return false;
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
