/* One program in many threads: contexts give the same bits as one alone, also while another thread makes programs;
 * packed weights are there once for programs of several batch sizes; each further context costs its arena and no more.
 */
#include <check.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backbones/backbone.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"
#include "vision/plan/internal.h"

enum { THREADS = 8, RUNS = 3, BATCH = 16, PARTIAL = 7, MODELS = 2 };

static const struct {
    const char *variant, *overrides[9]; /* pairs of key and value */
} models[MODELS] = {
    {"deit_mini_distilled_patch4_28", {"dim", "36", "depth", "2", "heads", "3"}},
    {"resnet8_cifar", {"image", "28", "channels", "1", "width", "16"}}, /* batch norm to fold, Winograd's weights */
};

typedef struct subject {
    vst_model_config *model;
    vst_params *params;
    size_t pixels; /* floats of an image */
    int classes;
} subject;

static subject open_model(int index) {
    subject s = {0};
    vst_graph *graph;
    ck_ok(vst_model_config_create(&s.model, models[index].variant));
    for (const char *const *o = models[index].overrides; *o; o += 2) ck_ok(vst_model_config_set(s.model, o[0], o[1]));
    const vst_model_common *common = vst_model_common_of(s.model);
    s.pixels = (size_t)common->channels * (size_t)common->image * (size_t)common->image;
    s.classes = common->classes;
    ck_ok(vst_params_create(&s.params));
    ck_ok(vst_graph_create(&graph, s.params)); /* registers the parameters */
    vst_model_build(graph, s.model, 1);
    ck_ok(vst_graph_finish(graph));
    ck_ok(vst_params_allocate(s.params, false, 1));
    vst_graph_destroy(graph);
    return s;
}

static void close_model(subject *s) {
    vst_params_destroy(s->params);
    vst_model_config_destroy(s->model);
}

/* The graph is gone when the program runs. */
static vst_status make_program(vst_program **out, const subject *s, int batch, const vst_program_options *options) {
    vst_status status = VST_OK;
    vst_graph *graph = NULL;
    VST_TRY(vst_graph_create(&graph, s->params));
    vst_model_build(graph, s->model, batch);
    const vst_value logits = vst_find(graph, "logits");
    VST_TRY(vst_program_create(out, graph, &logits, 1, options));
out:
    vst_graph_destroy(graph);
    return status;
}

static vst_program *create_program(const subject *s, int batch, vst_program *share) {
    vst_program *program;
    ck_ok(make_program(&program, s, batch, &(vst_program_options){.threads = 1, .share = share}));
    return program;
}

static vst_context *create_context(vst_program *program) {
    vst_context *context;
    ck_ok(vst_context_create(&context, program, NULL));
    return context;
}

/* Images that depend on `number` alone. */
static vst_status run(vst_context *context, const subject *s, int batch, uint32_t number) {
    vst_random random = vst_random_stream(5, 0, number, 0);
    float *image = vst_context_input(context, "image");
    for (size_t i = 0; i < (size_t)batch * s->pixels; i++) image[i] = (float)vst_random_uniform(&random);
    return vst_context_run(context, 0);
}

static size_t logits_bytes(const subject *s, int batch) { return (size_t)batch * (size_t)s->classes * sizeof(float); }

/* The logits that a program of its own gives. */
static float *expected(const subject *s, int batch, uint32_t number) {
    vst_program *program = create_program(s, batch, NULL);
    vst_context *context = create_context(program);
    float *logits = malloc(logits_bytes(s, batch));
    ck_ok(run(context, s, batch, number));
    memcpy(logits, vst_context_output(context, 0), logits_bytes(s, batch));
    vst_context_destroy(context);
    vst_program_destroy(program);
    return logits;
}

static void change(const subject *s) {
    float *values = vst_params_values(s->params);
    for (size_t i = 0; i < vst_params_trained(s->params); i++) values[i] *= 1.0f + (float)(i % 3) / 4;
    vst_params_changed(s->params);
}

/* ---- Memory ---- */

START_TEST(further_contexts_cost_their_arena) {
    subject s = open_model(_i);
    vst_context *contexts[THREADS];
    vst_program *program = create_program(&s, BATCH, NULL);
    const size_t each = vst_program_context_bytes(program);
    const uint64_t before = vst_memory_bytes();
    contexts[0] = create_context(program);
    ck_ok(run(contexts[0], &s, BATCH, 0)); /* packs the weights */
    const uint64_t one = vst_memory_bytes();
    ck_assert_uint_ge(one - before, each);
    for (int i = 1; i < THREADS; i++) {
        contexts[i] = create_context(program);
        ck_ok(run(contexts[i], &s, BATCH, (uint32_t)i));
    }
    ck_assert_uint_eq(vst_memory_bytes() - one, (THREADS - 1) * each);
    printf("%s: a context takes %zu bytes, its arena %zu; packed weights %zu\n", models[_i].variant, each,
           program->arena_bytes, vst_program_packed_bytes(program));
    fflush(stdout);
    ck_assert_uint_gt(vst_program_packed_bytes(program), 0);
    ck_assert_double_lt((double)each, 1.05 * (double)program->arena_bytes);
    for (int i = 0; i < THREADS; i++) vst_context_destroy(contexts[i]);
    vst_program_destroy(program);
    close_model(&s);
}
END_TEST

/* ---- Shared weights ---- */

START_TEST(batch_sizes_share_weights) {
    subject s = open_model(_i);
    vst_program *whole = create_program(&s, BATCH, NULL);
    const size_t packed = vst_program_packed_bytes(whole);
    vst_program *partial = create_program(&s, PARTIAL, whole);
    ck_assert_uint_gt(packed, 0);
    ck_assert_uint_eq(vst_program_packed_bytes(whole), packed);
    ck_assert_uint_eq(vst_program_packed_bytes(partial), packed);
    vst_context *first = create_context(whole), *second = create_context(partial);
    for (int round = 0; round < 2; round++) {
        float *one = expected(&s, BATCH, 1), *two = expected(&s, PARTIAL, 2);
        ck_ok(run(second, &s, PARTIAL, 2)); /* packs for both */
        ck_ok(run(first, &s, BATCH, 1));
        ck_assert_mem_eq(vst_context_output(first, 0), one, logits_bytes(&s, BATCH));
        ck_assert_mem_eq(vst_context_output(second, 0), two, logits_bytes(&s, PARTIAL));
        free(one);
        free(two);
        change(&s);
    }
    vst_context_destroy(first);
    vst_program_destroy(whole); /* the weights stay with the other one */
    float *two = expected(&s, PARTIAL, 3);
    ck_ok(run(second, &s, PARTIAL, 3));
    ck_assert_mem_eq(vst_context_output(second, 0), two, logits_bytes(&s, PARTIAL));
    free(two);
    vst_context_destroy(second);
    vst_program_destroy(partial);
    close_model(&s);
}
END_TEST

START_TEST(other_parameters_are_not_shared) {
    subject s = open_model(0), other = open_model(0);
    vst_program *program = create_program(&s, 1, NULL), *refused;
    ck_fails(make_program(&refused, &other, 1, &(vst_program_options){.share = program}), VST_ERROR_ARGUMENT,
             "vst_params");
    vst_program_destroy(program);
    close_model(&s);
    close_model(&other);
}
END_TEST

/* A run that cannot pack is an error; the next one packs what is missing. */
START_TEST(packing_without_memory) {
    subject s = open_model(_i);
    float *logits = expected(&s, PARTIAL, 0);
    for (uint64_t n = 1; n < 8; n++) {
        vst_program *program = create_program(&s, PARTIAL, NULL);
        vst_context *context = create_context(program);
        vst_memory_fail_at(n);
        const vst_status status = run(context, &s, PARTIAL, 0);
        vst_memory_fail_at(0);
        ck_assert_int_eq(status, VST_ERROR_MEMORY);
        ck_ok(run(context, &s, PARTIAL, 0));
        ck_assert_mem_eq(vst_context_output(context, 0), logits, logits_bytes(&s, PARTIAL));
        vst_context_destroy(context);
        vst_program_destroy(program);
    }
    free(logits);
    close_model(&s);
}
END_TEST

/* ---- Threads ---- */

START_TEST(thread_count_is_left_alone) {
    subject s = open_model(0);
    vst_program *two, *three;
    omp_set_num_threads(3);
    ck_ok(make_program(&two, &s, 1, &(vst_program_options){.threads = 2}));
    ck_ok(make_program(&three, &s, 1, &(vst_program_options){0}));
    ck_assert_int_eq(two->threads, 2);
    ck_assert_int_eq(three->threads, 3);
    ck_assert_int_eq(omp_get_max_threads(), 3);
    vst_context *context = create_context(two);
    ck_ok(run(context, &s, 1, 0));
    ck_assert_int_eq(omp_get_max_threads(), 3);
    vst_context_destroy(context);
    vst_program_destroy(two);
    vst_program_destroy(three);
    close_model(&s);
}
END_TEST

/* Work is distributed by the number of threads: with fewer threads, a part would not be computed. */
START_TEST(smaller_teams_are_refused) {
    subject s = open_model(0);
    vst_program *two, *fewer;
    ck_ok(make_program(&two, &s, 1, &(vst_program_options){.threads = 2}));
    vst_context *context = create_context(two);
    const int levels = omp_get_max_active_levels();
    omp_set_num_threads(2);
    omp_set_max_active_levels(0);
    ck_assert_int_eq(run(context, &s, 1, 0), VST_ERROR_UNSUPPORTED);
    ck_assert_int_eq(make_program(&fewer, &s, 1, &(vst_program_options){.threads = 2}), VST_ERROR_UNSUPPORTED);
    ck_ok(make_program(&fewer, &s, 1, &(vst_program_options){0}));
    ck_assert_int_eq(fewer->threads, 1);
    omp_set_max_active_levels(levels);
    ck_ok(run(context, &s, 1, 0));
    vst_context_destroy(context);
    vst_program_destroy(two);
    vst_program_destroy(fewer);
    close_model(&s);
}
END_TEST

typedef struct job {
    const subject *s;
    vst_program *program;
    uint32_t number;
    const float *expected[RUNS];
    int wrong;
    vst_status status;
} job;

/* Makes a context and runs it; the first run of all packs the weights. */
static void *work(void *argument) {
    job *j = argument;
    vst_status status = VST_OK;
    vst_context *context = NULL;
    VST_TRY(vst_context_create(&context, j->program, NULL));
    for (int i = 0; i < RUNS; i++) {
        VST_TRY(run(context, j->s, PARTIAL, j->number * RUNS + (uint32_t)i));
        j->wrong += memcmp(vst_context_output(context, 0), j->expected[i], logits_bytes(j->s, PARTIAL)) != 0;
    }
out:
    vst_context_destroy(context);
    j->status = status;
    return NULL;
}

/* Makes programs of other batch sizes, in turn with shared and with own weights, and runs each once. */
static void *plan(void *argument) {
    job *j = argument;
    vst_status status = VST_OK;
    for (int i = 0; i < RUNS; i++) {
        vst_program *program = NULL;
        vst_context *context = NULL;
        const vst_program_options options = {.threads = 1, .share = i % 2 ? NULL : j->program};
        status = make_program(&program, j->s, 1 + i, &options);
        if (status == VST_OK) status = vst_context_create(&context, program, NULL);
        if (status == VST_OK) status = run(context, j->s, 1 + i, 0);
        vst_context_destroy(context);
        vst_program_destroy(program);
        if (status != VST_OK) break;
    }
    j->status = status;
    return NULL;
}

/* Contexts of one program in eight threads, and two more threads that make programs. */
START_TEST(threads_give_the_same_bits) {
    subject s = open_model(_i);
    job jobs[THREADS + 2];
    pthread_t threads[THREADS + 2];
    vst_program *program = create_program(&s, PARTIAL, NULL);
    for (uint32_t i = 0; i < THREADS + 2; i++) {
        jobs[i] = (job){.s = &s, .program = program, .number = i};
        for (uint32_t k = 0; i < THREADS && k < RUNS; k++) jobs[i].expected[k] = expected(&s, PARTIAL, i * RUNS + k);
    }
    for (int i = 0; i < THREADS + 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i < THREADS ? work : plan, &jobs[i]), 0);
    for (int i = 0; i < THREADS + 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS + 2; i++) {
        ck_assert_int_eq(jobs[i].status, VST_OK);
        ck_assert_msg(jobs[i].wrong == 0, "thread %d: %d of %d runs gave other bits", i, jobs[i].wrong, RUNS);
        for (int k = 0; k < RUNS; k++) free((float *)jobs[i].expected[k]);
    }
    vst_program_destroy(program);
    close_model(&s);
}
END_TEST

typedef struct planner {
    const subject *s;
    const float *expected[RUNS]; /* by batch size less one */
    pthread_barrier_t *start;
    int wrong;
    vst_status status;
} planner;

/* From graph to logits, with nothing made before. */
static void *plan_and_run(void *argument) {
    planner *self = argument;
    pthread_barrier_wait(self->start);
    for (int i = 0; i < RUNS && self->status == VST_OK; i++) {
        vst_program *program = NULL;
        vst_context *context = NULL;
        self->status = make_program(&program, self->s, 1 + i, &(vst_program_options){.threads = 1});
        if (self->status == VST_OK) self->status = vst_context_create(&context, program, NULL);
        if (self->status == VST_OK) self->status = run(context, self->s, 1 + i, (uint32_t)i);
        if (self->status == VST_OK)
            self->wrong += memcmp(vst_context_output(context, 0), self->expected[i], logits_bytes(self->s, 1 + i)) != 0;
        vst_context_destroy(context);
        vst_program_destroy(program);
    }
    return NULL;
}

/* Two threads with a model each, which share nothing but the library: the same model twice (0) or two models (1). */
START_TEST(two_programs_are_planned_at_once) {
    subject s[2] = {open_model(0), open_model(_i)};
    planner planners[2];
    pthread_t threads[2];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++) {
        planners[i] = (planner){.s = &s[i], .start = &start};
        for (int k = 0; k < RUNS; k++) planners[i].expected[k] = expected(&s[i], 1 + k, (uint32_t)k);
    }
    for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, plan_and_run, &planners[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(planners[i].status, VST_OK);
        ck_assert_int_eq(planners[i].wrong, 0);
        for (int k = 0; k < RUNS; k++) free((float *)planners[i].expected[k]);
        close_model(&s[i]);
    }
    pthread_barrier_destroy(&start);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("program");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, further_contexts_cost_their_arena, 0, MODELS);
    tcase_add_loop_test(cases, batch_sizes_share_weights, 0, MODELS);
    tcase_add_test(cases, other_parameters_are_not_shared);
    tcase_add_loop_test(cases, packing_without_memory, 0, MODELS);
    tcase_add_test(cases, thread_count_is_left_alone);
    tcase_add_test(cases, smaller_teams_are_refused);
    tcase_add_loop_test(cases, threads_give_the_same_bits, 0, MODELS);
    tcase_add_loop_test(cases, two_programs_are_planned_at_once, 0, MODELS);
    return run_suite("program", cases);
}
