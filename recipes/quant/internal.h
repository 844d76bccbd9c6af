/* What the files of recipes/quant share. */
#ifndef VISTILL_RECIPES_QUANT_INTERNAL_H
#define VISTILL_RECIPES_QUANT_INTERNAL_H

#include "datasets/loader/loader.h"
#include "recipes/quant/quantize.h"

/* A layer that may compute on integers. */
typedef struct vsti_candidate {
    char *name;
    bool padded; /* a convolution with padding: needs the zero point 0 */
    bool usable; /* false: report `reason` */
    const char *reason;
    bool convolution; /* its channels are dimension 1 of what it reads, those of a linear layer the last */
    int tap;          /* what it reads: layers of one kind that read one value have one number */
    int64_t out, in, window, groups; /* weight (out, in, window); of a linear layer window and groups are 1 */
    size_t weight;                   /* offset in the values of the model's params */
    /* Where a correction of the output goes: added to a bias, or taken from a batch norm's running mean. */
    enum { VSTI_SHIFT_NONE, VSTI_SHIFT_BIAS, VSTI_SHIFT_MEAN } shift_kind;
    size_t shift; /* offset in the params' values */
} vsti_candidate;

typedef struct vsti_candidates {
    vsti_candidate *list;
    size_t count;
    int tap_count;
    char **taps; /* names for a session: "SCOPE:input" */
} vsti_candidates;
VST_NODISCARD vst_status vsti_candidates_find(vsti_candidates *out, const vst_model *model);
void vsti_candidates_clear(vsti_candidates *candidates);

typedef struct vsti_range {
    float scale;
    int zero_point;
    double error; /* root of mean square error over root of mean square */
} vsti_range;
/* Means of what layers read, and of the same after quantisation, by channel. */
typedef struct vsti_means {
    double *exact, *rounded; /* (channels), in one allocation that `exact` begins */
    int64_t channels;
} vsti_means;

#define VSTI_QUANT_MEMORY_ADVICE "a smaller --batch"

/* The range and the means of each tap over the images of `loader`, at most `batch` at a time, which is started three
 * times. Both arrays have tap_count elements; `means` starts as zeros, the caller frees the arrays in it. */
VST_NODISCARD vst_status vsti_calibrate(const vst_model *model, const vsti_candidates *candidates, vst_loader *loader,
                                        int batch, const volatile sig_atomic_t *stop, vsti_range *ranges,
                                        vsti_means *means);

/* Corrects biases (or running means) of `params` by the mean error of a layer: that of its rounded weights and of its
 * rounded input. means: of what it reads. */
VST_NODISCARD vst_status vsti_correct(vst_params *params, const vsti_candidate *layer, const vsti_means *means);

/* VST_ERROR_INTERRUPTED if *stop is set. */
VST_NODISCARD static inline vst_status vsti_check_stop(const volatile sig_atomic_t *stop) {
    return stop && *stop ? vst_fail(VST_ERROR_INTERRUPTED, "no model was written") : VST_OK;
}

#endif
