/* The thread-local error message. */
#include "vision/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_SIZE = 2048 };
static _Thread_local char message[MESSAGE_SIZE];

const char *vst_status_name(vst_status status) {
    static const char *const names[] = {[VST_OK] = "ok",
                                        [VST_ERROR_MEMORY] = "memory",
                                        [VST_ERROR_ARGUMENT] = "argument",
                                        [VST_ERROR_SHAPE] = "shape",
                                        [VST_ERROR_IO] = "io",
                                        [VST_ERROR_FORMAT] = "format",
                                        [VST_ERROR_LIMIT] = "limit",
                                        [VST_ERROR_NOT_FOUND] = "not found",
                                        [VST_ERROR_UNSUPPORTED] = "unsupported",
                                        [VST_ERROR_NUMERIC] = "numeric",
                                        [VST_ERROR_INTERRUPTED] = "interrupted",
                                        [VST_ERROR_INTERNAL] = "internal"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

const char *vst_error_message(void) { return message; }

vst_status vst_fail(vst_status status, const char *format, ...) {
    char text[MESSAGE_SIZE]; /* a copy, because the arguments may point into the old message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof text);
    return status;
}

vst_status vst_fail_in(vst_status status, const char *format, ...) {
    char text[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (used >= 0 && used < MESSAGE_SIZE) snprintf(text + used, sizeof text - (size_t)used, ": %s", message);
    memcpy(message, text, sizeof text);
    return status;
}

void vst_assert_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "vistill: internal error: %s (%s:%d). Please report this.\n", condition, file, line);
    abort();
}
