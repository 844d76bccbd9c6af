/* The transform of evaluation and the conversion to floats. */
#include "datasets/loader/transform.h"

#include <math.h>

#include "vision/image/geometry.h"

#define LIMIT UINT64_C(64000000) /* pixels, as a decoder's */

static void swap(vst_image *a, vst_image *b) {
    const vst_image image = *a;
    *a = *b;
    *b = image;
}

/* rest / 2, a half rounded to even as Python's round does. */
static int half(int rest) { return rest / 2 + (rest % 2 && rest / 2 % 2); }

static int above_zero(int value) { return value > 0 ? value : 0; }

vst_status vst_image_centre_crop(vst_image *image, int height, int width, vst_image *scratch) {
    vst_status status = VST_OK;
    const int y = above_zero(height - image->height), x = above_zero(width - image->width);
    if (y || x) {
        VST_TRY(vst_image_pad(image, y / 2, x / 2, (y + 1) / 2, (x + 1) / 2, VST_BORDER_CONSTANT, NULL, scratch));
        swap(image, scratch);
    }
    if (image->height == height && image->width == width) return VST_OK;
    VST_TRY(vst_image_crop(image, (vst_box){half(image->height - height), half(image->width - width), height, width},
                           image));
out:
    return status;
}

vst_status vst_image_evaluation_view(const vst_evaluation_view *view, vst_image *image, vst_image scratch[2]) {
    vst_status status = VST_OK;
    const int side = (int)floor(view->size / (view->crop_pct > 0 ? view->crop_pct : 1));
    int height, width;
    vst_resize_shorter(image->height, image->width, side, &height, &width);
    if (height != image->height || width != image->width) {
        if ((uint64_t)height * (uint64_t)width > LIMIT)
            VST_TRY(vst_fail(VST_ERROR_LIMIT,
                             "an image of %d x %d pixels would be resized to %d x %d: it is too narrow", image->width,
                             image->height, width, height));
        VST_TRY(vst_image_resize(image, NULL, height, width, view->filter, &scratch[0], &scratch[1]));
        swap(image, &scratch[1]);
    }
    VST_TRY(vst_image_centre_crop(image, view->size, view->size, &scratch[0]));
out:
    return status;
}

/* ---- Floats ---- */

/* Every x / 255, divided by the compiler as by the processor. A table: three planes from one row of pixels leave vector
 * units nothing to gain over it. */
#define ONE(i) (float)(i) / 255.0f
#define FOUR(i) ONE(i), ONE((i) + 1), ONE((i) + 2), ONE((i) + 3)
#define SIXTEEN(i) FOUR(i), FOUR((i) + 4), FOUR((i) + 8), FOUR((i) + 12)
#define SIXTY_FOUR(i) SIXTEEN(i), SIXTEEN((i) + 16), SIXTEEN((i) + 32), SIXTEEN((i) + 48)
static const float shares[256] = {SIXTY_FOUR(0), SIXTY_FOUR(64), SIXTY_FOUR(128), SIXTY_FOUR(192)};

void vst_image_to_floats(const vst_image *image, float *out) {
    const size_t count = (size_t)image->height * (size_t)image->width;
    const uint8_t *in = image->pixels;
    if (image->channels == 1) {
        for (size_t i = 0; i < count; i++) out[i] = shares[in[i]];
        return;
    }
    float *red = out, *green = out + count, *blue = green + count;
    for (size_t i = 0; i < count; i++, in += 3) {
        red[i] = shares[in[0]];
        green[i] = shares[in[1]];
        blue[i] = shares[in[2]];
    }
}
