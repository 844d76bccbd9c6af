/* `vistill doctor`: checks the machine and lists what is missing. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "datasets/dataset.h"
#include "recipes/commands/main.h"
#include "recipes/commands/table.h"
#include "vision/base/threads.h"
#include "vision/kernels/kernels.h"
#include "vision/onednn/onednn.h"
#include "vision/plan/program.h"

#define FASHION_MNIST "/usr/share/datasets/fashion-mnist" /* of Debian's package dataset-fashion-mnist */

typedef enum finding { OK, WARN, FAIL } finding;
typedef struct examination {
    vst_table *table;
    int counts[3];
} examination;

static void note(examination *e, finding is, const char *what, const char *found) {
    static const char *const words[] = {"ok", "warn", "FAIL"}, *const marks[] = {"✓ ", "! ", "✗ "};
    e->counts[is]++;
    vst_table_cell(e->table, "%s%s", vst_terminal_width(stdout) ? marks[is] : "", words[is]);
    vst_table_cell(e->table, "%s", what);
    vst_table_cell(e->table, "%s", found);
}

/* The value after ':' in a line of /proc that begins with `key`. */
static bool read_proc(const char *path, const char *key, char *value, size_t size) {
    char line[512];
    bool found = false;
    FILE *file = fopen(path, "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || !colon) continue;
        snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        value[strcspn(value, "\n")] = 0;
        found = true;
    }
    if (file) fclose(file);
    return found;
}

static void examine_processor(examination *e) {
    char text[600];
    note(e, OK, "processor", read_proc("/proc/cpuinfo", "model name", text, sizeof text) ? text : "unknown");
#if defined __x86_64__
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    snprintf(text, sizeof text, "%s%s%s%s", avx2 ? "AVX2 FMA" : "no AVX2: everything will be slow",
             __builtin_cpu_supports("avx512f") ? " AVX-512" : "", __builtin_cpu_supports("avx512vnni") ? " VNNI" : "",
             __builtin_cpu_supports("avx512bf16") ? " BF16" : "");
    note(e, avx2 ? OK : WARN, "instruction sets", text);
#endif
    const char *narrowed = getenv("VISTILL_ISA");
    snprintf(text, sizeof text, "%s%s", vsti_get_kernels()->isa,
             narrowed && *narrowed ? ", narrowed by VISTILL_ISA" : "");
    note(e, narrowed && *narrowed ? WARN : OK, "kernels", text);
    note(e, OK, "oneDNN", vsti_onednn_version((char[VSTI_VERSION_TEXT]){0}));
    bool slow;
    const bool able = vst_precision_check(VST_PRECISION_BF16, &slow) == VST_OK;
    note(e, OK, "bf16",
         !able  ? "not here: run.precision and --precision need AVX512_BF16 or AMX"
         : slow ? "emulated, more slowly than f32"
                : "run.precision: bf16, --precision bf16");
}

/* What oneDNN takes for a linear layer on 8-bit integers here says whether `vistill quantize` makes models faster, and
 * not only smaller. */
static void examine_integers(examination *e) {
    const vsti_matmul linear = {.rank = 2,
                                .dims_a = {64, 64},
                                .strides_a = {64, 1},
                                .dims_b = {64, 64},
                                .strides_b = {1, 64},
                                .dims_c = {64, 64},
                                .strides_c = {64, 1},
                                .bias = true,
                                .pack = true,
                                .arithmetic = VSTI_INT8};
    vsti_primitive *primitive = NULL;
    char text[200];
    if (vsti_matmul_create(&primitive, &linear) != VST_OK) {
        snprintf(text, sizeof text, "%.150s", vst_error_message());
        note(e, WARN, "int8", text);
        return;
    }
    const char *name = vsti_primitive_implementation(primitive);
    const bool products = strstr(name, "brg") != NULL, fast = strstr(name, "vnni") || strstr(name, "amx");
    snprintf(text, sizeof text, "%s: %s", name,
             fast       ? "models by `vistill quantize` are faster"
             : products ? "without VNNI: models by `vistill quantize` are a little faster"
                        : "no VNNI, and fast products on AVX2 only from oneDNN 3.7: convolutions are faster");
    note(e, fast ? OK : WARN, "int8", text);
    vsti_primitive_destroy(primitive);
}

static void examine_threads(examination *e) {
    cpu_set_t set;
    char text[200];
    vsti_team team = {0};
    const int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    const int used = vsti_team_begin(&team, 0) == VST_OK ? team.threads : 1;
    vsti_team_end(&team);
    snprintf(text, sizeof text, "%d of %d processors%s", used, allowed,
             used > allowed   ? ": more threads than processors wait for each other; lower OMP_NUM_THREADS"
             : used < allowed ? ", limited by OMP_NUM_THREADS or OMP_THREAD_LIMIT"
                              : "");
    note(e, used > allowed ? WARN : OK, "threads", text);
}

static void examine_waiting(examination *e) {
    const char *policy = getenv("OMP_WAIT_POLICY"), *spins = getenv("GOMP_SPINCOUNT");
    char text[160];
    switch (vsti_waiting_policy()) {
    case VSTI_WAITING_ADAPTS: note(e, OK, "waiting", "threads spin, and sleep while other programs are busy"); return;
    case VSTI_WAITING_CHOSEN:
        snprintf(text, sizeof text, "as %s=%.60s says", policy ? "OMP_WAIT_POLICY" : "GOMP_SPINCOUNT",
                 policy ? policy : spins);
        note(e, OK, "waiting", text);
        return;
    case VSTI_WAITING_LIMITED:
        note(e, WARN, "waiting", "threads always spin (OMP_THREAD_LIMIT); see OMP_WAIT_POLICY");
        return;
    }
}

static void examine_memory(examination *e) {
    char value[64], text[160];
    if (!read_proc("/proc/meminfo", "MemAvailable", value, sizeof value)) {
        note(e, WARN, "memory", "unknown: /proc/meminfo cannot be read");
        return;
    }
    const double gigabytes = strtod(value, NULL) * 1024 / 1e9;
    snprintf(text, sizeof text, "%.1f GB available%s", gigabytes,
             gigabytes < 2 ? ": enough for small models only" : "");
    note(e, gigabytes < 0.5 ? FAIL : gigabytes < 2 ? WARN : OK, "memory", text);
}

static void examine_disk(examination *e) {
    struct statvfs disk;
    char text[160];
    if (statvfs(".", &disk) != 0) {
        snprintf(text, sizeof text, "the current folder cannot be examined: %m");
        note(e, FAIL, "disk", text);
        return;
    }
    const double gigabytes = (double)disk.f_bavail * (double)disk.f_frsize / 1e9;
    const bool writable = access(".", W_OK) == 0;
    snprintf(text, sizeof text, "%.1f GB free in the current folder%s", gigabytes,
             !writable ? ", which cannot be written: run vistill elsewhere, or set run.output" : "");
    note(e, gigabytes < 0.1 ? FAIL : gigabytes < 1 || !writable ? WARN : OK, "disk", text);
}

/* Whether PATH has this program. */
static bool has_program(const char *name) {
    const char *path = getenv("PATH");
    char file[4096];
    while (path && *path) {
        const size_t length = strcspn(path, ":");
        const int written = snprintf(file, sizeof file, "%.*s/%s", (int)length, path, name);
        if (written > 0 && written < (int)sizeof file && access(file, X_OK) == 0) return true;
        path += length + (path[length] == ':');
    }
    return false;
}

static void examine_figures(examination *e) {
    if (has_program("gnuplot")) note(e, OK, "gnuplot", "there: reports have figures");
    else note(e, WARN, "gnuplot", "missing: reports have no figures (Debian: apt install gnuplot-nox)");
}

static void examine_data(examination *e) {
    vst_dataset *dataset = NULL;
    char text[700];
    if (access(FASHION_MNIST, R_OK) != 0) {
        note(e, WARN, "Fashion-MNIST",
             "missing: the shipped recipes need it (Debian: apt install dataset-fashion-mnist)");
    } else if (vst_dataset_open(&dataset, FASHION_MNIST, "test", NULL) != VST_OK) {
        snprintf(text, sizeof text, "%.600s", vst_error_message());
        note(e, FAIL, "Fashion-MNIST", text);
    } else {
        note(e, OK, "Fashion-MNIST", FASHION_MNIST);
    }
    vst_dataset_close(dataset);
}

static int run(const vst_arguments *arguments) {
    examination e = {0};
    vst_status status = VST_OK;
    (void)arguments;
    VST_TRY(vst_table_create(&e.table, (const char *[]){"", "what", "found", NULL}));
    examine_processor(&e);
    examine_integers(&e);
    examine_threads(&e);
    examine_waiting(&e);
    examine_memory(&e);
    examine_disk(&e);
    examine_figures(&e);
    examine_data(&e);
    VST_TRY(vst_table_write(e.table, stdout));
    printf("\n%s\n", e.counts[FAIL]   ? "Something must be mended first."
                     : e.counts[WARN] ? "Fit, with restrictions."
                                      : "All is well.");
out:
    vst_table_destroy(e.table);
    if (status != VST_OK) return vst_command_exit(status);
    return e.counts[FAIL] ? VST_EXIT_ERROR : VST_EXIT_OK;
}

const vst_command vsti_command_doctor = {
    .name = "doctor",
    .words = "",
    .summary = "check this machine: processor, memory, oneDNN, data, figures",
    .help = "Exit code 1 if something is broken that training needs; warnings leave it 0.",
    .run = run};
