/* Latency of a session with one thread. */
#include "recipes/infer/latency.h"

#include "recipes/infer/median.h"
#include "vision/base/clock.h"
#include "vision/base/memory.h"

enum { WARM_UP = 5, MIN_RUNS = 20, MAX_RUNS = 2000 };

static vst_status measure(vst_session *session, const float *image, double *times, int *runs) {
    vst_status status = VST_OK;
    vst_result result = {0};
    for (int i = 0; i < WARM_UP; i++) VST_TRY(vst_session_run(session, image, 1, &result));
    const double start = vst_seconds();
    for (*runs = 0; *runs < MAX_RUNS && (*runs < MIN_RUNS || vst_seconds() - start < 0.5); ++*runs) {
        const double begin = vst_seconds();
        VST_TRY(vst_session_run(session, image, 1, &result));
        times[*runs] = vst_seconds() - begin;
    }
out:
    vst_result_clear(&result);
    return status;
}

vst_status vst_model_latency(const vst_model *model, bool bf16, vst_latency *latency) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    double *times = vst_alloc(MAX_RUNS * sizeof *times);
    float *image = NULL;
    int runs;
    if (!times) VST_TRY(vst_fail_memory(MAX_RUNS * sizeof *times));
    VST_TRY(vst_session_create_model(&session, model, &(vst_session_options){.threads = 1, .bf16 = bf16}));
    const size_t floats = vst_session_image_floats(session);
    image = vst_alloc(floats * sizeof *image);
    if (!image) VST_TRY(vst_fail_memory(floats * sizeof *image));
    for (size_t i = 0; i < floats; i++) image[i] = 0.5f;
    VST_TRY(measure(session, image, times, &runs));
    latency->median = 1e3 * vst_median(times, runs); /* which sorts them */
    latency->low = 1e3 * times[runs / 10];
    latency->high = 1e3 * times[runs - 1 - runs / 10];
out:
    vst_session_close(session);
    vst_free(image);
    vst_free(times);
    return status;
}
