/* ConvNeXt (Liu et al., 2022): blocks of a depthwise 7x7 convolution and an MLP over the channels, with LayerScale.
 * Names, epsilon and initialisation are timm's. */
#include <stdio.h>

#include "backbones/layers.h"

enum { MLP_RATIO = 4 };

typedef struct convnext {
    vst_model_common common;
    vst_option_list depths, dims;
    int patch;
    double layer_scale, drop_path;
} convnext;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(convnext, 224, 3, 1000),
    VST_OPTION_LIST(convnext, depths, "3, 3, 9, 3", 1, 1000, "blocks of each stage"),
    VST_OPTION_LIST(convnext, dims, "96, 192, 384, 768", 1, 65536, "channels of each stage"),
    VST_OPTION_INT(convnext, patch, 4, 1, 256, "kernel and stride of the stem's convolution"),
    VST_OPTION_DOUBLE(convnext, layer_scale, 1e-6, 0, 1, "initial value of LayerScale's gamma"),
    VST_OPTION_DOUBLE(convnext, drop_path, 0, 0, 0.99,
                      "stochastic depth: rate of the last block, linear from 0 at the first"),
    VST_OPTION_END};

#define PREPROCESSING VST_IMAGENET_NORM ", crop_pct=0.95"

static const vst_backbone_variant variants[] = {
    {"convnext_tiny", PREPROCESSING}, {"convnext_small", "depths=[3, 3, 27, 3], " PREPROCESSING}, {NULL, NULL}};

static const vst_init weight_init = {VST_INIT_NORMAL, 0.02, VST_PARAM_WEIGHT};

static vst_value conv(vst_graph *g, vst_value x, const char *name, vst_conv2d_options conv_options) {
    conv_options.init = weight_init;
    return vsti_conv_bias(g, x, name, conv_options);
}

static vst_value layer_norm(vst_graph *g, vst_value x, const char *name) {
    VST_SCOPE (g, "%s", name) x = vst_layer_norm(g, x, (vst_norm_options){0});
    return x;
}

static vst_value linear(vst_graph *g, vst_value x, const char *name, int features) {
    VST_SCOPE (g, "%s", name)
        x = vst_linear(g, x, (vst_linear_options){.features = features, .bias = true, .init = weight_init});
    return x;
}

static vst_value channels_last(vst_graph *g, vst_value x) { return vst_permute(g, x, (int[]){0, 2, 3, 1}); }
static vst_value channels_first(vst_graph *g, vst_value x) { return vst_permute(g, x, (int[]){0, 3, 1, 2}); }

/* Layer norm over the channels of (N, C, H, W). */
static vst_value layer_norm_2d(vst_graph *g, vst_value x, const char *name) {
    return channels_first(g, layer_norm(g, channels_last(g, x), name));
}

/* Norm, MLP and LayerScale work on the last dimension, between one pair of permutations. */
static vst_value block(vst_graph *g, vst_value x, const convnext *o, double drop_path) {
    const int dim = (int)vst_shape_at(g, x).dim[1];
    vst_value y = conv(g, x, "conv_dw", (vst_conv2d_options){.out = dim, .kernel = 7, .padding = 3, .groups = dim});
    y = layer_norm(g, channels_last(g, y), "norm");
    VST_SCOPE (g, "mlp") y = linear(g, vst_gelu(g, linear(g, y, "fc1", MLP_RATIO * dim)), "fc2", dim);
    const vst_init gamma = {VST_INIT_CONSTANT, o->layer_scale, VST_PARAM_WEIGHT};
    y = vst_mul(g, y, vst_param(g, "gamma", VST_SHAPE(dim), gamma));
    return vst_add(g, vsti_drop_path(g, channels_first(g, y), drop_path), x);
}

static vst_value stage(vst_graph *g, vst_value x, const convnext *o, int index, int first, int total) {
    const int dim = (int)o->dims.value[index];
    if (index > 0)
        VST_SCOPE (g, "downsample")
            x = conv(g, layer_norm_2d(g, x, "0"), "1", (vst_conv2d_options){.out = dim, .kernel = 2, .stride = 2});
    for (int i = 0; i < (int)o->depths.value[index]; i++)
        VST_SCOPE (g, "blocks.%d", i) x = block(g, x, o, total > 1 ? o->drop_path * (first + i) / (total - 1) : 0);
    return x;
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const convnext *o = raw;
    int total = 0, first = 0;
    if (o->depths.count != o->dims.count || o->depths.count < 1) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "depths has %d and dims %d values: both need one for each stage",
                       o->depths.count, o->dims.count);
        return;
    }
    for (int s = 0; s < o->depths.count; s++) total += (int)o->depths.value[s];
    VST_SCOPE (g, "stem") {
        x = conv(g, x, "0", (vst_conv2d_options){.out = (int)o->dims.value[0], .kernel = o->patch, .stride = o->patch});
        x = layer_norm_2d(g, x, "1");
    }
    for (int s = 0; s < o->depths.count; s++) {
        char tap[16];
        snprintf(tap, sizeof tap, "stages.%d", s);
        VST_SCOPE (g, "%s", tap) x = stage(g, x, o, s, first, total);
        vst_tap(g, tap, x);
        first += (int)o->depths.value[s];
    }
    VST_SCOPE (g, "head") {
        x = layer_norm(g, vst_global_avg_pool(g, x), "norm");
        vst_tap(g, "pooled", x);
        x = linear(g, x, "fc", o->common.classes);
    }
    vst_tap(g, "logits", x);
}

/* ---- Names in other projects ---- */

static const vst_name_pair authors_names[] = {{"downsample_layers.0.", "stem.", 0, 0},
                                              {"downsample_layers.{a}.", "stages.{a}.downsample.", 0, 0},
                                              {"norm.", "head.norm.", 0, 0},
                                              {"head.weight", "head.fc.weight", 0, 0},
                                              {"head.bias", "head.fc.bias", 0, 0},
                                              {"stages.{a}.{b}.dwconv.", "stages.{a}.blocks.{b}.conv_dw.", 0, 0},
                                              {"stages.{a}.{b}.norm.", "stages.{a}.blocks.{b}.norm.", 0, 0},
                                              {"stages.{a}.{b}.pwconv1.", "stages.{a}.blocks.{b}.mlp.fc1.", 0, 0},
                                              {"stages.{a}.{b}.pwconv2.", "stages.{a}.blocks.{b}.mlp.fc2.", 0, 0},
                                              {"stages.{a}.{b}.gamma", "stages.{a}.blocks.{b}.gamma", 0, 0},
                                              {0}};

/* torchvision's features.0 is the stem, then stages and downsampling take turns: "features.1.0.block.3.weight". Its
 * gamma, layer_scale, is (C, 1, 1). */
static const vst_name_pair torchvision_names[] = {
    {"features.0.", "stem.", 0, 0},
    {"classifier.0.", "head.norm.", 0, 0},
    {"classifier.2.", "head.fc.", 0, 0},
    {"features.{a}.{b}.block.0.", "stages.{a/2}.blocks.{b}.conv_dw.", 0, 0},
    {"features.{a}.{b}.block.2.", "stages.{a/2}.blocks.{b}.norm.", 0, 0},
    {"features.{a}.{b}.block.3.", "stages.{a/2}.blocks.{b}.mlp.fc1.", 0, 0},
    {"features.{a}.{b}.block.5.", "stages.{a/2}.blocks.{b}.mlp.fc2.", 0, 0},
    {"features.{a}.{b}.layer_scale", "stages.{a/2}.blocks.{b}.gamma", 0, 0},
    {"features.{a}.", "stages.{a/2}.downsample.", 0, 0},
    {0}};

static const vst_preprocessing torchvision_images[] = {
    {"convnext_tiny", NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.949, interpolation=bilinear"}, /* of 236 */
    {"convnext_small", NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.9739, interpolation=bilinear"}, /* 230 */
    {0}};

static const vst_naming namings[] = {
    {.project = "facebookresearch/ConvNeXt", .names = authors_names},
    {.project = "torchvision", .names = torchvision_names, .preprocessing = torchvision_images},
    {0}};

const vst_backbone vsti_backbone_convnext = {.name = "convnext",
                                             .help = "ConvNeXt",
                                             .options = options,
                                             .options_size = sizeof(convnext),
                                             .variants = variants,
                                             .build = build,
                                             .namings = namings};
