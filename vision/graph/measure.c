/* Multiply-accumulates of a graph's forward pass. */
#include <string.h>

#include "vision/graph/graph.h"
#include "vision/graph/node.h"

/* Multiply-accumulates of a product in the forward pass, 0 for other nodes. */
static double products_of(const vst_graph *graph, const vsti_node *node) {
    const vsti_operation *operation = node->operation;
    return operation->products && operation->flops && !node->backward ? operation->flops(graph, node) / 2 : 0;
}

/* True if both nodes are forms of one layer: the same operation in the same scope with a common operand (the weights,
 * or the projection that attention reads). Products of one scope without a common operand, such as q kᵀ and scores v,
 * are different layers. */
static bool is_same_layer(const vsti_node *a, const vsti_node *b) {
    if (a->operation != b->operation || strcmp(a->name, b->name) != 0) return false;
    for (int i = 0; i < a->input_count; i++)
        for (int k = 0; k < b->input_count; k++)
            if (a->inputs[i] == b->inputs[k]) return true;
    return false;
}

double vsti_node_macs(const vst_graph *graph, size_t index) {
    const vsti_node *node = &graph->nodes[index];
    const double macs = products_of(graph, node);
    if (macs <= 0) return 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        if (i == index || !graph->nodes[i].operation->products || !is_same_layer(node, &graph->nodes[i])) continue;
        const double other = products_of(graph, &graph->nodes[i]);
        if (other > macs || (other == macs && i < index)) return 0;
    }
    return macs;
}

double vst_graph_macs(const vst_graph *graph) {
    double sum = 0;
    for (size_t i = 0; i < graph->node_count; i++) sum += vsti_node_macs(graph, i);
    return sum;
}
