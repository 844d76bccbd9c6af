/* Products on 8-bit integers: the same numbers as float32 products of the rounded operands, on every instruction set;
 * what cannot be quantised is refused; a quantised model file answers as the model in memory did. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "recipes/infer/model_session.h"
#include "recipes/quant/quantize.h"
#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/data_files.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/ops/ops.h"

/* ---- single products ---- */

typedef struct subject {
    vst_params *params;
    vst_graph *graph;
    vst_value out;
    size_t inputs, outputs; /* elements */
} subject;

typedef struct layer {
    bool linear, norm, residual, relu, bias;
    int in, out, side, kernel, stride, padding, groups, zero_point;
} layer;

static subject build(const layer *l) {
    subject s = {0};
    ck_ok(vst_params_create(&s.params));
    ck_ok(vst_graph_create(&s.graph, s.params));
    const vst_shape shape = l->linear ? VST_SHAPE(3, l->side, l->in) : VST_SHAPE(3, l->in, l->side, l->side);
    const vst_value x = vst_input(s.graph, "x", shape);
    vst_value y = {0};
    VST_SCOPE (s.graph, "layer") {
        if (l->linear) y = vst_linear(s.graph, x, (vst_linear_options){.features = l->out, .bias = l->bias});
        else
            y = vst_conv2d(s.graph, x,
                           (vst_conv2d_options){.out = l->out,
                                                .kernel = l->kernel,
                                                .stride = l->stride,
                                                .padding = l->padding,
                                                .groups = l->groups,
                                                .bias = l->bias});
    }
    if (l->norm)
        VST_SCOPE (s.graph, "bn") y = vst_batch_norm(s.graph, y, (vst_norm_options){.epsilon = 1e-5});
    if (l->residual) y = vst_add(s.graph, y, vst_input(s.graph, "residual", vst_shape_at(s.graph, y)));
    if (l->relu) y = vst_relu(s.graph, y);
    s.out = y;
    ck_ok(vst_graph_finish(s.graph));
    ck_ok(vst_params_allocate(s.params, false, 7));
    s.inputs = (size_t)vst_shape_count(&shape);
    const vst_shape out = vst_shape_at(s.graph, y);
    s.outputs = (size_t)vst_shape_count(&out);
    return s;
}

static void clear(subject *s) {
    vst_graph_destroy(s->graph);
    vst_params_destroy(s->params);
}

static void random_values(float *x, size_t count, double low, double high, uint64_t seed) {
    vst_random random = vst_random_stream(seed, 0, 0, 0);
    for (size_t i = 0; i < count; i++) x[i] = (float)(low + (high - low) * vst_random_uniform(&random));
}

/* Statistics and scales that are not those of a fresh model. */
static void disturb(const subject *s) {
    for (size_t i = 0; i < vst_params_count(s->params); i++) {
        const vst_param_info *info = vst_params_at(s->params, i);
        if (strncmp(info->name, "bn.", 3) == 0 && info->kind != VST_PARAM_COUNTER)
            random_values(vst_params_values(s->params) + info->offset, info->count, 0.5, 2, i);
    }
    vst_params_changed(s->params);
}

static void run(const subject *s, const float *x, const float *residual, const vst_quant *quant, float *y) {
    vst_context *context =
        create_context(s->graph, &s->out, 1, &(vst_program_options){.mode = VST_INFER, .quant = quant});
    memcpy(vst_context_input(context, "x"), x, s->inputs * sizeof *x);
    if (vst_context_input(context, "residual"))
        memcpy(vst_context_input(context, "residual"), residual, s->outputs * sizeof *residual);
    ck_ok(vst_context_run(context, 0));
    memcpy(y, vst_context_output(context, 0), s->outputs * sizeof *y);
    if (quant) { /* not by way of float32 */
        bool found = false;
        for (size_t i = 0; i < vst_context_profile_count(context); i++) {
            vst_profile_row row;
            vst_context_profile_at(context, i, &row);
            found |= strcmp(row.name + strlen(row.name) - 8, "quantize") == 0;
        }
        ck_assert_msg(found, "nothing was quantised");
    }
    destroy_context(context);
}

/* As the documentation of vst_quant_product says: channels (…, window) in pairs. */
static void round_weight(vst_params *params, const char *name) {
    const vst_param_info *info = vst_params_at(params, (size_t)vst_params_find(params, name));
    float *w = vst_params_values(params) + info->offset;
    const int64_t rows = info->shape.dim[0], channels = info->shape.dim[1], inner = (int64_t)info->count / rows,
                  window = inner / channels;
    for (int64_t o = 0; o < rows; o++, w += inner) {
        double step = 0;
        for (int64_t i = 0; i < inner; i++) step = fmax(step, fabs((double)w[i]) / 127);
        for (int64_t c = 0; c + 1 < channels; c += 2)
            for (int64_t k = 0; k < window; k++)
                step = fmax(step, fabs((double)w[c * window + k] + (double)w[(c + 1) * window + k]) / 128);
        for (int64_t i = 0; i < inner; i++) w[i] = (float)rint((double)w[i] / step);
        for (int64_t c = 1; c < channels; c += 2)
            for (int64_t k = c * window; k < (c + 1) * window; k++) {
                const float sum = w[k] + w[k - window];
                if (fabsf(sum) > 128) w[k] -= copysignf(1, sum);
            }
        for (int64_t i = 0; i < inner; i++) w[i] = (float)((double)w[i] * step);
    }
}

/* x and the weight, rounded as the documentation of vst_quant_product says. */
static void round_operands(const subject *s, const vst_quant_product *product, float *x) {
    for (size_t i = 0; i < s->inputs; i++) {
        double q = rint((double)(x[i] / product->scale)) + product->zero_point;
        q = q < 0 ? 0 : q > 255 ? 255 : q;
        x[i] = (float)((q - product->zero_point) * (double)product->scale);
    }
    round_weight(s->params, "layer.weight");
    vst_params_changed(s->params);
}

static const layer layers[] = {
    {.linear = true, .in = 24, .out = 40, .side = 5, .bias = true, .zero_point = 117},
    {.linear = true, .in = 7, .out = 3, .side = 4, .zero_point = 0},
    {.linear = true, .in = 64, .out = 64, .side = 9, .bias = true, .residual = true, .zero_point = 30},
    {.in = 16, .out = 32, .side = 9, .kernel = 3, .stride = 1, .padding = 1, .norm = true, .relu = true},
    {.in = 3, .out = 5, .side = 8, .kernel = 3, .stride = 2, .padding = 1, .bias = true},
    {.in = 32, .out = 32, .side = 7, .kernel = 3, .stride = 1, .padding = 1, .groups = 4, .norm = true},
    {.in = 8, .out = 24, .side = 6, .kernel = 1, .stride = 1, .norm = true, .residual = true, .relu = true},
    {.in = 20, .out = 12, .side = 5, .kernel = 1, .stride = 2, .zero_point = 200, .bias = true},
    /* Images whose layouts coincide: of one pixel, as squeeze-and-excitation reads, and of one channel. */
    {.in = 48, .out = 12, .side = 1, .kernel = 1, .stride = 1, .zero_point = 90, .bias = true},
    {.in = 1, .out = 16, .side = 8, .kernel = 4, .stride = 4, .zero_point = 90, .bias = true},
    {.in = 15, .out = 9, .side = 6, .kernel = 3, .stride = 1, .padding = 1, .norm = true},
    {.in = 14, .out = 6, .side = 6, .kernel = 3, .stride = 1, .padding = 1, .groups = 2}};

/* Weights of one sign, for inputs that are all large: sums of two products in 16 bits would overflow first. */
static void make_heavy(const subject *s) {
    const vst_param_info *weight = vst_params_at(s->params, (size_t)vst_params_find(s->params, "layer.weight"));
    float *w = vst_params_values(s->params) + weight->offset;
    for (size_t i = 0; i < weight->count; i++) w[i] = fabsf(w[i]);
    vst_params_changed(s->params);
}

/* Each test is a process of its own, in which oneDNN reads this first. */
static const char *const widths[] = {"ALL", "AVX512_CORE", "AVX2"};
enum { LAYERS = sizeof layers / sizeof *layers, WIDTHS = sizeof widths / sizeof *widths };

START_TEST(products_are_those_of_rounded_operands) {
    const layer *l = &layers[_i % LAYERS];
    const bool heavy = _i / LAYERS / WIDTHS;
    ck_assert_int_eq(setenv("ONEDNN_MAX_CPU_ISA", widths[_i / LAYERS % WIDTHS], 1), 0);
    subject s = build(l);
    float *x = vst_alloc(s.inputs * sizeof *x), *residual = vst_alloc(s.outputs * sizeof *residual),
          *got = vst_alloc(s.outputs * sizeof *got), *want = vst_alloc(s.outputs * sizeof *want);
    const vst_quant_product product = {"layer", 0.011f, l->zero_point};
    const vst_quant quant = {.products = &product, .product_count = 1};
    disturb(&s);
    if (heavy) make_heavy(&s);
    random_values(x, s.inputs, 0.011 * (heavy ? 230 - l->zero_point : -l->zero_point - 9),
                  0.011 * (255 - l->zero_point + 9), 3);
    random_values(residual, s.outputs, -1, 1, 4);
    run(&s, x, residual, &quant, got);
    round_operands(&s, &product, x);
    run(&s, x, residual, NULL, want);
    ck_assert_all_close("products", got, want, s.outputs, (tolerance){2e-5, 2e-5, false});
    vst_free(x);
    vst_free(residual);
    vst_free(got);
    vst_free(want);
    clear(&s);
}
END_TEST

/* Between two products uint8 alone is kept: no dequantising, no float32. */
START_TEST(products_in_a_row_stay_on_integers) {
    subject s = {0};
    ck_ok(vst_params_create(&s.params));
    ck_ok(vst_graph_create(&s.graph, s.params));
    vst_value x = vst_input(s.graph, "x", VST_SHAPE(2, 6, 16));
    VST_SCOPE (s.graph, "a") x = vst_linear(s.graph, x, (vst_linear_options){.features = 32, .bias = true});
    x = vst_gelu(s.graph, x);
    VST_SCOPE (s.graph, "b") s.out = vst_linear(s.graph, x, (vst_linear_options){.features = 8, .bias = true});
    ck_ok(vst_graph_finish(s.graph));
    ck_ok(vst_params_allocate(s.params, false, 7));
    const vst_quant_product products[] = {{"a", 0.008f, 128}, {"b", 0.01f, 20}};
    vst_context *context = create_context(
        s.graph, &s.out, 1,
        &(vst_program_options){.mode = VST_INFER, .quant = &(vst_quant){.products = products, .product_count = 2}});
    int quantised = 0;
    for (size_t i = 0; i < vst_context_profile_count(context); i++) {
        vst_profile_row row;
        vst_context_profile_at(context, i, &row);
        quantised += strstr(row.name, "quantize") != NULL;
        ck_assert_msg(!strstr(row.name, "dequantize") && strncmp(row.implementation, "ref", 3) != 0, "%s is %s",
                      row.name, row.implementation);
    }
    ck_assert_int_eq(quantised, 1);
    destroy_context(context);
    clear(&s);
}
END_TEST

/* ---- values that are uint8 between products ---- */

/* Rounds the weights of all layers, as products on integers have them. */
static void round_weights(vst_params *params) {
    for (size_t p = 0; p < vst_params_count(params); p++) {
        const vst_param_info *info = vst_params_at(params, p);
        const size_t length = strlen(info->name);
        if (length >= 6 && strcmp(info->name + length - 6, "weight") == 0 && info->shape.rank > 1)
            round_weight(params, info->name);
    }
    vst_params_changed(params);
}

/* A graph "x" -> out, what its products read, and which of these values the float32 program rounds, too. */
typedef struct chain {
    const char *name;
    void (*build)(subject *s);
    vst_quant_product products[8];
    size_t product_count;
    vst_quant_entry rounded[8];
    size_t rounded_count;
} chain;

static vst_value convolve(subject *s, vst_value x, const char *name, int out, int kernel) {
    vst_value y = {0};
    VST_SCOPE (s->graph, "%s", name)
        y = vst_conv2d(s->graph, x,
                       (vst_conv2d_options){.out = out, .kernel = kernel, .padding = kernel / 2, .bias = true});
    return y;
}

static vst_value tapped(subject *s, const char *name, vst_value x) {
    vst_tap(s->graph, name, x);
    return x;
}

/* Two residual blocks; the first one's shortcut has a convolution, whose output nothing but the sum reads. */
static void build_blocks(subject *s) {
    const vst_value x = tapped(s, "in", vst_relu(s->graph, vst_input(s->graph, "x", VST_SHAPE(2, 16, 6, 6))));
    vst_value y = tapped(s, "a", vst_relu(s->graph, convolve(s, x, "a", 16, 3)));
    y = vst_add(s->graph, convolve(s, y, "b", 32, 1), convolve(s, x, "down", 32, 1));
    const vst_value z = tapped(s, "first", vst_relu(s->graph, y));
    y = tapped(s, "c", vst_relu(s->graph, convolve(s, z, "c", 16, 3)));
    y = tapped(s, "second", vst_relu(s->graph, vst_add(s->graph, convolve(s, y, "d", 32, 1), z)));
    s->out = convolve(s, y, "e", 8, 1);
}

/* A transformer's block, without its residual sums, which are float32. */
static void build_tokens(subject *s) {
    vst_value x = vst_input(s->graph, "x", VST_SHAPE(2, 10, 48));
    VST_SCOPE (s->graph, "norm") x = vst_layer_norm(s->graph, x, (vst_norm_options){0});
    vst_tap(s->graph, "normed", x);
    VST_SCOPE (s->graph, "qkv") x = vst_linear(s->graph, x, (vst_linear_options){.features = 144, .bias = true});
    x = tapped(s, "mixed", vst_attention(s->graph, x, 3, 0));
    VST_SCOPE (s->graph, "proj") s->out = vst_linear(s->graph, x, (vst_linear_options){.features = 48});
}

static const float fine = 0.004f, coarse = 0.02f;
#define ROUNDED(tap, scale, zero) {tap, VST_U8, &(scale), 1, zero}
static const chain chains[] = {
    {"blocks",
     build_blocks,
     {{"a", 0.004f, 0}, {"down", 0.004f, 0}, {"b", 0.004f, 0}, {"c", 0.02f, 0}, {"d", 0.004f, 0}, {"e", 0.02f, 0}},
     6,
     {ROUNDED("in", fine, 0), ROUNDED("a", fine, 0), ROUNDED("first", coarse, 0), ROUNDED("c", fine, 0),
      ROUNDED("second", coarse, 0)},
     5},
    {"tokens",
     build_tokens,
     {{"qkv", 0.02f, 128}, {"proj", 0.004f, 100}},
     2,
     {ROUNDED("normed", coarse, 128), ROUNDED("mixed", fine, 100)},
     2}};

/* Runs the graph; *conversions becomes the number of steps that only quantise or dequantise. */
static void run_chain(const subject *s, const float *x, const vst_quant *quant, float *y, int *conversions) {
    vst_context *context =
        create_context(s->graph, &s->out, 1, &(vst_program_options){.mode = VST_INFER, .quant = quant});
    memcpy(vst_context_input(context, "x"), x, s->inputs * sizeof *x);
    ck_ok(vst_context_run(context, 0));
    memcpy(y, vst_context_output(context, 0), s->outputs * sizeof *y);
    *conversions = 0;
    for (size_t i = 0; i < vst_context_profile_count(context); i++) {
        vst_profile_row row;
        vst_context_profile_at(context, i, &row);
        *conversions += strstr(row.name, "quantize") != NULL;
        ck_assert_msg(strncmp(row.implementation, "ref", 3) != 0, "%s is %s", row.name, row.implementation);
    }
    destroy_context(context);
}

/* What stays uint8 between the steps has the values that a float32 program has that rounds it and the weights. */
START_TEST(values_between_products) {
    const chain *c = &chains[_i];
    static const int most_conversions[] = {2, 0}; /* of the input, and of the sum with the shortcut's convolution */
    subject s = {0};
    int conversions, ignored;
    ck_ok(vst_params_create(&s.params));
    ck_ok(vst_graph_create(&s.graph, s.params));
    c->build(&s);
    ck_ok(vst_graph_finish(s.graph));
    ck_ok(vst_params_allocate(s.params, false, 7));
    const vst_shape in = vst_shape_at(s.graph, vst_find(s.graph, "x")), out = vst_shape_at(s.graph, s.out);
    s.inputs = (size_t)vst_shape_count(&in);
    s.outputs = (size_t)vst_shape_count(&out);
    float *x = vst_alloc(s.inputs * sizeof *x), *got = vst_alloc(s.outputs * sizeof *got),
          *want = vst_alloc(s.outputs * sizeof *want);
    random_values(x, s.inputs, -1, 1, 3);
    run_chain(&s, x, &(vst_quant){.products = c->products, .product_count = c->product_count}, got, &conversions);
    round_weights(s.params);
    run_chain(&s, x, &(vst_quant){.entries = c->rounded, .count = c->rounded_count}, want, &ignored);
    ck_assert_msg(conversions <= most_conversions[_i], "%s: %d conversions", c->name, conversions);
    ck_assert_all_close(c->name, got, want, s.outputs, (tolerance){2e-5, 2e-5, false});
    vst_free(x);
    vst_free(got);
    vst_free(want);
    clear(&s);
}
END_TEST

static void expect_refusal(const vst_quant_product *products, size_t count, vst_mode mode, const layer *l,
                           const char *message) {
    subject s = build(l);
    vst_program *program = NULL;
    const vst_quant quant = {.products = products, .product_count = count};
    ck_assert(vst_program_create(&program, s.graph, &s.out, 1, &(vst_program_options){.mode = mode, .quant = &quant}) !=
              VST_OK);
    ck_assert_msg(strstr(vst_error_message(), message), "%s", vst_error_message());
    ck_assert_ptr_null(program);
    clear(&s);
}

START_TEST(impossible_products) {
    const vst_quant_product unknown = {"nobody", 1, 0}, negative = {"layer", -1, 0}, nan = {"layer", NAN, 0},
                            high = {"layer", 1, 256}, shifted = {"layer", 1, 3},
                            twice[] = {{"layer", 1, 0}, {"layer", 2, 0}};
    expect_refusal(&unknown, 1, VST_INFER, &layers[0], "no product is named nobody");
    expect_refusal(&negative, 1, VST_INFER, &layers[0], "layer: the scale -1");
    expect_refusal(&nan, 1, VST_INFER, &layers[0], "layer: the scale nan");
    expect_refusal(&high, 1, VST_INFER, &layers[0], "the zero point 256");
    expect_refusal(&shifted, 1, VST_INFER, &layers[3], "needs the zero point 0");
    expect_refusal(twice, 2, VST_INFER, &layers[0], "their scales must be equal");
    expect_refusal(&shifted, 1, VST_TRAIN, &layers[0], "for inference");
}
END_TEST

/* ---- whole models ---- */

enum { IMAGES = 40, SIDE = 16 };

static void make_model(vst_model *model, const char *name, const char *const *settings) {
    static char *names[] = {"a", "b", "c"};
    vst_graph *graph;
    *model = (vst_model){.class_names = names, .class_count = 3};
    ck_ok(vst_model_config_create(&model->config, name));
    for (; *settings; settings += 2) ck_ok(vst_model_config_set(model->config, settings[0], settings[1]));
    ck_ok(vst_model_declare(&graph, &model->params, model->config));
    vst_graph_destroy(graph);
    ck_ok(vst_params_allocate(model->params, false, 5));
}

static void clear_model(vst_model *model) {
    vst_quantization_clear(&model->quantization);
    vst_params_destroy(model->params);
    vst_model_config_destroy(model->config);
}

static void write_model(const vst_model *model, const char *path) {
    ck_ok(vst_model_write(path, &(vst_model_content){.config = model->config,
                                                     .params = model->params,
                                                     .class_names = (const char *const *)model->class_names,
                                                     .class_count = 3,
                                                     .quantization = &model->quantization}));
}

static const char *const vit_settings[] = {"dim", "48",      "depth", "2",    "heads", "3",   "image", "16", "channels",
                                           "1",   "classes", "3",     "mean", "0.4",   "std", "0.3",   NULL};
static const char *const cnn_settings[] = {"width", "16",   "image", "16",  "channels", "1", "classes",
                                           "3",     "mean", "0.4",   "std", "0.3",      NULL};
/* Its linear layers read images. */
static const char *const convnext_settings[] = {"depths",      "[1, 2]", "dims",     "[24, 48]", "image",   "16",
                                                "layer_scale", "0.5",    "channels", "1",        "classes", "3",
                                                "mean",        "0.4",    "std",      "0.3",      NULL};
static const struct {
    const char *name;
    const char *const *settings;
    size_t least, floats; /* layers on integers, and in float32 */
} models[] = {{"vit_mini_patch4_28", vit_settings, 9, 1},
              {"resnet8_cifar", cnn_settings, 9, 1},
              {"convnext_tiny", convnext_settings, 8, 4}};

static void write_data(int count) {
    ck_assert_int_eq(mkdir("data", 0777), 0);
    write_idx("data", "", count, 12, SIDE, SIDE, 3, 0);
}

static double size_of(const char *path) {
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    return (double)info.st_size;
}

static void answers(const vst_model *model, const float *images, float *scores) {
    vst_session *session;
    vst_result result = {0};
    ck_ok(vst_session_create_model(&session, model, NULL));
    ck_ok(vst_session_run(session, images, IMAGES, &result));
    memcpy(scores, result.scores, IMAGES * 3 * sizeof *scores);
    vst_result_clear(&result);
    vst_session_close(session);
}

START_TEST(a_file_answers_as_the_model_in_memory) {
    vst_model model, *read;
    vst_dataset *data;
    vst_quantize_report report = {0};
    float images[IMAGES * SIDE * SIDE], exact[IMAGES * 3], before[IMAGES * 3], after[IMAGES * 3];
    write_data(60);
    ck_ok(vst_dataset_open(&data, "data", "train", NULL));
    make_model(&model, models[_i].name, models[_i].settings);
    random_values(images, IMAGES * SIDE * SIDE, 0, 1, 9);
    write_model(&model, "float.safetensors");
    answers(&model, images, exact);
    ck_ok(vst_quantize(&model, data, &(vst_quantize_options){.max_drop = -1}, NULL, &report));
    ck_assert_uint_ge(model.quantization.count, models[_i].least);
    ck_assert_uint_eq(report.count, model.quantization.count + models[_i].floats);
    answers(&model, images, before);
    write_model(&model, "int8.safetensors");
    ck_ok(vst_model_read(&read, "int8.safetensors"));
    answers(read, images, after);
    ck_assert_all_close("answers of the file", after, before, IMAGES * 3, (tolerance){1e-5, 1e-5, false});
    ck_assert_all_close("answers on integers", before, exact, IMAGES * 3, (tolerance){0.05, 0.05, false});
    ck_assert(size_of("int8.safetensors") < 0.45 * size_of("float.safetensors"));
    ck_assert(vst_quantize(read, data, &(vst_quantize_options){0}, NULL, &report) != VST_OK);
    ck_assert_msg(strstr(vst_error_message(), "quantised already"), "%s", vst_error_message());
    ck_assert_uint_eq(read->quantization.count, model.quantization.count);
    vst_model_destroy(read);
    vst_quantize_report_clear(&report);
    vst_dataset_close(data);
    clear_model(&model);
}
END_TEST

/* A budget that nothing meets leaves every layer in float32, and the weights as they were. */
START_TEST(a_budget_is_kept) {
    vst_model model;
    vst_dataset *data;
    vst_quantize_report report = {0};
    float images[IMAGES * SIDE * SIDE], exact[IMAGES * 3], after[IMAGES * 3];
    write_data(60);
    ck_ok(vst_dataset_open(&data, "data", "train", NULL));
    make_model(&model, models[1].name, models[1].settings);
    random_values(images, IMAGES * SIDE * SIDE, 0, 1, 9);
    answers(&model, images, exact);
    ck_ok(vst_quantize(&model, data, &(vst_quantize_options){.max_drop = 0}, NULL, &report));
    ck_assert(!report.labelled || report.top1_float - report.top1 <= 0);
    for (size_t i = 0; i < report.count; i++)
        ck_assert_msg(report.layers[i].integers || report.layers[i].reason, "%s", report.layers[i].name);
    answers(&model, images, after);
    if (!model.quantization.count) ck_assert_mem_eq(exact, after, sizeof exact);
    vst_quantize_report_clear(&report);
    vst_dataset_close(data);
    clear_model(&model);
}
END_TEST

static uint64_t fail_at; /* 0: none */

static vst_status whole_life(const vst_dataset *data) {
    vst_model model;
    vst_quantize_report report = {0};
    make_model(&model, models[1].name, models[1].settings);
    const size_t bytes = vst_params_total(model.params) * sizeof(float);
    float *values = malloc(bytes);
    ck_assert_ptr_nonnull(values);
    memcpy(values, vst_params_values(model.params), bytes);
    vst_memory_fail_at(fail_at);
    const vst_status status =
        vst_quantize(&model, data, &(vst_quantize_options){.max_drop = -1, .batch = 8}, NULL, &report);
    vst_memory_fail_at(0);
    if (status != VST_OK) ck_assert_mem_eq(vst_params_values(model.params), values, bytes);
    free(values);
    vst_quantize_report_clear(&report);
    clear_model(&model);
    return status;
}

/* Writes the tensors of int8.safetensors with this format and this quantisation. */
static void write_altered(const char *path, const char *format, const char *quantization) {
    enum { TENSORS = 256 };
    static vst_tensor tensors[TENSORS];
    vst_safetensors *file;
    ck_ok(vst_safetensors_open(&file, "int8.safetensors", NULL));
    const size_t count = vst_safetensors_count(file);
    ck_assert_uint_le(count, TENSORS);
    for (size_t i = 0; i < count; i++) tensors[i] = *vst_safetensors_at(file, i);
    const vst_metadata metadata[] = {{"vistill.format", format},
                                     {"vistill.model", vst_safetensors_metadata(file, "vistill.model")},
                                     {"vistill.classes", vst_safetensors_metadata(file, "vistill.classes")},
                                     {"vistill.quantization", quantization}};
    ck_ok(vst_safetensors_write(path, tensors, count, metadata, 4));
    vst_safetensors_close(file);
}

/* Integers without the scales of their layers, and scales of layers that have no integers. */
START_TEST(integers_that_fit_no_layer_are_refused) {
    static const struct {
        const char *format, *layer, *text;
    } cases[] = {
        {"2", "blocks.0.attn.qkv", NULL},
        {"1", "blocks.0.attn.qkv", "its vistill.format is '1', which has no 8-bit weights, but "},
        {"2", "nobody", "altered.safetensors: vistill.quantization names the layer 'nobody', which the model does not"},
        {"2", "norm", "names the layer 'norm', whose weight is not stored as 8-bit integers"}};
    vst_dataset *data;
    vst_model model, *read;
    vst_quantize_report report = {0};
    write_data(60);
    make_model(&model, models[0].name, models[0].settings);
    ck_ok(vst_dataset_open(&data, "data", "train", NULL));
    ck_ok(vst_quantize(&model, data, &(vst_quantize_options){.max_drop = -1}, NULL, &report));
    write_model(&model, "int8.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"products\": [{\"name\": \"%s\", \"scale\": 0.1, \"zero_point\": 128}]}",
                 cases[i].layer);
        write_altered("altered.safetensors", cases[i].format, text);
        const vst_status status = vst_model_read(&read, "altered.safetensors");
        ck_assert_int_eq(status, cases[i].text ? VST_ERROR_FORMAT : VST_OK);
        if (cases[i].text) ck_assert_msg(strstr(vst_error_message(), cases[i].text), "%s", vst_error_message());
        vst_model_destroy(read);
    }
    vst_quantize_report_clear(&report);
    vst_dataset_close(data);
    clear_model(&model);
}
END_TEST

/* An error, never a crash or a leak, and the weights as they were. */
START_TEST(failing_allocations) {
    vst_dataset *data;
    uint64_t failed = 0;
    write_data(24);
    ck_ok(vst_dataset_open(&data, "data", "train", NULL));
    fail_at = 0;
    ck_ok(whole_life(data)); /* what is made once in a process is not counted */
    const uint64_t before = vst_memory_count();
    ck_ok(whole_life(data));
    const uint64_t count = vst_memory_count() - before;
    for (fail_at = 1; fail_at < count; fail_at += 1 + fail_at / 10) {
        const vst_status status = whole_life(data);
        failed += status == VST_ERROR_MEMORY;
        ck_assert_msg(status == VST_OK || status == VST_ERROR_MEMORY, "allocation %llu: %s",
                      (unsigned long long)fail_at, vst_error_message());
    }
    ck_assert_uint_gt(failed, 20);
    vst_dataset_close(data);
}
END_TEST

static void set_up(void) { enter_own_folder("quantize"); }

int main(void) {
    TCase *cases = tcase_create("quantize");
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(cases, set_up, leave_own_folder);
    tcase_add_loop_test(cases, products_are_those_of_rounded_operands, 0, 2 * WIDTHS * LAYERS);
    tcase_add_test(cases, products_in_a_row_stay_on_integers);
    tcase_add_loop_test(cases, values_between_products, 0, sizeof chains / sizeof *chains);
    tcase_add_test(cases, impossible_products);
    tcase_add_loop_test(cases, a_file_answers_as_the_model_in_memory, 0, sizeof models / sizeof *models);
    tcase_add_test(cases, a_budget_is_kept);
    tcase_add_test(cases, integers_that_fit_no_layer_are_refused);
    tcase_add_test(cases, failing_allocations);
    return run_suite("quantize", cases);
}
