/* Plans: which nodes in which order, lowering each, running the steps, the profile. */
#include "vision/plan/plan.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/clock.h"
#include "vision/base/memory.h"
#include "vision/base/threads.h"
#include "vision/plan/internal.h"

/* ---- which nodes, in which order --------------------------------------------------------------------------------- */

static void need(vsti_lowering *lowering, int value, int reader) {
    if (lowering->last_use[value] < reader) lowering->last_use[value] = reader;
    if (lowering->graph->values[value].kind == VSTI_VALUE_NODE)
        lowering->needed[lowering->graph->values[value].node] = true;
}

/* Nodes are in a valid order as they were built; only the needed ones are lowered. */
static void mark_needed(vsti_lowering *lowering, const vst_value *outputs, int output_count) {
    const vst_graph *graph = lowering->graph;
    const int end = (int)graph->node_count;
    for (int i = 0; i < output_count; i++) need(lowering, outputs[i].id, end);
    if (vsti_is_training(lowering))
        for (size_t i = 1; i < graph->value_count; i++) {
            const vsti_value *value = &graph->values[i];
            if (value->kind != VSTI_VALUE_PARAM || !value->gradient) continue;
            need(lowering, value->gradient, end);
            lowering->gradient_of[value->gradient] = value->parameter + 1;
        }
    for (int i = end; i-- > 0;) {
        if (!lowering->needed[i]) continue;
        for (int k = 0; k < graph->nodes[i].input_count; k++) need(lowering, graph->nodes[i].inputs[k], i);
    }
}

/* Outputs become plain and stay; gradients that were not written straight into the bucket are brought there. */
static void finish_values(vsti_lowering *lowering, const vst_value *outputs, int output_count) {
    const vst_graph *graph = lowering->graph;
    for (size_t i = 1; i < graph->value_count && vsti_is_training(lowering); i++) {
        const vsti_value *value = &graph->values[i];
        if (value->kind != VSTI_VALUE_PARAM || !value->gradient || lowering->status != VST_OK) continue;
        float *target =
            vst_params_gradients(graph->params) + vst_params_at(graph->params, (size_t)value->parameter)->offset;
        vsti_buffer source = vsti_read(lowering, value->gradient, NULL);
        if (source < 0 || vsti_root_of(lowering, source)->external == target) continue;
        const vsti_buffer bucket = vsti_external(lowering, target);
        if (bucket < 0) return;
        vsti_copy_step(lowering, vsti_value_bytes(lowering, (int)i, NULL), source, bucket);
    }
    for (int i = 0; i < output_count; i++) {
        vsti_buffer index = vsti_read(lowering, outputs[i].id, NULL);
        if (index >= 0) vsti_root_of(lowering, index)->pinned = true;
    }
}

/* Finds what an optimised plan fuses. What a fused step reads must last until the step's place. */
static void fuse_nodes(vsti_lowering *lowering) {
    const vst_graph *graph = lowering->graph;
    vsti_fusions *fusions = &lowering->fusions;
    if (vsti_is_plain(lowering)) return;
    bool *kept = vst_calloc(graph->value_count, sizeof *kept);
    for (size_t i = 0; kept && i < graph->value_count; i++) kept[i] = lowering->last_use[i] == (int)graph->node_count;
    vsti_lowering_fail(lowering,
                       kept ? vsti_fusions_find(fusions, graph, lowering->needed, kept, vsti_is_training(lowering))
                            : vst_fail_memory(graph->value_count));
    vst_free(kept);
    for (int i = 0; i < (int)graph->node_count && lowering->status == VST_OK; i++)
        for (int k = 0; fusions->host[i] == i && k < graph->nodes[i].input_count; k++)
            need(lowering, graph->nodes[i].inputs[k], fusions->last[i]);
}

/* The node to be lowered in the place of node `index`, or -1: another place makes its step. */
static int host_at(const vsti_lowering *lowering, int index) {
    const vsti_fusions *fusions = &lowering->fusions;
    if (!lowering->needed[index]) return -1;
    if (!fusions->host || fusions->host[index] < 0) return index;
    return fusions->last[fusions->host[index]] == index ? fusions->host[index] : -1;
}

static void lower_nodes(vsti_lowering *lowering) {
    const vst_graph *graph = lowering->graph;
    const int end = (int)graph->node_count;
    for (lowering->node = 0; lowering->node < end && lowering->status == VST_OK; lowering->node++) {
        lowering->host = host_at(lowering, lowering->node);
        if (lowering->host < 0) continue;
        const vsti_node *node = &graph->nodes[lowering->host];
        node->operation->lower(lowering, node);
        const int written = vsti_fused(lowering, node).output;
        if (lowering->status == VST_OK && lowering->last_use[written] >= 0)
            VST_ASSERT(lowering->first_copy[written] >= 0);
    }
    lowering->host = end;
}

/* Fills what the profile says about each row apart from its time. */
static void describe_rows(vst_plan *plan) {
    const vst_graph *graph = plan->graph;
    for (size_t i = 0; i < plan->row_count; i++) {
        row *r = &plan->rows[i];
        if (r->value || r->node >= (int)graph->node_count) {
            const int value = r->value ? r->value : 0;
            r->bytes = value ? 2.0 * sizeof(float) * (double)vst_shape_count(vsti_shape(graph, value)) : 0;
            continue;
        }
        const vsti_node *node = &graph->nodes[r->node];
        if (node->operation->flops) r->flops = node->operation->flops(graph, node);
        for (int k = 0; k < node->input_count; k++)
            r->bytes += sizeof(float) * (double)vst_shape_count(vsti_shape(graph, node->inputs[k]));
        r->bytes += sizeof(float) * (double)vst_shape_count(vsti_shape(graph, node->outputs[0]));
    }
}

static vst_status allocate_tables(vsti_lowering *lowering) {
    vst_plan *plan = lowering->plan;
    const size_t values = lowering->graph->value_count, nodes = lowering->graph->node_count;
    lowering->needed = vst_calloc(nodes + 1, sizeof *lowering->needed);
    lowering->last_use = vst_alloc(values * sizeof(int));
    lowering->first_copy = vst_alloc(values * sizeof(int));
    lowering->gradient_of = vst_calloc(values, sizeof(int));
    plan->outputs = vst_calloc((size_t)plan->output_count + 1, sizeof *plan->outputs);
    plan->inputs = vst_calloc(values, sizeof *plan->inputs);
    if (!lowering->needed || !lowering->last_use || !lowering->first_copy || !lowering->gradient_of || !plan->outputs ||
        !plan->inputs)
        return vst_fail_memory(values * sizeof(int));
    for (size_t i = 0; i < values; i++) lowering->last_use[i] = lowering->first_copy[i] = -1;
    return VST_OK;
}

static vst_status check_request(const vst_graph *graph, const vst_value *outputs, int output_count,
                                const vst_plan_options *options) {
    for (int i = 0; i < output_count; i++)
        if (!outputs[i].id) return vst_fail(VST_ERROR_ARGUMENT, "output %d of the plan is the null value", i);
    if (!vst_params_values(graph->params) && vst_params_count(graph->params))
        return vst_fail(VST_ERROR_ARGUMENT, "the parameters are not allocated: call vst_params_allocate first");
    if (options->mode == VST_TRAIN && graph->differentiated && !vst_params_gradients(graph->params))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "the parameters have no gradients: call vst_params_allocate with gradients");
    return VST_OK;
}

vst_status vst_plan_create(vst_plan **out, vst_graph *graph, const vst_value *outputs, int output_count,
                           const vst_plan_options *options) {
    *out = NULL;
    vst_status status = vst_graph_finish(graph);
    if (status == VST_OK) status = check_request(graph, outputs, output_count, options);
    if (status != VST_OK) return status;
    vst_plan *plan = vst_calloc(1, sizeof *plan);
    if (!plan) return vst_fail_memory(sizeof *plan);
    plan->graph = graph;
    plan->options = *options;
    plan->output_count = output_count;
    plan->value_count = graph->value_count;
    vsti_lowering lowering = {.plan = plan, .graph = graph, .prepare_time = INT_MIN / 2};
    VST_TRY(allocate_tables(&lowering));
    mark_needed(&lowering, outputs, output_count);
    fuse_nodes(&lowering);
    lower_nodes(&lowering);
    finish_values(&lowering, outputs, output_count);
    VST_TRY(lowering.status);
    VST_TRY(vsti_bind_addresses(&lowering, outputs));
    describe_rows(plan);
out:
    vsti_fusions_clear(&lowering.fusions);
    vst_free(lowering.needed);
    vst_free(lowering.last_use);
    vst_free(lowering.first_copy);
    vst_free(lowering.gradient_of);
    vst_free(lowering.copies);
    vst_free(lowering.buffers);
    vst_free(lowering.bindings);
    for (size_t i = 0; i < lowering.layout_count; i++) vsti_layout_destroy(lowering.layouts[i]);
    vst_free(lowering.layouts);
    if (status == VST_OK) *out = plan;
    else vst_plan_destroy(plan);
    return status;
}

static void free_steps(step_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        vsti_primitive_destroy(list->items[i].primitive);
        vst_free(list->items[i].arguments);
        vst_free(list->items[i].pointers);
    }
    vst_free(list->items);
}

void vst_plan_destroy(vst_plan *plan) {
    if (!plan) return;
    free_steps(&plan->steps);
    free_steps(&plan->prepare);
    vst_free(plan->arena);
    vst_free(plan->rows);
    vst_free(plan->outputs);
    vst_free(plan->inputs);
    vst_free(plan);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

float *vst_plan_input(vst_plan *plan, const char *name) {
    for (size_t i = 1; i < plan->value_count; i++) {
        const vsti_value *value = &plan->graph->values[i];
        if (value->kind == VSTI_VALUE_INPUT && strcmp(value->name, name) == 0) return plan->inputs[i];
    }
    return NULL;
}

const float *vst_plan_output(const vst_plan *plan, int index) {
    return index >= 0 && index < plan->output_count ? plan->outputs[index] : NULL;
}

static vst_status run_steps(vst_plan *plan, const step_list *list, const vsti_run *run) {
    for (size_t i = 0; i < list->count; i++) {
        const step *s = &list->items[i];
        const double start = plan->options.profile ? vst_seconds() : 0;
        if (s->function) {
            s->function(s->pointers, s->arguments, run);
        } else {
            vst_status status = vsti_primitive_run(s->primitive);
            if (status != VST_OK) return status;
        }
        if (plan->options.profile && s->row != VSTI_NO_ROW) plan->rows[s->row].seconds += vst_seconds() - start;
    }
    return VST_OK;
}

vst_status vst_plan_run(vst_plan *plan, uint32_t step_number) {
    const vsti_run run = {plan->options.seed, step_number};
    const uint64_t version = vst_params_version(plan->graph->params) + 1; /* 0: never prepared */
    if (plan->prepared != version) {
        vst_status status = run_steps(plan, &plan->prepare, &run);
        if (status != VST_OK) return status;
        plan->prepared = version;
    }
    plan->runs++;
    vsti_threads_adapt();
    const vst_status status = run_steps(plan, &plan->steps, &run);
    vsti_threads_ran();
    return status;
}

/* ---- profile ----------------------------------------------------------------------------------------------------- */

size_t vst_plan_profile_count(const vst_plan *plan) { return plan->row_count; }
size_t vst_plan_bytes(const vst_plan *plan) { return plan->arena_bytes; }

void vst_plan_profile_reset(vst_plan *plan) {
    plan->runs = 0;
    for (size_t i = 0; i < plan->row_count; i++) plan->rows[i].seconds = 0;
}

double vst_plan_flops(const vst_plan *plan) {
    double flops = 0;
    for (size_t i = 0; i < plan->row_count; i++) flops += plan->rows[i].flops;
    return flops;
}

void vst_plan_profile_at(const vst_plan *plan, size_t index, vst_profile_row *out) {
    const row *r = &plan->rows[index];
    const vst_graph *graph = plan->graph;
    const vsti_node *node = r->node < (int)graph->node_count ? &graph->nodes[r->node] : NULL;
    const char *operation = r->value ? "reorder" : node ? node->operation->name : "gradient copy";
    *out = (vst_profile_row){.bytes = r->bytes, .flops = r->flops, .backward = !node || node->backward};
    snprintf(out->name, sizeof out->name, "%s %s%s", node ? node->name : "", operation, r->fused);
    snprintf(out->implementation, sizeof out->implementation, "%s", r->implementation);
    const int shown = r->value ? r->value : node ? node->outputs[0] : 0;
    vst_shape_text(vsti_shape(graph, shown), out->shape);
    if (plan->runs) out->seconds = r->seconds / (double)plan->runs;
}
