/* vision/optim: AdamW, LAMB and SGD against PyTorch's and timm's formulas in double, clipping, gathering, decay groups,
 * the moving average, checkpoints of the state and the schedule. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/compare.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/optim/optim.h"

enum { STEPS = 10 };
static const vst_optimizer_options adamw = {
    .name = "adamw", .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.1, .ema_decay = 0.9};
static const vst_optimizer_options lamb = {.name = "lamb",
                                           .beta1 = 0.9,
                                           .beta2 = 0.99,
                                           .epsilon = 1e-8,
                                           .weight_decay = 0.1,
                                           .clip_norm = 1,
                                           .ema_decay = 0.9};
static const vst_optimizer_options sgd = {.name = "sgd", .momentum = 0.9, .nesterov = true, .weight_decay = 0.1};

static void add(vst_params *params, const char *name, vst_shape shape, vst_param_kind role) {
    int index;
    const vst_init init = {.kind = VST_INIT_NORMAL, .scale = 1, .role = role};
    ck_ok(vst_params_add(params, name, shape, init, &index));
}

/* With and without decay in turns, padding behind most of them, and what is not trained in between. */
static vst_params *new_params(void) {
    vst_params *params;
    ck_ok(vst_params_create(&params));
    add(params, "fc1.weight", VST_SHAPE(5, 7), VST_PARAM_WEIGHT);
    add(params, "bn.running_mean", VST_SHAPE(5), VST_PARAM_STATE);
    add(params, "fc1.bias", VST_SHAPE(5), VST_PARAM_WEIGHT);
    add(params, "pos_embed", VST_SHAPE(1, 3, 4), VST_PARAM_NODECAY);
    add(params, "fc2.weight", VST_SHAPE(4, 4), VST_PARAM_WEIGHT);
    add(params, "fc3.weight", VST_SHAPE(3, 5), VST_PARAM_WEIGHT);
    ck_ok(vst_params_allocate(params, true, 1));
    return params;
}

static vst_optimizer *new_optimizer(vst_params *params, const vst_optimizer_options *options) {
    vst_optimizer *optimizer;
    ck_ok(vst_optimizer_create(&optimizer, params, options));
    return optimizer;
}

/* Gradients of step t in every trained parameter, zero in the padding. */
static void fill_gradients(vst_params *params, int t) {
    float *gradients = vst_params_gradients(params);
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (info->kind == VST_PARAM_STATE) continue;
        for (size_t k = 0; k < info->count; k++)
            gradients[info->offset + k] = (float)sin(1.0 + (double)(info->offset + k) * 0.7 + t * 1.3);
    }
}

/* ---- The naive optimiser ---- */

typedef struct naive {
    double *value, *first, *second, *ema; /* trained floats each */
    int t;
} naive;

static naive new_naive(vst_params *params) {
    const size_t count = vst_params_trained(params);
    naive n = {calloc(count, sizeof(double)), calloc(count, sizeof(double)), calloc(count, sizeof(double)),
               calloc(count, sizeof(double)), 0};
    for (size_t i = 0; i < count; i++) n.value[i] = n.ema[i] = vst_params_values(params)[i];
    return n;
}

static void free_naive(naive *n) { free(n->value), free(n->first), free(n->second), free(n->ema); }

static double length_of(const double *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static void naive_lamb(naive *n, const vst_optimizer_options *o, double rate, const float *gradients, double scale,
                       double decay, size_t begin, size_t count) {
    double update[64];
    ck_assert_uint_le(count, 64);
    for (size_t i = 0; i < count; i++) {
        double *m = &n->first[begin + i], *v = &n->second[begin + i];
        const double g = scale * gradients[begin + i];
        *m = o->beta1 * *m + (1 - o->beta1) * g;
        *v = o->beta2 * *v + (1 - o->beta2) * g * g;
        update[i] = *m / (1 - pow(o->beta1, n->t)) / (sqrt(*v / (1 - pow(o->beta2, n->t))) + o->epsilon) +
                    decay * n->value[begin + i];
    }
    const double weights = length_of(n->value + begin, count), length = length_of(update, count);
    const double trust = decay > 0 && weights > 0 && length > 0 ? weights / length : 1;
    for (size_t i = 0; i < count; i++) {
        n->value[begin + i] -= rate * trust * update[i];
        n->ema[begin + i] = o->ema_decay * n->ema[begin + i] + (1 - o->ema_decay) * n->value[begin + i];
    }
}

static void naive_element(naive *n, const vst_optimizer_options *o, double rate, double g, double decay, size_t i) {
    double *w = &n->value[i], *m = &n->first[i], *v = &n->second[i];
    if (strcmp(o->name, "adamw") == 0) {
        *w *= 1 - rate * decay;
        *m = o->beta1 * *m + (1 - o->beta1) * g;
        *v = o->beta2 * *v + (1 - o->beta2) * g * g;
        const double corrected = *v / (1 - pow(o->beta2, n->t));
        *w -= rate * (*m / (1 - pow(o->beta1, n->t))) / (sqrt(corrected) + o->epsilon);
    } else {
        g += decay * *w;
        *m = n->t == 1 ? g : o->momentum * *m + g;
        *w -= rate * (o->nesterov ? g + o->momentum * *m : *m);
    }
    n->ema[i] = o->ema_decay * n->ema[i] + (1 - o->ema_decay) * *w;
}

static void naive_step(naive *n, vst_params *params, const vst_optimizer_options *o, double rate, double scale) {
    n->t++;
    for (size_t p = 0; p < vst_params_count(params); p++) {
        const vst_param_info *info = vst_params_at(params, p);
        if (info->kind == VST_PARAM_STATE) continue;
        const double decay = info->kind == VST_PARAM_WEIGHT ? o->weight_decay : 0;
        const bool by_tensor = strcmp(o->name, "lamb") == 0;
        if (by_tensor) naive_lamb(n, o, rate, vst_params_gradients(params), scale, decay, info->offset, info->count);
        for (size_t i = info->offset; !by_tensor && i < info->offset + info->count; i++)
            naive_element(n, o, rate, scale * vst_params_gradients(params)[i], decay, i);
    }
}

static void near(const float *got, const double *want, size_t count) {
    ck_assert_all_close("values", got, want, count, (tolerance){.absolute = 3e-6});
}

/* ---- Updates ---- */

static void compare_steps(const vst_optimizer_options *options) {
    vst_params *params = new_params();
    vst_optimizer *optimizer = new_optimizer(params, options);
    naive n = new_naive(params);
    const size_t trained = vst_params_trained(params), total = vst_params_total(params);
    float *before = malloc(total * sizeof *before);
    memcpy(before, vst_params_values(params), total * sizeof *before);
    for (int t = 0; t < STEPS; t++) {
        double norm, squares = 0;
        const double rate = 0.1 / (t + 1);
        const uint64_t version = vst_params_version(params);
        fill_gradients(params, t);
        for (size_t i = 0; i < trained; i++) squares += pow(vst_params_gradients(params)[i], 2);
        const double room = strcmp(options->name, "lamb") == 0 ? 0 : 1e-6;
        const double scale = options->clip_norm > 0 ? fmin(1, options->clip_norm / (sqrt(squares) + room)) : 1;
        naive_step(&n, params, options, rate, scale);
        ck_ok(vst_optimizer_step(optimizer, rate, &norm));
        ck_assert_double_eq_tol(norm, sqrt(squares), 1e-9);
        ck_assert_uint_ne(vst_params_version(params), version);
        near(vst_params_values(params), n.value, trained); /* the padding too: it is zero in both */
        if (options->ema_decay > 0) near(vst_optimizer_ema(optimizer), n.ema, trained);
    }
    const size_t rest = (total - trained) * sizeof *before;
    ck_assert_msg(memcmp(before + trained, vst_params_values(params) + trained, rest) == 0, "untrained values changed");
    free(before);
    free_naive(&n);
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}

START_TEST(adamw_steps) {
    vst_optimizer_options options = adamw;
    compare_steps(&options);
    options.weight_decay = 0;
    options.ema_decay = 0;
    options.beta2 = 0.999;
    compare_steps(&options);
}
END_TEST

START_TEST(sgd_steps) {
    vst_optimizer_options options = sgd;
    compare_steps(&options);
    options.nesterov = false;
    options.ema_decay = 0.5;
    compare_steps(&options);
    options.momentum = 0;
    compare_steps(&options);
}
END_TEST

START_TEST(lamb_steps) {
    vst_optimizer_options options = lamb;
    compare_steps(&options);
    options.weight_decay = 0;
    options.ema_decay = 0;
    options.clip_norm = 0;
    compare_steps(&options);
}
END_TEST

/* Weights that are all zero have no length to keep to: they move as AdamW's do. */
START_TEST(lamb_of_zero) {
    vst_params *params = new_params();
    vst_optimizer *optimizer = new_optimizer(params, &lamb);
    memset(vst_params_values(params), 0, vst_params_trained(params) * sizeof(float));
    fill_gradients(params, 0);
    ck_ok(vst_optimizer_step(optimizer, 0.5, NULL));
    for (size_t p = 0; p < vst_params_count(params); p++) {
        const vst_param_info *info = vst_params_at(params, p);
        for (size_t i = info->offset; info->kind != VST_PARAM_STATE && i < info->offset + info->count; i++)
            ck_assert_float_eq_tol(fabsf(vst_params_values(params)[i]), 0.5f, 1e-4f);
    }
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}
END_TEST

/* Gathering the gradients of three batches makes the step that their mean makes. */
START_TEST(gathering) {
    vst_optimizer_options options = adamw;
    vst_params *whole = new_params(), *parts = new_params();
    vst_optimizer *a = new_optimizer(whole, &options);
    options.accumulate = 3;
    vst_optimizer *b = new_optimizer(parts, &options);
    const size_t trained = vst_params_trained(whole);
    float *gradients = vst_params_gradients(whole);
    for (int step = 0; step < 4; step++) {
        double *mean = calloc(trained, sizeof *mean), norm_a, norm_b;
        for (int part = 0; part < 3; part++) {
            fill_gradients(parts, 3 * step + part);
            vst_optimizer_accumulate(b);
            for (size_t i = 0; i < trained; i++) mean[i] += vst_params_gradients(parts)[i] / 3.0;
        }
        for (size_t i = 0; i < trained; i++) gradients[i] = (float)mean[i];
        ck_ok(vst_optimizer_step(a, 0.1, &norm_a));
        ck_ok(vst_optimizer_step(b, 0.1, &norm_b));
        ck_assert_double_eq_tol(norm_a, norm_b, 1e-5);
        for (size_t i = 0; i < trained; i++)
            ck_assert_float_eq_tol(vst_params_values(whole)[i], vst_params_values(parts)[i], 1e-5f);
        free(mean);
    }
    vst_optimizer_destroy(a);
    vst_optimizer_destroy(b);
    vst_params_destroy(whole);
    vst_params_destroy(parts);
}
END_TEST

/* A step that is refused leaves the sum as it was: with the batch that spoilt it taken out, the step is the same. */
START_TEST(refused_step_keeps_the_sum) {
    vst_optimizer_options options = adamw;
    options.accumulate = 2;
    vst_params *params = new_params(), *other = new_params();
    vst_optimizer *optimizer = new_optimizer(params, &options), *reference = new_optimizer(other, &options);
    const size_t trained = vst_params_trained(params), bytes = trained * sizeof(float);
    vst_tensor tensors[VST_OPTIMIZER_TENSORS];
    float *sum = NULL, *before = malloc(bytes);
    const size_t count = vst_optimizer_tensors(optimizer, tensors);
    for (size_t i = 0; i < count; i++)
        if (strcmp(tensors[i].name, "optimizer.gathered") == 0) sum = tensors[i].data;
    ck_assert_ptr_nonnull(sum);
    for (int part = 0; part < 2; part++) {
        fill_gradients(params, part);
        vst_optimizer_accumulate(optimizer);
        fill_gradients(other, part);
        vst_optimizer_accumulate(reference);
    }
    const float good = sum[7];
    sum[7] = NAN;
    memcpy(before, sum, bytes);
    ck_fails(vst_optimizer_step(optimizer, 0.1, NULL), VST_ERROR_NUMERIC, "nothing was updated");
    ck_assert_mem_eq(before, sum, bytes);
    sum[7] = good;
    ck_ok(vst_optimizer_step(optimizer, 0.1, NULL));
    ck_ok(vst_optimizer_step(reference, 0.1, NULL));
    ck_assert_mem_eq(vst_params_values(params), vst_params_values(other), bytes);
    for (size_t i = 0; i < trained; i++) ck_assert(sum[i] == 0);
    free(before);
    vst_optimizer_destroy(optimizer);
    vst_optimizer_destroy(reference);
    vst_params_destroy(params);
    vst_params_destroy(other);
}
END_TEST

/* The gradients' norm is about 6: one limit far below it and one above. */
START_TEST(clipping) {
    vst_optimizer_options options = sgd;
    options.clip_norm = 0.5;
    compare_steps(&options);
    options.clip_norm = 100;
    compare_steps(&options);
}
END_TEST

/* Without gradients, decay alone moves the weights, and only those that have it. */
START_TEST(decay_groups) {
    vst_params *params = new_params();
    vst_optimizer *optimizer = new_optimizer(params, &adamw);
    const size_t trained = vst_params_trained(params);
    float *before = malloc(trained * sizeof *before);
    memcpy(before, vst_params_values(params), trained * sizeof *before);
    ck_ok(vst_optimizer_step(optimizer, 0.5, NULL));
    for (size_t p = 0; p < vst_params_count(params); p++) {
        const vst_param_info *info = vst_params_at(params, p);
        if (info->kind == VST_PARAM_STATE) continue;
        const float factor = info->kind == VST_PARAM_WEIGHT ? 0.95f : 1;
        for (size_t i = info->offset; i < info->offset + info->count; i++)
            ck_assert_float_eq_tol(vst_params_values(params)[i], factor * before[i], 1e-6f);
    }
    ck_assert_int_eq(vst_params_at(params, (size_t)vst_params_find(params, "fc1.bias"))->kind, VST_PARAM_NODECAY);
    free(before);
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}
END_TEST

/* Frozen parameters do not change, not even by decay or averaging, and do not affect the decay of their neighbours. */
START_TEST(frozen_parameters_stay) {
    const vst_optimizer_options all[] = {adamw, lamb, sgd};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        vst_params *params = new_params(), *whole = new_params();
        const size_t frozen = (size_t)vst_params_find(params, "fc2.weight");
        vst_params_freeze(params, frozen, true);
        vst_optimizer *optimizer = new_optimizer(params, &all[k]), *reference = new_optimizer(whole, &all[k]);
        for (int t = 0; t < 3; t++) {
            fill_gradients(params, t);
            fill_gradients(whole, t);
            const vst_param_info *still = vst_params_at(params, frozen);
            memset(vst_params_gradients(params) + still->offset, 0, still->count * sizeof(float));
            memset(vst_params_gradients(whole) + still->offset, 0, still->count * sizeof(float));
            ck_ok(vst_optimizer_step(optimizer, 0.1, NULL));
            ck_ok(vst_optimizer_step(reference, 0.1, NULL));
        }
        vst_params *begin = new_params();
        for (size_t p = 0; p < vst_params_count(params); p++) {
            const vst_param_info *info = vst_params_at(params, p);
            const float *want = vst_params_values(p == frozen ? begin : whole) + info->offset;
            ck_assert_mem_eq(vst_params_values(params) + info->offset, want, info->count * sizeof *want);
        }
        vst_params_destroy(begin);
        vst_optimizer_destroy(optimizer);
        vst_optimizer_destroy(reference);
        vst_params_destroy(params);
        vst_params_destroy(whole);
    }
}
END_TEST

/* Mean teachers: the decay after step n is 1 - 1 / (n + 1), until it reaches ema_decay. */
START_TEST(average_ramps_up) {
    vst_params *params = new_params();
    vst_optimizer_options options = adamw;
    options.ema_decay = 0.7;
    options.ema_ramp = true;
    vst_optimizer *optimizer = new_optimizer(params, &options);
    const float *values = vst_params_values(params), *ema = vst_optimizer_ema(optimizer);
    double want = values[0];
    for (int n = 1; n <= 5; n++) {
        const double decay = fmin(0.7, 1 - 1.0 / (n + 1));
        fill_gradients(params, n);
        ck_ok(vst_optimizer_step(optimizer, 0.1, NULL));
        want = decay * want + (1 - decay) * values[0];
        ck_assert_double_eq_tol(ema[0], want, 1e-6);
    }
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}
END_TEST

/* The average begins at the values that training begins with, also if they were loaded after the optimiser was made. */
START_TEST(average_begins_with_values) {
    vst_params *params = new_params();
    vst_optimizer_options options = adamw;
    options.ema_decay = 0.75;
    vst_optimizer *optimizer = new_optimizer(params, &options);
    float *values = vst_params_values(params);
    ck_assert_ptr_nonnull(vst_optimizer_ema(optimizer));
    ck_assert(vst_optimizer_ema(optimizer)[0] == values[0]);
    values[0] = 64;
    fill_gradients(params, 0);
    ck_ok(vst_optimizer_step(optimizer, 1, NULL));
    ck_assert_float_eq_tol(vst_optimizer_ema(optimizer)[0], 0.75f * 64 + 0.25f * values[0], 1e-4f);
    vst_optimizer_destroy(optimizer);
    optimizer = new_optimizer(params, &sgd);
    ck_assert_ptr_null(vst_optimizer_ema(optimizer));
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}
END_TEST

START_TEST(not_finite) {
    const double bad[] = {NAN, INFINITY};
    for (int b = 0; b < 2; b++) {
        vst_params *params = new_params();
        vst_optimizer *optimizer = new_optimizer(params, &adamw);
        const size_t total = vst_params_total(params);
        float *before = malloc(total * sizeof *before);
        double norm;
        fill_gradients(params, 0);
        ck_ok(vst_optimizer_step(optimizer, 0.1, NULL));
        memcpy(before, vst_params_values(params), total * sizeof *before);
        const vst_param_info *info = vst_params_at(params, (size_t)vst_params_find(params, "pos_embed"));
        vst_params_gradients(params)[info->offset + 2] = (float)bad[b];
        ck_fails(vst_optimizer_step(optimizer, 0.1, &norm), VST_ERROR_NUMERIC, "pos_embed");
        ck_assert(!isfinite(norm));
        ck_assert(memcmp(before, vst_params_values(params), total * sizeof *before) == 0);
        free(before);
        vst_optimizer_destroy(optimizer);
        vst_params_destroy(params);
    }
}
END_TEST

/* ---- Checkpoints ---- */

/* Writes the state to a new file in the current folder. */
static void save(vst_optimizer *optimizer, char path[32]) {
    vst_tensor tensors[VST_OPTIMIZER_TENSORS];
    strcpy(path, "test_optim_XXXXXX");
    const int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    close(descriptor);
    const size_t count = vst_optimizer_tensors(optimizer, tensors);
    ck_assert_uint_le(count, VST_OPTIMIZER_TENSORS);
    ck_ok(vst_safetensors_write(path, tensors, count, NULL, 0));
}

static vst_status load(vst_optimizer *optimizer, const char *path) {
    vst_safetensors *file;
    ck_ok(vst_safetensors_open(&file, path, NULL));
    const vst_status status = vst_optimizer_load(optimizer, file);
    vst_safetensors_close(file);
    return status;
}

/* A step after every so many gradients. */
static void run_gathering(vst_params *params, vst_optimizer *optimizer, int begin, int end, int every) {
    for (int t = begin; t < end; t++) {
        fill_gradients(params, t);
        if (every > 1) vst_optimizer_accumulate(optimizer);
        if ((t + 1) % every == 0) ck_ok(vst_optimizer_step(optimizer, 0.1, NULL));
    }
}

static void run_steps(vst_params *params, vst_optimizer *optimizer, int begin, int end) {
    run_gathering(params, optimizer, begin, end, 1);
}

static void compare_resumed(const vst_optimizer_options *options) {
    char path[32];
    vst_params *whole = new_params(), *part = new_params();
    vst_optimizer *a = new_optimizer(whole, options), *b = new_optimizer(part, options);
    const size_t bytes = vst_params_trained(whole) * sizeof(float);
    const int every = options->accumulate > 1 ? options->accumulate : 1;
    run_gathering(whole, a, 0, STEPS, every);
    run_gathering(part, b, 0, 4, every);
    save(b, path);
    vst_optimizer_destroy(b);
    b = new_optimizer(part, options);
    ck_ok(load(b, path));
    unlink(path);
    run_gathering(part, b, 4, STEPS, every);
    ck_assert(memcmp(vst_params_values(whole), vst_params_values(part), bytes) == 0);
    if (options->ema_decay > 0) ck_assert(memcmp(vst_optimizer_ema(a), vst_optimizer_ema(b), bytes) == 0);
    vst_optimizer_destroy(a);
    vst_optimizer_destroy(b);
    vst_params_destroy(whole);
    vst_params_destroy(part);
}

START_TEST(resume) {
    vst_optimizer_options slow = lamb;
    slow.accumulate = 5; /* interrupted within a step */
    compare_resumed(&slow);
    compare_resumed(&lamb);
    compare_resumed(&adamw);
    compare_resumed(&sgd);
}
END_TEST

/* State of another optimiser or model is refused and changes nothing. */
START_TEST(load_errors) {
    char path[32], other[32];
    vst_params *params = new_params(), *small;
    vst_optimizer_options plain = adamw;
    plain.ema_decay = 0;
    vst_optimizer *optimizer = new_optimizer(params, &adamw), *without = new_optimizer(params, &plain), *one;
    vst_tensor state[VST_OPTIMIZER_TENSORS];
    float first;
    run_steps(params, optimizer, 0, 2);
    save(optimizer, path);
    save(without, other);
    vst_optimizer_tensors(optimizer, state);
    memcpy(&first, state[0].data, sizeof first);
    ck_fails(load(optimizer, other), VST_ERROR_NOT_FOUND, "ema.fc1.weight");
    ck_assert(memcmp(&first, state[0].data, sizeof first) == 0);
    ck_ok(vst_params_create(&small));
    add(small, "fc.weight", VST_SHAPE(2, 2), VST_PARAM_WEIGHT);
    ck_ok(vst_params_allocate(small, true, 1));
    one = new_optimizer(small, &adamw);
    ck_fails(load(one, path), VST_ERROR_SHAPE, "(16)");
    vst_optimizer_destroy(one);
    one = new_optimizer(small, &sgd);
    ck_fails(load(one, path), VST_ERROR_NOT_FOUND, "optimizer.velocity");
    unlink(path);
    unlink(other);
    vst_optimizer_destroy(one);
    vst_optimizer_destroy(optimizer);
    vst_optimizer_destroy(without);
    vst_params_destroy(small);
    vst_params_destroy(params);
}
END_TEST

/* ---- Creation ---- */

static void refuse(vst_params *params, vst_optimizer_options options, const char *text) {
    vst_optimizer *optimizer;
    ck_fails(vst_optimizer_create(&optimizer, params, &options), VST_ERROR_ARGUMENT, text);
    ck_assert_ptr_null(optimizer);
}

START_TEST(option_errors) {
    vst_params *params = new_params(), *bare;
    vst_optimizer_options o;
    o = adamw, o.beta1 = 1, refuse(params, o, "beta1 1");
    o = lamb, o.beta1 = -1, refuse(params, o, "beta1 -1");
    o = adamw, o.accumulate = -2, refuse(params, o, "-2 batches");
    o = adamw, o.beta2 = NAN, refuse(params, o, "beta2 nan");
    o = adamw, o.epsilon = 0, refuse(params, o, "epsilon 0");
    o = adamw, o.epsilon = 1e-60, refuse(params, o, "epsilon"); /* zero as a float */
    o = adamw, o.weight_decay = -1, refuse(params, o, "weight decay -1");
    o = adamw, o.clip_norm = -2, refuse(params, o, "clipping norm -2");
    o = adamw, o.ema_decay = 1, refuse(params, o, "EMA decay 1");
    o = sgd, o.momentum = 1.5, refuse(params, o, "momentum 1.5");
    o = sgd, o.momentum = 0, refuse(params, o, "Nesterov");
    o = sgd, o.own = "alpha=0.9", refuse(params, o, "no options of its own");
    o = adamw, o.name = "rmsprop", o.own = "alpa=0.9", refuse(params, o, "did you mean \"alpha\"?");
    o = adamw, o.name = "adan", o.own = "beta3=1.5", refuse(params, o, "beta3 = 1.5");
    o = adamw, o.name = "nadam", o.own = "momentum_decay", refuse(params, o, "expected key=value");
    ck_ok(vst_params_create(&bare));
    add(bare, "fc.weight", VST_SHAPE(2, 2), VST_PARAM_WEIGHT);
    refuse(bare, sgd, "no gradients");
    ck_ok(vst_params_allocate(bare, false, 1));
    refuse(bare, sgd, "no gradients");
    vst_params_destroy(bare);
    vst_params_destroy(params);
}
END_TEST

START_TEST(out_of_memory) {
    vst_params *params = new_params();
    vst_optimizer *optimizer = NULL;
    int failures = 0;
    for (uint64_t n = 1; !optimizer; n++) {
        vst_memory_fail_at(n);
        const vst_status status = vst_optimizer_create(&optimizer, params, &adamw);
        vst_memory_fail_at(0);
        ck_assert((status == VST_ERROR_MEMORY) == !optimizer);
        failures += !optimizer;
    }
    ck_assert_int_eq(failures, 5); /* itself, its runs, m, v, the average */
    const uint64_t count = vst_memory_count();
    run_steps(params, optimizer, 0, 2);
    ck_assert_uint_eq(vst_memory_count(), count);
    vst_optimizer_destroy(optimizer);
    vst_optimizer_destroy(NULL);
    vst_params_destroy(params);
}
END_TEST

/* ---- Schedule ---- */

START_TEST(schedule) {
    vst_schedule s = {.rate = 1, .minimum = 0.1, .warmup_rate = 0.2, .warmup = 4, .steps = 12};
    ck_ok(vst_schedule_choose(&s, "cosine", NULL));
    const double want[] = {0.2, 0.4, 0.6, 0.8, 1};
    for (uint64_t t = 0; t < 5; t++) ck_assert_double_eq_tol(vst_schedule_rate(&s, t), want[t], 1e-15);
    ck_assert_double_eq_tol(vst_schedule_rate(&s, 6), 0.1 + 0.45 * (1 + sqrt(0.5)), 1e-15);
    ck_assert_double_eq_tol(vst_schedule_rate(&s, 8), 0.55, 1e-15);
    ck_assert_double_eq_tol(vst_schedule_rate(&s, 10), 0.1 + 0.45 * (1 - sqrt(0.5)), 1e-15);
    ck_assert_double_eq(vst_schedule_rate(&s, 12), 0.1);
    ck_assert_double_eq(vst_schedule_rate(&s, 1000), 0.1);
    vst_schedule cold = {.rate = 2, .steps = 2};
    ck_ok(vst_schedule_choose(&cold, "cosine", NULL));
    ck_assert_double_eq(vst_schedule_rate(&cold, 0), 2);
    ck_assert_double_eq_tol(vst_schedule_rate(&cold, 1), 1, 1e-15);
    vst_schedule all_warmup = {.rate = 2, .minimum = 0.5, .warmup = 3, .steps = 3};
    ck_ok(vst_schedule_choose(&all_warmup, "cosine", NULL));
    ck_assert_double_eq_tol(vst_schedule_rate(&all_warmup, 2), 4.0 / 3, 1e-15);
    ck_assert_double_eq(vst_schedule_rate(&all_warmup, 3), 0.5);
    vst_schedule_clear(&s);
    vst_schedule_clear(&cold);
    vst_schedule_clear(&all_warmup);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("optim");
    tcase_set_timeout(tcase, 60);
    const TTest *const tests[] = {adamw_steps,
                                  lamb_steps,
                                  lamb_of_zero,
                                  gathering,
                                  sgd_steps,
                                  clipping,
                                  decay_groups,
                                  average_begins_with_values,
                                  not_finite,
                                  resume,
                                  load_errors,
                                  option_errors,
                                  out_of_memory,
                                  schedule,
                                  frozen_parameters_stay,
                                  average_ramps_up,
                                  refused_step_keeps_the_sum};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) tcase_add_test(tcase, tests[i]);
    return run_suite("optim", tcase);
}
