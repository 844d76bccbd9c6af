/* What a training with simulated integers begins with: all layers that can be on integers, and calibrated ranges. */
#include "recipes/infer/preprocessing.h"
#include "recipes/quant/internal.h"
#include "vision/base/memory.h"

enum { CALIBRATION = 256, BATCH = 16 };

static vst_status list_products(vst_quantization *out, const vsti_candidates *candidates, const vsti_range *ranges) {
    for (size_t i = 0; i < candidates->count; i++) {
        const vsti_candidate *c = &candidates->list[i];
        if (!c->usable || (c->padded && ranges[c->tap].zero_point)) continue;
        const vst_status status = vst_quantization_add(out, c->name, ranges[c->tap].scale, ranges[c->tap].zero_point);
        if (status != VST_OK) return status;
    }
    return VST_OK;
}

vst_status vst_quantize_ranges(vst_quantization *out, const vst_model *model, const vst_dataset *data,
                               const vst_quantize_options *options, const volatile sig_atomic_t *stop) {
    vst_status status = VST_OK;
    const uint64_t count = vst_dataset_count(data), wanted = options->images ? (uint64_t)options->images : CALIBRATION;
    vsti_candidates candidates = {0};
    vst_dataset *sample = NULL;
    vst_loader *loader = NULL;
    vsti_calibration calibration = {0};
    const int batch = options->batch ? options->batch : BATCH;
    VST_TRY(vsti_candidates_find(&candidates, model));
    VST_TRY(vsti_calibration_create(&calibration, candidates.tap_count, batch));
    VST_TRY(vst_dataset_sample(data, wanted < count ? wanted : count, options->seed, &sample));
    VST_TRY(vst_evaluation_loader(&loader, sample, model->config, batch, 1, &(vst_broken_rule){VST_BROKEN_SKIP, 1}));
    VST_TRY(vsti_calibrate(model, &candidates, loader, stop, &calibration));
    VST_TRY(list_products(out, &candidates, calibration.ranges));
    if (!out->count)
        VST_TRY(vst_fail(VST_ERROR_UNSUPPORTED, "%s has no layer that can compute on 8-bit integers",
                         model->config->variant));
out:
    vst_loader_destroy(loader);
    vst_dataset_close(sample);
    vsti_calibration_clear(&calibration);
    vsti_candidates_clear(&candidates);
    return status;
}
