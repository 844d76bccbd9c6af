/* Optimisers and schedules against the numbers of PyTorch and timm in optim_numbers.h. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "tests/unit/compare.h"
#include "tests/unit/optim_numbers.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/optim/methods/method.h"
#include "vision/optim/schedules/schedule_method.h"

enum { TENSORS = 4, EPOCH = 7 /* steps */ };

static void fill_sines(float *x, size_t count, double seed) {
    for (size_t i = 0; i < count; i++) x[i] = (float)sin(seed + 0.7 * (double)i);
}

static void add(vst_params *params, const char *name, vst_shape shape) {
    int index;
    ck_ok(vst_params_add(params, name, shape, (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT}, &index));
}

static void fill(vst_params *params, float *bucket, double seed) {
    for (size_t p = 0; p < TENSORS; p++) {
        const vst_param_info *info = vst_params_at(params, p);
        fill_sines(bucket + info->offset, info->count, seed + (double)p);
    }
}

START_TEST(optimizer_is_theirs) {
    const struct optimizer_numbers *c = &optimizer_numbers[_i];
    vst_optimizer_options options = {
        .name = c->name, .own = c->own, .momentum = 0.9, .epsilon = 1e-8, .weight_decay = OPTIM_DECAY};
    vst_params *params;
    vst_optimizer *optimizer;
    vst_optimizer_betas(c->name, &options.beta1, &options.beta2); /* the method's defaults */
    ck_ok(vst_params_create(&params));
    add(params, "a", VST_SHAPE(5, 7));
    add(params, "b", VST_SHAPE(5));
    add(params, "c", VST_SHAPE(4, 6));
    add(params, "d", VST_SHAPE(3, 3));
    ck_ok(vst_params_allocate(params, true, 1));
    ck_ok(vst_optimizer_create(&optimizer, params, &options));
    fill(params, vst_params_values(params), 0);
    for (int step = 0; step < OPTIM_STEPS; step++) {
        fill(params, vst_params_gradients(params), 10 + 1.3 * step);
        ck_ok(vst_optimizer_step(optimizer, c->rate / (step + 1), NULL));
    }
    const float *want = c->values;
    double worst = 0;
    for (size_t p = 0; p < TENSORS; p++) {
        const vst_param_info *info = vst_params_at(params, p);
        for (size_t i = 0; i < info->count; i++)
            worst = fmax(worst, fabs((double)vst_params_values(params)[info->offset + i] - (double)*want++));
    }
    ck_assert_msg(worst < 1e-6, "%s %s: off by %.2g", c->name, c->own, worst);
    vst_optimizer_destroy(optimizer);
    vst_params_destroy(params);
}
END_TEST

/* As in make_optim_fixtures.py. */
static double top1(int epoch) { return fmin(epoch, 6) * 10 + (epoch >= 17) * 5; }

START_TEST(schedule_is_timms) {
    const struct schedule_rates *c = &schedule_rates[_i];
    vst_schedule_state state = {0};
    vst_schedule s = {.rate = 1e-3,
                      .minimum = 1e-5,
                      .warmup_rate = 1e-6,
                      .warmup = OPTIM_WARMUP * EPOCH,
                      .steps = OPTIM_EPOCHS * EPOCH,
                      .epoch = EPOCH,
                      .whole = !c->prefix,
                      .state = &state};
    ck_ok(vst_schedule_choose(&s, c->name, c->own));
    for (int epoch = 0; epoch < OPTIM_EPOCHS; epoch++) {
        if (epoch) vst_schedule_measured(&s, (uint64_t)epoch * EPOCH, top1(epoch - 1));
        const double rate = vst_schedule_rate(&s, (uint64_t)epoch * EPOCH), want = c->rates[epoch];
        ck_assert_msg(fabs(rate - want) < 1e-7 * want, "%s %s: epoch %d has %.9g, timm's %.9g", c->name, c->own, epoch,
                      rate, want);
    }
    ck_assert(vst_schedule_measures(&s) == (strcmp(c->name, "plateau") == 0));
    vst_schedule_clear(&s);
}
END_TEST

/* The tables are sorted, and every name is that of its file; the choices of recipe keys are made from them. */
START_TEST(names_are_the_files) {
    extern const char vsti_optimizer_method_names[], vsti_schedule_method_names[];
    char names[1000] = "";
    for (size_t i = 0; i < vst_optimizer_method_count(); i++) {
        const vst_optimizer_method *method = vst_optimizer_method_at(i);
        ck_assert_ptr_eq(vst_optimizer_method_find(method->name), method);
        strcat(strcat(names, i ? "|" : ""), method->name);
    }
    ck_assert_str_eq(names, vsti_optimizer_method_names);
    *names = 0;
    for (size_t i = 0; i < vst_schedule_method_count(); i++)
        strcat(strcat(names, i ? "|" : ""), vst_schedule_method_at(i)->name);
    ck_assert_str_eq(names, vsti_schedule_method_names);
}
END_TEST

START_TEST(what_does_not_exist_is_refused) {
    vst_schedule s = {0};
    ck_fails(vst_schedule_choose(&s, "cosinus", NULL), VST_ERROR_NOT_FOUND, "no schedule \"cosinus\"");
    ck_fails(vst_schedule_choose(&s, "step", "decay_epoch=3"), VST_ERROR_ARGUMENT, "did you mean \"decay_epochs\"?");
    ck_fails(vst_schedule_choose(&s, "constant", "a=1"), VST_ERROR_ARGUMENT, "no options of its own");
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("optim_timm");
    tcase_add_loop_test(tests, optimizer_is_theirs, 0, (int)(sizeof optimizer_numbers / sizeof *optimizer_numbers));
    tcase_add_loop_test(tests, schedule_is_timms, 0, (int)(sizeof schedule_rates / sizeof *schedule_rates));
    tcase_add_test(tests, names_are_the_files);
    tcase_add_test(tests, what_does_not_exist_is_refused);
    return run_suite("optim_timm", tests);
}
