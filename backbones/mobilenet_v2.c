/* MobileNetV2 (Sandler et al., 2018): inverted residual blocks with ReLU6. Names, rounding and the deeper 110d and 120d
 * are timm's. */
#include <stdio.h>

#include "backbones/inverted_residual.h"

typedef struct mobilenet_v2 {
    vst_model_common common;
    vst_option_list repeats, stage_channels;
    int stem, features;
    double width, depth, drop_path;
    bool fixed_ends;
} mobilenet_v2;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(mobilenet_v2, 224, 3, 1000),
    VST_OPTION_LIST(mobilenet_v2, repeats, "1, 2, 3, 4, 3, 3, 1", 1, 1000,
                    "blocks of each stage, before scaling by depth; fewer values give fewer stages"),
    VST_OPTION_LIST(mobilenet_v2, stage_channels, "16, 24, 32, 64, 96, 160, 320", 1, 65536,
                    "channels of each stage, before scaling by width"),
    VST_OPTION_INT(mobilenet_v2, stem, 32, 1, 65536, "channels of the stem, before scaling by width"),
    VST_OPTION_INT(mobilenet_v2, features, 1280, 1, 65536,
                   "channels of the pooled features; scaled by width only if it is above 1"),
    VST_OPTION_DOUBLE(mobilenet_v2, width, 1, 0.01, 16, "scales the channels"),
    VST_OPTION_DOUBLE(mobilenet_v2, depth, 1, 0.01, 16, "scales the number of blocks"),
    VST_OPTION_BOOL(mobilenet_v2, fixed_ends, false, "stem, features, first and last repeats are not scaled"),
    VST_OPTION_DOUBLE(mobilenet_v2, drop_path, 0, 0, 0.99,
                      "stochastic depth, increasing linearly from 0 at the first block"),
    VST_OPTION_END};

#define PREPROCESSING VST_IMAGENET_NORM ", crop_pct=0.875"

static const vst_backbone_variant variants[] = {
    {"mobilenetv2_050", "width=0.5, " PREPROCESSING},
    {"mobilenetv2_100", PREPROCESSING},
    {"mobilenetv2_110d", "width=1.1, depth=1.2, fixed_ends=true, " PREPROCESSING},
    {"mobilenetv2_120d", "width=1.2, depth=1.4, fixed_ends=true, " PREPROCESSING},
    {"mobilenetv2_140", "width=1.4, " PREPROCESSING},
    {NULL, NULL}};

/* repeats and stage_channels come from the options. */
static const vsti_mobile_stage stages[VSTI_MOBILE_STAGES] = {
    {.kernel = 3, .stride = 1, .expansion = 1}, {.kernel = 3, .stride = 2, .expansion = 6},
    {.kernel = 3, .stride = 2, .expansion = 6}, {.kernel = 3, .stride = 2, .expansion = 6},
    {.kernel = 3, .stride = 1, .expansion = 6}, {.kernel = 3, .stride = 2, .expansion = 6},
    {.kernel = 3, .stride = 1, .expansion = 6}};

static vsti_mobile describe(const mobilenet_v2 *o) {
    const int widened = vsti_divisible(o->features * o->width, 8);
    return (vsti_mobile){.stem = o->fixed_ends ? o->stem : vsti_divisible(o->stem * o->width, 8),
                         .features = o->fixed_ends || widened < o->features ? o->features : widened,
                         .drop_path = o->drop_path,
                         .activation = vst_relu6};
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const mobilenet_v2 *o = raw;
    vsti_mobile net = describe(o);
    if (vsti_mobile_scale(g, &net, stages, &o->repeats, &o->stage_channels, o->width, o->depth, o->fixed_ends))
        vsti_mobile_build(g, x, &net, o->common.classes);
}

/* torchvision's names: features.0 is the stem, features.1 the first block, and so on to the head. */
static bool rename_tensor(const void *raw, const char *name, char *out, size_t size) {
    static const char *const separable[][2] = {
        {"conv.0.0.", "conv_dw."}, {"conv.0.1.", "bn1."}, {"conv.1.", "conv_pw."}, {"conv.2.", "bn2."}, {NULL, NULL}};
    static const char *const expanded[][2] = {{"conv.0.0.", "conv_pw."},
                                              {"conv.0.1.", "bn1."},
                                              {"conv.1.0.", "conv_dw."},
                                              {"conv.1.1.", "bn2."},
                                              {"conv.2.", "conv_pwl."},
                                              {"conv.3.", "bn3."},
                                              {NULL, NULL}};
    const mobilenet_v2 *o = raw;
    vsti_mobile net = describe(o);
    if (!vsti_mobile_scale(NULL, &net, stages, &o->repeats, &o->stage_channels, o->width, o->depth, o->fixed_ends))
        return false;
    int index, stage, place, used = 0, blocks = 0;
    for (int s = 0; s < net.count; s++) blocks += net.stages[s].repeats;
    char prefix[48], head_conv[32], head_norm[32];
    snprintf(head_conv, sizeof head_conv, "features.%d.0.", blocks + 1);
    snprintf(head_norm, sizeof head_norm, "features.%d.1.", blocks + 1);
    const char *const outside[][2] = {{"features.0.0.", "conv_stem."},  {"features.0.1.", "bn1."},
                                      {head_conv, "conv_head."},        {head_norm, "bn2."},
                                      {"classifier.1.", "classifier."}, {NULL, NULL}};
    if (vsti_rename(outside, "", name, out, size)) return true;
    if (sscanf(name, "features.%d.%n", &index, &used) != 1 || !used) return false;
    if (!vsti_mobile_locate(&net, index - 1, &stage, &place)) return false;
    snprintf(prefix, sizeof prefix, "blocks.%d.%d.", stage, place);
    return vsti_rename(net.stages[stage].expansion > 1 ? expanded : separable, prefix, name + used, out, size);
}

static const vst_preprocessing torchvision_images[] = {
    {NULL, "7ebf99e0", "IMAGENET1K_V2", VST_IMAGENET_NORM ", crop_pct=0.9655, interpolation=bilinear"}, /* of 232 */
    {NULL, NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.875, interpolation=bilinear"},
    {0}};

static const vst_naming namings[] = {
    {.project = "torchvision", .translate = rename_tensor, .preprocessing = torchvision_images}, {0}};

const vst_backbone vsti_backbone_mobilenet_v2 = {.name = "mobilenet_v2",
                                                 .help = "MobileNetV2",
                                                 .options = options,
                                                 .options_size = sizeof(mobilenet_v2),
                                                 .variants = variants,
                                                 .build = build,
                                                 .namings = namings};
