/* The lines of a text file that people write, such as a list of names. */
#ifndef VISTILL_VISION_BASE_LINES_H
#define VISTILL_VISION_BASE_LINES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct vst_lines {
    const char *at, *end;
} vst_lines;

/* Bytes of the mark that some editors put before UTF-8 text: 3, or 0 without one. */
size_t vst_byte_order_mark(const char *text, size_t size);

vst_lines vst_lines_of(const char *text, size_t size);
/* The next line without its end, LF or CR LF; false at the end. Blank lines after the last one are left out. */
bool vst_lines_next(vst_lines *lines, const char **line, size_t *length);

#endif
