/* Division of vectors by their L2 norm, as torch.nn.functional.normalize(x, dim=-1). */
#include "vision/ops/operation.h"

typedef struct arguments {
    int64_t rows, cols;
} arguments;

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->l2_normalize(b[0], b[1], a->rows, a->cols);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->l2_normalize_backward(b[0], b[1], b[2], a->rows, a->cols);
}

static arguments measure(const vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    return (arguments){vsti_rows(shape), vsti_last(shape)};
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run, &a, sizeof a, buffers, 2);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &a, sizeof a, buffers, 3);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "l2_normalize_backward",
                                            .outputs = 1,
                                            .input_names = {"x", "dy"},
                                            .output_names = {"dx"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    const vst_value x = vsti_input_of(node, 0);
    const vst_value inputs[] = {vsti_saved(gradients, x), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x, vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 2, NULL));
}

vst_value vst_l2_normalize(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {.name = "l2_normalize",
                                             .outputs = 1,
                                             .input_names = {"x"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
