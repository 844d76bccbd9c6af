/* One step of a benchmark case. Internal to this folder. */
#ifndef VISTILL_RECIPES_BENCH_INTERNAL_H
#define VISTILL_RECIPES_BENCH_INTERNAL_H

#include "datasets/dataset.h"
#include "recipes/bench/bench.h"
#include "recipes/infer/model_session.h"
#include "vision/base/threads.h"
#include "vision/optim/optim.h"
#include "vision/plan/program.h"

enum { VSTI_BENCH_INPUTS = 2 };

typedef struct vsti_bench_input {
    float *target, *values; /* memory of the context (NULL in a session); the values copied there before each step */
    size_t bytes;           /* 0: there is no such input */
} vsti_bench_input;

/* `count` random images of the model's size, without labels; closed with vst_dataset_close (noise.c). */
VST_NODISCARD vst_status vsti_bench_noise(vst_dataset **out, const vst_model_config *model, uint64_t count);

/* Inference runs in a session, as everywhere; training and the matrix product have their own program. */
typedef struct vsti_bench_step {
    const vst_bench_case *which;
    vst_params *params;
    vst_model model; /* of a session on integers; owns nothing but its quantisation */
    vst_session *session;
    vst_result result;
    vst_graph *graph;
    vst_program *program;
    vst_context *context;
    vst_optimizer *optimizer; /* training only */
    vsti_bench_input inputs[VSTI_BENCH_INPUTS];
    vst_bench_facts facts;
    vsti_team team;
} vsti_bench_step;

/* Builds the case and runs the warm-up. Clear the step even after a failure. */
VST_NODISCARD vst_status vsti_bench_step_build(vsti_bench_step *step, const vst_bench_case *which, bool profile);
/* Runs `count` steps. *seconds does not include restoring the inputs. */
VST_NODISCARD vst_status vsti_bench_step_run(vsti_bench_step *step, int count, double *seconds);
void vsti_bench_step_clear(vsti_bench_step *step);

/* ---- peers (worker.c) ---- */

typedef struct vsti_bench_script {
    const char *python, *script, *json; /* the interpreter, its program and the argument of the program */
} vsti_bench_script;
/* Like vst_bench_start; the script communicates as peer.py does. */
VST_NODISCARD vst_status vsti_bench_start_script(vst_bench_worker **out, const vsti_bench_script *peer,
                                                 vst_bench_facts *facts);

#endif
