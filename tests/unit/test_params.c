/* vision/graph/params.c: layout, initialisation, loading and saving. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/graph/params.h"

static const vst_init ones_state = {.kind = VST_INIT_ONES, .role = VST_PARAM_STATE};
static const vst_init counter = {.kind = VST_INIT_ZEROS, .role = VST_PARAM_COUNTER};
static const vst_init normal = {.kind = VST_INIT_NORMAL};

static vst_params *new_params(void) {
    vst_params *params;
    ck_ok(vst_params_create(&params));
    return params;
}

static int add(vst_params *params, const char *name, vst_shape shape, vst_init init) {
    int index = -1;
    ck_ok(vst_params_add(params, name, shape, init, &index));
    return index;
}

/* A small model with every kind of parameter; state is registered before trained ones. */
static vst_status add_model(vst_params *params) {
    vst_status status = VST_OK;
    int index;
    VST_TRY(vst_params_add(params, "bn.running_var", VST_SHAPE(5), ones_state, &index));
    VST_TRY(vst_params_add(params, "conv.weight", VST_SHAPE(5, 3, 3, 3), normal, &index));
    VST_TRY(vst_params_add(params, "bn.num_batches_tracked", VST_SCALAR, counter, &index));
    VST_TRY(vst_params_add(params, "bn.weight", VST_SHAPE(5), (vst_init){.kind = VST_INIT_ONES}, &index));
    VST_TRY(vst_params_add(params, "fc.weight", VST_SHAPE(2, 8), normal, &index));
out:
    return status;
}

static vst_params *new_model(uint64_t seed) {
    vst_params *params = new_params();
    ck_ok(add_model(params));
    ck_ok(vst_params_allocate(params, false, seed));
    return params;
}

/* ---- Layout ---- */

START_TEST(layout) {
    vst_params *params = new_params();
    ck_ok(add_model(params));
    ck_assert_ptr_null(vst_params_values(params));
    ck_assert_uint_eq(vst_params_tensors(params, NULL, NULL), 0);
    ck_ok(vst_params_allocate(params, false, 1));
    static const struct {
        const char *name;
        size_t offset, count;
        vst_param_kind kind;
    } expected[] = {{"bn.running_var", 176, 5, VST_PARAM_STATE},
                    {"conv.weight", 0, 135, VST_PARAM_WEIGHT},
                    {"bn.num_batches_tracked", 192, 1, VST_PARAM_COUNTER},
                    {"bn.weight", 144, 5, VST_PARAM_NODECAY},
                    {"fc.weight", 160, 16, VST_PARAM_WEIGHT}};
    ck_assert_uint_eq(vst_params_count(params), 5);
    for (int i = 0; i < 5; i++) {
        const vst_param_info *info = vst_params_at(params, (size_t)i);
        ck_assert_str_eq(info->name, expected[i].name);
        ck_assert_uint_eq(info->count, expected[i].count);
        ck_assert_int_eq(info->kind, expected[i].kind);
        ck_assert_uint_eq(info->offset, expected[i].offset);
        ck_assert_int_eq(vst_params_find(params, expected[i].name), i);
    }
    ck_assert_int_eq(vst_params_find(params, "fc.bias"), -1);
    ck_assert_uint_eq(vst_params_trained(params), 176);
    ck_assert_uint_eq(vst_params_total(params), 208);
    ck_assert_uint_eq(vst_params_numel(params), 135 + 5 + 16);
    ck_assert_uint_eq((uintptr_t)vst_params_values(params) % VST_ALIGNMENT, 0);
    const float *values = vst_params_values(params);
    for (size_t i = 135; i < 144; i++) ck_assert(values[i] == 0); /* padding */
    for (size_t i = 144; i < 160; i++) ck_assert(values[i] == (i < 149));
    for (size_t i = 176; i < 192; i++) ck_assert(values[i] == (i < 181));
    vst_params_destroy(params);
    vst_params_destroy(NULL);
}
END_TEST

START_TEST(reserved_values_are_zero) {
    vst_params *params = new_params();
    ck_ok(add_model(params));
    ck_ok(vst_params_reserve(params));
    float *values = vst_params_values(params);
    for (size_t i = 0; i < vst_params_total(params); i++) ck_assert(values[i] == 0);
    values[0] = 42;
    ck_ok(vst_params_reserve(params));
    ck_ok(vst_params_allocate(params, true, 1)); /* adds gradients, values are unchanged */
    ck_assert_ptr_eq(vst_params_values(params), values);
    ck_assert(values[0] == 42 && values[1] == 0);
    vst_params_destroy(params);
}
END_TEST

START_TEST(constants) {
    vst_params *params = new_params();
    add(params, "gamma", VST_SHAPE(20), (vst_init){VST_INIT_CONSTANT, 1e-6, VST_PARAM_NODECAY});
    ck_ok(vst_params_allocate(params, false, 1));
    for (int i = 0; i < 20; i++) ck_assert(vst_params_values(params)[i] == 1e-6f);
    vst_params_destroy(params);
}
END_TEST

START_TEST(sizes_must_not_overflow) {
    vst_params *params = new_params();
    add(params, "a", VST_SHAPE(INT64_C(1) << 60), normal);
    add(params, "b", VST_SHAPE(INT64_C(1) << 60, 1), normal);
    add(params, "c", VST_SHAPE(INT64_C(1) << 60, 1), normal);
    add(params, "d", VST_SHAPE(INT64_C(1) << 60, 1), normal); /* now 2^64 bytes */
    ck_assert_int_eq(vst_params_allocate(params, true, 1), VST_ERROR_MEMORY);
    ck_assert_ptr_null(vst_params_values(params));
    vst_params_destroy(params);
}
END_TEST

START_TEST(allocation_is_idempotent) {
    vst_params *params = new_model(3);
    float *values = vst_params_values(params);
    const uint64_t version = vst_params_version(params);
    values[0] = 42;
    ck_assert_ptr_null(vst_params_gradients(params));
    ck_ok(vst_params_allocate(params, true, 4));
    ck_assert_ptr_eq(vst_params_values(params), values);
    ck_assert(values[0] == 42);
    ck_assert_uint_eq(vst_params_version(params), version);
    float *gradients = vst_params_gradients(params);
    for (size_t i = 0; i < vst_params_total(params); i++) ck_assert(gradients[i] == 0);
    gradients[3] = 1;
    ck_ok(vst_params_allocate(params, true, 4));
    ck_assert_ptr_eq(vst_params_gradients(params), gradients);
    ck_assert(gradients[3] == 1);
    vst_params_changed(params);
    ck_assert_uint_gt(vst_params_version(params), version);
    vst_params_destroy(params);
}
END_TEST

START_TEST(an_empty_model) {
    vst_params *params = new_params();
    ck_ok(vst_params_allocate(params, true, 1));
    ck_assert_uint_eq(vst_params_total(params), 0);
    ck_assert_ptr_nonnull(vst_params_values(params));
    vst_params_destroy(params);
}
END_TEST

START_TEST(add_refuses) {
    vst_params *params = new_params();
    int index = -1;
    ck_assert_int_eq(add(params, "fc.weight", VST_SHAPE(10, 4), normal), 0);
    ck_assert_int_eq(add(params, "fc.weight", VST_SHAPE(10, 4), normal), 0);
    ck_assert_uint_eq(vst_params_count(params), 1);
    const vst_shape wanted = VST_SHAPE(10, 5);
    ck_fails(vst_params_add(params, "fc.weight", wanted, normal, &index), VST_ERROR_SHAPE,
             "parameter fc.weight has the shape (10, 4), but (10, 5) was requested");
    static const struct {
        const char *name;
        vst_shape shape;
        vst_init init;
        vst_status status;
        const char *text;
    } bad[] = {
        {"", {1, {3}}, {0}, VST_ERROR_ARGUMENT, "without a name"},
        {"x", {2, {3, 0}}, {0}, VST_ERROR_SHAPE, "x: the shape (3, 0) is empty"},
        {"x", {2, {3, -1}}, {0}, VST_ERROR_SHAPE, "(3, -1)"},
        {"x", {2, {INT64_MAX, 4}}, {0}, VST_ERROR_SHAPE, "too large"},
        {"x", {1, {INT64_MAX / 2}}, {0}, VST_ERROR_SHAPE, "too large"},
        {"x", {VST_MAX_RANK + 1, {0}}, {0}, VST_ERROR_SHAPE, "(rank 7)"},
        {"x", {1, {2}}, {.role = VST_PARAM_COUNTER}, VST_ERROR_SHAPE, "must be a scalar, got (2)"},
        {"x", {1, {3}}, {.kind = VST_INIT_LECUN_UNIFORM}, VST_ERROR_ARGUMENT, "fan in"},
        {"x", {1, {3}}, {.kind = VST_INIT_LECUN_UNIFORM, .scale = NAN}, VST_ERROR_ARGUMENT, "fan in"},
        {"x", {1, {3}}, {.kind = VST_INIT_XAVIER_UNIFORM}, VST_ERROR_ARGUMENT, "two dimensions"},
        {"x", {0, {0}}, {.kind = VST_INIT_KAIMING_NORMAL}, VST_ERROR_ARGUMENT, "two dimensions"},
        {"x", {1, {3}}, {.kind = VST_INIT_NORMAL, .scale = -1}, VST_ERROR_ARGUMENT, "scale -1"},
        {"x", {1, {3}}, {.kind = VST_INIT_NORMAL, .scale = NAN}, VST_ERROR_ARGUMENT, "nan"},
        {"x", {1, {3}}, {.kind = VST_INIT_NORMAL, .scale = 1e9}, VST_ERROR_ARGUMENT, "1e+09"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_fails(vst_params_add(params, bad[i].name, bad[i].shape, bad[i].init, &index), bad[i].status, bad[i].text);
    ck_assert_uint_eq(vst_params_count(params), 1);
    ck_ok(vst_params_allocate(params, false, 1));
    ck_assert_int_eq(add(params, "fc.weight", VST_SHAPE(10, 4), normal), 0);
    const vst_shape late = VST_SHAPE(2);
    ck_fails(vst_params_add(params, "late", late, normal, &index), VST_ERROR_ARGUMENT, "already allocated");
    vst_params_destroy(params);
}
END_TEST

START_TEST(many_names) {
    vst_params *params = new_params();
    char name[64];
    for (int i = 0; i < 600; i++) {
        snprintf(name, sizeof name, "blocks.%d.norm.weight", i);
        ck_assert_int_eq(add(params, name, VST_SHAPE(1 + i % 40), (vst_init){.kind = VST_INIT_ONES}), i);
    }
    for (int i = 0; i < 600; i++) {
        snprintf(name, sizeof name, "blocks.%d.norm.weight", i);
        ck_assert_int_eq(vst_params_find(params, name), i);
    }
    vst_params_destroy(params);
}
END_TEST

/* ---- Initialisation ---- */

typedef struct moments {
    double mean, deviation, largest;
} moments;

static moments moments_of(const float *values, size_t count) {
    moments m = {0};
    for (size_t i = 0; i < count; i++) {
        m.mean += values[i] / (double)count;
        m.deviation += (double)values[i] * values[i] / (double)count;
        ck_assert(isfinite(values[i]));
        if (fabs(values[i]) > m.largest) m.largest = fabs(values[i]);
    }
    m.deviation = sqrt(m.deviation - m.mean * m.mean);
    return m;
}

/* Expected deviation and largest value (0: none) per kind; (64, 32, 3, 3) has fan in 288 and fan out 576. */
START_TEST(initialisation) {
    const double uniform = 1 / sqrt(3);
    const vst_shape conv = VST_SHAPE(64, 32, 3, 3), bias = VST_SHAPE(20000), linear = VST_SHAPE(192, 768);
    const struct {
        vst_shape shape;
        vst_init init;
        double deviation, bound;
    } table[] = {
        {conv, {.kind = VST_INIT_ZEROS}, 0, 0},
        {conv, {.kind = VST_INIT_NORMAL}, 0.02, 0},
        {conv, {.kind = VST_INIT_NORMAL, .scale = 0.5}, 0.4997, 0},
        {conv, {.kind = VST_INIT_NORMAL, .scale = 1}, 0.8796, 2},
        {conv, {.kind = VST_INIT_XAVIER_UNIFORM}, sqrt(6.0 / 864) * uniform, sqrt(6.0 / 864)},
        {linear, {.kind = VST_INIT_XAVIER_UNIFORM, .scale = 2}, 2 * sqrt(6.0 / 960) * uniform, 2 * sqrt(6.0 / 960)},
        {conv, {.kind = VST_INIT_KAIMING_NORMAL}, sqrt(2.0 / 576), 0},
        {linear, {.kind = VST_INIT_KAIMING_NORMAL}, sqrt(2.0 / 192), 0},
        {conv, {.kind = VST_INIT_LECUN_UNIFORM}, uniform / sqrt(288), 1 / sqrt(288)},
        {linear, {.kind = VST_INIT_LECUN_UNIFORM}, uniform / sqrt(768), 1 / sqrt(768)},
        {bias, {.kind = VST_INIT_LECUN_UNIFORM, .scale = 768}, uniform / sqrt(768), 1 / sqrt(768)},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        vst_params *params = new_params();
        add(params, "w", table[i].shape, table[i].init);
        ck_ok(vst_params_allocate(params, false, 7));
        const moments m = moments_of(vst_params_values(params), vst_params_numel(params));
        ck_assert_double_le(fabs(m.mean), 0.04 * table[i].deviation);
        ck_assert_double_eq_tol(m.deviation, table[i].deviation, 0.03 * table[i].deviation + 1e-12);
        if (table[i].bound > 0) {
            ck_assert_double_le(m.largest, table[i].bound * 1.000001);
            ck_assert_double_ge(m.largest, table[i].bound * 0.97);
        }
        vst_params_destroy(params);
    }
}
END_TEST

/* Equal seed and name give equal values, whatever the order; another seed or name gives others. */
START_TEST(initialisation_depends_on_seed_and_name_only) {
    const vst_shape shape = VST_SHAPE(100, 100); /* several chunks */
    vst_params *a = new_params(), *b = new_params(), *c = new_params();
    add(a, "w", shape, normal);
    add(b, "first", VST_SHAPE(3, 3), normal);
    add(b, "other", shape, normal);
    add(b, "w", shape, normal);
    add(c, "w", shape, normal);
    ck_ok(vst_params_allocate(a, false, 5));
    ck_ok(vst_params_allocate(b, true, 5));
    ck_ok(vst_params_allocate(c, false, 6));
    const float *w = vst_params_values(a), *others = vst_params_values(b);
    ck_assert_mem_eq(w, others + vst_params_at(b, 2)->offset, 10000 * sizeof *w);
    size_t same_name = 0, same_seed = 0, same_chunk = 0;
    for (size_t i = 0; i < 10000; i++) {
        same_name += w[i] == vst_params_values(c)[i];
        same_seed += w[i] == others[vst_params_at(b, 1)->offset + i];
        same_chunk += i >= 4096 && w[i] == w[i - 4096];
    }
    ck_assert_uint_lt(same_name, 20);
    ck_assert_uint_lt(same_seed, 20);
    ck_assert_uint_lt(same_chunk, 20);
    vst_params_destroy(a);
    vst_params_destroy(b);
    vst_params_destroy(c);
}
END_TEST

/* ---- Files ---- */

static char folder[256], path[300];

static void begin(void) {
    make_folder(folder, "params");
    snprintf(path, sizeof path, "%s/m.safetensors", folder);
}

static void end(void) {
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left there */
}

static vst_safetensors *written(const vst_tensor *tensors, size_t count) {
    vst_safetensors *file;
    ck_ok(vst_safetensors_write(path, tensors, count, NULL, 0));
    ck_ok(vst_safetensors_open(&file, path, NULL));
    return file;
}

START_TEST(save_and_load) {
    vst_params *a = new_model(1), *b = new_model(2);
    vst_tensor tensors[5];
    int64_t counters[5];
    vst_params_values(a)[vst_params_at(a, 2)->offset] = 123456;
    ck_assert_uint_eq(vst_params_tensors(a, tensors, counters), 5);
    static const char *const order[] = {"conv.weight", "bn.weight", "fc.weight", "bn.running_var",
                                        "bn.num_batches_tracked"};
    for (int i = 0; i < 5; i++) ck_assert_str_eq(tensors[i].name, order[i]);
    ck_assert_int_eq(tensors[4].dtype, VST_I64);
    ck_assert_int_eq(tensors[4].shape.rank, 0);
    ck_assert_int_eq(*(int64_t *)tensors[4].data, 123456);
    ck_assert_ptr_eq(tensors[0].data, vst_params_values(a));

    vst_safetensors *file = written(tensors, 5);
    const uint64_t version = vst_params_version(b);
    ck_assert_mem_ne(vst_params_values(a), vst_params_values(b), 135 * sizeof(float));
    ck_ok(vst_params_load(b, file));
    ck_assert_mem_eq(vst_params_values(a), vst_params_values(b), vst_params_total(a) * sizeof(float));
    ck_assert_uint_gt(vst_params_version(b), version);
    vst_safetensors_close(file);
    vst_params_destroy(a);
    vst_params_destroy(b);
}
END_TEST

START_TEST(load_converts_and_ignores) {
    vst_params *params = new_model(1);
    vst_tensor tensors[6];
    int64_t counters[5];
    double conv[135];
    uint16_t half[5] = {0x3c00, 0xbc00, 0x4000, 0, 0x3800}, brain[5] = {0x3f80, 0xbf80, 0x4000, 0, 0x3f00};
    const float expected[5] = {1, -1, 2, 0, 0.5f};
    for (int i = 0; i < 135; i++) conv[i] = i / 8.0;
    ck_assert_uint_eq(vst_params_tensors(params, tensors, counters), 5);
    tensors[0].dtype = VST_F64, tensors[0].data = conv;
    tensors[1].dtype = VST_F16, tensors[1].data = half;
    tensors[3].dtype = VST_BF16, tensors[3].data = brain;
    tensors[4] = (vst_tensor){"ema.fc.weight", VST_F32, VST_SHAPE(1), conv}; /* the counter may be missing */
    tensors[5] = (vst_tensor){"optimizer.step", VST_I64, VST_SCALAR, conv};
    vst_safetensors *file = written(tensors, 6);
    vst_params_values(params)[vst_params_at(params, 2)->offset] = 9;
    ck_ok(vst_params_load(params, file));
    for (int i = 0; i < 135; i++) ck_assert(vst_params_values(params)[i] == (float)conv[i]);
    ck_assert_mem_eq(vst_params_values(params) + vst_params_at(params, 3)->offset, expected, sizeof expected);
    ck_assert_mem_eq(vst_params_values(params) + vst_params_at(params, 0)->offset, expected, sizeof expected);
    ck_assert(vst_params_values(params)[vst_params_at(params, 2)->offset] == 9);
    vst_safetensors_close(file);
    vst_params_destroy(params);
}
END_TEST

START_TEST(load_lists_what_does_not_fit) {
    vst_params *params = new_model(1), *empty = new_params();
    vst_tensor tensors[5];
    int64_t counters[5];
    float data[200] = {0}, before[208];
    ck_assert_uint_eq(vst_params_tensors(params, tensors, counters), 5);
    tensors[0].data = data;                                              /* fits, but must not be copied */
    tensors[1] = (vst_tensor){"head.bias", VST_F32, VST_SHAPE(2), data}; /* bn.weight is missing */
    tensors[2].shape = VST_SHAPE(3, 8);
    tensors[2].data = data;
    tensors[4].dtype = VST_F32;
    vst_safetensors *file = written(tensors, 5);
    memcpy(before, vst_params_values(params), sizeof before);
    const uint64_t version = vst_params_version(params);
    ck_fails(vst_params_load(params, file), VST_ERROR_SHAPE, "1 missing, 1 unexpected, 2 wrong");
    const char *const parts[] = {path, "Missing: bn.weight", "Unexpected: head.bias",
                                 "fc.weight is (3, 8) in the file, (2, 8) in the model",
                                 "bn.num_batches_tracked has the type F32, expected I64"};
    for (int i = 0; i < 5; i++)
        ck_assert_msg(strstr(vst_error_message(), parts[i]), "%s not in: %s", parts[i], vst_error_message());
    ck_assert_mem_eq(before, vst_params_values(params), sizeof before);
    ck_assert_uint_eq(vst_params_version(params), version);
    ck_fails(vst_params_load(empty, file), VST_ERROR_ARGUMENT, "before vst_params_allocate");
    vst_safetensors_close(file);

    tensors[0].dtype = VST_I32; /* integers are not accepted for a weight */
    file = written(tensors, 1);
    ck_fails(vst_params_load(params, file), VST_ERROR_SHAPE, "conv.weight has the type I32");
    vst_safetensors_close(file);
    vst_params_destroy(params);
    vst_params_destroy(empty);
}
END_TEST

START_TEST(load_shortens_long_lists) {
    enum { COUNT = 30 };
    vst_params *params = new_params();
    char names[COUNT][16], wanted[300];
    vst_tensor tensors[COUNT];
    float data = 0;
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "extra%d", i);
        tensors[i] = (vst_tensor){names[i], VST_F32, VST_SHAPE(1), &data};
        snprintf(wanted, sizeof wanted, "wanted.%0*d", 250, i);
        add(params, wanted, VST_SHAPE(1), normal);
    }
    ck_ok(vst_params_allocate(params, false, 1));
    vst_safetensors *file = written(tensors, COUNT);
    ck_fails(vst_params_load(params, file), VST_ERROR_FORMAT, "30 missing, 30 unexpected, 0 wrong");
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "Unexpected: extra"));
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "and 22 more"));
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "and 25 more")); /* fewer names are listed if they are long */
    vst_safetensors_close(file);
    vst_params_destroy(params);
}
END_TEST

START_TEST(failing_memory) {
    vst_params *model = new_model(1);
    vst_tensor tensors[5];
    int64_t counters[5];
    vst_safetensors *file = written(tensors, vst_params_tensors(model, tensors, counters));
    for (uint64_t n = 1;; n++) {
        vst_params *params = NULL;
        vst_memory_fail_at(n);
        vst_status status = vst_params_create(&params);
        if (status == VST_OK) status = add_model(params);
        if (status == VST_OK) status = vst_params_allocate(params, true, 1);
        if (status == VST_OK) status = vst_params_load(params, file);
        vst_memory_fail_at(0);
        vst_params_destroy(params);
        if (status == VST_OK) {
            ck_assert_uint_eq(n, 1 + 1 + 5 + 2 + 1); /* the structure, the list, the names, the buckets; then success */
            break;
        }
        ck_assert_int_eq(status, VST_ERROR_MEMORY);
    }
    vst_safetensors_close(file);
    vst_params_destroy(model);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {layout,
                                  reserved_values_are_zero,
                                  constants,
                                  sizes_must_not_overflow,
                                  allocation_is_idempotent,
                                  an_empty_model,
                                  add_refuses,
                                  many_names,
                                  initialisation,
                                  initialisation_depends_on_seed_and_name_only};
    const TTest *const file_tests[] = {save_and_load, load_converts_and_ignores, load_lists_what_does_not_fit,
                                       load_shortens_long_lists, failing_memory};
    TCase *plain = tcase_create("plain"), *files = tcase_create("files");
    tcase_set_timeout(plain, 60);
    tcase_set_timeout(files, 60);
    tcase_add_checked_fixture(files, begin, end);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(plain, tests[i]);
    for (size_t i = 0; i < sizeof file_tests / sizeof *file_tests; i++) tcase_add_test(files, file_tests[i]);
    return run_suite("params", plain, files);
}
