/* Latency of a model. */
#ifndef VISTILL_RECIPES_INFER_LATENCY_H
#define VISTILL_RECIPES_INFER_LATENCY_H

#include "recipes/infer/model_session.h"

/* Milliseconds for one image on one core: the median of runs over half a second (at least 20). */
VST_NODISCARD vst_status vst_model_latency(const vst_model *model, double *milliseconds);

/* The median. Sorts the values; count > 0. */
double vst_median(double *values, int count);

#endif
