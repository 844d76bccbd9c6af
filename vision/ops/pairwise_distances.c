/* Distances between the rows of a batch, as multiples of their mean (Park et al., "Relational Knowledge Distillation",
 * 2019). */
#include <math.h>

#include "vision/ops/operation.h"

static const double least = 1e-12; /* of a square, as the authors' code has it: two equal rows are not 0 apart */

typedef struct arguments {
    int64_t rows, cols;
} arguments;

static double distance(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum > least ? sum : least);
}

/* The distances and their mean, that of the pairs of different rows. */
static double measure_all(const float *x, float *y, const arguments *a) {
    double sum = 0;
#pragma omp parallel for schedule(static) if (a->rows * a->rows * a->cols > 16384)
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->rows; j++)
            y[i * a->rows + j] = i == j ? 0 : (float)distance(x + i * a->cols, x + j * a->cols, a->cols);
    for (int64_t i = 0; i < a->rows * a->rows; i++) sum += (double)y[i];
    return a->rows > 1 ? sum / (double)(a->rows * (a->rows - 1)) : 1;
}

static void run(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    float *y = b[1];
    const float factor = (float)(1 / measure_all(b[0], y, a));
    for (int64_t i = 0; i < a->rows * a->rows; i++) y[i] *= factor;
}

/* With d the distances and m their mean: g = (dy - mean(dy d / m)) / m for each pair, and dx_i = sum_j (g_ij + g_ji)
 * (x_i - x_j) / d_ij. */
static void run_backward(void *const *b, const void *raw, const vsti_run *state) {
    (void)state;
    const arguments *a = raw;
    const float *x = b[0], *dy = b[1];
    float *dx = b[2], *d = b[3];
    const int64_t n = a->rows;
    const double mean = measure_all(x, d, a);
    double common = 0;
    for (int64_t i = 0; i < n * n; i++) common += (double)dy[i] * d[i];
    if (n > 1) common /= mean * (double)(n * (n - 1));
#pragma omp parallel for schedule(static) if (n * n * a->cols > 16384)
    for (int64_t i = 0; i < n; i++) {
        float *to = dx + i * a->cols;
        memset(to, 0, (size_t)a->cols * sizeof *to);
        for (int64_t j = 0; j < n; j++) {
            if (i == j || (double)d[i * n + j] <= sqrt(least)) continue;
            const double pull =
                ((double)dy[i * n + j] + (double)dy[j * n + i] - 2 * common) / mean / (double)d[i * n + j];
            for (int64_t k = 0; k < a->cols; k++)
                to[k] += (float)(pull * ((double)x[i * a->cols + k] - x[j * a->cols + k]));
        }
    }
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
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], NULL),
                                   vsti_write(lowering, node->outputs[0], NULL)};
    vsti_kernel_step(lowering, "vistill", run, &a, sizeof a, buffers, 2);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], NULL),
                                   vsti_read(lowering, node->inputs[1], NULL),
                                   vsti_write(lowering, node->outputs[0], NULL),
                                   vsti_scratch(lowering, (size_t)(a.rows * a.rows) * sizeof(float))};
    vsti_kernel_step(lowering, "vistill", run_backward, &a, sizeof a, buffers, 4);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {
        .name = "pairwise_distances_backward", .outputs = 1, .shapes = vsti_same_shape, .lower = lower_backward};
    const vst_value x = vsti_input_of(node, 0);
    const vst_value inputs[] = {vsti_saved(gradients, x), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x, vsti_emit(vsti_gradient_graph(gradients), &backward, inputs, 2, NULL));
}

vst_value vst_pairwise_distances(vst_graph *g, vst_value x) {
    static const vsti_operation operation = {
        .name = "pairwise_distances", .outputs = 1, .shapes = shapes, .gradient = gradient, .lower = lower};
    return vsti_emit(g, &operation, &x, 1, NULL);
}
