/* vistill classify: what a model sees in JPEG and PNG files, or in items of a data set written FOLDER:INDEX. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "datasets/dataset.h"
#include "recipes/commands/main.h"
#include "recipes/infer/evaluator.h"
#include "recipes/model/model.h"
#include "vision/base/memory.h"
#include "vision/image/decode.h"
#include "vision/ops/ops.h"
#include "vision/plan/program.h"

/* A damaged file is an error, as in evaluation. */
static vst_status read_file(const char *path, int channels, vst_image *image) {
    const vst_status status = vst_image_read(path, &(vst_decode_options){.channels = channels}, image);
    if (status != VST_ERROR_NOT_FOUND) return status;
    return vst_fail(status, "%s cannot be opened: give a JPEG or PNG file, or FOLDER:INDEX for a data set", path);
}

/* "FOLDER:INDEX", an item of the test split; *found tells whether `word` is of that form. */
static vst_status read_item(const char *word, int channels, vst_image *image, bool *found) {
    const char *colon = strrchr(word, ':');
    char *end = NULL;
    const unsigned long long index = colon && colon[1] ? strtoull(colon + 1, &end, 10) : 0;
    *found = end && *end == 0;
    if (!*found) return VST_OK;
    vst_status status = VST_OK;
    vst_dataset *dataset = NULL;
    int label;
    char *folder = vst_format("%.*s", (int)(colon - word), word);
    if (!folder) return vst_fail_memory(strlen(word));
    VST_TRY(vst_dataset_open(&dataset, folder, "test", &(vst_dataset_options){.channels = channels == 1 ? 1 : 3}));
    if (index >= vst_dataset_count(dataset)) {
        status = vst_fail(VST_ERROR_NOT_FOUND, "%s has %llu test images, there is no %llu", folder,
                          (unsigned long long)vst_dataset_count(dataset), index);
        goto out;
    }
    VST_TRY(vst_dataset_read(dataset, index, image, &label));
    VST_TRY(vst_image_convert(image, channels));
out:
    vst_dataset_close(dataset);
    vst_free(folder);
    return status;
}

/* As in evaluation, so that what was measured is what is seen. */
static vst_status load_image(const char *word, const vst_model_config *model, vst_image *image, vst_image scratch[2]) {
    const int channels = vst_model_common_of(model)->channels;
    const vst_evaluation_view view = vst_model_view(model);
    bool item = false;
    vst_status status = read_item(word, channels, image, &item);
    if (status == VST_OK && !item) status = read_file(word, channels, image);
    if (status != VST_OK) return status;
    status = vst_image_evaluation_view(&view, image, scratch);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", word);
}

/* Prints the k most probable classes. */
static void print_result(const char *word, const float *p, const vst_model *file, int k, bool json) {
    bool used[1 << 17] = {false};
    json_t *list = json_array();
    if (!json) printf("%s\n", word);
    for (int n = 0; n < k && n < file->class_count; n++) {
        int best = -1;
        for (int c = 0; c < file->class_count; c++)
            if (!used[c] && (best < 0 || p[c] > p[best])) best = c;
        used[best] = true;
        if (json)
            json_array_append_new(list, json_pack("{s:i,s:s,s:f}", "class", best, "name", file->class_names[best],
                                                  "probability", (double)p[best]));
        else printf("  %6.2f %%  %s\n", 100 * (double)p[best], file->class_names[best]);
    }
    json_t *object = json_pack("{s:s,s:o}", "image", word, "top", list);
    if (json) {
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(object);
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_model *file = NULL;
    vst_graph *graph = NULL;
    vst_program *program = NULL;
    vst_context *context = NULL;
    vst_image image = {0}, scratch[2] = {{0}};
    int topk = 5;
    VST_TRY(vst_flag_int(arguments, "topk", 1, 1000, &topk));
    VST_TRY(vst_model_read(&file, arguments->words[0]));
    VST_TRY(vst_graph_create(&graph, file->params));
    vst_model_build(graph, file->model, 1);
    const vst_value probabilities = vst_softmax(graph, vst_model_scores(graph));
    VST_TRY(vst_program_create(&program, graph, &probabilities, 1, &(vst_program_options){.mode = VST_INFER}));
    VST_TRY(vst_context_create(&context, program, NULL));
    for (int i = 1; i < arguments->word_count; i++) {
        VST_TRY(load_image(arguments->words[i], file->model, &image, scratch));
        vst_image_to_floats(&image, vst_context_input(context, "image"));
        VST_TRY(vst_context_run(context, 0));
        print_result(arguments->words[i], vst_context_output(context, 0), file, topk,
                     vst_flag_given(arguments, "json"));
    }
out:
    vst_image_clear(&image);
    for (int i = 0; i < 2; i++) vst_image_clear(&scratch[i]);
    vst_context_destroy(context);
    vst_program_destroy(program);
    vst_graph_destroy(graph);
    vst_model_destroy(file);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{"topk", 'k', "K", "how many classes to show, 5 by default"},
                                 {"json", 0, NULL, "one JSON object a line for machines"},
                                 {0}};

const vst_command vsti_command_classify = {.name = "classify",
                                           .words = "MODEL IMAGE…",
                                           .summary = "says what a model sees in pictures",
                                           .help =
                                               "IMAGE is a JPEG or PNG file, or FOLDER:INDEX, an item of a data set's "
                                               "test split. It is brought to the model's size as\n"
                                               "`vistill eval` does it.",
                                           .flags = flags,
                                           .minimum = 2,
                                           .maximum = -1,
                                           .run = run};
