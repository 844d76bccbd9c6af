/* Operations on the values of pixels: Pillow 11's ImageOps, ImageEnhance and GaussianBlur and timm's solarize_add, bit
 * for bit. All work in place, on grey and on RGB images, and keep the number of channels; on the calling thread alone;
 * thread-safe on different images. Those that need a copy take `scratch`, {0} or any other image: it is overwritten and
 * keeps its memory, so that repeated calls do not allocate; only they can fail, for lack of memory, and the image is
 * then as it was. */
#ifndef VISTILL_VISION_IMAGE_COLOR_H
#define VISTILL_VISION_IMAGE_COLOR_H

#include "vision/image/image.h"

/* convert("L").convert("RGB"), torchvision's Grayscale(3): every channel gets the luminance. A grey image stays as it
 * is. */
void vst_image_grayscale(vst_image *image);

/* ImageEnhance.X(image).enhance(factor): 0 the degenerate image, 1 the image itself, beyond 1 away from the former.
 * color: towards the grey image; contrast: towards its mean; brightness: towards black; sharpness: towards a smoothed
 * image. factor is finite, of either sign (rounded to float, as Pillow does). */
void vst_image_color(vst_image *image, double factor);
void vst_image_contrast(vst_image *image, double factor);
void vst_image_brightness(vst_image *image, double factor);
VST_NODISCARD vst_status vst_image_sharpness(vst_image *image, double factor, vst_image *scratch);

/* ImageOps.autocontrast(image) and equalize(image): each channel by its own histogram. */
void vst_image_autocontrast(vst_image *image);
void vst_image_equalize(vst_image *image);

/* Keeps the `bits` highest bits of every value: 8 or more changes nothing, 0 or less gives black, as Pillow 11's
 * ImageOps.posterize and timm's RandAugment at its highest level. */
void vst_image_posterize(vst_image *image, int bits);
/* Inverts values of `threshold` or more: ImageOps.solarize. */
void vst_image_solarize(vst_image *image, int threshold);
/* timm's solarize_add: adds `add` to values below `threshold` (timm: 128), 255 at most; add is 0 or more. */
void vst_image_solarize_add(vst_image *image, int add, int threshold);
/* 255 - value. */
void vst_image_invert(vst_image *image);

/* image.filter(ImageFilter.GaussianBlur(radius)): three passes of a box with fractional edges in either direction.
 * radius: 0 or more, finite (else VST_ERROR_ARGUMENT). */
VST_NODISCARD vst_status vst_image_gaussian_blur(vst_image *image, double radius, vst_image *scratch);

#endif
