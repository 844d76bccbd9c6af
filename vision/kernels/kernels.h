/* Our kernels, for operations without a fast oneDNN primitive. Each file of this folder is compiled once per
 * instruction set (generic, AVX2, AVX-512); vsti_get_kernels() returns the table for the running processor. Except for
 * pixels, and functions with bf16 in their name, data are float32. Arrays are dense and row-major unless strides are
 * given. Except for pixels, every function uses OpenMP threads, and its result does not depend on their number: sums
 * over rows use fixed blocks whose partial sums are added in order. Pointers of one call must not overlap unless a
 * comment allows it. */
#ifndef VISTILL_VISION_KERNELS_KERNELS_H
#define VISTILL_VISION_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/random.h"
#include "vision/kernels/tuning.h"

typedef enum vsti_activation {
    VSTI_RELU,
    VSTI_RELU6,
    VSTI_GELU,
    VSTI_SILU,
    VSTI_SIGMOID,
    VSTI_HARDSWISH
} vsti_activation;

/* B images, N tokens of which the first Q are queries and all are keys, H heads of d channels; qkv (B, N, 3, H, d), out
 * (B, Q, H, d), lse (B, H, Q). */
typedef struct vsti_attention_shape {
    int64_t batch, tokens, heads, channels, queries;
} vsti_attention_shape;

/* A float32 tensor (images, channels, pixels) with blocked channels: (images, ceil(channels / block), pixels, block).
 * block 1: channels first; block = channels: channels last. The padding of the last block is 0. */
typedef struct vsti_channels {
    int64_t images, channels, pixels, block;
} vsti_channels;

/* A convolution with a 3x3 kernel and stride 1: in and out have blocked channels; blocks and the output channels of a
 * group are multiples of 8; weights (out, in / groups, 3, 3). y = min(max(convolution + bias (+ y), low), high). */
typedef struct vsti_winograd {
    int64_t images, in, out, groups, height, width, out_height, out_width, top, left; /* top, left: padding */
    int64_t in_block, out_block;
    bool sum;        /* adds what y holds */
    float low, high; /* -INFINITY, INFINITY: no bounds */
} vsti_winograd;

typedef struct vsti_adamw {                   /* and LAMB */
    float rate, beta1, beta2, epsilon, decay; /* decay: weight decay of this range of parameters, 0 for none */
    float correction1, correction2;           /* 1 - beta^t */
    float gradient_scale;                     /* clipping */
} vsti_adamw;

typedef struct vsti_sgd {
    float rate, momentum, decay; /* decay is added to the gradient, as in torch.optim.SGD */
    float gradient_scale;
    int nesterov, first; /* first: the velocity is initialised with the gradient, as in PyTorch */
} vsti_sgd;

/* Between float32 (outer, channels, inner) and 8-bit integers: x = scale[channel] (q - zero_point). */
typedef struct vsti_quantization {
    int64_t outer, channels, inner;
    int32_t zero_point;
    bool is_signed; /* int8; else uint8 */
} vsti_quantization;

/* uint8 with one scale: x = scale (q - zero_point). */
typedef struct vsti_uint8 {
    float scale;
    int32_t zero_point;
} vsti_uint8;

/* Weights (out, channels, window) of a product whose input is x = input_scale (u - input_zero_point), u of uint8. Row o
 * becomes integers in [-127, 127] of step s[o]. Processors without VNNI add the products of two neighbours, channels 2
 * i and 2 i + 1 of one place in the window, in 16 bits: sums of such weights are in [-128, 128], so that nothing
 * overflows there and all processors compute the same integers. s[o] is the least step with which both hold. */
enum { VSTI_WEIGHT_LEVELS = 127, VSTI_PAIR_LEVELS = 128 };
typedef struct vsti_weight_quantization {
    int64_t out, inner; /* inner: channels * window */
    int64_t window;
    float input_scale;
    int32_t input_zero_point;
} vsti_weight_quantization;

/* The neighbour of column i of a row of `inner` weights; -1: none. */
static inline int64_t vsti_weight_neighbour(int64_t inner, int64_t window, int64_t i) {
    const int64_t channel = i / window;
    return channel % 2 ? i - window : channel + 1 < inner / window ? i + window : -1;
}

/* A loop over a tensor of shape `dim`, dense and row-major, with separate strides, in elements, for its operands a and
 * b; stride 0 repeats an operand. */
enum { VSTI_LOOP_RANK = 6 };
typedef struct vsti_strided {
    int rank;
    int64_t dim[VSTI_LOOP_RANK], a[VSTI_LOOP_RANK], b[VSTI_LOOP_RANK];
} vsti_strided;

/* out = factor * sum over the reduced dimensions, for each index of the kept ones; strides in elements. */
typedef struct vsti_reduction {
    int64_t kept_count, reduced_count; /* numbers of elements: the products of the dimensions */
    int kept, reduced;                 /* dimensions of each kind */
    int64_t kept_dim[VSTI_LOOP_RANK], kept_stride[VSTI_LOOP_RANK];
    int64_t reduced_dim[VSTI_LOOP_RANK], reduced_stride[VSTI_LOOP_RANK];
    float factor;
} vsti_reduction;

/* Copies `outer` blocks of `count` floats between two tensors of shape (outer, width), from column `start` of each. */
typedef struct vsti_block_copy {
    int64_t outer, count, from_width, from_start, to_width, to_start;
} vsti_block_copy;

/* Maps (planes, height, width); area: the mean of all inputs that an output touches. */
typedef enum vsti_resize_kind { VSTI_RESIZE_BILINEAR, VSTI_RESIZE_BICUBIC, VSTI_RESIZE_AREA } vsti_resize_kind;
typedef struct vsti_resize {
    int64_t planes, in_height, in_width, out_height, out_width;
    vsti_resize_kind kind;
} vsti_resize;

/* Batch norm in inference: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta per channel. */
typedef struct vsti_batch_norm {
    const float *gamma, *beta, *mean, *variance;
    double epsilon;
} vsti_batch_norm;

/* Partial sums of column reductions: scratch of vsti_partial_floats(rows, cols) floats. */
static inline size_t vsti_partial_floats(int64_t cols) { return (size_t)VSTI_PARTIAL_BLOCKS * (size_t)cols; }

/* The filter weights of resampling along one axis. A weight is a fixed-point number with 22 fractional bits, stored as
 * high * 4096 + low, two factors for 16-bit multiplications. */
typedef struct vsti_taps {
    int groups;             /* of four taps, stored per output; unused taps are 0 */
    const int32_t *bounds;  /* per output: the first input and the number of taps */
    const int16_t *weights; /* (outputs, groups, 8): four high parts, then four low parts */
} vsti_taps;
enum {
    VSTI_TAP_ROWS = 4,  /* resampled at a time */
    VSTI_TAP_SLACK = 16 /* bytes after the end of an input row that must be readable; their values are ignored */
};

/* An affine map: output (x, y) is the input, of 1 or 3 channels, at matrix (x + 0.5, y + 0.5, 1), or `fill` outside. */
typedef struct vsti_affine {
    const uint8_t *pixels;
    int channels, height, width;
    uint8_t fill[3];
    double matrix[6];
} vsti_affine;

typedef struct vsti_kernels {
    const char *isa;  /* "generic", "avx2", "avx512" */
    const char *name; /* name in profiles, such as "vistill:avx2" */
    int level;        /* 0, 1, 2, in that order */

    /* y may be x. */
    void (*activation)(vsti_activation kind, const float *x, float *y, int64_t n);
    /* dx = dy f'(x); dx may be dy. For ReLU and ReLU6, x may be y. */
    void (*activation_backward)(vsti_activation kind, const float *x, const float *dy, float *dx, int64_t n);
    /* The same over rows, and in the same pass y = f(x), except for ReLU and ReLU6, and sum[c] = sum over rows of dx,
     * as column_sum computes it; each NULL if not wanted. y may be x, dx may be dy. partial: vsti_partial_floats(cols).
     */
    void (*activation_backward_rows)(vsti_activation kind, const float *x, const float *dy, float *dx, float *y,
                                     float *sum, float *partial, int64_t rows, int64_t cols);

    /* out = a + b, out = a * b, out = factor a; out may be an input. */
    void (*add)(const float *a, const float *b, float *out, int64_t n);
    void (*mul)(const float *a, const float *b, float *out, int64_t n);
    void (*scale)(const float *a, float factor, float *out, int64_t n);
    /* Casts: bfloat16 is rounded to nearest, ties to even. */
    void (*to_bf16)(const float *x, uint16_t *y, int64_t n);
    void (*from_bf16)(const uint16_t *x, float *y, int64_t n);
    /* The functions of the same name on bfloat16: what they compute is rounded once. */
    void (*activation_bf16)(vsti_activation kind, const uint16_t *x, uint16_t *y, int64_t n);
    void (*activation_backward_bf16)(vsti_activation kind, const uint16_t *x, const uint16_t *dy, uint16_t *dx,
                                     int64_t n);
    void (*add_bf16)(const uint16_t *a, const uint16_t *b, uint16_t *out, int64_t n);
    /* x, mean and rstd are float32. scratch: VSTI_BF16_NORM_ROWS cols floats for each thread. */
    void (*layer_norm_bf16)(const float *x, const float *gamma, const float *beta, uint16_t *y, float *mean,
                            float *rstd, int64_t rows, int64_t cols, float epsilon, float *scratch);
    void (*column_sum_bf16)(const uint16_t *x, float *sum, float *partial, int64_t rows, int64_t cols);
    void (*attention_bf16)(const vsti_attention_shape *shape, float scale, const uint16_t *qkv, uint16_t *out,
                           float *lse, float *scratch);
    void (*attention_backward_bf16)(const vsti_attention_shape *shape, float scale, const uint16_t *qkv,
                                    const uint16_t *out, const float *lse, const uint16_t *dout, uint16_t *dqkv,
                                    float *scratch);
    size_t (*attention_scratch_bf16)(const vsti_attention_shape *shape, int threads);

    /* q = round(x / scale) + zero_point, ties to even, clamped to the range of the dtype; NaN becomes the minimum.
     * Scales of the channels; bytes of int8 or uint8. */
    void (*quantize)(const vsti_quantization *shape, const float *scales, const float *x, void *q);
    void (*dequantize)(const vsti_quantization *shape, const float *scales, const void *q, float *y);
    /* y = scale (q - zero_point), q as `quantize` to uint8 rounds x with this one scale; y may be x. */
    void (*fake_quantize)(float scale, int zero_point, const float *x, float *y, int64_t n);
    /* dx = dy where q lies in 0 … 255 before it is clamped, else 0; dx may be dy. */
    void (*fake_quantize_backward)(float scale, int zero_point, const float *x, const float *dy, float *dx, int64_t n);
    /* y (out, inner) = the integers of quantize_weights times their step. */
    void (*fake_quantize_weights)(const vsti_weight_quantization *shape, const float *x, float *y);
    /* The product is scales[o] (q u)[o] + shifts[o], bias (NULL: none) and batch norm (NULL: none) included. */
    void (*quantize_weights)(const vsti_weight_quantization *shape, const vsti_batch_norm *norm, const float *weight,
                             const float *bias, int8_t *q, float *scales, float *shifts);
    /* Copies x (outer, channels, inner) to y = (x - mean[c]) * inverse[c]; y may be x. */
    void (*normalize)(const float *x, const float *mean, const float *inverse, float *y, int64_t outer,
                      int64_t channels, int64_t inner);

    /* out = a + b and a * b with broadcasting; out may be an operand that is not repeated. Rank 1 or more. These and
     * all functions down to smooth_l1_backward give the same bits on every instruction set. */
    void (*broadcast_add)(const vsti_strided *shape, const float *a, const float *b, float *out);
    void (*broadcast_mul)(const vsti_strided *shape, const float *a, const float *b, float *out);
    /* out = x, permuted or repeated: x is read with the strides a. */
    void (*copy_strided)(const vsti_strided *shape, const float *x, float *out);
    void (*reduce)(const vsti_reduction *shape, const float *x, float *out);
    /* Copies the blocks. The rest of `to` is unchanged, set to 0, or copied from `sum`, to which the blocks are then
     * added. sum may be to. Single-threaded. */
    void (*copy_blocks)(const vsti_block_copy *blocks, const float *from, float *to);
    void (*pad_blocks)(const vsti_block_copy *blocks, const float *from, float *to);
    void (*add_blocks)(const vsti_block_copy *blocks, const float *from, const float *sum, float *to);
    void (*resize)(const vsti_resize *shape, const float *x, float *y);
    void (*resize_backward)(const vsti_resize *shape, const float *dy, float *dx);
    /* Updates running statistics by momentum (batch - running), with the batch variance times `unbiased`, and
     * increments the batch counter. This function and the next one are single-threaded. */
    void (*running_statistics)(const float *mean, const float *variance, float momentum, float unbiased,
                               float *running_mean, float *running_variance, float *batches, int64_t channels);
    /* The weights (out, inner) and bias (out, or NULL) of a convolution with the batch norm that follows folded in. */
    void (*fold_batch_norm)(const vsti_batch_norm *norm, const float *weight, const float *bias, float *new_weight,
                            float *new_bias, int64_t out, int64_t inner);
    /* y = x / max(|x|, 1e-12) for each row. */
    void (*l2_normalize)(const float *x, float *y, int64_t rows, int64_t cols);
    void (*l2_normalize_backward)(const float *x, const float *dy, float *dx, int64_t rows, int64_t cols);
    /* y (rows, rows): the distances between the rows of x, divided by their mean over pairs of different rows. */
    void (*pairwise_distances)(const float *x, float *y, int64_t rows, int64_t cols);
    /* distances: rows * rows floats of scratch. */
    void (*pairwise_distances_backward)(const float *x, const float *dy, float *dx, float *distances, int64_t rows,
                                        int64_t cols);
    /* *loss = mean of d² / 2 where |d| < 1, of |d| - 1 / 2 elsewhere, d = a - b. */
    void (*smooth_l1)(const float *a, const float *b, float *loss, int64_t n);
    void (*smooth_l1_backward)(const float *a, const float *b, const float *dloss, float *da, int64_t n);

    /* out = x factor[image, channel]; out may be x. factor (images, channels), plain. */
    void (*channel_mul)(const float *x, const float *factor, float *out, vsti_channels shape);
    /* out[image, channel] = factor * sum of x over the pixels; out (images, channels), plain. */
    void (*channel_sum)(const float *x, float *out, float factor, vsti_channels shape);

    /* Winograd's convolution: weights are packed once; bias (out) or NULL. In float32 its error is about twice that of
     * direct convolution. */
    size_t (*winograd_weights_floats)(const vsti_winograd *shape);
    size_t (*winograd_scratch_floats)(const vsti_winograd *shape);
    void (*winograd_weights)(const vsti_winograd *shape, const float *weight, float *packed);
    void (*winograd)(const vsti_winograd *shape, const float *x, const float *packed, const float *bias, float *y,
                     float *scratch);

    /* mean and rstd (rows) are written for the backward pass. */
    void (*layer_norm)(const float *x, const float *gamma, const float *beta, float *y, float *mean, float *rstd,
                       int64_t rows, int64_t cols, float epsilon);
    /* The same numbers, quantised. */
    void (*layer_norm_uint8)(const float *x, const float *gamma, const float *beta, const vsti_uint8 *to, uint8_t *y,
                             int64_t rows, int64_t cols, float epsilon);
    /* dx = gradient (+ accumulate, if not NULL; dx may be accumulate or dy). dgamma, dbeta (cols), both NULL if not
     * wanted; sum[c] = sum over rows of dx, as column_sum computes it, or NULL. partial: 3 vsti_partial_floats(cols).
     */
    void (*layer_norm_backward)(const float *x, const float *gamma, const float *mean, const float *rstd,
                                const float *dy, const float *accumulate, float *dx, float *dgamma, float *dbeta,
                                float *sum, float *partial, int64_t rows, int64_t cols);

    /* sum[c] = sum over rows of x (rows, cols). partial: vsti_partial_floats(cols). */
    void (*column_sum)(const float *x, float *sum, float *partial, int64_t rows, int64_t cols);

    /* Over the last dimension; y may be x. */
    void (*softmax)(const float *x, float *y, int64_t rows, int64_t cols);
    void (*log_softmax)(const float *x, float *y, int64_t rows, int64_t cols);
    /* Uses the forward result y; dx may be dy. */
    void (*softmax_backward)(const float *y, const float *dy, float *dx, int64_t rows, int64_t cols);
    void (*log_softmax_backward)(const float *y, const float *dy, float *dx, int64_t rows, int64_t cols);
    /* (x - mean) / (std + 1e-7), unbiased std, per row. */
    void (*standardize)(const float *x, float *y, int64_t rows, int64_t cols);
    void (*standardize_backward)(const float *x, const float *dy, float *dx, int64_t rows, int64_t cols);

    /* scratch: attention_scratch(shape, threads) floats. scale is 1/sqrt(d). lse = log sum exp of the scaled scores. */
    void (*attention)(const vsti_attention_shape *shape, float scale, const float *qkv, float *out, float *lse,
                      float *scratch);
    /* The same numbers, quantised. */
    void (*attention_uint8)(const vsti_attention_shape *shape, float scale, const float *qkv, const vsti_uint8 *to,
                            uint8_t *out, float *scratch);
    void (*attention_backward)(const vsti_attention_shape *shape, float scale, const float *qkv, const float *out,
                               const float *lse, const float *dout, float *dqkv, float *scratch);
    size_t (*attention_scratch)(const vsti_attention_shape *shape,
                                int threads); /* sufficient for forward and backward */

    /* *loss = mean over rows; t = (1 - smoothing) target + smoothing / cols. row_loss: rows floats of scratch. */
    void (*cross_entropy)(const float *logits, const float *target, float smoothing, float *loss, float *row_loss,
                          int64_t rows, int64_t cols);
    /* dlogits = *dloss * d loss / d logits. */
    void (*cross_entropy_backward)(const float *logits, const float *target, float smoothing, const float *dloss,
                                   float *dlogits, int64_t rows, int64_t cols);
    /* Binary cross-entropy per class with the label target > 0: *loss = mean of log(1 + e^z) - [target > 0] z over the
     * rows with at least one such class, 0 without such rows. row_loss: rows floats of scratch. */
    void (*binary_cross_entropy)(const float *logits, const float *target, float *loss, float *row_loss, int64_t rows,
                                 int64_t cols);
    void (*binary_cross_entropy_backward)(const float *logits, const float *target, const float *dloss, float *dlogits,
                                          int64_t rows, int64_t cols);
    /* *loss = factor * sum over rows and columns of p_t (log p_t - log p_s) with p = softmax(z / temperature). */
    void (*kl)(const float *student, const float *teacher, float temperature, float factor, float *loss,
               float *row_loss, int64_t rows, int64_t cols);
    void (*kl_backward)(const float *student, const float *teacher, float temperature, float factor, const float *dloss,
                        float *dstudent, int64_t rows, int64_t cols);
    /* *loss = mean of (a - b)²; partial: VSTI_PARTIAL_BLOCKS doubles. */
    void (*mse)(const float *a, const float *b, float *loss, double *partial, int64_t n);
    /* da = *dloss * 2 (a - b) / n. */
    void (*mse_backward)(const float *a, const float *b, const float *dloss, float *da, int64_t n);

    /* One-hot rows of the largest element, the first of equal ones. */
    void (*one_hot_argmax)(const float *x, float *y, int64_t rows, int64_t cols);

    /* Random masks: element i (dropout) or row i of `inner` elements (drop path) is kept with probability 1 - rate and
     * scaled by 1 / (1 - rate); the decision is a pure function of (seed, stream, step, i). y may be x; the backward
     * pass is the same call on the gradient. */
    void (*dropout)(const float *x, float *y, float rate, uint64_t seed, uint64_t stream, uint32_t step, int64_t outer,
                    int64_t inner);

    /* n independent numbers N(mean, std²) from whole blocks of the stream. Single-threaded; the same bits on every
     * instruction set. */
    void (*normals)(vst_random *random, float mean, float std, float *out, int64_t n);

    /* Sum of squares in double, for clipping by norm. */
    double (*sum_squares)(const float *x, int64_t n);
    /* One pass over a range of parameters: clip, decay, moments, update (torch.optim.AdamW); ema is NULL or updated
     * with ema = ema_decay ema + (1 - ema_decay) value. */
    void (*adamw)(const vsti_adamw *options, float *value, const float *gradient, float *m, float *v, float *ema,
                  float ema_decay, int64_t n);
    /* LAMB in two passes over a tensor, because the trust ratio depends on the whole tensor: u = m / correction1 /
     * (sqrt(v / correction2) + epsilon) + decay value is computed from the new moments in both passes instead of being
     * stored. squares receives the sums of the squares of value and of u; then value -= rate u, where rate includes the
     * trust ratio. */
    void (*lamb_moments)(const vsti_adamw *options, const float *value, const float *gradient, float *m, float *v,
                         double squares[2], int64_t n);
    void (*lamb_apply)(const vsti_adamw *options, float *value, const float *m, const float *v, float *ema,
                       float ema_decay, int64_t n);
    void (*sgd)(const vsti_sgd *options, float *value, const float *gradient, float *velocity, float *ema,
                float ema_decay, int64_t n);

    /* 8-bit pixels. These functions are single-threaded, because each loader thread has its own image, and give the
     * same bits on every instruction set, because they must be equal to Pillow's. */

    /* Resamples VSTI_TAP_ROWS rows to `outputs` pixels; rows out[i] may be equal if the rows in[i] are. */
    void (*resample_rows)(const uint8_t *const *in, uint8_t *const *out, int channels, const vsti_taps *taps,
                          int outputs);
    /* Resamples `rows` rows of n values to one row, with the taps of output `output`. */
    void (*resample_column)(const uint8_t *in, size_t stride, int rows, const vsti_taps *taps, int output, uint8_t *out,
                            int64_t n);
    /* out = a + factor (b - a), rounded towards 0 and clipped; out may be a or b. */
    void (*blend)(const uint8_t *a, const uint8_t *b, float factor, uint8_t *out, int64_t n);
    /* The luminance of n pixels. */
    void (*luminance)(const uint8_t *rgb, uint8_t *grey, int64_t n);
    /* n grey pixels as RGB. */
    void (*spread)(const uint8_t *grey, uint8_t *rgb, int64_t n);
    /* Mirrors a row of pixels, in place. */
    void (*mirror)(uint8_t *row, int channels, int64_t width);
    /* Converts n pixels to planes of floats x / 255: out (channels, n). */
    void (*unit_floats)(const uint8_t *in, int channels, float *out, int64_t n);
    /* The weighted mean of 3 x 3 pixels, with weight 5 for the centre and 1 for the others; values above[-channels] …
     * below[n + channels - 1] are read. */
    void (*smooth)(const uint8_t *above, const uint8_t *here, const uint8_t *below, int channels, uint8_t *out,
                   int64_t n);
    /* One row of a vertical box blur: sum += enter - leave; out = (sum whole + (leave + edge) part) / 2^24, rounded. */
    void (*box_blur)(uint32_t *sum, const uint8_t *leave, const uint8_t *enter, const uint8_t *edge, uint32_t whole,
                     uint32_t part, uint8_t *out, int64_t n);
    /* Row y of an affine map. */
    void (*affine_bilinear)(const vsti_affine *map, int y, uint8_t *out, int width);
    void (*affine_bicubic)(const vsti_affine *map, int y, uint8_t *out, int width);
} vsti_kernels;

/* The table for this processor. The environment variable VISTILL_ISA (generic, avx2, avx512) narrows the choice. */
const vsti_kernels *vsti_get_kernels(void);
/* A table by name, NULL if unknown or not supported by this processor; for tests. */
const vsti_kernels *vsti_find_kernels(const char *isa);

/* A kernel of a single operation needs no entry in the table. Declare it at file scope, in the kernel's file and in the
 * operation's file, with VSTI_OWN_KERNEL(cube, const float *x, float *y, int64_t n); define void K(cube)(...) in the
 * kernel's file and call vsti_own_cube()(x, y, n) in the operation. */
#define VSTI_OWN_KERNEL(name, ...)                                                                                    \
    void vsti_##name##_generic(__VA_ARGS__), vsti_##name##_avx2(__VA_ARGS__), vsti_##name##_avx512(__VA_ARGS__);      \
    typedef void vsti_own_##name##_function(__VA_ARGS__);                                                             \
    __attribute__((unused)) static inline vsti_own_##name##_function *vsti_own_##name(void) {                         \
        vsti_own_##name##_function *const each[] = {vsti_##name##_generic, vsti_##name##_avx2, vsti_##name##_avx512}; \
        return each[vsti_get_kernels()->level];                                                                       \
    }                                                                                                                 \
    struct vsti_own_##name##_end /* takes the semicolon */

#endif
