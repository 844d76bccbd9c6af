/* RegNetY (Radosavovic et al., 2020): widths and depths of the four stages follow from a line w0 + wa i that is
 * quantised to powers of wm; bottlenecks of ratio 1 with grouped 3x3 convolutions and squeeze-and-excitation, whose
 * inner width is a share of the block's input. Names, initialisation and rounding are timm's. */
#include <stdio.h>

#include "backbones/layers.h"

enum { QUANTUM = 8, STAGES_MAX = 16 };

#define ROUNDINGS(X) X(ROUND_EVEN, "even") X(ROUND_UP, "up")
enum { VST_CHOICE_ENUM(ROUNDINGS) };

typedef struct regnet {
    vst_model_common common;
    int depth, w0, group, stem_width, rounding;
    double wa, wm, se_ratio, drop_path;
} regnet;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(regnet, 224, 3, 1000),
    VST_OPTION_INT(regnet, depth, 13, 1, 200, "number of blocks"),
    VST_OPTION_INT(regnet, w0, 24, 8, 4096, "width of block 0, a multiple of 8"),
    VST_OPTION_DOUBLE(regnet, wa, 36.44, 0, 4096, "growth of the width with each block, before quantisation"),
    VST_OPTION_DOUBLE(regnet, wm, 2.49, 1.01, 16, "factor between the stages' widths"),
    VST_OPTION_INT(regnet, group, 8, 1, 4096, "channels in a group of the 3x3 convolutions"),
    VST_OPTION_CHOICE(regnet, rounding, "even", VST_CHOICE_TEXT(ROUNDINGS),
                      "of widths halfway between two multiples of the group: to the even one, or up as torchvision"),
    VST_OPTION_DOUBLE(regnet, se_ratio, 0.25, 0, 1,
                      "squeeze-and-excitation: inner width / the block's input width; 0: none"),
    VST_OPTION_INT(regnet, stem_width, 32, 1, 4096, "output channels of the stem"),
    VST_OPTION_DOUBLE(regnet, drop_path, 0, 0, 0.99,
                      "stochastic depth: rate of the last block, linear from 0 at the first"),
    VST_OPTION_END};

#define CROP_875 VST_IMAGENET_NORM ", crop_pct=0.875, "
#define CROP_95 VST_IMAGENET_NORM ", crop_pct=0.95, "
#define CROP_965 VST_IMAGENET_NORM ", crop_pct=0.965, "

static const vst_backbone_variant variants[] = {
    {"regnety_002", CROP_875 "w0=24, wa=36.44, wm=2.49, group=8, depth=13"},
    {"regnety_004", CROP_965 "w0=48, wa=27.89, wm=2.09, group=8, depth=16"},
    {"regnety_006", CROP_875 "w0=48, wa=32.54, wm=2.32, group=16, depth=15"},
    {"regnety_008", CROP_875 "w0=56, wa=38.84, wm=2.4, group=16, depth=14"},
    {"regnety_016", CROP_965 "w0=48, wa=20.71, wm=2.65, group=24, depth=27"},
    {"regnety_032", CROP_95 "w0=80, wa=42.63, wm=2.66, group=24, depth=21"},
    {"regnety_040", CROP_95 "w0=96, wa=31.41, wm=2.24, group=64, depth=22"},
    {"regnety_064", CROP_95 "w0=112, wa=33.22, wm=2.27, group=72, depth=25"},
    {"regnety_080", CROP_95 "w0=192, wa=76.82, wm=2.19, group=56, depth=17"},
    {"regnety_120", CROP_95 "w0=168, wa=73.36, wm=2.37, group=112, depth=19"},
    {"regnety_160", CROP_95 "w0=200, wa=106.23, wm=2.48, group=112, depth=18"},
    {NULL, NULL}};

typedef struct stage {
    int width, depth, group;
} stage;

/* Equations 2 to 4 of the paper, then widths made divisible by the groups. Returns how many stages, 0 if too many. */
static int plan_stages(const regnet *o, stage stages[STAGES_MAX]) {
    int count = 0;
    for (int i = 0; i < o->depth; i++) {
        const double power = rint(log((o->w0 + o->wa * i) / o->w0) / log(o->wm));
        const int width = (int)rint(o->w0 * pow(o->wm, power) / QUANTUM) * QUANTUM;
        if (count > 0 && stages[count - 1].width == width) {
            stages[count - 1].depth++;
            continue;
        }
        if (count == STAGES_MAX) return 0;
        stages[count++] = (stage){.width = width, .depth = 1};
    }
    for (int i = 0; i < count; i++) {
        stages[i].group = o->group < stages[i].width ? o->group : stages[i].width;
        stages[i].width = o->rounding == ROUND_UP
                              ? vsti_divisible(stages[i].width, stages[i].group)
                              : (int)rint((double)stages[i].width / stages[i].group) * stages[i].group;
    }
    return count;
}

static vst_value conv_norm(vst_graph *g, vst_value x, vst_conv2d_options conv, bool last) {
    conv.init = vsti_fan_out_init(&conv);
    conv.padding = conv.kernel / 2;
    x = vsti_conv(g, x, "conv", conv);
    return (last ? vsti_batch_norm_last : vsti_batch_norm)(g, x, "bn", (vst_norm_options){0});
}

static vst_value block(vst_graph *g, vst_value x, const regnet *o, const stage *s, int stride, double drop_path) {
    static const char *const squeeze_names[2] = {"fc1", "fc2"};
    const int64_t in = vst_shape_at(g, x).dim[1];
    vst_value y = x;
    VST_SCOPE (g, "conv1") y = vst_relu(g, conv_norm(g, y, (vst_conv2d_options){.out = s->width, .kernel = 1}, false));
    const vst_conv2d_options grouped = {.out = s->width, .kernel = 3, .stride = stride, .groups = s->width / s->group};
    VST_SCOPE (g, "conv2") y = vst_relu(g, conv_norm(g, y, grouped, false));
    if (o->se_ratio > 0) y = vsti_squeeze_excite(g, y, squeeze_names, (int)rint((double)in * o->se_ratio), vst_relu);
    VST_SCOPE (g, "conv3") y = conv_norm(g, y, (vst_conv2d_options){.out = s->width, .kernel = 1}, true);
    y = vsti_drop_path(g, y, drop_path);
    const vst_conv2d_options shortcut = {.out = s->width, .kernel = 1, .stride = stride};
    if (in != s->width || stride != 1)
        VST_SCOPE (g, "downsample") x = conv_norm(g, x, shortcut, false);
    return vst_relu(g, vst_add(g, y, x));
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const regnet *o = raw;
    stage stages[STAGES_MAX];
    const int count = plan_stages(o, stages);
    if (count == 0) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "w0 %d, wa %g, wm %g and %d blocks give more than %d stages", o->w0,
                       o->wa, o->wm, o->depth, STAGES_MAX);
        return;
    }
    const vst_conv2d_options stem = {.out = o->stem_width, .kernel = 3, .stride = 2};
    VST_SCOPE (g, "stem") x = vst_relu(g, conv_norm(g, x, stem, false));
    vst_tap(g, "stem", x);
    for (int s = 0, index = 0; s < count; s++) {
        char tap[8];
        snprintf(tap, sizeof tap, "s%d", s + 1);
        for (int i = 0; i < stages[s].depth; i++, index++) {
            const double rate = o->depth > 1 ? o->drop_path * index / (o->depth - 1) : 0;
            VST_SCOPE (g, "%s.b%d", tap, i + 1) x = block(g, x, o, &stages[s], i == 0 ? 2 : 1, rate);
        }
        vst_tap(g, tap, x);
    }
    const vst_init init = {VST_INIT_NORMAL, 0.01, VST_PARAM_WEIGHT};
    const vst_linear_options classifier = {.features = o->common.classes, .bias = true, .init = init};
    VST_SCOPE (g, "head") vsti_pooled_head(g, x, "fc", classifier);
}

/* ---- Names in other projects ---- */

static const vst_name_pair torchvision_names[] = {
    {"stem.0.", "stem.conv.", 0, 0},
    {"stem.1.", "stem.bn.", 0, 0},
    {"fc.", "head.fc.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.proj.0.", "s{a}.b{b+1}.downsample.conv.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.proj.1.", "s{a}.b{b+1}.downsample.bn.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.a.0.", "s{a}.b{b+1}.conv1.conv.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.a.1.", "s{a}.b{b+1}.conv1.bn.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.b.0.", "s{a}.b{b+1}.conv2.conv.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.b.1.", "s{a}.b{b+1}.conv2.bn.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.se.", "s{a}.b{b+1}.se.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.c.0.", "s{a}.b{b+1}.conv3.conv.", 0, 0},
    {"trunk_output.block{a}.block{a}-{b}.f.c.1.", "s{a}.b{b+1}.conv3.bn.", 0, 0},
    {0}};

/* The second version of all weights is resized to 232, the first to 256; the names of both files tell them apart. */
#define V2(hash) {NULL, hash, "IMAGENET1K_V2", VST_IMAGENET_NORM ", crop_pct=0.9655, interpolation=bilinear"}
static const vst_preprocessing torchvision_images[] = {
    {"regnety_160", "_16gf_swag", "IMAGENET1K_SWAG_E2E_V1", VST_IMAGENET_NORM ", image=384, crop_pct=1"},
    {"regnety_160", "_16gf_lc_swag", "IMAGENET1K_SWAG_LINEAR_V1", VST_IMAGENET_NORM ", crop_pct=1"},
    V2("e6988f5f"),
    V2("58fc7688"),
    V2("0d7bc02a"),
    V2("9180c971"),
    V2("dc2b1b54"),
    V2("3e4a00f9"),
    {NULL, NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.875, interpolation=bilinear"},
    {0}};

static const vst_naming namings[] = {
    {.project = "torchvision", .names = torchvision_names, .preprocessing = torchvision_images}, {0}};

const vst_backbone vsti_backbone_regnet = {.name = "regnet",
                                           .help = "RegNetY, including DeiT's teacher",
                                           .options = options,
                                           .options_size = sizeof(regnet),
                                           .variants = variants,
                                           .build = build,
                                           .namings = namings};
