/* Vision Transformers (Dosovitskiy et al., 2021), DeiT (Touvron et al., 2021), with or without distillation token, and
 * DeiT-III (Touvron et al., 2022). Parameter names, token order (class, distillation, patches), epsilon and
 * initialisation are timm's; a variant expects of an image what the weights that timm loads for its bare name expect.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backbones/layers.h"

#define STEMS(X) X(STEM_PATCH, "patch") X(STEM_CONV, "conv")
#define INITS(X) X(INIT_TIMM, "timm") X(INIT_XAVIER, "xavier")
enum { VST_CHOICE_ENUM(STEMS) };
enum { VST_CHOICE_ENUM(INITS) };

typedef struct vit {
    vst_model_common common;
    int patch, dim, depth, heads;
    double mlp_ratio, drop_path, layer_scale;
    bool drop_path_uniform, distilled, class_position;
    int stem, init;
} vit;

static const vst_option options[] = {
    VST_MODEL_COMMON_OPTIONS(vit, 224, 3, 1000),
    VST_OPTION_INT(vit, patch, 16, 1, 256, "side of a patch, pixels; must divide the image's side"),
    VST_OPTION_INT(vit, dim, 192, 1, 8192, "width of a token"),
    VST_OPTION_INT(vit, depth, 12, 1, 100, "number of blocks"),
    VST_OPTION_INT(vit, heads, 3, 1, 128, "attention heads; must divide dim"),
    VST_OPTION_DOUBLE(vit, mlp_ratio, 4, 0.01, 64, "width of the MLP's hidden layer / dim"),
    VST_OPTION_DOUBLE(vit, drop_path, 0, 0, 0.99,
                      "stochastic depth: rate of the last block, linear from 0 at the first"),
    VST_OPTION_BOOL(vit, drop_path_uniform, false, "all blocks have the rate of the last, as DeiT-III's authors train"),
    VST_OPTION_DOUBLE(vit, layer_scale, 0, 0, 10,
                      "LayerScale (Touvron et al., 2021): initial factor of each channel of a branch; 0: none"),
    VST_OPTION_BOOL(vit, distilled, false, "DeiT's distillation token with a head of its own"),
    VST_OPTION_BOOL(vit, class_position, true, "the tokens before the patches have a position too; DeiT-III: false"),
    VST_OPTION_CHOICE(
        vit, stem, "patch", VST_CHOICE_TEXT(STEMS),
        "patch: one strided convolution; conv: 3x3 convolutions of stride 2 with ReLU (Xiao et al., 2021)"),
    VST_OPTION_CHOICE(vit, init, "timm", VST_CHOICE_TEXT(INITS),
                      "initialisation of the linear layers: truncated normal 0.02, or Glorot uniform"),
    VST_OPTION_END};

#define SMALL "dim=384, heads=6"
#define MEDIUM "dim=512, heads=8"
#define BASE "dim=768, heads=12"
#define DEIT3 "layer_scale=1e-6, class_position=false"
#define MINI "image=28, channels=1, classes=10, patch=4, dim=64, depth=4, heads=4, mlp_ratio=2"
#define VIT_224 VST_HALF_NORM ", crop_pct=0.9"
#define VIT_384 VST_HALF_NORM ", image=384"
#define DEIT_224 VST_IMAGENET_NORM ", crop_pct=0.9"
#define DEIT_384 VST_IMAGENET_NORM ", image=384"

static const vst_backbone_variant variants[] = {
    {"vit_tiny_patch16_224", VIT_224},
    {"vit_small_patch16_224", SMALL ", " VIT_224},
    {"vit_base_patch16_224", BASE ", " VIT_224},
    {"vit_tiny_patch16_384", VIT_384},
    {"vit_small_patch16_384", SMALL ", " VIT_384},
    {"vit_base_patch16_384", BASE ", " VIT_384},
    {"deit_tiny_patch16_224", DEIT_224},
    {"deit_small_patch16_224", SMALL ", " DEIT_224},
    {"deit_base_patch16_224", BASE ", " DEIT_224},
    {"deit_base_patch16_384", BASE ", " DEIT_384},
    {"deit_tiny_distilled_patch16_224", "distilled=true, " DEIT_224},
    {"deit_small_distilled_patch16_224", SMALL ", distilled=true, " DEIT_224},
    {"deit_base_distilled_patch16_224", BASE ", distilled=true, " DEIT_224},
    {"deit_base_distilled_patch16_384", BASE ", distilled=true, " DEIT_384},
    {"deit3_small_patch16_224", SMALL ", " DEIT3 ", " DEIT_224},
    {"deit3_medium_patch16_224", MEDIUM ", " DEIT3 ", " DEIT_224},
    {"deit3_base_patch16_224", BASE ", " DEIT3 ", " DEIT_224},
    {"deit3_small_patch16_384", SMALL ", " DEIT3 ", " DEIT_384},
    {"deit3_base_patch16_384", BASE ", " DEIT3 ", " DEIT_384},
    {"vit_mini_patch4_28", MINI},
    {"vit_mini_patch7_28", MINI ", patch=7, heads=2"},
    {"deit_mini_distilled_patch4_28", MINI ", distilled=true"},
    {NULL, NULL}};

static const vst_init token_init = {VST_INIT_NORMAL, 0.02, VST_PARAM_NODECAY};

/* gain: sqrt(2) for the fused projection, whose three parts are each square. */
static vst_init linear_init(const vit *o, double gain) {
    return o->init == INIT_XAVIER ? (vst_init){VST_INIT_XAVIER_UNIFORM, gain, VST_PARAM_WEIGHT}
                                  : (vst_init){VST_INIT_NORMAL, 0.02, VST_PARAM_WEIGHT};
}

static vst_value linear(vst_graph *g, vst_value x, const char *name, int features, vst_init init) {
    VST_SCOPE (g, "%s", name)
        x = vst_linear(g, x, (vst_linear_options){.features = features, .bias = true, .init = init});
    return x;
}

static vst_value norm(vst_graph *g, vst_value x, const char *name) {
    VST_SCOPE (g, "%s", name) x = vst_layer_norm(g, x, (vst_norm_options){0});
    return x;
}

/* 3x3 convolutions of stride 2 until the patch size is reached, widths halving backwards from dim, with batch norm and
 * ReLU between them. */
static vst_value conv_stem(vst_graph *g, vst_value x, const vit *o) {
    int steps = 0;
    while (1 << steps < o->patch) steps++;
    if (1 << steps != o->patch || steps < 1) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT,
                       "a convolutional stem needs a patch that is a power of 2 from 2 on, not %d", o->patch);
        return (vst_value){0};
    }
    for (int i = 1; i < steps; i++) {
        const int width = o->dim >> (steps - i);
        VST_SCOPE (g, "conv%d", i)
            x = vst_conv2d(g, x,
                           (vst_conv2d_options){.out = width < 8 ? 8 : width, .kernel = 3, .stride = 2, .padding = 1});
        VST_SCOPE (g, "bn%d", i) x = vst_relu(g, vst_batch_norm(g, x, (vst_norm_options){0}));
    }
    VST_SCOPE (g, "proj")
        x = vst_conv2d(g, x, (vst_conv2d_options){.out = o->dim, .kernel = 3, .stride = 2, .padding = 1, .bias = true});
    return x;
}

/* (N, C, H, W) -> (N, patches, dim) */
static vst_value embed(vst_graph *g, vst_value x, const vit *o) {
    VST_SCOPE (g, "patch_embed") {
        if (o->stem == STEM_CONV) x = conv_stem(g, x, o);
        else
            VST_SCOPE (g, "proj")
                x = vst_conv2d(
                    g, x, (vst_conv2d_options){.out = o->dim, .kernel = o->patch, .stride = o->patch, .bias = true});
    }
    const vst_shape map = vst_shape_at(g, x);
    x = vst_reshape(g, x, VST_SHAPE(map.dim[0], o->dim, -1));
    return vst_permute(g, x, (int[]){0, 2, 1});
}

static vst_value add_position(vst_graph *g, vst_value x, const vit *o) {
    const vst_shape shape = vst_shape_at(g, x);
    return vst_add(g, x, vst_param(g, "pos_embed", VST_SHAPE(1, shape.dim[1], o->dim), token_init));
}

/* Puts the class and distillation tokens before the patches and adds the position embedding. */
static vst_value add_tokens(vst_graph *g, vst_value patches, const vit *o) {
    const vst_shape one = VST_SHAPE(1, 1, o->dim), repeated = VST_SHAPE(vst_shape_at(g, patches).dim[0], 1, o->dim);
    vst_value parts[3];
    int count = 0;
    parts[count++] = vst_expand(g, vst_param(g, "cls_token", one, token_init), repeated);
    if (o->distilled) parts[count++] = vst_expand(g, vst_param(g, "dist_token", one, token_init), repeated);
    parts[count] = o->class_position ? patches : add_position(g, patches, o);
    vst_value x = vst_concat(g, parts, count + 1, 1);
    return o->class_position ? add_position(g, x, o) : x;
}

/* x plus the n-th branch of its block, scaled by channel and dropped for some samples. */
static vst_value add_branch(vst_graph *g, vst_value x, vst_value branch, const vit *o, int n, double drop_path) {
    if (o->layer_scale > 0) {
        const vst_init init = {VST_INIT_CONSTANT, o->layer_scale, VST_PARAM_NODECAY};
        VST_SCOPE (g, "ls%d", n) branch = vst_mul(g, branch, vst_param(g, "gamma", VST_SHAPE(o->dim), init));
    }
    VST_SCOPE (g, "drop_path%d", n) branch = vst_drop_path(g, branch, drop_path);
    return vst_add(g, x, branch);
}

/* A block from its projection qkv of all tokens on, for the first `tokens` (0: all), whose x is given. */
static vst_value finish_block(vst_graph *g, vst_value x, vst_value qkv, int tokens, const vit *o, double drop_path) {
    vst_value y = {0};
    VST_SCOPE (g, "attn") y = linear(g, vst_attention(g, qkv, o->heads, tokens), "proj", o->dim, linear_init(o, 1));
    x = add_branch(g, x, y, o, 1, drop_path);
    y = norm(g, x, "norm2");
    VST_SCOPE (g, "mlp") {
        y = vst_gelu(g, linear(g, y, "fc1", (int)(o->dim * o->mlp_ratio), linear_init(o, 1)));
        y = linear(g, y, "fc2", o->dim, linear_init(o, 1));
    }
    return add_branch(g, x, y, o, 2, drop_path);
}

/* Gives the block's output for all tokens; *heads, if not NULL, gets that of the class and distillation tokens alone. A
 * plan computes only what is asked for, so where nobody reads the last block's patches, their share of the work falls
 * away. */
static vst_value block(vst_graph *g, vst_value x, const vit *o, double drop_path, const char *tap, vst_value *heads) {
    vst_value y = norm(g, x, "norm1");
    VST_SCOPE (g, "attn") y = linear(g, y, "qkv", 3 * o->dim, linear_init(o, sqrt(2)));
    vsti_tap_attention(g, y, o->heads, tap);
    if (heads) {
        const int tokens = o->distilled ? 2 : 1;
        *heads = finish_block(g, vst_slice(g, x, 1, 0, tokens), y, tokens, o, drop_path);
    }
    return finish_block(g, x, y, 0, o, drop_path);
}

static void head(vst_graph *g, vst_value tokens, const vit *o, int token, const char *name, const char *tap) {
    const vst_shape shape = vst_shape_at(g, tokens);
    vst_value x = vst_reshape(g, vst_slice(g, tokens, 1, token, 1), VST_SHAPE(shape.dim[0], o->dim));
    vst_tap(g, tap, linear(g, x, name, o->common.classes, (vst_init){VST_INIT_NORMAL, 0.02, VST_PARAM_WEIGHT}));
}

static void build(vst_graph *g, vst_value image, const void *raw) {
    const vit *o = raw;
    if (o->common.image % o->patch || o->dim % o->heads) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "patch %d must divide the image's side %d, and %d heads the width %d",
                       o->patch, o->common.image, o->heads, o->dim);
        return;
    }
    vst_value x = add_tokens(g, embed(g, image, o), o), heads = {0};
    for (int i = 0; i < o->depth; i++) {
        char tap[24];
        snprintf(tap, sizeof tap, "blocks.%d", i);
        const double linear = o->depth > 1 ? o->drop_path * i / (o->depth - 1) : 0;
        const double rate = o->drop_path_uniform ? o->drop_path : linear;
        VST_SCOPE (g, "%s", tap) x = block(g, x, o, rate, tap, i + 1 == o->depth ? &heads : NULL);
        vst_tap(g, tap, x);
    }
    x = norm(g, heads, "norm");
    head(g, x, o, 0, "head", "logits");
    if (o->distilled) head(g, x, o, 1, "head_dist", "logits_dist");
}

/* ---- Names in other projects ---- */

/* torchvision's vit_b_16, and facebookresearch's DeiT-III, which is timm's but for LayerScale. Where query, key and
 * value are tensors of their own (the hub's facebook/deit-*), no renaming can help. */
static bool rename_tensor(const void *raw, const char *name, char *out, size_t size) {
    static const char *const whole[][2] = {{"class_token", "cls_token"},
                                           {"encoder.pos_embedding", "pos_embed"},
                                           {"conv_proj.", "patch_embed.proj."},
                                           {"encoder.ln.", "norm."},
                                           {"heads.head.", "head."},
                                           {NULL, NULL}};
    static const char *const in_layer[][2] = {{"ln_1.", "norm1."},
                                              {"ln_2.", "norm2."},
                                              {"self_attention.in_proj_weight", "attn.qkv.weight"},
                                              {"self_attention.in_proj_bias", "attn.qkv.bias"},
                                              {"self_attention.out_proj.", "attn.proj."},
                                              {"mlp.linear_1.", "mlp.fc1."},
                                              {"mlp.linear_2.", "mlp.fc2."}, /* in files */
                                              {"mlp.0.", "mlp.fc1."},
                                              {"mlp.3.", "mlp.fc2."},
                                              {NULL, NULL}}; /* in its module */
    static const char *const in_block[][2] = {{"gamma_1", "ls1.gamma"}, {"gamma_2", "ls2.gamma"}, {NULL, NULL}};
    (void)raw;
    char prefix[24];
    int index, used = 0;
    if (vsti_rename(whole, "", name, out, size)) return true;
    const bool layer = sscanf(name, "encoder.layers.encoder_layer_%4d.%n", &index, &used) == 1 && used;
    if (!layer && (sscanf(name, "blocks.%4d.%n", &index, &used) != 1 || !used)) return false;
    snprintf(prefix, sizeof prefix, "blocks.%d.", index);
    return vsti_rename(layer ? in_layer : in_block, prefix, name + used, out, size);
}

const vst_backbone vsti_backbone_vit = {.name = "vit",
                                        .help = "Vision Transformer, DeiT and DeiT-III",
                                        .options = options,
                                        .options_size = sizeof(vit),
                                        .variants = variants,
                                        .build = build,
                                        .rename = rename_tensor};
