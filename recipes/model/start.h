/* What a training begins with instead of random weights. Internal to recipes. */
#ifndef VISTILL_RECIPES_MODEL_START_H
#define VISTILL_RECIPES_MODEL_START_H

#include "recipes/model/classes.h"
#include "recipes/model/quantization.h"
#include "vision/graph/params.h"

/* The weights of a file (a model file or another program's; `entry` of it, NULL or "": as vst_weights_open chooses) as
 * parameters of `config` without any more: every tensor must be there, position embeddings are resized, and with
 * `new_head` the classifier has the values that the student's would begin with for this seed. Otherwise the classifier
 * of a model file is brought into the order of `classes`, the student's. To be destroyed by the caller. A quantised
 * model must be of the same shapes; `quantization`, {0} before, becomes its own, to be cleared. */
VST_NODISCARD vst_status vsti_start_load(vst_params **start, vst_quantization *quantization, const char *path,
                                         const char *entry, const vst_model_config *config, bool new_head,
                                         uint64_t seed, const vst_classes *classes);
uint64_t vsti_start_hash(vst_params *start);
/* Copies them to the student's parameters. */
void vsti_start_copy(vst_params *params, vst_params *start);

#endif
