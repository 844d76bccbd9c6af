/* What the files of recipes/quant share. */
#ifndef VISTILL_RECIPES_QUANT_INTERNAL_H
#define VISTILL_RECIPES_QUANT_INTERNAL_H

#include <math.h>

#include "datasets/loader/loader.h"
#include "recipes/infer/session.h"
#include "recipes/quant/quantize.h"

/* A layer that may compute on integers. */
typedef struct vsti_candidate {
    char *name;
    bool padded; /* a convolution with padding: needs the zero point 0 */
    bool usable; /* false: report `reason` */
    const char *reason;
    bool convolution; /* its channels are dimension 1 of what it reads, those of a linear layer the last */
    int value;        /* of the graph: what it reads */
    int tap;          /* the same: layers of one kind that read one value have one number */
    double macs;      /* of one image */
    int64_t values;   /* read and written */
    int64_t out, in, window, groups; /* weight (out, in, window); of a linear layer window and groups are 1 */
    /* Of a convolution; `top` and `left` are padding. */
    int64_t height, width, out_height, out_width, kernel, stride, dilation, top, left;
    size_t weight; /* offset in the values of the model's params */
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
bool vsti_is_padded(const vst_graph *graph, size_t node); /* a convolution with padding */

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

/* Extremes of what layers read, by channel. */
typedef struct vsti_extremes {
    float *low, *high; /* (channels), in one allocation that `low` begins */
    int64_t channels;
} vsti_extremes;

/* x after rounding to uint8. */
static inline double vsti_rounded(double x, const vsti_range *range) {
    const double q = rint(x / (double)range->scale) + range->zero_point, cut = q < 0 ? 0 : q > 255 ? 255 : q;
    return (double)range->scale * (cut - range->zero_point);
}

/* A session that gives the taps of the candidates. */
VST_NODISCARD vst_status vsti_taps_open(vst_session **out, const vst_model *model, const vsti_candidates *candidates);
/* Takes the values of one tap, `floats` for each image, for some images. */
typedef vst_status vsti_take(void *user, int tap, const float *x, int images, size_t floats);
/* One pass over the images of `loader`, which is started. */
VST_NODISCARD vst_status vsti_each_tap(vst_session *session, const vsti_candidates *candidates, vst_loader *loader,
                                       const volatile sig_atomic_t *stop, vsti_take *take, void *user);

#define VSTI_QUANT_MEMORY_ADVICE "a smaller --batch"

/* What the layers read, by tap. */
typedef struct vsti_calibration {
    vsti_range *ranges;
    vsti_means *means;
    vsti_extremes *extremes;
    int taps, batch; /* batch: images at a time, at most */
    uint64_t images;
} vsti_calibration;
VST_NODISCARD vst_status vsti_calibration_create(vsti_calibration *out, int taps, int batch);
void vsti_calibration_clear(vsti_calibration *calibration);
/* Fills it from the images of `loader`, which is started three times. */
VST_NODISCARD vst_status vsti_calibrate(const vst_model *model, const vsti_candidates *candidates, vst_loader *loader,
                                        const volatile sig_atomic_t *stop, vsti_calibration *out);
/* ---- moving the scales of channels ---- */

typedef struct vsti_migration {
    const char *name;
    double alpha; /* 0: all into what writes the value, 1: into the weights that read it */
    bool fold;    /* in place of alpha: ranges of channels become equal, after layer norms also about zero */
} vsti_migration;

typedef struct vsti_equaliser vsti_equaliser;
VST_NODISCARD vst_status vsti_equaliser_create(vsti_equaliser **out, const vst_model *model,
                                               const vsti_candidates *candidates);
/* Values whose scales can be moved, and that layers on integers read. */
size_t vsti_equaliser_sets(const vsti_equaliser *equaliser);
void vsti_equaliser_destroy(vsti_equaliser *equaliser);
/* Changes the values of the model's params, not its function. extremes: by tap. */
VST_NODISCARD vst_status vsti_equalise(const vsti_equaliser *equaliser, float *values,
                                       const vsti_candidates *candidates, const vsti_extremes *extremes,
                                       const vsti_migration *way);

/* ---- rounding weights ---- */

/* Second moments of what a layer reads, (groups, parts, columns, columns): channels are divided into parts where a
 * convolution would have too many columns, channels times window. */
typedef struct vsti_moments {
    int64_t parts, channels, columns; /* `channels` of a part; the last one may have fewer, and zeros for the others */
    size_t floats;
    float *values; /* NULL: not wanted */
} vsti_moments;
/* Everything but the values. */
void vsti_moments_describe(vsti_moments *moments, const vsti_candidate *layer);
/* moments: by layer, their values zeros or NULL. */
VST_NODISCARD vst_status vsti_moments_collect(vsti_moments *moments, const vst_model *model,
                                              const vsti_candidates *candidates, vst_loader *loader,
                                              const volatile sig_atomic_t *stop, const vsti_calibration *calibration);
/* Replaces a layer's weight by multiples of a step for each output, so that what it gives changes least. */
VST_NODISCARD vst_status vsti_round(float *weight, const vsti_candidate *layer, const vsti_moments *moments);

/* Corrects a bias (or running mean) in `values` by the mean error of a layer: that of its rounded weight, which is in
 * `values`, and of its rounded input. exact: the model's values with the weight before it was rounded; means: of what
 * the layer reads. */
void vsti_correct(float *values, const float *exact, const vsti_candidate *layer, const vsti_means *means);

/* VST_ERROR_INTERRUPTED if *stop is set. */
VST_NODISCARD static inline vst_status vsti_check_stop(const volatile sig_atomic_t *stop) {
    return stop && *stop ? vst_fail(VST_ERROR_INTERRUPTED, "no model was written") : VST_OK;
}

#endif
