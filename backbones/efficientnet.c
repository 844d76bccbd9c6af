/* EfficientNet (Tan & Le, 2019) and EfficientNet-Lite (no squeeze-and-excitation, ReLU6, stem and head of fixed width).
 * The tf_ variants take weights of TensorFlow's originals: SAME padding, batch norm with epsilon 1e-3 and momentum
 * 0.01. Names and rounding are timm's. */
#include <stdio.h>

#include "backbones/inverted_residual.h"

typedef struct efficientnet {
    vst_model_common common;
    vst_option_list repeats, stage_channels;
    int stem, features;
    double width, depth, drop_path, bn_epsilon, bn_momentum;
    bool lite, same;
} efficientnet;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(efficientnet, 224, 3, 1000),
    VST_OPTION_LIST(efficientnet, repeats, "1, 2, 2, 3, 3, 4, 1", 1, 1000,
                    "blocks of each stage, before scaling by depth; fewer values give fewer stages"),
    VST_OPTION_LIST(efficientnet, stage_channels, "16, 24, 40, 80, 112, 192, 320", 1, 65536,
                    "channels of each stage, before scaling by width"),
    VST_OPTION_INT(efficientnet, stem, 32, 1, 65536, "channels of the stem, before scaling by width"),
    VST_OPTION_INT(efficientnet, features, 1280, 1, 65536, "channels of the pooled features, before scaling by width"),
    VST_OPTION_DOUBLE(efficientnet, width, 1, 0.01, 16, "scales the channels"),
    VST_OPTION_DOUBLE(efficientnet, depth, 1, 0.01, 16, "scales the number of blocks"),
    VST_OPTION_BOOL(
        efficientnet, lite, false,
        "EfficientNet-Lite: ReLU6, no squeeze-and-excitation; stem, features, first and last repeats are not scaled"),
    VST_OPTION_BOOL(efficientnet, same, false, "TensorFlow's SAME padding"),
    VST_OPTION_DOUBLE(efficientnet, bn_epsilon, 1e-5, 0, 1, "batch norm: added to the variance"),
    VST_OPTION_DOUBLE(efficientnet, bn_momentum, 0.1, 0, 1,
                      "batch norm: weight of a new batch in the running statistics"),
    VST_OPTION_DOUBLE(efficientnet, drop_path, 0, 0, 0.99,
                      "stochastic depth, increasing linearly from 0 at the first block"),
    VST_OPTION_END};

#define TF ", same=true, bn_epsilon=1e-3, bn_momentum=0.01"
#define LITE ", lite=true"
#define SCALE_1 ", depth=1.1"
#define SCALE_2 ", width=1.1, depth=1.2"
#define SCALE_3 ", width=1.2, depth=1.4"
#define SCALE_4 ", width=1.4, depth=1.8"
#define AT(side, crop) "image=" side ", crop_pct=" crop ", "

static const vst_backbone_variant variants[] = {
    {"efficientnet_b0", AT("224", "0.875") VST_IMAGENET_NORM},
    {"efficientnet_b1", AT("240", "0.9") VST_HALF_NORM SCALE_1},
    {"efficientnet_b2", AT("256", "0.875") VST_IMAGENET_NORM SCALE_2},
    {"efficientnet_b3", AT("288", "0.875") VST_IMAGENET_NORM SCALE_3},
    {"efficientnet_lite0", AT("224", "0.875") VST_IMAGENET_NORM LITE},
    {"efficientnet_lite1", AT("240", "0.882") VST_IMAGENET_NORM LITE SCALE_1},
    {"efficientnet_lite2", AT("260", "0.89") VST_IMAGENET_NORM LITE SCALE_2},
    {"efficientnet_lite3", AT("300", "0.904") VST_IMAGENET_NORM LITE SCALE_3},
    {"efficientnet_lite4", AT("380", "0.922") VST_IMAGENET_NORM LITE SCALE_4},
    {"tf_efficientnet_b0", AT("224", "0.875") VST_IMAGENET_NORM TF},
    {"tf_efficientnet_b1", AT("240", "0.882") VST_IMAGENET_NORM TF SCALE_1},
    {"tf_efficientnet_b2", AT("260", "0.89") VST_IMAGENET_NORM TF SCALE_2},
    {"tf_efficientnet_b3", AT("300", "0.904") VST_IMAGENET_NORM TF SCALE_3},
    {"tf_efficientnet_lite0", AT("224", "0.875") VST_HALF_NORM TF LITE},
    {"tf_efficientnet_lite1", AT("240", "0.882") VST_HALF_NORM TF LITE SCALE_1},
    {"tf_efficientnet_lite2", AT("260", "0.89") VST_HALF_NORM TF LITE SCALE_2},
    {"tf_efficientnet_lite3", AT("300", "0.904") "interpolation=bilinear, " VST_HALF_NORM TF LITE SCALE_3},
    {"tf_efficientnet_lite4", AT("380", "0.92") "interpolation=bilinear, " VST_HALF_NORM TF LITE SCALE_4},
    {NULL, NULL}};

/* repeats and stage_channels come from the options. */
static const vsti_mobile_stage stages[VSTI_MOBILE_STAGES] = {
    {.kernel = 3, .stride = 1, .expansion = 1}, {.kernel = 3, .stride = 2, .expansion = 6},
    {.kernel = 5, .stride = 2, .expansion = 6}, {.kernel = 3, .stride = 2, .expansion = 6},
    {.kernel = 5, .stride = 1, .expansion = 6}, {.kernel = 5, .stride = 2, .expansion = 6},
    {.kernel = 3, .stride = 1, .expansion = 6}};

static vsti_mobile describe(const efficientnet *o) {
    return (vsti_mobile){.stem = o->lite ? o->stem : vsti_divisible(o->stem * o->width, 8),
                         .features = o->lite ? o->features : vsti_divisible(o->features * o->width, 8),
                         .same = o->same,
                         .squeeze = o->lite ? 0 : 0.25,
                         .drop_path = o->drop_path,
                         .norm = {.epsilon = o->bn_epsilon, .momentum = o->bn_momentum},
                         .activation = o->lite ? vst_relu6 : vst_silu};
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const efficientnet *o = raw;
    vsti_mobile net = describe(o);
    if (vsti_mobile_scale(g, &net, stages, &o->repeats, &o->stage_channels, o->width, o->depth, o->lite))
        vsti_mobile_build(g, x, &net, o->common.classes);
}

/* lukemelas' EfficientNet-PyTorch counts the blocks through the network: "_blocks.2._depthwise_conv.weight". */
static bool rename_lukemelas(const void *raw, const char *name, char *out, size_t size) {
    static const char *const outside[][2] = {{"_conv_stem.", "conv_stem."}, {"_bn0.", "bn1."},
                                             {"_conv_head.", "conv_head."}, {"_bn1.", "bn2."},
                                             {"_fc.", "classifier."},       {NULL, NULL}};
    static const char *const separable[][2] = {{"_depthwise_conv.", "conv_dw."},
                                               {"_bn1.", "bn1."},
                                               {"_se_reduce.", "se.conv_reduce."},
                                               {"_se_expand.", "se.conv_expand."},
                                               {"_project_conv.", "conv_pw."},
                                               {"_bn2.", "bn2."},
                                               {NULL, NULL}};
    static const char *const expanded[][2] = {{"_expand_conv.", "conv_pw."},
                                              {"_bn0.", "bn1."},
                                              {"_depthwise_conv.", "conv_dw."},
                                              {"_bn1.", "bn2."},
                                              {"_se_reduce.", "se.conv_reduce."},
                                              {"_se_expand.", "se.conv_expand."},
                                              {"_project_conv.", "conv_pwl."},
                                              {"_bn2.", "bn3."},
                                              {NULL, NULL}};
    const efficientnet *o = raw;
    vsti_mobile net = describe(o);
    char prefix[48];
    int index, stage, place, used = 0;
    if (!vsti_mobile_scale(NULL, &net, stages, &o->repeats, &o->stage_channels, o->width, o->depth, o->lite))
        return false;
    if (vsti_rename(outside, "", name, out, size)) return true;
    if (sscanf(name, "_blocks.%d.%n", &index, &used) != 1 || !used || !vsti_mobile_locate(&net, index, &stage, &place))
        return false;
    snprintf(prefix, sizeof prefix, "blocks.%d.%d.", stage, place);
    return vsti_rename(net.stages[stage].expansion > 1 ? expanded : separable, prefix, name + used, out, size);
}

/* torchvision's features.1 to features.7 are the stages: "features.2.0.block.1.0.weight". */
static const vst_name_pair torchvision_names[] = {
    {"features.0.0.", "conv_stem.", 0, 0},
    {"features.0.1.", "bn1.", 0, 0},
    {"features.1.{b}.block.0.0.", "blocks.0.{b}.conv_dw.", 0, 0},
    {"features.1.{b}.block.0.1.", "blocks.0.{b}.bn1.", 0, 0},
    {"features.1.{b}.block.1.fc1.", "blocks.0.{b}.se.conv_reduce.", 0, 0},
    {"features.1.{b}.block.1.fc2.", "blocks.0.{b}.se.conv_expand.", 0, 0},
    {"features.1.{b}.block.2.0.", "blocks.0.{b}.conv_pw.", 0, 0},
    {"features.1.{b}.block.2.1.", "blocks.0.{b}.bn2.", 0, 0},
    {"features.{a}.{b}.block.0.0.", "blocks.{a-1}.{b}.conv_pw.", 0, 0},
    {"features.{a}.{b}.block.0.1.", "blocks.{a-1}.{b}.bn1.", 0, 0},
    {"features.{a}.{b}.block.1.0.", "blocks.{a-1}.{b}.conv_dw.", 0, 0},
    {"features.{a}.{b}.block.1.1.", "blocks.{a-1}.{b}.bn2.", 0, 0},
    {"features.{a}.{b}.block.2.fc1.", "blocks.{a-1}.{b}.se.conv_reduce.", 0, 0},
    {"features.{a}.{b}.block.2.fc2.", "blocks.{a-1}.{b}.se.conv_expand.", 0, 0},
    {"features.{a}.{b}.block.3.0.", "blocks.{a-1}.{b}.conv_pwl.", 0, 0},
    {"features.{a}.{b}.block.3.1.", "blocks.{a-1}.{b}.bn3.", 0, 0},
    {"features.{a}.0.", "conv_head.", 0, 0},
    {"features.{a}.1.", "bn2.", 0, 0},
    {"classifier.1.", "classifier.", 0, 0},
    {0}};

static const vst_preprocessing torchvision_images[] = {
    {"efficientnet_b0", NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.875"},
    {"efficientnet_b1", "c27df63c", "IMAGENET1K_V2", VST_IMAGENET_NORM ", crop_pct=0.941, interpolation=bilinear"},
    {"efficientnet_b1", NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.9375"},
    {"efficientnet_b2", NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", image=288, crop_pct=1"},
    {"efficientnet_b3", NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", image=300, crop_pct=0.9375"},
    {0}};

static const vst_naming namings[] = {
    {.project = "lukemelas/EfficientNet-PyTorch", .translate = rename_lukemelas},
    {.project = "torchvision", .names = torchvision_names, .preprocessing = torchvision_images},
    {0}};

const vst_backbone vsti_backbone_efficientnet = {.name = "efficientnet",
                                                 .help = "EfficientNet and EfficientNet-Lite",
                                                 .options = options,
                                                 .options_size = sizeof(efficientnet),
                                                 .variants = variants,
                                                 .build = build,
                                                 .namings = namings};
