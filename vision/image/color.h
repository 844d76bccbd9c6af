/* Operations on pixel values: Pillow 11's ImageOps, ImageEnhance and GaussianBlur and timm's solarize_add, bit for bit.
 * All work in place on grey and RGB images and keep the number of channels. They are single-threaded and may be called
 * from several threads on different images. Functions that need a copy take `scratch`, {0} or any other image, which is
 * overwritten; its memory is reused, so that repeated calls do not allocate. Only these can fail, for lack of memory;
 * the image is then unchanged. */
#ifndef VISTILL_VISION_IMAGE_COLOR_H
#define VISTILL_VISION_IMAGE_COLOR_H

#include "vision/image/image.h"

/* convert("L").convert("RGB"), torchvision's Grayscale(3): every channel is set to the luminance. A grey image is
 * unchanged. */
void vst_image_grayscale(vst_image *image);

/* ImageEnhance.X(image).enhance(factor): blends between a degenerate image (factor 0) and the image (factor 1); factors
 * above 1 extrapolate. The degenerate image is, for color, the grey image; for contrast, the mean of the grey image;
 * for brightness, black; for sharpness, a smoothed image. factor must be finite; it may be negative. It is rounded to
 * float, as in Pillow. */
void vst_image_color(vst_image *image, double factor);
void vst_image_contrast(vst_image *image, double factor);
void vst_image_brightness(vst_image *image, double factor);
VST_NODISCARD vst_status vst_image_sharpness(vst_image *image, double factor, vst_image *scratch);

/* ImageOps.autocontrast(image) and equalize(image): each channel with its own histogram. */
void vst_image_autocontrast(vst_image *image);
void vst_image_equalize(vst_image *image);

/* Keeps the `bits` highest bits of every value. 8 or more: unchanged; 0 or less: black, as Pillow 11's
 * ImageOps.posterize and timm's RandAugment at its highest level. */
void vst_image_posterize(vst_image *image, int bits);
/* Inverts values of `threshold` or more: ImageOps.solarize. */
void vst_image_solarize(vst_image *image, int threshold);
/* timm's solarize_add: adds `add` >= 0 to values below `threshold` (timm: 128), clamped to 255. */
void vst_image_solarize_add(vst_image *image, int add, int threshold);
/* 255 - value. */
void vst_image_invert(vst_image *image);

/* image.filter(ImageFilter.GaussianBlur(radius)): three box blurs with fractional edges in each direction. radius: 0 or
 * more, finite (else VST_ERROR_ARGUMENT). */
VST_NODISCARD vst_status vst_image_gaussian_blur(vst_image *image, double radius, vst_image *scratch);

#endif
