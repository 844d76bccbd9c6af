/* A program: a graph made ready to run. Implementations are chosen, layouts resolved, reorders inserted once, lifetimes
 * packed into one 64-byte aligned arena. A program is immutable after its creation and shared by threads. A context
 * holds what one run needs besides: the arena, the arguments of the primitives, the profile. It belongs to one thread
 * at a time; running it is a flat loop that allocates nothing. OpenMP threads work inside of a run.
 *
 *     vst_program_create(&program, graph, &scores, 1, &(vst_program_options){.mode = VST_INFER});
 *     vst_context_create(&context, program, NULL);
 *     memcpy(vst_context_input(context, "image"), image, bytes);
 *     vst_context_run(context, 0);
 *     use(vst_context_output(context, 0)); */
#ifndef VISTILL_VISION_PLAN_PROGRAM_H
#define VISTILL_VISION_PLAN_PROGRAM_H

#include "vision/graph/graph.h"

VST_BEGIN_DECLS

typedef struct vst_program vst_program;
typedef struct vst_context vst_context;

typedef enum vst_mode {
    VST_INFER, /* no gradients; running statistics; dropout and drop path off; weights packed once */
    VST_TRAIN  /* batch statistics; gradients of all parameters are written to the vst_params' gradient bucket */
} vst_mode;

typedef enum vst_precision {
    VST_PRECISION_F32, /* all values are kept as float32 */
    VST_PRECISION_BF16 /* inference: what one step leaves for another is kept as bfloat16 */
} vst_precision;

/* One value that is kept in another type than float32 between the step that computes it and those that read it. */
typedef struct vst_quant_entry {
    const char
        *name; /* a tap ("blocks.0"), or scope and operation as a profile shows them ("blocks.0.mlp.fc1 linear") */
    vst_dtype dtype;     /* VST_F32, VST_BF16; VST_I8, VST_U8: round(x / scale) + zero_point, cut to the type's range */
    const float *scales; /* positive; of 8-bit types */
    int scale_count;     /* 1, or as many as there are channels: dimension 1 of the value */
    int zero_point;      /* of VST_U8 */
} vst_quant_entry;

typedef struct vst_quant {
    const vst_quant_entry *entries;
    size_t count;
} vst_quant;

typedef struct vst_program_options {
    vst_mode mode;
    uint64_t seed;      /* of dropout and drop path */
    bool plain;         /* for tests: no fusion, no buffer shared or overwritten */
    int threads;        /* OpenMP threads that its contexts run with; 0: omp_get_max_threads() of the caller */
    vst_program *share; /* a program over the same vst_params whose packed weights are shared; NULL: its own */
    vst_precision precision;
    const vst_quant *quant; /* goes before the precision; values inside of a fused step are never kept, so that an entry
                               for one says nothing. NULL: none. Read during the creation only */
} vst_program_options;

/* Makes a program of the nodes that `outputs` need (and in training the gradients, if vst_differentiate was called).
 * The graph must be finished without error and may be destroyed afterwards; its params must be allocated (with
 * gradients for training) and outlive the program. Several threads may create programs at once, also over one graph.
 * The caller's number of OpenMP threads is as before when it returns. */
VST_NODISCARD vst_status vst_program_create(vst_program **out, const vst_graph *graph, const vst_value *outputs,
                                            int output_count, const vst_program_options *options);
/* After its contexts. Packed weights live until the last program that shares them is destroyed. */
void vst_program_destroy(vst_program *program);

/* Weights that are stored in another form than in the params, for this program and all that it shares them with. */
size_t vst_program_packed_bytes(const vst_program *program);
size_t vst_program_context_bytes(const vst_program *program); /* that each of its contexts allocates */
double vst_program_flops(const vst_program *program);         /* of one run */

typedef struct vst_context_options {
    bool profile; /* time every step (costs two clock reads a step) */
} vst_context_options;

/* `options` may be NULL. Many contexts of one program may be created and run at once by different threads. In training
 * they write to the same gradients and running statistics, so only one may run at a time. */
VST_NODISCARD vst_status vst_context_create(vst_context **out, vst_program *program,
                                            const vst_context_options *options);
void vst_context_destroy(vst_context *context);
vst_program *vst_context_program(const vst_context *context);

/* Where to write an input before each run: dense, row-major, valid until the context is destroyed. NULL: no such input
 * (or nothing that was asked for depends on it). A run may destroy the contents. */
float *vst_context_input(vst_context *context, const char *name);
/* Output `index` after a run: dense, row-major, overwritten by the next run. NULL: there is no such output. */
const float *vst_context_output(const vst_context *context, int index);

/* Runs once. `step` selects the random numbers of dropout and drop path. The values of the params must not be changed
 * by others meanwhile; the first run after a change (vst_params_changed) packs the weights again and may allocate
 * memory for that. Otherwise it fails only if a primitive does. The caller's number of OpenMP threads is as before when
 * it returns. */
VST_NODISCARD vst_status vst_context_run(vst_context *context, uint32_t step);

typedef struct vst_profile_row {
    char name[120];             /* scope and operation, such as "blocks.0.attn.qkv linear" */
    char shape[VST_SHAPE_TEXT]; /* of its first output */
    char implementation[64];    /* oneDNN's name or "vistill:avx512" */
    bool backward;
    double bytes, flops; /* read and written at least once; floating-point operations */
    double seconds;      /* mean per run, 0 without profile */
} vst_profile_row;

size_t vst_context_profile_count(const vst_context *context);
void vst_context_profile_at(const vst_context *context, size_t index, vst_profile_row *row);
void vst_context_profile_reset(vst_context *context);

VST_END_DECLS
#endif
