/* Random vertical flip. */
#include <string.h>

#include "datasets/augment/augment.h"

typedef struct vertical_flip_options {
    double probability;
} vertical_flip_options;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(vertical_flip_options, probability, 0.5, 0, 1, "probability of a flip"), VST_OPTION_END};

/* Swaps two rows through a small buffer. */
static void swap_rows(uint8_t *a, uint8_t *b, size_t bytes) {
    uint8_t kept[256];
    for (size_t at = 0; at < bytes; at += sizeof kept) {
        const size_t part = bytes - at < sizeof kept ? bytes - at : sizeof kept;
        memcpy(kept, a + at, part);
        memcpy(a + at, b + at, part);
        memcpy(b + at, kept, part);
    }
}

/* Random numbers: whether to apply. */
static vst_status apply(const void *opaque, vst_random *random, vst_image *image, vst_augment_scratch *scratch) {
    const vertical_flip_options *self = opaque;
    (void)scratch;
    if (vst_random_uniform(random) >= self->probability) return VST_OK;
    const size_t row = (size_t)image->width * (size_t)image->channels;
    uint8_t *top = image->pixels, *bottom = top + (size_t)(image->height - 1) * row;
    for (; top < bottom; top += row, bottom -= row) swap_rows(top, bottom, row);
    return VST_OK;
}

extern const vst_augmentation vsti_augmentation_vertical_flip;
const vst_augmentation vsti_augmentation_vertical_flip = {
    .name = "vertical_flip",
    .help = "vertical flip",
    .options = options,
    .options_size = sizeof(vertical_flip_options),
    .apply = apply,
};
