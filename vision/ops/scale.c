/* Product with a constant. */
#include "vision/ops/operation.h"

typedef struct arguments {
    float factor;
    int64_t count;
} arguments;

static void run(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    vsti_get_kernels()->scale(buffers[0], a->factor, buffers[1], a->count);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_format format = vsti_f32_format(lowering, node->inputs[0]);
    const arguments a = {*(const float *)node->attributes, vsti_memory_count(lowering, node->inputs[0], format)};
    vsti_buffer in = vsti_read(lowering, node->inputs[0], format);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[0], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), run, &a, sizeof a, (vsti_buffer[]){in, out}, 2);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vsti_add_gradient(
        gradients, vsti_input_of(node, 0),
        vst_scale(vsti_gradient_graph(gradients), vsti_incoming(gradients, node, 0), *(const float *)node->attributes));
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    return (double)vsti_count(graph, node->outputs[0]);
}

vst_value vst_scale(vst_graph *g, vst_value x, double factor) {
    static const vsti_attribute described[] = {{"factor", VSTI_FLOAT, 0, NULL}, {0}};
    static const vsti_operation operation = {.name = "scale",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(float),
                                             .attributes = described,
                                             .input_names = {"x"},
                                             .shapes = vsti_same_shape,
                                             .gradient = gradient,
                                             .lower = lower,
                                             .flops = flops};
    return vsti_emit(g, &operation, &x, 1, &(float){(float)factor});
}
