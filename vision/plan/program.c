/* Programs: selects the needed nodes, lowers them, and assigns memory. */
#include "vision/plan/program.h"

#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/base/threads.h"
#include "vision/plan/internal.h"

/* ---- which nodes, in which order --------------------------------------------------------------------------------- */

static void need(vsti_lowering *lowering, int value, int reader) {
    if (lowering->last_use[value] < reader) lowering->last_use[value] = reader;
    if (lowering->graph->values[value].kind == VST_VALUE_NODE)
        lowering->needed[lowering->graph->values[value].node] = true;
}

/* Marks the needed nodes. Their order is that of creation, which is a valid order of execution. */
static void mark_needed(vsti_lowering *lowering, const vst_value *outputs, int output_count) {
    const vst_graph *graph = lowering->graph;
    const int end = (int)graph->node_count;
    for (int i = 0; i < output_count; i++) need(lowering, outputs[i].id, end);
    if (vsti_is_training(lowering))
        for (size_t i = 1; i < graph->value_count; i++) {
            const vsti_value *value = &graph->values[i];
            if (value->kind != VST_VALUE_PARAMETER || !value->gradient) continue;
            need(lowering, value->gradient, end);
            lowering->gradient_of[value->gradient] = value->parameter + 1;
        }
    for (int i = end; i-- > 0;) {
        if (!lowering->needed[i]) continue;
        for (int k = 0; k < graph->nodes[i].input_count; k++) need(lowering, graph->nodes[i].inputs[k], i);
    }
}

/* Converts outputs to the plain layout and keeps them. Copies gradients that were not written directly to the bucket.
 */
static void finish_values(vsti_lowering *lowering, const vst_value *outputs, int output_count) {
    const vst_graph *graph = lowering->graph;
    for (size_t i = 1; i < graph->value_count && vsti_is_training(lowering); i++) {
        const vsti_value *value = &graph->values[i];
        if (value->kind != VST_VALUE_PARAMETER || !value->gradient || lowering->status != VST_OK) continue;
        const vsti_operand target = vsti_parameter_at(lowering, SPACE_GRADIENTS, value->parameter);
        const size_t bytes = vsti_value_bytes(lowering, (int)i, VSTI_PLAIN);
        const vsti_buffer source = vsti_read(lowering, value->gradient, VSTI_PLAIN);
        if (source < 0) return;
        const vsti_operand *at = &vsti_root_of(lowering, source)->at;
        if (at->space == target.space && at->offset == target.offset) continue;
        const vsti_buffer bucket = vsti_external(lowering, target, bytes);
        if (bucket < 0) return;
        vsti_copy_step(lowering, bytes, source, bucket);
    }
    for (int i = 0; i < output_count; i++) {
        vsti_buffer index = vsti_read(lowering, outputs[i].id, VSTI_PLAIN);
        if (index >= 0) vsti_root_of(lowering, index)->pinned = true;
    }
}

/* Finds fusions, except in plain programs. The inputs of a fused step are kept until its position. */
static void fuse_nodes(vsti_lowering *lowering) {
    const vst_graph *graph = lowering->graph;
    vsti_fusions *fusions = &lowering->fusions;
    if (vsti_is_plain(lowering)) return;
    bool *kept = vst_calloc(graph->value_count, sizeof *kept);
    for (size_t i = 0; kept && i < graph->value_count; i++) kept[i] = lowering->last_use[i] == (int)graph->node_count;
    vsti_lowering_fail(lowering, kept ? vsti_fusions_find(fusions, graph, lowering->needed, kept,
                                                          vsti_is_training(lowering), lowering->quantized)
                                      : vst_fail_memory(graph->value_count));
    vst_free(kept);
    for (int i = 0; i < (int)graph->node_count && lowering->status == VST_OK; i++)
        for (int k = 0; fusions->host[i] == i && k < graph->nodes[i].input_count; k++)
            need(lowering, graph->nodes[i].inputs[k], fusions->last[i]);
}

/* The node whose step runs at the position of node `index`; -1 if there is none. */
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
        vsti_store_value(lowering, written);
    }
    lowering->host = end;
}

/* Describes a profile row, without its time. */
static void describe_row(const vst_graph *graph, const row *r, vst_profile_row *out) {
    const vsti_node *node = r->node < (int)graph->node_count ? &graph->nodes[r->node] : NULL;
    const char *operation = r->value ? r->movement : node ? node->operation->name : "gradient copy";
    *out = (vst_profile_row){.backward = !node || node->backward};
    snprintf(out->name, sizeof out->name, "%s %s%s", node ? node->name : "", operation, r->fused);
    snprintf(out->implementation, sizeof out->implementation, "%s", r->implementation);
    vst_shape_text(vsti_shape(graph, r->value ? r->value : node ? node->outputs[0] : 0), out->shape);
    if (r->value) out->bytes = (double)r->element_bytes * (double)vst_shape_count(vsti_shape(graph, r->value));
    if (r->value || !node) return;
    if (node->operation->flops) out->flops = node->operation->flops(graph, node);
    for (int k = 0; k < node->input_count; k++)
        out->bytes += sizeof(float) * (double)vst_shape_count(vsti_shape(graph, node->inputs[k]));
    out->bytes += sizeof(float) * (double)vst_shape_count(vsti_shape(graph, node->outputs[0]));
}

/* ---- memory ---- */

static vsti_operand place_of(vsti_lowering *lowering, vsti_buffer index) {
    if (index < 0) return (vsti_operand){.space = SPACE_NONE};
    vsti_operand at = vsti_root_of(lowering, index)->at;
    at.offset += lowering->buffers[index].shift;
    return at;
}

static vst_status take_inputs(vsti_lowering *lowering) {
    vst_program *program = lowering->program;
    for (size_t i = 1; i < lowering->graph->value_count; i++) {
        const vsti_value *value = &lowering->graph->values[i];
        if (value->kind != VST_VALUE_INPUT || lowering->first_copy[i] < 0) continue;
        const vst_status status =
            vst_grow(&program->inputs, &program->input_capacity, program->input_count + 1, sizeof *program->inputs);
        if (status != VST_OK) return status;
        char *name = vst_strdup(value->name);
        if (!name) return vst_fail_memory(strlen(value->name));
        program->inputs[program->input_count++] =
            (vsti_input){name, place_of(lowering, lowering->copies[lowering->first_copy[i]].buffer)};
    }
    return VST_OK;
}

/* Resolves operands, outputs and inputs, and gives packed weights their memory. */
static vst_status take_places(vsti_lowering *lowering, const vst_value *outputs) {
    vst_status status = VST_OK;
    vst_program *program = lowering->program;
    VST_TRY(vsti_place_buffers(lowering));
    for (size_t i = 0; i < program->operand_count; i++) {
        const vsti_role role = program->operands[i].role;
        program->operands[i] = place_of(lowering, lowering->bound[i]);
        program->operands[i].role = role;
    }
    for (int i = 0; i < program->output_count; i++)
        program->outputs[i] = place_of(lowering, vsti_read(lowering, outputs[i].id, VSTI_PLAIN));
    VST_TRY(take_inputs(lowering));
    VST_TRY(vsti_store_take(program->store, &lowering->packed, program->operands, program->operand_count));
out:
    return status;
}

static vst_status take_rows(vsti_lowering *lowering) {
    vst_program *program = lowering->program;
    program->rows = vst_calloc(lowering->row_count, sizeof *program->rows);
    if (!program->rows) return vst_fail_memory(lowering->row_count * sizeof *program->rows);
    program->row_count = lowering->row_count;
    for (size_t i = 0; i < lowering->row_count; i++)
        describe_row(lowering->graph, &lowering->rows[i], &program->rows[i]);
    return VST_OK;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static vst_status allocate_tables(vsti_lowering *lowering) {
    const size_t values = lowering->graph->value_count, nodes = lowering->graph->node_count;
    lowering->needed = vst_calloc(nodes + 1, sizeof *lowering->needed);
    lowering->last_use = vst_alloc(values * sizeof(int));
    lowering->first_copy = vst_alloc(values * sizeof(int));
    lowering->gradient_of = vst_calloc(values, sizeof(int));
    lowering->stored = vst_alloc(values * sizeof *lowering->stored);
    lowering->quantized = vst_calloc(nodes + 1, sizeof *lowering->quantized);
    if (!lowering->needed || !lowering->last_use || !lowering->first_copy || !lowering->gradient_of ||
        !lowering->stored || !lowering->quantized)
        return vst_fail_memory(values * sizeof(int));
    for (size_t i = 0; i < values; i++) lowering->last_use[i] = lowering->first_copy[i] = -1;
    return VST_OK;
}

static vst_status check_request(const vst_graph *graph, const vst_value *outputs, int output_count,
                                const vst_program_options *options) {
    if (graph->status != VST_OK)
        return vst_fail(graph->status, "%s", graph->message ? graph->message : "out of memory in the graph");
    for (int i = 0; i < output_count; i++)
        if (!outputs[i].id) return vst_fail(VST_ERROR_ARGUMENT, "output %d of the program is the null value", i);
    if (!vst_params_values(graph->params) && vst_params_count(graph->params))
        return vst_fail(VST_ERROR_ARGUMENT, "the parameters are not allocated: call vst_params_allocate first");
    if (options->mode == VST_TRAIN && graph->differentiated && !vst_params_gradients(graph->params))
        return vst_fail(VST_ERROR_ARGUMENT,
                        "the parameters have no gradients: call vst_params_allocate with gradients");
    if (options->share && options->share->params != graph->params)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "the program to share packed weights with has other parameters: both graphs must be made over "
                        "one vst_params");
    return VST_OK;
}

static vst_status begin(vst_program *program, const vst_graph *graph, int output_count,
                        const vst_program_options *options) {
    program->params = graph->params;
    program->mode = options->mode;
    program->seed = options->seed;
    program->plain = options->plain;
    program->bf16 = options->precision == VST_PRECISION_BF16;
    program->output_count = output_count;
    program->outputs = vst_calloc((size_t)output_count + 1, sizeof *program->outputs);
    if (!program->outputs) return vst_fail_memory((size_t)output_count * sizeof *program->outputs);
    if (!options->share) return vsti_store_create(&program->store, graph->params);
    program->store = vsti_store_share(options->share->store);
    return VST_OK;
}

static vst_status lower(vst_program *program, const vst_graph *graph, const vst_value *outputs,
                        const vst_program_options *options) {
    vst_status status = VST_OK;
    vsti_lowering lowering = {.program = program, .graph = graph};
    VST_TRY(allocate_tables(&lowering));
    mark_needed(&lowering, outputs, program->output_count);
    VST_TRY(vsti_choose_formats(&lowering, options));
    fuse_nodes(&lowering);
    lower_nodes(&lowering);
    finish_values(&lowering, outputs, program->output_count);
    VST_TRY(lowering.status);
    VST_TRY(take_places(&lowering, outputs));
    VST_TRY(take_rows(&lowering));
out:
    vsti_fusions_clear(&lowering.fusions);
    vst_free(lowering.needed);
    vst_free(lowering.last_use);
    vst_free(lowering.first_copy);
    vst_free(lowering.stored);
    vst_free(lowering.quantized);
    vst_free(lowering.product_scales);
    vst_free(lowering.gradient_of);
    vst_free(lowering.copies);
    vst_free(lowering.buffers);
    vst_free(lowering.bound);
    vst_free(lowering.rows);
    vsti_pack_list_clear(&lowering.packed);
    for (size_t i = 0; i < lowering.descriptor_count; i++) vsti_descriptor_destroy(lowering.descriptors[i]);
    vst_free(lowering.descriptors);
    return status;
}

vst_status vst_program_create(vst_program **out, const vst_graph *graph, const vst_value *outputs, int output_count,
                              const vst_program_options *options) {
    *out = NULL;
    vst_status status = check_request(graph, outputs, output_count, options);
    if (status != VST_OK) return status;
    vsti_team team = {0};
    vst_program *program = vst_calloc(1, sizeof *program);
    if (!program) return vst_fail_memory(sizeof *program);
    VST_TRY(vsti_team_begin(&team, options->threads)); /* scratch and oneDNN's plans are made for so many threads */
    program->threads = team.threads;
    VST_TRY(begin(program, graph, output_count, options));
    VST_TRY(lower(program, graph, outputs, options));
    *out = program;
    program = NULL;
out:
    vsti_team_end(&team);
    vst_program_destroy(program);
    return status;
}

void vst_program_destroy(vst_program *program) {
    if (!program) return;
    for (size_t i = 0; i < program->step_count; i++) {
        vsti_primitive_destroy(program->steps[i].primitive);
        vst_free(program->steps[i].arguments);
    }
    for (size_t i = 0; i < program->input_count; i++) vst_free(program->inputs[i].name);
    vsti_store_release(program->store);
    vst_free(program->steps);
    vst_free(program->operands);
    vst_free(program->inputs);
    vst_free(program->outputs);
    vst_free(program->rows);
    vst_free(program);
}

size_t vst_program_packed_bytes(const vst_program *program) { return vsti_store_bytes(program->store); }
size_t vst_program_context_bytes(const vst_program *program) { return vsti_context_bytes(program); }

double vst_program_flops(const vst_program *program) {
    double flops = 0;
    for (size_t i = 0; i < program->row_count; i++) flops += program->rows[i].flops;
    return flops;
}
