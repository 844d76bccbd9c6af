#include "vision/base/version.h"

const char *vst_version(void) { return VST_VERSION; }
