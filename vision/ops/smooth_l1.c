/* torch.nn.functional.smooth_l1_loss with beta 1: the mean of d² / 2 where |d| < 1, of |d| - 1 / 2 elsewhere. */
#include "vision/ops/operation.h"

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    vsti_get_kernels()->smooth_l1(b[0], b[1], b[2], *(const int64_t *)raw);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    vsti_get_kernels()->smooth_l1_backward(b[0], b[1], b[2], b[3], *(const int64_t *)raw);
}

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    if (vsti_need_equal(graph, node, 0, 1)) out[0] = VST_SCALAR;
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const int64_t n = vsti_count(vsti_lowering_graph(lowering), node->inputs[0]);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run, &n, sizeof n, buffers, 3);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const int64_t n = vsti_count(vsti_lowering_graph(lowering), node->inputs[0]);
    const vsti_buffer buffers[] = {
        vsti_read(lowering, node->inputs[0], VSTI_PLAIN), vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
        vsti_read(lowering, node->inputs[2], VSTI_PLAIN), vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &n, sizeof n, buffers, 4);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "smooth_l1_backward",
                                            .outputs = 1,
                                            .input_names = {"a", "b", "dy"},
                                            .output_names = {"da"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    for (int side = 0; side < 2; side++) {
        const vst_value x = vsti_input_of(node, side);
        if (!vsti_wanted(gradients, x)) continue;
        const vst_value inputs[] = {vsti_saved(gradients, x), vsti_saved(gradients, vsti_input_of(node, 1 - side)),
                                    vsti_incoming(gradients, node, 0)};
        vsti_add_gradient(gradients, x, vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 3, NULL));
    }
}

vst_value vst_smooth_l1(vst_graph *g, vst_value a, vst_value b) {
    static const vsti_operation operation = {.name = "smooth_l1",
                                             .outputs = 1,
                                             .input_names = {"a", "b"},
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, (vst_value[]){a, b}, 2, NULL);
}
