/* Benchmark workers: a child process and two pipes. Ours is a fork of this process, the peer a Python interpreter with
 * peer.py or loader_peer.py. A worker prints "ready FLOPS SECONDS" (or "error TEXT", "unsupported TEXT"), then answers
 * each line "N" with the seconds that N steps took, until its input ends. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recipes/bench/internal.h"
#include "vision/base/memory.h"

extern const char vsti_bench_peer_script[]; /* generated from peer.py by CMake */

struct vst_bench_worker {
    pid_t process;
    FILE *to, *from;
    const char *who;
};

/* ---- The child process ---- */

static vst_status serve(const vst_bench_case *which) {
    vst_status status = VST_OK;
    vsti_bench_step step;
    char line[64];
    VST_TRY(vsti_bench_step_build(&step, which, false));
    printf("ready %.17g %.17g\n", step.facts.flops, step.facts.seconds);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        double seconds;
        VST_TRY(vsti_bench_step_run(&step, atoi(line), &seconds));
        printf("%.17g\n", seconds);
        fflush(stdout);
    }
out:
    vsti_bench_step_clear(&step);
    return status;
}

static void run_ours(const vst_bench_case *which) {
    if (serve(which) != VST_OK) printf("error %s\n", vst_error_message());
    fflush(stdout);
    _exit(0);
}

/* The case as JSON for the script, freed by the caller; NULL if out of memory. */
static char *case_json(const vst_bench_case *which, vst_bench_runtime runtime) {
    char *text = vst_model_config_to_json(which->model);
    json_t *model = text ? json_loads(text, 0, NULL) : NULL;
    static const char *const runtimes[] = {"pytorch", "onnxruntime", "openvino"};
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:b, s:O?}", "kind",
                  which->kind == VST_BENCH_TRAIN ? "train" : "infer", "runtime", runtimes[runtime], "family",
                  which->model->backbone->name, "variant", which->model->variant, "batch", which->batch, "threads",
                  which->threads, "integers", which->integers, "options", json_object_get(model, "options"));
    char *json = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    json_decref(model);
    vst_free(text);
    return json;
}

static void run_script(const vsti_bench_script *peer) {
    execlp(peer->python, peer->python, "-c", peer->script, peer->json, (char *)NULL);
    printf("error it cannot be run: %s\n", strerror(errno));
    fflush(stdout);
    _exit(1);
}

/* Makes the pipes standard input and output and closes everything else: a worker that inherits another worker's pipe
 * would keep that worker from ending. */
static void redirect_pipes(int in, int out) {
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0) _exit(1);
    closefrom(STDERR_FILENO + 1);
}

/* ---- The parent process ---- */

/* Starts the peer's script, or our own case if `peer` is NULL. */
static vst_status spawn(vst_bench_worker *worker, const vst_bench_case *which, const vsti_bench_script *peer) {
    int down[2] = {-1, -1}, up[2] = {-1, -1};
    if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0 || (worker->process = fork()) < 0) {
        for (int i = 0; i < 2; i++) {
            if (down[i] >= 0) close(down[i]);
            if (up[i] >= 0) close(up[i]);
        }
        return vst_fail(VST_ERROR_IO, "a benchmark process cannot be started: %s", strerror(errno));
    }
    if (worker->process == 0) {
        redirect_pipes(down[0], up[1]);
        if (peer) run_script(peer);
        run_ours(which);
    }
    close(down[0]);
    close(up[1]);
    worker->to = fdopen(down[1], "w");
    worker->from = fdopen(up[0], "r");
    return worker->to && worker->from ? VST_OK : vst_fail_memory(BUFSIZ);
}

/* Reads a line and removes its newline. An error line or the end of the output is an error. */
static vst_status read_line(vst_bench_worker *worker, char *line, int size) {
    if (!fgets(line, size, worker->from)) return vst_fail(VST_ERROR_IO, "%s ended without an answer", worker->who);
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "error ", 6) == 0) return vst_fail(VST_ERROR_IO, "%s: %s", worker->who, line + 6);
    if (strncmp(line, "unsupported ", 12) == 0)
        return vst_fail(VST_ERROR_UNSUPPORTED, "%s: %s", worker->who, line + 12);
    return VST_OK;
}

static vst_status start(vst_bench_worker **out, const vst_bench_case *which, const vsti_bench_script *peer,
                        vst_bench_facts *facts) {
    vst_status status = VST_OK;
    char line[1024];
    *out = NULL;
    vst_bench_worker *worker = vst_calloc(1, sizeof *worker);
    if (!worker) return vst_fail_memory(sizeof *worker);
    worker->who = peer ? peer->python : "the benchmark";
    fflush(NULL); /* otherwise the child would also write our buffered output */
    VST_TRY(spawn(worker, which, peer));
    VST_TRY(read_line(worker, line, sizeof line));
    if (sscanf(line, "ready %lf %lf", &facts->flops, &facts->seconds) != 2)
        VST_TRY(vst_fail(VST_ERROR_IO, "%s says \"%s\" instead of being ready", worker->who, line));
out:
    if (status == VST_OK) *out = worker;
    else vst_bench_end(worker, NULL);
    return status;
}

vst_status vsti_bench_start_script(vst_bench_worker **out, const vsti_bench_script *peer, vst_bench_facts *facts) {
    return start(out, NULL, peer, facts);
}

vst_status vst_bench_start(vst_bench_worker **out, const vst_bench_case *which, const vst_bench_peer *peer,
                           vst_bench_facts *facts) {
    *out = NULL;
    if (!peer) return start(out, which, NULL, facts);
    char *json = case_json(which, peer->runtime);
    if (!json) return vst_fail_memory(1024);
    const vst_status status =
        start(out, which, &(vsti_bench_script){peer->python, vsti_bench_peer_script, json}, facts);
    free(json);
    return status;
}

vst_status vst_bench_run(vst_bench_worker *worker, int steps, double *seconds) {
    vst_status status = VST_OK;
    char line[1024];
    if (fprintf(worker->to, "%d\n", steps) < 0 || fflush(worker->to) != 0)
        return vst_fail(VST_ERROR_IO, "%s has ended", worker->who);
    VST_TRY(read_line(worker, line, sizeof line));
    *seconds = strtod(line, NULL);
out:
    return status;
}

void vst_bench_end(vst_bench_worker *worker, size_t *peak_bytes) {
    struct rusage usage = {0};
    int code;
    if (!worker) return;
    if (worker->to) fclose(worker->to);
    if (worker->from) fclose(worker->from);
    if (worker->process > 0) wait4(worker->process, &code, 0, &usage);
    if (peak_bytes) *peak_bytes = (size_t)usage.ru_maxrss * 1024;
    vst_free(worker);
}
