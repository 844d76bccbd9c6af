/* A graph as text and as Graphviz .dot. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/graph/node.h"

typedef struct text {
    char *data;
    size_t length, capacity;
    bool failed;
} text;

static void append(text *t, const char *format, ...) VST_PRINTF(2, 3);
static void append(text *t, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    const size_t length = strlen(line);
    if (t->failed || vst_grow(&t->data, &t->capacity, t->length + length + 1, 1) != VST_OK) {
        t->failed = true;
        return;
    }
    memcpy(t->data + t->length, line, length + 1);
    t->length += length;
}

static char *finished(text *t) {
    if (!t->failed) return t->data;
    vst_free(t->data);
    return NULL;
}

/* Appends " role=name" for every input of a node. Outputs of nodes are named by number. */
static void append_inputs(text *t, const vst_graph *graph, size_t node) {
    const int count = vst_graph_node_at(graph, node).input_count;
    for (int k = 0; k < count; k++) {
        const vst_operand in = vst_node_input_at(graph, node, k);
        if (in.name) append(t, " %s=%s", in.role, in.name);
        else append(t, " %s=%%%d", in.role, in.value.id);
    }
}

static void append_attributes(text *t, const vst_graph *graph, size_t node, const char *before) {
    const int count = vst_graph_node_at(graph, node).attribute_count;
    for (int k = 0; k < count; k++) {
        char line[VST_ATTRIBUTE_TEXT];
        const vst_attribute attribute = vst_node_attribute_at(graph, node, k);
        append(t, "%s%s", before, vst_attribute_text(&attribute, line));
    }
}

char *vst_graph_text(const vst_graph *graph) {
    text t = {0};
    append(&t, "%s", "");
    for (size_t i = 0; i < graph->node_count; i++) {
        const vsti_node *node = &graph->nodes[i];
        char shape[VST_SHAPE_TEXT];
        append(&t, "%%%-4d %-20s %-24s", node->outputs[0], node->operation->name,
               vst_shape_text(vsti_shape(graph, node->outputs[0]), shape));
        append_inputs(&t, graph, i);
        append_attributes(&t, graph, i, " ");
        append(&t, "   # %s%s\n", node->name, node->backward ? " (backward)" : "");
    }
    for (size_t i = 0; i < graph->tap_count; i++)
        append(&t, "tap %s = %%%d\n", graph->taps[i].name, graph->taps[i].value);
    return finished(&t);
}

char *vst_graph_dot(const vst_graph *graph) {
    text t = {0};
    append(&t, "digraph vistill {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
    for (size_t i = 1; i < graph->value_count; i++)
        if (graph->values[i].kind == VST_VALUE_INPUT)
            append(&t, "  v%zu [label=\"%s\", shape=ellipse];\n", i, graph->values[i].name);
    for (size_t i = 0; i < graph->node_count; i++) {
        const vsti_node *node = &graph->nodes[i];
        char shape[VST_SHAPE_TEXT];
        append(&t, "  n%zu [label=\"%s\\n%s\\n%s", i, node->operation->name, node->name,
               vst_shape_text(vsti_shape(graph, node->outputs[0]), shape));
        append_attributes(&t, graph, i, "\\n");
        append(&t, "\"%s];\n", node->backward ? ", style=filled, fillcolor=\"#fde9d9\"" : "");
        for (int k = 0; k < node->input_count; k++) {
            const vsti_value *in = &graph->values[node->inputs[k]];
            if (in->kind == VST_VALUE_NODE) append(&t, "  n%d -> n%zu;\n", in->node, i);
            else if (in->kind == VST_VALUE_INPUT) append(&t, "  v%d -> n%zu;\n", node->inputs[k], i);
        }
    }
    append(&t, "}\n");
    return finished(&t);
}
