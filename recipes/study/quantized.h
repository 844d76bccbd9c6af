/* The quantised runs of a study. Internal to this folder. */
#ifndef VISTILL_RECIPES_STUDY_QUANTIZED_H
#define VISTILL_RECIPES_STUDY_QUANTIZED_H

#include <signal.h>

#include "recipes/config/recipe.h"
#include "recipes/quant/quantize.h"

typedef struct vsti_quantized_run {
    const char *source;     /* a float32 model file */
    const char *folder;     /* of the run; its model becomes last.safetensors in it */
    const vst_recipe *data; /* whose training images calibrate and judge */
    vst_quantize_options options;
    const volatile sig_atomic_t *stop;
} vsti_quantized_run;

/* Makes the model file, or keeps the one that was made of the same source with the same options; *seconds is NAN then.
 */
VST_NODISCARD vst_status vsti_study_quantize(const vsti_quantized_run *run, double *seconds);

#endif
