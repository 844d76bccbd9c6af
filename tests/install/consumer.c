/* A user of the installed library, in C: relu(x Wᵀ) for W = (1 2 3; -1 0 1), run once and checked. */
#include <stdio.h>
#include <string.h>

#include "vision/ops/ops.h"
#include "vision/plan/program.h"
#include "vistill.h"

int main(void) {
    static const float x[] = {1, 2, 3, -1, 0, -2}, weight[] = {1, 2, 3, -1, 0, 1}, expected[] = {14, 2, 0, 0};
    vst_params *params = NULL;
    vst_graph *graph = NULL;
    vst_program *program = NULL;
    vst_context *context = NULL;
    vst_status status;
    VST_TRY(vst_params_create(&params));
    VST_TRY(vst_graph_create(&graph, params));
    vst_value y = vst_input(graph, "x", VST_SHAPE(2, 3));
    VST_SCOPE (graph, "head") y = vst_linear(graph, y, (vst_linear_options){.features = 2});
    y = vst_relu(graph, y);
    VST_TRY(vst_graph_finish(graph));
    VST_TRY(vst_params_allocate(params, false, 0));
    const int head = vst_params_find(params, "head.weight");
    memcpy(vst_params_values(params) + vst_params_at(params, (size_t)head)->offset, weight, sizeof weight);
    VST_TRY(vst_program_create(&program, graph, &y, 1, &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&context, program, NULL));
    memcpy(vst_context_input(context, "x"), x, sizeof x);
    VST_TRY(vst_context_run(context, 0));
    const float *got = vst_context_output(context, 0);
    printf("Vistill %s in C: %g %g %g %g\n", vst_version(), got[0], got[1], got[2], got[3]);
    if (memcmp(got, expected, sizeof expected) != 0) status = vst_fail(VST_ERROR_NUMERIC, "expected 14 2 0 0");
out:
    if (status != VST_OK) fprintf(stderr, "%s: %s\n", vst_status_name(status), vst_error_message());
    vst_context_destroy(context), vst_program_destroy(program);
    vst_graph_destroy(graph), vst_params_destroy(params);
    return status != VST_OK;
}
