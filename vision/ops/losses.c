/* Scalar losses: cross-entropy with soft targets, binary cross-entropy per class, Kullback-Leibler divergence with
 * temperature, mean squared error; and the one-hot rows of the largest logit. */
#include "vision/ops/operation.h"

typedef enum loss { CROSS_ENTROPY, BINARY, KL, MSE } loss;

typedef struct attributes {
    loss kind;
    float smoothing, temperature, factor; /* factor: of the Kullback-Leibler divergence */
} attributes;

typedef struct arguments {
    attributes options;
    int64_t rows, cols;
} arguments;

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const attributes *o = node->attributes;
    if (o->kind != MSE && !vsti_need_rank(graph, node, 0, 2)) return;
    if (vsti_need_equal(graph, node, 0, 1)) out[0] = VST_SCALAR;
}

static void run_forward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    const attributes *o = &a->options;
    const vsti_kernels *k = vsti_get_kernels();
    if (o->kind == CROSS_ENTROPY) k->cross_entropy(b[0], b[1], o->smoothing, b[2], b[3], a->rows, a->cols);
    else if (o->kind == BINARY) k->binary_cross_entropy(b[0], b[1], b[2], b[3], a->rows, a->cols);
    else if (o->kind == KL) k->kl(b[0], b[1], o->temperature, o->factor, b[2], b[3], a->rows, a->cols);
    else k->mse(b[0], b[1], b[2], b[3], a->rows * a->cols);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    const attributes *o = &a->options;
    const vsti_kernels *k = vsti_get_kernels();
    if (o->kind == CROSS_ENTROPY) k->cross_entropy_backward(b[0], b[1], o->smoothing, b[2], b[3], a->rows, a->cols);
    else if (o->kind == BINARY) k->binary_cross_entropy_backward(b[0], b[1], b[2], b[3], a->rows, a->cols);
    else if (o->kind == KL) k->kl_backward(b[0], b[1], o->temperature, o->factor, b[2], b[3], a->rows, a->cols);
    else k->mse_backward(b[0], b[1], b[2], b[3], a->rows * a->cols);
}

static arguments measure(const vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    return (arguments){*(const attributes *)node->attributes, vsti_rows(shape), vsti_last(shape)};
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const size_t scratch =
        a.options.kind == MSE ? VSTI_PARTIAL_BLOCKS * sizeof(double) : (size_t)a.rows * sizeof(float);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN), vsti_scratch(lowering, scratch)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_forward, &a, sizeof a, buffers, 4);
}

/* Inputs: both inputs of the loss and the gradient of the loss. */
static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const arguments a = measure(lowering, node);
    const vsti_buffer buffers[] = {
        vsti_read(lowering, node->inputs[0], VSTI_PLAIN), vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
        vsti_read(lowering, node->inputs[2], VSTI_PLAIN), vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &a, sizeof a, buffers, 4);
}

/* Adds the gradient of one input of the loss. Exchanging the inputs is right for the mean squared error, which is
 * symmetric. */
static void add_input_gradient(vsti_gradients *gradients, const vsti_node *node, int side,
                               const vsti_operation *backward) {
    if (!vsti_wanted(gradients, vsti_input_of(node, side))) return;
    const vst_value inputs[] = {vsti_saved(gradients, vsti_input_of(node, side)),
                                vsti_saved(gradients, vsti_input_of(node, 1 - side)),
                                vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, vsti_input_of(node, side),
                      vsti_emit(vsti_gradient_graph(gradients), backward, inputs, 3, node->attributes));
}

static const vsti_attribute smoothed[] = {{"label_smoothing", VSTI_FLOAT, offsetof(attributes, smoothing), NULL}, {0}};

static void cross_entropy_gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "cross_entropy_backward",
                                            .outputs = 1,
                                            .attribute_bytes = sizeof(attributes),
                                            .attributes = smoothed,
                                            .input_names = {"logits", "target", "dy"},
                                            .output_names = {"dlogits"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    add_input_gradient(gradients, node, 0, &backward);
}

vst_value vst_cross_entropy(vst_graph *g, vst_value logits, vst_value target, double smoothing) {
    static const vsti_operation operation = {.name = "cross_entropy",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = smoothed,
                                             .input_names = {"logits", "target"},
                                             .shapes = shapes,
                                             .gradient = cross_entropy_gradient,
                                             .lower = lower};
    const attributes o = {.kind = CROSS_ENTROPY, .smoothing = (float)smoothing};
    return vsti_emit(g, &operation, (vst_value[]){logits, target}, 2, &o);
}

static void binary_gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "binary_cross_entropy_backward",
                                            .outputs = 1,
                                            .attribute_bytes = sizeof(attributes),
                                            .attributes = vsti_no_attributes,
                                            .input_names = {"logits", "target", "dy"},
                                            .output_names = {"dlogits"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    add_input_gradient(gradients, node, 0, &backward);
}

vst_value vst_binary_cross_entropy(vst_graph *g, vst_value logits, vst_value target) {
    static const vsti_operation operation = {.name = "binary_cross_entropy",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = vsti_no_attributes,
                                             .input_names = {"logits", "target"},
                                             .shapes = shapes,
                                             .gradient = binary_gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, (vst_value[]){logits, target}, 2, &(attributes){.kind = BINARY});
}

static const vsti_attribute tempered[] = {{"temperature", VSTI_FLOAT, offsetof(attributes, temperature), NULL},
                                          {"factor", VSTI_FLOAT, offsetof(attributes, factor), NULL},
                                          {0}};

static void kl_gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "kl_divergence_backward",
                                            .outputs = 1,
                                            .attribute_bytes = sizeof(attributes),
                                            .attributes = tempered,
                                            .input_names = {"student", "teacher", "dy"},
                                            .output_names = {"dstudent"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    add_input_gradient(gradients, node, 0, &backward);
}

vst_value vst_kl_divergence(vst_graph *g, vst_value student, vst_value teacher, double temperature,
                            vst_kl_reduction reduction) {
    static const vsti_operation operation = {.name = "kl_divergence",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = tempered,
                                             .input_names = {"student", "teacher"},
                                             .shapes = shapes,
                                             .gradient = kl_gradient,
                                             .lower = lower};
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, student);
    if (!(temperature > 0) || shape.rank != 2) {
        vst_graph_fail(g, temperature > 0 ? VST_ERROR_SHAPE : VST_ERROR_ARGUMENT,
                       "kl_divergence: needs logits (B, C) and a temperature above 0, not %g", temperature);
        return (vst_value){0};
    }
    const double divisor = (double)shape.dim[0] * (reduction == VST_KL_ELEMENTS ? (double)shape.dim[1] : 1);
    const attributes o = {
        .kind = KL, .temperature = (float)temperature, .factor = (float)(temperature * temperature / divisor)};
    return vsti_emit(g, &operation, (vst_value[]){student, teacher}, 2, &o);
}

static void mse_gradient(vsti_gradients *gradients, const vsti_node *node) {
    static const vsti_operation backward = {.name = "mse_backward",
                                            .outputs = 1,
                                            .attribute_bytes = sizeof(attributes),
                                            .attributes = vsti_no_attributes,
                                            .input_names = {"a", "b", "dy"},
                                            .output_names = {"da"},
                                            .shapes = vsti_same_shape,
                                            .lower = lower_backward};
    add_input_gradient(gradients, node, 0, &backward);
    add_input_gradient(gradients, node, 1, &backward);
}

vst_value vst_mse(vst_graph *g, vst_value a, vst_value b) {
    static const vsti_operation operation = {.name = "mse",
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = vsti_no_attributes,
                                             .input_names = {"a", "b"},
                                             .shapes = shapes,
                                             .gradient = mse_gradient,
                                             .lower = lower};
    return vsti_emit(g, &operation, (vst_value[]){a, b}, 2, &(attributes){.kind = MSE});
}

/* ---- hard labels ---- */

static void run_one_hot(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const int64_t *size = raw;
    vsti_get_kernels()->one_hot_argmax(b[0], b[1], size[0], size[1]);
}

static void lower_one_hot(vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const int64_t size[2] = {vsti_rows(shape), vsti_last(shape)};
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_one_hot, size, sizeof size, buffers, 2);
}

vst_value vst_one_hot_argmax(vst_graph *g, vst_value logits) {
    static const vsti_operation operation = {.name = "one_hot_argmax",
                                             .outputs = 1,
                                             .input_names = {"logits"},
                                             .shapes = vsti_same_shape,
                                             .lower = lower_one_hot};
    return vsti_emit(g, &operation, &logits, 1, NULL);
}
