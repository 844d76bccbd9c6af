/* recipes/deploy: weights of other programs become parameters; what a model's parts cost. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipes/deploy/exporters/exporter.h"
#include "recipes/infer/model_session.h"
#include "recipes/model/cost.h"
#include "recipes/model/import.h"
#include "recipes/model/model.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/ops/ops.h"
#include "vision/tensor/resample.h"

enum { MOST = 400 };

static char folder[256], path[300];

static void begin(void) {
    make_folder(folder, "import");
    snprintf(path, sizeof path, "%s/w.safetensors", folder);
}

static void end(void) {
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left there */
}

/* A model with its parameters, and its tensors as a file would have them, to be changed at will. */
typedef struct net {
    vst_model_config *model;
    vst_graph *graph;
    vst_params *params;
    vst_tensor tensors[MOST];
    int64_t counters[MOST];
    size_t count;
} net;

static net *make(const char *variant, const char *key, const char *value, uint64_t seed) {
    net *n = calloc(1, sizeof *n);
    ck_assert_ptr_nonnull(n);
    ck_ok(vst_model_config_create(&n->model, variant));
    if (key) ck_ok(vst_model_config_set(n->model, key, value));
    ck_ok(vst_model_declare(&n->graph, &n->params, n->model));
    ck_ok(vst_params_allocate(n->params, false, seed));
    for (size_t i = 0; i < vst_params_total(n->params); i++)
        if (vst_params_values(n->params)[i] == 0)
            vst_params_values(n->params)[i] = (float)(seed % 97) + (float)(i % 13);
    n->count = vst_params_tensors(n->params, n->tensors, n->counters);
    return n;
}

static void drop(net *n) {
    vst_graph_destroy(n->graph);
    vst_params_destroy(n->params);
    vst_model_config_destroy(n->model);
    free(n);
}

static vst_tensor *tensor_of(net *n, const char *name) {
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->tensors[i].name, name) == 0) return &n->tensors[i];
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

static void remove_tensor(net *n, const char *name) {
    *tensor_of(n, name) = n->tensors[n->count - 1];
    n->count--;
}

static const float *values_of(const net *n, const char *name) {
    const int index = vst_params_find(n->params, name);
    ck_assert_msg(index >= 0, "no parameter %s", name);
    return vst_params_values(n->params) + vst_params_at(n->params, (size_t)index)->offset;
}

static size_t count_of(const net *n, const char *name) {
    return vst_params_at(n->params, (size_t)vst_params_find(n->params, name))->count;
}

static void ck_same(const net *a, const net *b, const char *name) {
    ck_assert_uint_eq(count_of(a, name), count_of(b, name));
    ck_assert_msg(memcmp(values_of(a, name), values_of(b, name), count_of(a, name) * sizeof(float)) == 0, "%s differs",
                  name);
}

static vst_weights *saved(const net *n, const vst_metadata *metadata, size_t count) {
    vst_weights *weights;
    ck_ok(vst_safetensors_write(path, n->tensors, n->count, metadata, count));
    ck_ok(vst_weights_open(&weights, path, NULL));
    return weights;
}

/* Imports what `from` has as tensors into `to`. */
static vst_status import(vst_import_report *report, net *to, const net *from, const vst_import_options *options) {
    vst_weights *weights = saved(from, NULL, 0);
    const vst_status status = vst_import_params(report, to->model, to->params, weights, options);
    for (size_t i = 0; i < report->count; i++) report->rows[i].found = NULL; /* they go with the weights */
    vst_weights_close(weights);
    return status;
}

static const vst_import_options plain = {0}, fresh_head = {.reset_head = true};

/* ---- Names ---- */

START_TEST(takes_all) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    vst_import_report report = {0};
    const uint64_t version = vst_params_version(b->params);
    ck_assert_mem_ne(values_of(a, "conv1.weight"), values_of(b, "conv1.weight"), 100);
    ck_ok(import(&report, b, a, &plain));
    for (size_t i = 0; i < a->count; i++) ck_same(a, b, a->tensors[i].name);
    ck_assert_uint_eq(report.taken, a->count);
    ck_assert_uint_eq(report.count, 0);
    ck_assert_uint_eq(vst_import_problems(&report), 0);
    ck_assert_uint_gt(vst_params_version(b->params), version);
    drop(a);
    drop(b);
}
END_TEST

/* As torchvision names them. */
START_TEST(renames) {
    net *a = make("vit_mini_patch4_28", NULL, NULL, 1), *b = make("vit_mini_patch4_28", NULL, NULL, 2);
    vst_import_report report = {0};
    tensor_of(a, "cls_token")->name = "class_token";
    tensor_of(a, "head.weight")->name = "heads.head.weight";
    tensor_of(a, "blocks.3.norm1.bias")->name = "encoder.layers.encoder_layer_3.ln_1.bias";
    ck_ok(import(&report, b, a, &plain));
    ck_same(a, b, "cls_token");
    ck_same(a, b, "head.weight");
    ck_same(a, b, "blocks.3.norm1.bias");
    ck_assert_uint_eq(report.counts[VST_IMPORT_RENAMED], 3);
    ck_assert_uint_eq(report.count, 0);

    /* its own name goes first, and one parameter has one tensor only */
    float other[64] = {0};
    a->tensors[a->count++] = (vst_tensor){"cls_token", VST_F32, VST_SHAPE(1, 1, 64), other};
    vst_import_report again = {0};
    ck_assert_int_eq(import(&again, b, a, &plain), VST_ERROR_FORMAT);
    ck_assert_uint_eq(again.counts[VST_IMPORT_TWICE], 1);
    ck_assert_uint_eq(again.count, 1);
    ck_assert_int_eq(again.rows[0].finding, VST_IMPORT_TWICE);
    ck_same(a, b, "cls_token"); /* as it was */
    vst_import_report_clear(&again);
    vst_import_report_clear(&report);
    drop(a);
    drop(b);
}
END_TEST

/* ---- Types ---- */

START_TEST(converts) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    vst_import_report report = {0};
    double wide[16];
    uint16_t half[16], brain[16];
    int32_t narrow = 77;
    for (int i = 0; i < 16; i++) {
        wide[i] = 1.0 / 3 + i;
        half[i] = (uint16_t)(0x3c00 + i * 16); /* 1 + i / 64 */
        brain[i] = (uint16_t)(0x3f80 + i);     /* 1 + i / 128 */
    }
    vst_tensor *bias = tensor_of(a, "bn1.bias"), *weight = tensor_of(a, "bn1.weight"),
               *mean = tensor_of(a, "bn1.running_mean");
    bias->dtype = VST_F64, bias->data = wide;
    weight->dtype = VST_F16, weight->data = half;
    mean->dtype = VST_BF16, mean->data = brain;
    remove_tensor(a, "layer1.0.bn1.num_batches_tracked"); /* PyTorch before 0.4.1 had none */
    vst_tensor *counter = tensor_of(a, "bn1.num_batches_tracked");
    *counter = (vst_tensor){counter->name, VST_I32, VST_SHAPE(1), &narrow};
    const float before = *values_of(b, "layer1.0.bn1.num_batches_tracked");
    ck_ok(import(&report, b, a, &plain));
    for (int i = 0; i < 16; i++) {
        ck_assert(values_of(b, "bn1.bias")[i] == (float)wide[i]);
        ck_assert(values_of(b, "bn1.weight")[i] == 1 + (float)i / 64);
        ck_assert(values_of(b, "bn1.running_mean")[i] == 1 + (float)i / 128);
    }
    ck_assert(*values_of(b, "bn1.num_batches_tracked") == 77);
    ck_assert(*values_of(b, "layer1.0.bn1.num_batches_tracked") == before);
    ck_assert_uint_eq(report.count, 0);
    drop(a);
    drop(b);
}
END_TEST

START_TEST(says_what_is_not_finite) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    vst_import_report report = {0};
    double wide[16] = {0};
    wide[5] = 1e300; /* no float */
    tensor_of(a, "bn1.bias")->dtype = VST_F64;
    tensor_of(a, "bn1.bias")->data = wide;
    ((float *)tensor_of(a, "fc.bias")->data)[3] = NAN;
    ck_ok(import(&report, b, a, &plain));
    ck_assert_uint_eq(report.counts[VST_IMPORT_NOT_FINITE], 2);
    ck_assert_uint_eq(report.count, 2);
    vst_import_report_clear(&report);
    drop(a);
    drop(b);
}
END_TEST

/* ---- Misfits ---- */

START_TEST(lists_misfits) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    vst_import_report report = {0};
    const size_t bytes = vst_params_total(b->params) * sizeof(float);
    float *before = malloc(bytes);
    ck_assert_ptr_nonnull(before);
    memcpy(before, vst_params_values(b->params), bytes);
    tensor_of(a, "layer1.0.conv1.weight")->shape = VST_SHAPE(16, 144);
    tensor_of(a, "bn1.weight")->dtype = VST_I32;
    tensor_of(a, "bn1.bias")->name = "bn1.beta";
    ck_assert_int_eq(import(&report, b, a, &plain), VST_ERROR_SHAPE);
    const char *message = vst_error_message();
    ck_assert_msg(strstr(message, path) && strstr(message,
                                                  "does not fit resnet8_cifar (tensors: 1 missing, 1 unexpected, 2 of "
                                                  "wrong shape or type)"),
                  "%s", message);
    static const struct {
        vst_import_finding finding;
        const char *name;
    } expected[] = {{VST_IMPORT_MISSING, "bn1.bias"},
                    {VST_IMPORT_UNEXPECTED, "bn1.beta"},
                    {VST_IMPORT_WRONG_SHAPE, "layer1.0.conv1.weight"},
                    {VST_IMPORT_WRONG_TYPE, "bn1.weight"}};
    ck_assert_uint_eq(report.count, 4);
    ck_assert_uint_eq(vst_import_problems(&report), 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(report.rows[i].finding, expected[i].finding);
        ck_assert_uint_eq(report.counts[expected[i].finding], 1);
    }
    ck_assert_str_eq(report.rows[0].name, "bn1.bias");
    ck_assert_int_eq(report.rows[1].wanted.rank, -1);
    ck_assert_int_eq(report.rows[2].wanted.rank, 4);
    ck_assert_mem_eq(before, vst_params_values(b->params), bytes); /* nothing was taken */
    vst_import_report_clear(&report);
    free(before);
    drop(a);
    drop(b);
}
END_TEST

/* fails(text): the import is refused and the message has the text */
static void ck_refused(net *to, const net *from, const char *text) {
    vst_import_report report = {0};
    ck_assert_int_ne(import(&report, to, from, &plain), VST_OK);
    ck_assert_msg(strstr(vst_error_message(), text), "message: %s", vst_error_message());
    ck_assert_uint_gt(vst_import_problems(&report), 0);
    vst_import_report_clear(&report);
}

START_TEST(hints) {
    net *small = make("vit_mini_patch4_28", NULL, NULL, 1),
        *distilled = make("deit_mini_distilled_patch4_28", NULL, NULL, 2);
    net *wide = make("vit_mini_patch4_28", "dim", "128", 1), *cnn = make("resnet8_cifar", NULL, NULL, 3);
    ck_refused(distilled, small, "the model has a distillation token and the file has none");
    ck_refused(small, distilled, "import it as the \"distilled\" model");
    ck_refused(wide, small, "the model's name or options are not those of the file");
    ck_refused(cnn, small, "no tensor fits");
    remove_tensor(small, "head.weight");
    remove_tensor(small, "head.bias");
    net *again = make("vit_mini_patch4_28", NULL, NULL, 4);
    ck_refused(again, small, "the file has no classifier: --reset-head");
    drop(small);
    drop(distilled);
    drop(wide);
    drop(cnn);
    drop(again);
}
END_TEST

START_TEST(ignores_what_is_harmless) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    vst_import_report report = {0};
    float data[4] = {0};
    static const char *const names[] = {"n_averaged", "layer1.0.total_ops", "total_params", "ema.fc.bias",
                                        "optimizer.step"};
    for (int i = 0; i < 3; i++) a->tensors[a->count++] = (vst_tensor){names[i], VST_F32, VST_SHAPE(1), data};
    ck_ok(import(&report, b, a, &plain));
    ck_assert_uint_eq(report.counts[VST_IMPORT_IGNORED], 3);
    vst_import_report_clear(&report);

    for (int i = 3; i < 5; i++) a->tensors[a->count++] = (vst_tensor){names[i], VST_F32, VST_SHAPE(1), data};
    ck_assert_int_eq(import(&report, b, a, &plain), VST_ERROR_FORMAT); /* in other people's files they mean something */
    ck_assert_uint_eq(report.counts[VST_IMPORT_UNEXPECTED], 2);
    vst_import_report_clear(&report);
    vst_weights *ours = saved(a, &(vst_metadata){"vistill.format", "1"}, 1);
    ck_ok(vst_import_params(&report, b->model, b->params, ours, &plain));
    ck_assert_uint_eq(report.counts[VST_IMPORT_IGNORED], 5);
    vst_import_report_clear(&report);
    vst_weights_close(ours);
    drop(a);
    drop(b);
}
END_TEST

/* ---- Classifiers ---- */

START_TEST(resets_heads) {
    net *a = make("deit_mini_distilled_patch4_28", NULL, NULL, 1);
    net *b = make("deit_mini_distilled_patch4_28", "classes", "7", 2);
    net *untouched = make("deit_mini_distilled_patch4_28", "classes", "7", 2);
    static const char *const heads[] = {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"};
    vst_import_report report = {0};
    ck_refused(
        b, a,
        "the file's classifier has 10 classes, the model's 7: take it over with --set classes=10, or give the model a "
        "fresh one with --reset-head (in a recipe: run.new_head)");
    ck_ok(import(&report, b, a, &fresh_head));
    ck_assert_uint_eq(report.counts[VST_IMPORT_FRESH], 4);
    ck_assert_uint_eq(report.taken, a->count - 4);
    for (int i = 0; i < 4; i++) ck_same(b, untouched, heads[i]);
    ck_same(a, b, "blocks.0.attn.qkv.weight");
    ck_same(a, b, "pos_embed");
    vst_import_report_clear(&report);

    net *c = make("deit_mini_distilled_patch4_28", NULL, NULL, 5),
        *before = make("deit_mini_distilled_patch4_28", NULL, NULL, 5);
    for (int i = 0; i < 4; i++) remove_tensor(a, heads[i]); /* a file without classifiers does then, too */
    ck_ok(import(&report, c, a, &fresh_head));
    for (int i = 0; i < 4; i++) ck_same(c, before, heads[i]);
    ck_same(a, c, "pos_embed");
    vst_import_report_clear(&report);
    net *d = make("deit_mini_distilled_patch4_28", NULL, NULL, 6); /* with a classifier of the same size, too */
    ck_ok(import(&report, c, d, &fresh_head));
    for (int i = 0; i < 4; i++) ck_same(c, before, heads[i]);
    ck_same(d, c, "pos_embed");
    vst_import_report_clear(&report);
    drop(d);
    drop(a);
    drop(b);
    drop(c);
    drop(before);
    drop(untouched);
}
END_TEST

/* ---- Position embeddings ---- */

static void check_resized(const net *from, const char *image, int side, bool antialias) {
    net *to = make("deit_mini_distilled_patch4_28", "image", image, 3);
    vst_import_report report = {0};
    const size_t rows = (size_t)(2 + side * side);
    float *expected = calloc(rows * 64, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    ck_ok(import(&report, to, from, &(vst_import_options){.no_antialias = !antialias}));
    ck_assert_uint_eq(report.counts[VST_IMPORT_RESIZED], 1);
    ck_assert_uint_eq(report.taken, from->count);
    ck_ok(vst_resize_position(expected, side, side, values_of(from, "pos_embed"), 7, 7, 2, 64, antialias));
    ck_assert_mem_eq(values_of(to, "pos_embed"), expected, rows * 64 * sizeof *expected);
    ck_assert_mem_eq(values_of(to, "pos_embed"), values_of(from, "pos_embed"),
                     (size_t)128 * sizeof *expected); /* both tokens */
    ck_same(from, to, "head_dist.weight");
    vst_import_report_clear(&report);
    free(expected);
    drop(to);
}

START_TEST(resizes_positions) {
    net *a = make("deit_mini_distilled_patch4_28", NULL, NULL, 1);
    check_resized(a, "56", 14, true);
    check_resized(a, "16", 4, true);
    check_resized(a, "16", 4, false);
    net *odd = make("deit_mini_distilled_patch4_28", "image", "16", 2);
    tensor_of(a, "pos_embed")->shape = VST_SHAPE(1, 50, 64); /* 2 + 48 patches are no square */
    vst_import_report report = {0};
    ck_assert_int_eq(import(&report, odd, a, &plain), VST_ERROR_SHAPE);
    ck_assert_int_eq(report.rows[0].finding, VST_IMPORT_WRONG_SHAPE);
    vst_import_report_clear(&report);
    drop(odd);
    drop(a);

    net *cct = make("cct_2_3x2_32", NULL, NULL, 1),
        *larger = make("cct_2_3x2_32", "image", "64", 2); /* no token before */
    ck_ok(import(&report, larger, cct, &plain));
    ck_assert_uint_eq(report.counts[VST_IMPORT_RESIZED], 1);
    float *expected = calloc(256 * 128, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    ck_ok(vst_resize_position(expected, 16, 16, values_of(cct, "classifier.positional_emb"), 8, 8, 0, 128, true));
    ck_assert_mem_eq(values_of(larger, "classifier.positional_emb"), expected, 256 * 128 * sizeof *expected);
    free(expected);
    vst_import_report_clear(&report);
    drop(cct);
    drop(larger);
}
END_TEST

/* ---- Recognising ---- */

START_TEST(finds_candidates) {
    net *a = make("resnet14_cifar", NULL, NULL, 1);
    vst_import_candidate *list;
    size_t count, fitting;
    vst_weights *weights = saved(a, NULL, 0);
    ck_ok(vst_import_candidates(&list, &count, &fitting, weights));
    ck_assert_uint_eq(fitting, 1);
    ck_assert_uint_gt(count, 10);
    ck_assert_str_eq(list[0].variant, "resnet14_cifar");
    ck_assert_uint_eq(list[0].problems, 0);
    ck_assert_uint_gt(list[1].problems, 0); /* nothing else fits */
    for (size_t i = 1; i < count; i++) ck_assert_uint_ge(list[i].unknown, list[i - 1].unknown);
    vst_free(list);
    vst_weights_close(weights);
    drop(a);

    /* with other classes and options: the variant with the fewest changes */
    static const struct {
        const char *variant, *key, *value, *options, *nearest;
    } cases[] = {{"vit_mini_patch4_28", "classes", "3", "classes=3", "vit_mini_patch4_28"},
                 {"resnet20_cifar", "shortcut", "pad", "shortcut=pad", "resnet20_cifar"},
                 {"regnety_008", "rounding", "up", "rounding=up", "regnety_008"},
                 {"vit_mini_patch4_28", "dim", "32", "", "vit_mini_patch4_28"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        net *tuned = make(cases[i].variant, cases[i].key, cases[i].value, 1);
        weights = saved(tuned, NULL, 0);
        ck_ok(vst_import_candidates(&list, &count, &fitting, weights));
        ck_assert_str_eq(list[0].variant, cases[i].nearest);
        ck_assert_str_eq(list[0].options, cases[i].options);
        ck_assert_uint_eq(fitting, *cases[i].options ? 1 : 0);
        ck_assert_int_eq(list[0].changes, *cases[i].options ? 1 : 0);
        ck_assert(!vst_import_is_foreign(&list[0], weights));
        vst_free(list);
        vst_weights_close(weights);
        drop(tuned);
    }
}
END_TEST

/* What a variant is named for is not tried otherwise: a model without a distillation token is no distilled one. */
START_TEST(keeps_what_a_name_says) {
    net *n = make("vit_mini_patch4_28", NULL, NULL, 1);
    vst_model_config *model;
    vst_import_origin origin;
    vst_weights *weights = saved(n, NULL, 0);
    const vst_import_choice choice = {.variant = "deit_mini_distilled_patch4_28"};
    ck_ok(vst_import_model(&model, &origin, weights, &choice));
    char *json = vst_model_config_to_json(model);
    ck_assert_str_eq(origin.options, "");
    ck_assert_ptr_nonnull(strstr(json, "\"distilled\":\"true\""));
    vst_free(json);
    vst_model_config_destroy(model);
    vst_weights_close(weights);
    drop(n);
}
END_TEST

/* A family that is not supported, with some tensor names of supported ones. */
START_TEST(knows_strangers) {
    static const char *const names[] = {"features.0.weight",  "features.0.bias",     "features.2.weight",
                                        "features.2.bias",    "classifier.0.weight", "classifier.0.bias",
                                        "classifier.3.weight"};
    static const float data[64];
    net *n = calloc(1, sizeof *n);
    vst_model_config *model;
    vst_import_origin origin;
    for (int i = 0; i < 7; i++) n->tensors[n->count++] = (vst_tensor){names[i], VST_F32, VST_SHAPE(4, 4), (void *)data};
    vst_weights *weights = saved(n, NULL, 0);
    ck_assert_int_eq(vst_import_model(&model, &origin, weights, &(vst_import_choice){0}), VST_ERROR_NOT_FOUND);
    ck_assert_msg(strstr(vst_error_message(), "is of no family of models that there is here: cct, convnext, ") &&
                      strstr(vst_error_message(), "vistill cache import"),
                  "%s", vst_error_message());
    vst_weights_close(weights);
    free(n);
}
END_TEST

/* ---- Hugging Face's files (tests/unit/import/make_transformers.py) ---- */

START_TEST(answers_as_transformers) {
    static const char *const files[][2] = {{"vit", "vit_mini_patch4_28"},
                                           {"vit-modules", "vit_mini_patch4_28"},
                                           {"deit", "deit_mini_distilled_patch4_28"},
                                           {"deit-modules", "deit_mini_distilled_patch4_28"}};
    const char *const settings[] = {"image=8", "dim=16", "depth=2", "heads=2"};
    for (int f = 0; f < 4; f++) {
        char name[500];
        vst_weights *weights;
        vst_model_config *model;
        vst_import_origin origin;
        vst_graph *graph;
        vst_params *params;
        vst_session *session;
        vst_import_report report = {0};
        vst_result result = {0};
        snprintf(name, sizeof name, VISTILL_SOURCE_DIR "/tests/unit/import/transformers-%s.safetensors", files[f][0]);
        ck_ok(vst_weights_open(&weights, name, NULL));
        const vst_import_choice choice = {.variant = files[f][1], .settings = settings, .setting_count = 4};
        ck_ok(vst_import_model(&model, &origin, weights, &choice));
        ck_assert_str_eq(origin.project, "transformers");
        ck_assert_str_eq(origin.options, "classes=3");
        ck_ok(vst_model_declare(&graph, &params, model));
        vst_graph_destroy(graph);
        ck_ok(vst_params_allocate(params, false, 0));
        ck_ok(vst_import_params(&report, model, params, weights, &plain));
        ck_assert_str_eq(report.prefix, f < 2 ? "vit." : "deit.");
        ck_assert_uint_eq(report.counts[VST_IMPORT_BESIDE], 2); /* the image and the logits */
        ck_ok(vst_session_create(&session, model, params, NULL));
        ck_ok(vst_session_run(session, vst_weights_find(weights, "test.image")->data, 2, &result));
        const float *wanted = vst_weights_find(weights, "test.logits")->data;
        for (int i = 0; i < 6; i++)
            ck_assert_msg(fabsf(result.scores[i] - wanted[i]) < 1e-5F * (1 + fabsf(wanted[i])), "%s: %g for %g",
                          files[f][0], (double)result.scores[i], (double)wanted[i]);
        vst_result_clear(&result);
        vst_session_close(session);
        vst_import_report_clear(&report);
        vst_params_destroy(params);
        vst_model_config_destroy(model);
        vst_weights_close(weights);
    }
}
END_TEST

/* ---- Prefixes ---- */

/* Prepends a prefix to a name; the text is valid during the test. */
static const char *behind(const char *prefix, const char *name) {
    static char texts[MOST * 4][200];
    static int used;
    snprintf(texts[used], sizeof *texts, "%s%s", prefix, name);
    return texts[used++];
}

static void add_tensor(net *n, const char *name, vst_tensor like) {
    like.name = name;
    n->tensors[n->count++] = like;
}

START_TEST(takes_prefixes_off) {
    static const char *const prefixes[] = {"module.", "model.", "student.", "_forward_module.module.", "a.b.c.d.e."};
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
        vst_import_report report = {0};
        float data[16] = {0};
        for (size_t i = 0; i < a->count; i++) a->tensors[i].name = behind(prefixes[p], a->tensors[i].name);
        add_tensor(a, "n_averaged", (vst_tensor){NULL, VST_F32, VST_SHAPE(1), data});
        add_tensor(a, "criterion.weight", (vst_tensor){NULL, VST_F32, VST_SHAPE(10), data});
        ck_ok(import(&report, b, a, &plain));
        ck_assert_str_eq(report.prefix, prefixes[p]);
        ck_assert_uint_eq(report.taken, a->count - 2);
        ck_assert_uint_eq(report.counts[VST_IMPORT_IGNORED], 1);
        ck_assert_uint_eq(report.counts[VST_IMPORT_BESIDE], 1);
        ck_assert_uint_eq(report.count, 2);
        ck_assert_str_eq(report.other, "");
        vst_import_report_clear(&report);
        drop(a);
        drop(b);
    }
}
END_TEST

/* "backbone." with the classifier in "head.", as in mmpretrain, and a self-supervised head as DINO's. */
START_TEST(takes_what_is_split) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    vst_import_report report = {0};
    float data[16] = {0};
    for (size_t i = 0; i < a->count; i++)
        a->tensors[i].name =
            behind(strncmp(a->tensors[i].name, "fc.", 3) == 0 ? "head." : "backbone.", a->tensors[i].name);
    ck_ok(import(&report, b, a, &plain));
    ck_assert_str_eq(report.prefix, "backbone.");
    ck_assert(report.split);
    ck_assert_uint_eq(report.taken, a->count);
    vst_import_report_clear(&report);

    remove_tensor(a, "head.fc.weight");
    remove_tensor(a, "head.fc.bias");
    add_tensor(a, "head.mlp.0.weight", (vst_tensor){NULL, VST_F32, VST_SHAPE(4, 4), data});
    add_tensor(a, "backbone.extra", (vst_tensor){NULL, VST_F32, VST_SHAPE(4), data});
    ck_assert_int_eq(import(&report, b, a, &plain), VST_ERROR_FORMAT);
    ck_assert_uint_eq(report.counts[VST_IMPORT_MISSING], 2);
    ck_assert_uint_eq(report.counts[VST_IMPORT_BESIDE], 1);
    ck_assert_uint_eq(report.counts[VST_IMPORT_UNEXPECTED], 1);
    vst_import_report_clear(&report);
    remove_tensor(a, "backbone.extra");
    ck_ok(import(&report, b, a, &fresh_head));
    ck_assert_uint_eq(report.counts[VST_IMPORT_BESIDE], 1);
    vst_import_report_clear(&report);
    drop(a);
    drop(b);
}
END_TEST

/* A student and a teacher of the same kind are never mixed: the user has to choose. */
START_TEST(refuses_two_of_a_kind) {
    net *a = make("resnet8_cifar", NULL, NULL, 1), *b = make("resnet8_cifar", NULL, NULL, 2);
    net *large = make("resnet14_cifar", NULL, NULL, 3);
    vst_import_report report = {0};
    vst_weights *weights;
    const size_t count = a->count;
    for (size_t i = 0; i < count; i++) {
        add_tensor(a, behind("teacher.", a->tensors[i].name), a->tensors[i]);
        a->tensors[i].name = behind("student.", a->tensors[i].name);
    }
    ck_assert_int_eq(import(&report, b, a, &plain), VST_ERROR_ARGUMENT);
    ck_assert_msg(strstr(vst_error_message(),
                         "twice, behind \"student.\" and behind \"teacher.\": say which, with --entry "
                         "student or --entry teacher"),
                  "%s", vst_error_message());
    vst_import_report_clear(&report);
    vst_import_candidate *list;
    size_t all, fitting;
    ck_ok(vst_weights_open(&weights, path, NULL));
    ck_ok(vst_import_candidates(&list, &all, &fitting, weights));
    ck_assert(!vst_import_is_foreign(&list[0], weights)); /* half of its tensors are of the one, half of the other */
    vst_free(list);
    vst_weights_close(weights);
    ck_ok(vst_weights_open(&weights, path, "teacher"));
    ck_ok(vst_import_params(&report, b->model, b->params, weights, &plain));
    ck_assert_uint_eq(report.taken, count);
    ck_assert_uint_eq(report.count, 0);
    vst_import_report_clear(&report);
    vst_weights_close(weights);

    a->count = count; /* a teacher of another size does not count, and provides nothing that the student lacks */
    for (size_t i = 0; i < large->count; i++)
        add_tensor(a, behind("teacher.", large->tensors[i].name), large->tensors[i]);
    ck_ok(import(&report, b, a, &plain));
    ck_assert_str_eq(report.prefix, "student.");
    ck_assert_uint_eq(report.counts[VST_IMPORT_BESIDE], large->count);
    vst_import_report_clear(&report);
    remove_tensor(a, "student.fc.bias"); /* now the teacher has more of the model, so the user has to choose */
    ck_assert_int_eq(import(&report, b, a, &plain), VST_ERROR_ARGUMENT);
    ck_assert_uint_eq(report.counts[VST_IMPORT_MISSING], 0);
    vst_import_report_clear(&report);
    drop(a);
    drop(b);
    drop(large);
}
END_TEST

/* ---- Preprocessing ---- */

/* Checks the preprocessing after importing a variant's tensors under other names and from a file with this name. */
static void check_images(const char *variant, const char *from, const char *to, const char *file, const char *asked,
                         const char *project, const char *version, double crop, int interpolation) {
    net *a = make(variant, NULL, NULL, 1);
    char name[400], before[sizeof path];
    vst_model_config *model;
    vst_import_origin origin;
    if (from) tensor_of(a, from)->name = to;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    snprintf(before, sizeof before, "%s", path);
    snprintf(path, sizeof path, "%s", name);
    vst_weights *weights = saved(a, NULL, 0);
    ck_ok(vst_import_model(&model, &origin, weights, &(vst_import_choice){.variant = variant, .preprocessing = asked}));
    ck_assert_msg(strcmp(origin.project, project) == 0, "%s, %s: %s", variant, file, origin.project);
    ck_assert_pstr_eq(origin.version, version);
    ck_assert_double_eq(vst_model_common_of(model)->crop_pct, crop);
    ck_assert_int_eq(vst_model_common_of(model)->interpolation, interpolation);
    vst_model_config_destroy(model);
    vst_weights_close(weights);
    unlink(path);
    snprintf(path, sizeof path, "%s", before);
    drop(a);
}

START_TEST(preprocessing_of_projects) {
    const int bicubic = VST_INTERPOLATION_BICUBIC, bilinear = VST_INTERPOLATION_BILINEAR;
    check_images("resnet18", NULL, NULL, "w.pth", NULL, "timm", NULL, 0.95, bicubic);
    check_images("resnet18", NULL, NULL, "resnet18-f37072fd.pth", NULL, "torchvision", "IMAGENET1K_V1", 0.875,
                 bilinear);
    check_images("resnet18", NULL, NULL, "resnet18-f37072fd.pth", "timm", "timm", NULL, 0.95, bicubic);
    check_images("resnet18", NULL, NULL, "w.pth", "torchvision", "torchvision", "IMAGENET1K_V1", 0.875, bilinear);
    check_images("resnet18", NULL, NULL, "w.pth", "torchvision:IMAGENET1K_V2", "torchvision", "IMAGENET1K_V2", 0.9655,
                 bilinear);
    check_images("regnety_004", "head.fc.bias", "fc.bias", "w.pth", NULL, "torchvision", "IMAGENET1K_V1", 0.875,
                 bilinear);
    check_images("regnety_004", "head.fc.bias", "fc.bias", "regnet_y_400mf-e6988f5f.pth", NULL, "torchvision",
                 "IMAGENET1K_V2", 0.9655, bilinear);
    check_images("convnext_tiny", "head.fc.bias", "head.bias", "w.pth", NULL, "timm", NULL, 0.95, bicubic);
    check_images("convnext_tiny", "head.fc.bias", "classifier.2.bias", "w.pth", NULL, "torchvision", "IMAGENET1K_V1",
                 0.949, bilinear);
    check_images("vit_tiny_patch16_224", "cls_token", "vit.embeddings.cls_token", "w.pth", NULL, "transformers", NULL,
                 1, bilinear);
    check_images("deit_tiny_patch16_224", "cls_token", "vit.embeddings.cls_token", "w.pth", NULL, "transformers", NULL,
                 0.875, bicubic);
}
END_TEST

START_TEST(preprocessing_of_nobody) {
    net *a = make("resnet8_cifar", NULL, NULL, 1);
    vst_model_config *model;
    vst_import_origin origin;
    const char *const mean[] = {"mean=0.5"};
    vst_weights *weights = saved(a, NULL, 0);
    ck_ok(vst_import_model(&model, &origin, weights, &(vst_import_choice){0}));
    ck_assert(origin.unnamed);
    ck_assert_str_eq(origin.project, "");
    vst_model_config_destroy(model);
    ck_ok(vst_import_model(&model, &origin, weights, &(vst_import_choice){.settings = mean, .setting_count = 1}));
    ck_assert(!origin.unnamed);
    vst_model_config_destroy(model);
    ck_assert_int_eq(vst_import_model(&model, &origin, weights, &(vst_import_choice){.preprocessing = "torchvision"}),
                     VST_ERROR_NOT_FOUND);
    ck_assert_msg(strstr(vst_error_message(), "of resnet8_cifar there is timm"), "%s", vst_error_message());
    vst_weights_close(weights);
    drop(a);
}
END_TEST

/* ---- Facts and files ---- */

START_TEST(facts) {
    net *a = make("vit_mini_patch4_28", NULL, NULL, 1), *b = make("vit_mini_patch4_28", "image", "56", 2);
    vst_import_report report = {0};
    char *text;
    vst_weights *weights =
        saved(a, (vst_metadata[]){{"vistill.format", "1"}, {"vistill.training", "{\"recipe\":\"r\"}"}}, 2);
    ck_ok(vst_import_params(&report, b->model, b->params, weights, &fresh_head));
    ck_ok(vst_import_facts(&text, weights, &report, NULL));
    json_t *object = json_loads(text, 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(object, "imported")), "w.safetensors");
    ck_assert_str_eq(json_string_value(json_object_get(object, "format")), "safetensors");
    ck_assert_ptr_null(json_object_get(object, "entry"));
    ck_assert_uint_eq(strlen(json_string_value(json_object_get(object, "xxh3"))), 16);
    ck_assert_int_eq(json_integer_value(json_object_get(object, "tensors")), (json_int_t)a->count - 2);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(object, "resized"), 0)), "pos_embed");
    ck_assert_uint_eq(json_array_size(json_object_get(object, "fresh")), 2);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(object, "before"), "recipe")), "r");
    json_decref(object);
    vst_free(text);
    vst_import_report_clear(&report);
    vst_weights_close(weights);
    drop(a);
    drop(b);
}
END_TEST

/* As written before models had crop_pct and interpolation: what is not there has the variant's value. */
START_TEST(reads_older_model_files) {
    net *a = make("vit_mini_patch4_28", NULL, NULL, 1);
    vst_model *model;
    const vst_metadata metadata[] = {
        {"vistill.format", "1"},
        {"vistill.model",
         "{\"variant\":\"vit_mini_patch4_28\",\"options\":{\"image\":\"28\",\"channels\":\"1\",\"classes\":\"10\","
         "\"mean\":\"[0.286]\",\"std\":\"[0.353]\",\"patch\":\"4\",\"dim\":\"64\",\"depth\":\"4\",\"heads\":\"4\","
         "\"mlp_ratio\":\"2\",\"drop_path\":\"0\",\"distilled\":\"false\",\"stem\":\"patch\",\"init\":\"xavier\"}}"},
        {"vistill.classes", "[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"}};
    vst_weights_close(saved(a, metadata, 3));
    ck_ok(vst_model_read(&model, path));
    const vst_model_common *common = vst_model_common_of(model->config);
    ck_assert(common->crop_pct == 1 && common->interpolation == 0 && common->mean.value[0] == 0.286);
    for (size_t i = 0; i < a->count; i++) {
        const vst_param_info *info =
            vst_params_at(model->params, (size_t)vst_params_find(model->params, a->tensors[i].name));
        ck_assert_mem_eq(vst_params_values(model->params) + info->offset, a->tensors[i].data,
                         info->count * sizeof(float));
    }
    ck_assert_ptr_null(model->training);
    vst_model_destroy(model);
    drop(a);
}
END_TEST

/* With the n-th allocation failing (0: none); counts those of the import. */
static vst_status import_failing(const vst_weights *weights, uint64_t n, uint64_t *allocations) {
    net *b = make("vit_mini_patch4_28", "image", "56", 2);
    vst_import_report report = {0};
    char *text = NULL;
    const uint64_t before = vst_memory_count();
    vst_memory_fail_at(n);
    vst_status status = vst_import_params(&report, b->model, b->params, weights, &fresh_head);
    if (status == VST_OK) status = vst_import_facts(&text, weights, &report, NULL);
    vst_memory_fail_at(0);
    *allocations = vst_memory_count() - before;
    ck_assert((status == VST_OK) == (text != NULL));
    vst_free(text);
    vst_import_report_clear(&report);
    drop(b);
    return status;
}

/* Any allocation may fail. jansson's are tried once more, so some failures go unnoticed. */
START_TEST(survives_without_memory) {
    net *a = make("vit_mini_patch4_28", NULL, NULL, 1);
    vst_weights *weights = saved(a, NULL, 0);
    uint64_t all, unused, failed = 0;
    ck_ok(import_failing(weights, 0, &all));
    ck_assert_uint_gt(all, 400);
    for (uint64_t n = 1; n <= all; n += n < 60 || n + 60 > all ? 1 : 7) {
        const vst_status status = import_failing(weights, n, &unused);
        ck_assert_msg(status == VST_OK || strstr(vst_error_message(), "memory"), "%s", vst_error_message());
        failed += status != VST_OK;
    }
    ck_assert_uint_gt(failed, 60);
    vst_weights_close(weights);
    drop(a);
}
END_TEST

START_TEST(export_formats) {
    const vst_exporter *format;
    ck_ok(vst_exporter_find(&format, NULL, "folder.x/m.safetensors"));
    ck_assert_str_eq(format->name, "safetensors");
    ck_ok(vst_exporter_find(&format, "safetensors", "m.bin"));
    ck_assert_int_eq(vst_exporter_find(&format, NULL, "folder.safetensors/m"), VST_ERROR_ARGUMENT);
    ck_assert_int_eq(vst_exporter_find(&format, "gguf", "m.safetensors"), VST_ERROR_ARGUMENT);
    ck_assert_msg(strstr(vst_error_message(), "\"gguf\"; there are: safetensors"), "%s", vst_error_message());
}
END_TEST

/* ---- What models cost ---- */

/* Published GMACs (timm's tables, rounded to two digits) count 2 for each element of a batch norm besides, which
 * matters for the two that are made of cheap layers. */
START_TEST(published_macs) {
    static const struct {
        const char *name;
        double gmac, tolerance;
    } table[] = {{"deit_tiny_patch16_224", 1.26, 0.02},
                 {"deit_small_patch16_224", 4.61, 0.02},
                 {"deit_base_patch16_224", 17.58, 0.02},
                 {"resnet18", 1.82, 0.02},
                 {"resnet50", 4.11, 0.02},
                 {"regnety_160", 15.96, 0.02},
                 {"efficientnet_lite0", 0.40, 0.05},
                 {"mobilenetv2_100", 0.31, 0.05}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        vst_model_config *model;
        vst_graph *graph;
        vst_params *params;
        ck_ok(vst_model_config_create(&model, table[i].name));
        ck_ok(vst_model_declare(&graph, &params, model));
        const double gmac = vst_graph_macs(graph) / 1e9;
        ck_assert_msg(fabs(gmac / table[i].gmac - 1) <= table[i].tolerance, "%s: %.4f GMAC, published %.2f",
                      table[i].name, gmac, table[i].gmac);
        ck_assert_ptr_null(vst_params_values(params)); /* nothing is allocated for them */
        vst_graph_destroy(graph);
        vst_params_destroy(params);
        vst_model_config_destroy(model);
    }
}
END_TEST

/* By hand for ResNet-8; the backward nodes of a training do not count. */
START_TEST(macs_by_hand) {
    net *a = make("resnet8_cifar", NULL, NULL, 1);
    const double expected = 32 * 32 * 27 * 16 + 2.0 * (32 * 32 * 144 * 16) + 16 * 16 * (144 * 32 + 288 * 32 + 16 * 32) +
                            8 * 8 * (288 * 64 + 576 * 64 + 32 * 64) + 640;
    ck_assert_double_eq(vst_graph_macs(a->graph), expected);
    double sum = 0;
    for (size_t i = 0; i < vst_graph_node_count(a->graph); i++) sum += vst_graph_node_at(a->graph, i).macs;
    ck_assert_double_eq(sum, expected);
    vst_graph *g = NULL;
    ck_ok(vst_graph_create(&g, a->params));
    vst_model_build(g, a->model, 1);
    vst_differentiate(g, vst_cross_entropy(g, vst_find(g, "logits"), vst_input(g, "labels", VST_SHAPE(1, 10)), 0));
    ck_ok(vst_graph_finish(g));
    ck_assert_uint_gt(vst_graph_node_count(g), 2 * vst_graph_node_count(a->graph));
    ck_assert_double_eq(vst_graph_macs(g), expected);
    vst_graph_destroy(g);
    drop(a);
}
END_TEST

/* A ViT's last block is emitted twice, for all tokens and for the class token alone; papers count it once, in full. */
START_TEST(macs_of_a_vit_by_hand) {
    net *a = make("vit_mini_patch4_28", NULL, NULL, 1);
    const double block = 50 * 64 * 192 + 2 * 50 * 50 * 64 + 50 * 64 * 64 + 2 * 50 * 64 * 128;
    ck_assert_double_eq(vst_graph_macs(a->graph), 49 * 16 * 64 + 4 * block + 640);
    drop(a);
}
END_TEST

START_TEST(parts) {
    static const struct {
        const char *model, *names; /* each with a blank behind it */
    } table[] = {
        {"vit_mini_patch4_28", "patch_embed cls_token pos_embed blocks.0 blocks.1 blocks.2 blocks.3 norm head "},
        {"resnet8_cifar", "conv1 bn1 layer1.0 layer2.0 layer3.0 fc "},
        {"regnety_002", "stem s1.b1 s2.b1 s3.b1 s3.b2 s3.b3 s3.b4 s4.b1 s4.b2 s4.b3 s4.b4 s4.b5 s4.b6 s4.b7 head "},
        {"cct_2_3x2_32",
         "tokenizer.conv_layers.0.0 tokenizer.conv_layers.1.0 classifier classifier.blocks.0 "
         "classifier.blocks.1 "}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        net *a = make(table[i].model, NULL, NULL, 1);
        vst_model_part *blocks;
        size_t count, parameters = 0;
        double macs = 0;
        char names[600] = "";
        ck_ok(vst_model_parts(&blocks, &count, a->graph, a->params));
        for (size_t k = 0; k < count; k++) {
            parameters += blocks[k].parameters;
            macs += blocks[k].macs;
            if (*blocks[k].name) strcat(strcat(names, blocks[k].name), " ");
        }
        ck_assert_str_eq(names, table[i].names);
        ck_assert_uint_eq(parameters, vst_params_numel(a->params));
        ck_assert_double_eq_tol(macs, vst_graph_macs(a->graph), 1e-3);
        vst_free(blocks);
        drop(a);
    }
}
END_TEST

START_TEST(parts_have_shapes) {
    net *a = make("resnet8_cifar", NULL, NULL, 1);
    vst_model_part *blocks;
    size_t count;
    ck_ok(vst_model_parts(&blocks, &count, a->graph, a->params));
    const vst_shape expected = VST_SHAPE(1, 32, 16, 16);
    ck_assert_str_eq(blocks[3].name, "layer2.0");
    ck_assert(vst_shape_equal(&blocks[3].output, &expected));
    ck_assert_uint_eq(blocks[3].parameters, 144 * 32 + 288 * 32 + 16 * 32 + 3 * 64);
    vst_free(blocks);
    drop(a);
}
END_TEST

int main(void) {
    const TTest *const with_files[] = {takes_all,
                                       renames,
                                       converts,
                                       says_what_is_not_finite,
                                       lists_misfits,
                                       hints,
                                       ignores_what_is_harmless,
                                       resets_heads,
                                       resizes_positions,
                                       finds_candidates,
                                       knows_strangers,
                                       keeps_what_a_name_says,
                                       answers_as_transformers,
                                       takes_prefixes_off,
                                       takes_what_is_split,
                                       refuses_two_of_a_kind,
                                       preprocessing_of_projects,
                                       preprocessing_of_nobody,
                                       facts,
                                       reads_older_model_files,
                                       survives_without_memory};
    const TTest *const others[] = {export_formats,        published_macs, macs_by_hand,
                                   macs_of_a_vit_by_hand, parts,          parts_have_shapes};
    TCase *files = tcase_create("files"), *rest = tcase_create("rest");
    tcase_set_timeout(files, 300);
    tcase_set_timeout(rest, 300);
    tcase_add_checked_fixture(files, begin, end);
    for (size_t i = 0; i < sizeof with_files / sizeof *with_files; i++) tcase_add_test(files, with_files[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) tcase_add_test(rest, others[i]);
    return run_suite("import", files, rest);
}
