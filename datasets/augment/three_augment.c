/* DeiT III's 3-Augment (https://arxiv.org/abs/2204.07118, DeiT's augment.py): one of greyscale, solarization and blur
 * with equal probability. The colour jitter that follows in DeiT's code is a separate policy, color_jitter. */
#include "datasets/augment/operations.h"
#include "vision/image/color.h"

typedef struct three_augment_options {
    int threshold;
    double radius_min, radius_max;
} three_augment_options;

static const vst_option options[] = {
    VST_OPTION_INT(three_augment_options, threshold, 128, 0, 256, "minimum value that solarization inverts"),
    VST_OPTION_DOUBLE(three_augment_options, radius_min, 0.1, 0, 100, "minimum radius of the blur in pixels"),
    VST_OPTION_DOUBLE(three_augment_options, radius_max, 2, 0, 100, "maximum radius of the blur in pixels"),
    VST_OPTION_END};

static vst_status check(const void *opaque) {
    const three_augment_options *self = opaque;
    return vsti_check_range("radius_min", self->radius_min, "radius_max", self->radius_max);
}

/* Random numbers, in order: which operation, radius. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const three_augment_options *self = opaque;
    const int chosen = vsti_pick(vst_random_uniform(random), 3);
    const double radius = vsti_uniform(vst_random_uniform(random), self->radius_min, self->radius_max);
    if (chosen == 0) vst_image_grayscale(image);
    else if (chosen == 1) vst_image_solarize(image, self->threshold);
    else return vst_image_gaussian_blur(image, radius, &scratch->images[0]);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_three_augment;
const vst_augmentation vsti_augmentation_three_augment = {
    .name = "three_augment",
    .help = "one of grayscale, solarize and blur, DeiT III's",
    .options = options,
    .options_size = sizeof(three_augment_options),
    .check = check,
    .apply = apply,
};
