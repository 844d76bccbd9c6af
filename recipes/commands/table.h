/* Aligned text tables for people. Cells are filled row by row; widths count what a terminal shows, so UTF-8 text
 * aligns.
 *
 *     vst_table *table;
 *     VST_TRY(vst_table_create(&table, (const char *[]){"model", ">parameters", ">top-1 %", NULL}));
 *     vst_table_cell(table, "%s", name);
 *     vst_table_cell(table, "%.2f M", parameters / 1e6);
 *     vst_table_cell(table, "%.1f", top1);
 *     VST_TRY(vst_table_write(table, stdout));
 *
 * The first error is kept and comes out of vst_table_write or vst_table_text. */
#ifndef VISTILL_RECIPES_COMMANDS_TABLE_H
#define VISTILL_RECIPES_COMMANDS_TABLE_H

#include <stdio.h>

#include "vision/base/status.h"

typedef struct vst_table vst_table;

/* `headers` ends with NULL; a header that begins with '>' makes a right-aligned column (numbers). At most 16 columns.
 */
VST_NODISCARD vst_status vst_table_create(vst_table **out, const char *const *headers);
void vst_table_destroy(vst_table *table);

/* Adds a cell, left to right, top to bottom, filtered by vst_text_clean. */
void vst_table_cell(vst_table *table, const char *format, ...) VST_PRINTF(2, 3);

/* Wraps the last column at word ends so that lines have at most `columns` characters; 0: no limit, the default. If
 * there is no room for it, the widest other column is narrowed, and rows that do not fit continue on the next line. */
void vst_table_wrap(vst_table *table, int columns);

/* The table as text with a newline after each line, to be freed with vst_free. An incomplete last row is filled with
 * empty cells. */
VST_NODISCARD vst_status vst_table_text(vst_table *table, char **text);
VST_NODISCARD vst_status vst_table_write(vst_table *table, FILE *file);

/* The width of UTF-8 text in terminal columns; invalid bytes count as one. */
int vst_text_width(const char *text);
/* The number of bytes of the longest prefix of `text` that fits in `columns`. */
size_t vst_text_fit(const char *text, int columns);
/* Writes the rest of a line and a newline, wrapped at spaces to `room` columns and indented by `indent`. Does not wrap
 * if `room` is too small. */
void vst_text_write(FILE *file, const char *text, int indent, int room);
/* The width of the terminal of `file` in columns, 0 if it is not a terminal. */
int vst_terminal_width(FILE *file);

#endif
