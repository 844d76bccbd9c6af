/* torchvision's Resize(size): resizes the shorter side to a given size. */
#include "vision/image/resize.h"
#include "datasets/augment/operations.h"

typedef struct resize_options {
    int size, interpolation;
} resize_options;

static const vst_option options[] = {
    VST_OPTION_INT(resize_options, size, 256, 1, 8192,
                   "length of the shorter side in pixels; the aspect ratio is kept"),
    VST_OPTION_CHOICE(resize_options, interpolation, "bicubic", VST_CHOICE_TEXT(VSTI_RESIZE_FILTERS), "filter"),
    VST_OPTION_END};

/* Random numbers: the filter. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const resize_options *self = opaque;
    const vst_filter filter = vsti_filter(self->interpolation, vst_random_uniform(random));
    int height, width;
    vst_resize_shorter(image->height, image->width, self->size, &height, &width);
    const vst_status status =
        vst_image_resize(image, NULL, height, width, filter, &scratch->images[1], &scratch->images[0]);
    if (status == VST_OK) vsti_swap_images(image, &scratch->images[0]);
    return status;
}

extern const vst_augmentation vsti_augmentation_resize;
const vst_augmentation vsti_augmentation_resize = {
    .name = "resize",
    .help = "resizes the shorter side to a given length",
    .options = options,
    .options_size = sizeof(resize_options),
    .apply = apply,
};
