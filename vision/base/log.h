/* Logging. The library never prints: it passes messages to a sink (a callback) that the program sets. */
#ifndef VISTILL_VISION_BASE_LOG_H
#define VISTILL_VISION_BASE_LOG_H

#include "vision/base/status.h"

VST_BEGIN_DECLS

typedef enum vst_log_level { VST_LOG_INFO, VST_LOG_WARNING } vst_log_level;
typedef void vst_log_sink(vst_log_level level, const char *text, void *user);

/* Sets the sink (NULL: messages are dropped, the default). Call before other threads use the library. */
void vst_log_set(vst_log_sink *sink, void *user);

/* Formats a message of at most 1 KiB, without a newline at its end, and passes it to the sink. Thread-safe if the sink
 * is. */
void vst_log(vst_log_level level, const char *format, ...) VST_PRINTF(2, 3);

VST_END_DECLS
#endif
