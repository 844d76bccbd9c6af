/* Terms for tests, written as text. */
#ifndef VISTILL_TESTS_UNIT_TERM_TEXT_H
#define VISTILL_TESTS_UNIT_TERM_TEXT_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "recipes/distill/term_options.h"

/* "distance=kl temperature=3"; other keys have their defaults. The caller clears it with vst_term_clear. */
static inline vst_term_options term_of(const char *text) {
    vst_term_options term = {0};
    char copy[256], *rest = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    ck_assert_int_eq(vst_term_default(&term), VST_OK);
    for (char *key = strtok_r(copy, " ", &rest); key; key = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(key, '=');
        *value = 0;
        ck_assert_msg(vst_term_set(&term, key, value + 1) == VST_OK, "%s", vst_error_message());
    }
    return term;
}

#endif
