/* libFuzzer target: CIFAR's binary files. Bits of the first byte: 1: CIFAR-100 instead of CIFAR-10; 2: prepend a whole
 * record. Then follow the length of the names file (two bytes), the names file and the records. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datasets/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIXELS = 3072 };

static const char *const names[2][2] = {{"test_batch.bin", "batches.meta.txt"}, {"test.bin", "fine_label_names.txt"}};
static char folder[64], paths[2][2][128];

static void clean_up(void) {
    for (int i = 0; i < 4; i++) unlink(paths[i / 2][i % 2]);
    rmdir(folder);
}

static void begin(void) {
    snprintf(folder, sizeof folder, "%s/vistill-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    if (!mkdtemp(folder)) abort();
    for (int i = 0; i < 4; i++) snprintf(paths[i / 2][i % 2], sizeof paths[0][0], "%s/%s", folder, names[i / 2][i % 2]);
    atexit(clean_up);
}

static void write_file(const char *path, const uint8_t *record, size_t record_size, const uint8_t *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(record, 1, record_size, file) != record_size || fwrite(bytes, 1, size, file) != size ||
        fclose(file) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t record[PIXELS + 2] = {3, 7};
    vst_dataset *dataset;
    vst_image image = {0};
    if (!*folder) begin();
    if (size < 3) return 0;
    const int hundred = data[0] & 1;
    size_t text = (size_t)data[1] << 8 | data[2];
    if (text > size - 3) text = size - 3;
    for (int i = 0; i < 4; i++) unlink(paths[i / 2][i % 2]);
    write_file(paths[hundred][1], record, 0, data + 3, text);
    write_file(paths[hundred][0], record, data[0] & 2 ? PIXELS + 1 + (size_t)hundred : 0, data + 3 + text,
               size - 3 - text);
    if (vst_dataset_open(&dataset, folder, "test", NULL) != VST_OK) return 0;
    for (uint64_t i = 0; i < vst_dataset_count(dataset); i++) {
        int label;
        if (vst_dataset_read(dataset, i, &image, &label) != VST_OK || !vst_dataset_class_name(dataset, label)) abort();
        if (strlen(vst_dataset_class_name(dataset, label)) > size + 3) abort();
    }
    vst_image_clear(&image);
    vst_dataset_close(dataset);
    return 0;
}
