/* A user of the installed library: relu(x Wᵀ) for W = (1 2 3; -1 0 1), planned, run and checked. */
#include <stdio.h>

#include "vision/graph/graph.h"
#include "vision/ops/ops.h"
#include "vision/plan/program.h"

int main(void) {
    static const float x[2][3] = {{1, 2, 3}, {-1, 0, -2}}, weight[2][3] = {{1, 2, 3}, {-1, 0, 1}};
    static const float expected[2][2] = {{14, 2}, {0, 0}};
    vst_params *params = NULL;
    vst_graph *graph = NULL;
    vst_program *program = NULL;
    vst_context *context = NULL;
    int code = 1;
    vst_status status;
    VST_TRY(vst_params_create(&params));
    VST_TRY(vst_graph_create(&graph, params));
    vst_value y = vst_input(graph, "x", VST_SHAPE(2, 3));
    VST_SCOPE (graph, "head") y = vst_linear(graph, y, (vst_linear_options){.features = 2});
    y = vst_relu(graph, y);
    VST_TRY(vst_graph_finish(graph));
    VST_TRY(vst_params_allocate(params, false, 0));
    VST_TRY(vst_program_create(&program, graph, &y, 1, &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&context, program, NULL));

    float *values =
        vst_params_values(params) + vst_params_at(params, (size_t)vst_params_find(params, "head.weight"))->offset;
    for (int i = 0; i < 6; i++) values[i] = weight[i / 3][i % 3];
    vst_params_changed(params);
    for (int i = 0; i < 6; i++) vst_context_input(context, "x")[i] = x[i / 3][i % 3];
    VST_TRY(vst_context_run(context, 0));
    code = 0;
    for (int i = 0; i < 4; i++) {
        float got = vst_context_output(context, 0)[i];
        printf("%g ", got);
        if (got != expected[i / 2][i % 2]) code = 1;
    }
    puts(code ? "wrong" : "right");
out:
    if (status != VST_OK) fprintf(stderr, "%s: %s\n", vst_status_name(status), vst_error_message());
    vst_context_destroy(context);
    vst_program_destroy(program);
    vst_graph_destroy(graph);
    vst_params_destroy(params);
    return code;
}
