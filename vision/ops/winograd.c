/* Lowers a convolution to Winograd's method. */
#include "vision/ops/winograd.h"

#include <math.h>

/* The kernel works on eight channels at a time; with few of them its transforms cost what its products save. */
enum { GROUP = 8, LEAST_CHANNELS = 32 };
/* Its weights are four times as large: with fewer tiles than these (4x4 outputs each) reading them takes longer than
 * the products that it saves. Tiles that hang over the edge are work for nothing: at most as much as there are outputs.
 */
enum { TILE = 4, LEAST_TILES = 8 };

static bool is_worth_it(const vsti_convolution *c) {
    const int64_t in = c->in / c->groups, out = c->out / c->groups;
    const int64_t tiles = (c->out_height + TILE - 1) / TILE * ((c->out_width + TILE - 1) / TILE);
    return in >= LEAST_CHANNELS && out >= LEAST_CHANNELS && c->batch * tiles >= LEAST_TILES &&
           tiles * TILE * TILE <= 2 * c->out_height * c->out_width;
}

/* The bounds that the activation puts on the result. */
static bool bounds(const vsti_node *activation, vsti_winograd *s) {
    s->low = -INFINITY;
    s->high = INFINITY;
    if (!activation) return true;
    const vsti_activation kind = *(const vsti_activation *)activation->attributes;
    s->low = 0;
    if (kind == VSTI_RELU6) s->high = 6;
    return kind == VSTI_RELU || kind == VSTI_RELU6;
}

static bool suits(const vsti_convolution *c, const vsti_node *activation, vsti_winograd *s) {
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
           c->out / c->groups % GROUP == 0 && is_worth_it(c) && bounds(activation, s);
}

static void run_weights(void *const *b, const void *arguments, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->winograd_weights(arguments, b[0], b[1]);
}

static void run(void *const *b, const void *arguments, const vsti_run *run) {
    (void)run;
    vsti_get_kernels()->winograd(arguments, b[0], b[1], b[2], b[3], b[4]);
}

/* The input's own layout if its channels lie in blocks of eights, else channels in blocks of 8. */
static const vsti_layout *input_layout(vsti_lowering *lowering, int value, int64_t channels, int64_t *block) {
    const vsti_layout *layout = vsti_layout_of(lowering, value);
    if (layout && vsti_layout_channel_block(layout, block) && *block % GROUP == 0 && channels % *block == 0)
        return layout;
    *block = GROUP;
    return vsti_channel_layout(lowering, value, GROUP);
}

/* What is packed depends on the channels alone, so that programs of all batch sizes share it. */
static vsti_buffer pack_weights(vsti_lowering *lowering, const vsti_winograd *s, vsti_buffer weight) {
    vsti_winograd channels;
    vsti_buffer packed;
    memset(&channels, 0, sizeof channels);
    channels.in = s->in;
    channels.out = s->out;
    channels.groups = s->groups;
    const size_t bytes = vsti_get_kernels()->winograd_weights_floats(&channels) * sizeof(float);
    vsti_pack_step(lowering, run_weights, &channels, sizeof channels, &weight, 1, &bytes, 1, &packed);
    return packed;
}

bool vsti_lower_winograd(vsti_lowering *lowering, const vsti_node *node, const vsti_convolution *c) {
    const vsti_fusion fusion = vsti_fused(lowering, node);
    vsti_winograd s;
    if (!suits(c, fusion.activation, &s)) return false;
    const vsti_kernels *kernels = vsti_get_kernels();
    const vsti_layout *from = input_layout(lowering, node->inputs[0], c->in, &s.in_block);
    s.out_block = s.in_block == c->in ? c->out : s.in_block;
    if (c->out % s.out_block) s.out_block = GROUP;
    const vsti_layout *to = vsti_channel_layout(lowering, fusion.output, s.out_block);
    s.sum = fusion.residual != 0;
    const vsti_folded weights =
        vsti_folded_weights(lowering, node->inputs[1], c->bias ? node->inputs[2] : 0, fusion.norm, NULL);
    const vsti_buffer packed = pack_weights(lowering, &s, weights.weight);
    const vsti_buffer buffers[] = {vsti_read(lowering, node->inputs[0], from), packed, weights.bias,
                                   fusion.residual ? vsti_write_sum(lowering, fusion.output, fusion.residual, to)
                                                   : vsti_write(lowering, fusion.output, to),
                                   vsti_scratch(lowering, kernels->winograd_scratch_floats(&s) * sizeof(float))};
    vsti_kernel_step(lowering, "vistill:winograd", run, &s, sizeof s, buffers, 5);
    return true;
}
