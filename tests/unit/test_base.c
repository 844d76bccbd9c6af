/* vision/base: status, memory, log, option, random; and vision/tensor/tensor.c. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/option.h"
#include "vision/base/random.h"
#include "vision/tensor/tensor.h"

/* ---- Status, memory, log ---- */

START_TEST(status_messages) {
    ck_assert_str_eq(vst_error_message(), "");
    ck_assert_int_eq(vst_fail(VST_ERROR_IO, "byte %d", 7), VST_ERROR_IO);
    ck_assert_int_eq(vst_fail_in(VST_ERROR_IO, "reading %s", "x.png"), VST_ERROR_IO);
    ck_assert_str_eq(vst_error_message(), "reading x.png: byte 7");
    ck_assert_int_eq(vst_fail(VST_ERROR_SHAPE, "again: %s", vst_error_message()), VST_ERROR_SHAPE);
    ck_assert_str_eq(vst_error_message(), "again: reading x.png: byte 7");
    ck_assert_str_eq(vst_status_name(VST_ERROR_NOT_FOUND), "not found");
    ck_assert_str_eq(vst_status_name(VST_ERROR_INTERNAL), "internal");
    ck_assert_str_eq(vst_status_name((vst_status)99), "unknown");
}
END_TEST

START_TEST(long_messages_are_cut) {
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ck_assert_int_eq(vst_fail(VST_ERROR_IO, "%s", text), VST_ERROR_IO);
    ck_assert_uint_lt(strlen(vst_error_message()), sizeof text / 2);
    ck_assert_int_eq(vst_fail_in(VST_ERROR_IO, "%s", text), VST_ERROR_IO);
    ck_assert_uint_lt(strlen(vst_error_message()), sizeof text / 2);
}
END_TEST

START_TEST(memory_fails_on_demand) {
    const uint64_t before = vst_memory_count();
    vst_memory_fail_at(2);
    void *first = vst_alloc(8), *second = vst_calloc(1, 8), *third = vst_alloc_aligned(100);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(third);
    ck_assert_uint_eq((uintptr_t)third % VST_ALIGNMENT, 0);
    ck_assert_uint_eq(vst_memory_count() - before, 3);
    vst_free(first);
    vst_free(third);
    ck_assert_ptr_null(vst_calloc(SIZE_MAX / 2, 4));
    ck_assert_ptr_null(vst_strdup(NULL));
}
END_TEST

START_TEST(memory_grows) {
    int *list = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(vst_grow(&list, &capacity, (size_t)i + 1, sizeof *list), VST_OK);
        list[i] = i;
    }
    for (int i = 0; i < 1000; i++) ck_assert_int_eq(list[i], i);
    int *const same = list;
    vst_memory_fail_at(1);
    ck_fails(vst_grow(&list, &capacity, capacity + 1, sizeof *list), VST_ERROR_MEMORY, "out of memory");
    ck_assert_ptr_eq(list, same);
    ck_assert_int_eq(vst_grow(&list, &capacity, SIZE_MAX / 2, sizeof *list), VST_ERROR_MEMORY);
    ck_assert_ptr_eq(list, same);
    vst_free(list);
    char *text = vst_format("%s-%d", "layer", 3);
    ck_assert_str_eq(text, "layer-3");
    vst_free(text);
}
END_TEST

static void keep_log(vst_log_level level, const char *text, void *user) { sprintf(user, "%d:%s", level, text); }

START_TEST(log_goes_to_the_sink) {
    char kept[100] = "";
    vst_log(VST_LOG_INFO, "dropped");
    vst_log_set(keep_log, kept);
    vst_log(VST_LOG_WARNING, "epoch %d", 3);
    ck_assert_str_eq(kept, "1:epoch 3");
    vst_log_set(NULL, NULL);
    vst_log(VST_LOG_INFO, "dropped");
    ck_assert_str_eq(kept, "1:epoch 3");
}
END_TEST

/* ---- Options ---- */

typedef struct nested {
    int image;
} nested;

typedef struct sample {
    nested common;
    double lr, free;
    bool nesterov;
    char *path, *title;
    int kind;
    vst_option_list betas;
} sample;

#define KINDS(X) X(KIND_ADAMW, "adamw") X(KIND_SGD, "sgd") X(KIND_LAMB, "lamb")
enum { VST_CHOICE_ENUM(KINDS) };

static const vst_option sample_table[] = {VST_OPTION_INT(sample, common.image, 224, 4, 4096, "size"),
                                          VST_OPTION_DOUBLE(sample, lr, 1e-3, 0, 10, "learning rate"),
                                          VST_OPTION_DOUBLE(sample, free, 0, -HUGE_VAL, HUGE_VAL, "any number"),
                                          VST_OPTION_BOOL(sample, nesterov, true, "momentum of Nesterov"),
                                          VST_OPTION_STRING(sample, path, NULL, "a file"),
                                          VST_OPTION_STRING(sample, title, "a \"title\"", "text"),
                                          VST_OPTION_CHOICE(sample, kind, "sgd", VST_CHOICE_TEXT(KINDS), "optimiser"),
                                          VST_OPTION_LIST(sample, betas, "0.9, 0.999", 0, 1, "decays"),
                                          VST_OPTION_END};

START_TEST(options_have_defaults) {
    sample s = {0};
    ck_assert_int_eq(vst_options_default(sample_table, &s), VST_OK);
    ck_assert_int_eq(s.common.image, 224);
    ck_assert_double_eq(s.lr, 1e-3);
    ck_assert(s.nesterov);
    ck_assert_ptr_null(s.path);
    ck_assert_str_eq(s.title, "a \"title\"");
    ck_assert_int_eq(s.kind, KIND_SGD);
    ck_assert_int_eq(s.betas.count, 2);
    ck_assert_double_eq(s.betas.value[1], 0.999);
    vst_options_clear(sample_table, &s);
    ck_assert_ptr_null(s.title);
}
END_TEST

START_TEST(a_choice_is_one_list) {
    static const char *const names[] = {VST_CHOICE_NAMES(KINDS)};
    ck_assert_str_eq(VST_CHOICE_TEXT(KINDS), "adamw|sgd|lamb");
    ck_assert_str_eq(names[KIND_LAMB], "lamb");
    for (int i = 0; i < 3; i++) {
        sample s = {0};
        ck_assert_int_eq(vst_options_set(sample_table, &s, "kind", names[i]), VST_OK);
        ck_assert_int_eq(s.kind, i);
    }
}
END_TEST

START_TEST(options_default_of_a_wrong_table_fails) {
    static const vst_option wrong[] = {VST_OPTION_STRING(sample, title, "kept", ""),
                                       VST_OPTION_DOUBLE(sample, lr, 20, 0, 10, ""), VST_OPTION_END};
    sample s = {0};
    ck_fails(vst_options_default(wrong, &s), VST_ERROR_ARGUMENT, "default of lr");
    ck_assert_ptr_null(s.title);
}
END_TEST

/* Texts that vst_options_set accepts, and what vst_options_get writes for them. */
static const struct {
    const char *key, *value, *expected;
} good[] = {
    {"image", "32", "32"},
    {"image", " 4096 ", "4096"},
    {"lr", "0", "0"},
    {"lr", "10", "10"},
    {"lr", "1e-3", "0.001"},
    {"lr", ".5", "0.5"},
    {"lr", "0.1", "0.1"},
    {"lr", "0.30000000000000004", "0.30000000000000004"},
    {"free", "-1e300", "-1e+300"},
    {"free", "-inf", "-inf"},
    {"nesterov", "no", "false"},
    {"nesterov", "ON", "true"},
    {"nesterov", "1", "true"},
    {"nesterov", "False", "false"},
    {"path", "a b.txt", "a b.txt"},
    {"title", "", ""},
    {"kind", "adamw", "adamw"},
    {"kind", "lamb", "lamb"},
    {"betas", "", "[]"},
    {"betas", "[]", "[]"},
    {"betas", "[ ]", "[]"},
    {"betas", "0.5", "[0.5]"},
    {"betas", " [0.5 ,0.25] ", "[0.5, 0.25]"},
    {"betas", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]"},
};

START_TEST(options_read_and_write) {
    sample s = {0};
    ck_assert_int_eq(vst_options_default(sample_table, &s), VST_OK);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const vst_option *option = vst_options_find(sample_table, good[i].key);
        ck_assert_ptr_nonnull(option);
        ck_assert_msg(vst_options_set(sample_table, &s, good[i].key, good[i].value) == VST_OK, "%s = %s: %s",
                      good[i].key, good[i].value, vst_error_message());
        char *text = vst_options_get(option, &s);
        ck_assert_str_eq(text, good[i].expected);
        ck_assert_int_eq(vst_options_set(sample_table, &s, good[i].key, text), VST_OK);
        char *again = vst_options_get(option, &s);
        ck_assert_str_eq(text, again);
        vst_free(text);
        vst_free(again);
    }
    vst_options_clear(sample_table, &s);
}
END_TEST

static const struct {
    const char *key, *value, *message;
} bad[] = {
    {"lrr", "1", "unknown key \"lrr\"; did you mean \"lr\"?"},
    {"Image", "1", "did you mean \"image\"?"},
    {"nesterof", "1", "did you mean \"nesterov\"?"},
    {"common.image", "1", "unknown key \"common.image\""},
    {"zzzz", "1", "unknown key \"zzzz\"; known are image, lr, free, nesterov, path, title, kind, betas"},
    {"", "1", "unknown key"},
    {"image", "3", "image = 3: allowed is 4 … 4096"},
    {"image", "4097", "image = 4097: allowed is 4 … 4096"},
    {"image", "99999999999999999999", "allowed is 4 … 4096"},
    {"image", "4294967300", "allowed is 4 … 4096"},
    {"image", "1e3", "image: expected a whole number, got \"1e3\""},
    {"image", "32.0", "expected a whole number"},
    {"image", "", "expected a whole number, got \"\""},
    {"image", "32x", "expected a whole number"},
    {"lr", "12", "lr = 12: allowed is 0 … 10"},
    {"lr", "-1e-9", "allowed is 0 … 10"},
    {"lr", "inf", "allowed is 0 … 10"},
    {"lr", "nan", "lr: expected a number, got \"nan\""},
    {"lr", "0.1f", "expected a number"},
    {"lr", "0,1", "expected a number"},
    {"lr", "", "expected a number"},
    {"nesterov", "maybe", "nesterov: expected true or false, got \"maybe\""},
    {"nesterov", "", "expected true or false"},
    {"kind", "adamv", "kind: expected one of adamw|sgd|lamb, got \"adamv\"; did you mean \"adamw\"?"},
    {"kind", "adamw|sgd", "expected one of"},
    {"kind", "", "expected one of"},
    {"betas", "0.5, 2", "betas = 0.5, 2: allowed is 0 … 1"},
    {"betas", "0.5,", "expected a list of numbers"},
    {"betas", ",", "expected a list of numbers"},
    {"betas", "[0.5", "expected a list of numbers"},
    {"betas", "0.5]", "expected a list of numbers"},
    {"betas", "[0.5] 1", "expected a list of numbers"},
    {"betas", "[", "expected a list of numbers"},
    {"betas", "0.5 0.5", "expected a list of numbers"},
    {"betas", "nan", "expected a list of numbers"},
    {"betas", "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0", "at most 16"},
};

START_TEST(options_refuse) {
    sample s = {0};
    ck_assert_int_eq(vst_options_default(sample_table, &s), VST_OK);
    const sample before = s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_fails(vst_options_set(sample_table, &s, bad[i].key, bad[i].value), VST_ERROR_ARGUMENT, bad[i].message);
    ck_assert_mem_eq(&s, &before, sizeof s);
    vst_options_clear(sample_table, &s);
}
END_TEST

START_TEST(a_string_may_be_set_to_itself) {
    sample s = {0};
    ck_assert_int_eq(vst_options_default(sample_table, &s), VST_OK);
    ck_assert_int_eq(vst_options_set(sample_table, &s, "path", "x"), VST_OK);
    ck_assert_int_eq(vst_options_set(sample_table, &s, "path", s.path), VST_OK);
    ck_assert_str_eq(s.path, "x");
    vst_options_clear(sample_table, &s);
}
END_TEST

START_TEST(options_survive_failing_memory) {
    for (uint64_t n = 1;; n++) {
        sample s = {0};
        vst_memory_fail_at(n);
        vst_status status = vst_options_default(sample_table, &s);
        if (status == VST_OK) status = vst_options_set(sample_table, &s, "path", "a/b");
        vst_memory_fail_at(0);
        vst_options_clear(sample_table, &s);
        if (status == VST_OK) {
            ck_assert_uint_gt(n, 2);
            return;
        }
        ck_assert_int_eq(status, VST_ERROR_MEMORY);
    }
}
END_TEST

/* ---- Random numbers ---- */

/* Random123's published results of philox4x32-10, through a stream with that key and counter. */
START_TEST(philox_known_answers) {
    static const struct {
        vst_random start;
        uint32_t expected[4];
    } known[] = {
        {{.used = 4}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{.key = {~0u, ~0u}, .counter = {~0u, ~0u, ~0u, ~0u}, .used = 4},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{.key = {0xa4093822, 0x299f31d0}, .counter = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, .used = 4},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (int k = 0; k < 3; k++) {
        vst_random random = known[k].start;
        for (int i = 0; i < 4; i++) ck_assert_uint_eq(vst_random_u32(&random), known[k].expected[i]);
    }
}
END_TEST

START_TEST(streams_differ) {
    const vst_random streams[] = {vst_random_stream(1, 2, 3, 4), vst_random_stream(2, 2, 3, 4),
                                  vst_random_stream(1, 3, 3, 4), vst_random_stream(1, 2, 4, 4),
                                  vst_random_stream(1, 2, 3, 5), vst_random_stream(2, 1, 3, 4),
                                  vst_random_stream(1, 2, 4, 3), vst_random_stream(1, 2, 3, 4 + (UINT64_C(1) << 32))};
    enum { COUNT = sizeof streams / sizeof *streams };
    uint64_t first[COUNT];
    for (int i = 0; i < COUNT; i++) {
        vst_random a = streams[i], b = streams[i];
        first[i] = (uint64_t)vst_random_u32(&a) << 32 | vst_random_u32(&a);
        ck_assert_uint_eq(first[i], (uint64_t)vst_random_u32(&b) << 32 | vst_random_u32(&b));
        for (int j = 0; j < i; j++) ck_assert_uint_ne(first[i], first[j]);
    }
}
END_TEST

/* These numbers are frozen: changing them would change the results of every seed. */
START_TEST(streams_are_frozen) {
    ck_assert_uint_eq(vst_random_id("crop"), UINT64_C(0xff767ff2524d138e));
    vst_random random = vst_random_stream(42, vst_random_id("crop"), 7, 1234567890123);
    static const uint32_t expected[5] = {0x49d1134f, 0x92336294, 0x08833041, 0xbb5c0dc8, 0xb12a4436};
    for (int i = 0; i < 5; i++) ck_assert_uint_eq(vst_random_u32(&random), expected[i]);
    static const uint64_t order[5] = {23689, 45223, 33893, 10789, 38091};
    for (uint64_t i = 0; i < 5; i++) ck_assert_uint_eq(vst_random_permute(42, 3, 50000, i), order[i]);
}
END_TEST

START_TEST(uniform_moments) {
    enum { COUNT = 200000, BINS = 16 };
    vst_random random = vst_random_stream(1, 1, 0, 0);
    double sum = 0, squares = 0;
    int bins[BINS] = {0};
    for (int i = 0; i < COUNT; i++) {
        const double u = vst_random_uniform(&random);
        ck_assert(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        bins[(int)(u * BINS)]++;
    }
    ck_assert_double_eq_tol(sum / COUNT, 0.5, 0.003);
    ck_assert_double_eq_tol(squares / COUNT, 1.0 / 3, 0.003);
    double chi = 0;
    for (int i = 0; i < BINS; i++) chi += pow(bins[i] - (double)COUNT / BINS, 2) / ((double)COUNT / BINS);
    ck_assert_double_lt(chi, 37.7); /* 15 degrees of freedom, 0.1 % */
}
END_TEST

START_TEST(normal_moments) {
    enum { COUNT = 200000 };
    vst_random random = vst_random_stream(1, 2, 0, 0);
    double moment[5] = {0};
    int beyond = 0;
    for (int i = 0; i < COUNT; i++) {
        const double x = vst_random_normal(&random);
        ck_assert(isfinite(x));
        for (int k = 1; k < 5; k++) moment[k] += pow(x, k) / COUNT;
        beyond += fabs(x) > 2;
    }
    ck_assert_double_eq_tol(moment[1], 0, 0.01);
    ck_assert_double_eq_tol(moment[2], 1, 0.015);
    ck_assert_double_eq_tol(moment[3], 0, 0.03);
    ck_assert_double_eq_tol(moment[4], 3, 0.1);
    ck_assert_double_eq_tol((double)beyond / COUNT, 0.0455, 0.002);
}
END_TEST

START_TEST(below_is_even) {
    int seen[7] = {0};
    vst_random random = vst_random_stream(5, 5, 0, 0);
    for (int i = 0; i < 70000; i++) seen[vst_random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++) ck_assert_int_lt(abs(seen[i] - 10000), 450);
    for (int i = 0; i < 100; i++) ck_assert_uint_eq(vst_random_below(&random, 1), 0);
}
END_TEST

START_TEST(permutation_is_one) {
    for (uint64_t count = 1; count <= 1000; count++) {
        unsigned char seen[1000] = {0};
        uint64_t same = 0;
        for (uint64_t i = 0; i < count; i++) {
            const uint64_t value = vst_random_permute(9, 0, count, i);
            ck_assert_uint_lt(value, count);
            ck_assert_uint_eq(seen[value]++, 0);
            same += value == vst_random_permute(9, 1, count, i);
        }
        if (count > 30) ck_assert_uint_lt(same, 15); /* two permutations have about one common point on average */
    }
}
END_TEST

START_TEST(permutation_of_many) {
    const uint64_t count = UINT64_C(1) << 40;
    ck_assert_uint_lt(vst_random_permute(1, 0, count, count - 1), count);
    ck_assert_uint_ne(vst_random_permute(1, 0, count, 0), vst_random_permute(2, 0, count, 0));
}
END_TEST

/* ---- Shapes and types ---- */

START_TEST(shapes) {
    char text[VST_SHAPE_TEXT];
    const vst_shape a = VST_SHAPE(2, 3, 224, 224), b = VST_SHAPE(2, 3, 224), scalar = VST_SCALAR;
    ck_assert_str_eq(vst_shape_text(&a, text), "(2, 3, 224, 224)");
    ck_assert_str_eq(vst_shape_text(&scalar, text), "()");
    ck_assert(vst_shape_equal(&a, &a) && !vst_shape_equal(&a, &b));
    ck_assert_int_eq(vst_shape_count(&a), 301056);
    ck_assert_int_eq(vst_shape_count(&scalar), 1);
    ck_assert_int_eq(vst_shape_count(&VST_SHAPE(4, 0)), 0);
    ck_assert_int_eq(vst_shape_count(&VST_SHAPE(4, -1)), -1);
    ck_assert_int_eq(vst_shape_count(&VST_SHAPE(INT64_MAX, 2)), -1);
    const vst_shape huge = VST_SHAPE(INT64_MAX, INT64_MIN, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX);
    ck_assert_str_eq(vst_shape_text(&huge, text),
                     "(9223372036854775807, -9223372036854775808, 9223372036854775807, 9223372036854775807, …)");
    ck_assert_int_eq(vst_shape_count(&(vst_shape){.rank = VST_MAX_RANK + 1}), -1);
    ck_assert_str_eq(vst_shape_text(&(vst_shape){.rank = 9}, text), "(rank 9)");
}
END_TEST

START_TEST(half_to_float) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const uint16_t half = (uint16_t)bits;
        float value;
        vst_to_float(&value, &half, VST_F16, 1);
        const int exponent = half >> 10 & 31, mantissa = half & 1023;
        double expected = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
        if (exponent == 31) expected = mantissa ? NAN : INFINITY;
        if (half & 0x8000) expected = -expected;
        ck_assert(isnan(expected) ? isnan(value) : value == expected && !signbit(value) == !signbit(expected));
    }
}
END_TEST

static uint16_t half_of(float value) {
    uint16_t half;
    vst_to_half(&half, &value, 1);
    return half;
}

/* Every half is converted to itself, and values between two halves to the nearer one, ties to even. */
START_TEST(float_to_half) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const uint16_t half = (uint16_t)bits, next = (uint16_t)(half + 1);
        float value, above;
        vst_to_float(&value, &half, VST_F16, 1);
        vst_to_float(&above, &next, VST_F16, 1);
        if (isnan(value)) ck_assert_uint_eq(half_of(value) & 0x7e00, 0x7e00);
        else ck_assert_uint_eq(half_of(value), half);
        if ((half & 0x7fff) >= 0x7bff) continue; /* larger values are infinite */
        const float middle = (value + above) / 2;
        ck_assert_uint_eq(half_of(middle), half % 2 ? next : half);
        ck_assert_uint_eq(half_of(nextafterf(middle, value)), half);
        ck_assert_uint_eq(half_of(nextafterf(middle, above)), next);
    }
    ck_assert_uint_eq(half_of(65519.99f), 0x7bff);
    ck_assert_uint_eq(half_of(-65520), 0xfc00);
    ck_assert_uint_eq(half_of(1e-30f), 0);
}
END_TEST

START_TEST(types_to_float) {
    char bytes[17];
    float out[2];
#define CHECK_TYPE(TYPE, dtype, x, y)                            \
    do {                                                         \
        const TYPE pair[2] = {(x), (y)};                         \
        memcpy(bytes + 1, pair, sizeof pair); /* unaligned */    \
        ck_assert_uint_eq(vst_dtype_size(dtype), sizeof(TYPE));  \
        ck_assert_str_eq(vst_dtype_name(dtype), &#dtype[4]);     \
        vst_to_float(out, bytes + 1, dtype, 2);                  \
        ck_assert(out[0] == (float)(x) && out[1] == (float)(y)); \
    } while (0)
    CHECK_TYPE(double, VST_F64, 0.1, -1e-3);
    CHECK_TYPE(float, VST_F32, 0.1f, -3e38f);
    CHECK_TYPE(int64_t, VST_I64, INT64_MIN, INT64_C(16777217));
    CHECK_TYPE(int32_t, VST_I32, INT32_MIN, INT32_MAX);
    CHECK_TYPE(int16_t, VST_I16, INT16_MIN, INT16_MAX);
    CHECK_TYPE(int8_t, VST_I8, INT8_MIN, INT8_MAX);
    CHECK_TYPE(uint64_t, VST_U64, UINT64_MAX, 1);
    CHECK_TYPE(uint32_t, VST_U32, UINT32_MAX, 1);
    CHECK_TYPE(uint16_t, VST_U16, UINT16_MAX, 1);
    CHECK_TYPE(uint8_t, VST_U8, UINT8_MAX, 1);
    CHECK_TYPE(uint8_t, VST_BOOL, 0, 1);
    const uint16_t bf16[2] = {0x3f80, 0xc049};
    vst_to_float(out, bf16, VST_BF16, 2);
    ck_assert(out[0] == 1 && out[1] == -3.140625f);
    ck_assert_uint_eq(vst_dtype_size(VST_F16), 2);
    ck_assert_str_eq(vst_dtype_name(VST_BF16), "BF16");
    vst_to_float(out, NULL, VST_F32, 0);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {status_messages,
                                  long_messages_are_cut,
                                  memory_fails_on_demand,
                                  memory_grows,
                                  log_goes_to_the_sink,
                                  options_have_defaults,
                                  a_choice_is_one_list,
                                  options_default_of_a_wrong_table_fails,
                                  options_read_and_write,
                                  options_refuse,
                                  a_string_may_be_set_to_itself,
                                  options_survive_failing_memory,
                                  philox_known_answers,
                                  streams_differ,
                                  streams_are_frozen,
                                  uniform_moments,
                                  normal_moments,
                                  below_is_even,
                                  permutation_is_one,
                                  permutation_of_many,
                                  shapes,
                                  half_to_float,
                                  float_to_half,
                                  types_to_float};
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(all, tests[i]);
    return run_suite("base", all);
}
