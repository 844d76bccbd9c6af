/* Random masks from a counter-based generator (Philox4x32-10): the backward pass, with any number of threads, computes
 * the same mask again instead of storing it. */
#include <Random123/philox.h>
#include <string.h>

#include "vision/kernels/isa.h"

enum { DRAWN = 1024 }; /* numbers drawn at a time; a multiple of 4 */

typedef struct stream {
    philox4x32_key_t key;
    uint32_t step, low, high;
} stream;

/* Draws numbers first … first + DRAWN - 1 of a stream; first is a multiple of 4. The counter is a quarter of the index,
 * so a stream has 2^34 numbers. */
static void draw(const stream *s, int64_t first, uint32_t *out) {
    for (int64_t i = 0; i < DRAWN; i += 4) {
        const philox4x32_ctr_t counter = {{(uint32_t)((first + i) / 4), s->step, s->low, s->high}};
        const philox4x32_ctr_t numbers = philox4x32(counter, s->key);
        memcpy(out + i, numbers.v, sizeof numbers.v);
    }
}

static void mask_rows(const float *x, float *y, const uint32_t *numbers, uint32_t threshold, float factor, int64_t rows,
                      int64_t inner) {
    for (int64_t row = 0; row < rows; row++) {
        const float *from = x + row * inner;
        float *to = y + row * inner;
        if (numbers[row] < threshold) {
            memset(to, 0, (size_t)inner * sizeof *to);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < inner; i++) to[i] = from[i] * factor;
        }
    }
}

static void mask_elements(const float *x, float *y, const uint32_t *numbers, uint32_t threshold, float factor,
                          int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float scaled = x[i] * factor;
        y[i] = numbers[i] < threshold ? 0 : scaled;
    }
}

void K(dropout)(const float *x, float *y, float rate, uint64_t seed, uint64_t id, uint32_t step, int64_t outer,
                int64_t inner) {
    const stream s = {{{(uint32_t)seed, (uint32_t)(seed >> 32)}}, step, (uint32_t)id, (uint32_t)(id >> 32)};
    const uint32_t threshold = (uint32_t)((double)rate * 0x1p32); /* rate < 1 */
    const float factor = 1 / (1 - rate);
    const int64_t chunks = (outer + DRAWN - 1) / DRAWN;
#pragma omp parallel for schedule(static) if (outer * inner > VSTI_PARALLEL)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        uint32_t numbers[DRAWN];
        const int64_t begin = chunk * DRAWN, left = outer - begin, rows = left < DRAWN ? left : DRAWN;
        draw(&s, begin, numbers);
        if (inner == 1) mask_elements(x + begin, y + begin, numbers, threshold, factor, rows);
        else mask_rows(x + begin * inner, y + begin * inner, numbers, threshold, factor, rows, inner);
    }
}
