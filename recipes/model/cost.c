/* Groups a model's parameters and nodes by the beginnings of their names. */
#include "recipes/model/cost.h"

#include <ctype.h>
#include <string.h>

#include "vision/base/memory.h"

/* True for a number, or a number after one letter: "12", "b1". */
static bool is_numbered(const char *part, size_t length) {
    const size_t from = length > 1 && isalpha((unsigned char)*part);
    for (size_t i = from; i < length; i++)
        if (!isdigit((unsigned char)part[i])) return false;
    return length > 0;
}

/* Length of the part's name: up to and including the first numbered components, otherwise the first component. */
static size_t part_length(const char *scope) {
    const size_t first = strcspn(scope, ".");
    size_t end = 0;
    for (size_t at = 0; scope[at];) {
        const size_t length = strcspn(scope + at, ".");
        const bool numbered = is_numbered(scope + at, length);
        if (numbered) end = at + length;
        else if (end) break;
        at += length + (scope[at + length] == '.');
    }
    return end ? end : first;
}

/* Finds the part of a scope. If there is none, *out is a new one with `add`, otherwise NULL. */
static vst_status find_part(vst_model_part **out, vst_model_part **list, size_t *count, size_t *capacity,
                            const char *scope, bool add) {
    size_t length = part_length(scope);
    if (length >= sizeof(*list)->name) length = sizeof(*list)->name - 1;
    for (size_t i = *count; i-- > 0;) { /* usually the last one */
        *out = &(*list)[i];
        if (strncmp((*out)->name, scope, length) == 0 && !(*out)->name[length]) return VST_OK;
    }
    *out = NULL;
    if (!add) return VST_OK;
    const vst_status status = vst_grow(list, capacity, *count + 1, sizeof **list);
    if (status != VST_OK) return status;
    *out = &(*list)[(*count)++];
    **out = (vst_model_part){.output = {.rank = -1}};
    memcpy((*out)->name, scope, length);
    return VST_OK;
}

vst_status vst_model_parts(vst_model_part **parts, size_t *count, const vst_graph *graph, const vst_params *params) {
    vst_status status = VST_OK;
    size_t capacity = 0;
    vst_model_part *part;
    *parts = NULL;
    *count = 0;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        VST_TRY(find_part(&part, parts, count, &capacity, info->name, true));
        if (info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY)
            part->parameters += (size_t)vst_shape_count(&info->shape);
    }
    for (size_t i = 0; i < vst_graph_node_count(graph); i++) {
        const vst_node_info node = vst_graph_node_at(graph, i);
        if (node.backward) continue;
        VST_TRY(find_part(&part, parts, count, &capacity, node.scope, node.macs > 0)); /* without cost: no part */
        if (!part) continue;
        part->macs += node.macs;
        part->output = node.shape;
    }
out:
    if (status != VST_OK) {
        vst_free(*parts);
        *parts = NULL;
        *count = 0;
    }
    return status;
}
