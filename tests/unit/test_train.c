/* Training as the program does it, from recipe to run folder: it learns; interrupted and continued it gives the same
 * bits; broken checkpoints, foreign folders, diverging losses and failing allocations are errors with advice; the loop
 * over steps takes no memory. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <omp.h>

#include "recipes/model/model.h"
#include "tests/unit/compare.h"
#include "tests/unit/suite.h"
#include "tests/unit/train_session.h"
#include "vision/image/image.h"
#include "vision/plan/program.h"

/* ---- Recipes ---- */

static const char student_recipe[] = DATA RUN "model: {name: vit_mini_patch4_28, " SMALL
                                              "}\n"
                                              "optim: {name: adamw, batch: 24, lr: 4e-3, warmup_epochs: 0.5}\n";
/* Everything that has a state or draws random numbers: moments, average, batch norm in the stem, drop path,
 * augmentation, mixing, repeated samples. */
static const char stateful_recipe[] = DATA RUN
    "augment: {train: \"crop:padding=2, flip:probability=0.5\", mixup: 0.8, "
    "cutmix: 1, mixup_prob: 0.7, repeats: 2}\n" ADAMW
    "model: {name: vit_mini_patch4_28, stem: conv, drop_path: 0.3, " SMALL "}\n";
static const char distilled_recipe[] =
    "data: {path: data, workers: 1, validation: 40, labelled: 150}\n" RUN ADAMW
    "augment: {train: \"crop:padding=2, flip:probability=0.5\"}\n"
    "model: {name: deit_mini_distilled_patch4_28, drop_path: 0.2, " SMALL
    "}\n"
    "distill:\n"
    "  teacher: teacher/last.safetensors\n"
    "  label_weight: 0.5\n"
    "  terms:\n"
    "    - {distance: kl, student: logits, teacher: logits, temperature: 2, weight: 1}\n"
    "    - {distance: hard, student: logits_dist, teacher: logits, weight: 0.5}\n"
    "    - {distance: mse, student: blocks.0, teacher: layer3, projector: linear, weight: 1}\n";

/* Every kind of teacher at once: a CNN, a transformer, the student's average, its own last block; weights that change.
 */
static const char crowd_recipe[] = DATA RUN ADAMW
    "augment: {train: \"flip:probability=0.5\", mixup: 0.8, mixup_prob: 0.5}\n"
    "model: {name: deit_mini_distilled_patch4_28, drop_path: 0.2, " SMALL
    "}\n"
    "distill:\n"
    "  teacher: teacher/last.safetensors, transformer/last.safetensors\n"
    "  terms:\n"
    "    - {distance: hard, student: logits_dist, weight: 0.5}\n"
    "    - {distance: kl, student: features.-1, teacher: features.-1, align: smaller, transform: relation, weight: 1}\n"
    "    - {distance: rkd_angle, student: features.0, teacher: layer2, weight: 1, schedule: down, end: 2}\n"
    "    - {distance: kl, from: 2, student: features.-1.scores, teacher: features.50%.scores, weight: 1}\n"
    "    - {distance: kl, from: ema, weight: 1, schedule: up, begin: 1}\n"
    "    - {distance: cosine, from: student, student: blocks.0, teacher: blocks.1, projector: mlp, weight: 1}\n";
/* Gradients of two batches to a step, as DeiT-III trains. */
static const char gathering_recipe[] = DATA RUN
    "augment: {train: \"flip:probability=0.5\", mixup: 0.8, cutmix: 1}\n"
    "optim: {name: lamb, batch: 12, accumulate: 2, lr: 4e-3, warmup_epochs: 0.5, loss: bce, "
    "ema_decay: 0.9, clip_norm: 1, weights: raw, warmup_prefix: false}\n"
    "model: {name: vit_mini_patch4_28, drop_path: 0.2, layer_scale: 0.1, " SMALL "}\n";

/* ---- Teachers ---- */

/* A transformer with as many heads as the student and other widths. */
static void make_transformer(const char *distilled) {
    run_fine((session){.recipe = student_recipe,
                       .output = "transformer",
                       .settings = {"run.epochs=1", "model.depth=3", "model.dim=24", distilled}});
}

/* What else can be chosen, all at once: everything of it must be continued exactly. */
static const char chosen_recipe[] =
    "data: {path: data, workers: 1, validation: 40}\n" RUN
    "augment: {train: \"flip:probability=0.5\", mixup: 0.8, cutmix_minmax: [0.2, 0.8], mixup_mode: elem}\n"
    "optim: {name: nadam, batch: 20, lr: 2e-3, warmup_epochs: 0.5, schedule: plateau, schedule_options: "
    "\"patience=0, threshold=1, decay_rate=0.5\", freeze: \"*, !blocks.1.*, !head*\", ema_decay: 0.9, ema_ramp: true}\n"
    "model: {name: vit_mini_patch4_28, dropout: 0.1, " SMALL
    "}\n"
    "distill:\n"
    "  teacher: teacher/last.safetensors\n"
    "  terms:\n"
    "    - {distance: mse, student: features.50%, teacher: features.1, projector: norm, weight: 1}\n"
    "    - {distance: softmax_mse, from: ema, schedule: sigmoid, end: 2, weight: 10}\n";

/* Products of student and teacher in bf16, where there are such processors. */
static const char bf16_recipe[] =
    "data: {path: data, workers: 1}\n"
    "run: {epochs: 3, threads: 1, log_seconds: 0, eval_batch: 25, precision: bf16}\n" ADAMW
    "model: {name: vit_mini_patch4_28, " SMALL
    "}\n"
    "distill: {teacher: teacher/last.safetensors, teacher_precision: bf16, terms: [{distance: kl, weight: 1}]}\n";

/* With simulated integers, from a trained model and taught by it, with an average. */
static const char quantised_recipe[] = DATA RESNET
    "optim: {name: sgd, batch: 24, lr: 0.01, min_lr: 0, warmup_epochs: 0, ema_decay: 0.5}\n"
    "run: {epochs: 3, threads: 1, log_seconds: 0, eval_batch: 25, start: teacher/last.safetensors, "
    "quantization_aware: true, calibration_images: 48}\n"
    "distill: {teacher: teacher/last.safetensors, terms: [{distance: kl}]}\n";

static void make_teachers_of(const char *recipe) {
    if (recipe != teacher_recipe && recipe != stateful_recipe && recipe != gathering_recipe) make_teacher();
    if (recipe == crowd_recipe) make_transformer("model.distilled=true");
}

/* ---- Comparing runs ---- */

/* Whether a tensor differs between two files of a run, so that equal ones say something. */
static bool tensor_differs(const char *a, const char *b, const char *tensor) {
    vst_safetensors *x = open_tensors(a, "last.safetensors"), *y = open_tensors(b, "last.safetensors");
    const vst_tensor *s = vst_safetensors_find(x, tensor), *t = vst_safetensors_find(y, tensor);
    ck_assert_msg(s && t, "no tensor %s", tensor);
    const size_t bytes = (size_t)vst_shape_count(&s->shape) * vst_dtype_size(s->dtype);
    const bool differs = memcmp(s->data, t->data, bytes) != 0;
    vst_safetensors_close(x);
    vst_safetensors_close(y);
    return differs;
}

/* ---- Learning ---- */

START_TEST(learns) {
    static const char *const recipes[] = {teacher_recipe, student_recipe};
    session s = {.recipe = recipes[_i], .settings = {"run.epochs=8"}};
    ck_ok(run(&s));
    ck_assert_int_eq(s.result.epochs, 8);
    ck_assert_double_ge(s.result.test_top1, 95);
    ck_assert_double_ge(s.result.train_top1, 95);
    ck_assert_double_lt(s.result.test_loss, 0.2);
}
END_TEST

/* Noise with arbitrary labels can only be learnt by heart. */
START_TEST(overfits_one_batch) {
    static const char *const recipes[] = {teacher_recipe, student_recipe};
    write_split(0, BATCH, false);
    write_split(1, BATCH, false);
    session s = {
        .recipe = recipes[_i],
        .settings = {"run.epochs=60", "optim.warmup_epochs=5", "optim.weight_decay=0", _i ? "optim.lr=1e-2" : NULL}};
    ck_ok(run(&s));
    ck_assert_double_eq(s.result.train_top1, 100);
    ck_assert_double_lt(s.result.train_loss, 0.05);
    ck_assert_double_lt(s.result.test_top1, 75); /* of other noise */
}
END_TEST

/* A student without any label learns from the teacher alone. */
START_TEST(learns_from_the_teacher) {
    make_teacher();
    session s = {.recipe = distilled_recipe,
                 .settings = {"run.epochs=10", "distill.label_weight=0", "augment.train=", "optim.ema_decay=0"}};
    ck_ok(run(&s));
    ck_assert_double_ge(s.result.teacher_top1, 95);
    ck_assert_double_ge(s.result.test_top1, 95);
    ck_assert_double_ge(s.result.validation_top1, 95);
    expect_said("deit_mini_distilled_patch4_28");
    expect_said("distance mse");
}
END_TEST

/* A teacher of larger images gets the student's, resized; mixed batches go to both. */
START_TEST(teacher_of_another_size) {
    run_fine((session){.recipe = teacher_recipe,
                       .output = "teacher",
                       .settings = {"model.image=16", "augment.train=resize:size=16", "run.epochs=6"}});
    session s = {.recipe = distilled_recipe,
                 .settings = {"run.epochs=10", "distill.label_weight=0", "augment.train=", "optim.ema_decay=0",
                              "distill.terms=[{distance: kl, weight: 1}]", _i ? "augment.mixup=0.4" : NULL}};
    ck_ok(run(&s));
    ck_assert_double_ge(s.result.teacher_top1, 95);
    ck_assert_double_ge(s.result.test_top1, 95);
    expect_said("resized to its 16 x 16");
    expect_said("epoch 10/10: loss ");
    if (_i) expect_said("mixup 0.4");
}
END_TEST

/* Every preset trains with a teacher of the kind that it is for. */
START_TEST(presets_train) {
    static const char *const of_transformers[] = {"minilm", "tinybert", "distilbert"};
    const char *name = vsti_presets[_i].name;
    char preset[64];
    bool transformer = false;
    for (int i = 0; i < 3; i++) transformer = transformer || strcmp(name, of_transformers[i]) == 0;
    snprintf(preset, sizeof preset, "distill.preset=%s", name);
    if (transformer) make_transformer("model.distilled=true");
    else make_teacher();
    session s = {.recipe = distilled_recipe,
                 .settings = {preset,
                              transformer ? "distill.teacher=transformer/last.safetensors"
                                          : "distill.teacher=teacher/last.safetensors",
                              "run.epochs=2", "model.dim=24", "data.labelled=0"}};
    if (strcmp(name, "self") == 0 || strcmp(name, "mean-teacher") == 0) s.settings[1] = "distill.teacher=";
    ck_ok(run(&s));
    ck_assert(isfinite(s.result.train_loss) && s.result.train_loss > 0);
    expect_said("first step: share of loss and gradient");
    if (strcmp(name, "mean-teacher") == 0) expect_said("the student's moving average");
}
END_TEST

/* The gradient norm of each term is logged by itself, whatever its weight. */
START_TEST(gradients_are_told_apart) {
    make_teachers_of(crowd_recipe);
    session s = {.recipe = crowd_recipe, .dry_run = true};
    ck_ok(run(&s));
    expect_said("rkd_angle, features.0 <- layer2");
    expect_said("kl, logits <- ema.logits");
    expect_said("teacher  vit_mini_patch4_28");
    const char *labels = strstr(said, "first step: labels");
    ck_assert_ptr_nonnull(labels);
    ck_assert_double_eq_tol(strtod(labels + strlen("first step: labels"), NULL), log(CLASSES),
                            0.4); /* nothing is learnt yet */
    double shares = 0, loss, gradient;
    int lines = 0;
    for (const char *at = said; (at = strstr(at, "first step: ")); at++) {
        const char *weight = strstr(at, " x ");
        if (sscanf(weight, " x %*g %lf %% %lf %%", &loss, &gradient) != 2) continue; /* the titles */
        shares += gradient;
        lines++;
    }
    ck_assert_int_eq(lines, 7);
    ck_assert_double_eq_tol(shares, 100, 0.05);
}
END_TEST

/* Attention of a CNN, a teacher too few, an average that is not kept. */
START_TEST(teachers_that_cannot_be) {
    make_teacher();
    static const struct {
        const char *terms;
        const char *word;
    } cases[] = {{"distill.terms=[{distance: kl, student: blocks.1.scores, teacher: features.-1.scores}]",
                  "transform: relation"},
                 {"distill.terms=[{distance: mse, student: blocks.7, teacher: layer3}]", "it has blocks.0, blocks.1"}};
    for (int i = 0; i < 2; i++)
        expect((session){.recipe = distilled_recipe, .settings = {cases[i].terms}}, VST_ERROR_NOT_FOUND, cases[i].word);
    ck_assert(!exists("run")); /* before anything is written */
}
END_TEST

/* Multiplies a tensor in a run's last.safetensors. */
static void spoil(const char *output, const char *name, float factor) {
    static const char *const keys[] = {"vistill.format", "vistill.model", "vistill.classes", "vistill.checkpoint"};
    vst_safetensors *file = open_tensors(output, "last.safetensors");
    const size_t count = vst_safetensors_count(file);
    vst_tensor *tensors = calloc(count, sizeof *tensors);
    vst_metadata metadata[4];
    bool found = false;
    ck_assert_ptr_nonnull(tensors);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *vst_safetensors_at(file, i);
        if (strcmp(tensors[i].name, name) != 0) continue;
        found = true;
        for (int64_t k = 0; k < vst_shape_count(&tensors[i].shape); k++) ((float *)tensors[i].data)[k] *= factor;
    }
    ck_assert(found);
    for (int i = 0; i < 4; i++) metadata[i] = (vst_metadata){keys[i], vst_safetensors_metadata(file, keys[i])};
    ck_ok(vst_safetensors_write(vst_safetensors_path(file), tensors, count, metadata, 4));
    free(tensors);
    vst_safetensors_close(file);
}

/* ---- Beginning with trained weights ---- */

/* A distilled student of 12 x 12 pixels goes on at 20 x 20, still taught by its teacher: its positions are resized, and
 * what it knows is of use. */
START_TEST(another_resolution) {
    make_teacher();
    run_fine((session){.recipe = distilled_recipe, .output = "small", .settings = {"run.epochs=8", "augment.train="}});
    session large = {.recipe = distilled_recipe,
                     .output = "large",
                     .settings = {"run.epochs=1", "model.image=20", "augment.train=resize:size=20", "optim.lr=5e-5",
                                  "optim.warmup_epochs=0", "run.start=small/last.safetensors"}};
    ck_ok(run(&large));
    expect_said("resized to the model's grid: pos_embed");
    ck_assert_double_ge(large.result.test_top1, 80);
    ck_assert(exists("large/best.safetensors"));
    large.resume = true;
    ck_ok(run(&large));
    ck_assert(large.result.reused);
    spoil("small", "patch_embed.proj.weight", 2); /* other weights make another run */
    expect(large, VST_ERROR_ARGUMENT, "other contents of the start weights (run.start): give");
}
END_TEST

/* Without a step the weights are those of the file; other classes need a new classifier, which is the one of the seed.
 */
START_TEST(start_is_taken) {
    run_fine((session){.recipe = student_recipe, .output = "first"});
    session again = {.recipe = student_recipe,
                     .output = "again",
                     .settings = {"run.start=first/last.safetensors", "optim.lr=0", "optim.min_lr=0",
                                  "optim.warmup_lr=0", "run.epochs=1"}};
    ck_ok(run(&again));
    ck_assert(!tensor_differs("first", "again", "blocks.0.attn.qkv.weight"));
    ck_assert(!tensor_differs("first", "again", "head.weight"));
    again.output = "fresh";
    again.settings[5] = "run.new_head=true";
    ck_ok(run(&again));
    expect_said("begin afresh: head.weight, head.bias");
    ck_assert(!tensor_differs("first", "fresh", "blocks.0.attn.qkv.weight"));
    ck_assert(tensor_differs("first", "fresh", "head.weight"));
    again.output = "random";
    again.settings[0] = "run.start=";
    again.settings[5] = NULL;
    ck_ok(run(&again));
    ck_assert(!tensor_differs("random", "fresh", "head.weight"));
    expect((session){.recipe = student_recipe, .settings = {"run.start=first/last.safetensors", "model.dim=32"}},
           VST_ERROR_SHAPE, "run.start: first/last.safetensors does not fit vit_mini_patch4_28");
    expect((session){.recipe = student_recipe, .settings = {"run.start=none.safetensors"}}, VST_ERROR_NOT_FOUND,
           "run.start: none");
    expect((session){.recipe = teacher_recipe, .settings = {"run.start=first/last.safetensors"}}, VST_ERROR_FORMAT,
           "does not fit resnet8_cifar");
    ck_assert(!exists("run/last.safetensors"));
}
END_TEST

/* ---- The recipes for ImageNet, made small ---- */

#define IMAGENET "base: " VISTILL_SOURCE_DIR "/recipes/conf/imagenet/"
#define TINY                           \
    "data: {path: data, workers: 1}\n" \
    "run: {epochs: 6, threads: 1, log_seconds: 0, eval_batch: 25"
#define TINY_MODEL(image) "dim: 24, depth: 2, heads: 3, patch: 8, classes: 4, image: " image

/* Each is run as it is but for sizes: the distilled DeiT, the same at a higher resolution with its teacher, DeiT-III.
 */
START_TEST(imagenet_recipes) {
    static const char teacher[] = TINY "}\n" SGD
                                       "model: {name: resnet8_cifar, width: 8, channels: 3, classes: 4, image: 32}\n"
                                       "augment: {train: \"resize:size=32\"}\n";
    static const char distilled[] =
        IMAGENET "deit-tiny-distilled.yaml\n" TINY "}\nmodel: {" TINY_MODEL("32") "}\n"
        "augment: {train: \"random_resized_crop:size=32, flip, rand_augment:policy=rand-m9-mstd0.5-inc1, "
        "random_erasing:probability=0.25\"}\n"
        "optim: {batch: 12, accumulate: 2}\ndistill: {teacher: teacher/last.safetensors}\n";
    static const char larger[] =
        IMAGENET "deit-base-distilled-384.yaml\n" TINY ", start: distilled/last.safetensors}\nmodel: {" TINY_MODEL("48") "}\n"
        "augment: {train: \"random_resized_crop:size=48, flip, rand_augment:policy=rand-m9-mstd0.5-inc1, "
        "random_erasing:probability=0.25\"}\n"
        "optim: {batch: 12, accumulate: 2}\ndistill: {teacher: teacher/last.safetensors}\n";
    static const char third[] =
        IMAGENET "deit3-small.yaml\n" TINY "}\nmodel: {" TINY_MODEL("32") "}\n"
        "augment: {train: \"random_resized_crop:size=32, flip, three_augment, "
        "color_jitter:brightness=0.3:contrast=0.3:saturation=0.3\"}\n"
        "optim: {batch: 12, accumulate: 2}\n";
    run_fine((session){.recipe = teacher, .output = "teacher"});
    run_fine((session){.recipe = distilled, .output = "distilled"});
    expect_said("gradient averaged over 2 batches of 12 images");
    expect_said("average lags far behind");
    expect_said("logits_dist  <- teacher's logits, distance hard, weight 0.5");
    run_fine((session){.recipe = larger, .output = "larger"});
    expect_said("resized to the model's grid: pos_embed");
    expect_said("resized to its 32 x 32 pixels");
    run_fine((session){.recipe = third, .output = "third"});
    run_fine((session){.recipe = distilled, .output = "none", .dry_run = true});
}
END_TEST

/* What users get wrong is told before the first step. */
START_TEST(warns) {
    run_fine((session){
        .recipe = teacher_recipe, .output = "teacher", .settings = {"model.mean=0", "model.std=5", "run.epochs=1"}});
    run_fine((session){.recipe = distilled_recipe, .settings = {"optim.lr_rule=linear", "optim.lr_batch=1024"}});
    expect_said("teacher/last.safetensors: its normalised images have mean 0.0");
    expect_said("steps of 24 images are far from the 1024 that optim.lr is meant for");
    said[0] = 0;
    run_fine((session){.recipe = teacher_recipe, .output = "teacher", .force = true});
    run_fine((session){
        .recipe = distilled_recipe, .output = "good", .settings = {"optim.lr_rule=linear", "optim.lr_batch=48"}});
    ck_assert_ptr_null(strstr(said, "normalised images have"));
    ck_assert_ptr_null(strstr(said, "are far from"));
}
END_TEST

/* ---- The moving average ---- */

/* Column `index` of the last line of a run's summary.csv, as text. */
static void last_cell(const char *output, int index, char cell[32]) {
    char path[64];
    size_t size;
    snprintf(path, sizeof path, "%s/summary.csv", output);
    char *text = read_whole(path, &size), *at = text + size - 1;
    while (at > text && at[-1] != '\n') at--;
    while (index-- > 0) at = strchr(at, ',') + 1;
    snprintf(cell, 32, "%.*s", (int)strcspn(at, ",\n"), at);
    free(text);
}

static void same_cells(const char *a, int i, const char *b, int k) {
    char x[32], y[32];
    last_cell(a, i, x);
    last_cell(b, k, y);
    ck_assert_str_eq(x, y);
}

/* Both are evaluated, whichever the model files get; training does not know of it. */
START_TEST(average_and_raw) {
    enum { EVAL = 5, EMA = 7, RAW = 8 };
    run_fine((session){.recipe = stateful_recipe, .output = "average", .settings = {"optim.ema_decay=0.97"}});
    expect_said("average and raw weights are evaluated, the average ones are saved");
    expect_said("the run has only 30 steps, so the average lags far behind: set optim.ema_decay to 0.9 or less");
    run_fine((session){
        .recipe = stateful_recipe, .output = "raw", .settings = {"optim.ema_decay=0.97", "optim.weights=raw"}});
    ck_assert(!tensor_differs("average", "raw", "optimizer.values"));
    ck_assert(!tensor_differs("average", "raw", "ema.blocks.1.mlp.fc2.weight"));
    ck_assert(tensor_differs("average", "raw", "blocks.1.mlp.fc2.weight"));
    same_cells("average", EVAL, "average", EMA);
    same_cells("raw", EVAL, "raw", RAW);
    same_cells("average", EMA, "raw", EMA);
    same_cells("average", RAW, "raw", RAW);
}
END_TEST

/* ---- Steps of several batches ---- */

/* The greatest difference between two runs' trained values. */
static double distance(const char *a, const char *b) {
    vst_safetensors *x = open_tensors(a, "last.safetensors"), *y = open_tensors(b, "last.safetensors");
    const vst_tensor *s = vst_safetensors_find(x, "optimizer.values"), *t = vst_safetensors_find(y, "optimizer.values");
    ck_assert(vst_shape_equal(&s->shape, &t->shape));
    const double largest =
        largest_difference((const float *)s->data, (const float *)t->data, vst_shape_count(&s->shape));
    vst_safetensors_close(x);
    vst_safetensors_close(y);
    return largest;
}

/* Two batches of 12 are one of 24 but for rounding: the learning rate's rule, the schedule and the sums know of it.
 * What draws random numbers does so for each batch. */
START_TEST(batches_make_a_step) {
    const char *const name = _i ? "optim.name=lamb" : "optim.name=sgd";
    session whole = {.recipe = student_recipe,
                     .output = "whole",
                     .settings = {name, "optim.lr_rule=linear", "optim.lr=0.05", "augment.train=flip", "run.epochs=2"}};
    session parts = whole;
    parts.output = "parts";
    parts.settings[5] = "optim.batch=12";
    parts.settings[6] = "optim.accumulate=2";
    ck_ok(run(&whole));
    ck_ok(run(&parts));
    ck_assert_int_eq(parts.steps, 30);        /* as many as are counted, of 40 batches */
    const double rounding = _i ? 1e-3 : 1e-4; /* LAMB divides by gradients that are small at first */
    ck_assert_double_lt(distance("whole", "parts"), rounding);
    ck_assert_double_eq_tol(whole.result.train_loss, parts.result.train_loss, 1e-4);
    parts.settings[6] = "optim.accumulate=1";
    parts.output = "other";
    ck_ok(run(&parts));
    ck_assert_double_gt(distance("whole", "other"), 5 * rounding);
    ck_assert(isfinite(distance("whole", "other")));
}
END_TEST

/* Batches at an epoch's end that make no whole step are left out; fewer than a step are an error. */
START_TEST(only_whole_steps) {
    session s = {.recipe = student_recipe, .settings = {"run.epochs=1", "optim.accumulate=4"}};
    ck_ok(run(&s));
    ck_assert_int_eq(s.steps, 8); /* of 10 batches */
    expect((session){.recipe = student_recipe, .output = "none", .settings = {"optim.accumulate=11"}},
           VST_ERROR_ARGUMENT, "optim.batch is 24 and optim.accumulate 11, but an epoch shows only 240 images");
    expect((session){.recipe = student_recipe, .output = "none", .settings = {"optim.batch=1000"}}, VST_ERROR_ARGUMENT,
           "use a smaller batch");
}
END_TEST

/* ---- Interrupted and continued ---- */

static bool has_bf16(void) {
    bool slow;
    return vst_precision_check(VST_PRECISION_BF16, &slow) == VST_OK;
}

typedef struct stop {
    const char *phase;
    int epoch;
    uint64_t step;
} stop;

/* One session that the user ends. What a killed session wrote after its last checkpoint is added by hand. */
static void interrupted(const char *recipe, bool resume, stop at) {
    session s = {.recipe = recipe,
                 .output = "parts",
                 .resume = resume,
                 .settings = {"run.log_steps=1"},
                 .stop_phase = at.phase,
                 .stop_epoch = at.epoch,
                 .stop_step = at.step};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "--resume"));
    ck_assert(exists("parts/last.safetensors"));
    append("parts/log.txt", "{\"epoch\": 77}\n");
    append("parts/summary.csv", "77,not after the checkpoint\n");
    append("parts/steps.csv", "77,not after the checkpoint\n");
    append("parts/events.out.tfevents.0.vistill", "not after the checkpoint");
}

/* steps.csv but for the last column, the time. */
static void same_steps(const char *a, const char *b) {
    char path[64], *text[2], *rest[2];
    size_t size;
    int lines = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/steps.csv", i ? b : a);
        rest[i] = text[i] = read_whole(path, &size);
    }
    for (char *x, *y; (x = strsep(&rest[0], "\n")) && *x; lines++) {
        ck_assert_ptr_nonnull(y = strsep(&rest[1], "\n"));
        *strrchr(x, ',') = 0;
        ck_assert_ptr_nonnull(strrchr(y, ','));
        *strrchr(y, ',') = 0;
        ck_assert_str_eq(x, y);
    }
    ck_assert_int_gt(lines, EPOCHS);
    ck_assert_str_eq(rest[1], "");
    free(text[0]);
    free(text[1]);
}

START_TEST(resumes_bit_for_bit) {
    static const char *const recipes[] = {teacher_recipe,   stateful_recipe, distilled_recipe, crowd_recipe,
                                          gathering_recipe, chosen_recipe,   bf16_recipe,      quantised_recipe};
    static const stop stops[] = {{"train", 0, 3}, {"train", 0, 5}, {"test", 0, 0},
                                 {"train", 1, 1}, {"train", 2, 7}, {"test", 2, 0}};
    const bool distilled =
        recipes[_i] != teacher_recipe && recipes[_i] != stateful_recipe && recipes[_i] != gathering_recipe;
    if (recipes[_i] == bf16_recipe && !has_bf16()) return;
    make_teachers_of(recipes[_i]);
    if (!distilled) interrupted(recipes[_i], false, (stop){"start", 0, 0}); /* before the first step */
    run_fine((session){.recipe = recipes[_i], .output = "whole", .settings = {"run.log_steps=1"}});
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) interrupted(recipes[_i], !distilled || i > 0, stops[i]);
    run_fine((session){.recipe = recipes[_i], .output = "parts", .resume = true, .settings = {"run.log_steps=1"}});
    same_runs("whole", "parts", EPOCHS);
    same_steps("whole", "parts");
    session again = {.recipe = recipes[_i], .output = "parts", .resume = true, .settings = {"run.log_steps=1"}};
    ck_ok(run(&again));
    ck_assert(again.result.reused);
    ck_assert_int_eq(again.steps, 0);
    ck_assert_int_eq(again.result.epochs, EPOCHS);
    same_runs("whole", "parts", EPOCHS);
}
END_TEST

/* It learns, in other bits than in float32; its files say so, and are not continued in another precision. */
START_TEST(trains_in_bf16) {
    if (!has_bf16()) return;
    make_teacher();
    session s = {.recipe = bf16_recipe, .settings = {"run.epochs=8"}};
    ck_ok(run(&s));
    ck_assert_double_ge(s.result.test_top1, 95);
    run_fine((session){.recipe = bf16_recipe, .output = "f32", .settings = {"run.epochs=8", "run.precision=f32"}});
    ck_assert(tensor_differs("run", "f32", "blocks.0.attn.qkv.weight"));
    expect((session){.recipe = bf16_recipe, .resume = true, .settings = {"run.epochs=8", "run.precision=f32"}},
           VST_ERROR_ARGUMENT, "run.precision was bf16, is f32");
    vst_model *model;
    ck_ok(vst_model_read(&model, "run/best.safetensors"));
    ck_assert_ptr_nonnull(strstr(model->training, "\"precision\":\"bf16\""));
    vst_model_destroy(model);
    ck_ok(vst_model_read(&model, "f32/best.safetensors"));
    ck_assert_ptr_null(strstr(model->training, "precision"));
    vst_model_destroy(model);
}
END_TEST

/* With more than one thread, too, every sum is taken in the same order each time. */
/* As main.py's --attn-only: what is frozen is the same after one epoch and after three. */
START_TEST(frozen_parameters_stay) {
    static const char *const freeze = "optim.freeze=*, !*.attn.*, !head.*, !pos_embed";
    static const char *const still[] = {"patch_embed.proj.weight", "blocks.1.mlp.fc2.weight", "cls_token", "norm.bias",
                                        "ema.blocks.0.norm1.weight"};
    static const char *const moved[] = {"blocks.0.attn.qkv.weight", "head.weight", "pos_embed"};
    run_fine((session){
        .recipe = student_recipe, .output = "one", .settings = {freeze, "run.epochs=2", "optim.ema_decay=0.9"}});
    run_fine((session){
        .recipe = student_recipe, .output = "three", .settings = {freeze, "run.epochs=3", "optim.ema_decay=0.9"}});
    for (size_t i = 0; i < sizeof still / sizeof *still; i++)
        ck_assert_msg(!tensor_differs("one", "three", still[i]), "%s", still[i]);
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
        ck_assert_msg(tensor_differs("one", "three", moved[i]), "%s", moved[i]);
    expect_said("of them, by optim.freeze: *, !*.attn.*");
    expect((session){.recipe = student_recipe, .force = true, .settings = {"optim.freeze=block.*"}},
           VST_ERROR_NOT_FOUND, "optim.freeze: \"block.*\" fits no parameter");
    expect((session){.recipe = student_recipe, .force = true, .settings = {"optim.freeze=*"}}, VST_ERROR_ARGUMENT,
           "no trained parameter");
}
END_TEST

/* As main.py's --no-train-mode: nothing is dropped, so that the rates do not matter, and running statistics stay. */
START_TEST(in_evaluation_mode) {
    static const char *const mode = "run.train_mode=false", *const once = "run.epochs=1", *const twice = "run.epochs=2";
    run_fine((session){.recipe = student_recipe, .output = "one", .settings = {mode, "model.drop_path=0.5"}});
    run_fine((session){.recipe = student_recipe, .output = "two"});
    ck_assert(!tensor_differs("one", "two", "blocks.1.mlp.fc2.weight"));
    run_fine((session){.recipe = student_recipe, .output = "three", .settings = {"model.drop_path=0.5"}});
    ck_assert(tensor_differs("one", "three", "blocks.1.mlp.fc2.weight"));
    run_fine((session){.recipe = teacher_recipe, .output = "four", .settings = {mode, once}});
    run_fine((session){.recipe = teacher_recipe, .output = "five", .settings = {mode, twice}});
    ck_assert(!tensor_differs("four", "five", "bn1.running_mean"));
    ck_assert(!tensor_differs("four", "five", "bn1.num_batches_tracked"));
    ck_assert(tensor_differs("four", "five", "bn1.weight"));
    ck_assert(tensor_differs("four", "five", "conv1.weight"));
}
END_TEST

/* The rates of a run's epochs. */
static void read_rates(double *rates) {
    size_t size;
    char *log = read_whole("run/summary.csv", &size);
    const char *line = strchr(log, '\n');
    for (int i = 0; i < EPOCHS; i++, line = strchr(line + 1, '\n')) {
        ck_assert_ptr_nonnull(line);
        ck_assert_int_eq(sscanf(line + 1, "%*d,%lf", &rates[i]), 1);
    }
    free(log);
}

/* Without a validation split plateau follows the training loss: it falls by 1 % each epoch, but not by half. */
START_TEST(rate_falls_where_the_loss_stands) {
    static const char *const options[] = {"optim.schedule_options=patience=0, threshold=0.01, decay_rate=0.5",
                                          "optim.schedule_options=patience=0, threshold=0.9, decay_rate=0.5"};
    double rates[EPOCHS];
    for (int i = 0; i < 2; i++) {
        run_fine((session){.recipe = student_recipe,
                           .force = true,
                           .settings = {"optim.schedule=plateau", options[i], "run.eval_every=3"}});
        expect_said("follows the training loss");
        read_rates(rates);
        ck_assert_double_eq(rates[1], 4e-3);
        ck_assert_double_eq_tol(rates[2], i ? 2e-3 : 4e-3, 1e-12);
    }
}
END_TEST

/* No validation is twice as good as the best, so that each epoch after the first halves the rate. */
START_TEST(rate_falls_where_the_validation_stands) {
    double rates[EPOCHS];
    make_teacher();
    run_fine((session){.recipe = chosen_recipe});
    expect_said("follows the validation's top-1");
    read_rates(rates);
    ck_assert_double_eq(rates[1], 2e-3); /* the warm-up is over, one validation is measured */
    for (int i = 2; i < EPOCHS; i++) ck_assert_double_eq_tol(rates[i], rates[i - 1] / 2, 1e-12);
}
END_TEST

/* One line for every second step, whose losses are means over its batches; the cost of each term stands in the log. */
START_TEST(steps_are_logged) {
    make_teacher();
    run_fine((session){.recipe = distilled_recipe, .settings = {"run.log_steps=2", "run.epochs=2"}});
    size_t size;
    char *text = read_whole("run/steps.csv", &size);
    ck_assert_int_eq(
        strncmp(text, "epoch,step,loss,labels,term0_kl,term1_hard,term2_mse,lr,gradient_norm,seconds\n", 76), 0);
    int lines = 0, epoch;
    unsigned long long step;
    double loss, labels, terms[3], rate, norm, seconds;
    for (const char *line = strchr(text, '\n') + 1; *line; line = strchr(line, '\n') + 1, lines++) {
        ck_assert_int_eq(sscanf(line, "%d,%llu,%lf,%lf,%lf,%lf,%lf,%lf,%lf,%lf", &epoch, &step, &loss, &labels,
                                &terms[0], &terms[1], &terms[2], &rate, &norm, &seconds),
                         10);
        ck_assert(norm > 0 && rate > 0 && seconds > 0);
        ck_assert_double_eq_tol(loss, 0.5 * labels + terms[0] + 0.5 * terms[1] + terms[2], 1e-4 * loss);
    }
    ck_assert_int_ge(lines, 4);
    expect_said("cost     the student alone");
    expect_said("kl, logits <- logits");
    expect_said("% of the student");
    free(text);
}
END_TEST

/* A term that hardly counts is told to be raised; batchmean is no advice where it is chosen already. */
START_TEST(small_terms_get_advice_that_helps) {
    static const char *const terms[] = {
        "distill.terms=[{distance: kl, weight: 1e-6}]",
        "distill.terms=[{distance: kl, weight: 1e-6, reduction: elements}]",
        "distill.terms=[{distance: mse, student: blocks.0, teacher: layer3, projector: linear, weight: 1e-6}]"};
    make_teacher();
    for (int i = 0; i < 3; i++) {
        session s = {.recipe = distilled_recipe, .dry_run = true, .settings = {terms[i]}};
        ck_ok(run(&s));
        expect_said("makes less than 1 % of the loss: raise its weight");
        ck_assert((strstr(said, "batchmean") != NULL) == (i == 1));
    }
}
END_TEST

START_TEST(resumes_with_two_threads) {
    static const char *const recipes[] = {teacher_recipe, stateful_recipe};
    session parts = {.recipe = recipes[_i],
                     .output = "parts",
                     .settings = {"run.threads=2", "run.epochs=1", "data.limit=96"},
                     .stop_phase = "train",
                     .stop_step = 2};
    ck_assert_int_eq(run(&parts), VST_ERROR_INTERRUPTED);
    parts.stop_phase = NULL;
    parts.resume = true;
    run_fine(parts);
    run_fine((session){
        .recipe = recipes[_i], .output = "whole", .settings = {"run.threads=2", "run.epochs=1", "data.limit=96"}});
    same_runs("whole", "parts", 1);
}
END_TEST

/* A run may be continued after its data, its teacher and its test images moved, and with other threads. */
START_TEST(places_may_change) {
    static const char *const moved[] = {"data.path=d", "data.test=t", "distill.teacher=x/y.safetensors"};
    make_teacher();
    run_fine((session){.recipe = distilled_recipe, .output = "whole"});
    session parts = {.recipe = distilled_recipe, .output = "parts", .stop_phase = "train", .stop_step = 4};
    ck_assert_int_eq(run(&parts), VST_ERROR_INTERRUPTED);
    ck_assert_int_eq(rename("data", "d"), 0);
    ck_assert_int_eq(mkdir("t", 0700), 0);
    for (int i = 2; i < 4; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "d/%s", idx_names[i]);
        snprintf(to, sizeof to, "t/%s", idx_names[i]);
        ck_assert_int_eq(rename(from, to), 0);
    }
    ck_assert_int_eq(mkdir("x", 0700), 0);
    ck_assert_int_eq(rename("teacher/last.safetensors", "x/y.safetensors"), 0);
    memcpy(parts.settings, moved, sizeof moved);
    parts.resume = true;
    parts.stop_epoch = 1;
    ck_assert_int_eq(run(&parts), VST_ERROR_INTERRUPTED); /* and once more, from a checkpoint written since */
    parts.stop_phase = NULL;
    run_fine(parts);
    expect_said("continuing parts in epoch 2");
    same_tensors("whole", "parts", "last.safetensors");
    parts.output = "threads";
    parts.stop_phase = "train";
    parts.resume = false;
    ck_assert_int_eq(run(&parts), VST_ERROR_INTERRUPTED);
    parts.stop_phase = NULL;
    parts.resume = true;
    parts.settings[3] = "run.threads=2";
    run_fine(parts);
    expect_said("the run used 1 thread, now there are 2");
}
END_TEST

/* Makes a checkpoint like those of version 0.1.0, whose one hash was made in another way, without projectors by name
 * and what later versions remember. */
static void make_old(const char *output) {
    static const char *const late[] = {"steps_bytes",       "schedule_decays",   "schedule_bad",
                                       "schedule_cooldown", "schedule_measured", "schedule_best"};
    static const char *const keys[] = {"vistill.model", "vistill.classes", "vistill.training", "vistill.checkpoint"};
    vst_safetensors *file = open_tensors(output, "last.safetensors");
    const size_t all = vst_safetensors_count(file);
    vst_tensor *tensors = malloc(all * sizeof *tensors);
    vst_metadata metadata[4];
    size_t count = 0;
    for (size_t i = 0; i < all; i++)
        if (strncmp(vst_safetensors_at(file, i)->name, "distill.", 8) != 0)
            tensors[count++] = *vst_safetensors_at(file, i);
    ck_assert_uint_lt(count, all);
    for (int i = 0; i < 4; i++) metadata[i] = (vst_metadata){keys[i], vst_safetensors_metadata(file, keys[i])};
    json_t *json = json_loads(metadata[3].value, 0, NULL);
    ck_assert_int_eq(json_object_set_new(json, "hash", json_string("0123456789abcdef")), 0);
    ck_assert(json_object_del(json, "data") == 0 && json_object_del(json, "teachers") == 0 &&
              json_object_del(json, "start") == 0);
    for (size_t i = 0; i < sizeof late / sizeof *late; i++) ck_assert_int_eq(json_object_del(json, late[i]), 0);
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    metadata[3].value = text;
    ck_ok(vst_safetensors_write(vst_safetensors_path(file), tensors, count, metadata, 4));
    free(text);
    json_decref(json);
    free(tensors);
    vst_safetensors_close(file);
}

/* Checkpoints of version 0.1.0 are continued if the recipe is the same; the next checkpoint knows its data again. */
START_TEST(old_checkpoints) {
    make_teacher();
    run_fine((session){.recipe = distilled_recipe, .output = "whole"});
    session parts = {.recipe = distilled_recipe, .output = "parts", .stop_phase = "train", .stop_step = 4};
    ck_assert_int_eq(run(&parts), VST_ERROR_INTERRUPTED);
    make_old("parts");
    parts.resume = true;
    parts.settings[0] = "distill.terms.1.weight=3";
    expect(parts, VST_ERROR_ARGUMENT, "holds a run of another recipe: distill.terms.1.weight was ");
    parts.settings[0] = "data.broken_limit=0.5";
    expect(parts, VST_ERROR_ARGUMENT, "another recipe: data.broken_limit was 0.01, is 0.5; set");
    parts.settings[0] = NULL;
    ck_assert_int_eq(rename("parts/recipe.yaml", "kept.yaml"), 0);
    expect(parts, VST_ERROR_ARGUMENT, "its recipe.yaml cannot be read");
    ck_assert_int_eq(rename("kept.yaml", "parts/recipe.yaml"), 0);
    parts.stop_epoch = 1;
    ck_assert_int_eq(run(&parts), VST_ERROR_INTERRUPTED);
    expect_said("cannot be verified that the contents of distill.teacher, data.path are the same");
    spoil("teacher", "fc.weight", 2);
    expect(parts, VST_ERROR_ARGUMENT, "other contents of the teacher (distill.teacher): give");
    spoil("teacher", "fc.weight", 0.5f);
    parts.stop_phase = NULL;
    run_fine(parts);
    ck_assert_ptr_null(strstr(said, "verified"));
    same_tensors("whole", "parts", "last.safetensors");
}
END_TEST

/* The state that is compared above is really there, and moves. */
START_TEST(state_is_saved) {
    static const char *const tensors[] = {"optimizer.values",
                                          "optimizer.m",
                                          "optimizer.v",
                                          "optimizer.step",
                                          "ema.blocks.1.mlp.fc2.weight",
                                          "patch_embed.bn1.running_mean",
                                          "patch_embed.bn1.running_var",
                                          "patch_embed.bn1.num_batches_tracked",
                                          "blocks.1.mlp.fc2.weight"};
    run_fine((session){.recipe = stateful_recipe, .output = "whole"});
    session s = {.recipe = stateful_recipe, .output = "part", .stop_phase = "train", .stop_epoch = 2, .stop_step = 9};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        ck_assert(tensor_differs("whole", "part", tensors[i]));
}
END_TEST

/* Interrupted while the teacher is measured, a run has no checkpoint yet and begins anew. */
START_TEST(interrupted_before_the_run) {
    make_teacher();
    expect((session){.recipe = distilled_recipe, .stop_phase = "start"}, VST_ERROR_INTERRUPTED, "evaluating");
    ck_assert(!exists("run/last.safetensors"));
    session s = {.recipe = distilled_recipe, .resume = true, .stop_phase = "validation"};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    ck_assert_int_eq(s.steps, 8);
    ck_assert(exists("run/last.safetensors"));
    ck_assert(!exists("run/summary.csv"));
}
END_TEST

/* Nor do they where random numbers are drawn: switching one kind of them off gives another result. */
START_TEST(workers_do_not_matter) {
    run_fine((session){.recipe = stateful_recipe, .output = "one"});
    run_fine((session){.recipe = stateful_recipe, .output = "three", .settings = {"data.workers=3"}});
    run_fine((session){.recipe = stateful_recipe, .output = "none", .settings = {"data.workers=0"}});
    same_tensors("one", "three", "last.safetensors");
    same_tensors("one", "none", "last.safetensors");
    run_fine((session){.recipe = stateful_recipe, .output = "plain", .settings = {"augment.train="}});
    run_fine((session){.recipe = stateful_recipe, .output = "whole", .settings = {"model.drop_path=0"}});
    run_fine((session){.recipe = stateful_recipe, .output = "seeded", .settings = {"run.seed=1"}});
    run_fine(
        (session){.recipe = stateful_recipe, .output = "unmixed", .settings = {"augment.mixup=0", "augment.cutmix=0"}});
    run_fine((session){.recipe = stateful_recipe, .output = "once", .settings = {"augment.repeats=1"}});
    ck_assert(tensor_differs("one", "plain", "optimizer.values"));
    ck_assert(tensor_differs("one", "whole", "optimizer.values"));
    ck_assert(tensor_differs("one", "seeded", "optimizer.values"));
    ck_assert(tensor_differs("one", "unmixed", "optimizer.values"));
    ck_assert(tensor_differs("one", "once", "optimizer.values"));
}
END_TEST

/* ---- Broken checkpoints ---- */

enum { CUT, FLIPPED, FLIPPED_HEADER, EMPTY, MISSING, RENAMED, DAMAGES };

/* A sound file that opens well, and lacks a tensor of the optimiser's. */
static void rename_tensor(const char *path) {
    static const char *const keys[] = {"vistill.format", "vistill.model", "vistill.classes", "vistill.checkpoint"};
    vst_safetensors *file;
    ck_ok(vst_safetensors_open(&file, path, NULL));
    const size_t count = vst_safetensors_count(file);
    vst_tensor *tensors = calloc(count, sizeof *tensors);
    vst_metadata metadata[4];
    ck_assert_ptr_nonnull(tensors);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = *vst_safetensors_at(file, i);
        if (strcmp(tensors[i].name, "optimizer.values") == 0) tensors[i].name = "optimizer.valuer";
    }
    for (int i = 0; i < 4; i++) metadata[i] = (vst_metadata){keys[i], vst_safetensors_metadata(file, keys[i])};
    ck_ok(vst_safetensors_write(path, tensors, count, metadata, 4));
    free(tensors);
    vst_safetensors_close(file);
}

static void damage(const char *path, int how) {
    if (how == RENAMED) {
        rename_tensor(path);
        return;
    }
    size_t size;
    char *bytes = read_whole(path, &size);
    if (how == FLIPPED) bytes[size - 1000] ^= 4;
    if (how == FLIPPED_HEADER) bytes[20] ^= 4;
    if (how == CUT) size -= 1;
    if (how == EMPTY) size = 0;
    if (how == MISSING) ck_assert_int_eq(unlink(path), 0);
    else write_bytes(path, (const uint8_t *)bytes, size);
    free(bytes);
}

/* Ends with a checkpoint in the middle of epoch 1, the previous one at its beginning. */
static void leave_two_checkpoints(void) {
    session s = {.recipe = stateful_recipe, .stop_phase = "train", .stop_epoch = 1, .stop_step = 3};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    ck_assert(exists("run/previous.safetensors"));
}

START_TEST(previous_checkpoint) {
    leave_two_checkpoints();
    damage("run/last.safetensors", _i);
    session s = {.recipe = stateful_recipe, .resume = true, .stop_phase = "train", .stop_epoch = 1, .stop_step = 1};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    expect_said("taking previous.safetensors");
    expect_said(_i == MISSING ? "no last.safetensors" : "the newest checkpoint cannot be used (run/last.safetensors");
    expect_said("continuing run in epoch 2 at step 0");
    /* The good one must not have been lost to the broken one. */
    damage("run/last.safetensors", CUT);
    run_fine((session){.recipe = stateful_recipe, .resume = true});
    expect_said("continuing run in epoch 2 at step 0");
    run_fine((session){.recipe = stateful_recipe, .output = "whole"});
    same_runs("whole", "run", EPOCHS);
}
END_TEST

START_TEST(both_checkpoints_broken) {
    leave_two_checkpoints();
    damage("run/last.safetensors", _i);
    damage("run/previous.safetensors", CUT);
    for (int again = 0; again < 2; again++) { /* it stays refused: nothing was thrown away */
        expect((session){.recipe = stateful_recipe, .resume = true}, VST_ERROR_FORMAT, "run/previous.safetensors");
        ck_assert_ptr_nonnull(strstr(vst_error_message(), "--force"));
    }
    ck_assert(exists("run/log.txt"));
    run_fine((session){.recipe = stateful_recipe, .force = true});
}
END_TEST

/* A model file in the place of the checkpoint, and an only checkpoint that is broken. */
START_TEST(no_good_checkpoint) {
    run_fine((session){.recipe = student_recipe, .settings = {"run.epochs=2"}});
    ck_assert_int_eq(unlink("run/previous.safetensors"), 0);
    damage("run/last.safetensors", FLIPPED);
    expect((session){.recipe = student_recipe, .settings = {"run.epochs=2"}, .resume = true}, VST_ERROR_FORMAT,
           "run/last.safetensors");
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "--force"));
    ck_assert_int_eq(rename("run/best.safetensors", "run/last.safetensors"), 0);
    expect((session){.recipe = student_recipe, .settings = {"run.epochs=2"}, .resume = true}, VST_ERROR_FORMAT,
           "no checkpoint");
}
END_TEST

/* ---- Longer runs, rarer evaluations, more checkpoints ---- */

/* A finished run goes on to more epochs; another learning rate is refused still, and so are fewer epochs than there
 * are. */
START_TEST(extends) {
    session s = {.recipe = student_recipe, .settings = {"run.epochs=2"}};
    ck_ok(run(&s));
    s.resume = true;
    s.settings[0] = "run.epochs=4";
    expect(s, VST_ERROR_ARGUMENT, "run holds a run of another recipe: run.epochs was 2, is 4; set"); /* as in a study */
    s.extend = true;
    s.stop_phase = "train", s.stop_epoch = 3, s.stop_step = 2;
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    expect_said("epochs   4 in place of 2: from here on");
    s.stop_phase = NULL;
    ck_ok(run(&s));
    ck_assert(!s.result.reused);
    ck_assert_int_eq(s.result.epochs, 4);
    s.settings[0] = "run.epochs=3";
    expect(s, VST_ERROR_ARGUMENT, "run has finished epoch 4, run.epochs is 3: give at least 4");
    s.settings[0] = "run.epochs=5";
    s.settings[1] = "optim.lr=1e-3";
    expect(s, VST_ERROR_ARGUMENT, "another recipe: optim.lr was 0.004, is 0.001; set");
}
END_TEST

/* Evaluating changes nothing but what is known: the weights are the same, and the last epoch is always measured. */
START_TEST(evaluates_every_other_epoch) {
    size_t size;
    make_teacher();
    run_fine((session){.recipe = distilled_recipe, .output = "often", .settings = {"run.epochs=5"}});
    session s = {.recipe = distilled_recipe,
                 .output = "rarely",
                 .settings = {"run.epochs=5", "run.eval_every=2"},
                 .stop_phase = "train",
                 .stop_epoch = 2,
                 .stop_step = 3};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    s.stop_phase = NULL;
    s.resume = true;
    ck_ok(run(&s));
    ck_assert(isfinite(s.result.test_top1) && isfinite(s.result.validation_top1));
    ck_assert(s.result.best_epoch == 1 || s.result.best_epoch == 3 || s.result.best_epoch == 4);
    same_tensors("often", "rarely", "last.safetensors");
    char *log = read_whole("rarely/log.txt", &size);
    int measured = 0;
    for (const char *at = log; (at = strstr(at, "\"test_acc1\": null")); at++) measured++;
    ck_assert_int_eq(measured, 2); /* not measured: epochs 1 and 3 */
    ck_assert_int_eq(count_lines(log), 5);
    free(log);
}
END_TEST

static void sleep_a_little(const vst_train_progress *p, void *user) {
    (void)p;
    (void)user;
    usleep(2000);
}

/* Checkpoints within an epoch: what a killed run has left of the epoch is continued bit for bit. */
START_TEST(saves_by_time) {
    run_fine((session){.recipe = stateful_recipe, .output = "whole"});
    session s = {.recipe = stateful_recipe,
                 .output = "parts",
                 .settings = {"run.save_minutes=1e-5"}, /* 0.6 ms, so after every step */
                 .also = sleep_a_little,
                 .stop_phase = "train",
                 .stop_epoch = 1,
                 .stop_step = 4};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    ck_assert_int_eq(unlink("parts/last.safetensors"), 0); /* as if killed before the last step was saved */
    s.stop_phase = NULL;
    s.resume = true;
    ck_ok(run(&s));
    expect_said("continuing parts in epoch 2 at step 3");
    same_runs("whole", "parts", EPOCHS);
}
END_TEST

/* ---- What a recipe leaves to the data ---- */

/* Class folders of photographs, of all sizes but the model's, in one folder without a test split. */
static void write_photographs(void) {
    static const char *const folders[] = {"photos", "photos/eel", "photos/fox", "photos/owl"};
    for (int i = 0; i < 4; i++) ck_assert_int_eq(mkdir(folders[i], 0700), 0);
    for (int i = 0; i < 48; i++) {
        char path[64];
        vst_image image = {0};
        ck_ok(vst_image_allocate(&image, 3, 15 + i % 5, 20 - i % 3));
        for (int p = 0; p < 3 * image.height * image.width; p++)
            image.pixels[p] = (uint8_t)(p % 3 == i % 3 ? 200 : 30 + p % 20);
        snprintf(path, sizeof path, "%s/%d.png", folders[1 + i % 3], i);
        ck_ok(vst_png_write(path, &image));
        vst_image_clear(&image);
    }
}

static const char short_recipe[] =
    "data: {path: photos, validation: 8}\n"
    "model: {name: vit_mini_patch4_28, dim: 16, depth: 1, heads: 2, image: 12, "
    "channels: 3}\n"
    "optim: {batch: 8}\nrun: {epochs: 1, threads: 1}\n";

/* A recipe of a few lines trains: classes, augmentation and test split come from the data, the warm-up is shortened. */
START_TEST(short_recipes) {
    write_photographs();
    session s = {.recipe = short_recipe, .fit = true};
    ck_ok(run(&s));
    expect_said("classes  3, those of photos");
    expect_said("augment  random_resized_crop:size=12, flip (as");
    expect_said("model    vit_mini_patch4_28");
    expect_said("learns   logits       <- labels of all 32 samples\n"); /* 8 for the test, 8 for the validation */
    expect_said("steps    1 epoch of 4 steps, 8 images each");
    expect_said("(a tenth of the run, which is not longer than optim.warmup_epochs: 1)");
    ck_assert(isfinite(s.result.test_top1) && isfinite(s.result.validation_top1));
    char *recipe = read_whole("run/recipe.yaml", &(size_t){0});
    ck_assert_ptr_nonnull(strstr(recipe, "classes: 3"));
    free(recipe);
    s.resume = true;
    ck_ok(run(&s));
    ck_assert(s.result.reused);
    /* What is said in the recipe stays. */
    expect((session){.recipe = short_recipe, .fit = true, .force = true, .settings = {"model.classes=4"}},
           VST_ERROR_ARGUMENT, "photos has 3 classes, the model 4");
    expect((session){.recipe = short_recipe, .fit = true, .force = true, .settings = {"data.validation=0"}},
           VST_ERROR_ARGUMENT, "would be tested: set data.validation to the number of images to hold out");
    expect((session){.recipe = short_recipe, .fit = true, .force = true, .settings = {"data.validation=48"}},
           VST_ERROR_ARGUMENT, "data.validation: photos: 48 samples to be held out, it must be 1 to 47");
}
END_TEST

/* ---- Folders that hold a run ---- */

/* --force removes the files of a run, --resume replaces them: a teacher or start weights among them are refused, by
 * whatever path they are named. */
START_TEST(inputs_are_no_outputs) {
    make_teacher();
    ck_assert_int_eq(symlink("teacher", "link"), 0);
    static const char *const paths[] = {"teacher/last.safetensors", "link/best.safetensors",
                                        "./teacher/../teacher/previous.safetensors"};
    for (int i = 0; i < 3; i++) {
        char setting[128];
        snprintf(setting, sizeof setting, "run.start=%s", paths[i]);
        session s = {.recipe = teacher_recipe, .output = "teacher", .settings = {setting}, .force = true};
        expect(s, VST_ERROR_ARGUMENT, "is a file that this run writes");
        s.resume = true;
        expect(s, VST_ERROR_ARGUMENT, "run.start");
        ck_assert(exists(paths[i]));
    }
    expect((session){.recipe = distilled_recipe, .output = "link", .force = true}, VST_ERROR_ARGUMENT,
           "distill.teacher: teacher/last.safetensors is a file that this run writes");
    ck_assert(exists("teacher/last.safetensors") && exists("teacher/log.txt"));
}
END_TEST

START_TEST(used_folder) {
    run_fine((session){.recipe = student_recipe, .output = "whole"});
    run_fine((session){.recipe = student_recipe});
    expect((session){.recipe = student_recipe}, VST_ERROR_ARGUMENT,
           "run already holds a run: --resume continues it, --force");
    expect((session){.recipe = student_recipe, .resume = true, .settings = {"optim.lr=1e-3"}}, VST_ERROR_ARGUMENT,
           "run holds a run of another recipe: optim.lr was 0.004, is 0.001; set");
    expect((session){.recipe = teacher_recipe, .resume = true}, VST_ERROR_ARGUMENT,
           "another recipe: model.name was vit_mini_patch4_28, is resnet8_cifar; set");
    same_runs("whole", "run", EPOCHS); /* refusing changed nothing */
    write_split(1, TEST - 1, true);
    expect((session){.recipe = student_recipe, .resume = true}, VST_ERROR_ARGUMENT,
           "other contents of the data set (data.path, data.test): give");
    write_split(1, TEST, true);
    session same = {.recipe = student_recipe, .resume = true, .settings = {"data.workers=2", "run.log_seconds=5"}};
    ck_ok(run(&same));
    ck_assert(same.result.reused);
    session fresh = {.recipe = student_recipe, .force = true};
    ck_ok(run(&fresh));
    ck_assert_int_eq(fresh.steps, EPOCHS * STEPS);
    same_runs("whole", "run", EPOCHS);
    run_fine((session){.recipe = teacher_recipe, .resume = true, .force = true});
    expect_said("another recipe's run: it begins anew");
}
END_TEST

/* A training computes with run.threads and leaves its caller's setting alone, also when it fails or is interrupted. */
START_TEST(threads_are_restored) {
    omp_set_num_threads(3);
    run_fine((session){.recipe = student_recipe, .settings = {"run.epochs=1", "run.threads=2"}});
    ck_assert_int_eq(omp_get_max_threads(), 3);
    expect((session){.recipe = student_recipe}, VST_ERROR_ARGUMENT, "already holds a run");
    ck_assert_int_eq(omp_get_max_threads(), 3);
    expect((session){.recipe = student_recipe, .settings = {"data.path=none"}, .force = true}, VST_ERROR_NOT_FOUND,
           "none");
    ck_assert_int_eq(omp_get_max_threads(), 3);
    session s = {.recipe = student_recipe, .force = true, .stop_phase = "train", .stop_step = 2};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    ck_assert_int_eq(omp_get_max_threads(), 3);
}
END_TEST

static void train_beside(const vst_train_progress *p, void *user) {
    if (p->epoch == 0 && p->step == 1) {
        session *s = user;
        expect((session){.recipe = s->recipe, .force = true}, VST_ERROR_IO, "in use by another training");
    }
}

START_TEST(folder_is_locked) {
    run_fine((session){.recipe = student_recipe, .settings = {"run.threads=1"}, .also = train_beside});
    run_fine((session){.recipe = student_recipe, .force = true}); /* free again */
}
END_TEST

START_TEST(dry_run) {
    session s = {.recipe = stateful_recipe, .dry_run = true};
    ck_ok(run(&s));
    ck_assert(!exists("run"));
    ck_assert_double_gt(s.result.step_seconds, 0);
    ck_assert_double_gt(s.result.predicted_seconds, EPOCHS * STEPS * s.result.step_seconds);
    ck_assert_uint_gt(s.result.parameters, 1000);
    ck_assert_double_eq(s.result.teacher_seconds, 0);
    make_teacher();
    s = (session){.recipe = distilled_recipe, .dry_run = true};
    ck_ok(run(&s));
    ck_assert_double_gt(s.result.teacher_seconds, 0);
    ck_assert_double_lt(s.result.teacher_seconds, s.result.step_seconds);
}
END_TEST

/* ---- Memory ---- */

/* From the second step on nothing is allocated within an epoch, by steps and loader alike. */
START_TEST(steps_allocate_nothing) {
    static const char *const recipes[] = {teacher_recipe, stateful_recipe, distilled_recipe, crowd_recipe};
    make_teachers_of(recipes[_i]);
    session s = {.recipe = recipes[_i]};
    ck_ok(run(&s));
    const int steps = s.steps / EPOCHS;
    ck_assert_int_ge(steps, 8);
    for (int i = 0; i < s.steps; i++)
        if (i % steps > 1)
            ck_assert_msg(s.allocations[i] == s.allocations[i - 1], "step %d of epoch %d allocates %d times", i % steps,
                          i / steps, (int)(s.allocations[i] - s.allocations[i - 1]));
    ck_assert_uint_gt(s.allocations[steps], s.allocations[steps - 1]); /* the hook counts: a checkpoint lies between */
}
END_TEST

/* The smallest run that has all parts: a teacher, an average, a split for validation, two steps. */
static session smallest(const char *output) {
    return (session){.recipe = distilled_recipe,
                     .output = output,
                     .settings = {"run.epochs=1", "data.limit=48", "data.labelled=40", "model.depth=1", "model.dim=8",
                                  "optim.warmup_epochs=0"}};
}

/* Which allocations fail: every so many, or all (VISTILL_TEST_STRIDE=1) for an afternoon with the address sanitizer. */
static uint64_t stride(uint64_t otherwise) {
    const char *wanted = getenv("VISTILL_TEST_STRIDE");
    return wanted && atoi(wanted) > 0 ? (uint64_t)atoi(wanted) : otherwise;
}

static uint64_t allocations_of(const vst_recipe *recipe, const vst_train_options *options, uint64_t fail_at,
                               vst_status *status) {
    vst_train_result result;
    const uint64_t before = vst_memory_count();
    vst_memory_fail_at(fail_at);
    *status = vst_train(recipe, options, &result);
    vst_memory_fail_at(0);
    return vst_memory_count() - before;
}

/* Of a run from the beginning, and of one that goes on from a checkpoint (a finished one, so that it stays as it is). A
 * run may also succeed, since jansson is given a second try, but then with nothing missing and the same result. */
START_TEST(allocation_failures) {
    const vst_train_options options = {.force = _i == 0, .resume = _i == 1};
    session s = smallest("run");
    vst_status status;
    make_teacher();
    run_fine(smallest("whole"));
    ck_ok(run(&s));
    vst_recipe *recipe = read_recipe(&s);
    const uint64_t needed = allocations_of(recipe, &options, 0, &status);
    uint64_t refused = 0;
    ck_assert_int_eq(status, VST_OK);
    for (uint64_t n = 1; n <= needed; n += stride(_i ? 67 : 23)) {
        allocations_of(recipe, &options, n, &status);
        if (status == VST_OK) same_runs("whole", "run", 1);
        else
            ck_assert_msg(status == VST_ERROR_MEMORY && strstr(vst_error_message(), "memory"),
                          "allocation %d: %s, \"%s\"", (int)n, vst_status_name(status), vst_error_message());
        refused += status != VST_OK;
    }
    ck_assert_uint_gt(refused, needed / stride(_i ? 67 : 23) / 2);
    if (_i == 1) same_runs("whole", "run", 1); /* failing to continue leaves the run as it was */
    vst_recipe_destroy(recipe);
}
END_TEST

/* ---- Losses that are not finite ---- */

/* A learning rate that lets the weights explode: the step is named, and the tensor or loss that is not finite first. */
START_TEST(diverges) {
    const session s = {.recipe = _i ? student_recipe : teacher_recipe,
                       .settings = {_i ? "optim.lr=10" : "optim.lr=100", "optim.weight_decay=10",
                                    "optim.warmup_epochs=0", "optim.name=sgd"}};
    expect(s, VST_ERROR_NUMERIC, "(epoch 1)");
    ck_assert_int_eq(strncmp(vst_error_message(), "step ", 5), 0);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), _i ? "patch_embed.proj.weight" : "conv1.weight"));
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "lower learning rate"));
    ck_assert(!exists("run/last.safetensors")); /* no checkpoint of what is useless */
}
END_TEST

/* Weights that are lost in the last step of all, which no loss of a step tells: nothing of it is saved, least of all as
 * the best model, and run.recover returns. They are not finite, or too large for what the model does with them. */
START_TEST(diverges_at_the_end) {
    session s = {.recipe = student_recipe,
                 .settings = {"run.epochs=1", "run.recover=1"},
                 .stop_phase = "train",
                 .stop_epoch = 0,
                 .stop_step = STEPS};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED); /* before the evaluation */
    spoil("run", "optimizer.values", _i ? NAN : 1e30f);
    s.stop_phase = NULL;
    s.resume = true;
    expect(s, VST_ERROR_NUMERIC, "epoch 1, after its last step: ");
    ck_assert_ptr_nonnull(strstr(vst_error_message(), _i ? "patch_embed.proj.weight is not finite; lower optim.lr"
                                                         : "the model's scores of sample 0 are not finite"));
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "set optim.clip_norm or run.recover"));
    ck_assert(!exists("run/best.safetensors"));
    expect_said("the learning rate is 0.5 of the recipe's from here on (return 1 of at most 1)");
}
END_TEST

/* Ctrl-C after weights were lost: they do not become the checkpoint. */
START_TEST(lost_weights_are_not_saved) {
    session s = {.recipe = student_recipe, .stop_phase = "train", .stop_epoch = 1, .stop_step = 3};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    spoil("run", "optimizer.values", NAN);
    size_t size, again;
    char *bytes = read_whole("run/last.safetensors", &size);
    s = (session){.recipe = student_recipe, .resume = true, .stop_phase = "start"};
    expect(s, VST_ERROR_NUMERIC, "after step 3 of epoch 2 the parameter patch_embed.proj.weight is not finite");
    char *now = read_whole("run/last.safetensors", &again);
    ck_assert(size == again && memcmp(bytes, now, size) == 0);
    free(bytes);
    free(now);
}
END_TEST

START_TEST(names_the_labels) {
    session s = {.recipe = student_recipe, .stop_phase = "train", .stop_epoch = 1, .stop_step = 3};
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    spoil("run", "optimizer.values", NAN);
    expect((session){.recipe = student_recipe, .resume = true}, VST_ERROR_NUMERIC,
           "step 14 (epoch 2): the cross-entropy with the labels is not finite");
}
END_TEST

/* The term at fault is named, whose features are too large to be squared; a teacher without finite answers is none. */
START_TEST(names_the_term) {
    make_teacher();
    spoil("teacher", "layer3.0.bn2.weight", 1e25f);
    expect((session){.recipe = distilled_recipe}, VST_ERROR_NUMERIC,
           "step 1 (epoch 1): distill.terms.2 (mse, blocks.0 <- layer3) is not finite; lower");
    spoil("teacher", "fc.weight", NAN);
    expect((session){.recipe = distilled_recipe, .force = true}, VST_ERROR_NUMERIC,
           "teacher/last.safetensors: the model's scores of sample 0 are not finite");
    ck_assert(!exists("run/last.safetensors"));
}
END_TEST

/* Values are finite, but too large for what a block does with them. */
START_TEST(names_the_tensor) {
    session s = {.recipe = student_recipe,
                 .settings = {_i ? "run.precision=bf16" : NULL},
                 .stop_phase = "train",
                 .stop_epoch = 1,
                 .stop_step = 3};
    if (_i && !has_bf16()) return;
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    spoil("run", "optimizer.values", 1e30f);
    expect((session){.recipe = student_recipe, .settings = {_i ? "run.precision=bf16" : NULL}, .resume = true},
           VST_ERROR_NUMERIC, "and first of all blocks.0.q of the student");
}
END_TEST

/* Weights that explode: back to the checkpoint at half the rate until they no longer do, and the same once more after
 * an interruption. Too few returns end as without any. */
START_TEST(recovers) {
    const session wild = {
        .recipe = student_recipe,
        .settings = {_i ? "optim.lr=10" : "optim.lr=100", "optim.weight_decay=10", "optim.warmup_epochs=0",
                     "optim.name=sgd", "run.recover=40", _i ? "run.precision=bf16" : NULL}};
    if (_i && !has_bf16()) return;
    session s = wild;
    s.output = "whole";
    ck_ok(run(&s));
    ck_assert_int_eq(s.result.epochs, EPOCHS);
    s = wild;
    s.stop_phase = "train", s.stop_epoch = 1, s.stop_step = 3;
    ck_assert_int_eq(run(&s), VST_ERROR_INTERRUPTED);
    s = wild;
    s.resume = true;
    ck_ok(run(&s));
    same_runs("whole", "run", EPOCHS);
    s = wild;
    s.force = true;
    s.settings[4] = "run.recover=1";
    expect(s, VST_ERROR_NUMERIC, "(epoch 1)");
}
END_TEST

static int preset_count(void) {
    int count = 0;
    while (vsti_presets[count].name) count++;
    return count;
}

int main(void) {
    TCase *tests = tcase_create("train");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, enter_folder, leave_own_folder);
    tcase_add_loop_test(tests, learns, 0, 2);
    tcase_add_loop_test(tests, overfits_one_batch, 0, 2);
    tcase_add_test(tests, learns_from_the_teacher);
    tcase_add_loop_test(tests, teacher_of_another_size, 0, 2);
    tcase_add_loop_test(tests, presets_train, 0, preset_count());
    tcase_add_test(tests, gradients_are_told_apart);
    tcase_add_test(tests, teachers_that_cannot_be);
    tcase_add_test(tests, another_resolution);
    tcase_add_test(tests, start_is_taken);
    tcase_add_test(tests, imagenet_recipes);
    tcase_add_test(tests, warns);
    tcase_add_test(tests, average_and_raw);
    tcase_add_loop_test(tests, batches_make_a_step, 0, 2);
    tcase_add_test(tests, only_whole_steps);
    tcase_add_loop_test(tests, resumes_bit_for_bit, 0, 8);
    tcase_add_test(tests, trains_in_bf16);
    tcase_add_test(tests, frozen_parameters_stay);
    tcase_add_test(tests, in_evaluation_mode);
    tcase_add_test(tests, rate_falls_where_the_validation_stands);
    tcase_add_test(tests, rate_falls_where_the_loss_stands);
    tcase_add_test(tests, steps_are_logged);
    tcase_add_test(tests, small_terms_get_advice_that_helps);
    tcase_add_loop_test(tests, resumes_with_two_threads, 0, 2);
    tcase_add_test(tests, places_may_change);
    tcase_add_test(tests, old_checkpoints);
    tcase_add_test(tests, state_is_saved);
    tcase_add_test(tests, interrupted_before_the_run);
    tcase_add_test(tests, workers_do_not_matter);
    tcase_add_loop_test(tests, previous_checkpoint, 0, DAMAGES);
    tcase_add_loop_test(tests, both_checkpoints_broken, 0, DAMAGES);
    tcase_add_test(tests, no_good_checkpoint);
    tcase_add_test(tests, extends);
    tcase_add_test(tests, evaluates_every_other_epoch);
    tcase_add_test(tests, saves_by_time);
    tcase_add_test(tests, short_recipes);
    tcase_add_test(tests, inputs_are_no_outputs);
    tcase_add_test(tests, used_folder);
    tcase_add_test(tests, threads_are_restored);
    tcase_add_test(tests, folder_is_locked);
    tcase_add_test(tests, dry_run);
    tcase_add_loop_test(tests, steps_allocate_nothing, 0, 4);
    tcase_add_loop_test(tests, allocation_failures, 0, 2);
    tcase_add_loop_test(tests, diverges, 0, 2);
    tcase_add_loop_test(tests, diverges_at_the_end, 0, 2);
    tcase_add_test(tests, lost_weights_are_not_saved);
    tcase_add_test(tests, names_the_labels);
    tcase_add_test(tests, names_the_term);
    tcase_add_loop_test(tests, names_the_tensor, 0, 2); /* in float32 and bf16 */
    tcase_add_loop_test(tests, recovers, 0, 2);         /* in float32 and bf16 */
    return run_suite("train", tests);
}
