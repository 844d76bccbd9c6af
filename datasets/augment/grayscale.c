/* torchvision's RandomGrayscale. The default probability is that of DeiT's augment.py. */
#include "datasets/augment/augment.h"
#include "vision/image/color.h"

typedef struct grayscale_options {
    double probability;
} grayscale_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(grayscale_options, probability, 0.2, 0, 1, "probability of a grey image"), VST_OPTION_END};

/* Random numbers: whether to apply. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const grayscale_options *self = opaque;
    (void)scratch;
    if (vst_random_uniform(random) < self->probability) vst_image_grayscale(image);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_grayscale;
const vst_augmentation vsti_augmentation_grayscale = {
    .name = "grayscale",
    .help = "conversion to grey",
    .options = options,
    .options_size = sizeof(grayscale_options),
    .apply = apply,
};
