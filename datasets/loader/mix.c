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

/* timm's rand_bbox_minmax: the sides are between two fractions of the image's, at any position in it. */
static vst_mix draw_box(const vst_mix_options *o, vst_random *random, int height, int width) {
    int sides[2];
    for (int i = 0; i < 2; i++) {
        const int all = i ? width : height, least = (int)(all * o->minimum), most = (int)(all * o->maximum);
        sides[i] = least + (most > least ? (int)vst_random_below(random, (uint32_t)(most - least)) : 0);
    }
    const int top = (int)vst_random_below(random, (uint32_t)(height - sides[0] + 1));
    const int left = (int)vst_random_below(random, (uint32_t)(width - sides[1] + 1));
    return (vst_mix){.lambda = 1 - (double)(sides[0] * sides[1]) / ((double)height * width),
                     .cut = true,
                     .box = {top, left, sides[0], sides[1]}};
}

static vst_mix draw(const vst_mix_options *o, vst_random *random, int height, int width) {
    if (vst_random_uniform(random) >= o->probability) return (vst_mix){.lambda = 1};
    const double cutmix = o->maximum > 0 ? 1 : o->cutmix;
    bool cut = cutmix > 0;
    if (cut && o->mixup > 0) cut = vst_random_uniform(random) < o->switch_probability;
    if (cut && o->maximum > 0) return draw_box(o, random, height, width);
    const double lambda = vst_random_beta(random, cut ? cutmix : o->mixup);
    if (!cut) return (vst_mix){.lambda = lambda};
    const int y = (int)vst_random_below(random, (uint32_t)height), x = (int)vst_random_below(random, (uint32_t)width);
    return vst_mix_cut(lambda, y, x, height, width);
}

void vst_mix_draw(const vst_mix_options *o, uint64_t seed, uint32_t epoch, uint64_t step, int height, int width,
                  vst_mix *mixes, int count) {
    vst_random random = vst_random_stream(seed, vst_random_id("mix"), epoch, step);
    const bool enabled = vst_mix_enabled(o);
    for (int i = 0; i < count; i++) {
        const int partner = count - 1 - i;
        if (!enabled) mixes[i] = (vst_mix){.lambda = 1};
        else if (o->mode == VST_MIX_BATCH && i > 0) mixes[i] = mixes[0];
        else if (o->mode == VST_MIX_PAIR && partner < i) mixes[i] = mixes[partner];
        else mixes[i] = draw(o, &random, height, width);
    }
}

/* Mixes two rows with each other. Writes both at once, because each needs the other's old values. */
static void blend_pair(float *a, float *b, size_t count, double lambda_a, double lambda_b) {
    const float keep_a = (float)lambda_a, give_a = (float)(1 - lambda_a);
    const float keep_b = (float)lambda_b, give_b = (float)(1 - lambda_b);
    for (size_t i = 0; i < count; i++) {
        const float x = a[i], y = b[i];
        if (lambda_a < 1) a[i] = x * keep_a + y * give_a;
        if (lambda_b < 1) b[i] = y * keep_b + x * give_b;
    }
}

/* The fraction of its own value that a pixel keeps. */
static double kept_at(const vst_mix *mix, int y, int x) {
    if (!mix->cut) return mix->lambda;
    const bool inside = y >= mix->box.top && y < mix->box.top + mix->box.height && x >= mix->box.left &&
                        x < mix->box.left + mix->box.width;
    return inside ? 0 : 1;
}

/* Mixes pixel by pixel, if at least one of the images is cut. */
static void cut_pair(float *a, float *b, const vst_mix *mix_a, const vst_mix *mix_b, int channels, int height,
                     int width) {
    const size_t plane = (size_t)height * (size_t)width;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const double keep_a = kept_at(mix_a, y, x), keep_b = kept_at(mix_b, y, x);
            for (int c = 0; c < channels; c++) {
                const size_t at = (size_t)c * plane + (size_t)y * (size_t)width + (size_t)x;
                const float own = a[at], other = b[at];
                a[at] = keep_a == 0 ? other : own;
                b[at] = keep_b == 0 ? own : other;
                if (!mix_a->cut) a[at] = own * (float)keep_a + other * (float)(1 - keep_a);
                if (!mix_b->cut) b[at] = other * (float)keep_b + own * (float)(1 - keep_b);
            }
        }
}

void vst_mix_images(const vst_mix *mixes, float *images, int count, int channels, int height, int width) {
    const size_t floats = (size_t)channels * (size_t)height * (size_t)width;
    for (int i = 0; i < count / 2; i++) {
        const vst_mix *mix = &mixes[i], *other = &mixes[count - 1 - i];
        float *image = images + (size_t)i * floats, *partner = images + (size_t)(count - 1 - i) * floats;
        if (mix->lambda == 1 && other->lambda == 1) continue;
        if (mix->cut || other->cut) cut_pair(image, partner, mix, other, channels, height, width);
        else blend_pair(image, partner, floats, mix->lambda, other->lambda);
    }
}

void vst_mix_targets(const vst_mix *mixes, float *targets, int count, int classes) {
    for (int i = 0; i < count / 2; i++)
        blend_pair(targets + (size_t)i * (size_t)classes, targets + (size_t)(count - 1 - i) * (size_t)classes,
                   (size_t)classes, mixes[i].lambda, mixes[count - 1 - i].lambda);
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
