/* Reverse-mode automatic differentiation: visits the nodes in reverse order, and each operation emits its gradient
 * nodes into the same graph. The planner and the run loop therefore need no special case for the backward pass. */
#include <stdio.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/graph/node.h"

/* A rule that waits for the gradient of node `after`. */
typedef struct later {
    int node, after;
    vst_value dy;
    vsti_later_rule *rule; /* NULL: done */
} later;

struct vsti_gradients {
    vst_graph *graph;
    const vsti_gradient_rules *rules;
    size_t value_count; /* values of the forward pass; only these can have a gradient */
    bool *wanted;       /* true for a trained parameter and everything that depends on one */
    int *gradient;      /* value id of the gradient accumulated so far, 0 if none */
    int *copies;        /* value ids of recomputed copies, by forward value; 0 if none */
    later *later;
    size_t later_count, later_capacity;
};

vst_graph *vsti_gradient_graph(vsti_gradients *gradients) { return gradients->graph; }

bool vsti_wanted(const vsti_gradients *gradients, vst_value value) {
    return (size_t)value.id < gradients->value_count && gradients->wanted[value.id];
}

vst_value vsti_incoming(const vsti_gradients *gradients, const vsti_node *node, int index) {
    return (vst_value){gradients->gradient[node->outputs[index]]};
}

/* Makes the node of `contribution` add `earlier` in place, which saves a separate addition. Returns false if it cannot.
 */
static bool accumulate_in_place(vst_graph *graph, vst_value earlier, vst_value contribution) {
    vsti_value *value = &graph->values[contribution.id];
    if (value->kind != VST_VALUE_NODE) return false;
    vsti_node *node = &graph->nodes[value->node];
    if (!node->operation->accumulating || node->outputs[0] != contribution.id) return false;
    if ((size_t)value->node + 1 != graph->node_count) return false; /* a later node may already have read it */
    const size_t bytes = (size_t)(node->input_count + 1) * sizeof(int);
    int *inputs = vst_realloc(node->inputs, bytes);
    if (!inputs) { /* no fallback to a separate addition, because it rounds differently and the result would depend on
                      the failure */
        graph->status = vst_fail_memory(bytes);
        return false;
    }
    inputs[node->input_count++] = earlier.id;
    node->inputs = inputs;
    node->operation = node->operation->accumulating;
    return true;
}

void vsti_add_gradient(vsti_gradients *gradients, vst_value value, vst_value contribution) {
    vst_graph *graph = gradients->graph;
    if (!contribution.id || !vsti_wanted(gradients, value)) return;
    int *slot = &gradients->gradient[value.id];
    if (*slot && !accumulate_in_place(graph, (vst_value){*slot}, contribution))
        contribution = gradients->rules->add(graph, (vst_value){*slot}, contribution);
    *slot = contribution.id;
}

vst_value vsti_saved(vsti_gradients *gradients, vst_value value) {
    vst_graph *graph = gradients->graph;
    if ((size_t)value.id >= gradients->value_count || graph->values[value.id].kind != VST_VALUE_NODE) return value;
    const int index = graph->values[value.id].node;
    const vsti_operation *operation = graph->nodes[index].operation;
    if (!operation->recompute || graph->nodes[index].outputs[0] != value.id) return value;
    if (gradients->copies[value.id]) return (vst_value){gradients->copies[value.id]};
    vst_value inputs[8];
    const int count = graph->nodes[index].input_count;
    if (count > (int)(sizeof inputs / sizeof *inputs)) return value;
    for (int i = 0; i < count; i++) inputs[i] = vsti_input_of(&graph->nodes[index], i);
    vst_value copy = vsti_emit(graph, operation, inputs, count, graph->nodes[index].attributes);
    if (!copy.id) return copy;
    graph->nodes[graph->values[copy.id].node].stream = graph->nodes[index].stream;
    gradients->copies[value.id] = copy.id;
    return copy;
}

void vsti_set_saved(vsti_gradients *gradients, vst_value value, vst_value copy) {
    if (!gradients->copies[value.id]) gradients->copies[value.id] = copy.id;
}

void vsti_after_gradient_of(vsti_gradients *gradients, vst_value value, const vsti_node *node, vst_value dy,
                            vsti_later_rule *rule) {
    vst_graph *graph = gradients->graph;
    const vsti_value *v = &graph->values[value.id];
    const bool waits = v->kind == VST_VALUE_NODE && vsti_wanted(gradients, value) && !gradients->copies[value.id] &&
                       graph->nodes[v->node].operation->recompute;
    if (!waits) {
        rule(gradients, node, dy);
        return;
    }
    const vst_status status =
        vst_grow(&gradients->later, &gradients->later_capacity, gradients->later_count + 1, sizeof *gradients->later);
    if (status == VST_OK)
        gradients->later[gradients->later_count++] = (later){graph->values[node->outputs[0]].node, v->node, dy, rule};
    else graph->status = status;
}

/* Calls the rules that waited for the gradient of a node. */
static void call_later(vsti_gradients *gradients, int after) {
    vst_graph *graph = gradients->graph;
    for (size_t i = 0; i < gradients->later_count; i++) {
        const later l = gradients->later[i];
        if (!l.rule || l.after != after) continue;
        gradients->later[i].rule = NULL;
        const vsti_node node = graph->nodes[l.node];
        snprintf(graph->scope, sizeof graph->scope, "%s", node.name);
        l.rule(gradients, &node, l.dy);
    }
}

/* Marks trained parameters and all values that depend on one. */
static void mark_wanted(vsti_gradients *gradients) {
    const vst_graph *graph = gradients->graph;
    for (size_t i = 1; i < gradients->value_count; i++) {
        const vsti_value *value = &graph->values[i];
        if (value->kind == VST_VALUE_PARAMETER) {
            const vst_param_info *info = vst_params_at(graph->params, (size_t)value->parameter);
            const bool trained = info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY;
            gradients->wanted[i] = trained && !info->frozen;
        } else if (value->kind == VST_VALUE_NODE) {
            const vsti_node *node = &graph->nodes[value->node];
            for (int k = 0; k < node->input_count; k++)
                if (gradients->wanted[node->inputs[k]]) gradients->wanted[i] = true;
        }
    }
}

static void backward_pass(vsti_gradients *gradients, vst_value loss, size_t forward_nodes) {
    vst_graph *graph = gradients->graph;
    char scope[sizeof graph->scope];
    memcpy(scope, graph->scope, sizeof scope);
    const int depth = graph->scope_depth;
    graph->scope_depth = 1;
    gradients->gradient[loss.id] = gradients->rules->constant(graph, 1).id;
    for (size_t i = forward_nodes; i-- > 0 && graph->status == VST_OK;) {
        const vsti_node node = graph->nodes[i]; /* a copy, because emitting nodes may move the array */
        bool reached = false;
        for (int k = 0; k < node.operation->outputs; k++) reached |= gradients->gradient[node.outputs[k]] != 0;
        if (reached && node.operation->gradient) {
            snprintf(graph->scope, sizeof graph->scope, "%s", node.name);
            node.operation->gradient(gradients, &node);
        }
        call_later(gradients, (int)i);
    }
    graph->scope_depth = depth;
    memcpy(graph->scope, scope, sizeof scope);
}

void vsti_differentiate(vst_graph *graph, vst_value loss, const vsti_gradient_rules *rules) {
    if (graph->status != VST_OK) return;
    if (!loss.id || graph->values[loss.id].shape.rank != 0) {
        vst_graph_fail(graph, VST_ERROR_SHAPE, "only a scalar can be differentiated");
        return;
    }
    if (graph->differentiated) {
        vst_graph_fail(graph, VST_ERROR_ARGUMENT, "the graph was differentiated before");
        return;
    }
    graph->differentiated = graph->backward = true;
    vsti_gradients gradients = {.graph = graph, .rules = rules, .value_count = graph->value_count};
    gradients.wanted = vst_calloc(graph->value_count, sizeof *gradients.wanted);
    gradients.gradient = vst_calloc(graph->value_count, sizeof *gradients.gradient);
    gradients.copies = vst_calloc(graph->value_count, sizeof *gradients.copies);
    if (!gradients.wanted || !gradients.gradient || !gradients.copies) {
        graph->status = vst_fail_memory(graph->value_count * sizeof *gradients.gradient);
        graph->message = vst_strdup(vst_error_message());
    } else {
        mark_wanted(&gradients);
        if (!gradients.wanted[loss.id])
            vst_graph_fail(graph, VST_ERROR_ARGUMENT, "the loss depends on no trained parameter");
        backward_pass(&gradients, loss, graph->node_count);
        for (size_t i = 0; i < gradients.value_count; i++) graph->values[i].gradient = gradients.gradient[i];
    }
    vst_free(gradients.wanted);
    vst_free(gradients.gradient);
    vst_free(gradients.copies);
    vst_free(gradients.later);
    graph->backward = false;
}
