/* A small language for operations on images, so that this program and a Python script can do the same to the same
 * image: crop TOP LEFT HEIGHT WIDTH | pad TOP LEFT BOTTOM RIGHT BORDER FILL… | resize FILTER HEIGHT WIDTH resize_box
 * FILTER HEIGHT WIDTH TOP LEFT HEIGHT WIDTH | affine FILTER HEIGHT WIDTH M0 … M5 | rotate FILTER DEGREES shear_x,
 * shear_y, translate_x, translate_y FILTER NUMBER | flip | turn ORIENTATION | grayscale | color FACTOR contrast,
 * brightness, sharpness FACTOR | autocontrast | equalize | posterize BITS | solarize THRESHOLD solarize_add ADD
 * THRESHOLD | invert | blur RADIUS | jpeg QUALITY (written and read again). Numbers are read exactly (Python prints
 * doubles so that they are). Fill is three numbers, of which grey takes the first. */
#ifndef VISTILL_TESTS_UNIT_PIXEL_COMMANDS_H
#define VISTILL_TESTS_UNIT_PIXEL_COMMANDS_H

#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/color.h"
#include "vision/image/decode.h"
#include "vision/image/geometry.h"
#include "vision/image/resize.h"

/* The images of an operation: `image` is changed, the others are scratch. */
typedef struct pixel_desk {
    vst_image image, other, scratch;
} pixel_desk;

static inline void pixel_desk_clear(pixel_desk *desk) {
    vst_image_clear(&desk->image);
    vst_image_clear(&desk->other);
    vst_image_clear(&desk->scratch);
}

/* The arguments of a command. */
typedef struct pixel_words {
    char *rest;
} pixel_words;

static inline double next_number(pixel_words *words) { return strtod(words->rest, &words->rest); }
static inline int next_int(pixel_words *words) { return (int)strtol(words->rest, &words->rest, 10); }

static inline const char *next_word(pixel_words *words) {
    char *word = words->rest + strspn(words->rest, " ");
    words->rest = word + strcspn(word, " \n");
    if (*words->rest) *words->rest++ = 0;
    return word;
}

static inline vst_filter next_filter(pixel_words *words) {
    static const char *const names[] = {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"};
    const char *word = next_word(words);
    for (int i = 0; i < 6; i++)
        if (strcmp(word, names[i]) == 0) return (vst_filter)i;
    return (vst_filter)-1; /* an invalid filter, which the operations refuse */
}

static inline vst_box next_box(pixel_words *words) {
    vst_box box;
    box.top = next_int(words);
    box.left = next_int(words);
    box.height = next_int(words);
    box.width = next_int(words);
    return box;
}

/* Fill colour of all tests. */
static const uint8_t pixel_fill[3] = {124, 116, 104};

static inline vst_status pixel_resize(pixel_desk *desk, pixel_words *words, bool part) {
    const vst_filter filter = next_filter(words);
    const int height = next_int(words), width = next_int(words);
    const vst_box box = part ? next_box(words) : (vst_box){0};
    return vst_image_resize(&desk->image, part ? &box : NULL, height, width, filter, &desk->scratch, &desk->other);
}

static inline vst_status pixel_affine(pixel_desk *desk, pixel_words *words) {
    const vst_sampling sampling = {next_filter(words), pixel_fill};
    const int height = next_int(words), width = next_int(words);
    double matrix[6];
    for (int i = 0; i < 6; i++) matrix[i] = next_number(words);
    return vst_image_affine(&desk->image, matrix, height, width, sampling, &desk->other);
}

static inline vst_status pixel_pad(pixel_desk *desk, pixel_words *words) {
    static const char *const names[] = {"constant", "edge", "reflect"};
    int side[4], border = 0;
    for (int i = 0; i < 4; i++) side[i] = next_int(words);
    const char *word = next_word(words);
    while (border < 2 && strcmp(word, names[border]) != 0) border++;
    return vst_image_pad(&desk->image, side[0], side[1], side[2], side[3], (vst_border)border, pixel_fill,
                         &desk->other);
}

static inline vst_status pixel_jpeg(pixel_desk *desk, pixel_words *words) {
    uint8_t *file = NULL;
    size_t size;
    vst_status status = vst_jpeg_encode(&desk->image, next_int(words), &file, &size);
    if (status == VST_OK) status = vst_image_decode(file, size, NULL, &desk->other, NULL);
    vst_free(file);
    return status;
}

/* Operations that write their result to `other`. *known is false for other commands. */
static inline vst_status pixel_move(pixel_desk *desk, const char *name, pixel_words *words, bool *known) {
    static const struct {
        const char *name;
        vst_status (*run)(const vst_image *, double, vst_sampling, vst_image *);
    } maps[] = {{"rotate", vst_image_rotate},
                {"shear_x", vst_image_shear_x},
                {"shear_y", vst_image_shear_y},
                {"translate_x", vst_image_translate_x},
                {"translate_y", vst_image_translate_y}};
    *known = true;
    for (int i = 0; i < 5; i++)
        if (strcmp(name, maps[i].name) == 0) {
            const vst_sampling sampling = {next_filter(words), pixel_fill};
            return maps[i].run(&desk->image, next_number(words), sampling, &desk->other);
        }
    if (strcmp(name, "crop") == 0) return vst_image_crop(&desk->image, next_box(words), &desk->other);
    if (strcmp(name, "pad") == 0) return pixel_pad(desk, words);
    if (strcmp(name, "resize") == 0) return pixel_resize(desk, words, false);
    if (strcmp(name, "resize_box") == 0) return pixel_resize(desk, words, true);
    if (strcmp(name, "affine") == 0) return pixel_affine(desk, words);
    if (strcmp(name, "turn") == 0) return vst_image_turn(&desk->image, next_int(words), &desk->other);
    if (strcmp(name, "jpeg") == 0) return pixel_jpeg(desk, words);
    *known = false;
    return VST_OK;
}

/* Operations in place. */
static inline vst_status pixel_change(pixel_desk *desk, const char *name, pixel_words *words) {
    static const struct {
        const char *name;
        void (*run)(vst_image *);
    } plain[] = {{"flip", vst_image_flip},
                 {"grayscale", vst_image_grayscale},
                 {"autocontrast", vst_image_autocontrast},
                 {"equalize", vst_image_equalize},
                 {"invert", vst_image_invert}};
    static const struct {
        const char *name;
        void (*run)(vst_image *, double);
    } enhance[] = {{"color", vst_image_color}, {"contrast", vst_image_contrast}, {"brightness", vst_image_brightness}};
    vst_image *image = &desk->image;
    for (int i = 0; i < 5; i++)
        if (strcmp(name, plain[i].name) == 0) return plain[i].run(image), VST_OK;
    const double number = next_number(words);
    for (int i = 0; i < 3; i++)
        if (strcmp(name, enhance[i].name) == 0) return enhance[i].run(image, number), VST_OK;
    if (strcmp(name, "sharpness") == 0) return vst_image_sharpness(image, number, &desk->scratch);
    if (strcmp(name, "blur") == 0) return vst_image_gaussian_blur(image, number, &desk->scratch);
    if (strcmp(name, "posterize") == 0) return vst_image_posterize(image, (int)number), VST_OK;
    if (strcmp(name, "solarize") == 0) return vst_image_solarize(image, (int)number), VST_OK;
    if (strcmp(name, "solarize_add") == 0) return vst_image_solarize_add(image, (int)number, next_int(words)), VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "unknown command \"%s\"", name);
}

/* Runs a command on desk->image. The command's text is changed. */
static inline vst_status pixel_command(pixel_desk *desk, char *command) {
    pixel_words words = {command};
    bool known;
    const char *name = next_word(&words);
    const vst_status status = pixel_move(desk, name, &words, &known);
    if (!known) return pixel_change(desk, name, &words);
    if (status == VST_OK) {
        const vst_image kept = desk->image;
        desk->image = desk->other;
        desk->other = kept;
    }
    return status;
}

#endif
