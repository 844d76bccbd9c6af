/* The interface for lowering operations to a program. Errors are sticky, as in the graph: after the first error every
 * call does nothing and returns VSTI_NO_BUFFER. */
#ifndef VISTILL_VISION_PLAN_LOWERING_H
#define VISTILL_VISION_PLAN_LOWERING_H

#include "vision/graph/node.h"
#include "vision/onednn/onednn.h"
#include "vision/plan/quant.h"

typedef int vsti_buffer; /* memory whose address a context provides */
enum { VSTI_NO_BUFFER = -1 };

typedef struct vsti_run { /* the run, for kernels */
    uint64_t seed;
    uint32_t step;
} vsti_run;

/* buffers[i] is the address of the i-th buffer given to vsti_kernel_step. */
typedef void vsti_kernel_function(void *const *buffers, const void *arguments, const vsti_run *run);

const vst_graph *vsti_lowering_graph(const vsti_lowering *lowering);
bool vsti_is_training(const vsti_lowering *lowering);
bool vsti_is_plain(const vsti_lowering *lowering); /* plain layouts only and no reuse of buffers (tests) */
void vsti_lowering_fail(vsti_lowering *lowering, vst_status status); /* stores the thread's error message */

/* Reads a value in format `wanted`. Inserts a reorder, cast, quantisation or dequantisation unless that copy exists. */
vsti_buffer vsti_read(vsti_lowering *lowering, int value, vsti_format wanted);
/* float32 in the layout in which the value was written. Use it for operations that support every layout. */
vsti_format vsti_f32_format(const vsti_lowering *lowering, int value);
/* VST_BF16 if the program computes its products in bf16 and keeps this value so, else VST_F32: as what the operation
 * should write it. Operations that declare `bf16_in` and `bf16_out` (node.h) heed it. */
vst_dtype vsti_dtype_of(const vsti_lowering *lowering, int value);
/* The format of an elementwise operation: the dtype of its output in the layout in which its input was written. */
vsti_format vsti_same_format(const vsti_lowering *lowering, int input, int output);
bool vsti_computes_bf16(const vsti_lowering *lowering); /* products read bf16 */
/* float32 in the layout of a value (N, C, H, W) as vsti_channels describes it (kernels.h), C a multiple of the block.
 */
vsti_format vsti_channel_format(vsti_lowering *lowering, int value, int64_t block);
/* Allocates memory for a value that the node computes. */
vsti_buffer vsti_write(vsti_lowering *lowering, int value, vsti_format format);
/* The same with an explicit size in bytes, for a primitive's workspace. */
vsti_buffer vsti_write_bytes(vsti_lowering *lowering, int value, size_t bytes);
/* Like vsti_write, but reuses the memory of `input` (read in the same format by this node) if it is not needed
 * afterwards. */
vsti_buffer vsti_write_over(vsti_lowering *lowering, int value, int input, vsti_format format);
/* Makes `value` a view of the memory of `input` (plain layout), `offset` elements after its start. */
void vsti_alias(vsti_lowering *lowering, int value, int input, int64_t offset);
/* Allocates scratch memory for the duration of the node. */
vsti_buffer vsti_scratch(vsti_lowering *lowering, size_t bytes);

/* Allocates memory for a value to which a primitive adds. It is initialised with `addend`, a value of the same shape,
 * whose memory is reused if it is not needed afterwards. */
vsti_buffer vsti_write_sum(vsti_lowering *lowering, int value, int addend, vsti_format format);

/* The operations fused into the step of a node: at most y = activation(norm(node) + residual). */
typedef struct vsti_fusion {
    int output;                  /* the value to write; without fusion the node's first output */
    int residual;                /* value to add before the activation; 0: none */
    const vsti_node *norm;       /* batch norm to fold into the weights; NULL: none */
    const vsti_node *activation; /* NULL: none */
} vsti_fusion;
vsti_fusion vsti_fused(const vsti_lowering *lowering, const vsti_node *node);

/* ---- packed weights: computed when the parameters change, not in every run (inference programs) ---- */

enum { VSTI_MAX_PACK_INPUTS = 8 };
/* Adds a step that computes packed weights from parameters and other packed weights. `function` receives the inputs
 * followed by the outputs; `outputs` is set to the new buffers. Programs share the results of equal functions with
 * equal arguments and inputs; arguments are compared as bytes, so zero their padding and leave out everything that does
 * not affect the result. A result that no step of a program reads is freed after packing. */
void vsti_pack_step(vsti_lowering *lowering, vsti_kernel_function *function, const void *arguments,
                    size_t argument_bytes, const vsti_buffer *inputs, int input_count, const size_t *output_bytes,
                    int output_count, vsti_buffer *outputs);
/* Adds a reorder of a float32 parameter or packed weight to another layout, and to bf16. */
vsti_buffer vsti_pack_reorder(vsti_lowering *lowering, vsti_buffer source, const vst_shape *shape, vsti_format from,
                              vsti_format wanted);

/* Adds a primitive that brings a packed weight to the layout of another primitive. The program takes ownership of it,
 * also on failure. */
vsti_buffer vsti_pack_primitive(vsti_lowering *lowering, vsti_primitive *reorder, vsti_buffer source);

/* ---- products on 8-bit integers ---- */

/* How the node's input 0 is read: uint8 of this scale. NULL: the node computes in float32. */
const vst_quant_entry *vsti_quantized_input(const vsti_lowering *lowering, const vsti_node *node);
/* The scale of a value that products alone read, as uint8; NULL: it has to be written as float32. */
const vst_quant_entry *vsti_quantized_output(const vsti_lowering *lowering, int value);
/* The same for kernels; false: float32. */
bool vsti_writes_uint8(const vsti_lowering *lowering, int value, vsti_uint8 *to);
/* Like vsti_write, of a value with vsti_quantized_output, as uint8. */
vsti_buffer vsti_write_quantized(vsti_lowering *lowering, int value, vsti_layout layout);
/* Like vsti_write_sum, of two values with vsti_quantized_output, as uint8, each with its own scale. */
vsti_buffer vsti_write_quantized_sum(vsti_lowering *lowering, int value, int addend, vsti_layout layout);

/* True if the program reads this value. Unused outputs need not be written. */
bool vsti_is_used(const vsti_lowering *lowering, int value);

/* Appends a step. `arguments` are copied. */
void vsti_kernel_step(vsti_lowering *lowering, const char *implementation, vsti_kernel_function *function,
                      const void *arguments, size_t argument_bytes, const vsti_buffer *buffers, int buffer_count);

typedef struct vsti_argument {
    vsti_role role;
    vsti_buffer buffer;
} vsti_argument;
/* Appends a primitive, adding its scratchpad. The program takes ownership of it, also on failure. */
void vsti_primitive_step(vsti_lowering *lowering, vsti_primitive *primitive, const vsti_argument *arguments, int count);

/* The name of our kernels in profiles, such as "vistill:avx2". */
const char *vsti_kernel_name(void);

#endif
