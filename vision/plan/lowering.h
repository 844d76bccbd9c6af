/* A program under construction, as operations see it when they are lowered. Errors are sticky, as in the graph: after
 * the first one every call does nothing and gives VSTI_NO_BUFFER back. */
#ifndef VISTILL_VISION_PLAN_LOWERING_H
#define VISTILL_VISION_PLAN_LOWERING_H

#include "vision/graph/node.h"
#include "vision/onednn/onednn.h"

typedef int vsti_buffer; /* memory whose address is known once there is a context */
enum { VSTI_NO_BUFFER = -1 };

typedef struct vsti_run { /* what a kernel may know of the run */
    uint64_t seed;
    uint32_t step;
} vsti_run;

/* buffers[i] is the address of the i-th buffer given to vsti_kernel_step. */
typedef void vsti_kernel_function(void *const *buffers, const void *arguments, const vsti_run *run);

const vst_graph *vsti_lowering_graph(const vsti_lowering *lowering);
bool vsti_is_training(const vsti_lowering *lowering);
bool vsti_is_plain(const vsti_lowering *lowering); /* plain layouts only, nothing overwritten (tests) */
void vsti_lowering_fail(vsti_lowering *lowering, vst_status status); /* keeps the thread's error */

/* The value in format `wanted`; a reorder, cast, quantisation or dequantisation is inserted if it is not there yet. */
vsti_buffer vsti_read(vsti_lowering *lowering, int value, vsti_format wanted);
/* float32 in the layout in which the value was written: what an operation that works in any layout should take. */
vsti_format vsti_f32_format(const vsti_lowering *lowering, int value);
/* float32 in the layout of a value (N, C, H, W) as vsti_channels describes it (kernels.h), C a multiple of the block.
 */
vsti_format vsti_channel_format(vsti_lowering *lowering, int value, int64_t block);
/* Memory for a value that the node computes. */
vsti_buffer vsti_write(vsti_lowering *lowering, int value, vsti_format format);
/* The same for a value whose size its shape does not say: a primitive's workspace. */
vsti_buffer vsti_write_bytes(vsti_lowering *lowering, int value, size_t bytes);
/* As vsti_write, over the memory of `input` (read in the same format by this node) if nothing needs that any more. */
vsti_buffer vsti_write_over(vsti_lowering *lowering, int value, int input, vsti_format format);
/* `value` is `input`'s memory (plain), seen with another shape and `offset` elements further. */
void vsti_alias(vsti_lowering *lowering, int value, int input, int64_t offset);
/* Memory for the duration of the node. */
vsti_buffer vsti_scratch(vsti_lowering *lowering, size_t bytes);

/* Memory for a value to which a primitive adds: it begins with the contents of `addend`, a value of the same shape, and
 * is that one's memory if nothing needs it any more. */
vsti_buffer vsti_write_sum(vsti_lowering *lowering, int value, int addend, vsti_format format);

/* What one step computes besides the node that is being lowered: up to y = activation(norm(node) + residual). */
typedef struct vsti_fusion {
    int output;                  /* the value to write: the node's own first output where nothing is fused */
    int residual;                /* value to add before the activation; 0: none */
    const vsti_node *norm;       /* batch norm for the weights to take in; NULL: none */
    const vsti_node *activation; /* NULL: none */
} vsti_fusion;
vsti_fusion vsti_fused(const vsti_lowering *lowering, const vsti_node *node);

/* ---- packed weights: computed when the parameters change, not in every run (inference programs) ---- */

enum { VSTI_MAX_PACK_INPUTS = 8 };
/* `function` computes new packed weights from parameters and packed weights; it gets the inputs and then the outputs,
 * which come back in `outputs`. Programs share what equal functions compute from equal arguments and inputs, so the
 * arguments (padding included) say only what the result depends on. A result that no step reads is kept only until all
 * is packed. */
void vsti_pack_step(vsti_lowering *lowering, vsti_kernel_function *function, const void *arguments,
                    size_t argument_bytes, const vsti_buffer *inputs, int input_count, const size_t *output_bytes,
                    int output_count, vsti_buffer *outputs);
/* A float32 parameter or packed weight in another layout. */
vsti_buffer vsti_pack_reorder(vsti_lowering *lowering, vsti_buffer source, const vst_shape *shape, vsti_format from,
                              vsti_format wanted);

/* Does a consumer exist in this program? Outputs nobody reads need not be written. */
bool vsti_is_used(const vsti_lowering *lowering, int value);

/* Appends a step. `arguments` are copied. */
void vsti_kernel_step(vsti_lowering *lowering, const char *implementation, vsti_kernel_function *function,
                      const void *arguments, size_t argument_bytes, const vsti_buffer *buffers, int buffer_count);

typedef struct vsti_argument {
    vsti_role role;
    vsti_buffer buffer;
} vsti_argument;
/* Appends a primitive, which the program owns from now on, also on failure; scratchpad is added. */
void vsti_primitive_step(vsti_lowering *lowering, vsti_primitive *primitive, const vsti_argument *arguments, int count);

/* "vistill:avx2", the name of our kernels in profiles. */
const char *vsti_kernel_name(void);

#endif
