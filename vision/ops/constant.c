/* A scalar constant: the gradient of the loss by itself. */
#include "vision/ops/operation.h"

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    (void)graph;
    (void)node;
    out[0] = VST_SCALAR;
}

static void run(void *const *buffers, const void *arguments, const vsti_run *state) {
    (void)state;
    *(float *)buffers[0] = *(const float *)arguments;
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    vsti_buffer out = vsti_write(lowering, node->outputs[0], VSTI_PLAIN);
    vsti_kernel_step(lowering, "vistill", run, node->attributes, sizeof(float), &out, 1);
}

static const vsti_attribute described[] = {{"value", VSTI_FLOAT, 0, NULL}, {0}};
static const vsti_operation operation = {.name = "constant",
                                         .outputs = 1,
                                         .attribute_bytes = sizeof(float),
                                         .attributes = described,
                                         .shapes = shapes,
                                         .lower = lower};

vst_value vsti_constant(vst_graph *graph, float value) { return vsti_emit(graph, &operation, NULL, 0, &value); }
