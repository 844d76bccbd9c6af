/* Loops over 8-bit pixels: resampling, blending, smoothing. Integers, or float32 without fused multiply-add
 * (cmake/Kernels.cmake), so that every instruction set gives Pillow's bits. */
#include <string.h>

#include "vision/kernels/exact.h"

enum { PLACES = 22, GROUP = 4, PIECE = 256 };

/* ---- Resampling ---- */

/* Weight `tap` of an output. */
static inline int32_t weight_at(const int16_t *weights, int tap) {
    const int16_t *group = weights + tap / GROUP * (2 * GROUP) + tap % GROUP;
    return group[0] * 4096 + group[GROUP];
}

static inline uint8_t to_byte(int32_t sum) {
    const int32_t value = sum >> PLACES;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

#if !defined __AVX2__
static void resample_row(const uint8_t *in, uint8_t *out, int channels, const vsti_taps *taps, int outputs) {
    for (int x = 0; x < outputs; x++) {
        const uint8_t *first = in + (size_t)taps->bounds[2 * x] * (size_t)channels;
        const int16_t *weights = taps->weights + (size_t)x * (size_t)taps->groups * (2 * GROUP);
        for (int c = 0; c < channels; c++) {
            int32_t sum = 1 << (PLACES - 1);
            for (int tap = 0; tap < taps->bounds[2 * x + 1]; tap++)
                sum += first[tap * channels + c] * weight_at(weights, tap);
            *out++ = to_byte(sum);
        }
    }
}
#endif

/* Computes values first … first + count - 1 of a row, count <= PIECE. */
static void resample_piece(const uint8_t *in, size_t stride, int taps, const int16_t *weights, uint8_t *out,
                           int64_t first, int64_t count) {
    int32_t sum[PIECE];
    for (int64_t i = 0; i < count; i++) sum[i] = 1 << (PLACES - 1);
    for (int tap = 0; tap < taps; tap++) {
        const uint8_t *row = in + (size_t)tap * stride + first;
        const int32_t weight = weight_at(weights, tap);
#pragma omp simd
        for (int64_t i = 0; i < count; i++) sum[i] += row[i] * weight;
    }
    for (int64_t i = 0; i < count; i++) out[first + i] = to_byte(sum[i]);
}

#if defined __AVX2__
/* The two factors of a weight are multiplied separately: four 16-bit pixels by four high parts, and by four low parts.
 * Either sum may wrap around; high * 4096 + low is still right, because the whole sum fits. */
typedef struct sums {
    __m256i high, low;
} sums;

static inline void add_taps(sums *sum, __m256i pixels, __m256i high, __m256i low) {
    sum->high = _mm256_add_epi32(sum->high, _mm256_madd_epi16(pixels, high));
    sum->low = _mm256_add_epi32(sum->low, _mm256_madd_epi16(pixels, low));
}

static inline __m256i total(const sums *sum) { return _mm256_add_epi32(_mm256_slli_epi32(sum->high, 12), sum->low); }

/* Rounds 32-bit sums and drops the fractional bits. */
static inline __m256i round_sums(__m256i sum) {
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (PLACES - 1))), PLACES);
}

static inline __m256i repeat8(const int16_t *four) {
    int64_t bits;
    memcpy(&bits, four, sizeof bits);
    return _mm256_set1_epi64x(bits);
}

/* Converts the sums of four rows (r r g g | b b - -) to pixels: r g b - of each row in 32 bits. */
static inline __m128i pixels_of(const sums sum[VSTI_TAP_ROWS]) {
    const __m256i first = round_sums(_mm256_hadd_epi32(total(&sum[0]), total(&sum[1]))); /* r0 g0 r1 g1 | b0 - b1 - */
    const __m256i second = round_sums(_mm256_hadd_epi32(total(&sum[2]), total(&sum[3])));
    const __m256i words = _mm256_packs_epi32(first, second), bytes = _mm256_packus_epi16(words, words);
    return _mm_unpacklo_epi16(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}

/* Computes output pixel x of four rows of RGB. */
static inline __attribute__((always_inline)) __m128i four_pixels(const uint8_t *const *in, const vsti_taps *taps,
                                                                 int x) {
    /* Four pixels of 16 loaded bytes to r r r r g g g g | b b b b - - - -, 16 bits each. */
    const __m256i order = _mm256_setr_epi8(0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1, 2, -1, 5, -1, 8, -1,
                                           11, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const size_t start = (size_t)taps->bounds[2 * x] * 3;
    const int groups = (taps->bounds[2 * x + 1] + GROUP - 1) / GROUP;
    const int16_t *weights = taps->weights + (size_t)x * (size_t)taps->groups * (2 * GROUP);
    sums sum[VSTI_TAP_ROWS] = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
    for (int i = 1; i < VSTI_TAP_ROWS; i++) sum[i] = sum[0];
    for (int g = 0; g < groups; g++, weights += 2 * GROUP) {
        const __m256i high = repeat8(weights), low = repeat8(weights + GROUP);
        for (int i = 0; i < VSTI_TAP_ROWS; i++) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *)(in[i] + start + (size_t)g * (3 * GROUP)));
            add_taps(&sum[i], _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), order), high, low);
        }
    }
    return pixels_of(sum);
}

/* Stores one pixel in each of the four rows. `bytes` is 3, or 4 where the next pixel will overwrite the fourth byte. */
static inline __attribute__((always_inline)) void store_four(uint8_t *const *out, size_t at, __m128i pixels,
                                                             size_t bytes) {
    const int32_t one[VSTI_TAP_ROWS] = {_mm_extract_epi32(pixels, 0), _mm_extract_epi32(pixels, 1),
                                        _mm_extract_epi32(pixels, 2), _mm_extract_epi32(pixels, 3)};
    for (int i = 0; i < VSTI_TAP_ROWS; i++) memcpy(out[i] + at, &one[i], bytes);
}

static void resample_rgb(const uint8_t *const *in, uint8_t *const *out, const vsti_taps *taps, int outputs) {
    const uint8_t *const from[VSTI_TAP_ROWS] = {in[0], in[1], in[2], in[3]}; /* unchanged by stores */
    uint8_t *const to[VSTI_TAP_ROWS] = {out[0], out[1], out[2], out[3]};
    const vsti_taps own = *taps;
    int x = 0;
    for (; x + 1 < outputs; x++) store_four(to, 3 * (size_t)x, four_pixels(from, &own, x), 4);
    store_four(to, 3 * (size_t)x, four_pixels(from, &own, x), 3);
}

/* Four rows at once, each in a quarter of the vector. */
static void resample_grey(const uint8_t *const *in, uint8_t *const *out, const vsti_taps *taps, int outputs) {
    for (int x = 0; x < outputs; x++) {
        const size_t start = (size_t)taps->bounds[2 * x];
        const int groups = (taps->bounds[2 * x + 1] + GROUP - 1) / GROUP;
        const int16_t *weights = taps->weights + (size_t)x * (size_t)taps->groups * (2 * GROUP);
        sums sum = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int g = 0; g < groups; g++, weights += 2 * GROUP) {
            int32_t four[VSTI_TAP_ROWS];
            for (int i = 0; i < VSTI_TAP_ROWS; i++) memcpy(&four[i], in[i] + start + (size_t)g * GROUP, 4);
            const __m128i bytes = _mm_setr_epi32(four[0], four[1], four[2], four[3]);
            add_taps(&sum, _mm256_cvtepu8_epi16(bytes), repeat8(weights), repeat8(weights + GROUP));
        }
        const __m256i all = total(&sum), rows = round_sums(_mm256_hadd_epi32(all, all)); /* 0 1 0 1 | 2 3 2 3 */
        const __m256i words = _mm256_packs_epi32(rows, rows), bytes = _mm256_packus_epi16(words, words);
        const uint32_t low = (uint32_t)_mm256_extract_epi32(bytes, 0), high = (uint32_t)_mm256_extract_epi32(bytes, 4);
        out[0][x] = (uint8_t)low;
        out[1][x] = (uint8_t)(low >> 8);
        out[2][x] = (uint8_t)high;
        out[3][x] = (uint8_t)(high >> 8);
    }
}

/* 32 values of a row. Pairs of input rows are interleaved, because one multiplication adds two products. */
static inline void resample_32(const uint8_t *const *rows, int pairs, const int16_t *weights, int64_t at,
                               uint8_t *out) {
    const __m256i zero = _mm256_setzero_si256();
    sums sum[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
    for (int p = 0; p < pairs; p++) {
        const int16_t *group = weights + p / 2 * (2 * GROUP) + p % 2 * 2;
        int32_t both[2];
        memcpy(&both[0], group, 4);
        memcpy(&both[1], group + GROUP, 4);
        const __m256i high = _mm256_set1_epi32(both[0]), low = _mm256_set1_epi32(both[1]);
        const __m256i a = _mm256_loadu_si256((const __m256i *)(rows[2 * p] + at));
        const __m256i b = _mm256_loadu_si256((const __m256i *)(rows[2 * p + 1] + at));
        const __m256i first = _mm256_unpacklo_epi8(a, b), second = _mm256_unpackhi_epi8(a, b);
        add_taps(&sum[0], _mm256_unpacklo_epi8(first, zero), high, low);
        add_taps(&sum[1], _mm256_unpackhi_epi8(first, zero), high, low);
        add_taps(&sum[2], _mm256_unpacklo_epi8(second, zero), high, low);
        add_taps(&sum[3], _mm256_unpackhi_epi8(second, zero), high, low);
    }
    const __m256i left = _mm256_packs_epi32(round_sums(total(&sum[0])), round_sums(total(&sum[1])));
    const __m256i right = _mm256_packs_epi32(round_sums(total(&sum[2])), round_sums(total(&sum[3])));
    _mm256_storeu_si256((__m256i *)(out + at), _mm256_packus_epi16(left, right));
}
#endif

void K(resample_rows)(const uint8_t *const *in, uint8_t *const *out, int channels, const vsti_taps *taps, int outputs) {
#if defined __AVX2__
    if (channels == 3) resample_rgb(in, out, taps, outputs);
    else resample_grey(in, out, taps, outputs);
#else
    for (int i = 0; i < VSTI_TAP_ROWS; i++) resample_row(in[i], out[i], channels, taps, outputs);
#endif
}

void K(resample_column)(const uint8_t *in, size_t stride, int rows, const vsti_taps *taps, int output, uint8_t *out,
                        int64_t n) {
    const int first = taps->bounds[2 * output], count = taps->bounds[2 * output + 1];
    const int16_t *weights = taps->weights + (size_t)output * (size_t)taps->groups * (2 * GROUP);
    const uint8_t *start = in + (size_t)first * stride;
    (void)rows;
#if defined __AVX2__
    enum { MOST = 512, LANES = 32 };
    const uint8_t *lines[MOST];
    if (n >= LANES && count < MOST) {
        for (int i = 0; i < count + count % 2; i++) /* an odd last row is paired with weight 0 */
            lines[i] = in + (size_t)(first + i < rows ? first + i : rows - 1) * stride;
        for (int64_t i = 0; i < n - LANES; i += LANES) resample_32(lines, (count + 1) / 2, weights, i, out);
        resample_32(lines, (count + 1) / 2, weights, n - LANES, out); /* overlaps the last block */
        return;
    }
#endif
    for (int64_t i = 0; i < n; i += PIECE)
        resample_piece(start, stride, count, weights, out, i, n - i < PIECE ? n - i : PIECE);
}

/* ---- Colour ---- */

void K(blend)(const uint8_t *a, const uint8_t *b, float factor, uint8_t *out, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float value = (float)a[i] + factor * (float)(b[i] - a[i]);
        value = value < 0.0f ? 0.0f : value;
        value = value > 255.0f ? 255.0f : value;
        out[i] = (uint8_t)(int32_t)value;
    }
}

void K(luminance)(const uint8_t *rgb, uint8_t *grey, int64_t n) {
    int64_t i = 0;
#if defined __AVX2__
    /* r g pairs and g b pairs of four pixels in each half. The weight of green does not fit in 16 bits and is split in
     * two. */
    const __m256i first =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1));
    const __m256i second =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(1, -1, 2, -1, 4, -1, 5, -1, 7, -1, 8, -1, 10, -1, 11, -1));
    const __m256i red = _mm256_set1_epi32(19235 << 16 | 19595), blue = _mm256_set1_epi32(7471 << 16 | 19235);
    for (; i + 10 <= n; i += 8) { /* 28 bytes are read */
        const __m128i low = _mm_loadu_si128((const __m128i *)(rgb + 3 * i));
        const __m128i high = _mm_loadu_si128((const __m128i *)(rgb + 3 * i + 12));
        const __m256i pixels = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        __m256i sum = _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, first), red);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, second), blue));
        sum = _mm256_srli_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(0x8000)), 16);
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        _mm_storel_epi64((__m128i *)(grey + i), _mm_packus_epi16(words, words));
    }
#endif
    for (; i < n; i++)
        grey[i] = (uint8_t)((rgb[3 * i] * 19595u + rgb[3 * i + 1] * 38470u + rgb[3 * i + 2] * 7471u + 0x8000u) >> 16);
}

void K(spread)(const uint8_t *grey, uint8_t *rgb, int64_t n) {
    int64_t i = 0;
#if defined __AVX2__
    const __m128i order[3] = {_mm_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5),
                              _mm_setr_epi8(5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10),
                              _mm_setr_epi8(10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15)};
    for (; i + 16 <= n; i += 16) {
        const __m128i values = _mm_loadu_si128((const __m128i *)(grey + i));
        for (int k = 0; k < 3; k++)
            _mm_storeu_si128((__m128i *)(rgb + 3 * i + 16 * k), _mm_shuffle_epi8(values, order[k]));
    }
#endif
    for (; i < n; i++) rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = grey[i];
}

/* ---- Mirror images ---- */

#if defined __AVX2__
/* Stores the lower 15 of 16 bytes. */
static inline void store_15(uint8_t *out, __m128i bytes) {
    _mm_storel_epi64((__m128i *)out, bytes);
    _mm_storel_epi64((__m128i *)(out + 7), _mm_srli_si128(bytes, 7));
}
#endif

void K(mirror)(uint8_t *row, int channels, int64_t width) {
    const int64_t c = channels;
    int64_t a = 0, b = width * c; /* the part that is not yet mirrored */
#if defined __AVX2__
    const __m128i pixels = _mm_setr_epi8(12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2, -1); /* five pixels */
    const __m128i values = _mm_setr_epi8(14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1);
    const __m128i order = channels == 3 ? pixels : values;
    for (; b - a >= 31; a += 15, b -= 15) {
        const __m128i left = _mm_loadu_si128((const __m128i *)(row + a));
        const __m128i right = _mm_srli_si128(_mm_loadu_si128((const __m128i *)(row + b - 16)), 1);
        store_15(row + a, _mm_shuffle_epi8(right, order));
        store_15(row + b - 15, _mm_shuffle_epi8(left, order));
    }
#endif
    for (b -= c; a < b; a += c, b -= c)
        for (int64_t i = 0; i < c; i++) {
            const uint8_t kept = row[a + i];
            row[a + i] = row[b + i];
            row[b + i] = kept;
        }
}

/* ---- Floats ---- */

void K(unit_floats)(const uint8_t *in, int channels, float *out, int64_t n) {
    if (channels == 1) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) out[i] = (float)in[i] / 255.0f;
        return;
    }
    float *red = out, *green = out + n, *blue = green + n;
    int64_t i = 0;
#if defined __AVX2__
    /* Eight pixels, four in each half, sorted by channel: r r r r g g g g b b b b - - - -. */
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1));
    const __m256i together = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 most = _mm256_set1_ps(255.0f);
    for (; i + 10 <= n; i += 8) { /* 28 bytes are read */
        const __m128i low = _mm_loadu_si128((const __m128i *)(in + 3 * i));
        const __m128i high = _mm_loadu_si128((const __m128i *)(in + 3 * i + 12));
        const __m256i pixels = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        const __m256i planes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(pixels, order), together);
        const __m128i reds = _mm256_castsi256_si128(planes), blues = _mm256_extracti128_si256(planes, 1);
        const __m256i r = _mm256_cvtepu8_epi32(reds), b = _mm256_cvtepu8_epi32(blues);
        const __m256i g = _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(reds, reds));
        _mm256_storeu_ps(red + i, _mm256_div_ps(_mm256_cvtepi32_ps(r), most));
        _mm256_storeu_ps(green + i, _mm256_div_ps(_mm256_cvtepi32_ps(g), most));
        _mm256_storeu_ps(blue + i, _mm256_div_ps(_mm256_cvtepi32_ps(b), most));
    }
#endif
    for (; i < n; i++) {
        red[i] = (float)in[3 * i] / 255.0f;
        green[i] = (float)in[3 * i + 1] / 255.0f;
        blue[i] = (float)in[3 * i + 2] / 255.0f;
    }
}

/* ---- Neighbourhoods ---- */

void K(smooth)(const uint8_t *above, const uint8_t *here, const uint8_t *below, int channels, uint8_t *out, int64_t n) {
    const int64_t c = channels;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const uint16_t sum = (uint16_t)(above[i - c] + above[i] + above[i + c] + here[i - c] + 5 * here[i] +
                                        here[i + c] + below[i - c] + below[i] + below[i + c]);
        /* round(sum / 13) = (2 sum + 13) / 26, computed with the inverse of 26 in 20 fractional bits. There are no
         * ties. */
        out[i] = (uint8_t)((uint16_t)((uint32_t)(uint16_t)(2 * sum + 13) * 40330u >> 16) >> 4);
    }
}

void K(box_blur)(uint32_t *sum, const uint8_t *leave, const uint8_t *enter, const uint8_t *edge, uint32_t whole,
                 uint32_t part, uint8_t *out, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const uint32_t moved = sum[i] + (uint32_t)(enter[i] - leave[i]);
        sum[i] = moved;
        out[i] = (uint8_t)((moved * whole + (uint32_t)(leave[i] + edge[i]) * part + (1u << 23)) >> 24);
    }
}
