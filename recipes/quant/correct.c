/* Bias correction: rounded weights and inputs shift the mean of what a layer gives. The shift is known from the means
 * of what it reads, and is taken out of its bias, or of the batch norm that follows. */
#include "recipes/quant/internal.h"

void vsti_correct(float *values, const float *exact, const vsti_candidate *layer, const vsti_means *means) {
    const float *before = exact + layer->weight, *after = values + layer->weight;
    const int64_t outputs = layer->out / layer->groups;
    if (layer->shift_kind == VSTI_SHIFT_NONE) return;
    for (int64_t o = 0; o < layer->out; o++) {
        double error = 0;
        for (int64_t i = o / outputs * layer->in, last = i + layer->in; i < last; i++)
            for (int64_t k = 0; k < layer->window; k++, before++, after++)
                error += (double)*after * means->rounded[i] - (double)*before * means->exact[i];
        values[layer->shift + (size_t)o] += (float)(layer->shift_kind == VSTI_SHIFT_BIAS ? -error : error);
    }
}
