/* Reading a graph: nodes, operands by role, attributes by name. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vision/graph/node.h"

const vsti_attribute vsti_no_attributes[] = {{0}};

size_t vst_graph_node_count(const vst_graph *graph) { return graph->node_count; }

static const vsti_node *node_at(const vst_graph *graph, size_t index) {
    VST_ASSERT(index < graph->node_count);
    return &graph->nodes[index];
}

static int attribute_count(const vsti_operation *operation) {
    int count = 0;
    while (operation->attributes && operation->attributes[count].name) count++;
    return count;
}

vst_node_info vst_graph_node_at(const vst_graph *graph, size_t index) {
    const vsti_node *node = node_at(graph, index);
    return (vst_node_info){.scope = node->name,
                           .operation = node->operation->name,
                           .shape = *vsti_shape(graph, node->outputs[0]),
                           .macs = vsti_node_macs(graph, index),
                           .backward = node->backward,
                           .quantizable = node->operation->quantizable,
                           .input_count = node->input_count,
                           .output_count = node->operation->outputs,
                           .attribute_count = attribute_count(node->operation)};
}

/* ---- Operands ---- */

static vst_operand operand(const vst_graph *graph, const char *role, int id) {
    const vsti_value *value = &graph->values[id];
    vst_operand o = {.role = role, .value = {id}, .kind = value->kind, .shape = value->shape};
    if (o.kind == VST_VALUE_INPUT) o.name = value->name;
    else if (o.kind == VST_VALUE_PARAMETER) o.name = vst_params_at(graph->params, (size_t)value->parameter)->name;
    else o.node = (size_t)value->node;
    return o;
}

vst_operand vst_node_input_at(const vst_graph *graph, size_t node, int index) {
    const vsti_node *n = node_at(graph, node);
    VST_ASSERT(index >= 0 && index < n->input_count);
    return operand(graph, n->operation->input_names[n->operation->variadic ? 0 : index], n->inputs[index]);
}

vst_operand vst_node_output_at(const vst_graph *graph, size_t node, int index) {
    const vsti_node *n = node_at(graph, node);
    VST_ASSERT(index >= 0 && index < n->operation->outputs);
    const char *name = n->operation->output_names[index];
    return operand(graph, name ? name : "y", n->outputs[index]);
}

/* ---- Attributes ---- */

static vst_shape ints_of(const vsti_ints *ints) {
    vst_shape list = {.rank = ints->count};
    for (int i = 0; i < ints->count; i++) list.dim[i] = ints->values[i];
    return list;
}

static vst_shape axes_of(unsigned axes) {
    vst_shape list = {0};
    for (int i = 0; i < VST_MAX_RANK; i++)
        if (axes & 1u << i) list.dim[list.rank++] = i;
    return list;
}

static vst_attribute read_attribute(const vsti_attribute *a, const void *attributes) {
    const void *at = (const char *)attributes + a->offset;
    vst_attribute out = {.name = a->name};
    switch (a->type) {
    case VSTI_INT: out.type = VST_ATTRIBUTE_INT, out.integer = *(const int *)at; break;
    case VSTI_INT64: out.type = VST_ATTRIBUTE_INT, out.integer = *(const int64_t *)at; break;
    case VSTI_FLOAT: out.type = VST_ATTRIBUTE_FLOAT, out.number = (double)*(const float *)at; break;
    case VSTI_DOUBLE: out.type = VST_ATTRIBUTE_FLOAT, out.number = *(const double *)at; break;
    case VSTI_BOOL: out.type = VST_ATTRIBUTE_BOOL, out.integer = *(const bool *)at; break;
    case VSTI_ENUM:
        out.type = VST_ATTRIBUTE_ENUM;
        out.integer = *(const int *)at;
        out.text = a->names[out.integer];
        break;
    case VSTI_SHAPE: out.type = VST_ATTRIBUTE_SHAPE, out.dims = *(const vst_shape *)at; break;
    case VSTI_INTS: out.type = VST_ATTRIBUTE_INTS, out.dims = ints_of(at); break;
    case VSTI_AXES: out.type = VST_ATTRIBUTE_INTS, out.dims = axes_of(*(const unsigned *)at); break;
    case VSTI_FLOATS:
        out.type = VST_ATTRIBUTE_FLOATS;
        out.numbers = ((const vsti_floats *)at)->values;
        out.number_count = ((const vsti_floats *)at)->count;
        break;
    }
    return out;
}

vst_attribute vst_node_attribute_at(const vst_graph *graph, size_t node, int index) {
    const vsti_node *n = node_at(graph, node);
    VST_ASSERT(index >= 0 && index < attribute_count(n->operation));
    return read_attribute(&n->operation->attributes[index], n->attributes);
}

bool vst_node_attribute_find(const vst_graph *graph, size_t node, const char *name, vst_attribute *out) {
    const vsti_node *n = node_at(graph, node);
    for (const vsti_attribute *a = n->operation->attributes; a && a->name; a++)
        if (strcmp(a->name, name) == 0) {
            *out = read_attribute(a, n->attributes);
            return true;
        }
    return false;
}

static void append(char text[VST_ATTRIBUTE_TEXT], const char *format, ...) VST_PRINTF(2, 3);
static void append(char text[VST_ATTRIBUTE_TEXT], const char *format, ...) {
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, VST_ATTRIBUTE_TEXT - used, format, arguments);
    va_end(arguments);
}

const char *vst_attribute_text(const vst_attribute *attribute, char text[VST_ATTRIBUTE_TEXT]) {
    *text = 0;
    append(text, "%s=", attribute->name);
    switch (attribute->type) {
    case VST_ATTRIBUTE_INT: append(text, "%lld", (long long)attribute->integer); break;
    case VST_ATTRIBUTE_FLOAT: append(text, "%g", attribute->number); break;
    case VST_ATTRIBUTE_BOOL: append(text, "%s", attribute->integer ? "true" : "false"); break;
    case VST_ATTRIBUTE_ENUM: append(text, "%s", attribute->text); break;
    case VST_ATTRIBUTE_SHAPE:
    case VST_ATTRIBUTE_INTS:
        for (int i = 0; i < attribute->dims.rank; i++)
            append(text, "%s%lld", i ? ", " : "[", (long long)attribute->dims.dim[i]);
        append(text, "%s", attribute->dims.rank ? "]" : "[]");
        break;
    case VST_ATTRIBUTE_FLOATS:
        for (int i = 0; i < attribute->number_count; i++)
            append(text, "%s%g", i ? ", " : "[", (double)attribute->numbers[i]);
        append(text, "%s", attribute->number_count ? "]" : "[]");
        break;
    }
    return text;
}
