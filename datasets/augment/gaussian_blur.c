/* Gaussian blur with a random radius, by Pillow's GaussianBlur. The defaults are those of DeiT's augment.py. */
#include "datasets/augment/operations.h"
#include "vision/image/color.h"

typedef struct gaussian_blur_options {
    double probability, radius_min, radius_max;
} gaussian_blur_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(gaussian_blur_options, probability, 0.1, 0, 1, "probability of a blur"),
    VST_OPTION_DOUBLE(gaussian_blur_options, radius_min, 0.1, 0, 100, "minimum radius (standard deviation) in pixels"),
    VST_OPTION_DOUBLE(gaussian_blur_options, radius_max, 2, 0, 100, "maximum radius in pixels"), VST_OPTION_END};

static vst_status check(const void *opaque) {
    const gaussian_blur_options *self = opaque;
    return vsti_check_range("radius_min", self->radius_min, "radius_max", self->radius_max);
}

/* Random numbers, in order: whether to apply, radius. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const gaussian_blur_options *self = opaque;
    const bool applied = vst_random_uniform(random) < self->probability;
    const double radius = vsti_uniform(vst_random_uniform(random), self->radius_min, self->radius_max);
    return applied ? vst_image_gaussian_blur(image, radius, &scratch->images[0]) : VST_OK;
}

extern const vst_augmentation vsti_augmentation_gaussian_blur;
const vst_augmentation vsti_augmentation_gaussian_blur = {
    .name = "gaussian_blur",
    .help = "blur of random radius",
    .options = options,
    .options_size = sizeof(gaussian_blur_options),
    .check = check,
    .apply = apply,
};
