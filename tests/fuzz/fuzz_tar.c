/* libFuzzer target: a tar of images. Bits of the first byte: 1: repair the checksums of headers, without which few
 * inputs get past the first check; 2: make an index file and change it as given by the following bytes (their number is
 * the second byte; each four are a 16-bit position, a value and an unused byte). The rest is the tar. */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "datasets/dataset.h"
#include "datasets/tar_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCK = 512, FIXED = 24 /* magic, size and fingerprint of an index; without them the index is not read */ };

static char folder[64], tar[128], index_file[160];

static void clean_up(void) {
    unlink(tar);
    unlink(index_file);
    rmdir(folder);
}

static void begin(void) {
    snprintf(folder, sizeof folder, "%s/vistill-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir);
    if (!mkdtemp(folder)) abort();
    snprintf(tar, sizeof tar, "%s/t.tar", folder);
    snprintf(index_file, sizeof index_file, "%s.idx", tar);
    atexit(clean_up);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) abort();
}

static void put_right(uint8_t *bytes, size_t size) {
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK) {
        unsigned sum = 0;
        char text[9];
        if (memcmp(bytes + at + 257, "usta", 4) != 0) continue;
        memset(bytes + at + 148, ' ', 8);
        for (int i = 0; i < BLOCK; i++) sum += bytes[at + (size_t)i];
        snprintf(text, sizeof text, "%06o", sum);
        memcpy(bytes + at + 148, text, 7);
    }
}

static void change_index(const uint8_t *edits, size_t count) {
    static uint8_t bytes[1 << 20];
    uint64_t images;
    if (vsti_tar_index_make(tar, &images) != VST_OK) return;
    FILE *file = fopen(index_file, "rb");
    if (!file) abort();
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i + 4 <= count; i += 4)
        bytes[FIXED + ((size_t)edits[i] << 8 | edits[i + 1]) % (size - FIXED)] = edits[i + 2];
    const uint64_t sum = XXH3_64bits(bytes, size - 8);
    for (int i = 0; i < 8; i++) bytes[size - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
    write_file(index_file, bytes, size);
}

static void read_all(const char *split) {
    vst_dataset *dataset;
    vst_bytes bytes = {0};
    char name[PATH_MAX];
    if (vst_dataset_open(&dataset, tar, split, &(vst_dataset_options){.format = "tar"}) != VST_OK) return;
    for (uint64_t i = 0; i < vst_dataset_count(dataset); i++) {
        int label;
        if (strlen(vst_dataset_sample_name(dataset, i, name, sizeof name)) >= sizeof name) abort();
        if (vst_dataset_read_bytes(dataset, i, &bytes, &label) != VST_OK) continue;
        if (label < -1 || label >= vst_dataset_classes(dataset)) abort();
        if (label >= 0 && !vst_dataset_class_name(dataset, label)) abort();
    }
    vst_bytes_clear(&bytes);
    vst_dataset_close(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!*tar) begin();
    if (size < 2) return 0;
    const size_t edits = data[0] & 2 && data[1] <= size - 2 ? data[1] : 0, start = 2 + edits;
    uint8_t *copy = malloc(size - start + 1);
    if (!copy) abort();
    memcpy(copy, data + start, size - start);
    if (data[0] & 1) put_right(copy, size - start);
    write_file(tar, copy, size - start);
    unlink(index_file);
    if (data[0] & 2) change_index(data + 2, edits);
    read_all("train");
    read_all("test");
    free(copy);
    return 0;
}
