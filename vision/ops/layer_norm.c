/* Layer norm over the last dimension (Ba et al., 2016); the backward pass also adds the residual's gradient. */
#include <omp.h>

#include "vision/ops/operation.h"

typedef struct arguments {
    int64_t rows, cols;
    float epsilon;
    bool accumulate;
    vsti_uint8 to; /* of an output on integers */
} arguments;

static arguments measure(const vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    return (arguments){.rows = vsti_rows(shape),
                       .cols = vsti_last(shape),
                       .epsilon = (float)*(const double *)node->attributes,
                       .accumulate = node->operation->accumulates};
}

/* Outputs: y; for the backward pass also mean and 1 / deviation of each row. */
static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    out[0] = *vsti_shape(graph, node->inputs[0]);
    out[1] = out[2] = VST_SHAPE(vsti_rows(&out[0]));
}

static void run_forward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->layer_norm(b[0], b[1], b[2], b[3], b[4], b[5], a->rows, a->cols, a->epsilon);
}

static void run_forward_bf16(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->layer_norm_bf16(b[0], b[1], b[2], b[3], b[4], b[5], a->rows, a->cols, a->epsilon, b[6]);
}

static void run_uint8(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->layer_norm_uint8(b[0], b[1], b[2], &a->to, b[3], a->rows, a->cols, a->epsilon);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    arguments a = measure(lowering, node);
    const vsti_format to = {vsti_dtype_of(lowering, node->outputs[0]), VSTI_PLAIN.layout};
    vsti_buffer buffers[7];
    for (int i = 0; i < 3; i++) buffers[i] = vsti_read(lowering, node->inputs[i], VSTI_PLAIN);
    if (vsti_writes_uint8(lowering, node->outputs[0], &a.to)) {
        buffers[3] = vsti_write_quantized(lowering, node->outputs[0], VSTI_PLAIN.layout);
        vsti_kernel_step(lowering, vsti_kernel_name(), run_uint8, &a, sizeof a, buffers, 4);
        return;
    }
    for (int i = 0; i < 3; i++) buffers[3 + i] = vsti_write(lowering, node->outputs[i], i ? VSTI_PLAIN : to);
    if (to.dtype == VST_F32) {
        vsti_kernel_step(lowering, vsti_kernel_name(), run_forward, &a, sizeof a, buffers, 6);
        return;
    }
    buffers[6] = vsti_scratch(lowering, (size_t)(omp_get_max_threads() * VSTI_BF16_NORM_ROWS * a.cols) * sizeof(float));
    vsti_kernel_step(lowering, vsti_kernel_name(), run_forward_bf16, &a, sizeof a, buffers, 7);
}

/* Inputs: x, weight, mean, 1 / deviation, dy, and in the accumulating form "sum". Outputs: dx, dweight, dbias, the sum
 * of dx over all rows. */
static void shapes_backward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    out[0] = *vsti_shape(graph, node->inputs[0]);
    out[1] = out[2] = out[3] = *vsti_shape(graph, node->inputs[1]);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->layer_norm_backward(b[0], b[1], b[2], b[3], b[4], b[10], b[5], b[6], b[7], b[8], b[9], a->rows,
                                            a->cols);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    vsti_buffer buffers[11];
    for (int i = 0; i < 5; i++) buffers[i] = vsti_read(lowering, node->inputs[i], VSTI_PLAIN);
    buffers[10] = a.accumulate ? vsti_read(lowering, node->inputs[5], VSTI_PLAIN) : VSTI_NO_BUFFER;
    buffers[5] = vsti_write_over(lowering, node->outputs[0], node->inputs[a.accumulate ? 5 : 4], VSTI_PLAIN);
    for (int i = 1; i < 3; i++) buffers[5 + i] = vsti_write(lowering, node->outputs[i], VSTI_PLAIN);
    buffers[8] =
        vsti_is_used(lowering, node->outputs[3]) ? vsti_write(lowering, node->outputs[3], VSTI_PLAIN) : VSTI_NO_BUFFER;
    buffers[9] = vsti_scratch(lowering, 3 * vsti_partial_floats(a.cols) * sizeof(float));
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &a, sizeof a, buffers, 11);
}

static const vsti_attribute described[] = {{"epsilon", VSTI_DOUBLE, 0, NULL}, {0}};

static const vsti_operation backward_add = {.name = "layer_norm_backward_add",
                                            .outputs = 4,
                                            .attribute_bytes = sizeof(double),
                                            .attributes = described,
                                            .input_names = {"x", "weight", "mean", "rstd", "dy", "sum"},
                                            .output_names = {"dx", "dweight", "dbias", "column_sum"},
                                            .shapes = shapes_backward,
                                            .column_sums = 3,
                                            .lower = lower_backward,
                                            .accumulates = true};
static const vsti_operation backward = {.name = "layer_norm_backward",
                                        .outputs = 4,
                                        .attribute_bytes = sizeof(double),
                                        .attributes = described,
                                        .input_names = {"x", "weight", "mean", "rstd", "dy"},
                                        .output_names = {"dx", "dweight", "dbias", "column_sum"},
                                        .shapes = shapes_backward,
                                        .column_sums = 3,
                                        .lower = lower_backward,
                                        .accumulating = &backward_add};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vst_value inputs[] = {vsti_saved(gradients, vsti_input_of(node, 0)), vsti_input_of(node, 1),
                                vsti_output_of(node, 1), vsti_output_of(node, 2), vsti_incoming(gradients, node, 0)};
    vst_value dx = vsti_emit(graph, &backward, inputs, 5, node->attributes);
    vst_value dweight = vsti_output(graph, dx, 1), dbias = vsti_output(graph, dx, 2);
    vsti_add_gradient(gradients, vsti_input_of(node, 0), dx);
    vsti_add_gradient(gradients, vsti_input_of(node, 1), dweight);
    vsti_add_gradient(gradients, vsti_input_of(node, 2), dbias);
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    return 8.0 * (double)vsti_count(graph, node->inputs[0]);
}

vst_value vst_layer_norm(vst_graph *g, vst_value x, vst_norm_options options) {
    static const vsti_operation operation = {.name = "layer_norm",
                                             .bf16_out = 1,
                                             .outputs = 3,
                                             .attribute_bytes = sizeof(double),
                                             .attributes = described,
                                             .input_names = {"x", "weight", "bias"},
                                             .output_names = {"y", "mean", "rstd"},
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower,
                                             .flops = flops};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, x);
    if (shape.rank < 1) {
        vst_graph_fail(g, VST_ERROR_SHAPE, "layer_norm: its input has no dimension to normalise over");
        return (vst_value){0};
    }
    const vst_shape channels = VST_SHAPE(vsti_last(&shape));
    const vst_value inputs[] = {x, vst_param(g, "weight", channels, (vst_init){VST_INIT_ONES, 0, VST_PARAM_WEIGHT}),
                                vst_param(g, "bias", channels, (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT})};
    return vsti_emit(g, &operation, inputs, 3, &(double){options.epsilon ? options.epsilon : 1e-6});
}
