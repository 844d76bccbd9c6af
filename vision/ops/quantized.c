/* Weights, scales and shifts of products on 8-bit integers: packed once, a batch norm after the product included. */
#include "vision/ops/quantized.h"

enum { WEIGHT, BIAS, GAMMA, BETA, MEAN, VARIANCE, INPUTS };

typedef struct packing {
    vsti_weight_quantization shape;
    double epsilon;
    bool norm;
} packing;

static void run_pack(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    const packing *p = raw;
    const vsti_batch_norm norm = {b[GAMMA], b[BETA], b[MEAN], b[VARIANCE], p->epsilon};
    vsti_get_kernels()->quantize_weights(&p->shape, p->norm ? &norm : NULL, b[WEIGHT], b[BIAS], b[INPUTS],
                                         b[INPUTS + 1], b[INPUTS + 2]);
}

static void run_constant(void *const *b, const void *raw, const vsti_run *run) {
    (void)run;
    *(float *)b[0] = *(const float *)raw;
}

static packing describe(vsti_lowering *lowering, const vsti_node *node, const vsti_node *norm) {
    const vst_shape *weight = vsti_shape(vsti_lowering_graph(lowering), node->inputs[1]);
    const vst_quant_entry *input = vsti_quantized_input(lowering, node);
    packing p;
    memset(&p, 0, sizeof p); /* compared as bytes */
    p.shape.out = weight->dim[0];
    p.shape.inner = vst_shape_count(weight) / weight->dim[0];
    p.shape.window = p.shape.inner / weight->dim[1];
    p.shape.input_scale = input->scales[0];
    p.shape.input_zero_point = input->zero_point;
    p.norm = norm != NULL;
    p.epsilon = norm ? vsti_batch_norm_epsilon(norm) : 0;
    return p;
}

static vsti_buffer pack_weights(vsti_lowering *lowering, const vsti_primitive *product, const int64_t *strides,
                                vsti_buffer plain) {
    vsti_primitive *reorder = NULL;
    if (plain < 0) return plain;
    const vst_status status = vsti_weights_reorder_create(&reorder, product, strides);
    if (status == VST_OK) return vsti_pack_primitive(lowering, reorder, plain);
    vsti_lowering_fail(lowering, status);
    return VSTI_NO_BUFFER;
}

typedef struct integer_weights {
    vsti_buffer weights; /* int8, in the layout that the primitive requires */
    vsti_buffer scales;  /* (out): of the product in float32; the input's scale is included */
    vsti_buffer shifts;  /* (out): bias, with the input's zero point and the batch norm */
} integer_weights;

static integer_weights pack_integers(vsti_lowering *lowering, const vsti_node *node, int bias, const vsti_node *norm,
                                     const vsti_primitive *product, const int64_t *strides) {
    const packing p = describe(lowering, node, norm);
    vsti_buffer inputs[INPUTS] = {vsti_read(lowering, node->inputs[1], VSTI_PLAIN),
                                  bias ? vsti_read(lowering, bias, VSTI_PLAIN) : VSTI_NO_BUFFER,
                                  VSTI_NO_BUFFER,
                                  VSTI_NO_BUFFER,
                                  VSTI_NO_BUFFER,
                                  VSTI_NO_BUFFER};
    for (int i = 0; norm && i < 4; i++) inputs[GAMMA + i] = vsti_read(lowering, norm->inputs[1 + i], VSTI_PLAIN);
    const size_t out = (size_t)p.shape.out,
                 bytes[] = {out * (size_t)p.shape.inner, out * sizeof(float), out * sizeof(float)};
    vsti_buffer outputs[3];
    vsti_pack_step(lowering, run_pack, &p, sizeof p, inputs, INPUTS, bytes, 3, outputs);
    return (integer_weights){pack_weights(lowering, product, strides, outputs[0]), outputs[1], outputs[2]};
}

static vsti_buffer pack_constant(vsti_lowering *lowering, float value) {
    const size_t bytes = sizeof value;
    vsti_buffer output;
    vsti_pack_step(lowering, run_constant, &value, sizeof value, NULL, 0, &bytes, 1, &output);
    return output;
}

vsti_arithmetic vsti_arithmetic_of(const vsti_lowering *lowering, const vsti_node *node, const vsti_fusion *fusion) {
    if (!vsti_quantized_input(lowering, node)) return vsti_float_arithmetic(lowering, fusion->output);
    const bool sum = !fusion->residual || vsti_quantized_output(lowering, fusion->residual);
    return sum && vsti_quantized_output(lowering, fusion->output) ? VSTI_INT8_TO_UINT8 : VSTI_INT8;
}

vsti_post vsti_after_integers(const vsti_lowering *lowering, const vsti_fusion *fusion, vsti_arithmetic arithmetic) {
    vsti_post after = vsti_after(fusion->residual, fusion->activation);
    if (arithmetic != VSTI_INT8_TO_UINT8) return after;
    const vst_quant_entry *output = vsti_quantized_output(lowering, fusion->output);
    after.offset = output->scales[0] * (float)output->zero_point;
    if (fusion->residual) after.sum_scale = vsti_quantized_output(lowering, fusion->residual)->scales[0];
    return after;
}

static vsti_buffer write_output(vsti_lowering *lowering, const vsti_fusion *fusion,
                                const vsti_integer_product *product) {
    const vsti_format f32 = {VST_F32, product->out};
    if (product->arithmetic == VSTI_INT8_TO_UINT8)
        return fusion->residual ? vsti_write_quantized_sum(lowering, fusion->output, fusion->residual, product->out)
                                : vsti_write_quantized(lowering, fusion->output, product->out);
    if (fusion->residual) return vsti_write_sum(lowering, fusion->output, fusion->residual, f32);
    return vsti_write(lowering, fusion->output, f32);
}

void vsti_integer_step(vsti_lowering *lowering, const vsti_node *node, vsti_primitive *primitive,
                       const vsti_integer_product *product) {
    const vsti_fusion fusion = vsti_fused(lowering, node);
    const bool narrow = product->arithmetic == VSTI_INT8_TO_UINT8;
    const integer_weights packed =
        pack_integers(lowering, node, product->bias, fusion.norm, primitive, product->strides);
    const vsti_buffer scale =
        narrow ? pack_constant(lowering, vsti_quantized_output(lowering, fusion.output)->scales[0]) : VSTI_NO_BUFFER;
    const vsti_buffer source = vsti_read(lowering, node->inputs[0], (vsti_format){VST_U8, product->in});
    const vsti_argument arguments[] = {
        {VSTI_SRC, source},         {VSTI_WEIGHTS, packed.weights},
        {VSTI_BIAS, packed.shifts}, {VSTI_WEIGHTS_SCALE, packed.scales},
        {VSTI_DST_SCALE, scale},    {VSTI_DST, write_output(lowering, &fusion, product)}};
    vsti_primitive_step(lowering, primitive, arguments, 6);
}
