/* ResNets for large images (He et al., 2016), with the stride on the 3x3 convolution of a bottleneck, and the ResNet-D
 * variants (He et al., 2019): three 3x3 convolutions as stem, average pooling before a shortcut's 1x1 convolution.
 * Names and initialisation are timm's, whose names are torchvision's too. */
#include <stdio.h>

#include "backbones/layers.h"

#define BLOCKS(X) X(BLOCK_BASIC, "basic") X(BLOCK_BOTTLENECK, "bottleneck")
#define STEMS(X) X(STEM_PLAIN, "plain") X(STEM_DEEP, "deep")
enum { VST_CHOICE_ENUM(BLOCKS) };
enum { VST_CHOICE_ENUM(STEMS) };
enum { EXPANSION = 4 };

typedef struct resnet {
    vst_model_common common;
    vst_option_list layers;
    int block, width, stem, stem_width;
    bool avg_down;
    double drop_path;
} resnet;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(resnet, 224, 3, 1000),
    VST_OPTION_LIST(resnet, layers, "2, 2, 2, 2", 1, 1000,
                    "blocks of each stage; stages after the first begin with stride 2"),
    VST_OPTION_CHOICE(resnet, block, "basic", VST_CHOICE_TEXT(BLOCKS),
                      "basic: two 3x3; bottleneck: 1x1, 3x3, 1x1 of four times the width"),
    VST_OPTION_INT(resnet, width, 64, 1, 4096,
                   "channels of the first stage's 3x3 convolutions; doubled in each following stage"),
    VST_OPTION_CHOICE(resnet, stem, "plain", VST_CHOICE_TEXT(STEMS),
                      "plain: one 7x7 convolution; deep: three 3x3 (ResNet-D)"),
    VST_OPTION_INT(resnet, stem_width, 64, 2, 4096, "output channels of the stem; a deep stem has half as many inside"),
    VST_OPTION_BOOL(resnet, avg_down, false, "shortcuts downsample by average pooling instead of stride (ResNet-D)"),
    VST_OPTION_DOUBLE(resnet, drop_path, 0, 0, 0.99,
                      "stochastic depth: rate of the last block, linear from 0 at the first"),
    VST_OPTION_END};

#define CROP_95 VST_IMAGENET_NORM ", crop_pct=0.95"
#define CROP_875 VST_IMAGENET_NORM ", crop_pct=0.875"
#define VARIANT_D ", stem=deep, avg_down=true"

static const vst_backbone_variant variants[] = {
    {"resnet18", CROP_95},
    {"resnet34", "layers=[3, 4, 6, 3], " CROP_95},
    {"resnet50", "layers=[3, 4, 6, 3], block=bottleneck, " CROP_95},
    {"resnet101", "layers=[3, 4, 23, 3], block=bottleneck, " CROP_95},
    {"resnet152", "layers=[3, 8, 36, 3], block=bottleneck, " CROP_95},
    {"resnet18d", CROP_875 VARIANT_D},
    {"resnet26d", "layers=[2, 2, 2, 2], block=bottleneck, " CROP_875 VARIANT_D},
    {"resnet34d", "layers=[3, 4, 6, 3], " CROP_875 VARIANT_D},
    {"resnet50d", "layers=[3, 4, 6, 3], block=bottleneck, " CROP_875 VARIANT_D},
    {"resnet101d", "image=256, layers=[3, 4, 23, 3], block=bottleneck, " CROP_95 VARIANT_D},
    {"resnet152d", "image=256, layers=[3, 8, 36, 3], block=bottleneck, " CROP_95 VARIANT_D},
    {NULL, NULL}};

static vst_value conv(vst_graph *g, vst_value x, const char *name, int out, int kernel, int stride) {
    return vsti_conv(g, x, name,
                     (vst_conv2d_options){.out = out,
                                          .kernel = kernel,
                                          .stride = stride,
                                          .padding = kernel / 2,
                                          .init = {.kind = VST_INIT_KAIMING_NORMAL}});
}

static vst_value norm_relu(vst_graph *g, vst_value x, const char *name) {
    return vst_relu(g, vsti_batch_norm(g, x, name, (vst_norm_options){0}));
}

static vst_value stem(vst_graph *g, vst_value x, const resnet *o) {
    const int half = o->stem_width / 2;
    if (o->stem == STEM_PLAIN) x = conv(g, x, "conv1", o->stem_width, 7, 2);
    else
        VST_SCOPE (g, "conv1") {
            x = norm_relu(g, conv(g, x, "0", half, 3, 2), "1");
            x = norm_relu(g, conv(g, x, "3", half, 3, 1), "4");
            x = conv(g, x, "6", o->stem_width, 3, 1);
        }
    x = norm_relu(g, x, "bn1");
    vst_tap(g, "act1", x);
    return vst_max_pool(g, x, (vst_pool_options){.kernel = 3, .stride = 2, .padding = 1});
}

static vst_value shortcut(vst_graph *g, vst_value x, const resnet *o, int out, int stride) {
    VST_SCOPE (g, "downsample") {
        if (o->avg_down && stride > 1)
            x = vst_avg_pool(g, x, (vst_pool_options){.kernel = 2, .stride = stride, .ceil = true});
        x = conv(g, x, o->avg_down ? "1" : "0", out, 1, o->avg_down ? 1 : stride); /* timm's "0" is the pooling */
        x = vsti_batch_norm(g, x, o->avg_down ? "2" : "1", (vst_norm_options){0});
    }
    return x;
}

static vst_value block(vst_graph *g, vst_value x, const resnet *o, int width, int stride, double drop_path) {
    const bool bottleneck = o->block == BLOCK_BOTTLENECK;
    const int out = bottleneck ? EXPANSION * width : width;
    vst_value y = conv(g, x, "conv1", width, bottleneck ? 1 : 3, bottleneck ? 1 : stride);
    y = conv(g, norm_relu(g, y, "bn1"), "conv2", width, 3, bottleneck ? stride : 1);
    if (bottleneck) y = conv(g, norm_relu(g, y, "bn2"), "conv3", out, 1, 1);
    y = vsti_batch_norm_last(g, y, bottleneck ? "bn3" : "bn2", (vst_norm_options){0});
    y = vsti_drop_path(g, y, drop_path);
    const bool project = stride != 1 || vst_shape_at(g, x).dim[1] != out;
    return vst_relu(g, vst_add(g, y, project ? shortcut(g, x, o, out, stride) : x));
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const resnet *o = raw;
    int total = 0, index = 0;
    for (int stage = 0; stage < o->layers.count; stage++) total += (int)o->layers.value[stage];
    x = stem(g, x, o);
    for (int stage = 0; stage < o->layers.count; stage++) {
        char tap[16];
        snprintf(tap, sizeof tap, "layer%d", stage + 1);
        for (int i = 0; i < (int)o->layers.value[stage]; i++, index++) {
            const double rate = total > 1 ? o->drop_path * index / (total - 1) : 0;
            VST_SCOPE (g, "%s.%d", tap, i) x = block(g, x, o, o->width << stage, stage > 0 && i == 0 ? 2 : 1, rate);
        }
        vst_tap(g, tap, x);
    }
    const double features = (double)vst_shape_at(g, x).dim[1];
    vsti_pooled_head(g, x, "fc",
                     (vst_linear_options){.features = o->common.classes,
                                          .bias = true,
                                          .bias_init = {VST_INIT_LECUN_UNIFORM, features, VST_PARAM_WEIGHT}});
}

/* torchvision's names are timm's. */
#define V1(hash) {NULL, hash, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.875, interpolation=bilinear"}
#define V2(hash) {NULL, hash, "IMAGENET1K_V2", VST_IMAGENET_NORM ", crop_pct=0.9655, interpolation=bilinear"}
static const vst_preprocessing torchvision_images[] = {V1("f37072fd"), V1("b627a593"), V1("0676ba61"), V1("63fe2227"),
                                                       V1("394f9c45"), /* torchvision since 0.9 */
                                                       V1("5c106cde"), V1("333f7ec4"), V1("19c8e357"), V1("5d3b4d8f"),
                                                       V1("b121ed2d"), /* earlier versions */
                                                       V2("11ad3fa6"), V2("cd907fc2"), V2("f82ba261"), {0}};

static const vst_naming namings[] = {
    {.project = "torchvision", .preprocessing = torchvision_images, .timm_names = true}, {0}};

const vst_backbone vsti_backbone_resnet = {.name = "resnet",
                                           .help = "ResNet and ResNet-D for large images",
                                           .options = options,
                                           .options_size = sizeof(resnet),
                                           .variants = variants,
                                           .build = build,
                                           .namings = namings};
