/* Vistill, to deploy with: sessions that answer from a model file, the version, statuses and error messages, and the
 * messages of the library.
 * How graphs are built is in vision/graph/graph.h and vision/ops/ops.h, how they run in vision/plan/program.h; what a
 * plug-in implements is in vistill_plugin.h. The folder that holds this file is the include path. */
#ifndef VISTILL_H
#define VISTILL_H

#include "recipes/infer/session.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/status.h"
#include "vision/base/version.h"

#endif
