/* Logits of another program instead of a teacher: training with them equals training with the teacher's own cache; rows
 * are found by name; mismatches are refused with advice. */
#include <check.h>
#include <math.h>

#include "recipes/teacher/cache/internal.h"
#include "recipes/train/teacher_cache.h"
#include "tests/unit/suite.h"
#include "tests/unit/train_session.h"

enum { TRAINED = TRAIN - 40, VIEWS = 2, ALL = VIEWS * TRAIN * CLASSES };

static const char recipe_text[] =
    "data: {path: data, workers: 1, validation: 40}\n" RUN ADAMW
    "augment: {train: \"crop:padding=2\", views: 2}\n"
    "model: {name: vit_mini_patch4_28, " SMALL
    "}\n"
    "distill: {teacher: teacher/last.safetensors, cache: cache, cache_precision: float, terms: [{distance: kl}]}\n";
#define EXTERNAL .settings = {"distill.teacher=cache", "distill.cache=imported"}

static float table[ALL]; /* (VIEWS, TRAINED, CLASSES), the teacher's logits */

static void enter(void) {
    enter_folder();
    run_fine((session){.recipe = teacher_recipe, .output = "teacher"});
}

/* Builds the cache with the teacher and reads its logits. */
static void ask_teacher(void) {
    const session s = {.recipe = recipe_text};
    vst_recipe *recipe = read_recipe(&s);
    vst_cache_size size;
    vsti_cache cache = {0};
    ck_ok(vst_cache_build(recipe, &(vst_cache_build_options){0}, &size));
    vst_recipe_destroy(recipe);
    ck_ok(vsti_cache_read_manifest(&cache, "cache"));
    ck_assert_uint_eq(cache.done, VIEWS * TRAINED);
    ck_ok(vsti_cache_open_read(&cache));
    const vsti_cache_teacher *from = &cache.teachers[0];
    for (size_t i = 0; i < VIEWS * TRAINED; i++) {
        ck_ok(vsti_cache_read(&cache, from, i));
        ck_assert(vsti_cache_decode(&from->taps[0], cache.dtype, from->buffer, table + i * CLASSES));
    }
    vsti_cache_clear(&cache);
}

static void write_logits(const float *values, vst_shape shape) {
    const vst_tensor tensor = {"logits", VST_F32, shape, (void *)values};
    ck_ok(vst_safetensors_write("logits.safetensors", &tensor, 1, NULL, 0));
}

static vst_status import(session s, vst_cache_import_options options, double *top1) {
    vst_cache_size size;
    s.recipe = recipe_text;
    vst_recipe *recipe = read_recipe(&s);
    options.logits = "logits.safetensors";
    const vst_status status = vst_cache_import(recipe, &options, &size, top1);
    vst_recipe_destroy(recipe);
    return status;
}

static void same_bytes(const char *a, const char *b) {
    size_t x, y;
    char *first = read_whole(a, &x), *second = read_whole(b, &y);
    ck_assert_uint_eq(x, y);
    ck_assert_mem_eq(first, second, x);
    free(first);
    free(second);
}

START_TEST(trains_as_with_the_teacher) {
    double top1;
    session online = {.recipe = recipe_text, .output = "online"};
    session external = {.recipe = recipe_text, .output = "external", EXTERNAL};
    ask_teacher();
    write_logits(table, VST_SHAPE(VIEWS, TRAINED, CLASSES));
    ck_ok(import((session){EXTERNAL}, (vst_cache_import_options){0}, &top1));
    ck_assert_double_gt(top1, 50);
    same_bytes("cache/teacher1.bin", "imported/teacher1.bin");
    run_fine(online);
    run_fine(external);
    expect_said("logits of another program (vistill cache import), top-1 ");
    same_tensors("online", "external", "best.safetensors");

    /* a resumed run accepts the same logits and refuses others */
    external.resume = true;
    run_fine(external);
    for (int i = 0; i < ALL; i++) table[i] = -table[i];
    write_logits(table, VST_SHAPE(VIEWS, TRAINED, CLASSES));
    ck_assert_int_eq(import((session){EXTERNAL}, (vst_cache_import_options){0}, &top1), VST_ERROR_ARGUMENT);
    ck_ok(import((session){EXTERNAL}, (vst_cache_import_options){.force = true}, &top1));
    ck_assert_double_lt(top1, 50);
    ck_assert_int_eq(run(&external), VST_ERROR_ARGUMENT);
    ck_assert_msg(strstr(vst_error_message(), "other contents of the teacher"), "%s", vst_error_message());
}
END_TEST

/* Finds the rows of all training samples, including the validation split, for a list of names in any order. */
START_TEST(finds_rows_by_name) {
    static float whole[TRAIN * CLASSES];
    double top1;
    const session s = {.recipe = recipe_text};
    vst_recipe *recipe = read_recipe(&s);
    vsti_train_data data = {0};
    char name[200];
    ask_teacher();
    ck_ok(vsti_train_data_open(&data, recipe));
    for (uint64_t i = 0; i < TRAINED; i++) {
        int number;
        ck_assert_int_eq(sscanf(vst_dataset_sample_name(data.train, i, name, sizeof name), "sample %d", &number), 1);
        memcpy(whole + number * CLASSES, table + i * CLASSES, CLASSES * sizeof *whole);
    }
    vsti_train_data_close(&data);
    vst_recipe_destroy(recipe);
    write_logits(whole, VST_SHAPE(TRAIN, CLASSES));
    ck_ok(import((session){.settings = {"distill.cache=ordered"}}, (vst_cache_import_options){.plain = true}, &top1));

    FILE *names = fopen("names.txt", "w");
    fputs("\xef\xbb\xbf", names); /* as editors on Windows write it */
    static float turned[TRAIN * CLASSES];
    for (int i = 0; i < TRAIN; i++) {
        memcpy(turned + i * CLASSES, whole + (TRAIN - 1 - i) * CLASSES, CLASSES * sizeof *whole);
        fprintf(names, "sample %d\r\n", TRAIN - 1 - i);
    }
    fputs("\r\n\n", names); /* empty lines at the end are not names */
    fclose(names);
    write_logits(turned, VST_SHAPE(TRAIN, CLASSES));
    const vst_cache_import_options named = {.plain = true, .names = "names.txt"};
    ck_ok(import((session){.settings = {"distill.cache=named"}}, named, &top1));
    same_bytes("ordered/teacher1.bin", "named/teacher1.bin");

    size_t size;
    char *bytes = read_whole("ordered/teacher1.bin", &size); /* both views have the logits of the first */
    ck_assert_uint_eq(size, VIEWS * TRAINED * CLASSES * sizeof(float));
    ck_assert_mem_eq(bytes, table, size / 2);
    ck_assert_mem_eq(bytes, bytes + size / 2, size / 2);
    free(bytes);

    static const struct {
        const char *text, *message;
    } wrong[] = {{"sample 1\n", "names.txt has 1 names, the logits 240 rows"}, {"", "names.txt has 0 names"}};
    for (int i = 0; i < 2; i++) {
        write_bytes("names.txt", (const uint8_t *)wrong[i].text, strlen(wrong[i].text));
        ck_assert_int_ne(import((session){.settings = {"distill.cache=none"}}, named, &top1), VST_OK);
        ck_assert_msg(strstr(vst_error_message(), wrong[i].message), "%s", vst_error_message());
    }
    names = fopen("names.txt", "w");
    for (int i = 0; i < TRAIN; i++) fprintf(names, "sample %d\n", i + 40);
    fclose(names);
    ck_assert_int_eq(import((session){.settings = {"distill.cache=none"}}, named, &top1), VST_ERROR_NOT_FOUND);
    ck_assert_msg(strstr(vst_error_message(), "names.txt: there is no row for the training sample sample "), "%s",
                  vst_error_message());
}
END_TEST

START_TEST(refuses_what_does_not_fit) {
    double top1;
    static const struct {
        vst_shape shape;
        const char *setting, *message;
    } cases[] = {
        {{2, {TRAINED, CLASSES}}, NULL, "the logits are of one view, and augment.train shows the student others"},
        {{2, {TRAINED, CLASSES}}, "augment.views=0", "augment.views is 0: every epoch shows new views"},
        {{2, {TRAINED - 1, CLASSES}},
         "augment.train=",
         "\"logits\" has 199 rows; the data set has 240 training samples, of "
         "which 200 are trained on"},
        {{2, {TRAINED, CLASSES - 1}}, NULL, "\"logits\" has 3 classes, the student 4"},
        {{3, {VIEWS, TRAINED, CLASSES}}, "augment.views=3", "\"logits\" is of 2 views, and augment.views is 3"},
        {{1, {TRAINED}}, NULL, "\"logits\" is (200); floating point (samples, classes) or (views, samples, classes)"},
        {{2, {TRAINED, CLASSES}}, "distill.cache=", "distill.cache is not set"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_logits(table, cases[i].shape);
        ck_assert_int_ne(import((session){.settings = {cases[i].setting}}, (vst_cache_import_options){0}, &top1),
                         VST_OK);
        ck_assert_msg(strstr(vst_error_message(), cases[i].message), "%s", vst_error_message());
    }
    const vst_tensor other = {"scores", VST_F32, VST_SHAPE(1), table};
    ck_ok(vst_safetensors_write("logits.safetensors", &other, 1, NULL, 0));
    ck_assert_int_eq(import((session){.output = NULL}, (vst_cache_import_options){0}, &top1), VST_ERROR_NOT_FOUND);
    table[5] = NAN;
    write_logits(table, VST_SHAPE(VIEWS, TRAINED, CLASSES));
    ck_assert_int_eq(import((session){.output = NULL}, (vst_cache_import_options){0}, &top1), VST_ERROR_NUMERIC);
    ck_assert(!exists("cache/cache.json"));

    /* a term that needs more than logits, or a training without the cache */
    session features = {.recipe = recipe_text,
                        .settings = {"distill.teacher=cache", "distill.cache=imported",
                                     "distill.terms=[{distance: mse, student: blocks.0, teacher: layer3}]"}};
    session bare = {.recipe = recipe_text, .settings = {"distill.teacher=cache", "distill.cache="}};
    ck_assert_int_eq(run(&features), VST_ERROR_NOT_FOUND);
    ck_assert_msg(strstr(vst_error_message(), "imported/cache.json is not there: `vistill cache import RECIPE LOGITS`"),
                  "%s", vst_error_message());
    table[5] = 0;
    write_logits(table, VST_SHAPE(VIEWS, TRAINED, CLASSES));
    ck_ok(import((session){EXTERNAL}, (vst_cache_import_options){0}, &top1));
    ck_assert_int_ne(run(&features), VST_OK);
    ck_assert_msg(strstr(vst_error_message(), "the cache has no tap 'layer3' of it, only logits"), "%s",
                  vst_error_message());
    ck_assert_int_ne(run(&bare), VST_OK);
    ck_assert_msg(strstr(vst_error_message(), "set distill.cache to the folder"), "%s", vst_error_message());
}
END_TEST

/* Other actions of the cache command on such a cache. */
START_TEST(is_checked_and_not_built) {
    double top1;
    vst_cache_size size;
    vst_cache_report report;
    write_logits(table, VST_SHAPE(VIEWS, TRAINED, CLASSES));
    ck_ok(import((session){EXTERNAL}, (vst_cache_import_options){0}, &top1));
    const session s = {.recipe = recipe_text, EXTERNAL};
    vst_recipe *recipe = read_recipe(&s);
    ck_ok(vst_cache_check(recipe, 100, NULL, &report));
    ck_assert(report.good);
    ck_assert_uint_eq(report.recomputed, 0);
    ck_assert_int_eq(vst_cache_build(recipe, &(vst_cache_build_options){0}, &size), VST_ERROR_ARGUMENT);
    ck_assert_msg(strstr(vst_error_message(), "`vistill cache import` brings them in"), "%s", vst_error_message());
    vst_recipe_destroy(recipe);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("logits");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, enter, leave_own_folder);
    tcase_add_test(tests, trains_as_with_the_teacher);
    tcase_add_test(tests, finds_rows_by_name);
    tcase_add_test(tests, refuses_what_does_not_fit);
    tcase_add_test(tests, is_checked_and_not_built);
    return run_suite("logits", tests);
}
