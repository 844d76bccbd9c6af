/* A graph as text for people and as .dot for Graphviz. */
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

/* What a value is called: its parameter's or input's name, or its producer's number. */
static const char *value_name(const vst_graph *graph, int value, char buffer[32]) {
    const vsti_value *v = &graph->values[value];
    if (v->kind == VSTI_VALUE_INPUT) return v->name;
    if (v->kind == VSTI_VALUE_PARAM) return vst_params_at(graph->params, (size_t)v->parameter)->name;
    snprintf(buffer, 32, "%%%d", value);
    return buffer;
}

char *vst_graph_text(const vst_graph *graph) {
    text t = {0};
    append(&t, "%s", "");
    for (size_t i = 0; i < graph->node_count; i++) {
        const vsti_node *node = &graph->nodes[i];
        char shape[VST_SHAPE_TEXT], name[32];
        append(&t, "%%%-4d %-20s %-24s", node->outputs[0], node->operation->name,
               vst_shape_text(vsti_shape(graph, node->outputs[0]), shape));
        for (int k = 0; k < node->input_count; k++) append(&t, " %s", value_name(graph, node->inputs[k], name));
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
        if (graph->values[i].kind == VSTI_VALUE_INPUT)
            append(&t, "  v%zu [label=\"%s\", shape=ellipse];\n", i, graph->values[i].name);
    for (size_t i = 0; i < graph->node_count; i++) {
        const vsti_node *node = &graph->nodes[i];
        char shape[VST_SHAPE_TEXT];
        append(&t, "  n%zu [label=\"%s\\n%s\\n%s\"%s];\n", i, node->operation->name, node->name,
               vst_shape_text(vsti_shape(graph, node->outputs[0]), shape),
               node->backward ? ", style=filled, fillcolor=\"#fde9d9\"" : "");
        for (int k = 0; k < node->input_count; k++) {
            const vsti_value *in = &graph->values[node->inputs[k]];
            if (in->kind == VSTI_VALUE_NODE) append(&t, "  n%d -> n%zu;\n", in->node, i);
            else if (in->kind == VSTI_VALUE_INPUT) append(&t, "  v%d -> n%zu;\n", node->inputs[k], i);
        }
    }
    append(&t, "}\n");
    return finished(&t);
}
