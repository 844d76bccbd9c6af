/* Small trainings for tests: a data set that is made in a folder of its own (12 x 12 pixels of noise with one bright
 * quadrant, which is the class), recipes for it, and running them as the program does. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_TRAIN_SESSION_H
#define VISTILL_TESTS_UNIT_TRAIN_SESSION_H

#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "recipes/train/fit.h"
#include "recipes/train/train.h"
#include "tests/unit/run_files.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"
#include "vision/base/random.h"

enum { SIDE = 12, CLASSES = 4, TRAIN = 240, TEST = 60, BATCH = 24, STEPS = TRAIN / BATCH, EPOCHS = 3 };

/* ---- Recipes. Paths are relative: every test works in a folder of its own ---- */

#define DATA "data: {path: data, workers: 1}\n"
#define RUN "run: {epochs: 3, threads: 1, log_seconds: 0, eval_batch: 25}\n"
#define SIZE "image: 12, channels: 1, classes: 4, mean: 0.3, std: 0.2"
#define RESNET "model: {name: resnet8_cifar, width: 8, " SIZE "}\n"
#define SGD "optim: {name: sgd, batch: 24, lr: 0.05, min_lr: 0, warmup_epochs: 0.5, weight_decay: 5e-4}\n"
#define SMALL "dim: 16, depth: 2, heads: 2, init: xavier, " SIZE
#define ADAMW \
    "optim: {name: adamw, batch: 24, lr: 4e-3, warmup_epochs: 0.5, ema_decay: 0.9, clip_norm: 1, smoothing: 0.1}\n"

static const char teacher_recipe[] = DATA RUN RESNET SGD;

/* ---- Folders and files ---- */

/* A split of the data set. Without signal the images are noise and only the labels tell the classes. */
static inline void write_split(int split, int count, bool signal) {
    vst_random random = vst_random_stream(5, vst_random_id("pixels"), (uint32_t)split, 0);
    for (int file = 2 * split; file < 2 * split + 2; file++) {
        char path[64];
        size_t size;
        uint8_t *bytes = make_idx(count, file % 2 ? 0 : SIDE, SIDE, CLASSES, &size);
        for (size_t i = 16; file % 2 == 0 && i < size; i++) {
            const int p = (int)(i - 16) % (SIDE * SIDE), sample = (int)(i - 16) / (SIDE * SIDE);
            const int quadrant = 2 * (p / SIDE >= SIDE / 2) + (p % SIDE >= SIDE / 2);
            bytes[i] = (uint8_t)(vst_random_below(&random, 100) + (signal && quadrant == sample % CLASSES ? 100 : 0));
        }
        snprintf(path, sizeof path, "data/%s", idx_names[file]);
        write_bytes(path, bytes, size);
        free(bytes);
    }
}

static char said[1 << 16]; /* what the log was told */

static inline void listen(vst_log_level level, const char *text, void *user) {
    (void)level;
    (void)user;
    const size_t length = strlen(said);
    snprintf(said + length, sizeof said - length, "%s\n", text);
}

static inline void enter_folder(void) {
    enter_own_folder("train");
    ck_assert_int_eq(mkdir("data", 0700), 0);
    write_split(0, TRAIN, true);
    write_split(1, TEST, true);
    vst_log_set(listen, NULL);
}

static inline void append(const char *path, const char *text) {
    FILE *file = fopen(path, "ab");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static inline bool exists(const char *path) { return access(path, F_OK) == 0; }

/* ---- Running ---- */

enum { SETTINGS = 7, COUNTS = EPOCHS * STEPS };

typedef struct session {
    const char *recipe, *output, *settings[SETTINGS];
    bool resume, extend, force, dry_run;
    bool fit; /* what the recipe leaves to the data is taken from them, as by the program */
    const char
        *stop_phase; /* where the user presses Ctrl-C: "start", or a phase of progress, in this epoch after this step */
    int stop_epoch;
    uint64_t stop_step;
    vst_train_callback *also; /* called at each step */
    /* results */
    volatile sig_atomic_t stop;
    vst_train_result result;
    uint64_t allocations[COUNTS]; /* so far, after each step */
    int steps;
} session;

static inline void watch(const vst_train_progress *p, void *user) {
    session *s = user;
    const bool step = strcmp(p->phase, "train") == 0;
    if (step && s->steps < COUNTS) s->allocations[s->steps++] = vst_memory_count();
    if (step && s->also) s->also(p, user);
    if (s->stop_phase && strcmp(p->phase, s->stop_phase) == 0 && p->epoch == s->stop_epoch &&
        (!step || p->step == s->stop_step))
        s->stop = 1;
}

static inline vst_recipe *read_recipe(const session *s) {
    vst_recipe *recipe;
    const char *settings[SETTINGS + 1];
    char output[64];
    int count = 0;
    while (count < SETTINGS && s->settings[count]) count++;
    memcpy(settings, s->settings, sizeof s->settings);
    snprintf(output, sizeof output, "run.output=%s", s->output ? s->output : "run");
    settings[count++] = output;
    write_bytes("recipe.yaml", (const uint8_t *)s->recipe, strlen(s->recipe));
    ck_ok(vst_recipe_read(&recipe, "recipe.yaml", settings, count));
    return recipe;
}

static inline vst_status run(session *s) {
    vst_recipe *recipe = read_recipe(s);
    s->stop = s->stop_phase && strcmp(s->stop_phase, "start") == 0;
    s->steps = 0;
    said[0] = '\0';
    const vst_train_options options = {.resume = s->resume,
                                       .extend = s->extend,
                                       .force = s->force,
                                       .dry_run = s->dry_run,
                                       .stop = &s->stop,
                                       .progress = watch,
                                       .user = s};
    vst_status status = s->fit ? vst_recipe_fit_data(recipe) : VST_OK;
    if (status == VST_OK) status = vst_train(recipe, &options, &s->result);
    vst_recipe_destroy(recipe);
    return status;
}

static inline void run_fine(session s) { ck_ok(run(&s)); }

static inline void make_teacher(void) { run_fine((session){.recipe = teacher_recipe, .output = "teacher"}); }

/* The run must end with this status and a message that holds the text. */
static inline void expect(session s, vst_status wanted, const char *text) {
    const vst_status status = run(&s);
    ck_assert_msg(status == wanted, "%s instead of %s: %s", vst_status_name(status), vst_status_name(wanted),
                  vst_error_message());
    ck_assert_msg(strstr(vst_error_message(), text) != NULL, "\"%s\" is not in: %s", text, vst_error_message());
}

static inline void expect_said(const char *text) {
    ck_assert_msg(strstr(said, text) != NULL, "\"%s\" was not said:\n%s", text, said);
}

#endif
