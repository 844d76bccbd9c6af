/* The keys of a recipe: every one is declared here once, with its type, range, default and help. */
#include <stddef.h>

#include "datasets/loader/options.h"
#include "recipes/config/recipe.h"
#include "vision/optim/methods/method.h"
#include "vision/optim/schedules/schedule_method.h"

static const vst_option data_table[] = {
    VST_OPTION_STRING(vst_data_options, path, NULL, "folder or file of the data set"),
    VST_OPTION_STRING(vst_data_options, test, NULL, "folder or file of the test images, if they are not in data.path"),
    VST_OPTION_STRING(vst_data_options, format, "auto", "its format; auto: found out from the files"),
    VST_OPTION_INT(vst_data_options, validation, 0, 0, 100000000,
                   "training samples held out to choose the best epoch by; so many others are the test split if "
                   "there is none; 0: none"),
    VST_OPTION_INT(vst_data_options, limit, 0, 0, 100000000, "use only so many training samples; 0: all"),
    VST_OPTION_INT(vst_data_options, labelled, 0, 0, 100000000,
                   "distillation: only so many keep their label, the others have the teacher alone; 0: all"),
    VST_OPTION_INT(vst_data_options, max_megapixels, 64, 1, 4000,
                   "height x width in millions of pixels; a larger image counts as one that cannot be read"),
    VST_OPTION_CHOICE(vst_data_options, class_order, "bytes", VST_CHOICE_TEXT(VST_CLASS_ORDERS),
                      "which class is which number: as torchvision, 10 before 2, or in natural order as timm"),
    VST_OPTION_INT(vst_data_options, workers, 1, 0, 256, "threads that read and augment images"),
    VST_OPTION_CHOICE(vst_data_options, broken, "error", VST_CHOICE_TEXT(VST_BROKEN_POLICIES),
                      "images that cannot be read: stop, or take the next one; warn names each"),
    VST_OPTION_DOUBLE(vst_data_options, broken_limit, 0.01, 0, 1,
                      "share of images above which broken ones stop it anyway"),
    VST_OPTION_END};

static const vst_option augment_table[] = {
    VST_OPTION_STRING(vst_augment_options, train, NULL,
                      "policies in order: \"crop:padding=2, flip\"; none; empty: photographs are cropped and flipped"),
    VST_OPTION_DOUBLE(vst_augment_options, mixup, 0, 0, 100, "alpha of mixup, timm's and DeiT's is 0.8; 0: none"),
    VST_OPTION_DOUBLE(vst_augment_options, cutmix, 0, 0, 100, "alpha of CutMix, DeiT's is 1; 0: none"),
    VST_OPTION_DOUBLE(vst_augment_options, mixup_prob, 1, 0, 1,
                      "probability of mixing a batch, if mixup or cutmix is on"),
    VST_OPTION_DOUBLE(vst_augment_options, mixup_switch_prob, 0.5, 0, 1, "probability of CutMix if both are on"),
    VST_OPTION_CHOICE(vst_augment_options, mixup_mode, "batch", VST_CHOICE_TEXT(VST_MIX_MODES),
                      "one decision for each batch, pair or image, as timm's"),
    VST_OPTION_LIST(vst_augment_options, cutmix_minmax, "", 0, 1,
                    "CutMix with boxes whose sides are between these two shares of the image's, in place of its alpha"),
    VST_OPTION_INT(vst_augment_options, repeats, 1, 1, 64,
                   "an epoch shows samples / repeats images, each so often and augmented differently; DeiT: 3"),
    VST_OPTION_INT(vst_augment_options, views, 0, 0, 1000000,
                   "so many views of each image, which epochs show in turn; 0: a new one each epoch"),
    VST_OPTION_BOOL(vst_augment_options, fast_decode, false,
                    "decode large JPEGs at 1/2, 1/4, 1/8 where the first policy shrinks them; other pixels than exact"),
    VST_OPTION_END};

/* "adam|adamw|…", made by CMake of the files' names. */
extern const char vsti_optimizer_method_names[], vsti_schedule_method_names[];

static const vst_option optim_table[] = {
    VST_OPTION_CHOICE(vst_optim_options, name, "adamw", vsti_optimizer_method_names,
                      "optimiser; lamb is meant with clip_norm: 1"),
    VST_OPTION_STRING(vst_optim_options, options, NULL,
                      "of this optimiser alone, below: \"alpha=0.99, tensorflow=true\"; empty: their defaults"),
    VST_OPTION_INT(vst_optim_options, batch, 128, 1, 65536, "images that are computed together"),
    VST_OPTION_INT(vst_optim_options, accumulate, 1, 1, 65536,
                   "batches whose gradients are averaged for a step, which has batch * accumulate images then"),
    VST_OPTION_DOUBLE(vst_optim_options, lr, 1e-3, 0, 100,
                      "learning rate after warm-up, from where the schedule goes on"),
    VST_OPTION_DOUBLE(vst_optim_options, min_lr, 1e-5, 0, 100, "learning rate at the end"),
    VST_OPTION_DOUBLE(vst_optim_options, warmup_lr, 1e-6, 0, 100, "learning rate at the start of warm-up"),
    VST_OPTION_DOUBLE(vst_optim_options, warmup_epochs, 1, 0, 10000,
                      "epochs of linear warm-up; a tenth of the run if that is not longer"),
    VST_OPTION_BOOL(
        vst_optim_options, warmup_prefix, true,
        "the schedule begins after the warm-up; false: with the run, so that warm-up hides its beginning, as DeiT"),
    VST_OPTION_CHOICE(vst_optim_options, schedule, "cosine", vsti_schedule_method_names,
                      "of the learning rate after the warm-up"),
    VST_OPTION_STRING(vst_optim_options, schedule_options, NULL,
                      "of this schedule alone, below: \"cycle_epochs=10, cycle_mul=2\"; empty: their defaults"),
    VST_OPTION_STRING(
        vst_optim_options, freeze, NULL,
        "parameters that stay as they are, by patterns, the last that fits counts: \"*, !*.attn.*, !head.*\""),
    VST_OPTION_CHOICE(vst_optim_options, lr_rule, "none", VST_CHOICE_TEXT(VST_LR_RULES),
                      "scales lr, which is for lr_batch images, to those of a step"),
    VST_OPTION_INT(vst_optim_options, lr_batch, 512, 1, 65536,
                   "images of a step that lr is meant for, unless lr_rule is none"),
    VST_OPTION_DOUBLE(vst_optim_options, momentum, 0.9, 0, 0.999999, "sgd, rmsprop"),
    VST_OPTION_DOUBLE(vst_optim_options, beta1, -1, -1, 0.999999,
                      "adamw and the like: decay of the mean gradient; -1: as usual with the optimiser"),
    VST_OPTION_DOUBLE(vst_optim_options, beta2, -1, -1, 0.9999999,
                      "adamw and the like: decay of the mean squared gradient; -1: as usual"),
    VST_OPTION_DOUBLE(vst_optim_options, epsilon, 1e-8, 1e-16, 1,
                      "adamw and the like: added to the root of the squared gradient"),
    VST_OPTION_DOUBLE(vst_optim_options, weight_decay, 0.05, 0, 10, "of weights; not of biases and norms"),
    VST_OPTION_DOUBLE(vst_optim_options, clip_norm, 0, 0, 1e6, "longest gradient norm; 0: no clipping"),
    VST_OPTION_DOUBLE(vst_optim_options, ema_decay, 0, 0, 0.9999999,
                      "moving average of the weights, once a step; 0: none"),
    VST_OPTION_BOOL(vst_optim_options, ema_ramp, false,
                    "its decay begins at 0.5 and rises to ema_decay as 1 - 1 / (steps + 1), as mean teachers"),
    VST_OPTION_CHOICE(vst_optim_options, weights, "average", VST_CHOICE_TEXT(VST_WEIGHTS),
                      "what the model file gets if there is an average; both are evaluated. DeiT's results are raw"),
    VST_OPTION_BOOL(vst_optim_options, nesterov, true, "sgd: Nesterov's momentum"),
    VST_OPTION_DOUBLE(vst_optim_options, smoothing, 0, 0, 0.999999, "label smoothing"),
    VST_OPTION_CHOICE(vst_optim_options, loss, "ce", VST_CHOICE_TEXT(VST_LOSSES),
                      "of the labels: cross-entropy, or as DeiT-III each class's own, whose answer is target > 0"),
    VST_OPTION_END};

static const vst_option distill_table[] = {
    VST_OPTION_STRING(vst_distill_options, teacher, NULL,
                      "model file of the teacher, or what `vistill import` reads, or several with commas between; "
                      "cache: its answers are in distill.cache alone"),
    VST_OPTION_STRING(
        vst_distill_options, teacher_entry, NULL,
        "of another program's checkpoint, which entry is taken: model, model_ema …; commas as in teacher"),
    VST_OPTION_STRING(
        vst_distill_options, teacher_model, NULL,
        "of another program's weights, which model they are; unset: the one that fits; commas as in teacher"),
    VST_OPTION_DOUBLE(vst_distill_options, label_weight, 0.5, 0, 1e6,
                      "of the cross-entropy with the labels, beside the terms; without terms it is 1"),
    VST_OPTION_STRING(vst_distill_options, cache, NULL,
                      "folder with the teachers' answers, made by `vistill cache build`; empty: they run in training"),
    VST_OPTION_CHOICE(vst_distill_options, cache_precision, "half", VST_CHOICE_TEXT(VST_CACHE_PRECISIONS),
                      "of the answers in the cache; with float training is the same bit for bit"),
    VST_OPTION_CHOICE(vst_distill_options, teacher_precision, "f32", VST_CHOICE_TEXT(VST_PRECISIONS),
                      "of the products of teachers that run in training; bf16 as in run.precision"),
    VST_OPTION_INT(vst_distill_options, cache_topk, 0, 0, 100000000,
                   "cache only so many of the largest logits, and the sum of the others; 0: all"),
    VST_OPTION_END};

static const vst_option run_table[] = {
    VST_OPTION_INT(vst_run_options, epochs, 10, 1, 100000, "passes over the training samples"),
    VST_OPTION_INT(vst_run_options, eval_every, 1, 1, 100000,
                   "epochs from one evaluation to the next; the last is one"),
    VST_OPTION_INT(vst_run_options, seed, 0, 0, 2147483647, "of weights, order and augmentation"),
    VST_OPTION_INT(vst_run_options, threads, 0, 0, 4096, "of computation; 0: all processors, or OMP_NUM_THREADS"),
    VST_OPTION_CHOICE(vst_run_options, precision, "f32", VST_CHOICE_TEXT(VST_PRECISIONS),
                      "of the student's products in training; bf16 needs AVX512_BF16 or AMX to be faster"),
    VST_OPTION_STRING(vst_run_options, output, NULL, "run folder; empty: runs/NAME"),
    VST_OPTION_INT(vst_run_options, eval_batch, 250, 1, 65536, "images in a step of evaluation"),
    VST_OPTION_STRING(vst_run_options, start, NULL,
                      "weights to begin with, a model file or what `vistill import` reads; positions are resized"),
    VST_OPTION_STRING(vst_run_options, start_entry, NULL,
                      "run.start: which entry of a checkpoint is taken: model, model_ema …; unset: averages first"),
    VST_OPTION_BOOL(vst_run_options, new_head, false, "run.start: the classifier begins afresh, for other classes"),
    VST_OPTION_BOOL(vst_run_options, train_mode, true,
                    "false: trained in evaluation mode, as main.py --no-train-mode: no dropout or drop path, batch "
                    "norm with its running statistics"),
    VST_OPTION_BOOL(vst_run_options, quantization_aware, false,
                    "train run.start with simulated 8-bit integers (QAT); the model files compute on them"),
    VST_OPTION_INT(vst_run_options, calibration_images, 256, 1, 1000000,
                   "run.quantization_aware: training images on which the ranges of activations are found"),
    VST_OPTION_INT(
        vst_run_options, recover, 0, 0, 100,
        "a value is not finite: go back to the last checkpoint, halve the learning rate, so many times; 0: stop"),
    VST_OPTION_DOUBLE(vst_run_options, save_minutes, 15, 0, 1e6,
                      "between checkpoints within an epoch; 0: only after each"),
    VST_OPTION_INT(vst_run_options, log_steps, 0, 0, 1000000,
                   "every so many steps a line in steps.csv: losses, rate, gradient norm, time; 0: none"),
    VST_OPTION_DOUBLE(vst_run_options, log_seconds, 10, 0, 86400,
                      "between lines in log.txt within an epoch; 0: one line an epoch"),
    VST_OPTION_END};

const vst_recipe_section *vst_recipe_sections(void) {
    static const vst_recipe_section sections[] = {
        {"data", data_table, offsetof(vst_recipe, data)},    {"augment", augment_table, offsetof(vst_recipe, augment)},
        {"optim", optim_table, offsetof(vst_recipe, optim)}, {"distill", distill_table, offsetof(vst_recipe, distill)},
        {"run", run_table, offsetof(vst_recipe, run)},       {NULL, NULL, 0}};
    return sections;
}

/* ---- The optimiser ---- */

const char *vst_optim_name(const vst_optim_options *options) {
    return vst_optimizer_method_at((size_t)options->name)->name;
}

const char *vst_optim_schedule(const vst_optim_options *options) {
    return vst_schedule_method_at((size_t)options->schedule)->name;
}

void vst_optim_resolve(vst_optim_options *options) {
    double beta1, beta2;
    vst_optimizer_betas(vst_optim_name(options), &beta1, &beta2);
    if (options->beta1 == -1) options->beta1 = beta1;
    if (options->beta2 == -1) options->beta2 = beta2;
}
