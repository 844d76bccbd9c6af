/* Helpers shared by the files of this folder: shape checks, constants, broadcasting, folded weights. */
#ifndef VISTILL_VISION_OPS_OPERATION_H
#define VISTILL_VISION_OPS_OPERATION_H

#include <string.h>

#include "vision/kernels/kernels.h"
#include "vision/ops/ops.h"
#include "vision/plan/lowering.h"

/* A constant scalar (ops/constant.c). */
vst_value vsti_constant(vst_graph *graph, float value);

/* Output 0 (and any other) has the shape of input 0. */
static inline void vsti_same_shape(vst_graph *graph, const vsti_node *node, vst_shape *shapes) {
    for (int i = 0; i < node->operation->outputs; i++) shapes[i] = *vsti_shape(graph, node->inputs[0]);
}

static inline int64_t vsti_count(const vst_graph *graph, int value) {
    return vst_shape_count(vsti_shape(graph, value));
}
static inline int64_t vsti_last(const vst_shape *shape) { return shape->rank ? shape->dim[shape->rank - 1] : 1; }

/* Number of elements that a value occupies in a format, including padding. */
static inline int64_t vsti_memory_count(const vsti_lowering *lowering, int value, vsti_format format) {
    return vsti_layout_elements(format.layout, vsti_shape(vsti_lowering_graph(lowering), value));
}

/* Fails the graph unless the value has this rank. */
static inline bool vsti_need_rank(vst_graph *graph, const vsti_node *node, int input, int rank) {
    const vst_shape *shape = vsti_shape(graph, node->inputs[input]);
    char text[VST_SHAPE_TEXT];
    if (shape->rank == rank) return true;
    vst_graph_fail(graph, VST_ERROR_SHAPE, "%s: its input %s should have %d dimensions", node->operation->name,
                   vst_shape_text(shape, text), rank);
    return false;
}

/* Fails the graph unless two inputs have equal shapes. */
static inline bool vsti_need_equal(vst_graph *graph, const vsti_node *node, int a, int b) {
    const vst_shape *x = vsti_shape(graph, node->inputs[a]), *y = vsti_shape(graph, node->inputs[b]);
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    if (vst_shape_equal(x, y)) return true;
    vst_graph_fail(graph, VST_ERROR_SHAPE, "%s: the shapes %s and %s should be equal", node->operation->name,
                   vst_shape_text(x, first), vst_shape_text(y, second));
    return false;
}

/* Post-operations of a product for a residual (a value; 0: none) and an activation node (NULL: none). */
static inline vsti_post vsti_after(int residual, const vsti_node *activation) {
    vsti_post after = {.sum = residual != 0, .activate = activation != NULL};
    if (activation) after.activation = *(const vsti_activation *)activation->attributes;
    return after;
}

/* A convolution's weight (out, …) in `format` and bias (out; value 0: none). If `norm` is not NULL, this batch norm is
 * folded into both (ops/batch_norm.c). */
typedef struct vsti_folded {
    vsti_buffer weight, bias;
} vsti_folded;
vsti_folded vsti_folded_weights(vsti_lowering *lowering, int weight, int bias, const vsti_node *norm,
                                vsti_format format);

/* What a product that writes `output` computes on in a program of this precision. */
static inline vsti_arithmetic vsti_float_arithmetic(const vsti_lowering *lowering, int output) {
    if (!vsti_computes_bf16(lowering)) return VSTI_FLOAT32;
    return vsti_dtype_of(lowering, output) == VST_BF16 ? VSTI_BFLOAT16 : VSTI_BFLOAT16_TO_FLOAT32;
}

/* True if a product in bf16 is to be created again in float32, because oneDNN has only reference code for it, or none;
 * then the primitive is gone. */
static inline bool vsti_falls_back(vsti_primitive **p, vst_status *status, vsti_arithmetic arithmetic) {
    if (arithmetic != VSTI_BFLOAT16 && arithmetic != VSTI_BFLOAT16_TO_FLOAT32) return false;
    if (*status == VST_OK && !vsti_primitive_is_reference(*p)) return false;
    if (*status != VST_OK && *status != VST_ERROR_UNSUPPORTED) return false;
    vsti_primitive_destroy(*p);
    *p = NULL;
    *status = VST_OK;
    return true;
}

double vsti_batch_norm_epsilon(const vsti_node *norm);

/* Input and weight of a product: as they are, or with simulated integers if vst_fake_quantize_products lists the
 * present scope (ops/fake_quantize.c). */
void vsti_fake_quantize_operands(vst_graph *graph, vst_value operands[2]);

/* The broadcast shape of two shapes, as in NumPy; false if they cannot be broadcast. */
bool vsti_broadcast(const vst_shape *a, const vst_shape *b, vst_shape *out);
/* Sums a gradient over the dimensions along which a value of `shape` was broadcast (ops/broadcast.c, like the next
 * four). */
vst_value vsti_reduce_to(vst_graph *graph, vst_value value, vst_shape shape);
/* Strides, in elements, of a tensor of `shape` broadcast to the shape `as`: 0 in repeated dimensions. */
void vsti_broadcast_strides(const vst_shape *shape, const vst_shape *as, int64_t strides[VST_MAX_RANK]);
_Static_assert((int)VSTI_LOOP_RANK == (int)VST_MAX_RANK, "kernels loop over tensors of any rank");
/* A loop over a tensor of this shape, with strides 0. */
vsti_strided vsti_loop_over(const vst_shape *shape);
/* Appends a step that copies the node's input, read with the strides `a` of the loop, to its output. */
void vsti_copy_strided(vsti_lowering *lowering, const vsti_node *node, const vsti_strided *shape);

#endif
