/* The end of every test program: `return run_suite("name", tests, ...);` runs the test cases and gives the exit status.
 * The environment's CK_VERBOSITY, CK_RUN_CASE and CK_FORK choose what is printed and run. */
#ifndef VISTILL_TESTS_UNIT_SUITE_H
#define VISTILL_TESTS_UNIT_SUITE_H

#include <check.h>
#include <stdlib.h>

/* One or more TCase *. */
#define run_suite(name, ...) run_suite_of(name, (TCase *[]){__VA_ARGS__, NULL})

static inline int run_suite_of(const char *name, TCase **cases) {
    Suite *suite = suite_create(name);
    for (; *cases; cases++) suite_add_tcase(suite, *cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int run = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return run > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
