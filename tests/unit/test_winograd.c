/* Winograd's convolution on every instruction set against the direct sum in double: sizes with partial tiles, groups,
 * padding, layouts, sums and bounds; the same bits with one and with several threads. */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/suite.h"
#include "vision/base/random.h"
#include "vision/kernels/kernels.h"

static const char *const isas[] = {"generic", "avx2", "avx512"};
enum { ISAS = 3 };

static const vsti_winograd cases[] = {
    {1, 8, 8, 1, 4, 4, 4, 4, 1, 1, 8, 8, false, -INFINITY, INFINITY},
    {2, 16, 24, 1, 7, 9, 7, 9, 1, 1, 8, 8, false, 0, INFINITY},
    {3, 32, 40, 1, 14, 13, 14, 13, 1, 1, 32, 40, true, 0, 6},           /* channels last */
    {1, 24, 56, 1, 5, 6, 3, 4, 0, 0, 8, 8, true, -INFINITY, INFINITY},  /* no padding */
    {2, 48, 48, 3, 8, 11, 8, 11, 1, 1, 16, 16, false, 0, INFINITY},     /* groups, blocks of 16 */
    {1, 112, 112, 2, 6, 6, 6, 6, 1, 1, 8, 112, false, -INFINITY, 0.5f}, /* from one layout to another */
    {1, 16, 8, 1, 3, 3, 5, 5, 2, 2, 16, 8, false, -INFINITY, INFINITY}, /* more padding than one */
    {1, 8, 16, 2, 6, 7, 6, 7, 1, 1, 8, 8, false, -INFINITY, INFINITY},  /* groups of 4 inputs */
    {5, 128, 64, 1, 28, 28, 28, 28, 1, 1, 8, 8, false, 0, INFINITY},    /* several chunks of tiles */
};
enum { CASES = sizeof cases / sizeof cases[0] };

typedef struct data {
    vsti_winograd s;
    int64_t in_count, out_count, weight_count;
    float *x, *weight, *bias, *y, *start;
} data;

static float *values(int64_t n, uint64_t stream) {
    vst_random random = vst_random_stream(7, stream, 0, 0);
    float *x = malloc((size_t)n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(2 * vst_random_uniform(&random) - 1);
    return x;
}

static data make(const vsti_winograd *s) {
    data d = {.s = *s,
              .in_count = s->images * s->in * s->height * s->width,
              .out_count = s->images * s->out * s->out_height * s->out_width,
              .weight_count = s->out * (s->in / s->groups) * 9};
    d.x = values(d.in_count, 1);
    d.weight = values(d.weight_count, 2);
    d.bias = values(s->out, 3);
    d.start = values(d.out_count, 4);
    d.y = malloc((size_t)d.out_count * sizeof *d.y);
    return d;
}

static void clear(data *d) {
    free(d->x);
    free(d->weight);
    free(d->bias);
    free(d->start);
    free(d->y);
}

static int64_t place(int64_t image, int64_t channel, int64_t pixel, int64_t channels, int64_t pixels, int64_t block) {
    return ((image * (channels / block) + channel / block) * pixels + pixel) * block + channel % block;
}

static double direct(const data *d, int64_t image, int64_t k, int64_t y, int64_t x) {
    const vsti_winograd *s = &d->s;
    const int64_t inner = s->in / s->groups, first = k / (s->out / s->groups) * inner;
    double sum = d->bias[k];
    for (int64_t c = 0; c < inner; c++)
        for (int64_t i = 0; i < 9; i++) {
            const int64_t row = y + i / 3 - s->top, column = x + i % 3 - s->left;
            if (row < 0 || row >= s->height || column < 0 || column >= s->width) continue;
            const int64_t at =
                place(image, first + c, row * s->width + column, s->in, s->height * s->width, s->in_block);
            sum += (double)d->x[at] * d->weight[(k * inner + c) * 9 + i];
        }
    return sum;
}

static void run(const vsti_kernels *k, data *d) {
    float *packed = malloc(k->winograd_weights_floats(&d->s) * sizeof *packed);
    float *scratch = malloc(k->winograd_scratch_floats(&d->s) * sizeof *scratch);
    ck_assert(packed && scratch);
    memcpy(d->y, d->start, (size_t)d->out_count * sizeof *d->y);
    k->winograd_weights(&d->s, d->weight, packed);
    k->winograd(&d->s, d->x, packed, d->bias, d->y, scratch);
    free(packed);
    free(scratch);
}

/* The largest difference divided by the root mean square before the bounds are applied. */
static double worst_error(const data *d) {
    const vsti_winograd *s = &d->s;
    const int64_t pixels = s->out_height * s->out_width;
    double *expected = calloc((size_t)d->out_count, sizeof *expected), squares = 0;
    ck_assert_ptr_nonnull(expected);
    for (int64_t i = 0; i < d->out_count; i++) {
        const int64_t image = i / (s->out * pixels), k = i / pixels % s->out, pixel = i % pixels;
        const int64_t at = place(image, k, pixel, s->out, pixels, s->out_block);
        double want =
            direct(d, image, k, pixel / s->out_width, pixel % s->out_width) + (s->sum ? (double)d->start[at] : 0);
        squares += want * want;
        expected[at] = want < s->low ? s->low : want > s->high ? s->high : want;
    }
    const double worst = largest_difference(d->y, expected, d->out_count);
    free(expected);
    return worst / sqrt(squares / (double)d->out_count);
}

START_TEST(equals_direct) {
    const vsti_kernels *k = vsti_find_kernels(isas[_i / CASES]);
    data d = make(&cases[_i % CASES]);
    if (k) {
        run(k, &d);
        const double error = worst_error(&d);
        ck_assert_msg(error < 2e-5, "%s, case %d: off by %.2g of the RMS", k->isa, _i % CASES, error);
    } else {
        printf("skipped: this processor has no %s\n", isas[_i / CASES]);
    }
    clear(&d);
}
END_TEST

START_TEST(any_threads) {
    data d = make(&cases[_i]);
    float *first = malloc((size_t)d.out_count * sizeof *first);
    ck_assert_ptr_nonnull(first);
    omp_set_num_threads(1);
    run(vsti_get_kernels(), &d);
    memcpy(first, d.y, (size_t)d.out_count * sizeof *first);
    omp_set_num_threads(3);
    run(vsti_get_kernels(), &d);
    ck_assert(memcmp(first, d.y, (size_t)d.out_count * sizeof *first) == 0);
    free(first);
    clear(&d);
}
END_TEST

/* NaN is propagated, even with bounds. */
START_TEST(nan_stays) {
    data d = make(&cases[1]);
    d.x[0] = NAN;
    run(vsti_get_kernels(), &d);
    int count = 0;
    for (int64_t i = 0; i < d.out_count; i++) count += isnan(d.y[i]);
    ck_assert_int_gt(count, 0);
    clear(&d);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("winograd");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, equals_direct, 0, ISAS * CASES);
    tcase_add_loop_test(tcase, any_threads, 0, CASES);
    tcase_add_test(tcase, nan_stays);
    return run_suite("winograd", tcase);
}
