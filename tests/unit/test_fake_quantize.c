/* Simulated 8-bit integers: PyTorch's numbers and gradients, the bits of quantising and dequantising on every
 * instruction set, and whole models whose simulation answers as their integers do. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "backbones/backbone.h"
#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/data_files.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/kernels/kernels.h"
#include "vision/ops/ops.h"

/* ---- PyTorch 2.13 ---- */

enum { VALUES = 12 };
static const float x_values[VALUES] = {-3, -1.26f, -1.24f, -0.3f, 0, 0.04f, 0.06f, 0.12f, 1.7f, 20, 24.2f, 25};
/* torch.fake_quantize_per_tensor_affine(x, 0.1, 12, 0, 255), and x.grad of dy = 1 … 12 */
static const double y_values[VALUES] = {-1.2, -1.2, -1.2, -0.3, 0, 0, 0.1, 0.1, 1.7, 20, 24.2, 24.3},
                    x_gradient[VALUES] = {0, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0};
/* torch.fake_quantize_per_channel_affine(w, w.abs().amax(1) / 127, 0, 0, -127, 127): no neighbours sum to more */
static const float w_values[8] = {1.26f, -0.6f, 0.011f, 0.4f, -0.05f, 0.02f, 0.0004f, -0.0123f};
static const double v_values[8] = {1.2599999904632568,    -0.5952756404876709,  0.009921260178089142,
                                   0.3968504071235657,    -0.05000000074505806, 0.020078741014003754,
                                   0.0003937007859349251, -0.012204724363982677};

START_TEST(numbers_of_pytorch) {
    vst_params *params;
    vst_graph *g;
    ck_ok(vst_params_create(&params));
    ck_ok(vst_graph_create(&g, params));
    const vst_value x = vst_param(g, "x", VST_SHAPE(VALUES), (vst_init){0}),
                    w = vst_param(g, "w", VST_SHAPE(2, 4), (vst_init){0});
    const vst_value outputs[] = {vst_fake_quantize(g, x, 0.1, 12), vst_fake_quantize_weight(g, w)};
    const vst_value loss =
        vst_add(g, vst_reduce_sum(g, vst_mul(g, outputs[0], vst_input(g, "dx", VST_SHAPE(VALUES))), 1, false),
                vst_reduce_sum(g, vst_mul(g, outputs[1], vst_input(g, "dw", VST_SHAPE(2, 4))), 3, false));
    vst_differentiate(g, loss);
    ck_ok(vst_graph_finish(g));
    ck_ok(vst_params_allocate(params, true, 0));
    const size_t at_x = vst_params_at(params, (size_t)vst_params_find(params, "x"))->offset,
                 at_w = vst_params_at(params, (size_t)vst_params_find(params, "w"))->offset;
    memcpy(vst_params_values(params) + at_x, x_values, sizeof x_values);
    memcpy(vst_params_values(params) + at_w, w_values, sizeof w_values);
    vst_params_changed(params);
    vst_context *context = create_context(g, outputs, 2, &(vst_program_options){.mode = VST_TRAIN, .plain = _i});
    for (int i = 0; i < VALUES; i++) vst_context_input(context, "dx")[i] = (float)(i + 1);
    for (int i = 0; i < 8; i++) vst_context_input(context, "dw")[i] = (float)(i + 1);
    ck_ok(vst_context_run(context, 0));
    const double w_gradient[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ck_assert_all_close("values", vst_context_output(context, 0), y_values, VALUES, (tolerance){0, 1e-6, false});
    ck_assert_all_close("weights", vst_context_output(context, 1), v_values, 8, (tolerance){0, 1e-6, false});
    ck_assert_all_close("gradient", vst_params_gradients(params) + at_x, x_gradient, VALUES, (tolerance){0});
    ck_assert_all_close("gradient of weights", vst_params_gradients(params) + at_w, w_gradient, 8, (tolerance){0});
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
}
END_TEST

/* ---- the bits of the integers ---- */

static void random_values(float *x, int64_t count, double low, double high, uint64_t seed) {
    vst_random random = vst_random_stream(seed, 0, 0, 0);
    for (int64_t i = 0; i < count; i++) x[i] = (float)(low + (high - low) * vst_random_uniform(&random));
}

START_TEST(bits_of_the_integers) {
    enum { COUNT = 70001, OUT = 37, INNER = 53 };
    static const char *const names[] = {"generic", "avx2", "avx512"};
    static float x[COUNT], got[COUNT], want[COUNT], dy[COUNT], dx[COUNT];
    static uint8_t integers[COUNT];
    static float weight[OUT * INNER], shifts[OUT], steps[OUT];
    static int8_t signed_integers[OUT * INNER];
    const vsti_kernels *k = vsti_find_kernels(names[_i]);
    if (!k) return;
    for (int zero = 0; zero < 256; zero += 85) {
        const float scale = 0.013f;
        random_values(x, COUNT, -5, 5, (uint64_t)zero);
        x[0] = NAN, x[1] = INFINITY, x[2] = -INFINITY, x[3] = 1e30f;
        for (int i = 0; i < 4; i++) dy[i] = 1;
        const vsti_quantization shape = {1, 1, COUNT, zero, false};
        k->quantize(&shape, &scale, x, integers);
        k->dequantize(&shape, &scale, integers, want);
        k->fake_quantize(scale, zero, x, got, COUNT);
        ck_assert_mem_eq(got, want, sizeof got);
        random_values(dy, COUNT, -1, 1, 9);
        k->fake_quantize_backward(scale, zero, x, dy, dx, COUNT);
        for (int i = 4; i < COUNT; i++) {
            const double q = rint((double)(x[i] / scale)) + zero;
            ck_assert_msg(dx[i] == (q < 0 || q > 255 ? 0 : dy[i]), "element %d: %g", i, (double)dx[i]);
        }
        for (int i = 0; i < 4; i++) ck_assert_float_eq(dx[i], 0);
    }
    random_values(weight, OUT * INNER, -1, 1, 3);
    memset(weight, 0, INNER * sizeof *weight); /* a row of zeros, and one of denormal numbers */
    for (int i = INNER; i < 2 * INNER; i++) weight[i] = 1e-42f;
    const vsti_weight_quantization shape = {.out = OUT, .inner = INNER, .window = 1, .input_scale = 1};
    k->quantize_weights(&shape, NULL, weight, NULL, signed_integers, steps, shifts);
    k->fake_quantize_weights(&shape, weight, got);
    for (int i = 0; i < OUT * INNER; i++)
        ck_assert_msg(got[i] == steps[i / INNER] * (float)signed_integers[i], "weight %d is %g", i, (double)got[i]);
}
END_TEST

START_TEST(ranges_that_cannot_be) {
    static const struct {
        double scale;
        int zero_point;
    } wrong[] = {{0, 0}, {-1, 0}, {NAN, 0}, {1, -1}, {1, 256}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vst_params *params;
        vst_graph *g;
        ck_ok(vst_params_create(&params));
        ck_ok(vst_graph_create(&g, params));
        vst_fake_quantize(g, vst_input(g, "x", VST_SHAPE(3)), wrong[i].scale, wrong[i].zero_point);
        ck_fails(vst_graph_finish(g), VST_ERROR_ARGUMENT, "the scale");
        vst_graph_destroy(g);
        vst_params_destroy(params);
    }
}
END_TEST

/* ---- whole models ---- */

enum { IMAGES = 24, SIDE = 16, CLASSES = 5, MOST = 64 };

static const struct {
    const char *name;
    const char *settings[12];
} models[] = {{"vit_mini_patch4_28", {"dim", "48", "depth", "2", "heads", "3"}},
              {"resnet8_cifar", {"width", "16"}},
              {"convnext_tiny", {"depths", "[1, 2]", "dims", "[24, 48]", "layer_scale", "0.5"}},
              {"mobilenetv2_100", {NULL}}};

static vst_value build(vst_graph *g, vst_model_config *config, const vst_quant_product *products, size_t count) {
    vst_fake_quantize_products(g, products, count);
    vst_model_build(g, config, IMAGES);
    ck_ok(vst_graph_finish(g));
    return vst_find(g, "logits");
}

/* All products but the first; those with padding read what is not negative. A layer that is emitted twice counts once.
 */
static size_t list_products(const vst_graph *g, vst_quant_product *products) {
    size_t count = 0;
    int read[MOST];
    bool first = true;
    for (size_t i = 0; i < vst_graph_node_count(g); i++) {
        const vst_node_info info = vst_graph_node_at(g, i);
        vst_attribute padding = {0}, groups = {0};
        if (!info.quantizable) continue;
        vst_node_attribute_find(g, i, "padding", &padding);
        vst_node_attribute_find(g, i, "groups", &groups);
        bool known = first || groups.integer > 1 || (count && strcmp(products[count - 1].name, info.scope) == 0);
        first = false;
        if (known) continue;
        ck_assert_uint_lt(count, MOST);
        const bool padded = padding.dims.rank && padding.dims.dim[0];
        const int value = vst_node_input_at(g, i, 0).value.id;
        vst_quant_product made = {info.scope, padded ? 0.02f : 0.04f, padded ? 0 : 128};
        for (size_t k = 0; k < count; k++) /* what reads one value has one range */
            if (read[k] == value) made.scale = products[k].scale, made.zero_point = products[k].zero_point;
        read[count] = value;
        products[count++] = made;
    }
    return count;
}

static void answer(const vst_graph *g, vst_value out, const vst_quant *quant, bool plain, const float *images,
                   float *logits) {
    vst_context *context =
        create_context(g, &out, 1, &(vst_program_options){.mode = VST_INFER, .quant = quant, .plain = plain});
    memcpy(vst_context_input(context, "image"), images, IMAGES * SIDE * SIDE * sizeof *images);
    ck_ok(vst_context_run(context, 0));
    memcpy(logits, vst_context_output(context, 0), IMAGES * CLASSES * sizeof *logits);
    destroy_context(context);
}

/* Both round the same values to the same steps, but for the last bits of float32 sums, which may tip a value over to
 * the next step. A fused program on integers also reads the other operand of a residual sum as uint8, which the
 * simulation leaves out: that moves the logits less than all other rounding. */
START_TEST(models_answer_as_their_integers) {
    static float images[IMAGES * SIDE * SIDE], exact[IMAGES * CLASSES], integers[IMAGES * CLASSES],
        fused[IMAGES * CLASSES], simulated[IMAGES * CLASSES];
    vst_model_config *config;
    vst_params *params;
    vst_graph *plain, *fake;
    vst_quant_product products[MOST];
    ck_ok(vst_model_config_create(&config, models[_i].name));
    for (int i = 0; models[_i].settings[i]; i += 2)
        ck_ok(vst_model_config_set(config, models[_i].settings[i], models[_i].settings[i + 1]));
    static const char *const common[] = {"image", "16", "channels", "1", "classes", "5", "mean", "0.4", "std", "0.3"};
    for (int i = 0; i < 10; i += 2) ck_ok(vst_model_config_set(config, common[i], common[i + 1]));
    ck_ok(vst_params_create(&params));
    ck_ok(vst_graph_create(&plain, params));
    ck_ok(vst_graph_create(&fake, params));
    const vst_value of_plain = build(plain, config, NULL, 0);
    const size_t count = list_products(plain, products);
    const vst_value of_fake = build(fake, config, products, count);
    ck_assert_uint_gt(count, 6);
    ck_ok(vst_params_allocate(params, false, 5));
    for (size_t i = 0; i < vst_params_count(params); i++) { /* statistics of a trained model */
        const vst_param_info *info = vst_params_at(params, i);
        if (info->kind == VST_PARAM_STATE)
            random_values(vst_params_values(params) + info->offset, (int64_t)info->count,
                          strstr(info->name, "mean") ? -0.3 : 0.5, strstr(info->name, "mean") ? 0.3 : 1, i);
    }
    vst_params_changed(params);
    random_values(images, IMAGES * SIDE * SIDE, 0, 1, 9);
    answer(plain, of_plain, NULL, false, images, exact);
    const vst_quant quant = {.products = products, .product_count = count};
    answer(plain, of_plain, &quant, true, images, integers);
    answer(plain, of_plain, &quant, false, images, fused);
    double off[2];
    const double moved = relative_difference(integers, exact, IMAGES * CLASSES, 1e-6),
                 by_sums = relative_difference(fused, integers, IMAGES * CLASSES, 1e-6);
    for (int p = 0; p < 2; p++) {
        answer(fake, of_fake, NULL, p, images, simulated);
        off[p] = relative_difference(simulated, integers, IMAGES * CLASSES, 1e-6);
    }
    printf("%s: %zu products, integers %.1e from float32, simulated %.1e and %.1e from integers, sums %.1e\n",
           models[_i].name, count, moved, off[0], off[1], by_sums);
    fflush(stdout);
    ck_assert_double_gt(moved, 0.02);               /* else nothing was rounded */
    ck_assert_double_lt(off[0], 0.01 + moved / 20); /* of the root mean square of the logits */
    ck_assert_double_lt(off[1], 0.01 + moved / 20);
    ck_assert_double_lt(by_sums, moved);
    vst_graph_destroy(plain);
    vst_graph_destroy(fake);
    vst_params_destroy(params);
    vst_model_config_destroy(config);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("fake_quantize");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, numbers_of_pytorch, 0, 2);
    tcase_add_loop_test(cases, bits_of_the_integers, 0, 3);
    tcase_add_test(cases, ranges_that_cannot_be);
    tcase_add_loop_test(cases, models_answer_as_their_integers, 0, sizeof models / sizeof *models);
    return run_suite("fake_quantize", cases);
}
