/* The log sink. */
#include "vision/base/log.h"

#include <stdarg.h>
#include <stdio.h>

static vst_log_sink *current;
static void *current_user;

void vst_log_set(vst_log_sink *sink, void *user) {
    current = sink;
    current_user = user;
}

void vst_log(vst_log_level level, const char *format, ...) {
    if (!current) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    current(level, text, current_user);
}
