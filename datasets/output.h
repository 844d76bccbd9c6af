/* A file that is there whole or not at all: written beside its place, then renamed. Internal. */
#ifndef VISTILL_DATASETS_OUTPUT_H
#define VISTILL_DATASETS_OUTPUT_H

#include <stdio.h>

#include "vision/base/status.h"

typedef struct vsti_output {
    FILE *stream; /* to write to; errors are found on commit */
    char *path, *temporary;
} vsti_output;

/* Starts as {0}. After a failed open there is nothing to close. */
VST_NODISCARD vst_status vsti_output_open(vsti_output *output, const char *path);
/* Puts the file into its place; on failure nothing is left. */
VST_NODISCARD vst_status vsti_output_commit(vsti_output *output);
void vsti_output_discard(vsti_output *output); /* nothing if it is not open */

#endif
