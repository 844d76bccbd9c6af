/* Training with simulated integers: the model files compute on integers and have the accuracy that was logged; layers
 * and ranges are calibrated, or those of the quantised model that a run starts with. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "recipes/infer/evaluate.h"
#include "recipes/infer/model_session.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/quant/quantize.h"
#include "tests/unit/suite.h"
#include "tests/unit/train_session.h"

#define AWARE                                                                                 \
    "optim: {name: sgd, batch: 24, lr: 0.01, min_lr: 0, warmup_epochs: 0}\n"                  \
    "distill: {teacher: teacher/last.safetensors, terms: [{distance: kl}]}\n"                 \
    "run: {epochs: 2, threads: 1, log_seconds: 0, eval_batch: 25, quantization_aware: true, " \
    "calibration_images: 48"
static const char from_float[] = DATA RESNET AWARE ", start: teacher/last.safetensors}\n",
                  from_integers[] = DATA RESNET AWARE ", start: int8.safetensors}\n",
                  from_nothing[] = DATA RESNET AWARE "}\n";

static vst_model *read_model(const char *path) {
    vst_model *model;
    ck_ok(vst_model_read(&model, path));
    return model;
}

static double top1_of(const vst_model *model) {
    vst_dataset *data;
    vst_session *evaluated;
    vst_loader *loader;
    vst_evaluation e = {0};
    ck_ok(vst_dataset_open(&data, "data", "test", &(vst_dataset_options){.channels = 1}));
    ck_ok(vst_session_create_model(&evaluated, model, NULL));
    ck_ok(vst_evaluation_loader(&loader, data, model->config, 25, 1, &(vst_broken_rule){0}));
    ck_ok(vst_evaluate(evaluated, loader, vst_dataset_count(data), false, NULL, &e));
    const double top1 = e.top1;
    vst_evaluation_clear(&e);
    vst_loader_destroy(loader);
    vst_session_close(evaluated);
    vst_dataset_close(data);
    return top1;
}

static void same_ranges(const vst_model *a, const vst_model *b) {
    ck_assert_uint_eq(a->quantization.count, b->quantization.count);
    for (size_t i = 0; i < a->quantization.count; i++) {
        const vst_quant_product *x = &a->quantization.products[i], *y = &b->quantization.products[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert_float_eq(x->scale, y->scale);
        ck_assert_int_eq(x->zero_point, y->zero_point);
    }
}

START_TEST(files_compute_on_integers) {
    session s = {.recipe = from_float};
    make_teacher();
    ck_ok(run(&s));
    expect_said("layers train with simulated 8-bit integers");
    vst_model *model = read_model("run/last.safetensors");
    ck_assert_uint_ge(model->quantization.count, 9);
    ck_assert_ptr_nonnull(strstr(model->training, "\"quantization_aware\":true"));
    ck_assert_double_eq_tol(top1_of(model), s.result.test_top1, 1e-9);
    ck_assert_double_ge(s.result.test_top1, 90);
    vst_safetensors *file = open_tensors("run", "best.safetensors");
    ck_assert_int_eq(vst_safetensors_find(file, "layer1.0.conv1.weight")->dtype, VST_I8);
    vst_safetensors_close(file);
    vst_model_destroy(model);
}
END_TEST

/* The weights were trained: they are not those that the run started with. */
START_TEST(quantised_models_go_on) {
    vst_dataset *data;
    vst_quantize_report report = {0};
    make_teacher();
    vst_model *model = read_model("teacher/last.safetensors"), *trained, *start;
    ck_ok(vst_dataset_open(&data, "data", "train", &(vst_dataset_options){.channels = 1}));
    ck_ok(vst_quantize(model, data, &(vst_quantize_options){.max_drop = -1, .images = 30}, NULL, &report));
    model->quantization.count -= 2; /* as if two layers had stayed in float32 */
    ck_ok(
        vst_model_write("int8.safetensors", &(vst_model_content){.config = model->config,
                                                                 .params = model->params,
                                                                 .class_names = (const char *const *)model->class_names,
                                                                 .class_count = model->class_count,
                                                                 .training = model->training,
                                                                 .quantization = &model->quantization}));
    run_fine((session){.recipe = from_integers});
    trained = read_model("run/last.safetensors");
    start = read_model("int8.safetensors");
    same_ranges(trained, start);
    const size_t at =
        vst_params_at(start->params, (size_t)vst_params_find(start->params, "layer1.0.conv1.weight"))->offset;
    ck_assert_float_ne(vst_params_values(start->params)[at], vst_params_values(trained->params)[at]);
    /* The same start without simulated integers is a training in float32. */
    run_fine((session){.recipe = from_integers, .output = "plain", .settings = {"run.quantization_aware=false"}});
    vst_model *plain = read_model("plain/last.safetensors");
    ck_assert_uint_eq(plain->quantization.count, 0);
    /* Another model does not fit. */
    expect((session){.recipe = from_integers, .output = "wide", .settings = {"model.width=12"}}, VST_ERROR_SHAPE,
           "start with the float32 model it was made from");
    model->quantization.count += 2;
    vst_model_destroy(plain);
    vst_model_destroy(trained);
    vst_model_destroy(start);
    vst_model_destroy(model);
    vst_quantize_report_clear(&report);
    vst_dataset_close(data);
}
END_TEST

START_TEST(a_start_is_wanted) {
    vst_recipe *recipe;
    write_bytes("recipe.yaml", (const uint8_t *)from_nothing, strlen(from_nothing));
    ck_fails(vst_recipe_read(&recipe, "recipe.yaml", NULL, 0), VST_ERROR_ARGUMENT, "name it with run.start");
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("quantization_aware");
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(cases, enter_folder, leave_own_folder);
    tcase_add_test(cases, files_compute_on_integers);
    tcase_add_test(cases, quantised_models_go_on);
    tcase_add_test(cases, a_start_is_wanted);
    return run_suite("quantization_aware", cases);
}
