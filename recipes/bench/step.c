/* Our side of a benchmark: one step of a case, and its profile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/bench/internal.h"
#include "recipes/quant/quantize.h"
#include "vision/base/clock.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/ops/ops.h"

enum { GEMM_SIDE = 2048, WARM_UP_STEPS = 2, RANGE_IMAGES = 16 };

static vst_value build_gemm(vst_graph *g) {
    const vst_shape square = VST_SHAPE(GEMM_SIDE, GEMM_SIDE);
    return vst_matmul(g, vst_input(g, "image", square), vst_input(g, "target", square), false, false);
}

static vst_value build_training(vst_graph *g, const vst_bench_case *which) {
    vst_model_build(g, which->model, which->batch);
    const vst_value target =
        vst_input(g, "target", VST_SHAPE(which->batch, vst_model_common_of(which->model)->classes));
    const vst_value loss = vst_cross_entropy(g, vst_model_scores(g), target, 0);
    vst_differentiate(g, loss);
    return loss;
}

/* Fills an input with deterministic values: images, or labels that run through the classes. */
static void fill_input(const char *name, float *values, size_t count, int classes) {
    vst_random random = vst_random_stream(0, vst_random_id(name), 0, 0);
    for (size_t i = 0; i < count; i++) values[i] = (float)vst_random_uniform(&random);
    if (!classes || strcmp(name, "target") != 0) return;
    for (size_t i = 0; i < count; i++) values[i] = (i / (size_t)classes) % (size_t)classes == i % (size_t)classes;
}

static vst_status keep_input(vsti_bench_input *input, const char *name, size_t floats, int classes) {
    input->bytes = floats * sizeof(float);
    input->values = vst_alloc(input->bytes);
    if (!input->values) return vst_fail_memory(input->bytes);
    fill_input(name, input->values, floats, classes);
    return VST_OK;
}

/* A run may overwrite its inputs, so their values are kept here and restored before every step. */
static vst_status keep_inputs(vsti_bench_step *step) {
    static const char *const names[] = {"image", "target"};
    const int classes = step->which->model ? vst_model_common_of(step->which->model)->classes : 0;
    for (int i = 0; i < VSTI_BENCH_INPUTS; i++) {
        const vst_shape shape = vst_shape_at(step->graph, vst_find(step->graph, names[i]));
        step->inputs[i].target = vst_context_input(step->context, names[i]);
        if (!step->inputs[i].target) continue;
        const vst_status status = keep_input(&step->inputs[i], names[i], (size_t)vst_shape_count(&shape), classes);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

static vst_status run_once(vsti_bench_step *step) {
    if (step->session) return vst_session_run(step->session, step->inputs[0].values, step->which->batch, &step->result);
    const vst_status status = vst_context_run(step->context, 0);
    return status == VST_OK && step->optimizer ? vst_optimizer_step(step->optimizer, 1e-4, NULL) : status;
}

vst_status vsti_bench_step_run(vsti_bench_step *step, int count, double *seconds) {
    *seconds = 0;
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < VSTI_BENCH_INPUTS; k++)
            if (step->inputs[k].target) memcpy(step->inputs[k].target, step->inputs[k].values, step->inputs[k].bytes);
        const double begin = vst_seconds();
        const vst_status status = run_once(step);
        if (status != VST_OK) return status;
        *seconds += vst_seconds() - begin;
    }
    return VST_OK;
}

static vst_status create_optimizer(vsti_bench_step *step) {
    return vst_optimizer_create(
        &step->optimizer, step->params,
        &(vst_optimizer_options){.name = "adamw", .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.01});
}

static vst_status build_program(vsti_bench_step *step, bool profile) {
    vst_status status = VST_OK;
    const vst_bench_case *which = step->which;
    const bool training = which->kind == VST_BENCH_TRAIN;
    VST_TRY(vst_graph_create(&step->graph, step->params));
    const vst_value output = training ? build_training(step->graph, which) : build_gemm(step->graph);
    VST_TRY(vst_graph_finish(step->graph));
    VST_TRY(vst_params_allocate(step->params, training, 0));
    const vst_program_options options = {.mode = training ? VST_TRAIN : VST_INFER,
                                         .threads = which->threads,
                                         .precision = which->bf16 ? VST_PRECISION_BF16 : VST_PRECISION_F32};
    VST_TRY(vst_program_create(&step->program, step->graph, &output, 1, &options));
    VST_TRY(vst_context_create(&step->context, step->program, &(vst_context_options){.profile = profile}));
    VST_TRY(keep_inputs(step));
    if (training) VST_TRY(create_optimizer(step));
    step->facts.flops = vst_program_flops(step->program);
out:
    return status;
}

/* Opens the session again, with all layers on integers that can be. */
static vst_status use_integers(vsti_bench_step *step, const vst_session_options *options) {
    vst_status status = VST_OK;
    vst_dataset *images = NULL;
    vst_quantize_report report = {0};
    vst_session_close(step->session);
    step->session = NULL;
    step->model = (vst_model){.config = step->which->model, .params = step->params};
    VST_TRY(vsti_bench_noise(&images, step->which->model, 2 * RANGE_IMAGES));
    VST_TRY(vst_quantize(&step->model, images,
                         &(vst_quantize_options){.images = RANGE_IMAGES, .held_out = RANGE_IMAGES, .max_drop = -1},
                         NULL, &report));
    VST_TRY(vst_session_create_model(&step->session, &step->model, options));
out:
    vst_quantize_report_clear(&report);
    vst_dataset_close(images);
    return status;
}

static vst_status build_session(vsti_bench_step *step, bool profile) {
    vst_status status = VST_OK;
    vst_session_profile cost = {0};
    const vst_bench_case *which = step->which;
    const vst_session_options options = {.threads = which->threads, .profile = profile, .bf16 = which->bf16};
    VST_TRY(vst_session_create(&step->session, which->model, step->params, &options));
    VST_TRY(vst_params_allocate(step->params, false, 0));
    if (which->integers) VST_TRY(use_integers(step, &options));
    VST_TRY(keep_input(&step->inputs[0], "image", (size_t)which->batch * vst_session_image_floats(step->session), 0));
    VST_TRY(vst_session_measure(step->session, which->batch, 0, &cost));
    step->facts.flops = cost.flops;
out:
    vst_session_profile_clear(&cost);
    return status;
}

vst_status vsti_bench_step_build(vsti_bench_step *step, const vst_bench_case *which, bool profile) {
    vst_status status = VST_OK;
    *step = (vsti_bench_step){.which = which};
    VST_TRY(vsti_team_begin(&step->team, which->threads)); /* also for the optimiser's kernels */
    VST_TRY(vst_params_create(&step->params));
    VST_TRY(which->kind == VST_BENCH_INFER ? build_session(step, profile) : build_program(step, profile));
    for (int i = 0; i < WARM_UP_STEPS; i++) VST_TRY(vsti_bench_step_run(step, 1, &step->facts.seconds));
out:
    return status;
}

void vsti_bench_step_clear(vsti_bench_step *step) {
    for (int i = 0; i < VSTI_BENCH_INPUTS; i++) vst_free(step->inputs[i].values);
    vst_result_clear(&step->result);
    vst_session_close(step->session);
    vst_quantization_clear(&step->model.quantization);
    vst_optimizer_destroy(step->optimizer);
    vst_context_destroy(step->context);
    vst_program_destroy(step->program);
    vst_graph_destroy(step->graph);
    vst_params_destroy(step->params);
    vsti_team_end(&step->team);
    *step = (vsti_bench_step){0};
}

/* ---- Profile ---- */

static int by_seconds(const void *a, const void *b) {
    const double x = ((const vst_bench_operation *)a)->seconds, y = ((const vst_bench_operation *)b)->seconds;
    return (x < y) - (x > y);
}

/* Sums rows by operation, direction and implementation into `times`; returns their number. */
static int sum_rows(const vst_profile_row *rows, size_t row_count, vst_bench_operation *times) {
    int count = 0;
    for (size_t i = 0; i < row_count; i++) {
        const vst_profile_row *row = &rows[i];
        const char *space = strrchr(row->name, ' '), *name = space ? space + 1 : row->name;
        int k = 0;
        while (k < count && (strcmp(times[k].name, name) != 0 || times[k].backward != row->backward ||
                             strcmp(times[k].implementation, row->implementation) != 0))
            k++;
        if (k == count) {
            times[count] = (vst_bench_operation){.backward = row->backward};
            snprintf(times[count].name, sizeof times[count].name, "%s", name);
            snprintf(times[count++].implementation, sizeof times[k].implementation, "%s", row->implementation);
        }
        times[k].nodes++;
        times[k].seconds += row->seconds;
        times[k].flops += row->flops;
        times[k].bytes += row->bytes;
    }
    return count;
}

static vst_status sum_profile(const vst_profile_row *rows, size_t row_count, vst_bench_profile *profile) {
    const size_t room = (row_count + 1) * sizeof *profile->operations;
    profile->operations = vst_alloc(room);
    if (!profile->operations) return vst_fail_memory(room);
    profile->count = sum_rows(rows, row_count, profile->operations);
    double rest = profile->seconds;
    for (int i = 0; i < profile->count; i++) rest -= profile->operations[i].seconds;
    profile->operations[profile->count++] = (vst_bench_operation){.name = "optimiser and the loop", .seconds = rest};
    qsort(profile->operations, (size_t)profile->count, sizeof *profile->operations, by_seconds);
    return VST_OK;
}

vst_status vst_bench_profile_run(vst_bench_profile *profile, const vst_bench_case *which, int steps) {
    vst_status status = VST_OK;
    vsti_bench_step step;
    vst_session_profile cost = {0};
    double seconds;
    VST_TRY(vsti_bench_step_build(&step, which, true));
    if (step.session) {
        const double begin = vst_seconds();
        VST_TRY(vst_session_measure(step.session, which->batch, steps, &cost));
        seconds = (vst_seconds() - begin) * steps / (steps + 1); /* vst_session_measure also runs one warm-up */
    } else {
        vst_context_profile_reset(step.context);
        VST_TRY(vsti_bench_step_run(&step, steps, &seconds));
        VST_TRY(vst_session_profile_rows(&cost, step.context));
    }
    profile->seconds = seconds / steps;
    VST_TRY(sum_profile(cost.rows, cost.count, profile));
out:
    vst_session_profile_clear(&cost);
    vsti_bench_step_clear(&step);
    return status;
}

void vst_bench_profile_clear(vst_bench_profile *profile) {
    vst_free(profile->operations);
    *profile = (vst_bench_profile){0};
}
