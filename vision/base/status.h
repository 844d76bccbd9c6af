/* Errors. Every function that can fail returns a vst_status; vst_error_message() returns the message of the calling
 * thread's last error. A message says what failed, where (file, line, offset, tensor) and how to fix it. */
#ifndef VISTILL_VISION_BASE_STATUS_H
#define VISTILL_VISION_BASE_STATUS_H

#include "vision/base/api.h"

VST_BEGIN_DECLS

typedef enum vst_status {
    VST_OK = 0,
    VST_ERROR_MEMORY,      /* an allocation failed */
    VST_ERROR_ARGUMENT,    /* an invalid argument, an unknown key, a value out of range */
    VST_ERROR_SHAPE,       /* shapes do not match */
    VST_ERROR_IO,          /* a read or write failed */
    VST_ERROR_FORMAT,      /* a file has the wrong format or is damaged */
    VST_ERROR_LIMIT,       /* a documented limit (pixels, bytes, count) was exceeded */
    VST_ERROR_NOT_FOUND,   /* a file, model, tensor or tap does not exist */
    VST_ERROR_UNSUPPORTED, /* valid, but not supported by this version or machine */
    VST_ERROR_NUMERIC,     /* a value became infinite or NaN */
    VST_ERROR_INTERRUPTED, /* the user stopped the run */
    VST_ERROR_INTERNAL     /* a bug, or an unexpected failure of a library */
} vst_status;

#define VST_NODISCARD __attribute__((warn_unused_result))
#define VST_PRINTF(position, first) __attribute__((format(printf, position, first)))

/* A short name of a status code, such as "shape"; static storage. */
const char *vst_status_name(vst_status status);

/* The text of the calling thread's last error, "" if there was none. Valid until the thread's next error. */
const char *vst_error_message(void);

/* Sets the thread's error message and returns `status`: `return vst_fail(…)`. */
VST_NODISCARD vst_status vst_fail(vst_status status, const char *format, ...) VST_PRINTF(2, 3);

/* Prepends context to the thread's error message ("reading model.safetensors: …") and returns `status`. */
VST_NODISCARD vst_status vst_fail_in(vst_status status, const char *format, ...) VST_PRINTF(2, 3);

/* Jumps to the label `out` on failure. The function needs a variable `vst_status status` and a label `out` for its
 * cleanup. */
#define VST_TRY(expression)             \
    do {                                \
        status = (expression);          \
        if (status != VST_OK) goto out; \
    } while (0)

/* For internal bugs only, never for invalid input. */
#define VST_ASSERT(condition) ((condition) ? (void)0 : vst_assert_failed(#condition, __FILE__, __LINE__))
void vst_assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

VST_END_DECLS
#endif
