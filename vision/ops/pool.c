/* Max and average pooling through oneDNN; global average pooling is a mean over the last two dimensions. */
#include "vision/ops/operation.h"

typedef struct attributes {
    vsti_pool sizes;
    bool ceil, count_padding;
} attributes;

static const vsti_attribute described[] = {{"kernel", VSTI_INT64, offsetof(attributes, sizes.kernel), NULL},
                                           {"stride", VSTI_INT64, offsetof(attributes, sizes.stride), NULL},
                                           {"padding", VSTI_INT64, offsetof(attributes, sizes.padding), NULL},
                                           {"ceil_mode", VSTI_BOOL, offsetof(attributes, ceil), NULL},
                                           {"count_include_pad", VSTI_BOOL, offsetof(attributes, count_padding), NULL},
                                           {0}};

static const vsti_pool *sizes_of(const vsti_node *node) { return &((const attributes *)node->attributes)->sizes; }

static void shapes(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    (void)graph;
    const vsti_pool *p = sizes_of(node);
    out[0] = VST_SHAPE(p->batch, p->channels, p->out_height, p->out_width);
    out[1] = VST_SHAPE(1); /* workspace of max pooling; oneDNN determines its size */
}

static void lower(vsti_lowering *lowering, const vsti_node *node) {
    vsti_pool pool = *sizes_of(node);
    const vsti_format format = vsti_same_format(lowering, node->inputs[0], node->outputs[0]);
    pool.training = vsti_is_training(lowering);
    vsti_primitive *p = NULL;
    vst_status status = vsti_pool_forward(&p, &pool, format);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_argument arguments[] = {
        {VSTI_SRC, vsti_read(lowering, node->inputs[0], format)},
        {VSTI_DST, vsti_write(lowering, node->outputs[0], vsti_primitive_format(p, VSTI_DST))},
        {VSTI_WORKSPACE, vsti_primitive_bytes(p, VSTI_WORKSPACE)
                             ? vsti_write_bytes(lowering, node->outputs[1], vsti_primitive_bytes(p, VSTI_WORKSPACE))
                             : VSTI_NO_BUFFER}};
    vsti_primitive_step(lowering, p, arguments, 3);
}

/* Inputs: x (only its layout and shape are used), workspace of max pooling, dy. */
static void shapes_backward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    (void)graph;
    const vsti_pool *p = sizes_of(node);
    out[0] = VST_SHAPE(p->batch, p->channels, p->height, p->width);
}

static void lower_backward(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_pool *pool = sizes_of(node);
    const vsti_format format = vsti_same_format(lowering, node->inputs[0], node->outputs[0]);
    vsti_primitive *p = NULL;
    vst_status status = vsti_pool_backward(&p, pool, format);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_argument arguments[] = {
        {VSTI_DIFF_DST, vsti_read(lowering, node->inputs[pool->kind == VSTI_POOL_MAX ? 2 : 1],
                                  vsti_primitive_format(p, VSTI_DIFF_DST))},
        {VSTI_DIFF_SRC, vsti_write(lowering, node->outputs[0], vsti_primitive_format(p, VSTI_DIFF_SRC))},
        {VSTI_WORKSPACE,
         pool->kind == VSTI_POOL_MAX ? vsti_read(lowering, node->inputs[1], VSTI_PLAIN) : VSTI_NO_BUFFER}};
    vsti_primitive_step(lowering, p, arguments, 3);
}

static const vsti_operation max_backward = {.name = "max_pool_backward",
                                            .bf16_in = 1u << 0 | 1u << 2,
                                            .bf16_out = 1,
                                            .bf16_alike = true,
                                            .outputs = 1,
                                            .attribute_bytes = sizeof(attributes),
                                            .attributes = described,
                                            .input_names = {"x", "workspace", "dy"},
                                            .output_names = {"dx"},
                                            .shapes = shapes_backward,
                                            .lower = lower_backward};
static const vsti_operation average_backward = {.name = "avg_pool_backward",
                                                .bf16_in = 3,
                                                .bf16_out = 1,
                                                .bf16_alike = true,
                                                .outputs = 1,
                                                .attribute_bytes = sizeof(attributes),
                                                .attributes = described,
                                                .input_names = {"x", "dy"},
                                                .output_names = {"dx"},
                                                .shapes = shapes_backward,
                                                .lower = lower_backward};

static void gradient_max(vsti_gradients *gradients, const vsti_node *node) {
    const vst_value x = vsti_input_of(node, 0);
    const vst_value inputs[] = {x, vsti_output_of(node, 1), vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x,
                      vsti_emit(vsti_gradient_graph(gradients), &max_backward, inputs, 3, node->attributes));
}

static void gradient_average(vsti_gradients *gradients, const vsti_node *node) {
    const vst_value x = vsti_input_of(node, 0), inputs[] = {x, vsti_incoming(gradients, node, 0)};
    vsti_add_gradient(gradients, x,
                      vsti_emit(vsti_gradient_graph(gradients), &average_backward, inputs, 2, node->attributes));
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    const vsti_pool *p = sizes_of(node);
    return (double)vsti_count(graph, node->outputs[0]) * (double)(p->kernel * p->kernel);
}

static const vsti_operation max_pool = {.name = "max_pool",
                                        .bf16_in = 1,
                                        .bf16_out = 1,
                                        .bf16_alike = true,
                                        .outputs = 2,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"x"},
                                        .output_names = {"y", "workspace"},
                                        .shapes = shapes,
                                        .gradient = gradient_max,
                                        .lower = lower,
                                        .flops = flops};
static const vsti_operation avg_pool = {.name = "avg_pool",
                                        .bf16_in = 1,
                                        .bf16_out = 1,
                                        .bf16_alike = true,
                                        .outputs = 2,
                                        .attribute_bytes = sizeof(attributes),
                                        .attributes = described,
                                        .input_names = {"x"},
                                        .output_names = {"y", "workspace"},
                                        .shapes = shapes,
                                        .gradient = gradient_average,
                                        .lower = lower,
                                        .flops = flops};

/* With `ceil`, a partial window counts only if it starts inside the input or its leading padding, as in PyTorch. */
static int64_t extent(int64_t in, const vst_pool_options *o, int64_t stride) {
    const int64_t room = in + 2 * o->padding - o->kernel;
    if (!o->ceil) return room / stride + 1;
    const int64_t windows = (room + stride - 1) / stride + 1;
    return (windows - 1) * stride >= in + o->padding ? windows - 1 : windows;
}

static vst_value pool(vst_graph *g, vst_value x, vst_pool_options o, vsti_pool_kind kind) {
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, x);
    const int stride = o.stride ? o.stride : o.kernel;
    char text[VST_SHAPE_TEXT];
    if (shape.rank != 4 || o.kernel < 1 || stride < 1 || o.padding < 0 || 2 * o.padding > o.kernel ||
        shape.dim[2] + 2 * o.padding < o.kernel || shape.dim[3] + 2 * o.padding < o.kernel) {
        vst_graph_fail(
            g, VST_ERROR_SHAPE,
            "pool: kernel %d, stride %d, padding %d do not fit the input %s (padding may be half the kernel)", o.kernel,
            stride, o.padding, vst_shape_text(&shape, text));
        return (vst_value){0};
    }
    if (o.ceil && o.count_padding) {
        vst_graph_fail(g, VST_ERROR_UNSUPPORTED, "pool: ceil and count_padding cannot be combined");
        return (vst_value){0};
    }
    const attributes a = {.sizes = {.kind = kind,
                                    .batch = shape.dim[0],
                                    .channels = shape.dim[1],
                                    .height = shape.dim[2],
                                    .width = shape.dim[3],
                                    .kernel = o.kernel,
                                    .stride = stride,
                                    .padding = o.padding,
                                    .out_height = extent(shape.dim[2], &o, stride),
                                    .out_width = extent(shape.dim[3], &o, stride)},
                          .ceil = o.ceil,
                          .count_padding = o.count_padding};
    return vsti_emit(g, kind == VSTI_POOL_MAX ? &max_pool : &avg_pool, &x, 1, &a);
}

vst_value vst_max_pool(vst_graph *g, vst_value x, vst_pool_options options) {
    return pool(g, x, options, VSTI_POOL_MAX);
}

vst_value vst_avg_pool(vst_graph *g, vst_value x, vst_pool_options options) {
    return pool(g, x, options, options.count_padding ? VSTI_POOL_AVERAGE_PADDED : VSTI_POOL_AVERAGE);
}

vst_value vst_global_avg_pool(vst_graph *g, vst_value x) {
    if (g->status != VST_OK) return (vst_value){0};
    const vst_shape shape = vst_shape_at(g, x);
    if (shape.rank != 4) {
        vst_graph_fail(g, VST_ERROR_SHAPE, "global_avg_pool: its input should be (N, C, H, W)");
        return (vst_value){0};
    }
    return vst_reduce_mean(g, x, 1u << 2 | 1u << 3, false);
}
