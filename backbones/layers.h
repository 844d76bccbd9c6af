/* Layers shared by the convolutional families, with timm's names and initialisations. They are static functions in a
 * header because every .c file of this folder except backbone.c is a family. */
#ifndef VISTILL_BACKBONES_LAYERS_H
#define VISTILL_BACKBONES_LAYERS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backbones/backbone.h"
#include "vision/ops/ops.h"

/* Normal with the variance 2 / (fan out of one group), as TensorFlow's EfficientNet and pycls initialise convolutions.
 */
static inline vst_init vsti_fan_out_init(const vst_conv2d_options *o) {
    const int groups = o->groups ? o->groups : 1;
    return (vst_init){VST_INIT_NORMAL, sqrt(2.0 * groups / ((double)o->kernel * o->kernel * o->out)), VST_PARAM_WEIGHT};
}

static inline vst_value vsti_conv(vst_graph *g, vst_value x, const char *name, vst_conv2d_options options) {
    VST_SCOPE (g, "%s", name) x = vst_conv2d(g, x, options);
    return x;
}

/* A convolution whose bias is initialised with 0. vst_conv2d itself uses PyTorch's uniform initialisation, but the
 * first registration of a parameter wins. */
static inline vst_value vsti_conv_bias(vst_graph *g, vst_value x, const char *name, vst_conv2d_options options) {
    options.bias = true;
    VST_SCOPE (g, "%s", name) {
        vst_param(g, "bias", VST_SHAPE(options.out), (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT});
        x = vst_conv2d(g, x, options);
    }
    return x;
}

static inline vst_value vsti_batch_norm(vst_graph *g, vst_value x, const char *name, vst_norm_options options) {
    VST_SCOPE (g, "%s", name) x = vst_batch_norm(g, x, options);
    return x;
}

/* Batch norm at the end of a residual branch: its weight is initialised with 0, so that the block starts as the
 * identity (timm's zero_init_last; Goyal et al., 2017). */
static inline vst_value vsti_batch_norm_last(vst_graph *g, vst_value x, const char *name, vst_norm_options options) {
    const vst_shape shape = vst_shape_at(g, x);
    VST_SCOPE (g, "%s", name) {
        if (shape.rank == 4)
            vst_param(g, "weight", VST_SHAPE(shape.dim[1]), (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_WEIGHT});
        x = vst_batch_norm(g, x, options);
    }
    return x;
}

static inline vst_value vsti_drop_path(vst_graph *g, vst_value x, double rate) {
    if (rate > 0)
        VST_SCOPE (g, "drop_path") x = vst_drop_path(g, x, rate);
    return x;
}

/* Squeeze-and-excitation (Hu et al., 2018): x (N, C, H, W) times a gate (N, C, 1, 1), which two 1x1 convolutions
 * compute from the mean over pixels. */
static inline vst_value vsti_squeeze_excite(vst_graph *g, vst_value x, const char *const names[2], int reduced,
                                            vst_value (*activation)(vst_graph *, vst_value)) {
    const int channels = (int)vst_shape_at(g, x).dim[1];
    vst_conv2d_options down = {.out = reduced, .kernel = 1}, up = {.out = channels, .kernel = 1};
    down.init = vsti_fan_out_init(&down);
    up.init = vsti_fan_out_init(&up);
    vst_value gate = {0};
    VST_SCOPE (g, "se") {
        gate = vst_reduce_mean(g, x, 1u << 2 | 1u << 3, true);
        gate = activation(g, vsti_conv_bias(g, gate, names[0], down));
        gate = vst_sigmoid(g, vsti_conv_bias(g, gate, names[1], up));
    }
    return vst_mul(g, x, gate);
}

/* Adds the taps TAP.q, TAP.k and TAP.v (B, heads, N, D / heads) of the attention projection qkv (B, N, 3 D). A program
 * computes them only if they are outputs. */
static inline void vsti_tap_attention(vst_graph *g, vst_value qkv, int heads, const char *tap) {
    static const char *const parts[] = {"q", "k", "v"};
    const vst_shape shape = vst_shape_at(g, qkv);
    const int64_t width = shape.dim[2] / 3;
    char name[64];
    for (int i = 0; i < 3; i++) {
        const vst_value part = vst_reshape(g, vst_slice(g, qkv, 2, i * width, width),
                                           VST_SHAPE(shape.dim[0], shape.dim[1], heads, width / heads));
        snprintf(name, sizeof name, "%s.%s", tap, parts[i]);
        vst_tap(g, name, vst_permute(g, part, (const int[]){0, 2, 1, 3}));
    }
}

/* Global average pooling and the classifier: x (N, C, H, W) to the taps "pooled" (N, C) and "logits" (N, features). */
static inline void vsti_pooled_head(vst_graph *g, vst_value x, const char *name, vst_linear_options linear) {
    x = vst_global_avg_pool(g, x);
    vst_tap(g, "pooled", x);
    VST_SCOPE (g, "%s", name) x = vst_linear(g, x, linear);
    vst_tap(g, "logits", x);
}

/* timm's make_divisible: the nearest multiple of `divisor`, but not less than 0.9 of the value. */
static inline int vsti_divisible(double value, int divisor) {
    int result = (int)(value + divisor / 2.0) / divisor * divisor;
    if (result < divisor) result = divisor;
    return result < 0.9 * value ? result + divisor : result;
}

/* For rename(): finds the pair {theirs, ours} for which `name` starts with `theirs`, and writes prefix + ours + the
 * remaining name. The list ends with {NULL, NULL}. Returns false if no pair matches. */
static inline bool vsti_rename(const char *const (*pairs)[2], const char *prefix, const char *name, char *out,
                               size_t size) {
    for (; (*pairs)[0]; pairs++) {
        const size_t length = strlen((*pairs)[0]);
        if (strncmp(name, (*pairs)[0], length) != 0) continue;
        const int written = snprintf(out, size, "%s%s%s", prefix, (*pairs)[1], name + length);
        return written > 0 && (size_t)written < size;
    }
    return false;
}

#endif
