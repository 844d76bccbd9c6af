/* The comparison used by other tests must reject what is not equal. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/suite.h"

static const tolerance tight = {1e-3, 1e-2, false}, wide = {1e300, 1e300, false}, infinite = {1e-3, 0, true};

START_TEST(bounds) {
    ck_assert(is_close(1, 1, (tolerance){0}));
    ck_assert(is_close(0, -0.0, (tolerance){0}));
    ck_assert(!is_close(1, nextafter(1, 2), (tolerance){0}));
    ck_assert(is_close(0.0009, 0, tight));
    ck_assert(!is_close(0.0011, 0, tight));
    ck_assert(is_close(-100.9, -100, tight)); /* 0.001 and one hundredth of 100 */
    ck_assert(!is_close(-101.1, -100, tight));
    ck_assert(!is_close(100, -100, tight));
    ck_assert(!is_close(0.001, 1, (tolerance){.relative = 0.5})); /* relative to the expected value */
}
END_TEST

/* With any tolerance and at any index. */
START_TEST(what_is_no_number) {
    const double bad[] = {NAN, -NAN, INFINITY, -INFINITY}, good[4] = {1, 2, 3, 4};
    const tolerance all[] = {{0}, tight, wide, infinite};
    for (int b = 0; b < 4; b++)
        for (int at = 0; at < 4; at++) {
            double x[4];
            float narrow[4];
            memcpy(x, good, sizeof x);
            x[at] = bad[b];
            for (int i = 0; i < 4; i++) narrow[i] = (float)x[i];
            for (int t = 0; t < 4; t++) {
                ck_assert_int_eq(first_difference(x, good, 4, all[t]), at);
                ck_assert_int_eq(first_difference(good, x, 4, all[t]), at);
                ck_assert_int_eq(first_difference(narrow, good, 4, all[t]), at);
                ck_assert_int_eq(first_difference(good, narrow, 4, all[t]), at);
            }
            ck_assert_double_eq(largest_difference(x, good, 4), INFINITY);
            ck_assert_double_eq(largest_difference(good, x, 4), INFINITY);
            ck_assert_double_eq(relative_difference(narrow, good, 4, 1e-3), INFINITY);
            ck_assert_double_eq(relative_difference(good, narrow, 4, 1e-3), INFINITY);
            ck_assert_double_eq(rms(x, 4), INFINITY);
        }
}
END_TEST

START_TEST(both_are_no_number) {
    ck_assert(!is_close(NAN, NAN, infinite));
    ck_assert(!is_close(INFINITY, INFINITY, wide));
    ck_assert(is_close(INFINITY, INFINITY, infinite));
    ck_assert(is_close(-INFINITY, -INFINITY, infinite));
    ck_assert(!is_close(INFINITY, -INFINITY, infinite));
    ck_assert(!is_close(1e300, INFINITY, infinite));
    const double x[] = {INFINITY};
    ck_assert_double_eq(largest_difference(x, x, 1), INFINITY);
}
END_TEST

START_TEST(empty) {
    const float none[1] = {NAN};
    ck_assert_int_eq(first_difference(none, none, 0, tight), -1);
    ck_assert_double_eq(largest_difference(none, none, 0), 0);
    ck_assert_double_eq(relative_difference(none, none, 0, 0), 0);
    ck_assert_double_eq(rms(none, 0), 0);
}
END_TEST

START_TEST(differences) {
    const float got[] = {1, 2.5f, 3, -1};
    const double want[] = {1, 2, 3.25, -1}, zeros[4] = {0};
    ck_assert_double_eq(largest_difference(got, want, 4), 0.5);
    ck_assert_double_eq_tol(rms(want, 4), sqrt((1 + 4 + 3.25 * 3.25 + 1) / 4), 1e-12);
    ck_assert_double_eq_tol(relative_difference(got, want, 4, 0), 0.5 / rms(want, 4), 1e-12);
    ck_assert_double_eq(relative_difference(got, want, 4, 10), 0.05);
    ck_assert_double_eq(relative_difference(zeros, zeros, 4, 0), 0);
    ck_assert_double_eq(relative_difference(got, zeros, 4, 0), INFINITY);
}
END_TEST

START_TEST(message) {
    const float got[] = {1, NAN, 3}, want[] = {1, 2, 3};
    const int64_t at = first_difference(got, want, 3, tight);
    char text[192];
    describe_difference(text, NUMBERS(got), NUMBERS(want), 3, at, tight);
    ck_assert_msg(
        strstr(text, "element 1 of 3") && strstr(text, "nan") && strstr(text, "expected 2,") && strstr(text, "0.021"),
        "%s", text);
}
END_TEST

/* These two must fail; Check's runner counts them. */
START_TEST(assertion_of_one) { ck_assert_close("one", NAN, 1, wide); }
END_TEST
START_TEST(assertion_of_many) {
    const float got[] = {1, NAN, 3}, want[] = {1, NAN, 3};
    ck_assert_all_close("many", got, want, 3, wide);
}
END_TEST

START_TEST(assertions_fail) {
    TCase *tests = tcase_create("must fail");
    tcase_add_test(tests, assertion_of_one);
    tcase_add_test(tests, assertion_of_many);
    Suite *suite = suite_create("must fail");
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_SILENT);
    ck_assert_int_eq(srunner_ntests_run(runner), 2);
    ck_assert_int_eq(srunner_ntests_failed(runner), 2);
    srunner_free(runner);
    ck_assert_close("one", 1, 1.0005, tight);
    const float got[] = {1, 2};
    const double want[] = {1, 2.001};
    ck_assert_all_close("many", got, want, 2, tight);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("compare");
    tcase_add_test(tests, bounds);
    tcase_add_test(tests, what_is_no_number);
    tcase_add_test(tests, both_are_no_number);
    tcase_add_test(tests, empty);
    tcase_add_test(tests, differences);
    tcase_add_test(tests, message);
    tcase_add_test(tests, assertions_fail);
    return run_suite("compare", tests);
}
