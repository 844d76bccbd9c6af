/* Latency of a model. */
#ifndef VISTILL_RECIPES_INFER_LATENCY_H
#define VISTILL_RECIPES_INFER_LATENCY_H

#include "recipes/infer/model_session.h"

/* Milliseconds. */
typedef struct vst_latency {
    double median, low, high; /* low and high: a tenth of the runs was quicker, a tenth slower */
} vst_latency;

/* Of one image on one core, from runs over half a second (at least 20). */
VST_NODISCARD vst_status vst_model_latency(const vst_model *model, bool bf16, vst_latency *latency);

#endif
