/* The only door to oneDNN: layouts and primitives behind our own names. All functions set an error and return NULL or a
 * status on failure, and are safe to call from several threads. A primitive never changes after its creation: threads
 * share it, each with arguments and a stream of its own.
 * Shapes and argument meanings follow oneDNN's developer guide (https://uxlfoundation.github.io/oneDNN). */
#ifndef VISTILL_VISION_ONEDNN_ONEDNN_H
#define VISTILL_VISION_ONEDNN_ONEDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vision/base/status.h"
#include "vision/kernels/kernels.h"
#include "vision/tensor/tensor.h"

/* ---- layouts: how a float32 tensor lies in memory. NULL stands for the plain, dense, row-major one. ---- */
typedef struct vsti_layout vsti_layout;
VST_NODISCARD vst_status vsti_layout_strided(vsti_layout **out, const vst_shape *shape, const int64_t *strides);
/* Channels of (N, C, H, W) in blocks of 8 or 16, or last (block = C). */
VST_NODISCARD vst_status vsti_layout_channels(vsti_layout **out, const vst_shape *shape, int64_t block);
void vsti_layout_destroy(vsti_layout *layout);
bool vsti_layout_equal(const vsti_layout *a, const vsti_layout *b); /* two that are not NULL */
size_t vsti_layout_bytes(const vsti_layout *layout);
bool vsti_layout_is_plain(const vsti_layout *layout);
/* Is the layout of a tensor (N, C, H, W) that of vsti_channels (kernels.h), and with which block? NULL: plain, block 1.
 */
bool vsti_layout_channel_block(const vsti_layout *layout, int64_t *block);
bool vsti_layout_is_padded(const vsti_layout *layout); /* has elements beyond the shape's */

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
    VSTI_ROLES
} vsti_role;

void vsti_primitive_destroy(vsti_primitive *primitive);
/* The layout the primitive wants for an argument: NULL if plain. Owned by the primitive. */
const vsti_layout *vsti_primitive_layout(const vsti_primitive *primitive, vsti_role role);
size_t vsti_primitive_bytes(const vsti_primitive *primitive, vsti_role role); /* 0: not used */
const char *vsti_primitive_implementation(const vsti_primitive *primitive);

/* What a primitive reads and writes, in one place of memory. */
typedef struct vsti_arguments vsti_arguments;
VST_NODISCARD vst_status vsti_arguments_create(vsti_arguments **out, const vsti_primitive *primitive,
                                               const vsti_role *roles, void *const *memory, int count);
void vsti_arguments_destroy(vsti_arguments *arguments);
size_t vsti_arguments_bytes(int count); /* that _create allocates */

/* In which one thread at a time runs primitives. */
typedef struct vsti_stream vsti_stream;
VST_NODISCARD vst_status vsti_stream_create(vsti_stream **out);
void vsti_stream_destroy(vsti_stream *stream);
size_t vsti_stream_bytes(void); /* that _create allocates */
VST_NODISCARD vst_status vsti_primitive_run(const vsti_primitive *primitive, vsti_stream *stream,
                                            const vsti_arguments *arguments);

/* What a product does to its result besides: y = activation(product + y). */
typedef struct vsti_post {
    bool sum; /* adds what the output's memory holds */
    bool activate;
    vsti_activation activation;
} vsti_post;

typedef struct vsti_convolution {
    int64_t batch, groups, in, height, width, out, out_height, out_width, kernel, stride, dilation;
    int64_t top, left; /* padding; what the output's size needs besides lies at the bottom and right */
    bool bias;
    bool plain; /* plain layouts everywhere, for tests */
    bool inference;
    vsti_post after; /* forward only */
} vsti_convolution;
/* Weights (out, in / groups, kernel, kernel) in the plain layout of timm; the other layouts are oneDNN's choice. */
VST_NODISCARD vst_status vsti_convolution_forward(vsti_primitive **out, const vsti_convolution *shape);
VST_NODISCARD vst_status vsti_convolution_backward_data(vsti_primitive **out, const vsti_convolution *shape);
VST_NODISCARD vst_status vsti_convolution_backward_weights(vsti_primitive **out, const vsti_convolution *shape);

/* C (…, M, N) = A (…, M, K) B (…, K, N) [+ bias]. Strides in elements; at most 3 dimensions, the batch first. */
typedef struct vsti_matmul {
    int rank; /* 2 or 3 */
    int64_t dims_a[3], strides_a[3], dims_b[3], strides_b[3], dims_c[3], strides_c[3];
    bool bias; /* (N), plain */
    bool pack; /* B in a layout of oneDNN's choice, for a B that is used again and again */
    vsti_post after;
} vsti_matmul;
VST_NODISCARD vst_status vsti_matmul_create(vsti_primitive **out, const vsti_matmul *shape);

/* Batch norm in the layout of its source. Training writes MEAN and VARIANCE (biased), inference reads them. */
VST_NODISCARD vst_status vsti_batch_norm_forward(vsti_primitive **out, const vst_shape *shape,
                                                 const vsti_layout *layout, double epsilon, bool training);
VST_NODISCARD vst_status vsti_batch_norm_backward(vsti_primitive **out, const vst_shape *shape,
                                                  const vsti_layout *layout, double epsilon);

typedef enum vsti_pool_kind { VSTI_POOL_MAX, VSTI_POOL_AVERAGE, VSTI_POOL_AVERAGE_PADDED } vsti_pool_kind;
typedef struct vsti_pool {
    vsti_pool_kind kind;
    int64_t batch, channels, height, width, out_height, out_width, kernel, stride, padding;
    bool training; /* max pooling: with a workspace for the backward pass */
} vsti_pool;
VST_NODISCARD vst_status vsti_pool_forward(vsti_primitive **out, const vsti_pool *shape, const vsti_layout *source);
VST_NODISCARD vst_status vsti_pool_backward(vsti_primitive **out, const vsti_pool *shape, const vsti_layout *source);

/* From one layout to another; NULL is plain. */
VST_NODISCARD vst_status vsti_reorder_create(vsti_primitive **out, const vst_shape *shape, const vsti_layout *from,
                                             const vsti_layout *to);
/* Do two reorders read and write the same layouts? */
bool vsti_reorder_equal(const vsti_primitive *a, const vsti_primitive *b);

enum { VSTI_VERSION_TEXT = 32 };
/* Writes "3.2.0" into text and returns it. */
const char *vsti_onednn_version(char text[VSTI_VERSION_TEXT]);

#endif
