/* Bias correction: rounded weights and inputs shift the mean of what a layer gives. The shift is known from the means
 * of what it reads, and is taken out of its bias, or of the batch norm that follows. */
#include <string.h>

#include "recipes/quant/internal.h"
#include "vision/base/memory.h"

static double mean_shift(const float *weight, const int8_t *integers, float step, const vsti_candidate *layer,
                         const double *exact, const double *rounded) {
    double shift = 0;
    for (int64_t i = 0; i < layer->in; i++)
        for (int64_t k = 0; k < layer->window; k++) {
            const int64_t at = i * layer->window + k;
            shift += (double)step * integers[at] * rounded[i] - (double)weight[at] * exact[i];
        }
    return shift;
}

vst_status vsti_correct(vst_params *params, const vsti_candidate *layer, const vsti_means *means) {
    vst_integer_weight rounded;
    float *values = vst_params_values(params), *shift = values + layer->shift;
    const int64_t inner = layer->in * layer->window, outputs = layer->out / layer->groups;
    const vst_tensor weight = {layer->name, VST_F32, VST_SHAPE(layer->out, inner), values + layer->weight};
    if (layer->shift_kind == VSTI_SHIFT_NONE) return VST_OK;
    const vst_status status = vst_integer_weight_create(&rounded, &weight);
    if (status != VST_OK) return status;
    for (int64_t o = 0; o < layer->out; o++) {
        const int64_t first = o / outputs * layer->in; /* the group's channels */
        const double error = mean_shift(values + layer->weight + o * inner, rounded.integers + o * inner,
                                        rounded.steps[o], layer, means->exact + first, means->rounded + first);
        shift[o] += (float)(layer->shift_kind == VSTI_SHIFT_BIAS ? -error : error);
    }
    vst_free(rounded.memory);
    return VST_OK;
}
