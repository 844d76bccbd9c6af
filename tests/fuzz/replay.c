/* Runs a libFuzzer target without libFuzzer, as an ordinary test: on every file of a corpus folder, on every truncation
 * of it, and on mutations that are the same in every run. usage: fuzz_TARGET CORPUS_FOLDER [MUTATIONS_OF_EACH_FILE] A
 * mutation that fails is written to ./fuzz_TARGET-input, which the libFuzzer target or this program can read. */
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vision/base/random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS = 2000, EDITS = 4, GROWTH = 16, CUT_EVERYWHERE = 4096 };

/* ---- The current input, stored where a signal handler finds it ---- */

static const uint8_t *current;
static size_t current_size;
static char kept[256];

static void keep_input(void) {
    FILE *file = current ? fopen(kept, "wb") : NULL;
    if (!file) return;
    fwrite(current, 1, current_size, file);
    fclose(file);
    fprintf(stderr, "the input is in %s\n", kept);
}

static void on_signal(int number) {
    keep_input();
    signal(number, SIG_DFL);
    raise(number);
}

/* From the sanitizers' library, if the program is linked with it: called before it ends the program. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch_for_failures(void) {
    signal(SIGABRT, on_signal);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_input);
    else signal(SIGSEGV, on_signal);
}

/* Copies the input to a block of exactly its size, so that the sanitizers detect reads beyond its end. */
static void try_input(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    memcpy(copy, data, size);
    current = copy;
    current_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    current = NULL;
    free(copy);
}

/* ---- Mutations ---- */

/* Values at which sizes and counts overflow. */
static const uint32_t limits[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
enum { LIMITS = sizeof limits / sizeof *limits };

/* Changes `data` in one place; it has space for GROWTH more bytes. Returns the new size. */
static size_t edit(vst_random *random, uint8_t *data, size_t size) {
    const size_t at = vst_random_below(random, (uint32_t)size), rest = size - at;
    const uint32_t kind = vst_random_below(random, 6), value = limits[vst_random_below(random, LIMITS)];
    const size_t other = vst_random_below(random, (uint32_t)size);
    size_t length = 1 + vst_random_below(random, GROWTH / EDITS);
    if (length > rest) length = rest;
    switch (kind) {
    case 0: data[at] ^= (uint8_t)(1 << vst_random_below(random, 8)); break;
    case 1: data[at] = (uint8_t)vst_random_u32(random); break;
    case 2: /* a number, in either byte order */
        for (size_t i = 0; i < 4 && i < rest; i++) data[at + i] = (uint8_t)(value >> (length % 2 ? 24 - 8 * i : 8 * i));
        break;
    case 3: /* removed */ memmove(data + at, data + at + length, rest - length); return size - length;
    case 4: /* duplicated */ memmove(data + at + length, data + at, rest); return size + length;
    default: /* overwritten by bytes from elsewhere */
        if (other + length <= size) memmove(data + at, data + other, length);
    }
    return size;
}

static void try_mutation(const uint8_t *data, size_t size, uint64_t name, uint32_t index) {
    vst_random random = vst_random_stream(0, name, index, 0);
    uint8_t *copy = malloc(size + GROWTH);
    if (!copy) abort();
    memcpy(copy, data, size);
    for (uint32_t edits = 1 + vst_random_below(&random, EDITS); edits > 0 && size > 0; edits--)
        size = edit(&random, copy, size);
    try_input(copy, size);
    free(copy);
}

/* ---- Files ---- */

static uint8_t *read_whole(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        const long length = ftell(file);
        rewind(file);
        data = length < 0 ? NULL : malloc((size_t)length + 1);
        if (data) *size = fread(data, 1, (size_t)length, file);
        if (data && *size != (size_t)length) abort();
    }
    if (file) fclose(file);
    return data;
}

static void replay(const char *name, const uint8_t *data, size_t size, uint32_t mutations) {
    const size_t step = 1 + size / CUT_EVERYWHERE;
    try_input(data, size);
    for (size_t length = 0; length < size; length += step) try_input(data, length);
    for (uint32_t i = 0; i < mutations; i++) try_mutation(data, size, vst_random_id(name), i);
}

static int is_file(const struct dirent *entry) { return entry->d_name[0] != '.'; }

int main(int argc, char **argv) {
    struct dirent **entries;
    const int count = argc > 1 ? scandir(argv[1], &entries, is_file, alphasort) : 0;
    const uint32_t mutations = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : MUTATIONS;
    const char *slash = strrchr(argv[0], '/');
    if (count <= 0) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER [MUTATIONS_OF_EACH_FILE]; %s\n", argv[0],
                argc > 1 ? "that folder is empty or missing" : "no folder was given");
        return 2;
    }
    snprintf(kept, sizeof kept, "%s-input", slash ? slash + 1 : argv[0]);
    watch_for_failures();
    for (int i = 0; i < count; i++) {
        char path[4096];
        size_t size = 0;
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        uint8_t *data = read_whole(path, &size);
        if (!data) {
            fprintf(stderr, "%s: cannot be read\n", path);
            return 2;
        }
        replay(entries[i]->d_name, data, size, mutations);
        free(data);
        free(entries[i]);
    }
    free(entries);
    printf("%d files, each cut off everywhere and mutated %u times\n", count, mutations);
    return 0;
}
