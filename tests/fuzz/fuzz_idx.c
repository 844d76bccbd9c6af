/* libFuzzer target: an IDX data set, plain or gzip. The first two bytes are the size of the labels file, which follows;
 * the rest is the images file. Build with clang -fsanitize=fuzzer,address,undefined. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], images[128], labels[128];

static void clean_up(void) {
    unlink(images);
    unlink(labels);
    rmdir(folder);
}

static void begin(void) {
    snprintf(folder, sizeof folder, "%s/vistill-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    if (!mkdtemp(folder)) abort();
    snprintf(images, sizeof images, "%s/train-images-idx3-ubyte", folder);
    snprintf(labels, sizeof labels, "%s/train-labels-idx1-ubyte", folder);
    atexit(clean_up);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vst_dataset *dataset;
    vst_image image = {0};
    if (!*images) begin();
    if (size < 2) return 0;
    size_t first = (size_t)data[0] << 8 | data[1];
    if (first > size - 2) first = size - 2;
    write_file(labels, data + 2, first);
    write_file(images, data + 2 + first, size - 2 - first);
    if (vst_dataset_open(&dataset, folder, "train", &(vst_dataset_options){.format = "idx"}) != VST_OK) return 0;
    for (uint64_t i = 0; i < vst_dataset_count(dataset); i++) {
        int label;
        if (vst_dataset_read(dataset, i, &image, &label) != VST_OK || !vst_dataset_class_name(dataset, label)) abort();
    }
    vst_image_clear(&image);
    vst_dataset_close(dataset);
    return 0;
}
