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

/* The next cell, left to right, top to bottom. What would steer the terminal is filtered (output.h). */
void vst_table_cell(vst_table *table, const char *format, ...) VST_PRINTF(2, 3);

/* Wraps the last column at word ends so that lines have at most `columns` characters; 0: no limit, the default. If it
 * has no room beside the others, their widest gets less, and rows that need it go on below. */
void vst_table_wrap(vst_table *table, int columns);

/* The table as text, a newline after each line; to be vst_free'd. A last row that was not filled is completed with
 * empty cells. */
VST_NODISCARD vst_status vst_table_text(vst_table *table, char **text);
VST_NODISCARD vst_status vst_table_write(vst_table *table, FILE *file);

/* Columns that a terminal needs to show UTF-8 text; invalid bytes count as one. */
int vst_text_width(const char *text);
/* The bytes of the longest beginning of `text` that fits into so many columns. */
size_t vst_text_fit(const char *text, int columns);
/* Writes the rest of a line and a newline; what does not fit into `room` columns is wrapped at word ends, `indent`
 * columns from the left. With little or no room nothing is wrapped. */
void vst_text_write(FILE *file, const char *text, int indent, int room);
/* Columns of the terminal behind `file`, 0 if it is none. */
int vst_terminal_width(FILE *file);

#endif
