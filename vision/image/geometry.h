/* Geometric transforms: crop, pad, flip, rotation, affine maps, bit for bit as Pillow 11 and torchvision. Functions are
 * single-threaded and may be called from several threads on different images. `in` and `out` must be different images
 * unless the comment says otherwise. `out` is {0} or an image to overwrite, whose memory is reused; on failure its
 * contents are unspecified and the caller still has to clear it. */
#ifndef VISTILL_VISION_IMAGE_GEOMETRY_H
#define VISTILL_VISION_IMAGE_GEOMETRY_H

#include "vision/image/image.h"

/* Crops the image to `box`, which must lie within the image (else VST_ERROR_ARGUMENT). out may be in. For a crop beyond
 * the edge, pad first, as torchvision's RandomCrop does. */
VST_NODISCARD vst_status vst_image_crop(const vst_image *in, vst_box box, vst_image *out);

typedef enum vst_border {
    VST_BORDER_CONSTANT, /* `fill` */
    VST_BORDER_EDGE,     /* repeats the pixel at the edge */
    VST_BORDER_REFLECT /* mirrors without repeating the edge (NumPy's "reflect"), several times if the border is wide */
} vst_border;

/* torchvision's pad: adds rows and columns, 0 or more on each side. `fill` has one value per channel of `in` (NULL: 0)
 * and is used by VST_BORDER_CONSTANT only. */
VST_NODISCARD vst_status vst_image_pad(const vst_image *in, int top, int left, int bottom, int right, vst_border border,
                                       const uint8_t *fill, vst_image *out);

/* Flips the image horizontally, in place. */
void vst_image_flip(vst_image *image);

/* Applies EXIF's orientation 1 … 8 (Pillow's exif_transpose). Any other value is treated as 1: the image is copied. */
VST_NODISCARD vst_status vst_image_turn(const vst_image *in, int orientation, vst_image *out);

/* Interpolation and fill colour of the transforms below. */
typedef struct vst_sampling {
    vst_filter filter;   /* VST_FILTER_NEAREST, _BILINEAR or _BICUBIC; any other: VST_ERROR_ARGUMENT */
    const uint8_t *fill; /* value of pixels outside the input, one per channel; NULL: 0 */
} vst_sampling;

/* Pillow's in.transform((width, height), AFFINE, matrix, filter, fillcolor=fill): output pixel (x, y) is the input at
 * (m[0] x' + m[1] y' + m[2], m[3] x' + m[4] y' + m[5]), x' = x + 0.5, y' = y + 0.5. No antialiasing when shrinking. */
VST_NODISCARD vst_status vst_image_affine(const vst_image *in, const double matrix[6], int height, int width,
                                          vst_sampling sampling, vst_image *out);

/* Pillow's in.rotate(degrees, filter, fillcolor=fill): rotates counter-clockwise around the centre and keeps the size.
 * Multiples of 90 degrees are exact where the size allows it. */
VST_NODISCARD vst_status vst_image_rotate(const vst_image *in, double degrees, vst_sampling sampling, vst_image *out);

/* timm's shear_x, shear_y, and translate_x_abs, translate_y_abs (timm's _rel: pixels = fraction * width or height). A
 * positive value moves the content left or up. */
VST_NODISCARD vst_status vst_image_shear_x(const vst_image *in, double factor, vst_sampling sampling, vst_image *out);
VST_NODISCARD vst_status vst_image_shear_y(const vst_image *in, double factor, vst_sampling sampling, vst_image *out);
VST_NODISCARD vst_status vst_image_translate_x(const vst_image *in, double pixels, vst_sampling sampling,
                                               vst_image *out);
VST_NODISCARD vst_status vst_image_translate_y(const vst_image *in, double pixels, vst_sampling sampling,
                                               vst_image *out);

#endif
