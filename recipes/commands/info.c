/* vistill info: what a model file holds; with --plan, every node of its inference plan with its time. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/commands/main.h"
#include "recipes/engine/model_eval.h"
#include "recipes/engine/modelfile.h"
#include "recipes/engine/table.h"
#include "vision/base/memory.h"
#include "vision/plan/plan.h"

enum { PROFILE_RUNS = 20 };

static vst_status print_parameters(const vst_modelfile *file) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    char shape[VST_SHAPE_TEXT];
    VST_TRY(vst_table_create(&table, (const char *[]){"tensor", "shape", ">values", NULL}));
    for (size_t i = 0; i < vst_params_count(file->params); i++) {
        const vst_param_info *p = vst_params_at(file->params, i);
        vst_table_cell(table, "%s", p->name);
        vst_table_cell(table, "%s", vst_shape_text(&p->shape, shape));
        vst_table_cell(table, "%lld", (long long)vst_shape_count(&p->shape));
    }
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static vst_status print_plan(const vst_modelfile *file, int batch) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_plan *plan = NULL;
    vst_table *table = NULL;
    vst_profile_row row;
    VST_TRY(vst_graph_create(&graph, file->params));
    vst_model_build(graph, file->model, batch);
    const vst_value scores = vst_model_scores(graph);
    VST_TRY(vst_plan_create(&plan, graph, &scores, 1, &(vst_plan_options){.mode = VST_INFER, .profile = true}));
    for (int i = 0; i <= PROFILE_RUNS; i++) {
        if (i == 1) vst_plan_profile_reset(plan); /* the first run warms up */
        VST_TRY(vst_plan_run(plan, 0));
    }
    VST_TRY(vst_table_create(&table, (const char *[]){"node", "shape", "implementation", ">kB", ">MFLOP", ">ms", NULL}));
    for (size_t i = 0; i < vst_plan_profile_count(plan); i++) {
        vst_plan_profile_at(plan, i, &row);
        vst_table_cell(table, "%s", row.name);
        vst_table_cell(table, "%s", row.shape);
        vst_table_cell(table, "%s", row.implementation);
        vst_table_cell(table, "%.1f", row.bytes / 1e3);
        vst_table_cell(table, "%.2f", row.flops / 1e6);
        vst_table_cell(table, "%.4f", row.seconds * 1e3);
    }
    VST_TRY(vst_table_write(table, stdout));
    printf("\nbatch %d: %.2f MFLOP, %.2f MB of memory besides the parameters\n", batch, vst_plan_flops(plan) / 1e6,
           (double)vst_plan_bytes(plan) / 1e6);
out:
    vst_table_destroy(table);
    vst_plan_destroy(plan);
    vst_graph_destroy(graph);
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_modelfile *file = NULL;
    int batch = 1;
    VST_TRY(vst_flag_int(arguments, "batch", 1, 4096, &batch));
    VST_TRY(vst_modelfile_read(&file, arguments->words[0]));
    const vst_model_common *common = vst_model_common_of(file->model);
    printf("model       %s (%s)\ninput       %d x %d x %d\nclasses     %d\nparameters  %zu\n", file->model->variant,
           file->model->backbone->help, common->channels, common->image, common->image, file->class_count,
           vst_params_numel(file->params));
    if (file->training) printf("training    %s\n", file->training);
    putchar('\n');
    status = vst_flag_given(arguments, "plan") ? print_plan(file, batch) : print_parameters(file);
out:
    vst_modelfile_destroy(file);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{"plan", 0, NULL, "the inference plan: implementation, work and time of each node"},
                                 {"batch", 0, "N", "images in the plan, 1 by default"},
                                 {0}};

const vst_command vsti_command_info = {
    .name = "info", .words = "MODEL", .summary = "shows what a model file holds", .flags = flags, .minimum = 1,
    .maximum = 1, .run = run};
