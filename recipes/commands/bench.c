/* vistill bench: speed of training and inference relative to matrix multiplication and, with --peer, to PyTorch in the
 * same run. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "recipes/bench/bench.h"
#include "recipes/commands/main.h"
#include "recipes/commands/table.h"
#include "recipes/infer/median.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"

enum { MAX_CASES = 32, MAX_ROUNDS = VST_BENCH_ROUNDS, MAX_STEPS = 1000, PROFILE_STEPS = 5 };
static const double round_seconds = 0.5; /* of each worker in each round, at least one step */

typedef struct contender {
    vst_bench_worker *worker;
    vst_bench_facts facts;
    int steps;                /* of a round */
    double rates[MAX_ROUNDS]; /* steps a second */
    size_t peak_bytes;
} contender;

typedef struct entry {
    const char *variant;
    vst_model_config *model;
    vst_bench_case which;
    contender ours, peer;
    bool has_peer;
    double ratios[MAX_ROUNDS];
} entry;

typedef struct session {
    entry entries[MAX_CASES];
    int count, rounds;
    bool bf16, beside;   /* beside: a peer, or for bf16 our own float32, is measured too */
    vst_bench_peer peer; /* python NULL: none */
    contender gemm;
} session;

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

static double median(const double *values, int count) {
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    return vst_median(sorted, count);
}

/* ---- choosing ---- */

static vst_status add_entry(session *s, const char *variant, int batch, vst_bench_kind kind, int threads) {
    if (s->count == MAX_CASES) return vst_fail(VST_ERROR_LIMIT, "at most %d cases in one run", MAX_CASES);
    entry *e = &s->entries[s->count];
    *e = (entry){.variant = variant};
    vst_status status = vst_model_config_create(&e->model, variant);
    if (status != VST_OK) return status;
    s->count++;
    e->which = (vst_bench_case){kind, e->model, batch, threads, s->bf16};
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

static vst_status choose_runtime(session *s, const char *name) {
    if (!name || strcmp(name, "pytorch") == 0) return VST_OK;
    if (strcmp(name, "onnxruntime") != 0)
        return vst_fail(VST_ERROR_ARGUMENT, "--runtime %s: there are pytorch and onnxruntime", name);
    s->peer.runtime = VST_BENCH_ONNX_RUNTIME;
    return VST_OK;
}

static vst_status choose(session *s, const vst_arguments *arguments) {
    vst_status status = VST_OK;
    int batch = 0, threads = omp_get_max_threads(); /* starts no thread */
    const vst_bench_kind kind = vst_flag_given(arguments, "infer") ? VST_BENCH_INFER : VST_BENCH_TRAIN;
    s->rounds = 8;
    VST_TRY(vst_flag_bf16(arguments, &s->bf16));
    VST_TRY(vst_flag_int(arguments, "batch", 1, 65536, &batch));
    VST_TRY(vst_flag_int(arguments, "threads", 1, 1024, &threads));
    VST_TRY(vst_flag_int(arguments, "rounds", 1, MAX_ROUNDS, &s->rounds));
    s->peer.python = vst_flag_value(arguments, "peer");
    s->beside = s->peer.python || s->bf16;
    VST_TRY(choose_runtime(s, vst_flag_value(arguments, "runtime")));
    if (!arguments->word_count) VST_TRY(add_defaults(s, batch, kind, threads));
    for (int i = 0; i < arguments->word_count; i++)
        VST_TRY(add_entry(s, arguments->words[i], batch ? batch : 32, kind, threads));
    VST_TRY(apply_settings(s, arguments));
out:
    return status;
}

/* ---- measuring ---- */

static vst_status start(contender *c, const vst_bench_case *which, const vst_bench_peer *peer) {
    vst_status status = vst_bench_start(&c->worker, which, peer, &c->facts);
    if (status != VST_OK) return status;
    const double steps = round_seconds / c->facts.seconds;
    c->steps = steps < 1 ? 1 : steps > MAX_STEPS ? MAX_STEPS : (int)steps;
    return VST_OK;
}

static vst_status run_round(contender *c, int round) {
    double seconds;
    vst_status status = vst_bench_run(c->worker, c->steps, &seconds);
    if (status == VST_OK) c->rates[round] = c->steps / seconds;
    return status;
}

static void stop(contender *c) {
    vst_bench_end(c->worker, &c->peak_bytes);
    c->worker = NULL;
}

static vst_status start_peer(session *s, entry *e) {
    vst_bench_case which = e->which;
    if (!s->beside) return VST_OK;
    which.bf16 = false;
    const vst_status status = start(&e->peer, &which, s->peer.python ? &s->peer : NULL);
    e->has_peer = status == VST_OK;
    return status == VST_ERROR_UNSUPPORTED && s->peer.python ? VST_OK : status;
}

/* Measures the peer, Vistill and the matrix product alternately in each round. */
static vst_status measure(session *s, entry *e, vst_progress *progress, int done) {
    vst_status status = VST_OK;
    const vst_bench_case gemm = {.kind = VST_BENCH_GEMM, .threads = e->which.threads};
    VST_TRY(start(&e->ours, &e->which, NULL));
    VST_TRY(start(&s->gemm, &gemm, NULL));
    VST_TRY(start_peer(s, e));
    for (int i = 0; i < s->rounds; i++) {
        VST_TRY(run_round(&s->gemm, i));
        VST_TRY(run_round(&e->ours, i));
        if (e->has_peer) VST_TRY(run_round(&e->peer, i));
        e->ratios[i] = e->has_peer ? e->ours.rates[i] / e->peer.rates[i] : 0;
        vst_progress_update(progress, (uint64_t)(done + i + 1), NAN);
    }
out:
    stop(&e->ours);
    stop(&e->peer);
    stop(&s->gemm);
    return status;
}

/* ---- the table ---- */

static void add_cells(vst_table *table, const session *s, const entry *e) {
    const double rate = median(e->ours.rates, s->rounds), gemm = s->gemm.facts.flops * median(s->gemm.rates, s->rounds);
    const double flops = e->ours.facts.flops;
    vst_table_cell(table, "%s", e->variant);
    vst_table_cell(table, "%d", e->which.batch);
    vst_table_cell(table, "%.2f", 1e3 / rate);
    vst_table_cell(table, "%.1f", rate * e->which.batch);
    vst_table_cell(table, "%.0f", e->ours.peak_bytes / 1e6);
    vst_table_cell(table, "%.1f", flops * rate / 1e9);
    vst_table_cell(table, "%.0f", 100 * flops * rate / gemm);
    if (!s->beside) return;
    if (!e->has_peer) {
        for (int i = 0; i < 3; i++) vst_table_cell(table, "-");
        return;
    }
    double low = e->ratios[0], high = e->ratios[0];
    for (int i = 1; i < s->rounds; i++) {
        if (e->ratios[i] < low) low = e->ratios[i];
        if (e->ratios[i] > high) high = e->ratios[i];
    }
    vst_table_cell(table, "%.1f", median(e->peer.rates, s->rounds) * e->which.batch);
    vst_table_cell(table, "%.0f", e->peer.peak_bytes / 1e6);
    vst_table_cell(table, "%.2f (%.2f-%.2f)", median(e->ratios, s->rounds), low, high);
}

static vst_status measure_all(session *s) {
    vst_status status = VST_OK;
    vst_table *table = NULL;
    vst_progress progress;
    const char *const peer = !s->peer.python                             ? ">float32/s"
                             : s->peer.runtime == VST_BENCH_ONNX_RUNTIME ? ">ONNX Runtime/s"
                                                                         : ">PyTorch/s";
    const char *const plain[] = {"model",    ">batch",   ">ms a step", ">images/s",
                                 ">peak MB", ">GFLOP/s", ">% of GEMM", NULL};
    const char *const beside[] = {"model",      ">batch", ">ms a step",   ">images/s",      ">peak MB", ">GFLOP/s",
                                  ">% of GEMM", peer,     ">its peak MB", ">times as fast", NULL};
    VST_TRY(vst_table_create(&table, s->beside ? beside : plain));
    vst_progress_start(&progress, "bench", "rounds", (uint64_t)(s->count * s->rounds));
    for (int i = 0; i < s->count && status == VST_OK; i++) {
        status = measure(s, &s->entries[i], &progress, i * s->rounds);
        if (status == VST_OK) add_cells(table, s, &s->entries[i]);
    }
    vst_progress_finish(&progress);
    VST_TRY(status);
    const vst_bench_case *first = &s->entries[0].which;
    printf("%s, %s, %d thread%s, medians of %d rounds\n\n",
           first->kind == VST_BENCH_TRAIN ? "Training steps (forward, cross-entropy, backward, AdamW)" : "Inference",
           !s->bf16         ? "float32"
           : s->peer.python ? "bf16, the peer in float32"
                            : "bf16 beside float32",
           first->threads, first->threads == 1 ? "" : "s", s->rounds);
    VST_TRY(vst_table_write(table, stdout));
    printf("\nGEMM: a product of 2048 x 2048 matrices in the same run, %.0f GFLOP/s at the last model.\n",
           s->gemm.facts.flops * median(s->gemm.rates, s->rounds) / 1e9);
out:
    vst_table_destroy(table);
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
    static const char *const foreign[] = {"batch", "infer", "runtime", "profile", "precision", "set", NULL};
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
    status = vst_flag_given(arguments, "profile") ? profile_all(s) : measure_all(s);
out:
    for (int i = 0; s && i < s->count; i++) vst_model_config_destroy(s->entries[i].model);
    vst_free(s);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"batch", 'b', "N", "batch size; 32 by default, that of each default model without MODEL"},
    {"infer", 0, NULL, "measure inference instead of training steps"},
    {"peer", 0, "PYTHON", "measure PyTorch (loader: Pillow) beside it: an interpreter with torch and timm"},
    {"runtime", 0, "NAME", "runtime of the peer: pytorch, or onnxruntime (with --infer)"},
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
    .summary = "measure training, inference or loading, alone or against PyTorch, Pillow and timm",
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
