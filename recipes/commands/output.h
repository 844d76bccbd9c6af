/* What is printed: names and paths of others must not steer the terminal or break a line of JSON. */
#ifndef VISTILL_RECIPES_COMMANDS_OUTPUT_H
#define VISTILL_RECIPES_COMMANDS_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

#include "vision/base/status.h"

/* In place: control characters (C0, DEL, C1), bidirectional marks and overrides, line and paragraph separators, and
 * bytes that are not UTF-8 become '?'; tabs and ends of lines become blanks. */
void vst_text_clean(char *text);

/* Prints one line, filtered by vst_text_clean and cut at 8 kB, and ends it. */
void vst_print_line(FILE *file, const char *format, ...) VST_PRINTF(2, 3);

/* A part of a line: what foreign text stands in is filtered alike, and no end of a line gets through. */
void vst_print_part(FILE *file, const char *format, ...) VST_PRINTF(2, 3);

/* A JSON string of any bytes: those that are not UTF-8 become U+FFFD. NULL without memory. */
json_t *vst_json_text(const char *text);
/* Prints the value as one line of ASCII to standard output and releases it; NULL, or what cannot be written, is an
 * error. */
VST_NODISCARD vst_status vst_json_print(json_t *value);

#endif
