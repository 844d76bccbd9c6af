/* Aligned text tables: widths are measured in terminal columns (wcwidth needs a locale, so a small table of our own).
 */
#include "recipes/commands/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "recipes/commands/output.h"
#include "vision/base/memory.h"

enum { MAX_COLUMNS = 16, GAP = 2, WIDEST = 1000, NARROWEST_WRAP = 20, NARROWEST_COLUMN = 8, ROOM = 28 };

struct vst_table {
    int columns;
    bool right[MAX_COLUMNS];
    int wrap;
    char **cells; /* the headers first */
    size_t count, capacity;
    vst_status status;
};

/* ---- Width of text ---- */

/* Decodes one character; an invalid byte is its own code. Returns its length in bytes. */
static size_t decode(const char *text, uint32_t *code) {
    const unsigned char *s = (const unsigned char *)text;
    const size_t length = s[0] < 0x80 ? 1 : s[0] >= 0xf0 && s[0] < 0xf8 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
    *code = length == 1 || s[0] >= 0xf8 ? s[0] : s[0] & (0xffu >> (length + 1));
    if (s[0] >= 0xf8) return 1;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            *code = s[0];
            return 1;
        }
        *code = *code << 6 | (s[i] & 0x3fu);
    }
    return length;
}

/* Combining marks have width 0, East Asian wide characters and emoji width 2. */
static int width_of(uint32_t code) {
    static const struct {
        uint32_t first, last;
        int width;
    } ranges[] = {{0x300, 0x36f, 0},     {0x200b, 0x200f, 0},  {0x20d0, 0x20ff, 0}, {0xfe00, 0xfe0f, 0},
                  {0x1100, 0x115f, 2},   {0x2e80, 0xa4cf, 2},  {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2},
                  {0xfe30, 0xfe6f, 2},   {0xff00, 0xff60, 2},  {0xffe0, 0xffe6, 2}, {0x1f300, 0x1f64f, 2},
                  {0x1f900, 0x1f9ff, 2}, {0x20000, 0x3fffd, 2}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (code >= ranges[i].first && code <= ranges[i].last) return ranges[i].width;
    return 1;
}

int vst_text_width(const char *text) {
    int width = 0;
    for (uint32_t code; *text; width += width_of(code)) text += decode(text, &code);
    return width;
}

size_t vst_text_fit(const char *text, int columns) {
    size_t used = 0;
    for (int width = 0; text[used];) {
        uint32_t code;
        const size_t bytes = decode(text + used, &code);
        if ((width += width_of(code)) > columns) break;
        used += bytes;
    }
    return used;
}

int vst_terminal_width(FILE *file) {
    struct winsize size;
    const int number = fileno(file);
    if (number < 0 || !isatty(number)) return 0;
    return ioctl(number, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* ---- Filling ---- */

static void add_cell(vst_table *table, char *text) {
    if (table->status == VST_OK)
        table->status = text ? vst_grow(&table->cells, &table->capacity, table->count + 1, sizeof *table->cells)
                             : vst_fail_memory(64);
    if (table->status != VST_OK) {
        vst_free(text);
        return;
    }
    vst_text_clean(text);
    table->cells[table->count++] = text;
}

vst_status vst_table_create(vst_table **out, const char *const *headers) {
    vst_table *table = *out = vst_calloc(1, sizeof *table);
    if (!table) return vst_fail_memory(sizeof *table);
    for (; headers[table->columns]; table->columns++) {
        VST_ASSERT(table->columns < MAX_COLUMNS);
        const char *header = headers[table->columns];
        table->right[table->columns] = *header == '>';
        add_cell(table, vst_strdup(header + (*header == '>')));
    }
    const vst_status status = table->status;
    if (status != VST_OK) {
        vst_table_destroy(table);
        *out = NULL;
    }
    return status;
}

void vst_table_destroy(vst_table *table) {
    if (!table) return;
    for (size_t i = 0; i < table->count; i++) vst_free(table->cells[i]);
    vst_free(table->cells);
    vst_free(table);
}

void vst_table_cell(vst_table *table, const char *format, ...) {
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_cell(table, vst_strdup(text));
}

void vst_table_wrap(vst_table *table, int columns) { table->wrap = columns; }

/* ---- Printing ---- */

/* The number of bytes of `text` that fit in `room` columns, up to a space if there is one; at least one character. */
static size_t line_bytes(const char *text, int room) {
    uint32_t code;
    const size_t fit = vst_text_fit(text, room);
    for (size_t i = fit; i > 0; i--)
        if (text[i] == ' ') return i;
    return fit ? fit : decode(text, &code);
}

static void pad(FILE *file, int count) {
    while (count-- > 0) fputc(' ', file);
}

void vst_text_write(FILE *file, const char *text, int indent, int room) {
    while (room >= NARROWEST_WRAP && vst_text_width(text) > room) {
        const size_t bytes = line_bytes(text, room);
        fprintf(file, "%.*s\n", (int)bytes, text);
        text += bytes;
        while (*text == ' ') text++;
        if (!*text) return;
        pad(file, indent);
    }
    fprintf(file, "%s\n", text);
}

static void write_row(const vst_table *table, FILE *file, size_t row, const int *widths) {
    int indent = 0, owed = 0; /* spaces before the next cell, which are not printed at the end of a line */
    bool below = false;       /* a cell was wider than its column: the row continues on the next line */
    for (int i = 0; i < table->columns; i++) {
        const char *text = table->cells[row * (size_t)table->columns + (size_t)i];
        const int missing = widths[i] - vst_text_width(text);
        if (below && *text) {
            fputc('\n', file);
            owed = indent;
            below = false;
        }
        if (table->right[i] && missing > 0) owed += missing;
        if (*text) {
            pad(file, owed);
            owed = 0;
        }
        if (i + 1 == table->columns) {
            vst_text_write(file, text, indent, table->wrap ? table->wrap - indent : 0);
            return;
        }
        fputs(text, file);
        below |= missing < 0;
        owed += (table->right[i] || missing < 0 ? 0 : missing) + GAP;
        indent += widths[i] + GAP;
    }
}

/* Makes the widest column before the last one narrower, if the last one would have less room than ROOM and its text. */
static void make_room(const vst_table *table, int *widths) {
    int used = 0, widest = 0;
    for (int i = 0; i + 1 < table->columns; i++) {
        used += widths[i] + GAP;
        if (widths[i] > widths[widest]) widest = i;
    }
    const int last = widths[table->columns - 1], missing = used + (last < ROOM ? last : ROOM) - table->wrap;
    if (missing > 0 && widths[widest] - missing >= NARROWEST_COLUMN) widths[widest] -= missing;
}

vst_status vst_table_write(vst_table *table, FILE *file) {
    int widths[MAX_COLUMNS] = {0};
    while (table->status == VST_OK && table->count % (size_t)table->columns) add_cell(table, vst_strdup(""));
    if (table->status != VST_OK) return table->status;
    for (size_t i = 0; i < table->count; i++) {
        const int width = vst_text_width(table->cells[i]);
        int *widest = &widths[i % (size_t)table->columns];
        if (width > *widest) *widest = width < WIDEST ? width : WIDEST;
    }
    if (table->wrap) make_room(table, widths);
    for (size_t row = 0; row < table->count / (size_t)table->columns; row++) write_row(table, file, row, widths);
    if (file == stdout) return vst_output_flush();
    if (fflush(file) != 0 || ferror(file)) return vst_fail(VST_ERROR_IO, "writing a table failed: %m");
    return VST_OK;
}

vst_status vst_table_text(vst_table *table, char **text) {
    char *buffer = NULL;
    size_t size = 0;
    *text = NULL;
    FILE *file = open_memstream(&buffer, &size);
    if (!file) return vst_fail_memory(size);
    vst_status status = vst_table_write(table, file);
    if (fclose(file) != 0 && status == VST_OK) status = vst_fail_memory(size);
    if (status == VST_OK && !(*text = vst_strdup(buffer))) status = vst_fail_memory(size);
    free(buffer);
    return status;
}
