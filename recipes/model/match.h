/* Matches the tensors of a file to a model's parameters: names, prefixes, names of other projects. Internal to
 * recipes/model. */
#ifndef VISTILL_RECIPES_MODEL_MATCH_H
#define VISTILL_RECIPES_MODEL_MATCH_H

#include "backbones/backbone.h"
#include "vision/tensor/weights.h"

enum { VSTI_PARTS = 3 };

/* The tensors of one parameter: one, or equal parts of it by rows. */
typedef struct vsti_source {
    const vst_tensor *part[VSTI_PARTS];
    int parts; /* number of parts, 1 for a whole tensor; 0: not found */
} vsti_source;

typedef enum vsti_use { VSTI_BESIDE, VSTI_INSIDE, VSTI_USELESS, VSTI_TAKEN, VSTI_AGAIN } vsti_use;

typedef struct vsti_match {
    vsti_source *sources; /* by parameter; owned */
    vsti_use *uses; /* by tensor of the file: used; duplicate; not needed; unknown in the model or outside it; owned */
    int *again;     /* of duplicates: the parameter that has another tensor; owned */
    size_t renamed; /* number of tensors with a name of another project */
    const vst_naming *naming; /* the naming of most of these; NULL: none */
    char prefix[200];         /* prefix of the model's names: "module.backbone." */
    char other[200];          /* prefix of a second set of the same names; "": none */
    bool split;               /* some tensors have other prefixes, such as the classifier's */
} vsti_match;

VST_NODISCARD vst_status vsti_match_create(vsti_match *out, const vst_model_config *model, const vst_params *params,
                                           const vst_weights *weights);
void vsti_match_clear(vsti_match *match);

/* True if the parameter can take a tensor of this shape as one of `parts` parts (1: the whole). Dimensions of size 1,
 * in which projects differ, are ignored. */
bool vsti_fits(const vst_param_info *info, const vst_tensor *tensor, int parts);

#endif
