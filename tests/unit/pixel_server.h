/* Lets another program use the image operations through a pipe; tests/parity/pillow.py does. Requests on standard
 * input: image CHANNELS HEIGHT WIDTH, and the pixels        decode SIZE CHANNELS [TOP LEFT HEIGHT WIDTH], and the file
 *     run COMMAND (pixel_commands.h)                     get
 *     time REPEATS COMMAND                               time_decode REPEATS SIZE, and the file
 * Answers are a line: "ok", the seconds that one repeat took, what went wrong; get: CHANNELS HEIGHT WIDTH and the
 * pixels. */
#ifndef VISTILL_TESTS_UNIT_PIXEL_SERVER_H
#define VISTILL_TESTS_UNIT_PIXEL_SERVER_H

#include <stdio.h>
#include <time.h>

#include "tests/unit/pixel_commands.h"
#include "vision/base/memory.h"

static inline double pixel_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void pixel_answer(vst_status status) {
    printf("%s\n", status == VST_OK ? "ok" : vst_error_message());
    fflush(stdout);
}

static inline bool pixel_read_image(vst_image *image, const char *text) {
    int channels, height, width;
    if (sscanf(text, "%d %d %d", &channels, &height, &width) != 3) return false;
    if (vst_image_allocate(image, channels, height, width) != VST_OK) return false;
    return fread(image->pixels, (size_t)channels * (size_t)width, (size_t)height, stdin) == (size_t)height;
}

/* Reads a file of `size` bytes; the caller frees it. */
static inline uint8_t *pixel_read_file(size_t size) {
    uint8_t *file = malloc(size + 1);
    if (!file || fread(file, 1, size, stdin) != size) abort();
    return file;
}

static inline void pixel_decode(vst_image *image, const char *text) {
    size_t size = 0;
    vst_decode_options options = {.allow_damaged = true}; /* as Pillow with LOAD_TRUNCATED_IMAGES */
    vst_box box;
    const int fields =
        sscanf(text, "%zu %d %d %d %d %d", &size, &options.channels, &box.top, &box.left, &box.height, &box.width);
    if (fields == 6) options.crop = &box;
    uint8_t *file = pixel_read_file(size);
    pixel_answer(vst_image_decode(file, size, &options, image, NULL));
    free(file);
}

/* The time of the fastest repeat, because other processes slow some of them down. */
static inline void pixel_time(pixel_desk *desk, char *text) {
    char *command, copy[1024];
    const long repeats = strtol(text, &command, 10);
    vst_image kept = {0};
    double best = 1e9;
    vst_status status = vst_image_allocate(&kept, desk->image.channels, desk->image.height, desk->image.width);
    const size_t size = (size_t)kept.channels * (size_t)kept.height * (size_t)kept.width;
    if (status == VST_OK) memcpy(kept.pixels, desk->image.pixels, size);
    for (long i = 0; i < repeats && status == VST_OK; i++) {
        status = vst_image_allocate(&desk->image, kept.channels, kept.height, kept.width);
        if (status != VST_OK) break;
        memcpy(desk->image.pixels, kept.pixels, size);
        snprintf(copy, sizeof copy, "%s", command);
        const double start = pixel_clock();
        status = pixel_command(desk, copy);
        const double taken = pixel_clock() - start;
        if (taken < best) best = taken;
    }
    vst_image_clear(&kept);
    printf("%s%.9f\n", status == VST_OK ? "" : vst_error_message(), best);
    fflush(stdout);
}

static inline void pixel_time_decode(vst_image *image, const char *text) {
    size_t size = 0;
    long repeats = 0;
    double best = 1e9;
    vst_status status = VST_OK;
    if (sscanf(text, "%ld %zu", &repeats, &size) != 2) abort();
    uint8_t *file = pixel_read_file(size);
    const vst_decode_options options = {.channels = 3};
    for (long i = 0; i < repeats && status == VST_OK; i++) {
        const double start = pixel_clock();
        status = vst_image_decode(file, size, &options, image, NULL);
        const double taken = pixel_clock() - start;
        if (taken < best) best = taken;
    }
    free(file);
    printf("%s%.9f\n", status == VST_OK ? "" : vst_error_message(), best);
    fflush(stdout);
}

static inline int pixel_serve(void) {
    pixel_desk desk = {0};
    char line[1024];
    while (fgets(line, sizeof line, stdin)) {
        char *rest = line;
        pixel_words words = {line};
        const char *request = next_word(&words);
        rest = words.rest;
        rest[strcspn(rest, "\n")] = 0;
        if (strcmp(request, "image") == 0)
            pixel_answer(pixel_read_image(&desk.image, rest) ? VST_OK : VST_ERROR_FORMAT);
        else if (strcmp(request, "decode") == 0) pixel_decode(&desk.image, rest);
        else if (strcmp(request, "run") == 0) pixel_answer(pixel_command(&desk, rest));
        else if (strcmp(request, "time") == 0) pixel_time(&desk, rest);
        else if (strcmp(request, "time_decode") == 0) pixel_time_decode(&desk.image, rest);
        else if (strcmp(request, "get") == 0) {
            const vst_image *image = &desk.image;
            printf("%d %d %d\n", image->channels, image->height, image->width);
            fwrite(image->pixels, (size_t)image->channels * (size_t)image->width, (size_t)image->height, stdout);
            fflush(stdout);
        } else abort();
    }
    pixel_desk_clear(&desk);
    return 0;
}

#endif
