/* Benchmark workers. Each case runs in its own process, ours and PyTorch's alike, so that peak memory, threads and
 * caches are not shared. A worker waits for commands to run steps. The caller alternates between workers, so that the
 * ratio is right even if the machine's speed drifts. */
#ifndef VISTILL_RECIPES_BENCH_BENCH_H
#define VISTILL_RECIPES_BENCH_BENCH_H

#include "backbones/backbone.h"
#include "vision/base/progress.h"

typedef enum vst_bench_kind {
    VST_BENCH_TRAIN, /* forward, cross-entropy with labels, backward, AdamW */
    VST_BENCH_INFER, /* forward to the scores */
    VST_BENCH_GEMM   /* y = x w with 2048 x 2048 matrices: the peak speed of the machine */
} vst_bench_kind;

typedef struct vst_bench_case {
    vst_bench_kind kind;
    vst_model_config *model; /* NULL for GEMM; must outlive the worker, is not changed */
    int batch, threads;
    bool integers; /* inference on 8-bit integers: random weights, ranges of random images, all layers that can be */
    bool bf16;     /* products in bfloat16; peers compute in float32 */
} vst_bench_case;

typedef enum vst_bench_runtime { VST_BENCH_PYTORCH, VST_BENCH_ONNX_RUNTIME, VST_BENCH_OPENVINO } vst_bench_runtime;
enum { VST_BENCH_RUNTIMES = 3 };
typedef struct vst_bench_peer {
    const char *python; /* with torch and timm, and what the runtime needs; must outlive the workers */
    vst_bench_runtime runtime;
} vst_bench_peer;

typedef struct vst_bench_worker vst_bench_worker;

typedef struct vst_bench_facts { /* of one step */
    double flops;                /* as counted by the operations; 0: unknown */
    double seconds;              /* of the last warm-up step */
} vst_bench_facts;

/* Starts a worker and runs its warm-up. `peer` NULL: our code, in a fork of this process, which must not have used
 * OpenMP before. VST_ERROR_UNSUPPORTED if the peer does not have the model. Ignore SIGPIPE, so that a worker that has
 * died gives an error. */
VST_NODISCARD vst_status vst_bench_start(vst_bench_worker **out, const vst_bench_case *which,
                                         const vst_bench_peer *peer, vst_bench_facts *facts);
/* Runs `steps` steps and returns their duration in seconds. */
VST_NODISCARD vst_status vst_bench_run(vst_bench_worker *worker, int steps, double *seconds);
/* Ends the worker. *peak_bytes (may be NULL) is the worker's maximum resident memory. `worker` may be NULL. */
void vst_bench_end(vst_bench_worker *worker, size_t *peak_bytes);

/* ---- Rounds ---- */

enum { VST_BENCH_ROUNDS = 100 }; /* maximum number of rounds */

/* One side of a comparison: set `which` and `peer`, the rest is filled. */
typedef struct vst_bench_contender {
    vst_bench_case which;
    vst_bench_peer peer;            /* python NULL: our own code */
    bool lacks_model;               /* the peer does not have it; nothing else is filled then */
    double rates[VST_BENCH_ROUNDS]; /* steps a second, by round */
    double flops;                   /* of a step, as ours counts them */
    size_t peak_bytes;
    vst_bench_worker *worker; /* NULL outside vst_bench_rounds */
    int steps;                /* of a round */
} vst_bench_contender;
/* Starts all contenders and lets them run in turn, each for half a second or one step, round after round. After each
 * round *done is incremented and shown by `progress`. */
VST_NODISCARD vst_status vst_bench_rounds(vst_bench_contender *contenders, int count, int rounds,
                                          vst_progress *progress, uint64_t *done);

/* Over all rounds. */
typedef struct vst_bench_spread {
    double median, low, high;
} vst_bench_spread;
/* Of a's rates divided by b's, round by round; `b` NULL: of a's rates. */
vst_bench_spread vst_bench_compare(const vst_bench_contender *a, const vst_bench_contender *b, int rounds);

/* Speed of loading: image files to normalised floats at 224 pixels. Measures decoding, DeiT's training transform and
 * the evaluation transform, each from decoded images and from files. Ours runs on one core and on `threads` workers;
 * with `python`, an interpreter with Pillow and timm, the peer runs on one core, alternating with ours. A round covers
 * up to 128 images of the training split, held in memory. */
typedef struct vst_bench_loader_options {
    const char *path, *format; /* as for vst_dataset_open; format may be NULL */
    const char *python;        /* NULL: no peer */
    int threads, rounds;
} vst_bench_loader_options;

typedef struct vst_bench_loader_row {
    const char *name;
    double one, many, scaling;           /* images per second on one core, on all threads (0: not measured), ratio */
    double peer;                         /* images per second on one core; 0: no peer */
    double ratio, ratio_low, ratio_high; /* our speed divided by the peer's: median, minimum, maximum */
} vst_bench_loader_row;
enum { VST_BENCH_LOADER_ROWS = 5 };
VST_NODISCARD vst_status vst_bench_loader(const vst_bench_loader_options *options,
                                          vst_bench_loader_row rows[VST_BENCH_LOADER_ROWS]);

/* Runs the case in this process with a profile and sums the time of each operation; the longest comes first. `profile`
 * must be {0}; the caller clears it. */
typedef struct vst_bench_operation {
    char name[48], implementation[64];
    bool backward;
    int nodes;                    /* 0: time outside nodes */
    double seconds, flops, bytes; /* per step */
} vst_bench_operation;
typedef struct vst_bench_profile {
    vst_bench_operation *operations;
    int count;
    double seconds; /* per step */
} vst_bench_profile;
VST_NODISCARD vst_status vst_bench_profile_run(vst_bench_profile *profile, const vst_bench_case *which, int steps);
void vst_bench_profile_clear(vst_bench_profile *profile);

#endif
