/* A plan: a graph made ready to run. Implementations are chosen, layouts resolved, reorders inserted once, lifetimes
 * packed into one 64-byte aligned arena; running is a flat loop that allocates nothing. A graph may have several plans;
 * parameters are shared between all plans over one vst_params. One plan, one thread at a time (it uses OpenMP threads
 * inside). */
#ifndef VISTILL_VISION_PLAN_PLAN_H
#define VISTILL_VISION_PLAN_PLAN_H

#include "vision/graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vst_plan vst_plan;

typedef enum vst_mode {
    VST_INFER, /* no gradients; running statistics; dropout and drop path off; weights prepacked */
    VST_TRAIN  /* batch statistics; gradients of all parameters are written to the vst_params' gradient bucket */
} vst_mode;

typedef struct vst_plan_options {
    vst_mode mode;
    uint64_t seed; /* of dropout and drop path */
    bool profile;  /* time every node (costs two clock reads a node) */
    bool plain;    /* for tests: no fusion, no buffer shared or overwritten */
} vst_plan_options;

/* Plans the nodes that `outputs` need (and in training the gradients, if vst_differentiate was called). The graph must
 * be finished without error and outlive the plan; the params must be allocated (with gradients for training). */
VST_NODISCARD vst_status vst_plan_create(vst_plan **out, vst_graph *graph, const vst_value *outputs, int output_count,
                                         const vst_plan_options *options);
void vst_plan_destroy(vst_plan *plan);

/* Where to write an input before each run: dense, row-major, valid until the plan is destroyed. NULL: no such input (or
 * nothing that was asked for depends on it). A run may destroy the contents. */
float *vst_plan_input(vst_plan *plan, const char *name);
/* Output `index` after a run: dense, row-major, overwritten by the next run. */
const float *vst_plan_output(const vst_plan *plan, int index);

/* Runs once. `step` selects the random numbers of dropout and drop path. Fails only if a primitive does. */
VST_NODISCARD vst_status vst_plan_run(vst_plan *plan, uint32_t step);

typedef struct vst_profile_row {
    char name[120];             /* scope and operation, such as "blocks.0.attn.qkv linear" */
    char shape[VST_SHAPE_TEXT]; /* of its first output */
    char implementation[64];    /* oneDNN's name or "vistill:avx512" */
    bool backward;
    double bytes, flops; /* read and written at least once; floating-point operations */
    double seconds;      /* mean per run, 0 without profile */
} vst_profile_row;

size_t vst_plan_profile_count(const vst_plan *plan);
void vst_plan_profile_at(const vst_plan *plan, size_t index, vst_profile_row *row);
void vst_plan_profile_reset(vst_plan *plan);
size_t vst_plan_bytes(const vst_plan *plan); /* arena, packed weights and inputs, without the params */
double vst_plan_flops(const vst_plan *plan); /* of one run */

#ifdef __cplusplus
}
#endif
#endif
