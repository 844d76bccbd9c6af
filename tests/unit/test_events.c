/* TensorBoard event files, parsed as TensorBoard's reader does. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/train/events.h"
#include "tests/unit/suite.h"

static uint64_t number_at(const uint8_t **at) {
    uint64_t number = 0;
    int shift = 0;
    for (; **at & 128; (*at)++, shift += 7) number |= (uint64_t)(**at & 127) << shift;
    return number | (uint64_t) * (*at)++ << shift;
}

static uint32_t unmasked(const uint8_t *at) {
    uint32_t crc;
    memcpy(&crc, at, sizeof crc);
    crc -= 0xa282ead8u;
    return crc >> 17 | crc << 15;
}

/* Checks the frame of a record and returns its event. */
static const uint8_t *event_of(const uint8_t *record, size_t size, const uint8_t **end) {
    uint64_t length;
    memcpy(&length, record, sizeof length);
    ck_assert_uint_eq(length + 16, size);
    ck_assert_uint_eq(unmasked(record + 8), vsti_crc32c(record, 8));
    ck_assert_uint_eq(unmasked(record + 12 + length), vsti_crc32c(record + 12, length));
    *end = record + 12 + length;
    return record + 12;
}

START_TEST(checksum) { /* RFC 3720, B.4, and the usual nine digits */
    uint8_t zeros[32] = {0}, ones[32];
    memset(ones, 255, sizeof ones);
    ck_assert_uint_eq(vsti_crc32c(zeros, 32), 0x8a9136aau);
    ck_assert_uint_eq(vsti_crc32c(ones, 32), 0x62a8ab43u);
    ck_assert_uint_eq(vsti_crc32c("123456789", 9), 0xe3069283u);
}
END_TEST

START_TEST(head) {
    uint8_t record[VSTI_EVENT_BYTES];
    const uint8_t *end, *at = event_of(record, vsti_event_head(record, 12.5), &end);
    double seconds;
    ck_assert_uint_eq(*at++, 9);
    memcpy(&seconds, at, 8);
    ck_assert_double_eq(seconds, 12.5);
    at += 8;
    ck_assert_uint_eq(*at++, 26);
    ck_assert_uint_eq(*at++, 13);
    ck_assert(memcmp(at, "brain.Event:2", 13) == 0);
    ck_assert_ptr_eq(at + 13, end);
}
END_TEST

START_TEST(scalars) {
    static const vsti_scalar list[] = {{"train/loss", 1.25}, {"test/acc1", NAN}, {"a", -3}};
    uint8_t record[VSTI_EVENT_BYTES];
    const uint8_t *end, *at = event_of(record, vsti_event_scalars(record, 1, 70000, list, 3), &end);
    at += 9;
    ck_assert_uint_eq(*at++, 16);
    ck_assert_uint_eq(number_at(&at), 70000);
    ck_assert_uint_eq(*at++, 42);
    ck_assert_uint_eq(number_at(&at), (uint64_t)(end - at));
    for (int i = 0; i < 3; i += 2) { /* NaN is omitted */
        ck_assert_uint_eq(*at++, 10);
        const uint64_t size = number_at(&at);
        const uint8_t *after = at + size;
        ck_assert_uint_eq(*at++, 10);
        ck_assert_uint_eq(number_at(&at), strlen(list[i].tag));
        ck_assert(memcmp(at, list[i].tag, strlen(list[i].tag)) == 0);
        at += strlen(list[i].tag);
        ck_assert_uint_eq(*at++, 21);
        float value;
        memcpy(&value, at, 4);
        ck_assert_float_eq(value, (float)list[i].value);
        ck_assert_ptr_eq(at + 4, after);
        at = after;
    }
    ck_assert_ptr_eq(at, end);
}
END_TEST

/* The maximum size fits. */
START_TEST(full) {
    char tags[VSTI_EVENT_SCALARS][64];
    vsti_scalar list[VSTI_EVENT_SCALARS];
    uint8_t record[VSTI_EVENT_BYTES];
    const uint8_t *end;
    for (int i = 0; i < VSTI_EVENT_SCALARS; i++) {
        memset(tags[i], 'a' + i, 63);
        tags[i][63] = '\0';
        list[i] = (vsti_scalar){tags[i], i};
    }
    const size_t size = vsti_event_scalars(record, 1e9, UINT64_MAX, list, VSTI_EVENT_SCALARS);
    ck_assert_uint_le(size, sizeof record);
    event_of(record, size, &end);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("events");
    tcase_add_test(tests, checksum);
    tcase_add_test(tests, head);
    tcase_add_test(tests, scalars);
    tcase_add_test(tests, full);
    return run_suite("events", tests);
}
