/* Sum and product. Operands of equal shape may have any layout; others are broadcast as in NumPy, in the plain layout.
 */
#include "vision/ops/operation.h"

typedef enum arithmetic { ADD, MUL } arithmetic;

typedef struct arguments {
    arithmetic kind;
    int64_t count;      /* number of elements, for operands of equal shape */
    vsti_strided shape; /* for broadcasting */
} arguments;

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    const vst_shape *a = vsti_shape(graph, node->inputs[0]), *b = vsti_shape(graph, node->inputs[1]);
    char first[VST_SHAPE_TEXT], second[VST_SHAPE_TEXT];
    if (!vsti_broadcast(a, b, &out[0]))
        vst_graph_fail(graph, VST_ERROR_SHAPE, "%s: the shapes %s and %s cannot be broadcast together",
                       node->operation->name, vst_shape_text(a, first), vst_shape_text(b, second));
}

static void run_equal(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    (a->kind == ADD ? vsti_get_kernels()->add : vsti_get_kernels()->mul)(buffers[0], buffers[1], buffers[2], a->count);
}

static void run_add_bf16(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->add_bf16(buffers[0], buffers[1], buffers[2], ((const arguments *)raw)->count);
}

static void run_broadcast(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    const arguments *a = raw;
    const vsti_kernels *k = vsti_get_kernels();
    (a->kind == ADD ? k->broadcast_add : k->broadcast_mul)(&a->shape, buffers[0], buffers[1], buffers[2]);
}

static void lower_equal(vsti_lowering *lowering, const vsti_node *node, arguments *a) {
    /* Any layout will do if both operands have it: sums and products of the zeros in the padding are zeros. */
    const bool bf16 = a->kind == ADD && vsti_dtype_of(lowering, node->outputs[0]) == VST_BF16;
    const vsti_format format = {bf16 ? VST_BF16 : VST_F32, vsti_f32_format(lowering, node->inputs[0]).layout};
    a->count = vsti_memory_count(lowering, node->inputs[0], format);
    vsti_buffer left = vsti_read(lowering, node->inputs[0], format),
                right = vsti_read(lowering, node->inputs[1], format);
    vsti_buffer out = vsti_write_over(lowering, node->outputs[0], node->inputs[0], format);
    vsti_kernel_step(lowering, vsti_kernel_name(), bf16 ? run_add_bf16 : run_equal, a, sizeof *a,
                     (vsti_buffer[]){left, right, out}, 3);
}

static void run_channels(void *const *buffers, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->channel_mul(buffers[0], buffers[1], buffers[2], *(const vsti_channels *)raw);
}

/* x (N, C, H, W) times one factor per image and channel (squeeze-and-excitation), in the layout of x. */
static bool lower_channels(vsti_lowering *lowering, const vsti_node *node) {
    const vst_graph *graph = vsti_lowering_graph(lowering);
    const vst_shape *x = vsti_shape(graph, node->inputs[0]), *factor = vsti_shape(graph, node->inputs[1]);
    const vsti_format format = vsti_f32_format(lowering, node->inputs[0]);
    const vst_shape wanted = VST_SHAPE(x->dim[0], x->dim[1], 1, 1);
    vsti_channels s = {x->dim[0], x->dim[1], x->dim[2] * x->dim[3], 1};
    if (x->rank != 4 || !vst_shape_equal(factor, &wanted) || !vsti_layout_channel_block(format.layout, &s.block))
        return false;
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], format),
                                   vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
                                   vsti_write_over(lowering, node->outputs[0], node->inputs[0], format)};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_channels, &s, sizeof s, buffers, 3);
    return true;
}

static void lower(vsti_lowering *lowering, const vsti_node *node, arithmetic kind) {
    const vst_graph *graph = vsti_lowering_graph(lowering);
    const vst_shape *a = vsti_shape(graph, node->inputs[0]), *b = vsti_shape(graph, node->inputs[1]);
    const vst_shape *shape = vsti_shape(graph, node->outputs[0]);
    arguments x = {.kind = kind, .shape = vsti_loop_over(shape)};
    if (vst_shape_equal(a, b)) {
        lower_equal(lowering, node, &x);
        return;
    }
    if (x.kind == MUL && lower_channels(lowering, node)) return;
    vsti_broadcast_strides(a, shape, x.shape.a);
    vsti_broadcast_strides(b, shape, x.shape.b);
    vsti_buffer left = vsti_read(lowering, node->inputs[0], VSTI_PLAIN),
                right = vsti_read(lowering, node->inputs[1], VSTI_PLAIN);
    vsti_buffer out = vst_shape_equal(a, shape)
                          ? vsti_write_over(lowering, node->outputs[0], node->inputs[0], VSTI_PLAIN)
                          : vsti_write(lowering, node->outputs[0], VSTI_PLAIN);
    vsti_kernel_step(lowering, vsti_kernel_name(), run_broadcast, &x, sizeof x, (vsti_buffer[]){left, right, out}, 3);
}

static void lower_add(vsti_lowering *lowering, const vsti_node *node) { lower(lowering, node, ADD); }
static void lower_mul(vsti_lowering *lowering, const vsti_node *node) { lower(lowering, node, MUL); }

static void gradient_add(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    for (int i = 0; i < 2; i++) {
        vst_value input = vsti_input_of(node, i);
        if (vsti_wanted(gradients, input))
            vsti_add_gradient(gradients, input,
                              vsti_reduce_to(graph, vsti_incoming(gradients, node, 0), vst_shape_at(graph, input)));
    }
}

static void gradient_mul(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    for (int i = 0; i < 2; i++) {
        vst_value input = vsti_input_of(node, i);
        if (!vsti_wanted(gradients, input)) continue;
        vst_value other = vsti_saved(gradients, vsti_input_of(node, 1 - i));
        vst_value product = vst_mul(graph, vsti_incoming(gradients, node, 0), other);
        vsti_add_gradient(gradients, input, vsti_reduce_to(graph, product, vst_shape_at(graph, input)));
    }
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    return (double)vsti_count(graph, node->outputs[0]);
}

vst_value vst_add(vst_graph *g, vst_value a, vst_value b) {
    static const vsti_operation operation = {.name = "add",
                                             .bf16_in = 3,
                                             .bf16_out = 1,
                                             .bf16_alike = true,
                                             .outputs = 1,
                                             .input_names = {"a", "b"},
                                             .shapes = shapes,
                                             .gradient = gradient_add,
                                             .lower = lower_add,
                                             .flops = flops,
                                             .fusion = VSTI_FUSE_ADD};
    return vsti_emit(g, &operation, (vst_value[]){a, b}, 2, NULL);
}

vst_value vst_mul(vst_graph *g, vst_value a, vst_value b) {
    static const vsti_operation operation = {.name = "mul",
                                             .outputs = 1,
                                             .input_names = {"a", "b"},
                                             .shapes = shapes,
                                             .gradient = gradient_mul,
                                             .lower = lower_mul,
                                             .flops = flops};
    return vsti_emit(g, &operation, (vst_value[]){a, b}, 2, NULL);
}
