/* Random crop of the image's own size after zero padding, as torchvision's RandomCrop(size, padding=p). */
#include <string.h>

#include "datasets/augment/augment.h"

typedef struct crop_options {
    int padding;
} crop_options;

static const vst_option options[] = {
    VST_OPTION_INT(crop_options, padding, 4, 0, 4096, "black pixels added on each side before cropping"),
    VST_OPTION_END};

/* Row y of the result: row y + dy of the source, moved left by dx; what comes from outside is black. */
static void shift_row(vst_image *image, int y, int dy, int dx) {
    const size_t channels = (size_t)image->channels, stride = (size_t)image->width * channels;
    uint8_t *to = image->pixels + (size_t)y * stride;
    const int distance = dx < 0 ? -dx : dx;
    if (y + dy < 0 || y + dy >= image->height || distance >= image->width) {
        memset(to, 0, stride);
        return;
    }
    const uint8_t *from = image->pixels + (size_t)(y + dy) * stride;
    const size_t gap = (size_t)distance * channels;
    if (dx >= 0) {
        memmove(to, from + gap, stride - gap);
        memset(to + stride - gap, 0, gap);
    } else {
        memmove(to + gap, from, stride - gap);
        memset(to, 0, gap);
    }
}

static vst_status apply(const void *opaque, vst_random *random, vst_image *image) {
    const crop_options *self = opaque;
    const uint32_t places = 2 * (uint32_t)self->padding + 1;
    const int dy = (int)vst_random_below(random, places) - self->padding; /* of the crop's corner, from the image's */
    const int dx = (int)vst_random_below(random, places) - self->padding;
    /* In place: rows are visited so that none is overwritten before it is read. */
    if (dy >= 0)
        for (int y = 0; y < image->height; y++) shift_row(image, y, dy, dx);
    else
        for (int y = image->height; y-- > 0;) shift_row(image, y, dy, dx);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_crop;
const vst_augmentation vsti_augmentation_crop = {
    .name = "crop",
    .help = "random crop of the same size after zero padding",
    .options = options,
    .options_size = sizeof(crop_options),
    .apply = apply,
};
