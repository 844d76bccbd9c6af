/* Writes scalars as messages of TensorBoard's event files. */
#include "recipes/train/events.h"

#include <math.h>
#include <string.h>

#include "vision/base/status.h"

enum { HEAD = 12, TAIL = 4, TAG = 63 };
/* Fields of the messages: number and wire type (0: variable, 1: 64 bits, 2: bytes, 5: 32 bits). */
enum { EVENT_TIME = 1 << 3 | 1, EVENT_STEP = 2 << 3 | 0, EVENT_VERSION = 3 << 3 | 2, EVENT_SUMMARY = 5 << 3 | 2 };
enum { SUMMARY_VALUE = 1 << 3 | 2, VALUE_TAG = 1 << 3 | 2, VALUE_NUMBER = 2 << 3 | 5 };

uint32_t vsti_crc32c(const void *bytes, size_t size) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= ((const uint8_t *)bytes)[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static uint32_t masked(const void *bytes, size_t size) {
    const uint32_t crc = vsti_crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- Protocol buffers ---- */

static uint8_t *put(uint8_t *at, const void *bytes, size_t size) {
    memcpy(at, bytes, size); /* little-endian hosts, as everywhere */
    return at + size;
}

static uint8_t *put_number(uint8_t *at, uint64_t number) {
    for (; number > 127; number >>= 7) *at++ = (uint8_t)(number | 128);
    *at++ = (uint8_t)number;
    return at;
}

static uint8_t *put_bytes(uint8_t *at, int field, const void *bytes, size_t size) {
    return put(put_number(put_number(at, (uint64_t)field), size), bytes, size);
}

static uint8_t *put_time(uint8_t *at, double seconds) {
    return put(put_number(at, EVENT_TIME), &seconds, sizeof seconds);
}

static uint8_t *put_scalar(uint8_t *at, const vsti_scalar *scalar) {
    uint8_t value[TAG + 16], *end = value;
    const float number = (float)scalar->value;
    const size_t length = strlen(scalar->tag);
    VST_ASSERT(length <= TAG);
    end = put_bytes(end, VALUE_TAG, scalar->tag, length);
    end = put(put_number(end, VALUE_NUMBER), &number, sizeof number);
    return put_bytes(at, SUMMARY_VALUE, value, (size_t)(end - value));
}

/* ---- Records ---- */

/* length, its checksum, the event (already in place), its checksum */
static size_t finish(uint8_t *out, const uint8_t *end) {
    const uint64_t size = (uint64_t)(end - out) - HEAD;
    memcpy(out, &size, sizeof size);
    const uint32_t head = masked(out, sizeof size), tail = masked(out + HEAD, (size_t)size);
    memcpy(out + sizeof size, &head, sizeof head);
    memcpy(out + HEAD + size, &tail, sizeof tail);
    return HEAD + (size_t)size + TAIL;
}

size_t vsti_event_head(uint8_t out[VSTI_EVENT_BYTES], double seconds) {
    static const char version[] = "brain.Event:2";
    return finish(out, put_bytes(put_time(out + HEAD, seconds), EVENT_VERSION, version, strlen(version)));
}

size_t vsti_event_scalars(uint8_t out[VSTI_EVENT_BYTES], double seconds, uint64_t step, const vsti_scalar *scalars,
                          int count) {
    uint8_t summary[VSTI_EVENT_SCALARS * (TAG + 18)], *end = summary;
    VST_ASSERT(count <= VSTI_EVENT_SCALARS);
    for (int i = 0; i < count; i++)
        if (isfinite(scalars[i].value)) end = put_scalar(end, &scalars[i]);
    uint8_t *at = put_number(put_number(put_time(out + HEAD, seconds), EVENT_STEP), step);
    return finish(out, put_bytes(at, EVENT_SUMMARY, summary, (size_t)(end - summary)));
}
