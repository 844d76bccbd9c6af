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
    double mlp_ratio, dropout, drop_path, layer_scale, norm_epsilon;
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
    VST_OPTION_DOUBLE(
        vit, dropout, 0, 0, 0.99,
        "of the tokens after their positions, of the attention's output, twice in the MLP: main.py's --drop"),
    VST_OPTION_DOUBLE(vit, drop_path, 0, 0, 0.99,
                      "stochastic depth: rate of the last block, linear from 0 at the first"),
    VST_OPTION_BOOL(vit, drop_path_uniform, false, "the same rate in all blocks, as in DeiT-III's training"),
    VST_OPTION_DOUBLE(vit, layer_scale, 0, 0, 10,
                      "LayerScale (Touvron et al., 2021): initial factor of each channel of a branch; 0: none"),
    VST_OPTION_DOUBLE(vit, norm_epsilon, 1e-6, 1e-15, 1, "layer norm: added to the variance"),
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

/* gain: sqrt(2) for the fused projection, whose three parts are square matrices. */
static vst_init linear_init(const vit *o, double gain) {
    return o->init == INIT_XAVIER ? (vst_init){VST_INIT_XAVIER_UNIFORM, gain, VST_PARAM_WEIGHT}
                                  : (vst_init){VST_INIT_NORMAL, 0.02, VST_PARAM_WEIGHT};
}

static vst_value linear(vst_graph *g, vst_value x, const char *name, int features, vst_init init) {
    VST_SCOPE (g, "%s", name)
        x = vst_linear(g, x, (vst_linear_options){.features = features, .bias = true, .init = init});
    return x;
}

static vst_value norm(vst_graph *g, vst_value x, const char *name, const vit *o) {
    VST_SCOPE (g, "%s", name) x = vst_layer_norm(g, x, (vst_norm_options){.epsilon = o->norm_epsilon});
    return x;
}

/* 3x3 convolutions of stride 2 down to the patch size, with batch norm and ReLU between them; the width doubles up to
 * dim. */
static vst_value conv_stem(vst_graph *g, vst_value x, const vit *o) {
    int steps = 0;
    while (1 << steps < o->patch) steps++;
    if (1 << steps != o->patch || steps < 1) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "stem conv needs a patch of 2, 4, 8, 16, …, not %d", o->patch);
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

/* Prepends the class and distillation tokens and adds the position embedding. */
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

/* x plus branch n of its block, with LayerScale and drop path. */
static vst_value add_branch(vst_graph *g, vst_value x, vst_value branch, const vit *o, int n, double drop_path) {
    if (o->layer_scale > 0) {
        const vst_init init = {VST_INIT_CONSTANT, o->layer_scale, VST_PARAM_NODECAY};
        VST_SCOPE (g, "ls%d", n) branch = vst_mul(g, branch, vst_param(g, "gamma", VST_SHAPE(o->dim), init));
    }
    VST_SCOPE (g, "drop_path%d", n) branch = vst_drop_path(g, branch, drop_path);
    return vst_add(g, x, branch);
}

/* The rest of a block after the projection qkv of all tokens, for the first `tokens` tokens (0: all), whose input is x.
 */
static vst_value finish_block(vst_graph *g, vst_value x, vst_value qkv, int tokens, const vit *o, double drop_path) {
    vst_value y = {0};
    VST_SCOPE (g, "attn") y = linear(g, vst_attention(g, qkv, o->heads, tokens), "proj", o->dim, linear_init(o, 1));
    y = vst_dropout(g, y, o->dropout);
    x = add_branch(g, x, y, o, 1, drop_path);
    y = norm(g, x, "norm2", o);
    VST_SCOPE (g, "mlp") {
        y = vst_gelu(g, linear(g, y, "fc1", (int)(o->dim * o->mlp_ratio), linear_init(o, 1)));
        y = linear(g, vst_dropout(g, y, o->dropout), "fc2", o->dim, linear_init(o, 1));
    }
    y = vst_dropout(g, y, o->dropout);
    return add_branch(g, x, y, o, 2, drop_path);
}

/* Returns the block's output for all tokens. *heads (may be NULL) is the output of the class and distillation tokens
 * only. A program computes only what is read, so if nothing reads the patches of the last block, they cost nothing. */
static vst_value block(vst_graph *g, vst_value x, const vit *o, double drop_path, const char *tap, vst_value *heads) {
    vst_value y = norm(g, x, "norm1", o);
    VST_SCOPE (g, "attn") y = linear(g, y, "qkv", 3 * o->dim, linear_init(o, sqrt(2)));
    vsti_tap_attention(g, y, o->heads, tap);
    const int tokens = o->distilled ? 2 : 1;
    if (heads && o->dropout == 0) *heads = finish_block(g, vst_slice(g, x, 1, 0, tokens), y, tokens, o, drop_path);
    x = finish_block(g, x, y, 0, o, drop_path);
    if (heads && o->dropout > 0) *heads = vst_slice(g, x, 1, 0, tokens); /* both must drop the same */
    return x;
}

static void head(vst_graph *g, vst_value tokens, const vit *o, int token, const char *name, const char *tap) {
    const vst_shape shape = vst_shape_at(g, tokens);
    vst_value x = vst_reshape(g, vst_slice(g, tokens, 1, token, 1), VST_SHAPE(shape.dim[0], o->dim));
    vst_tap(g, tap, linear(g, x, name, o->common.classes, (vst_init){VST_INIT_NORMAL, 0.02, VST_PARAM_WEIGHT}));
}

static void build(vst_graph *g, vst_value image, const void *raw) {
    const vit *o = raw;
    if (o->common.image % o->patch || o->dim % o->heads) {
        vst_graph_fail(g, VST_ERROR_ARGUMENT, "image %d must be a multiple of patch %d, and dim %d of heads %d",
                       o->common.image, o->patch, o->dim, o->heads);
        return;
    }
    vst_value x = vst_dropout(g, add_tokens(g, embed(g, image, o), o), o->dropout), heads = {0};
    for (int i = 0; i < o->depth; i++) {
        char tap[24];
        snprintf(tap, sizeof tap, "blocks.%d", i);
        const double linear = o->depth > 1 ? o->drop_path * i / (o->depth - 1) : 0;
        const double rate = o->drop_path_uniform ? o->drop_path : linear;
        VST_SCOPE (g, "%s", tap) x = block(g, x, o, rate, tap, i + 1 == o->depth ? &heads : NULL);
        vst_tap(g, tap, x);
    }
    vst_tap(g, "norm", norm(g, x, "norm", o));
    x = norm(g, heads, "norm", o);
    head(g, x, o, 0, "head", "logits");
    if (o->distilled) head(g, x, o, 1, "head_dist", "logits_dist");
}

/* ---- Names in other projects ---- */

static const vst_name_pair torchvision_names[] = {
    {"class_token", "cls_token", 0, 0},
    {"encoder.pos_embedding", "pos_embed", 0, 0},
    {"conv_proj.", "patch_embed.proj.", 0, 0},
    {"encoder.ln.", "norm.", 0, 0},
    {"heads.head.", "head.", 0, 0},
    {"encoder.layers.encoder_layer_{a}.ln_1.", "blocks.{a}.norm1.", 0, 0},
    {"encoder.layers.encoder_layer_{a}.ln_2.", "blocks.{a}.norm2.", 0, 0},
    {"encoder.layers.encoder_layer_{a}.self_attention.in_proj_", "blocks.{a}.attn.qkv.", 0, 0},
    {"encoder.layers.encoder_layer_{a}.self_attention.out_proj.", "blocks.{a}.attn.proj.", 0, 0},
    {"encoder.layers.encoder_layer_{a}.mlp.linear_1.", "blocks.{a}.mlp.fc1.", 0, 0}, /* in files */
    {"encoder.layers.encoder_layer_{a}.mlp.linear_2.", "blocks.{a}.mlp.fc2.", 0, 0},
    {"encoder.layers.encoder_layer_{a}.mlp.0.", "blocks.{a}.mlp.fc1.", 0, 0}, /* in its module */
    {"encoder.layers.encoder_layer_{a}.mlp.3.", "blocks.{a}.mlp.fc2.", 0, 0},
    {0}};

/* Resized to 256, of which the middle 224 are taken; the SWAG weights at their whole size. */
static const vst_preprocessing torchvision_images[] = {
    {NULL, "vit_b_16_swag", "IMAGENET1K_SWAG_E2E_V1", VST_IMAGENET_NORM ", image=384, crop_pct=1"},
    {NULL, "vit_b_16_lc_swag", "IMAGENET1K_SWAG_LINEAR_V1", VST_IMAGENET_NORM ", crop_pct=1"},
    {NULL, NULL, "IMAGENET1K_V1", VST_IMAGENET_NORM ", crop_pct=0.875, interpolation=bilinear"},
    {0}};

/* facebookresearch/deit's DeiT-III is timm's but for LayerScale. */
static const vst_name_pair deit3_names[] = {
    {"blocks.{a}.gamma_1", "blocks.{a}.ls1.gamma", 0, 0}, {"blocks.{a}.gamma_2", "blocks.{a}.ls2.gamma", 0, 0}, {0}};

/* Hugging Face's ViT and DeiT, as files have them and as the modules of transformers 5 do; "vit." or "deit." stands
 * before all but the classifiers. What is of no use: the token of masked images, and a pooler that no classifier has.
 */
static const vst_name_pair transformers_names[] = {
    {"embeddings.cls_token", "cls_token", 0, 0},
    {"embeddings.distillation_token", "dist_token", 0, 0},
    {"embeddings.position_embeddings", "pos_embed", 0, 0},
    {"embeddings.patch_embeddings.projection.", "patch_embed.proj.", 0, 0},
    {"embeddings.mask_token", NULL, 0, 0},
    {"pooler.dense.", NULL, 0, 0},
    {"layernorm.", "norm.", 0, 0},
    {"cls_classifier.", "head.", 0, 0},
    {"distillation_classifier.", "head_dist.", 0, 0},
    {"classifier.", "head.", 0, 0},
    {"encoder.layer.{a}.layernorm_before.", "blocks.{a}.norm1.", 0, 0},
    {"encoder.layer.{a}.layernorm_after.", "blocks.{a}.norm2.", 0, 0},
    {"encoder.layer.{a}.attention.attention.query.", "blocks.{a}.attn.qkv.", 0, 3},
    {"encoder.layer.{a}.attention.attention.key.", "blocks.{a}.attn.qkv.", 1, 3},
    {"encoder.layer.{a}.attention.attention.value.", "blocks.{a}.attn.qkv.", 2, 3},
    {"encoder.layer.{a}.attention.output.dense.", "blocks.{a}.attn.proj.", 0, 0},
    {"encoder.layer.{a}.intermediate.dense.", "blocks.{a}.mlp.fc1.", 0, 0},
    {"encoder.layer.{a}.output.dense.", "blocks.{a}.mlp.fc2.", 0, 0},
    {"layers.{a}.layernorm_before.", "blocks.{a}.norm1.", 0, 0},
    {"layers.{a}.layernorm_after.", "blocks.{a}.norm2.", 0, 0},
    {"layers.{a}.attention.q_proj.", "blocks.{a}.attn.qkv.", 0, 3},
    {"layers.{a}.attention.k_proj.", "blocks.{a}.attn.qkv.", 1, 3},
    {"layers.{a}.attention.v_proj.", "blocks.{a}.attn.qkv.", 2, 3},
    {"layers.{a}.attention.o_proj.", "blocks.{a}.attn.proj.", 0, 0},
    {"layers.{a}.mlp.fc1.", "blocks.{a}.mlp.fc1.", 0, 0},
    {"layers.{a}.mlp.fc2.", "blocks.{a}.mlp.fc2.", 0, 0},
    {0}};

/* The hub's facebook/deit-* take the middle 224 of 256 pixels, as DeiT's authors; google/vit-* stretch the whole image,
 * which the shorter side at the model's size comes next to. Both add 1e-12 to variances. */
#define TRANSFORMERS_VIT "crop_pct=1, interpolation=bilinear, norm_epsilon=1e-12"
#define TRANSFORMERS_DEIT "crop_pct=0.875, norm_epsilon=1e-12"
static const vst_preprocessing transformers_images[] = {
    {"vit_tiny_patch16_224", NULL, NULL, TRANSFORMERS_VIT},
    {"vit_small_patch16_224", NULL, NULL, TRANSFORMERS_VIT},
    {"vit_base_patch16_224", NULL, NULL, TRANSFORMERS_VIT},
    {"vit_tiny_patch16_384", NULL, NULL, TRANSFORMERS_VIT},
    {"vit_small_patch16_384", NULL, NULL, TRANSFORMERS_VIT},
    {"vit_base_patch16_384", NULL, NULL, TRANSFORMERS_VIT},
    {"deit_tiny_patch16_224", NULL, NULL, TRANSFORMERS_DEIT},
    {"deit_small_patch16_224", NULL, NULL, TRANSFORMERS_DEIT},
    {"deit_base_patch16_224", NULL, NULL, TRANSFORMERS_DEIT},
    {"deit_tiny_distilled_patch16_224", NULL, NULL, TRANSFORMERS_DEIT},
    {"deit_small_distilled_patch16_224", NULL, NULL, TRANSFORMERS_DEIT},
    {"deit_base_distilled_patch16_224", NULL, NULL, TRANSFORMERS_DEIT},
    {NULL, NULL, NULL, "norm_epsilon=1e-12"},
    {0}};

/* mmpretrain's VisionTransformer and its DeiT; "backbone." and "head." stand before. */
static const vst_name_pair mmpretrain_names[] = {{"patch_embed.projection.", "patch_embed.proj.", 0, 0},
                                                 {"ln1.", "norm.", 0, 0},
                                                 {"layers.head.", "head.", 0, 0},
                                                 {"layers.head_dist.", "head_dist.", 0, 0},
                                                 {"layers.{a}.ln1.", "blocks.{a}.norm1.", 0, 0},
                                                 {"layers.{a}.ln2.", "blocks.{a}.norm2.", 0, 0},
                                                 {"layers.{a}.attn.qkv.", "blocks.{a}.attn.qkv.", 0, 0},
                                                 {"layers.{a}.attn.proj.", "blocks.{a}.attn.proj.", 0, 0},
                                                 {"layers.{a}.ffn.layers.0.0.", "blocks.{a}.mlp.fc1.", 0, 0},
                                                 {"layers.{a}.ffn.layers.1.", "blocks.{a}.mlp.fc2.", 0, 0},
                                                 {0}};

static const vst_naming namings[] = {
    {.project = "torchvision", .names = torchvision_names, .preprocessing = torchvision_images},
    {.project = "facebookresearch/deit", .names = deit3_names},
    {.project = "transformers", .names = transformers_names, .preprocessing = transformers_images},
    {.project = "mmpretrain", .names = mmpretrain_names},
    {0}};

const vst_backbone vsti_backbone_vit = {.name = "vit",
                                        .help = "Vision Transformer, DeiT and DeiT-III",
                                        .options = options,
                                        .options_size = sizeof(vit),
                                        .variants = variants,
                                        .build = build,
                                        .namings = namings};
