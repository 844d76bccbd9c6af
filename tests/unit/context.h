/* A program with its only context, for tests of graphs. */
#ifndef VISTILL_TESTS_UNIT_CONTEXT_H
#define VISTILL_TESTS_UNIT_CONTEXT_H

#include <check.h>

#include "vision/plan/program.h"

/* A context of a new program; destroy_context destroys both. */
static inline vst_context *create_context(const vst_graph *graph, const vst_value *outputs, int output_count,
                                          const vst_program_options *options) {
    vst_program *program = NULL;
    vst_context *context = NULL;
    ck_assert_msg(vst_program_create(&program, graph, outputs, output_count, options) == VST_OK, "%s",
                  vst_error_message());
    ck_assert_msg(vst_context_create(&context, program, NULL) == VST_OK, "%s", vst_error_message());
    return context;
}

static inline void destroy_context(vst_context *context) {
    vst_program *program = context ? vst_context_program(context) : NULL;
    vst_context_destroy(context);
    vst_program_destroy(program);
}

#endif
