/* Pillow's ImageOps.solarize with a probability, by default that of DeiT's augment.py. */
#include "datasets/augment/augment.h"
#include "vision/image/color.h"

typedef struct solarize_options {
    double probability;
    int threshold;
} solarize_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(solarize_options, probability, 0.2, 0, 1, "probability of the inversion"),
    VST_OPTION_INT(solarize_options, threshold, 128, 0, 256, "minimum value that is inverted"), VST_OPTION_END};

/* Random numbers: whether to apply. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const solarize_options *self = opaque;
    (void)scratch;
    if (vst_random_uniform(random) < self->probability) vst_image_solarize(image, self->threshold);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_solarize;
const vst_augmentation vsti_augmentation_solarize = {
    .name = "solarize",
    .help = "inversion of bright values",
    .options = options,
    .options_size = sizeof(solarize_options),
    .apply = apply,
};
