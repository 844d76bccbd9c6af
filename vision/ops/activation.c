/* Elementwise activations in the layout of their input. ReLU and ReLU6 keep their output for the backward pass. The
 * others keep their input, and their output is recomputed where the backward pass needs it, if possible in the same
 * pass as the gradient, which then also sums the gradient of a linear layer's bias. */
#include "vision/ops/operation.h"

typedef struct arguments {
    vsti_activation kind;
    int64_t count; /* 0: rows and cols */
    int64_t rows, cols;
} arguments;

static void run_forward(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->activation(a->kind, buffers[0], buffers[1], a->count);
}

static void run_backward(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->activation_backward(a->kind, buffers[0], buffers[1], buffers[2], a->count);
}

static void run_rows(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->activation_backward_rows(a->kind, b[0], b[1], b[2], b[3], b[4], b[5], a->rows, a->cols);
}

static void run_forward_bf16(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->activation_bf16(a->kind, buffers[0], buffers[1], a->count);
}

static void run_backward_bf16(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->activation_backward_bf16(a->kind, buffers[0], buffers[1], buffers[2], a->count);
}

static void lower_forward(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_activation kind = *(const vsti_activation *)node->attributes;
    vsti_format format = vsti_same_format(lowering, node->inputs[0], node->outputs[0]);
    /* oneDNN requires zeros in a layout's padding, and sigmoid(0) is not 0. */
    if (kind == VSTI_SIGMOID && vsti_layout_is_padded(format.layout)) format.layout = VSTI_PLAIN.layout;
    const arguments a = {.kind = kind, .count = vsti_memory_count(lowering, node->inputs[0], format)};
    vsti_buffer in = vsti_read(lowering, node->inputs[0], format);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[0], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), format.dtype == VST_BF16 ? run_forward_bf16 : run_forward, &a,
                     sizeof a, (vsti_buffer[]){in, out}, 2);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_format format = vsti_same_format(lowering, node->inputs[0], node->outputs[0]);
    const arguments a = {.kind = *(const vsti_activation *)node->attributes,
                         .count = vsti_memory_count(lowering, node->inputs[0], format)};
    vsti_buffer saved = vsti_read(lowering, node->inputs[0], format);
    vsti_buffer in = vsti_read(lowering, node->inputs[1], format);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[1], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), format.dtype == VST_BF16 ? run_backward_bf16 : run_backward, &a,
                     sizeof a, (vsti_buffer[]){saved, in, out}, 3);
}

static void run_columns(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->column_sum(b[0], b[1], b[2], a->rows, a->cols);
}

static void run_columns_bf16(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->column_sum_bf16(b[0], b[1], b[2], a->rows, a->cols);
}

/* Where dx or y is bf16: a pass for each. */
static void lower_passes(vsti_lowering *lowering, const vsti_node *node, const arguments *rows, bool again, bool sum) {
    const vsti_format dx = {vsti_dtype_of(lowering, node->outputs[0]), VSTI_PLAIN.layout},
                      y = {vsti_dtype_of(lowering, node->outputs[1]), VSTI_PLAIN.layout};
    lower_backward(lowering, node);
    if (again) {
        const arguments a = {.kind = rows->kind, .count = rows->rows * rows->cols};
        const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], y),
                                       vsti_write(lowering, node->outputs[1], y)};
        vsti_kernel_step(lowering, vsti_kernel_name(), y.dtype == VST_BF16 ? run_forward_bf16 : run_forward, &a,
                         sizeof a, buffers, 2);
    }
    if (!sum) return;
    const vsti_buffer buffers[] = {vsti_read(lowering, node->outputs[0], dx),
                                   vsti_write(lowering, node->outputs[2], VSTI_PLAIN),
                                   vsti_scratch(lowering, vsti_partial_floats(rows->cols) * sizeof(float))};
    vsti_kernel_step(lowering, vsti_kernel_name(), dx.dtype == VST_BF16 ? run_columns_bf16 : run_columns, rows,
                     sizeof *rows, buffers, 3);
}

/* The same with the outputs y and sum, if they are used: over rows in the plain layout. */
static void lower_backward_rows(vsti_lowering *lowering, const vsti_node *node) {
    const bool again = vsti_is_used(lowering, node->outputs[1]), sum = vsti_is_used(lowering, node->outputs[2]);
    if (!again && !sum) {
        lower_backward(lowering, node);
        return;
    }
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const arguments a = {
        .kind = *(const vsti_activation *)node->attributes, .rows = vsti_rows(shape), .cols = vsti_last(shape)};
    const bool bf16 = vsti_dtype_of(lowering, node->outputs[0]) == VST_BF16 ||
                      (again && vsti_dtype_of(lowering, node->outputs[1]) == VST_BF16);
    if (bf16) {
        lower_passes(lowering, node, &a, again, sum);
        return;
    }
    vsti_buffer buffers[6] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                              vsti_read(lowering, node->inputs[1], VSTI_PLAIN)};
    buffers[2] = vsti_write_over(lowering, node->outputs[0], node->inputs[1], VSTI_PLAIN);
    buffers[3] = again ? vsti_write_over(lowering, node->outputs[1], node->inputs[0], VSTI_PLAIN) : VSTI_NO_BUFFER;
    buffers[4] = sum ? vsti_write(lowering, node->outputs[2], VSTI_PLAIN) : VSTI_NO_BUFFER;
    buffers[5] = sum ? vsti_scratch(lowering, vsti_partial_floats(a.cols) * sizeof(float)) : VSTI_NO_BUFFER;
    vsti_kernel_step(lowering, vsti_kernel_name(), run_rows, &a, sizeof a, buffers, 6);
}

static void shapes_backward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    out[0] = out[1] = *vsti_shape(graph, node->inputs[0]);
    out[2] = VST_SHAPE(vsti_last(&out[0]));
}

static bool is_from_output(vsti_activation kind) { return kind == VSTI_RELU || kind == VSTI_RELU6; }

static void gradient(vsti_gradients *gradients, const vsti_node *node, const vsti_operation *backward) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vsti_activation kind = *(const vsti_activation *)node->attributes;
    const vst_value inputs[] = {
        is_from_output(kind) ? vsti_output_of(node, 0) : vsti_saved(gradients, vsti_input_of(node, 0)),
        vsti_incoming(gradients, node, 0)};
    const vst_value dx = vsti_emit(graph, backward, inputs, 2, &kind);
    if (backward->outputs > 1 && dx.id) vsti_set_saved(gradients, vsti_output_of(node, 0), vsti_output(graph, dx, 1));
    vsti_add_gradient(gradients, vsti_input_of(node, 0), dx);
}

/* The backward pass of ReLU and ReLU6 is from their output, that of the others also computes their output. */
#define FROM_OUTPUT                                                                              \
    .outputs = 1, .input_names = {"y", "dy"}, .output_names = {"dx"}, .shapes = vsti_same_shape, \
    .lower = lower_backward, .bf16_in = 3, .bf16_out = 1, .bf16_alike = true
#define FROM_INPUT                                                                                                  \
    .outputs = 3, .input_names = {"x", "dy"}, .output_names = {"dx", "y", "column_sum"}, .shapes = shapes_backward, \
    .lower = lower_backward_rows, .column_sums = 2, .bf16_in = 3, .bf16_out = 3, .bf16_alike = true
#define ACTIVATION(function, kind_of, from, keep)                                                  \
    static const vsti_operation function##_backward = {.name = #function "_backward",              \
                                                       .attribute_bytes = sizeof(vsti_activation), \
                                                       .attributes = vsti_no_attributes,           \
                                                       from};                                      \
    static void function##_gradient(vsti_gradients *gradients, const vsti_node *node) {            \
        gradient(gradients, node, &function##_backward);                                           \
    }                                                                                              \
    vst_value vst_##function(vst_graph *g, vst_value x) {                                          \
        static const vsti_operation operation = {.name = #function,                                \
                                                 .outputs = 1,                                     \
                                                 .attribute_bytes = sizeof(vsti_activation),       \
                                                 .attributes = vsti_no_attributes,                 \
                                                 .input_names = {"x"},                             \
                                                 .shapes = vsti_same_shape,                        \
                                                 .gradient = function##_gradient,                  \
                                                 .lower = lower_forward,                           \
                                                 .recompute = !(keep),                             \
                                                 .fusion = VSTI_FUSE_ACTIVATION,                   \
                                                 .bf16_in = 1,                                     \
                                                 .bf16_out = 1,                                    \
                                                 .bf16_alike = true};                              \
        return vsti_emit(g, &operation, &x, 1, &(vsti_activation){kind_of});                       \
    }
ACTIVATION(relu, VSTI_RELU, FROM_OUTPUT, true)
ACTIVATION(relu6, VSTI_RELU6, FROM_OUTPUT, true)
ACTIVATION(gelu, VSTI_GELU, FROM_INPUT, false)
ACTIVATION(silu, VSTI_SILU, FROM_INPUT, false)
ACTIVATION(sigmoid, VSTI_SIGMOID, FROM_INPUT, false)
ACTIVATION(hardswish, VSTI_HARDSWISH, FROM_INPUT, false)
