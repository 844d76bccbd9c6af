/* The evaluation transform and the conversion to floats. */
#include "datasets/loader/transform.h"

#include <math.h>

#include "vision/image/geometry.h"
#include "vision/image/resize.h"
#include "vision/kernels/kernels.h"

#define LIMIT UINT64_C(64000000) /* pixels, as the decoders' default */

static void swap(vst_image *a, vst_image *b) {
    const vst_image image = *a;
    *a = *b;
    *b = image;
}

/* rest / 2, rounded to even as Python's round */
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

/* The centred range of `size` pixels, or all pixels if there are fewer. */
static void find_middle(int all, int size, int *first, int *count) {
    *first = half(above_zero(all - size));
    *count = all < size ? all : size;
}

/* Maximum size for which facebookresearch/deit does not resize: zooming in would lose a tenth of few pixels. */
enum { SMALL = 32 };
static bool is_kept(const vst_evaluation_view *view, int height, int width) {
    return view->size <= SMALL && height == view->size && width == view->size;
}

vst_status vst_evaluation_begin(const vst_evaluation_view *view, int height, int width, vst_resize_window *window,
                                vst_box *part) {
    const double crop = view->crop_pct > 0 && !is_kept(view, height, width) ? view->crop_pct : 1;
    const int side = (int)floor(view->size / crop);
    *window = (vst_resize_window){.in_height = height, .in_width = width, .filter = view->filter};
    vst_resize_shorter(height, width, side, &window->height, &window->width);
    if ((window->height != height || window->width != width) &&
        (uint64_t)window->height * (uint64_t)window->width > LIMIT)
        return vst_fail(
            VST_ERROR_LIMIT,
            "an image of %d x %d pixels (height x width) is too narrow: resized to %d x %d it would have more than "
            "%llu pixels",
            height, width, window->height, window->width, (unsigned long long)LIMIT);
    find_middle(window->height, view->size, &window->box.top, &window->box.height);
    find_middle(window->width, view->size, &window->box.left, &window->box.width);
    *part = vst_resize_source(window);
    return VST_OK;
}

vst_status vst_evaluation_finish(const vst_evaluation_view *view, const vst_resize_window *window, vst_image *image,
                                 vst_image scratch[2]) {
    vst_status status = VST_OK;
    if (window->height != window->in_height || window->width != window->in_width) {
        VST_TRY(vst_image_resize_window(image, window, &scratch[0], &scratch[1]));
        swap(image, &scratch[1]);
    }
    VST_TRY(vst_image_centre_crop(image, view->size, view->size, &scratch[0]));
out:
    return status;
}

vst_status vst_image_evaluation_view(const vst_evaluation_view *view, vst_image *image, vst_image scratch[2]) {
    vst_resize_window window;
    vst_box part;
    const vst_status status = vst_evaluation_begin(view, image->height, image->width, &window, &part);
    return status == VST_OK ? vst_evaluation_finish(view, &window, image, scratch) : status;
}

void vst_image_to_floats(const vst_image *image, float *out) {
    vsti_get_kernels()->unit_floats(image->pixels, image->channels, out, (int64_t)image->height * image->width);
}
