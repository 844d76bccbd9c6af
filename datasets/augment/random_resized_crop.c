/* torchvision's RandomResizedCrop, timm's RandomResizedCropAndInterpolation: resizes a random part of the image to a
 * fixed size. */
#include <math.h>

#include "datasets/augment/operations.h"
#include "vision/image/resize.h"

typedef struct random_resized_crop_options {
    int size;
    double scale_min, scale_max, ratio_min, ratio_max;
    int interpolation;
} random_resized_crop_options;

static const vst_option options[] = {
    VST_OPTION_INT(random_resized_crop_options, size, 224, 1, 8192, "height and width of the result in pixels"),
    VST_OPTION_DOUBLE(random_resized_crop_options, scale_min, 0.08, 0, 1, "minimum fraction of the image's area"),
    VST_OPTION_DOUBLE(random_resized_crop_options, scale_max, 1, 0, 1, "maximum fraction of the image's area"),
    VST_OPTION_DOUBLE(random_resized_crop_options, ratio_min, 0.75, 0.01, 100, "minimum width / height of the part"),
    VST_OPTION_DOUBLE(random_resized_crop_options, ratio_max, 1.3333333333333333, 0.01, 100,
                      "maximum width / height of the part"),
    VST_OPTION_CHOICE(random_resized_crop_options, interpolation, "bicubic", VST_CHOICE_TEXT(VSTI_RESIZE_FILTERS),
                      "filter of the resizing"),
    VST_OPTION_END};

static vst_status check(const void *opaque) {
    const random_resized_crop_options *self = opaque;
    const vst_status status = vsti_check_range("scale_min", self->scale_min, "scale_max", self->scale_max);
    if (status != VST_OK) return status;
    return vsti_check_range("ratio_min", self->ratio_min, "ratio_max", self->ratio_max);
}

enum { TRIES = 10 };

/* Python's round(): ties to even. At least 1; timm fails on images of a few pixels instead. */
static int pixels(double length) { return (int)fmax(1, nearbyint(length)); }

/* The largest centred box with an allowed aspect ratio. */
static vst_box centred_box(const random_resized_crop_options *self, int height, int width) {
    const double shape = (double)width / height;
    vst_box box = {.height = height, .width = width};
    if (shape < self->ratio_min) box.height = pixels(width / self->ratio_min);
    else if (shape > self->ratio_max) box.width = pixels(height * self->ratio_max);
    box.top = (height - box.height) / 2;
    box.left = (width - box.width) / 2;
    return box;
}

/* Draws area and aspect ratio for up to TRIES tries. The first box that fits is used, and its row and column are drawn.
 */
static void crop(const void *opaque, vst_random *random, int height, int width, vst_box *box) {
    const random_resized_crop_options *self = opaque;
    for (int i = 0; i < TRIES; i++) {
        const double area =
            vsti_uniform(vst_random_uniform(random), self->scale_min, self->scale_max) * ((double)width * height);
        const double shape = exp(vsti_uniform(vst_random_uniform(random), log(self->ratio_min), log(self->ratio_max)));
        box->width = pixels(sqrt(area * shape));
        box->height = pixels(sqrt(area / shape));
        if (box->width > width || box->height > height) continue;
        box->top = vsti_pick(vst_random_uniform(random), height - box->height + 1);
        box->left = vsti_pick(vst_random_uniform(random), width - box->width + 1);
        return;
    }
    *box = centred_box(self, height, width);
}

/* Random numbers: the filter. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const random_resized_crop_options *self = opaque;
    const vst_filter filter = vsti_filter(self->interpolation, vst_random_uniform(random));
    const vst_status status =
        vst_image_resize(image, NULL, self->size, self->size, filter, &scratch->images[1], &scratch->images[0]);
    if (status == VST_OK) vsti_swap_images(image, &scratch->images[0]);
    return status;
}

extern const vst_augmentation vsti_augmentation_random_resized_crop;
const vst_augmentation vsti_augmentation_random_resized_crop = {
    .name = "random_resized_crop",
    .help = "random part of the image, resized to a fixed size",
    .options = options,
    .options_size = sizeof(random_resized_crop_options),
    .check = check,
    .crop = crop,
    .apply = apply,
};
