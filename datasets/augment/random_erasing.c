/* timm's RandomErasing: replaces random rectangles by noise or a colour. timm applies it to normalised values; here
 * values are not normalised yet, so a normalised value v is written as mean + std v. */
#include <math.h>

#include "datasets/augment/operations.h"
#include "vision/kernels/kernels.h"

typedef struct random_erasing_options {
    double probability, area_min, area_max, aspect;
    int mode, count;
} random_erasing_options;

#define MODES(X) X(MODE_PIXEL, "pixel") X(MODE_CONST, "const") X(MODE_RAND, "rand")
enum { VST_CHOICE_ENUM(MODES) };
static const vst_option options[] = {
    VST_OPTION_DOUBLE(random_erasing_options, probability, 0.25, 0, 1, "probability that anything is erased"),
    VST_OPTION_DOUBLE(random_erasing_options, area_min, 0.02, 0, 1, "minimum fraction of the image's area"),
    VST_OPTION_DOUBLE(random_erasing_options, area_max, 0.3333333333333333, 0, 1,
                      "maximum fraction of the image's area"),
    VST_OPTION_DOUBLE(random_erasing_options, aspect, 0.3, 0.01, 1,
                      "minimum height / width; the maximum is its inverse"),
    VST_OPTION_CHOICE(random_erasing_options, mode, "pixel", VST_CHOICE_TEXT(MODES),
                      "contents after normalisation: a random number for every value, 0, or a random colour"),
    VST_OPTION_INT(random_erasing_options, count, 1, 1, 64, "maximum number of rectangles, which share the area"),
    VST_OPTION_END};

static vst_status check(const void *opaque) {
    const random_erasing_options *self = opaque;
    return vsti_check_range("area_min", self->area_min, "area_max", self->area_max);
}

enum { TRIES = 10 };

/* Draws area and aspect ratio for up to TRIES tries. The first rectangle that is smaller than the image along both axes
 * is used, and its row and column are drawn. */
static bool choose(const random_erasing_options *self, double area, vst_random *random, int height, int width,
                   vst_box *box) {
    for (int i = 0; i < TRIES; i++) {
        const double target = vsti_uniform(vst_random_uniform(random), self->area_min, self->area_max) * area;
        const double shape = exp(vsti_uniform(vst_random_uniform(random), log(self->aspect), log(1 / self->aspect)));
        box->height = (int)nearbyint(sqrt(target * shape));
        box->width = (int)nearbyint(sqrt(target / shape));
        if (box->width >= width || box->height >= height) continue;
        box->top = vsti_pick(vst_random_uniform(random), height - box->height + 1);
        box->left = vsti_pick(vst_random_uniform(random), width - box->width + 1);
        return true;
    }
    return false;
}

/* Random numbers: one per channel with mode rand, one per value in row order with mode pixel. */
static void fill(int mode, const vst_box *box, vst_random *random, const vst_augment_floats *sample) {
    const vsti_kernels *kernels = vsti_get_kernels();
    for (int c = 0; c < sample->channels; c++) {
        const double mean = sample->mean[c], std = sample->std[c];
        const float color = (float)(mean + std * (mode == MODE_RAND ? vst_random_normal(random) : 0));
        for (int y = box->top; y < box->top + box->height; y++) {
            float *row = sample->values + ((size_t)c * (size_t)sample->height + (size_t)y) * (size_t)sample->width;
            if (mode == MODE_PIXEL) kernels->normals(random, (float)mean, (float)std, row + box->left, box->width);
            else
                for (int x = box->left; x < box->left + box->width; x++) row[x] = color;
        }
    }
}

/* Random numbers, in order: whether to apply, how many, then for each rectangle its position and contents. */
static void apply(const void *opaque, vst_random *random, const vst_augment_floats *sample) {
    const random_erasing_options *self = opaque;
    const bool applied = vst_random_uniform(random) < self->probability;
    const int count = 1 + vsti_pick(vst_random_uniform(random), self->count);
    const double area = (double)sample->height * sample->width / count;
    vst_box box;
    for (int i = 0; applied && i < count; i++)
        if (choose(self, area, random, sample->height, sample->width, &box)) fill(self->mode, &box, random, sample);
}

extern const vst_augmentation vsti_augmentation_random_erasing;
const vst_augmentation vsti_augmentation_random_erasing = {
    .name = "random_erasing",
    .help = "rectangles replaced by noise, timm's RandomErasing",
    .options = options,
    .options_size = sizeof(random_erasing_options),
    .check = check,
    .apply_floats = apply,
};
