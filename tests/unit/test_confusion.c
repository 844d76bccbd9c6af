/* Confusion counts with any number of classes; evaluations refuse scores that are not finite. */
#include <check.h>
#include <stdlib.h>

#include "recipes/infer/confusion.h"
#include "tests/unit/compare.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

enum { SAMPLES = 9 };
static int labels[SAMPLES] = {2, 0, -1, 2, 9999, 0, 2, 2, 0};
static int predictions[SAMPLES] = {2, 1, 3, 0, 9999, 0, 2, 0, 1};
static const vst_evaluation evaluation = {
    .classes = 10000, .samples = SAMPLES, .labelled = SAMPLES - 1, .labels = labels, .predictions = predictions};

START_TEST(counts_pairs) {
    static const vst_confusion_cell expected[] = {{0, 0, 1}, {0, 1, 2}, {2, 0, 2}, {2, 2, 2}, {9999, 9999, 1}};
    vst_confusion confusion;
    ck_assert_int_eq(vst_confusion_create(&confusion, &evaluation), VST_OK);
    ck_assert_uint_eq(confusion.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < confusion.count; i++) {
        ck_assert_int_eq(confusion.cells[i].label, expected[i].label);
        ck_assert_int_eq(confusion.cells[i].prediction, expected[i].prediction);
        ck_assert_uint_eq(confusion.cells[i].count, expected[i].count);
    }
    ck_assert_uint_eq(vst_confusion_samples(&confusion, 0), 3);
    ck_assert_uint_eq(vst_confusion_right(&confusion, 0), 1);
    ck_assert_uint_eq(vst_confusion_samples(&confusion, 1), 0);
    ck_assert_uint_eq(vst_confusion_samples(&confusion, 2), 4);
    ck_assert_uint_eq(vst_confusion_right(&confusion, 2), 2);
    ck_assert_uint_eq(vst_confusion_samples(&confusion, 9999), 1);
    vst_confusion_clear(&confusion);
}
END_TEST

START_TEST(no_labels) {
    vst_evaluation none = evaluation;
    vst_confusion confusion;
    none.samples = none.labelled = 0;
    ck_assert_int_eq(vst_confusion_create(&confusion, &none), VST_OK);
    ck_assert_uint_eq(confusion.count, 0);
    ck_assert_uint_eq(vst_confusion_samples(&confusion, 9999), 0);
    vst_confusion_clear(&confusion);
}
END_TEST

START_TEST(the_first_of_the_largest) {
    ck_assert_uint_eq(vst_largest((const float[]){1}, 1), 0);
    ck_assert_uint_eq(vst_largest((const float[]){1, 3, 3, 2}, 4), 1);
}
END_TEST

START_TEST(failing_memory) {
    for (uint64_t n = 1; n <= 2; n++) {
        vst_confusion confusion;
        vst_memory_fail_at(n);
        ck_assert_int_eq(vst_confusion_create(&confusion, &evaluation), VST_ERROR_MEMORY);
        vst_memory_fail_at(0);
        vst_confusion_clear(&confusion);
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("confusion");
    tcase_add_test(cases, counts_pairs);
    tcase_add_test(cases, no_labels);
    tcase_add_test(cases, the_first_of_the_largest);
    tcase_add_test(cases, failing_memory);
    return run_suite("confusion", cases);
}
