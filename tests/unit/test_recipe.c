/* Recipes and studies: defaults, inheritance, settings, the text of every kind of error, and the way back to YAML;
 * tables and the progress line. */
#include <check.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipes/config/recipe.h"
#include "recipes/config/study_file.h"
#include "recipes/config/yaml.h"
#include "recipes/distill/distances/distance.h"
#include "recipes/model/model.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
#define MODEL "model: {name: resnet8_cifar}\n"
#define DATA "data: {path: images}\n"

static void enter_folder(void) { enter_own_folder("recipe"); }

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static vst_recipe *read_text(const char *text, const char *const *settings, int count) {
    vst_recipe *recipe;
    write_text("x.yaml", text);
    ck_ok(vst_recipe_read(&recipe, "x.yaml", settings, count));
    return recipe;
}

static void expect_message(vst_status status, const char *expected) {
    ck_assert_int_ne(status, VST_OK);
    ck_assert_msg(strstr(vst_error_message(), expected) != NULL, "\"%s\" is not in: %s", expected, vst_error_message());
}

static char *model_value(const vst_recipe *recipe, const char *key) {
    return vst_options_get(vst_options_find(recipe->model->backbone->options, key), recipe->model->options);
}

static void expect_model(const vst_recipe *recipe, const char *key, const char *expected) {
    char *value = model_value(recipe, key);
    ck_assert_str_eq(value, expected);
    vst_free(value);
}

static void expect_own(const vst_recipe *recipe, int term, const char *key, const char *expected) {
    const vst_option *option = vst_options_find(vst_term_own_table(&recipe->terms[term]), key);
    ck_assert_ptr_nonnull(option);
    char *value = vst_options_get(option, recipe->terms[term].own);
    ck_assert_str_eq(value, expected);
    vst_free(value);
}

/* ---- Reading ---- */

START_TEST(defaults) {
    vst_recipe *recipe = read_text(MODEL DATA, NULL, 0);
    ck_assert_str_eq(recipe->name, "x");
    ck_assert_str_eq(recipe->model->variant, "resnet8_cifar");
    ck_assert_str_eq(recipe->data.path, "images");
    ck_assert_str_eq(recipe->data.format, "auto");
    ck_assert_ptr_null(recipe->augment.train);
    ck_assert_ptr_null(recipe->distill.teacher);
    ck_assert_ptr_null(recipe->run.output);
    ck_assert_str_eq(vst_optim_name(&recipe->optim), "adamw");
    ck_assert_int_eq(recipe->optim.batch, 128);
    ck_assert_double_eq(recipe->optim.lr, 1e-3);
    ck_assert_double_eq(recipe->optim.beta2, 0.999);
    ck_assert(recipe->optim.nesterov);
    ck_assert_int_eq(recipe->run.epochs, 10);
    ck_assert_int_eq(recipe->term_count, 0);
    vst_recipe_destroy(recipe);
}
END_TEST

START_TEST(values) {
    vst_recipe *recipe = read_text(
        "# a comment\n"
        "model:\n  name: resnet20_cifar\n  width: 24\n  mean: [0.5, 0.25, 0.125]\n  channels: 3\n"
        "data: {path: \"a: b #c\", validation: 500}\n"
        "augment:\n"
        "optim:\n  name: sgd\n  lr: 1e-1\n  nesterov: no\n  lr_rule: linear\n"
        "distill:\n  teacher: teacher.safetensors\n  label_weight: 0\n  terms:\n"
        "    - {distance: kl, temperature: 4}\n"
        "    - distance: mse\n      student: blocks.3\n      projector: linear\n"
        "run: {output: ~}\n",
        NULL, 0);
    expect_model(recipe, "width", "24");
    expect_model(recipe, "mean", "[0.5, 0.25, 0.125]");
    ck_assert_str_eq(recipe->data.path, "a: b #c");
    ck_assert_int_eq(recipe->data.validation, 500);
    ck_assert_str_eq(vst_optim_name(&recipe->optim), "sgd");
    ck_assert(!recipe->optim.nesterov);
    ck_assert_int_eq(recipe->optim.lr_rule, VST_LR_RULE_LINEAR);
    ck_assert_int_eq(recipe->term_count, 2);
    ck_assert_str_eq(recipe->terms[0].distance, "kl");
    expect_own(recipe, 0, "temperature", "4");
    ck_assert_double_eq(recipe->terms[0].weight, 0.5);
    ck_assert_str_eq(recipe->terms[1].student, "blocks.3");
    ck_assert_str_eq(recipe->terms[1].teacher, "logits");
    ck_assert_int_eq(recipe->terms[1].projector, 1);
    ck_assert_ptr_null(recipe->run.output);
    vst_recipe_destroy(recipe);
}
END_TEST

START_TEST(inheritance) {
    vst_recipe *recipe;
    ck_assert_int_eq(system("mkdir -p conf/common"), 0);
    write_text("conf/common/base.yaml", "name: base\nmodel: {name: resnet20_cifar, width: 24}\n" DATA
                                        "optim: {lr: 0.5, batch: 32}\n"
                                        "distill: {teacher: t, terms: [{distance: kl}, {distance: mse}]}\n");
    write_text("conf/a.yaml", "base: common/base.yaml\noptim: {lr: 0.25}\nmodel: {depth: 8}\n");
    write_text("conf/b.yaml",
               "optim: {min_lr: 0}\nmodel: {name: resnet14_cifar}\n"
               "distill: {terms: [{distance: hard}]}\nbase: a.yaml\n");
    ck_ok(vst_recipe_read(&recipe, "conf/a.yaml", NULL, 0));
    ck_assert_str_eq(recipe->name, "a");
    ck_assert_double_eq(recipe->optim.lr, 0.25);
    ck_assert_int_eq(recipe->optim.batch, 32);
    ck_assert_int_eq(recipe->term_count, 2);
    expect_model(recipe, "width", "24");
    expect_model(recipe, "depth", "8");
    vst_recipe_destroy(recipe);
    ck_ok(vst_recipe_read(&recipe, "conf/b.yaml", NULL, 0));
    ck_assert_double_eq(recipe->optim.lr, 0.25);
    ck_assert_double_eq(recipe->optim.min_lr, 0);
    ck_assert_str_eq(recipe->model->variant, "resnet14_cifar");
    expect_model(recipe, "width", "16"); /* a new name starts afresh */
    expect_model(recipe, "depth", "14");
    ck_assert_int_eq(recipe->term_count, 1);
    ck_assert_str_eq(recipe->terms[0].distance, "hard");
    vst_recipe_destroy(recipe);
}
END_TEST

START_TEST(inheritance_errors) {
    vst_recipe *recipe;
    write_text("a.yaml", "base: b.yaml\n" MODEL DATA);
    write_text("b.yaml", "base: ./c.yaml\n");
    write_text("c.yaml", "optim:\n  lr: 1\nbase: a.yaml\n");
    expect_message(vst_recipe_read(&recipe, "a.yaml", NULL, 0), "c.yaml:3:1: base: ./a.yaml inherits from itself");
    ck_assert_ptr_null(recipe);
    write_text("b.yaml", "base: missing.yaml\n");
    expect_message(vst_recipe_read(&recipe, "a.yaml", NULL, 0), "b.yaml:1:1: base: missing.yaml: No such file");
    write_text("b.yaml", "optim: {lr: fast}\n"); /* the error names the inherited file */
    expect_message(vst_recipe_read(&recipe, "a.yaml", NULL, 0),
                   "b.yaml:1:9: optim.lr: expected a number, got \"fast\"");
    expect_message(vst_recipe_read(&recipe, "none.yaml", NULL, 0), "none.yaml: cannot be opened");
    for (int i = 0; i < 9; i++) {
        char name[20], text[64];
        snprintf(name, sizeof name, "%d.yaml", i);
        snprintf(text, sizeof text, "base: %d.yaml\n" MODEL DATA, i + 1);
        write_text(name, i < 8 ? text : MODEL DATA);
    }
    expect_message(vst_recipe_read(&recipe, "0.yaml", NULL, 0), "more than 8 recipes inherit from each other");
    ck_ok(vst_recipe_read(&recipe, "1.yaml", NULL, 0));
    vst_recipe_destroy(recipe);
}
END_TEST

START_TEST(settings) {
    const char *const list[] = {"optim.lr=2e-3",
                                "model.width=96",
                                "distill.teacher=a=b",
                                "distill.terms=[{distance: kl}, {distance: mse, weight: 2}]",
                                "distill.terms.1.weight=0.125",
                                "model.mean=0.5",
                                "augment.train=crop:padding=2, flip"};
    vst_recipe *recipe = read_text(MODEL DATA, list, 7);
    ck_assert_double_eq(recipe->optim.lr, 2e-3);
    expect_model(recipe, "width", "96");
    ck_assert_str_eq(recipe->distill.teacher, "a=b");
    ck_assert_int_eq(recipe->term_count, 2);
    ck_assert_double_eq(recipe->terms[1].weight, 0.125);
    ck_assert_str_eq(recipe->augment.train, "crop:padding=2, flip");
    vst_recipe_destroy(recipe);
    const char *const off[] = {"distill.terms=[]", "distill.teacher=", "model.name=resnet14_cifar"};
    recipe = read_text(MODEL DATA "distill: {teacher: t, terms: [{distance: kl}]}\n", off, 3);
    ck_assert_int_eq(recipe->term_count, 0);
    ck_assert_ptr_null(recipe->distill.teacher);
    ck_assert_str_eq(recipe->model->variant, "resnet14_cifar");
    vst_recipe_destroy(recipe);
}
END_TEST

static const struct {
    const char *setting, *message;
} setting_errors[] = {
    {"optim.lr", "--set optim.lr: expected KEY=VALUE"},
    {"optim.lrr=1", "--set optim.lrr=1: unknown key \"lrr\" in optim; did you mean \"lr\"?"},
    {"optim.lr=-1", "--set optim.lr=-1: optim.lr = -1: allowed is 0 … 100"},
    {"optm.lr=1", "--set optm.lr=1: unknown key \"optm\" in a recipe; did you mean \"optim\"?"},
    {"optim=1", "--set optim=1: expected SECTION.KEY=VALUE"},
    {"model.widht=1", "--set model.widht=1: unknown key \"widht\" in model; did you mean \"width\"?"},
    {"model.name=resnet9", "--set model.name=resnet9: there is no model \"resnet9\""},
    {"distill.terms.0.weight=1", "expected distill.terms.N.key with N below 0"},
    {"distill.terms=kl", "distill.terms: expected a list, got a single value"},
    {"distill.terms=[", "--set distill.terms=[:2:1: not valid YAML"},
    {"distill.terms=[{distance: kl, temprature: 2}]",
     ":1:17: unknown key \"temprature\" in distill.terms.0; did you mean \"temperature\"? (options of the distance kl: "
     "temperature, reduction)"},
    {"lr=3", "--set lr=3: unknown key \"lr\" in a recipe; did you mean optim.lr?"},
    {"epochs=3", "unknown key \"epochs\" in a recipe; did you mean run.epochs?"},
    {"--batch-size=64", "unknown key \"--batch-size\" in a recipe; did you mean optim.batch?"},
    {"model.img_size=224", "unknown key \"img_size\" in model; did you mean model.image?"},
    {"model.num_classes=3", "unknown key \"num_classes\" in model; did you mean model.classes?"},
    {"model.pretrained=true", "unknown key \"pretrained\" in model; did you mean run.start: FILE"},
    {"optim.batch_size=8", "unknown key \"batch_size\" in optim; did you mean optim.batch?"},
    {"run.batch=8", "unknown key \"batch\" in run; did you mean optim.batch?"},
    {"augment.hflip=0.5", "unknown key \"hflip\" in augment; did you mean augment.train: \"…, flip\"?"},
    {"augment.train=hflip", "augment.train: there is no augmentation 'hflip'; did you mean \"flip\"?"},
    {"data.name=x", "unknown key \"name\" in data; known are path"}, /* which of several names, nobody knows */
};

START_TEST(bad_settings) {
    vst_recipe *recipe;
    write_text("x.yaml", MODEL DATA);
    expect_message(vst_recipe_read(&recipe, "x.yaml", &setting_errors[_i].setting, 1), setting_errors[_i].message);
}
END_TEST

static const struct {
    const char *text, *message;
} errors[] = {
    {"", "x.yaml: the file is empty"},
    {"- a\n", "x.yaml:1:1: the file: expected keys with values, got a list"},
    {"optim:\n  lrr: 1\n", "x.yaml:2:3: unknown key \"lrr\" in optim; did you mean \"lr\"?"},
    {"optim:\n  qqqqqq: 1\n", "x.yaml:2:3: unknown key \"qqqqqq\" in optim; known are name, options, batch"},
    {"optim:\n  lr: 900\n", "x.yaml:2:3: optim.lr = 900: allowed is 0 … 100"},
    {"optim:\n  lr: [1]\n", "x.yaml:2:3: lr: expected a single value, got a list"},
    {"optim:\n  lr:\n", "x.yaml:2:3: optim.lr: expected a number, got \"\""},
    {"optim:\n  name: adamv\n",
     "x.yaml:2:3: optim.name: expected one of adam|adamw|adan|lamb|lion|nadam|rmsprop|sgd, got \"adamv\"; did you mean "
     "\"adam\"?"},
    {"optim: 3\n", "x.yaml:1:1: optim: expected keys with values, got a single value"},
    {"batch_size: 64\n", "x.yaml:1:1: unknown key \"batch_size\" in a recipe; did you mean optim.batch?"},
    {"optimizer: {lr: 1}\n", "x.yaml:1:1: unknown key \"optimizer\" in a recipe; did you mean optim.name?"},
    {"teacher: t\n", "x.yaml:1:1: unknown key \"teacher\" in a recipe; did you mean distill.teacher?"},
    {MODEL "data: {num_workers: 2}\n", "x.yaml:2:8: unknown key \"num_workers\" in data; did you mean data.workers?"},
    {"optin: {}\n", "x.yaml:1:1: unknown key \"optin\" in a recipe; did you mean \"optim\"?"},
    {"study: x\nruns: []\n", "x.yaml:2:1: this is a study, not a recipe"},
    {"optim: {lr: 1, lr: 2}\n", "x.yaml:1:16: \"lr\" was already given in line 1"},
    {"run: {}\noptim: {}\nrun: {}\n", "x.yaml:3:1: \"run\" was already given in line 1"},
    {"optim:\n\tlr: 1\n", "x.yaml:2:1: not valid YAML"},
    {"optim: &a {lr: 1}\n", "x.yaml:1:8: anchors"},
    {"optim: {lr: &a 1}\n", "x.yaml:1:13: anchors"},
    {"optim: *a\n", "x.yaml:1:8: aliases"},
    {"optim: !!map {}\n", "x.yaml:1:8: tags"},
    {MODEL DATA "---\n" MODEL, "x.yaml:3:1: a second document"},
    {"? {a: b}\n: 1\n", "x.yaml:1:3: a key must be a single word"},
    {"a: \"x\\0y\"\n", "x.yaml:1:4: text contains a zero byte"},
    {"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", "nested deeper than 16 levels"},
    {"a: \xff\n", "x.yaml: byte 3: "},
    {"model: {width: 3}\n", "x.yaml:1:9: model.name is missing"},
    {"model: {name: resnet8_cifar, widht: 3}\n",
     "x.yaml:1:30: unknown key \"widht\" in model; did you mean \"width\"?"},
    {"model: {name: resnet8}\n", "x.yaml:1:9: there is no model \"resnet8\""},
    {"distill: {terms: [{weigth: 1}]}\n",
     "x.yaml:1:20: unknown key \"weigth\" in distill.terms.0; did you mean \"weight\"?"},
    {"distill: {terms: [{weigth: 1, distance: hard}]}\n",
     "x.yaml:1:20: unknown key \"weigth\" in distill.terms.0; did you mean \"weight\"? (the distance hard has no "
     "options "
     "of its own)"},
    {"distill:\n  terms:\n    - temprature: 1\n      distance: kl\n",
     "x.yaml:3:7: unknown key \"temprature\" in distill.terms.0; did you mean \"temperature\"? (options of the "
     "distance "
     "kl: temperature, reduction)"},
    {"distill: {terms: [{distance: hard, temperature: 2}]}\n",
     "x.yaml:1:36: unknown key \"temperature\" in distill.terms.0; the distance hard has no such option; these have: "
     "kl"},
    {"distill: {terms: [{distance: hard, reduction: elements}]}\n",
     "unknown key \"reduction\" in distill.terms.0; the distance hard has no such option; these have: kl"},
    {"distill: {terms: [{temperature: 2}]}\n", "the distance is missing and has no such option; these have: kl"},
    {"distill: {terms: [{distance: kll}]}\n",
     "x.yaml:1:20: distill.terms.0.distance: there is no distance \"kll\"; did you mean \"kl\"?"},
    {"distill: {terms: [{distance: spread}]}\n", "there is no distance \"spread\"; known are cosine, hard, kl"},
    {"distill: {terms: [{distance: kl, temperature: 0}]}\n",
     "x.yaml:1:34: distill.terms.0.temperature = 0: allowed is 0.001"},
    {"distill: {terms: [{distance: kl, reduction: [1]}]}\n", "reduction: expected a single value, got a list"},
    {"distill: {terms: [3]}\n", "x.yaml:1:19: distill.terms.0: expected keys with values"},
    {"distill: {terms: {}}\n", "x.yaml:1:11: distill.terms: expected a list"},
    {DATA, "x.yaml: model.name is missing"},
    {MODEL, "x.yaml: data.path is missing"},
    {MODEL DATA "optim: {min_lr: 1}\n", "x.yaml: optim.min_lr = 1 is above optim.lr = 0.001"},
    {MODEL "data: {path: d, limit: 64}\n", "optim.batch = 128 by optim.accumulate = 1 is more than data.limit = 64"},
    {MODEL DATA "augment: {mixup: 0.8}\noptim: {batch: 63}\n",
     "optim.batch = 63 is odd, but augment.mixup and augment.cutmix pair"},
    {MODEL DATA "augment: {train: \"crop, random_resized_crop:scale_min=0.9:scale_max=0.5\"}\n",
     "x.yaml: augment.train: augmentation random_resized_crop: scale_min 0.9 is above scale_max 0.5"},
    {MODEL DATA "augment: {train: \"rand_augment:policy=rand-x9\"}\n",
     "x.yaml: augment.train: augmentation rand_augment: \"rand-x9\": \"x9\" is not a part of a policy"},
    {MODEL DATA "augment: {train: spin}\n", "x.yaml: augment.train: there is no augmentation 'spin'"},
    {MODEL DATA "augment: {repeats: 0}\n", "x.yaml:3:11: augment.repeats = 0: allowed is 1"},
    {MODEL DATA "augment: {views: 2, cutmix: 1}\n", "augment.views = 2: views cannot repeat where augment.mixup"},
    {MODEL DATA "augment: {views: 2, repeats: 3}\n", "augment.views = 2 and augment.repeats = 3"},
    {MODEL DATA "distill: {cache: c, teacher_precision: bf16}\n",
     "distill.teacher_precision = bf16, but distill.cache holds answers"},
    {MODEL DATA "run: {start: x, quantization_aware: true, precision: bf16}\n", "set run.precision to f32"},
    {MODEL DATA "run: {precision: half}\n", "run.precision"},
    {MODEL DATA "distill: {cache: c}\n", "distill.cache is set, but no term learns from a teacher's file"},
    {MODEL "data: {path: d, labelled: 64}\n", "data.labelled = 64 needs a teacher"},
    {MODEL "data: {path: d, limit: 64}\noptim: {batch: 32, accumulate: 3}\n", "no step would be full"},
    {MODEL DATA "optim: {loss: bce, smoothing: 0.1}\n", "set optim.smoothing to 0"},
    {MODEL DATA "run: {new_head: true}\n", "run.start, which is not set"},
    {MODEL DATA "run: {start_entry: model}\n", "run.start_entry needs run.start, which is not set"},
    {MODEL DATA "distill: {teacher_model: resnet18}\n", "distill.teacher_model needs distill.teacher"},
    {MODEL DATA "distill: {terms: [{distance: kl}]}\n", "distill.terms need a teacher"},
    {MODEL DATA "distill: {teacher: t}\n", "nothing would be distilled"},
    {MODEL DATA "distill: {teacher: t, terms: [{weight: 1}]}\n", "distill.terms.0.distance is missing"},
    {MODEL DATA "distill: {teacher: t, label_weight: 0, terms: [{distance: kl, weight: 0}]}\n",
     "nothing would be learnt"},
};

START_TEST(bad_files) {
    vst_recipe *recipe;
    write_text("x.yaml", errors[_i].text);
    expect_message(vst_recipe_read(&recipe, "x.yaml", NULL, 0), errors[_i].message);
    ck_assert_ptr_null(recipe);
}
END_TEST

START_TEST(too_large) {
    vst_recipe *recipe;
    FILE *file = fopen("x.yaml", "wb");
    for (int i = 0; i < (1 << 20) + 1; i++) fputc('#', file);
    ck_assert_int_eq(fclose(file), 0);
    expect_message(vst_recipe_read(&recipe, "x.yaml", NULL, 0),
                   "x.yaml: 1048577 bytes, and a recipe or study has at most 1048576");
    file = fopen("x.yaml", "wb");
    for (int i = 0; i < 20000; i++) fprintf(file, "k%d: 1\n", i);
    ck_assert_int_eq(fclose(file), 0);
    expect_message(vst_recipe_read(&recipe, "x.yaml", NULL, 0), "more values than a recipe may have");
    expect_message(vst_recipe_read(&recipe, ".", NULL, 0), "not a regular file");
}
END_TEST

/* ---- Options of distances ---- */

START_TEST(options_of_a_distance) {
    const char *const list[] = {"distill.terms.0.temperature=2", "distill.terms.1.distance=kl",
                                "distill.terms.1.reduction=elements", "distill.terms.2.distance=kl",
                                "distill.terms.3.distance=mse"};
    vst_recipe *recipe = read_text(MODEL DATA
                                   "distill:\n  teacher: t\n  terms:\n"
                                   "    - {reduction: elements, temperature: 4, distance: kl}\n"
                                   "    - {distance: hard, weight: 2}\n"
                                   "    - {distance: kl, temperature: 4}\n"
                                   "    - {distance: kl, temperature: 4}\n",
                                   list, 5),
               *again;
    expect_own(recipe, 0, "temperature", "2");
    expect_own(recipe, 0, "reduction", "elements");
    expect_own(recipe, 1, "temperature", "1");
    expect_own(recipe, 1, "reduction", "elements");
    ck_assert_double_eq(recipe->terms[1].weight, 2);
    expect_own(recipe, 2, "temperature", "4"); /* the distance that it had */
    ck_assert_ptr_null(recipe->terms[3].own);
    char *text = vst_recipe_to_yaml(recipe);
    ck_assert_ptr_nonnull(strstr(text, "temperature: 2\n      reduction: elements\n    - distance: \"kl\""));
    ck_assert_ptr_null(strstr(strstr(text, "\"mse\""), "temperature"));
    write_text("recipe.yaml", text);
    ck_ok(vst_recipe_read(&again, "recipe.yaml", NULL, 0));
    char *second = vst_recipe_to_yaml(again);
    ck_assert_str_eq(text, second);
    vst_free(text);
    vst_free(second);
    vst_recipe_destroy(again);
    vst_recipe_destroy(recipe);
}
END_TEST

/* A run's recipe.yaml of version 0.1.0 has kl's options in every term. */
START_TEST(options_of_0_1_0) {
    vst_recipe *recipe =
        read_text(MODEL DATA
                  "distill:\n  teacher: \"t\"\n  terms:\n"
                  "    - distance: \"hard\"\n      student: \"logits\"\n      weight: 0.5\n      temperature: 1\n"
                  "      reduction: batchmean\n      tokens: patches\n"
                  "    - distance: \"kl\"\n      temperature: 3\n      reduction: elements\n",
                  NULL, 0);
    ck_assert_ptr_null(recipe->terms[0].own);
    expect_own(recipe, 1, "temperature", "3");
    expect_own(recipe, 1, "reduction", "elements");
    vst_recipe_destroy(recipe);
}
END_TEST

/* ---- The recipes that are shipped ---- */

/* Reads one, or the study that it is; data.yaml and the like are only what others inherit, presets a part. */
static int read_shipped(const char *path) {
    vst_recipe *recipe;
    vst_study *study;
    char *text;
    if (strstr(path, "data.yaml") || strstr(path, "taught.yaml") || strstr(path, "/presets/")) return 0;
    if (vst_recipe_read(&recipe, path, NULL, 0) != VST_OK) {
        ck_assert_msg(strstr(vst_error_message(), "this is a study") != NULL, "%s", vst_error_message());
        ck_ok(vst_study_read(&study, path));
        for (int i = 0; i < study->run_count; i++) {
            const vst_study_run *run = &study->runs[i];
            if (run->model_path) {
                vst_model *model;
                ck_ok(vst_model_read(&model, run->model_path));
                vst_model_destroy(model);
                continue;
            }
            if (!run->recipe_path) continue; /* a model that is there already */
            ck_ok(vst_recipe_read(&recipe, run->recipe_path, (const char *const *)run->settings, run->setting_count));
            vst_recipe_destroy(recipe);
        }
        vst_study_destroy(study);
        return 1;
    }
    ck_assert_ptr_nonnull(text = vst_recipe_to_yaml(recipe));
    vst_free(text);
    vst_recipe_destroy(recipe);
    return 1;
}

START_TEST(shipped_recipes) {
    static const char *const patterns[] = {VISTILL_SOURCE_DIR "/recipes/conf/*.yaml",
                                           VISTILL_SOURCE_DIR "/recipes/conf/imagenet/*.yaml",
                                           VISTILL_SOURCE_DIR "/recipes/conf/cifar10/*.yaml"};
    static const int least[] = {5, 15, 10};
    for (int i = 0; i < 3; i++) {
        glob_t found;
        int read = 0;
        ck_assert_int_eq(glob(patterns[i], 0, NULL, &found), 0);
        for (size_t k = 0; k < found.gl_pathc; k++) read += read_shipped(found.gl_pathv[k]);
        ck_assert_int_ge(read, least[i]);
        globfree(&found);
    }
}
END_TEST

/* Each inherits from another, so: what it comes to. */
START_TEST(imagenet_recipes) {
    static const struct {
        const char *name;
        int images, image;
        double lr, crop_pct; /* crop_pct: main.py's --eval-crop-ratio */
        const char *drop_path;
        bool taught, lamb, start;
    } list[] = {{"deit-tiny", 1024, 224, 5e-4, 0.875, "0.1", false, false, false},
                {"deit-base", 1024, 224, 5e-4, 0.875, "0.1", false, false, false},
                {"deit-small-distilled", 1024, 224, 5e-4, 0.875, "0.1", true, false, false},
                {"deit-base-distilled-1000", 1024, 224, 5e-4, 0.875, "0.1", true, false, false},
                {"deit-base-384", 512, 384, 5e-6, 0.875, "0", false, false, true},
                {"deit-base-distilled-384", 512, 384, 5e-6, 0.875, "0", true, false, true},
                {"deit3-small", 2048, 224, 4e-3, 1, "0.05", false, true, false},
                {"deit3-base", 2048, 192, 3e-3, 1, "0.2", false, true, false},
                {"deit3-base-224", 512, 224, 1e-5, 1, "0.2", false, false, true},
                {"deit3-small-384", 512, 384, 1e-5, 1, "0", false, false, true}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char path[1024], size[16];
        vst_recipe *r;
        snprintf(path, sizeof path, "%s/recipes/conf/imagenet/%s.yaml", VISTILL_SOURCE_DIR, list[i].name);
        snprintf(size, sizeof size, "size=%d", list[i].image);
        ck_ok(vst_recipe_read(&r, path, NULL, 0));
        ck_assert_int_eq((int)vst_step_images(&r->optim), list[i].images);
        ck_assert_int_eq(vst_model_common_of(r->model)->image, list[i].image);
        ck_assert_ptr_nonnull(strstr(r->augment.train, size));
        ck_assert_double_eq(vst_model_common_of(r->model)->crop_pct, list[i].crop_pct);
        char *drop_path =
            vst_options_get(vst_options_find(r->model->backbone->options, "drop_path"), r->model->options);
        ck_assert_str_eq(drop_path, list[i].drop_path);
        vst_free(drop_path);
        ck_assert_double_eq(r->optim.lr, list[i].lr);
        ck_assert(!r->optim.warmup_prefix);
        ck_assert_int_eq(r->term_count, list[i].taught);
        ck_assert_int_eq(r->optim.loss == VST_LOSS_BCE, list[i].lamb);
        ck_assert_int_eq(r->run.start != NULL, list[i].start);
        vst_recipe_destroy(r);
    }
}
END_TEST

/* ---- Writing ---- */

START_TEST(round_trip) {
    vst_recipe *again;
    const char *const list[] = {"optim.lr=0.30000000000000004", "data.path=a \"quoted\" \\ text: é\ttab"};
    vst_recipe *recipe =
        read_text("name: a name\nmodel: {name: deit_mini_distilled_patch4_28, mean: [0.5], dim: 96}\n" DATA
                  "distill: {teacher: '~', terms: [{distance: kl, transform: standardize}, {distance: mse}]}\n",
                  list, 2);
    char *text = vst_recipe_to_yaml(recipe), *second;
    ck_assert_ptr_nonnull(text);
    write_text("recipe.yaml", text);
    ck_ok(vst_recipe_read(&again, "recipe.yaml", NULL, 0));
    second = vst_recipe_to_yaml(again);
    ck_assert_str_eq(text, second);
    ck_assert_str_eq(again->name, "a name");
    ck_assert_double_eq(again->optim.lr, 0.30000000000000004);
    ck_assert_str_eq(again->data.path, "a \"quoted\" \\ text: é\ttab");
    ck_assert_str_eq(again->distill.teacher, "~");
    ck_assert_int_eq(again->term_count, 2);
    ck_assert(again->terms[0].transform == 1 && again->terms[1].transform == 0);
    expect_model(again, "dim", "96");
    vst_free(text);
    vst_free(second);
    vst_recipe_destroy(recipe);
    vst_recipe_destroy(again);
}
END_TEST

#define COMPARED \
    "model: {name: vit_mini_patch4_28}\n" DATA "distill: {teacher: t, terms: [{distance: kl}, {distance: mse}]}\n"

/* What decides nothing is not compared; what does is named with both values. */
START_TEST(comparison) {
    static const struct {
        const char *set, *differences;
    } cases[] = {{"run.epochs=10", ""}, /* its default */
                 {"data.path=elsewhere", ""},
                 {"data.test=elsewhere", ""},
                 {"data.format=tar", ""},
                 {"data.workers=7", ""},
                 {"distill.teacher=u", ""},
                 {"distill.cache=c", ""},
                 {"run.output=o", ""},
                 {"run.start=s", ""},
                 {"distill.teacher_entry=model", ""},
                 {"run.threads=7", ""},
                 {"run.log_seconds=7", ""},
                 {"run.save_minutes=7", ""},
                 {"run.eval_every=7", ""},
                 {"run.eval_batch=7", ""},
                 {"run.recover=7", ""},
                 {"run.epochs=20", "run.epochs was 10, is 20"},
                 {"optim.lr=0.25", "optim.lr was 0.001, is 0.25"},
                 {"augment.train=flip", "augment.train was unset, is flip"},
                 {"model.dim=96", "model.dim was 64, is 96"},
                 {"model.mean=[0.5, 0.25]", "model.mean was "},
                 {"model.name=deit_mini_distilled_patch4_28",
                  "model.name was vit_mini_patch4_28, is deit_mini_distilled_patch4_28"},
                 {"distill.terms.1.weight=2", "distill.terms.1.weight was 0.5, is 2"},
                 {"distill.terms=[{distance: kl}]", "distill.terms.1 was there, is not there"},
                 {"distill.terms=[{distance: kl}, {distance: mse}, {distance: mse}]",
                  "distill.terms.2 was not there, is there"}};
    vst_recipe *was = read_text(COMPARED, NULL, 0);
    char *text;
    for (size_t i = 0; i < COUNT(cases); i++) {
        vst_recipe *is = read_text(COMPARED, &cases[i].set, 1);
        ck_ok(vst_recipe_compare(was, is, false, &text));
        if (strcmp(cases[i].set, "model.mean=[0.5, 0.25]") == 0) text[strlen(cases[i].differences)] = 0;
        ck_assert_str_eq(text, cases[i].differences);
        vst_free(text);
        vst_recipe_destroy(is);
    }
    const char *const longer[] = {"run.epochs=20", "optim.lr=0.25"};
    for (int extend = 0; extend < 2; extend++) {
        vst_recipe *is = read_text(COMPARED, longer, COUNT(longer));
        char *same = vst_recipe_essence(was), *other = vst_recipe_essence(is);
        ck_ok(vst_recipe_compare(was, is, extend, &text));
        ck_assert_str_eq(
            text, extend ? "optim.lr was 0.001, is 0.25" : "optim.lr was 0.001, is 0.25; run.epochs was 10, is 20");
        ck_assert_str_ne(same, other);
        vst_free(text);
        vst_free(same);
        vst_free(other);
        vst_recipe_destroy(is);
    }
    const char *const many[] = {"optim.lr=1",   "optim.momentum=0",   "optim.min_lr=0",    "optim.batch=2",
                                "run.seed=1",   "optim.warmup_lr=0",  "optim.clip_norm=1", "optim.beta1=0.5",
                                "data.limit=9", "optim.smoothing=0.5"};
    vst_recipe *is = read_text(COMPARED, many, COUNT(many));
    ck_ok(vst_recipe_compare(was, is, false, &text));
    ck_assert_msg(strstr(text, "; and 2 more"), "%s", text);
    vst_free(text);
    vst_status status = VST_ERROR_MEMORY;
    for (uint64_t n = 1; status != VST_OK; n++) {
        vst_memory_fail_at(n);
        status = vst_recipe_compare(was, is, false, &text);
        vst_memory_fail_at(0);
        ck_assert(status == VST_OK || (status == VST_ERROR_MEMORY && !text));
    }
    vst_free(text);
    vst_recipe_destroy(is);
    vst_recipe_destroy(was);
}
END_TEST

/* A key that stands twice in a table, or a default out of its own range, would be found by users only. */
static void check_table(const vst_option *table) {
    ck_assert_ptr_nonnull(table);
    for (const vst_option *option = table; option->type != VST_TYPE_END; option++) {
        ck_assert_ptr_eq(vst_options_find(table, option->name), option);
        ck_assert_uint_gt(strlen(option->help), 2);
    }
}

START_TEST(tables) {
    for (int i = 0; i < 5; i++) check_table(vst_recipe_sections()[i].options);
    check_table(vst_term_table);
    for (size_t i = 0; i < vst_distance_count(); i++) {
        const vst_option *table = vst_distance_at(i)->options;
        vst_term_options term = {0};
        if (!table) continue;
        check_table(table);
        for (const vst_option *option = table; option->type != VST_TYPE_END; option++)
            ck_assert_ptr_null(vst_options_find(vst_term_table, option->name));
        ck_ok(vst_term_set(&term, "distance", vst_distance_at(i)->name)); /* the defaults are allowed values */
        vst_term_clear(&term);
    }
    ck_assert_ptr_null(vst_recipe_sections()[5].name);
}
END_TEST

/* ---- Studies ---- */

START_TEST(study_file) {
    vst_study *study;
    ck_assert_int_eq(system("mkdir -p conf"), 0);
    write_text("conf/s.yaml",
               "study: A study\nseeds: [3, 0]\nruns:\n"
               "  - {name: teacher, recipe: t.yaml}\n"
               "  - {name: b, recipe: /abs/s.yaml, set: {distill.teacher: teacher, optim: {lr: 1e-2}, "
               "model.mean: [0.5, 0.25]}}\n");
    ck_ok(vst_study_read(&study, "conf/s.yaml"));
    ck_assert_str_eq(study->title, "A study");
    ck_assert_str_eq(study->output, "runs/s");
    ck_assert_int_eq(study->seed_count, 2);
    ck_assert_int_eq(study->seeds[0], 3);
    ck_assert_int_eq(study->run_count, 2);
    ck_assert_str_eq(study->runs[0].recipe_path, "conf/t.yaml");
    ck_assert_int_eq(study->runs[0].setting_count, 0);
    ck_assert_str_eq(study->runs[1].recipe_path, "/abs/s.yaml");
    ck_assert_int_eq(study->runs[1].setting_count, 3);
    ck_assert_str_eq(study->runs[1].settings[0], "distill.teacher=teacher");
    ck_assert_str_eq(study->runs[1].settings[1], "optim.lr=1e-2");
    ck_assert_str_eq(study->runs[1].settings[2], "model.mean=[0.5, 0.25]");
    vst_study_destroy(study);
}
END_TEST

static const struct {
    const char *text, *message;
} study_errors[] = {
    {"study: x\n", "x.yaml:1:1: a study needs runs"},
    {"runs: []\n", "x.yaml:1:1: a study needs runs"},
    {"runs: [{name: a}]\n", "x.yaml:1:8: a run needs a name and a recipe"},
    {"runs: [{name: a, recipe: b.yaml, model: c.safetensors}]\n", "x.yaml:1:8: a run needs a name and a recipe"},
    {"runs: [{name: a, model: c.safetensors, set: {run.epochs: 2}}]\n",
     "set: is for recipes; a model file is measured"},
    {"runs: [{name: a/b, recipe: c}]\n", "x.yaml:1:9: name \"a/b\""},
    {"runs: [{name: .., recipe: c}]\n", "x.yaml:1:9: name \"..\""},
    {"runs: [{name: a, recipe: c}, {name: a, recipe: d}]\n", "two runs are called \"a\""},
    {"runs: [{name: a, recip: c}]\n", "x.yaml:1:18: unknown key \"recip\" in a run; did you mean \"recipe\"?"},
    {"seed: [1]\nruns: [{name: a, recipe: c}]\n", "unknown key \"seed\" in a study; did you mean \"seeds\"?"},
    {"seeds: [-1]\nruns: [{name: a, recipe: c}]\n", "x.yaml:1:9: seeds: expected a whole number"},
    {"seeds: [1, 1]\nruns: [{name: a, recipe: c}]\n", "seeds: 1 is there twice"},
    {"seeds: []\nruns: [{name: a, recipe: c}]\n", "the list is empty"},
    {"seeds: 3\nruns: [{name: a, recipe: c}]\n", "seeds: expected a list"},
    {"runs: [{name: a, recipe: c, set: 3}]\n", "set: expected keys with values"},
    {"study: {}\nruns: [{name: a, recipe: c}]\n", "study: expected a single value"},
};

START_TEST(bad_studies) {
    vst_study *study;
    write_text("x.yaml", study_errors[_i].text);
    expect_message(vst_study_read(&study, "x.yaml"), study_errors[_i].message);
    ck_assert_ptr_null(study);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("recipe");
    tcase_set_timeout(tests, 30);
    tcase_add_checked_fixture(tests, enter_folder, leave_own_folder);
    tcase_add_test(tests, defaults);
    tcase_add_test(tests, values);
    tcase_add_test(tests, inheritance);
    tcase_add_test(tests, inheritance_errors);
    tcase_add_test(tests, settings);
    tcase_add_loop_test(tests, bad_settings, 0, COUNT(setting_errors));
    tcase_add_loop_test(tests, bad_files, 0, COUNT(errors));
    tcase_add_test(tests, too_large);
    tcase_add_test(tests, options_of_a_distance);
    tcase_add_test(tests, options_of_0_1_0);
    tcase_add_test(tests, shipped_recipes);
    tcase_add_test(tests, imagenet_recipes);
    tcase_add_test(tests, round_trip);
    tcase_add_test(tests, comparison);
    tcase_add_test(tests, tables);
    tcase_add_test(tests, study_file);
    tcase_add_loop_test(tests, bad_studies, 0, COUNT(study_errors));
    return run_suite("recipe", tests);
}
