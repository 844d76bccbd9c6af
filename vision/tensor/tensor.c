/* Shapes and dtypes; conversion to and from float. */
#include "vision/tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool vst_shape_equal(const vst_shape *a, const vst_shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

int64_t vst_shape_count(const vst_shape *shape) {
    int64_t count = 1;
    if (shape->rank < 0 || shape->rank > VST_MAX_RANK) return -1;
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] < 0 || __builtin_mul_overflow(count, shape->dim[i], &count)) return -1;
    return count;
}

const char *vst_shape_text(const vst_shape *shape, char text[VST_SHAPE_TEXT]) {
    if (shape->rank < 0 || shape->rank > VST_MAX_RANK) {
        snprintf(text, VST_SHAPE_TEXT, "(rank %d)", shape->rank);
        return text;
    }
    size_t used = (size_t)snprintf(text, VST_SHAPE_TEXT, "(");
    for (int i = 0; i < shape->rank; i++) {
        char piece[32];
        const size_t length = (size_t)snprintf(piece, sizeof piece, "%s%" PRId64, i ? ", " : "", shape->dim[i]);
        if (used + length + sizeof ", …)" > VST_SHAPE_TEXT) { /* only very long dimensions are cut here */
            used += (size_t)snprintf(text + used, VST_SHAPE_TEXT - used, ", …");
            break;
        }
        memcpy(text + used, piece, length + 1);
        used += length;
    }
    snprintf(text + used, VST_SHAPE_TEXT - used, ")");
    return text;
}

#define DTYPE_ROW(constant, name, size) {name, size},
static const struct {
    const char *name;
    size_t size;
} dtypes[] = {VST_DTYPES(DTYPE_ROW)};

size_t vst_dtype_size(vst_dtype dtype) { return dtypes[dtype].size; }
const char *vst_dtype_name(vst_dtype dtype) { return dtypes[dtype].name; }

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Exponent and mantissa moved to their places in a float give 2^-112 times the value, exactly, also for subnormals.
 * Without a branch: zeros are frequent and unpredictable, and a branch for them makes this four times slower. */
static float from_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = (uint32_t)(half & 0x7fff) << 13;
    const float value = from_bits(magnitude) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return from_bits(sign |
                     (magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : bits)); /* infinity, or NaN with its payload */
}

/* Converts each element of TYPE. Elements are copied first, because the data may be unaligned. */
#define CONVERT(TYPE, expression)                                    \
    do {                                                             \
        for (size_t i = 0; i < count; i++) {                         \
            TYPE x;                                                  \
            memcpy(&x, (const char *)data + i * sizeof x, sizeof x); \
            out[i] = (expression);                                   \
        }                                                            \
    } while (0)

void vst_to_float(float *out, const void *data, vst_dtype dtype, size_t count) {
    if (count == 0) return; /* data may be NULL */
    switch (dtype) {
    case VST_F64: CONVERT(double, (float)x); break;
    case VST_F32: memcpy(out, data, count * sizeof *out); break;
    case VST_F16: CONVERT(uint16_t, from_half(x)); break;
    case VST_BF16: CONVERT(uint16_t, from_bits((uint32_t)x << 16)); break;
    case VST_I64: CONVERT(int64_t, (float)x); break;
    case VST_I32: CONVERT(int32_t, (float)x); break;
    case VST_I16: CONVERT(int16_t, (float)x); break;
    case VST_I8: CONVERT(int8_t, (float)x); break;
    case VST_U64: CONVERT(uint64_t, (float)x); break;
    case VST_U32: CONVERT(uint32_t, (float)x); break;
    case VST_U16: CONVERT(uint16_t, (float)x); break;
    case VST_U8: CONVERT(uint8_t, (float)x); break;
    case VST_BOOL: CONVERT(uint8_t, x ? 1.0f : 0.0f); break;
    }
}

static uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return sign | 0x7e00;  /* NaN */
    if (magnitude >= 0x477ff000) return sign | 0x7c00; /* 65520 and more */
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves multiples of 2^-24 in the low bits */
        const float shifted = from_bits(magnitude) + 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

void vst_to_half(void *out, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const uint16_t half = to_half(values[i]);
        memcpy((char *)out + i * sizeof half, &half, sizeof half);
    }
}
