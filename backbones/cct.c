/* Compact Convolutional Transformers (Hassani et al., 2021, arXiv 2104.05704): a convolutional tokenizer, transformer
 * blocks and sequence pooling instead of a class token. Tensor names, order of operations, epsilon, initialisation and
 * the rates of stochastic depth (drop_path=0.1) and dropout (0) are those of the authors' Compact-Transformers. Two
 * differences: attention dropout (0.1 in their code) is not supported, because the engine's attention does not store
 * probabilities; position embeddings are learned or absent, and a checkpoint with the fixed sine embedding is loaded as
 * a learned one. */
#include "backbones/layers.h"

#define POSITIONS(X) X(POSITION_LEARNED, "learned") X(POSITION_NONE, "none")
enum { VST_CHOICE_ENUM(POSITIONS) };

typedef struct cct {
    vst_model_common common;
    int kernel, conv_layers, conv_width, dim, depth, heads, position;
    double mlp_ratio, dropout, drop_path;
} cct;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(cct, 32, 3, 10),
    VST_OPTION_INT(cct, kernel, 3, 1, 31,
                   "kernel size of the tokenizer's convolutions, odd; their stride is max(1, kernel / 2 - 1)"),
    VST_OPTION_INT(cct, conv_layers, 1, 1, 8,
                   "the tokenizer's convolutions, each with ReLU and a max pool of stride 2"),
    VST_OPTION_INT(cct, conv_width, 64, 1, 8192, "channels of these convolutions except the last, which has dim"),
    VST_OPTION_INT(cct, dim, 256, 1, 8192, "width of a token"),
    VST_OPTION_INT(cct, depth, 7, 1, 100, "number of blocks"),
    VST_OPTION_INT(cct, heads, 4, 1, 128, "attention heads; must divide dim"),
    VST_OPTION_DOUBLE(cct, mlp_ratio, 2, 0.01, 64, "width of the MLP's hidden layer / dim"),
    VST_OPTION_CHOICE(cct, position, "learned", VST_CHOICE_TEXT(POSITIONS),
                      "position embedding; none: only the convolutions depend on the position"),
    VST_OPTION_DOUBLE(cct, dropout, 0, 0, 0.99, "dropout of tokens, projections and the MLP"),
    VST_OPTION_DOUBLE(cct, drop_path, 0.1, 0, 0.99,
                      "stochastic depth: rate of the last block, linear from 0 at the first"),
    VST_OPTION_END};

#define CCT_2 "dim=128, depth=2, heads=2, mlp_ratio=1"
#define CCT_4 "dim=128, depth=4, heads=2, mlp_ratio=1"
#define CCT_6 "depth=6"
#define CCT_14 "dim=384, depth=14, heads=6, mlp_ratio=3"
#define LARGE_IMAGES "kernel=7, conv_layers=2"
#define CIFAR10 "mean=[0.4914, 0.4822, 0.4465], std=[0.2470, 0.2435, 0.2616]"
#define CIFAR100 "classes=100, mean=[0.5071, 0.4867, 0.4408], std=[0.2675, 0.2565, 0.2761]"
#define FLOWERS "classes=102, mean=[0.4353, 0.3773, 0.2872], std=[0.2966, 0.2455, 0.2698]"
#define IMAGENET "classes=1000, crop_pct=0.9, " VST_IMAGENET_NORM

/* A name has the number of blocks, kernel size x convolutions, and image size. */
static const vst_backbone_variant variants[] = {{"cct_2_3x2_32", CCT_2 ", conv_layers=2, " CIFAR10},
                                                {"cct_4_3x2_32", CCT_4 ", conv_layers=2, " CIFAR10},
                                                {"cct_6_3x1_32", CCT_6 ", " CIFAR10},
                                                {"cct_6_3x2_32", CCT_6 ", conv_layers=2, " CIFAR10},
                                                {"cct_7_3x1_32", CIFAR10},
                                                {"cct_7_3x1_32_c100", CIFAR100},
                                                {"cct_7_3x2_32", "conv_layers=2, " CIFAR10},
                                                {"cct_7_7x2_224", LARGE_IMAGES ", image=224, " FLOWERS},
                                                {"cct_14_7x2_224", CCT_14 ", " LARGE_IMAGES ", image=224, " IMAGENET},
                                                {"cct_14_7x2_384", CCT_14 ", " LARGE_IMAGES ", image=384, " IMAGENET},
                                                {NULL, NULL}};

static const vst_init linear_init = {VST_INIT_NORMAL, 0.02, VST_PARAM_WEIGHT};

static vst_value linear(vst_graph *g, vst_value x, const char *name, int features, bool bias) {
    VST_SCOPE (g, "%s", name)
        x = vst_linear(g, x, (vst_linear_options){.features = features, .bias = bias, .init = linear_init});
    return x;
}

static vst_value norm(vst_graph *g, vst_value x, const char *name) {
    VST_SCOPE (g, "%s", name) x = vst_layer_norm(g, x, (vst_norm_options){.epsilon = 1e-5});
    return x;
}

static vst_value convolve(vst_graph *g, vst_value x, int out, const cct *o) {
    const int64_t fan_in = vst_shape_at(g, x).dim[1] * o->kernel * o->kernel;
    const vst_init init = {VST_INIT_NORMAL, sqrt(2.0 / (double)fan_in), VST_PARAM_WEIGHT}; /* He et al., 2015, fan in */
    const int half = o->kernel / 2;
    return vst_conv2d(g, x,
                      (vst_conv2d_options){.out = out,
                                           .kernel = o->kernel,
                                           .stride = half > 2 ? half - 1 : 1,
                                           .padding = half > 1 ? half : 1,
                                           .init = init});
}

/* (N, C, H, W) -> (N, tokens, dim) */
static vst_value tokenize(vst_graph *g, vst_value x, const cct *o) {
    for (int i = 0; i < o->conv_layers; i++) {
        VST_SCOPE (g, "conv_layers.%d.0", i) x = convolve(g, x, i + 1 == o->conv_layers ? o->dim : o->conv_width, o);
        x = vst_max_pool(g, vst_relu(g, x), (vst_pool_options){.kernel = 3, .stride = 2, .padding = 1});
    }
    x = vst_reshape(g, x, VST_SHAPE(vst_shape_at(g, x).dim[0], o->dim, -1));
    return vst_permute(g, x, (int[]){0, 2, 1});
}

/* The position embedding has weight decay: the authors exclude only vectors. */
static vst_value add_position(vst_graph *g, vst_value x, const cct *o) {
    const vst_shape shape = VST_SHAPE(1, vst_shape_at(g, x).dim[1], o->dim);
    return vst_add(g, x, vst_param(g, "positional_emb", shape, (vst_init){VST_INIT_NORMAL, 0.2, VST_PARAM_WEIGHT}));
}

static vst_value add_branch(vst_graph *g, vst_value x, vst_value branch, const cct *o, int n, double drop_path) {
    branch = vst_dropout(g, branch, o->dropout);
    VST_SCOPE (g, "drop_path%d", n) branch = vst_drop_path(g, branch, drop_path);
    return vst_add(g, x, branch);
}

/* Unlike in a ViT, the norm between the two branches is on the residual path. */
static vst_value block(vst_graph *g, vst_value x, const cct *o, double drop_path, const char *tap) {
    vst_value y = norm(g, x, "pre_norm");
    VST_SCOPE (g, "self_attn") {
        y = linear(g, y, "qkv", 3 * o->dim, false);
        vsti_tap_attention(g, y, o->heads, tap);
        y = vst_attention(g, y, o->heads, 0);
        y = linear(g, y, "proj", o->dim, true);
    }
    x = norm(g, add_branch(g, x, y, o, 1, drop_path), "norm1");
    y = vst_gelu(g, linear(g, x, "linear1", (int)(o->dim * o->mlp_ratio), true));
    y = linear(g, vst_dropout(g, y, o->dropout), "linear2", o->dim, true);
    return add_branch(g, x, y, o, 2, drop_path);
}

/* (N, tokens, dim) -> (N, dim): the mean of the tokens, weighted by the softmax of a score per token. The bias of the
 * score does not change the softmax; it exists because the authors' checkpoints contain it. */
static vst_value pool(vst_graph *g, vst_value x, const cct *o) {
    const vst_shape shape = vst_shape_at(g, x);
    vst_value scores = linear(g, x, "attention_pool", 1, false);
    VST_SCOPE (g, "attention_pool")
        vst_param(g, "bias", VST_SHAPE(1), (vst_init){VST_INIT_ZEROS, 0, VST_PARAM_NODECAY});
    scores = vst_softmax(g, vst_reshape(g, scores, VST_SHAPE(shape.dim[0], 1, shape.dim[1])));
    return vst_reshape(g, vst_matmul(g, scores, x, false, false), VST_SHAPE(shape.dim[0], o->dim));
}

static vst_value classify(vst_graph *g, vst_value x, const cct *o) {
    if (o->position == POSITION_LEARNED) x = add_position(g, x, o);
    x = vst_dropout(g, x, o->dropout);
    for (int i = 0; i < o->depth; i++) {
        char tap[24];
        snprintf(tap, sizeof tap, "blocks.%d", i);
        VST_SCOPE (g, "%s", tap) x = block(g, x, o, o->depth > 1 ? o->drop_path * i / (o->depth - 1) : 0, tap);
        vst_tap(g, tap, x);
    }
    x = norm(g, x, "norm");
    vst_tap(g, "norm", x);
    x = pool(g, x, o);
    vst_tap(g, "pooled", x);
    return linear(g, x, "fc", o->common.classes, true);
}

static void build(vst_graph *g, vst_value x, const void *raw) {
    const cct *o = raw;
    if (o->dim % o->heads || o->kernel % 2 == 0) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "dim %d must be a multiple of heads %d, and kernel %d must be odd",
                       o->dim, o->heads, o->kernel);
        return;
    }
    VST_SCOPE (g, "tokenizer") x = tokenize(g, x, o);
    VST_SCOPE (g, "classifier") x = classify(g, x, o);
    vst_tap(g, "logits", x);
}

const vst_backbone vsti_backbone_cct = {.name = "cct",
                                        .help = "Compact Convolutional Transformer",
                                        .options = options,
                                        .options_size = sizeof(cct),
                                        .variants = variants,
                                        .build = build};
