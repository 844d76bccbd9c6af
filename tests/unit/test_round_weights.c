/* Weights rounded for what their layer gives: the output is off by less than with weights rounded to nearest, the
 * integers are within their levels beside their neighbours, and a program finds the same ones again. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "recipes/quant/internal.h"
#include "tests/unit/compare.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"

enum { ROWS = 300 };

static const struct {
    int64_t out, in, window, groups;
    double gain; /* of the error of the output that is left, at most */
} layers[] = {
    {20, 30, 1, 1, 0.6}, /* linear */
    {12, 7, 9, 1, 0.6},  /* an odd number of channels */
    {10, 6, 9, 2, 0.6},
    {3, 1, 16, 1, 0.8},
    {4, 1302, 1, 1, 0.7} /* in two parts */
};

/* Rows of what one group reads: channels that resemble each other, of different sizes. */
static float *make_rows(int64_t columns, uint64_t seed) {
    float *x = vst_alloc((size_t)(ROWS * columns) * sizeof *x);
    vst_random random = vst_random_stream(seed, 0, 0, 0);
    for (int64_t r = 0; r < ROWS; r++) {
        double common[4];
        for (int i = 0; i < 4; i++) common[i] = vst_random_normal(&random);
        for (int64_t c = 0; c < columns; c++)
            x[r * columns + c] =
                (float)((double)(1 + c % 3) * (common[c % 4] + common[c % 2] + 0.3 * vst_random_normal(&random)));
    }
    return x;
}

static void add_moments(vsti_moments *m, int64_t group, const float *x, int64_t columns) {
    for (int64_t p = 0; p < m->parts; p++) {
        float *sum = m->values + (group * m->parts + p) * m->columns * m->columns;
        for (int64_t r = 0; r < ROWS; r++) {
            const float *row = x + r * columns + p * m->columns;
            const int64_t used = columns - p * m->columns < m->columns ? columns - p * m->columns : m->columns;
            for (int64_t i = 0; i < used; i++)
                for (int64_t j = 0; j < used; j++) sum[i * m->columns + j] += row[i] * row[j];
        }
    }
}

/* Squared, of the outputs of one group. */
static double error_of(const float *exact, const float *rounded, const float *x, int64_t outputs, int64_t columns) {
    double error = 0;
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t o = 0; o < outputs; o++) {
            double off = 0;
            for (int64_t c = 0; c < columns; c++)
                off += ((double)rounded[o * columns + c] - (double)exact[o * columns + c]) * (double)x[r * columns + c];
            error += off * off;
        }
    return error;
}

/* The weights that a program computes with: integers times their step. */
static void pack(const float *weight, const vsti_candidate *layer, float *out) {
    vst_integer_weight made;
    const int64_t inner = layer->in * layer->window;
    const vst_tensor tensor = {"layer.weight", VST_F32, VST_SHAPE(layer->out, layer->in, 1, layer->window),
                               (void *)weight};
    ck_ok(vst_integer_weight_create(&made, &tensor));
    for (int64_t o = 0; o < layer->out; o++)
        for (int64_t i = 0; i < inner; i++) {
            const int q = made.integers[o * inner + i], channel = (int)(i / layer->window);
            out[o * inner + i] = (float)q * made.steps[o];
            ck_assert_int_ge(q, -127);
            if (channel % 2) {
                const int both = q + made.integers[o * inner + i - layer->window];
                ck_assert_msg(both >= -128 && both <= 128, "neighbours sum to %d", both);
            }
        }
    vst_free(made.memory);
}

START_TEST(outputs_change_less) {
    const vsti_candidate layer = {.out = layers[_i].out,
                                  .in = layers[_i].in,
                                  .window = layers[_i].window,
                                  .groups = layers[_i].groups,
                                  .usable = true};
    const int64_t columns = layer.in * layer.window, outputs = layer.out / layer.groups;
    const size_t bytes = (size_t)(layer.out * columns) * sizeof(float);
    float *exact = vst_alloc(bytes), *nearest = vst_alloc(bytes), *rounded = vst_alloc(bytes),
          *again = vst_alloc(bytes);
    vsti_moments m = {0};
    vst_random random = vst_random_stream(5, (uint64_t)_i, 0, 0);
    double before = 0, after = 0;
    vsti_moments_describe(&m, &layer);
    m.values = vst_calloc(m.floats, sizeof *m.values);
    for (int64_t i = 0; i < layer.out * columns; i++) exact[i] = (float)vst_random_normal(&random);
    memset(exact, 0, (size_t)columns * sizeof *exact); /* an output that is always 0 */
    for (int64_t g = 0; g < layer.groups; g++) {
        float *x = make_rows(columns, (uint64_t)g);
        add_moments(&m, g, x, columns);
        vst_free(x);
    }
    memcpy(rounded, exact, bytes);
    ck_ok(vsti_round(rounded, &layer, &m));
    pack(exact, &layer, nearest);
    pack(rounded, &layer, again);
    ck_assert_all_close("integers found again", again, rounded, (size_t)(layer.out * columns),
                        (tolerance){1e-6, 1e-6, false});
    for (int64_t g = 0; g < layer.groups; g++) {
        float *x = make_rows(columns, (uint64_t)g);
        const int64_t at = g * outputs * columns;
        before += error_of(exact + at, nearest + at, x, outputs, columns);
        after += error_of(exact + at, rounded + at, x, outputs, columns);
        vst_free(x);
    }
    ck_assert_msg(after < layers[_i].gain * before, "the error of the output is %g of that of rounding to nearest",
                  after / before);
    vst_free(m.values);
    vst_free(exact);
    vst_free(nearest);
    vst_free(rounded);
    vst_free(again);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("round_weights");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, outputs_change_less, 0, sizeof layers / sizeof *layers);
    return run_suite("round_weights", cases);
}
