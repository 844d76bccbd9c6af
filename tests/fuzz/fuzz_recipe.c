/* libFuzzer target: a recipe or a study. An accepted recipe must be equal after writing and reading it again. Build
 * with clang -fsanitize=fuzzer,address,undefined. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipes/config/recipe.h"
#include "recipes/config/study_file.h"
#include "vision/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void clean_up(void) { unlink(path); }

static void write_file(const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int begun;
    vst_recipe *recipe;
    vst_study *study;
    if (!begun++) {
        snprintf(path, sizeof path, "%s/vistill-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
        if (mkstemp(path) < 0) abort();
        atexit(clean_up);
    }
    write_file(data, size);
    if (vst_study_read(&study, path) == VST_OK) vst_study_destroy(study);
    if (vst_recipe_read(&recipe, path, NULL, 0) != VST_OK) return 0;
    char *text = vst_recipe_to_yaml(recipe);
    vst_recipe_destroy(recipe);
    if (!text) abort();
    write_file(text, strlen(text));
    if (vst_recipe_read(&recipe, path, NULL, 0) != VST_OK) abort();
    char *again = vst_recipe_to_yaml(recipe);
    if (!again || strcmp(text, again) != 0) abort();
    vst_free(text);
    vst_free(again);
    vst_recipe_destroy(recipe);
    return 0;
}
