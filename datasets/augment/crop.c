/* torchvision's RandomCrop(size, padding=p, padding_mode=…): random crop after padding. */
#include "datasets/augment/operations.h"

typedef struct crop_options {
    int padding, size, mode;
} crop_options;

#define MODES(X) X(MODE_CONSTANT, "constant") X(MODE_REFLECT, "reflect")
enum { VST_CHOICE_ENUM(MODES) };
static const vst_option options[] = {
    VST_OPTION_INT(crop_options, padding, 4, 0, 4096, "pixels added on each side before cropping"),
    VST_OPTION_INT(crop_options, size, 0, 0, 8192, "height and width of the result in pixels; 0: the image's own"),
    VST_OPTION_CHOICE(crop_options, mode, "constant", VST_CHOICE_TEXT(MODES), "padding: black or the mirrored image"),
    VST_OPTION_END};

static int positive(int value) { return value > 0 ? value : 0; }

/* Random numbers, in order: row, column. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const crop_options *self = opaque;
    const int height = self->size ? self->size : image->height, width = self->size ? self->size : image->width;
    const int rows = image->height + 2 * self->padding - height, columns = image->width + 2 * self->padding - width;
    if (rows < 0 || columns < 0)
        return vst_fail(VST_ERROR_ARGUMENT,
                        "a picture of %d x %d pixels with a padding of %d is smaller than a crop of size "
                        "%d; put resize:size=%d before it",
                        image->height, image->width, self->padding, height, height);
    const int top = (int)vst_random_below(random, (uint32_t)rows + 1) - self->padding;
    const int left = (int)vst_random_below(random, (uint32_t)columns + 1) - self->padding;
    /* Pads only the sides that the crop extends beyond. */
    const int above = positive(-top), below = positive(top + height - image->height);
    const int before = positive(-left), after = positive(left + width - image->width);
    if (above || below || before || after) {
        const vst_border border = self->mode == MODE_REFLECT ? VST_BORDER_REFLECT : VST_BORDER_CONSTANT;
        const vst_status status = vst_image_pad(image, above, before, below, after, border, NULL, &scratch->images[0]);
        if (status != VST_OK) return status;
        vsti_swap_images(image, &scratch->images[0]);
    }
    return vst_image_crop(image, (vst_box){top + above, left + before, height, width}, image);
}

extern const vst_augmentation vsti_augmentation_crop;
const vst_augmentation vsti_augmentation_crop = {
    .name = "crop",
    .help = "random crop after padding",
    .options = options,
    .options_size = sizeof(crop_options),
    .apply = apply,
};
