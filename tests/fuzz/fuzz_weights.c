/* libFuzzer target: the weights reader. Accepted files must satisfy everything that the header promises. The checksums
 * of an archive would keep mutations away from its pickle, so an input that starts like a pickle is also tried inside
 * an archive. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "vision/tensor/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STORAGE = 48, NAME_MAX_BYTES = 16, LOCAL = 30, CENTRAL = 46, END = 22 };

static void check_tensor(const vst_weights *weights, const vst_tensor *tensor) {
    const int64_t count = vst_shape_count(&tensor->shape);
    float first, last;
    if (count < 0 || !*tensor->name || vst_weights_find(weights, tensor->name) != tensor || !tensor->data) abort();
    if (count == 0) return;
    vst_to_float(&first, tensor->data, tensor->dtype, 1);
    vst_to_float(&last, (const char *)tensor->data + (size_t)(count - 1) * vst_dtype_size(tensor->dtype), tensor->dtype,
                 1);
}

static void try_file(const uint8_t *data, size_t size) {
    vst_weights *weights;
    if (vst_weights_parse(&weights, "fuzz", data, size, NULL) != VST_OK) {
        if (weights || !*vst_error_message()) abort();
        return;
    }
    for (size_t i = 0; i < vst_weights_count(weights); i++) check_tensor(weights, vst_weights_at(weights, i));
    for (size_t i = 0; i < vst_weights_skipped_count(weights); i++)
        if (!*vst_weights_skipped_at(weights, i)) abort();
    vst_weights_close(weights);
}

/* ---- A stored archive of the input and one storage ---- */

static uint8_t *put_number(uint8_t *to, size_t number, int width) {
    for (int i = 0; i < width; i++) *to++ = (uint8_t)(number >> (8 * i));
    return to;
}

/* Writes a local header, or the directory entry of the member at `offset`. */
static uint8_t *put_header(uint8_t *to, const char *name, const uint8_t *data, size_t size, int central,
                           size_t offset) {
    to = put_number(to, central ? 0x02014b50 : 0x04034b50, 4);
    if (central) to = put_number(to, 20, 2);
    to = put_number(to, 20, 2);
    to = put_number(to, 0, 4); /* flags, method */
    to = put_number(to, 0, 4); /* time */
    to = put_number(to, crc32(0, data, (uInt)size), 4);
    to = put_number(to, size, 4);
    to = put_number(to, size, 4);
    to = put_number(to, strlen(name), 4); /* no extra field */
    if (central) {
        memset(to, 0, 10);
        to = put_number(to + 10, offset, 4);
    }
    memcpy(to, name, strlen(name));
    return to + strlen(name);
}

static void try_in_archive(const uint8_t *data, size_t size) {
    static const uint8_t storage[STORAGE] = "a storage of bytes, or of halves, floats, longs";
    static const char pickle_name[] = "m/data.pkl", storage_name[] = "m/data/0";
    uint8_t *file = malloc(size + STORAGE + 2 * (LOCAL + CENTRAL + 2 * NAME_MAX_BYTES) + END);
    if (!file) abort();
    uint8_t *at = put_header(file, pickle_name, data, size, 0, 0);
    memcpy(at, data, size);
    at += size;
    const size_t second = (size_t)(at - file);
    at = put_header(at, storage_name, storage, STORAGE, 0, 0);
    memcpy(at, storage, STORAGE);
    at += STORAGE;
    const size_t directory = (size_t)(at - file);
    at = put_header(at, pickle_name, data, size, 1, 0);
    at = put_header(at, storage_name, storage, STORAGE, 1, second);
    const size_t end = (size_t)(at - file);
    at = put_number(at, 0x06054b50, 8);
    at = put_number(at, 2, 2);
    at = put_number(at, 2, 2);
    at = put_number(at, end - directory, 4);
    at = put_number(at, directory, 4);
    at = put_number(at, 0, 2);
    try_file(file, (size_t)(at - file));
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_file(data, size);
    if (size > 0 && data[0] == 0x80) try_in_archive(data, size);
    return 0;
}
