/* Contenders run in turn, round after round, so that ratios hold while the machine's speed drifts. */
#include <math.h>
#include <string.h>

#include "recipes/bench/bench.h"
#include "recipes/infer/median.h"

enum { MOST_STEPS = 1000 };
static const double round_seconds = 0.5; /* of each contender in each round, at least one step */

static vst_status start(vst_bench_contender *c) {
    vst_bench_facts facts;
    const vst_status status = vst_bench_start(&c->worker, &c->which, c->peer.python ? &c->peer : NULL, &facts);
    c->lacks_model = status == VST_ERROR_UNSUPPORTED && c->peer.python;
    if (status != VST_OK) return c->lacks_model ? VST_OK : status;
    const double steps = round_seconds / facts.seconds;
    c->flops = facts.flops;
    c->steps = steps < 1 ? 1 : steps > MOST_STEPS ? MOST_STEPS : (int)steps;
    return VST_OK;
}

static vst_status run_round(vst_bench_contender *c, int round) {
    double seconds;
    const vst_status status = vst_bench_run(c->worker, c->steps, &seconds);
    if (status == VST_OK) c->rates[round] = c->steps / seconds;
    return status;
}

vst_status vst_bench_rounds(vst_bench_contender *contenders, int count, int rounds, vst_progress *progress,
                            uint64_t *done) {
    vst_status status = VST_OK;
    for (int i = 0; i < count; i++) VST_TRY(start(&contenders[i]));
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < count; i++)
            if (contenders[i].worker) VST_TRY(run_round(&contenders[i], round));
        vst_progress_update(progress, ++*done, (double)NAN);
    }
out:
    for (int i = 0; i < count; i++) {
        vst_bench_end(contenders[i].worker, &contenders[i].peak_bytes);
        contenders[i].worker = NULL;
    }
    return status;
}

vst_bench_spread vst_bench_compare(const vst_bench_contender *a, const vst_bench_contender *b, int rounds) {
    double values[VST_BENCH_ROUNDS];
    vst_bench_spread spread = {0, INFINITY, 0};
    for (int i = 0; i < rounds; i++) {
        values[i] = b ? a->rates[i] / b->rates[i] : a->rates[i];
        if (values[i] < spread.low) spread.low = values[i];
        if (values[i] > spread.high) spread.high = values[i];
    }
    spread.median = vst_median(values, rounds);
    return spread;
}
