/* Which of a file's tensors are which of a model's parameters: names, what stands before them, and other projects'
 * names. Internal to recipes/model. */
#ifndef VISTILL_RECIPES_MODEL_MATCH_H
#define VISTILL_RECIPES_MODEL_MATCH_H

#include "backbones/backbone.h"
#include "vision/tensor/weights.h"

enum { VSTI_PARTS = 3 };

/* The tensors of one parameter: a single one, or equal parts of it by rows. */
typedef struct vsti_source {
    const vst_tensor *part[VSTI_PARTS];
    int parts; /* 1, or how many; 0: none is known */
} vsti_source;

typedef enum vsti_use { VSTI_BESIDE, VSTI_INSIDE, VSTI_USELESS, VSTI_TAKEN, VSTI_AGAIN } vsti_use;

typedef struct vsti_match {
    vsti_source *sources; /* of each parameter; owned */
    vsti_use *uses; /* of each tensor of the file: taken; the parameter has another already; known to be of no use;
                       unknown among those of the model, or beside the model; owned */
    int *again;     /* the parameter that has another tensor already; owned */
    size_t renamed; /* tensors with a name of another project */
    const vst_naming *naming; /* the one with most of these names; NULL: none */
    char prefix[200];         /* what stands before the model's names: "module.backbone." */
    char other[200];          /* what stands before a second set of the same names; "": there is none */
    bool split;               /* some of the tensors stood behind other prefixes, such as the classifiers */
} vsti_match;

VST_NODISCARD vst_status vsti_match_create(vsti_match *out, const vst_model_config *model, const vst_params *params,
                                           const vst_weights *weights);
void vsti_match_clear(vsti_match *match);

/* Whether the parameter could take a tensor of this shape as one of so many parts of it (1: the whole): dimensions of
 * one element, in which projects differ, do not count. */
bool vsti_fits(const vst_param_info *info, const vst_tensor *tensor, int parts);

#endif
