/* Finds fusions: from every product, follows values that have only one reader. */
#include "vision/plan/fuse.h"

#include "vision/base/memory.h"
#include "vision/kernels/tuning.h"

typedef struct readers { /* by value */
    int *count, *node;   /* node: the last reader */
} readers;

static void count_readers(const vst_graph *graph, const bool *needed, const bool *kept, readers *r) {
    for (size_t i = 0; i < graph->value_count; i++) r->count[i] = kept[i] ? 2 : 0;
    for (size_t i = 0; i < graph->node_count; i++)
        for (int k = 0; needed[i] && k < graph->nodes[i].input_count; k++) {
            r->count[graph->nodes[i].inputs[k]]++;
            r->node[graph->nodes[i].inputs[k]] = (int)i;
        }
}

/* On integers a fused GELU saves writing float32 and reading it twice. */
static bool is_worth_fusing(const vsti_node *host, const vsti_node *activation, bool integers) {
    return VSTI_FUSE_GELU_IN_PRODUCT || integers || host->operation->fusion != VSTI_FUSE_HOST ||
           *(const vsti_activation *)activation->attributes != VSTI_GELU;
}

/* Adds `next`, which reads `value`, to the host's step. Returns false if the step cannot compute it. */
static bool take(const vst_graph *graph, const vsti_node *host, const vsti_node *next, int value, bool training,
                 bool integers, vsti_fusion *fusion) {
    const bool untouched = !fusion->norm && !fusion->residual;
    switch (next->operation->fusion) {
    case VSTI_FUSE_IDENTITY: return !training;
    case VSTI_FUSE_NORM:
        if (host->operation->fusion != VSTI_FUSE_NORM_HOST || !untouched || next->inputs[0] != value || training ||
            graph->values[host->inputs[1]].kind != VST_VALUE_PARAMETER) /* what is computed cannot be packed */
            return false;
        fusion->norm = next;
        return true;
    case VSTI_FUSE_ADD: {
        const int other = next->inputs[next->inputs[0] == value];
        if (fusion->residual || !vst_shape_equal(vsti_shape(graph, value), vsti_shape(graph, other))) return false;
        fusion->residual = other;
        return true;
    }
    case VSTI_FUSE_ACTIVATION:
        if (!is_worth_fusing(host, next, integers)) return false;
        fusion->activation = next;
        return true;
    default: return false;
    }
}

static void extend(const vst_graph *graph, int host, const readers *r, bool training, bool integers,
                   vsti_fusions *out) {
    vsti_fusion *fusion = &out->fusion[host];
    int value = graph->nodes[host].outputs[0];
    while (r->count[value] == 1 && !fusion->activation) {
        const int next = r->node[value];
        if (out->host[next] >= 0 ||
            !take(graph, &graph->nodes[host], &graph->nodes[next], value, training, integers, fusion))
            break;
        out->host[next] = out->host[host] = host;
        out->last[host] = next;
        value = graph->nodes[next].outputs[0];
    }
    fusion->output = value;
}

/* From the last node to the first: if two products are added, the later one computes the sum and the earlier one is its
 * residual. */
static void find(const vst_graph *graph, const bool *needed, const readers *r, bool training, const bool *quantized,
                 vsti_fusions *out) {
    for (int i = (int)graph->node_count; i-- > 0;) {
        const vsti_fusion_role role = graph->nodes[i].operation->fusion;
        if (needed[i] && (role == VSTI_FUSE_HOST || role == VSTI_FUSE_NORM_HOST))
            extend(graph, i, r, training, quantized[i], out);
    }
}

vst_status vsti_fusions_find(vsti_fusions *out, const vst_graph *graph, const bool *needed, const bool *kept,
                             bool training, const bool *quantized) {
    const size_t nodes = graph->node_count + 1;
    readers r = {vst_calloc(graph->value_count, sizeof(int)), vst_calloc(graph->value_count, sizeof(int))};
    *out = (vsti_fusions){vst_alloc(nodes * sizeof(int)), vst_alloc(nodes * sizeof(int)),
                          vst_calloc(nodes, sizeof *out->fusion)};
    const bool room = r.count && r.node && out->host && out->last && out->fusion;
    for (size_t i = 0; room && i < nodes; i++) out->host[i] = out->last[i] = -1;
    if (room) {
        count_readers(graph, needed, kept, &r);
        find(graph, needed, &r, training, quantized, out);
    } else {
        vsti_fusions_clear(out);
    }
    vst_free(r.count);
    vst_free(r.node);
    return room ? VST_OK : vst_fail_memory(nodes * sizeof *out->fusion);
}

void vsti_fusions_clear(vsti_fusions *fusions) {
    vst_free(fusions->host);
    vst_free(fusions->last);
    vst_free(fusions->fusion);
    *fusions = (vsti_fusions){0};
}
