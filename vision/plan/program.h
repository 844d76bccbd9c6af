/* A program is a graph compiled for execution: kernels are selected, layouts chosen, reorders inserted and all buffers
 * assigned to one 64-byte aligned arena. A program is immutable after creation and may be shared by threads. A context
 * holds the state of one run: the arena, the arguments of the primitives and the profile. A context may be used by one
 * thread at a time; running it is a flat loop without allocations. Each run is parallel with OpenMP.
 *
 *     vst_program_create(&program, graph, &scores, 1, &(vst_program_options){.mode = VST_INFER});
 *     vst_context_create(&context, program, NULL);
 *     memcpy(vst_context_input(context, "image"), image, bytes);
 *     vst_context_run(context, 0);
 *     use(vst_context_output(context, 0)); */
#ifndef VISTILL_VISION_PLAN_PROGRAM_H
#define VISTILL_VISION_PLAN_PROGRAM_H

#include "vision/graph/graph.h"
#include "vision/plan/quant.h"

VST_BEGIN_DECLS

typedef struct vst_program vst_program;
typedef struct vst_context vst_context;

typedef enum vst_mode {
    VST_INFER, /* no gradients; running statistics; dropout and drop path off; weights packed once */
    VST_TRAIN  /* batch statistics; gradients of all parameters are written to the vst_params' gradient bucket */
} vst_mode;

typedef enum vst_precision {
    VST_PRECISION_F32, /* everything is float32 */
    /* Products (linear layers, convolutions, matrix products, attention) and their gradients multiply bfloat16 and sum
     * in float32; values that only such operations read are kept as bfloat16. Parameters, their gradients, statistics
     * of norms, softmax, losses and outputs stay float32. VST_ERROR_UNSUPPORTED without AVX-512; slower than float32
     * without AVX512_BF16 or AMX. */
    VST_PRECISION_BF16
} vst_precision;

/* VST_ERROR_UNSUPPORTED if this processor cannot compute so. *slow: it can, more slowly than in float32. */
VST_NODISCARD vst_status vst_precision_check(vst_precision precision, bool *slow);

typedef struct vst_program_options {
    vst_mode mode;
    uint64_t seed;      /* of dropout and drop path */
    bool plain;         /* for tests: plain layouts, no fusion, no reuse of buffers */
    int threads;        /* OpenMP threads of each run; 0: as many as the caller really has (1 within a parallel
                           region) */
    vst_program *share; /* share packed weights with this program over the same vst_params; NULL: do not share */
    vst_precision precision;
    const vst_quant *quant; /* overrides `precision` for single values; an entry for a value inside a fused step has no
                               effect, as that value is never stored. NULL: none. Not used after creation */
} vst_program_options;

/* Creates a program that computes `outputs` (and in training the gradients, if vst_differentiate was called). The graph
 * must be finished without error and may be destroyed afterwards. Its params must be allocated (with gradients for
 * training) and outlive the program. Several threads may create programs at the same time, also from one graph. The
 * caller's number of OpenMP threads is not changed. */
VST_NODISCARD vst_status vst_program_create(vst_program **out, const vst_graph *graph, const vst_value *outputs,
                                            int output_count, const vst_program_options *options);
/* Destroy the contexts of a program first. Packed weights are freed with the last program that shares them. */
void vst_program_destroy(vst_program *program);

/* Bytes of packed weights: copies in another layout than in the params, of this program and those that share with
 * it. */
size_t vst_program_packed_bytes(const vst_program *program);
size_t vst_program_context_bytes(const vst_program *program); /* allocated by each context */
double vst_program_flops(const vst_program *program);         /* of one run */

typedef struct vst_context_options {
    bool profile; /* time every step; costs two clock reads per step */
} vst_context_options;

/* `options` may be NULL. Several threads may create and run contexts of one program at the same time. Training contexts
 * write to the same gradients and running statistics, so only one of them may run at a time. */
VST_NODISCARD vst_status vst_context_create(vst_context **out, vst_program *program,
                                            const vst_context_options *options);
void vst_context_destroy(vst_context *context);
vst_program *vst_context_program(const vst_context *context);

/* Memory of an input, to be written before every run: float32, dense, row-major, owned by the context. A run may
 * overwrite it. NULL if the input does not exist or no output depends on it. */
float *vst_context_input(vst_context *context, const char *name);
/* Output `index` after a run: float32, dense, row-major, owned by the context, overwritten by the next run. NULL if
 * there is no such output. */
const float *vst_context_output(const vst_context *context, int index);

/* Runs the program once. `step` selects the random numbers of dropout and drop path. The values of the params must not
 * change during the run. The first run after a change (vst_params_changed) packs the weights again and may allocate
 * memory. Otherwise a run fails only if a primitive fails, or if OpenMP gives fewer threads than the program was
 * created for (VST_ERROR_UNSUPPORTED). The caller's number of OpenMP threads is not changed. */
VST_NODISCARD vst_status vst_context_run(vst_context *context, uint32_t step);

typedef struct vst_profile_row {
    char name[120];             /* scope and operation, such as "blocks.0.attn.qkv linear" */
    char shape[VST_SHAPE_TEXT]; /* of its first output */
    char implementation[64];    /* name of oneDNN's implementation, or "vistill:avx512" */
    bool backward;
    double bytes, flops; /* bytes read and written at least once; floating-point operations */
    double seconds;      /* mean per run; 0 without `profile` */
} vst_profile_row;

size_t vst_context_profile_count(const vst_context *context);
void vst_context_profile_at(const vst_context *context, size_t index, vst_profile_row *row);
void vst_context_profile_reset(vst_context *context);

VST_END_DECLS
#endif
