/* vistill train: one recipe. */
#include <math.h>
#include <stdio.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/commands/progress.h"
#include "recipes/commands/train_progress.h"
#include "recipes/train/fit.h"
#include "recipes/train/train.h"
#include "vision/base/memory.h"

static void print_dry(const vst_train_result *result) {
    char predicted[32];
    vst_duration_text(result->predicted_seconds, predicted, sizeof predicted);
    printf("parameters  %.2f M\nmemory      %.1f MB\nstep        %.1f ms", (double)result->parameters / 1e6,
           (double)result->bytes / 1e6, 1e3 * result->step_seconds);
    if (result->teacher_seconds > 1e-5) printf(", %.1f of them the teacher's", 1e3 * result->teacher_seconds);
    printf("\nall epochs  %s\n", predicted);
}

static void print_result(const vst_train_result *result, const char *folder) {
    char duration[32];
    vst_duration_text(result->seconds, duration, sizeof duration);
    printf("test top-1  %.2f %%\n", result->test_top1);
    if (!isnan(result->test_top5)) printf("test top-5  %.2f %%\n", result->test_top5);
    if (!isnan(result->best_validation))
        printf("validation  %.2f %% at best, after epoch %d\n", result->best_validation, result->best_epoch + 1);
    if (!isnan(result->teacher_top1))
        printf("teacher     %.2f %% of %s samples, not of the test split\n", result->teacher_top1,
               isnan(result->best_validation) ? "training" : "validation");
    printf("training    %s for %d epoch%s%s\n", duration, result->epochs, result->epochs == 1 ? "" : "s",
           result->reused ? " (finished before)" : "");
    vst_print_line(stdout, "model       %s/best.safetensors", folder);
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_recipe *recipe = NULL;
    char *folder = NULL;
    vst_train_line line = {0};
    vst_train_result result;
    int count;
    const char *const *settings = vst_flag_values(arguments, "set", &count);
    VST_TRY(vst_recipe_read(&recipe, arguments->words[0], settings, count));
    VST_TRY(vst_recipe_fit_data(recipe));
    folder = vst_run_folder(recipe);
    if (!folder) VST_TRY(vst_fail_memory(4096));
    const vst_train_options options = {
        .resume = vst_flag_given(arguments, "resume"),
        .extend = true,
        .force = vst_flag_given(arguments, "force"),
        .dry_run = vst_flag_given(arguments, "dry-run"),
        .stop = vst_catch_interrupt(VST_STOPPING("after this step"),
                                    VST_ENDED("the steps since the last checkpoint are lost")),
        .progress = vst_train_line_update,
        .user = &line};
    status = vst_train(recipe, &options, &result);
    vst_train_line_finish(&line);
    if (status != VST_OK) goto out;
    if (options.dry_run) print_dry(&result);
    else print_result(&result, folder);
out:
    vst_free(folder);
    vst_recipe_destroy(recipe);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"set", 's', "KEY=VALUE", "set a key of the recipe, such as optim.lr=2e-3; can be repeated"},
    {"resume", 0, NULL,
     "continue from the checkpoint in the run folder, bit for bit; a larger run.epochs extends the run"},
    {"force", 0, NULL, "overwrite the run in the run folder; with --resume only if it has another recipe"},
    {"dry-run", 0, NULL, "train for two seconds, report memory and time, write nothing"},
    {0}};

extern const vst_command vsti_command_train;
const vst_command vsti_command_train = {
    .name = "train",
    .words = "RECIPE",
    .summary = "train a model by a recipe, with or without a teacher",
    .help =
        "Writes recipe.yaml, log.txt, summary.csv, samples.png, last.safetensors (checkpoint) and best.safetensors\n"
        "(model) to the run folder (run.output, by default runs/<recipe>). Ctrl-C stops after the current step and\n"
        "saves a checkpoint; --resume continues from it with the same result. `vistill explain RECIPE` lists all keys.",
    .flags = flags,
    .minimum = 1,
    .maximum = 1,
    .run = run};
