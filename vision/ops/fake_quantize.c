/* Simulated 8-bit integers (Jacob et al., 2018): values are rounded as the integers of inference round them, and stay
 * float32. The rounding has no gradient, so it is left out of the backward pass (straight-through, Bengio et al.,
 * 2013); what was cut off has none. */
#include "vision/ops/operation.h"

typedef struct attributes {
    float scale;
    int zero_point;
} attributes;

typedef struct arguments {
    attributes range;
    int64_t count;
} arguments;

static void run(void *const *buffers, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->fake_quantize(a->range.scale, a->range.zero_point, buffers[0], buffers[1], a->count);
}

static void run_backward(void *const *buffers, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->fake_quantize_backward(a->range.scale, a->range.zero_point, buffers[0], buffers[1], buffers[2],
                                               a->count);
}

static arguments arguments_of(const vsti_lowering *lowering, const vsti_node *node, vsti_format format) {
    return (arguments){*(const attributes *)node->attributes, vsti_memory_count(lowering, node->inputs[0], format)};
}

/* A layout's padding stays 0, which is one of the values. */
static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_format format = vsti_f32_format(lowering, node->inputs[0]);
    const arguments a = arguments_of(lowering, node, format);
    const vsti_buffer x = vsti_read(lowering, node->inputs[0], format);
    const vsti_buffer y = vsti_write_over(lowering, node->outputs[0], node->inputs[0], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), run, &a, sizeof a, (vsti_buffer[]){x, y}, 2);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_format format = vsti_f32_format(lowering, node->inputs[0]);
    const arguments a = arguments_of(lowering, node, format);
    const vsti_buffer x = vsti_read(lowering, node->inputs[0], format),
                      dy = vsti_read(lowering, node->inputs[1], format);
    const vsti_buffer dx = vsti_write_over(lowering, node->outputs[0], node->inputs[1], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &a, sizeof a, (vsti_buffer[]){x, dy, dx}, 3);
}

static const vsti_attribute described[] = {{"scale", VSTI_FLOAT, offsetof(attributes, scale), NULL},
                                           {"zero_point", VSTI_INT, offsetof(attributes, zero_point), NULL},
                                           {0}};

static const vsti_operation backward = {.name = "fake_quantize_backward",
                                        .outputs = 1,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"x", "dy"},
                                        .output_names = {"dx"},
                                        .shapes = vsti_same_shape,
                                        .lower = lower_backward};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    const vst_value x = vsti_input_of(node, 0);
    if (!vsti_wanted(gradients, x)) return;
    const vst_value inputs[] = {vsti_saved(gradients, x), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x, vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 2, node->attributes));
}

vst_value vst_fake_quantize(vst_graph *g, vst_value x, double scale, int zero_point) {
    static const vsti_operation operation = {.name = "fake_quantize",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient,
                                             .lower = lower,
                                             .recompute = true};
    if (g->status != VST_OK) return (vst_value){0};
    if (!(scale > 0) || zero_point < 0 || zero_point > 255) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "fake_quantize: the scale %g is positive, the zero point %d is 0 … 255",
                       scale, zero_point);
        return (vst_value){0};
    }
    return vsti_emit(g, &operation, &x, 1, &(attributes){(float)scale, zero_point});
}

/* ---- weights ---- */

static void run_weight(void *const *buffers, const void *raw, const vsti_run *state) {
    (void)state;
    vsti_get_kernels()->fake_quantize_weights(raw, buffers[0], buffers[1]);
}

static void lower_weight(vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const int64_t inner = vst_shape_count(shape) / shape->dim[0];
    const vsti_weight_quantization s = {
        .out = shape->dim[0], .inner = inner, .window = shape->rank > 1 ? inner / shape->dim[1] : inner};
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_weight, &s, sizeof s, buffers, 2);
}

/* Nothing of a row is cut off. */
static void gradient_of_weight(vsti_gradients *gradients, const vsti_node *node) {
    vsti_add_gradient(gradients, vsti_input_of(node, 0), vsti_incoming(gradients, node, 0));
}

vst_value vst_fake_quantize_weight(vst_graph *g, vst_value weight) {
    static const vsti_operation operation = {.name = "fake_quantize_weight",
                                             .outputs = 1,
                                             .attributes = vsti_no_attributes,
                                             .input_names = {"weight"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient_of_weight,
                                             .lower = lower_weight};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, weight);
    if (shape.rank < 1) {
        vst_graph_fail(g, VST_ERROR_SHAPE, "fake_quantize_weight: a weight (out, …) is wanted");
        return (vst_value){0};
    }
    return vsti_emit(g, &operation, &weight, 1, NULL);
}

/* ---- products ---- */

void vst_fake_quantize_products(vst_graph *g, const vst_quant_product *products, size_t count) {
    g->fake_quantized = products;
    g->fake_quantized_count = count;
}

void vsti_fake_quantize_operands(vst_graph *graph, vst_value operands[2]) {
    for (size_t i = 0; i < graph->fake_quantized_count; i++) {
        const vst_quant_product *product = &graph->fake_quantized[i];
        if (strcmp(product->name, graph->scope) != 0) continue;
        operands[0] = vst_fake_quantize(graph, operands[0], (double)product->scale, product->zero_point);
        operands[1] = vst_fake_quantize_weight(graph, operands[1]);
        return;
    }
}
