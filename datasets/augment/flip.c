/* Random horizontal flip. */
#include "datasets/augment/augment.h"
#include "vision/image/geometry.h"

typedef struct flip_options {
    double probability;
} flip_options;

static const vst_option options[] = {VST_OPTION_DOUBLE(flip_options, probability, 0.5, 0, 1, "probability of a flip"),
                                     VST_OPTION_END};

static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    (void)scratch;
    const flip_options *self = opaque;
    if (vst_random_uniform(random) < self->probability) vst_image_flip(image);
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
