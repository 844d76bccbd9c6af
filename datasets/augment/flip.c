/* Random horizontal flip. */
#include "datasets/augment/augment.h"

typedef struct flip_options {
    double probability;
} flip_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(flip_options, probability, 0.5, 0, 1, "probability of a flip"),
    VST_OPTION_END};

static vst_status apply(const void *opaque, vst_random *random, vst_image *image) {
    const flip_options *self = opaque;
    if (vst_random_uniform(random) >= self->probability) return VST_OK;
    const size_t channels = (size_t)image->channels, stride = (size_t)image->width * channels;
    for (int y = 0; y < image->height; y++) {
        uint8_t *left = image->pixels + (size_t)y * stride, *right = left + stride - channels;
        for (; left < right; left += channels, right -= channels)
            for (size_t c = 0; c < channels; c++) {
                const uint8_t pixel = left[c];
                left[c] = right[c];
                right[c] = pixel;
            }
    }
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_flip;
const vst_augmentation vsti_augmentation_flip = {
    .name = "flip",
    .help = "horizontal flip",
    .options = options,
    .options_size = sizeof(flip_options),
    .apply = apply,
};
