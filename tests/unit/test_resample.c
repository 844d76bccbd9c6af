/* Bicubic resizing against torch.nn.functional.interpolate (torch 2.13, in float64) and timm's resample_abs_pos_embed
 * (timm 1.0.31). */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "tests/unit/compare.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/tensor/resample.h"

enum { WANTED_MAX = 64, INPUT_MAX = 200 };
static const double limit = 1e-5;

/* The input of every case; Python: [((i * 37 + 11) % 101) / 101 - 0.5 for i in range(n)], as float32. */
static const float *input(void) {
    static float values[INPUT_MAX];
    for (int i = 0; i < INPUT_MAX; i++) values[i] = (float)((i * 37 + 11) % 101 / 101.0 - 0.5);
    return values;
}

/* Memory of exactly this size, so that sanitizers detect writes beyond it. */
static float *room(int count) {
    float *values = malloc((size_t)count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (int i = 0; i < count; i++) values[i] = NAN;
    return values;
}

static void compare(const float *got, const float *want, int count) {
    ck_assert_all_close("values", got, want, count, (tolerance){.absolute = limit});
}

static const struct resizing {
    int in_h, in_w, out_h, out_w, channels;
    bool antialias;
    float want[WANTED_MAX];
} resizings[] = {
    {4, 5, 7, 9, 1, false, {-0.5205443,  -0.3473948,  -0.07496106, 0.2523008,  0.3582839,   -0.005635155, -0.2834333,
                            -0.05957449, 0.1278924,   -0.0999278,  -0.1096423, -0.09822733, 0.1483974,    0.2945824,
                            -0.1102509,  -0.4070298,  -0.146053,   0.07039126, 0.4589027,   0.1989572,    -0.1468056,
                            -0.01871058, 0.1906725,   -0.2039777,  -0.4960325, -0.244294,   -0.03506183,  0.5329778,
                            0.1661109,   -0.3258011,  -0.2431311,  0.08910891, 0.06555331,  -0.0656399,   -0.1435644,
                            -0.1916942,  0.3129912,   0.05622438,  -0.2889498, -0.279567,   -0.01245472,  0.3149431,
                            0.3647527,   -0.04283477, -0.3483265,  0.1483818,  0.1752926,   0.1934901,    0.01579808,
                            -0.1163646,  0.1716656,   0.27575,     -0.1410757, -0.4537796,  0.04032211,   0.2745392,
                            0.5582817,   0.2498612,   -0.1800661,  0.03083919, 0.1521535,   -0.2275542,   -0.5112807}},
    {4, 5, 7, 9, 1, true, {-0.4933389,  -0.3467546,  -0.06204925, 0.2117263,  0.3549362,   -0.01081642,  -0.2779032,
                           -0.03529936, 0.1174276,   -0.1386824,  -0.128349,  -0.09015835, 0.1298973,    0.29717,
                           -0.09293671, -0.3725481,  -0.1049148,  0.06276911, 0.4560122,   0.2331701,    -0.150517,
                           -0.02639045, 0.1860571,   -0.1992917,  -0.4764562, -0.2137128,  -0.04895095,  0.4806873,
                           0.1948617,   -0.2994535,  -0.1997167,  0.08910891, 0.04571568,  -0.06078371,  -0.1459543,
                           -0.1890974,  0.3073804,   0.08609909,  -0.2971728, -0.25276,    -0.007839258, 0.2813807,
                           0.3548888,   -0.07819569, -0.3292439,  0.1431422,  0.1775427,   0.2221359,    0.05203775,
                           -0.1189522,  0.1392132,   0.2509807,   -0.1869937, -0.4409639,  0.0543334,    0.2381359,
                           0.5327424,   0.2396337,   -0.1767184,  0.03616674, 0.1563358,   -0.2566091,   -0.4956224}},
    {7, 9, 4, 5, 1, false, {-0.1316036, 0.00445756, 0.2276309,   -0.1004457,  -0.07038063, -0.1176608, 0.09695506,
                            -0.3541489, 0.3699814,  -0.02400619, -0.07831832, -0.4323977,  0.284842,   -0.166262,
                            0.0483539,  0.1971577,  0.1181466,   -0.2969378,  -0.0737645,  0.0622967}},
    {7, 9, 4, 5, 1, true, {-0.0699385,  -0.01662335, 0.09822081, 0.09166981,  -0.04771375, -0.1399774,  -0.04583565,
                           -0.03155994, 0.08935623,  0.1018513,  -0.07451562, -0.1340676,  -0.05146782, -0.02657296,
                           0.05999576,  0.1684202,   0.1163027,  -0.02895206, -0.06930305, 0.0006315743}},
    {2, 3, 5, 2, 3, false, {-0.4048855,  -0.03854889, 0.47707,    -0.2447679,  0.1215687, -0.2605537,
                            -0.3477816,  0.01855508,  0.3351651,  -0.187664,   0.1786726, -0.2470064,
                            -0.2236231,  0.1427135,   0.02662824, -0.06350557, 0.3028311, -0.2175511,
                            -0.09946473, 0.2668719,   -0.2819087, 0.06065285,  0.4269895, -0.1880958,
                            -0.04236077, 0.3239759,   -0.4238135, 0.1177568,   0.4840935, -0.1745484}},
    {2, 3, 5, 2, 3, true, {-0.3898395,  -0.02350282, 0.4859938,  -0.2531645,  0.1131722, -0.1359096,
                           -0.3409463,  0.0253903,   0.3636747,  -0.2042714,  0.1620653, -0.1446157,
                           -0.2119019,  0.1544348,   0.04083561, -0.07522687, 0.2911098, -0.1675937,
                           -0.08285737, 0.2834793,   -0.2820034, 0.05381762,  0.4201543, -0.1905718,
                           -0.03396424, 0.3323724,   -0.4043226, 0.1027107,   0.4690474, -0.1992779}},
    {1, 1, 2, 3, 1, false, {-0.3910891, -0.3910891, -0.3910891, -0.3910891, -0.3910891, -0.3910891}},
    {1, 1, 2, 3, 1, true, {-0.3910891, -0.3910891, -0.3910891, -0.3910891, -0.3910891, -0.3910891}},
    {11, 13, 3, 2, 1, true, {0.005017409, -0.01284774, -0.01023985, 0.01604938, -0.002049374, -0.04139925}},
    {3, 7, 3, 7, 1, true, {-0.3910891, -0.02475248, 0.3415841,   -0.2920792, 0.07425743, 0.440594,    -0.1930693,
                           0.1732673,  -0.4603961,  -0.09405941, 0.2722772,  -0.3613862, 0.004950495, 0.3712871,
                           -0.2623762, 0.1039604,   0.470297,    -0.1633663, 0.2029703,  -0.4306931,  -0.06435644}},
    {14,
     14,
     3,
     5,
     1,
     true,
     {0.03837605, 0.0302651, -0.005239187, -0.0295512, -0.0570633, -0.02112036, 0.0283605, 0.01563771, -0.0102732,
      -0.02419117, -0.04887444, 0.02891614, 0.04138333, 0.003815089, -0.03888433}}};

START_TEST(like_pytorch) {
    const struct resizing *r = &resizings[_i];
    const int count = r->out_h * r->out_w * r->channels;
    float *got = room(count);
    ck_assert_int_eq(
        vst_resample_bicubic(got, r->out_h, r->out_w, input(), r->in_h, r->in_w, r->channels, r->antialias), VST_OK);
    compare(got, r->want, count);
    free(got);
}
END_TEST

/* 2 x 2 to 3 x 3, two tokens before the grid, width 3; without and with antialiasing. */
static const float positions[2][33] = {
    {-0.3910891,  -0.02475248, 0.3415841,  -0.2920792, 0.07425743, 0.440594,   -0.2188532, 0.1474836, -0.4861801,
     -0.1607536,  0.2055831,   -0.4280804, -0.1026541, 0.2636827,  -0.3699809, -0.102654,  0.2636827, -0.3699808,
     -0.04455445, 0.3217822,   -0.3118812, 0.01354508, 0.3798818,  -0.2537817, 0.01354506, 0.3798818, -0.2537818,
     0.07164463,  0.4379813,   -0.1956822, 0.1297442,  0.4960809,  -0.1375826},
    {-0.3910891,  -0.02475248, 0.3415841,  -0.2920792, 0.07425743, 0.440594,   -0.2126107, 0.153726,  -0.4799375,
     -0.156592,   0.2097447,   -0.4239187, -0.1005732, 0.2657635,  -0.3678999, -0.1005732, 0.2657634, -0.3679,
     -0.04455446, 0.3217822,   -0.3118812, 0.01146431, 0.377801,   -0.2558624, 0.01146434, 0.377801,  -0.2558624,
     0.06748308,  0.4338197,   -0.1998436, 0.1235019,  0.4898385,  -0.1438249}};

START_TEST(position_like_timm) {
    for (int antialias = 0; antialias < 2; antialias++) {
        float *got = room(33);
        ck_assert_int_eq(vst_resize_position(got, 3, 3, input(), 2, 2, 2, 3, antialias), VST_OK);
        compare(got, positions[antialias], 33);
        free(got);
    }
}
END_TEST

START_TEST(position_without_prefix) {
    float *got = room(27), *all = room(33);
    ck_assert_int_eq(vst_resize_position(got, 3, 3, input() + 6, 2, 2, 0, 3, true), VST_OK);
    ck_assert_int_eq(vst_resize_position(all, 3, 3, input(), 2, 2, 2, 3, true), VST_OK);
    ck_assert_mem_eq(got, all + 6, 27 * sizeof *got);
    free(got);
    free(all);
}
END_TEST

START_TEST(same_size_is_a_copy) {
    for (int antialias = 0; antialias < 2; antialias++) {
        float *got = room(60);
        ck_assert_int_eq(vst_resample_bicubic(got, 4, 5, input(), 4, 5, 3, antialias), VST_OK);
        ck_assert_mem_eq(got, input(), 60 * sizeof *got);
        free(got);
    }
}
END_TEST

/* PyTorch 2.13 has a bug for a single antialiased column; the expected values are those of the same data as a row. */
START_TEST(column_like_row) {
    static const int lengths[][2] = {{2, 6}, {5, 3}, {31, 4}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int antialias = 0; antialias < 2; antialias++) {
            const int in = lengths[i][0], out = lengths[i][1];
            float *column = room(2 * out), *row = room(2 * out);
            ck_assert_int_eq(vst_resample_bicubic(column, out, 1, input(), in, 1, 2, antialias), VST_OK);
            ck_assert_int_eq(vst_resample_bicubic(row, 1, out, input(), 1, in, 2, antialias), VST_OK);
            compare(column, row, 2 * out);
            free(column);
            free(row);
        }
}
END_TEST

START_TEST(impossible_sizes) {
    static const struct {
        int out_h, out_w, in_h, in_w, channels;
        vst_status status;
    } refused[] = {{0, 1, 1, 1, 1, VST_ERROR_ARGUMENT},
                   {1, -1, 1, 1, 1, VST_ERROR_ARGUMENT},
                   {1, 1, 0, 1, 1, VST_ERROR_ARGUMENT},
                   {1, 1, 1, -7, 1, VST_ERROR_ARGUMENT},
                   {1, 1, 1, 1, 0, VST_ERROR_ARGUMENT},
                   {2000000000, 2000000000, 1, 1, 2000000000, VST_ERROR_LIMIT},
                   {1, 2000000000, 2000000000, 1, 2, VST_ERROR_LIMIT}};
    float out = 3;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const vst_status got = vst_resample_bicubic(&out, refused[i].out_h, refused[i].out_w, input(), refused[i].in_h,
                                                    refused[i].in_w, refused[i].channels, false);
        ck_assert_msg(got == refused[i].status, "case %d gives %s", (int)i, vst_status_name(got));
    }
    ck_assert_int_eq(vst_resize_position(&out, 1, 1, input(), 1, 1, -1, 1, false), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_resize_position(&out, 1, 1, input(), 0, 1, 1, 1, false), VST_ERROR_ARGUMENT);
    ck_assert_float_eq(out, 3);
}
END_TEST

START_TEST(out_of_memory) {
    float *got = room(30);
    const uint64_t before = vst_memory_count();
    ck_assert_int_eq(vst_resample_bicubic(got, 5, 2, input(), 2, 3, 3, true), VST_OK);
    const uint64_t allocations = vst_memory_count() - before;
    ck_assert_uint_gt(allocations, 0);
    for (uint64_t n = 1; n <= allocations; n++) {
        vst_memory_fail_at(n);
        ck_assert_int_eq(vst_resample_bicubic(got, 5, 2, input(), 2, 3, 3, true), VST_ERROR_MEMORY);
    }
    vst_memory_fail_at(0);
    free(got);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("resample");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, like_pytorch, 0, sizeof resizings / sizeof *resizings);
    tcase_add_test(cases, position_like_timm);
    tcase_add_test(cases, position_without_prefix);
    tcase_add_test(cases, same_size_is_a_copy);
    tcase_add_test(cases, column_like_row);
    tcase_add_test(cases, impossible_sizes);
    tcase_add_test(cases, out_of_memory);
    return run_suite("resample", cases);
}
