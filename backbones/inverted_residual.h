/* Networks of inverted residual blocks (Sandler et al., 2018; with squeeze-and-excitation, Tan & Le, 2019): shared by
 * efficientnet.c and mobilenet_v2.c. Names and initialisation follow timm's EfficientNet class. */
#ifndef VISTILL_BACKBONES_INVERTED_RESIDUAL_H
#define VISTILL_BACKBONES_INVERTED_RESIDUAL_H

#include "backbones/layers.h"

enum { VSTI_MOBILE_STAGES = 7 };

typedef struct vsti_mobile_stage {
    int repeats, kernel, stride, expansion, channels;
} vsti_mobile_stage;

typedef struct vsti_mobile {
    vsti_mobile_stage stages[VSTI_MOBILE_STAGES];
    int count, stem, features;
    bool same;                 /* TensorFlow's padding */
    double squeeze, drop_path; /* squeeze: inner width of squeeze-and-excitation / the block's input; 0: none */
    vst_norm_options norm;
    vst_value (*activation)(vst_graph *graph, vst_value x);
} vsti_mobile;

/* Sets net->stages from the `stages` of a published network, with the user's repeats and channels and EfficientNet's
 * compound scaling of width and depth. fixed: the depth of the first and last stage is not scaled. False if the lists
 * have different or invalid lengths. */
static inline bool vsti_mobile_scale(vst_graph *g, vsti_mobile *net, const vsti_mobile_stage *stages,
                                     const vst_option_list *repeats, const vst_option_list *channels, double width,
                                     double depth, bool fixed) {
    net->count = repeats->count;
    if (repeats->count != channels->count || repeats->count < 1 || repeats->count > VSTI_MOBILE_STAGES) {
        if (g)
            vst_graph_fail(g, VST_ERROR_ARGUMENT,
                           "repeats has %d and stage_channels %d values: both need one for each of 1 to %d stages",
                           repeats->count, channels->count, VSTI_MOBILE_STAGES);
        return false;
    }
    for (int i = 0; i < net->count; i++) {
        const bool kept = fixed && (i == 0 || i == net->count - 1);
        net->stages[i] = stages[i];
        net->stages[i].repeats = (int)ceil((int)repeats->value[i] * (kept ? 1 : depth));
        net->stages[i].channels = vsti_divisible((int)channels->value[i] * width, 8);
    }
    return true;
}

static inline vst_value vsti_mobile_conv(vst_graph *g, vst_value x, const vsti_mobile *net, const char *const names[2],
                                         vst_conv2d_options conv) {
    conv.init = vsti_fan_out_init(&conv);
    conv.same = net->same;
    conv.padding = conv.same ? 0 : conv.kernel / 2;
    return vsti_batch_norm(g, vsti_conv(g, x, names[0], conv), names[1], net->norm);
}

/* A block. Without expansion it is timm's depthwise separable block, whose layers have other names. */
static inline vst_value vsti_mobile_block(vst_graph *g, vst_value x, const vsti_mobile *net,
                                          const vsti_mobile_stage *stage, int stride, double drop_path) {
    static const char *const names[2][3][2] = {{{"", ""}, {"conv_dw", "bn1"}, {"conv_pw", "bn2"}},
                                               {{"conv_pw", "bn1"}, {"conv_dw", "bn2"}, {"conv_pwl", "bn3"}}};
    static const char *const squeeze_names[2] = {"conv_reduce", "conv_expand"};
    const int in = (int)vst_shape_at(g, x).dim[1], expanded = stage->expansion > 1;
    const int inner = expanded ? vsti_divisible((double)in * stage->expansion, 8) : in;
    vst_value y = x;
    if (expanded)
        y = net->activation(g,
                            vsti_mobile_conv(g, y, net, names[1][0], (vst_conv2d_options){.out = inner, .kernel = 1}));
    y = vsti_mobile_conv(
        g, y, net, names[expanded][1],
        (vst_conv2d_options){.out = inner, .kernel = stage->kernel, .stride = stride, .groups = inner});
    y = net->activation(g, y);
    if (net->squeeze > 0) {
        const int reduced = (int)rint(inner * (net->squeeze / stage->expansion));
        y = vsti_squeeze_excite(g, y, squeeze_names, reduced, net->activation);
    }
    y = vsti_mobile_conv(g, y, net, names[expanded][2], (vst_conv2d_options){.out = stage->channels, .kernel = 1});
    return stride == 1 && in == stage->channels ? vst_add(g, vsti_drop_path(g, y, drop_path), x) : y;
}

/* Uniform within 1 / sqrt(fan out), as TensorFlow's EfficientNet initialises its last layer. */
static inline vst_linear_options vsti_mobile_classifier(int features, int classes) {
    const double gain = sqrt(((double)features + classes) / (6.0 * classes));
    return (vst_linear_options){
        .features = classes, .bias = true, .init = {VST_INIT_XAVIER_UNIFORM, gain, VST_PARAM_WEIGHT}};
}

static inline void vsti_mobile_build(vst_graph *g, vst_value x, const vsti_mobile *net, int classes) {
    static const char *const stem[2] = {"conv_stem", "bn1"}, *const head[2] = {"conv_head", "bn2"};
    int total = 0, index = 0;
    for (int s = 0; s < net->count; s++) total += net->stages[s].repeats;
    x = net->activation(
        g, vsti_mobile_conv(g, x, net, stem, (vst_conv2d_options){.out = net->stem, .kernel = 3, .stride = 2}));
    for (int s = 0; s < net->count; s++) {
        char tap[16];
        snprintf(tap, sizeof tap, "blocks.%d", s);
        for (int i = 0; i < net->stages[s].repeats; i++, index++) {
            const int stride = i == 0 ? net->stages[s].stride : 1;
            VST_SCOPE (g, "%s.%d", tap, i)
                x = vsti_mobile_block(g, x, net, &net->stages[s], stride, net->drop_path * index / total);
        }
        vst_tap(g, tap, x);
    }
    x = net->activation(g, vsti_mobile_conv(g, x, net, head, (vst_conv2d_options){.out = net->features, .kernel = 1}));
    vsti_pooled_head(g, x, "classifier", vsti_mobile_classifier(net->features, classes));
}

/* Stage and position within it of block `index`, counted over the whole network; false if there are fewer blocks. */
static inline bool vsti_mobile_locate(const vsti_mobile *net, int index, int *stage, int *place) {
    for (*stage = 0, *place = index; *stage < net->count && *place >= 0; ++*stage) {
        if (*place < net->stages[*stage].repeats) return true;
        *place -= net->stages[*stage].repeats;
    }
    return false;
}

#endif
