/* The operations that build a graph. All take and return float32 values; shapes are PyTorch's. A null value in, or a
 * wrong shape, sets the graph's sticky error and gives the null value back. One file per operation implements shape
 * rule, gradient rule and lowering side by side. */
#ifndef VISTILL_VISION_OPS_OPS_H
#define VISTILL_VISION_OPS_OPS_H

#include "vision/base/option.h"
#include "vision/graph/graph.h"
#include "vision/plan/quant.h"

VST_BEGIN_DECLS

/* ---- layers with parameters, named scope.weight, scope.bias, … ----------------------------------------------------
 */

typedef struct vst_conv2d_options {
    int out, kernel, stride, padding, dilation, groups; /* stride, dilation and groups: 0 means 1 */
    bool same; /* TensorFlow's SAME instead of `padding`: H' = ceil(H / stride), an odd pixel of padding goes to the
                  bottom and right */
    bool bias;
    vst_init init; /* of the weight; zeroed: VST_INIT_LECUN_UNIFORM, PyTorch's default */
} vst_conv2d_options;
/* x (N, C, H, W) -> (N, out, H', W'), H' = (H + 2 padding - dilation (kernel - 1) - 1) / stride + 1. Cross-correlation,
 * as in torch.nn.Conv2d. weight (out, C / groups, kernel, kernel), bias (out). */
vst_value vst_conv2d(vst_graph *g, vst_value x, vst_conv2d_options options);

typedef struct vst_linear_options {
    int features;
    bool bias;
    vst_init init, bias_init; /* zeroed: weight VST_INIT_LECUN_UNIFORM, bias zeros */
} vst_linear_options;
/* x (…, K) -> (…, features): y = x Wᵀ + b. weight (features, K), bias (features). */
vst_value vst_linear(vst_graph *g, vst_value x, vst_linear_options options);

typedef struct vst_norm_options {
    double epsilon;  /* 0: 1e-5 (batch norm), 1e-6 (layer norm, timm's ViT) */
    double momentum; /* batch norm: of the running statistics; 0 means 0.1 */
} vst_norm_options;
/* Batch norm over (N, H, W) of x (N, C, H, W). Training programs normalise with the batch statistics and update the
 * running ones (with the unbiased variance, as PyTorch); inference programs use the running statistics. Parameters:
 * weight, bias, running_mean, running_var, num_batches_tracked. */
vst_value vst_batch_norm(vst_graph *g, vst_value x, vst_norm_options options);
/* Layer norm over the last dimension: y = (x - mean) / sqrt(var + epsilon) * weight + bias. */
vst_value vst_layer_norm(vst_graph *g, vst_value x, vst_norm_options options);

/* ---- training with simulated 8-bit integers -----------------------------------------------------------------------
 */
/* As torch.fake_quantize_per_tensor_affine with 0 … 255: x rounded to scale (q - zero_point), q = round(x / scale) +
 * zero_point clamped to uint8. Straight-through gradient: dy where q was not clamped, else 0. */
vst_value vst_fake_quantize(vst_graph *g, vst_value x, double scale, int zero_point);
/* A weight (out, …) as torch.fake_quantize_per_channel_affine with -127 … 127, zero points 0 and the steps of
 * vst_quant_product (plan/quant.h) for the present values. The gradient passes through. */
vst_value vst_fake_quantize_weight(vst_graph *g, vst_value weight);
/* The linear layers and convolutions in these scopes that are built from now on read their input and their weight
 * through the two above, so that a program of float32 computes what a program with the same `products` computes on
 * integers (plan/quant.h), but for the rounding of float32. The list is used until the graph is finished. */
void vst_fake_quantize_products(vst_graph *g, const vst_quant_product *products, size_t count);

/* ---- activations ---------------------------------------------------------------------------------------------------
 */
vst_value vst_relu(vst_graph *g, vst_value x);
vst_value vst_relu6(vst_graph *g, vst_value x);
vst_value vst_gelu(vst_graph *g, vst_value x); /* x Φ(x), exact (erf) */
vst_value vst_silu(vst_graph *g, vst_value x);
vst_value vst_sigmoid(vst_graph *g, vst_value x);
vst_value vst_hardswish(vst_graph *g, vst_value x); /* x relu6(x + 3) / 6 */

/* ---- arithmetic ----------------------------------------------------------------------------------------------------
 */
vst_value vst_add(vst_graph *g, vst_value a, vst_value b); /* broadcasts as NumPy does */
vst_value vst_mul(vst_graph *g, vst_value a, vst_value b); /* broadcasts as NumPy does */
vst_value vst_scale(vst_graph *g, vst_value x, double factor);
/* a (…, M, K) times b (…, K, N), or their transposes (last two dimensions); leading dimensions equal, or absent in b.
 */
vst_value vst_matmul(vst_graph *g, vst_value a, vst_value b, bool transpose_a, bool transpose_b);
/* (x - mean[c]) / deviation[c] over the channels of x (N, C, H, W); constants, not parameters; C <= 16. */
vst_value vst_channel_normalize(vst_graph *g, vst_value x, const double *mean, const double *deviation);
/* Zero mean and unit (unbiased) deviation over the last dimension: (x - mean) / (std + 1e-7); logit standardisation. */
vst_value vst_standardize(vst_graph *g, vst_value x);
/* x / max(|x|, 1e-12) over the last dimension, as torch.nn.functional.normalize. */
vst_value vst_l2_normalize(vst_graph *g, vst_value x);
/* x (B, D) -> (B, B): Euclidean distances between all pairs of rows, divided by their mean over pairs of different
 * rows. */
vst_value vst_pairwise_distances(vst_graph *g, vst_value x);
/* Returns x; no gradient flows through it. */
vst_value vst_detach(vst_graph *g, vst_value x);

/* ---- shape ---------------------------------------------------------------------------------------------------------
 */
vst_value vst_reshape(vst_graph *g, vst_value x, vst_shape shape);  /* one dimension may be -1 */
vst_value vst_permute(vst_graph *g, vst_value x, const int *order); /* output dimension i is dimension order[i] of x */
vst_value vst_slice(vst_graph *g, vst_value x, int axis, int64_t start, int64_t count);
vst_value vst_concat(vst_graph *g, const vst_value *values, int count, int axis);
vst_value vst_expand(vst_graph *g, vst_value x, vst_shape shape); /* broadcast to a shape, as NumPy does */
/* Sum or mean over the axes whose bit is set in `axes`; `keep` keeps the reduced dimensions with size 1. */
vst_value vst_reduce_sum(vst_graph *g, vst_value x, unsigned axes, bool keep);
vst_value vst_reduce_mean(vst_graph *g, vst_value x, unsigned axes, bool keep);
typedef enum vst_resize_mode { VST_BILINEAR, VST_BICUBIC, VST_AREA } vst_resize_mode;
/* x (N, C, H, W) -> (N, C, height, width), as torch.nn.functional.interpolate(align_corners=False, antialias=False):
 * bicubic with a = -0.75; area is adaptive average pooling. */
vst_value vst_resize(vst_graph *g, vst_value x, int height, int width, vst_resize_mode mode);

/* ---- pooling -------------------------------------------------------------------------------------------------------
 */
typedef struct vst_pool_options {
    int kernel, stride, padding; /* stride 0: kernel */
    bool count_padding;          /* average: padding counts in the divisor (PyTorch's default is true) */
    bool ceil; /* PyTorch's ceil_mode: the last window may be partial; not together with count_padding */
} vst_pool_options;
vst_value vst_max_pool(vst_graph *g, vst_value x, vst_pool_options options);
vst_value vst_avg_pool(vst_graph *g, vst_value x, vst_pool_options options);
vst_value vst_global_avg_pool(vst_graph *g, vst_value x); /* (N, C, H, W) -> (N, C), the mean */

/* ---- attention and stochastic layers -------------------------------------------------------------------------------
 */
vst_value vst_softmax(vst_graph *g, vst_value x);     /* over the last dimension */
vst_value vst_log_softmax(vst_graph *g, vst_value x); /* over the last dimension */
/* Multi-head attention over a fused projection qkv (B, N, 3 D), rows [q; k; v], each head-major as timm's: softmax(q kᵀ
 * / sqrt(D / heads)) v -> (B, queries, D). Only the first `queries` tokens are queries; 0 means all. */
vst_value vst_attention(vst_graph *g, vst_value qkv, int heads, int queries);
/* Training: each element is set to zero with probability `rate`, the others are divided by 1 - rate. Inference: returns
 * x. */
vst_value vst_dropout(vst_graph *g, vst_value x, double rate);
/* Stochastic depth. Training: each sample (first dimension) is set to zero with probability `rate`, the others are
 * divided by 1 - rate. Inference: returns x. Calls in the same scope drop the same samples. */
vst_value vst_drop_path(vst_graph *g, vst_value x, double rate);

/* ---- losses: scalars -----------------------------------------------------------------------------------------------
 */
/* mean over rows of -sum_c t_c log softmax(logits)_c, t = (1 - smoothing) target + smoothing / C. logits, target (B,
 * C). No gradient flows into target. */
vst_value vst_cross_entropy(vst_graph *g, vst_value logits, vst_value target, double smoothing);
/* mean over rows and classes of -log sigmoid(z) where target > 0 and -log sigmoid(-z) elsewhere, as DeiT-III trains
 * (torch.nn.BCEWithLogitsLoss on mixed targets > 0; timm: BinaryCrossEntropy(target_threshold=0)). A row whose targets
 * are all 0 is unlabelled and ignored. logits, target (B, C). No gradient flows into target. */
vst_value vst_binary_cross_entropy(vst_graph *g, vst_value logits, vst_value target);
/* batchmean: sum over classes, mean over the batch, as in PyTorch's "batchmean" and timm. elements: mean over batch and
 * classes, as in facebookresearch/deit (losses.py divides by numel). */
#define VST_KL_REDUCTIONS(X) X(VST_KL_BATCHMEAN, "batchmean") X(VST_KL_ELEMENTS, "elements")
typedef enum vst_kl_reduction { VST_CHOICE_ENUM(VST_KL_REDUCTIONS) } vst_kl_reduction;
/* T² KL(softmax(teacher / T) || softmax(student / T)), Hinton et al. 2015. student, teacher (B, C). No gradient flows
 * into teacher. */
vst_value vst_kl_divergence(vst_graph *g, vst_value student, vst_value teacher, double temperature,
                            vst_kl_reduction reduction);
/* mean of (a - b)² over all elements; gradients flow into both. Equal shapes. */
vst_value vst_mse(vst_graph *g, vst_value a, vst_value b);
/* torch.nn.functional.smooth_l1_loss: mean of d² / 2 where |d| < 1, of |d| - 1 / 2 elsewhere; gradients flow into both.
 */
vst_value vst_smooth_l1(vst_graph *g, vst_value a, vst_value b);
/* One-hot rows of the largest logit (the first of equal ones): the labels of hard distillation. No gradient. */
vst_value vst_one_hot_argmax(vst_graph *g, vst_value logits);

VST_END_DECLS
#endif
