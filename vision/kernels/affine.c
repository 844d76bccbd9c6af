/* Rows of an affine map with bilinear or bicubic interpolation, in double, without fused multiply-add
 * (cmake/Kernels.cmake) and with Pillow's order of operations, because the result must have the same bits. Channels of
 * a pixel are lanes of a vector of four. */
#include <stdbool.h>
#include <string.h>

#include "vision/kernels/exact.h"

typedef int32_t ints4 __attribute__((vector_size(16)));
typedef double doubles4 __attribute__((vector_size(32)));

#if defined __AVX2__ /* compilers do not generate this conversion from the general form */
#define DOUBLES(v) ((doubles4)_mm256_cvtepi32_pd((__m128i)(v)))
#else
#define DOUBLES(v) __builtin_convertvector(v, doubles4)
#endif

/* Cubic interpolation with a = -1 between v1 … v4: the coefficients of 1, t, t², t³ are v2, CUBIC2, CUBIC3, CUBIC4. */
#define CUBIC2(v1, v2, v3, v4) (-(v1) + (v3))
#define CUBIC3(v1, v2, v3, v4) (2 * ((v1) - (v2)) + (v3) - (v4))
#define CUBIC4(v1, v2, v3, v4) (-(v1) + (v2) - (v3) + (v4))
#define CUBIC(p1, p2, p3, p4, t) ((p1) + (t) * ((p2) + (t) * ((p3) + (t) * (p4))))

enum { PIECE = 128, OUTSIDE = -2 };

/* A position between input pixels. */
typedef struct pixel_position {
    int x, y; /* the pixel above and to the left, -1 … size - 1; x is OUTSIDE if the position is not in the image */
    double dx, dy;
} pixel_position;

/* Positions of consecutive outputs. */
typedef struct positions {
    int32_t x[PIECE], y[PIECE];
    double dx[PIECE], dy[PIECE];
} positions;

/* Positions of outputs x, x + 1, … of row y. */
static void find_positions(const vsti_affine *map, int x, int y, int count, positions *out) {
    const double *m = map->matrix, down = y + 0.5, width = map->width, height = map->height;
#pragma omp simd
    for (int i = 0; i < count; i++) {
        const double across = x + i + 0.5;
        const double at_x = m[0] * across + m[1] * down + m[2], at_y = m[3] * across + m[4] * down + m[5];
        const bool inside = (at_x >= 0.0) & (at_x < width) & (at_y >= 0.0) & (at_y < height);
        const double column = floor(at_x - 0.5), row = floor(at_y - 0.5);
        out->x[i] = (int32_t)(inside ? column : OUTSIDE);
        out->y[i] = (int32_t)(inside ? row : 0);
        out->dx[i] = at_x - 0.5 - column; /* unspecified if outside */
        out->dy[i] = at_y - 0.5 - row;
    }
}

static inline int clamp(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }

/* A pixel of three channels; the fourth lane is the byte that follows. */
static inline ints4 pixel_at(const uint8_t *at) {
#if defined __AVX2__
    int32_t bytes;
    memcpy(&bytes, at, 4);
    return (ints4)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
#else
    return (ints4){at[0], at[1], at[2], 0};
#endif
}

/* Clips, truncates and stores three bytes; with `room` also a fourth one, which is faster. */
static inline void store_pixel(uint8_t *out, const doubles4 *value, bool room) {
#if defined __AVX2__
    const __m128i whole = _mm256_cvttpd_epi32((__m256d)*value); /* clipped when packed below */
    const __m128i words = _mm_packs_epi32(whole, whole);
    const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    if (room) memcpy(out, &bytes, 4);
    else memcpy(out, &bytes, 3);
#else
    (void)room;
    for (int c = 0; c < 3; c++) {
        const double v = (*value)[c];
        out[c] = (uint8_t)(v <= 0.0 ? 0.0 : v >= 255.0 ? 255.0 : v);
    }
#endif
}

/* A copy of the image's last pixel: reading its fourth byte in the image would be out of bounds. */
typedef struct last_pixel {
    uint8_t pixels[4];
    const uint8_t *last; /* the pixel in the image */
} last_pixel;

/* The address from which a pixel can be read with four bytes. */
static inline const uint8_t *readable(const uint8_t *at, const last_pixel *end) {
    return at == end->last ? end->pixels : at;
}

static void bicubic_rgb(const vsti_affine *map, const pixel_position *p, const last_pixel *end, uint8_t *out,
                        bool room) {
    const doubles4 dx = {p->dx, p->dx, p->dx, p->dx}, dy = {p->dy, p->dy, p->dy, p->dy};
    const size_t stride = (size_t)map->width * 3;
    size_t column[4];
    doubles4 v[4], result;
    for (int i = 0; i < 4; i++) column[i] = (size_t)clamp(p->x - 1 + i, map->width) * 3;
    for (int i = 0; i < 4; i++) {
        const uint8_t *row = map->pixels + (size_t)clamp(p->y - 1 + i, map->height) * stride;
        const ints4 a = pixel_at(readable(row + column[0], end)), b = pixel_at(readable(row + column[1], end));
        const ints4 c = pixel_at(readable(row + column[2], end)), d = pixel_at(readable(row + column[3], end));
        v[i] = CUBIC(DOUBLES(b), DOUBLES(CUBIC2(a, b, c, d)), DOUBLES(CUBIC3(a, b, c, d)), DOUBLES(CUBIC4(a, b, c, d)),
                     dx);
    }
    result =
        CUBIC(v[1], CUBIC2(v[0], v[1], v[2], v[3]), CUBIC3(v[0], v[1], v[2], v[3]), CUBIC4(v[0], v[1], v[2], v[3]), dy);
    store_pixel(out, &result, room);
}

#if defined __AVX2__
/* For each channel, the sum of four pixels of a row weighted with a, b, c, d. */
static inline doubles4 coefficient(__m128i channels, int a, int b, int c, int d) {
    const __m128i factors = _mm_set1_epi32(
        (int32_t)((uint32_t)(uint8_t)d << 24 | (uint32_t)(uint8_t)c << 16 | (uint32_t)(uint8_t)b << 8 | (uint8_t)a));
    const __m128i pairs = _mm_maddubs_epi16(channels, factors);
    return (doubles4)_mm256_cvtepi32_pd(_mm_madd_epi16(pairs, _mm_set1_epi16(1)));
}

/* True if all 16 pixels are in the image and four more bytes can be read after each row of them. */
static inline bool is_inner(const vsti_affine *map, const positions *all, int i) {
    return all->x[i] >= 1 && all->x[i] < map->width - 2 && all->y[i] >= 1 && all->y[i] < map->height - 3;
}

/* Interpolates between four pixels of a row. */
static inline doubles4 bicubic_across(const uint8_t *row, double at) {
    const __m128i by_channel = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    const __m128i four = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)row), by_channel);
    const doubles4 dx = {at, at, at, at};
    return CUBIC(DOUBLES(pixel_at(row + 3)), coefficient(four, -1, 0, 1, 0), coefficient(four, 2, -2, 1, -1),
                 coefficient(four, -1, 1, -1, 1), dx);
}

static inline doubles4 bicubic_down(const doubles4 v[4], double at) {
    const doubles4 dy = {at, at, at, at};
    return CUBIC(v[1], CUBIC2(v[0], v[1], v[2], v[3]), CUBIC3(v[0], v[1], v[2], v[3]), CUBIC4(v[0], v[1], v[2], v[3]),
                 dy);
}

/* Computes outputs first … end - 1, all of which are inner. */
static inline __attribute__((always_inline)) void bicubic_run(const vsti_affine *map, const positions *all, int first,
                                                              int end, bool across, bool down, uint8_t *out,
                                                              bool room) {
    const size_t stride = (size_t)map->width * 3;
    for (int i = first; i < end; i++) {
        const uint8_t *row = map->pixels + (size_t)(all->y[i] - 1) * stride + (size_t)(all->x[i] - 1) * 3;
        doubles4 v[4], result;
        for (int k = 0; k < 4 && down; k++, row += stride)
            v[k] = across ? bicubic_across(row, all->dx[i]) : DOUBLES(pixel_at(row + 3));
        result = down ? bicubic_down(v, all->dy[i]) : bicubic_across(row + stride, all->dx[i]);
        store_pixel(out + (size_t)i * 3, &result, room || i + 1 < end);
    }
}

/* True if x[first] … x[end - 1] are all 0. */
static bool all_zero(const double *x, int first, int end) {
    bool differs = false;
    for (int i = first; i < end; i++) differs |= x[i] != 0;
    return !differs;
}

/* Finds the first run of inner outputs, *first … *end - 1. */
static void find_inner(const vsti_affine *map, const positions *all, int count, int *first, int *end) {
    *first = 0;
    while (*first < count && !is_inner(map, all, *first)) ++*first;
    *end = *first;
    while (*end < count && is_inner(map, all, *end)) ++*end;
}

/* Shears and translations interpolate along one axis only: with an offset of 0 the formula returns the pixel exactly,
 * so the other axis is skipped. */
static void bicubic_inner(const vsti_affine *map, const positions *all, int first, int end, uint8_t *out, bool room) {
    if (all_zero(all->dy, first, end)) bicubic_run(map, all, first, end, true, false, out, room);
    else if (all_zero(all->dx, first, end)) bicubic_run(map, all, first, end, false, true, out, room);
    else bicubic_run(map, all, first, end, true, true, out, room);
}
#endif

static inline void bilinear_rgb(const vsti_affine *map, const pixel_position *p, const last_pixel *end, uint8_t *out,
                                bool room) {
    const doubles4 dx = {p->dx, p->dx, p->dx, p->dx}, dy = {p->dy, p->dy, p->dy, p->dy};
    const size_t stride = (size_t)map->width * 3;
    const size_t left = (size_t)clamp(p->x, map->width) * 3, right = (size_t)clamp(p->x + 1, map->width) * 3;
    doubles4 v[2], result;
    for (int i = 0; i < 2; i++) {
        const uint8_t *row = map->pixels + (size_t)clamp(p->y + i, map->height) * stride;
        const ints4 a = pixel_at(readable(row + left, end)), b = pixel_at(readable(row + right, end));
        v[i] = DOUBLES(a) + DOUBLES(b - a) * dx;
    }
    result = v[0] + (v[1] - v[0]) * dy;
    store_pixel(out, &result, room);
}

static double bicubic_grey(const vsti_affine *map, const pixel_position *p) {
    double v[4];
    for (int i = 0; i < 4; i++) {
        const uint8_t *row = map->pixels + (size_t)clamp(p->y - 1 + i, map->height) * (size_t)map->width;
        int n[4];
        for (int k = 0; k < 4; k++) n[k] = row[clamp(p->x - 1 + k, map->width)];
        v[i] = CUBIC(n[1], CUBIC2(n[0], n[1], n[2], n[3]), CUBIC3(n[0], n[1], n[2], n[3]),
                     CUBIC4(n[0], n[1], n[2], n[3]), p->dx);
    }
    return CUBIC(v[1], CUBIC2(v[0], v[1], v[2], v[3]), CUBIC3(v[0], v[1], v[2], v[3]), CUBIC4(v[0], v[1], v[2], v[3]),
                 p->dy);
}

static double bilinear_grey(const vsti_affine *map, const pixel_position *p) {
    double v[2];
    for (int i = 0; i < 2; i++) {
        const uint8_t *row = map->pixels + (size_t)clamp(p->y + i, map->height) * (size_t)map->width;
        const int a = row[clamp(p->x, map->width)], b = row[clamp(p->x + 1, map->width)];
        v[i] = a + (b - a) * p->dx;
    }
    return v[0] + (v[1] - v[0]) * p->dy;
}

/* Computes outputs first … end - 1; they need not be inner. */
static inline __attribute__((always_inline)) void general_run(const vsti_affine *map, const positions *all, int first,
                                                              int end, const last_pixel *last, uint8_t *out,
                                                              bool bicubic, bool room) {
    for (int i = first; i < end; i++) {
        const pixel_position p = {all->x[i], all->y[i], all->dx[i], all->dy[i]};
        uint8_t *to = out + (size_t)i * (size_t)map->channels;
        if (p.x == OUTSIDE) {
            for (int c = 0; c < map->channels; c++) to[c] = map->fill[c];
        } else if (map->channels == 1) {
            const double v = bicubic ? bicubic_grey(map, &p) : bilinear_grey(map, &p);
            *to = (uint8_t)(v <= 0.0 ? 0.0 : v >= 255.0 ? 255.0 : v);
        } else if (bicubic) {
            bicubic_rgb(map, &p, last, to, room || i + 1 < end);
        } else {
            bilinear_rgb(map, &p, last, to, room || i + 1 < end);
        }
    }
}

static inline __attribute__((always_inline)) void affine_row(const vsti_affine *map, int y, uint8_t *out, int width,
                                                             bool bicubic) {
    const size_t channels = (size_t)map->channels;
    last_pixel end = {.last = map->pixels + ((size_t)map->height * (size_t)map->width - 1) * channels};
    memcpy(end.pixels, end.last, channels);
    for (int x = 0; x < width; x += PIECE, out += PIECE * channels) {
        const int count = width - x < PIECE ? width - x : PIECE;
        const bool room = x + count < width;
        int first = 0;
        positions all;
        find_positions(map, x, y, count, &all);
#if defined __AVX2__
        if (bicubic && channels == 3) { /* left to right: storing a pixel overwrites a byte of the next one */
            int behind;
            find_inner(map, &all, count, &first, &behind);
            general_run(map, &all, 0, first, &end, out, true, room || first < count);
            bicubic_inner(map, &all, first, behind, out, room || behind < count);
            first = behind;
        }
#endif
        general_run(map, &all, first, count, &end, out, bicubic, room);
    }
}

void K(affine_bilinear)(const vsti_affine *map, int y, uint8_t *out, int width) {
    affine_row(map, y, out, width, false);
}

void K(affine_bicubic)(const vsti_affine *map, int y, uint8_t *out, int width) { affine_row(map, y, out, width, true); }
