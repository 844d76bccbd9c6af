/* Taps: what a tapped value is, and names that do not depend on the model. */
#ifndef VISTILL_RECIPES_DISTILL_TAP_H
#define VISTILL_RECIPES_DISTILL_TAP_H

#include <stdbool.h>

#include "vision/graph/graph.h"

typedef enum vst_tap_kind {
    VST_TAP_VECTOR,    /* (B, D): class scores, pooled features */
    VST_TAP_TOKENS,    /* (B, N, D): class tokens, then the patches of a grid */
    VST_TAP_MAP,       /* (B, C, H, W) */
    VST_TAP_HEADS,     /* (B, H, N, d): queries, keys, values; the tap's name ends in .q, .k or .v */
    VST_TAP_ATTENTION, /* (…, N, N): scores before the softmax; the tap's name ends in .scores */
    VST_TAP_OTHER
} vst_tap_kind;

vst_tap_kind vst_tap_kind_of(const char *name, const vst_shape *shape);

enum { VST_TAP_NAME = 96 };

/* The value of a tap by its name, or by its place among the model's features, which are its blocks or stages in order:
 * "features.0" is the first, "features.-1" the last, "features.50%" the one in the middle; ".q", ".k", ".v" and
 * ".scores" may follow. Scores q kᵀ / sqrt(d) are added to the graph when they are first asked for. `name` gets the
 * tap's own name. The null value if there is no such tap; then vst_tap_list says which there are. */
vst_value vst_tap_find(vst_graph *graph, const char *wanted, char name[VST_TAP_NAME]);

/* How many features the model has, and whether a name stands for all of them: "features.*". */
int vst_feature_count(const vst_graph *graph);
bool vst_is_every_feature(const char *name);

/* "layer1, layer2, layer3, logits": without the parts of attention. Cut to `size`. */
const char *vst_tap_list(const vst_graph *graph, char *text, size_t size);

/* Side of the square grid in N tokens, prefix tokens (at most VST_TOKEN_PREFIX_MAX) left out; 0 if it is not square. */
enum { VST_TOKEN_PREFIX_MAX = 2 };
int vst_token_side(int64_t tokens, int *prefix);

#endif
