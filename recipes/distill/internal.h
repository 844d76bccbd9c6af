/* The two sides of a term under construction. Internal to this folder. */
#ifndef VISTILL_RECIPES_DISTILL_INTERNAL_H
#define VISTILL_RECIPES_DISTILL_INTERNAL_H

#include "recipes/distill/distances/distance.h"
#include "recipes/distill/tap.h"
#include "recipes/distill/term_options.h"

typedef struct vsti_side {
    const char *whose, *tap; /* for messages */
    vst_value value;
    vst_tap_kind kind;
} vsti_side;

typedef struct vsti_sides {
    vst_graph *graph;
    const vst_term_options *term;
    const vst_distance *distance;
    int index;
    vsti_side student, teacher;
} vsti_sides;

/* Fails the graph with a message that begins with "distill.terms.N: ". Returns false. */
bool vsti_refuse(const vsti_sides *sides, vst_status status, const char *format, ...) VST_PRINTF(3, 4);
/* Describes a side for messages: "the student's tap blocks.3 (2, 66, 64)". */
enum { VSTI_SIDE_TEXT = 200 };
const char *vsti_side_text(const vst_graph *graph, const vsti_side *side, char text[VSTI_SIDE_TEXT]);

/* vst_term_build with a distance that need not be in the table. */
vst_value vsti_term_build(vst_graph *graph, const vst_term_options *term, const vst_distance *distance, int index,
                          const char *teacher_tap, vst_shape teacher_shape, vst_value labels);

/* These return false after a failure. */
bool vsti_align(vsti_sides *sides);     /* kind, grid and channels (align.c) */
bool vsti_project(vsti_sides *sides);   /* the student's channels to the teacher's (project.c) */
bool vsti_regress(vsti_sides *sides);   /* channels and grid */
bool vsti_transform(vsti_sides *sides); /* the values to compare (transform.c) */

#endif
