/* libFuzzer target: decoding a PNG. A decoded image must be unchanged after encoding and decoding it again. Build with
 * clang -fsanitize=fuzzer,address,undefined. */
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const vst_image_limits limits = {.pixels = 1 << 20};
    vst_image image = {0}, again = {0};
    uint8_t *encoded = NULL;
    size_t encoded_size = 0;
    if (vst_png_decode(data, size, 0, &limits, &image) != VST_OK) return 0;
    if (vst_png_encode(&image, &encoded, &encoded_size) != VST_OK) abort();
    if (vst_png_decode(encoded, encoded_size, 0, &limits, &again) != VST_OK) abort();
    if (again.channels != image.channels || again.height != image.height || again.width != image.width) abort();
    if (memcmp(again.pixels, image.pixels, (size_t)image.channels * (size_t)image.height * (size_t)image.width))
        abort();
    vst_free(encoded);
    vst_image_clear(&image);
    vst_image_clear(&again);
    return 0;
}
