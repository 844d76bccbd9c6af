/* The linear layers and convolutions of a model, and which of them stay in float32 for what they are. */
#include <string.h>

#include "recipes/quant/internal.h"
#include "vision/base/memory.h"

bool vsti_is_padded(const vst_graph *graph, size_t node) {
    vst_attribute padding;
    if (!vst_node_attribute_find(graph, node, "padding", &padding)) return false;
    for (int i = 0; i < padding.dims.rank; i++)
        if (padding.dims.dim[i]) return true;
    return false;
}

static bool is_depthwise(const vst_graph *graph, size_t node) {
    vst_attribute groups;
    const vst_operand weight = vst_node_input_at(graph, node, 1);
    return vst_node_attribute_find(graph, node, "groups", &groups) && groups.integer > 1 && weight.shape.dim[1] == 1;
}

/* The first layer sees the image: rounding it costs the most and saves the least. */
static const char *reason_for_float(const vst_graph *graph, size_t node, bool first) {
    if (vst_node_input_at(graph, node, 1).kind != VST_VALUE_PARAMETER) return "its weight is computed";
    if (first) return "image";
    if (is_depthwise(graph, node)) return "depthwise";
    return NULL;
}

static int find(const vsti_candidates *c, const char *name) {
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->list[i].name, name) == 0) return (int)i;
    return -1;
}

/* The number of the tap of what a layer reads, a new one for a value that none of its kind has read before. readings: a
 * value and a kind, by tap. */
static vst_status number_tap(vsti_candidates *c, const char *name, int reading, int *readings, int *tap) {
    for (*tap = 0; *tap < c->tap_count && readings[*tap] != reading;) ++*tap;
    if (*tap < c->tap_count) return VST_OK;
    c->taps[*tap] = vst_format("%s:input", name);
    if (!c->taps[*tap]) return vst_fail_memory(strlen(name));
    readings[c->tap_count++] = reading;
    return VST_OK;
}

/* Offset of the parameter that is an input of a node. */
static size_t offset_of(const vst_graph *graph, const vst_params *params, size_t node, int input) {
    const vst_operand operand = vst_node_input_at(graph, node, input);
    return vst_params_at(params, (size_t)vst_params_find(params, operand.name))->offset;
}

/* A bias, or the running mean of the batch norm that reads the output. */
static void find_shift(vsti_candidate *made, const vst_graph *graph, const vst_params *params, size_t node) {
    const int output = vst_node_output_at(graph, node, 0).value.id;
    if (vst_graph_node_at(graph, node).input_count > 2) {
        made->shift_kind = VSTI_SHIFT_BIAS;
        made->shift = offset_of(graph, params, node, 2);
        return;
    }
    for (size_t i = node + 1; i < vst_graph_node_count(graph); i++) {
        if (strcmp(vst_graph_node_at(graph, i).operation, "batch_norm") != 0) continue;
        if (vst_node_input_at(graph, i, 0).value.id != output) continue;
        made->shift_kind = VSTI_SHIFT_MEAN;
        made->shift = offset_of(graph, params, i, 3);
    }
}

static int64_t number_of(const vst_graph *graph, size_t node, const char *name) {
    vst_attribute attribute = {.integer = 1};
    vst_node_attribute_find(graph, node, name, &attribute);
    return attribute.integer;
}

static void describe_convolution(vsti_candidate *made, const vst_graph *graph, size_t node) {
    const vst_shape in = vst_node_input_at(graph, node, 0).shape, out = vst_node_output_at(graph, node, 0).shape;
    vst_attribute padding = {0};
    vst_node_attribute_find(graph, node, "padding", &padding);
    made->height = in.dim[2];
    made->width = in.dim[3];
    made->out_height = out.dim[2];
    made->out_width = out.dim[3];
    made->kernel = number_of(graph, node, "kernel");
    made->stride = number_of(graph, node, "stride");
    made->dilation = number_of(graph, node, "dilation");
    made->groups = number_of(graph, node, "groups");
    made->top = padding.dims.dim[0];
    made->left = padding.dims.dim[1];
}

static void describe(vsti_candidate *made, const vst_graph *graph, const vst_params *params, size_t node) {
    const vst_shape weight = vst_node_input_at(graph, node, 1).shape;
    const vst_shape in = vst_node_input_at(graph, node, 0).shape, out = vst_node_output_at(graph, node, 0).shape;
    made->macs = vst_graph_node_at(graph, node).macs;
    made->values = vst_shape_count(&in) + vst_shape_count(&out);
    made->out = weight.dim[0];
    made->in = weight.dim[1];
    made->window = weight.rank == 4 ? weight.dim[2] * weight.dim[3] : 1;
    made->groups = 1;
    if (made->convolution) describe_convolution(made, graph, node);
    made->weight = offset_of(graph, params, node, 1);
    find_shift(made, graph, params, node);
}

static vst_status add(vsti_candidates *c, const vst_graph *graph, const vst_params *params, size_t node,
                      int *readings) {
    const char *name = vst_graph_node_at(graph, node).scope;
    vsti_candidate *made = &c->list[c->count];
    made->reason = reason_for_float(graph, node, c->count == 0);
    made->usable = !made->reason;
    made->padded = vsti_is_padded(graph, node);
    made->convolution = strcmp(vst_graph_node_at(graph, node).operation, "conv2d") == 0;
    if (made->usable) describe(made, graph, params, node);
    made->value = vst_node_input_at(graph, node, 0).value.id;
    made->tap = -1;
    made->name = vst_strdup(name);
    if (!made->name) return vst_fail_memory(strlen(name));
    c->count++;
    const int reading = 2 * made->value + made->convolution;
    return made->usable ? number_tap(c, name, reading, readings, &made->tap) : VST_OK;
}

vst_status vsti_candidates_find(vsti_candidates *out, const vst_model *model) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    vst_params *declared = NULL;
    int *readings = NULL;
    *out = (vsti_candidates){0};
    VST_TRY(vst_model_declare(&graph, &declared, model->config));
    const size_t nodes = vst_graph_node_count(graph);
    out->list = vst_calloc(nodes + 1, sizeof *out->list);
    out->taps = vst_calloc(nodes + 1, sizeof *out->taps);
    readings = vst_calloc(nodes + 1, sizeof *readings);
    if (!out->list || !out->taps || !readings) VST_TRY(vst_fail_memory(nodes * sizeof *out->list));
    for (size_t i = 0; i < nodes; i++) {
        const vst_node_info info = vst_graph_node_at(graph, i);
        if (info.quantizable && find(out, info.scope) < 0) VST_TRY(add(out, graph, model->params, i, readings));
    }
out:
    vst_free(readings);
    vst_graph_destroy(graph);
    vst_params_destroy(declared);
    if (status != VST_OK) vsti_candidates_clear(out);
    return status;
}

void vsti_candidates_clear(vsti_candidates *candidates) {
    for (size_t i = 0; i < candidates->count; i++) vst_free(candidates->list[i].name);
    for (int i = 0; i < candidates->tap_count; i++) vst_free(candidates->taps[i]);
    vst_free(candidates->list);
    vst_free(candidates->taps);
    *candidates = (vsti_candidates){0};
}
