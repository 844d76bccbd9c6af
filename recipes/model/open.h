/* Models from any file of weights. Internal to recipes. */
#ifndef VISTILL_RECIPES_MODEL_OPEN_H
#define VISTILL_RECIPES_MODEL_OPEN_H

#include "recipes/model/model.h"

/* A model file, or another program's, imported as the variant (NULL or "": the only one
 * that fits) from the entry (NULL or "": as vst_weights_open
 * chooses); both are for other programs' files alone. Which
 * entry and model it is goes to the log. The model has its facts as `training`, and the class names of imagenet.h. */
VST_NODISCARD vst_status vst_model_open(vst_model **out, const char *path, const char *entry, const char *variant);

#endif
