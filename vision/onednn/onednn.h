/* The only interface to oneDNN: wrappers of layouts and primitives. Functions that can fail return a status and set the
 * error message; all are thread-safe. A primitive is immutable after creation and may be shared by threads; each thread
 * needs its own arguments and stream. Shapes and argument meanings follow oneDNN's developer guide
 * (https://uxlfoundation.github.io/oneDNN). */
#ifndef VISTILL_VISION_ONEDNN_ONEDNN_H
#define VISTILL_VISION_ONEDNN_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"
#include "vision/kernels/kernels.h"
#include "vision/tensor/tensor.h"

/* ---- formats: dtype and memory layout of a copy of a value ---- */

/* oneDNN's memory descriptor, owned by a primitive or by its creator. It gives the element offsets of a format only;
 * its own dtype does not matter. */
typedef struct vsti_descriptor vsti_descriptor;
VST_NODISCARD vst_status vsti_descriptor_strided(vsti_descriptor **out, const vst_shape *shape, const int64_t *strides);
/* Channels of (N, C, H, W) in blocks of 8 or 16, or last (block = C). */
VST_NODISCARD vst_status vsti_descriptor_channels(vsti_descriptor **out, const vst_shape *shape, int64_t block);
void vsti_descriptor_destroy(vsti_descriptor *descriptor);

typedef enum vsti_layout_kind {
    VSTI_LAYOUT_PLAIN, /* dense, row-major */
    VSTI_LAYOUT_DESCRIBED
} vsti_layout_kind;

typedef struct vsti_layout {
    vsti_layout_kind kind;
    const vsti_descriptor *descriptor; /* of VSTI_LAYOUT_DESCRIBED */
} vsti_layout;
/* The layout of a descriptor: plain if the descriptor is dense and row-major. */
vsti_layout vsti_layout_of(const vsti_descriptor *descriptor);
bool vsti_layout_equal(vsti_layout a, vsti_layout b);
/* True if the layout of a tensor (N, C, H, W) is that of vsti_channels (kernels.h); sets *block, 1 for plain. */
bool vsti_layout_channel_block(vsti_layout layout, int64_t *block);
bool vsti_layout_is_padded(vsti_layout layout); /* has elements beyond the shape's */
/* Number of elements of a tensor in memory, including padding. */
int64_t vsti_layout_elements(vsti_layout layout, const vst_shape *shape);

typedef struct vsti_format {
    vst_dtype dtype; /* VST_F32, VST_BF16, VST_I8, VST_U8 */
    vsti_layout layout;
} vsti_format;
#define VSTI_PLAIN ((vsti_format){VST_F32, {VSTI_LAYOUT_PLAIN, NULL}}) /* float32, dense, row-major */
bool vsti_format_equal(vsti_format a, vsti_format b);
size_t vsti_format_bytes(vsti_format format, const vst_shape *shape);

/* ---- primitives ---- */
typedef struct vsti_primitive vsti_primitive;

typedef enum vsti_role {
    VSTI_SRC,
    VSTI_WEIGHTS,
    VSTI_BIAS,
    VSTI_DST,
    VSTI_DIFF_SRC,
    VSTI_DIFF_WEIGHTS,
    VSTI_DIFF_BIAS,
    VSTI_DIFF_DST,
    VSTI_MEAN,
    VSTI_VARIANCE,
    VSTI_SCALE,
    VSTI_SHIFT,
    VSTI_DIFF_SCALE,
    VSTI_DIFF_SHIFT,
    VSTI_WORKSPACE,
    VSTI_SCRATCHPAD,
    VSTI_WEIGHTS_SCALE, /* of products on 8-bit integers: (out) */
    VSTI_DST_SCALE,     /* (1) */
    VSTI_ROLES
} vsti_role;

void vsti_primitive_destroy(vsti_primitive *primitive);
/* The format that the primitive requires for an argument; its layout is owned by the primitive. */
vsti_format vsti_primitive_format(const vsti_primitive *primitive, vsti_role role);
size_t vsti_primitive_bytes(const vsti_primitive *primitive, vsti_role role); /* 0: not used */
const char *vsti_primitive_implementation(const vsti_primitive *primitive);
bool vsti_primitive_is_reference(const vsti_primitive *primitive); /* oneDNN's slow reference code */

/* The arguments of a primitive, bound to memory. */
typedef struct vsti_arguments vsti_arguments;
VST_NODISCARD vst_status vsti_arguments_create(vsti_arguments **out, const vsti_primitive *primitive,
                                               const vsti_role *roles, void *const *memory, int count);
void vsti_arguments_destroy(vsti_arguments *arguments);
size_t vsti_arguments_bytes(int count); /* bytes that _create allocates */

/* A stream for running primitives; one thread at a time. */
typedef struct vsti_stream vsti_stream;
VST_NODISCARD vst_status vsti_stream_create(vsti_stream **out);
void vsti_stream_destroy(vsti_stream *stream);
size_t vsti_stream_bytes(void); /* bytes that _create allocates */
VST_NODISCARD vst_status vsti_primitive_run(const vsti_primitive *primitive, vsti_stream *stream,
                                            const vsti_arguments *arguments);

/* Post-operations of a product: y = activation(product + y) + offset. */
typedef struct vsti_post {
    bool sum;        /* add the previous contents of the output, of its own type */
    float sum_scale; /* their scale, if the output is uint8 */
    bool activate;
    vsti_activation activation;
    float offset; /* the zero point of a uint8 output, times its scale */
} vsti_post;

/* What a product computes on. With integers: SRC is uint8 and WEIGHTS int8; DST = activation(WEIGHTS_SCALE (SRC
 * WEIGHTS)
 * + BIAS + DST), of float32, or of uint8 after division by DST_SCALE. Images are channels-last then. With bfloat16 both
 * factors are bf16, sums and BIAS float32, and the result is bf16 or float32; gradients of weights and bias are
 * float32. */
typedef enum vsti_arithmetic {
    VSTI_FLOAT32,
    VSTI_INT8,
    VSTI_INT8_TO_UINT8,
    VSTI_BFLOAT16,
    VSTI_BFLOAT16_TO_FLOAT32
} vsti_arithmetic;

/* What the processor, as ONEDNN_MAX_CPU_ISA narrows it, has for products in bf16: AVX512_BF16 or AMX; AVX-512, which
 * emulates them more slowly than float32; or only oneDNN's reference code. */
typedef enum vsti_bf16_support { VSTI_BF16_NONE, VSTI_BF16_EMULATED, VSTI_BF16_NATIVE } vsti_bf16_support;
vsti_bf16_support vsti_bf16_supported(void);

typedef struct vsti_convolution {
    int64_t batch, groups, in, height, width, out, out_height, out_width, kernel, stride, dilation;
    int64_t top, left; /* padding; that at the bottom and right follows from the output's size */
    bool bias;
    bool plain; /* plain layouts everywhere, for tests */
    bool inference;
    vsti_arithmetic arithmetic; /* integers: forward in inference only */
    vsti_post after;            /* forward only */
} vsti_convolution;
/* Weights (out, in / groups, kernel, kernel) in timm's plain layout; oneDNN chooses the other layouts. */
VST_NODISCARD vst_status vsti_convolution_forward(vsti_primitive **out, const vsti_convolution *shape);
VST_NODISCARD vst_status vsti_convolution_backward_data(vsti_primitive **out, const vsti_convolution *shape);
VST_NODISCARD vst_status vsti_convolution_backward_weights(vsti_primitive **out, const vsti_convolution *shape);

/* C (…, M, N) = A (…, M, K) B (…, K, N) [+ bias]. Strides in elements; at most 3 dimensions, the batch first. */
typedef struct vsti_matmul {
    int rank; /* 2 or 3 */
    int64_t dims_a[3], strides_a[3], dims_b[3], strides_b[3], dims_c[3], strides_c[3];
    bool bias;                  /* (N), plain */
    bool pack;                  /* oneDNN chooses the layout of B; for a B that is used repeatedly */
    vsti_arithmetic arithmetic; /* integers need rank 2 and `pack` */
    vsti_post after;
} vsti_matmul;
VST_NODISCARD vst_status vsti_matmul_create(vsti_primitive **out, const vsti_matmul *shape);

/* Batch norm in the layout of its input. Training writes MEAN and VARIANCE (biased), inference reads them. The backward
 * pass is of the `batch` statistics, or of constant ones. */
VST_NODISCARD vst_status vsti_batch_norm_forward(vsti_primitive **out, const vst_shape *shape, vsti_format format,
                                                 double epsilon, bool training);
VST_NODISCARD vst_status vsti_batch_norm_backward(vsti_primitive **out, const vst_shape *shape, vsti_format format,
                                                  double epsilon, bool batch);

typedef enum vsti_pool_kind { VSTI_POOL_MAX, VSTI_POOL_AVERAGE, VSTI_POOL_AVERAGE_PADDED } vsti_pool_kind;
typedef struct vsti_pool {
    vsti_pool_kind kind;
    int64_t batch, channels, height, width, out_height, out_width, kernel, stride, padding;
    bool training; /* max pooling: with a workspace for the backward pass */
} vsti_pool;
VST_NODISCARD vst_status vsti_pool_forward(vsti_primitive **out, const vsti_pool *shape, vsti_format source);
VST_NODISCARD vst_status vsti_pool_backward(vsti_primitive **out, const vsti_pool *shape, vsti_format source);

/* Reorders float32 or bf16 from one layout to another, to the same or the other dtype. */
VST_NODISCARD vst_status vsti_reorder_create(vsti_primitive **out, const vst_shape *shape, vsti_format from,
                                             vsti_format to);
/* Reorders int8 weights, dense in the strides given (of a convolution with groups: without a dimension for them, as in
 * timm), to the layout that a product on integers requires. */
VST_NODISCARD vst_status vsti_weights_reorder_create(vsti_primitive **out, const vsti_primitive *product,
                                                     const int64_t *strides);
/* True if two reorders have the same source and destination layouts. */
bool vsti_reorder_equal(const vsti_primitive *a, const vsti_primitive *b);

enum { VSTI_VERSION_TEXT = 32 };
/* Writes "3.2.0" into text and returns it. */
const char *vsti_onednn_version(char text[VSTI_VERSION_TEXT]);

#endif
