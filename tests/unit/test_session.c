/* Sessions: answers are those of the graph itself, whatever the batch; taps, heads and attention; files as evaluation
 * sees them; many threads at once; few programs kept; the number of OpenMP threads left alone; allocations that fail.
 */
#include <check.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "recipes/distill/tap.h"
#include "recipes/infer/latency.h"
#include "recipes/infer/model_session.h"
#include "recipes/infer/preprocessing.h"
#include "tests/unit/compare.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/image/decode.h"
#include "vision/image/image.h"
#include "vision/ops/ops.h"

enum { SIDE = 32, CLASSES = 7, MOST = 9, FLOATS = 3 * SIDE * SIDE };

static const char *const class_names[CLASSES] = {"ant", "bee", "cat", "dog", "eel", "fox", "gnu"};

typedef struct subject {
    vst_model_config *config;
    vst_params *params;
    float images[MOST * FLOATS];
} subject;

/* A distilled DeiT with random weights, written as a model file. */
static void make_model(subject *s, const char *name, const char *const *settings, const char *path) {
    vst_graph *graph;
    ck_ok(vst_model_config_create(&s->config, name));
    for (; *settings; settings += 2) ck_ok(vst_model_config_set(s->config, settings[0], settings[1]));
    ck_ok(vst_model_declare(&graph, &s->params, s->config));
    vst_graph_destroy(graph);
    ck_ok(vst_params_allocate(s->params, false, 5));
    const vst_model_content content = {
        .config = s->config, .params = s->params, .class_names = class_names, .class_count = CLASSES};
    ck_ok(vst_model_write(path, &content));
    for (int i = 0; i < MOST * FLOATS; i++) s->images[i] = (float)((i * 7919 + i / 13) % 256) / 255;
}

static void make_deit(subject *s) {
    static const char *const settings[] = {"dim", "24",      "depth", "3",    "heads", "3",   "image", "32", "channels",
                                           "3",   "classes", "7",     "mean", "0.4",   "std", "0.3",   NULL};
    make_model(s, "deit_mini_distilled_patch4_28", settings, "model.safetensors");
}

static void clear(subject *s) {
    vst_params_destroy(s->params);
    vst_model_config_destroy(s->config);
}

/* The named taps of one image by a graph of its own. */
static void reference(const subject *s, const float *image, const char *tap, float *out, size_t floats) {
    vst_graph *graph;
    vst_program *program;
    vst_context *context;
    char name[VST_TAP_NAME];
    ck_ok(vst_graph_create(&graph, s->params));
    vst_model_build(graph, s->config, 1);
    const vst_value value = tap ? vst_tap_find(graph, tap, name) : vst_model_scores(graph);
    const vst_shape shape = vst_shape_at(graph, value);
    ck_assert_uint_eq((size_t)vst_shape_count(&shape), floats);
    ck_ok(vst_graph_finish(graph));
    ck_ok(vst_program_create(&program, graph, &value, 1, &(vst_program_options){.mode = VST_INFER}));
    ck_ok(vst_context_create(&context, program, NULL));
    memcpy(vst_context_input(context, "image"), image, FLOATS * sizeof *image);
    ck_ok(vst_context_run(context, 0));
    memcpy(out, vst_context_output(context, 0), floats * sizeof *out);
    vst_context_destroy(context);
    vst_program_destroy(program);
    vst_graph_destroy(graph);
}

static void expect_near(const float *a, const float *b, size_t count) {
    ck_assert_all_close("answers", a, b, count, (tolerance){2e-5, 2e-5, false});
}

static void set_up(void) { enter_own_folder("session"); }

/* ---- Answers ---- */

START_TEST(answers_of_any_batch) {
    subject s;
    vst_session *session;
    vst_result result = {0};
    float scores[CLASSES], head[CLASSES], tap[16000];
    const char *const taps[] = {"features.-1", "blocks.0.scores"};
    make_deit(&s);
    ck_ok(vst_session_open(&session, "model.safetensors", &(vst_session_options){.taps = taps, .tap_count = 2}));
    ck_assert_int_eq(vst_session_classes(session), CLASSES);
    ck_assert_str_eq(vst_session_class_name(session, 3), "dog");
    ck_assert_str_eq(vst_session_class_name(session, CLASSES), "");
    ck_assert_int_eq(vst_session_image(session), SIDE);
    ck_assert_int_eq(vst_session_channels(session), 3);
    ck_assert_str_eq(vst_session_tap_at(session, 0)->name, "blocks.2");
    for (int count = 1; count <= MOST; count += 2) {
        ck_ok(vst_session_run(session, s.images, count, &result));
        ck_assert(result.count == count && result.classes == CLASSES && !result.attention);
        for (int i = 0; i < count; i++) {
            const float *image = s.images + i * FLOATS;
            reference(&s, image, NULL, scores, CLASSES);
            expect_near(result.scores + i * CLASSES, scores, CLASSES);
            reference(&s, image, "logits_dist", head, CLASSES);
            expect_near(result.heads[VST_HEAD_DISTILLED] + i * CLASSES, head, CLASSES);
            for (int t = 0; t < 2; t++) {
                const size_t floats = vst_session_tap_at(session, t)->floats;
                reference(&s, image, taps[t], tap, floats);
                expect_near(result.taps[t] + (size_t)i * floats, tap, floats);
            }
        }
    }
    vst_result_clear(&result);
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* In bf16 the scores are near those of float32, of one image as of many, and not equal. */
START_TEST(answers_in_bf16) {
    subject s;
    vst_session *session;
    vst_result result = {0}, one = {0};
    float scores[CLASSES];
    bool slow;
    make_deit(&s);
    if (vst_precision_check(VST_PRECISION_BF16, &slow) != VST_OK) {
        ck_fails(vst_session_open(&session, "model.safetensors", &(vst_session_options){.bf16 = true}),
                 VST_ERROR_UNSUPPORTED, "bf16 needs");
        clear(&s);
        return;
    }
    ck_ok(vst_session_open(&session, "model.safetensors", &(vst_session_options){.bf16 = true}));
    ck_ok(vst_session_run(session, s.images, MOST, &result));
    for (int i = 0; i < MOST; i++) {
        const float *image = s.images + i * FLOATS, *got = result.scores + i * CLASSES;
        reference(&s, image, NULL, scores, CLASSES);
        const double off = relative_difference(got, scores, CLASSES, 1e-6);
        ck_assert_double_lt(off, 0.1);
        ck_assert_double_gt(off, 1e-5);
        ck_ok(vst_session_run(session, image, 1, &one));
        ck_assert_all_close("one image", one.scores, got, CLASSES, (tolerance){2e-2, 2e-2, false});
    }
    vst_result_clear(&one);
    vst_result_clear(&result);
    vst_session_close(session);
    clear(&s);
}
END_TEST

START_TEST(best_classes) {
    subject s;
    vst_session *session;
    vst_class_score top[CLASSES];
    make_deit(&s);
    ck_ok(vst_session_open(&session, "model.safetensors", NULL));
    const float scores[CLASSES] = {1, 3, 3, -2, 0, 3, 2};
    static const int order[CLASSES] = {1, 2, 5, 6, 0, 4, 3};
    double sum = 0, all = 0;
    for (int k = 1; k <= CLASSES; k++) {
        ck_ok(vst_session_top(session, scores, k, top));
        for (int i = 0; i < k; i++) {
            ck_assert_int_eq(top[i].index, order[i]);
            ck_assert_str_eq(top[i].name, class_names[order[i]]);
        }
    }
    for (int c = 0; c < CLASSES; c++) sum += exp((double)scores[c]);
    for (int c = 0; c < CLASSES; c++) all += top[c].probability;
    ck_assert_double_eq_tol(top[0].probability, exp(3) / sum, 1e-12);
    ck_assert_double_eq_tol(all, 1, 1e-12);
    ck_fails(vst_session_top(session, scores, 0, top), VST_ERROR_ARGUMENT, "1 to 7");
    ck_fails(vst_session_top(session, scores, CLASSES + 1, top), VST_ERROR_ARGUMENT, "1 to 7");
    const float broken[CLASSES] = {1, 3, NAN, -2, 0, 3, 2};
    ck_fails(vst_session_top(session, broken, 1, top), VST_ERROR_NUMERIC, "class 2");
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* Each token's row of the rollout sums to 1 over all tokens and patches, so over the patches to less. */
START_TEST(attention_maps) {
    subject s;
    vst_session *session;
    vst_result both = {0}, one = {0};
    make_deit(&s);
    ck_ok(
        vst_session_open(&session, "model.safetensors", &(vst_session_options){.attention = true, .taps_only = true}));
    const int tokens = vst_session_attention_tokens(session), side = vst_session_attention_side(session);
    ck_assert(tokens == 2 && side == 8);
    ck_ok(vst_session_run(session, s.images, 2, &both));
    ck_ok(vst_session_run(session, s.images + FLOATS, 1, &one));
    ck_assert_ptr_null(both.scores);
    expect_near(both.attention + tokens * side * side, one.attention, (size_t)(tokens * side * side));
    for (int m = 0; m < 2 * tokens; m++) {
        double sum = 0;
        for (int i = 0; i < side * side; i++) {
            ck_assert(both.attention[m * side * side + i] > 0);
            sum += both.attention[m * side * side + i];
        }
        ck_assert(sum > 0.1 && sum < 1);
    }
    vst_result_clear(&both);
    vst_result_clear(&one);
    vst_session_close(session);
    clear(&s);
}
END_TEST

START_TEST(no_attention_in_a_cnn) {
    static const char *const settings[] = {"width", "8", "image", "32", "channels", "3", "classes", "7", NULL};
    subject s;
    vst_session *session;
    vst_result result = {0};
    make_model(&s, "resnet8_cifar", settings, "cnn.safetensors");
    ck_ok(vst_session_open(&session, "cnn.safetensors", &(vst_session_options){.attention = true}));
    ck_assert_int_eq(vst_session_attention_tokens(session), 0);
    ck_ok(vst_session_run(session, s.images, 1, &result));
    ck_assert(!result.attention && !result.heads[0] && result.scores);
    vst_result_clear(&result);
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* ---- Files ---- */

static void make_picture(vst_image *image, int height, int width) {
    ck_ok(vst_image_allocate(image, 3, height, width));
    for (int i = 0; i < 3 * height * width; i++) image->pixels[i] = (uint8_t)(i * 31 + i / 97);
}

START_TEST(files_as_evaluation_sees_them) {
    subject s;
    vst_session *session;
    vst_image picture = {0}, scratch[2] = {{0}};
    vst_result of_file = {0}, of_tensor = {0};
    float *tensor = malloc(2 * FLOATS * sizeof *tensor);
    size_t size;
    make_deit(&s);
    make_picture(&picture, 61, 83);
    uint8_t *bytes;
    ck_ok(vst_jpeg_encode(&picture, 90, &bytes, &size));
    ck_ok(vst_session_open(&session, "model.safetensors", NULL));
    const vst_encoded files[] = {{bytes, size}, {bytes, size}};
    ck_ok(vst_session_classify(session, files, 2, &of_file));
    ck_ok(vst_session_decode(session, files[0], tensor));
    ck_ok(vst_image_decode(bytes, size, NULL, &picture, NULL));
    ck_ok(vst_session_convert(session, &picture, scratch, tensor + FLOATS));
    ck_assert_mem_eq(tensor, tensor + FLOATS, FLOATS * sizeof *tensor); /* a part and the whole decoded */
    memcpy(tensor + FLOATS, tensor, FLOATS * sizeof *tensor);
    ck_ok(vst_session_run(session, tensor, 2, &of_tensor));
    ck_assert_mem_eq(of_file.scores, of_tensor.scores, 2 * CLASSES * sizeof(float));
    const vst_encoded cut[] = {{bytes, size}, {bytes, size / 2}};
    ck_fails(vst_session_classify(session, cut, 2, &of_file), VST_ERROR_FORMAT, "image 1");
    ck_fails(vst_session_classify(session, &(vst_encoded){"no picture", 10}, 1, &of_file), VST_ERROR_FORMAT, "");
    ck_assert_int_eq(vst_session_classify(session, files, 0, &of_file), VST_ERROR_ARGUMENT);
    vst_free(bytes);
    free(tensor);
    vst_image_clear(&picture);
    for (int i = 0; i < 2; i++) vst_image_clear(&scratch[i]);
    vst_result_clear(&of_file);
    vst_result_clear(&of_tensor);
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* ---- Options and mistakes ---- */

START_TEST(refusals) {
    subject s;
    vst_session *session;
    vst_result result = {0};
    const char *const taps[] = {"layer3"};
    make_deit(&s);
    ck_fails(vst_session_open(&session, "missing.safetensors", NULL), VST_ERROR_NOT_FOUND, "missing.safetensors");
    ck_assert_ptr_null(session);
    ck_fails(vst_session_open(&session, "model.safetensors", &(vst_session_options){.taps = taps, .tap_count = 1}),
             VST_ERROR_NOT_FOUND, "blocks.2");
    ck_fails(vst_session_open(&session, "model.safetensors", &(vst_session_options){.threads = -1}), VST_ERROR_ARGUMENT,
             "threads (-1)");
    ck_ok(vst_session_open(&session, "model.safetensors", NULL));
    ck_fails(vst_session_run(session, s.images, 0, &result), VST_ERROR_ARGUMENT, "at least one");
    vst_session_close(session);
    vst_session_close(NULL);
    clear(&s);
}
END_TEST

/* A teacher that sees its student's larger images: the graph's own resize. */
START_TEST(images_of_another_size) {
    subject s;
    vst_session *session;
    vst_result result = {0};
    make_deit(&s);
    ck_ok(vst_session_create(&session, s.config, s.params, &(vst_session_options){.image = 16}));
    ck_assert_uint_eq(vst_session_image_floats(session), 3 * 16 * 16);
    ck_ok(vst_session_run(session, s.images, 2, &result));
    ck_assert_int_eq(result.count, 2);
    ck_fails(vst_session_decode(session, (vst_encoded){"x", 1}, s.images), VST_ERROR_FORMAT, "");
    vst_result_clear(&result);
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* Taps can be asked for before there are values; answers follow the values. */
START_TEST(values_may_change) {
    subject s;
    vst_session *session;
    vst_result before = {0}, after = {0};
    float scores[CLASSES];
    make_deit(&s);
    ck_ok(vst_session_create(&session, s.config, s.params, NULL));
    ck_ok(vst_session_run(session, s.images, 1, &before));
    float *values = vst_params_values(s.params);
    for (size_t i = 0; i < vst_params_trained(s.params); i++) values[i] *= 1.25f;
    vst_params_changed(s.params);
    ck_ok(vst_session_run(session, s.images, 1, &after));
    ck_assert_mem_ne(before.scores, after.scores, sizeof scores);
    reference(&s, s.images, NULL, scores, CLASSES);
    expect_near(after.scores, scores, CLASSES);
    vst_result_clear(&before);
    vst_result_clear(&after);
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* More batch sizes than are kept: the memory stays that of few. */
START_TEST(few_programs_are_kept) {
    subject s;
    vst_session *few, *many;
    vst_result result = {0};
    make_deit(&s);
    ck_ok(vst_session_create(&few, s.config, s.params, &(vst_session_options){.programs = 2}));
    ck_ok(vst_session_create(&many, s.config, s.params, &(vst_session_options){.programs = MOST}));
    for (int round = 0; round < 2; round++)
        for (int count = 1; count <= MOST; count++) {
            ck_ok(vst_session_run(few, s.images, count, &result));
            ck_ok(vst_session_run(many, s.images, count, &result));
        }
    ck_assert_uint_lt(vst_session_bytes(few), vst_session_bytes(many));
    const uint64_t made = vst_memory_count();
    ck_ok(vst_session_run(many, s.images, 3, &result)); /* what is ready allocates nothing */
    ck_assert_uint_eq(vst_memory_count(), made);
    vst_result_clear(&result);
    vst_session_close(few);
    vst_session_close(many);
    clear(&s);
}
END_TEST

START_TEST(the_processes_threads_stay) {
    subject s;
    vst_session *session;
    vst_result result = {0};
    vst_latency latency;
    vst_model *model;
    make_deit(&s);
    omp_set_num_threads(3);
    ck_ok(vst_session_open(&session, "model.safetensors", &(vst_session_options){.threads = 1}));
    ck_ok(vst_session_run(session, s.images, 2, &result));
    ck_assert_int_eq(omp_get_max_threads(), 3);
    ck_ok(vst_model_read(&model, "model.safetensors"));
    ck_ok(vst_model_latency(model, false, &latency));
    ck_assert(latency.median > 0 && latency.median < 1000);
    ck_assert_int_eq(omp_get_max_threads(), 3);
    vst_model_destroy(model);
    vst_result_clear(&result);
    vst_session_close(session);
    clear(&s);
}
END_TEST

/* In a parallel region each caller has one thread: a session of two is refused there, one of one thread answers as
 * anywhere, and so does one that is opened there. */
START_TEST(called_from_a_parallel_region) {
    subject s;
    vst_session *one, *two;
    vst_result expected = {0};
    make_deit(&s);
    ck_ok(vst_session_open(&one, "model.safetensors", &(vst_session_options){.threads = 1}));
    ck_ok(vst_session_open(&two, "model.safetensors", &(vst_session_options){.threads = 2}));
    ck_ok(vst_session_run(one, s.images, 4, &expected));
    int refused = 0, same = 0;
#pragma omp parallel num_threads(2) reduction(+ : refused, same)
    {
        vst_result result = {0};
        vst_session *own = NULL;
        refused += vst_session_run(two, s.images, 4, &result) == VST_ERROR_UNSUPPORTED;
        if (vst_session_run(one, s.images, 4, &result) == VST_OK)
            same += memcmp(result.scores, expected.scores, sizeof(float) * 4 * CLASSES) == 0;
        if (vst_session_open(&own, "model.safetensors", NULL) == VST_OK &&
            vst_session_run(own, s.images, 4, &result) == VST_OK)
            same += memcmp(result.scores, expected.scores, sizeof(float) * 4 * CLASSES) == 0;
        vst_session_close(own);
        vst_result_clear(&result);
    }
    ck_assert_int_eq(refused, 2);
    ck_assert_int_eq(same, 4);
    vst_result_clear(&expected);
    vst_session_close(one);
    vst_session_close(two);
    clear(&s);
}
END_TEST

/* ---- Many threads ---- */

enum { THREADS = 8, ROUNDS = 6 };

typedef struct caller {
    pthread_t thread;
    vst_session *session;
    const float *images;
    const float *expected; /* (MOST, MOST, CLASSES): by batch and image */
    int index, wrong;
} caller;

static void *call(void *user) {
    caller *self = user;
    vst_result result = {0};
    for (int round = 0; round < ROUNDS; round++) {
        const int count = 1 + (self->index + round) % 4;
        if (vst_session_run(self->session, self->images, count, &result) != VST_OK) self->wrong++;
        else
            self->wrong += memcmp(result.scores, self->expected + (count - 1) * MOST * CLASSES,
                                  (size_t)(count * CLASSES) * sizeof(float)) != 0;
    }
    vst_result_clear(&result);
    return NULL;
}

/* The scores of 1 … 4 images, by a session of their own; to be freed. */
static float *expected_scores(const subject *s) {
    vst_session *session;
    vst_result result = {0};
    float *expected = calloc(MOST * MOST * CLASSES, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    ck_ok(vst_session_open(&session, "model.safetensors", &(vst_session_options){.threads = 1}));
    for (int count = 1; count <= 4; count++) {
        ck_ok(vst_session_run(session, s->images, count, &result));
        memcpy(expected + (count - 1) * MOST * CLASSES, result.scores, (size_t)(count * CLASSES) * sizeof(float));
    }
    vst_result_clear(&result);
    vst_session_close(session);
    return expected;
}

/* With room for three of the four batch sizes, and for one: then nearly every run evicts the program of another. */
START_TEST(eight_threads) {
    subject s;
    vst_session *shared;
    caller callers[THREADS];
    const vst_session_options options = {.threads = 1, .programs = _i ? 1 : 3};
    make_deit(&s);
    float *expected = expected_scores(&s);
    ck_ok(vst_session_open(&shared, "model.safetensors", &options));
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){.session = shared, .images = s.images, .expected = expected, .index = i};
        ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        ck_assert_int_eq(callers[i].wrong, 0);
    }
    free(expected);
    vst_session_close(shared);
    clear(&s);
}
END_TEST

typedef struct opener {
    caller caller;
    pthread_barrier_t *start;
    vst_status status;
} opener;

static void *open_and_call(void *user) {
    opener *self = user;
    pthread_barrier_wait(self->start);
    self->status = vst_session_open(&self->caller.session, "model.safetensors", &(vst_session_options){.threads = 1});
    if (self->status == VST_OK) call(&self->caller);
    vst_session_close(self->caller.session);
    return NULL;
}

/* Each thread with a session of its own, from opening to closing. */
START_TEST(two_sessions_are_opened_at_once) {
    subject s;
    opener openers[2];
    pthread_barrier_t start;
    make_deit(&s);
    float *expected = expected_scores(&s);
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++) {
        openers[i] = (opener){.caller = {.images = s.images, .expected = expected, .index = i}, .start = &start};
        ck_assert_int_eq(pthread_create(&openers[i].caller.thread, NULL, open_and_call, &openers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(openers[i].caller.thread, NULL);
        ck_assert_int_eq(openers[i].status, VST_OK);
        ck_assert_int_eq(openers[i].caller.wrong, 0);
    }
    pthread_barrier_destroy(&start);
    free(expected);
    clear(&s);
}
END_TEST

/* ---- Memory ---- */

static vst_status whole_life(const float *images, float scores[2 * CLASSES]) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    vst_result result = {0};
    const char *const taps[] = {"blocks.0"};
    VST_TRY(vst_session_open(&session, "model.safetensors",
                             &(vst_session_options){.taps = taps, .tap_count = 1, .attention = true}));
    VST_TRY(vst_session_run(session, images, 1, &result));
    VST_TRY(vst_session_run(session, images, 2, &result));
    memcpy(scores, result.scores, 2 * CLASSES * sizeof *scores);
out:
    vst_result_clear(&result);
    vst_session_close(session);
    return status;
}

/* An error, or where a library can do without that memory, the right answer. */
START_TEST(failing_allocations) {
    subject s;
    float expected[2 * CLASSES], scores[2 * CLASSES];
    uint64_t failed = 0;
    make_deit(&s);
    ck_ok(whole_life(s.images, expected)); /* what is made once in a process is not counted */
    const uint64_t before = vst_memory_count();
    ck_ok(whole_life(s.images, expected));
    const uint64_t count = vst_memory_count() - before;
    for (uint64_t n = 1; n <= count; n += 1 + n / 40) {
        vst_memory_fail_at(n);
        const vst_status status = whole_life(s.images, scores);
        vst_memory_fail_at(0);
        failed += status == VST_ERROR_MEMORY;
        if (status == VST_OK) ck_assert_mem_eq(scores, expected, sizeof scores);
        else
            ck_assert_msg(status == VST_ERROR_MEMORY, "allocation %llu: %s", (unsigned long long)n,
                          vst_error_message());
    }
    ck_assert_uint_gt(failed, 100);
    ck_ok(whole_life(s.images, scores));
    clear(&s);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("session");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, set_up, leave_own_folder);
    tcase_add_test(tests, answers_of_any_batch);
    tcase_add_test(tests, answers_in_bf16);
    tcase_add_test(tests, best_classes);
    tcase_add_test(tests, attention_maps);
    tcase_add_test(tests, no_attention_in_a_cnn);
    tcase_add_test(tests, files_as_evaluation_sees_them);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, images_of_another_size);
    tcase_add_test(tests, values_may_change);
    tcase_add_test(tests, few_programs_are_kept);
    tcase_add_test(tests, the_processes_threads_stay);
#ifndef __SANITIZE_THREAD__ /* which cannot see how OpenMP's own library synchronises */
    tcase_add_test(tests, called_from_a_parallel_region);
#else
    (void)called_from_a_parallel_region;
#endif
    tcase_add_loop_test(tests, eight_threads, 0, 2);
    tcase_add_test(tests, two_sessions_are_opened_at_once);
    tcase_add_test(tests, failing_allocations);
    return run_suite("session", tests);
}
