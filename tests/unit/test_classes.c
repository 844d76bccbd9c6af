/* Classes are matched by name: in another order, some of them, ImageNet's by number and name, without names by
 * position; in data sets, teachers, start weights and evaluations. */
#include <check.h>
#include <string.h>

#include "recipes/infer/evaluate.h"
#include "recipes/model/classes.h"
#include "recipes/model/imagenet.h"
#include "recipes/model/start.h"
#include "recipes/teacher/teacher.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/image/image.h"

enum { SIDE = 8, FLOATS = 3 * SIDE * SIDE, MOST = 12 };

static void set_up(void) { enter_own_folder("classes"); }

static vst_classes list_of(const char *const *names, const char *what) {
    vst_classes list = {.names = names, .what = what};
    while (names[list.count]) list.count++;
    return list;
}

/* ---- Matching ---- */

START_TEST(match_names) {
    static const char *const animals[] = {"cat", "dog", "eel", "fox", "gnu", NULL};
    static const struct {
        const char *from[6], *to[6];
        int map[5];
        bool same, by_position;
        const char *error; /* NULL: it fits */
    } cases[] = {
        {{"cat", "dog", "eel"}, {"cat", "dog", "eel"}, {0, 1, 2}, true, false, NULL},
        {{"0", "1", "10", "2"}, {"0", "1", "2", "10"}, {0, 1, 3, 2}, false, false, NULL},
        {{"fox", "cat"}, {"cat", "dog", "fox"}, {2, 0}, false, false, NULL},
        {{"0", "1", "2"}, {"cat", "dog", "fox"}, {0, 1, 2}, true, true, NULL},
        {{"0", "1"}, {"cat", "dog", "fox"}, {0, 1}, false, true, NULL},
        {{"cat", "dog"}, {"0", "1"}, {0, 1}, true, true, NULL},
        {{"a", "a"}, {"a", "a"}, {0, 1}, true, false, NULL},
        {{"cat", "dog"}, {"0", "1", "2"}, {0}, false, false, "nothing says which is which"},
        {{"0", "1", "2"}, {"cat", "dog"}, {0}, false, false, "the data has 3 classes, the model 2"},
        {{"cat", "ant", "bee"},
         {"cat", "dog", "eel"},
         {0},
         false,
         false,
         "\"ant\", \"bee\" not among the 3 classes of the model: \"cat\", \"dog\", \"eel\""},
        {{"Cat"}, {"cat"}, {0}, false, false, "\"Cat\" not among"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vst_classes from = list_of(cases[i].from, "the data"), to = list_of(cases[i].to, "the model");
        vst_class_match match;
        const vst_status status = vst_classes_match(&match, &from, &to);
        if (cases[i].error) {
            ck_fails(status, VST_ERROR_ARGUMENT, cases[i].error);
            continue;
        }
        ck_ok(status);
        ck_assert_int_eq(match.same, cases[i].same);
        ck_assert_int_eq(match.by_position, cases[i].by_position);
        for (int k = 0; k < from.count; k++) ck_assert_int_eq(match.map[k], cases[i].map[k]);
        vst_class_match_clear(&match);
    }
    const vst_classes known = list_of(animals, "the model");
    ck_assert(!vst_classes_unnamed(&known));
}
END_TEST

START_TEST(imagenet) {
    static const char *const folders[] = {"n01440764", "n03888257", "n02979186", NULL};
    static const char *const spoken[] = {"Tench, Tinca tinca", "parachute", "cassette_player", NULL};
    const char *names[VSTI_IMAGENET_CLASSES], *numbers[VSTI_IMAGENET_CLASSES];
    char text[VSTI_IMAGENET_CLASSES][16];
    for (int i = 0; i < VSTI_IMAGENET_CLASSES; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        numbers[i] = text[i];
        names[i] = vsti_imagenet[i].name;
        ck_assert_uint_eq(strlen(vsti_imagenet[i].number), 9);
        if (i) ck_assert_int_lt(strcmp(vsti_imagenet[i - 1].number, vsti_imagenet[i].number), 0);
    }
    const vst_classes models[] = {{names, VSTI_IMAGENET_CLASSES, "named"},
                                  {numbers, VSTI_IMAGENET_CLASSES, "numbered"}};
    const vst_classes data[] = {list_of(folders, "folders"), list_of(spoken, "spoken")};
    for (int i = 0; i < 4; i++) { /* tench, parachute, cassette player */
        vst_class_match match;
        ck_ok(vst_classes_match(&match, &data[i / 2], &models[i % 2]));
        ck_assert_int_eq(match.map[0], 0);
        ck_assert_int_eq(match.map[1], 701);
        ck_assert_int_eq(match.map[2], 482);
        ck_assert(!match.by_position);
        vst_class_match_clear(&match);
    }
    ck_assert_str_eq(vsti_default_class_name(0, VSTI_IMAGENET_CLASSES, text[0]), "tench");
    ck_assert_str_eq(vsti_default_class_name(3, 10, text[0]), "3");
}
END_TEST

/* ---- Data sets ---- */

/* ROOT/CLASS/0.png, whose pixels are the class's number in `numbers`. */
static void write_class(const char *root, const char *class, int number) {
    char path[512];
    vst_image image = {0};
    snprintf(path, sizeof path, "%s/%s", root, class);
    mkdir(root, 0777);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/%s/0.png", root, class);
    ck_ok(vst_image_allocate(&image, 3, SIDE, SIDE));
    memset(image.pixels, 10 * number, FLOATS);
    ck_ok(vst_png_write(path, &image));
    vst_image_clear(&image);
}

static void check_labels(const vst_dataset *dataset, int count) {
    vst_image image = {0};
    ck_assert_uint_eq(vst_dataset_count(dataset), (uint64_t)count);
    for (int i = 0; i < count; i++) {
        int label;
        ck_ok(vst_dataset_read(dataset, (uint64_t)i, &image, &label));
        ck_assert_int_eq(label, image.pixels[0] / 10);
    }
    vst_image_clear(&image);
}

/* Folders 0 … 11 sort as 0, 1, 10, 11, 2; the labels of the view are the numbers. */
START_TEST(numbered_folders) {
    const char *names[MOST];
    char text[MOST][4];
    for (int i = 0; i < MOST; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        names[i] = text[i];
        write_class("numbers", text[i], i);
    }
    const vst_classes model = {names, MOST, "the model"};
    vst_dataset *dataset, *view, *natural;
    vst_class_match match;
    uint64_t hash, other;
    ck_ok(vst_dataset_open(&dataset, "numbers", "test", NULL));
    ck_assert_str_eq(vst_dataset_class_name(dataset, 2), "10");
    ck_ok(vst_classes_view(&view, dataset, &model, &match));
    ck_assert(view && !match.same && !match.by_position);
    check_labels(view, MOST);
    ck_assert_str_eq(vst_dataset_class_name(view, 2), "2");
    ck_ok(vst_dataset_hash(dataset, &hash));
    ck_ok(vst_dataset_hash(view, &other));
    ck_assert_uint_ne(hash, other);
    vst_class_match_clear(&match);
    vst_dataset_close(view);
    ck_ok(vst_dataset_open(&natural, "numbers", "test", &(vst_dataset_options){.natural_order = true}));
    check_labels(natural, MOST);
    ck_ok(vst_classes_view(&view, natural, &model, NULL));
    ck_assert_ptr_null(view); /* the same */
    vst_dataset_close(natural);
    vst_dataset_close(dataset);
}
END_TEST

/* What no model file could hold is refused when the data are opened. */
START_TEST(strange_folders) {
    static const struct {
        const char *name, *error;
    } cases[] = {{"a\nb", "control characters"}, {"caf\xe9", "is not UTF-8"}, {"\x1b[31m", "control characters"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char root[8];
        vst_dataset *dataset;
        snprintf(root, sizeof root, "odd%zu", i);
        write_class(root, "good", 1);
        write_class(root, cases[i].name, 2);
        ck_fails(vst_dataset_open(&dataset, root, "train", NULL), VST_ERROR_FORMAT, cases[i].error);
    }
}
END_TEST

/* ---- Models ---- */

static const char *const trained[] = {"cat", "dog", "eel", "fox", NULL}, *const wanted[] = {"fox", "cat", "dog", "eel",
                                                                                            NULL};

static void write_model(const char *path, int classes) {
    vst_graph *graph;
    vst_model_config *config;
    vst_params *params;
    char text[8];
    snprintf(text, sizeof text, "%d", classes);
    ck_ok(vst_model_config_create(&config, "resnet8_cifar"));
    ck_ok(vst_model_config_set(config, "width", "4"));
    ck_ok(vst_model_config_set(config, "image", "8"));
    ck_ok(vst_model_config_set(config, "classes", text));
    ck_ok(vst_model_declare(&graph, &params, config));
    vst_graph_destroy(graph);
    ck_ok(vst_params_allocate(params, false, 5));
    ck_ok(vst_model_write(
        path,
        &(vst_model_content){.config = config, .params = params, .class_names = trained, .class_count = classes}));
    vst_params_destroy(params);
    vst_model_config_destroy(config);
}

/* The classifier's rows go with their classes. */
START_TEST(start_weights) {
    vst_model *model;
    vst_params *start;
    vst_quantization none = {0};
    const vst_classes classes = list_of(wanted, "the data");
    static const int map[] = {3, 0, 1, 2};
    write_model("m.safetensors", 4);
    ck_ok(vst_model_read(&model, "m.safetensors"));
    ck_ok(vsti_start_load(&start, &none, "m.safetensors", NULL, model->config, false, 0, &classes));
    for (size_t i = 0; i < vst_params_count(start); i++) {
        const vst_param_info *info = vst_params_at(start, i);
        const float *values = vst_params_values(start) + info->offset;
        const float *before = vst_params_values(model->params) +
                              vst_params_at(model->params, (size_t)vst_params_find(model->params, info->name))->offset;
        const bool head = info->shape.rank > 0 && info->shape.dim[0] == 4 && strstr(info->name, "fc");
        const size_t rows = head ? 4 : 1, row = info->count / rows;
        for (size_t c = 0; c < rows; c++)
            ck_assert_mem_eq(values + c * row, before + (head ? (size_t)map[c] : 0) * row, row * sizeof *values);
    }
    vst_params_destroy(start);
    static const char *const others[] = {"fox", "cat", "dog", "yak", NULL};
    const vst_classes unknown = list_of(others, "the data");
    ck_fails(vsti_start_load(&start, &none, "m.safetensors", NULL, model->config, false, 0, &unknown),
             VST_ERROR_ARGUMENT, "\"yak\"");
    ck_ok(vsti_start_load(&start, &none, "m.safetensors", NULL, model->config, true, 0, &unknown));
    vst_params_destroy(start);
    vst_model_destroy(model);
}
END_TEST

/* A teacher's scores in the order of the student's classes, which may be only some of them. */
START_TEST(teacher_scores) {
    static const char yaml[] =
        "model: {name: resnet8_cifar, width: 4, image: 8, classes: 2}\n"
        "data: {path: none}\noptim: {batch: 2}\n"
        "distill: {teacher: m.safetensors, terms: [{distance: kl}]}\n";
    static const char *const student[] = {"fox", "dog", NULL}, *const strange[] = {"fox", "yak", NULL};
    const vst_classes classes = list_of(student, "the data"), unknown = list_of(strange, "the data");
    vst_recipe *recipe;
    vsti_teachers teachers = {0};
    float images[2 * FLOATS], target[4];
    write_model("m.safetensors", 4);
    FILE *file = fopen("r.yaml", "w");
    fputs(yaml, file);
    fclose(file);
    ck_ok(vst_recipe_read(&recipe, "r.yaml", NULL, 0));
    ck_ok(vsti_teachers_build(&teachers, recipe, false));
    ck_fails(vsti_teachers_match(&teachers, &unknown), VST_ERROR_ARGUMENT, "\"yak\" not among the 4 classes");
    ck_ok(vsti_teachers_match(&teachers, &classes));
    vsti_teacher_tap *tap = &teachers.list[0].taps[0];
    ck_assert_uint_eq(tap->floats, 4);
    ck_assert_uint_eq(tap->stored_floats, 8);
    tap->target = target;
    for (int i = 0; i < 2 * FLOATS; i++) images[i] = (float)(i * 7919 % 256) / 255;
    const vst_batch batch = {.images = images, .count = 2};
    ck_ok(vsti_teachers_run(&teachers, NULL, NULL, &batch, (vsti_position){0}));
    ck_ok(vsti_bind_teacher_taps(&teachers));
    const float *scores = teachers.list[0].outputs.taps[0];
    for (int i = 0; i < 2; i++) {
        ck_assert_float_eq(target[2 * i], scores[4 * i + 3]);
        ck_assert_float_eq(target[2 * i + 1], scores[4 * i + 1]);
    }
    ck_assert_float_ne(scores[3], scores[1]);
    vsti_teachers_clear(&teachers);
    vst_recipe_destroy(recipe);
}
END_TEST

START_TEST(evaluation_to_data) {
    int map[] = {2, 0};
    const vst_class_match match = {.map = map, .from = 2, .to = 4};
    vst_evaluation e = {.classes = 4, .samples = 4, .labelled = 3};
    const int labels[] = {2, 0, 0, -1}, predictions[] = {2, 3, 2, 0}, expected[2][4] = {{0, 1, 1, -1}, {0, -1, 0, 1}};
    e.labels = vst_alloc(sizeof labels);
    e.predictions = vst_alloc(sizeof predictions);
    memcpy(e.labels, labels, sizeof labels);
    memcpy(e.predictions, predictions, sizeof predictions);
    ck_ok(vst_evaluation_to_data(&e, &match));
    ck_assert_int_eq(e.classes, 2);
    ck_assert_mem_eq(e.labels, expected[0], sizeof labels);
    ck_assert_mem_eq(e.predictions, expected[1], sizeof labels);
    vst_evaluation_clear(&e);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("classes");
    tcase_add_checked_fixture(tests, set_up, leave_own_folder);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, match_names);
    tcase_add_test(tests, imagenet);
    tcase_add_test(tests, numbered_folders);
    tcase_add_test(tests, strange_folders);
    tcase_add_test(tests, start_weights);
    tcase_add_test(tests, teacher_scores);
    tcase_add_test(tests, evaluation_to_data);
    return run_suite("classes", tests);
}
