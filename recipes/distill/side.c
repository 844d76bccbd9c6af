/* Messages about the sides of a term. */
#include <stdarg.h>
#include <stdio.h>

#include "recipes/distill/internal.h"

bool vsti_refuse(const vsti_sides *sides, vst_status status, const char *format, ...) {
    char text[900];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    vst_scope_pop(sides->graph); /* leaves the term's scope, because the message names the term as recipes do */
    vst_graph_fail(sides->graph, status, "distill.terms.%d: %s", sides->index, text);
    vst_scope_push(sides->graph, "failed");
    return false;
}

const char *vsti_side_text(const vst_graph *graph, const vsti_side *side, char text[VSTI_SIDE_TEXT]) {
    const vst_shape shape = vst_shape_at(graph, side->value);
    char dims[VST_SHAPE_TEXT];
    snprintf(text, VSTI_SIDE_TEXT, "the %s's tap %.90s %s", side->whose, side->tap, vst_shape_text(&shape, dims));
    return text;
}
