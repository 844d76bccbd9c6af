/* Post-training quantisation of small models of each family: scales that move between layers leave the function what it
 * is, the loss is bounded, and the file shrinks. */
#include <check.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "recipes/infer/model_session.h"
#include "recipes/infer/preprocessing.h"
#include "recipes/quant/internal.h"
#include "tests/unit/compare.h"
#include "tests/unit/data_files.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"

enum { IMAGES = 24, SIDE = 32, CLASSES = 3 };

typedef struct family {
    const char *label, *name;
    const char *settings[16]; /* beside those of all */
    bool moves;               /* scales can be moved: of all values but features */
    double error, size;       /* of the logits at most, relative; of the file at most, in files of float32 */
} family;

static const family families[] = {
    {"ResNet", "resnet18", {"layers", "[1, 1]", "width", "32", "stem_width", "16"}, true, 0.1, 0.4},
    {"ResNet with bottlenecks", "resnet50", {"layers", "[1, 1]", "width", "16", "stem_width", "16"}, true, 0.1, 0.45},
    {"RegNetY", "regnety_002", {"depth", "4", "w0", "24", "stem_width", "16"}, true, 0.1, 0.45},
    {"EfficientNet",
     "efficientnet_b0",
     {"repeats", "[1, 2]", "stage_channels", "[16, 24]", "stem", "16", "features", "64"},
     false,
     0.1,
     0.75},
    {"EfficientNet-Lite",
     "efficientnet_lite0",
     {"repeats", "[1, 2]", "stage_channels", "[16, 24]", "stem", "16", "features", "64"},
     false,
     0.1,
     0.75},
    {"MobileNetV2",
     "mobilenetv2_100",
     {"repeats", "[1, 2]", "stage_channels", "[16, 24]", "stem", "16", "features", "64"},
     false,
     0.1,
     0.75},
    {"ConvNeXt", "convnext_tiny", {"depths", "[1, 2]", "dims", "[24, 48]", "layer_scale", "0.5"}, true, 0.1, 0.5},
    {"DeiT", "deit_tiny_distilled_patch16_224", {"patch", "8", "dim", "48", "depth", "2"}, true, 0.1, 0.45},
    {"DeiT-III",
     "deit_tiny_patch16_224",
     {"patch", "8", "dim", "48", "depth", "2", "layer_scale", "0.5", "class_position", "false"},
     true,
     0.1,
     0.45},
    {"CCT", "cct_2_3x2_32", {"dim", "48", "heads", "3", "conv_width", "24"}, true, 0.1, 0.45}};
enum { FAMILIES = sizeof families / sizeof *families };

/* Norms whose channels differ by a factor of up to 30, as those of trained transformers do. */
static void disturb(vst_params *params) {
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        float *values = vst_params_values(params) + info->offset;
        vst_random random = vst_random_stream(3, i, 0, 0);
        if (info->shape.rank != 1 || info->kind == VST_PARAM_COUNTER) continue;
        const bool weight = strstr(info->name, "weight") || strstr(info->name, "var");
        for (size_t k = 0; k < info->count; k++)
            values[k] =
                (float)(weight ? exp(-0.6 + 0.8 * vst_random_normal(&random)) : 0.3 * vst_random_normal(&random));
    }
    vst_params_changed(params);
}

static void make_model(vst_model *model, const family *f) {
    static char *names[] = {"a", "b", "c"};
    static const char *const common[] = {"image", "32",  "channels", "1",   "classes", "3",
                                         "mean",  "0.4", "std",      "0.3", NULL};
    vst_graph *graph;
    *model = (vst_model){.class_names = names, .class_count = CLASSES};
    ck_ok(vst_model_config_create(&model->config, f->name));
    for (const char *const *s = common; *s; s += 2) ck_ok(vst_model_config_set(model->config, s[0], s[1]));
    for (const char *const *s = f->settings; *s; s += 2) ck_ok(vst_model_config_set(model->config, s[0], s[1]));
    ck_ok(vst_model_declare(&graph, &model->params, model->config));
    vst_graph_destroy(graph);
    ck_ok(vst_params_allocate(model->params, false, 5));
    disturb(model->params);
}

static void clear_model(vst_model *model) {
    vst_quantization_clear(&model->quantization);
    vst_params_destroy(model->params);
    vst_model_config_destroy(model->config);
}

static double size_of_file(const vst_model *model, const char *path) {
    struct stat info;
    ck_ok(vst_model_write(path, &(vst_model_content){.config = model->config,
                                                     .params = model->params,
                                                     .class_names = (const char *const *)model->class_names,
                                                     .class_count = CLASSES,
                                                     .quantization = &model->quantization}));
    ck_assert_int_eq(stat(path, &info), 0);
    return (double)info.st_size;
}

static vst_dataset *open_data(void) {
    vst_dataset *data;
    ck_assert_int_eq(mkdir("data", 0777), 0);
    write_idx("data", "", 48, 12, SIDE, SIDE, CLASSES, 0);
    ck_ok(vst_dataset_open(&data, "data", "train", NULL));
    return data;
}

static void answers(const vst_model *model, float *scores) {
    static float images[IMAGES * SIDE * SIDE];
    vst_random random = vst_random_stream(9, 0, 0, 0);
    vst_session *session;
    vst_result result = {0};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) images[i] = (float)vst_random_uniform(&random);
    ck_ok(vst_session_create_model(&session, model, NULL));
    ck_ok(vst_session_run(session, images, IMAGES, &result));
    memcpy(scores, result.scores, IMAGES * CLASSES * sizeof *scores);
    vst_result_clear(&result);
    vst_session_close(session);
}

START_TEST(scales_move_without_changing_the_function) {
    static const vsti_migration ways[] = {{"", 0.15, false}, {"", 0.5, false}, {"", 0.95, false}, {"", 0, true}};
    const family *f = &families[_i];
    vst_model model;
    vst_dataset *data = open_data();
    vst_loader *loader;
    vsti_candidates candidates;
    vsti_calibration calibration;
    vsti_equaliser *equaliser;
    float exact[IMAGES * CLASSES], moved[IMAGES * CLASSES];
    make_model(&model, f);
    const size_t bytes = vst_params_total(model.params) * sizeof(float);
    float *values = vst_params_values(model.params), *given = vst_alloc(bytes);
    memcpy(given, values, bytes);
    answers(&model, exact);
    ck_ok(vst_evaluation_loader(&loader, data, model.config, 8, 1, &(vst_broken_rule){VST_BROKEN_SKIP, 1}));
    ck_ok(vsti_candidates_find(&candidates, &model));
    ck_ok(vsti_calibration_create(&calibration, candidates.tap_count, 8));
    ck_ok(vsti_calibrate(&model, &candidates, loader, NULL, &calibration));
    ck_ok(vsti_equaliser_create(&equaliser, &model, &candidates));
    ck_assert_msg((vsti_equaliser_sets(equaliser) > 0) == f->moves, "%s: %zu sets", f->label,
                  vsti_equaliser_sets(equaliser));
    for (size_t w = 0; f->moves && w < sizeof ways / sizeof *ways; w++) {
        memcpy(values, given, bytes);
        ck_ok(vsti_equalise(equaliser, values, &candidates, calibration.extremes, &ways[w]));
        ck_assert_msg(memcmp(values, given, bytes) != 0, "%s: nothing was moved", f->label);
        vst_params_changed(model.params);
        answers(&model, moved);
        ck_assert_all_close(f->label, moved, exact, IMAGES * CLASSES, (tolerance){1e-5, 1e-5, false});
    }
    vsti_equaliser_destroy(equaliser);
    vsti_calibration_clear(&calibration);
    vsti_candidates_clear(&candidates);
    vst_loader_destroy(loader);
    vst_dataset_close(data);
    vst_free(given);
    clear_model(&model);
}
END_TEST

START_TEST(the_loss_is_bounded) {
    const family *f = &families[_i];
    vst_model model;
    vst_dataset *data = open_data();
    vst_quantize_report report = {0};
    make_model(&model, f);
    const double whole = size_of_file(&model, "float.safetensors");
    ck_ok(vst_quantize(&model, data, &(vst_quantize_options){.max_drop = -1}, NULL, &report));
    const double size = size_of_file(&model, "int8.safetensors") / whole;
    printf("%s: the logits are off by %.4f, the file has %.3f of the size\n", f->label, report.logit_error, size);
    ck_assert_msg(report.logit_error < f->error, "%s: the logits are off by %g", f->label, report.logit_error);
    ck_assert_msg(size < f->size, "%s: %g of the file's size", f->label, size);
    vst_quantize_report_clear(&report);
    vst_dataset_close(data);
    clear_model(&model);
}
END_TEST

/* Parts hold whole pairs of channels, none is empty. */
START_TEST(parts_cover_the_channels) {
    const vsti_candidate layers[] = {{.in = 3, .window = 1600}, {.in = 1344, .window = 25}, {.in = 1378, .window = 25},
                                     {.in = 17, .window = 256}, {.in = 3072, .window = 1},  {.in = 512, .window = 9},
                                     {.in = 5, .window = 1281}, {.in = 1300, .window = 1},  {.in = 64, .window = 9}};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        vsti_moments m = {0};
        vsti_moments_describe(&m, &layers[i]);
        ck_assert_int_ge(m.parts * m.channels, layers[i].in);
        ck_assert_int_lt((m.parts - 1) * m.channels, layers[i].in);
        if (m.parts > 1) ck_assert_int_eq(m.channels % 2, 0);
    }
}
END_TEST

static void set_up(void) { enter_own_folder("quantize_families"); }

int main(void) {
    TCase *cases = tcase_create("quantize_families");
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(cases, set_up, leave_own_folder);
    tcase_add_loop_test(cases, scales_move_without_changing_the_function, 0, FAMILIES);
    tcase_add_loop_test(cases, the_loss_is_bounded, 0, FAMILIES);
    tcase_add_test(cases, parts_cover_the_channels);
    return run_suite("quantize_families", cases);
}
