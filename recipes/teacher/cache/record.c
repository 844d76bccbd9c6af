/* Records of a cache: layout, writing and reading one tap. */
#include <math.h>
#include <string.h>

#include "recipes/teacher/cache/internal.h"

enum { SMALL_CLASSES = 65536 };

const char *vsti_cache_precision(vst_dtype dtype) {
    static const char *const names[] = {VST_CHOICE_NAMES(VST_CACHE_PRECISIONS)};
    return names[dtype == VST_F32 ? VST_CACHE_FLOAT : VST_CACHE_HALF];
}

static size_t id_bytes(const vsti_cache_tap *tap) {
    return tap->floats <= SMALL_CLASSES ? sizeof(uint16_t) : sizeof(uint32_t);
}

/* Bytes of one tap. No overflow, because floats is bounded by vsti_cache_lay_out. */
static size_t tap_bytes(const vsti_cache_tap *tap, vst_dtype dtype) {
    const size_t value = vst_dtype_size(dtype);
    return tap->kept ? tap->kept * (id_bytes(tap) + value) + sizeof(float) : tap->floats * value;
}

bool vsti_cache_lay_out(vsti_cache_teacher *teacher, vst_dtype dtype) {
    teacher->record = 0;
    for (int i = 0; i < teacher->tap_count; i++) {
        vsti_cache_tap *tap = &teacher->taps[i];
        if (tap->floats < 1 || tap->floats > INT32_MAX || tap->kept >= tap->floats) return false;
        tap->offset = teacher->record;
        if (__builtin_add_overflow(teacher->record, tap_bytes(tap, dtype), &teacher->record)) return false;
    }
    return teacher->tap_count > 0;
}

size_t vsti_cache_scratch(const vsti_cache *cache) {
    size_t most = 1;
    for (int i = 0; i < cache->teacher_count; i++)
        for (int k = 0; k < cache->teachers[i].tap_count; k++)
            if (cache->teachers[i].taps[k].kept > most) most = cache->teachers[i].taps[k].kept;
    return most;
}

bool vsti_cache_bytes(const vsti_cache_teacher *teacher, uint64_t records, uint64_t *bytes) {
    return !__builtin_mul_overflow(records, (uint64_t)teacher->record, bytes) && *bytes <= INT64_MAX;
}

bool vsti_cache_total(const vsti_cache *cache, uint64_t records, uint64_t *bytes) {
    *bytes = 0;
    for (int i = 0; i < cache->teacher_count; i++) {
        uint64_t one;
        if (!vsti_cache_bytes(&cache->teachers[i], records, &one) || __builtin_add_overflow(*bytes, one, bytes))
            return false;
    }
    return true;
}

vst_cache_size vsti_cache_size_of(const vsti_cache *cache) {
    vst_cache_size size = {.blocks = cache->done / cache->block, .records = cache->done};
    if (!vsti_cache_total(cache, cache->done, &size.bytes)) size.bytes = UINT64_MAX;
    return size;
}

/* Only logits can be truncated to the largest. */
static void size_tap(vsti_cache_tap *tap, int topk) {
    static const char logits[] = "logits";
    const bool scores = tap->shape.rank == 1 && strncmp(tap->name, logits, strlen(logits)) == 0;
    const int64_t floats = vst_shape_count(&tap->shape);
    tap->floats = floats > 0 ? (size_t)floats : 0;
    tap->kept = scores && topk > 0 && (size_t)topk < tap->floats ? (size_t)topk : 0;
}

bool vsti_cache_lay_out_all(vsti_cache *cache) {
    uint64_t bytes;
    for (int i = 0; i < cache->teacher_count; i++) {
        vsti_cache_teacher *teacher = &cache->teachers[i];
        for (int k = 0; k < teacher->tap_count; k++) size_tap(&teacher->taps[k], cache->topk);
        if (!vsti_cache_lay_out(teacher, cache->dtype)) return false;
        if (!vsti_cache_bytes(teacher, cache->done, &bytes)) return false;
    }
    return true;
}

const char *vsti_cache_block_word(const vsti_cache *cache, uint64_t count) {
    if (cache->views) return count == 1 ? "view" : "views";
    return count == 1 ? "epoch" : "epochs";
}

uint64_t vsti_cache_blocks(const vsti_cache *cache) {
    return cache->done / cache->block + (cache->done % cache->block != 0);
}

uint64_t vsti_cache_filled(const vsti_cache *cache, uint64_t block) {
    const uint64_t left = cache->done - block * cache->block;
    return left < cache->block ? left : cache->block;
}

uint64_t vsti_cache_block(const vsti_cache *cache, uint32_t epoch) {
    return cache->views ? epoch % (uint64_t)cache->views : epoch;
}

uint64_t vsti_cache_index(const vsti_cache *cache, vsti_position position, uint64_t sample) {
    return vsti_cache_block(cache, position.epoch) * cache->block + (cache->views ? sample : position.sample);
}

/* ---- Largest values ---- */

/* A running sum of exponentials, sum * exp(top). */
typedef struct exponentials {
    double top, sum;
} exponentials;

static void add(exponentials *e, double value) {
    if (e->sum == 0) *e = (exponentials){value, 1};
    else if (value <= e->top) e->sum += exp(value - e->top);
    else *e = (exponentials){value, e->sum * exp(e->top - value) + 1};
}

void vsti_cache_largest(const float *values, size_t floats, size_t count, uint32_t *places, float *rest) {
    exponentials others = {0};
    for (size_t i = 0, have = 0; i < floats; i++) {
        const float value = values[i];
        if (have == count && value <= values[places[have - 1]]) {
            add(&others, value);
            continue;
        }
        if (have < count) have++;
        else add(&others, values[places[have - 1]]);
        size_t at = have - 1;
        for (; at > 0 && values[places[at - 1]] < value; at--) places[at] = places[at - 1];
        places[at] = (uint32_t)i;
    }
    *rest = floats > count ? (float)(others.top + log(others.sum / (double)(floats - count))) : 0;
}

/* ---- Writing ---- */

static void put_values(uint8_t *to, const float *values, vst_dtype dtype, size_t count) {
    if (dtype == VST_F16) vst_to_half(to, values, count);
    else memcpy(to, values, count * sizeof *values);
}

static void put_largest(const vsti_cache_tap *tap, vst_dtype dtype, const float *values, uint32_t *places,
                        uint8_t *to) {
    const size_t id = id_bytes(tap), value = vst_dtype_size(dtype);
    float rest;
    vsti_cache_largest(values, tap->floats, tap->kept, places, &rest);
    for (size_t i = 0; i < tap->kept; i++) {
        memcpy(to + i * id, &places[i], id); /* little-endian, so the low bytes come first */
        put_values(to + tap->kept * id + i * value, &values[places[i]], dtype, 1);
    }
    memcpy(to + tap->kept * (id + value), &rest, sizeof rest);
}

vst_status vsti_cache_encode(const vsti_cache_tap *tap, vst_dtype dtype, const float *values, uint32_t *scratch,
                             uint8_t *record) {
    const float limit = dtype == VST_F16 ? 65520.0f : INFINITY; /* rounds to infinity from here on */
    for (size_t i = 0; i < tap->floats; i++) {
        if (fabsf(values[i]) < limit) continue;
        if (!isfinite(values[i]))
            return vst_fail(VST_ERROR_NUMERIC, "tap %s has a number that is not finite: the teacher is broken",
                            tap->name);
        return vst_fail(VST_ERROR_NUMERIC,
                        "tap %s has the number %g, which half precision cannot hold: set distill.cache_precision "
                        "to float",
                        tap->name, (double)values[i]);
    }
    if (tap->kept) put_largest(tap, dtype, values, scratch, record + tap->offset);
    else put_values(record + tap->offset, values, dtype, tap->floats);
    return VST_OK;
}

/* ---- Reading ---- */

static bool get_largest(const vsti_cache_tap *tap, vst_dtype dtype, const uint8_t *from, float *values) {
    const size_t id = id_bytes(tap), value = vst_dtype_size(dtype);
    float rest;
    memcpy(&rest, from + tap->kept * (id + value), sizeof rest);
    for (size_t i = 0; i < tap->floats; i++) values[i] = rest;
    for (size_t i = 0; i < tap->kept; i++) {
        uint32_t place = 0;
        memcpy(&place, from + i * id, id);
        if (place >= tap->floats) return false;
        vst_to_float(&values[place], from + tap->kept * id + i * value, dtype, 1);
    }
    return true;
}

bool vsti_cache_decode(const vsti_cache_tap *tap, vst_dtype dtype, const uint8_t *record, float *values) {
    if (tap->kept) return get_largest(tap, dtype, record + tap->offset, values);
    vst_to_float(values, record + tap->offset, dtype, tap->floats);
    return true;
}
