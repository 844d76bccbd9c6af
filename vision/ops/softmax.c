/* Row-wise maps over the last dimension with our kernels: softmax, log-softmax and logit standardisation. */
#include "vision/ops/operation.h"

typedef enum row_map { SOFTMAX, LOG_SOFTMAX, STANDARDIZE } row_map;

typedef struct arguments {
    row_map map;
    int64_t rows, cols;
} arguments;

static void run_forward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    const vsti_kernels *k = vsti_get_kernels();
    (a->map == SOFTMAX       ? k->softmax
     : a->map == LOG_SOFTMAX ? k->log_softmax
                             : k->standardize)(b[0], b[1], a->rows, a->cols);
}

static void run_backward(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    const vsti_kernels *k = vsti_get_kernels();
    (a->map == SOFTMAX       ? k->softmax_backward
     : a->map == LOG_SOFTMAX ? k->log_softmax_backward
                             : k->standardize_backward)(b[0], b[1], b[2], a->rows, a->cols);
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const arguments a = {*(const row_map *)node->attributes, vsti_rows(shape), vsti_last(shape)};
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_forward, &a, sizeof a, buffers, 2);
}

/* Inputs: y (or x, for operations that keep their input) and dy. */
static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const vst_shape *shape = vsti_shape(vsti_lowering_graph(lowering), node->inputs[0]);
    const arguments a = {*(const row_map *)node->attributes, vsti_rows(shape), vsti_last(shape)};
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                                   vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
                                   vsti_write(lowering, node->outputs[0], VSTI_PLAIN)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_backward, &a, sizeof a, buffers, 3);
}

static void gradient(vsti_gradients *gradients, const vsti_node *node, const vsti_operation *backward) {
    const bool from_input = *(const row_map *)node->attributes == STANDARDIZE;
    const vst_value inputs[] = {from_input ? vsti_saved(gradients, vsti_input_of(node, 0)) : vsti_output_of(node, 0),
                                vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, vsti_input_of(node, 0),
                      vsti_emit(vsti_gradient_graph(gradients), backward, inputs, 2, node->attributes));
}

#define ROW_MAP(function, map, from)                                                       \
    static const vsti_operation function##_backward = {.name = #function "_backward",      \
                                                       .outputs = 1,                       \
                                                       .attribute_bytes = sizeof(row_map), \
                                                       .attributes = vsti_no_attributes,   \
                                                       .input_names = {from, "dy"},        \
                                                       .output_names = {"dx"},             \
                                                       .shapes = vsti_same_shape,          \
                                                       .lower = lower_backward};           \
    static void function##_gradient(vsti_gradients *gradients, const vsti_node *node) {    \
        gradient(gradients, node, &function##_backward);                                   \
    }                                                                                      \
    vst_value vst_##function(vst_graph *g, vst_value x) {                                  \
        static const vsti_operation operation = {.name = #function,                        \
                                                 .outputs = 1,                             \
                                                 .attribute_bytes = sizeof(row_map),       \
                                                 .attributes = vsti_no_attributes,         \
                                                 .input_names = {"x"},                     \
                                                 .shapes = vsti_same_shape,                \
                                                 .gradient = function##_gradient,          \
                                                 .lower = lower};                          \
        return vsti_emit(g, &operation, &x, 1, &(row_map){map});                           \
    }
ROW_MAP(softmax, SOFTMAX, "y")
ROW_MAP(log_softmax, LOG_SOFTMAX, "y")
ROW_MAP(standardize, STANDARDIZE, "x")
