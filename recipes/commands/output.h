/* Printing with filters: foreign names and paths must not control the terminal or break JSON. */
#ifndef VISTILL_RECIPES_COMMANDS_OUTPUT_H
#define VISTILL_RECIPES_COMMANDS_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "vision/base/status.h"

/* In place: control characters (C0, DEL, C1), bidirectional marks and overrides, line and paragraph separators, and
 * bytes that are not UTF-8 become '?'; tabs and ends of lines become blanks. */
void vst_text_clean(char *text);

/* Prints one line, filtered by vst_text_clean and cut at 8 kB, and ends it. */
void vst_print_line(FILE *file, const char *format, ...) VST_PRINTF(2, 3);

/* Prints a part of a line, with the same filter. */
void vst_print_part(FILE *file, const char *format, ...) VST_PRINTF(2, 3);

/* Flushes standard output; an error if something could not be written to it. */
VST_NODISCARD vst_status vst_output_flush(void);
/* Whether the last vst_output_flush failed because nobody reads the pipe any more, as after `vistill models | head`. */
bool vst_output_is_closed(void);

/* A JSON string of any bytes: those that are not UTF-8 become U+FFFD. NULL without memory. */
json_t *vst_json_text(const char *text);
/* Prints the value as one line of ASCII to standard output and releases it; NULL, or what cannot be written, is an
 * error. */
VST_NODISCARD vst_status vst_json_print(json_t *value);

#endif
