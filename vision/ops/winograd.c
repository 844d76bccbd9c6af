/* Lowers a convolution to the Winograd kernel. */
#include "vision/ops/winograd.h"

#include <math.h>

enum { GROUP = 8, TILE = 4 }; /* GROUP: channels per vector of the kernel; TILE: outputs of a tile along one side */

static bool is_faster(const vsti_convolution *c) {
    const int64_t in = c->in / c->groups, out = c->out / c->groups;
    const int64_t tiles = (c->out_height + TILE - 1) / TILE * ((c->out_width + TILE - 1) / TILE);
    return in >= VSTI_WINOGRAD_LEAST_CHANNELS && out >= VSTI_WINOGRAD_LEAST_CHANNELS &&
           c->batch * tiles >= VSTI_WINOGRAD_LEAST_TILES &&
           tiles * TILE * TILE <= VSTI_WINOGRAD_MOST_WASTE * c->out_height * c->out_width;
}

/* Sets the bounds of the activation. Returns false for an activation other than ReLU and ReLU6. */
static bool bounds(const vsti_node *activation, vsti_winograd *s) {
    s->low = -INFINITY;
    s->high = INFINITY;
    if (!activation) return true;
    const vsti_activation kind = *(const vsti_activation *)activation->attributes;
    s->low = 0;
    if (kind == VSTI_RELU6) s->high = 6;
    return kind == VSTI_RELU || kind == VSTI_RELU6;
}

static bool applies(const vsti_convolution *c, const vsti_node *activation, vsti_winograd *s) {
    *s = (vsti_winograd){.images = c->batch,
                         .in = c->in,
                         .out = c->out,
                         .groups = c->groups,
                         .height = c->height,
                         .width = c->width,
                         .out_height = c->out_height,
                         .out_width = c->out_width,
                         .top = c->top,
                         .left = c->left};
    return c->inference && !c->plain && c->kernel == 3 && c->stride == 1 && c->dilation == 1 && c->in % GROUP == 0 &&
           c->out / c->groups % GROUP == 0 && is_faster(c) && bounds(activation, s);
}

typedef struct channels { /* everything that the packed weights depend on; the batch size is left out, so that programs
                             share them */
    int64_t in, out, groups;
} channels;

static vsti_winograd of_channels(const channels *c) {
    return (vsti_winograd){.in = c->in, .out = c->out, .groups = c->groups};
}

static void run_weights(void *const *b, const void *arguments, const vsti_run *run) {
    (void)run;
    const vsti_winograd s = of_channels(arguments);
    vsti_get_kernels()->winograd_weights(&s, b[0], b[1]);
}

static void run(void *const *b, const void *arguments, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->winograd(arguments, b[0], b[1], b[2], b[3], b[4]);
}

/* The input's own layout if its channels are in blocks of a multiple of 8, else channels in blocks of 8. */
static vsti_format input_format(vsti_lowering *lowering, int value, int64_t count, int64_t *block) {
    const vsti_format format = vsti_f32_format(lowering, value);
    if (vsti_layout_channel_block(format.layout, block) && *block % GROUP == 0 && count % *block == 0) return format;
    *block = GROUP;
    return vsti_channel_format(lowering, value, GROUP);
}

static vsti_buffer pack_weights(vsti_lowering *lowering, const vsti_winograd *s, vsti_buffer weight) {
    const channels c = {s->in, s->out, s->groups};
    const vsti_winograd shape = of_channels(&c);
    const size_t bytes = vsti_get_kernels()->winograd_weights_floats(&shape) * sizeof(float);
    vsti_buffer packed;
    vsti_pack_step(lowering, run_weights, &c, sizeof c, &weight, 1, &bytes, 1, &packed);
    return packed;
}

bool vsti_lower_winograd(vsti_lowering *lowering, const vsti_node *node, const vsti_convolution *c) {
    const vsti_fusion fusion = vsti_fused(lowering, node);
    vsti_winograd s;
    const vst_value_kind weight = vsti_lowering_graph(lowering)->values[node->inputs[1]].kind;
    if (weight != VST_VALUE_PARAMETER || !applies(c, fusion.activation, &s)) return false;
    const vsti_kernels *kernels = vsti_get_kernels();
    const vsti_format from = input_format(lowering, node->inputs[0], c->in, &s.in_block);
    s.out_block = s.in_block == c->in ? c->out : s.in_block;
    if (c->out % s.out_block) s.out_block = GROUP;
    const vsti_format to = vsti_channel_format(lowering, fusion.output, s.out_block);
    s.sum = fusion.residual != 0;
    const vsti_folded weights =
        vsti_folded_weights(lowering, node->inputs[1], c->bias ? node->inputs[2] : 0, fusion.norm, VSTI_PLAIN);
    const vsti_buffer packed = pack_weights(lowering, &s, weights.weight);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], from), packed, weights.bias,
                                   fusion.residual ? vsti_write_sum(lowering, fusion.output, fusion.residual, to)
                                                   : vsti_write(lowering, fusion.output, to),
                                   vsti_scratch(lowering, kernels->winograd_scratch_floats(&s) * sizeof(float))};
    vsti_kernel_step(lowering, "vistill:winograd", run, &s, sizeof s, buffers, 5);
    return true;
}
