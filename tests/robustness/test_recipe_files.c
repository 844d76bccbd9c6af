/* Truncated, mutated and malicious recipe and study files, and failing allocations: the result is an error or a recipe,
 * never a crash, a leak or a long wait. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipes/config/recipe.h"
#include "recipes/config/study_file.h"
#include "recipes/config/yaml.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"

static const char recipe_text[] =
    "name: \"a \\\"name\\\"\"\nmodel: {name: deit_mini_distilled_patch4_28, dim: 96, mean: [0.5]}\n"
    "data:\n  path: images   # here\n  limit: 1000\n"
    "augment: {train: 'crop:padding=2, flip'}\n"
    "optim:\n  lr: 1e-3\n  nesterov: yes\n  lr_rule: sqrt\n"
    "distill:\n  teacher: t.safetensors\n  terms:\n"
    "    - {distance: kl, temperature: 3, student: logits_dist}\n    - distance: mse\n"
    "run:\n  epochs: 3\n  output: >-\n    folded\n    text\n";
static const char study_text[] =
    "study: A study\noutput: runs/a\nseeds: [0, 1]\nruns:\n"
    "  - {name: teacher, recipe: t.yaml}\n"
    "  - {name: b, recipe: s.yaml, set: {distill.teacher: teacher, optim: {lr: 1e-2}}}\n";

static char path[64];

static void write_bytes(const char *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static void open_file(void) {
    snprintf(path, sizeof path, "%s/vistill-recipe-XXXXXX", P_tmpdir);
    const int number = mkstemp(path);
    ck_assert_int_ge(number, 0);
    close(number);
}

static void remove_file(void) { unlink(path); }

/* Reads it as both. What is accepted must be equal after writing and reading it again. */
static void read_both(const char *bytes, size_t size) {
    vst_recipe *recipe;
    vst_study *study;
    write_bytes(bytes, size);
    if (vst_recipe_read(&recipe, path, NULL, 0) == VST_OK) {
        char *text = vst_recipe_to_yaml(recipe);
        ck_assert_ptr_nonnull(text);
        vst_recipe_destroy(recipe);
        write_bytes(text, strlen(text));
        ck_assert_msg(vst_recipe_read(&recipe, path, NULL, 0) == VST_OK, "%s\n%s", vst_error_message(), text);
        char *again = vst_recipe_to_yaml(recipe);
        ck_assert_str_eq(text, again);
        vst_free(text);
        vst_free(again);
        vst_recipe_destroy(recipe);
    } else {
        ck_assert_ptr_null(recipe);
        ck_assert_uint_gt(strlen(vst_error_message()), 10);
    }
    write_bytes(bytes, size);
    if (vst_study_read(&study, path) == VST_OK) ck_assert_int_gt(study->run_count, 0);
    else ck_assert_ptr_null(study);
    if (study) vst_study_destroy(study);
}

static const char *text_of(int index, size_t *size) {
    *size = index ? strlen(study_text) : strlen(recipe_text);
    return index ? study_text : recipe_text;
}

START_TEST(accepted) {
    vst_recipe *recipe;
    vst_study *study;
    write_bytes(recipe_text, strlen(recipe_text));
    ck_assert_msg(vst_recipe_read(&recipe, path, NULL, 0) == VST_OK, "%s", vst_error_message());
    ck_assert_str_eq(recipe->run.output, "folded text");
    vst_recipe_destroy(recipe);
    write_bytes(study_text, strlen(study_text));
    ck_assert_msg(vst_study_read(&study, path) == VST_OK, "%s", vst_error_message());
    vst_study_destroy(study);
}
END_TEST

START_TEST(truncated) {
    size_t size;
    const char *text = text_of(_i, &size);
    for (size_t i = 0; i <= size; i++) read_both(text, i);
}
END_TEST

START_TEST(mutated) {
    static const char alphabet[] =
        "{}[]:,-#&*!|>'\"%@` \n\t~\\\xff\xc3\x00\x01"
        "0a";
    size_t size;
    const char *text = text_of(_i, &size);
    vst_random random = vst_random_stream(1, vst_random_id("mutations"), 0, (uint64_t)_i);
    char *copy = vst_alloc(size);
    ck_assert_ptr_nonnull(copy);
    for (int round = 0; round < 3000; round++) {
        memcpy(copy, text, size);
        for (uint32_t n = 1 + vst_random_below(&random, 3); n > 0; n--)
            copy[vst_random_below(&random, (uint32_t)size)] = alphabet[vst_random_below(&random, sizeof alphabet - 1)];
        read_both(copy, size);
    }
    vst_free(copy);
}
END_TEST

/* Repeated up to the allowed size, to provoke deep nesting or long loops. */
static const char *const floods[] = {"[", "{",  "- ",    "? ", "a: ", "&a ", "!", "\"", "{a: ",  "[a, ",
                                     "#", "\n", "- a\n", "'",  "|\n", "%",   "a", ": ", "---\n", "\xef\xbb\xbf"};

START_TEST(flooded) {
    const char *piece = floods[_i];
    const size_t length = strlen(piece), count = VST_YAML_BYTES / length;
    char *bytes = vst_alloc(count * length);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < count; i++) memcpy(bytes + i * length, piece, length);
    vst_yaml *node;
    const vst_status status = vst_yaml_parse(&node, "flood", bytes, count * length);
    if (status == VST_OK) ck_assert_ptr_nonnull(node);
    else ck_assert_ptr_null(node);
    vst_yaml_destroy(node);
    vst_free(bytes);
}
END_TEST

START_TEST(failing_allocations) {
    static const char *const settings[] = {"distill.terms=[{distance: kl}]", "model.name=resnet8_cifar",
                                           "optim.lr=0.1"};
    vst_recipe *recipe = NULL;
    vst_study *study = NULL;
    vst_status status = VST_ERROR_MEMORY;
    int failures = 0;
    write_bytes(recipe_text, strlen(recipe_text));
    for (uint64_t n = 1; status != VST_OK; n++, failures++) {
        vst_memory_fail_at(n);
        status = vst_recipe_read(&recipe, path, settings, 3);
        vst_memory_fail_at(0);
        ck_assert_msg(status == VST_OK || status == VST_ERROR_MEMORY, "%s", vst_error_message());
        ck_assert_int_lt(failures, 10000);
    }
    ck_assert_int_gt(failures, 100);
    char *text = NULL;
    for (uint64_t n = 1; !text; n++) {
        vst_memory_fail_at(n);
        text = vst_recipe_to_yaml(recipe);
        vst_memory_fail_at(0);
    }
    vst_free(text);
    vst_recipe_destroy(recipe);
    write_bytes(study_text, strlen(study_text));
    status = VST_ERROR_MEMORY;
    for (uint64_t n = 1; status != VST_OK; n++) {
        vst_memory_fail_at(n);
        status = vst_study_read(&study, path);
        vst_memory_fail_at(0);
        ck_assert_msg(status == VST_OK || status == VST_ERROR_MEMORY, "%s", vst_error_message());
    }
    vst_study_destroy(study);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("recipe files");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, open_file, remove_file);
    tcase_add_test(tests, accepted);
    tcase_add_loop_test(tests, truncated, 0, 2);
    tcase_add_loop_test(tests, mutated, 0, 2);
    tcase_add_loop_test(tests, flooded, 0, (int)(sizeof floods / sizeof *floods));
    tcase_add_test(tests, failing_allocations);
    return run_suite("recipe files", tests);
}
