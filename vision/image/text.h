/* Small letters for captions of pictures. Internal to this folder. */
#ifndef VISTILL_VISION_IMAGE_TEXT_H
#define VISTILL_VISION_IMAGE_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { VSTI_GLYPH_HEIGHT = 8 };

/* Draws dark text from `pixels` on, as far as `width` pixels go, VSTI_GLYPH_HEIGHT rows high; a row has `stride` bytes.
 * Letters other than ASCII's become '?'. */
void vsti_draw_text(uint8_t *pixels, size_t stride, int channels, int width, const char *text);

#endif
