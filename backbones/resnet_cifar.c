/* ResNets for small images (He et al., 2016, section 4.2): a 3x3 stem and three stages of basic blocks at full, half
 * and quarter resolution. Parameter names are those of timm's ResNet. The shortcut between stages is a strided 1x1
 * convolution with batch norm (timm's downsample), or the paper's option A, which has no parameters: every second
 * pixel, with channels of zeros on both sides. */
#include <stdio.h>

#include "backbones/layers.h"

#define SHORTCUTS(X) X(SHORTCUT_PROJECTION, "projection") X(SHORTCUT_PAD, "pad")
enum { VST_CHOICE_ENUM(SHORTCUTS) };

typedef struct resnet_cifar {
    vst_model_common common;
    int depth, width, shortcut;
} resnet_cifar;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(resnet_cifar, 32, 3, 10),
    VST_OPTION_INT(resnet_cifar, depth, 20, 8, 1202, "layers: 6 n + 2"),
    VST_OPTION_INT(resnet_cifar, width, 16, 1, 1024, "channels of the first stage; doubled in each of the next two"),
    VST_OPTION_CHOICE(resnet_cifar, shortcut, "projection", VST_CHOICE_TEXT(SHORTCUTS),
                      "between stages: a 1x1 convolution, or zero channels around the subsampled input (option A)"),
    VST_OPTION_END};

static const vst_backbone_variant variants[] = {{"resnet8_cifar", "depth=8"},   {"resnet14_cifar", "depth=14"},
                                                {"resnet20_cifar", "depth=20"}, {"resnet32_cifar", "depth=32"},
                                                {"resnet56_cifar", "depth=56"}, {NULL, NULL}};

static vst_value conv(vst_graph *g, vst_value x, const char *name, int out, int kernel, int stride) {
    return vsti_conv(g, x, name,
                     (vst_conv2d_options){.out = out,
                                          .kernel = kernel,
                                          .stride = stride,
                                          .padding = kernel / 2,
                                          .init = {.kind = VST_INIT_KAIMING_NORMAL}});
}

static vst_value norm(vst_graph *g, vst_value x, const char *name) {
    return vsti_batch_norm(g, x, name, (vst_norm_options){0});
}

/* Option A as the common implementations have it: half of the new channels before the old ones, half after them. */
static vst_value pad_shortcut(vst_graph *g, vst_value x, int out, int stride) {
    x = vst_avg_pool(g, x, (vst_pool_options){.kernel = 1, .stride = stride});
    const vst_value zeros = vst_scale(g, vst_slice(g, x, 1, 0, out / 4), 0);
    return vst_concat(g, (vst_value[]){zeros, x, zeros}, 3, 1);
}

static vst_value basic_block(vst_graph *g, vst_value x, int out, int stride, bool changes, bool pad) {
    vst_value shortcut = x;
    vst_value y = vst_relu(g, norm(g, conv(g, x, "conv1", out, 3, stride), "bn1"));
    y = norm(g, conv(g, y, "conv2", out, 3, 1), "bn2");
    if (changes && pad) shortcut = pad_shortcut(g, x, out, stride);
    else if (changes)
        VST_SCOPE (g, "downsample") shortcut = norm(g, conv(g, x, "0", out, 1, stride), "1");
    return vst_relu(g, vst_add(g, y, shortcut));
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const resnet_cifar *o = raw;
    if ((o->depth - 2) % 6) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "a CIFAR ResNet has 6 n + 2 layers (8, 14, 20, 32, 56 …), not %d",
                       o->depth);
        return;
    }
    const bool pad = o->shortcut == SHORTCUT_PAD;
    if (pad && o->width % 2) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "zero channels on both sides need an even width, not %d", o->width);
        return;
    }
    const int blocks = (o->depth - 2) / 6;
    x = vst_relu(g, norm(g, conv(g, x, "conv1", o->width, 3, 1), "bn1"));
    for (int stage = 1; stage <= 3; stage++) {
        char tap[16];
        snprintf(tap, sizeof tap, "layer%d", stage);
        for (int i = 0; i < blocks; i++) {
            const bool first = stage > 1 && i == 0;
            VST_SCOPE (g, "layer%d.%d", stage, i)
                x = basic_block(g, x, o->width << (stage - 1), first ? 2 : 1, first, pad);
        }
        vst_tap(g, tap, x);
    }
    vsti_pooled_head(g, x, "fc", (vst_linear_options){.features = o->common.classes, .bias = true});
}

/* akamaster's pytorch_resnet_cifar10, also with its projections (option B). */
static const vst_name_pair akamaster_names[] = {
    {"linear.", "fc.", 0, 0}, {"layer{a}.{b}.shortcut.", "layer{a}.{b}.downsample.", 0, 0}, {0}};

static const vst_naming namings[] = {{.project = "akamaster/pytorch_resnet_cifar10", .names = akamaster_names}, {0}};

const vst_backbone vsti_backbone_resnet_cifar = {.name = "resnet_cifar",
                                                 .help = "ResNet for images of 28 to 64 pixels",
                                                 .options = options,
                                                 .options_size = sizeof(resnet_cifar),
                                                 .variants = variants,
                                                 .build = build,
                                                 .namings = namings};
