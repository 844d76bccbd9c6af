/* 2-D convolution through oneDNN: forward, to its input, to its weights and bias. */
#include <omp.h>

#include "vision/kernels/depthwise.h"
#include "vision/ops/quantized.h"
#include "vision/ops/winograd.h"

/* Computes output size and leading padding along one side. Returns false if the kernel does not fit. */
static bool extent(int64_t in, const vst_conv2d_options *o, const vsti_convolution *c, int64_t *out, int64_t *before) {
    const int64_t reach = c->dilation * (c->kernel - 1) + 1;
    *out = o->same ? (in + c->stride - 1) / c->stride : (in + 2 * o->padding - reach) / c->stride + 1;
    const int64_t missing = (*out - 1) * c->stride + reach - in; /* SAME: total padding; the smaller half goes before */
    *before = o->same ? (missing > 0 ? missing / 2 : 0) : o->padding;
    return o->same || in + 2 * o->padding >= reach;
}

typedef struct attributes {
    vsti_convolution sizes;
    vsti_ints padding; /* top, left, bottom, right */
} attributes;

static const vsti_attribute described[] = {{"kernel", VSTI_INT64, offsetof(attributes, sizes.kernel), NULL},
                                           {"stride", VSTI_INT64, offsetof(attributes, sizes.stride), NULL},
                                           {"padding", VSTI_INTS, offsetof(attributes, padding), NULL},
                                           {"dilation", VSTI_INT64, offsetof(attributes, sizes.dilation), NULL},
                                           {"groups", VSTI_INT64, offsetof(attributes, sizes.groups), NULL},
                                           {"bias", VSTI_BOOL, offsetof(attributes, sizes.bias), NULL},
                                           {0}};

static const vsti_convolution *sizes_of(const vsti_node *node) {
    return &((const attributes *)node->attributes)->sizes;
}

static double flops(const vst_graph *graph, const vsti_node *node) {
    (void)graph;
    const vsti_convolution *c = sizes_of(node);
    return 2.0 * (double)(c->batch * c->out * c->out_height * c->out_width) * (double)(c->in / c->groups) *
           (double)(c->kernel * c->kernel);
}

static vst_shape input_shape(const vsti_convolution *c) { return VST_SHAPE(c->batch, c->in, c->height, c->width); }
static vst_shape output_shape(const vsti_convolution *c) {
    return VST_SHAPE(c->batch, c->out, c->out_height, c->out_width);
}
static vst_shape weight_shape(const vsti_convolution *c) {
    return VST_SHAPE(c->out, c->in / c->groups, c->kernel, c->kernel);
}

static void shapes_forward(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    (void)graph;
    out[0] = output_shape(sizes_of(node));
}
static void shapes_data(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    (void)graph;
    out[0] = input_shape(sizes_of(node));
}
static void shapes_weights(vst_graph *graph, const vsti_node *node, vst_shape *out) {
    (void)graph;
    const vsti_convolution *c = sizes_of(node);
    out[0] = weight_shape(c);
    out[1] = VST_SHAPE(c->out);
}

static vsti_convolution configured(const vsti_lowering *lowering, const vsti_node *node) {
    vsti_convolution c = *sizes_of(node);
    c.plain = vsti_is_plain(lowering);
    c.inference = !vsti_is_training(lowering);
    return c;
}

/* The value id of the bias; 0 if there is none. */
static int bias_of(const vsti_node *node) { return sizes_of(node)->bias ? node->inputs[2] : 0; }

/* A product on 8-bit integers, channels-last. Padding is with zeros, so that the zero point has to be 0. */
static void lower_integers(vsti_lowering *lowering, const vsti_node *node, vsti_convolution *c) {
    const vsti_fusion fusion = vsti_fused(lowering, node);
    const vst_quant_entry *input = vsti_quantized_input(lowering, node);
    const vsti_ints padding = ((const attributes *)node->attributes)->padding;
    const bool padded = padding.values[0] || padding.values[1] || padding.values[2] || padding.values[3];
    vsti_primitive *p = NULL;
    c->bias = true;
    c->plain = false;
    c->after = vsti_after_integers(lowering, &fusion, c->arithmetic);
    vst_status status = VST_OK;
    if (padded && input->zero_point)
        status = vst_fail(VST_ERROR_UNSUPPORTED, "a convolution with padding on integers needs the zero point 0");
    if (status == VST_OK) status = vsti_convolution_forward(&p, c);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const int64_t inner = c->in / c->groups, window = c->kernel * c->kernel,
                  strides[] = {inner * window, window, c->kernel, 1};
    vsti_integer_step(lowering, node, p,
                      &(vsti_integer_product){.arithmetic = c->arithmetic,
                                              .bias = bias_of(node),
                                              .strides = strides,
                                              .in = vsti_channel_format(lowering, node->inputs[0], c->in).layout,
                                              .out = vsti_channel_format(lowering, fusion.output, c->out).layout});
}

typedef vst_status pass(vsti_primitive **out, const vsti_convolution *shape);

static vst_status create(vsti_primitive **p, vsti_convolution *c, pass *make) {
    vst_status status = make(p, c);
    if (!vsti_falls_back(p, &status, c->arithmetic)) return status;
    c->arithmetic = VSTI_FLOAT32;
    return make(p, c);
}

static void lower_forward(vsti_lowering *lowering, const vsti_node *node) {
    const vsti_fusion fusion = vsti_fused(lowering, node);
    vsti_convolution c = configured(lowering, node);
    c.arithmetic = vsti_arithmetic_of(lowering, node, &fusion);
    if (c.arithmetic == VSTI_INT8 || c.arithmetic == VSTI_INT8_TO_UINT8) {
        lower_integers(lowering, node, &c);
        return;
    }
    if (c.arithmetic == VSTI_FLOAT32 && vsti_lower_winograd(lowering, node, &c)) return;
    c.bias = c.bias || fusion.norm;
    c.after = vsti_after(fusion.residual, fusion.activation);
    vsti_primitive *p = NULL;
    const vst_status status = create(&p, &c, vsti_convolution_forward);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_format target = vsti_primitive_format(p, VSTI_DST);
    const vsti_folded weights = vsti_folded_weights(lowering, node->inputs[1], bias_of(node), fusion.norm,
                                                    vsti_primitive_format(p, VSTI_WEIGHTS));
    const vsti_argument arguments[] = {
        {VSTI_SRC, vsti_read(lowering, node->inputs[0], vsti_primitive_format(p, VSTI_SRC))},
        {VSTI_WEIGHTS, weights.weight},
        {VSTI_BIAS, weights.bias},
        {VSTI_DST, fusion.residual ? vsti_write_sum(lowering, fusion.output, fusion.residual, target)
                                   : vsti_write(lowering, fusion.output, target)}};
    vsti_primitive_step(lowering, p, arguments, 4);
}

static void lower_data(vsti_lowering *lowering, const vsti_node *node) {
    vsti_convolution c = configured(lowering, node);
    vsti_primitive *p = NULL;
    c.arithmetic = vsti_float_arithmetic(lowering, node->outputs[0]);
    const vst_status status = create(&p, &c, vsti_convolution_backward_data);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_argument arguments[] = {
        {VSTI_WEIGHTS, vsti_read(lowering, node->inputs[0], vsti_primitive_format(p, VSTI_WEIGHTS))},
        {VSTI_DIFF_DST, vsti_read(lowering, node->inputs[1], vsti_primitive_format(p, VSTI_DIFF_DST))},
        {VSTI_DIFF_SRC, vsti_write(lowering, node->outputs[0], vsti_primitive_format(p, VSTI_DIFF_SRC))}};
    vsti_primitive_step(lowering, p, arguments, 3);
}

static void run_depthwise_weights(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    vsti_own_depthwise_weights()(raw, b[0], b[1], b[2], b[3], b[4]);
}

/* Our kernel for depthwise weights, in the blocks of channels of x. Returns false if it does not apply. */
static bool lower_depthwise_weights(vsti_lowering *lowering, const vsti_node *node, const vsti_convolution *c) {
    const vsti_format x = vsti_f32_format(lowering, node->inputs[0]);
    int64_t block;
    if (c->plain || c->groups != c->in || c->groups != c->out || c->kernel > VSTI_DEPTHWISE_LARGEST_KERNEL ||
        !vsti_layout_channel_block(x.layout, &block) || block == 1)
        return false;
    const vsti_depthwise s = {.images = c->batch,
                              .channels = c->in,
                              .block = block,
                              .height = c->height,
                              .width = c->width,
                              .out_height = c->out_height,
                              .out_width = c->out_width,
                              .kernel = c->kernel,
                              .stride = c->stride,
                              .dilation = c->dilation,
                              .top = c->top,
                              .left = c->left,
                              .bias = c->bias};
    const vsti_buffer buffers[] = {
        vsti_read(lowering, node->inputs[0], x),
        vsti_read(lowering, node->inputs[1], vsti_channel_format(lowering, node->inputs[1], block)),
        vsti_write(lowering, node->outputs[0], VSTI_PLAIN),
        c->bias ? vsti_write(lowering, node->outputs[1], VSTI_PLAIN) : VSTI_NO_BUFFER,
        vsti_scratch(lowering, vsti_depthwise_scratch(&s, omp_get_max_threads()) * sizeof(float))};
    vsti_kernel_step(lowering, vsti_kernel_name(), run_depthwise_weights, &s, sizeof s, buffers, 5);
    return true;
}

static void lower_weights(vsti_lowering *lowering, const vsti_node *node) {
    vsti_convolution c = configured(lowering, node);
    if (lower_depthwise_weights(lowering, node, &c)) return;
    vsti_primitive *p = NULL;
    c.arithmetic = vsti_float_arithmetic(lowering, node->outputs[0]);
    const vst_status status = create(&p, &c, vsti_convolution_backward_weights);
    if (status != VST_OK) {
        vsti_lowering_fail(lowering, status);
        return;
    }
    const vsti_argument arguments[] = {
        {VSTI_SRC, vsti_read(lowering, node->inputs[0], vsti_primitive_format(p, VSTI_SRC))},
        {VSTI_DIFF_DST, vsti_read(lowering, node->inputs[1], vsti_primitive_format(p, VSTI_DIFF_DST))},
        {VSTI_DIFF_WEIGHTS, vsti_write(lowering, node->outputs[0], vsti_primitive_format(p, VSTI_DIFF_WEIGHTS))},
        {VSTI_DIFF_BIAS, c.bias ? vsti_write(lowering, node->outputs[1], VSTI_PLAIN) : VSTI_NO_BUFFER}};
    vsti_primitive_step(lowering, p, arguments, 4);
}

static const vsti_operation backward_data = {.name = "conv2d_backward_data",
                                             .bf16_in = 3,
                                             .bf16_out = 1,
                                             .outputs = 1,
                                             .attribute_bytes = sizeof(attributes),
                                             .attributes = described,
                                             .input_names = {"weight", "dy"},
                                             .output_names = {"dx"},
                                             .shapes = shapes_data,
                                             .lower = lower_data,
                                             .flops = flops};
static const vsti_operation backward_weights = {.name = "conv2d_backward_weights",
                                                .bf16_in = 3,
                                                .outputs = 2,
                                                .attribute_bytes = sizeof(attributes),
                                                .attributes = described,
                                                .input_names = {"x", "dy"},
                                                .output_names = {"dweight", "dbias"},
                                                .shapes = shapes_weights,
                                                .lower = lower_weights,
                                                .flops = flops};

static void gradient(vsti_gradients *gradients, const vsti_node *node) {
    vst_graph *graph = vsti_gradient_graph(gradients);
    const vst_value x = vsti_input_of(node, 0), weight = vsti_input_of(node, 1);
    const vst_value dy = vsti_incoming(gradients, node, 0);
    const vsti_convolution *c = sizes_of(node);
    vst_value dw =
        vsti_emit(graph, &backward_weights, (vst_value[]){vsti_saved(gradients, x), dy}, 2, node->attributes);
    vsti_add_gradient(gradients, weight, dw);
    if (c->bias) vsti_add_gradient(gradients, vsti_input_of(node, 2), vsti_output(graph, dw, 1));
    if (vsti_wanted(gradients, x))
        vsti_add_gradient(gradients, x,
                          vsti_emit(graph, &backward_data, (vst_value[]){weight, dy}, 2, node->attributes));
}

static const vsti_operation forward = {.name = "conv2d",
                                       .bf16_in = 3,
                                       .bf16_out = 1,
                                       .outputs = 1,
                                       .attribute_bytes = sizeof(attributes),
                                       .attributes = described,
                                       .input_names = {"x", "weight", "bias"},
                                       .optional = true,
                                       .shapes = shapes_forward,
                                       .gradient = gradient,
                                       .lower = lower_forward,
                                       .flops = flops,
                                       .fusion = VSTI_FUSE_NORM_HOST,
                                       .quantizable = true,
                                       .products = true};

/* Checks the options against the input and sets the sizes. */
static bool set_sizes(vst_graph *g, vst_value x, const vst_conv2d_options *o, vsti_convolution *c) {
    const vst_shape shape = vst_shape_at(g, x);
    char text[VST_SHAPE_TEXT];
    if (shape.rank != 4) {
        vst_graph_fail(g, VST_ERROR_SHAPE, "conv2d: its input %s should be (N, C, H, W)", vst_shape_text(&shape, text));
        return false;
    }
    *c = (vsti_convolution){.batch = shape.dim[0],
                            .in = shape.dim[1],
                            .height = shape.dim[2],
                            .width = shape.dim[3],
                            .groups = o->groups ? o->groups : 1,
                            .out = o->out,
                            .kernel = o->kernel,
                            .stride = o->stride ? o->stride : 1,
                            .dilation = o->dilation ? o->dilation : 1,
                            .bias = o->bias};
    const bool sane =
        c->out > 0 && c->kernel > 0 && c->stride > 0 && o->padding >= 0 && c->dilation > 0 && c->groups > 0;
    if (!sane || c->in % c->groups || c->out % c->groups) {
        vst_graph_fail(g, sane ? VST_ERROR_SHAPE : VST_ERROR_ARGUMENT,
                       "conv2d: %d outputs, kernel %d, stride %d, padding %d, groups %d do not fit the input %s",
                       o->out, o->kernel, o->stride, o->padding, o->groups, vst_shape_text(&shape, text));
        return false;
    }
    const bool high = extent(c->height, o, c, &c->out_height, &c->top),
               wide = extent(c->width, o, c, &c->out_width, &c->left);
    const bool room = high && wide;
    if (!room)
        vst_graph_fail(g, VST_ERROR_SHAPE, "conv2d: a kernel of %d (dilation %d) is larger than the padded input %s",
                       o->kernel, o->dilation, vst_shape_text(&shape, text));
    return room;
}

/* Padding at the bottom and right follows from the output's size. */
static vsti_ints padding_of(const vsti_convolution *c) {
    const int64_t reach = c->dilation * (c->kernel - 1) + 1;
    const int64_t bottom = (c->out_height - 1) * c->stride + reach - c->top - c->height,
                  right = (c->out_width - 1) * c->stride + reach - c->left - c->width;
    return (vsti_ints){4, {(int)c->top, (int)c->left, bottom > 0 ? (int)bottom : 0, right > 0 ? (int)right : 0}};
}

vst_value vst_conv2d(vst_graph *g, vst_value x, vst_conv2d_options options) {
    vsti_convolution c;
    if (g->status != VST_OK || !set_sizes(g, x, &options, &c)) return (vst_value){0};
    if (options.init.kind == VST_INIT_ZEROS && options.init.scale == 0) options.init.kind = VST_INIT_LECUN_UNIFORM;
    vst_value inputs[3] = {x, vst_param(g, "weight", weight_shape(&c), options.init)};
    if (options.bias) {
        const double fan_in = (double)(c.in / c.groups * c.kernel * c.kernel);
        inputs[2] =
            vst_param(g, "bias", VST_SHAPE(c.out), (vst_init){VST_INIT_LECUN_UNIFORM, fan_in, VST_PARAM_WEIGHT});
    }
    vsti_fake_quantize_operands(g, inputs);
    const attributes o = {c, padding_of(&c)};
    return vsti_emit(g, &forward, inputs, options.bias ? 3 : 2, &o);
}
