/* Vectors of length 1, as torch.nn.functional.normalize(x, dim=-1). */
#include <math.h>

#include "vision/ops/operation.h"

static const float least = 1e-12f; /* of a length that is divided by */

typedef struct arguments {
    int64_t rows, cols;
} arguments;

static float length_of(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    const float length = (float)sqrt(sum);
    return length > least ? length : least;
}

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
#pragma omp parallel for schedule(static) if (a->rows * a->cols > 16384)
    for (int64_t row = 0; row < a->rows; row++) {
        const float *x = (const float *)b[0] + row * a->cols;
        float *y = (float *)b[1] + row * a->cols;
        const float factor = 1 / length_of(x, a->cols);
        for (int64_t i = 0; i < a->cols; i++) y[i] = x[i] * factor;
    }
}

/* dx = (dy - y (y · dy)) / |x| */
static void run_backward(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
#pragma omp parallel for schedule(static) if (a->rows * a->cols > 16384)
    for (int64_t row = 0; row < a->rows; row++) {
        const float *x = (const float *)b[0] + row * a->cols, *dy = (const float *)b[1] + row * a->cols;
        float *dx = (float *)b[2] + row * a->cols;
        const float factor = 1 / length_of(x, a->cols);
        double along = 0;
        for (int64_t i = 0; i < a->cols; i++) along += (double)x[i] * dy[i];
        const float part = (float)along * factor * factor;
        for (int64_t i = 0; i < a->cols; i++) dx[i] = factor * (dy[i] - x[i] * part);
    }
}

static arguments measure(const vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    return (arguments){vsti_rows(shape), vsti_last(shape)};
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], NULL),
                                   vsti_write(lowering, node->outputs[0], NULL)};
    vsti_kernel_step(lowering, "vistill", run, &a, sizeof a, buffers, 2);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], NULL),
                                   vsti_read(lowering, node->inputs[1], NULL),
                                   vsti_write(lowering, node->outputs[0], NULL)};
    vsti_kernel_step(lowering, "vistill", run_backward, &a, sizeof a, buffers, 3);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {
        .name = "unit_backward", .outputs = 1, .shapes = vsti_same_shape, .lower = lower_backward};
    const vst_value x = vsti_input_of(node, 0);
    const vst_value inputs[] = {vsti_saved(gradients, x), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x, vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 2, NULL));
}

vst_value vst_l2_normalize(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {
        .name = "unit", .outputs = 1, .shapes = vsti_same_shape, .gradient = gradient, .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
