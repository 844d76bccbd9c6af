/* vistill classify: classifies JPEG and PNG files, or items of a data set given as FOLDER:INDEX. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "datasets/dataset.h"
#include "datasets/files.h"
#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/infer/model_session.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/image/decode.h"

enum { MOST_CLASSES = 1000 };

/* A damaged file is an error, as in evaluation. */
static vst_status decode_file(const vst_session *session, const char *path, float *image) {
    char *bytes = NULL;
    size_t size;
    vst_status status = vsti_file_read(path, VST_IMAGE_FILE_BYTES, "a JPEG or PNG file", &bytes, &size);
    if (status == VST_ERROR_NOT_FOUND)
        return vst_fail(status, "%s cannot be opened: give a JPEG or PNG file, or FOLDER:INDEX for a data set", path);
    if (status != VST_OK) return status;
    status = vst_session_decode(session, (vst_encoded){bytes, size}, image);
    vst_free(bytes);
    return status == VST_OK ? VST_OK : vst_fail_in(status, "%s", path);
}

/* "FOLDER:INDEX", an item of the test split; *found: whether `word` has that form. */
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
        status = vst_fail(VST_ERROR_NOT_FOUND, "%s has %llu test images, numbered from 0: there is no %llu", folder,
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

/* A file, or an item of a data set. */
static vst_status load_image(const vst_session *session, const char *word, float *image) {
    vst_image picture = {0}, scratch[2] = {{0}};
    bool item = false;
    vst_status status = read_item(word, vst_session_channels(session), &picture, &item);
    if (status == VST_OK && item) status = vst_session_convert(session, &picture, scratch, image);
    if (status == VST_OK && !item) status = decode_file(session, word, image);
    vst_image_clear(&picture);
    for (int i = 0; i < 2; i++) vst_image_clear(&scratch[i]);
    return status;
}

static void print_text(const char *word, const vst_class_score *top, int k) {
    vst_print_line(stdout, "%s", word);
    for (int i = 0; i < k; i++) vst_print_line(stdout, "  %6.2f %%  %s", 100 * top[i].probability, top[i].name);
}

static vst_status print_json(const char *word, const vst_class_score *top, int k) {
    json_t *list = json_array();
    for (int i = 0; i < k; i++)
        json_array_append_new(list, json_pack("{s:i,s:o,s:f}", "class", top[i].index, "name",
                                              vst_json_text(top[i].name), "probability", top[i].probability));
    return vst_json_print(json_pack("{s:o,s:o}", "image", vst_json_text(word), "top", list));
}

static vst_status classify(vst_session *session, const char *word, float *image, int k, bool json) {
    vst_status status = VST_OK;
    vst_result result = {0};
    vst_class_score top[MOST_CLASSES];
    VST_TRY(load_image(session, word, image));
    VST_TRY(vst_session_run(session, image, 1, &result));
    VST_TRY(vst_session_top(session, result.scores, k, top));
    if (json) VST_TRY(print_json(word, top, k));
    else print_text(word, top, k);
out:
    vst_result_clear(&result);
    return status;
}

/* All image files of a folder and of those below it, in the order of their paths. */
static vst_status classify_folder(vst_session *session, const char *folder, float *image, int k, bool json) {
    vst_status status = VST_OK;
    vsti_files files = {0};
    char path[PATH_MAX];
    VST_TRY(vsti_files_add(&files, folder, "", -1));
    if (files.count == 0)
        VST_TRY(vst_fail(VST_ERROR_NOT_FOUND,
                         "%s: no image files (.jpg, .jpeg, .png …) are in it; FOLDER:INDEX is an item of a data set",
                         folder));
    for (uint64_t i = 0; i < files.count; i++) {
        vsti_files_path(&files, i, path, sizeof path);
        char *word = vst_format("%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", path);
        if (!word) VST_TRY(vst_fail_memory(PATH_MAX));
        status = classify(session, word, image, k, json);
        vst_free(word);
        VST_TRY(status);
    }
out:
    vsti_files_clear(&files);
    return status;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_session *session = NULL;
    float *image = NULL;
    vst_session_options options = {0};
    int topk = 5;
    VST_TRY(vst_flag_int(arguments, "topk", 1, MOST_CLASSES, &topk));
    VST_TRY(vst_flag_bf16(arguments, &options.bf16));
    VST_TRY(vst_session_open(&session, arguments->words[0], &options));
    if (topk > vst_session_classes(session)) topk = vst_session_classes(session);
    const size_t bytes = vst_session_image_floats(session) * sizeof *image;
    image = vst_alloc(bytes);
    if (!image) VST_TRY(vst_fail_memory(bytes));
    for (int i = 1; i < arguments->word_count; i++) {
        const char *word = arguments->words[i];
        VST_TRY((is_folder(word) ? classify_folder : classify)(session, word, image, topk,
                                                               vst_flag_given(arguments, "json")));
    }
out:
    vst_free(image);
    vst_session_close(session);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {{"topk", 'k', "K", "number of classes to show, 5 by default"},
                                 VST_PRECISION_FLAG,
                                 {"json", 0, NULL, "print one JSON object per line"},
                                 {0}};

const vst_command vsti_command_classify = {
    .name = "classify",
    .words = "MODEL IMAGE…",
    .summary = "classify images",
    .help =
        "IMAGE is a JPEG or PNG file, a folder of them, or FOLDER:INDEX, an item of a data set's "
        "test split. It is resized and\ncropped as by `vistill eval`.",
    .flags = flags,
    .minimum = 2,
    .maximum = -1,
    .run = run};
