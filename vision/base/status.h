/* Errors: every fallible function returns a vst_status; the text of the last error of a thread is in
 * vst_error_message(). A message says what failed, where (file, line, offset, tensor) and how to mend it. */
#ifndef VISTILL_VISION_BASE_STATUS_H
#define VISTILL_VISION_BASE_STATUS_H

#include "vision/base/api.h"

VST_BEGIN_DECLS

typedef enum vst_status {
    VST_OK = 0,
    VST_ERROR_MEMORY,      /* an allocation failed */
    VST_ERROR_ARGUMENT,    /* a caller passed something impossible, a key is unknown or out of range */
    VST_ERROR_SHAPE,       /* shapes do not fit each other */
    VST_ERROR_IO,          /* the system refused to read or write */
    VST_ERROR_FORMAT,      /* a file is not what it should be, or broken */
    VST_ERROR_LIMIT,       /* a stated limit (pixels, bytes, count) was exceeded */
    VST_ERROR_NOT_FOUND,   /* a file, model, tensor or tap does not exist */
    VST_ERROR_UNSUPPORTED, /* valid, but not supported by this version or machine */
    VST_ERROR_NUMERIC,     /* a value became infinite or not a number */
    VST_ERROR_INTERRUPTED, /* the user asked to stop */
    VST_ERROR_INTERNAL     /* a bug of ours, or a library failed in a way it should not */
} vst_status;

#define VST_NODISCARD __attribute__((warn_unused_result))
#define VST_PRINTF(position, first) __attribute__((format(printf, position, first)))

/* A short name of a status code, such as "shape"; static storage. */
const char *vst_status_name(vst_status status);

/* The text of the calling thread's last error, "" if there was none. Valid until the thread's next error. */
const char *vst_error_message(void);

/* Sets the thread's error text and returns `status`, so that a function can end with `return vst_fail(…)`. */
VST_NODISCARD vst_status vst_fail(vst_status status, const char *format, ...) VST_PRINTF(2, 3);

/* Puts context before the thread's error text ("reading model.safetensors: …") and returns `status`. */
VST_NODISCARD vst_status vst_fail_in(vst_status status, const char *format, ...) VST_PRINTF(2, 3);

/* Within a function that has `vst_status status` and a label `out` for its cleanup. */
#define VST_TRY(expression)             \
    do {                                \
        status = (expression);          \
        if (status != VST_OK) goto out; \
    } while (0)

/* For our own bugs only; bad input is never asserted. */
#define VST_ASSERT(condition) ((condition) ? (void)0 : vst_assert_failed(#condition, __FILE__, __LINE__))
void vst_assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

VST_END_DECLS
#endif
