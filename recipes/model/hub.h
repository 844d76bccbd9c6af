/* What Hugging Face's libraries write beside weights: config.json and preprocessor_config.json of transformers, or the
 * config.json of timm. */
#ifndef VISTILL_RECIPES_MODEL_HUB_H
#define VISTILL_RECIPES_MODEL_HUB_H

#include <stdbool.h>

#include "vision/base/status.h"

typedef struct vsti_hub {
    char variant[64];    /* timm's name of the model; "": not said */
    int image, patch;    /* 0: not said */
    char **labels;       /* names of the classes; NULL: none, or LABEL_0 … */
    int label_count;     /* also where there are no names; 0: not said */
    char overrides[400]; /* of the model's options: "mean=[…], std=[…], crop_pct=0.875"; "": not said */
    const char *source;  /* the file that says `overrides` */
    int channels;        /* values of its mean; 0: not said */
    bool squeezes;       /* pictures are made square by squeezing them, not by a cut */
} vsti_hub;

/* Reads what lies in the folder of the weights. A file that is not there or says nothing known leaves its fields empty;
 * one that cannot be read is warned about. Only memory is an error. */
VST_NODISCARD vst_status vsti_hub_read(vsti_hub *out, const char *weights);
void vsti_hub_clear(vsti_hub *hub);

#endif
