/* vistill bench: speed of training and inference relative to matrix multiplication and, with --peer, to others in the
 * same run. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "recipes/bench/bench.h"
#include "recipes/commands/main.h"
#include "recipes/commands/table.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"

enum { MAX_CASES = 32, MAX_ROUNDS = VST_BENCH_ROUNDS, PROFILE_STEPS = 5 };

/* The contenders of a model. On integers each side has two: float32, then integers. */
enum { GEMM, OURS, PEER, SIDES };
enum { FLOATS, INTEGERS, PRECISIONS };

typedef struct entry {
    const char *variant;
    vst_model_config *model;
    vst_bench_case which;
    vst_bench_contender sides[SIDES];
} entry;

typedef struct session {
    entry entries[MAX_CASES];
    int count, rounds;
    const char *python; /* NULL: no peer */
    vst_bench_runtime runtimes[VST_BENCH_RUNTIMES];
    int runtime_count;
    bool bf16, beside; /* beside: a peer, or for bf16 our own float32, is measured too */
} session;

static const struct {
    const char *name, *shown;
} runtimes[VST_BENCH_RUNTIMES] = {
    [VST_BENCH_PYTORCH] = {"pytorch", "PyTorch"},
    [VST_BENCH_ONNX_RUNTIME] = {"onnxruntime", "ONNX Runtime"},
    [VST_BENCH_OPENVINO] = {"openvino", "OpenVINO"},
};

/* The default cases: two training benchmarks of DeiT, and two small models.
 */
static const struct {
    const char *variant;
    const char *options[4][2];
    int batch;
} defaults[] = {
    {"deit_tiny_distilled_patch16_224", {{0}}, 32},
    {"vit_mini_patch4_28", {{"depth", "6"}, {"heads", "2"}, {"mlp_ratio", "4"}, {"distilled", "true"}}, 128},
    {"vit_mini_patch4_28", {{0}}, 64},
    {"resnet8_cifar", {{"image", "28"}, {"channels", "1"}}, 128},
};

/* ---- choosing ---- */

static vst_status add_entry(session *s, const char *variant, int batch, vst_bench_kind kind, int threads) {
    if (s->count == MAX_CASES) return vst_fail(VST_ERROR_LIMIT, "at most %d cases in one run", MAX_CASES);
    entry *e = &s->entries[s->count];
    *e = (entry){.variant = variant};
    vst_status status = vst_model_config_create(&e->model, variant);
    if (status != VST_OK) return status;
    s->count++;
    e->which = (vst_bench_case){.kind = kind, .model = e->model, .batch = batch, .threads = threads, .bf16 = s->bf16};
    return VST_OK;
}

static vst_status add_defaults(session *s, int batch, vst_bench_kind kind, int threads) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        VST_TRY(add_entry(s, defaults[i].variant, batch ? batch : defaults[i].batch, kind, threads));
        for (int k = 0; k < 4 && defaults[i].options[k][0]; k++)
            VST_TRY(vst_model_config_set(s->entries[s->count - 1].model, defaults[i].options[k][0],
                                         defaults[i].options[k][1]));
    }
out:
    return status;
}

/* --set KEY=VALUE applies to every named model. */
static vst_status apply_settings(session *s, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    int count;
    const char *const *settings = vst_flag_values(arguments, "set", &count);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < s->count; k++) {
            const char *equals = strchr(settings[i], '=');
            char key[64];
            if (!equals || equals - settings[i] >= (int)sizeof key)
                VST_TRY(
                    vst_fail(VST_ERROR_ARGUMENT, "--set %s: expected KEY=VALUE, an option of the model", settings[i]));
            snprintf(key, sizeof key, "%.*s", (int)(equals - settings[i]), settings[i]);
            VST_TRY(vst_model_config_set(s->entries[k].model, key, equals + 1));
        }
out:
    return status;
}

static vst_status add_runtime(session *s, const char *name) {
    for (int i = 0; i < VST_BENCH_RUNTIMES; i++) {
        if (strcmp(name, runtimes[i].name) != 0) continue;
        for (int k = 0; k < s->runtime_count; k++)
            if ((int)s->runtimes[k] == i) return VST_OK;
        s->runtimes[s->runtime_count++] = (vst_bench_runtime)i;
        return VST_OK;
    }
    return vst_fail(VST_ERROR_ARGUMENT, "--runtime %s: there are pytorch, onnxruntime and openvino", name);
}

/* --runtime can be repeated with --int8, whose peers are both that have integers if none is named. */
static vst_status choose_runtimes(session *s, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    int count;
    const bool integers = vst_flag_given(arguments, "int8");
    const char *const *names = vst_flag_values(arguments, "runtime", &count);
    for (int i = 0; i < count; i++) VST_TRY(add_runtime(s, names[i]));
    if (!integers && s->runtime_count > 1)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "--runtime: one in a run, or several with --int8"));
    for (int i = 0; i < s->runtime_count; i++)
        if (integers && s->runtimes[i] == VST_BENCH_PYTORCH)
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "--int8 --runtime pytorch: onnxruntime and openvino have integers"));
    if (!count && integers)
        for (int i = VST_BENCH_ONNX_RUNTIME; i <= VST_BENCH_OPENVINO; i++)
            s->runtimes[s->runtime_count++] = (vst_bench_runtime)i;
    if (!s->runtime_count) s->runtimes[s->runtime_count++] = VST_BENCH_PYTORCH;
    if (!s->python) s->runtime_count = 0;
out:
    return status;
}

static vst_status choose(session *s, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    int batch = 0, threads = omp_get_max_threads(); /* starts no thread */
    const bool infer = vst_flag_given(arguments, "infer"), integers = vst_flag_given(arguments, "int8");
    const vst_bench_kind kind = infer ? VST_BENCH_INFER : VST_BENCH_TRAIN;
    s->rounds = 8;
    VST_TRY(vst_flag_bf16(arguments, &s->bf16));
    VST_TRY(vst_flag_int(arguments, "batch", 1, 65536, &batch));
    VST_TRY(vst_flag_int(arguments, "threads", 1, 1024, &threads));
    VST_TRY(vst_flag_int(arguments, "rounds", 1, MAX_ROUNDS, &s->rounds));
    if (integers && (!infer || s->bf16))
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "--int8 is about inference in place of bf16: give --infer, too"));
    s->python = vst_flag_value(arguments, "peer");
    s->beside = s->python || s->bf16;
    VST_TRY(choose_runtimes(s, arguments));
    if (!arguments->word_count) VST_TRY(add_defaults(s, batch, kind, threads));
    for (int i = 0; i < arguments->word_count; i++)
        VST_TRY(add_entry(s, arguments->words[i], batch ? batch : 32, kind, threads));
    VST_TRY(apply_settings(s, arguments));
    for (int i = 0; i < s->count; i++) s->entries[i].which.integers = integers;
out:
    return status;
}

/* ---- measuring ---- */

/* Measures the peer (or our own float32), Vistill and the matrix product alternately in each round. */
static vst_status measure(session *s, entry *e, vst_progress *progress, uint64_t *done) {
    e->sides[GEMM].which = (vst_bench_case){.kind = VST_BENCH_GEMM, .threads = e->which.threads};
    e->sides[OURS].which = e->sides[PEER].which = e->which;
    e->sides[PEER].which.bf16 = false;
    if (s->python) e->sides[PEER].peer = (vst_bench_peer){s->python, s->runtimes[0]};
    return vst_bench_rounds(e->sides, s->beside ? SIDES : PEER, s->rounds, progress, done);
}

/* ---- the table ---- */

static void add_ratio(vst_table *table, const vst_bench_contender *ours, const vst_bench_contender *theirs,
                      int rounds) {
    const vst_bench_spread ratio = vst_bench_compare(ours, theirs, rounds);
    vst_table_cell(table, "%.2f (%.2f-%.2f)", ratio.median, ratio.low, ratio.high);
}

static void add_cells(vst_table *table, const session *s, const entry *e) {
    const vst_bench_contender *ours = &e->sides[OURS], *gemm = &e->sides[GEMM], *peer = &e->sides[PEER];
    const double rate = vst_bench_compare(ours, NULL, s->rounds).median,
                 peak = gemm->flops * vst_bench_compare(gemm, NULL, s->rounds).median;
    vst_table_cell(table, "%s", e->variant);
    vst_table_cell(table, "%d", e->which.batch);
    vst_table_cell(table, "%.2f", 1e3 / rate);
    vst_table_cell(table, "%.1f", rate * e->which.batch);
    vst_table_cell(table, "%.0f", ours->peak_bytes / 1e6);
    vst_table_cell(table, "%.1f", ours->flops * rate / 1e9);
    vst_table_cell(table, "%.0f", 100 * ours->flops * rate / peak);
    if (!s->beside) return;
    if (peer->lacks_model) {
        for (int i = 0; i < 3; i++) vst_table_cell(table, "-");
        return;
    }
    vst_table_cell(table, "%.1f", vst_bench_compare(peer, NULL, s->rounds).median * e->which.batch);
    vst_table_cell(table, "%.0f", peer->peak_bytes / 1e6);
    add_ratio(table, ours, peer, s->rounds);
}

static vst_status measure_all(session *s) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    vst_progress progress;
    uint64_t done = 0;
    char rate[32] = ">float32/s";
    if (s->python) snprintf(rate, sizeof rate, ">%s/s", runtimes[s->runtimes[0]].shown);
    const char *const plain[] = {"model",    ">batch",   ">ms a step", ">images/s",
                                 ">peak MB", ">GFLOP/s", ">% of GEMM", NULL};
    const char *const beside[] = {"model",      ">batch", ">ms a step",   ">images/s",      ">peak MB", ">GFLOP/s",
                                  ">% of GEMM", rate,     ">its peak MB", ">times as fast", NULL};
    VST_TRY(vst_table_create(&table, s->beside ? beside : plain));
    vst_progress_start(&progress, "bench", "rounds", (uint64_t)(s->count * s->rounds));
    for (int i = 0; i < s->count && status == VST_OK; i++) {
        status = measure(s, &s->entries[i], &progress, &done);
        if (status == VST_OK) add_cells(table, s, &s->entries[i]);
    }
    vst_progress_finish(&progress);
    VST_TRY(status);
    const entry *last = &s->entries[s->count - 1];
    const vst_bench_contender *gemm = &last->sides[GEMM];
    printf(
        "%s, %s, %d thread%s, medians of %d rounds\n\n",
        last->which.kind == VST_BENCH_TRAIN ? "Training steps (forward, cross-entropy, backward, AdamW)" : "Inference",
        !s->bf16    ? "float32"
        : s->python ? "bf16, the peer in float32"
                    : "bf16 beside float32",
        last->which.threads, last->which.threads == 1 ? "" : "s", s->rounds);
    VST_TRY(vst_table_write(table, stdout));
    printf("\nGEMM: a product of 2048 x 2048 matrices in the same run, %.0f GFLOP/s at the last model.\n",
           gemm->flops * vst_bench_compare(gemm, NULL, s->rounds).median / 1e9);
out:
    vst_table_destroy(table);
    return status;
}

/* ---- float32 and integers ---- */

enum { PROGRAMS = 1 + VST_BENCH_RUNTIMES };
typedef vst_bench_contender pair[PRECISIONS];

/* Ours, then the runtimes, each in float32 and on integers, all in turn. */
static vst_status measure_pairs(const session *s, const entry *e, pair *pairs, vst_progress *progress, uint64_t *done) {
    for (int i = 0; i <= s->runtime_count; i++)
        for (int k = 0; k < PRECISIONS; k++) {
            pairs[i][k].which = e->which;
            pairs[i][k].which.integers = k == INTEGERS;
            if (i) pairs[i][k].peer = (vst_bench_peer){s->python, s->runtimes[i - 1]};
        }
    return vst_bench_rounds((vst_bench_contender *)pairs, (s->runtime_count + 1) * PRECISIONS, s->rounds, progress,
                            done);
}

static void add_pair(vst_table *table, const session *s, int row, const pair *pairs, int batch) {
    const vst_bench_contender *it = pairs[row];
    vst_table_cell(table, "%s", row ? runtimes[s->runtimes[row - 1]].shown : "Vistill");
    if (it[FLOATS].lacks_model || it[INTEGERS].lacks_model) {
        for (int i = 0; i < 5; i++) vst_table_cell(table, "-");
        return;
    }
    for (int k = 0; k < PRECISIONS; k++)
        vst_table_cell(table, "%.1f", vst_bench_compare(&it[k], NULL, s->rounds).median * batch);
    vst_table_cell(table, "%.2f", vst_bench_compare(&it[INTEGERS], &it[FLOATS], s->rounds).median);
    for (int k = 0; k < PRECISIONS; k++)
        if (row) add_ratio(table, &pairs[0][k], &it[k], s->rounds);
        else vst_table_cell(table, "%s", "");
}

static vst_status print_pairs(const session *s, const entry *e, const pair *pairs) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    const char *const alone[] = {"", ">float32/s", ">int8/s", ">gain", NULL}, *const beside[] = {"",
                                                                                                 ">float32/s",
                                                                                                 ">int8/s",
                                                                                                 ">gain",
                                                                                                 ">ours/its, float32",
                                                                                                 ">ours/its, int8",
                                                                                                 NULL};
    VST_TRY(vst_table_create(&table, s->runtime_count ? beside : alone));
    for (int i = 0; i <= s->runtime_count; i++) add_pair(table, s, i, pairs, e->which.batch);
    printf("%s, batch %d\n\n", e->variant, e->which.batch);
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static vst_status measure_integers(session *s) {
    vst_status status = VST_OK;
    vst_progress progress;
    uint64_t done = 0;
    pair *pairs = vst_alloc(PROGRAMS * sizeof *pairs);
    if (!pairs) return vst_fail_memory(PROGRAMS * sizeof *pairs);
    const vst_bench_case *first = &s->entries[0].which;
    printf("Inference, images/s with random weights, %d thread%s, medians of %d rounds\n", first->threads,
           first->threads == 1 ? "" : "s", s->rounds);
    vst_progress_start(&progress, "bench", "rounds", (uint64_t)(s->count * s->rounds));
    for (int i = 0; i < s->count && status == VST_OK; i++) {
        memset(pairs, 0, PROGRAMS * sizeof *pairs);
        status = measure_pairs(s, &s->entries[i], pairs, &progress, &done);
        if (status != VST_OK) break;
        printf("\n");
        status = print_pairs(s, &s->entries[i], pairs);
    }
    vst_progress_finish(&progress);
    vst_free(pairs);
    return status;
}

/* ---- where the time goes ---- */

static vst_status print_profile(const vst_bench_profile *profile) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    VST_TRY(vst_table_create(&table, (const char *[]){"operation", "", "implementation", ">nodes", ">ms", ">share %",
                                                      ">GFLOP/s", ">GB/s", NULL}));
    for (int i = 0; i < profile->count; i++) {
        const vst_bench_operation *o = &profile->operations[i];
        vst_table_cell(table, "%s", o->name);
        vst_table_cell(table, "%s", o->backward ? "backward" : "");
        vst_table_cell(table, "%s", o->implementation);
        vst_table_cell(table, o->nodes ? "%d" : "", o->nodes);
        vst_table_cell(table, "%.3f", 1e3 * o->seconds);
        vst_table_cell(table, "%.1f", 100 * o->seconds / profile->seconds);
        vst_table_cell(table, o->flops > 0 ? "%.1f" : "", o->flops / o->seconds / 1e9);
        vst_table_cell(table, o->bytes > 0 ? "%.1f" : "", o->bytes / o->seconds / 1e9);
    }
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static vst_status profile_all(const session *s) {
    vst_status status = VST_OK;
    vst_bench_profile profile = {0};
    for (int i = 0; i < s->count; i++) {
        printf("%s%s, batch %d\n\n", i ? "\n" : "", s->entries[i].variant, s->entries[i].which.batch);
        vst_bench_profile_clear(&profile);
        VST_TRY(vst_bench_profile_run(&profile, &s->entries[i].which, PROFILE_STEPS));
        VST_TRY(print_profile(&profile));
    }
out:
    vst_bench_profile_clear(&profile);
    return status;
}

/* ---- `vistill bench loader DATA` ---- */

static vst_status create_loader_table(vst_table **out, const vst_bench_loader_options *options) {
    char many[32];
    const char *headers[7] = {"transform", ">images/s on one core"};
    int count = 2;
    snprintf(many, sizeof many, ">on %d", options->threads);
    if (options->threads > 1) headers[count++] = many;
    if (options->threads > 1) headers[count++] = ">times one";
    if (options->python) headers[count++] = ">Pillow + timm/s";
    if (options->python) headers[count++] = ">times as fast";
    return vst_table_create(out, headers);
}

static void loader_row(vst_table *table, const vst_bench_loader_row *row, const vst_bench_loader_options *options) {
    vst_table_cell(table, "%s", row->name);
    vst_table_cell(table, "%.0f", row->one);
    if (options->threads > 1) {
        vst_table_cell(table, "%.0f", row->many);
        vst_table_cell(table, "%.2f", row->scaling);
    }
    if (!options->python) return;
    vst_table_cell(table, "%.0f", row->peer);
    vst_table_cell(table, "%.2f (%.2f-%.2f)", row->ratio, row->ratio_low, row->ratio_high);
}

static vst_status measure_loader(const vst_arguments *arguments) {
    static const char *const foreign[] = {"batch", "infer", "int8", "runtime", "profile", "precision", "set", NULL};
    vst_status status = VST_OK;
    vst_table *table = NULL;
    vst_bench_loader_row rows[VST_BENCH_LOADER_ROWS];
    vst_bench_loader_options options = {.path = arguments->words[arguments->word_count - 1],
                                        .python = vst_flag_value(arguments, "peer"),
                                        .threads = omp_get_max_threads(),
                                        .rounds = 8};
    if (arguments->word_count != 2)
        VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "bench loader: give one data set, a folder or tar files of images"));
    for (int i = 0; foreign[i]; i++)
        if (vst_flag_given(arguments, foreign[i]))
            VST_TRY(vst_fail(VST_ERROR_ARGUMENT, "--%s cannot be used with `bench loader`", foreign[i]));
    VST_TRY(vst_flag_int(arguments, "threads", 1, 64, &options.threads));
    VST_TRY(vst_flag_int(arguments, "rounds", 1, MAX_ROUNDS, &options.rounds));
    VST_TRY(vst_bench_loader(&options, rows));
    VST_TRY(create_loader_table(&table, &options));
    for (int i = 0; i < VST_BENCH_LOADER_ROWS; i++) loader_row(table, &rows[i], &options);
    printf("Image files in memory to 224 x 224 pixels, medians of %d rounds\n\n", options.rounds);
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return status;
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    if (arguments->word_count && strcmp(arguments->words[0], "loader") == 0) {
        return vst_command_exit(measure_loader(arguments));
    }
    session *s = vst_calloc(1, sizeof *s);
    if (!s) VST_TRY(vst_fail_memory(sizeof *s));
    VST_TRY(choose(s, arguments));
    if (vst_flag_given(arguments, "profile")) status = profile_all(s);
    else status = vst_flag_given(arguments, "int8") ? measure_integers(s) : measure_all(s);
out:
    for (int i = 0; s && i < s->count; i++) vst_model_config_destroy(s->entries[i].model);
    vst_free(s);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"batch", 'b', "N", "batch size; 32 by default, that of each default model without MODEL"},
    {"infer", 0, NULL, "measure inference instead of training steps"},
    {"int8", 0, NULL, "with --infer: float32 and 8-bit integers, with random weights, on each side"},
    {"peer", 0, "PYTHON", "measure PyTorch (loader: Pillow) beside it: an interpreter with torch and timm"},
    {"runtime", 0, "NAME", "of the peer: pytorch; with --infer onnxruntime or openvino, both with --int8"},
    {"precision", 0, "TYPE", "precision of products: f32, the default, or bf16, compared with f32 without a peer"},
    {"profile", 0, NULL, "show the time of a step by operation"},
    {"rounds", 0, "N", "rounds of half a second each (loader: of all images), 8 by default"},
    {"set", 's', "KEY=VALUE", "set an option of the models, such as depth=6; can be repeated"},
    {"threads", 't', "N", "number of threads, of the peer too; all processors by default"},
    {0}};

extern const vst_command vsti_command_bench;
const vst_command vsti_command_bench = {
    .name = "bench",
    .words = "[MODEL… | loader DATA]",
    .summary = "measure training, inference or loading, alone or beside PyTorch or Pillow",
    .help =
        "Each model runs in its own process, alternating with a large matrix product (the machine's peak rate) and "
        "the\n"
        "peer, so that ratios are valid while the machine's speed drifts. Peak MB is the resident memory of the "
        "process.\n"
        "`bench loader DATA` measures loading the images of a data set: decoding, and DeiT's training transform and "
        "the\n"
        "evaluation transform, from decoded images and from files (decoding included), to normalised floats, on one\n"
        "core and on --threads; the peer is Pillow with timm.",
    .flags = flags,
    .minimum = 0,
    .maximum = -1,
    .run = run};
