/* Names and kinds of taps. */
#include "recipes/distill/tap.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vision/ops/ops.h"

static const char place[] = "features.";

static bool ends_in(const char *name, const char *const *parts) {
    const char *dot = strrchr(name, '.');
    for (; dot && *parts; parts++)
        if (strcmp(dot + 1, *parts) == 0) return true;
    return false;
}

static bool is_part(const char *name) {
    static const char *const parts[] = {"q", "k", "v", "scores", NULL};
    return ends_in(name, parts);
}

vst_tap_kind vst_tap_kind_of(const char *name, const vst_shape *shape) {
    static const char *const heads[] = {"q", "k", "v", NULL}, *const scores[] = {"scores", NULL};
    if (shape->rank == 4 && ends_in(name, heads)) return VST_TAP_HEADS;
    if (shape->rank == 4 && ends_in(name, scores)) return VST_TAP_ATTENTION;
    return shape->rank == 2   ? VST_TAP_VECTOR
           : shape->rank == 3 ? VST_TAP_TOKENS
           : shape->rank == 4 ? VST_TAP_MAP
                              : VST_TAP_OTHER;
}

/* Blocks and stages; what comes before the first of them is none, nor the norm after the last. */
static bool is_feature(const vst_graph *graph, const char *name) {
    const vst_shape shape = vst_shape_at(graph, vst_find(graph, name));
    const bool around = strcmp(name, "stem") == 0 || strcmp(name, "act1") == 0 || strcmp(name, "norm") == 0;
    return shape.rank > 2 && !around && !is_part(name);
}

static const char *feature_at(const vst_graph *graph, long index) {
    for (size_t i = 0; i < vst_tap_count(graph); i++)
        if (is_feature(graph, vst_tap_name(graph, i)) && index-- == 0) return vst_tap_name(graph, i);
    return NULL;
}

int vst_feature_count(const vst_graph *graph) {
    int count = 0;
    for (size_t i = 0; i < vst_tap_count(graph); i++) count += is_feature(graph, vst_tap_name(graph, i));
    return count;
}

bool vst_is_every_feature(const char *name) { return strcmp(name, "features.*") == 0; }

/* What the linear layer or convolution of a scope reads or writes: "blocks.0.attn.qkv:input", "…:output". */
static vst_value find_operand(const vst_graph *graph, const char *name) {
    const char *colon = strrchr(name, ':');
    const bool input = colon && strcmp(colon, ":input") == 0;
    if (!colon || (!input && strcmp(colon, ":output") != 0)) return (vst_value){0};
    const size_t length = (size_t)(colon - name);
    for (size_t i = 0; i < vst_graph_node_count(graph); i++) {
        const vst_node_info info = vst_graph_node_at(graph, i);
        if (!info.quantizable || strlen(info.scope) != length || memcmp(info.scope, name, length) != 0) continue;
        return (input ? vst_node_input_at(graph, i, 0) : vst_node_output_at(graph, i, 0)).value;
    }
    return (vst_value){0};
}

/* A tap by its own name. */
static vst_value find(vst_graph *graph, const char *name) {
    static const char scores[] = ".scores";
    const size_t length = strlen(name), block = length > strlen(scores) ? length - strlen(scores) : 0;
    char part[VST_TAP_NAME];
    vst_value known = vst_find(graph, name);
    if (!known.id) known = find_operand(graph, name);
    if (known.id || !block || strcmp(name + block, scores) != 0) return known;
    snprintf(part, sizeof part, "%.*s.q", (int)block, name);
    const vst_value q = vst_find(graph, part);
    part[block + 1] = 'k';
    const vst_value k = vst_find(graph, part);
    if (!q.id || !k.id) return known;
    const double width = (double)vst_shape_at(graph, q).dim[3];
    vst_tap(graph, name, vst_scale(graph, vst_matmul(graph, q, k, false, true), 1 / sqrt(width)));
    return vst_find(graph, name);
}

vst_value vst_tap_find(vst_graph *graph, const char *wanted, char name[VST_TAP_NAME]) {
    const vst_value none = {0};
    char *rest = NULL;
    snprintf(name, VST_TAP_NAME, "%s", wanted);
    if (strncmp(wanted, place, strlen(place)) != 0) return find(graph, name);
    const long number = strtol(wanted + strlen(place), &rest, 10), count = vst_feature_count(graph);
    if (rest == wanted + strlen(place)) return none;
    const bool percent = *rest == '%';
    const long index = percent      ? lround((double)number / 100 * (double)(count - 1))
                       : number < 0 ? count + number
                                    : number;
    rest += percent;
    const char *feature = index >= 0 ? feature_at(graph, index) : NULL;
    if (!feature || (*rest && *rest != '.')) return none;
    snprintf(name, VST_TAP_NAME, "%s%s", feature, rest);
    return find(graph, name);
}

const char *vst_tap_list(const vst_graph *graph, char *text, size_t size) {
    size_t used = 0;
    *text = 0;
    for (size_t i = 0; i < vst_tap_count(graph) && used < size; i++) {
        const char *name = vst_tap_name(graph, i);
        if (!is_part(name)) used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
    }
    return text;
}

int vst_token_side(int64_t tokens, int *prefix) {
    int64_t side = 0;
    while ((side + 1) * (side + 1) <= tokens) side++;
    *prefix = (int)(tokens - side * side);
    return *prefix <= VST_TOKEN_PREFIX_MAX ? (int)side : 0;
}
