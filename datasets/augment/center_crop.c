/* torchvision's CenterCrop(size); smaller images are padded with black. */
#include <math.h>

#include "datasets/augment/operations.h"

typedef struct center_crop_options {
    int size;
} center_crop_options;

static const vst_option options[] = {
    VST_OPTION_INT(center_crop_options, size, 224, 1, 8192, "height and width of the result in pixels"),
    VST_OPTION_END};

/* The crop along one axis: all of it if `have` is smaller than `want`. Halves are rounded to even, as in Python. */
static void centred_range(int have, int want, int *start, int *length) {
    *length = have < want ? have : want;
    *start = (int)nearbyint((have - *length) / 2.0);
}

static void crop(const void *opaque, vst_random *random, int height, int width, vst_box *box) {
    const center_crop_options *self = opaque;
    (void)random;
    centred_range(height, self->size, &box->top, &box->height);
    centred_range(width, self->size, &box->left, &box->width);
}

/* Uses no random numbers. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const center_crop_options *self = opaque;
    (void)random;
    const int rows = self->size - image->height, columns = self->size - image->width;
    if (rows == 0 && columns == 0) return VST_OK; /* not negative, because `crop` has already been applied */
    const vst_status status = vst_image_pad(image, rows / 2, columns / 2, rows - rows / 2, columns - columns / 2,
                                            VST_BORDER_CONSTANT, NULL, &scratch->images[0]);
    if (status == VST_OK) vsti_swap_images(image, &scratch->images[0]);
    return status;
}

extern const vst_augmentation vsti_augmentation_center_crop;
const vst_augmentation vsti_augmentation_center_crop = {
    .name = "center_crop",
    .help = "centre crop, padded if necessary",
    .options = options,
    .options_size = sizeof(center_crop_options),
    .crop = crop,
    .apply = apply,
};
