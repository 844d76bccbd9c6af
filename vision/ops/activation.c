/* Elementwise activations in the layout of their input. ReLU and ReLU6 keep their output for the backward pass. The
 * others keep their input, and their output is recomputed where the backward pass needs it. */
#include "vision/ops/operation.h"

typedef struct arguments {
    vsti_activation kind;
    int64_t count;
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
    const arguments a = {kind, vsti_memory_count(lowering, node->inputs[0], format)};
    vsti_buffer in = vsti_read(lowering, node->inputs[0], format);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[0], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), format.dtype == VST_BF16 ? run_forward_bf16 : run_forward, &a,
                     sizeof a, (vsti_buffer[]){in, out}, 2);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_format format = vsti_same_format(lowering, node->inputs[0], node->outputs[0]);
    const arguments a = {*(const vsti_activation *)node->attributes,
                         vsti_memory_count(lowering, node->inputs[0], format)};
    vsti_buffer saved = vsti_read(lowering, node->inputs[0], format);
    vsti_buffer in = vsti_read(lowering, node->inputs[1], format);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[1], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), format.dtype == VST_BF16 ? run_backward_bf16 : run_backward, &a,
                     sizeof a, (vsti_buffer[]){saved, in, out}, 3);
}

static bool is_from_output(vsti_activation kind) { return kind == VSTI_RELU || kind == VSTI_RELU6; }

static void gradient(vsti_gradients *gradients, const vsti_node *node, const vsti_operation *backward) {
    const vsti_activation kind = *(const vsti_activation *)node->attributes;
    const vst_value inputs[] = {
        is_from_output(kind) ? vsti_output_of(node, 0) : vsti_saved(gradients, vsti_input_of(node, 0)),
        vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vsti_emit(vsti_gradient_graph(gradients), backward, inputs, 2, &kind));
}

/* ReLU and ReLU6 are differentiated from their output. */
#define ACTIVATION(function, kind_of, from, keep)                                                  \
    static const vsti_operation function##_backward = {.name = #function "_backward",              \
                                                       .outputs = 1,                               \
                                                       .attribute_bytes = sizeof(vsti_activation), \
                                                       .attributes = vsti_no_attributes,           \
                                                       .input_names = {from, "dy"},                \
                                                       .output_names = {"dx"},                     \
                                                       .shapes = vsti_same_shape,                  \
                                                       .lower = lower_backward,                    \
                                                       .bf16_in = 3,                               \
                                                       .bf16_out = 1,                              \
                                                       .bf16_alike = true};                        \
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
ACTIVATION(relu, VSTI_RELU, "y", true)
ACTIVATION(relu6, VSTI_RELU6, "y", true)
ACTIVATION(gelu, VSTI_GELU, "x", false)
ACTIVATION(silu, VSTI_SILU, "x", false)
ACTIVATION(sigmoid, VSTI_SIGMOID, "x", false)
ACTIVATION(hardswish, VSTI_HARDSWISH, "x", false)
