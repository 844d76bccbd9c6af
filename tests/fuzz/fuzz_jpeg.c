/* libFuzzer target: decoding a JPEG as a whole, in part, scaled and turned. If strict decoding succeeds, a part must
 * have the same pixels; no input may end the program, leak memory or cause a read beyond the input. Build with clang
 * -fsanitize=fuzzer,address,undefined. */
#include <stdlib.h>
#include <string.h>

#include "vision/image/decode.h"
#include "vision/image/geometry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const vst_image_limits limits = {.pixels = 1 << 18, .scans = 20};

/* A box derived from the input. */
static vst_box choose_box(const uint8_t *data, size_t size, const vst_image *whole) {
    const unsigned a = data[size / 2], b = data[size / 3], c = data[size - 1], d = data[size / 5];
    vst_box box;
    box.height = 1 + (int)(a * (unsigned)(whole->height - 1) / 255);
    box.width = 1 + (int)(b * (unsigned)(whole->width - 1) / 255);
    box.top = (int)(c * (unsigned)(whole->height - box.height) / 255);
    box.left = (int)(d * (unsigned)(whole->width - box.width) / 255);
    return box;
}

static void compare_part(const uint8_t *data, size_t size, const vst_image *whole) {
    vst_image part = {0}, expected = {0};
    const vst_box box = choose_box(data, size, whole);
    const vst_decode_options options = {.limits = &limits, .crop = &box};
    bool damaged = false;
    if (vst_image_decode(data, size, &options, &part, &damaged) != VST_OK || damaged) abort();
    if (vst_image_crop(whole, box, &expected) != VST_OK) abort();
    if (part.channels != whole->channels || part.height != box.height || part.width != box.width) abort();
    if (memcmp(part.pixels, expected.pixels, (size_t)part.channels * (size_t)box.height * (size_t)box.width)) abort();
    vst_image_clear(&part);
    vst_image_clear(&expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vst_image image = {0}, small = {0};
    vst_image_facts facts;
    bool damaged = false;
    const vst_decode_options options = {.limits = &limits, .allow_damaged = true},
                             turned = {.limits = &limits, .turn = true, .channels = 1, .allow_damaged = true};
    const vst_decode_options scaled = {.limits = &limits, .least_height = 3, .least_width = 3, .channels = 3};
    const vst_status known = vst_image_inspect(data, size, &limits, &facts);
    if (known == VST_OK && facts.format != VST_IMAGE_JPEG) return 0; /* covered by fuzz_png */
    const vst_status status = vst_image_decode(data, size, &options, &image, &damaged);
    if (status == VST_OK) {
        if (known != VST_OK || facts.height != image.height || facts.width != image.width ||
            facts.channels != image.channels)
            abort();
        if (!damaged) compare_part(data, size, &image);
        if (vst_image_decode(data, size, &turned, &small, NULL) != VST_OK) abort();
    }
    if (vst_image_decode(data, size, &scaled, &small, NULL) == VST_OK && status != VST_OK) abort();
    vst_image_clear(&image);
    vst_image_clear(&small);
    return 0;
}
