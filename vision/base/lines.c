/* Lines of text. */
#include "vision/base/lines.h"

#include <string.h>

size_t vst_byte_order_mark(const char *text, size_t size) {
    return size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

vst_lines vst_lines_of(const char *text, size_t size) {
    const char *end = text + size;
    text += vst_byte_order_mark(text, size);
    while (end > text && strchr(" \t\r\n", end[-1])) end--;
    return (vst_lines){text, end};
}

bool vst_lines_next(vst_lines *lines, const char **line, size_t *length) {
    if (lines->at >= lines->end) return false;
    const size_t rest = (size_t)(lines->end - lines->at);
    const char *end = memchr(lines->at, '\n', rest);
    *line = lines->at;
    *length = end ? (size_t)(end - lines->at) : rest;
    lines->at += *length + 1;
    if (*length && (*line)[*length - 1] == '\r') --*length;
    return true;
}
