/* Benchmark workers: each case runs in a process of its own, ours and PyTorch's alike, so that peak memory is the
 * case's and neither's threads or caches are mixed with the other's. A worker waits until it is told to run steps;
 * the caller alternates between workers, so that the ratio holds on a machine whose speed drifts. */
#ifndef VISTILL_RECIPES_BENCH_BENCH_H
#define VISTILL_RECIPES_BENCH_BENCH_H

#include "backbones/backbone.h"

typedef enum vst_bench_kind {
    VST_BENCH_TRAIN, /* forward, cross-entropy of the scores with labels, backward, AdamW */
    VST_BENCH_INFER, /* scores */
    VST_BENCH_GEMM   /* y = x w of 2048 x 2048 matrices: what the machine can do */
} vst_bench_kind;

typedef struct vst_bench_case {
    vst_bench_kind kind;
    const vst_model_config *model; /* NULL for GEMM; must outlive the worker */
    int batch, threads;
} vst_bench_case;

typedef enum vst_bench_runtime { VST_BENCH_PYTORCH, VST_BENCH_ONNX_RUNTIME } vst_bench_runtime;
typedef struct vst_bench_peer {
    const char *python; /* an interpreter with torch and timm, and onnxruntime where that is the runtime; must outlive
                           workers */
    vst_bench_runtime runtime;
} vst_bench_peer;

typedef struct vst_bench_worker vst_bench_worker;

typedef struct vst_bench_facts { /* of one step */
    double flops;                /* as the operations count them; 0: unknown */
    double seconds;              /* of the last warm-up step */
} vst_bench_facts;

/* Starts a worker and warms it up. `peer` NULL: ours, forked from this process, which must not have used OpenMP yet. A
 * model the peer does not have is VST_ERROR_UNSUPPORTED. The process should ignore SIGPIPE: then a worker that died is
 * an error. */
VST_NODISCARD vst_status vst_bench_start(vst_bench_worker **out, const vst_bench_case *which,
                                         const vst_bench_peer *peer, vst_bench_facts *facts);
/* Runs so many steps and gives their seconds. */
VST_NODISCARD vst_status vst_bench_run(vst_bench_worker *worker, int steps, double *seconds);
/* Ends the worker. *peak_bytes (may be NULL): the largest resident memory it had. NULL worker: nothing. */
void vst_bench_end(vst_bench_worker *worker, size_t *peak_bytes);

/* How fast image files become what a model gets, normalised floats at 224 pixels: decoding alone; DeiT's training
 * transform and that of evaluation, each from decoded images and from files, decoding included. Ours on one core and on
 * `threads` workers, and with `python`, an interpreter with Pillow and timm, those in turn with ours. A round is every
 * one of up to 128 images of the training split, held in memory. */
typedef struct vst_bench_loader_options {
    const char *path, *format; /* as vst_dataset_open takes them; format may be NULL */
    const char *python;        /* NULL: no peer */
    int threads, rounds;
} vst_bench_loader_options;
enum { VST_BENCH_ROUNDS = 100 }; /* at most */

typedef struct vst_bench_loader_row {
    const char *name;
    double one, many, scaling; /* images a second on one core and on all threads, and their ratio; many 0: one thread */
    double peer;               /* images a second on one core; 0: no peer */
    double ratio, ratio_low, ratio_high; /* ours by the peer's: median, smallest, largest */
} vst_bench_loader_row;
enum { VST_BENCH_LOADER_ROWS = 5 };
VST_NODISCARD vst_status vst_bench_loader(const vst_bench_loader_options *options,
                                          vst_bench_loader_row rows[VST_BENCH_LOADER_ROWS]);

/* Runs the case in this process, timing every node: where the time of a step goes, summed by operation, the longest
 * first. The profile starts as {0} and is to be cleared. */
typedef struct vst_bench_operation {
    char name[48], implementation[64];
    bool backward;
    int nodes;                    /* 0: what no node does */
    double seconds, flops, bytes; /* of one step */
} vst_bench_operation;
typedef struct vst_bench_profile {
    vst_bench_operation *operations;
    int count;
    double seconds; /* of one step */
} vst_bench_profile;
VST_NODISCARD vst_status vst_bench_profile_run(vst_bench_profile *profile, const vst_bench_case *which, int steps);
void vst_bench_profile_clear(vst_bench_profile *profile);

#endif
