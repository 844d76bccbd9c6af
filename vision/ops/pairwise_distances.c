/* Distances between the rows of a batch, as multiples of their mean (Park et al., "Relational Knowledge Distillation",
 * 2019). */
#include "vision/ops/operation.h"

typedef struct arguments {
    int64_t rows, cols;
} arguments;

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->pairwise_distances(b[0], b[1], a->rows, a->cols);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    vsti_get_kernels()->pairwise_distances_backward(b[0], b[1], b[2], b[3], a->rows, a->cols);
}

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    if (!vsti_need_rank(graph, node, 0, 2)) return;
    const int64_t rows = vsti_shape(graph, node->inputs[0])->dim[0];
    out[0] = VST_SHAPE(rows, rows);
}

static arguments measure(const vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    return (arguments){shape->dim[0], shape->dim[1]};
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
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN),
                                   vsti_scratch(lowering, (size_t)(a.rows * a.rows) * sizeof(float))};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &a, sizeof a, buffers, 4);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "pairwise_distances_backward",
                                            .outputs = 1,
                                            .input_names = {"x", "dy"},
                                            .output_names = {"dx"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    const vst_value x = vsti_input_of(node, 0);
    const vst_value inputs[] = {vsti_saved(gradients, x), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x, vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 2, NULL));
}

vst_value vst_pairwise_distances(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {.name = "pairwise_distances",
                                             .outputs = 1,
                                             .input_names = {"x"},
                                             .shapes = shapes,
                                             .gradient = gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
