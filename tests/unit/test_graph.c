/* Reading a graph: operations, roles of operands and typed attributes, of hand-made nodes and of every family's
 * training graph; accumulating forms are separate operations. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbones/backbone.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/ops/ops.h"

typedef struct fixture {
    vst_params *params;
    vst_graph *graph;
} fixture;

static fixture begin(void) {
    fixture f = {0};
    ck_assert_int_eq(vst_params_create(&f.params), VST_OK);
    ck_assert_int_eq(vst_graph_create(&f.graph, f.params), VST_OK);
    return f;
}

static void finish(const fixture *f) { ck_assert_msg(vst_graph_finish(f->graph) == VST_OK, "%s", vst_error_message()); }

static void end(fixture *f) {
    vst_graph_destroy(f->graph);
    vst_params_destroy(f->params);
}

/* Describes a node: "(y) = add(a, b)", "(y) = scale(x) factor=2". */
static void describe(const vst_graph *graph, size_t node, char *line, size_t size) {
    const vst_node_info info = vst_graph_node_at(graph, node);
    size_t used = 0;
    for (int i = 0; i < info.output_count; i++)
        used +=
            (size_t)snprintf(line + used, size - used, "%s%s", i ? ", " : "(", vst_node_output_at(graph, node, i).role);
    used += (size_t)snprintf(line + used, size - used, ") = %s(", info.operation);
    for (int i = 0; i < info.input_count; i++)
        used +=
            (size_t)snprintf(line + used, size - used, "%s%s", i ? ", " : "", vst_node_input_at(graph, node, i).role);
    used += (size_t)snprintf(line + used, size - used, ")");
    for (int i = 0; i < info.attribute_count; i++) {
        char text[VST_ATTRIBUTE_TEXT];
        const vst_attribute attribute = vst_node_attribute_at(graph, node, i);
        used += (size_t)snprintf(line + used, size - used, " %s", vst_attribute_text(&attribute, text));
    }
    ck_assert_uint_lt(used, size);
}

static bool has_line(const vst_graph *graph, const char *wanted) {
    char line[1024];
    for (size_t i = 0; i < vst_graph_node_count(graph); i++) {
        describe(graph, i, line, sizeof line);
        if (strcmp(line, wanted) == 0) return true;
    }
    return false;
}

static void expect(const vst_graph *graph, const char *const *lines, size_t count) {
    char line[1024];
    for (size_t i = 0; i < count; i++) {
        if (has_line(graph, lines[i])) continue;
        for (size_t k = 0; k < vst_graph_node_count(graph); k++)
            describe(graph, k, line, sizeof line), printf("    %s\n", line);
        ck_abort_msg("no node is %s", lines[i]);
    }
}

/* ---- Every operation ---- */

/* One of each, summed to a loss, so that the backward forms occur too. */
static vst_value build_layers(vst_graph *g) {
    const double mean[] = {0.5, 0.25, 0}, deviation[] = {0.5, 0.25, 1};
    vst_value x = vst_channel_normalize(g, vst_input(g, "image", VST_SHAPE(2, 3, 8, 8)), mean, deviation);
    VST_SCOPE (g, "stem") {
        x = vst_conv2d(g, x, (vst_conv2d_options){.out = 8, .kernel = 3, .stride = 2, .same = true, .bias = true});
        VST_SCOPE (g, "norm") x = vst_batch_norm(g, x, (vst_norm_options){.epsilon = 0.001});
        x = vst_relu(g, x);
    }
    VST_SCOPE (g, "block") {
        vst_conv2d_options o = {.out = 8, .kernel = 3, .padding = 2, .dilation = 2, .groups = 4};
        x = vst_hardswish(g, vst_conv2d(g, x, o));
    }
    x = vst_max_pool(g, x, (vst_pool_options){.kernel = 3, .stride = 1, .padding = 1});
    x = vst_avg_pool(g, x, (vst_pool_options){.kernel = 3, .stride = 2, .ceil = true});
    x = vst_resize(g, x, 3, 4, VST_BICUBIC);
    x = vst_permute(g, vst_reshape(g, x, VST_SHAPE(2, 8, -1)), (int[]){0, 2, 1}); /* (2, 12, 8) */
    VST_SCOPE (g, "attn") {
        vst_value y = {0};
        VST_SCOPE (g, "norm") y = vst_layer_norm(g, x, (vst_norm_options){0});
        VST_SCOPE (g, "qkv") y = vst_linear(g, y, (vst_linear_options){.features = 24});
        y = vst_attention(g, y, 2, 0);
        y = vst_linear(g, y, (vst_linear_options){.features = 8, .bias = true});
        x = vst_add(g, x, vst_drop_path(g, vst_dropout(g, y, 0.25), 0.5));
    }
    x = vst_slice(g, x, 1, 2, 8);
    return vst_concat(g, (vst_value[]){x, x, vst_slice(g, x, 1, 0, 1)}, 3, 1);
}

static vst_value build_fake_quantized(vst_graph *g, vst_value x) {
    const vst_quant_product product = {"rounded", 0.5f, 3};
    vst_fake_quantize_products(g, &product, 1);
    VST_SCOPE (g, "rounded") x = vst_linear(g, x, (vst_linear_options){.features = 2});
    vst_fake_quantize_products(g, NULL, 0);
    return vst_reduce_sum(g, x, 7, false);
}

static vst_value build_losses(vst_graph *g, vst_value x) {
    const vst_value logits = vst_reduce_mean(g, x, 1u << 1, false);
    const vst_value target = vst_one_hot_argmax(g, vst_detach(g, logits));
    vst_value unit = vst_l2_normalize(g, vst_standardize(g, logits));
    unit = vst_mul(g, unit, vst_expand(g, vst_sigmoid(g, logits), VST_SHAPE(2, 8)));
    const vst_value losses[] = {
        vst_cross_entropy(g, logits, target, 0.1),
        vst_binary_cross_entropy(g, logits, target),
        vst_kl_divergence(g, logits, target, 2, VST_KL_BATCHMEAN),
        vst_mse(g, vst_softmax(g, logits), vst_log_softmax(g, unit)),
        vst_smooth_l1(g, vst_matmul(g, unit, unit, false, true), vst_pairwise_distances(g, logits)),
        vst_scale(g, vst_reduce_sum(g, vst_gelu(g, vst_silu(g, vst_relu6(g, x))), 7, false), 2),
        build_fake_quantized(g, x)};
    vst_value total = losses[0];
    for (int i = 1; i < 7; i++) total = vst_add(g, total, losses[i]);
    return total;
}

START_TEST(operations) {
    static const char *const lines[] = {
        "(y) = channel_normalize(x) mean=[0.5, 0.25, 0] inverse_std=[2, 4, 1]",
        "(y) = conv2d(x, weight, bias) kernel=3 stride=2 padding=[0, 0, 1, 1] dilation=1 groups=1 bias=true",
        "(y) = conv2d(x, weight) kernel=3 stride=1 padding=[2, 2, 2, 2] dilation=2 groups=4 bias=false",
        "(dweight, dbias) = conv2d_backward_weights(x, dy) kernel=3 stride=1 padding=[2, 2, 2, 2] dilation=2 groups=4 "
        "bias=false",
        "(dx) = conv2d_backward_data(weight, dy) kernel=3 stride=1 padding=[2, 2, 2, 2] dilation=2 groups=4 bias=false",
        "(y, mean, var) = batch_norm(x, weight, bias, running_mean, running_var, num_batches_tracked) epsilon=0.001 "
        "momentum=0.1 running=false",
        "(dx, dweight, dbias) = batch_norm_backward(x, weight, mean, var, dy) epsilon=0.001 momentum=0.1 "
        "running=false",
        "(y) = relu(x)",
        "(dx) = relu_backward(y, dy)",
        "(dx, y, column_sum) = hardswish_backward(x, dy)",
        "(y, workspace) = max_pool(x) kernel=3 stride=1 padding=1 ceil_mode=false count_include_pad=false",
        "(dx) = max_pool_backward(x, workspace, dy) kernel=3 stride=1 padding=1 ceil_mode=false "
        "count_include_pad=false",
        "(y, workspace) = avg_pool(x) kernel=3 stride=2 padding=0 ceil_mode=true count_include_pad=false",
        "(dx) = avg_pool_backward(x, dy) kernel=3 stride=2 padding=0 ceil_mode=true count_include_pad=false",
        "(y) = resize(x) height=3 width=4 mode=bicubic",
        "(dx) = resize_backward(dy) height=3 width=4 mode=bicubic",
        "(y) = reshape(x) shape=[2, 8, -1]",
        "(y) = permute(x) order=[0, 2, 1]",
        "(y, mean, rstd) = layer_norm(x, weight, bias) epsilon=1e-06",
        "(dx, dweight, dbias, column_sum) = layer_norm_backward_add(x, weight, mean, rstd, dy, sum) epsilon=1e-06",
        "(y) = linear(x, weight) bias=false",
        "(y) = linear(x, weight, bias) bias=true",
        "(y, lse) = attention(qkv) heads=2 queries=12",
        "(dqkv) = attention_backward(qkv, y, lse, dy) heads=2 queries=12",
        "(y) = dropout(x) p=0.25 per_sample=false",
        "(dx) = dropout_backward(dy) p=0.5 per_sample=true",
        "(y) = slice(x) axis=1 start=2 length=8",
        "(dx) = slice_backward(dy) axis=1 start=2 length=8 size=12",
        "(dx) = slice_backward_add(dy, sum) axis=1 start=0 length=1 size=8",
        "(y) = concat(x, x, x) axis=1",
        "(y) = reduce_mean(x) axes=[1] keepdims=false",
        "(y) = reduce_sum(x) axes=[0, 1, 2] keepdims=false",
        "(y) = one_hot_argmax(logits)",
        "(y) = fake_quantize(x) scale=0.5 zero_point=3",
        "(dx) = fake_quantize_backward(x, dy) scale=0.5 zero_point=3",
        "(y) = fake_quantize_weight(weight)",
        "(y) = detach(x)",
        "(dx) = l2_normalize_backward(x, dy)",
        "(dx) = standardize_backward(x, dy)",
        "(y) = expand(x) shape=[2, 8]",
        "(y) = cross_entropy(logits, target) label_smoothing=0.1",
        "(dlogits) = cross_entropy_backward(logits, target, dy) label_smoothing=0.1",
        "(dlogits) = binary_cross_entropy_backward(logits, target, dy)",
        "(y) = kl_divergence(student, teacher) temperature=2 factor=2",
        "(da) = mse_backward(a, b, dy)",
        "(da) = smooth_l1_backward(a, b, dy)",
        "(dx) = softmax_backward(y, dy)",
        "(dx) = log_softmax_backward(y, dy)",
        "(dx) = pairwise_distances_backward(x, dy)",
        "(y) = matmul(a, b) transpose_a=false transpose_b=true flatten=true",
        "(y) = matmul_add(a, b, sum) transpose_a=false transpose_b=false flatten=true",
        "(y) = column_sum(x)",
        "(y) = scale(x) factor=2",
        "(y) = mul(a, b)",
        "(y) = add(a, b)",
        "(y) = constant() value=1"};
    fixture f = begin();
    vst_differentiate(f.graph, build_losses(f.graph, build_layers(f.graph)));
    finish(&f);
    expect(f.graph, lines, sizeof lines / sizeof *lines);
    end(&f);
}
END_TEST

/* ---- Single fields ---- */

START_TEST(operands) {
    fixture f = begin();
    vst_value x = vst_input(f.graph, "tokens", VST_SHAPE(2, 5)), y = {0};
    VST_SCOPE (f.graph, "head") y = vst_linear(f.graph, vst_relu(f.graph, x), (vst_linear_options){3, true, {0}, {0}});
    finish(&f);
    const vst_operand in = vst_node_input_at(f.graph, 0, 0), between = vst_node_input_at(f.graph, 1, 0);
    const vst_operand bias = vst_node_input_at(f.graph, 1, 2), out = vst_node_output_at(f.graph, 1, 0);
    ck_assert_int_eq(in.kind, VST_VALUE_INPUT);
    ck_assert_str_eq(in.name, "tokens");
    ck_assert_int_eq(in.value.id, x.id);
    ck_assert_int_eq(between.kind, VST_VALUE_NODE);
    ck_assert_ptr_null(between.name);
    ck_assert_uint_eq(between.node, 0);
    ck_assert_int_eq(bias.kind, VST_VALUE_PARAMETER);
    ck_assert_str_eq(bias.role, "bias");
    ck_assert_str_eq(bias.name, "head.bias");
    ck_assert(vst_shape_equal(&bias.shape, &VST_SHAPE(3)));
    ck_assert_int_eq(out.value.id, y.id);
    ck_assert_uint_eq(out.node, 1);
    ck_assert(vst_shape_equal(&out.shape, &VST_SHAPE(2, 3)));
    end(&f);
}
END_TEST

START_TEST(attributes) {
    fixture f = begin();
    const vst_value x = vst_input(f.graph, "image", VST_SHAPE(1, 3, 8, 8));
    const double mean[] = {0, 1, 2}, deviation[] = {1, 0.5, 1};
    vst_resize(f.graph, vst_channel_normalize(f.graph, x, mean, deviation), 4, 4, VST_BILINEAR);
    vst_batch_norm(f.graph, x, (vst_norm_options){.momentum = 0.25});
    vst_reduce_mean(f.graph, x, 1u << 3 | 1u << 1, true);
    finish(&f);
    vst_attribute a = {0};
    ck_assert(vst_node_attribute_find(f.graph, 0, "mean", &a) && a.type == VST_ATTRIBUTE_FLOATS);
    ck_assert(a.number_count == 3 && a.numbers[2] == 2);
    ck_assert(vst_node_attribute_find(f.graph, 1, "mode", &a) && a.type == VST_ATTRIBUTE_ENUM);
    ck_assert_int_eq(a.integer, VST_BILINEAR);
    ck_assert_str_eq(a.text, "bilinear");
    ck_assert(vst_node_attribute_find(f.graph, 1, "width", &a) && a.type == VST_ATTRIBUTE_INT && a.integer == 4);
    ck_assert(vst_node_attribute_find(f.graph, 2, "momentum", &a) && a.type == VST_ATTRIBUTE_FLOAT);
    ck_assert(a.number == 0.25);
    ck_assert(vst_node_attribute_find(f.graph, 3, "axes", &a) && a.type == VST_ATTRIBUTE_INTS);
    ck_assert(a.dims.rank == 2 && a.dims.dim[0] == 1 && a.dims.dim[1] == 3);
    ck_assert(vst_node_attribute_find(f.graph, 3, "keepdims", &a) && a.type == VST_ATTRIBUTE_BOOL && a.integer == 1);
    ck_assert(!vst_node_attribute_find(f.graph, 3, "kernel", &a));
    end(&f);
}
END_TEST

START_TEST(text) {
    fixture f = begin();
    const vst_value x = vst_input(f.graph, "tokens", VST_SHAPE(2, 5));
    VST_SCOPE (f.graph, "head") vst_scale(f.graph, vst_linear(f.graph, x, (vst_linear_options){.features = 3}), 0.5);
    finish(&f);
    char *lines = vst_graph_text(f.graph), *dot = vst_graph_dot(f.graph);
    ck_assert_ptr_nonnull(strstr(lines, " x=tokens weight=head.weight bias=false   # head"));
    ck_assert_ptr_nonnull(strstr(lines, " x=%3 factor=0.5   # head"));
    ck_assert_ptr_nonnull(strstr(dot, "scale\\nhead\\n(2, 3)\\nfactor=0.5\""));
    vst_free(lines);
    vst_free(dot);
    end(&f);
}
END_TEST

/* ---- Every family ---- */

static bool has_role(const vst_graph *graph, size_t node, const char *role) {
    for (int i = 0; i < vst_graph_node_at(graph, node).input_count; i++)
        if (strcmp(vst_node_input_at(graph, node, i).role, role) == 0) return true;
    return false;
}

static void check_node(const char *variant, const vst_graph *graph, size_t node) {
    const vst_node_info info = vst_graph_node_at(graph, node);
    const char *add = strstr(info.operation, "_add");
    const bool accumulates = add && !add[4];
    vst_attribute bias;
    for (int i = 0; i < info.input_count; i++) {
        const vst_operand in = vst_node_input_at(graph, node, i);
        ck_assert_msg(in.role && *in.role, "%s: %s has an input without a role", variant, info.operation);
        ck_assert_msg(in.kind != VST_VALUE_NODE || in.node < node, "%s: %s reads what comes later", variant,
                      info.operation);
        ck_assert_msg((in.kind == VST_VALUE_NODE) == !in.name, "%s: %s reads a value without a name", variant,
                      info.operation);
        for (int k = 0; k < i && strcmp(info.operation, "concat") != 0; k++)
            ck_assert_msg(strcmp(in.role, vst_node_input_at(graph, node, k).role) != 0, "%s: %s has two inputs %s",
                          variant, info.operation, in.role);
    }
    ck_assert_msg(has_role(graph, node, "sum") == accumulates, "%s: %s", variant, info.operation);
    ck_assert_msg(info.backward || !accumulates, "%s: %s in the forward pass", variant, info.operation);
    if (!info.backward && vst_node_attribute_find(graph, node, "bias", &bias))
        ck_assert_msg(has_role(graph, node, "bias") == (bool)bias.integer, "%s: the bias of %s", variant, info.scope);
    for (int i = 0; i < info.output_count; i++) {
        const vst_operand out = vst_node_output_at(graph, node, i);
        ck_assert_msg(out.role && out.kind == VST_VALUE_NODE && out.node == node, "%s: outputs of %s", variant,
                      info.operation);
    }
}

START_TEST(backbones) {
    int families = 0, sums = 0;
    for (size_t k = 0; k < vst_backbone_count(); k++, families++) {
        const char *variant = vst_backbone_at(k)->variants[0].name;
        vst_model_config *model = NULL;
        fixture f = begin();
        ck_assert_msg(vst_model_config_create(&model, variant) == VST_OK, "%s", vst_error_message());
        vst_model_build(f.graph, model, 2);
        const vst_value logits = vst_find(f.graph, "logits");
        const vst_value target = vst_input(f.graph, "target", vst_shape_at(f.graph, logits));
        vst_differentiate(f.graph, vst_cross_entropy(f.graph, logits, target, 0));
        finish(&f);
        for (size_t i = 0; i < vst_graph_node_count(f.graph); i++) {
            check_node(variant, f.graph, i);
            sums += has_role(f.graph, i, "sum");
        }
        vst_model_config_destroy(model);
        end(&f);
    }
    ck_assert_int_ge(families, 8);
    ck_assert_int_gt(sums, 0);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("graph");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, operations);
    tcase_add_test(tcase, operands);
    tcase_add_test(tcase, attributes);
    tcase_add_test(tcase, text);
    tcase_add_test(tcase, backbones);
    return run_suite("graph", tcase);
}
