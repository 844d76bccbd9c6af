/* Mixup, CutMix and targets, in float32 and in timm's order of operations, for the same results as timm's. */
#include "datasets/loader/mix.h"

#include <math.h>

#include "vision/base/random.h"

static int clip(int value, int maximum) { return value < 0 ? 0 : value > maximum ? maximum : value; }

vst_mix vst_mix_cut(double lambda, int centre_y, int centre_x, int height, int width) {
    const double ratio = sqrt(1 - lambda);
    const int rows = (int)(height * ratio), columns = (int)(width * ratio);
    const int top = clip(centre_y - rows / 2, height), bottom = clip(centre_y + (rows + 1) / 2, height);
    const int left = clip(centre_x - columns / 2, width), right = clip(centre_x + (columns + 1) / 2, width);
    const vst_box box = {top, left, bottom - top, right - left};
    return (vst_mix){
        .lambda = 1 - (double)(box.height * box.width) / ((double)height * width), .cut = true, .box = box};
}

vst_mix vst_mix_draw(const vst_mix_options *options, uint64_t seed, uint32_t epoch, uint64_t step, int height,
                     int width) {
    vst_random random = vst_random_stream(seed, vst_random_id("mix"), epoch, step);
    if (!vst_mix_enabled(options) || vst_random_uniform(&random) >= options->probability) return (vst_mix){.lambda = 1};
    bool cut = options->cutmix > 0;
    if (cut && options->mixup > 0) cut = vst_random_uniform(&random) < options->switch_probability;
    const double lambda = vst_random_beta(&random, cut ? options->cutmix : options->mixup);
    if (!cut) return (vst_mix){.lambda = lambda};
    const int y = (int)vst_random_below(&random, (uint32_t)height), x = (int)vst_random_below(&random, (uint32_t)width);
    return vst_mix_cut(lambda, y, x, height, width);
}

/* Both at once, so that neither is overwritten before the other has read it. */
static void blend_pair(float *a, float *b, size_t count, double lambda) {
    const float keep = (float)lambda, give = (float)(1 - lambda);
    for (size_t i = 0; i < count; i++) {
        const float x = a[i], y = b[i];
        a[i] = x * keep + y * give;
        b[i] = y * keep + x * give;
    }
}

static void swap_box(float *a, float *b, vst_box box, int channels, int height, int width) {
    for (int c = 0; c < channels; c++)
        for (int y = box.top; y < box.top + box.height; y++) {
            const size_t row = ((size_t)c * (size_t)height + (size_t)y) * (size_t)width;
            for (size_t x = row + (size_t)box.left; x < row + (size_t)(box.left + box.width); x++) {
                const float value = a[x];
                a[x] = b[x];
                b[x] = value;
            }
        }
}

void vst_mix_images(const vst_mix *mix, float *images, int count, int channels, int height, int width) {
    const size_t floats = (size_t)channels * (size_t)height * (size_t)width;
    if (mix->lambda == 1) return;
    for (int i = 0; i < count / 2; i++) {
        float *image = images + (size_t)i * floats, *partner = images + (size_t)(count - 1 - i) * floats;
        if (mix->cut) swap_box(image, partner, mix->box, channels, height, width);
        else blend_pair(image, partner, floats, mix->lambda);
    }
}

void vst_mix_targets(const vst_mix *mix, float *targets, int count, int classes) {
    if (mix->lambda == 1) return;
    for (int i = 0; i < count / 2; i++)
        blend_pair(targets + (size_t)i * (size_t)classes, targets + (size_t)(count - 1 - i) * (size_t)classes,
                   (size_t)classes, mix->lambda);
}

int vst_targets_fill(const vst_target_options *options, const int *labels, const uint64_t *samples, int count,
                     float *targets) {
    const int classes = options->classes;
    const double smoothing = options->smoothing;
    int labelled = 0;
    for (int i = 0; i < count; i++) labelled += labels[i] >= 0 && samples[i] < options->labelled;
    const double scale = labelled ? (double)count / labelled : 0;
    const float off = (float)(scale * smoothing / classes), on = (float)(scale * (1 - smoothing + smoothing / classes));
    for (int i = 0; i < count; i++) {
        float *row = targets + (size_t)i * (size_t)classes;
        const bool keep = labels[i] >= 0 && samples[i] < options->labelled;
        for (int c = 0; c < classes; c++) row[c] = keep ? off : 0;
        if (keep) row[labels[i]] = on;
    }
    return labelled;
}
