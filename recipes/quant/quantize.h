/* Post-training quantisation of a model: which of its linear layers and convolutions compute on 8-bit integers, and
 * with which scales. */
#ifndef VISTILL_RECIPES_QUANT_QUANTIZE_H
#define VISTILL_RECIPES_QUANT_QUANTIZE_H

#include <signal.h>

#include "datasets/dataset.h"
#include "recipes/model/model.h"
#include "vision/base/option.h"

typedef struct vst_quantize_options {
    int images;   /* for calibration; 0: 256 */
    int held_out; /* other images, by which layers are chosen; 0: 512. Both are cut to what the data has */
    /* Layers stay in float32 until both are kept on the held-out images. */
    double max_drop;    /* points of top-1, if there are labels. Below 0: all layers on integers, whatever they cost */
    double max_changed; /* per cent of the predictions that are expected to change; 0: 2 */
    int batch;          /* 0: 16 */
    uint64_t seed;      /* of the choice of images */
} vst_quantize_options;

/* Images, held_out and max_drop, as a study sets them. */
extern const vst_option vst_quantize_table[];

typedef struct vst_quantized_layer {
    char *name; /* scope */
    bool integers;
    const char *reason; /* why it stays in float32: image (the first layer), depthwise, padding (with negative input),
                           accuracy; NULL */
    double input_error; /* of quantising what it reads: root of mean square error over root of mean square */
    double logit_error; /* the same of the logits, if this layer alone is quantised; NAN if not measured */
    double float_ms, integer_ms; /* of one image on all threads */
} vst_quantized_layer;

typedef struct vst_quantize_report {
    vst_quantized_layer *layers;
    size_t count;
    int images, held_out;
    bool labelled;
    double top1_float, top1;     /* on the held-out images; NAN without labels */
    double agreement;            /* per cent of equal predictions */
    double expected_changes;     /* per cent of the predictions, by the size of the errors and the margins of float32 */
    double logit_error;          /* root of mean square error of the logits over their root of mean square */
    const char *migration;       /* how scales of channels were moved: none, 0.15, 0.5, 0.95, fold; NULL: nowhere */
    double float_ms, integer_ms; /* of the whole model: one image on all threads */
} vst_quantize_report;

/* Sets model->quantization and corrects biases and running means; a failure leaves the model as it was. `data` gives
 * the images, labelled or not. When *stop (NULL: never) becomes non-zero the result is VST_ERROR_INTERRUPTED. `report`
 * starts as {0}. */
VST_NODISCARD vst_status vst_quantize(vst_model *model, const vst_dataset *data, const vst_quantize_options *options,
                                      const volatile sig_atomic_t *stop, vst_quantize_report *report);
/* All layers that can be on integers with the ranges of what they read on images of `data`, as a training with
 * simulated integers begins. Of the options images, batch and seed are used. `out` starts as {0}, to be cleared also
 * after a failure. */
VST_NODISCARD vst_status vst_quantize_ranges(vst_quantization *out, const vst_model *model, const vst_dataset *data,
                                             const vst_quantize_options *options, const volatile sig_atomic_t *stop);

void vst_quantize_report_clear(vst_quantize_report *report);

#endif
