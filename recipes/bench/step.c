/* Our side of a benchmark: one step of a case, and where its time goes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/bench/internal.h"
#include "recipes/infer/evaluator.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/base/threads.h"
#include "vision/ops/ops.h"

enum { GEMM_SIDE = 2048, WARM_UP_STEPS = 2 };

static vst_value build_gemm(vst_graph *g) {
    const vst_shape square = VST_SHAPE(GEMM_SIDE, GEMM_SIDE);
    return vst_matmul(g, vst_input(g, "image", square), vst_input(g, "target", square), false, false);
}

static vst_value build_model(vst_graph *g, const vst_bench_case *which) {
    vst_model_build(g, which->model, which->batch);
    const vst_value scores = vst_model_scores(g);
    if (which->kind == VST_BENCH_INFER) return scores;
    const vst_value target =
        vst_input(g, "target", VST_SHAPE(which->batch, vst_model_common_of(which->model)->classes));
    const vst_value loss = vst_cross_entropy(g, scores, target, 0);
    vst_differentiate(g, loss);
    return loss;
}

/* Deterministic values in the place of an image, or labels one class after the other. */
static void fill_input(const char *name, float *values, size_t count, int classes) {
    vst_random random = vst_random_stream(0, vst_random_id(name), 0, 0);
    for (size_t i = 0; i < count; i++) values[i] = (float)vst_random_uniform(&random);
    if (!classes || strcmp(name, "target") != 0) return;
    for (size_t i = 0; i < count; i++) values[i] = (i / (size_t)classes) % (size_t)classes == i % (size_t)classes;
}

/* A run may destroy its inputs, so each is kept here and put back before every step. */
static vst_status keep_inputs(vsti_bench_step *step, int classes) {
    static const char *const names[] = {"image", "target"};
    for (int i = 0; i < VSTI_BENCH_INPUTS; i++) {
        vsti_bench_input *input = &step->inputs[i];
        const vst_shape shape = vst_shape_at(step->graph, vst_find(step->graph, names[i]));
        input->target = vst_context_input(step->context, names[i]);
        if (!input->target) continue;
        input->bytes = (size_t)vst_shape_count(&shape) * sizeof(float);
        input->values = vst_alloc(input->bytes);
        if (!input->values) return vst_fail_memory(input->bytes);
        fill_input(names[i], input->values, input->bytes / sizeof(float), classes);
    }
    return VST_OK;
}

vst_status vsti_bench_step_run(vsti_bench_step *step, int count, double *seconds) {
    *seconds = 0;
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < VSTI_BENCH_INPUTS; k++)
            if (step->inputs[k].bytes) memcpy(step->inputs[k].target, step->inputs[k].values, step->inputs[k].bytes);
        const double begin = vst_seconds();
        vst_status status = vst_context_run(step->context, 0);
        if (status == VST_OK && step->optimizer) status = vst_optimizer_step(step->optimizer, 1e-4, NULL);
        if (status != VST_OK) return status;
        *seconds += vst_seconds() - begin;
    }
    return VST_OK;
}

static vst_status create_optimizer(vsti_bench_step *step) {
    return vst_optimizer_create(
        &step->optimizer, step->params,
        &(vst_optimizer_options){
            .kind = VST_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01});
}

vst_status vsti_bench_step_build(vsti_bench_step *step, const vst_bench_case *which, bool profile) {
    vst_status status = VST_OK;
    const bool training = which->kind == VST_BENCH_TRAIN;
    *step = (vsti_bench_step){0};
    step->previous_threads = vsti_threads_use(which->threads);
    VST_TRY(vst_params_create(&step->params));
    VST_TRY(vst_graph_create(&step->graph, step->params));
    const vst_value output = which->kind == VST_BENCH_GEMM ? build_gemm(step->graph) : build_model(step->graph, which);
    VST_TRY(vst_graph_finish(step->graph));
    VST_TRY(vst_params_allocate(step->params, training, 0));
    VST_TRY(vst_program_create(&step->program, step->graph, &output, 1,
                               &(vst_program_options){.mode = training ? VST_TRAIN : VST_INFER}));
    VST_TRY(vst_context_create(&step->context, step->program, &(vst_context_options){.profile = profile}));
    VST_TRY(keep_inputs(step, which->model ? vst_model_common_of(which->model)->classes : 0));
    if (training) VST_TRY(create_optimizer(step));
    for (int i = 0; i < WARM_UP_STEPS; i++) VST_TRY(vsti_bench_step_run(step, 1, &step->facts.seconds));
    step->facts.flops = vst_program_flops(step->program);
out:
    return status;
}

void vsti_bench_step_clear(vsti_bench_step *step) {
    for (int i = 0; i < VSTI_BENCH_INPUTS; i++) vst_free(step->inputs[i].values);
    vst_optimizer_destroy(step->optimizer);
    vst_context_destroy(step->context);
    vst_program_destroy(step->program);
    vst_graph_destroy(step->graph);
    vst_params_destroy(step->params);
    if (step->previous_threads) vsti_threads_use(step->previous_threads);
    *step = (vsti_bench_step){0};
}

/* ---- Profile ---- */

typedef struct operation_time {
    char name[48], implementation[64];
    bool backward;
    int nodes;
    double seconds, flops, bytes;
} operation_time;

static int by_seconds(const void *a, const void *b) {
    const double x = ((const operation_time *)a)->seconds, y = ((const operation_time *)b)->seconds;
    return (x < y) - (x > y);
}

/* Sums the profile's rows by operation, direction and implementation into `times`; returns how many there are. */
static int sum_rows(const vst_context *context, operation_time *times) {
    int count = 0;
    for (size_t i = 0; i < vst_context_profile_count(context); i++) {
        vst_profile_row row;
        vst_context_profile_at(context, i, &row);
        const char *space = strrchr(row.name, ' '), *name = space ? space + 1 : row.name;
        int k = 0;
        while (k < count && (strcmp(times[k].name, name) != 0 || times[k].backward != row.backward ||
                             strcmp(times[k].implementation, row.implementation) != 0))
            k++;
        if (k == count) {
            times[count] = (operation_time){.backward = row.backward};
            snprintf(times[count].name, sizeof times[count].name, "%s", name);
            snprintf(times[count++].implementation, sizeof times[k].implementation, "%s", row.implementation);
        }
        times[k].nodes++;
        times[k].seconds += row.seconds;
        times[k].flops += row.flops;
        times[k].bytes += row.bytes;
    }
    return count;
}

static vst_status tabulate(const vst_context *context, double step_seconds, vst_table **out) {
    vst_status status = VST_OK;
    vst_table *table;
    operation_time *times = vst_alloc((vst_context_profile_count(context) + 1) * sizeof *times);
    if (!times) return vst_fail_memory(vst_context_profile_count(context) * sizeof *times);
    int count = sum_rows(context, times);
    double rest = step_seconds;
    for (int i = 0; i < count; i++) rest -= times[i].seconds;
    times[count] = (operation_time){.name = "optimiser and the loop", .seconds = rest};
    qsort(times, (size_t)++count, sizeof *times, by_seconds);
    VST_TRY(vst_table_create(out, (const char *[]){"operation", "", "implementation", ">nodes", ">ms", ">share %",
                                                   ">GFLOP/s", ">GB/s", NULL}));
    table = *out;
    for (int i = 0; i < count; i++) {
        const operation_time *t = &times[i];
        vst_table_cell(table, "%s", t->name);
        vst_table_cell(table, "%s", t->backward ? "backward" : "");
        vst_table_cell(table, "%s", t->implementation);
        vst_table_cell(table, t->nodes ? "%d" : "", t->nodes);
        vst_table_cell(table, "%.3f", 1e3 * t->seconds);
        vst_table_cell(table, "%.1f", 100 * t->seconds / step_seconds);
        vst_table_cell(table, t->flops > 0 ? "%.1f" : "", t->flops / t->seconds / 1e9);
        vst_table_cell(table, t->bytes > 0 ? "%.1f" : "", t->bytes / t->seconds / 1e9);
    }
out:
    vst_free(times);
    return status;
}

vst_status vst_bench_profile(const vst_bench_case *which, int steps, vst_table **out) {
    vst_status status = VST_OK;
    *out = NULL;
    vsti_bench_step step;
    double seconds;
    VST_TRY(vsti_bench_step_build(&step, which, true));
    vst_context_profile_reset(step.context);
    VST_TRY(vsti_bench_step_run(&step, steps, &seconds));
    VST_TRY(tabulate(step.context, seconds / steps, out));
out:
    vsti_bench_step_clear(&step);
    return status;
}
