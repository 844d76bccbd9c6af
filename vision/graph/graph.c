/* Building a graph: values, nodes, scopes, taps and the sticky error. */
#include "vision/graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/graph/node.h"

static void keep_status(vst_graph *graph, vst_status status) {
    if (graph->status != VST_OK || status == VST_OK) return;
    graph->status = status;
    graph->message = vst_strdup(vst_error_message());
}

void vst_graph_fail(vst_graph *graph, vst_status status, const char *format, ...) {
    if (graph->status != VST_OK) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    keep_status(graph,
                graph->scope_depth ? vst_fail(status, "%s: %s", graph->scope, text) : vst_fail(status, "%s", text));
}

vst_status vst_graph_create(vst_graph **out, vst_params *params) {
    *out = NULL;
    vst_graph *graph = vst_calloc(1, sizeof *graph);
    if (!graph) return vst_fail_memory(sizeof *graph);
    graph->params = params;
    vst_status status = vst_grow(&graph->values, &graph->value_capacity, 1, sizeof *graph->values);
    if (status != VST_OK) {
        vst_free(graph);
        return status;
    }
    memset(&graph->values[0], 0, sizeof graph->values[0]);
    graph->value_count = 1;
    *out = graph;
    return VST_OK;
}

void vst_graph_destroy(vst_graph *graph) {
    if (!graph) return;
    for (size_t i = 0; i < graph->value_count; i++) vst_free(graph->values[i].name);
    for (size_t i = 0; i < graph->node_count; i++) {
        vst_free(graph->nodes[i].name);
        vst_free(graph->nodes[i].attributes);
        vst_free(graph->nodes[i].inputs);
    }
    for (size_t i = 0; i < graph->tap_count; i++) vst_free(graph->taps[i].name);
    vst_free(graph->values);
    vst_free(graph->nodes);
    vst_free(graph->taps);
    vst_free(graph->message);
    vst_free(graph);
}

static vst_value add_value(vst_graph *graph, vsti_value value) {
    vst_status status = vst_grow(&graph->values, &graph->value_capacity, graph->value_count + 1, sizeof *graph->values);
    if (status != VST_OK) {
        keep_status(graph, status);
        vst_free(value.name);
        return (vst_value){0};
    }
    graph->values[graph->value_count] = value;
    return (vst_value){(int)graph->value_count++};
}

/* Fails if the graph is finished: it may have been lowered, and existing programs would miss a node that is added now.
 */
static bool is_open(vst_graph *graph, const char *what) {
    if (graph->finished)
        vst_graph_fail(graph, VST_ERROR_ARGUMENT,
                       "%s was added after vst_graph_finish: finish the graph when it is complete", what);
    return graph->status == VST_OK;
}

vst_value vst_input(vst_graph *graph, const char *name, vst_shape shape) {
    if (!is_open(graph, name)) return (vst_value){0};
    if (vst_shape_count(&shape) < 1) {
        char text[VST_SHAPE_TEXT];
        vst_graph_fail(graph, VST_ERROR_SHAPE, "input \"%s\" has the empty or impossible shape %s", name,
                       vst_shape_text(&shape, text));
        return (vst_value){0};
    }
    char *copy = vst_strdup(name);
    if (!copy) {
        keep_status(graph, vst_fail_memory(strlen(name)));
        return (vst_value){0};
    }
    return add_value(graph, (vsti_value){.kind = VST_VALUE_INPUT, .shape = shape, .name = copy});
}

vst_value vst_param(vst_graph *graph, const char *name, vst_shape shape, vst_init init) {
    if (!is_open(graph, name)) return (vst_value){0};
    char full[320];
    snprintf(full, sizeof full, "%s%s%s", graph->scope, graph->scope_depth ? "." : "", name);
    int index;
    keep_status(graph, vst_params_add(graph->params, full, shape, init, &index));
    if (graph->status != VST_OK) return (vst_value){0};
    for (size_t i = 1; i < graph->value_count; i++) /* all uses share one value, so that their gradients are added */
        if (graph->values[i].kind == VST_VALUE_PARAMETER && graph->values[i].parameter == index)
            return (vst_value){(int)i};
    return add_value(graph, (vsti_value){.kind = VST_VALUE_PARAMETER, .shape = shape, .parameter = index});
}

void vst_scope_push(vst_graph *graph, const char *format, ...) {
    const int max_depth = sizeof graph->scope_marks / sizeof *graph->scope_marks;
    if (graph->scope_depth >= max_depth) {
        vst_graph_fail(graph, VST_ERROR_ARGUMENT, "scopes are nested more than %d deep", max_depth);
        graph->scope_depth++;
        return;
    }
    size_t length = strlen(graph->scope);
    graph->scope_marks[graph->scope_depth++] = length;
    if (length && length + 1 < sizeof graph->scope) {
        graph->scope[length++] = '.';
        graph->scope[length] = 0;
    }
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(graph->scope + length, sizeof graph->scope - length, format, arguments);
    va_end(arguments);
    if (written < 0 || (size_t)written >= sizeof graph->scope - length)
        vst_graph_fail(graph, VST_ERROR_ARGUMENT, "the scope's name is longer than %zu characters",
                       sizeof graph->scope - 1);
}

void vst_scope_pop(vst_graph *graph) {
    const int max_depth = sizeof graph->scope_marks / sizeof *graph->scope_marks;
    if (--graph->scope_depth < max_depth) graph->scope[graph->scope_marks[graph->scope_depth]] = 0;
}

void vst_graph_set_evaluation(vst_graph *graph, bool evaluation) { graph->evaluation = evaluation; }

void vst_tap(vst_graph *graph, const char *name, vst_value value) {
    if (graph->status != VST_OK || !value.id) return;
    keep_status(graph, vst_grow(&graph->taps, &graph->tap_capacity, graph->tap_count + 1, sizeof *graph->taps));
    char *copy = graph->status == VST_OK ? vst_strdup(name) : NULL;
    if (!copy) {
        keep_status(graph, vst_fail_memory(strlen(name)));
        return;
    }
    graph->taps[graph->tap_count++] = (struct vsti_tap){copy, value.id};
}

size_t vst_tap_count(const vst_graph *graph) { return graph->tap_count; }
const char *vst_tap_name(const vst_graph *graph, size_t index) { return graph->taps[index].name; }

vst_value vst_find(const vst_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->tap_count; i++)
        if (strcmp(graph->taps[i].name, name) == 0) return (vst_value){graph->taps[i].value};
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == VST_VALUE_INPUT && strcmp(graph->values[i].name, name) == 0)
            return (vst_value){(int)i};
    return (vst_value){0};
}

vst_shape vst_shape_at(const vst_graph *graph, vst_value value) { return graph->values[value.id].shape; }

vst_value vsti_output(const vst_graph *graph, vst_value value, int index) {
    if (!value.id) return value;
    return vsti_output_of(&graph->nodes[graph->values[value.id].node], index);
}

/* True if every input has a name and the attributes are described. */
static bool is_described(const vsti_operation *operation, int input_count) {
    int named = 0;
    while (named < VSTI_MAX_INPUTS && operation->input_names[named]) named++;
    const bool inputs = operation->variadic ? named == 1 && input_count >= 1
                                            : input_count == named || (operation->optional && input_count + 1 == named);
    return inputs && (operation->attributes || !operation->attribute_bytes);
}

/* Copies names, inputs and attributes into the node. On failure they are freed again. */
static vst_status fill_node(const vst_graph *graph, vsti_node *node, const vsti_operation *operation,
                            const vst_value *inputs, int input_count, const void *attributes) {
    *node = (vsti_node){.operation = operation, .input_count = input_count, .backward = graph->backward};
    node->name = vst_strdup(graph->scope);
    node->inputs = vst_alloc((size_t)input_count * sizeof(int));
    node->attributes = vst_alloc(operation->attribute_bytes);
    if (!node->name || !node->inputs || !node->attributes) {
        vst_free(node->name);
        vst_free(node->inputs);
        vst_free(node->attributes);
        return vst_fail_memory(operation->attribute_bytes);
    }
    if (operation->attribute_bytes) memcpy(node->attributes, attributes, operation->attribute_bytes);
    for (int i = 0; i < input_count; i++) node->inputs[i] = inputs[i].id;
    node->stream = (uint64_t)graph->node_count + 1;
    return VST_OK;
}

vst_value vsti_emit(vst_graph *graph, const vsti_operation *operation, const vst_value *inputs, int input_count,
                    const void *attributes) {
    if (!is_open(graph, operation->name)) return (vst_value){0};
    VST_ASSERT(is_described(operation, input_count));
    for (int i = 0; i < input_count; i++)
        if (!inputs[i].id) {
            vst_graph_fail(graph, VST_ERROR_NOT_FOUND,
                           "%s: input %d is the null value: does the tap or input that it comes from exist?",
                           operation->name, i);
            return (vst_value){0};
        }
    vst_status status = vst_grow(&graph->nodes, &graph->node_capacity, graph->node_count + 1, sizeof *graph->nodes);
    if (status == VST_OK)
        status = fill_node(graph, &graph->nodes[graph->node_count], operation, inputs, input_count, attributes);
    if (status != VST_OK) {
        keep_status(graph, status);
        return (vst_value){0};
    }
    const size_t index = graph->node_count++;
    vst_shape shapes[VSTI_MAX_OUTPUTS] = {0};
    operation->shapes(graph, &graph->nodes[index], shapes);
    for (int i = 0; i < operation->outputs && graph->status == VST_OK; i++) {
        vst_value value =
            add_value(graph, (vsti_value){.kind = VST_VALUE_NODE, .shape = shapes[i], .node = (int)index});
        graph->nodes[index].outputs[i] = value.id;
    }
    return graph->status == VST_OK ? vsti_output_of(&graph->nodes[index], 0) : (vst_value){0};
}

vst_status vst_graph_finish(vst_graph *graph) {
    if (!graph->finished) graph->finished = true; /* never written again: several threads may call this */
    if (graph->status == VST_OK) return VST_OK;
    return vst_fail(graph->status, "%s", graph->message ? graph->message : "out of memory while building the graph");
}
