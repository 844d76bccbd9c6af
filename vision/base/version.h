/* The version of these headers and of the linked library. CMakeLists.txt reads the numbers from this file. */
#ifndef VISTILL_VISION_BASE_VERSION_H
#define VISTILL_VISION_BASE_VERSION_H

#include "vision/base/api.h"

VST_BEGIN_DECLS

#define VST_VERSION_MAJOR 0
#define VST_VERSION_MINOR 1
#define VST_VERSION_PATCH 0
/* For comparisons in #if: VST_VERSION_NUMBER >= VST_MAKE_VERSION(0, 2, 0). */
#define VST_MAKE_VERSION(major, minor, patch) ((major) * 1000000 + (minor) * 1000 + (patch))
#define VST_VERSION_NUMBER VST_MAKE_VERSION(VST_VERSION_MAJOR, VST_VERSION_MINOR, VST_VERSION_PATCH)

#define VST_VERSION_TEXT_(major, minor, patch) #major "." #minor "." #patch
#define VST_VERSION_EXPAND_(major, minor, patch) VST_VERSION_TEXT_(major, minor, patch)
#define VST_VERSION VST_VERSION_EXPAND_(VST_VERSION_MAJOR, VST_VERSION_MINOR, VST_VERSION_PATCH) /* "0.1.0" */

/* VST_VERSION of the linked library; static storage. */
const char *vst_version(void);

VST_END_DECLS
#endif
