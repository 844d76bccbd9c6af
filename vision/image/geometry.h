/* Moving pixels about: crops, borders, mirror images, turns, affine maps, as Pillow 11 and torchvision do it, bit for
 * bit. Run on the calling thread alone; thread-safe on different images. Where a function has `in` and `out`, they are
 * different images unless its comment allows the same; `out` is {0} or an image to be overwritten, whose memory is used
 * again. On failure `out` is unspecified, but still to be cleared by its owner. */
#ifndef VISTILL_VISION_IMAGE_GEOMETRY_H
#define VISTILL_VISION_IMAGE_GEOMETRY_H

#include "vision/image/image.h"

/* Cuts `box` out; it lies within the image (else VST_ERROR_ARGUMENT). out may be in. For a crop that hangs over the
 * edge, pad first, as torchvision's RandomCrop does. */
VST_NODISCARD vst_status vst_image_crop(const vst_image *in, vst_box box, vst_image *out);

typedef enum vst_border {
    VST_BORDER_CONSTANT, /* `fill` */
    VST_BORDER_EDGE,     /* the pixel at the edge, repeated */
    VST_BORDER_REFLECT /* mirrored, the edge itself not repeated (numpy's "reflect"); as often as the border is wide */
} vst_border;

/* torchvision's pad: as many rows and columns on each side as said, none negative. fill: one value for each channel of
 * `in`; NULL: 0. Used by VST_BORDER_CONSTANT alone. */
VST_NODISCARD vst_status vst_image_pad(const vst_image *in, int top, int left, int bottom, int right, vst_border border,
                                       const uint8_t *fill, vst_image *out);

/* Mirrors left and right, in place. */
void vst_image_flip(vst_image *image);

/* Turns and mirrors an image so that it stands upright, given EXIF's orientation 1 … 8 (Pillow's exif_transpose); any
 * other value is taken for 1, a copy. */
VST_NODISCARD vst_status vst_image_turn(const vst_image *in, int orientation, vst_image *out);

/* How the transforms below find a value between pixels, and what stands where the input has none. */
typedef struct vst_sampling {
    vst_filter filter;   /* VST_FILTER_NEAREST, _BILINEAR or _BICUBIC; any other: VST_ERROR_ARGUMENT */
    const uint8_t *fill; /* one value for each channel of the image; NULL: 0 */
} vst_sampling;

/* Pillow's in.transform((width, height), AFFINE, matrix, filter, fillcolor=fill): output pixel (x, y) takes the value
 * at input (m[0] x' + m[1] y' + m[2], m[3] x' + m[4] y' + m[5]), x' = x + 0.5, y' = y + 0.5. No smoothing when it
 * shrinks. */
VST_NODISCARD vst_status vst_image_affine(const vst_image *in, const double matrix[6], int height, int width,
                                          vst_sampling sampling, vst_image *out);

/* Pillow's in.rotate(degrees, filter, fillcolor=fill): anticlockwise around the centre, the size stays. Multiples of a
 * right angle are exact where the size allows it. */
VST_NODISCARD vst_status vst_image_rotate(const vst_image *in, double degrees, vst_sampling sampling, vst_image *out);

/* timm's shear_x, shear_y, and translate_x_abs, translate_y_abs (timm's _rel: pixels = share * width or height). A
 * positive value moves the content left or up. */
VST_NODISCARD vst_status vst_image_shear_x(const vst_image *in, double factor, vst_sampling sampling, vst_image *out);
VST_NODISCARD vst_status vst_image_shear_y(const vst_image *in, double factor, vst_sampling sampling, vst_image *out);
VST_NODISCARD vst_status vst_image_translate_x(const vst_image *in, double pixels, vst_sampling sampling,
                                               vst_image *out);
VST_NODISCARD vst_status vst_image_translate_y(const vst_image *in, double pixels, vst_sampling sampling,
                                               vst_image *out);

#endif
